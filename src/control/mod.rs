//! The control table: what every process of a migration has to agree on, kept in the new store.
//!
//! One item per thing, under the target table's name:
//!
//! | item | what it holds |
//! |---|---|
//! | `record` | phase, identities, source schema, mapping; changed by compare-and-set only |
//! | `progress <journal>` | a copier's done ranges, counts and heartbeat |
//! | `failure <digest>` | a dead letter: a row or range that could not be copied |
//! | `verified` | what the last whole verification found |
//! | `adopted <id> <n>` | digests of items that `init --adopt` found |
//! | `pace` | what operators want of the tools' pace; changed by compare-and-set only |
//! | `pacing <id>` | what one process of the tools does at the moment, and why not more |
//! | `instance <id>` | a participant: an application or a tool that may write to the target |
//!
//! And one under a plan's name: `tables`, for what the plan's patterns stand for.

mod adopted;
mod barrier;
mod expansion;
mod leased;
mod member;
mod new;
mod pacing;
mod record;
mod told;

pub use barrier::{Awaited, Gone, Late, Watch};
pub use expansion::Expansion;
pub use leased::Leased;
pub use member::{Accept, Lease, Member, MemberRole, PhaseGuard};
pub use new::New;
pub use pacing::{PaceReport, PaceSharers, PaceWish};
pub use record::{
    Adoption, Counts, DeadLetter, Participant, ParticipantKind, PhaseMove, Progress, Record,
    StoredKey, Verified, Versioned,
};

use std::ops::Bound;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Effect, Error, Kind, Result};
use crate::model::{ClusteringRange, Condition, Key, Query, Row, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Store, WriteOutcome};

const RECORD: &str = "record";
const PROGRESS: &str = "progress ";
const FAILURE: &str = "failure ";
const INSTANCE: &str = "instance ";
const VERIFIED: &str = "verified";

/// The places of the two cells of a control item.
const DOC: usize = 0;
const VERSION: usize = 1;

/// The control table of a new store.
#[derive(Clone)]
pub struct Control {
    /// The leases live here, so no lease is asked for; see [`New`].
    store: Arc<dyn Store>,
    table: Table,
}

impl Control {
    /// The control table of this name.
    pub fn new(store: New, name: &str) -> Self {
        let columns = vec![
            Column::new("target", Type::Text, Role::Partition),
            Column::new("item", Type::Text, Role::Clustering(Order::Asc)),
            Column::new("doc", Type::Text, Role::Regular),
            Column::new("v", Type::BigInt, Role::Regular),
        ];
        Control {
            store: store.store().clone(),
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
        self.store.create(&self.table).await
    }

    /// A target's record; `None` if it has none, or there is no control table.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`] if the record can't be read.
    pub async fn load(&self, target: &str) -> Result<Option<Versioned>> {
        let found = self.item(target, RECORD).await?;
        Ok(found.map(|(record, version)| Versioned { record, version }))
    }

    /// An item and its version.
    async fn item<T: DeserializeOwned>(
        &self,
        target: &str,
        item: &str,
    ) -> Result<Option<(T, i64)>> {
        let rows = match self.store.get(&self.table, &[key(target, item)]).await {
            Err(error) if error.kind() == Kind::Missing => return Ok(None),
            rows => rows?,
        };
        match rows.into_iter().flatten().next() {
            Some(row) => Ok(Some((
                self.read(target, &row)?,
                self.version(target, &row)?,
            ))),
            None => Ok(None),
        }
    }

    fn version(&self, target: &str, row: &Row) -> Result<i64> {
        match row.cells.get(VERSION) {
            Some(Some(Value::BigInt(version))) => Ok(*version),
            _ => {
                let item = item_name(row).unwrap_or("an item");
                Err(self.unreadable(target, item, "its version is missing"))
            }
        }
    }

    /// A target's record, which has to be there.
    ///
    /// # Errors
    /// [`Kind::Missing`] if it isn't.
    pub async fn require(&self, target: &str) -> Result<Versioned> {
        self.load(target)
            .await?
            .ok_or_else(|| self.has_none(target))
    }

    /// That a target has no record.
    pub(crate) fn has_none(&self, target: &str) -> Error {
        Error::new(Kind::Missing, "this target has no control record")
            .with_context("target", target)
            .with_context("control table", self.name())
            .with_help(
                "run `migrate init` first; if it has been run, `control_table` in the plan is spelled differently now, \
                 or the record was deleted",
            )
    }

    /// Writes the first record. `false` if another process was quicker.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(&self, target: &str, record: &Record) -> Result<bool> {
        self.swap(target, RECORD, record, 1, &Condition::absent())
            .await
    }

