//! Rows straight from the bytes of an answer, without the driver's value types in between.

use scylla::deserialize::row::{ColumnIterator, RawColumn};
use scylla::response::query_result::QueryRowsResult;

use super::statement::{Selection, role_of};
use crate::codec::cql;
use crate::error::{Error, Kind, Result};
use crate::model::{CellTimes, End, Ends, Key, Row, Times, Value};
use crate::schema::{Column, Role, Table};

/// What an answer's rows become.
pub(super) struct RowShape<'a> {
    pub table: &'a Table,
    pub selection: &'a Selection,
    /// When it was asked, seconds since 1970: TTLs count from here.
    pub now: i64,
    /// Whether static columns become rows of their own.
    pub statics: bool,
}

/// What an answer tells of one row's times.
#[derive(Clone, Copy)]
struct ToldTimes<'f> {
    ttls: &'f [Option<&'f [u8]>],
    writes: &'f [Option<&'f [u8]>],
}

/// One row of an answer, as its bytes.
type RawRow<'f> = Vec<Option<&'f [u8]>>;

impl RowShape<'_> {
    /// The rows of an answer, each partition's static row before the others. `before` is the key
    /// read last: its partition's static row was given then.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the answer's columns aren't the ones asked for.
    pub fn rows(&self, answer: &QueryRowsResult, before: Option<&Key>) -> Result<Vec<Row>> {
        let width = self.selection.width(self.table);
        if answer.column_specs().len() != width {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "the server answered with {} columns instead of {width}",
                    answer.column_specs().len()
                ),
            ));
        }
        let mut rows = Vec::with_capacity(answer.rows_num());
        let mut partition = Partition::starting(self.table, before);
        let read = answer
            .rows::<ColumnIterator<'_, '_>>()
            .map_err(unreadable)?;
        let mut raw: RawRow<'_> = Vec::with_capacity(width);
        for columns in read {
            raw.clear();
            for column in columns.map_err(unreadable)? {
                let RawColumn { slice, .. } = column.map_err(unreadable)?;
                raw.push(slice.map(|slice| slice.as_slice()));
            }
            self.row(&raw, &mut partition, &mut rows)?;
        }
        Ok(rows)
    }

    /// The partition keys of an answer that holds nothing else, as the places of static rows.
    pub fn partitions(&self, answer: &QueryRowsResult) -> Result<Vec<Key>> {
        let mut partition = Partition::starting(self.table, None);
        let mut keys = Vec::with_capacity(answer.rows_num());
        for columns in answer
            .rows::<ColumnIterator<'_, '_>>()
            .map_err(unreadable)?
        {
            let mut raw: RawRow<'_> = Vec::new();
            for column in columns.map_err(unreadable)? {
                raw.push(
                    column
                        .map_err(unreadable)?
                        .slice
                        .map(|slice| slice.as_slice()),
                );
            }
            partition.enter(self.table, &raw)?;
            keys.push(Key::statics(partition.values.clone()));
        }
        Ok(keys)
    }

    fn row(
        &self,
        raw: &[Option<&[u8]>],
        partition: &mut Partition,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let (key, rest) = raw
            .split_at_checked(self.table.partition().len())
            .ok_or_else(incomplete)?;
        let is_new = partition.enter(self.table, key)?;
        let clustering_len = if self.selection.statics_only {
            0
        } else {
            self.table.clustering().len()
        };
        let (clustering, rest) = rest
            .split_at_checked(clustering_len)
            .ok_or_else(incomplete)?;
        let (cells, rest) = rest
            .split_at_checked(self.selection.cells.len())
            .ok_or_else(incomplete)?;
        let (ttls, writes) = rest
            .split_at_checked(self.selection.ttls.len())
            .ok_or_else(incomplete)?;
        let times = ToldTimes { ttls, writes };
        if is_new && self.statics {
            rows.extend(self.cells(
                Role::Static,
                Key::statics(partition.values.clone()),
                cells,
                times,
            ));
        }
        // A partition with static columns alone comes as one row without clustering columns.
        let is_row = !self.selection.statics_only && clustering.iter().all(Option::is_some);
        if is_row {
            let clustering = self
                .table
                .clustering()
                .iter()
                .zip(clustering.iter().flatten())
                .map(|(column, bytes)| cql::decode(&column.ty, bytes))
                .collect();
            let key = Key::row(partition.values.clone(), clustering);
            rows.extend(self.cells(Role::Regular, key, cells, times));
        }
        Ok(())
    }

    /// The row with its cells of one role, the others null; none for a static row of nulls.
    fn cells(
        &self,
        role: Role,
        key: Key,
        raw: &[Option<&[u8]>],
        told: ToldTimes<'_>,
    ) -> Option<Row> {
        let columns = self.table.cells();
        let mut cells: Vec<Option<Value>> = vec![None; columns.len()];
        for (&at, bytes) in self.selection.cells.iter().zip(raw) {
            let column = &columns[at];
            if column.role == role {
                cells[at] = bytes.map(|bytes| cql::decode(&column.ty, bytes));
            }
        }
        if role == Role::Static && cells.iter().all(Option::is_none) {
            return None;
        }
        let times = self.times(role, &cells, told);
        Some(Row {
            times,
            ..Row::new(key, cells)
        })
    }

    /// The times of a row's cells; without a list of them where none has anything to tell that is wanted.
    fn times(&self, role: Role, cells: &[Option<Value>], told: ToldTimes<'_>) -> Times {
        let columns = self.table.cells();
        let mut times = self.table.tells_times.then(|| self.silent(cells));
        let ttls = self.selection.ttls.iter().zip(told.ttls);
        for (&at, ttl) in ttls.filter(|(at, _)| columns[**at].role == role) {
            let Some(value) = &cells[at] else { continue };
            let ends = self.ends(columns[at].is_multicell().then_some(value), *ttl);
            if times.is_some() || ends != Ends::NEVER {
                times.get_or_insert_with(|| self.silent(cells))[at].ends = ends;
            }
        }
        let writes = self.selection.writes.iter().zip(told.writes);
        for (&at, written) in writes.filter(|(at, _)| columns[**at].role == role) {
            let written = written.and_then(|written| written.try_into().ok());
            let written = written.map(i64::from_be_bytes);
            if written.is_some_and(|at| at >= self.selection.since) {
                times.get_or_insert_with(|| self.silent(cells))[at].written = written;
            }
        }
        times.map_or(Times::OfRow, Times::OfCells)
    }

    /// The times of cells before anything has been told: those that are asked for stay.
    fn silent(&self, cells: &[Option<Value>]) -> Vec<CellTimes> {
        let ends = |(at, cell): (usize, &Option<Value>)| match cell {
            None => Ends::Null,
            // They ascend.
            Some(_) if self.selection.ttls.binary_search(&at).is_ok() => Ends::NEVER,
            Some(_) => Ends::Untold,
        };
        let silent = |ends| CellTimes {
            ends,
            written: None,
        };
        cells.iter().enumerate().map(ends).map(silent).collect()
    }

    /// When the cells of a column end that isn't null. Of one that isn't frozen the server lists a TTL for each
    /// element, and for each field of a user-defined type: null where it stays, and where a field is null,
    /// which only the value tells.
    fn ends(&self, collection: Option<&Value>, ttl: Option<&[u8]>) -> Ends {
        let Some(value) = collection else {
            return match ttl {
                None => Ends::NEVER,
                Some(ttl) => self.end(ttl).map_or(Ends::Untold, |end| Ends::of([end])),
            };
        };
        let (Some(ttls), Some(there)) = (ttl.and_then(listed), cells_of(value)) else {
            return Ends::Untold;
        };
        // Fields at the end may be left out of a value, being null.
        let is_udt = matches!(value, Value::Udt(_));
        if ttls.len() < there.len() || (ttls.len() > there.len() && !is_udt) {
            return Ends::Untold;
        }
        let cells = ttls.iter().zip(there).filter(|(_, is_there)| *is_there);
        let ends = cells.map(|(ttl, _)| match ttl {
            None => Some(End::Never),
            Some(ttl) => self.end(ttl),
        });
        ends.collect::<Option<Vec<End>>>()
            .map_or(Ends::Untold, Ends::of)
    }

    fn end(&self, ttl: &[u8]) -> Option<End> {
        let left = i32::from_be_bytes(ttl.try_into().ok()?);
        Some(End::At(self.now + i64::from(left)))
    }
}

