//! The order of clustering values as numbers, and what lies in the middle between two.

use crate::codec::ordered::{decode_component, encode_component};
use crate::model::Value;
use crate::schema::{Order, Type};

/// Characters there are, without the surrogates that are none.
pub(super) const CHARS: u32 = 0x11_0000 - 0x800;

const V1: u128 = 1 << 76;

/// The least and the greatest number of a type; `None` if its values aren't numbered.
pub(super) fn domain(ty: &Type) -> Option<(u128, u128)> {
    match ty {
        Type::Boolean => Some((0, 1)),
        Type::TimeUuid => Some((0, (1 << 124) - 1)),
        Type::Uuid => Some((0, u128::MAX)),
        // Then all NaNs, which sort as one.
        Type::Float => {
            let infinity = |sign: f32| of(ty, &Value::Float((f32::INFINITY * sign).into()));
            Some((infinity(-1.0)?, infinity(1.0)? + 1))
        }
        Type::Double => {
            let infinity = |sign: f64| of(ty, &Value::Double((f64::INFINITY * sign).into()));
            Some((infinity(-1.0)?, infinity(1.0)? + 1))
        }
        _ => Some((0, u128::MAX >> (128 - 8 * size(ty)?))),
    }
}

/// How many bytes the values of a type have in a sort key, if they all have the same.
fn size(ty: &Type) -> Option<usize> {
    match ty {
        Type::Boolean | Type::TinyInt => Some(1),
        Type::SmallInt => Some(2),
        Type::Int | Type::Date | Type::Float => Some(4),
        Type::BigInt | Type::Timestamp | Type::Time | Type::Double => Some(8),
        Type::Ascii
        | Type::Text
        | Type::Counter
        | Type::Varint
        | Type::Decimal
        | Type::Blob
        | Type::Uuid
        | Type::TimeUuid
        | Type::Inet
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..)
        | Type::Custom(_) => None,
    }
}

/// The number of a value; `None` if it isn't one of this type.
pub(super) fn of(ty: &Type, value: &Value) -> Option<u128> {
    match (ty, value) {
        (Type::Uuid, Value::Uuid(bytes)) => return Some(uuid(*bytes)),
        (Type::TimeUuid, Value::Uuid(bytes)) => return Some(timeuuid(*bytes)),
        (Type::Float, Value::Float(value)) if value.get().is_nan() => return Some(domain(ty)?.1),
        (Type::Double, Value::Double(value)) if value.get().is_nan() => return Some(domain(ty)?.1),
        _ => {}
    }
    let mut component = Vec::new();
    encode_component(ty, Order::Asc, value, &mut component).ok()?;
    let (_, body) = component.split_first()?;
    let number = |all, byte: &u8| all << 8 | u128::from(*byte);
    (Some(body.len()) == size(ty)).then(|| body.iter().fold(0, number))
}

/// The value of a number.
pub(super) fn value(ty: &Type, number: u128) -> Option<Value> {
    let is_last = domain(ty)?.1 == number;
    match ty {
        Type::Uuid => return Some(Value::Uuid(uuid_back(number))),
        Type::TimeUuid => return Some(Value::Uuid(timeuuid_back(number))),
        Type::Float if is_last => return Some(Value::Float(f32::NAN.into())),
        Type::Double if is_last => return Some(Value::Double(f64::NAN.into())),
        _ => {}
    }
    let mut component = component_start(ty)?;
    component.extend_from_slice(&number.to_be_bytes()[16 - size(ty)?..]);
    let (value, rest) = decode_component(ty, Order::Asc, &component)?;
    rest.is_empty().then_some(value)
}

/// The bytes of a component before its body: those of any value.
fn component_start(ty: &Type) -> Option<Vec<u8>> {
    let mut component = Vec::new();
    let any = crate::codec::cql::decode(ty, &[0; 8][..size(ty)?]);
    encode_component(ty, Order::Asc, &any, &mut component).ok()?;
    component.truncate(1);
    Some(component)
}

/// A `uuid` sorts by version; version 1 by its time, the others by their bytes; then by the rest.
fn uuid(bytes: [u8; 16]) -> u128 {
    let all = u128::from_be_bytes(bytes);
    let version = all >> 76 & 0xf;
    let head = if version == 1 {
        time_of(all)
    } else {
        (all >> 80) << 12 | (all >> 64 & 0xfff)
    };
    version << 124 | head << 64 | (all & u128::from(u64::MAX))
}

fn uuid_back(number: u128) -> [u8; 16] {
    let (version, head) = (number >> 124, number >> 64 & ((1 << 60) - 1));
    let top = if version == 1 {
        from_time(head)
    } else {
        (head >> 12) << 80 | (head & 0xfff) << 64
    };
    (top | version << 76 | (number & u128::from(u64::MAX))).to_be_bytes()
}

