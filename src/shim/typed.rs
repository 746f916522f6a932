//! Calls with the application's own types, through serde: the rules of [`crate::json`].

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::Ttl;
use super::inner::{Begun, Joined};
use super::table::Table;
use crate::error::{Error, Kind, Result};
use crate::json;
use crate::model::{ClusteringRange, Edit, Key, Query, Row, Update};

impl Table {
    /// The key in something that has the key columns as its fields: a struct, `json!({"id": "u1"})`.
    /// Without any clustering column it is the place of the partition's static columns.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a column is missing or of another type; and those of [`Table::phase`].
    pub async fn key_of(&self, key: &(impl Serialize + ?Sized)) -> Result<Key> {
        self.key_within(&self.begun().await?.joined, key)
    }

    fn key_within(&self, joined: &Joined, key: &(impl Serialize + ?Sized)) -> Result<Key> {
        let object = self.object(key)?;
        let table = joined.transform.target();
        json::refuse_unknown(table, &object)?;
        json::key(table, &object)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the key doesn't fit the table or the row isn't a `T`; a deadline, a store or the lease, as in
    /// [`Table::get`].
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        key: &(impl Serialize + ?Sized),
    ) -> Result<Option<T>> {
        let begun = self.begun().await?;
        let key = self.key_within(&begun.joined, key)?;
        let row = self.get_within(&begun, &key).await?;
        row.map(|row| self.read_as(&begun.joined, &row)).transpose()
    }

    /// Writes a whole row: columns that its fields leave out are absent afterwards.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a field that isn't a column, or doesn't fit its type; a deadline, a store or the lease, as in
    /// [`Table::put`], whose effect may be unknown.
    pub async fn put_as(&self, row: &(impl Serialize + ?Sized)) -> Result<()> {
        self.put_as_for(row, Ttl::Default).await
    }

    /// Writes a whole row that lives for a time.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a field that isn't a column, or doesn't fit its type; a deadline, a store or the lease, as in
    /// [`Table::put`], whose effect may be unknown.
    pub async fn put_as_for(&self, row: &(impl Serialize + ?Sized), ttl: Ttl) -> Result<()> {
        let begun = self.begun().await?;
        let row = json::row(begun.joined.transform.target(), &self.object(row)?)?;
        self.put_within(&begun, row, ttl).await
    }

    /// Sets the columns that are fields of `set`, and removes the named ones.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what isn't a column outside the key; a deadline, a store or the lease, as in [`Table::update`],
    /// whose effect may be unknown.
    pub async fn update_as(
        &self,
        key: &(impl Serialize + ?Sized),
        set: &(impl Serialize + ?Sized),
        remove: &[&str],
    ) -> Result<()> {
        let begun = self.begun().await?;
        let update = Update {
            key: self.key_within(&begun.joined, key)?,
            cells: self.edits(&begun.joined, &self.object(set)?, remove)?,
            expires: None,
        };
        self.update_within(&begun, update, Ttl::Default).await
    }

    /// Reads the rows of a partition, in clustering order or backwards: all of them, or `limit` at most. Each
    /// page of it is an operation, with a deadline of its own.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the partition doesn't fit the table or a row isn't a `T`; a deadline, a store or the lease, as in
    /// [`Table::query`].
    pub async fn query_as<T: DeserializeOwned>(
        &self,
        partition: &(impl Serialize + ?Sized),
        reverse: bool,
        limit: Option<usize>,
    ) -> Result<Vec<T>> {
        let begun = self.begun().await?;
        let table = begun.joined.transform.target();
        let object = self.object(partition)?;
        json::refuse_unknown(table, &object)?;
        let partition = json::key_part(table, table.partition(), &object)?;
        let joined = begun.joined.clone();
        let rows = self.query_all(begun, partition, reverse, limit).await?;
        let rows = rows.iter();
        rows.map(|row| self.read_as(&joined, row)).collect()
    }

    /// A row's totals by column; counters that are null are left out.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the key doesn't fit the table, or the table has no counters; a deadline, a store or the lease, as
    /// in [`Table::count`].
    pub async fn count_as(&self, key: &(impl Serialize + ?Sized)) -> Result<Map<String, Json>> {
        let begun = self.begun().await?;
        let key = self.key_within(&begun.joined, key)?;
        let totals = self.count_within(&begun, &key).await?;
        let columns = begun.joined.transform.target().cells().iter();
        let named = columns.zip(totals);
        let named = named.filter_map(|(column, total)| Some((column.name.clone(), total?.into())));
        Ok(named.collect())
    }

    /// The rows of a partition, page by page until there are `limit`.
    async fn query_all(
        &self,
        mut begun: Begun,
        partition: Vec<crate::model::Value>,
        reverse: bool,
        limit: Option<usize>,
    ) -> Result<Vec<Row>> {
        const PAGE: usize = 500;
        let mut query = Query {
            range: ClusteringRange::whole(partition),
            reverse,
            after: None,
            limit: PAGE,
        };
        let mut rows = Vec::new();
        loop {
            let left = limit.map_or(PAGE, |limit| limit.saturating_sub(rows.len()));
            if left == 0 {
                return Ok(rows);
            }
            query.limit = left.min(PAGE);
            let page = self.query_within(&begun, query.clone()).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(rows),
            }
            begun = self.begun().await?;
        }
    }

    fn edits(
        &self,
        joined: &Joined,
        set: &Map<String, Json>,
        remove: &[&str],
    ) -> Result<Vec<Option<Edit>>> {
        let table = joined.transform.target();
        let mut cells = vec![None; table.cells().len()];
        let removed = remove.iter().map(|name| (*name, &Json::Null));
        for (name, value) in set
            .iter()
            .map(|(name, json)| (name.as_str(), json))
            .chain(removed)
        {
            let Some(at) = table.cell(name) else {
                let names: Vec<&str> = table.cells().iter().map(|c| c.name.as_str()).collect();
                let message = format!("there is no column `{name}` outside the key");
                return Err(self
                    .inner
                    .wrong(message)
                    .with_help(format!("there are: {}", names.join(", "))));
            };
            let value = json::column_value(table, &table.cells()[at], value)?;
            cells[at] = Some(value.map_or(Edit::Clear, Edit::Set));
        }
        Ok(cells)
    }

    fn object(&self, value: &(impl Serialize + ?Sized)) -> Result<Map<String, Json>> {
        match serde_json::to_value(value) {
            Ok(Json::Object(object)) => Ok(object),
            Ok(other) => Err(self.inner.wrong(format!(
                "{other} has no columns: it must be an object or a struct"
            ))),
            Err(error) => Err(self
                .inner
                .wrong("it can't be turned into columns".into())
                .with_source(error)),
        }
    }

    fn read_as<T: DeserializeOwned>(&self, joined: &Joined, row: &Row) -> Result<T> {
        let table = joined.transform.target();
        serde_json::from_value(Json::Object(json::of_row(table, row))).map_err(|error| {
            Error::new(
                Kind::Invalid,
                format!("the row isn't of the type that was asked for: {error}"),
            )
            .with_context("table", self.name())
        })
    }
}
