//! The control table: what every process of a migration has to agree on, kept in the new store.
//!
//! One item per thing, under the target table's name:
//!
//! | item | what it holds |
//! |---|---|
//! | `record` | phase, identities, source schema, mapping; changed by compare-and-set only |
//! | `progress <journal>` | a copier's done ranges, counts and heartbeat |
//! | `failure <digest>` | a dead letter: a row or range that could not be copied |
//! | `instance <id>` | an application that reads and writes through the shim |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Effect, Error, Kind, Result};
use crate::intervals::Intervals;
use crate::model::{Key, Row, Tokens, Value};
use crate::protocol::Phase;
use crate::schema::{Column, Order, Role, StoredTable, Table, Type};
use crate::store::{Cursor, Guard, New, Put};

const RECORD: &str = "record";
const PROGRESS: &str = "progress ";
const FAILURE: &str = "failure ";
const INSTANCE: &str = "instance ";

/// The places of the two cells of a control item.
const DOC: usize = 0;
const VERSION: usize = 1;

/// A target table's control record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The plan's name.
    pub plan: String,
    /// Where the migration stands.
    #[serde(with = "phase_name")]
    pub phase: Phase,
    /// How often the old table has been frozen so far.
    pub freeze: u64,
    /// Names this beginning. Where a record is made anew, because somebody deleted it, freezes are
    /// counted from 0 again, and nothing that was noted under the first one may count.
    #[serde(default)]
    pub begun: String,
    /// What never stays the same when the old table is made again.
    pub old_id: String,
    /// The same of the target.
    pub target_id: String,
    /// Fingerprint of source columns, target layout and transforms.
    pub mapping: String,
    /// The old table's schema.
    pub source: StoredTable,
    /// The target's, which reading it takes.
    pub target: StoredTable,
    /// `migrate reset` has begun to empty the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptying: bool,
    /// `init --adopt` took a target over that had items already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

mod phase_name {
    use super::Phase;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(phase: &Phase, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(phase.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Phase, D::Error> {
        let name = String::deserialize(from)?;
        Phase::from_name(&name).ok_or_else(|| {
            serde::de::Error::custom(format!("phase `{name}` is unknown to this version"))
        })
    }
}

/// A copier's counts. `written` and `present` are approximate where a reply was lost: a write that
/// was sent again counts as present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read from the old store.
    pub read: u64,
    /// Rows written to the new store.
    pub written: u64,
    /// Rows that the new store had already.
    pub present: u64,
    /// Rows and ranges that became dead letters.
    pub failed: u64,
    /// Bytes of rows written, as the new store counts them.
    pub bytes: u64,
    /// Write units consumed.
    pub units: f64,
    /// Times the new store asked for less.
    pub throttles: u64,
    /// Seconds it ran.
    pub seconds: f64,
    /// Counter rows that were written, because their old totals had grown.
    #[serde(default)]
    pub folded: u64,
    /// Counter rows whose old totals were in the new store already.
    #[serde(default)]
    pub unchanged: u64,
    /// Counter rows that a settling pass has left with their watermarks at the old totals.
    #[serde(default)]
    pub settled: u64,
    /// Counter rows whose old totals are below what the new store has of them; each is a dead letter.
    #[serde(default)]
    pub went_down: u64,
}

/// What one copier has done of a table, as everybody else sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The freeze it belongs to; of another one, it counts for nothing.
    pub freeze: u64,
    /// The record's beginning that it belongs to; of another one, it counts for nothing.
    #[serde(default)]
    pub begun: String,
    /// The mapping it belongs to.
    pub mapping: String,
    /// Machine and process, for people.
    pub copier: String,
    /// Grows while it runs.
    pub heartbeat: u64,
    /// It ended by itself, rather than being killed.
    pub ended: bool,
    /// Done token ranges, `after..up_to`.
    pub done: Vec<String>,
    /// What it has counted.
    pub counts: Counts,
}

/// Most done ranges a progress item holds; beyond it the narrowest are left out, and would be
/// copied again if the journal were lost.
const MOST_RANGES: usize = 4_000;

impl Progress {
    /// Whether it was noted under this record, as it stands now.
    pub fn is_of(&self, record: &Record) -> bool {
        self.freeze == record.freeze && self.begun == record.begun
    }

    /// The done ranges as text.
    pub fn ranges(done: &Intervals) -> Vec<String> {
        let mut ranges: Vec<Tokens> = done.iter().collect();
        ranges.sort_by_key(|tokens| std::cmp::Reverse(tokens.width()));
        ranges.truncate(MOST_RANGES);
        ranges
            .iter()
            .map(|tokens| format!("{}..{}", tokens.after, tokens.up_to))
            .collect()
    }

