#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary;
use super::*;
use crate::error::Kind;
use crate::model::{Key, Mark, Row, Value};
use crate::schema::{Column, Layout, Order, Role, Table, Type, Udt};

fn column(name: &str, ty: Type, role: Role) -> Column {
    Column {
        name: name.into(),
        frozen: matches!(role, Role::Partition | Role::Clustering(_)),
        ty,
        role,
    }
}

fn frozen(column: Column) -> Column {
    Column {
        frozen: true,
        ..column
    }
}

fn mapping(columns: Vec<Column>) -> Mapping {
    Mapping::new(&Table::new("t", columns)).unwrap()
}

fn id() -> Column {
    column("id", Type::Text, Role::Partition)
}

/// A mapping of `id text PRIMARY KEY, v <type>`.
fn with_value(ty: Type) -> Mapping {
    mapping(vec![id(), column("v", ty, Role::Regular)])
}

fn row(cells: Vec<Option<Value>>) -> Row {
    Row::new(Key::row(vec![Value::text("k")], Vec::new()), cells)
}

/// The attribute of `v`, after checking that it reads back.
fn attr_of(mapping: &Mapping, value: Value) -> Option<Attr> {
    let row = row(vec![Some(value)]);
    let item = mapping.item(row.clone()).unwrap();
    let read = mapping.row(item.clone()).unwrap();
    let found = item.into_iter().find(|(name, _)| name == "v");
    match &found {
        Some(_) => assert_eq!(read, row),
        None => assert_eq!(read.cells, [None]),
    }
    found.map(|(_, attr)| attr)
}

fn envelope(ty: &str, bytes: &[u8]) -> Attr {
    Attr::M(vec![
        ("_t".into(), Attr::S(ty.into())),
        ("_v".into(), Attr::B(bytes.to_vec())),
    ])
}

fn n(text: &str) -> Attr {
    Attr::N(text.into())
}

fn s(text: &str) -> Attr {
    Attr::S(text.into())
}

fn list(ty: Type) -> Type {
    Type::List(Box::new(ty))
}

fn set(ty: Type) -> Type {
    Type::Set(Box::new(ty))
}

fn map(key: Type, ty: Type) -> Type {
    Type::Map(Box::new(key), Box::new(ty))
}

fn double(value: f64) -> Value {
    Value::Double(value.into())
}

fn varint(text: &str) -> Value {
    Value::Varint(number::integer_bytes(text).unwrap())
}

/// What a value is when it is read back: short tuples and user-defined types have their missing
/// nulls, sets and maps of cells their order.
fn settled(value: Value, ty: &Type, multicell: bool) -> Value {
    match (value, ty) {
        (Value::Tuple(fields), Type::Tuple(types)) => Value::Tuple(padded(fields, types.iter())),
        (Value::Udt(fields), Type::Udt(udt)) => {
            Value::Udt(padded(fields, udt.fields.iter().map(|(_, ty)| ty)))
        }
        (Value::List(values), Type::List(ty)) => Value::List(settle_all(values, ty)),
        (Value::Vector(values), Type::Vector(ty, _)) => Value::Vector(settle_all(values, ty)),
        (Value::Set(values), Type::Set(ty)) => {
            let mut values = settle_all(values, ty);
            let odd = |value: &Value| matches!(value, Value::Raw(_) | Value::Empty);
            if multicell
                && types::native_set(ty) != types::NativeSet::None
                && !values.iter().any(odd)
            {
                values.sort_by(|a, b| keys::compare(ty, a, b));
                values.dedup();
            }
            Value::Set(values)
        }
        (Value::Map(pairs), Type::Map(key, ty)) => {
            let pairs = pairs.into_iter();
            let mut pairs: Vec<_> = pairs
                .map(|(k, v)| (settled(k, key, false), settled(v, ty, false)))
                .collect();
            if multicell && types::has_named_keys(key, true) {
                pairs.sort_by(|a, b| keys::compare(key, &a.0, &b.0));
            }
            Value::Map(pairs)
        }
        (value, _) => value,
    }
}

fn settle_all(values: Vec<Value>, ty: &Type) -> Vec<Value> {
    let values = values.into_iter();
    values.map(|value| settled(value, ty, false)).collect()
}

fn padded<'a>(
    fields: Vec<Option<Value>>,
    types: impl Iterator<Item = &'a Type>,
) -> Vec<Option<Value>> {
    let fields = fields.into_iter().chain(std::iter::repeat(None));
    let fields = fields.zip(types);
    fields
        .map(|(field, ty)| field.map(|value| settled(value, ty, false)))
        .collect()
}

