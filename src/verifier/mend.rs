//! Mending what differs, by the machines of [`crate::protocol`]: no rule stands here.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::verdict::Suspect;
use super::{Mending, Run};
use crate::error::{Effect, Error, Kind, Result};
use crate::model::{Fold, Key, Mark, Row, Value};
use crate::protocol::Machine;
use crate::protocol::Step;
use crate::protocol::counter::{self, Folded, Item, Rules, totals_of};
use crate::protocol::row::{self, Copied, CopyRow, Repair, Repaired};
use crate::store::{Changed, Guard, Old, Reading, WriteOutcome, WriteOutcomes, Writer};
use crate::transform::Transform;

/// Calls that one row may take. Every refusal is somebody else's success, so that this is a store that
/// answers without doing.
const MOST_CALLS: u32 = 100;

/// What a repair has done, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Mended {
    /// Copied, because the new store had none.
    pub copied: u64,
    /// Of partial items, completed.
    pub completed: u64,
    /// Written again as the old store has them.
    pub rewritten: u64,
    /// Of counters, folded.
    pub folded: u64,
    /// Deleted, because the old store had none.
    pub deleted: u64,
    /// Left as they are: the application owns them by now, they are extra and weren't to be deleted, or the new
    /// store can't hold them.
    pub left: u64,
}

impl Mended {
    /// How many rows were changed.
    pub fn rows(&self) -> u64 {
        self.copied + self.completed + self.rewritten + self.folded + self.deleted
    }
}

/// Carries out what the machines of single rows ask for.
pub(crate) struct Bench<'a> {
    /// The store that is left.
    pub old: &'a Old,
    /// The store that is moved to: on a lease.
    pub new: &'a Writer,
    /// From the old table to the new one.
    pub transform: &'a Transform,
}

impl Bench<'_> {
    /// Copies a row, or completes its partial item.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't hold it; the stores'.
    pub(crate) async fn copy(&self, source: &Key, target: &Key) -> Result<Copied> {
        let mut machine = CopyRow::of_key(target.clone());
        let mut step = machine.begin();
        for _ in 0..MOST_CALLS {
            match step {
                Step::Done(answer) => return Ok(answer),
                Step::Call(call) => step = machine.step(self.row(call, source).await?),
            }
        }
        Err(no_end())
    }

    async fn repair(&self, source: &Key, target: &Key, delete_extra: bool) -> Result<Repaired> {
        let mut machine = Repair::new(target.clone(), delete_extra);
        let mut step = machine.begin();
        for _ in 0..MOST_CALLS {
            match step {
                Step::Done(answer) => return Ok(answer),
                Step::Call(call) => step = machine.step(self.row(call, source).await?),
            }
        }
        Err(no_end())
    }

    /// Folds a counter row.
    ///
    /// # Errors
    /// As of [`Bench::copy`].
    pub(crate) async fn fold(&self, rules: Rules, source: &Key, target: &Key) -> Result<Folded> {
        let mut machine = counter::Fold::new(rules);
        let mut step = machine.begin();
        for _ in 0..MOST_CALLS {
            match step {
                Step::Done(answer) => return Ok(answer),
                Step::Call(call) => step = machine.step(self.counter(call, source, target).await?),
            }
        }
        Err(no_end())
    }

    /// The key that a row of the old store has in the new one; `None` if there is no such row.
    ///
    /// # Errors
    /// As of [`Bench::copy`].
    pub(crate) async fn target_of(&self, source: &Key) -> Result<Option<Key>> {
        Ok(self.old_row(source).await?.map(|row| row.key))
    }

    async fn old_row(&self, source: &Key) -> Result<Option<Row>> {
        let table = self.transform.source();
        let row = self.old.0.read(table, source, Reading::Strong).await?;
        row.map(|row| self.transform.apply(row)).transpose()
    }

    async fn row(&self, call: row::Call, source: &Key) -> Result<row::Reply> {
        let target = self.transform.target();
        Ok(match call {
            row::Call::ReadNew(key) => {
                row::Reply::Row(self.new.0.read(target, &key, Reading::Strong).await?)
            }
            row::Call::ReadOld(_) => row::Reply::Row(self.old_row(source).await?),
            row::Call::WriteNew { key, change, on } => {
                match self.new.0.change(target, &key, &change, &on).await {
                    Ok(Changed::Written) => row::Reply::Written,
                    Ok(Changed::Told(item)) => row::Reply::Told(item),
                    Ok(Changed::Refused(item)) => row::Reply::Refused(item),
                    Err(error) if is_lost(&error) => row::Reply::Unknown,
                    Err(error) => return Err(error),
                }
            }
            row::Call::WriteOld(_)
            | row::Call::ListNew(_)
            | row::Call::ListOld(_)
            | row::Call::DeleteOld(_)
            | row::Call::WriteAndTell { .. } => return Err(unheard_of()),
        })
    }

    async fn counter(
        &self,
        call: counter::Call,
        source: &Key,
        target: &Key,
    ) -> Result<counter::Reply> {
        let table = self.transform.target();
        Ok(match call {
            counter::Call::ReadNew => {
                let row = self.new.0.read(table, target, Reading::Strong).await?;
                counter::Reply::New(row.map(Item::of).transpose()?)
            }
            counter::Call::ReadOld => {
                let row = self.old_row(source).await?;
                counter::Reply::Old(row.as_ref().map(totals_of).transpose()?)
            }
            counter::Call::Insert(totals) => {
                let cells = totals.iter().map(|total| total.map(Value::BigInt));
                let mut row = Row::new(target.clone(), cells.collect());
                row.watermarks = totals;
                row.mark = Some(Mark::Copied);
                written(self.new.0.put(table, &[row], &Guard::Absent).await)?
            }
            counter::Call::Fold(moves) => {
                let fold = Fold {
                    key: target.clone(),
                    moves,
                };
                written(self.new.0.fold(table, vec![fold]).await)?
            }
            counter::Call::Add { .. } | counter::Call::AddAndTell { .. } => {
                return Err(unheard_of());
            }
        })
    }
}

