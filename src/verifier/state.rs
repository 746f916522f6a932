//! How far a verification has come, and the file that it goes on from after a kill.
//!
//! Everything that a page adds, and the place after it, change together under one lock; the file holds
//! a copy of all of it, taken under that lock. So a row is counted once, however often it is killed. The file
//! is written beside its old self and put in its place, and carries a version and a checksum. One that
//! can't be read, or belongs to something else, is begun anew: it costs time only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::MARGIN;
use super::buckets::Buckets;
use super::found::Found;
use super::grid::short;
use super::verdict::{Suspect, Why};
use crate::clock::unix_seconds;
use crate::control::StoredKey;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::model::Intervals;
use crate::model::{Key, Tokens};
use crate::schema::Table;
use crate::store::{Cursor, Range};

const VERSION: u8 = 2;

/// Keys of items that the application owns which are remembered whole.
pub(super) const FEW_OWNED: usize = 10_000;

/// A part of the new table, and how far it has been read.
#[derive(Clone, Debug)]
pub(super) struct ScannedPart {
    pub range: Range,
    pub cursor: Option<Cursor>,
    pub is_done: bool,
}

/// Keys of the new store whose old rows don't matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Owned {
    /// All of them while they are few; then none.
    pub keys: Vec<Key>,
    /// The beginning of each key's digest, of as many as are remembered.
    pub fingerprints: Vec<u64>,
    /// How many there are.
    pub count: u64,
}

impl Owned {
    /// Adds one; only counts it if `most` are remembered already.
    pub fn add(&mut self, key: Key, digest: u128, most: usize) {
        self.count += 1;
        if self.fingerprints.len() >= most {
            return;
        }
        self.fingerprints.push(short(digest));
        if self.fingerprints.len() <= FEW_OWNED {
            self.keys.push(key);
        } else {
            self.keys = Vec::new();
        }
    }
}

/// How far a verification has come.
#[derive(Clone, Debug)]
pub(super) struct VerifyState {
    /// What digests are made with.
    pub seed: u64,
    /// When it began, seconds since 1970.
    pub begun_at: i64,
    /// Rows that expire up to here are left out.
    pub cutoff: i64,
    pub sums: Buckets,
    pub old_done: Intervals,
    pub parts: Vec<ScannedPart>,
    pub found: Found,
    /// Rows that are to be looked at again.
    pub suspects: Vec<Suspect>,
    /// Key digests of those that aren't suspected for comparing badly: comparing leaves them out.
    pub special: BTreeSet<u64>,
    pub owned: Owned,
    /// What a repair may mend.
    pub mend: Vec<Suspect>,
}

impl VerifyState {
    pub fn new(parts: Vec<Range>) -> Self {
        let begun_at = unix_seconds();
        let part = |range| ScannedPart {
            range,
            cursor: None,
            is_done: false,
        };
        VerifyState {
            seed: rand::random(),
            begun_at,
            cutoff: begun_at + MARGIN,
            sums: Buckets::default(),
            old_done: Intervals::default(),
            parts: parts.into_iter().map(part).collect(),
            found: Found::default(),
            suspects: Vec::new(),
            special: BTreeSet::new(),
            owned: Owned::default(),
            mend: Vec::new(),
        }
    }

    pub fn suspect(&mut self, suspect: Suspect, digest: u128) {
        if suspect.why.is_special() {
            self.special.insert(short(digest));
        }
        self.suspects.push(suspect);
    }
}

/// What the file of a verification belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belongs {
    /// The plan's name.
    pub plan: String,
    /// The old table's name and identity.
    pub old: (String, String),
    /// The target's name and identity.
    pub new: (String, String),
    /// Fingerprint of the mapping.
    pub mapping: String,
    /// The number of the freeze.
    pub freeze: u64,
    /// The control record's incarnation.
    #[serde(rename = "begun")]
    pub incarnation: String,
    /// How the old store is read.
    pub reading: String,
    /// What each copier and fold had told of itself when it began, as digests. Once one has worked since, what
    /// was read before counts for nothing in front of `new`, so that it isn't gone on with.
    pub copiers: BTreeMap<String, String>,
    /// The list of adopted items by which they are told from strangers'.
    #[serde(default)]
    pub adoption: Option<String>,
}

