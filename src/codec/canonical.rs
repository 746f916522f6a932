//! The form that Cassandra gives to values, so that what is equal there is equal here: in keys, in their
//! order, in values, in every phase. Seen on Cassandra 3.11 and 5.0.
//!
//! **What an application gives** ([`key`], [`mutation`], [`query`] and so on) becomes what the server makes of
//! a value that is bound:
//! - The members of a set and the entries of a map are brought into the order of the type. Of members that are
//!   equal the first is kept; of entries with equal keys the first key and the last value.
//! - Inside a collection numbers are as short as they get, and a boolean is 0 or 1. Sets and maps in there are
//!   sorted too, but of two members those are equal that have the same bytes: 1.0 and 1.00 both stay.
//! - What is inside a tuple, a user-defined type or a vector the server leaves as it is, and so it stays here;
//!   and whatever is given for a descending clustering column.
//! - A collection of cells without any is null.
//!
//! **What a store has** ([`stored`]), and what an application gives too, has no nulls at the end of a tuple or
//! user-defined type, which Cassandra takes as equal to fields that are missing; a value written before its
//! type had a field is one with a null there. One null is left where all fields are null, since a value without
//! any byte is another one.
//!
//! A partition key is told apart by its bytes, in Cassandra as here: its nulls and its spelling stay.

use super::number;
use super::ordered::compare;
use crate::error::Result;
use crate::model::{
    ClusteringRange, Condition, Edit, Edits, Judged, Key, Mutation, Query, Row, Then, Update, Value,
};
use crate::schema::{Column, Order, Role, Table, Type};

/// A key that an application gives.
pub fn key(table: &Table, key: Key) -> Key {
    Key {
        partition: values(table.partition(), key.partition),
        clustering: key
            .clustering
            .map(|clustering| values(table.clustering(), clustering)),
    }
}

/// A row that an application gives.
pub fn row(table: &Table, row: Row) -> Row {
    let cells = table.cells().iter().zip(row.cells);
    Row {
        key: key(table, row.key),
        cells: cells.map(|(column, value)| cell(column, value)).collect(),
        ..row
    }
}

/// A write that an application wants.
pub fn mutation(table: &Table, mutation: Mutation) -> Mutation {
    match mutation {
        Mutation::Put(given) => Mutation::Put(row(table, given)),
        Mutation::Insert(given) => Mutation::Insert(row(table, given)),
        Mutation::Delete(given) => Mutation::Delete(key(table, given)),
        Mutation::Update(given) => Mutation::Update(update(table, given)),
        Mutation::UpdateIf {
            update: given,
            expected,
        } => Mutation::UpdateIf {
            update: update(table, given),
            expected: self::expected(table, expected),
        },
        Mutation::DeleteIf {
            key: given,
            expected,
        } => Mutation::DeleteIf {
            key: key(table, given),
            expected: self::expected(table, expected),
        },
    }
}

/// A write that an application wants where a rule of its own holds.
pub fn judged(table: &Table, judged: Judged) -> Judged {
    Judged {
        key: key(table, judged.key),
        rule: judged.rule,
        then: match judged.then {
            Then::Put(given) => Then::Put(row(table, given)),
            Then::Update(given) => Then::Update(update(table, given)),
            then @ (Then::Delete | Then::Compute | Then::Nothing) => then,
        },
    }
}

/// Edits that a rule makes.
pub fn edits(table: &Table, edits: Edits) -> Edits {
    let cells = table.cells().iter().zip(edits.cells);
    Edits {
        cells: cells
            .map(|(column, edit)| edit.map(|given| self::edit(column, given)))
            .collect(),
        expires: edits.expires,
    }
}

fn expected(table: &Table, expected: Vec<(usize, Option<Value>)>) -> Vec<(usize, Option<Value>)> {
    let of = |(at, value): (usize, Option<Value>)| match table.cells().get(at) {
        Some(column) => (at, cell(column, value)),
        None => (at, value),
    };
    expected.into_iter().map(of).collect()
}

/// A part of a partition that an application gives.
pub fn range(table: &Table, range: ClusteringRange) -> ClusteringRange {
    let bound =
        |bound: std::ops::Bound<Vec<Value>>| bound.map(|prefix| values(table.clustering(), prefix));
    ClusteringRange {
        partition: values(table.partition(), range.partition),
        from: bound(range.from),
        until: bound(range.until),
    }
}

