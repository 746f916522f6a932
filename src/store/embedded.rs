//! A store in a folder of this machine, on sled: for `migrate demo`, trials and tests. It needs no
//! server, survives `kill -9`, and answers a write only when it is on the disk.
//!
//! A tree per table holds the rows (see `ordered`); the tree `tables` holds each table's schema
//! and its id.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::ordered::{self, Change, Place};
use super::{Capabilities, Cursor, Guard, Inspection, Page, Put, Puts, Range, Store, failed_rows};
use crate::disk::{Disk, Refusal, disk_error};
use crate::error::{Effect, Error, Kind, Result};
use crate::model::{Fold, Key, Row, Tokens, Value};
use crate::schema::{StoredTable, Table};

/// A store in a folder.
pub struct Embedded {
    name: String,
    folder: PathBuf,
    disk: Disk,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Entry {
    id: String,
    table: StoredTable,
}

impl Embedded {
    /// Opens a folder, making it if need be. One process at a time can have it.
    ///
    /// # Errors
    /// [`Kind::Config`] if another process has it or it can't be written, [`Kind::Corrupt`] if it
    /// is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let place = folder.display().to_string();
        let disk = Disk::open(folder).map_err(|refusal| match refusal {
            Refusal::Held(holder) => Error::new(
                Kind::Config,
                format!("the embedded store is open elsewhere: {holder}"),
            )
            .at("folder", place.clone()),
            Refusal::Damaged(why) => Error::new(
                Kind::Corrupt,
                format!("the embedded store can't be opened: {why}"),
            )
            .at("folder", place.clone()),
            Refusal::Unusable(error) => error,
        })?;
        Ok(Embedded {
            name: format!("embedded {place}"),
            folder: folder.to_owned(),
            disk,
        })
    }

    fn tree(&self, table: &Table) -> impl Fn(&sled::Db) -> Result<sled::Tree> + Send + 'static {
        let (folder, name) = (self.folder.clone(), table.name.clone());
        move |db| {
            let tree = format!("rows {name}");
            if !db
                .tree_names()
                .iter()
                .any(|there| there.as_ref() == tree.as_bytes())
            {
                return Err(
                    Error::new(Kind::Missing, "the embedded store has no such table")
                        .at("table", name.as_str()),
                );
            }
            db.open_tree(tree)
                .map_err(|error| disk_error("open", &folder, error))
        }
    }

    /// One change of rows: checks each guard and writes what passes, all in the owner's thread, so
    /// that nothing comes between.
    async fn change(&self, table: &Table, changes: Vec<Change>, guard: &Guard) -> Puts {
        let count = changes.len();
        let (open, folder) = (self.tree(table), self.folder.clone());
        let (table, guard) = (table.clone(), guard.clone());
        let work = move |db: &sled::Db| {
            let tree = open(db)?;
            let failed = |error| disk_error("write to", &folder, error).effect(Effect::Unknown);
            let mut batch = sled::Batch::default();
            let mut puts = Puts::default();
            for change in changes {
                let place = match ordered::place(&table, change.key()) {
                    Ok(place) => place,
                    Err(error) => {
                        puts.rows.push(Err(error));
                        continue;
                    }
                };
                let there = tree.get(&place).map_err(failed)?;
                let answer = match change.apply(&table, there.as_deref(), &guard) {
                    Ok(Place::Holds(record)) => {
                        puts.bytes += record.len() as u64;
                        batch.insert(place, record);
                        Ok(Put::Written)
                    }
                    Ok(Place::Empty) => {
                        batch.remove(place);
                        Ok(Put::Written)
                    }
                    Ok(Place::Stays) => Ok(Put::Refused),
                    Err(error) => Err(error),
                };
                puts.rows.push(answer);
            }
            tree.apply_batch(batch).map_err(failed)?;
            Ok(puts)
        };
        self.disk
            .write(work)
            .await
            .unwrap_or_else(|error| failed_rows(count, &error))
    }

    async fn page(
        &self,
        table: &Table,
        from: Vec<u8>,
        until: Option<Vec<u8>>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let (open, folder, table) = (self.tree(table), self.folder.clone(), table.clone());
        let behind = after
            .map(|cursor| ordered::place(&table, &cursor.key))
            .transpose()?;
        self.disk
            .read(move |db| {
                let tree = open(db)?;
                // The first key behind a place is that place with a zero byte.
                let start = behind.map_or(from, |mut place| {
                    place.push(0);
                    place
                });
                if until.as_ref().is_some_and(|until| *until <= start) {
                    return Ok(Page::default());
                }
                let records = match until {
                    Some(until) => tree.range(start..until),
                    None => tree.range(start..),
                };
                let mut page = Page::default();
                for entry in records {
                    let (_, record) = entry.map_err(|error| disk_error("read", &folder, error))?;
                    if page.rows.len() >= limit.max(1) {
                        let key = page.rows.last().map(|row: &Row| row.key.clone());
                        page.next = key.map(|key| Cursor { key, state: None });
                        break;
                    }
                    page.bytes += record.len() as u64;
                    page.rows.push(ordered::row(&table, &record)?);
                }
                Ok(page)
            })
            .await
    }
}

