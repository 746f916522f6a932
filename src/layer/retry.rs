//! A store that waits when the store beneath it is unreachable, busy or asks for less.
//!
//! Only calls that may be sent twice go through it: reads, and writes whose condition makes a second
//! one harmless. It tries again for as long as [`Patience`] says, with growing, jittered pauses. Every
//! call, also one that is made again, keeps within a [`Pace`] if there is one, and every page within the process's
//! [`Room`](crate::store::Room); those are waited for here, before the layers beneath look at their lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::Pace;
pub use super::outage::RetryCounts;
use super::outage::{Outage, WaitingCall};
use super::pace::WrittenRows;
use super::sizes::Sizes;
use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row, Value,
};
use crate::schema::Table;
use crate::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcome, WriteOutcomes,
};

/// How long to wait for a store.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long one call is tried before its error is passed on.
    pub give_up: Duration,
}

impl Patience {
    /// That of a copy, which waits out a restart of either store.
    pub const DEFAULT: Patience = Patience {
        first: Duration::from_millis(50),
        longest: Duration::from_secs(5),
        give_up: Duration::from_secs(30 * 60),
    };

    /// That of a look which a person waits for: it takes a busy store, and tells soon of one that isn't there.
    pub const LOOK: Patience = Patience {
        give_up: Duration::from_secs(30),
        ..Patience::DEFAULT
    };

    /// That of a read that asks every replica: not long, since one that is away may never come back, and an
    /// operator has to say so.
    pub const ALL_REPLICAS: Patience = Patience {
        give_up: Duration::from_secs(30),
        ..Patience::DEFAULT
    };
}

