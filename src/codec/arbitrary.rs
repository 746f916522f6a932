//! Types and values for property tests.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::codec::cql;
use crate::model::{F32, F64, Value};
use crate::schema::{Type, Udt};

/// Every scalar type that a key can have.
pub(crate) const KEY_SCALARS: [Type; 18] = [
    Type::Ascii,
    Type::Text,
    Type::TinyInt,
    Type::SmallInt,
    Type::Int,
    Type::BigInt,
    Type::Varint,
    Type::Decimal,
    Type::Float,
    Type::Double,
    Type::Boolean,
    Type::Blob,
    Type::Uuid,
    Type::TimeUuid,
    Type::Timestamp,
    Type::Date,
    Type::Time,
    Type::Inet,
];

fn scalar() -> impl Strategy<Value = Type> {
    let mut scalars = KEY_SCALARS.to_vec();
    scalars.extend([Type::Duration, Type::Custom("org.example.Odd".into())]);
    select(scalars)
}

/// Any type, a few levels deep.
pub(crate) fn ty() -> impl Strategy<Value = Type> {
    let vectors = (1_u16..4).prop_map(|n| Type::Vector(Box::new(Type::Float), n));
    scalar().prop_recursive(
        3,
        12,
        3,
        move |inner| prop_oneof![6 => of_others(inner), 1 => vectors.clone()],
    )
}

/// A type that a key can have, often a scalar.
pub(crate) fn key_ty() -> impl Strategy<Value = Type> {
    prop_oneof![8 => select(KEY_SCALARS.to_vec()), 3 => key_ty_of_others()]
}

/// A type that a key can have and that holds others.
pub(crate) fn key_ty_of_others() -> impl Strategy<Value = Type> {
    let scalars = select(KEY_SCALARS.to_vec());
    let within = scalars.prop_recursive(1, 4, 2, of_others);
    of_others(within.boxed())
}

fn of_others(inner: BoxedStrategy<Type>) -> BoxedStrategy<Type> {
    let udt = vec(inner.clone(), 1..4).prop_map(|types| {
        let fields = types.into_iter().enumerate();
        Type::Udt(Arc::new(Udt {
            name: "odd".into(),
            fields: fields.map(|(at, ty)| (format!("f{at}"), ty)).collect(),
        }))
    });
    prop_oneof![
        inner.clone().prop_map(|ty| Type::List(Box::new(ty))),
        inner.clone().prop_map(|ty| Type::Set(Box::new(ty))),
        (inner.clone(), inner.clone()).prop_map(|(key, ty)| Type::Map(Box::new(key), Box::new(ty))),
        vec(inner.clone(), 1..4).prop_map(Type::Tuple),
        udt,
        (inner, 1_u16..4).prop_map(|(ty, n)| Type::Vector(Box::new(ty), n)),
    ]
    .boxed()
}

/// Any value that the server can hold in a column of this type: empty ones and bytes that don't
/// follow the type included.
pub(crate) fn value(ty: &Type) -> BoxedStrategy<Value> {
    let odd = {
        let ty = ty.clone();
        vec(any::<u8>(), 0..20).prop_map(move |bytes| cql::decode(&ty, &bytes))
    };
    let empty = cql::decode(ty, &[]);
    prop_oneof![8 => plain(ty), 1 => odd, 1 => Just(empty)].boxed()
}

/// A type and a value of it.
pub(crate) fn typed() -> impl Strategy<Value = (Type, Value)> {
    ty().prop_flat_map(|ty| value(&ty).prop_map(move |value| (ty.clone(), value)))
}

