//! Keys as the new store holds them: the text of a made partition key (`pk`), the bytes of a made
//! sort key (`sk`). They need no store and no dependency (feature `keys`), so that applications can
//! build keys on their own once the migration is over. The README's page on keys says the same for
//! other languages, and `tests/fixtures/keys.json` holds examples.
//!
//! - Partition key: [`partition_text`], [`partition_values`].
//! - Sort key: [`sort_bytes`], [`sort_values`]; [`sort_prefix`], [`encode_component`] and
//!   [`decode_component`] for ranges.
//!
//! [`super::Mapping::key`] says which of them a table uses.

use std::borrow::Cow;

use crate::codec::{cql, text};
use crate::error::{Error, Kind, Result};
use crate::model::Value;
use crate::schema::{Column, Order, Role, Type};

mod hash;

pub use crate::codec::ordered::{decode_component, encode_component};
pub use hash::{HASHED, hashed_text, is_hashed};

#[cfg(test)]
mod tests;

/// The sort key of a partition's static columns. It comes before every row's.
pub const STATIC_SORT_KEY: &[u8] = &[0x00];

/// The most bytes of a partition key.
pub const PARTITION_KEY_LIMIT: usize = 2048;

/// The most bytes of a sort key.
pub const SORT_KEY_LIMIT: usize = 1024;

const SEPARATOR: char = '#';
const ESCAPE: char = '\\';
const HEX: &str = "0x";

/// The text of a partition key: a single part as it is; several joined with `#`, where a `#` or `\`
/// inside a part has a `\` before it. Different keys never have the same text.
///
/// # Errors
/// [`Kind::Invalid`] if a value isn't of its column's type, or there are more or fewer than columns.
pub fn partition_text(columns: &[Column], values: &[Value]) -> Result<String> {
    same_number(columns, values)?;
    if let ([column], [value]) = (columns, values) {
        return part_text(column, value).map(Cow::into_owned);
    }
    let mut out = String::new();
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.push(SEPARATOR);
        }
        for c in part_text(column, value)?.chars() {
            if c == SEPARATOR || c == ESCAPE {
                out.push(ESCAPE);
            }
            out.push(c);
        }
    }
    Ok(out)
}

/// The values that a partition key's text was made of; `None` if it is no such text.
pub fn partition_values(columns: &[Column], key: &str) -> Option<Vec<Value>> {
    if let [column] = columns {
        return Some(vec![part_value(&column.ty, key)?]);
    }
    let mut parts = vec![String::new()];
    let mut chars = key.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            SEPARATOR => {
                parts.push(String::new());
                continue;
            }
            ESCAPE => chars.next()?,
            plain => plain,
        };
        parts.last_mut()?.push(c);
    }
    if parts.len() != columns.len() {
        return None;
    }
    let values = columns.iter().zip(&parts);
    values
        .map(|(column, part)| part_value(&column.ty, part))
        .collect()
}