impl Patience {
    /// Makes a call again while it fails in a way that passes, and says once for whom it waits.
    ///
    /// # Errors
    /// The call's: one that doesn't pass, or the last one once the patience is over.
    pub async fn insist<T, F>(self, whom: &str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut pauses = JitteredPauses::new(self);
        let mut is_told = false;
        loop {
            let error = match call().await {
                Err(error) if error.kind().is_transient() => error,
                answer => {
                    if is_told && answer.is_ok() {
                        let lasted = begun.elapsed().as_secs();
                        tracing::warn!("{whom} answers again, after {lasted} s");
                    }
                    return answer;
                }
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!("waiting for {whom}: {error}");
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience::DEFAULT
    }
}

/// The wrapper.
pub struct Retry {
    inner: Arc<dyn Store>,
    patience: Patience,
    seen: Arc<RetryCounts>,
    outage: Arc<Outage>,
    pace: Arc<Pace>,
    sizes: Arc<Sizes>,
}

impl Retry {
    /// Wraps a store, with no ceiling and no regard to what it bears.
    pub fn new(inner: Arc<dyn Store>, patience: Patience) -> Self {
        Retry {
            inner,
            patience,
            seen: Arc::default(),
            outage: Arc::default(),
            pace: Arc::new(Pace::unlimited()),
            sizes: Arc::default(),
        }
    }

    /// The same, at this pace.
    #[must_use]
    pub fn paced(mut self, pace: &Arc<Pace>) -> Self {
        self.pace = pace.clone();
        self
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Arc<RetryCounts> {
        self.seen.clone()
    }

    /// The same around a store that is this one in another way: what has been seen of it stays known.
    fn around(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Retry {
            inner,
            patience: self.patience,
            seen: self.seen.clone(),
            outage: self.outage.clone(),
            pace: self.pace.clone(),
            sizes: self.sizes.clone(),
        })
    }

    /// A page of as many rows as there is room for.
    async fn page(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let each = self.sizes.may_weigh(&table.name);
        let most = match self.inner.capabilities().page_bytes {
            0 => usize::MAX,
            // Rows weigh somewhat more in memory than they do there.
            bytes => bytes * 2,
        };
        let (rows, mut held) = self.pace.room().take(limit, each, most).await;
        let begun = Instant::now();
        let mut page = self.inner.scan(table, range, after, rows).await?;
        self.pace.took("scan", begun);
        held.settle(self.sizes.saw(&table.name, &page));
        page.room = Some(Arc::new(held));
        Ok(page)
    }

    /// A read, with the time it takes told to the pace.
    async fn timed<T>(
        &self,
        call: &'static str,
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let answer = read.await;
        if answer.is_ok() {
            self.pace.took(call, begun);
        }
        answer
    }

    async fn again<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut pauses = JitteredPauses::new(self.patience);
        loop {
            match call().await {
                Err(error) if error.kind().is_transient() => {
                    if error.kind() == Kind::Throttled {
                        self.seen.throttles.fetch_add(1, Ordering::Relaxed);
                    }
                    self.pause(&mut pauses, error).await?;
                }
                answer => {
                    self.answered(pauses);
                    return answer;
                }
            }
        }
    }

    /// A call has its answer: with the last one of those that were waiting the outage is over.
    fn answered(&self, pauses: JitteredPauses) {
        self.seen.is_silent.store(false, Ordering::Relaxed);
        let waited = pauses.waiting.is_some();
        drop(pauses);
        if let Some(lasted) = waited.then(|| self.outage.ended()).flatten() {
            tracing::warn!(
                "{} answers again, after {} s",
                self.inner.name(),
                lasted.as_secs()
            );
        }
    }

    async fn pause(&self, pauses: &mut JitteredPauses, error: Error) -> Result<()> {
        let Some(pause) = pauses.next() else {
            return Err(error);
        };
        if error.kind() == Kind::Throttled {
            self.pace.again().await;
        }
        if matches!(error.kind(), Kind::Unreachable | Kind::Timeout) {
            let waiting = || WaitingCall::new(&self.outage, &self.seen);
            pauses.waiting.get_or_insert_with(waiting);
            self.seen.is_silent.store(true, Ordering::Relaxed);
            if self.outage.is_to_be_told() {
                tracing::warn!("waiting for {}: {error}", self.inner.name());
            }
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Decorrelated jitter: each pause is between the first and three times the last one.
struct JitteredPauses {
    patience: Patience,
    begun: Instant,
    last: Duration,
    /// From the first time that the store couldn't be reached.
    waiting: Option<WaitingCall>,
}

impl JitteredPauses {
    fn new(patience: Patience) -> Self {
        JitteredPauses {
            patience,
            begun: Instant::now(),
            last: patience.first,
            waiting: None,
        }
    }

    /// The next pause; `None` once the patience is over.
    fn next(&mut self) -> Option<Duration> {
        if self.begun.elapsed() >= self.patience.give_up {
            return None;
        }
        let share: f64 = rand::random();
        let spread = (self.last * 3).saturating_sub(self.patience.first);
        self.last = (self.patience.first + spread.mul_f64(share)).min(self.patience.longest);
        Some(self.last)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Retry {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.again(|| self.inner.inspect(table)).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.again(|| self.inner.tables()).await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let get = || {
            let get = self.timed("read", self.inner.get(table, keys));
            self.pace.reading(get, |_| keys.len())
        };
        self.again(get).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        let read = || {
            let read = self.timed("read", self.inner.read(table, key, reading));
            self.pace.reading(read, |_| 1)
        };
        self.again(read).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let get = || {
            let get = self.timed("read", self.inner.get_together(keys));
            self.pace.reading(get, |_| keys.len())
        };
        self.again(get).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let page = || {
            let page = self.timed("list", self.inner.query(table, query));
            self.pace.reading(page, |page| page.rows.len())
        };
        self.again(page).await
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.again(|| self.inner.now()).await
    }

    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>> {
        self.again(|| self.inner.splits(table, count)).await
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let page = || {
            let page = self.page(table, range, after, limit);
            self.pace.reading(page, |page| page.rows.len())
        };
        self.again(page).await
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.inner.halve(table, range)
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.again(|| self.inner.write_access(table, role)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Retry {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self.around(self.inner.clone().afresh())
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        self.around(self.inner.clone().permitted(permit))
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.again(|| self.inner.create(table)).await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        self.again_each(table, RowWrites::Put(rows, on)).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        self.again_each(table, RowWrites::Purge(&keys, on)).await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        self.again_each(table, RowWrites::Fold(&folds)).await
    }

    /// Tools change items only on conditions that make it harmless to send a change again.
    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        let change = || {
            let change = self.inner.update_item(table, key, change, on);
            self.pace.changing(change)
        };
        self.again(change).await
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        self.inner
            .update_item_and_return(table, key, change, on, returns)
            .await
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        self.inner.transact(changes).await
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        self.inner.add_and_return(table, add).await
    }

    /// Sent once: what an application adds or writes may not be repeated behind its back.
    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        self.inner.add(table, add).await
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.inner.apply(table, mutation).await
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        self.inner.delete(table, range).await
    }

    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.again(|| self.inner.enable_ttl(table)).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.again(|| self.inner.drop_table(table)).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.again(|| self.inner.revoke(table, role)).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.again(|| self.inner.grant(table, role)).await
    }
}

/// A write of many things, each with an answer of its own.
enum RowWrites<'a> {
    Put(&'a [Row], &'a Condition),
    Purge(&'a [Key], &'a Condition),
    Fold(&'a [Fold]),
}

impl RowWrites<'_> {
    /// As the shim calls it in its metrics.
    fn name(&self) -> &'static str {
        match self {
            RowWrites::Put(..) => "put",
            RowWrites::Purge(..) => "purge",
            RowWrites::Fold(..) => "fold",
        }
    }

    fn len(&self) -> usize {
        match self {
            RowWrites::Put(rows, _) => rows.len(),
            RowWrites::Purge(keys, _) => keys.len(),
            RowWrites::Fold(folds) => folds.len(),
        }
    }
}

impl<'a> RowWrites<'a> {
    /// The partition key of each of these.
    fn partitions(&self, places: &[usize]) -> Vec<&'a [Value]> {
        let of = |place: &usize| match *self {
            RowWrites::Put(rows, _) => rows[*place].key.partition.as_slice(),
            RowWrites::Purge(keys, _) => keys[*place].partition.as_slice(),
            RowWrites::Fold(folds) => folds[*place].key.partition.as_slice(),
        };
        places.iter().map(of).collect()
    }
}

fn chosen<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&place| all[place].clone()).collect()
}

