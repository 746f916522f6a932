//! A store in the memory of this process: for tests of applications, and for the model tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::ordered::{self, PlaceWrite, Replacement};
use super::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteOutcomes,
};
use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row, Tokens,
};
use crate::schema::Table;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct HeldTable {
    table: Table,
    id: String,
    rows: Map,
}

/// A store in memory. Every call is atomic.
#[derive(Default)]
pub struct Memory {
    tables: Arc<Mutex<BTreeMap<String, HeldTable>>>,
    /// Of adds that were done.
    tokens: Arc<Mutex<BTreeSet<String>>>,
    permit: Option<Permit>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, HeldTable>> {
        // A panic elsewhere leaves whole rows: each write is a single insert.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one after the other; and how many bytes that took.
    fn write_all(
        &self,
        table: &Table,
        writes: impl Iterator<Item = PlaceWrite>,
        returns: Returns,
    ) -> (Vec<Result<Changed>>, u64) {
        let mut tables = self.tables();
        let mut bytes = 0;
        let mut write = |write: PlaceWrite| {
            Permit::ask_of(&self.permit)?;
            let held = tables.get_mut(&table.name).ok_or_else(|| missing(table))?;
            let place = ordered::place(table, write.key())?;
            let there = held.rows.get(&place).map(Vec::as_slice);
            let after = write.apply(table, there)?;
            let answer = after.answer(table, there, returns)?;
            bytes += settle(&mut held.rows, place, after);
            Ok(answer)
        };
        let answers = writes.map(&mut write).collect();
        (answers, bytes)
    }

    fn put_all(&self, table: &Table, writes: impl Iterator<Item = PlaceWrite>) -> WriteOutcomes {
        let (answers, bytes) = self.write_all(table, writes, Returns::Nothing);
        ordered::puts(answers, bytes)
    }

    fn write_one(&self, table: &Table, write: PlaceWrite) -> Result<Changed> {
        self.write_and_tell(table, write, Returns::Nothing)
    }

    fn write_and_tell(
        &self,
        table: &Table,
        write: PlaceWrite,
        returns: Returns,
    ) -> Result<Changed> {
        let (mut answers, _) = self.write_all(table, std::iter::once(write), returns);
        answers.pop().unwrap_or(Ok(Changed::Written))
    }

    fn page(
        &self,
        table: &Table,
        from: Vec<u8>,
        until: Option<Vec<u8>>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let tables = self.tables();
        let held = tables.get(&table.name).ok_or_else(|| missing(table))?;
        let start = match after {
            Some(cursor) => Bound::Excluded(ordered::place(table, &cursor.key)?),
            None => Bound::Included(from),
        };
        let end = until.map_or(Bound::Unbounded, Bound::Excluded);
        if let (Bound::Excluded(start) | Bound::Included(start), Bound::Excluded(end)) =
            (&start, &end)
            && start >= end
        {
            return Ok(Page::default());
        }
        let mut page = Page::default();
        for record in held.rows.range((start, end)).map(|(_, record)| record) {
            if page.rows.len() >= limit.max(1) {
                let key = page.rows.last().map(|row| row.key.clone());
                page.next = key.map(|key| Cursor { key, state: None });
                break;
            }
            page.bytes += record.len() as u64;
            page.rows.push(ordered::row(table, record)?);
        }
        Ok(page)
    }
}

/// Puts what becomes of a place there, and tells how many bytes that took.
fn settle(rows: &mut Map, place: Vec<u8>, after: Replacement) -> u64 {
    match after {
        Replacement::Holds(record) => {
            let bytes = record.len() as u64;
            rows.insert(place, record);
            bytes
        }
        Replacement::Empty => {
            rows.remove(&place);
            0
        }
        Replacement::Stays(_) => 0,
    }
}

fn missing(table: &Table) -> Error {
    Error::new(Kind::Missing, "there is no such table in memory")
        .with_context("table", table.name.as_str())
}

#[async_trait]
impl Reads for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            token_ranges: true,
            conditional_put: true,
            create: true,
            marks: true,
            fold: true,
            change: true,
            write: true,
            idempotent_add: true,
            key_attributes: false,
            put_rows: 100,
            page_bytes: 0,
            readers: 0,
        }
    }

    async fn tables(&self) -> Result<Vec<String>> {
        let tables = self.tables();
        let mut names: Vec<(bool, String)> = tables
            .iter()
            .map(|(name, held)| (!held.table.is_counter(), name.clone()))
            .collect();
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        let tables = self.tables();
        Ok(tables.get(table).map(|held| Inspection {
            id: held.id.clone(),
            table: Some(held.table.clone()),
            default_ttl: 0,
            rows: Some(held.rows.len() as u64),
            bytes: Some(held.rows.values().map(|record| record.len() as u64).sum()),
            findings: Vec::new(),
        }))
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let tables = self.tables();
        let held = tables.get(&table.name).ok_or_else(|| missing(table))?;
        let read = |key| {
            let record = held.rows.get(&ordered::place(table, key)?);
            record.map(|record| ordered::row(table, record)).transpose()
        };
        keys.iter().map(read).collect()
    }

    async fn read(&self, table: &Table, key: &Key, _reading: Reading) -> Result<Option<Row>> {
        let mut rows = self.get(table, std::slice::from_ref(key)).await?;
        Ok(rows.pop().flatten())
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let tables = self.tables();
        let read = |(table, key): &(&Table, &Key)| {
            let held = tables.get(&table.name).ok_or_else(|| missing(table))?;
            let record = held.rows.get(&ordered::place(table, key)?);
            record.map(|record| ordered::row(table, record)).transpose()
        };
        keys.iter().map(read).collect()
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let (from, until) = ordered::query_bounds(table, query)?;
        let tables = self.tables();
        let held = tables.get(&table.name).ok_or_else(|| missing(table))?;
        if until.as_ref().is_some_and(|until| *until <= from) {
            return Ok(QueryPage::default());
        }
        let end = until.map_or(Bound::Unbounded, Bound::Excluded);
        let records = held.rows.range((Bound::Included(from), end));
        let records = records.map(|(_, record)| ordered::row(table, record));
        match query.reverse {
            true => ordered::query_page(records.rev(), query.limit),
            false => ordered::query_page(records, query.limit),
        }
    }

    async fn splits(&self, _table: &Table, count: usize) -> Result<Vec<Range>> {
        Ok(Tokens::ALL
            .split(count)
            .into_iter()
            .map(Range::Tokens)
            .collect())
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let (from, until) = ordered::bounds(&super::tokens_of(range)?);
        self.page(table, from, until, after, limit)
    }

    fn halve(&self, _table: &Table, range: &Range) -> Option<Vec<Range>> {
        super::halve_tokens(range)
    }
}

