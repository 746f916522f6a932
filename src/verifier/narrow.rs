//! Which of the rows in open buckets are worth a look.
//!
//! A bucket has many rows, and a wide partition has all of its rows in one. So where open buckets have more rows than
//! fit into memory, both tables are read again, and the rows of open buckets are summed up in a million other
//! buckets, chosen by the whole key. Of `n` rows in open buckets, `d` of which differ, about `d * (1 + n / 2^20)` are
//! left in those of the other buckets that are open.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use super::VerifyRun;
use super::buckets::Buckets;
use super::canonical::{Fingerprint, Fingerprinter};
use super::grid::{BUCKETS, Side, short};
use super::verdict::Stance;
use crate::clock::unix_seconds;
use crate::error::{Error, Kind, Result};

/// Some of all buckets.
#[derive(Clone, Debug)]
pub(super) struct Open(Vec<u64>);

impl FromIterator<u32> for Open {
    fn from_iter<I: IntoIterator<Item = u32>>(buckets: I) -> Self {
        let mut open = Open(vec![0; BUCKETS as usize / 64]);
        for bucket in buckets {
            open.0[(bucket % BUCKETS) as usize / 64] |= 1 << (bucket % 64);
        }
        open
    }
}

impl Open {
    fn has(&self, bucket: u32) -> bool {
        self.0[(bucket % BUCKETS) as usize / 64] >> (bucket % 64) & 1 == 1
    }

    /// Them as runs of neighbours.
    pub fn runs(&self) -> Vec<RangeInclusive<u32>> {
        let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
        for bucket in (0..BUCKETS).filter(|bucket| self.has(*bucket)) {
            match runs.last_mut() {
                Some(run) if *run.end() + 1 == bucket => *run = *run.start()..=bucket,
                Some(_) | None => runs.push(bucket..=bucket),
            }
        }
        runs
    }
}

/// Rows in which the stores may differ.
pub(super) struct Suspected {
    /// The buckets of tokens that are open.
    pub buckets: Open,
    /// Of each narrowing, its buckets that are open.
    narrowed: Vec<Open>,
    /// How many rows that is.
    pub rows: u64,
    /// How many of them seem to differ at least.
    pub least: u64,
}

impl Suspected {
    pub fn of(sums: &Buckets) -> Self {
        let (buckets, rows, least) = open(sums);
        Suspected {
            buckets,
            narrowed: Vec::new(),
            rows,
            least,
        }
    }

    pub fn has(&self, bucket: u32, key: u128) -> bool {
        let mut narrowed = self.narrowed.iter().enumerate();
        self.buckets.has(bucket) && narrowed.all(|(turn, open)| open.has(bucket_of(turn, key)))
    }
}

/// The buckets that are open, how many rows they have, and how many of those seem to differ at least.
fn open(sums: &Buckets) -> (Open, u64, u64) {
    let (mut rows, mut least) = (0, 0);
    let open = sums.open().map(|opened| {
        rows += opened.rows;
        least += opened.least;
        opened.bucket
    });
    (open.collect(), rows, least)
}

/// The bucket of a key in some narrowing: other bits of its digest for each.
fn bucket_of(turn: usize, key: u128) -> u32 {
    (key >> (20 * (turn % 3))) as u32 % BUCKETS
}

impl VerifyRun<'_> {
    /// Reads what is suspected once more, and drops what is the same. Leaves it as it is if expiries can't be
    /// compared as closely as they were, `bound`, or if enough differences were found on the way. `owned` are
    /// keys of the application's, in order.
    pub(super) async fn narrow(
        &self,
        suspected: &mut Suspected,
        bound: Option<u64>,
        owned: &[u64],
    ) -> Result<()> {
        let turn = suspected.narrowed.len();
        let sums = Mutex::new(Buckets::default());
        let cutoff = unix_seconds() + super::MARGIN;
        let add = |side: Side, fingerprint: Fingerprint| {
            let lives = fingerprint.expires.is_none_or(|at| at > cutoff);
            if lives
                && suspected.has(fingerprint.bucket, fingerprint.key)
                && owned.binary_search(&short(fingerprint.key)).is_err()
            {
                let bucket = bucket_of(turn, fingerprint.key);
                let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                sums.add_one(
                    side,
                    &Fingerprint {
                        bucket,
                        ..fingerprint
                    },
                );
            }
        };
        let mut fingerprinter = Fingerprinter::new(self.verifier.transform.target(), self.seed);
        let old = self.old_rows(self.old_tokens(&suspected.buckets), |row| {
            if let Some(fingerprint) = self.old_print(row, &mut fingerprinter, cutoff) {
                add(Side::Old, fingerprint);
            }
        });
        let new = async {
            let ranges = self.new_ranges(&suspected.buckets).await?;
            let item = |range| {
                self.new_items(range, |item, fingerprinter| match self.stance(&item) {
                    Stance::Compared => {
                        if let Some(item) = self.as_compared(item) {
                            add(Side::New, fingerprinter.fingerprint(&item));
                        }
                    }
                    // Their old rows stay suspected.
                    Stance::Owned | Stance::Adopted | Stance::Foreign | Stance::Partial => {}
                })
            };
            self.at_once(ranges, item).await
        };
        tokio::try_join!(old, new)?;
        let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.is_full();
        sums.forgive();
        let narrowed = sums.bound().map_err(|_| too_many())?;
        let is_as_close = match (bound, narrowed) {
            (Some(bound), Some(narrowed)) => narrowed <= bound,
            (None, _) | (_, None) => true,
        };
        if is_as_close && !self.is_enough() {
            let (open, rows, least) = open(&sums);
            suspected.narrowed.push(open);
            suspected.rows = rows;
            suspected.least = suspected.least.max(least);
        }
        Ok(())
    }
}

pub(super) fn too_many() -> Error {
    Error::new(
        Kind::Unsupported,
        "more rows expire than can be compared in the memory there is",
    )
    .with_help("compare parts of it with --sample")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_buckets_are_those_that_were_named() {
        let named = [0, 1, 7, 8, 9, 63, 64, BUCKETS - 1];
        let open: Open = named.into_iter().collect();
        let has: Vec<u32> = (0..BUCKETS).filter(|bucket| open.has(*bucket)).collect();
        assert_eq!(has, named);
        assert_eq!(
            open.runs(),
            [0..=1, 7..=9, 63..=64, BUCKETS - 1..=BUCKETS - 1]
        );
    }
}