/// Whether DynamoDB takes an attribute outside a key.
fn is_legal(attr: &Attr, depth: usize) -> bool {
    let distinct = |count: usize, texts: &mut Vec<Vec<u8>>| {
        texts.sort();
        texts.dedup();
        count > 0 && texts.len() == count
    };
    match attr {
        Attr::S(_) | Attr::B(_) | Attr::Bool(_) | Attr::Null => true,
        Attr::N(text) => !text.contains(['N', 'i']) && text.parse::<f64>().is_ok(),
        Attr::L(attrs) => depth < 31 && attrs.iter().all(|attr| is_legal(attr, depth + 1)),
        Attr::M(pairs) => {
            let mut names: Vec<_> = pairs.iter().map(|(name, _)| name.clone().into()).collect();
            let named = pairs.is_empty() || distinct(pairs.len(), &mut names);
            let inside = |(name, attr): &(String, Attr)| {
                (1..65_536).contains(&name.len()) && is_legal(attr, depth + 1)
            };
            named && depth < 31 && pairs.iter().all(inside)
        }
        Attr::Ss(texts) | Attr::Ns(texts) => {
            let mut members = texts.iter().map(|text| text.clone().into()).collect();
            distinct(texts.len(), &mut members)
        }
        Attr::Bs(binaries) => distinct(binaries.len(), &mut binaries.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_value_comes_back((ty, value) in arbitrary::typed(), is_frozen in any::<bool>()) {
        let mut v = column("v", ty.clone(), Role::Regular);
        v.frozen = is_frozen;
        let multicell = v.is_multicell();
        let mapping = mapping(vec![id(), v]);
        let item = mapping.item(row(vec![Some(value.clone())])).unwrap();
        for (name, attr) in &item {
            prop_assert!(is_legal(attr, 0), "{name}: {attr:?}");
        }
        let kept = item.iter().any(|(name, _)| name == "v");
        let read = mapping.row(item).unwrap();
        if kept {
            prop_assert_eq!(&read.cells, &[Some(settled(value, &ty, multicell))]);
        } else {
            prop_assert!(multicell);
        }
    }

    #[test]
    fn every_key_comes_back(
        parts in vec((arbitrary::key_ty(), 0..4_u8), 1..5).prop_flat_map(|types| {
            let part = |(ty, role): (Type, u8)| {
                let text = matches!(ty, Type::Text | Type::Ascii);
                let value = if text { arbitrary::plain(&ty) } else { arbitrary::value(&ty) };
                (Just(ty), Just(role), value)
            };
            types.into_iter().map(part).collect::<Vec<_>>()
        }),
        has_statics in any::<bool>(),
    ) {
        let mut columns = Vec::new();
        let mut key = Key::row(Vec::new(), Vec::new());
        for (at, (ty, role, value)) in parts.into_iter().enumerate() {
            let clustering = key.clustering.as_mut().unwrap();
            let role = match role {
                2 if at > 0 => Role::Clustering(Order::Asc),
                3 if at > 0 => Role::Clustering(Order::Desc),
                _ => Role::Partition,
            };
            match role {
                Role::Partition => key.partition.push(value),
                Role::Clustering(_) | Role::Static | Role::Regular => clustering.push(value),
            }
            columns.push(column(&format!("c{at}"), ty, role));
        }
        let has_statics = has_statics && !key.clustering.as_ref().unwrap().is_empty();
        if has_statics {
            columns.push(column("s", Type::Int, Role::Static));
        }
        let mapping = mapping(columns);
        let cells = vec![None; usize::from(has_statics)];
        match mapping.item(Row::new(key.clone(), cells)) {
            Ok(item) => {
                prop_assert_eq!(&mapping.row(item).unwrap().key, &key);
                if has_statics {
                    let key = Key::statics(key.partition);
                    let item = mapping.item(Row::new(key.clone(), vec![Some(Value::Int(1))]));
                    prop_assert_eq!(&mapping.row(item.unwrap()).unwrap().key, &key);
                }
            }
            // Empty values where a key attribute of its own can't be, and bytes against the type.
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Invalid);
                let odd = |value: &Value| {
                    matches!(value, Value::Empty | Value::Raw(_))
                        || matches!(value, Value::Text(text) if text.is_empty())
                        || matches!(value, Value::Blob(bytes) if bytes.is_empty())
                };
                let mut values = key.partition.iter().chain(key.clustering.iter().flatten());
                prop_assert!(values.any(odd), "{error}");
            }
        }
    }
}

