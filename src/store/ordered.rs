//! What the memory and the embedded store share: a table as one ordered map of bytes.
//!
//! A row's place is its token (8 bytes, ordered), its partition key and its clustering key, so that
//! walking the map is walking the ring. A row's record is the format below; it carries its own
//! version and checksum.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::codec::ordered::{after_prefix, encode_component};
use crate::codec::{canonical, cql, key};
use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Edit, Fold, Key, Mark, Mutation, Query, Returns, Row,
    Tokens, Update, Value,
};
use crate::schema::{Order, Role, Table, Type};

use super::{Changed, QueryPage, Together, WriteOutcome, WriteOutcomes};

/// First byte of a record.
const VERSION: u8 = 2;

/// A row's place in the map.
///
/// # Errors
/// [`Kind::Invalid`] for a clustering value that isn't of its type.
pub(super) fn place(table: &Table, key: &Key) -> Result<Vec<u8>> {
    let mut out = partition_place(table, &key.partition);
    let Some(clustering) = &key.clustering else {
        out.push(0);
        return Ok(out);
    };
    out.push(1);
    for (column, value) in table.clustering().iter().zip(clustering) {
        let order = match column.role {
            Role::Clustering(order) => order,
            Role::Partition | Role::Static | Role::Regular => Order::Asc,
        };
        encode_component(&column.ty, order, value, &mut out)?;
    }
    Ok(out)
}

/// What every place of a partition begins with.
pub(super) fn partition_place(table: &Table, partition: &[Value]) -> Vec<u8> {
    let bytes = cql::partition_bytes(table.partition(), partition);
    let mut out = token_place(cql::murmur3_token(&bytes)).to_vec();
    // Zero bytes are escaped, so that no partition's place begins with another's.
    for byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
    out
}

/// What every place of a token begins with.
pub(super) fn token_place(token: i64) -> [u8; 8] {
    ((token as u64) ^ (1 << 63)).to_be_bytes()
}

/// The first place after a range of tokens' start, and the first one after its end.
pub(super) fn bounds(tokens: &Tokens) -> (Vec<u8>, Option<Vec<u8>>) {
    let above = |token: i64| token.checked_add(1).map(|next| token_place(next).to_vec());
    // Nothing lies after the last token, so a range that starts there is empty.
    (
        above(tokens.after).unwrap_or_else(|| vec![0xff; 9]),
        above(tokens.up_to),
    )
}

/// Where a query begins, and the place before which it ends; `None` is the end of all.
///
/// # Errors
/// As of [`place`].
pub(super) fn query_bounds(table: &Table, query: &Query) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut from, mut until) = range_bounds(table, &query.range)?;
    if let Some(after) = &query.after {
        let mut after = place(table, after)?;
        if query.reverse {
            until = Some(until.map_or(after.clone(), |until| until.min(after)));
        } else {
            // The first place after another is that place with a zero byte.
            after.push(0);
            from = from.max(after);
        }
    }
    Ok((from, until))
}

/// Where a range begins, and the place before which it ends.
///
/// # Errors
/// As of [`place`].
pub(super) fn range_bounds(
    table: &Table,
    range: &ClusteringRange,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let partition = partition_place(table, &range.partition);
    let at = |prefix: &[Value]| place(table, &Key::row(range.partition.clone(), prefix.to_vec()));
    let mut rows = partition.clone();
    rows.push(1);
    let from = match &range.from {
        Bound::Unbounded if range.is_whole() => partition.clone(),
        Bound::Unbounded => rows,
        Bound::Included(prefix) => at(prefix)?,
        Bound::Excluded(prefix) => end_of(&at(prefix)?),
    };
    let until = match &range.until {
        Bound::Unbounded => after_prefix(&partition),
        Bound::Included(prefix) => after_prefix(&at(prefix)?),
        Bound::Excluded(prefix) => Some(at(prefix)?),
    };
    Ok((from, until))
}

/// The first of these rows.
///
/// # Errors
/// The first row's that can't be read.
pub(super) fn query_page(
    mut rows: impl Iterator<Item = Result<Row>>,
    limit: usize,
) -> Result<QueryPage> {
    let first: Result<Vec<Row>> = rows.by_ref().take(limit.max(1)).collect();
    Ok(QueryPage {
        rows: first?,
        more: rows.next().is_some(),
    })
}

fn end_of(prefix: &[u8]) -> Vec<u8> {
    after_prefix(prefix).unwrap_or_else(|| vec![0xff; prefix.len() + 1])
}

