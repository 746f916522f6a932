//! Counter rows that were deleted in the old store after they had been folded. No scan of the old store
//! shows them, so a settling pass looks from the other side when it is through.

use std::sync::atomic::Ordering;

use super::CopyRun;
use super::counters::READ_KEYS;
use crate::codec::cql;
use crate::control::DeadLetter;
use crate::error::Result;
use crate::model::{Key, Row};
use crate::store::Cursor;

/// Items of one page.
const ITEMS: usize = 10_000;

impl CopyRun<'_> {
    /// Counts the new store's counter rows. If the pass has met as many, it has met all of them, since
    /// it leaves an item after every row it meets; if there are more, or it has met some twice because a range had to
    /// be cut, each is looked up in the old one.
    pub(super) async fn find_deleted(&self) -> Result<()> {
        if !self.copier.transform.keeps_keys() {
            tracing::info!(
                "keys are masked, so it can't be told whether counter rows were deleted in the old store"
            );
            return Ok(());
        }
        if !self.met_again.load(Ordering::Relaxed) {
            let mut there = 0;
            self.items(async |keys| {
                there += keys.len() as u64;
                Ok(())
            })
            .await?;
            if there <= self.met.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        self.items(async |keys| self.report_deleted(&keys).await)
            .await
    }

    /// Keys of the new store's counter rows, of this share, page by page.
    async fn items(&self, mut each: impl AsyncFnMut(Vec<Key>) -> Result<()>) -> Result<()> {
        let transform = &self.copier.transform;
        let columns = transform.source().partition();
        let folded = |row: &Row| {
            row.watermarks.iter().any(Option::is_some)
                && self
                    .copier
                    .options
                    .share
                    .contains(cql::token(columns, &row.key.partition))
        };
        let new = &self.copier.new.0;
        for range in self
            .unless_stopped(new.splits(transform.target(), 1))
            .await?
        {
            let mut cursor: Option<Cursor> = None;
            loop {
                let scan = new.scan(transform.target(), &range, cursor.as_ref(), ITEMS);
                // What strangers wrote was never folded.
                let page = self.unless_stopped(scan).await?;
                let page = page.readable_but_for_strangers()?;
                let rows = page.rows.into_iter().filter(&folded);
                each(rows.map(|row| row.key).collect()).await?;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn report_deleted(&self, keys: &[Key]) -> Result<()> {
        let source = self.copier.transform.source();
        for keys in keys.chunks(READ_KEYS) {
            let rows = self
                .unless_stopped(self.copier.old.0.get(source, keys))
                .await?;
            let gone = keys.iter().zip(rows).filter(|(_, row)| row.is_none());
            let letters: Vec<DeadLetter> = gone.map(|(key, _)| self.deleted(key)).collect();
            if !letters.is_empty() {
                self.live.deleted(letters.len() as u64);
                self.bury(letters).await?;
            }
        }
        Ok(())
    }

    fn deleted(&self, key: &Key) -> DeadLetter {
        let reason = "the counter row was deleted in the old store, and the new store has its totals; what it \
                      counts after that is undefined in Cassandra, so it has to be decided by hand";
        self.letter(key, reason)
    }
}
