//! Values as attributes, and back.
//!
//! Every value is kept exactly. What a type's usual attribute can't hold goes to a fallback that says
//! so itself: `{"_t": "<cql type>", "_v": <CQL bytes>}`, or for maps and user-defined types, whose
//! usual attribute is an M, a list of one binary: `[<CQL bytes>]`.

mod collection;
mod form;
#[cfg(feature = "dynamodb")]
mod written;

pub(super) use collection::{NativeSet, has_named_keys, native_set};
use collection::{
    from_cells_of_set, from_map, from_members, from_tuple, from_udt, map, members, set, tuple,
    udt_fields,
};
pub(super) use form::{from_formed, to_formed};
#[cfg(feature = "dynamodb")]
pub(super) use written::write;

use super::Attr;
use crate::codec::{cql, number, text};
use crate::model::{F32, F64, Value};
use crate::schema::Type;

/// Containers around a scalar that DynamoDB takes.
const DEPTH_LIMIT: usize = 31;

const ENVELOPE_TYPE: &str = "_t";
const ENVELOPE_VALUE: &str = "_v";

/// A value as an attribute; `None` if it isn't one of this type. `multicell` is
/// [`crate::schema::Column::is_multicell`]: an empty value is null there, and must not come here.
pub(super) fn to_attr(value: Value, ty: &Type, multicell: bool) -> Option<Attr> {
    if depth_of_type(ty) <= DEPTH_LIMIT {
        return usual(value, ty, multicell);
    }
    let bytes = cql::to_bytes(&value, ty);
    let attr = usual(value, ty, multicell)?;
    Some(if depth(&attr) <= DEPTH_LIMIT {
        attr
    } else {
        fallback(bytes, ty)
    })
}

/// The value of an attribute; `None` if the attribute isn't what a value of this type becomes.
pub(super) fn from_attr(attr: Attr, ty: &Type) -> Option<Value> {
    let attr = match bytes_of_fallback(attr, ty) {
        Fallback::Bytes(bytes) => return Some(cql::decode(ty, &bytes)),
        Fallback::OtherType => return None,
        Fallback::No(attr) => attr,
    };
    match ty {
        Type::Ascii | Type::Text => string(attr).map(Value::Text),
        Type::Blob | Type::Custom(_) => binary(attr).map(Value::Blob),
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Timestamp
        | Type::Date
        | Type::Time => text::of_integer(ty, number::small_integer_of_n(&number_text(attr)?)?),
        Type::Varint => number::integer_of_n(&number_text(attr)?).map(Value::Varint),
        Type::Decimal => text::of_decimal(&string(attr)?),
        Type::Float => {
            let value: f32 = number_text(attr)?.parse().ok()?;
            Some(Value::Float(F32::from(value)))
        }
        Type::Double => {
            let value: f64 = number_text(attr)?.parse().ok()?;
            Some(Value::Double(F64::from(value)))
        }
        Type::Boolean => match attr {
            Attr::Bool(value) => Some(Value::Boolean(value)),
            _ => None,
        },
        Type::Uuid | Type::TimeUuid => text::of_uuid(&string(attr)?).map(Value::Uuid),
        Type::Inet => string(attr)?.parse().ok().map(Value::Inet),
        Type::Duration => duration(attr),
        Type::List(element) => members(attr, element).map(Value::List),
        Type::Set(element) => set(attr, element),
        Type::Map(key, element) => map(attr, key, element),
        Type::Tuple(types) => tuple(attr, types),
        Type::Udt(udt) => udt_fields(attr, &udt.fields),
        Type::Vector(..) if holds_any_bytes(ty) => {
            binary(attr).map(|bytes| cql::decode(ty, &bytes))
        }
        Type::Vector(element, _) => members(attr, element).map(Value::Vector),
    }
}

fn usual(value: Value, ty: &Type, multicell: bool) -> Option<Attr> {
    let value = match value {
        Value::Raw(bytes) => return raw(bytes, ty, multicell),
        Value::Empty => return raw(Vec::new(), ty, multicell),
        value => value,
    };
    match ty {
        Type::Ascii | Type::Text => match value {
            Value::Text(text) => Some(Attr::S(text)),
            _ => None,
        },
        Type::Blob | Type::Custom(_) => match value {
            Value::Blob(bytes) => Some(Attr::B(bytes)),
            _ => None,
        },
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Counter
        | Type::Timestamp
        | Type::Date
        | Type::Time => text::integer(ty, &value).map(|integer| Attr::N(integer.to_string())),
        Type::Varint => match &value {
            Value::Varint(bytes) => {
                Some(or_whole(number::integer_n(bytes).map(Attr::N), &value, ty))
            }
            _ => None,
        },
        Type::Decimal => match &value {
            Value::Decimal { unscaled, scale } => {
                let exact = text::decimal(unscaled, *scale).map(Attr::S);
                Some(or_whole(exact, &value, ty))
            }
            _ => None,
        },
        Type::Float => match value {
            Value::Float(float) => {
                let exact = number::float_n(float.get()).map(Attr::N);
                Some(or_whole(exact, &value, ty))
            }
            _ => None,
        },
        Type::Double => match value {
            Value::Double(double) => {
                let exact = number::double_n(double.get()).map(Attr::N);
                Some(or_whole(exact, &value, ty))
            }
            _ => None,
        },
        Type::Boolean => match value {
            Value::Boolean(value) => Some(Attr::Bool(value)),
            _ => None,
        },
        Type::Uuid | Type::TimeUuid => match value {
            Value::Uuid(bytes) => Some(Attr::S(text::uuid(&bytes))),
            _ => None,
        },
        Type::Inet => match value {
            Value::Inet(address) => Some(Attr::S(address.to_string())),
            _ => None,
        },
        Type::Duration => match value {
            Value::Duration {
                months,
                days,
                nanos,
            } => Some(Attr::M(vec![
                ("mo".into(), Attr::N(months.to_string())),
                ("d".into(), Attr::N(days.to_string())),
                ("ns".into(), Attr::N(nanos.to_string())),
            ])),
            _ => None,
        },
        Type::List(element) => match value {
            Value::List(values) => from_members(values, element),
            _ => None,
        },
        Type::Set(element) => match value {
            Value::Set(values) if multicell => from_cells_of_set(values, element, ty),
            Value::Set(values) => from_members(values, element),
            _ => None,
        },
        Type::Map(key, element) => match value {
            Value::Map(pairs) => from_map(pairs, key, element, multicell),
            _ => None,
        },
        Type::Tuple(types) => match value {
            Value::Tuple(fields) => from_tuple(fields, types),
            _ => None,
        },
        Type::Udt(udt) => match value {
            Value::Udt(fields) => from_udt(fields, ty, &udt.fields),
            _ => None,
        },
        Type::Vector(..) if holds_any_bytes(ty) => {
            cql::is_of(&value, ty).then(|| Attr::B(cql::to_bytes(&value, ty)))
        }
        Type::Vector(element, dimension) => match value {
            Value::Vector(values) if values.len() == usize::from(*dimension) => {
                from_members(values, element)
            }
            _ => None,
        },
    }
}