fn entry(folder: &Path, db: &sled::Db, table: &str) -> Result<Option<Entry>> {
    let read = db
        .get(format!("table {table}"))
        .map_err(|e| disk_error("read", folder, e))?;
    let Some(bytes) = read else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(
            Kind::Corrupt,
            "the embedded store's table list can't be read",
        )
        .at("folder", folder.display().to_string())
        .source_of(error)
    })
}

#[async_trait]
impl Store for Embedded {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            token_ranges: true,
            guarded_put: true,
            create: true,
            marks: true,
            fold: true,
            put_rows: 500,
        }
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        let (folder, name) = (self.folder.clone(), table.to_owned());
        self.disk
            .read(move |db| {
                let Some(entry) = entry(&folder, db, &name)? else {
                    return Ok(None);
                };
                let tree = db.open_tree(format!("rows {name}"));
                let tree = tree.map_err(|error| disk_error("open", &folder, error))?;
                let (rows, bytes) = tree
                    .iter()
                    .values()
                    .flatten()
                    .fold((0, 0), |(rows, bytes), v| {
                        (rows + 1, bytes + v.len() as u64)
                    });
                Ok(Some(Inspection {
                    id: entry.id,
                    table: Some(entry.table.read()?),
                    default_ttl: 0,
                    rows: Some(rows),
                    bytes: Some(bytes),
                    findings: Vec::new(),
                }))
            })
            .await
    }

    async fn create(&self, table: &Table) -> Result<()> {
        let (folder, table) = (self.folder.clone(), table.clone());
        self.disk
            .write(move |db| {
                if let Some(there) = entry(&folder, db, &table.name)? {
                    return super::same_keys(&there.table.read()?, &table);
                }
                let id = format!("embedded-{:016x}", rand::random::<u64>());
                let entry = Entry {
                    id,
                    table: StoredTable::of(&table),
                };
                let failed = |error| disk_error("write to", &folder, error);
                db.open_tree(format!("rows {}", table.name))
                    .map_err(failed)?;
                let text = serde_json::to_vec(&entry).map_err(|error| {
                    Error::new(Kind::Invalid, "a table's schema can't be written").source_of(error)
                })?;
                db.insert(format!("table {}", table.name), text)
                    .map_err(failed)?;
                Ok(())
            })
            .await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let (open, folder, table) = (self.tree(table), self.folder.clone(), table.clone());
        let places: Result<Vec<Vec<u8>>> =
            keys.iter().map(|key| ordered::place(&table, key)).collect();
        let places = places?;
        self.disk
            .read(move |db| {
                let tree = open(db)?;
                let read = |place| {
                    let record = tree
                        .get(place)
                        .map_err(|e| disk_error("read", &folder, e))?;
                    record
                        .map(|record| ordered::row(&table, &record))
                        .transpose()
                };
                places.iter().map(read).collect()
            })
            .await
    }

    async fn put(&self, table: &Table, rows: &[Row], guard: &Guard) -> Puts {
        let changes = rows.iter().cloned().map(Change::Put).collect();
        self.change(table, changes, guard).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, guard: &Guard) -> Puts {
        let changes = keys.into_iter().map(Change::Purge).collect();
        self.change(table, changes, guard).await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> Puts {
        let changes = folds.into_iter().map(Change::Fold).collect();
        self.change(table, changes, &Guard::Always).await
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
        self.page(table, from, until, after, limit).await
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
        self.page(table, from, until, after, limit).await
    }

    fn halve(&self, _table: &Table, range: &Range) -> Option<Vec<Range>> {
        super::halve_tokens(range)
    }
}
