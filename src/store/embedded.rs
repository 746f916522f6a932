//! A store in a folder of this machine, on sled: for `migrate demo`, trials and tests. It needs no
//! server, survives `kill -9`, and answers a write only when it is on the disk.
//!
//! A tree per table holds the rows (see `ordered`); the tree `tables` holds each table's schema
//! and its id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::ordered::{self, PlaceWrite, Replacement};
use super::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteOutcomes, failed_rows,
};
use crate::disk::{Disk, OpenRefusal, disk_error};
use crate::error::{Effect, Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row, Tokens,
};
use crate::schema::{StoredTable, Table};

/// A store in a folder.
pub struct Embedded {
    name: String,
    folder: PathBuf,
    disk: Arc<Disk>,
    permit: Option<Permit>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct TableEntry {
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
            OpenRefusal::Held(holder) => Error::new(
                Kind::Config,
                format!("the embedded store is open elsewhere: {holder}"),
            )
            .with_context("folder", place.clone()),
            OpenRefusal::Damaged(why) => Error::new(
                Kind::Corrupt,
                format!("the embedded store can't be opened: {why}"),
            )
            .with_context("folder", place.clone()),
            OpenRefusal::Unusable(error) => error,
        })?;
        Ok(Embedded {
            name: format!("embedded {place}"),
            folder: folder.to_owned(),
            disk: Arc::new(disk),
            permit: None,
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
                        .with_context("table", name.as_str()),
                );
            }
            db.open_tree(tree)
                .map_err(|error| disk_error("open", &folder, error))
        }
    }

    /// Checks each write's condition and writes what passes, all in the owner's thread, so that nothing
    /// comes between; and how many bytes that took.
    async fn write_all(
        &self,
        table: &Table,
        writes: Vec<PlaceWrite>,
        returns: Returns,
    ) -> Result<(Vec<Result<Changed>>, u64)> {
        let (open, folder, table) = (self.tree(table), self.folder.clone(), table.clone());
        let permit = self.permit.clone();
        let work = move |db: &sled::Db| {
            let tree = open(db)?;
            let failed =
                |error| disk_error("write to", &folder, error).with_effect(Effect::Unknown);
            let mut batch = sled::Batch::default();
            let mut bytes = 0;
            let mut answers = Vec::with_capacity(writes.len());
            for write in writes {
                let place =
                    Permit::ask_of(&permit).and_then(|()| ordered::place(&table, write.key()));
                let place = match place {
                    Ok(place) => place,
                    Err(error) => {
                        answers.push(Err(error));
                        continue;
                    }
                };
                let there = tree.get(&place).map_err(failed)?;
                let after = write.apply(&table, there.as_deref());
                answers.push(after.and_then(|after| {
                    let answer = after.answer(&table, there.as_deref(), returns)?;
                    bytes += settle(&mut batch, place, after);
                    Ok(answer)
                }));
            }
            tree.apply_batch(batch).map_err(failed)?;
            Ok((answers, bytes))
        };
        self.disk.write(work).await
    }

    async fn put_all(&self, table: &Table, writes: Vec<PlaceWrite>) -> WriteOutcomes {
        let count = writes.len();
        match self.write_all(table, writes, Returns::Nothing).await {
            Ok((answers, bytes)) => ordered::puts(answers, bytes),
            Err(error) => failed_rows(count, &error),
        }
    }

    async fn write_one(&self, table: &Table, write: PlaceWrite) -> Result<Changed> {
        self.write_and_tell(table, write, Returns::Nothing).await
    }

    async fn write_and_tell(
        &self,
        table: &Table,
        write: PlaceWrite,
        returns: Returns,
    ) -> Result<Changed> {
        let (mut answers, _) = self.write_all(table, vec![write], returns).await?;
        answers.pop().unwrap_or(Ok(Changed::Written))
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
        let resumed = after
            .map(|cursor| ordered::place(&table, &cursor.key))
            .transpose()?;
        self.disk
            .read(move |db| {
                let tree = open(db)?;
                // The first key after a place is that place with a zero byte.
                let start = resumed.map_or(from, |mut place| {
                    place.push(0);
                    place
                });
                let mut page = Page::default();
                for entry in between(&tree, start, until) {
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

/// Puts what becomes of a place into a batch, and tells how many bytes that takes.
fn settle(batch: &mut sled::Batch, place: Vec<u8>, after: Replacement) -> u64 {
    match after {
        Replacement::Holds(record) => {
            let bytes = record.len() as u64;
            batch.insert(place, record);
            bytes
        }
        Replacement::Empty => {
            batch.remove(place);
            0
        }
        Replacement::Stays(_) => 0,
    }
}

/// What a tree has from a place on, before another.
fn between(tree: &sled::Tree, from: Vec<u8>, until: Option<Vec<u8>>) -> sled::Iter {
    match until {
        Some(until) => tree.range(from.clone()..until.max(from)),
        None => tree.range(from..),
    }
}

fn entry(folder: &Path, db: &sled::Db, table: &str) -> Result<Option<TableEntry>> {
    let read = db
        .get(format!("table {table}"))
        .map_err(|e| disk_error("read", folder, e))?;
    let Some(bytes) = read else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(
            Kind::Corrupt,
            "the embedded store's table list can't be read",
        )
        .with_context("folder", folder.display().to_string())
        .with_source(error)
    })
}

#[async_trait]
impl Reads for Embedded {
    fn name(&self) -> &str {
        &self.name
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
            idempotent_add: false,
            key_attributes: false,
            put_rows: 500,
            page_bytes: 0,
            readers: 0,
        }
    }

    async fn tables(&self) -> Result<Vec<String>> {
        let folder = self.folder.clone();
        self.disk
            .read(move |db| {
                let mut tables = Vec::new();
                for key in db.scan_prefix("table ").keys() {
                    let key = key.map_err(|error| disk_error("read", &folder, error))?;
                    let key = String::from_utf8_lossy(&key);
                    let name = key.strip_prefix("table ").unwrap_or_default();
                    if let Some(entry) = entry(&folder, db, name)? {
                        tables.push((!entry.table.read()?.is_counter(), name.to_owned()));
                    }
                }
                tables.sort();
                Ok(tables.into_iter().map(|(_, name)| name).collect())
            })
            .await
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

    async fn read(&self, table: &Table, key: &Key, _reading: Reading) -> Result<Option<Row>> {
        let mut rows = self.get(table, std::slice::from_ref(key)).await?;
        Ok(rows.pop().flatten())
    }

    /// In the owner's thread, so that no write comes between.
    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        let keys = keys.iter().map(|(table, key)| {
            let place = ordered::place(table, key)?;
            Ok((Table::clone(table), self.tree(table), place))
        });
        let keys: Vec<_> = keys.collect::<Result<_>>()?;
        let folder = self.folder.clone();
        let work = move |db: &sled::Db| {
            let mut rows = Vec::with_capacity(keys.len());
            for (table, open, place) in keys {
                let record = open(db)?
                    .get(place)
                    .map_err(|error| disk_error("read", &folder, error))?;
                let row = record.map(|record| ordered::row(&table, &record));
                rows.push(row.transpose()?);
            }
            Ok(rows)
        };
        self.disk.write(work).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let (from, until) = ordered::query_bounds(table, query)?;
        let (reverse, limit) = (query.reverse, query.limit);
        let (open, folder, table) = (self.tree(table), self.folder.clone(), table.clone());
        self.disk
            .read(move |db| {
                let tree = open(db)?;
                let records = between(&tree, from, until).map(|entry| {
                    let entry = entry.map_err(|error| disk_error("read", &folder, error))?;
                    ordered::row(&table, &entry.1)
                });
                match reverse {
                    true => ordered::query_page(records.rev(), limit),
                    false => ordered::query_page(records, limit),
                }
            })
            .await
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

#[async_trait]
impl Store for Embedded {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Embedded {
            name: self.name.clone(),
            folder: self.folder.clone(),
            disk: self.disk.clone(),
            permit: Some(permit),
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        let (folder, table) = (self.folder.clone(), table.clone());
        self.disk
            .write(move |db| {
                if let Some(there) = entry(&folder, db, &table.name)? {
                    return super::same_keys(&there.table.read()?, &table);
                }
                let id = format!("embedded-{:016x}", rand::random::<u64>());
                let entry = TableEntry {
                    id,
                    table: StoredTable::of(&table),
                };
                let failed = |error| disk_error("write to", &folder, error);
                db.open_tree(format!("rows {}", table.name))
                    .map_err(failed)?;
                let text = serde_json::to_vec(&entry).map_err(|error| {
                    Error::new(Kind::Invalid, "a table's schema can't be written")
                        .with_source(error)
                })?;
                db.insert(format!("table {}", table.name), text)
                    .map_err(failed)?;
                Ok(())
            })
            .await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        let rows = rows.iter().cloned();
        let writes = rows.map(|row| PlaceWrite::Put(row, on.clone()));
        self.put_all(table, writes.collect()).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        let keys = keys.into_iter();
        let writes = keys.map(|key| PlaceWrite::Purge(key, on.clone()));
        self.put_all(table, writes.collect()).await
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        let writes = folds.into_iter().map(PlaceWrite::Fold);
        self.put_all(table, writes.collect()).await
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        let write = PlaceWrite::Change(key.clone(), change.clone(), on.clone());
        self.write_one(table, write).await
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
        self.write_and_tell(table, write, returns).await
    }

    /// In the owner's thread, so that nothing comes between. A machine that fails in the midst of it may keep the
    /// changes of some tables alone: those of one table are one batch.
    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        let changes = changes.iter().map(|one| {
            let place = ordered::place(one.table, one.key)?;
            Ok((
                one.table.clone(),
                self.tree(one.table),
                place,
                PlaceWrite::of(one),
            ))
        });
        let changes: Vec<_> = changes.collect::<Result<_>>()?;
        let (folder, permit) = (self.folder.clone(), self.permit.clone());
        let work = move |db: &sled::Db| {
            Permit::ask_of(&permit)?;
            let failed =
                |error| disk_error("write to", &folder, error).with_effect(Effect::Unknown);
            let mut batches: BTreeMap<String, (sled::Tree, sled::Batch)> = BTreeMap::new();
            let mut answers = Vec::with_capacity(changes.len());
            for (table, open, place, write) in changes {
                let tree = open(db)?;
                let there = tree
                    .get(&place)
                    .map_err(|error| disk_error("read", &folder, error))?;
                let after = write.apply(&table, there.as_deref())?;
                answers.push(after.answer(&table, there.as_deref(), Returns::Nothing)?);
                let batch = batches.entry(table.name);
                let (_, batch) = batch.or_insert_with(|| (tree, sled::Batch::default()));
                settle(batch, place, after);
            }
            if answers.iter().all(|answer| *answer == Changed::Written) {
                for (tree, batch) in batches.into_values() {
                    tree.apply_batch(batch).map_err(failed)?;
                }
            }
            Ok(answers)
        };
        self.disk.write(work).await
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        if add.token.is_some() {
            return Err(super::without_tokens());
        }
        let write = PlaceWrite::Add(add.clone());
        match self.write_and_tell(table, write, Returns::New).await? {
            Changed::Told(row) | Changed::Refused(row) => Ok(row),
            Changed::Written => Ok(None),
        }
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        if add.token.is_some() {
            return Err(super::without_tokens());
        }
        let added = self.write_one(table, PlaceWrite::Add(add.clone())).await;
        added.map(drop)
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        self.write_one(table, PlaceWrite::Mutation(mutation.clone()))
            .await
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        let (from, until) = ordered::range_bounds(table, range)?;
        let (open, folder) = (self.tree(table), self.folder.clone());
        let permit = self.permit.clone();
        self.disk
            .write(move |db| {
                Permit::ask_of(&permit)?;
                let tree = open(db)?;
                let failed =
                    |error| disk_error("write to", &folder, error).with_effect(Effect::Unknown);
                let mut batch = sled::Batch::default();
                for entry in between(&tree, from, until) {
                    batch.remove(entry.map_err(failed)?.0);
                }
                tree.apply_batch(batch).map_err(failed)
            })
            .await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        let (folder, name) = (self.folder.clone(), table.to_owned());
        self.disk
            .write(move |db| {
                let failed =
                    |error| disk_error("write to", &folder, error).with_effect(Effect::Unknown);
                // The list comes first: a tree that is in no list is nothing.
                db.remove(format!("table {name}")).map_err(failed)?;
                db.drop_tree(format!("rows {name}")).map_err(failed)?;
                Ok(())
            })
            .await
    }
}