/// A record's flags.
const EXPIRES: u8 = 1;
const STATIC: u8 = 2;
const WATERMARKS: u8 = 4;

/// A row as bytes: version, mark, flags, expiry, decided cells (count and places), key, cells, watermarks
/// if it has any, CRC-32C.
pub(super) fn record(table: &Table, row: &Row) -> Vec<u8> {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let mut out = vec![
        VERSION,
        row.mark.map_or(b'-', |mark| mark.letter().as_bytes()[0]),
        flag(row.expires.is_some(), EXPIRES)
            | flag(row.key.is_static(), STATIC)
            | flag(!row.watermarks.is_empty(), WATERMARKS),
    ];
    out.extend_from_slice(&row.expires.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&(row.decided.len() as u16).to_be_bytes());
    for cell in &row.decided {
        out.extend_from_slice(&(*cell as u16).to_be_bytes());
    }
    key::put_values(table.partition(), &row.key.partition, &mut out);
    if let Some(clustering) = &row.key.clustering {
        key::put_values(table.clustering(), clustering, &mut out);
    }
    for (column, value) in table.cells().iter().zip(&row.cells) {
        put_cell(value.as_ref(), &column.ty, &mut out);
    }
    for watermark in &row.watermarks {
        let watermark = watermark.map(Value::BigInt);
        put_cell(watermark.as_ref(), &Type::Counter, &mut out);
    }
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

/// The row of a record.
pub(super) fn row(table: &Table, record: &[u8]) -> Result<Row> {
    read_row(table, record).ok_or_else(|| {
        Error::new(
            Kind::Corrupt,
            "a stored row can't be read: its checksum or its columns are wrong",
        )
        .with_context("table", table.name.as_str())
        .with_help("was the table written under another schema?")
    })
}

fn read_row(table: &Table, record: &[u8]) -> Option<Row> {
    let (body, sum) = record.split_last_chunk::<4>()?;
    if u32::from_be_bytes(*sum) != crc32c::crc32c(body) {
        return None;
    }
    let (&[VERSION, mark, flags], rest) = body.split_first_chunk::<3>()? else {
        return None;
    };
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let mut decided = BTreeSet::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (cell, after) = rest.split_first_chunk::<2>()?;
        decided.insert(usize::from(u16::from_be_bytes(*cell)));
        rest = after;
    }
    let mark = match mark {
        b'-' => None,
        letter => Some(Mark::from_letter(str::from_utf8(&[letter]).ok()?)?),
    };
    let partition = key::take_values(table.partition(), &mut rest)?;
    let clustering = match flags & STATIC {
        0 => Some(key::take_values(table.clustering(), &mut rest)?),
        _ => None,
    };
    let cells: Vec<Option<Value>> = table
        .cells()
        .iter()
        .map(|column| take_cell(&column.ty, &mut rest))
        .collect::<Option<_>>()?;
    let watermarks = match flags & WATERMARKS {
        0 => Vec::new(),
        _ => cells
            .iter()
            .map(|_| take_total(&mut rest))
            .collect::<Option<_>>()?,
    };
    if !rest.is_empty() {
        return None;
    }
    let mut row = Row::new(
        Key {
            partition,
            clustering,
        },
        cells,
    );
    row.mark = mark;
    row.watermarks = watermarks;
    row.decided = decided;
    row.expires = (flags & EXPIRES != 0).then_some(i64::from_be_bytes(*at));
    Some(row)
}