/// Of each element or field of a value that isn't frozen, whether there is a cell for it; `None` if the value
/// has none.
fn cells_of(value: &Value) -> Option<Vec<bool>> {
    match value {
        Value::Udt(fields) => Some(fields.iter().map(Option::is_some).collect()),
        Value::List(elements) | Value::Set(elements) => Some(vec![true; elements.len()]),
        Value::Map(entries) => Some(vec![true; entries.len()]),
        Value::Empty
        | Value::Text(_)
        | Value::Blob(_)
        | Value::Boolean(_)
        | Value::TinyInt(_)
        | Value::SmallInt(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::Varint(_)
        | Value::Decimal { .. }
        | Value::Float(_)
        | Value::Double(_)
        | Value::Uuid(_)
        | Value::Timestamp(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Inet(_)
        | Value::Duration { .. }
        | Value::Tuple(_)
        | Value::Vector(_)
        | Value::Raw(_) => None,
    }
}

/// The elements of a list as the server sends it; `None` if it isn't one.
fn listed(bytes: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    let mut elements = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (size, after) = rest.split_first_chunk::<4>()?;
        let (element, after) = match usize::try_from(i32::from_be_bytes(*size)) {
            Ok(size) => {
                let (element, after) = after.split_at_checked(size)?;
                (Some(element), after)
            }
            // Null.
            Err(_) => (None, after),
        };
        elements.push(element);
        rest = after;
    }
    Some(elements)
}

/// What became of a write on a condition.
pub(super) enum Decided {
    /// It was made.
    Applied,
    /// It wasn't, because of this row; `None` if the answer doesn't hold all of it.
    Refused(Option<Row>),
}

impl Decided {
    /// Reads the answer: one row that begins with `[applied]`. What else it has depends on the condition
    /// and on the server.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if there is no such row.
    pub fn read(table: &Table, key: &Key, answer: &QueryRowsResult) -> Result<Decided> {
        let mut rows = answer
            .rows::<ColumnIterator<'_, '_>>()
            .map_err(unreadable)?;
        let row = rows.next().ok_or_else(incomplete)?.map_err(unreadable)?;
        let mut raw: RawRow<'_> = Vec::new();
        for column in row {
            let slice = column.map_err(unreadable)?.slice;
            raw.push(slice.map(|slice| slice.as_slice()));
        }
        match raw.first() {
            Some(Some([1])) => return Ok(Decided::Applied),
            Some(Some([0])) => {}
            Some(_) | None => return Err(incomplete()),
        }
        let specs = answer.column_specs();
        let of = |column: &Column| raw[1..].get(specs.get_by_name(&column.name)?.0 - 1);
        Ok(Decided::Refused(met(table, key, of)))
    }
}

/// The row of an answer that holds all of it.
fn met<'a>(
    table: &Table,
    key: &Key,
    of: impl Fn(&Column) -> Option<&'a Option<&'a [u8]>>,
) -> Option<Row> {
    let columns = table.cells().iter();
    let raw: Vec<&Option<&[u8]>> = columns.map(of).collect::<Option<_>>()?;
    let cells = table.cells().iter().zip(raw).map(|(column, bytes)| {
        let bytes = bytes.filter(|_| column.role == role_of(key))?;
        Some(cql::decode(&column.ty, bytes))
    });
    let cells: Vec<Option<Value>> = cells.collect();
    // A server may answer with nulls where there is no row, too.
    cells.iter().find(|cell| cell.is_some())?;
    Some(Row::new(key.clone(), cells))
}

