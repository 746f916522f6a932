//! A target that a tool writes to only while its lease lasts.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Member, Pin};
use crate::error::{Effect, Error, Result};
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

    async fn rows(&self, count: usize, sending: impl Future<Output = Puts>) -> Puts {
        let mut sent = match self.member.pin() {
            Ok(pin) => Sent(Some(pin)),
            Err(error) => return failed_rows(count, &error),
        };
        let puts = sending.await;
        if puts.rows.iter().all(is_over) {
            sent.0 = None;
        }
        puts
    }

    async fn one<T>(&self, sending: impl Future<Output = Result<T>>) -> Result<T> {
        let mut sent = Sent(Some(self.member.pin()?));
        let answer = sending.await;
        if is_over(&answer) {
            sent.0 = None;
        }
        answer
    }
}

/// A write on its way. While nobody knows what has become of it, be it that nobody waits any more, it may
/// land.
struct Sent(Option<Pin>);

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(pin) = self.0.take() {
            pin.release_late();
        }
    }
}

fn is_over<T>(answer: &Result<T>) -> bool {
    let effect = answer.as_ref().err().map(Error::known_effect);
    effect != Some(Effect::Unknown)
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
        self.rows(rows.len(), self.inner.put(table, rows, guard))
            .await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Guard) -> Puts {
        self.rows(keys.len(), self.inner.purge(table, keys, guard))
            .await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> Puts {
        self.rows(folds.len(), self.inner.fold(table, folds)).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.inner.read(table, key, reading).await
    }

    async fn change(&self, table: &Table, key: &Key, change: &Change, on: &If) -> Result<Changed> {
        self.one(self.inner.change(table, key, change, on)).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        self.one(self.inner.add(table, add)).await
    }

    async fn write(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.one(self.inner.write(table, mutation)).await
    }

    async fn delete(&self, table: &Table, span: &Span) -> Result<()> {
        self.one(self.inner.delete(table, span)).await
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