/// What is in the file beside sums and digests.
#[derive(Serialize, Deserialize)]
struct Saved {
    belongs: Belongs,
    seed: u64,
    begun_at: i64,
    cutoff: i64,
    seconds: f64,
    old_done: Vec<(i64, i64)>,
    parts: Vec<SavedPart>,
    found: Found,
    suspects: Vec<SavedSuspect>,
    mend: Vec<SavedSuspect>,
    owned: Vec<StoredKey>,
    owned_count: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedPart {
    range: SavedRange,
    key: Option<StoredKey>,
    state: Option<Vec<u8>>,
    is_done: bool,
}

#[derive(Serialize, Deserialize)]
enum SavedRange {
    Tokens(i64, i64),
    Segment(u32, u32),
}

#[derive(Serialize, Deserialize)]
struct SavedSuspect {
    why: Why,
    key: StoredKey,
    source: Option<StoredKey>,
}

/// The file that a verification goes on from. One process holds it.
pub struct Checkpoint {
    path: PathBuf,
    pub(super) belongs: Belongs,
    /// Both tables, old and new: keys are kept as their bytes.
    tables: (Table, Table),
    /// Seconds that earlier runs took.
    pub(super) seconds: f64,
    _lock: File,
}

impl Checkpoint {
    /// Takes hold of a table's file in a folder, which is made if need be.
    ///
    /// # Errors
    /// [`Kind::Config`] if another process holds it, or the folder can't be written.
    pub fn open(
        folder: &Path,
        table: &str,
        belongs: Belongs,
        tables: (Table, Table),
    ) -> Result<Self> {
        let failed = |error: std::io::Error| cannot("make", folder, &error);
        disk::private_folder(folder).map_err(failed)?;
        let lock = folder.join(format!("{table}.verify.lock"));
        let lock = disk::private_file(&lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Kind::Config,
                    "another process verifies this table from the same folder",
                )
                .with_context("table", table)
                .with_context("folder", folder.display().to_string())
                .with_help("wait for it, or stop it"));
            }
            Err(fs::TryLockError::Error(error)) => return Err(cannot("lock", folder, &error)),
        }
        Ok(Checkpoint {
            path: folder.join(format!("{table}.verify")),
            belongs,
            tables,
            seconds: 0.0,
            _lock: lock,
        })
    }

    /// What an earlier run has left, if it is fit to be gone on with and its oldest part no older than this.
    pub(super) fn resume(&mut self, fresh: Duration) -> Option<VerifyState> {
        let bytes = fs::read(&self.path).ok()?;
        let (saved, state) = self.read(&bytes)?;
        if saved.belongs != self.belongs {
            return None;
        }
        // One that seems to come is of a clock that was wrong, then or now.
        if (unix_seconds() - saved.begun_at).unsigned_abs() > fresh.as_secs() {
            tracing::info!(
                "{}: an earlier verification was stopped, and what it read first is older than `[verify] fresh` \
                 ({} s): reading everything again",
                self.belongs.old.0,
                fresh.as_secs()
            );
            return None;
        }
        self.seconds = saved.seconds;
        tracing::info!(
            "{}: going on where an earlier verification was stopped",
            self.belongs.old.0
        );
        Some(state)
    }

    /// Keeps a state. Blocks.
    ///
    /// # Errors
    /// [`Kind::Config`] if the file can't be written.
    pub(super) fn keep(&self, state: &VerifyState, seconds: f64) -> Result<()> {
        let header = serde_json::to_vec(&self.saved(state, seconds)).map_err(|error| {
            Error::new(Kind::Invalid, "the state of a verification").with_source(error)
        })?;
        let beside = self.path.with_extension("verify.new");
        let written = disk::private_file(&beside)
            .and_then(|file| write(file, &header, state))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|error| cannot("write", &self.path, &error))
    }

    /// Forgets what was kept: the verification is over, and what it found is noted.
    pub fn remove(&self) {
        // One that stays is too old some day, and only costs a look.
        let _ = fs::remove_file(&self.path);
    }

    fn saved(&self, state: &VerifyState, seconds: f64) -> Saved {
        let (old, new) = &self.tables;
        let suspect = |suspect: &Suspect| SavedSuspect {
            why: suspect.why,
            key: StoredKey::of(new, &suspect.key),
            source: suspect.source.as_ref().map(|key| StoredKey::of(old, key)),
        };
        let part = |part: &ScannedPart| {
            Some(SavedPart {
                range: match part.range {
                    Range::Tokens(tokens) => SavedRange::Tokens(tokens.after, tokens.up_to),
                    Range::Segment { index, total } => SavedRange::Segment(index, total),
                    Range::Slice(_) => return None,
                },
                key: part.cursor.as_ref().map(|at| StoredKey::of(new, &at.key)),
                state: part.cursor.as_ref().and_then(|at| at.state.clone()),
                is_done: part.is_done,
            })
        };
        Saved {
            belongs: self.belongs.clone(),
            seed: state.seed,
            begun_at: state.begun_at,
            cutoff: state.cutoff,
            seconds,
            old_done: state.old_done.iter().map(|t| (t.after, t.up_to)).collect(),
            parts: state.parts.iter().filter_map(part).collect(),
            found: state.found.clone(),
            suspects: state.suspects.iter().map(suspect).collect(),
            mend: state.mend.iter().map(suspect).collect(),
            owned_count: state.owned.count,
            owned: state
                .owned
                .keys
                .iter()
                .map(|key| StoredKey::of(new, key))
                .collect(),
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<(Saved, VerifyState)> {
        let (rest, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(rest) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (&version, mut rest) = rest.split_first()?;
        if version != VERSION {
            return None;
        }
        let mut section = || {
            let (size, after) = rest.split_first_chunk::<8>()?;
            let size = usize::try_from(u64::from_be_bytes(*size)).ok()?;
            let (section, after) = after.split_at_checked(size)?;
            rest = after;
            Some(section)
        };
        let saved: Saved = serde_json::from_slice(section()?).ok()?;
        let sums = Buckets::from_bytes(section()?)?;
        let numbers = |bytes: &[u8]| -> Vec<u64> {
            let chunks = bytes.chunks_exact(8);
            let number = |chunk: &[u8]| {
                chunk
                    .iter()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte))
            };
            chunks.map(number).collect()
        };
        let (fingerprints, special) = (numbers(section()?), numbers(section()?));
        let (old, new) = &self.tables;
        let suspects = |saved: &[SavedSuspect]| {
            let suspect = |saved: &SavedSuspect| {
                Some(Suspect {
                    why: saved.why,
                    key: saved.key.key(new)?,
                    source: match &saved.source {
                        Some(key) => Some(key.key(old)?),
                        None => None,
                    },
                })
            };
            saved.iter().map(suspect).collect::<Option<Vec<_>>>()
        };
        let part = |saved: &SavedPart| {
            Some(ScannedPart {
                range: match saved.range {
                    SavedRange::Tokens(after, up_to) => Range::Tokens(Tokens { after, up_to }),
                    SavedRange::Segment(index, total) => Range::Segment { index, total },
                },
                cursor: match &saved.key {
                    Some(key) => Some(Cursor {
                        key: key.key(new)?,
                        state: saved.state.clone(),
                    }),
                    None => None,
                },
                is_done: saved.is_done,
            })
        };
        let owned = saved.owned.iter().map(|key| key.key(new));
        let tokens = |&(after, up_to): &(i64, i64)| Tokens { after, up_to };
        let state = VerifyState {
            seed: saved.seed,
            begun_at: saved.begun_at,
            cutoff: saved.cutoff,
            sums,
            old_done: saved.old_done.iter().map(tokens).collect(),
            parts: saved.parts.iter().map(part).collect::<Option<_>>()?,
            found: saved.found.clone(),
            suspects: suspects(&saved.suspects)?,
            special: special.into_iter().collect(),
            owned: Owned {
                keys: owned.collect::<Option<_>>()?,
                fingerprints,
                count: saved.owned_count,
            },
            mend: suspects(&saved.mend)?,
        };
        Some((saved, state))
    }
}

/// Writes a state piece by piece: there may be as much of it as there is memory to spare.
fn write(file: File, header: &[u8], state: &VerifyState) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, Summed { file, sum: 0 });
    out.write_all(&[VERSION])?;
    let size = |bytes: usize| (bytes as u64).to_be_bytes();
    out.write_all(&size(header.len()))?;
    out.write_all(header)?;
    out.write_all(&size(state.sums.size()))?;
    state.sums.write(&mut out)?;
    out.write_all(&size(state.owned.fingerprints.len() * 8))?;
    for fingerprint in &state.owned.fingerprints {
        out.write_all(&fingerprint.to_be_bytes())?;
    }
    out.write_all(&size(state.special.len() * 8))?;
    for fingerprint in &state.special {
        out.write_all(&fingerprint.to_be_bytes())?;
    }
    out.flush()?;
    let Summed { file, sum } = out.get_mut();
    file.write_all(&sum.to_be_bytes())?;
    file.sync_data()
}

/// A file, and the checksum of what was written to it.
struct Summed {
    file: File,
    sum: u32,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Kind::Config,
        format!("can't {what} {}: {error}", path.display()),
    )
    .with_help("check the disk, or name another folder in [journal]")
}
