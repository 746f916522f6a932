//! One text for everything that Cassandra itself takes for equal, and digests of it.
//!
//! The partition key counts byte by byte, as it does in Cassandra. In all other columns equal is what
//! compares as equal there: numbers of any spelling (`1.0` and `1.00`), one `NaN`, sets and maps in any
//! order, tuples and user-defined types whose last fields are missing or null. A collection that isn't
//! frozen and has no elements is null. Lists keep their order.

use twox_hash::XxHash3_128;

use super::grid::bucket_of;
use crate::codec::canonical::is_null;
use crate::codec::cql;
use crate::codec::ordered::encode_component;
use crate::model::{Key, Row, Value};
use crate::schema::{Column, Order, Table, Type};

/// What comparing needs to know of a row. Both stores' rows are given as the new store has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Which bucket it falls in.
    pub bucket: u32,
    /// Digest of its key.
    pub key: u128,
    /// Digest of its key, its cells, and whether it expires.
    pub row: u128,
    /// When it expires, seconds since 1970.
    pub expires: Option<i64>,
}

/// Makes prints of one table's rows. The same seed makes the same prints.
pub(super) struct Fingerprinter<'t> {
    table: &'t Table,
    seed: u64,
    text: Vec<u8>,
}

impl<'t> Fingerprinter<'t> {
    pub fn new(table: &'t Table, seed: u64) -> Self {
        Fingerprinter {
            table,
            seed,
            text: Vec::new(),
        }
    }

    pub fn fingerprint(&mut self, row: &Row) -> Fingerprint {
        let (bucket, key) = self.key(&row.key);
        for (at, column) in self.table.cells().iter().enumerate() {
            if let Some(Some(value)) = row.cells.get(at) {
                put_cell(at, column, value, &mut self.text);
            }
        }
        self.text.push(u8::from(row.expires.is_some()));
        Fingerprint {
            bucket,
            key,
            row: self.digest(),
            expires: row.expires,
        }
    }

    /// A key's bucket and digest.
    pub fn key(&mut self, key: &Key) -> (u32, u128) {
        let partition = cql::partition_bytes(self.table.partition(), &key.partition);
        self.text.clear();
        put_bytes(&partition, &mut self.text);
        self.text.push(u8::from(key.is_static()));
        let columns = self.table.clustering().iter();
        for (column, value) in columns.zip(key.clustering.iter().flatten()) {
            put_value(&column.ty, value, &mut self.text);
        }
        (bucket_of(cql::murmur3_token(&partition)), self.digest())
    }

    fn digest(&self) -> u128 {
        XxHash3_128::oneshot_with_seed(self.seed, &self.text)
    }
}

/// The places of the cells in which two rows differ.
pub(super) fn differing(table: &Table, one: &Row, other: &Row) -> Vec<usize> {
    let text = |row: &Row, at: usize, column: &Column| {
        let mut text = Vec::new();
        if let Some(Some(value)) = row.cells.get(at) {
            put_cell(at, column, value, &mut text);
        }
        text
    };
    let columns = table.cells().iter().enumerate();
    columns
        .filter(|(at, column)| text(one, *at, column) != text(other, *at, column))
        .map(|(at, _)| at)
        .collect()
}

fn put_cell(at: usize, column: &Column, value: &Value, out: &mut Vec<u8>) {
    if column.is_multicell() && is_null(value) {
        return;
    }
    out.extend_from_slice(&(at as u32).to_be_bytes());
    put_value(&column.ty, value, out);
}

/// First bytes of what isn't a scalar; a scalar begins with a 1 or a 2.
const TEXT: u8 = 0x10;
const MEMBERS: u8 = 0x11;
const FIELDS: u8 = 0x12;
const BYTES: u8 = 0x13;

