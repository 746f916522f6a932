//! A store that fails on purpose, the same way for the same seed: for tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::error::{Effect, Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row,
};
use crate::schema::Table;
use crate::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcomes, failed_rows,
};

/// How often what goes wrong, each from 0 (never) to 1 (always).
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A call fails before it reaches the store.
    pub unreachable: f64,
    /// A write is done, and its answer is lost.
    pub reply_lost: f64,
    /// A row of a put is throttled, its neighbours aren't.
    pub throttled: f64,
    /// Ranges of more tokens than this can't be read; 0 means all can.
    pub widest: u64,
    /// Ranges of more tokens than this break after their first page; 0 means none does.
    pub breaks: u64,
}

/// The wrapper.
pub struct Faulty {
    inner: Arc<dyn Store>,
    faults: Faults,
    refused: Option<Key>,
    chance: Arc<Mutex<SmallRng>>,
    calls: Arc<AtomicU64>,
    /// Milliseconds that a call takes to arrive.
    takes: Arc<AtomicU64>,
    pages: Arc<PagesAtOnce>,
}

/// Pages of ranges that a reader has begun with: how many are asked for now, and were at most.
#[derive(Default)]
struct PagesAtOnce {
    now: AtomicU64,
    most: AtomicU64,
}

impl Faulty {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, faults: Faults, seed: u64) -> Self {
        let chance = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
        Faulty {
            inner,
            faults,
            refused: None,
            chance,
            calls: Arc::default(),
            takes: Arc::default(),
            pages: Arc::default(),
        }
    }

    /// From now on a call takes so long to arrive.
    pub fn take(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.takes.store(time, Ordering::Relaxed);
    }

    /// The same store, which refuses to put this key for good.
    #[must_use]
    pub fn refusing(mut self, key: Key) -> Self {
        self.refused = Some(key);
        self
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The most pages that were asked for at once, first pages of ranges left out.
    pub fn most_pages(&self) -> u64 {
        self.pages.most.load(Ordering::Relaxed)
    }

    fn happens(&self, share: f64) -> bool {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        share > 0.0 && chance.random::<f64>() < share
    }

    /// Lets others run in between, and fails as often as it should.
    async fn arrive(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.takes.load(Ordering::Relaxed) {
            0 => tokio::task::yield_now().await,
            time => tokio::time::sleep(Duration::from_millis(time)).await,
        }
        if self.happens(self.faults.unreachable) {
            return Err(Error::new(Kind::Unreachable, "made unreachable on purpose"));
        }
        Ok(())
    }

    /// The answer of a write on its way back: perhaps lost.
    async fn reply<T>(&self, answer: Result<T>) -> Result<T> {
        tokio::task::yield_now().await;
        if self.happens(self.faults.reply_lost) {
            return Err(lost());
        }
        answer
    }

    /// A write: some rows of it throttled, the rest done, the answer perhaps lost.
    async fn write_rows<T>(
        &self,
        what: Vec<T>,
        send: impl AsyncFnOnce(Vec<T>) -> WriteOutcomes,
    ) -> WriteOutcomes {
        let count = what.len();
        if let Err(error) = self.arrive().await {
            return failed_rows(count, &error);
        }
        let throttled: Vec<bool> = what
            .iter()
            .map(|_| self.happens(self.faults.throttled))
            .collect();
        let sent = what.into_iter().zip(&throttled).filter(|(_, held)| !**held);
        let mut answer = send(sent.map(|(one, _)| one).collect()).await;
        tokio::task::yield_now().await;
        if self.happens(self.faults.reply_lost) {
            return failed_rows(count, &lost());
        }
        let mut answers = std::mem::take(&mut answer.rows).into_iter();
        let less = || Err(Error::new(Kind::Throttled, "throttled on purpose"));
        answer.rows = throttled
            .iter()
            .map(|held| {
                if *held {
                    less()
                } else {
                    answers.next().unwrap_or_else(less)
                }
            })
            .collect();
        answer
    }
}