fn written(puts: WriteOutcomes) -> Result<counter::Reply> {
    match puts.rows.into_iter().next() {
        Some(Ok(WriteOutcome::Written)) => Ok(counter::Reply::Written),
        Some(Ok(WriteOutcome::Refused)) => Ok(counter::Reply::Refused),
        Some(Err(error)) if is_lost(&error) => Ok(counter::Reply::Unknown),
        Some(Err(error)) => Err(error),
        None => Ok(counter::Reply::Unknown),
    }
}

/// Whether a write may have happened, and asking again may tell.
fn is_lost(error: &Error) -> bool {
    error.known_effect() == Effect::Unknown && error.kind().is_transient()
}

fn no_end() -> Error {
    let message = format!("a row isn't settled after {MOST_CALLS} calls");
    Error::new(Kind::Unknown, message)
        .help("start again; if it stays so, something else changes it all the time")
}

fn unheard_of() -> Error {
    Error::new(Kind::Unknown, "a tool asked for what only applications do")
}

impl Run<'_> {
    /// Mends what was found, as far as that may be.
    pub(super) async fn mend(&self, mending: &Mending) -> Result<Mended> {
        let suspects = std::mem::take(&mut self.state().mend);
        if suspects.len() >= self.verifier.options.most_mended {
            tracing::warn!(
                "one run mends {} rows; run it again for the others",
                suspects.len()
            );
        }
        let mended = Mutex::new(Mended::default());
        self.at_once(suspects, |suspect| self.mend_one(suspect, mending, &mended))
            .await?;
        Ok(mended.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn mend_one(
        &self,
        suspect: Suspect,
        mending: &Mending,
        mended: &Mutex<Mended>,
    ) -> Result<()> {
        let verifier = self.verifier;
        let bench = Bench {
            old: &verifier.old,
            new: &mending.new,
            transform: &verifier.transform,
        };
        let delete_extra = mending.delete_extra;
        let outcome = match (&suspect.source, verifier.counters) {
            // Of a masked key nobody knows the row that it may have in the old store.
            (None, _) => Ok(Change::Left),
            (Some(source), None) => bench.mend_row(source, &suspect.key, delete_extra).await,
            (Some(source), Some(rules)) => {
                bench
                    .mend_counter(rules, source, &suspect.key, delete_extra)
                    .await
            }
        };
        let change = match outcome {
            Ok(change) => change,
            Err(error) if error.kind() == Kind::Invalid => {
                tracing::warn!("a row can't be mended: {error}");
                Change::Left
            }
            Err(error) => {
                let key = crate::display::key(verifier.transform.target(), &suspect.key);
                return Err(error.at("key", key));
            }
        };
        let mut mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match change {
            Change::Copied => &mut mended.copied,
            Change::Completed => &mut mended.completed,
            Change::Rewritten => &mut mended.rewritten,
            Change::Folded => &mut mended.folded,
            Change::Deleted => &mut mended.deleted,
            Change::Left => &mut mended.left,
            Change::None => return Ok(()),
        };
        *count += 1;
        Ok(())
    }
}

/// What mending a row came to.
enum Change {
    Copied,
    Completed,
    Rewritten,
    Folded,
    Deleted,
    Left,
    /// It is as it should be by now.
    None,
}

impl Change {
    fn of_copy(copied: Copied) -> Self {
        match copied {
            Copied::Saved => Change::Copied,
            Copied::Completed => Change::Completed,
            Copied::Absent => Change::None,
            Copied::Owned => Change::Left,
        }
    }
}

impl Bench<'_> {
    async fn mend_row(&self, source: &Key, target: &Key, delete_extra: bool) -> Result<Change> {
        Ok(match self.repair(source, target, delete_extra).await? {
            Repaired::Copied(copied) => Change::of_copy(copied),
            // A partial item is the application's, and still wants to be completed.
            Repaired::Owned => Change::of_copy(self.copy(source, target).await?),
            Repaired::Same => Change::None,
            Repaired::Mended => Change::Rewritten,
            Repaired::Extra => Change::Left,
            Repaired::Deleted => Change::Deleted,
        })
    }

    async fn mend_counter(
        &self,
        rules: Rules,
        source: &Key,
        target: &Key,
        delete_extra: bool,
    ) -> Result<Change> {
        if delete_extra && self.old_row(source).await?.is_none() {
            let keys = vec![target.clone()];
            let guard = Guard::Marked(Mark::Copied);
            let purged = self
                .new
                .0
                .purge(self.transform.target(), keys, &guard)
                .await;
            return Ok(match written(purged)? {
                counter::Reply::Written => Change::Deleted,
                counter::Reply::Refused
                | counter::Reply::Unknown
                | counter::Reply::New(_)
                | counter::Reply::Old(_) => Change::Left,
            });
        }
        Ok(match self.fold(rules, source, target).await? {
            Folded::Folded { .. } => Change::Folded,
            Folded::Unchanged { .. } | Folded::Gone => Change::None,
            Folded::WentDown(_) => Change::Left,
        })
    }
}
