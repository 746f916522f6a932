//! CQL texts, and values bound as the bytes they are.

use scylla::errors::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use crate::codec::cql;
use crate::codec::text::hex;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Value};
use crate::schema::{Column, Role, Table, Type, quoted};

/// Values of a statement's markers in order, as CQL bytes; `None` is null. Bound without the
/// driver's types, so that any bytes the server once gave can be given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BoundValues {
    values: Vec<Option<Vec<u8>>>,
    /// Whether some are in the statement's text, which is then one of its own for each row.
    pub is_spelled: bool,
}

impl BoundValues {
    pub fn push(&mut self, value: &Value, column: &Column) {
        self.values.push(Some(cql::to_bytes(value, &column.ty)));
    }

    pub fn push_cell(&mut self, value: Option<&Value>, column: &Column) {
        self.values
            .push(value.map(|value| cql::to_bytes(value, &column.ty)));
    }

    /// Gives what stands for a cell in a statement: a marker, or the value itself where the driver has no
    /// name for its type, since it refuses statements with such markers.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the value isn't of the column's type, [`Kind::Unsupported`] if it can be neither
    /// bound nor spelled.
    pub fn cell(&mut self, value: Option<&Value>, column: &Column) -> Result<String> {
        fits(value, [column])?;
        match (column.ty.has_custom(), &column.ty, value) {
            (false, ..) => self.push_cell(value, column),
            (true, _, None) => return Ok("null".to_owned()),
            (true, Type::Custom(_), Some(Value::Blob(bytes))) if !bytes.is_empty() => {
                self.is_spelled = true;
                return Ok(format!("0x{}", hex(bytes)));
            }
            (true, _, Some(_)) => {
                let message = format!(
                    "the driver can't write values of the type {}",
                    column.cql_type()
                );
                return Err(Error::new(Kind::Unsupported, message)
                    .with_context("column", column.name.as_str()));
            }
        }
        Ok("?".to_owned())
    }

    pub fn push_int(&mut self, int: i32) {
        self.values.push(Some(int.to_be_bytes().to_vec()));
    }

    pub fn push_token(&mut self, token: i64) {
        self.values.push(Some(token.to_be_bytes().to_vec()));
    }

    pub fn push_all<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a Value>,
        columns: &[Column],
    ) {
        for (value, column) in values.into_iter().zip(columns) {
            self.push(value, column);
        }
    }

    pub fn push_bytes<'a>(&mut self, values: impl IntoIterator<Item = &'a Vec<u8>>) {
        self.values.extend(values.into_iter().cloned().map(Some));
    }

    /// The values of a key: those of the partition, then those of the clustering columns.
    pub fn push_key(&mut self, table: &Table, key: &Key) {
        self.push_all(&key.partition, table.partition());
        self.push_all(key.clustering.iter().flatten(), table.clustering());
    }
}

