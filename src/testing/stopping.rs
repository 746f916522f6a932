//! A store with a stop point before and after each write: for tests, see [`crate::failpoints`].

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::failpoints;
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row,
};
use crate::schema::Table;
use crate::store::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteAccess, WriteOutcomes,
};

struct Stopping(Arc<dyn Store>);

/// The store with stop points, where the environment asks for them; else as it is.
pub fn if_asked(store: Arc<dyn Store>) -> Arc<dyn Store> {
    match failpoints::are_asked_for() {
        true => Arc::new(Stopping(store)),
        false => store,
    }
}

fn before(what: &str, table: &Table) {
    failpoints::point(&format!("before a {what} in {}", table.name));
}

fn after(what: &str, table: &Table) {
    failpoints::point(&format!("after a {what} in {}", table.name));
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Stopping {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.0.inspect(table).await
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.0.tables().await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.0.get(table, keys).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.0.read(table, key, reading).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        self.0.get_together(keys).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        self.0.query(table, query).await
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.0.now().await
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.0.write_access(table, role).await
    }

    async fn splits(&self, table: &Table, count: usize) -> Result<Vec<Range>> {
        self.0.splits(table, count).await
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.0.scan(table, range, after, limit).await
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        self.0.halve(table, range)
    }

    /// Says how many points there were, for who wants to stop at each.
    async fn close(&self) {
        eprintln!("stop points passed: {}", failpoints::passed());
        self.0.close().await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Stopping {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        Arc::new(Stopping(self.0.clone().afresh()))
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Stopping(self.0.clone().permitted(permit)))
    }

    async fn create(&self, table: &Table) -> Result<()> {
        before("create", table);
        let created = self.0.create(table).await;
        after("create", table);
        created
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        before("put", table);
        let puts = self.0.put(table, rows, on).await;
        after("put", table);
        puts
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        before("purge", table);
        let puts = self.0.purge(table, keys, on).await;
        after("purge", table);
        puts
    }

    /// One after the other, since each is a write of its own.
    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        let mut all = WriteOutcomes::default();
        for fold in folds {
            before("fold", table);
            let one = self.0.fold(table, vec![fold]).await;
            after("fold", table);
            all.rows.extend(one.rows);
            all.units += one.units;
            all.bytes += one.bytes;
        }
        all
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        before("change", table);
        let changed = self.0.update_item(table, key, change, on).await;
        after("change", table);
        changed
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        before("change", table);
        let changed = self
            .0
            .update_item_and_return(table, key, change, on, returns)
            .await;
        after("change", table);
        changed
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let Some(first) = changes.first() else {
            return self.0.transact(changes).await;
        };
        before("transact", first.table);
        let changed = self.0.transact(changes).await;
        after("transact", first.table);
        changed
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        before("add", table);
        let added = self.0.add_and_return(table, add).await;
        after("add", table);
        added
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        before("add", table);
        let added = self.0.add(table, add).await;
        after("add", table);
        added
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        before("write", table);
        let written = self.0.apply(table, mutation).await;
        after("write", table);
        written
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        before("delete", table);
        let deleted = self.0.delete(table, range).await;
        after("delete", table);
        deleted
    }

    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.0.enable_ttl(table).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.0.drop_table(table).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.0.revoke(table, role).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.0.grant(table, role).await
    }
}