#[async_trait]
impl Store for Memory {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Memory {
            tables: self.tables.clone(),
            tokens: self.tokens.clone(),
            permit: Some(permit),
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        let mut tables = self.tables();
        if let Some(held) = tables.get(&table.name) {
            return super::same_keys(&held.table, table);
        }
        let id = format!("memory-{:016x}", rand::random::<u64>());
        let held = HeldTable {
            table: table.clone(),
            id,
            rows: Map::new(),
        };
        tables.insert(table.name.clone(), held);
        Ok(())
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        let rows = rows.iter().cloned();
        self.put_all(table, rows.map(|row| PlaceWrite::Put(row, on.clone())))
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        let keys = keys.into_iter();
        self.put_all(table, keys.map(|key| PlaceWrite::Purge(key, on.clone())))
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        self.put_all(table, folds.into_iter().map(PlaceWrite::Fold))
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        let write = PlaceWrite::Change(key.clone(), change.clone(), on.clone());
        self.write_one(table, write)
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        let write = PlaceWrite::Change(key.clone(), change.clone(), on.clone());
        self.write_and_tell(table, write, returns)
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let mut tables = self.tables();
        Permit::ask_of(&self.permit)?;
        let mut afters = Vec::with_capacity(changes.len());
        let mut answers = Vec::with_capacity(changes.len());
        for one in changes {
            let held = tables
                .get(&one.table.name)
                .ok_or_else(|| missing(one.table))?;
            let place = ordered::place(one.table, one.key)?;
            let there = held.rows.get(&place).map(Vec::as_slice);
            let after = PlaceWrite::of(one).apply(one.table, there)?;
            answers.push(after.answer(one.table, there, Returns::Nothing)?);
            afters.push((one.table, place, after));
        }
        if answers.iter().all(|answer| *answer == Changed::Written) {
            for (table, place, after) in afters {
                let held = tables.get_mut(&table.name).ok_or_else(|| missing(table))?;
                settle(&mut held.rows, place, after);
            }
        }
        Ok(answers)
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        if add.token.is_some() {
            return Err(super::telling_no_tokens());
        }
        match self.write_and_tell(table, PlaceWrite::Add(add.clone()), Returns::New)? {
            Changed::Told(row) | Changed::Refused(row) => Ok(row),
            Changed::Written => Ok(None),
        }
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        // Held over the write, so that the same one doesn't come in between.
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if add
            .token
            .as_ref()
            .is_some_and(|token| tokens.contains(token))
        {
            return Ok(());
        }
        self.write_one(table, PlaceWrite::Add(add.clone()))?;
        tokens.extend(add.token.clone());
        Ok(())
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.write_one(table, PlaceWrite::Mutation(mutation.clone()))
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        Permit::ask_of(&self.permit)?;
        let (from, until) = ordered::range_bounds(table, range)?;
        let mut tables = self.tables();
        let held = tables.get_mut(&table.name).ok_or_else(|| missing(table))?;
        let is_within =
            |place: &Vec<u8>| *place >= from && until.as_ref().is_none_or(|end| place < end);
        held.rows.retain(|place, _| !is_within(place));
        Ok(())
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.tables().remove(table);
        Ok(())
    }
}