/// A `timeuuid` sorts by its time, then by the rest as signed bytes.
fn timeuuid(bytes: [u8; 16]) -> u128 {
    let all = u128::from_be_bytes(bytes);
    time_of(all) << 64 | u128::from(all as u64 ^ SIGNS)
}

fn timeuuid_back(number: u128) -> [u8; 16] {
    (from_time(number >> 64) | V1 | u128::from(number as u64 ^ SIGNS)).to_be_bytes()
}

const SIGNS: u64 = 0x8080_8080_8080_8080;

/// The 60 bits of the time, which are stored low, middle, high in the first half.
fn time_of(all: u128) -> u128 {
    (all >> 64 & 0xfff) << 48 | (all >> 80 & 0xffff) << 32 | all >> 96
}

fn from_time(time: u128) -> u128 {
    (time & 0xffff_ffff) << 96 | (time >> 32 & 0xffff) << 80 | (time >> 48 & 0xfff) << 64
}

/// A character's number, without a gap for the surrogates.
pub(super) fn of_char(char: char) -> u32 {
    let code = u32::from(char);
    if code < 0xd800 { code } else { code - 0x800 }
}

/// The character of a number.
pub(super) fn char(number: u32) -> Option<char> {
    char::from_u32(if number < 0xd800 {
        number
    } else {
        number + 0x800
    })
}

/// Digits (each below `limit`) that sort between two others, above `from` and below `until`; `None`
/// if nothing does.
pub(super) fn between(from: &[u32], until: Option<&[u32]>, limit: u32) -> Option<Vec<u32>> {
    let same = until.map_or(0, |until| {
        from.iter().zip(until).take_while(|(a, b)| a == b).count()
    });
    let mut middle = from[..same].to_vec();
    // The next digit lies above `low` (-1: `from` ends here) and below `high`.
    let low = from.get(same).map_or(-1, |&digit| i64::from(digit));
    let high = match until {
        Some(until) => i64::from(*until.get(same)?),
        None => i64::from(limit),
    };
    if high - low >= 2 {
        middle.push(u32::try_from(low + (high - low) / 2).ok()?);
        return Some(middle);
    }
    if until.is_some_and(|until| until.len() > same + 1) {
        middle.push(u32::try_from(high).ok()?);
        return Some(middle);
    }
    let rest = from.get(same + 1..)?;
    middle.push(from[same]);
    middle.extend(between(rest, None, limit)?);
    Some(middle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_keep_order_and_read_back() {
        let types = [
            Type::Boolean,
            Type::TinyInt,
            Type::SmallInt,
            Type::Int,
            Type::BigInt,
            Type::Timestamp,
            Type::Date,
            Type::Time,
            Type::Float,
            Type::Double,
            Type::Uuid,
            Type::TimeUuid,
        ];
        for ty in types {
            let (least, greatest) = domain(&ty).unwrap();
            for step in 0..=64 {
                let number = least + (greatest - least) / 64 * step;
                let back = value(&ty, number).unwrap();
                assert_eq!(of(&ty, &back), Some(number), "{ty} {back:?}");
            }
            assert_eq!(
                of(&ty, &value(&ty, greatest).unwrap()),
                Some(greatest),
                "{ty}"
            );
        }
        let double = |f: f64| of(&Type::Double, &Value::Double(f.into())).unwrap();
        let ascending = [
            f64::NEG_INFINITY,
            -1.0,
            -0.0,
            0.0,
            5e-324,
            1.0,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(
            ascending
                .windows(2)
                .all(|two| double(two[0]) < double(two[1]))
        );
        assert_eq!(double(f64::NAN), double(-f64::NAN));
    }

    #[test]
    fn the_middle_is_strictly_between() {
        let cases: [(&[u32], Option<&[u32]>); 7] = [
            (&[], None),
            (&[], Some(&[5])),
            (&[], Some(&[0, 0])),
            (&[1], Some(&[2])),
            (&[1, 9, 9], Some(&[2])),
            (&[9, 9], None),
            (&[1], Some(&[1, 0, 0])),
        ];
        for (from, until) in cases {
            let middle = between(from, until, 10).unwrap();
            assert!(middle.iter().all(|&digit| digit < 10), "{middle:?}");
            assert!(middle.as_slice() > from, "{from:?} {middle:?}");
            assert!(
                until.is_none_or(|until| middle.as_slice() < until),
                "{middle:?} {until:?}"
            );
        }
        assert_eq!(between(&[1], Some(&[1, 0]), 10), None);
        assert_eq!(between(&[], Some(&[0]), 10), None);
    }
}
