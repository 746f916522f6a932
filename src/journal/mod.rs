//! What a copier has done, on this machine: a cache of what the target already proves.
//!
//! A folder per table (and shard), with one record per done token range, one per range in work with
//! its last acknowledged key, one per dead letter, and of counter tables the totals that have been
//! folded. Every record carries a version, a sequence
//! number and a CRC-32C. It is bound to a plan's name, both tables' identities, the mapping and the
//! number of the freeze; one that is bound to something else, or can't be opened, is set aside and
//! begun anew. Losing it costs time only: done ranges are in the control table too, and copying a
//! row again changes nothing.

mod totals;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use totals::RowTotals;

use crate::codec::{cql, key};
use crate::control::{Counts, DeadLetter};
use crate::disk::{Disk, OpenRefusal, disk_error, set_aside};
use crate::error::{Error, Kind, Result};
use crate::model::Intervals;
use crate::model::{Key, Tokens};
use crate::schema::Table;

/// First byte of a record.
const VERSION: u8 = 1;

const HEADER: &[u8] = b"header";
const COUNTS: &[u8] = b"counts";
const DONE: u8 = b'd';
const CURSOR: u8 = b'c';
const FAILURE: u8 = b'f';

/// Above both of these, a journal is written anew when it is opened.
const COMPACT_BYTES: u64 = 64 << 20;
const COMPACT_FACTOR: u64 = 8;

/// What a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The plan's name.
    pub plan: String,
    /// The old table's name.
    pub table: String,
    /// The old table's identity.
    pub old_id: String,
    /// The target's identity.
    pub target_id: String,
    /// Fingerprint of the mapping.
    pub mapping: String,
    /// The number of the freeze.
    pub freeze: u64,
    /// The control record's incarnation.
    #[serde(default, rename = "begun")]
    pub incarnation: String,
    /// Which part of the table, `1/4`; empty for all of it.
    pub shard: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    id: String,
    binding: Binding,
}

/// What a journal knew when it was opened.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Ranges whose every row the target has, or that are dead letters.
    pub done: Intervals,
    /// Ranges in work: what is left of each, and the last acknowledged key in it.
    pub cursors: Vec<(Tokens, Key)>,
    /// Rows and ranges that could not be copied.
    pub failures: Vec<DeadLetter>,
    /// What has been counted over all runs.
    pub counts: Counts,
}

/// An open journal.
pub struct Journal {
    id: String,
    disk: Disk,
    folder: PathBuf,
    table: Table,
    sequence: AtomicU64,
}

/// An open journal, what it remembers, and what had to be set aside for it.
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What it knew.
    pub remembered: Remembered,
    /// Why an older one was set aside, and where it is now.
    pub set_aside: Option<String>,
    /// It was set aside only because the table was frozen since, as every table is once.
    pub frozen_since: bool,
}

