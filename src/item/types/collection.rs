//! Collections, tuples and user-defined types.

use std::borrow::Cow;

use super::{Attr, fallback, from_attr, usual};
use crate::codec::canonical::without_last_nulls;
use crate::codec::{cql, ordered, text};
use crate::model::Value;
use crate::schema::Type;

/// The most bytes of a map's key.
pub(super) const NAME_LIMIT: usize = 65_535;

pub(super) fn from_members(values: Vec<Value>, element: &Type) -> Option<Attr> {
    let attrs = values.into_iter().map(|value| usual(value, element, false));
    attrs.collect::<Option<_>>().map(Attr::L)
}

pub(super) fn members(attr: Attr, element: &Type) -> Option<Vec<Value>> {
    match attr {
        Attr::L(attrs) => attrs
            .into_iter()
            .map(|attr| from_attr(attr, element))
            .collect(),
        _ => None,
    }
}

/// A set whose members are cells: a native set where its members can be, so that the store's own
/// `ADD` and `DELETE` do what CQL's `+` and `-` do. Such a set has no order of its own.
pub(super) fn from_cells_of_set(mut values: Vec<Value>, element: &Type, ty: &Type) -> Option<Attr> {
    let native = native_set(element);
    if native == NativeSet::None {
        return from_members(values, element);
    }
    if !values.iter().all(|value| cql::is_of(value, element)) {
        return None;
    }
    if values
        .iter()
        .any(|value| matches!(value, Value::Raw(_) | Value::Empty))
    {
        return Some(fallback(cql::to_bytes(&Value::Set(values), ty), ty));
    }
    let ascending = |a: &Value, b: &Value| ordered::compare(element, a, b).is_lt();
    if !values.is_sorted_by(ascending) {
        values.sort_by(|a, b| ordered::compare(element, a, b));
        values.dedup();
    }
    match native {
        NativeSet::None => None,
        NativeSet::Strings => {
            let strings = values.into_iter().map(|value| match value {
                Value::Text(text) => Some(text),
                _ => None,
            });
            strings.collect::<Option<_>>().map(Attr::Ss)
        }
        NativeSet::Numbers => {
            let numbers = values
                .iter()
                .map(|value| text::integer(element, value).map(|integer| integer.to_string()));
            numbers.collect::<Option<_>>().map(Attr::Ns)
        }
        NativeSet::Binaries => {
            let binaries = values.into_iter().map(|value| match value {
                Value::Blob(bytes) => Some(bytes),
                _ => None,
            });
            binaries.collect::<Option<_>>().map(Attr::Bs)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::item) enum NativeSet {
    None,
    Strings,
    Numbers,
    Binaries,
}

/// The native set that a set of cells becomes.
pub(in crate::item) fn native_set(element: &Type) -> NativeSet {
    match element {
        Type::Ascii | Type::Text => NativeSet::Strings,
        Type::TinyInt | Type::SmallInt | Type::Int | Type::BigInt => NativeSet::Numbers,
        Type::Blob => NativeSet::Binaries,
        // Members that are equal as N, or that no N holds, would collide or be refused.
        Type::Varint | Type::Decimal | Type::Float | Type::Double => NativeSet::None,
        Type::Counter
        | Type::Boolean
        | Type::Uuid
        | Type::TimeUuid
        | Type::Timestamp
        | Type::Date
        | Type::Time
        | Type::Inet
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..)
        | Type::Custom(_) => NativeSet::None,
    }
}

pub(super) fn set(attr: Attr, element: &Type) -> Option<Value> {
    let mut values: Vec<Value> = match attr {
        Attr::Ss(strings) => strings
            .into_iter()
            .map(|string| from_attr(Attr::S(string), element))
            .collect::<Option<_>>()?,
        Attr::Ns(numbers) => numbers
            .into_iter()
            .map(|number| from_attr(Attr::N(number), element))
            .collect::<Option<_>>()?,
        Attr::Bs(binaries) => binaries
            .into_iter()
            .map(|binary| from_attr(Attr::B(binary), element))
            .collect::<Option<_>>()?,
        list => return members(list, element).map(Value::Set),
    };
    values.sort_by(|a, b| ordered::compare(element, a, b));
    Some(Value::Set(values))
}

/// A map: an M where its keys can be names and their order is the type's, else a list of pairs.
pub(super) fn from_map(
    mut pairs: Vec<(Value, Value)>,
    key: &Type,
    element: &Type,
    multicell: bool,
) -> Option<Attr> {
    let ascending =
        |a: &(Value, Value), b: &(Value, Value)| ordered::compare(key, &a.0, &b.0).is_lt();
    if multicell && has_named_keys(key, multicell) && !pairs.is_sorted_by(ascending) {
        pairs.sort_by(|a, b| ordered::compare(key, &a.0, &b.0));
    }
    let named = has_named_keys(key, multicell)
        && pairs.iter().all(|(k, _)| name(k, key).is_some())
        && pairs.is_sorted_by(ascending);
    if named {
        let attrs = pairs.into_iter().map(|(k, v)| {
            let name = match k {
                Value::Text(text) => text,
                k => name(&k, key)?.into_owned(),
            };
            Some((name, usual(v, element, false)?))
        });
        return attrs.collect::<Option<_>>().map(Attr::M);
    }
    let attrs = pairs.into_iter().map(|(k, v)| {
        let (k, v) = (usual(k, key, false)?, usual(v, element, false)?);
        Some(Attr::L(vec![k, v]))
    });
    attrs.collect::<Option<_>>().map(Attr::L)
}

pub(super) fn map(attr: Attr, key: &Type, element: &Type) -> Option<Value> {
    match attr {
        Attr::M(attrs) => {
            let mut pairs = attrs
                .into_iter()
                .map(|(name, attr)| Some((of_name(name, key)?, from_attr(attr, element)?)))
                .collect::<Option<Vec<_>>>()?;
            pairs.sort_by(|a, b| ordered::compare(key, &a.0, &b.0));
            Some(Value::Map(pairs))
        }
        Attr::L(attrs) => {
            let pairs = attrs.into_iter().map(|pair| {
                let Attr::L(pair) = pair else { return None };
                let [k, v] = <[Attr; 2]>::try_from(pair).ok()?;
                Some((from_attr(k, key)?, from_attr(v, element)?))
            });
            pairs.collect::<Option<_>>().map(Value::Map)
        }
        _ => None,
    }
}

/// Whether a map with such keys becomes an M.
pub(in crate::item) fn has_named_keys(key: &Type, multicell: bool) -> bool {
    match key {
        Type::Ascii | Type::Text => true,
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Boolean
        | Type::Blob
        | Type::Uuid
        | Type::TimeUuid
        | Type::Timestamp
        | Type::Date
        | Type::Time
        | Type::Inet => multicell,
        Type::Counter
        | Type::Varint
        | Type::Decimal
        | Type::Float
        | Type::Double
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..)
        | Type::Custom(_) => false,
    }
}

