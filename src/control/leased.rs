//! A target that a tool writes to only while its lease lasts.

use std::sync::Arc;

use async_trait::async_trait;

use super::Member;
use crate::error::Result;
use crate::model::{Add, Change, Fold, If, Key, List, Mutation, Row, Span};
use crate::schema::Table;
use crate::store::{
    Capabilities, Changed, Cursor, Guard, Inspection, Listed, Page, Puts, Range, Reading, Store,
    failed_rows,
};

/// The wrapper. Each write is an operation of its own: it is refused as unreachable past the lease,
/// so that whoever waits for stores waits for the lease too.
///
/// That what is written was read before a lapse does no harm: a participant only goes on under the
/// same freeze, in which the old rows stand still, and a fold's condition holds whenever it is sent.
pub struct Leased {
    inner: Arc<dyn Store>,
    member: Arc<Member>,
}

impl Leased {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, member: Arc<Member>) -> Self {
        Leased { inner, member }
    }
}

#[async_trait]
impl Store for Leased {
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

    async fn create(&self, table: &Table) -> Result<()> {
        self.inner.create(table).await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.inner.get(table, keys).await
    }

    async fn put(&self, table: &Table, rows: &[Row], guard: &Guard) -> Puts {
        match self.member.pin() {
            Ok(_pin) => self.inner.put(table, rows, guard).await,
            Err(error) => failed_rows(rows.len(), &error),
        }
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Guard) -> Puts {
        match self.member.pin() {
            Ok(_pin) => self.inner.purge(table, keys, guard).await,
            Err(error) => failed_rows(keys.len(), &error),
        }
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> Puts {
        match self.member.pin() {
            Ok(_pin) => self.inner.fold(table, folds).await,
            Err(error) => failed_rows(folds.len(), &error),
        }
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.inner.read(table, key, reading).await
    }

    async fn change(&self, table: &Table, key: &Key, change: &Change, on: &If) -> Result<Changed> {
        let _pin = self.member.pin()?;
        self.inner.change(table, key, change, on).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        let _pin = self.member.pin()?;
        self.inner.add(table, add).await
    }

    async fn write(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        let _pin = self.member.pin()?;
        self.inner.write(table, mutation).await
    }

    async fn delete(&self, table: &Table, span: &Span) -> Result<()> {
        let _pin = self.member.pin()?;
        self.inner.delete(table, span).await
    }

    async fn list(&self, table: &Table, list: &List) -> Result<Listed> {
        self.inner.list(table, list).await
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
}
