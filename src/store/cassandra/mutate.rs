//! What applications write to single rows, in the CQL that they would have sent themselves.
//!
//! Every write says how long it lives (`USING TTL`), 0 being for good: a table's own default would
//! otherwise apply behind the caller's back.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::decode::Decided;
use super::errors::{self, Doing};
use super::statement::{BoundValues, equal, key_columns, of, quoted_always, role_of};
use super::{Cassandra, Replicas};
use crate::clock::unix_seconds;
use crate::codec::canonical;
use crate::error::{Effect, Error, Kind, Result};
use crate::model::{Add, Condition, Edit, Key, Mark, Mutation, Row, Update, Value};
use crate::schema::{Column, Role, Table, Type};
use crate::store::{Changed, Permit, unsupported, without_tokens};

/// The cells that an update of a row has to find; `None` is null.
type ExpectedCells = [(usize, Option<Value>)];

impl Cassandra {
    pub(super) async fn mutate(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        let stays = match mutation {
            Mutation::Put(row) | Mutation::Insert(row) => row.expires.is_none(),
            Mutation::Update(update) | Mutation::UpdateIf { update, .. } => {
                update.expires.is_none()
            }
            Mutation::Delete(_) | Mutation::DeleteIf { .. } => false,
        };
        if stays && self.zero_ttl_is_default {
            self.require_no_default_ttl(table).await?;
        }
        let is_conditional = match mutation {
            Mutation::Insert(_) | Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. } => true,
            Mutation::Put(_) | Mutation::Update(_) | Mutation::Delete(_) => false,
        };
        if is_conditional && let Some(column) = table.cells().iter().find(|c| c.ty.has_custom()) {
            // A refusal comes with the whole row, and the driver couldn't read it.
            let what = "writes on a condition in tables with columns of custom types";
            return Err(unsupported(what).with_context("column", column.name.as_str()));
        }
        match mutation {
            Mutation::Put(row) => {
                let (cql, values) = self.insert(table, row, "")?;
                self.send(&cql, &values).await?;
            }
            Mutation::Update(update) => {
                if let Some((cql, values)) = self.update(table, update)? {
                    self.send(&cql, &values).await?;
                }
            }
            Mutation::Delete(key) => {
                let (cql, values) = self.delete_row(table, key)?;
                self.send(&cql, &values).await?;
            }
            Mutation::Insert(row) => {
                let (cql, values) = self.insert(table, row, " IF NOT EXISTS")?;
                return self.decide(table, &row.key, &cql, &values).await;
            }
            Mutation::UpdateIf { update, expected } => {
                return self.update_if(table, update, expected).await;
            }
            Mutation::DeleteIf { key, expected } => {
                let (cql, values) = self.delete_row(table, key)?;
                return self.write_if(table, key, (cql, values), expected).await;
            }
        }
        Ok(Changed::Written)
    }

    /// Refuses what would expire though its writer says that it never does.
    async fn require_no_default_ttl(&self, table: &Table) -> Result<()> {
        let known = &self.without_default_ttl;
        let is_known = |known: &HashSet<String>| known.contains(&table.name);
        if is_known(&known.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        match self.default_ttl(&table.name).await? {
            0 => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(table.name.clone());
                Ok(())
            }
            seconds => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "the table's default time to live is {seconds} s, and a server before Cassandra 3.6 applies it \
                     to every write that says it never expires"
                ),
            )
            .with_help(
                "give the write a time to live, or take the default away (it concerns later writes only): \
                 ALTER TABLE … WITH default_time_to_live = 0",
            )),
        }
    }

    /// Adds to counters, once: a counter's server can't tell an add that it has had already.
    pub(super) async fn add_once(&self, table: &Table, add: &Add) -> Result<()> {
        if add.token.is_some() {
            return Err(without_tokens());
        }
        let mut values = BoundValues::default();
        let mut sets = Vec::new();
        for (column, by) in own_cells(table, &add.key, &add.by)? {
            if column.ty != Type::Counter {
                return Err(invalid("what is added to isn't a counter", column));
            }
            let name = quoted_always(&column.name);
            sets.push(format!("{name} = {name} + ?"));
            values.push(&Value::BigInt(*by), column);
        }
        if sets.is_empty() {
            return Ok(());
        }
        let cql = format!(
            "UPDATE {} SET {} WHERE {}",
            of(&self.keyspace, table),
            sets.join(", "),
            equal(key_columns(table, &add.key)?),
        );
        values.push_key(table, &add.key);
        self.send(&cql, &values).await
    }

    /// Sends a write that has no condition.
    pub(super) async fn send(&self, cql: &str, values: &BoundValues) -> Result<()> {
        let statement = match values.is_spelled {
            // It won't be sent again.
            true => self.prepare_anew(cql, Doing::Write).await?,
            false => self.prepare(cql, Doing::Write).await?,
        };
        Permit::ask_of(&self.permit)?;
        let answer = self.session.execute_unpaged(&statement, values).await;
        answer
            .map(drop)
            .map_err(|error| errors::executing(error, Doing::Write))
    }

    /// Sends a write on a condition. What stood in the way is in the answer, or is read.
    async fn decide(
        &self,
        table: &Table,
        key: &Key,
        cql: &str,
        values: &BoundValues,
    ) -> Result<Changed> {
        let statement = self.prepare(cql, Doing::Decide).await?;
        Permit::ask_of(&self.permit)?;
        let answer = self.session.execute_unpaged(&statement, values).await;
        let answer = answer.map_err(|error| errors::executing(error, Doing::Decide))?;
        let unreadable = |error: Error| error.with_effect(Effect::Unknown);
        let answer = answer.into_rows_result().map_err(|error| {
            let message = format!("the answer to a conditional write can't be read: {error}");
            unreadable(Error::new(Kind::Unsupported, message))
        })?;
        match Decided::read(table, key, &answer).map_err(unreadable)? {
            Decided::Applied => Ok(Changed::Written),
            Decided::Refused(Some(row)) => Ok(Changed::Refused(Some(row))),
            Decided::Refused(None) => self
                .get_one(table, key, Replicas::Agreed)
                .await
                .map(Changed::Refused),
        }
    }

    /// Updates a row if it is there and as expected.
    async fn update_if(
        &self,
        table: &Table,
        update: &Update,
        expected: &ExpectedCells,
    ) -> Result<Changed> {
        let Some(write) = self.update(table, update)? else {
            let there = self.get_one(table, &update.key, Replicas::Agreed).await?;
            return Ok(match holds(table, expected, there.as_ref()) {
                true => Changed::Written,
                false => Changed::Refused(there),
            });
        };
        self.write_if(table, &update.key, write, expected).await
    }

    /// Updates or deletes a row if it is there and as expected.
    ///
    /// To CQL a row that isn't there is one of nulls. Where only nulls are expected, something else
    /// that the row has now becomes part of the condition, so that a row that is deleted meanwhile isn't
    /// made anew, or deleted once more by another. (A row of nothing but nulls has no such thing.)
    async fn write_if(
        &self,
        table: &Table,
        key: &Key,
        (cql, values): (String, BoundValues),
        expected: &ExpectedCells,
    ) -> Result<Changed> {
        let mut conditions = expected.to_vec();
        let only_nulls = expected.iter().all(|(_, value)| value.is_none());
        let had = match only_nulls && !expected.is_empty() {
            true => {
                let there = self.get_one(table, key, Replicas::Agreed).await?;
                if !holds(table, expected, there.as_ref()) {
                    return Ok(Changed::Refused(there));
                }
                let cells = there.map(|row| row.cells).unwrap_or_default();
                let mut cells = cells.into_iter().enumerate();
                cells.find(|(_, value)| value.is_some())
            }
            false => None,
        };
        conditions.extend(had.clone());
        let (condition, values) = condition(table, key, &conditions, values)?;
        let cql = format!("{cql} IF {condition}");
        let changed = self.decide(table, key, &cql, &values).await?;
        match &changed {
            Changed::Refused(there) if had.is_some() && holds(table, expected, there.as_ref()) => {
                Err(Error::new(
                    Kind::Transient,
                    "the row was changed by another client at the same time",
                )
                .with_help("send it again"))
            }
            Changed::Refused(_) | Changed::Written | Changed::Told(_) => Ok(changed),
        }
    }

    fn insert(&self, table: &Table, row: &Row, condition: &str) -> Result<(String, BoundValues)> {
        if table.is_counter() {
            return Err(unsupported("whole counters: they can only be added to"));
        }
        let mut names: Vec<String> = key_columns(table, &row.key)?
            .into_iter()
            .map(|column| quoted_always(&column.name))
            .collect();
        let mut values = BoundValues::default();
        values.push_key(table, &row.key);
        let mut given_as = vec!["?".to_owned(); names.len()];
        own_cells(table, &row.key, &row.cells)?;
        let role = role_of(&row.key);
        let is_whole = row.mark != Some(Mark::Partial);
        let cells = table.cells().iter().zip(&row.cells).enumerate();
        let given = cells.filter(|(at, _)| is_whole || row.decided.contains(at));
        let given = given.map(|(_, cell)| cell);
        for (column, value) in given.filter(|(column, _)| column.role == role) {
            names.push(quoted_always(&column.name));
            given_as.push(values.cell(value.as_ref(), column)?);
        }
        values.push_int(ttl(row.expires));
        let cql = format!(
            "INSERT INTO {} ({}) VALUES ({}){condition} USING TTL ?",
            of(&self.keyspace, table),
            names.join(", "),
            given_as.join(", "),
        );
        Ok((cql, values))
    }

    /// The text of an update up to where its conditions may begin; none if it changes nothing.
    fn update(&self, table: &Table, update: &Update) -> Result<Option<(String, BoundValues)>> {
        let mut values = BoundValues::default();
        values.push_int(ttl(update.expires));
        let mut sets = Vec::new();
        for (column, edit) in own_cells(table, &update.key, &update.cells)? {
            sets.push(set(column, edit, &mut values)?);
        }
        if sets.is_empty() {
            return Ok(None);
        }
        let cql = format!(
            "UPDATE {} USING TTL ? SET {} WHERE {}",
            of(&self.keyspace, table),
            sets.join(", "),
            equal(key_columns(table, &update.key)?),
        );
        values.push_key(table, &update.key);
        Ok(Some((cql, values)))
    }

    /// Deletes a row, or the static columns of a partition.
    pub(super) fn delete_row(&self, table: &Table, key: &Key) -> Result<(String, BoundValues)> {
        let statics: Vec<String> = table
            .cells()
            .iter()
            .filter(|column| key.is_static() && column.role == Role::Static)
            .map(|column| quoted_always(&column.name))
            .collect();
        let keys = key_columns(table, key)?;
        let cql = format!(
            "DELETE {} FROM {} WHERE {}",
            statics.join(", "),
            of(&self.keyspace, table),
            equal(keys),
        );
        let mut values = BoundValues::default();
        values.push_key(table, key);
        Ok((cql, values))
    }
}