#[test]
fn scalars_have_the_attributes_of_the_reference() {
    let uuid = *b"\x12\x34\x56\x78\x9a\xbc\x1d\xef\x80\x00\x00\x00\x00\x00\x00\xff";
    let decimal = |text: &str, scale| Value::Decimal {
        unscaled: number::integer_bytes(text).unwrap(),
        scale,
    };
    let ten_to = |zeros: usize| format!("1{}", "0".repeat(zeros));
    for (ty, value, attr) in [
        (Type::Text, Value::text("a\0\u{1F701}"), s("a\0\u{1F701}")),
        (Type::Text, Value::text(""), s("")),
        (
            Type::Text,
            Value::Raw(vec![0xff]),
            envelope("text", &[0xff]),
        ),
        (Type::Blob, Value::Blob(vec![]), Attr::B(vec![])),
        (Type::Int, Value::Int(i32::MIN), n("-2147483648")),
        (Type::Int, Value::Empty, envelope("int", &[])),
        (Type::Int, Value::Raw(vec![1]), envelope("int", &[1])),
        (Type::Counter, Value::BigInt(7), n("7")),
        (Type::Varint, varint(&"9".repeat(38)), n(&"9".repeat(38))),
        (Type::Varint, varint(&ten_to(50)), n(&ten_to(50))),
        (
            Type::Varint,
            Value::Varint(vec![0, 1]),
            envelope("varint", &[0, 1]),
        ),
        (
            Type::Varint,
            Value::Varint(vec![0xff, 0x80]),
            envelope("varint", &[0xff, 0x80]),
        ),
        (Type::Decimal, decimal("110", 2), s("110E-2")),
        (Type::Decimal, decimal("1", -400), s("1E400")),
        (Type::Decimal, decimal("0", i32::MIN), s("0E2147483648")),
        (Type::Double, double(0.1), n("0.1")),
        (
            Type::Double,
            double(-0.0),
            envelope("double", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            Type::Double,
            double(f64::INFINITY),
            envelope("double", &[0x7f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ),
        (Type::Float, Value::Float(0.1.into()), n("0.1")),
        (
            Type::Float,
            Value::Float(f32::MAX.into()),
            n("3.4028235e38"),
        ),
        (Type::Boolean, Value::Boolean(true), Attr::Bool(true)),
        (
            Type::Boolean,
            Value::Raw(vec![2]),
            envelope("boolean", &[2]),
        ),
        (
            Type::Uuid,
            Value::Uuid(uuid),
            s("12345678-9abc-1def-8000-0000000000ff"),
        ),
        (Type::Timestamp, Value::Timestamp(-1), n("-1")),
        (Type::Date, Value::Date(0), n("-2147483648")),
        (Type::Date, Value::Date(1 << 31), n("0")),
        (
            Type::Time,
            Value::Time(86_399_999_999_999),
            n("86399999999999"),
        ),
        (
            Type::Inet,
            Value::Inet("::ffff:10.0.0.9".parse().unwrap()),
            s("::ffff:10.0.0.9"),
        ),
        (
            Type::Custom("org.Odd".into()),
            Value::Blob(vec![1]),
            Attr::B(vec![1]),
        ),
    ] {
        assert_eq!(
            attr_of(&with_value(ty.clone()), value).unwrap(),
            attr,
            "{ty}"
        );
    }
    let wide = varint(&format!("1{}", "0".repeat(37) + "1"));
    let attr = attr_of(&with_value(Type::Varint), wide).unwrap();
    assert!(matches!(attr, Attr::M(_)), "{attr:?}");
    for out_of_range in [1e126, 9.9e-131, f64::MAX, f64::NAN, 5e-324] {
        let attr = attr_of(&with_value(Type::Double), double(out_of_range)).unwrap();
        assert!(matches!(attr, Attr::M(_)), "{out_of_range}: {attr:?}");
    }
}

#[test]
fn collections_have_the_attributes_of_the_reference() {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Value::text(*text))
            .collect::<Vec<_>>()
    };
    let strings = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let pair = |k: Attr, v: Attr| Attr::L(vec![k, v]);
    for (ty, value, attr) in [
        (
            list(Type::Int),
            Value::List(vec![Value::Int(1), Value::Empty]),
            Attr::L(vec![n("1"), envelope("int", &[])]),
        ),
        (
            set(Type::Text),
            Value::Set(texts(&["", "a"])),
            Attr::Ss(strings(&["", "a"])),
        ),
        (
            set(Type::Int),
            Value::Set(vec![Value::Int(-1), Value::Int(10), Value::Int(9)][..2].to_vec()),
            Attr::Ns(strings(&["-1", "10"])),
        ),
        (
            set(Type::Blob),
            Value::Set(vec![Value::Blob(vec![0]), Value::Blob(vec![0xff])]),
            Attr::Bs(vec![vec![0], vec![0xff]]),
        ),
        (
            set(Type::Int),
            Value::Set(vec![Value::Empty, Value::Int(1)]),
            envelope(
                "set<int>",
                &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1],
            ),
        ),
        (
            set(Type::Double),
            Value::Set(vec![double(-0.0), double(0.0)]),
            Attr::L(vec![
                envelope("double", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
                n("0.0"),
            ]),
        ),
        (
            map(Type::Text, Type::Int),
            Value::Map(vec![(Value::text("a.b"), Value::Int(1))]),
            Attr::M(vec![("a.b".into(), n("1"))]),
        ),
        (
            map(Type::Text, Type::Int),
            Value::Map(vec![(Value::text(""), Value::Int(1))]),
            Attr::L(vec![pair(s(""), n("1"))]),
        ),
        (
            map(Type::Int, Type::Int),
            Value::Map(vec![
                (Value::Int(9), Value::Int(1)),
                (Value::Int(10), Value::Int(2)),
            ]),
            Attr::M(vec![("9".into(), n("1")), ("10".into(), n("2"))]),
        ),
        (
            map(Type::Double, Type::Int),
            Value::Map(vec![(double(1.5), Value::Int(1))]),
            Attr::L(vec![pair(n("1.5"), n("1"))]),
        ),
        (
            map(Type::Text, Type::Int),
            Value::Raw(vec![9]),
            Attr::L(vec![Attr::B(vec![9])]),
        ),
        (
            list(Type::Int),
            Value::Raw(vec![9]),
            envelope("list<int>", &[9]),
        ),
        (
            Type::Tuple(vec![Type::Int, Type::Text]),
            Value::Tuple(vec![None, None]),
            Attr::L(vec![Attr::Null, Attr::Null]),
        ),
        (
            Type::Vector(Box::new(Type::Float), 1),
            Value::Vector(vec![Value::Float((-0.0).into())]),
            Attr::B(vec![0x80, 0, 0, 0]),
        ),
        (
            Type::Vector(Box::new(Type::Text), 2),
            Value::Vector(texts(&["a", "b"])),
            Attr::L(vec![s("a"), s("b")]),
        ),
    ] {
        assert_eq!(
            attr_of(&with_value(ty.clone()), value).unwrap(),
            attr,
            "{ty}"
        );
    }
}

#[test]
fn empty_is_null_only_where_elements_are_cells() {
    let address = Type::Udt(Arc::new(Udt {
        name: "address".into(),
        fields: vec![("street".into(), Type::Text), ("zip".into(), Type::Int)],
    }));
    let all_null = Value::Udt(vec![None, None]);
    for (ty, value, when_frozen) in [
        (list(Type::Int), Value::List(vec![]), Attr::L(vec![])),
        (set(Type::Text), Value::Set(vec![]), Attr::L(vec![])),
        (
            map(Type::Text, Type::Int),
            Value::Map(vec![]),
            Attr::M(vec![]),
        ),
        (address, all_null, Attr::M(vec![])),
    ] {
        assert_eq!(attr_of(&with_value(ty.clone()), value.clone()), None);
        let v = frozen(column("v", ty, Role::Regular));
        assert_eq!(attr_of(&mapping(vec![id(), v]), value), Some(when_frozen));
    }
}

#[test]
fn what_is_frozen_keeps_its_order() {
    let unsorted = Value::Map(vec![
        (Value::text("b"), Value::Int(1)),
        (Value::text("a"), Value::Int(2)),
    ]);
    let v = frozen(column("v", map(Type::Text, Type::Int), Role::Regular));
    let attr = attr_of(&mapping(vec![id(), v]), unsorted).unwrap();
    assert!(matches!(attr, Attr::L(_)), "{attr:?}");
    let v = frozen(column("v", set(Type::Text), Role::Regular));
    let unsorted = Value::Set(vec![Value::text("b"), Value::text("a"), Value::text("a")]);
    let attr = attr_of(&mapping(vec![id(), v]), unsorted).unwrap();
    assert_eq!(attr, Attr::L(vec![s("b"), s("a"), s("a")]));
}

#[test]
fn a_set_of_cells_is_sorted_and_says_each_member_once() {
    let mapping = with_value(set(Type::Int));
    let unsorted = [10, 9, 10].map(Value::Int).to_vec();
    let item = mapping.item(row(vec![Some(Value::Set(unsorted))])).unwrap();
    assert_eq!(item[1].1, Attr::Ns(vec!["9".into(), "10".into()]));
    // DynamoDB gives the members in any order.
    let item = vec![
        item[0].clone(),
        ("v".into(), Attr::Ns(vec!["10".into(), "9".into()])),
    ];
    let read = mapping.row(item).unwrap();
    assert_eq!(
        read.cells,
        [Some(Value::Set([9, 10].map(Value::Int).to_vec()))]
    );
}

#[test]
fn too_deep_values_go_whole_to_the_envelope() {
    let nested = |levels: usize| {
        let deep = |(ty, value): (Type, Value), _| (list(ty), Value::List(vec![value]));
        (0..levels).fold((Type::Int, Value::Int(1)), deep)
    };
    let (ty, value) = nested(31);
    assert!(matches!(attr_of(&with_value(ty), value), Some(Attr::L(_))));
    let (ty, value) = nested(32);
    assert!(matches!(attr_of(&with_value(ty), value), Some(Attr::M(_))));
}

#[test]
fn numbers_are_read_however_they_are_spelled() {
    let read = |ty: Type, text: &str| {
        let item = vec![("id".into(), s("k")), ("v".into(), n(text))];
        with_value(ty)
            .row(item)
            .map(|row| row.cells[0].clone().unwrap())
    };
    assert_eq!(read(Type::Int, "1E+1").unwrap(), Value::Int(10));
    assert_eq!(read(Type::Int, "-10.0").unwrap(), Value::Int(-10));
    assert_eq!(
        read(Type::Varint, "1E+20").unwrap(),
        varint("100000000000000000000")
    );
    assert_eq!(read(Type::Double, "1E+1").unwrap(), double(10.0));
    for (ty, text) in [
        (Type::Int, "1.5"),
        (Type::Int, "2147483648"),
        (Type::Date, "4294967296"),
    ] {
        let error = read(ty, text).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains("attribute v"), "{error}");
    }
}

