#![allow(clippy::unwrap_used, clippy::panic)]

use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::arbitrary::{self, KEY_SCALARS};
use crate::codec::canonical::trimmed;
use crate::codec::ordered::compare;

fn column(name: &str, ty: &Type, role: Role) -> Column {
    Column {
        name: name.into(),
        ty: ty.clone(),
        frozen: true,
        role,
    }
}

fn columns(types: &[Type]) -> Vec<Column> {
    let columns = types.iter().enumerate();
    columns
        .map(|(at, ty)| column(&format!("c{at}"), ty, Role::Partition))
        .collect()
}

fn component(ty: &Type, order: Order, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_component(ty, order, value, &mut out).unwrap();
    out
}

/// Two keys of the same columns: often alike, so that near misses are tried.
fn two_keys() -> impl Strategy<Value = (Vec<Type>, Vec<Value>, Vec<Value>)> {
    vec(arbitrary::key_ty(), 1..4).prop_flat_map(|types| {
        let part = |ty: &Type| {
            let text = matches!(ty, Type::Text | Type::Ascii);
            let value = if text {
                arbitrary::plain(ty)
            } else {
                arbitrary::value(ty)
            };
            (value.clone(), value, any::<bool>())
        };
        let parts: Vec<_> = types.iter().map(part).collect();
        parts.prop_map(move |parts| {
            let one = parts.iter().map(|(a, _, _)| a.clone()).collect();
            let other = parts
                .into_iter()
                .map(|(a, b, same)| if same { a } else { b });
            (types.clone(), one, other.collect())
        })
    })
}

/// Cassandra's order of a clustering column, written down once more without the encoding.
fn cassandra_order(ty: &Type, a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Empty, Value::Empty) => Ordering::Equal,
        (Value::Empty, _) => Ordering::Less,
        (_, Value::Empty) => Ordering::Greater,
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        (Value::TinyInt(a), Value::TinyInt(b)) => a.cmp(b),
        (Value::SmallInt(a), Value::SmallInt(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::BigInt(a), Value::BigInt(b))
        | (Value::Timestamp(a), Value::Timestamp(b))
        | (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => match (a.get().is_nan(), b.get().is_nan()) {
            (true, true) => Ordering::Equal,
            (false, false) => a.get().total_cmp(&b.get()),
            (a, b) => a.cmp(&b),
        },
        (Value::Double(a), Value::Double(b)) => match (a.get().is_nan(), b.get().is_nan()) {
            (true, true) => Ordering::Equal,
            (false, false) => a.get().total_cmp(&b.get()),
            (a, b) => a.cmp(&b),
        },
        (Value::Inet(a), Value::Inet(b)) => {
            cql::to_bytes(&Value::Inet(*a), ty).cmp(&cql::to_bytes(&Value::Inet(*b), ty))
        }
        (Value::Varint(a), Value::Varint(b)) => small(a).cmp(&small(b)),
        (
            Value::Decimal {
                unscaled: a,
                scale: sa,
            },
            Value::Decimal {
                unscaled: b,
                scale: sb,
            },
        ) => {
            let widened = |unscaled: &[u8], scale: &i32| {
                small(unscaled) * 10_i128.pow(u32::try_from(12 - scale).unwrap())
            };
            widened(a, sa).cmp(&widened(b, sb))
        }
        (Value::Uuid(a), Value::Uuid(b)) => {
            let time = |uuid: &[u8; 16]| {
                let part = |from: usize, to: usize| {
                    uuid[from..to]
                        .iter()
                        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
                };
                (part(6, 8) & 0xfff) << 48 | part(4, 6) << 32 | part(0, 4)
            };
            let signed = |uuid: &[u8; 16]| uuid[8..].iter().map(|b| *b as i8).collect::<Vec<_>>();
            let version = |uuid: &[u8; 16]| uuid[6] >> 4;
            match ty {
                Type::TimeUuid => time(a)
                    .cmp(&time(b))
                    .then_with(|| signed(a).cmp(&signed(b))),
                _ if version(a) != version(b) => version(a).cmp(&version(b)),
                _ if version(a) == 1 => time(a).cmp(&time(b)).then_with(|| a[8..].cmp(&b[8..])),
                _ => a.cmp(b),
            }
        }
        (Value::Tuple(a), Value::Tuple(b)) | (Value::Udt(a), Value::Udt(b))
            if a.is_empty() || b.is_empty() =>
        {
            a.is_empty().cmp(&b.is_empty()).reverse()
        }
        (Value::Tuple(a), Value::Tuple(b)) | (Value::Udt(a), Value::Udt(b)) => {
            let field = |(at, ty): (usize, &Type)| match [a, b]
                .map(|fields| fields.get(at).unwrap_or(&None))
            {
                [Some(a), Some(b)] => cassandra_order(ty, a, b),
                [a, b] => a.is_some().cmp(&b.is_some()),
            };
            let fields = ty.inside().into_iter().enumerate().map(field);
            fields.fold(Ordering::Equal, Ordering::then)
        }
        (Value::List(a), Value::List(b))
        | (Value::Set(a), Value::Set(b))
        | (Value::Vector(a), Value::Vector(b)) => {
            let members = a.iter().zip(b);
            let order = members.map(|(a, b)| cassandra_order(ty.inside()[0], a, b));
            order
                .fold(Ordering::Equal, Ordering::then)
                .then(a.len().cmp(&b.len()))
        }
        (Value::Map(a), Value::Map(b)) => {
            let pair = |((ka, va), (kb, vb)): (&(Value, Value), &(Value, Value))| {
                let key = cassandra_order(ty.inside()[0], ka, kb);
                key.then_with(|| cassandra_order(ty.inside()[1], va, vb))
            };
            let order = a.iter().zip(b).map(pair);
            order
                .fold(Ordering::Equal, Ordering::then)
                .then(a.len().cmp(&b.len()))
        }
        _ => panic!("no order for {a:?} and {b:?}"),
    }
}