/// A value that follows its type.
pub(crate) fn plain(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Ascii => vec(0_u8..128, 0..9)
            .prop_map(|bytes| Value::text(String::from_utf8(bytes).unwrap()))
            .boxed(),
        Type::Text => text().prop_map(Value::Text).boxed(),
        Type::Blob | Type::Custom(_) => bytes(0..9).prop_map(Value::Blob).boxed(),
        Type::TinyInt => any::<i8>().prop_map(Value::TinyInt).boxed(),
        Type::SmallInt => any::<i16>().prop_map(Value::SmallInt).boxed(),
        Type::Int => prop_oneof![any::<i32>(), select(vec![i32::MIN, -1, 0, 1, i32::MAX])]
            .prop_map(Value::Int)
            .boxed(),
        Type::BigInt | Type::Counter => big().prop_map(Value::BigInt).boxed(),
        Type::Timestamp => big().prop_map(Value::Timestamp).boxed(),
        Type::Time => big().prop_map(Value::Time).boxed(),
        Type::Date => prop_oneof![any::<u32>(), select(vec![0, 1 << 31, u32::MAX])]
            .prop_map(Value::Date)
            .boxed(),
        Type::Varint => integer().prop_map(Value::Varint).boxed(),
        Type::Decimal => (
            integer(),
            prop_oneof![any::<i32>(), -3..4, select(vec![i32::MIN, i32::MAX])],
        )
            .prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale })
            .boxed(),
        Type::Float => {
            let edges = [
                0.0,
                -0.0,
                f32::NAN,
                -f32::NAN,
                f32::INFINITY,
                f32::MIN_POSITIVE,
            ];
            let edges = select(edges.map(f32::to_bits).to_vec());
            prop_oneof![any::<u32>(), edges]
                .prop_map(|bits| Value::Float(F32::from_bits(bits)))
                .boxed()
        }
        Type::Double => {
            let edges = [
                0.0,
                -0.0,
                f64::NAN,
                -f64::INFINITY,
                1e126,
                -9.999e125,
                1e-130,
                9e-131,
            ];
            let edges = select(edges.map(f64::to_bits).to_vec());
            prop_oneof![any::<u64>(), any::<f64>().prop_map(f64::to_bits), edges]
                .prop_map(|bits| Value::Double(F64::from_bits(bits)))
                .boxed()
        }
        Type::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Type::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        Type::TimeUuid => any::<[u8; 16]>()
            .prop_map(|mut bytes| {
                bytes[6] = 0x10 | bytes[6] & 0x0f;
                Value::Uuid(bytes)
            })
            .boxed(),
        Type::Inet => prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            Just("::ffff:10.0.0.9".parse().unwrap()),
            Just("::".parse().unwrap()),
        ]
        .prop_map(Value::Inet)
        .boxed(),
        Type::Duration => (any::<i32>(), any::<i32>(), big())
            .prop_map(|(months, days, nanos)| Value::Duration {
                months,
                days,
                nanos,
            })
            .boxed(),
        Type::List(element) => vec(value(element), 0..4).prop_map(Value::List).boxed(),
        Type::Set(element) => vec(value(element), 0..4).prop_map(Value::Set).boxed(),
        Type::Map(key, element) => vec((value(key), value(element)), 0..4)
            .prop_map(Value::Map)
            .boxed(),
        Type::Tuple(types) => fields(types.iter()).prop_map(Value::Tuple).boxed(),
        Type::Udt(udt) => fields(udt.fields.iter().map(|(_, ty)| ty))
            .prop_map(Value::Udt)
            .boxed(),
        Type::Vector(element, dimension) => vec(plain(element), usize::from(*dimension))
            .prop_map(Value::Vector)
            .boxed(),
    }
}

fn fields<'a>(types: impl Iterator<Item = &'a Type>) -> BoxedStrategy<Vec<Option<Value>>> {
    let fields: Vec<_> = types.map(|ty| proptest::option::of(value(ty))).collect();
    let count = fields.len();
    (fields, 0..=count)
        .prop_map(|(mut fields, count)| {
            fields.truncate(count);
            fields
        })
        .boxed()
}

fn text() -> impl Strategy<Value = String> {
    let odd = select(vec!['#', '\\', '\0', '\u{1}', 'x', '0', '\u{1F701}']);
    let chars = prop_oneof![any::<char>(), odd];
    prop_oneof![
        vec(chars, 0..6).prop_map(|chars| chars.into_iter().collect()),
        select(vec!["", "0x", "a#", "#b", "\\#", "a"]).prop_map(str::to_owned),
    ]
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![any::<u8>(), select(vec![0, 1, 0xff])], length)
}

fn big() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -3..4_i64, select(vec![i64::MIN, i64::MAX])]
}

/// Two's complement of any length, not always the shortest.
fn integer() -> impl Strategy<Value = Vec<u8>> {
    let round = (0..40_u32, any::<bool>()).prop_map(|(zeros, negative)| {
        let power = 10_i128.pow(zeros.min(38));
        let number = if negative { -power } else { power };
        super::number::integer_bytes(&number.to_string()).unwrap()
    });
    prop_oneof![bytes(1..4), bytes(1..60), round]
}