/// A page that an application wants.
pub fn query(table: &Table, query: Query) -> Query {
    Query {
        range: range(table, query.range),
        after: query.after.map(|after| key(table, after)),
        ..query
    }
}

/// A row as a store has it.
pub fn stored(table: &Table, row: Row) -> Row {
    let settle = |(column, value): (&Column, Value)| trimmed(&column.ty, value);
    let clustering = |values: Vec<Value>| table.clustering().iter().zip(values).map(settle);
    let cells = table.cells().iter().zip(row.cells);
    Row {
        key: Key {
            partition: row.key.partition,
            clustering: row
                .key
                .clustering
                .map(|values| clustering(values).collect()),
        },
        cells: cells
            .map(|(column, value)| value.map(|value| trimmed(&column.ty, value)))
            .collect(),
        ..row
    }
}

/// Whether [`stored`] may find something to do.
pub fn may_be_trimmed(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(_) | Type::Udt(_)) || ty.inside().into_iter().any(may_be_trimmed)
}

/// Fields up to the last one that isn't null; one null if all are.
pub(crate) fn without_last_nulls(mut fields: Vec<Option<Value>>) -> Vec<Option<Value>> {
    let given = fields.iter().rposition(Option::is_some);
    fields.truncate(given.map_or(1, |last| last + 1));
    fields
}

/// What an edit makes of a value, members and keys compared as Cassandra does. What is written later has its
/// spelling kept.
///
/// # Errors
/// As of [`Edit::of`].
pub fn edited(ty: &Type, edit: &Edit, old: Option<Value>) -> Result<Option<Value>> {
    let rest = match (edit, ty, old) {
        (
            Edit::AddToSet(members) | Edit::RemoveFromSet(members),
            Type::Set(element),
            Some(Value::Set(mut set)),
        ) => {
            set.retain(|old| !members.iter().any(|new| compare(element, new, old).is_eq()));
            Some(Value::Set(set))
        }
        (Edit::PutInMap(entries), Type::Map(key, _), Some(Value::Map(mut map))) => {
            let is_new = |old: &Value| {
                entries
                    .iter()
                    .any(|(new, _)| compare(key, new, old).is_eq())
            };
            map.retain(|(old, _)| !is_new(old));
            Some(Value::Map(map))
        }
        (Edit::RemoveFromMap(keys), Type::Map(key, _), Some(Value::Map(mut map))) => {
            map.retain(|(old, _)| !keys.iter().any(|new| compare(key, new, old).is_eq()));
            Some(Value::Map(map))
        }
        (_, _, old) => old,
    };
    Ok(match (ty, edit.of(rest)?) {
        (Type::Set(element), Some(Value::Set(mut set))) => {
            set.sort_by(|a, b| compare(element, a, b));
            Some(Value::Set(set))
        }
        (Type::Map(key, _), Some(Value::Map(mut map))) => {
            map.sort_by(|(a, _), (b, _)| compare(key, a, b));
            Some(Value::Map(map))
        }
        (_, value) => value,
    })
}

/// A condition on cells in the spelling of an item that meets it though it spells them otherwise: 1.00 where
/// 1.0 is expected. `None` if there is nothing to spell otherwise, or the item doesn't meet it.
pub fn respelled(table: &Table, on: &Condition, item: Option<&Row>) -> Option<Condition> {
    let (Condition::Cells { expected, now }, Some(item)) = (on, item) else {
        return None;
    };
    let mut is_other = false;
    let mut spelled = Vec::with_capacity(expected.len());
    for (at, value) in expected {
        let (column, there) = (table.cells().get(*at)?, item.cells.get(*at)?);
        match (value, there) {
            (wanted, there) if wanted == there => {}
            (Some(wanted), Some(there)) if compare(&column.ty, wanted, there).is_eq() => {
                is_other = true;
            }
            (Some(_) | None, _) => return None,
        }
        spelled.push((*at, there.clone()));
    }
    is_other.then_some(Condition::Cells {
        expected: spelled,
        now: *now,
    })
}

/// Whether a condition is met by an item, values compared as Cassandra does.
pub fn holds(table: &Table, on: &Condition, item: Option<&Row>) -> bool {
    on.holds(item) || respelled(table, on, item).is_some_and(|on| on.holds(item))
}

fn update(table: &Table, update: Update) -> Update {
    let cells = table.cells().iter().zip(update.cells);
    Update {
        key: key(table, update.key),
        cells: cells
            .map(|(column, edit)| edit.map(|given| self::edit(column, given)))
            .collect(),
        ..update
    }
}