/// Bytes that come as such: by their type if they do follow it.
fn raw(bytes: Vec<u8>, ty: &Type, multicell: bool) -> Option<Attr> {
    if holds_any_bytes(ty) {
        return Some(Attr::B(bytes));
    }
    match cql::decode(ty, &bytes) {
        Value::Raw(_) | Value::Empty => Some(fallback(bytes, ty)),
        value => usual(value, ty, multicell),
    }
}

/// Whether a type's usual attribute is its CQL bytes, whatever they are.
fn holds_any_bytes(ty: &Type) -> bool {
    matches!(ty, Type::Vector(element, _) if **element == Type::Float)
}

fn or_whole(exact: Option<Attr>, value: &Value, ty: &Type) -> Attr {
    exact.unwrap_or_else(|| fallback(cql::to_bytes(value, ty), ty))
}

fn fallback(bytes: Vec<u8>, ty: &Type) -> Attr {
    if is_usually_m(ty) {
        return Attr::L(vec![Attr::B(bytes)]);
    }
    Attr::M(vec![
        (ENVELOPE_TYPE.into(), Attr::S(ty.to_string())),
        (ENVELOPE_VALUE.into(), Attr::B(bytes)),
    ])
}

fn is_usually_m(ty: &Type) -> bool {
    matches!(ty, Type::Map(..) | Type::Udt(_))
}

enum Fallback {
    Bytes(Vec<u8>),
    OtherType,
    No(Attr),
}

fn bytes_of_fallback(attr: Attr, ty: &Type) -> Fallback {
    match attr {
        Attr::L(mut values) if is_usually_m(ty) => match (values.pop(), values.is_empty()) {
            (Some(Attr::B(bytes)), true) => Fallback::Bytes(bytes),
            (last, _) => {
                values.extend(last);
                Fallback::No(Attr::L(values))
            }
        },
        Attr::M(mut pairs) if !is_usually_m(ty) => {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            match pairs.as_mut_slice() {
                [(t, Attr::S(named)), (v, Attr::B(bytes))]
                    if t == ENVELOPE_TYPE && v == ENVELOPE_VALUE =>
                {
                    if *named == ty.to_string() {
                        Fallback::Bytes(std::mem::take(bytes))
                    } else {
                        Fallback::OtherType
                    }
                }
                _ => Fallback::No(Attr::M(pairs)),
            }
        }
        attr => Fallback::No(attr),
    }
}

fn duration(attr: Attr) -> Option<Value> {
    let Attr::M(attrs) = attr else { return None };
    let part = |wanted: &str| {
        let (_, attr) = attrs.iter().find(|(name, _)| name == wanted)?;
        match attr {
            Attr::N(text) => number::small_integer_of_n(text),
            _ => None,
        }
    };
    Some(Value::Duration {
        months: part("mo")?.try_into().ok()?,
        days: part("d")?.try_into().ok()?,
        nanos: part("ns")?,
    })
}

fn string(attr: Attr) -> Option<String> {
    match attr {
        Attr::S(text) => Some(text),
        _ => None,
    }
}

fn number_text(attr: Attr) -> Option<String> {
    match attr {
        Attr::N(text) => Some(text),
        _ => None,
    }
}

fn binary(attr: Attr) -> Option<Vec<u8>> {
    match attr {
        Attr::B(bytes) => Some(bytes),
        _ => None,
    }
}

/// The most containers around a scalar that a value of a type can become, fallbacks included.
fn depth_of_type(ty: &Type) -> usize {
    // A map may become a list of pairs, each a list.
    let own = if matches!(ty, Type::Map(..)) { 2 } else { 1 };
    own + ty
        .inside()
        .into_iter()
        .map(depth_of_type)
        .max()
        .unwrap_or(0)
}

fn depth(attr: &Attr) -> usize {
    match attr {
        Attr::L(attrs) => 1 + attrs.iter().map(depth).max().unwrap_or(0),
        Attr::M(pairs) => 1 + pairs.iter().map(|(_, attr)| depth(attr)).max().unwrap_or(0),
        Attr::S(_)
        | Attr::N(_)
        | Attr::B(_)
        | Attr::Bool(_)
        | Attr::Null
        | Attr::Ss(_)
        | Attr::Ns(_)
        | Attr::Bs(_) => 0,
    }
}
