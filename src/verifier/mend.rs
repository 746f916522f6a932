//! Mending what differs, by the machines of [`crate::protocol`]: no rule is here.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::verdict::Suspect;
use super::{Mending, VerifyRun};
use crate::driver::{BothStores, drive, written};
use crate::error::{Kind, Result};
use crate::model::{Condition, Key, Mark};
use crate::protocol::counter::{CounterReply, Folded, Rules};
use crate::protocol::row::{Copied, Repair, Repaired};

/// What a repair has done, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

impl VerifyRun<'_> {
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
        let stores = BothStores {
            old: &verifier.old,
            new: &*mending.new.0,
            transform: &verifier.transform,
        };
        let delete_extra = mending.delete_extra;
        let outcome = match (&suspect.source, verifier.counters) {
            // Of a masked key the row that it may have in the old store isn't known.
            (None, _) => Ok(MendedRow::Left),
            (Some(source), None) => mend_row(&stores, source, &suspect.key, delete_extra).await,
            (Some(source), Some(rules)) => {
                mend_counter(&stores, rules, source, &suspect.key, delete_extra).await
            }
        };
        let change = match outcome {
            Ok(change) => change,
            Err(error) if error.kind() == Kind::Invalid => {
                tracing::warn!("a row can't be mended: {error}");
                MendedRow::Left
            }
            Err(error) => {
                let key = crate::display::key(verifier.transform.target(), &suspect.key);
                return Err(error.with_context("key", key));
            }
        };
        let mut mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match change {
            MendedRow::Copied => &mut mended.copied,
            MendedRow::Completed => &mut mended.completed,
            MendedRow::Rewritten => &mut mended.rewritten,
            MendedRow::Folded => &mut mended.folded,
            MendedRow::Deleted => &mut mended.deleted,
            MendedRow::Left => &mut mended.left,
            MendedRow::None => return Ok(()),
        };
        *count += 1;
        Ok(())
    }
}

/// What mending a row came to.
enum MendedRow {
    Copied,
    Completed,
    Rewritten,
    Folded,
    Deleted,
    Left,
    /// It is as it should be by now.
    None,
}

impl MendedRow {
    fn of_copy(copied: Copied) -> Self {
        match copied {
            Copied::Saved => MendedRow::Copied,
            Copied::Completed => MendedRow::Completed,
            Copied::Absent => MendedRow::None,
            Copied::Owned => MendedRow::Left,
        }
    }
}

async fn mend_row(
    stores: &BothStores<'_>,
    source: &Key,
    target: &Key,
    delete_extra: bool,
) -> Result<MendedRow> {
    let row = stores.row(source);
    let repair = Repair::new(target.clone(), delete_extra);
    Ok(match drive(repair, |call| row.row(call)).await? {
        Repaired::Copied(copied) => MendedRow::of_copy(copied),
        // A partial item is the application's, and still wants to be completed.
        Repaired::Owned => MendedRow::of_copy(stores.copy(source, target).await?),
        Repaired::Same => MendedRow::None,
        Repaired::Mended => MendedRow::Rewritten,
        Repaired::Extra => MendedRow::Left,
        Repaired::Deleted => MendedRow::Deleted,
    })
}

async fn mend_counter(
    stores: &BothStores<'_>,
    rules: Rules,
    source: &Key,
    target: &Key,
    delete_extra: bool,
) -> Result<MendedRow> {
    if delete_extra && stores.old_row(source).await?.is_none() {
        let keys = vec![target.clone()];
        let on = Condition::Marked(Mark::Copied);
        let table = stores.transform.target();
        let purged = stores.new.purge(table, keys, &on).await;
        return Ok(match written(purged)? {
            CounterReply::Written => MendedRow::Deleted,
            CounterReply::Refused
            | CounterReply::Unknown
            | CounterReply::New(_)
            | CounterReply::Old(_) => MendedRow::Left,
        });
    }
    Ok(match stores.fold(rules, source, target).await? {
        Folded::Folded { .. } => MendedRow::Folded,
        Folded::Unchanged { .. } | Folded::Gone => MendedRow::None,
        Folded::WentDown(_) => MendedRow::Left,
    })
}
