//! What the memory and the embedded store share: a table as one ordered map of bytes.
//!
//! A row's place is its token (8 bytes, ordered), its partition key and its clustering key, so that
//! walking the map is walking the ring. A row's record is the format below; it carries its own
//! version and checksum.

use crate::cql;
use crate::error::{Error, Kind, Result};
use crate::mapping::keys::encode_component;
use crate::model::{Key, Mark, Row, Tokens, Value};
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

/// A row as bytes: version, mark, expiry, key, cells, CRC-32C.
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

/// Whether a write may go ahead, given what is there.
pub(super) fn allowed(guard: &Guard, there: Option<&Row>) -> Put {
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
