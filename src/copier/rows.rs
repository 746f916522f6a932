//! Putting rows, each only where nothing is.

use futures::stream::{FuturesUnordered, StreamExt};

use super::{CopyRun, PUT_BYTES};
use crate::control::DeadLetter;
use crate::error::{Kind, Result};
use crate::model::{Condition, Key, Mark, Row};
use crate::store::WriteOutcome;

impl CopyRun<'_> {
    /// Puts the rows of a page, each only if absent, and returns when all are settled.
    pub(super) async fn copy(&self, rows: Vec<Row>) -> Result<()> {
        let mut failures = Vec::new();
        let mut chunks = Vec::new();
        let capabilities = self.copier.new.0.capabilities();
        let (mut chunk, mut weight) = (Vec::new(), 0);
        for row in rows {
            let key = row.key.clone();
            let mut row = match self.copier.transform.apply(row) {
                Ok(row) => row,
                Err(error) if error.kind() == Kind::Invalid => {
                    failures.push(self.letter(&key, &error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            row.mark = Some(Mark::Copied);
            weight += row.weight();
            chunk.push((key, row));
            if chunk.len() >= capabilities.put_rows.max(1) || weight >= PUT_BYTES {
                chunks.push(std::mem::take(&mut chunk));
                weight = 0;
            }
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        let mut puts: FuturesUnordered<_> =
            chunks.into_iter().map(|chunk| self.put(chunk)).collect();
        while let Some(refused) = puts.next().await {
            failures.extend(refused?);
        }
        drop(puts);
        if failures.is_empty() {
            Ok(())
        } else {
            self.bury(failures).await
        }
    }

    async fn put(&self, chunk: Vec<(Key, Row)>) -> Result<Vec<DeadLetter>> {
        let (keys, rows): (Vec<Key>, Vec<Row>) = chunk.into_iter().unzip();
        let target = self.copier.transform.target();
        let absent = Condition::absent();
        let put = self.copier.new.0.put(target, &rows, &absent);
        let puts = self.unless_late(self.turn(1, put)).await?;
        self.live.put(&puts);
        let mut failures = Vec::new();
        let mut met = Vec::new();
        for ((key, row), answer) in keys.into_iter().zip(rows).zip(puts.rows) {
            match answer {
                Ok(WriteOutcome::Written) => {}
                Ok(WriteOutcome::Refused) => met.push((key, row)),
                Err(error) if error.kind() == Kind::Invalid => {
                    failures.push(self.letter(&key, &error));
                }
                Err(error) => return Err(self.at_key(error, &key)),
            }
        }
        if !met.is_empty() {
            failures.extend(self.met(met).await?);
        }
        Ok(failures)
    }
}