impl Journal {
    /// Opens the journal in a folder, or begins one. `table` is the old table.
    ///
    /// # Errors
    /// [`Kind::Config`] if another process holds it, or the folder can't be written.
    pub async fn open(folder: &Path, binding: &Binding, table: &Table) -> Result<Opened> {
        let (journal, remembered) = match Self::try_open(folder, binding, table).await {
            Ok(opened) => opened,
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Unfit { why, frozen_since }) => {
                let aside = set_aside(folder)?;
                let why = format!(
                    "the journal in {} {why}; it is in {} now, and a new one is begun",
                    folder.display(),
                    aside.display()
                );
                let (journal, remembered) = match Self::try_open(folder, binding, table).await {
                    Ok(opened) => opened,
                    Err(Trouble::Final(error)) => return Err(error),
                    Err(Trouble::Unfit { why: again, .. }) => {
                        return Err(Error::new(
                            Kind::Corrupt,
                            format!("a new journal {again} too"),
                        )
                        .with_context("folder", folder.display().to_string())
                        .with_help("check the disk, or name another folder in [journal]"));
                    }
                };
                return Ok(Opened {
                    journal,
                    remembered,
                    set_aside: Some(why),
                    frozen_since,
                });
            }
        };
        Ok(Opened {
            journal,
            remembered,
            set_aside: None,
            frozen_since: false,
        })
    }

    async fn try_open(
        folder: &Path,
        binding: &Binding,
        table: &Table,
    ) -> Result<(Journal, Remembered), Trouble> {
        let place = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let disk = Disk::open(&place)?;
            compacted(&place, disk)
        });
        let disk = match opened.await {
            Ok(Ok(disk)) => disk,
            Ok(Err(OpenRefusal::Held(holder))) => {
                return Err(Trouble::Final(
                    Error::new(
                        Kind::Config,
                        format!("another copy holds this journal: {holder}"),
                    )
                    .with_context("folder", folder.display().to_string())
                    .with_help(
                        "wait for it, or stop it; a further copy beside it needs a [journal] dir \
                             of its own, or --shard",
                    ),
                ));
            }
            Ok(Err(OpenRefusal::Damaged(why))) => {
                return Err(Trouble::unfit(format!("can't be opened ({why})")));
            }
            Ok(Err(OpenRefusal::Unusable(error))) => return Err(Trouble::Final(error)),
            Err(_) => return Err(Trouble::unfit("can't be opened (it failed inside)".into())),
        };
        let mut journal = Journal {
            id: format!("{:016x}", rand::random::<u64>()),
            disk,
            folder: folder.to_owned(),
            table: table.clone(),
            sequence: AtomicU64::new(1),
        };
        let remembered = journal.remember(binding).await?;
        Ok((journal, remembered))
    }

    async fn remember(&mut self, binding: &Binding) -> Result<Remembered, Trouble> {
        let folder = self.folder.clone();
        let read = self.disk.read(move |db| {
            // Counters' totals may be many, and are read when they are needed.
            let others = db
                .range(..[totals::FIRST])
                .chain(db.range([totals::PAST_TOTALS]..));
            let pairs = others.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())));
            pairs
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| disk_error("read", &folder, error))
        });
        let pairs = read
            .await
            .map_err(|error| Trouble::unfit(format!("can't be read ({error})")))?;
        let damaged = || Trouble::unfit("has a damaged record".to_owned());
        let mut remembered = Remembered::default();
        let mut header = None;
        for (key, record) in &pairs {
            let (sequence, body) = open_record(record).ok_or_else(damaged)?;
            self.sequence.fetch_max(sequence + 1, Ordering::Relaxed);
            match (key.as_slice(), key.first()) {
                (HEADER, _) => header = Some(serde_json::from_slice::<Header>(body).ok()),
                (COUNTS, _) => {
                    remembered.counts = serde_json::from_slice(body).map_err(|_| damaged())?;
                }
                (key, Some(&DONE)) => remembered.done.insert(tokens(key).ok_or_else(damaged)?),
                (key, Some(&CURSOR)) => {
                    let split = tokens(key).ok_or_else(damaged)?;
                    let at = key::of_bytes(&self.table, body).ok_or_else(damaged)?;
                    remembered.cursors.push((split, at));
                }
                (_, Some(&FAILURE)) => {
                    let letter = serde_json::from_slice(body).map_err(|_| damaged())?;
                    remembered.failures.push(letter);
                }
                _ => return Err(damaged()),
            }
        }
        match header {
            Some(Some(header)) if header.binding == *binding => self.id = header.id,
            Some(Some(header)) => {
                let there = header.binding;
                let frozen_since = Binding {
                    freeze: binding.freeze,
                    ..there.clone()
                } == *binding
                    && there.freeze < binding.freeze;
                let why = unfit(&there, binding);
                return Err(Trouble::Unfit { why, frozen_since });
            }
            Some(None) => return Err(damaged()),
            None if pairs.is_empty() => self.begin(binding).await.map_err(Trouble::Final)?,
            None => return Err(damaged()),
        }
        self.settle(&mut remembered).await.map_err(Trouble::Final)?;
        Ok(remembered)
    }

    async fn begin(&self, binding: &Binding) -> Result<()> {
        let header = Header {
            id: self.id.clone(),
            binding: binding.clone(),
        };
        let text = serde_json::to_vec(&header).map_err(|error| {
            Error::new(Kind::Invalid, "the journal's header").with_source(error)
        })?;
        let record = self.record(&text);
        let folder = self.folder.clone();
        self.disk
            .write(move |db| {
                let inserted = db.insert(HEADER, record);
                inserted
                    .map(drop)
                    .map_err(|error| disk_error("write to", &folder, error))
            })
            .await
    }

    /// What comes before each cursor's token is done; only the rest keeps the cursor. The split it
    /// came from is forgotten, so that another number of splits is no trouble.
    async fn settle(&self, remembered: &mut Remembered) -> Result<()> {
        let mut batch = sled::Batch::default();
        let mut left = Vec::new();
        for (split, key) in std::mem::take(&mut remembered.cursors) {
            batch.remove(range_key(CURSOR, split));
            let token = cql::token(self.table.partition(), &key.partition);
            if !split.contains(token) || remembered.done.missing_in(split).is_empty() {
                continue;
            }
            let before = Tokens {
                after: split.after,
                up_to: token - 1,
            };
            if !before.is_empty() {
                remembered.done.insert(before);
                batch.insert(range_key(DONE, before), self.record(&[]));
            }
            let rest = Tokens {
                after: token - 1,
                up_to: split.up_to,
            };
            batch.insert(
                range_key(CURSOR, rest),
                self.record(&key::to_bytes(&self.table, &key)),
            );
            left.push((rest, key));
        }
        remembered.cursors = left;
        self.write(batch).await
    }

    /// Names this journal in the control table. Stays the same over restarts.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes that the target has every row of a range up to and including this key. Nothing waits
    /// for it: a lost note is work done twice.
    pub fn acknowledge(&self, range: Tokens, key: &Key) {
        let record = self.record(&key::to_bytes(&self.table, key));
        let folder = self.folder.clone();
        self.disk.note(move |db| {
            let inserted = db.insert(range_key(CURSOR, range), record);
            inserted
                .map(drop)
                .map_err(|error| disk_error("write to", &folder, error))
        });
    }

    /// Notes that a range is done: the target has every row of it, or it is a dead letter.
    ///
    /// # Errors
    /// The disk's, also those of earlier notes.
    pub async fn finish(&self, range: Tokens, done: Tokens) -> Result<()> {
        let mut batch = sled::Batch::default();
        batch.remove(range_key(CURSOR, range));
        if !done.is_empty() {
            batch.insert(range_key(DONE, done), self.record(&[]));
        }
        self.write(batch).await
    }

    /// Takes over what others have done, so that a later start knows it too.
    ///
    /// # Errors
    /// The disk's.
    pub async fn adopt(&self, done: &Intervals) -> Result<()> {
        let mut batch = sled::Batch::default();
        done.iter()
            .for_each(|range| batch.insert(range_key(DONE, range), self.record(&[])));
        self.write(batch).await
    }

    /// Notes rows and ranges that could not be copied; the same one twice is one.
    ///
    /// # Errors
    /// The disk's.
    pub async fn add_failures(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for letter in letters {
            let text = serde_json::to_vec(letter)
                .map_err(|error| Error::new(Kind::Invalid, "a dead letter").with_source(error))?;
            let mut key = vec![FAILURE];
            key.extend_from_slice(letter.digest().as_bytes());
            batch.insert(key, self.record(&text));
        }
        self.write(batch).await
    }

    /// Notes what has been counted over all runs.
    ///
    /// # Errors
    /// The disk's.
    pub async fn count(&self, counts: &Counts) -> Result<()> {
        let mut batch = sled::Batch::default();
        let text = serde_json::to_vec(counts).map_err(|error| {
            Error::new(Kind::Invalid, "the journal's counts").with_source(error)
        })?;
        batch.insert(COUNTS, self.record(&text));
        self.write(batch).await
    }

    async fn write(&self, batch: sled::Batch) -> Result<()> {
        let folder = self.folder.clone();
        self.disk
            .write(move |db| {
                db.apply_batch(batch)
                    .map_err(|error| disk_error("write to", &folder, error))
            })
            .await
    }

    fn record(&self, body: &[u8]) -> Vec<u8> {
        seal(self.take_sequences(1), body)
    }

    /// The first of so many sequence numbers, which no other caller gets.
    fn take_sequences(&self, count: u64) -> u64 {
        self.sequence.fetch_add(count, Ordering::Relaxed)
    }
}

