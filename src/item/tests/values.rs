use std::sync::Arc;

use super::*;

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
    let item = mapping
        .item(&row(vec![Some(Value::Set(unsorted))]))
        .unwrap();
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