fn edit(column: &Column, edit: Edit) -> Edit {
    let ty = &column.ty;
    let members = |ty: &Type, members: Vec<Value>| match bound(ty, Value::Set(members)) {
        Value::Set(members) => members,
        _ => Vec::new(),
    };
    match (edit, ty) {
        (Edit::Set(value), _) => cell(column, Some(value)).map_or(Edit::Clear, Edit::Set),
        (Edit::Append(values), Type::List(element)) => {
            let elements = values.into_iter().map(|value| composed(element, value));
            Edit::Append(elements.map(|value| trimmed(element, value)).collect())
        }
        (Edit::AddToSet(values), Type::Set(_)) => Edit::AddToSet(members(ty, values)),
        (Edit::RemoveFromSet(values), Type::Set(_)) => Edit::RemoveFromSet(members(ty, values)),
        (Edit::PutInMap(entries), Type::Map(..)) => match bound(ty, Value::Map(entries)) {
            Value::Map(entries) => Edit::PutInMap(entries),
            _ => Edit::PutInMap(Vec::new()),
        },
        (Edit::RemoveFromMap(keys), Type::Map(key, _)) => {
            Edit::RemoveFromMap(members(&Type::Set(key.clone()), keys))
        }
        (edit, _) => edit,
    }
}

fn cell(column: &Column, value: Option<Value>) -> Option<Value> {
    let value = value.filter(|value| !(column.is_multicell() && is_null(value)))?;
    Some(trimmed(&column.ty, bound(&column.ty, value)))
}

fn values(columns: &[Column], values: Vec<Value>) -> Vec<Value> {
    // What is given beyond the columns is left, to be refused where it is used.
    let mut columns = columns.iter();
    let given = values.into_iter().map(|value| match columns.next() {
        Some(column) => match column.role {
            Role::Partition => bound(&column.ty, value),
            Role::Clustering(Order::Desc) => trimmed(&column.ty, value),
            Role::Clustering(Order::Asc) | Role::Static | Role::Regular => {
                trimmed(&column.ty, bound(&column.ty, value))
            }
        },
        None => value,
    });
    given.collect()
}

/// What the server makes of a value that is bound to a column.
fn bound(ty: &Type, value: Value) -> Value {
    match (ty, value) {
        (Type::List(element), Value::List(values)) => {
            let values = values.into_iter();
            Value::List(values.map(|value| composed(element, value)).collect())
        }
        (Type::Set(element), Value::Set(values)) => {
            let mut values = distinct(element, values);
            values.sort_by(|a, b| compare(element, a, b));
            values.dedup_by(|later, first| compare(element, later, first).is_eq());
            Value::Set(values)
        }
        (Type::Map(key, element), Value::Map(pairs)) => {
            let mut pairs = distinct_keys(key, element, pairs);
            pairs.sort_by(|(a, _), (b, _)| compare(key, a, b));
            pairs.dedup_by(|later, first| {
                let is_twin = compare(key, &later.0, &first.0).is_eq();
                if is_twin {
                    std::mem::swap(&mut first.1, &mut later.1);
                }
                is_twin
            });
            Value::Map(pairs)
        }
        (_, value) => value,
    }
}

/// What the server makes of a value inside a collection: it reads it, and writes what it has read.
fn composed(ty: &Type, value: Value) -> Value {
    match (ty, value) {
        (Type::Varint, Value::Varint(bytes)) => Value::Varint(shortest(bytes)),
        (Type::Decimal, Value::Decimal { unscaled, scale }) => Value::Decimal {
            unscaled: shortest(unscaled),
            scale,
        },
        (Type::Boolean, Value::Raw(bytes)) if bytes.len() == 1 => Value::Boolean(bytes != [0]),
        (Type::Set(element), Value::Set(values)) => {
            let mut values = distinct(element, values);
            values.sort_by(|a, b| compare(element, a, b));
            Value::Set(values)
        }
        (Type::Map(key, element), Value::Map(pairs)) => {
            let mut pairs = distinct_keys(key, element, pairs);
            pairs.sort_by(|(a, _), (b, _)| compare(key, a, b));
            Value::Map(pairs)
        }
        (ty, value) => bound(ty, value),
    }
}