#[test]
fn attributes_of_another_kind_are_corrupt() {
    for (ty, attr) in [
        (Type::Text, n("1")),
        (Type::Int, s("1")),
        (Type::Int, envelope("bigint", &[0; 8])),
        (Type::Boolean, Attr::Null),
        (list(Type::Int), Attr::L(vec![Attr::Null])),
        (Type::Tuple(vec![Type::Int]), Attr::L(vec![n("1"), n("2")])),
        (Type::Uuid, s("12345678-9abc")),
        (
            map(Type::Int, Type::Int),
            Attr::M(vec![("x".into(), n("1"))]),
        ),
    ] {
        let item = vec![("id".into(), s("k")), ("v".into(), attr)];
        let error = with_value(ty).row(item).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
}

#[test]
fn sizes_are_those_that_dynamodb_counts() {
    for (text, size) in [
        ("0", 1),
        ("1", 2),
        ("12", 2),
        ("123", 3),
        ("-1", 3),
        ("1.5", 3),
        ("1.0", 2),
        ("100", 2),
        ("1e2", 2),
        ("-2147483648", 7),
        ("9223372036854775807", 11),
        (&"9".repeat(38), 20),
        (&format!("-{}", "9".repeat(38)), 21),
    ] {
        assert_eq!(n(text).size(), size, "{text}");
    }
    assert_eq!(Attr::L(vec![]).size(), 3);
    assert_eq!(Attr::L(vec![s("a")]).size(), 5);
    assert_eq!(Attr::M(vec![("k".into(), s("a"))]).size(), 6);
    assert_eq!(Attr::L(vec![Attr::L(vec![])]).size(), 7);
    assert_eq!(Attr::Ss(vec!["a".into(), "bc".into()]).size(), 3);
    assert_eq!(
        item_size(&[("id".into(), s("k")), ("v".into(), Attr::Null)]),
        5
    );
}

#[test]
fn items_over_the_limit_are_refused_with_their_biggest_column() {
    let mapping = mapping(vec![
        id(),
        column("big", Type::Blob, Role::Regular),
        column("small", Type::Text, Role::Regular),
    ]);
    // id k big small + x = 3 + 3 + 6
    let of = |bytes: usize| {
        let cells = vec![Some(Value::Blob(vec![0; bytes])), Some(Value::text("x"))];
        mapping.item(row(cells))
    };
    assert_eq!(item_size(&of(ITEM_LIMIT - 12).unwrap()), ITEM_LIMIT);
    let error = of(ITEM_LIMIT - 11).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    for part in ["409601", "big", "409589"] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn values_of_another_type_and_rows_of_another_shape_are_refused() {
    let mapping = with_value(Type::Int);
    let error = mapping.item(row(vec![Some(Value::text("1"))])).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains('v'), "{error}");
    for cells in [vec![], vec![None, None]] {
        assert_eq!(mapping.item(row(cells)).unwrap_err().kind(), Kind::Invalid);
    }
    let nested = with_value(list(set(Type::Int)));
    let value = Value::List(vec![Value::Set(vec![Value::text("1")])]);
    assert!(nested.item(row(vec![Some(value)])).is_err());
}

#[test]
fn marks_and_expiry_come_back() {
    let mut table = Table::new("t", vec![id(), column("v", Type::Int, Role::Regular)]);
    table.layout.expiry_attribute = Some("expires_at".into());
    let mapping = Mapping::new(&table).unwrap();
    let mut expiring = row(vec![Some(Value::Int(1))]);
    expiring.expires = Some(1_800_000_000);
    expiring.mark = Some(Mark::Copied);
    let item = mapping.item(expiring.clone()).unwrap();
    assert!(item.contains(&("_m".into(), s("c"))));
    assert!(item.contains(&("expires_at".into(), n("1800000000"))));
    assert_eq!(mapping.row(item).unwrap(), expiring);
    let error = with_value(Type::Int).item(expiring).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.next_step().unwrap().contains("expiry"));

    let foreign = vec![("id".into(), s("k")), ("new_column".into(), s("x"))];
    assert_eq!(mapping.row(foreign).unwrap(), row(vec![None]));
    let odd = vec![("id".into(), s("k")), ("_m".into(), s("z"))];
    assert_eq!(mapping.row(odd).unwrap_err().kind(), Kind::Corrupt);
}