/// A part of a partition key. Types with exactly one text for each byte string are text; all others
/// are `0x` and the hexadecimal digits of their CQL bytes, and so is what doesn't follow its type:
/// keys are told apart by bytes in Cassandra, so a `decimal` of 1.0 isn't one of 1.00.
pub(super) fn part_text<'a>(column: &Column, value: &'a Value) -> Result<Cow<'a, str>> {
    let ty = &column.ty;
    let text = match (ty, value) {
        (Type::Ascii | Type::Text, Value::Text(text)) => return Ok(Cow::Borrowed(text)),
        (Type::Ascii | Type::Text, Value::Empty) => return Ok(Cow::Borrowed("")),
        (Type::Ascii | Type::Text, Value::Raw(_)) => {
            let message = format!(
                "the key column {} holds bytes that aren't text",
                column.name
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        (Type::Uuid | Type::TimeUuid, Value::Uuid(bytes)) => Some(text::uuid(bytes)),
        (Type::Inet, Value::Inet(address)) => Some(address.to_string()),
        (Type::Decimal, Value::Decimal { unscaled, scale }) => text::decimal(unscaled, *scale),
        _ => text::integer(ty, value).map(|integer| integer.to_string()),
    };
    let text = match text {
        Some(text) => text,
        None if cql::is_of(value, ty) => {
            format!("{HEX}{}", text::hex(&cql::to_bytes(value, ty)))
        }
        None => return Err(not_of_type(column)),
    };
    Ok(Cow::Owned(text))
}

fn part_value(ty: &Type, part: &str) -> Option<Value> {
    if matches!(ty, Type::Ascii | Type::Text) {
        return Some(Value::text(part));
    }
    if let Some(digits) = part.strip_prefix(HEX) {
        return Some(cql::decode(ty, &text::of_hex(digits)?));
    }
    match ty {
        Type::Uuid | Type::TimeUuid => text::of_uuid(part).map(Value::Uuid),
        Type::Inet => part.parse().ok().map(Value::Inet),
        Type::Decimal => text::of_decimal(part),
        _ => text::of_integer(ty, part.parse().ok()?),
    }
}

/// The bytes of a sort key: each clustering column's component, one after the other. Byte order is
/// clustering order, or exactly its reverse: see [`is_reversed`].
///
/// # Errors
/// [`Kind::Invalid`] if a value isn't of its column's type, or there are more or fewer than columns.
pub fn sort_bytes(columns: &[Column], values: &[Value]) -> Result<Vec<u8>> {
    same_number(columns, values)?;
    sort_prefix(columns, values)
}

/// What the sort keys of all rows begin with whose first clustering columns have these values, and of
/// no other rows.
///
/// # Errors
/// [`Kind::Invalid`] if a value isn't of its column's type.
pub fn sort_prefix(columns: &[Column], values: &[Value]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (column, value) in columns.iter().zip(values) {
        encode_component(
            &column.ty,
            component_order(columns, column),
            value,
            &mut out,
        )
        .map_err(|error| error.with_context("column", &column.name))?;
    }
    Ok(out)
}

/// The values that a sort key was made of; `None` if it isn't one.
///
/// What compares as equal in Cassandra has one sort key, so some types may come back as another value
/// that is equal there: `decimal` and `varint` in their shortest form, a `NaN` as the usual one, a
/// `boolean` as 0 or 1, and what holds any of these; a tuple or user-defined type without the nulls at its
/// end. The item's attribute of the column's name has the very value (but for those nulls).
pub fn sort_values(columns: &[Column], key: &[u8]) -> Option<Vec<Value>> {
    let mut rest = key;
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        let (value, after) = decode_component(&column.ty, component_order(columns, column), rest)?;
        values.push(value);
        rest = after;
    }
    rest.is_empty().then_some(values)
}

/// Whether the sort key's order is the reverse of the clustering order: all columns descend. Rows are
/// then read backwards (`ScanIndexForward=false`), and the static columns come last.
pub fn is_reversed(clustering: &[Column]) -> bool {
    !clustering.is_empty() && clustering.iter().all(descends)
}

fn descends(column: &Column) -> bool {
    column.role == Role::Clustering(Order::Desc)
}

/// The order in which a clustering column's component is encoded. Only in a mix of directions are
/// descending ones turned round.
pub fn component_order(clustering: &[Column], column: &Column) -> Order {
    if descends(column) && !is_reversed(clustering) {
        Order::Desc
    } else {
        Order::Asc
    }
}

fn same_number(columns: &[Column], values: &[Value]) -> Result<()> {
    if columns.len() == values.len() {
        return Ok(());
    }
    let message = format!(
        "a key has {} values where the table has {} columns",
        values.len(),
        columns.len()
    );
    Err(Error::new(Kind::Invalid, message))
}

fn not_of_type(column: &Column) -> Error {
    let message = format!(
        "the value of key column {} isn't a {}",
        column.name, column.ty
    );
    Error::new(Kind::Invalid, message)
}

/// Whether a sort key gives back the very value of a type, not only one that is equal to it. (Nulls at the
/// end of a tuple or user-defined type are no difference here.)
pub(crate) fn is_exact(ty: &Type) -> bool {
    match ty {
        Type::Varint | Type::Decimal | Type::Float | Type::Double | Type::Boolean => false,
        Type::Ascii
        | Type::Text
        | Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Blob
        | Type::Uuid
        | Type::TimeUuid
        | Type::Timestamp
        | Type::Date
        | Type::Time
        | Type::Inet
        | Type::Duration
        | Type::Custom(_) => true,
        Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..) => ty.inside().into_iter().all(is_exact),
    }
}
