//! What `init --adopt` found in a target, kept as a list that a verification can ask.

use sha2::{Digest, Sha256};

use super::Control;
use super::record::Adoption;
use crate::codec::text::hex;
use crate::error::{Error, Kind, Result};

const ADOPTED: &str = "adopted ";
/// Digests in one control item: 160 kB of 400.
const PIECE: usize = 10_000;
/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

impl Adoption {
    fn of(digests: &[u64]) -> Self {
        let mut id = Sha256::new();
        for digest in digests {
            id.update(digest.to_be_bytes());
        }
        Adoption {
            id: hex(&id.finalize()[..16]),
            items: digests.len() as u64,
            pieces: digests.len().div_ceil(PIECE) as u64,
        }
    }

    /// The names of its pieces begin so.
    fn prefix(&self) -> String {
        format!("{ADOPTED}{} ", self.id)
    }
}

impl Control {
    /// Writes a list of adopted items, by their digests. It counts once a record names what this gives; a list
    /// that was half written when its writer died is named by none.
    ///
    /// # Errors
    /// The store's.
    pub async fn add_adopted(&self, target: &str, mut digests: Vec<u64>) -> Result<Adoption> {
        digests.sort_unstable();
        digests.dedup();
        let adoption = Adoption::of(&digests);
        for (place, piece) in digests.chunks(PIECE).enumerate() {
            let text: String = piece
                .iter()
                .map(|digest| format!("{digest:016x}"))
                .collect();
            // Names are read back in their order.
            let item = format!("{}{place:06}", adoption.prefix());
            let row = self.row(target, &item, &text, 0)?;
            self.write(vec![row]).await?;
        }
        Ok(adoption)
    }

    /// The digests of a list, in order.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the list isn't whole; the store's.
    pub async fn adopted(&self, target: &str, adoption: &Adoption) -> Result<Vec<u64>> {
        let pieces = self
            .list::<String>(target, &adoption.prefix())
            .await
            .and_then(|pieces| {
                let mut digests = Vec::new();
                for (_, piece) in &pieces {
                    digests.extend(read(piece).ok_or_else(|| self.broken(target))?);
                }
                Ok(digests)
            });
        match pieces {
            Ok(digests) if Adoption::of(&digests) == *adoption => Ok(digests),
            Ok(_) => Err(self.broken(target)),
            Err(error) if error.kind() == Kind::Corrupt => {
                Err(self.broken(target).with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets all lists of adopted items of a target. Not for a target that may still be verified.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_adopted(&self, target: &str) -> Result<()> {
        let rows = self.rows(target, ADOPTED).await?;
        self.purge(rows.into_iter().map(|(_, row)| row.key).collect())
            .await
    }

    fn broken(&self, target: &str) -> Error {
        Error::new(
            Kind::Corrupt,
            "the control table's list of adopted items isn't whole",
        )
        .with_context("target", target)
        .with_context("control table", self.name())
        .with_help(format!(
            "`migrate init --adopt {target}` makes it anew, of the items without a mark that are there by then"
        ))
    }
}

fn read(piece: &str) -> Option<Vec<u64>> {
    let (chunks, rest) = piece.as_bytes().as_chunks::<DIGITS>();
    let digest = |chunk: &[u8; DIGITS]| {
        let text = std::str::from_utf8(chunk).ok()?;
        u64::from_str_radix(text, 16).ok()
    };
    match rest {
        [] => chunks.iter().map(digest).collect(),
        _ => None,
    }
}