/// What is given for a row's own columns, with each column. Static columns are those of the static row
/// alone, and all others those of the other rows.
fn own_cells<'a, T>(
    table: &'a Table,
    key: &Key,
    cells: &'a [Option<T>],
) -> Result<Vec<(&'a Column, &'a T)>> {
    if cells.len() != table.cells().len() {
        let message = "a write doesn't say of each column what becomes of it";
        return Err(Error::new(Kind::Invalid, message).with_context("table", table.name.as_str()));
    }
    let role = role_of(key);
    let given = table.cells().iter().zip(cells);
    let given = given.filter_map(|(column, cell)| Some((column, cell.as_ref()?)));
    let own = |(column, cell): (&'a Column, &'a T)| match column.role == role {
        true => Ok((column, cell)),
        false => Err(invalid("the column isn't one of this kind of row", column)),
    };
    given.map(own).collect()
}

/// `"a" = ?` and the like, its value bound.
fn set(column: &Column, edit: &Edit, values: &mut BoundValues) -> Result<String> {
    let name = quoted_always(&column.name);
    let (sign, value, ty) = match edit {
        Edit::Clear => return Ok(format!("{name} = {}", values.cell(None, column)?)),
        Edit::Set(value) => return Ok(format!("{name} = {}", values.cell(Some(value), column)?)),
        Edit::Append(elements) => ('+', Value::List(elements.clone()), column.ty.clone()),
        Edit::AddToSet(elements) => ('+', Value::Set(elements.clone()), column.ty.clone()),
        Edit::PutInMap(entries) => ('+', Value::Map(entries.clone()), column.ty.clone()),
        Edit::RemoveFromSet(elements) => ('-', Value::Set(elements.clone()), column.ty.clone()),
        Edit::RemoveFromMap(keys) => {
            let Type::Map(key, _) = &column.ty else {
                return Err(invalid("the column isn't a map", column));
            };
            ('-', Value::Set(keys.clone()), Type::Set(key.clone()))
        }
    };
    // A marker takes the type of what is added or taken out.
    let marker = Column {
        ty,
        ..column.clone()
    };
    let given = values.cell(Some(&value), &marker)?;
    Ok(format!("{name} = {name} {sign} {given}"))
}

