//! A store in the memory of this process: for tests of applications, and for the model tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::ordered::{self, Change, Place};
use super::{Capabilities, Cursor, Guard, Inspection, Page, Put, Puts, Range, Store};
use crate::error::{Error, Kind, Result};
use crate::model::{Fold, Key, Row, Tokens, Value};
use crate::schema::Table;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Held {
    table: Table,
    id: String,
    rows: Map,
}

/// A store in memory. Every call is atomic.
#[derive(Default)]
pub struct Memory {
    tables: Mutex<BTreeMap<String, Held>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // A panic elsewhere leaves whole rows behind: each write is a single insert.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, table: &Table, changes: impl Iterator<Item = Change>, guard: &Guard) -> Puts {
        let mut tables = self.tables();
        let mut puts = Puts::default();
        for change in changes {
            let answer = (|| {
                let held = tables.get_mut(&table.name).ok_or_else(|| missing(table))?;
                let place = ordered::place(table, change.key())?;
                let there = held.rows.get(&place).map(Vec::as_slice);
                match change.apply(table, there, guard)? {
                    Place::Holds(record) => {
                        puts.bytes += record.len() as u64;
                        held.rows.insert(place, record);
                    }
                    Place::Empty => drop(held.rows.remove(&place)),
                    Place::Stays => return Ok(Put::Refused),
                }
                Ok(Put::Written)
            })();
            puts.rows.push(answer);
        }
        puts
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

fn missing(table: &Table) -> Error {
    Error::new(Kind::Missing, "there is no such table in memory").at("table", table.name.as_str())
}

#[async_trait]
impl Store for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            token_ranges: true,
            guarded_put: true,
            create: true,
            marks: true,
            fold: true,
            put_rows: 100,
        }
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

    async fn create(&self, table: &Table) -> Result<()> {
        let mut tables = self.tables();
        if let Some(held) = tables.get(&table.name) {
            return super::same_keys(&held.table, table);
        }
        let id = format!("memory-{:016x}", rand::random::<u64>());
        let held = Held {
            table: table.clone(),
            id,
            rows: Map::new(),
        };
        tables.insert(table.name.clone(), held);
        Ok(())
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

    async fn put(&self, table: &Table, rows: &[Row], guard: &Guard) -> Puts {
        self.change(table, rows.iter().cloned().map(Change::Put), guard)
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Guard) -> Puts {
        self.change(table, keys.into_iter().map(Change::Purge), guard)
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> Puts {
        let changes = folds.into_iter().map(Change::Fold);
        self.change(table, changes, &Guard::Always)
    }

    async fn query(
        &self,
        table: &Table,
        partition: &[Value],
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let from = ordered::partition_place(table, partition);
        let until = ordered::behind(&from);
        self.page(table, from, until, after, limit)
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