fn put_value(ty: &Type, value: &Value, out: &mut Vec<u8>) {
    match (ty, value) {
        (Type::Ascii | Type::Text, Value::Text(text)) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        (Type::Blob | Type::Custom(_), Value::Blob(bytes)) => {
            out.push(TEXT);
            put_bytes(bytes, out);
        }
        (Type::List(element), Value::List(values))
        | (Type::Vector(element, _), Value::Vector(values)) => {
            let members = values.iter().map(|value| canonical(element, value));
            put_members(members.collect(), out);
        }
        (Type::Set(element), Value::Set(values)) => {
            let members = values.iter().map(|value| canonical(element, value));
            put_members(sorted(members.collect()), out);
        }
        (Type::Map(key, element), Value::Map(pairs)) => {
            let pair = |(name, value): &(Value, Value)| {
                let mut text = canonical(key, name);
                put_value(element, value, &mut text);
                text
            };
            put_members(sorted(pairs.iter().map(pair).collect()), out);
        }
        (Type::Tuple(types), Value::Tuple(fields)) => {
            put_fields(types.iter(), fields, out);
        }
        (Type::Udt(udt), Value::Udt(fields)) => {
            put_fields(udt.fields.iter().map(|(_, ty)| ty), fields, out);
        }
        (ty, value) => {
            if encode_component(ty, Order::Asc, value, out).is_err() {
                // Not of its type: equal is what has the same bytes.
                out.push(BYTES);
                put_bytes(&cql::to_bytes(value, ty), out);
            }
        }
    }
}

fn canonical(ty: &Type, value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    put_value(ty, value, &mut text);
    text
}

fn sorted(mut members: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    members.sort_unstable();
    members.dedup();
    members
}

fn put_members(members: Vec<Vec<u8>>, out: &mut Vec<u8>) {
    out.push(MEMBERS);
    out.extend_from_slice(&(members.len() as u64).to_be_bytes());
    members.iter().for_each(|member| put_bytes(member, out));
}