/// What comes after an update's `IF`, its values after those of the update.
fn condition(
    table: &Table,
    key: &Key,
    expected: &ExpectedCells,
    mut values: BoundValues,
) -> Result<(String, BoundValues)> {
    if expected.is_empty() {
        return Ok(("EXISTS".to_owned(), values));
    }
    let mut cells = vec![None; table.cells().len()];
    for (at, value) in expected {
        let cell = cells.get_mut(*at).ok_or_else(|| {
            let message = "a condition is on a column that the table doesn't have";
            Error::new(Kind::Invalid, message).with_context("table", table.name.as_str())
        })?;
        *cell = Some(value.as_ref());
    }
    let mut parts = Vec::new();
    for (column, value) in own_cells(table, key, &cells)? {
        let given = values.cell(*value, column)?;
        parts.push(format!("{} = {given}", quoted_always(&column.name)));
    }
    Ok((parts.join(" AND "), values))
}

fn holds(table: &Table, expected: &ExpectedCells, there: Option<&Row>) -> bool {
    let expected = expected.to_vec();
    canonical::holds(table, &Condition::Cells { expected, now: 0 }, there)
}

/// Seconds to live, as `USING TTL` wants them: at least 1, or 0 for good.
fn ttl(expires: Option<i64>) -> i32 {
    let left = |expires: i64| expires.saturating_sub(unix_seconds()).max(1);
    // Past the server's own limit (20 years) it refuses what it is given.
    expires.map_or(0, |expires| {
        i32::try_from(left(expires)).unwrap_or(i32::MAX)
    })
}

fn invalid(message: &str, column: &Column) -> Error {
    Error::new(Kind::Invalid, message).with_context("column", column.name.as_str())
}
