//! What the memory and the embedded store share: a table as one ordered map of bytes.
//!
//! A row's place is its token (8 bytes, ordered), its partition key and its clustering key, so that
//! walking the map is walking the ring. A row's record is the format below; it carries its own
//! version and checksum.

use crate::cql;
use crate::error::{Error, Kind, Result};
use crate::mapping::keys::encode_component;
use crate::model::{Fold, Key, Mark, Row, Tokens, Value};
use crate::schema::{Order, Role, Table, Type};

use super::{Guard, Put};

/// First byte of a record.
const VERSION: u8 = 1;

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

/// The first place behind a range of tokens' start, and the first one behind its end.
pub(super) fn bounds(tokens: &Tokens) -> (Vec<u8>, Option<Vec<u8>>) {
    let behind = |token: i64| token.checked_add(1).map(|next| token_place(next).to_vec());
    // Nothing lies behind the last token, so a range that starts there is empty.
    (
        behind(tokens.after).unwrap_or_else(|| vec![0xff; 9]),
        behind(tokens.up_to),
    )
}

/// The first place that doesn't begin with `prefix`.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// A row as bytes: version, mark, expiry, key, cells, watermarks if it has any, CRC-32C.
pub(super) fn record(table: &Table, row: &Row) -> Vec<u8> {
    let mut out = vec![
        VERSION,
        row.mark.map_or(b'-', |mark| mark.letter().as_bytes()[0]),
    ];
    out.push(u8::from(row.expires.is_some()));
    out.extend_from_slice(&row.expires.unwrap_or(0).to_be_bytes());
    out.push(u8::from(row.key.is_static()));
    for (column, value) in table.partition().iter().zip(&row.key.partition) {
        put_cell(Some(value), &column.ty, &mut out);
    }
    for (column, value) in table
        .clustering()
        .iter()
        .zip(row.key.clustering.iter().flatten())
    {
        put_cell(Some(value), &column.ty, &mut out);
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
        .at("table", table.name.as_str())
        .help("was the table written under another schema?")
    })
}

fn read_row(table: &Table, record: &[u8]) -> Option<Row> {
    let (body, sum) = record.split_last_chunk::<4>()?;
    if u32::from_be_bytes(*sum) != crc32c::crc32c(body) {
        return None;
    }
    let (&[VERSION, mark, expires], rest) = body.split_first_chunk::<3>()? else {
        return None;
    };
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (&is_static, mut rest) = rest.split_first()?;
    let mark = match mark {
        b'-' => None,
        letter => Some(Mark::from_letter(str::from_utf8(&[letter]).ok()?)?),
    };
    let mut key_part = |columns: &[crate::schema::Column]| -> Option<Vec<Value>> {
        columns
            .iter()
            .map(|column| take_cell(&column.ty, &mut rest)?)
            .collect()
    };
    let partition = key_part(table.partition())?;
    let clustering = if is_static == 0 {
        Some(key_part(table.clustering())?)
    } else {
        None
    };
    let cells: Vec<Option<Value>> = table
        .cells()
        .iter()
        .map(|column| take_cell(&column.ty, &mut rest))
        .collect::<Option<_>>()?;
    let watermarks = match rest.is_empty() {
        true => Vec::new(),
        false => cells
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
    row.expires = (expires == 1).then_some(i64::from_be_bytes(*at));
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
            Error::new(Kind::Invalid, message).at("column", name)
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

/// What a write wants of one place.
pub(super) enum Change {
    Put(Row),
    Purge(Key),
    Fold(Fold),
}

/// What becomes of a place.
pub(super) enum Place {
    Holds(Vec<u8>),
    Empty,
    /// The condition didn't hold.
    Stays,
}

impl Change {
    pub(super) fn key(&self) -> &Key {
        match self {
            Change::Put(row) => &row.key,
            Change::Purge(key) => key,
            Change::Fold(fold) => &fold.key,
        }
    }

    /// What it makes of the place, given the record that is there. A fold has its own condition.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the record can't be read, and those of a fold.
    pub(super) fn apply(self, table: &Table, there: Option<&[u8]>, guard: &Guard) -> Result<Place> {
        let there = there.map(|record| row(table, record)).transpose()?;
        let holds = |row: &Row| Place::Holds(record(table, row));
        Ok(match self {
            Change::Fold(fold) => {
                folded(there, table, fold)?.map_or(Place::Stays, |row| holds(&row))
            }
            Change::Put(_) | Change::Purge(_) if allowed(guard, there.as_ref()) == Put::Refused => {
                Place::Stays
            }
            Change::Put(row) => holds(&row),
            Change::Purge(_) => Place::Empty,
        })
    }
}

/// Whether a write may go ahead, given what is there.
fn allowed(guard: &Guard, there: Option<&Row>) -> Put {
    let holds = match guard {
        Guard::Always => true,
        Guard::Absent => there.is_none(),
        Guard::Equals(cell, value) => {
            there.and_then(|row| row.cells.get(*cell)?.as_ref()) == Some(value)
        }
        Guard::Marked(mark) => there.and_then(|row| row.mark) == Some(*mark),
    };
    if holds { Put::Written } else { Put::Refused }
}
