use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row, Times,
};
use crate::schema::Table;
use crate::store::memory::Memory;
use crate::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcomes,
};

/// What the store's clock says at first, microseconds since 1970.
pub(crate) const NOW: i64 = 1_700_000_000_000_000;

/// A store in memory whose rows tell times, which the memory itself doesn't keep, and whose scans take
/// their time.
pub(crate) struct Timed {
    inner: Arc<Memory>,
    /// Rows that were read by their keys.
    pub alone: AtomicU64,
    /// Ranges that were begun to be scanned.
    pub scans: AtomicU64,
    times: BTreeMap<String, Times>,
    /// Bytes of rows that are on their way in pages, and the most that ever were.
    pub on_the_way: AtomicU64,
    pub most_on_the_way: AtomicU64,
    /// How long a page takes.
    pub page: Duration,
    /// How much longer each megabyte of it takes.
    pub megabyte: Duration,
    /// It is scanned by its own parts alone, like DynamoDB.
    pub has_no_tokens: bool,
    /// A key that it can't have.
    pub refuses: Option<Key>,
}

impl Timed {
    pub fn of(inner: Arc<Memory>, rows: &[Row]) -> Self {
        let times = rows
            .iter()
            .map(|row| (format!("{:?}", row.key), row.times.clone()));
        Timed {
            inner,
            alone: AtomicU64::new(0),
            scans: AtomicU64::new(0),
            on_the_way: AtomicU64::new(0),
            most_on_the_way: AtomicU64::new(0),
            times: times.collect(),
            page: Duration::from_micros(100),
            megabyte: Duration::ZERO,
            has_no_tokens: false,
            refuses: None,
        }
    }

    fn tell(&self, row: &mut Row) {
        if let Some(times) = self.times.get(&format!("{:?}", row.key)) {
            row.times = times.clone();
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Timed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        Capabilities {
            token_ranges: capabilities.token_ranges && !self.has_no_tokens,
            ..capabilities
        }
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.inner.inspect(table).await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.alone.fetch_add(keys.len() as u64, Ordering::Relaxed);
        if self.refuses.as_ref().is_some_and(|key| keys.contains(key)) {
            return Err(Error::new(Kind::Invalid, "the key is empty"));
        }
        let mut rows = self.inner.get(table, keys).await?;
        rows.iter_mut().flatten().for_each(|row| self.tell(row));
        Ok(rows)
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.alone.fetch_add(1, Ordering::Relaxed);
        let mut row = self.inner.read(table, key, reading).await?;
        row.iter_mut().for_each(|row| self.tell(row));
        Ok(row)
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        self.inner.get_together(keys).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        self.inner.query(table, query).await
    }

    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>> {
        self.inner.splits(table, count).await
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        if after.is_none() {
            self.scans.fetch_add(1, Ordering::Relaxed);
        }
        let mut page = self.inner.scan(table, range, after, limit).await?;
        let weight: u64 = page.rows.iter().map(|row| row.weight() as u64).sum();
        let now = self.on_the_way.fetch_add(weight, Ordering::Relaxed) + weight;
        self.most_on_the_way.fetch_max(now, Ordering::Relaxed);
        let takes = self.page + self.megabyte.mul_f64(weight as f64 / 1e6);
        tokio::time::sleep(takes).await;
        self.on_the_way.fetch_sub(weight, Ordering::Relaxed);
        page.rows.iter_mut().for_each(|row| self.tell(row));
        Ok(page)
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.inner.halve(table, range)
    }

    async fn now(&self) -> Result<Option<i64>> {
        Ok(Some(NOW))
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.inner.write_access(table, role).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.inner.tables().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Timed {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        self.inner.clone().permitted(permit)
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.inner.create(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], guard: &Condition) -> WriteOutcomes {
        self.inner.put(table, rows, guard).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Condition) -> WriteOutcomes {
        self.inner.purge(table, keys, guard).await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        self.inner.fold(table, folds).await
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        self.inner.update_item(table, key, change, on).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        self.inner.add(table, add).await
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.inner.apply(table, mutation).await
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        self.inner.delete(table, range).await
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

    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.inner.enable_ttl(table).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.inner.drop_table(table).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.inner.revoke(table, role).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.inner.grant(table, role).await
    }
}