/// A map's key as a name in an M; `None` if it can't be one.
fn name<'a>(key: &'a Value, ty: &Type) -> Option<Cow<'a, str>> {
    let name = match key {
        Value::Text(text) => Cow::Borrowed(text.as_str()),
        Value::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Value::Blob(bytes) => Cow::Owned(text::hex(bytes)),
        Value::Uuid(bytes) => Cow::Owned(text::uuid(bytes)),
        Value::Inet(address) => Cow::Owned(address.to_string()),
        key => Cow::Owned(text::integer(ty, key)?.to_string()),
    };
    (cql::is_of(key, ty) && !name.is_empty() && name.len() <= NAME_LIMIT).then_some(name)
}

fn of_name(name: String, ty: &Type) -> Option<Value> {
    match ty {
        Type::Ascii | Type::Text => Some(Value::Text(name)),
        Type::Boolean => match name.as_str() {
            "true" => Some(Value::Boolean(true)),
            "false" => Some(Value::Boolean(false)),
            _ => None,
        },
        Type::Blob => text::of_hex(&name).map(Value::Blob),
        Type::Uuid | Type::TimeUuid => text::of_uuid(&name).map(Value::Uuid),
        Type::Inet => name.parse().ok().map(Value::Inet),
        _ => text::of_integer(ty, name.parse().ok()?),
    }
}

/// A tuple: all of its type's fields, so that a reader finds each at its place. Only what has no bytes at
/// all, which isn't a tuple of nulls to Cassandra, has none.
pub(super) fn from_tuple(fields: Vec<Option<Value>>, types: &[Type]) -> Option<Attr> {
    if fields.len() > types.len() {
        return None;
    }
    if fields.is_empty() {
        return Some(Attr::L(Vec::new()));
    }
    let fields = fields.into_iter().chain(std::iter::repeat(None));
    let attrs = fields.zip(types).map(|(field, ty)| match field {
        Some(value) => usual(value, ty, false),
        None => Some(Attr::Null),
    });
    attrs.collect::<Option<_>>().map(Attr::L)
}

pub(super) fn tuple(attr: Attr, types: &[Type]) -> Option<Value> {
    let Attr::L(attrs) = attr else { return None };
    if attrs.len() > types.len() {
        return None;
    }
    if attrs.is_empty() {
        return Some(Value::Tuple(Vec::new()));
    }
    let attrs = attrs.into_iter();
    let fields = attrs.zip(types).map(|(attr, ty)| match attr {
        Attr::Null => Some(None),
        attr => from_attr(attr, ty).map(Some),
    });
    let fields = fields.collect::<Option<_>>()?;
    Some(Value::Tuple(without_last_nulls(fields)))
}

/// A user-defined type: the fields that aren't null. What has no bytes at all isn't one of nulls.
pub(super) fn from_udt(
    fields: Vec<Option<Value>>,
    ty: &Type,
    types: &[(String, Type)],
) -> Option<Attr> {
    if fields.len() > types.len() {
        return None;
    }
    if fields.is_empty() {
        return Some(fallback(Vec::new(), ty));
    }
    let attrs = fields
        .into_iter()
        .zip(types)
        .filter_map(|(field, (name, ty))| {
            let attr = usual(field?, ty, false);
            Some(attr.map(|attr| (name.clone(), attr)))
        });
    attrs.collect::<Option<_>>().map(Attr::M)
}

pub(super) fn udt_fields(attr: Attr, types: &[(String, Type)]) -> Option<Value> {
    let Attr::M(attrs) = attr else { return None };
    let mut fields = vec![None; types.len()];
    for (name, attr) in attrs {
        let at = types.iter().position(|(known, _)| *known == name)?;
        fields[at] = Some(from_attr(attr, &types[at].1)?);
    }
    Some(Value::Udt(without_last_nulls(fields)))
}