impl Retry {
    async fn send(&self, table: &Table, write: &RowWrites<'_>, places: &[usize]) -> WriteOutcomes {
        let begun = Instant::now();
        let sent = match write {
            RowWrites::Put(rows, on) if places.len() == rows.len() => {
                self.inner.put(table, rows, on).await
            }
            RowWrites::Put(rows, on) => self.inner.put(table, &chosen(rows, places), on).await,
            RowWrites::Purge(keys, on) => self.inner.purge(table, chosen(keys, places), on).await,
            RowWrites::Fold(folds) => self.inner.fold(table, chosen(folds, places)).await,
        };
        self.pace.wrote(write.name(), begun);
        sent
    }

    /// Sends what failed again, and only that, until each one has an answer that is final.
    async fn again_each(&self, table: &Table, write: RowWrites<'_>) -> WriteOutcomes {
        let mut total = WriteOutcomes::default();
        let mut answers: Vec<Option<Result<WriteOutcome>>> =
            (0..write.len()).map(|_| None).collect();
        let mut places: Vec<usize> = (0..write.len()).collect();
        let mut pauses = JitteredPauses::new(self.patience);
        loop {
            let keys = write.partitions(&places);
            let rows = WrittenRows {
                table: &table.name,
                keys: &keys,
            };
            let sending = self.send(table, &write, &places);
            let sent = self.pace.writing(rows, sending).await;
            total.units += sent.units;
            total.bytes += sent.bytes;
            let mut again = Vec::new();
            let mut reason = None;
            for (&place, answer) in places.iter().zip(sent.rows) {
                if let Err(error) = &answer
                    && error.kind().is_transient()
                {
                    if error.kind() == Kind::Throttled {
                        self.seen.throttles.fetch_add(1, Ordering::Relaxed);
                    }
                    reason = Some(error.clone());
                    again.push(place);
                }
                answers[place] = Some(answer);
            }
            let Some(error) = reason else { break };
            if self.pause(&mut pauses, error).await.is_err() {
                break;
            }
            places = again;
        }
        let unanswered = || {
            Err(
                Error::new(Kind::Unknown, "the store gave no answer for this row")
                    .with_effect(crate::error::Effect::Unknown),
            )
        };
        self.answered(pauses);
        total.rows = answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect();
        total
    }
}
