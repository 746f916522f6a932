//! A target that a tool writes to only while its lease lasts.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Member, New, PhaseGuard};
use crate::error::{Effect, Error, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row,
};
use crate::schema::Table;
use crate::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcomes, failed_rows,
};

/// The wrapper. Each write is an operation of its own, and a permit is asked before each request that
/// it takes: past the lease it is refused as unreachable, so that the one that waits for stores waits for the
/// lease too.
///
/// That what is written was read before a lapse does no harm: a participant only goes on under the
/// same freeze, in which the old rows don't change, and a fold's condition holds whenever it is sent.
pub struct Leased {
    inner: Arc<dyn Store>,
    member: Arc<Member>,
}

impl Leased {
    /// A target in the hands of a participant.
    pub fn new(new: &New, member: Arc<Member>) -> Self {
        Leased {
            inner: new.store().clone(),
            member,
        }
    }

    fn begin(&self) -> Result<(SentWrite, Arc<dyn Store>)> {
        let guard = self.member.guard()?;
        let store = self.inner.clone().permitted(guard.permit());
        Ok((SentWrite(Some(guard)), store))
    }
}

impl Member {
    /// The new store in the hands of this participant: what it sends is sent while its lease lasts.
    pub fn writer(self: &Arc<Self>, new: &New) -> Leased {
        Leased::new(new, self.clone())
    }
}

/// A write on its way. While it isn't known what has become of it, be it that nothing waits any more, it may
/// land.
struct SentWrite(Option<PhaseGuard>);

impl SentWrite {
    fn rows(mut self, puts: WriteOutcomes) -> WriteOutcomes {
        if puts.rows.iter().all(is_over) {
            self.0 = None;
        }
        puts
    }

    fn one<T>(mut self, answer: Result<T>) -> Result<T> {
        if is_over(&answer) {
            self.0 = None;
        }
        answer
    }
}

impl Drop for SentWrite {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            guard.release_late();
        }
    }
}

fn is_over<T>(answer: &Result<T>) -> bool {
    let effect = answer.as_ref().err().map(Error::known_effect);
    effect != Some(Effect::Unknown)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Leased {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.inner.inspect(table).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.inner.tables().await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.inner.get(table, keys).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.inner.read(table, key, reading).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        self.inner.get_together(keys).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        self.inner.query(table, query).await
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.inner.now().await
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
        self.inner.scan(table, range, after, limit).await
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.inner.halve(table, range)
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.inner.write_access(table, role).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Leased {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        Arc::new(Leased {
            inner: self.inner.clone().afresh(),
            member: self.member.clone(),
        })
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Leased {
            inner: self.inner.clone().permitted(permit),
            member: self.member.clone(),
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.inner.create(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        match self.begin() {
            Ok((sent, store)) => sent.rows(store.put(table, rows, on).await),
            Err(error) => failed_rows(rows.len(), &error),
        }
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        match self.begin() {
            Ok((sent, store)) => sent.rows(store.purge(table, keys, on).await),
            Err(error) => failed_rows(keys.len(), &error),
        }
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        match self.begin() {
            Ok((sent, store)) => sent.rows(store.fold(table, folds).await),
            Err(error) => failed_rows(folds.len(), &error),
        }
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        let (sent, store) = self.begin()?;
        sent.one(store.update_item(table, key, change, on).await)
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        let (sent, store) = self.begin()?;
        sent.one(
            store
                .update_item_and_return(table, key, change, on, returns)
                .await,
        )
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let (sent, store) = self.begin()?;
        sent.one(store.transact(changes).await)
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        let (sent, store) = self.begin()?;
        sent.one(store.add_and_return(table, add).await)
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        let (sent, store) = self.begin()?;
        sent.one(store.add(table, add).await)
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        let (sent, store) = self.begin()?;
        sent.one(store.apply(table, mutation).await)
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        let (sent, store) = self.begin()?;
        sent.one(store.delete(table, range).await)
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
