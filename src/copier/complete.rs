//! Rows whose keys the new store has already. Beside applications such an item may be a partial one, which
//! gets the columns that it lacks.

use futures::stream::{FuturesUnordered, StreamExt};

use super::CopyRun;
use super::counters::READ_KEYS;
use crate::control::DeadLetter;
use crate::driver::{BothStores, drive};
use crate::error::{Kind, Result};
use crate::model::{Key, Mark, Row};
use crate::protocol::row::{Copied, CopyRow};

impl CopyRun<'_> {
    /// Completes what is partial of the items that were met, and gives the rows that can't be. The rows come
    /// with their keys in the old store.
    pub(super) async fn met(&self, met: Vec<(Key, Row)>) -> Result<Vec<DeadLetter>> {
        let mut partial = Vec::new();
        let mut present = met.len();
        if self.copier.beside_applications {
            partial = self.partial_of(met).await?;
            present -= partial.len();
        }
        let mut completing: FuturesUnordered<_> = partial
            .into_iter()
            .map(|(key, row)| async move { (self.complete(&key, row).await, key) })
            .collect();
        let (mut completed, mut letters) = (0, Vec::new());
        while let Some((outcome, key)) = completing.next().await {
            match outcome {
                Ok(Copied::Completed) => completed += 1,
                Ok(Copied::Owned | Copied::Saved | Copied::Absent) => present += 1,
                Err(error) if error.kind() == Kind::Invalid => {
                    letters.push(self.letter(&key, &error));
                }
                Err(error) => return Err(self.at_key(error, &key)),
            }
        }
        self.live.met(present, completed);
        Ok(letters)
    }

    /// Those of the rows whose items are partial.
    async fn partial_of(&self, met: Vec<(Key, Row)>) -> Result<Vec<(Key, Row)>> {
        let target = self.copier.transform.target();
        let keys: Vec<Key> = met.iter().map(|(_, row)| row.key.clone()).collect();
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_KEYS) {
            let read = self.copier.new.0.get(target, keys);
            items.extend(self.unless_stopped(read).await?);
        }
        let is_partial = |item: &Option<Row>| {
            let mark = item.as_ref().and_then(|item| item.mark);
            mark == Some(Mark::Partial)
        };
        let met = met.into_iter().zip(items);
        let partial = met.filter(|(_, item)| is_partial(item));
        Ok(partial.map(|(row, _)| row).collect())
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
