//! Rows whose keys the new store has already. Beside applications such an item may be a partial one, which
//! gets the columns that it lacks.

use futures::stream::{FuturesUnordered, StreamExt};

use super::Run;
use super::counters::READ_KEYS;
use crate::control::DeadLetter;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Mark, Row};
use crate::protocol::Machine;
use crate::protocol::Step;
use crate::protocol::row::{Call, Copied, CopyRow, Reply};
use crate::store::Changed;

/// Calls that one row may take: every refusal is somebody else's success.
const MOST_CALLS: u32 = 300;

impl Run<'_> {
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
        let mut machine = CopyRow::of_row(row);
        let mut step = machine.begin();
        for _ in 0..MOST_CALLS {
            match step {
                Step::Done(copied) => return Ok(copied),
                Step::Call(call) => step = machine.step(self.reply(key, call).await?),
            }
        }
        let message = format!("a partial item isn't completed after {MOST_CALLS} calls");
        Err(Error::new(Kind::Unknown, message)
            .at("store", self.copier.new.0.name())
            .help("start again; if it stays so, something else changes it all the time"))
    }

    /// Carries out a call about the row that has this key in the old store.
    async fn reply(&self, key: &Key, call: Call) -> Result<Reply> {
        let (old, new) = (&self.copier.old.0, &self.copier.new.0);
        let transform = &self.copier.transform;
        match call {
            Call::WriteNew {
                key: item,
                change,
                on,
            } => {
                let change = new.change(transform.target(), &item, &change, &on);
                Ok(match self.unless_late(self.turn(1, change)).await?? {
                    Changed::Written => Reply::Written,
                    Changed::Told(item) => Reply::Told(item),
                    Changed::Refused(met) => Reply::Refused(met),
                })
            }
            Call::ReadOld(_) => {
                let keys = [key.clone()];
                let read = old.get(transform.source(), &keys);
                let row = self.unless_stopped(read).await?.into_iter().next();
                let row = row.flatten().map(|row| transform.apply(row));
                Ok(Reply::Row(row.transpose()?))
            }
            Call::ReadNew(_)
            | Call::WriteOld(_)
            | Call::ListNew(_)
            | Call::ListOld(_)
            | Call::DeleteOld(_)
            | Call::WriteAndTell { .. } => Err(Error::new(
                Kind::Unknown,
                "the copy of a row asked for something that isn't a copy's",
            )),
        }
    }
}