    /// The done ranges again; what can't be read counts as not done.
    pub fn intervals(&self) -> Intervals {
        let tokens = |text: &String| {
            let (after, up_to) = text.split_once("..")?;
            Some(Tokens {
                after: after.parse().ok()?,
                up_to: up_to.parse().ok()?,
            })
        };
        self.done.iter().filter_map(tokens).collect()
    }
}

/// Something that could not be copied: a row, or a range of rows that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The row's key or the range, for people.
    pub what: String,
    /// Why, and what helps.
    pub reason: String,
    /// The row's key columns as hex of their CQL bytes; none for a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<StoredKey>,
}

impl DeadLetter {
    /// A name for it: the same for the same row or range.
    pub(crate) fn digest(&self) -> String {
        use sha2::Digest;
        let text = format!("{} {:?}", self.what, self.key);
        hex(&sha2::Sha256::digest(text.as_bytes())[..16])
    }
}

/// A key as hex of its columns' CQL bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// Partition key columns.
    pub partition: Vec<String>,
    /// Clustering columns; none for a static row.
    pub clustering: Option<Vec<String>>,
}

/// A record with the version that a change has to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The record.
    pub record: Record,
    version: i64,
}

/// The control table of a new store.
#[derive(Clone)]
pub struct Control {
    store: New,
    table: Table,
}