/// Fields up to the last one that isn't null.
fn put_fields<'t>(
    types: impl Iterator<Item = &'t Type>,
    fields: &[Option<Value>],
    out: &mut Vec<u8>,
) {
    let given = fields.iter().rposition(Option::is_some);
    let given = given.map_or(0, |last| last + 1);
    out.push(FIELDS);
    out.extend_from_slice(&(given as u64).to_be_bytes());
    for (ty, field) in types.zip(&fields[..given]) {
        out.push(u8::from(field.is_some()));
        if let Some(value) = field {
            put_value(ty, value, out);
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;
    use crate::schema::{Role, Udt};

    fn table(ty: Type, frozen: bool) -> Table {
        let column = |name: &str, ty, frozen, role| Column {
            name: name.into(),
            ty,
            frozen,
            role,
        };
        let columns = vec![
            column("p", Type::Varint, false, Role::Partition),
            column("c", Type::Decimal, false, Role::Clustering(Order::Asc)),
            column("v", ty, frozen, Role::Regular),
        ];
        Table::new("t", columns)
    }

    fn decimal(unscaled: i8, scale: i32) -> Value {
        Value::Decimal {
            unscaled: vec![unscaled as u8],
            scale,
        }
    }

    fn row(value: Option<Value>) -> Row {
        let key = Key::row(vec![Value::Varint(vec![1])], vec![decimal(1, 0)]);
        Row::new(key, vec![value])
    }

    /// Whether two values of a column are the same, by digest and cell by cell.
    fn same(ty: &Type, frozen: bool, one: Option<Value>, other: Option<Value>) -> bool {
        let table = table(ty.clone(), frozen);
        let (one, other) = (row(one), row(other));
        let mut fingerprinter = Fingerprinter::new(&table, 7);
        let by_digest = fingerprinter.fingerprint(&one) == fingerprinter.fingerprint(&other);
        assert_eq!(by_digest, differing(&table, &one, &other).is_empty());
        by_digest
    }

    fn ints(values: &[i32]) -> Vec<Value> {
        values.iter().copied().map(Value::Int).collect()
    }

    #[test]
    fn what_cassandra_takes_for_equal_is_equal() {
        let list = |values: &[i32]| Some(Value::List(ints(values)));
        let set = |values: &[i32]| Some(Value::Set(ints(values)));
        let map = |pairs: &[(i32, i32)]| {
            let pair = |(k, v): &(i32, i32)| (Value::Int(*k), Value::Int(*v));
            Some(Value::Map(pairs.iter().map(pair).collect()))
        };
        let int = || Box::new(Type::Int);
        let udt = Type::Udt(std::sync::Arc::new(Udt {
            name: "u".into(),
            fields: vec![("a".into(), Type::Int), ("b".into(), Type::Int)],
        }));
        let fields = |fields: &[Option<i32>]| {
            Some(Value::Udt(
                fields.iter().map(|f| f.map(Value::Int)).collect(),
            ))
        };
        let equal = [
            (
                Type::Decimal,
                true,
                Some(decimal(1, 0)),
                Some(decimal(10, 1)),
            ),
            (
                Type::Varint,
                true,
                Some(Value::Varint(vec![0, 1])),
                Some(Value::Varint(vec![1])),
            ),
            (
                Type::Double,
                true,
                Some(Value::Double(f64::NAN.into())),
                Some(Value::Double((-f64::NAN).into())),
            ),
            (Type::Set(int()), false, set(&[1, 2]), set(&[2, 1])),
            (Type::Set(int()), false, set(&[]), None),
            (Type::List(int()), false, list(&[]), None),
            (Type::Map(int(), int()), false, map(&[]), None),
            (
                Type::Map(int(), int()),
                true,
                map(&[(1, 2), (3, 4)]),
                map(&[(3, 4), (1, 2)]),
            ),
            (udt.clone(), false, fields(&[None, None]), None),
            (
                udt.clone(),
                true,
                fields(&[Some(1)]),
                fields(&[Some(1), None]),
            ),
        ];
        for (ty, frozen, one, other) in equal {
            assert!(
                same(&ty, frozen, one.clone(), other.clone()),
                "{ty}: {one:?} {other:?}"
            );
        }
        let different = [
            (
                Type::Double,
                true,
                Some(Value::Double(0.0.into())),
                Some(Value::Double((-0.0).into())),
            ),
            (Type::List(int()), false, list(&[1, 2]), list(&[2, 1])),
            (Type::List(int()), true, list(&[]), None),
            (Type::Set(int()), true, set(&[]), None),
            (
                Type::Map(int(), int()),
                true,
                map(&[(1, 2)]),
                map(&[(2, 1)]),
            ),
            (Type::Text, true, Some(Value::text("")), None),
            (Type::Int, true, Some(Value::Empty), None),
            (udt.clone(), true, fields(&[None, None]), None),
            (
                udt,
                true,
                fields(&[Some(1), None]),
                fields(&[None, Some(1)]),
            ),
        ];
        for (ty, frozen, one, other) in different {
            assert!(
                !same(&ty, frozen, one.clone(), other.clone()),
                "{ty}: {one:?} {other:?}"
            );
        }
    }

    #[test]
    fn the_partition_key_counts_byte_by_byte_and_clustering_columns_by_value() {
        let table = table(Type::Int, false);
        let mut fingerprinter = Fingerprinter::new(&table, 7);
        let mut key = |partition: &[u8], clustering| {
            fingerprinter.key(&Key::row(
                vec![Value::Varint(partition.into())],
                vec![clustering],
            ))
        };
        let one = key(&[1], decimal(1, 0));
        assert_eq!(one, key(&[1], decimal(10, 1)));
        assert_ne!(one.1, key(&[0, 1], decimal(1, 0)).1);
        assert_ne!(one.1, key(&[1], decimal(2, 0)).1);
        let statics = fingerprinter.key(&Key::statics(vec![Value::Varint(vec![1])]));
        assert_eq!(statics.0, one.0);
        assert_ne!(statics.1, one.1);
        assert_ne!(
            Fingerprinter::new(&table, 8).key(&row(None).key).1,
            one.1,
            "another seed"
        );
    }

    proptest! {
        #[test]
        fn a_value_is_itself_and_another_is_another(
            (ty, one, other) in arbitrary::ty().prop_flat_map(|ty| {
                let (one, other) = (arbitrary::value(&ty), arbitrary::value(&ty));
                (Just(ty), one, other)
            }),
            frozen: bool,
        ) {
            prop_assert!(same(&ty, frozen, Some(one.clone()), Some(one.clone())));
            let bytes = |value: &Value| cql::to_bytes(value, &ty);
            // Texts of plain types have no two spellings, so nothing may fall together there.
            if matches!(ty, Type::Text | Type::Blob | Type::Int | Type::BigInt | Type::Uuid) {
                prop_assert_eq!(same(&ty, frozen, Some(one.clone()), Some(other.clone())), bytes(&one) == bytes(&other));
            }
        }
    }
}