/// The members of a set as they are given, the first of those with the same bytes.
fn distinct(element: &Type, values: Vec<Value>) -> Vec<Value> {
    let mut seen = std::collections::HashSet::with_capacity(values.len());
    let mut values: Vec<Value> = values
        .into_iter()
        .map(|value| composed(element, value))
        .collect();
    values.retain(|value| seen.insert(value.clone()));
    values
}

/// The entries of a map as they are given: each key once, with its last value.
fn distinct_keys(key: &Type, element: &Type, pairs: Vec<(Value, Value)>) -> Vec<(Value, Value)> {
    let mut places = std::collections::HashMap::with_capacity(pairs.len());
    let mut all: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let (name, value) = (composed(key, name), composed(element, value));
        match places.get(&name) {
            Some(&place) => {
                let (_, there): &mut (Value, Value) = &mut all[place];
                *there = value;
            }
            None => {
                places.insert(name.clone(), all.len());
                all.push((name, value));
            }
        }
    }
    all
}

fn shortest(bytes: Vec<u8>) -> Vec<u8> {
    if number::is_shortest(&bytes) {
        return bytes;
    }
    let (negative, magnitude) = number::magnitude(&bytes);
    number::from_magnitude(negative, &magnitude)
}

/// A value without the nulls at the end of its tuples and user-defined types.
pub(crate) fn trimmed(ty: &Type, value: Value) -> Value {
    let all = |ty: &Type, values: Vec<Value>| -> Vec<Value> {
        let values = values.into_iter();
        values.map(|value| trimmed(ty, value)).collect()
    };
    match (ty, value) {
        (ty, value) if !may_be_trimmed(ty) => value,
        (Type::Tuple(types), Value::Tuple(fields)) => {
            Value::Tuple(trimmed_fields(types.iter(), fields))
        }
        (Type::Udt(udt), Value::Udt(fields)) => {
            Value::Udt(trimmed_fields(udt.fields.iter().map(|(_, ty)| ty), fields))
        }
        (Type::List(ty), Value::List(values)) => Value::List(all(ty, values)),
        (Type::Set(ty), Value::Set(values)) => Value::Set(all(ty, values)),
        (Type::Vector(ty, _), Value::Vector(values)) => Value::Vector(all(ty, values)),
        (Type::Map(key, ty), Value::Map(pairs)) => {
            let pairs = pairs.into_iter();
            let pairs = pairs.map(|(name, value)| (trimmed(key, name), trimmed(ty, value)));
            Value::Map(pairs.collect())
        }
        (_, value) => value,
    }
}

fn trimmed_fields<'t>(
    types: impl Iterator<Item = &'t Type>,
    fields: Vec<Option<Value>>,
) -> Vec<Option<Value>> {
    if fields.is_empty() {
        return fields;
    }
    let mut types = types;
    let fields = fields.into_iter().map(|field| match types.next() {
        Some(ty) => field.map(|value| trimmed(ty, value)),
        None => field,
    });
    without_last_nulls(fields.collect())
}

