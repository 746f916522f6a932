#![allow(clippy::panic, clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::arbitrary;

#[test]
fn values_read_as_people_write_them() {
    let pairs = [
        (Type::Int, json!(7), json!(7)),
        (
            Type::BigInt,
            json!("9007199254740993"),
            json!(9_007_199_254_740_993_i64),
        ),
        (
            Type::Varint,
            json!("123456789012345678901234567890"),
            json!("123456789012345678901234567890"),
        ),
        (Type::Varint, json!(-5), json!(-5)),
        (Type::Decimal, json!("12.50"), json!("1250E-2")),
        (Type::Decimal, json!("-0.5"), json!("-5E-1")),
        (Type::Decimal, json!("1250E-2"), json!("1250E-2")),
        (Type::Float, json!(0.1), json!(0.1)),
        (Type::Double, json!("NaN"), json!("NaN")),
        (Type::Blob, json!("AAEC"), json!("AAEC")),
        (
            Type::Timestamp,
            json!("2026-11-21T14:00:00.123Z"),
            json!("2026-11-21T14:00:00.123Z"),
        ),
        (
            Type::Timestamp,
            json!("2026-11-21T15:00:00+01:00"),
            json!("2026-11-21T14:00:00.000Z"),
        ),
        (
            Type::Timestamp,
            json!(-1),
            json!("1969-12-31T23:59:59.999Z"),
        ),
        (Type::Date, json!("2000-02-29"), json!("2000-02-29")),
        (Type::Time, json!("14:00:01"), json!("14:00:01.000000000")),
        (Type::Inet, json!("::1"), json!("::1")),
        (
            Type::List(Box::new(Type::Int)),
            json!([1, 2]),
            json!([1, 2]),
        ),
        (
            Type::Map(Box::new(Type::Int), Box::new(Type::Text)),
            json!({"1": "a"}),
            json!({"1": "a"}),
        ),
    ];
    for (ty, read, shown) in pairs {
        let value = value(&read, &ty).unwrap_or_else(|| panic!("{read} is no {ty}"));
        assert_eq!(of_value(&value, &ty), shown, "{ty}");
    }
}

#[test]
fn what_is_not_of_the_type_is_refused() {
    let wrong = [
        (Type::Int, json!(1.5)),
        (Type::TinyInt, json!(128)),
        (Type::Text, json!(1)),
        (Type::Ascii, json!("é")),
        (Type::Blob, json!("?")),
        (Type::Uuid, json!("x")),
        (Type::Decimal, json!("1.2.3")),
        (Type::Date, json!("2026-02-30")),
        (Type::Boolean, json!("true")),
        (Type::Float, json!(1e39)),
        (Type::Set(Box::new(Type::Int)), json!(["a"])),
    ];
    for (ty, json) in wrong {
        assert_eq!(value(&json, &ty), None, "{json} as {ty}");
    }
}

proptest! {
    /// What JSON has a form for comes back as it was.
    #[test]
    fn values_come_back((ty, value) in arbitrary::ty().prop_filter("a scalar", |ty| ty.inside().is_empty()).prop_flat_map(|ty| (Just(ty.clone()), arbitrary::plain(&ty)))) {
        let json = of_value(&value, &ty);
        let back = super::value(&json, &ty);
        prop_assert!(back.is_some(), "{ty}: {json}");
        prop_assert_eq!(back.map(|back| of_value(&back, &ty)), Some(json));
    }
}