fn seal(sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(body);
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

/// Why a journal couldn't be opened.
enum Trouble {
    /// Nothing helps but the operator.
    Final(Error),
    /// It is set aside.
    Unfit { why: String, frozen_since: bool },
}

impl Trouble {
    fn unfit(why: String) -> Self {
        let frozen_since = false;
        Trouble::Unfit { why, frozen_since }
    }
}

fn unfit(there: &Binding, wanted: &Binding) -> String {
    let differs = [
        ("plan", there.plan == wanted.plan),
        ("table", there.table == wanted.table),
        ("old table's identity", there.old_id == wanted.old_id),
        ("target's identity", there.target_id == wanted.target_id),
        ("mapping", there.mapping == wanted.mapping),
        ("freeze", there.freeze == wanted.freeze),
        (
            "beginning (a reset, or another control record)",
            there.incarnation == wanted.incarnation,
        ),
        ("shard", there.shard == wanted.shard),
    ];
    let other: Vec<&str> = differs
        .iter()
        .filter(|(_, same)| !same)
        .map(|(what, _)| *what)
        .collect();
    format!("belongs to another {}", other.join(" and another "))
}

fn open_record(record: &[u8]) -> Option<(u64, &[u8])> {
    let (rest, sum) = record.split_last_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (&version, rest) = rest.split_first()?;
    let (sequence, body) = rest.split_first_chunk::<8>()?;
    (version == VERSION).then_some((u64::from_be_bytes(*sequence), body))
}

fn range_key(kind: u8, range: Tokens) -> Vec<u8> {
    let mut key = vec![kind];
    for edge in [range.after, range.up_to] {
        key.extend_from_slice(&((edge as u64) ^ (1 << 63)).to_be_bytes());
    }
    key
}

fn tokens(key: &[u8]) -> Option<Tokens> {
    let (after, up_to) = key.get(1..)?.split_first_chunk::<8>()?;
    let edge = |bytes: &[u8; 8]| (u64::from_be_bytes(*bytes) ^ (1 << 63)) as i64;
    Some(Tokens {
        after: edge(after),
        up_to: edge(up_to.try_into().ok()?),
    })
}

/// sled doesn't give space back by itself: a folder that has grown far beyond what is in it is
/// written anew beside it, compared, and put in its place.
fn compacted(folder: &Path, disk: Disk) -> Result<Disk, OpenRefusal> {
    if disk.size() < COMPACT_BYTES {
        return Ok(disk);
    }
    let damaged = |error: sled::Error| OpenRefusal::Damaged(error.to_string());
    let live = disk.live().map_err(damaged)?;
    if disk.size() / COMPACT_FACTOR < live {
        return Ok(disk);
    }
    let content = disk.content().map_err(damaged)?;
    drop(disk);
    let fresh = folder.with_extension("compact");
    // A leftover of a compaction that was killed: the folder itself is still whole.
    let _ = std::fs::remove_dir_all(&fresh);
    let copy = Disk::open(&fresh)?;
    copy.fill(&content).map_err(OpenRefusal::Unusable)?;
    let same = copy.content().map_err(damaged)? == content;
    drop(copy);
    if !same {
        return Err(OpenRefusal::Damaged(
            "its compacted copy differs from it".into(),
        ));
    }
    let old = set_aside(folder).map_err(OpenRefusal::Unusable)?;
    let moved = std::fs::rename(&fresh, folder);
    moved.map_err(|error| {
        OpenRefusal::Damaged(format!("its compacted copy can't be moved: {error}"))
    })?;
    // What is left is a duplicate of what has just been compared.
    let _ = std::fs::remove_dir_all(&old);
    Disk::open(folder)
}