/// A collection or user-defined type of cells, without any: null in CQL.
pub(crate) fn is_null(value: &Value) -> bool {
    match value {
        Value::List(values) | Value::Set(values) => values.is_empty(),
        Value::Map(pairs) => pairs.is_empty(),
        Value::Udt(fields) => fields.iter().all(Option::is_none),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;

    fn decimal(unscaled: &[u8], scale: i32) -> Value {
        Value::Decimal {
            unscaled: unscaled.into(),
            scale,
        }
    }

    fn texts(texts: &[&str]) -> Vec<Value> {
        texts.iter().map(|text| Value::text(*text)).collect()
    }

    fn set(ty: Type) -> Type {
        Type::Set(Box::new(ty))
    }

    /// As Cassandra 5.0 answered when it was given these (see tests/it/cassandra/equal.rs).
    #[test]
    fn members_are_in_order_and_each_is_there_once() {
        let of = |values| bound(&set(Type::Text), Value::Set(values));
        assert_eq!(of(texts(&["B", "A", "A"])), Value::Set(texts(&["A", "B"])));
        let decimals = set(Type::Decimal);
        let twins = vec![decimal(&[10], 1), decimal(&[1], 0), decimal(&[0], 0)];
        let first = vec![twins[2].clone(), twins[0].clone()];
        assert_eq!(
            bound(&decimals, Value::Set(twins.clone())),
            Value::Set(first)
        );
        let map = Type::Map(Box::new(Type::Decimal), Box::new(Type::Text));
        let entries = twins.iter().cloned().zip(texts(&["x", "y", "z"]));
        let merged = vec![
            (twins[2].clone(), Value::text("z")),
            (twins[0].clone(), Value::text("y")),
        ];
        assert_eq!(
            bound(&map, Value::Map(entries.collect())),
            Value::Map(merged)
        );
        // Inside a collection twins stay, and numbers are written anew.
        let inside = vec![decimal(&[0, 10], 1), decimal(&[1], 0)];
        let kept = vec![decimal(&[10], 1), decimal(&[1], 0)];
        let queries = Type::List(Box::new(decimals));
        assert_eq!(
            bound(&queries, Value::List(vec![Value::Set(inside)])),
            Value::List(vec![Value::Set(kept)])
        );
        // Inside a tuple nothing changes.
        let tuple = Type::Tuple(vec![set(Type::Text)]);
        let given = Value::Tuple(vec![Some(Value::Set(texts(&["B", "A", "A"])))]);
        assert_eq!(bound(&tuple, given.clone()), given);
    }

    #[test]
    fn nulls_at_the_end_are_gone_and_one_stays_of_nothing_else() {
        let pair = Type::Tuple(vec![Type::Int, Type::Int]);
        let of = |fields: &[Option<i32>]| {
            let fields = fields.iter().map(|field| field.map(Value::Int));
            trimmed(&pair, Value::Tuple(fields.collect()))
        };
        assert_eq!(of(&[Some(1), None]), of(&[Some(1)]));
        assert_eq!(of(&[None, None]), Value::Tuple(vec![None]));
        assert_eq!(
            of(&[None, Some(1)]),
            Value::Tuple(vec![None, Some(Value::Int(1))])
        );
        assert_eq!(of(&[]), Value::Tuple(vec![]));
    }

    #[test]
    fn a_partition_key_keeps_its_nulls() {
        let pair = Type::Tuple(vec![Type::Int, Type::Int]);
        let column = |name: &str, role| Column {
            name: name.into(),
            ty: pair.clone(),
            frozen: true,
            role,
        };
        let columns = vec![
            column("p", Role::Partition),
            column("c", Role::Clustering(Order::Asc)),
        ];
        let table = Table::new("t", columns);
        let long = Value::Tuple(vec![Some(Value::Int(1)), None]);
        let given = key(&table, Key::row(vec![long.clone()], vec![long.clone()]));
        let short = Value::Tuple(vec![Some(Value::Int(1))]);
        assert_eq!(given, Key::row(vec![long], vec![short]));
    }

    #[test]
    fn a_descending_column_takes_what_it_is_given() {
        let column = |name: &str, role| Column {
            name: name.into(),
            ty: set(Type::Text),
            frozen: true,
            role,
        };
        let columns = vec![
            column("p", Role::Partition),
            column("a", Role::Clustering(Order::Asc)),
            column("d", Role::Clustering(Order::Desc)),
        ];
        let table = Table::new("t", columns);
        let (given, sorted) = (["b", "a", "a"], ["a", "b"]);
        let set = |members: &[&str]| Value::Set(texts(members));
        let given = Key::row(vec![set(&given)], vec![set(&given), set(&given)]);
        let clustering = vec![set(&sorted), given.partition[0].clone()];
        assert_eq!(key(&table, given), Key::row(vec![set(&sorted)], clustering));
    }

    #[test]
    fn edits_know_members_by_their_order() {
        let ty = set(Type::Decimal);
        let (one, other) = (decimal(&[1], 0), decimal(&[10], 1));
        let old = || Some(Value::Set(vec![one.clone()]));
        let of = |edit: Edit| edited(&ty, &edit, old()).unwrap();
        let added = of(Edit::AddToSet(vec![decimal(&[0], 0), other.clone()]));
        assert_eq!(
            added,
            Some(Value::Set(vec![decimal(&[0], 0), other.clone()]))
        );
        assert_eq!(of(Edit::RemoveFromSet(vec![other])), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_canonical_stays_and_is_equal(
            (ty, value) in arbitrary::key_ty().prop_flat_map(|ty| {
                let value = arbitrary::value(&ty);
                (Just(ty), value)
            }),
        ) {
            let canonical = trimmed(&ty, bound(&ty, value.clone()));
            prop_assert_eq!(&trimmed(&ty, bound(&ty, canonical.clone())), &canonical);
            let short = trimmed(&ty, value.clone());
            prop_assert!(compare(&ty, &short, &value).is_eq(), "{:?} {:?}", short, value);
        }
    }
}