fn asc(name: &str, ty: Type) -> Column {
    column(name, ty, Role::Clustering(Order::Asc))
}

fn desc(name: &str, ty: Type) -> Column {
    column(name, ty, Role::Clustering(Order::Desc))
}

#[test]
fn key_attributes_are_the_columns_own_where_they_can_be() {
    let own = |ty: Type| {
        let mapping = mapping(vec![column("k", ty, Role::Partition)]);
        let key = mapping.partition().clone();
        assert_eq!(key.made, key.name == "pk");
        (key.ty, key.made)
    };
    for ty in [
        Type::TinyInt,
        Type::BigInt,
        Type::Date,
        Type::Time,
        Type::Timestamp,
    ] {
        assert_eq!(own(ty), (KeyType::N, false));
    }
    for ty in [
        Type::Text,
        Type::Ascii,
        Type::Uuid,
        Type::TimeUuid,
        Type::Inet,
        Type::Decimal,
    ] {
        assert_eq!(own(ty), (KeyType::S, false));
    }
    assert_eq!(own(Type::Blob), (KeyType::B, false));
    for ty in [Type::Varint, Type::Double, Type::Boolean, set(Type::Int)] {
        assert_eq!(own(ty), (KeyType::S, true));
    }

    let sort = |columns: Vec<Column>| {
        let mapping = mapping([vec![id()], columns].concat());
        let sort = mapping.sort().unwrap().clone();
        assert_eq!(sort.made, sort.name == "sk");
        (sort.ty, sort.made, mapping.is_reversed())
    };
    assert_eq!(sort(vec![asc("c", Type::Int)]), (KeyType::N, false, false));
    assert_eq!(sort(vec![desc("c", Type::Int)]), (KeyType::N, false, true));
    assert_eq!(sort(vec![asc("c", Type::Text)]), (KeyType::S, false, false));
    assert_eq!(sort(vec![asc("c", Type::Blob)]), (KeyType::B, true, false));
    assert_eq!(
        sort(vec![desc("c", Type::TimeUuid)]),
        (KeyType::B, true, true)
    );
    let statics = column("s", Type::Int, Role::Static);
    assert_eq!(
        sort(vec![asc("c", Type::Int), statics]),
        (KeyType::B, true, false)
    );
    let both = |a: fn(&str, Type) -> Column, b: fn(&str, Type) -> Column| {
        sort(vec![a("a", Type::Int), b("b", Type::Int)])
    };
    assert_eq!(both(asc, desc), (KeyType::B, true, false));
    assert_eq!(both(desc, desc), (KeyType::B, true, true));
    assert!(mapping(vec![id()]).sort().is_none());
}