/// The partition that is being read: rows of one come one after the other.
struct Partition {
    bytes: Option<Vec<Vec<u8>>>,
    values: Vec<Value>,
}

impl Partition {
    fn starting(table: &Table, before: Option<&Key>) -> Self {
        let values = before.map(|key| key.partition.clone()).unwrap_or_default();
        let bytes = before.map(|_| {
            let columns = values.iter().zip(table.partition());
            columns
                .map(|(value, column)| cql::to_bytes(value, &column.ty))
                .collect()
        });
        Partition { bytes, values }
    }

    /// Whether these bytes begin another partition.
    fn enter(&mut self, table: &Table, key: &[Option<&[u8]>]) -> Result<bool> {
        if let Some(bytes) = &self.bytes {
            let same = bytes.len() == key.len()
                && bytes.iter().zip(key).all(|(a, b)| Some(a.as_slice()) == *b);
            if same {
                return Ok(false);
            }
        }
        let key: Vec<&[u8]> = key
            .iter()
            .copied()
            .collect::<Option<_>>()
            .ok_or_else(incomplete)?;
        self.values = table
            .partition()
            .iter()
            .zip(&key)
            .map(|(column, bytes)| cql::decode(&column.ty, bytes))
            .collect();
        self.bytes = Some(key.into_iter().map(<[u8]>::to_vec).collect());
        Ok(true)
    }
}

fn incomplete() -> Error {
    Error::new(Kind::Corrupt, "a row came without its whole key")
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Corrupt, format!("the answer can't be read: {error}")).with_source(error)
}