fn put_cell(value: Option<&Value>, ty: &Type, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    if let Some(value) = value {
        cql::encode(value, ty, out);
        let size = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
}

fn take_cell(ty: &Type, rest: &mut &[u8]) -> Option<Option<Value>> {
    let (size, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    let size = i32::from_be_bytes(*size);
    if size == -1 {
        return Some(None);
    }
    let (bytes, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after;
    Some(Some(cql::decode(ty, bytes)))
}

fn take_total(rest: &mut &[u8]) -> Option<Option<i64>> {
    match take_cell(&Type::Counter, rest)? {
        None => Some(None),
        Some(Value::BigInt(total)) => Some(Some(total)),
        Some(_) => None,
    }
}

/// The row that a fold makes of what is there; `None` if a watermark isn't the one it starts from.
///
/// # Errors
/// [`Kind::Invalid`] if a total leaves the range of an `i64`, or what is moved isn't a counter.
fn folded(there: Option<Row>, table: &Table, fold: Fold) -> Result<Option<Row>> {
    let columns = table.cells();
    let mut row = there.unwrap_or_else(|| Row::new(fold.key, vec![None; columns.len()]));
    row.watermarks.resize(columns.len(), None);
    let mut moved = false;
    for (at, step) in fold.moves.into_iter().enumerate() {
        let Some(step) = step else { continue };
        moved = true;
        let invalid = |message: &str| {
            let name = columns.get(at).map_or("?", |column| column.name.as_str());
            Error::new(Kind::Invalid, message).with_context("column", name)
        };
        let total = match row.cells.get(at) {
            Some(None) => 0,
            Some(Some(Value::BigInt(total))) => i128::from(*total),
            Some(Some(_)) | None => return Err(invalid("what a fold moves isn't a counter")),
        };
        if row.watermarks[at] != step.from {
            return Ok(None);
        }
        let total = i64::try_from(total + step.by())
            .map_err(|_| invalid("the counter's total would leave the range of a bigint"))?;
        row.cells[at] = Some(Value::BigInt(total));
        row.watermarks[at] = Some(step.to);
    }
    if !moved {
        return Err(Error::new(Kind::Invalid, "the fold moves no counter"));
    }
    row.mark = row.mark.or(Some(Mark::Copied));
    Ok(Some(row))
}

/// The row that an add makes of what is there.
///
/// # Errors
/// As of [`folded`].
fn added(there: Option<Row>, table: &Table, add: Add) -> Result<Row> {
    let columns = table.cells();
    let mut row = there.unwrap_or_else(|| Row::new(add.key, vec![None; columns.len()]));
    for (at, by) in add.by.into_iter().enumerate() {
        let Some(by) = by else { continue };
        let invalid = |message: &str| {
            let name = columns.get(at).map_or("?", |column| column.name.as_str());
            Error::new(Kind::Invalid, message).with_context("column", name)
        };
        let total = match row.cells.get(at) {
            Some(None) => by,
            Some(Some(Value::BigInt(total))) => total
                .checked_add(by)
                .ok_or_else(|| invalid("the counter's total would leave the range of a bigint"))?,
            Some(Some(_)) | None => return Err(invalid("what is added to isn't a counter")),
        };
        row.cells[at] = Some(Value::BigInt(total));
    }
    row.mark = add.mark;
    Ok(row)
}

/// What an application's write makes of the row that is there; `None` if its own condition doesn't hold.
///
/// # Errors
/// As of [`crate::model::Edit::of`].
fn mutated(there: Option<&Row>, table: &Table, mutation: Mutation) -> Result<Option<Option<Row>>> {
    let width = table.cells().len();
    let update = |update: Update| {
        if there.is_none() && update.only_removes() {
            return Ok(None);
        }
        let edit = Change::Edit {
            cells: update.cells,
            mark: None,
            expires: update.expires,
        };
        resolved(table, edit, there)?.of(&update.key, width, there.cloned())
    };
    Ok(match mutation {
        Mutation::Put(row) => Some(Some(put_over(there, row))),
        Mutation::Delete(_) => Some(None),
        Mutation::Update(change) => Some(update(change)?),
        Mutation::Insert(row) => there.is_none().then_some(Some(row)),
        Mutation::UpdateIf {
            update: change,
            expected,
        } => match canonical::holds(table, &Condition::Cells { expected, now: 0 }, there) {
            true => Some(update(change)?),
            false => None,
        },
        Mutation::DeleteIf { expected, .. } => {
            canonical::holds(table, &Condition::Cells { expected, now: 0 }, there).then_some(None)
        }
    })
}

/// A change with edits of elements made on what is there.
///
/// # Errors
/// As of [`Edit::of`].
fn resolved(table: &Table, change: Change, there: Option<&Row>) -> Result<Change> {
    let Change::Edit {
        mut cells,
        mark,
        expires,
    } = change
    else {
        return Ok(change);
    };
    for (at, (column, edit)) in table.cells().iter().zip(&mut cells).enumerate() {
        if let Some(of_elements) = edit.as_ref().filter(|edit| edit.needs_old()) {
            let old = there.and_then(|row| row.cells.get(at)?.clone());
            let value = canonical::edited(&column.ty, of_elements, old)?;
            *edit = Some(value.map_or(Edit::Clear, Edit::Set));
        }
    }
    Ok(Change::Edit {
        cells,
        mark,
        expires,
    })
}

/// The row that a put makes: all of it is new, but for what a partial one doesn't decide.
fn put_over(there: Option<&Row>, row: Row) -> Row {
    if row.mark != Some(Mark::Partial) {
        return row;
    }
    let kept = |at: usize| there.and_then(|there| there.cells.get(at)?.clone());
    let cells = row.cells.into_iter().enumerate();
    let cells = cells.map(|(at, cell)| match row.decided.contains(&at) {
        true => cell,
        false => kept(at),
    });
    Row {
        cells: cells.collect(),
        mark: None,
        decided: Default::default(),
        ..row
    }
}

/// What a write wants of one place.
pub(super) enum PlaceWrite {
    Put(Row, Condition),
    Purge(Key, Condition),
    Fold(Fold),
    Change(Key, Change, Condition),
    Add(Add),
    Mutation(Mutation),
}

/// What becomes of a place.
pub(super) enum Replacement {
    Holds(Vec<u8>),
    Empty,
    /// The condition didn't hold, because of this row.
    Stays(Option<Row>),
}

impl PlaceWrite {
    /// One change of a transaction.
    pub(super) fn of(one: &Together<'_>) -> PlaceWrite {
        PlaceWrite::Change(one.key.clone(), one.change.clone(), one.on.clone())
    }

    pub(super) fn key(&self) -> &Key {
        match self {
            PlaceWrite::Put(row, _) => &row.key,
            PlaceWrite::Purge(key, _) | PlaceWrite::Change(key, ..) => key,
            PlaceWrite::Fold(fold) => &fold.key,
            PlaceWrite::Add(add) => &add.key,
            PlaceWrite::Mutation(mutation) => mutation.key(),
        }
    }

    /// What it makes of the place, given the record that is there.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the record can't be read, [`Kind::Invalid`] if the write doesn't fit the row.
    pub(super) fn apply(self, table: &Table, there: Option<&[u8]>) -> Result<Replacement> {
        let there = there.map(|record| row(table, record)).transpose()?;
        let holds = |row: &Row| Replacement::Holds(record(table, row));
        let after = |row: Option<Row>| row.as_ref().map_or(Replacement::Empty, holds);
        Ok(match self {
            PlaceWrite::Put(_, on) | PlaceWrite::Purge(_, on)
                if !canonical::holds(table, &on, there.as_ref()) =>
            {
                Replacement::Stays(there)
            }
            PlaceWrite::Put(row, _) => holds(&row),
            PlaceWrite::Purge(..) => Replacement::Empty,
            PlaceWrite::Fold(fold) => match folded(there.clone(), table, fold)? {
                Some(row) => holds(&row),
                None => Replacement::Stays(there),
            },
            PlaceWrite::Change(_, _, on) if !canonical::holds(table, &on, there.as_ref()) => {
                Replacement::Stays(there)
            }
            PlaceWrite::Change(key, change, _) => {
                let change = resolved(table, change, there.as_ref())?;
                after(change.of(&key, table.cells().len(), there)?)
            }
            PlaceWrite::Add(add) => holds(&added(there, table, add)?),
            PlaceWrite::Mutation(mutation) => match mutated(there.as_ref(), table, mutation)? {
                Some(row) => after(row),
                None => Replacement::Stays(there),
            },
        })
    }
}

impl Replacement {
    /// What is answered for a write, where this record was.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the record that is to be told can't be read.
    pub(super) fn answer(
        &self,
        table: &Table,
        there: Option<&[u8]>,
        returns: Returns,
    ) -> Result<Changed> {
        let told = match (self, returns) {
            (Replacement::Stays(row), _) => return Ok(Changed::Refused(row.clone())),
            (Replacement::Holds(_) | Replacement::Empty, Returns::Nothing) => {
                return Ok(Changed::Written);
            }
            (Replacement::Holds(_) | Replacement::Empty, Returns::Old) => there,
            (Replacement::Holds(record), Returns::New) => Some(record.as_slice()),
            (Replacement::Empty, Returns::New) => None,
        };
        let told = told.map(|record| row(table, record));
        Ok(Changed::Told(told.transpose()?))
    }
}

/// Answers as those of a put, with the bytes that were written.
pub(super) fn puts(answers: Vec<Result<Changed>>, bytes: u64) -> WriteOutcomes {
    let put = |changed: Changed| match changed {
        Changed::Written | Changed::Told(_) => WriteOutcome::Written,
        Changed::Refused(_) => WriteOutcome::Refused,
    };
    WriteOutcomes {
        rows: answers.into_iter().map(|answer| answer.map(put)).collect(),
        bytes,
        units: 0.0,
    }
}