fn small(bytes: &[u8]) -> i128 {
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    bytes
        .iter()
        .fold(sign, |n, byte| n << 8 | i128::from(*byte))
}

/// Values whose order [`cassandra_order`] can tell.
fn ordered(ty: &Type) -> BoxedStrategy<Value> {
    let number = || vec(any::<u8>(), 1..9);
    let value = match ty {
        Type::Varint => vec(any::<u8>(), 1..15).prop_map(Value::Varint).boxed(),
        Type::Decimal => (number(), -6..13_i32)
            .prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale })
            .boxed(),
        Type::List(element) => vec(ordered(element), 0..3).prop_map(Value::List).boxed(),
        Type::Set(element) => vec(ordered(element), 0..3).prop_map(Value::Set).boxed(),
        Type::Vector(element, dimension) => vec(ordered(element), usize::from(*dimension))
            .prop_map(Value::Vector)
            .boxed(),
        Type::Map(key, element) => vec((ordered(key), ordered(element)), 0..3)
            .prop_map(Value::Map)
            .boxed(),
        Type::Tuple(types) => ordered_fields(types.iter()).prop_map(Value::Tuple).boxed(),
        Type::Udt(udt) => ordered_fields(udt.fields.iter().map(|(_, ty)| ty))
            .prop_map(Value::Udt)
            .boxed(),
        // Values that are often alike, so that what is after them counts too.
        Type::Text => prop::sample::select(vec!["", "a", "b", "aa", "\0"])
            .prop_map(Value::text)
            .boxed(),
        Type::TinyInt => (-1_i8..2).prop_map(Value::TinyInt).boxed(),
        _ => arbitrary::plain(ty),
    };
    match ty {
        Type::Text | Type::Ascii | Type::Blob | Type::Tuple(_) | Type::Udt(_) => value,
        _ => prop_oneof![9 => value, 1 => Just(Value::Empty)].boxed(),
    }
}

fn ordered_fields<'a>(types: impl Iterator<Item = &'a Type>) -> BoxedStrategy<Vec<Option<Value>>> {
    let fields: Vec<_> = types.map(|ty| proptest::option::of(ordered(ty))).collect();
    let count = fields.len();
    (fields, 0..=count)
        .prop_map(|(mut fields, count)| {
            fields.truncate(count);
            fields
        })
        .boxed()
}