#[test]
fn a_key_that_is_named_is_made() {
    let mut table = Table::new("t", vec![id(), asc("c", Type::Text)]);
    table.layout.sort_attribute = Some("range".into());
    table.layout.partition_attribute = Some("hash".into());
    let mapping = Mapping::new(&table).unwrap();
    let row = Row::new(
        Key::row(vec![Value::text("a#b")], vec![Value::text("")]),
        vec![],
    );
    let item = mapping.item(row.clone()).unwrap();
    assert_eq!(
        item,
        [
            ("hash".into(), s("a#b")),
            ("range".into(), Attr::B(vec![2, 0, 1])),
            ("id".into(), s("a#b")),
            ("c".into(), s("")),
        ]
    );
    assert_eq!(mapping.row(item).unwrap(), row);
}

#[test]
fn keys_that_no_attribute_can_hold_are_refused() {
    let by_text = mapping(vec![id(), asc("c", Type::Text)]);
    let by_int = mapping(vec![id(), asc("c", Type::Int)]);
    let key = |id: &str, c: Value| Key::row(vec![Value::text(id)], vec![c]);
    for (mapping, c) in [(&by_text, Value::text("")), (&by_int, Value::Empty)] {
        let error = mapping.key(&key("a", c)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains("column c is empty"), "{error}");
        assert!(
            error.next_step().unwrap().contains("sort = \"sk\""),
            "{error}"
        );
    }
    let long = "x".repeat(1025);
    assert!(
        by_text
            .key(&key(&long[1..], Value::text(&long[1..])))
            .is_ok()
    );
    let error = by_text.key(&key("a", Value::text(&long))).unwrap_err();
    assert!(
        error.message().contains("1025") && error.message().contains("1024"),
        "{error}"
    );
    let twice = long.repeat(2);
    let error = by_text.key(&key(&twice, Value::text("c"))).unwrap_err();
    assert!(
        error.message().contains("2050") && error.message().contains("2048"),
        "{error}"
    );
    for wrong in [
        Key::statics(vec![Value::text("a")]),
        Key::row(vec![Value::text("a")], vec![]),
        Key::row(vec![], vec![Value::text("c")]),
        key("a", Value::Int(1)),
    ] {
        assert_eq!(by_text.key(&wrong).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn the_static_row_stands_first() {
    let mapping = mapping(vec![
        id(),
        asc("c", Type::Int),
        column("s", Type::Int, Role::Static),
        column("v", Type::Int, Role::Regular),
    ]);
    let statics = Row::new(
        Key::statics(vec![Value::text("a")]),
        vec![Some(Value::Int(1)), None],
    );
    let item = mapping.item(statics.clone()).unwrap();
    assert_eq!(
        item[..2],
        [("id".into(), s("a")), ("sk".into(), Attr::B(vec![0]))]
    );
    assert_eq!(mapping.row(item).unwrap(), statics);
}

#[test]
fn a_sort_key_and_its_columns_must_agree() {
    let mapping = mapping(vec![id(), asc("c", Type::Decimal)]);
    let decimal = |unscaled: u8, scale| Value::Decimal {
        unscaled: vec![unscaled],
        scale,
    };
    let row = Row::new(
        Key::row(vec![Value::text("a")], vec![decimal(10, 1)]),
        vec![],
    );
    let item = mapping.item(row.clone()).unwrap();
    assert_eq!(mapping.row(item.clone()).unwrap(), row);
    // Without the column's own attribute the sort key says an equal value.
    let read = mapping.row(item[..2].to_vec()).unwrap();
    assert_eq!(read.key.clustering.unwrap(), [decimal(1, 0)]);
    let mut other = item;
    other[2].1 = s("2E0");
    assert_eq!(mapping.row(other).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn all_clashes_are_told_at_once() {
    let mut table = Table::new(
        "t",
        vec![
            column("sk", Type::Text, Role::Partition),
            column("b", Type::Int, Role::Partition),
            asc("c", Type::Blob),
            column("_m", Type::Int, Role::Regular),
            column("_w_n", Type::Int, Role::Regular),
            column("n", Type::Counter, Role::Regular),
            column("ttl", Type::Int, Role::Regular),
        ],
    );
    table.layout.expiry_attribute = Some("ttl".into());
    let error = Mapping::new(&table).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    for name in ["name sk ", "name _m ", "name _w_n ", "name ttl "] {
        assert!(error.message().contains(name), "{name}: {error}");
    }
    assert!(!error.message().contains("name pk "), "{error}");

    table.layout = Layout {
        partition_attribute: Some("p".repeat(256)),
        sort_attribute: Some("range".into()),
        reserved_prefix: "__".into(),
        expiry_attribute: None,
    };
    let error = Mapping::new(&table).unwrap_err();
    assert!(
        error.message().contains("256") && !error.message().contains(';'),
        "{error}"
    );
    table.layout.partition_attribute = Some("hash".into());
    assert!(Mapping::new(&table).is_ok());

    let mut plain = Table::new("t", vec![id()]);
    plain.layout.sort_attribute = Some("sk".into());
    assert!(Mapping::new(&plain).is_err());
    let spans = Table::new("t", vec![column("d", Type::Duration, Role::Partition)]);
    assert!(Mapping::new(&spans).is_err());
}

#[test]
fn the_report_says_what_becomes_of_each_column() {
    let mapping = mapping(vec![
        id(),
        asc("at", Type::TimeUuid),
        column("s", Type::Int, Role::Static),
        column("tags", set(Type::Text), Role::Regular),
        column("pairs", map(Type::Double, Type::Int), Role::Regular),
        column("price", Type::Decimal, Role::Regular),
    ]);
    let report = mapping.describe();
    let forms: Vec<_> = report
        .iter()
        .map(|line| (line.column.as_str(), line.form.as_str()))
        .collect();
    assert_eq!(
        forms,
        [
            ("id", "S, the key"),
            ("at", "S, and part of key sk"),
            ("s", "N"),
            ("pairs", "L of L"),
            ("price", "S"),
            ("tags", "SS"),
        ]
    );
    assert!(report[4].note.contains("scale"));
    assert_eq!(report[5].cql_type, "set<text>");
}

/// The examples that applications in other languages test themselves with. They were made by another
/// program, from the README's page on keys.
#[cfg(feature = "_store")]
#[test]
fn keys_are_those_of_the_fixture() {
    let fixture = include_str!("../../tests/fixtures/keys.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let mut rows = 0;
    for table in fixture["tables"].as_array().unwrap() {
        let mapping = fixture_mapping(table);
        let table_columns = &mapping.table().columns;
        for row in table["rows"].as_array().unwrap() {
            let value = |column: &Column| {
                let digits = row["key"][&column.name].as_str().unwrap();
                let bytes = text::of_hex(digits.strip_prefix("0x").unwrap()).unwrap();
                crate::cql::decode(&column.ty, &bytes)
            };
            let values = |columns: &[Column]| columns.iter().map(value).collect();
            let is_static = row["static"].as_bool() == Some(true);
            let key = Key {
                partition: values(mapping.table().partition()),
                clustering: (!is_static).then(|| values(mapping.table().clustering())),
            };
            let attributes = mapping.key(&key).unwrap();
            let item: serde_json::Map<_, _> = attributes.into_iter().map(as_json).collect();
            assert_eq!(
                serde_json::Value::from(item),
                row["item"],
                "{}",
                table["about"]
            );

            let cells = vec![None; mapping.table().cells().len()];
            let item = mapping.item(Row::new(key.clone(), cells)).unwrap();
            assert_eq!(mapping.row(item).unwrap().key, key, "{table_columns:?}");
            rows += 1;
        }
    }
    assert!(rows >= 35, "{rows}");
}

#[cfg(feature = "_store")]
fn fixture_mapping(table: &serde_json::Value) -> Mapping {
    let columns = table["columns"].as_array().unwrap().iter().map(|field| {
        let text = |name: &str| field[name].as_str().unwrap();
        let role = match text("role") {
            "partition" => Role::Partition,
            "ascending" => Role::Clustering(Order::Asc),
            "descending" => Role::Clustering(Order::Desc),
            "static" => Role::Static,
            role => {
                assert_eq!(role, "regular");
                Role::Regular
            }
        };
        column(
            text("name"),
            Type::parse(text("type"), &[]).unwrap().0,
            role,
        )
    });
    let mut schema = Table::new("t", columns.collect());
    let named = |part: &str| Some(table["keys"][part].as_str()?.to_owned());
    schema.layout.partition_attribute = named("partition");
    schema.layout.sort_attribute = named("sort");
    Mapping::new(&schema).unwrap()
}

#[cfg(feature = "_store")]
fn as_json((name, attr): (String, Attr)) -> (String, serde_json::Value) {
    let attr = match attr {
        Attr::S(text) => serde_json::json!({ "S": text }),
        Attr::N(number) => serde_json::json!({ "N": number }),
        Attr::B(bytes) => serde_json::json!({ "B": text::hex(&bytes) }),
        other => serde_json::json!(format!("{other:?} is in no key")),
    };
    (name, attr)
}
