//! Rows whose keys the new store has already. Beside applications such an item may be a partial one, which
//! gets the columns that it lacks.

use futures::stream::{FuturesUnordered, StreamExt};

use super::CopyRun;
use super::counters::READ_KEYS;
use crate::control::DeadLetter;
use crate::driver::{BothStores, drive};
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Mark, Row};
use crate::protocol::row::{Copied, CopyRow};

impl CopyRun<'_> {
    /// Completes what is partial of the items that were met, and gives the rows that can't be. The rows come
    /// with their keys in the old store.
    pub(super) async fn met(&self, met: Vec<(Key, Row)>) -> Result<Vec<DeadLetter>> {
        let (mut partial, mut letters) = (Vec::new(), Vec::new());
        let mut present = met.len();
        if self.copier.beside_applications {
            (partial, letters) = self.partial_of(met).await?;
            present -= partial.len() + letters.len();
        }
        let mut completing: FuturesUnordered<_> = partial
            .into_iter()
            .map(|(key, row)| async move { (self.complete(&key, row).await, key) })
            .collect();
        let mut completed = 0;
        while let Some((outcome, key)) = completing.next().await {
            match outcome {
                Ok(Copied::Completed) => completed += 1,
                Ok(Copied::Owned | Copied::Saved | Copied::Absent) => present += 1,
                Err(error) if error.kind() == Kind::Invalid => {
                    letters.push(self.letter(&key, &error));
                }
                Err(error) if error.kind() == Kind::Corrupt => {
                    letters.push(self.taken(&key, &error));
                }
                Err(error) => return Err(self.at_key(error, &key)),
            }
        }
        self.live.met(present, completed);
        Ok(letters)
    }

    /// Those of the rows whose items are partial, and dead letters for those whose items can't be read.
    async fn partial_of(&self, met: Vec<(Key, Row)>) -> Result<(Vec<(Key, Row)>, Vec<DeadLetter>)> {
        let keys: Vec<Key> = met.iter().map(|(_, row)| row.key.clone()).collect();
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_KEYS) {
            items.extend(self.items_of(keys).await?);
        }
        let (mut partial, mut letters) = (Vec::new(), Vec::new());
        for (row, item) in met.into_iter().zip(items) {
            match item {
                Ok(item) => {
                    let mark = item.and_then(|item| item.mark);
                    partial.extend((mark == Some(Mark::Partial)).then_some(row));
                }
                Err(error) => letters.push(self.taken(&row.0, &error)),
            }
        }
        Ok((partial, letters))
    }

    /// Items of the new store by key. One that can't be read, because something else wrote it, is an error of its own.
    pub(super) async fn items_of(&self, keys: &[Key]) -> Result<Vec<Result<Option<Row>>>> {
        let (new, target) = (&self.copier.new.0, self.copier.transform.target());
        match self.unless_stopped(new.get(target, keys)).await {
            Ok(items) => return Ok(items.into_iter().map(Ok).collect()),
            Err(error) if error.kind() == Kind::Corrupt => {}
            Err(error) => return Err(error),
        }
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            let get = new.get(target, std::slice::from_ref(key));
            items.push(match self.unless_stopped(get).await {
                Ok(item) => Ok(item.into_iter().next().flatten()),
                Err(error) if error.kind() == Kind::Corrupt => Err(error),
                Err(error) => return Err(error),
            });
        }
        Ok(items)
    }

    /// The dead letter of a row whose key in the new store has an item that can't be read.
    pub(super) fn taken(&self, key: &Key, error: &Error) -> DeadLetter {
        let reason = format!(
            "the new store has an item with this key that can't be read as a row ({}): delete or mend it, then copy \
             again, or `migrate failures --retry`",
            error.message()
        );
        self.letter(key, reason)
    }

    async fn complete(&self, key: &Key, row: Row) -> Result<Copied> {
        let stores = BothStores {
            old: &self.copier.old,
            new: &*self.copier.new.0,
            transform: &self.copier.transform,
        };
        let sides = stores.row(key);
        let carry = |call| async { self.unless_late(self.turn(1, sides.row(call))).await? };
        drive(CopyRow::of_row(row), carry).await
    }
}