impl Control {
    /// The control table of this name.
    pub fn new(store: New, name: &str) -> Self {
        let column = |name: &str, ty, role| Column {
            name: name.into(),
            ty,
            frozen: false,
            role,
        };
        let columns = vec![
            column("target", Type::Text, Role::Partition),
            column("item", Type::Text, Role::Clustering(Order::Asc)),
            column("doc", Type::Text, Role::Regular),
            column("v", Type::BigInt, Role::Regular),
        ];
        Control {
            store,
            table: Table::new(name, columns),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// Creates the table if it isn't there.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self) -> Result<()> {
        self.store.0.create(&self.table).await
    }

    /// A target's record; `None` if it has none, or there is no control table.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`] if the record can't be read.
    pub async fn load(&self, target: &str) -> Result<Option<Versioned>> {
        let rows = match self.store.0.get(&self.table, &[key(target, RECORD)]).await {
            Err(error) if error.kind() == Kind::Missing => return Ok(None),
            rows => rows?,
        };
        let Some(row) = rows.into_iter().flatten().next() else {
            return Ok(None);
        };
        let version = match row.cells.get(VERSION) {
            Some(Some(Value::BigInt(version))) => *version,
            _ => return Err(self.unreadable(target, RECORD, "its version is missing")),
        };
        Ok(Some(Versioned {
            record: self.read(target, &row)?,
            version,
        }))
    }

    /// A target's record, which has to be there.
    ///
    /// # Errors
    /// [`Kind::Missing`] if it isn't.
    pub async fn require(&self, target: &str) -> Result<Versioned> {
        self.load(target).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "this target has no control record")
                .at("target", target)
                .at("control table", self.name())
                .help("run `migrate init` first; if it has been run, somebody deleted the record")
        })
    }

    /// Writes the first record. `false` if another process was quicker.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(&self, target: &str, record: &Record) -> Result<bool> {
        self.swap(target, record, 1, &Guard::Absent).await
    }

    /// Changes the record, if it is still the one that was read. `false` if it isn't.
    ///
    /// # Errors
    /// The store's.
    pub async fn replace(&self, target: &str, seen: &Versioned, record: &Record) -> Result<bool> {
        let guard = Guard::Equals(VERSION, Value::BigInt(seen.version));
        self.swap(target, record, seen.version + 1, &guard).await
    }

    async fn swap(
        &self,
        target: &str,
        record: &Record,
        version: i64,
        guard: &Guard,
    ) -> Result<bool> {
        let row = self.row(target, RECORD, record, version)?;
        let answer = self
            .store
            .0
            .put(&self.table, &[row], guard)
            .await
            .rows
            .pop();
        match answer {
            Some(Ok(Put::Written)) => Ok(true),
            // Ours after a lost reply, or another's: the record itself tells.
            Some(Ok(Put::Refused)) => self.is_ours(target, record, version).await,
            Some(Err(error)) if error.known_effect() == Effect::Unknown => {
                match self.is_ours(target, record, version).await {
                    Ok(true) => Ok(true),
                    Ok(false) | Err(_) => Err(error),
                }
            }
            Some(Err(error)) => Err(error),
            None => Err(
                Error::new(Kind::Unknown, "the new store gave no answer to a write")
                    .effect(Effect::Unknown),
            ),
        }
    }

    async fn is_ours(&self, target: &str, record: &Record, version: i64) -> Result<bool> {
        let there = self.load(target).await?;
        Ok(there.is_some_and(|there| there.version == version && there.record == *record))
    }

    /// Writes what a copier has done so far. Only that copier writes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_progress(&self, target: &str, id: &str, progress: &Progress) -> Result<()> {
        let row = self.row(target, &format!("{PROGRESS}{id}"), progress, 0)?;
        self.write(vec![row]).await
    }

    /// What every copier of a target has done.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn progress(&self, target: &str) -> Result<Vec<(String, Progress)>> {
        self.list(target, PROGRESS).await
    }

    /// Adds dead letters; the same row or range twice is one.
    ///
    /// # Errors
    /// The store's.
    pub async fn add_failures(&self, target: &str, letters: &[DeadLetter]) -> Result<()> {
        let mut rows: Vec<Row> = Vec::with_capacity(letters.len());
        for letter in letters {
            let row = self.row(target, &format!("{FAILURE}{}", letter.digest()), letter, 0)?;
            if !rows.iter().any(|other| other.key == row.key) {
                rows.push(row);
            }
        }
        self.write(rows).await
    }

    /// The dead letters of a target.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn failures(&self, target: &str) -> Result<Vec<DeadLetter>> {
        let letters = self.list(target, FAILURE).await?;
        Ok(letters.into_iter().map(|(_, letter)| letter).collect())
    }

    /// Forgets dead letters.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_failures(&self, target: &str, letters: &[DeadLetter]) -> Result<()> {
        let name = |letter: &DeadLetter| key(target, &format!("{FAILURE}{}", letter.digest()));
        self.purge(letters.iter().map(name).collect()).await
    }

    /// The applications that are registered for a target.
    ///
    /// # Errors
    /// The store's.
    pub async fn instances(&self, target: &str) -> Result<Vec<String>> {
        let rows = self.rows(target, INSTANCE).await?;
        Ok(rows.into_iter().map(|(name, _)| name).collect())
    }

    /// Forgets all progress and dead letters of a target.
    ///
    /// # Errors
    /// The store's.
    pub async fn clear(&self, target: &str) -> Result<()> {
        for prefix in [PROGRESS, FAILURE] {
            let rows = self.rows(target, prefix).await?;
            let keys = rows.into_iter().map(|(_, row)| row.key).collect();
            self.purge(keys).await?;
        }
        Ok(())
    }

    async fn purge(&self, keys: Vec<Key>) -> Result<()> {
        let purged = self.store.0.purge(&self.table, keys, &Guard::Always).await;
        let purged = purged.rows.into_iter().collect::<Result<Vec<Put>>>();
        purged.map(drop)
    }

    async fn write(&self, rows: Vec<Row>) -> Result<()> {
        let puts = self.store.0.put(&self.table, &rows, &Guard::Always).await;
        puts.rows
            .into_iter()
            .collect::<Result<Vec<Put>>>()
            .map(drop)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        target: &str,
        prefix: &str,
    ) -> Result<Vec<(String, T)>> {
        let rows = self.rows(target, prefix).await?;
        rows.into_iter()
            .map(|(name, row)| Ok((name, self.read(target, &row)?)))
            .collect()
    }

    /// The items whose name begins so, with the rest of the name.
    async fn rows(&self, target: &str, prefix: &str) -> Result<Vec<(String, Row)>> {
        let mut found = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let partition = [Value::text(target)];
            let page = self
                .store
                .0
                .query(&self.table, &partition, cursor.as_ref(), 1_000)
                .await;
            let page = match page {
                Err(error) if error.kind() == Kind::Missing => return Ok(found),
                page => page?,
            };
            for row in page.rows {
                if let Some(name) = item_name(&row).and_then(|name| name.strip_prefix(prefix)) {
                    found.push((name.to_owned(), row));
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    fn row(&self, target: &str, item: &str, doc: &impl Serialize, version: i64) -> Result<Row> {
        let doc = serde_json::to_string(doc).map_err(|error| {
            Error::new(Kind::Invalid, "a control item can't be written").source_of(error)
        })?;
        let mut cells = vec![None, None];
        cells[DOC] = Some(Value::Text(doc));
        cells[VERSION] = Some(Value::BigInt(version));
        Ok(Row::new(key(target, item), cells))
    }

    fn read<T: DeserializeOwned>(&self, target: &str, row: &Row) -> Result<T> {
        let item = item_name(row).unwrap_or("an item").to_owned();
        match row.cells.get(DOC) {
            Some(Some(Value::Text(doc))) => serde_json::from_str(doc)
                .map_err(|error| self.unreadable(target, &item, &error.to_string())),
            _ => Err(self.unreadable(target, &item, "it is empty")),
        }
    }

    fn unreadable(&self, target: &str, item: &str, why: &str) -> Error {
        Error::new(
            Kind::Corrupt,
            format!("the control table's `{item}` can't be read: {why}"),
        )
        .at("target", target)
        .at("control table", self.name())
        .help("was it written by a newer version, or changed by hand?")
    }
}

fn key(target: &str, item: &str) -> Key {
    Key::row(vec![Value::text(target)], vec![Value::text(item)])
}

fn item_name(row: &Row) -> Option<&str> {
    match row.key.clustering.as_deref() {
        Some([Value::Text(name)]) => Some(name),
        _ => None,
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::layer::faulty::{Faults, Faulty};
    use crate::store::memory::Memory;

    fn record(plan: &str) -> Record {
        let id = Column {
            name: "id".into(),
            ty: Type::Int,
            frozen: false,
            role: Role::Partition,
        };
        let table = StoredTable::of(&Table::new("t", vec![id]));
        Record {
            plan: plan.into(),
            phase: Phase::Old,
            freeze: 0,
            begun: "once".into(),
            old_id: "old".into(),
            target_id: "new".into(),
            mapping: "m".into(),
            source: table.clone(),
            target: table,
            emptying: false,
            adopted: false,
        }
    }

    fn control(memory: &Arc<Memory>, faults: Faults) -> Control {
        let store = Faulty::new(memory.clone(), faults, 1);
        Control::new(New(Arc::new(store)), "control")
    }

    #[tokio::test]
    async fn a_change_names_the_version_it_has_seen() {
        let memory = Arc::new(Memory::new());
        let control = control(&memory, Faults::default());
        assert_eq!(
            control.load("t").await.unwrap(),
            None,
            "no table, no record"
        );
        control.create().await.unwrap();
        assert!(control.add("t", &record("a")).await.unwrap());
        assert!(
            !control.add("t", &record("b")).await.unwrap(),
            "another was quicker"
        );
        let seen = control.require("t").await.unwrap();
        let offline = Record {
            phase: Phase::Offline,
            freeze: 1,
            ..record("a")
        };
        assert!(control.replace("t", &seen, &offline).await.unwrap());
        let late = Record {
            freeze: 9,
            ..record("a")
        };
        assert!(
            !control.replace("t", &seen, &late).await.unwrap(),
            "it has changed since"
        );
        assert_eq!(control.require("t").await.unwrap().record, offline);
    }

    #[tokio::test]
    async fn a_change_whose_reply_is_lost_is_found_again() {
        let memory = Arc::new(Memory::new());
        control(&memory, Faults::default()).create().await.unwrap();
        let deaf = control(
            &memory,
            Faults {
                reply_lost: 1.0,
                ..Faults::default()
            },
        );
        assert!(deaf.add("t", &record("a")).await.unwrap());
        let seen = deaf.require("t").await.unwrap();
        let next = Record {
            freeze: 1,
            ..record("a")
        };
        assert!(deaf.replace("t", &seen, &next).await.unwrap());
        let error = deaf.replace("t", &seen, &record("b")).await.unwrap_err();
        assert_eq!(error.known_effect(), Effect::Unknown, "not ours: {error}");
        assert_eq!(deaf.require("t").await.unwrap().record, next);
    }

    #[tokio::test]
    async fn what_copiers_note_is_listed_and_can_be_cleared() {
        let memory = Arc::new(Memory::new());
        let control = control(&memory, Faults::default());
        control.create().await.unwrap();
        let done = [
            Tokens {
                after: i64::MIN,
                up_to: -5,
            },
            Tokens {
                after: 7,
                up_to: i64::MAX,
            },
        ];
        let done: Intervals = done.into_iter().collect();
        let progress = Progress {
            freeze: 1,
            begun: "once".into(),
            mapping: "m".into(),
            copier: "here".into(),
            heartbeat: 3,
            ended: false,
            done: Progress::ranges(&done),
            counts: Counts::default(),
        };
        control.note_progress("t", "one", &progress).await.unwrap();
        let letter = |what: &str| DeadLetter {
            what: what.into(),
            reason: "x".into(),
            key: None,
        };
        control
            .add_failures("t", &[letter("a"), letter("b"), letter("a")])
            .await
            .unwrap();
        control.add_failures("other", &[letter("c")]).await.unwrap();
        let listed = control.progress("t").await.unwrap();
        assert_eq!(listed, [("one".to_owned(), progress)]);
        assert_eq!(listed[0].1.intervals(), done);
        assert_eq!(control.failures("t").await.unwrap().len(), 2);
        control.clear("t").await.unwrap();
        assert!(control.failures("t").await.unwrap().is_empty());
        assert!(control.progress("t").await.unwrap().is_empty());
        assert_eq!(control.failures("other").await.unwrap().len(), 1);
    }
}