impl SerializeRow for BoundValues {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter,
    ) -> std::result::Result<(), SerializationError> {
        for value in &self.values {
            let cell = writer.make_cell_writer();
            match value {
                Some(bytes) => {
                    cell.set_value(bytes).map_err(SerializationError::new)?;
                }
                None => {
                    cell.set_null();
                }
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Which columns a `SELECT` brings, and where each is in its answer: the partition key, the
/// clustering columns (unless only statics are wanted), the cells, then the TTLs of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Whether it brings static columns and the partition key alone.
    pub statics_only: bool,
    /// The place of each brought cell among [`Table::cells`].
    pub cells: Vec<usize>,
    /// Those of `cells` whose TTL is brought too.
    pub ttls: Vec<usize>,
    /// Those of `cells` of which is brought when they were written.
    pub writes: Vec<usize>,
    /// Earlier writes aren't told, microseconds since 1970.
    pub since: i64,
}

impl Selection {
    /// Everything, with the TTLs this server can tell.
    pub fn rows(table: &Table, element_ttls: bool) -> Self {
        Selection::of(table, element_ttls, false)
    }

    /// Partition keys and static columns.
    pub fn statics(table: &Table, element_ttls: bool) -> Self {
        Selection::of(table, element_ttls, true)
    }

    fn of(table: &Table, element_ttls: bool, statics_only: bool) -> Self {
        let cells: Vec<usize> = table
            .cells()
            .iter()
            .enumerate()
            .filter(|(_, column)| !statics_only || column.role == Role::Static)
            .map(|(at, _)| at)
            .collect();
        // A counter has no TTL; collections that aren't frozen have one for each element.
        let ttls: Vec<usize> = cells
            .iter()
            .copied()
            .filter(|&at| {
                let column = &table.cells()[at];
                column.ty != Type::Counter && (element_ttls || !column.is_multicell())
            })
            .collect();
        let (writes, since) = match table.tells_times {
            true => (ttls.clone(), i64::MIN),
            false => (Vec::new(), i64::MAX),
        };
        Selection {
            statics_only,
            cells,
            ttls,
            writes,
            since,
        }
    }

    /// The same, with when cells were written that can have a TTL, if any is to be told.
    pub fn telling_writes(self, since: Option<i64>) -> Self {
        match since {
            None => self,
            Some(since) => Selection {
                writes: self.ttls.clone(),
                since: since.min(self.since),
                ..self
            },
        }
    }

    /// How many columns the answer has.
    pub fn width(&self, table: &Table) -> usize {
        let clustering = if self.statics_only {
            0
        } else {
            table.clustering().len()
        };
        table.partition().len()
            + clustering
            + self.cells.len()
            + self.ttls.len()
            + self.writes.len()
    }

    /// `SELECT … FROM …`, up to where the conditions begin. Static columns are told once for each partition
    /// (`PER PARTITION LIMIT` says the same from Cassandra 3.6 on alone).
    pub fn text(&self, keyspace: &str, table: &Table) -> String {
        let cells = table.cells();
        let keys = if self.statics_only {
            table.partition().iter().chain(&[])
        } else {
            table.partition().iter().chain(table.clustering())
        };
        let columns: Vec<String> = keys
            .chain(self.cells.iter().map(|&at| &cells[at]))
            .map(selected)
            .chain(
                self.ttls
                    .iter()
                    .map(|&at| format!("TTL({})", quoted_always(&cells[at].name))),
            )
            .chain(self.writes.iter().map(|&at| written(&cells[at])))
            .collect();
        let select = match self.statics_only {
            true => "SELECT DISTINCT",
            false => "SELECT",
        };
        format!(
            "{select} {} FROM {}",
            columns.join(", "),
            of(keyspace, table)
        )
    }
}

/// A column in a `SELECT`. The driver refuses answers with types that it has no name for; as a blob it
/// takes their bytes, which are the same.
fn selected(column: &Column) -> String {
    let name = quoted_always(&column.name);
    match column.ty.has_custom() {
        true => format!("(blob){name}"),
        false => name,
    }
}

/// When a column was written: its youngest element, where each is a cell of its own. Servers that
/// tell the TTLs of those know `MAXWRITETIME`.
fn written(column: &Column) -> String {
    let function = match column.is_multicell() {
        true => "MAXWRITETIME",
        false => "WRITETIME",
    };
    format!("{function}({})", quoted_always(&column.name))
}

/// `"keyspace"."table"`.
pub(super) fn of(keyspace: &str, table: &Table) -> String {
    format!("{}.{}", quoted_always(keyspace), quoted_always(&table.name))
}

/// A name in quotes: a plain one may be a reserved word.
pub(super) fn quoted_always(name: &str) -> String {
    let quoted = quoted(name);
    if quoted.starts_with('"') {
        quoted
    } else {
        format!("\"{quoted}\"")
    }
}

/// `token("a", "b")`.
pub(super) fn token(table: &Table) -> String {
    let names: Vec<String> = table
        .partition()
        .iter()
        .map(|column| quoted_always(&column.name))
        .collect();
    format!("token({})", names.join(", "))
}

/// `"a" = ? AND "b" = ?`.
pub(super) fn equal<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    let parts: Vec<String> = columns
        .into_iter()
        .map(|column| format!("{} = ?", quoted_always(&column.name)))
        .collect();
    parts.join(" AND ")
}

/// Refuses values that aren't of their columns' types: as bytes they would be taken for others.
///
/// # Errors
/// [`Kind::Invalid`], naming the column.
pub(super) fn fits<'a>(
    values: impl IntoIterator<Item = &'a Value>,
    columns: impl IntoIterator<Item = &'a Column>,
) -> Result<()> {
    let mut pairs = values.into_iter().zip(columns);
    match pairs.find(|(value, column)| !cql::is_of(value, &column.ty)) {
        None => Ok(()),
        Some((_, column)) => {
            let message = format!("a value isn't of the type {}", column.cql_type());
            Err(Error::new(Kind::Invalid, message).with_context("column", column.name.as_str()))
        }
    }
}

/// What the cells of a row are that is at this key.
pub(super) fn role_of(key: &Key) -> Role {
    if key.is_static() {
        Role::Static
    } else {
        Role::Regular
    }
}

/// The columns that a key gives values of.
///
/// # Errors
/// [`Kind::Invalid`] if it doesn't give one of each column, or not one of its type; or if it is the key of
/// static columns in a table that has none: without clustering columns it would mean the whole partition.
pub(super) fn key_columns<'a>(table: &'a Table, key: &Key) -> Result<Vec<&'a Column>> {
    let clustering = match &key.clustering {
        None => &[],
        Some(_) => table.clustering(),
    };
    let columns: Vec<&Column> = table.partition().iter().chain(clustering).collect();
    let values = || key.partition.iter().chain(key.clustering.iter().flatten());
    let invalid =
        |message| Error::new(Kind::Invalid, message).with_context("table", table.name.as_str());
    if key.is_static() && !table.has_statics() {
        return Err(invalid("the table has no static columns"));
    }
    if key.partition.len() != table.partition().len() || values().count() != columns.len() {
        return Err(invalid("a key doesn't give each column of the key a value"));
    }
    fits(values(), columns.iter().copied())?;
    Ok(columns)
}