    /// Changes the record, if it is still the one that was read. `false` if it isn't. Its phase changes
    /// along the phase table only, whatever the command wants.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] for a move that isn't in the table, [`crate::protocol::Phase::transition_to`]; the store's.
    pub async fn replace(&self, target: &str, seen: &Versioned, record: &Record) -> Result<bool> {
        let (from, to) = (seen.record.phase, record.phase);
        if from != to && from.transition_to(to).is_none() {
            let message = format!("no step leads from `{from}` to `{to}`");
            return Err(Error::new(Kind::Mismatch, message).with_context("target", target));
        }
        let on = Condition::equals(VERSION, Value::BigInt(seen.version));
        let next = seen.version + 1;
        self.swap(target, RECORD, record, next, &on).await
    }

    /// Whatever phase a test begins in.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(crate) async fn set_phase(&self, target: &str, phase: crate::protocol::Phase) {
        let seen = self.require(target).await.unwrap();
        let next = Record {
            phase,
            ..seen.record.clone()
        };
        let on = Condition::equals(VERSION, Value::BigInt(seen.version));
        let set = self.swap(target, RECORD, &next, seen.version + 1, &on);
        assert!(set.await.unwrap());
    }

    /// Writes an item on a condition. `false` if it didn't hold; after a lost reply the item itself
    /// tells whose write it was.
    async fn swap<T>(
        &self,
        target: &str,
        item: &str,
        doc: &T,
        version: i64,
        on: &Condition,
    ) -> Result<bool>
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        let row = self.row(target, item, doc, version)?;
        let put = self.store.put(&self.table, &[row], on).await;
        match put.rows.into_iter().next() {
            Some(Ok(WriteOutcome::Written)) => Ok(true),
            // Ours after a lost reply, or another's.
            Some(Ok(WriteOutcome::Refused)) => self.is_ours(target, item, doc, version).await,
            Some(Err(error)) if error.known_effect() == Effect::Unknown => {
                match self.is_ours(target, item, doc, version).await {
                    Ok(true) => Ok(true),
                    Ok(false) | Err(_) => Err(error),
                }
            }
            Some(Err(error)) => Err(error),
            None => Err(
                Error::new(Kind::Unknown, "the new store gave no answer to a write")
                    .with_effect(Effect::Unknown),
            ),
        }
    }

    async fn is_ours<T>(&self, target: &str, item: &str, doc: &T, version: i64) -> Result<bool>
    where
        T: DeserializeOwned + PartialEq,
    {
        let there = self.item::<T>(target, item).await?;
        Ok(there.is_some_and(|(there, at)| at == version && there == *doc))
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
        let mut letters = self.all_failures(target).await?;
        letters.retain(|letter| !letter.mended);
        Ok(letters)
    }

    /// The dead letters of a target, with those that are none any more.
    ///
    /// # Errors
    /// As of [`Control::failures`].
    pub async fn all_failures(&self, target: &str) -> Result<Vec<DeadLetter>> {
        let letters = self.list(target, FAILURE).await?;
        Ok(letters.into_iter().map(|(_, letter)| letter).collect())
    }

    /// Notes of dead letters that they are none any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn mend_failures(&self, target: &str, letters: &[DeadLetter]) -> Result<()> {
        let mended = letters.iter().cloned().map(|letter| DeadLetter {
            mended: true,
            ..letter
        });
        self.add_failures(target, &mended.collect::<Vec<_>>()).await
    }

    /// Forgets dead letters.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_failures(&self, target: &str, letters: &[DeadLetter]) -> Result<()> {
        let name = |letter: &DeadLetter| key(target, &format!("{FAILURE}{}", letter.digest()));
        self.purge(letters.iter().map(name).collect()).await
    }

    /// Who is registered for a target, by id, with the version of each item.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn participants(&self, target: &str) -> Result<Vec<(String, Participant, i64)>> {
        let mut there = self.present_and_gone(target).await?;
        there.retain(|(_, participant, _)| !participant.gone);
        Ok(there)
    }

    /// The same, with those that are gone but for what may still land of them.
    async fn present_and_gone(&self, target: &str) -> Result<Vec<(String, Participant, i64)>> {
        let rows = self.rows(target, INSTANCE).await?;
        let read = |(id, row): (String, Row)| {
            let version = self.version(target, &row)?;
            Ok((id, self.read(target, &row)?, version))
        };
        rows.into_iter().map(read).collect()
    }

    /// Marks a participant as gone, if its item is still this one. `false` if it isn't.
    async fn retire(
        &self,
        target: &str,
        id: &str,
        there: &Participant,
        version: i64,
    ) -> Result<bool> {
        let gone = Participant {
            gone: true,
            late: true,
            ..there.clone()
        };
        let on = Condition::equals(VERSION, Value::BigInt(version));
        let item = format!("{INSTANCE}{id}");
        self.swap(target, &item, &gone, version + 1, &on).await
    }

    /// The same table over connections of its own.
    fn afresh(&self) -> Self {
        Control {
            store: self.store.clone().afresh(),
            table: self.table.clone(),
        }
    }

    /// Takes a participant away, if its item is still this one. `false` if it isn't.
    async fn remove(&self, target: &str, id: &str, version: i64) -> Result<bool> {
        let key = key(target, &format!("{INSTANCE}{id}"));
        let on = Condition::equals(VERSION, Value::BigInt(version));
        let purged = self.store.purge(&self.table, vec![key], &on).await;
        let answer = purged.rows.into_iter().next();
        let answer = answer.unwrap_or_else(|| {
            Err(Error::new(
                Kind::Unknown,
                "the new store gave no answer to a delete",
            ))
        });
        Ok(answer? == WriteOutcome::Written)
    }

    /// Notes what a whole verification has found.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_verified(&self, target: &str, verified: &Verified) -> Result<()> {
        let row = self.row(target, VERIFIED, verified, 0)?;
        self.write(vec![row]).await
    }

    /// What the last whole verification has found; `None` before the first, and since anything was
    /// mended.
    ///
    /// # Errors
    /// The store's, and [`Kind::Corrupt`].
    pub async fn verified(&self, target: &str) -> Result<Option<Verified>> {
        let item = self.item(target, VERIFIED).await?;
        Ok(item.map(|(verified, _)| verified))
    }

    /// Forgets it: something is about to change.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_verified(&self, target: &str) -> Result<()> {
        self.purge(vec![key(target, VERIFIED)]).await
    }

    /// Forgets all progress, dead letters and what a verification found of a target.
    ///
    /// # Errors
    /// The store's.
    pub async fn clear(&self, target: &str) -> Result<()> {
        for prefix in [PROGRESS, FAILURE, VERIFIED, pacing::PACING] {
            let rows = self.rows(target, prefix).await?;
            let keys = rows.into_iter().map(|(_, row)| row.key).collect();
            self.purge(keys).await?;
        }
        Ok(())
    }

    /// Forgets everything of a target, its record last.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget(&self, target: &str) -> Result<()> {
        let rows = self.rows(target, "").await?;
        let record = key(target, RECORD);
        let others = rows.into_iter().map(|(_, row)| row.key);
        self.purge(others.filter(|key| *key != record).collect())
            .await?;
        self.purge(vec![record]).await
    }

    async fn purge(&self, keys: Vec<Key>) -> Result<()> {
        let purged = self
            .store
            .purge(&self.table, keys, &Condition::Always)
            .await;
        let purged = purged
            .rows
            .into_iter()
            .collect::<Result<Vec<WriteOutcome>>>();
        purged.map(drop)
    }

    async fn write(&self, rows: Vec<Row>) -> Result<()> {
        let puts = self.store.put(&self.table, &rows, &Condition::Always).await;
        puts.rows
            .into_iter()
            .collect::<Result<Vec<WriteOutcome>>>()
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
        let mut query = Query {
            range: beginning_with(target, prefix),
            reverse: false,
            after: None,
            limit: 1_000,
        };
        loop {
            let page = match self.store.query(&self.table, &query).await {
                Err(error) if error.kind() == Kind::Missing => return Ok(found),
                page => page?,
            };
            query.after = page.rows.last().map(|row| row.key.clone());
            for row in page.rows {
                if let Some(name) = item_name(&row).and_then(|name| name.strip_prefix(prefix)) {
                    found.push((name.to_owned(), row));
                }
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    fn row(&self, target: &str, item: &str, doc: &impl Serialize, version: i64) -> Result<Row> {
        let doc = serde_json::to_string(doc).map_err(|error| {
            Error::new(Kind::Invalid, "a control item can't be written").with_source(error)
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
        .with_context("target", target)
        .with_context("control table", self.name())
        .with_help("was it written by a newer version, or changed by hand?")
    }
}

/// The part of a target's items whose names begin so: what watches instances doesn't read ten thousand dead
/// letters each time.
fn beginning_with(target: &str, prefix: &str) -> ClusteringRange {
    let bound = |name: String| vec![Value::Text(name)];
    let mut end: Vec<char> = prefix.chars().collect();
    let until = match end.pop() {
        Some(last) => {
            end.extend(char::from_u32(u32::from(last) + 1));
            Bound::Excluded(bound(end.into_iter().collect()))
        }
        None => Bound::Unbounded,
    };
    ClusteringRange {
        partition: vec![Value::text(target)],
        from: Bound::Included(bound(prefix.to_owned())),
        until,
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

#[cfg(test)]
mod tests;