fn lost() -> Error {
    Error::new(Kind::Timeout, "the answer was lost on purpose").with_effect(Effect::Unknown)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Faulty {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.arrive().await?;
        self.inner.inspect(table).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.arrive().await?;
        self.inner.tables().await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.arrive().await?;
        self.inner.get(table, keys).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.arrive().await?;
        self.inner.read(table, key, reading).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        self.arrive().await?;
        self.inner.get_together(keys).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        self.arrive().await?;
        self.inner.query(table, query).await
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.inner.now().await
    }

    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>> {
        self.arrive().await?;
        self.inner.splits(table, count).await
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let further = u64::from(after.is_some());
        let now = self.pages.now.fetch_add(further, Ordering::Relaxed) + further;
        self.pages.most.fetch_max(now, Ordering::Relaxed);
        let arrived = self.arrive().await;
        self.pages.now.fetch_sub(further, Ordering::Relaxed);
        arrived?;
        if let Range::Tokens(tokens) = range
            && self.faults.widest > 0
            && tokens.width() > self.faults.widest
        {
            return Err(Error::new(
                Kind::RangeTooCostly,
                "made too costly on purpose",
            ));
        }
        if let (Range::Tokens(tokens), Some(_)) = (range, after)
            && self.faults.breaks > 0
            && tokens.width() > self.faults.breaks
        {
            return Err(Error::new(Kind::RangeTooCostly, "broken on purpose"));
        }
        self.inner.scan(table, range, after, limit).await
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.inner.halve(table, range)
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.arrive().await?;
        self.inner.write_access(table, role).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Faulty {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        Arc::new(Faulty {
            inner: self.inner.clone().afresh(),
            faults: self.faults,
            takes: self.takes.clone(),
            pages: self.pages.clone(),
            refused: self.refused.clone(),
            chance: self.chance.clone(),
            calls: self.calls.clone(),
        })
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Faulty {
            inner: self.inner.clone().permitted(permit),
            faults: self.faults,
            refused: self.refused.clone(),
            chance: self.chance.clone(),
            calls: self.calls.clone(),
            takes: self.takes.clone(),
            pages: self.pages.clone(),
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.arrive().await?;
        self.inner.create(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        let refused = rows
            .iter()
            .position(|row| self.refused.as_ref() == Some(&row.key));
        let mut rows = rows.to_vec();
        if let Some(at) = refused {
            rows.remove(at);
        }
        let mut puts = self
            .write_rows(rows, async |rows| self.inner.put(table, &rows, on).await)
            .await;
        if let Some(at) = refused {
            puts.rows
                .insert(at, Err(Error::new(Kind::Invalid, "refused on purpose")));
        }
        puts
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        self.write_rows(keys, async |keys| self.inner.purge(table, keys, on).await)
            .await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        self.write_rows(folds, async |folds| self.inner.fold(table, folds).await)
            .await
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        self.arrive().await?;
        let changed = self.inner.update_item(table, key, change, on).await;
        self.reply(changed).await
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        self.arrive().await?;
        let changed = self
            .inner
            .update_item_and_return(table, key, change, on, returns)
            .await;
        self.reply(changed).await
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        self.arrive().await?;
        let changed = self.inner.transact(changes).await;
        self.reply(changed).await
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        self.arrive().await?;
        let added = self.inner.add_and_return(table, add).await;
        self.reply(added).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        self.arrive().await?;
        let added = self.inner.add(table, add).await;
        self.reply(added).await
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.arrive().await?;
        let written = self.inner.apply(table, mutation).await;
        self.reply(written).await
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        self.arrive().await?;
        let deleted = self.inner.delete(table, range).await;
        self.reply(deleted).await
    }

    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.arrive().await?;
        self.reply(self.inner.enable_ttl(table).await).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.arrive().await?;
        self.reply(self.inner.drop_table(table).await).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.arrive().await?;
        self.reply(self.inner.revoke(table, role).await).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.arrive().await?;
        self.reply(self.inner.grant(table, role).await).await
    }
}
