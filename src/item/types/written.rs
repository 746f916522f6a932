//! Values as DynamoDB's JSON without an attribute in between: the usual forms of most types, which are most of what is
//! ever copied. What isn't written here goes by [`super::to_attr`], and what is comes to the same: a test holds them
//! against each other.

use super::super::wire::{put_bytes, put_text};
use super::collection::{NAME_LIMIT, NativeSet, native_set};
use crate::codec::{number, ordered, text};
use crate::model::Value;
use crate::schema::Type;

/// Writes a value, and tells its size as [`super::Attr::size`] does; `None` if it isn't written here, which leaves
/// `out` as it was. `multicell` is as for [`super::to_attr`].
pub(in crate::item) fn write(
    value: &Value,
    ty: &Type,
    multicell: bool,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let begin = out.len();
    let size = match (ty, value) {
        (Type::List(element), Value::List(values)) => list(values, element, out),
        (Type::Set(element), Value::Set(values)) if multicell => strings(values, element, out),
        (Type::Map(key, element), Value::Map(pairs)) => map(pairs, key, element, out),
        (_, _) => scalar(value, ty, out),
    };
    if size.is_none() {
        out.truncate(begin);
    }
    size
}

fn scalar(value: &Value, ty: &Type, out: &mut Vec<u8>) -> Option<usize> {
    let size = match (ty, value) {
        (Type::Ascii | Type::Text, Value::Text(text)) => {
            out.extend_from_slice(b"{\"S\":");
            put_text(out, text);
            text.len()
        }
        (Type::Blob, Value::Blob(bytes)) => {
            out.extend_from_slice(b"{\"B\":");
            put_bytes(out, bytes);
            bytes.len()
        }
        (Type::Boolean, Value::Boolean(value)) => {
            out.extend_from_slice(match value {
                true => b"{\"BOOL\":true".as_slice(),
                false => b"{\"BOOL\":false",
            });
            1
        }
        (Type::Uuid | Type::TimeUuid, Value::Uuid(bytes)) => {
            let text = text::uuid(bytes);
            out.extend_from_slice(b"{\"S\":");
            put_text(out, &text);
            text.len()
        }
        (
            Type::TinyInt
            | Type::SmallInt
            | Type::Int
            | Type::BigInt
            | Type::Timestamp
            | Type::Date
            | Type::Time,
            value,
        ) => {
            let text = text::integer(ty, value)?.to_string();
            out.extend_from_slice(b"{\"N\":");
            put_text(out, &text);
            number::n_size(&text)
        }
        (_, _) => return None,
    };
    out.push(b'}');
    Some(size)
}

fn list(values: &[Value], element: &Type, out: &mut Vec<u8>) -> Option<usize> {
    out.extend_from_slice(b"{\"L\":[");
    let mut size = 3;
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        size += 1 + scalar(value, element, out)?;
    }
    out.extend_from_slice(b"]}");
    Some(size)
}

/// A native set of strings.
fn strings(values: &[Value], element: &Type, out: &mut Vec<u8>) -> Option<usize> {
    let ascending = |a: &Value, b: &Value| ordered::compare(element, a, b).is_lt();
    if native_set(element) != NativeSet::Strings || !values.is_sorted_by(ascending) {
        return None;
    }
    out.extend_from_slice(b"{\"SS\":[");
    let mut size = 0;
    for (at, value) in values.iter().enumerate() {
        let Value::Text(text) = value else {
            return None;
        };
        if at > 0 {
            out.push(b',');
        }
        put_text(out, text);
        size += text.len();
    }
    out.extend_from_slice(b"]}");
    Some(size)
}

/// A map whose keys are names.
fn map(pairs: &[(Value, Value)], key: &Type, element: &Type, out: &mut Vec<u8>) -> Option<usize> {
    let ascending =
        |a: &(Value, Value), b: &(Value, Value)| ordered::compare(key, &a.0, &b.0).is_lt();
    if !matches!(key, Type::Ascii | Type::Text) || !pairs.is_sorted_by(ascending) {
        return None;
    }
    out.extend_from_slice(b"{\"M\":{");
    let mut size = 3 + pairs.len();
    for (at, (name, value)) in pairs.iter().enumerate() {
        let Value::Text(name) = name else { return None };
        if name.is_empty() || name.len() > NAME_LIMIT {
            return None;
        }
        if at > 0 {
            out.push(b',');
        }
        put_text(out, name);
        out.push(b':');
        size += name.len() + scalar(value, element, out)?;
    }
    out.extend_from_slice(b"}}");
    Some(size)
}