fn ordered_pair() -> impl Strategy<Value = (Type, Value, Value)> {
    let scalars = prop::sample::select(KEY_SCALARS.to_vec());
    // Short texts and small numbers meet often.
    let near = prop::sample::select(vec![Type::Text, Type::TinyInt]);
    let near = prop_oneof![
        vec(near.clone(), 1..4).prop_map(Type::Tuple),
        near.clone().prop_map(|ty| Type::List(Box::new(ty))),
        (near.clone(), near).prop_map(|(key, ty)| Type::Map(Box::new(key), Box::new(ty))),
    ];
    let types = prop_oneof![2 => scalars, 1 => near, 1 => arbitrary::key_ty_of_others()];
    types.prop_flat_map(|ty| {
        let pair = (ordered(&ty), ordered(&ty));
        pair.prop_map(move |(a, b)| (ty.clone(), a, b))
    })
}

fn direction() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::Asc, Order::Desc])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn different_partitions_have_different_texts((types, one, other) in two_keys()) {
        let columns = columns(&types);
        let same = cql::partition_bytes(&columns, &one) == cql::partition_bytes(&columns, &other);
        let texts = [&one, &other].map(|key| partition_text(&columns, key).unwrap());
        prop_assert_eq!(texts[0] == texts[1], same);
        prop_assert_eq!(partition_values(&columns, &texts[0]).unwrap(), one);
    }

    #[test]
    fn components_order_as_cassandra_does((ty, a, b) in ordered_pair()) {
        let expected = cassandra_order(&ty, &a, &b);
        let bytes = |order| component(&ty, order, &a).cmp(&component(&ty, order, &b));
        prop_assert_eq!(bytes(Order::Asc), expected);
        prop_assert_eq!(bytes(Order::Desc), expected.reverse());
        prop_assert_eq!(compare(&ty, &a, &b), expected);
    }

    #[test]
    fn sort_keys_order_column_by_column(
        columns in vec((ordered_pair(), direction(), any::<bool>()), 1..4),
    ) {
        let table: Vec<Column> = columns
            .iter()
            .map(|((ty, _, _), order, _)| column("c", ty, Role::Clustering(*order)))
            .collect();
        let one: Vec<Value> = columns.iter().map(|((_, a, _), _, _)| a.clone()).collect();
        let other: Vec<Value> = columns
            .iter()
            .map(|((_, a, b), _, same)| if *same { a.clone() } else { b.clone() })
            .collect();
        let mut expected = Ordering::Equal;
        for (((ty, _, _), order, _), (a, b)) in columns.iter().zip(one.iter().zip(&other)) {
            let by_value = cassandra_order(ty, a, b);
            expected = expected.then(match order {
                Order::Asc => by_value,
                Order::Desc => by_value.reverse(),
            });
        }
        if is_reversed(&table) {
            expected = expected.reverse();
        }
        let bytes = |values: &[Value]| sort_bytes(&table, values).unwrap();
        prop_assert_eq!(bytes(&one).cmp(&bytes(&other)), expected);
        prop_assert!(STATIC_SORT_KEY < bytes(&one).as_slice());
    }

    #[test]
    fn components_say_where_they_end(
        (ty, value) in arbitrary::key_ty().prop_flat_map(|ty| {
            let value = arbitrary::plain(&ty);
            (Just(ty), value)
        }),
        order in direction(),
        tail in vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = component(&ty, order, &value);
        let length = bytes.len();
        bytes.extend_from_slice(&tail);
        let (read, rest) = decode_component(&ty, order, &bytes).unwrap();
        prop_assert_eq!(rest, tail.as_slice());
        if is_exact(&ty) {
            prop_assert_eq!(&read, &trimmed(&ty, value));
        }
        // What was read is equal in order to what was written.
        prop_assert_eq!(component(&ty, order, &read), &bytes[..length]);
        prop_assert!(decode_component(&ty, order, &bytes[..length - 1]).is_none());
    }
}

