//! Keys as bytes, for what is kept on a disk or in the control table: each column's CQL bytes.

use super::cql;
#[cfg(feature = "copy")]
use crate::model::Key;
use crate::model::Value;
use crate::schema::Column;
#[cfg(feature = "copy")]
use crate::schema::Table;

/// A key as bytes: whether it is static, then each column's length and bytes.
#[cfg(feature = "copy")]
pub(crate) fn to_bytes(table: &Table, key: &Key) -> Vec<u8> {
    let mut out = vec![u8::from(key.is_static())];
    put_values(table.partition(), &key.partition, &mut out);
    if let Some(clustering) = &key.clustering {
        put_values(table.clustering(), clustering, &mut out);
    }
    out
}

/// The key of such bytes; `None` if it isn't one of this table.
#[cfg(feature = "copy")]
pub(crate) fn of_bytes(table: &Table, bytes: &[u8]) -> Option<Key> {
    let (&is_static, mut rest) = bytes.split_first()?;
    let partition = take_values(table.partition(), &mut rest)?;
    let clustering = match is_static {
        0 => Some(take_values(table.clustering(), &mut rest)?),
        _ => None,
    };
    rest.is_empty().then_some(Key {
        partition,
        clustering,
    })
}

/// Appends each value's length and bytes.
pub(crate) fn put_values(columns: &[Column], values: &[Value], out: &mut Vec<u8>) {
    for (column, value) in columns.iter().zip(values) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        cql::encode(value, &column.ty, out);
        let size = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
}

/// Takes one value for each column from the start of `rest`; `None` if they aren't there.
pub(crate) fn take_values(columns: &[Column], rest: &mut &[u8]) -> Option<Vec<Value>> {
    let take = |column: &Column| {
        let (size, after) = rest.split_first_chunk::<4>()?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        *rest = after;
        Some(cql::decode(&column.ty, value))
    };
    columns.iter().map(take).collect()
}

/// Each value's bytes.
#[cfg(feature = "copy")]
pub(crate) fn to_parts<'a>(
    columns: &'a [Column],
    values: &'a [Value],
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let pairs = columns.iter().zip(values);
    pairs.map(|(column, value)| cql::to_bytes(value, &column.ty))
}

/// The values of such bytes; `None` if there are more or fewer than columns.
#[cfg(feature = "copy")]
pub(crate) fn of_parts(columns: &[Column], parts: &[Vec<u8>]) -> Option<Vec<Value>> {
    let pairs = columns.iter().zip(parts);
    let values = pairs.map(|(column, bytes)| cql::decode(&column.ty, bytes));
    (columns.len() == parts.len()).then(|| values.collect())
}