#[test]
fn escapes_keep_parts_apart() {
    let columns = columns(&[Type::Text, Type::Text]);
    let text =
        |a: &str, b: &str| partition_text(&columns, &[Value::text(a), Value::text(b)]).unwrap();
    assert_eq!(text("a", "b"), "a#b");
    assert_eq!(text("a#", "b"), r"a\##b");
    assert_eq!(text("a", "#b"), r"a#\#b");
    assert_eq!(text(r"a\", "b"), r"a\\#b");
    assert_eq!(text("", ""), "#");
    assert_eq!(partition_values(&columns, "a#b#c"), None);
    assert_eq!(partition_values(&columns, r"a#b\"), None);
}

#[test]
fn decimals_as_the_reference_writes_them() {
    let decimal = |text: &str, scale| Value::Decimal {
        unscaled: crate::codec::number::integer_bytes(text).unwrap(),
        scale,
    };
    let bytes = |value: &Value| component(&Type::Decimal, Order::Asc, value);
    let of_123_4 = [2, 3, 0x80, 0, 0, 0, 0, 0, 0, 3, 0x0d, 0x23, 0];
    assert_eq!(bytes(&decimal("1234", 1)), of_123_4);
    assert_eq!(bytes(&decimal("123400", 3)), of_123_4);
    let negated: Vec<u8> = of_123_4[2..].iter().map(|byte| !byte).collect();
    assert_eq!(
        bytes(&decimal("-1234", 1)),
        [&[2, 1][..], &negated].concat()
    );
    assert_eq!(bytes(&decimal("0", 5)), [2, 2]);
    // The scale is as small as it gets, so the zeros can't move into it.
    let (read, _) =
        decode_component(&Type::Decimal, Order::Asc, &bytes(&decimal("10", i32::MIN))).unwrap();
    assert_eq!(read, decimal("10", i32::MIN));
}

#[test]
fn what_has_no_place_in_a_key_is_refused() {
    let mut out = vec![7];
    for (ty, value) in [
        (Type::Int, Value::BigInt(1)),
        (Type::Int, Value::Raw(vec![1])),
        (Type::Text, Value::Raw(vec![0xff])),
        (Type::Varint, Value::Varint(vec![1; 0x8000])),
    ] {
        assert!(encode_component(&ty, Order::Asc, &value, &mut out).is_err());
        assert_eq!(out, [7]);
    }
    for (ty, value) in [
        (Type::Int, Value::BigInt(1)),
        (Type::Text, Value::Raw(vec![0xff])),
    ] {
        assert!(partition_text(&columns(&[ty]), &[value]).is_err());
    }
    let one = columns(&[Type::Int]);
    assert!(partition_text(&one, &[]).is_err());
    assert!(sort_bytes(&one, &[Value::Int(1), Value::Int(2)]).is_err());
}

#[test]
fn a_boolean_that_is_neither_is_true_in_a_sort_key() {
    let bytes = component(&Type::Boolean, Order::Asc, &Value::Raw(vec![2]));
    assert_eq!(
        bytes,
        component(&Type::Boolean, Order::Asc, &Value::Boolean(true))
    );
}

#[test]
fn members_and_fields_as_the_docs_write_them() {
    let bytes =
        |ty: &Type, value: &Value| crate::codec::text::hex(&component(ty, Order::Asc, value));
    let pair = Type::Tuple(vec![Type::TinyInt, Type::Text]);
    let tuple = |fields: &[Option<Value>]| bytes(&pair, &Value::Tuple(fields.to_vec()));
    let one = Some(Value::TinyInt(1));
    assert_eq!(tuple(&[]), "01");
    assert_eq!(tuple(&[None]), "0200");
    assert_eq!(tuple(&[None, None]), "0200");
    assert_eq!(tuple(&[one.clone(), None]), "0202028100");
    assert_eq!(tuple(std::slice::from_ref(&one)), "0202028100");
    assert_eq!(
        tuple(&[None, Some(Value::text("a"))]),
        "020102026100".to_owned() + "0100"
    );
    let list = Type::List(Box::new(Type::TinyInt));
    assert_eq!(bytes(&list, &Value::List(vec![])), "0200");
    assert_eq!(
        bytes(
            &list,
            &Value::List(vec![Value::TinyInt(1), Value::TinyInt(-1)])
        ),
        "020281027f00"
    );
    let map = Type::Map(Box::new(Type::TinyInt), Box::new(Type::TinyInt));
    let entry = (Value::TinyInt(1), Value::TinyInt(-1));
    assert_eq!(bytes(&map, &Value::Map(vec![entry])), "020281027f00");
    let vector = Type::Vector(Box::new(Type::TinyInt), 2);
    let both = vec![Value::TinyInt(1), Value::TinyInt(-1)];
    assert_eq!(bytes(&vector, &Value::Vector(both)), "020281027f");
    // A list with a null in it.
    let raw = vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    let encoded = component(&list, Order::Desc, &Value::Raw(raw.clone()));
    let decoded = decode_component(&list, Order::Desc, &encoded).unwrap();
    assert_eq!(decoded, (Value::Raw(raw), &[][..]));
    assert_eq!(encoded[0], !3);
}
