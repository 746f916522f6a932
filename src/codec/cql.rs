//! CQL's binary form of values, and the token of a partition key.
//!
//! [`decode`] takes any bytes: what doesn't follow its type becomes [`Value::Raw`], so that
//! `encode(decode(bytes)) == bytes` holds for every type and all bytes. The format is that of the
//! [native protocol](https://github.com/apache/cassandra/blob/trunk/doc/native_protocol_v4.spec),
//! section 6.

use std::net::IpAddr;

use crate::model::{F32, F64, Value};
use crate::schema::{Column, Type};

/// Appends a value's bytes. The value must be one of this type, as [`decode`] makes it.
pub fn encode(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    match value {
        Value::Empty => {}
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Blob(bytes) | Value::Varint(bytes) | Value::Raw(bytes) => {
            out.extend_from_slice(bytes);
        }
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::TinyInt(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::SmallInt(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::BigInt(value) | Value::Timestamp(value) | Value::Time(value) => {
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Decimal { unscaled, scale } => {
            out.extend_from_slice(&scale.to_be_bytes());
            out.extend_from_slice(unscaled);
        }
        Value::Float(value) => out.extend_from_slice(&value.bits().to_be_bytes()),
        Value::Double(value) => out.extend_from_slice(&value.bits().to_be_bytes()),
        Value::Uuid(bytes) => out.extend_from_slice(bytes),
        Value::Date(days) => out.extend_from_slice(&days.to_be_bytes()),
        Value::Inet(IpAddr::V4(address)) => out.extend_from_slice(&address.octets()),
        Value::Inet(IpAddr::V6(address)) => out.extend_from_slice(&address.octets()),
        Value::Duration {
            months,
            days,
            nanos,
        } => {
            for part in [i64::from(*months), i64::from(*days), *nanos] {
                put_vint(((part << 1) ^ (part >> 63)) as u64, out);
            }
        }
        Value::List(values) | Value::Set(values) => {
            put_count(values.len(), out);
            let element = match ty {
                Type::List(element) | Type::Set(element) => element,
                _ => ty,
            };
            values
                .iter()
                .for_each(|value| put_sized(Some(value), element, out));
        }
        Value::Map(pairs) => {
            put_count(pairs.len(), out);
            let (key, element) = match ty {
                Type::Map(key, element) => (&**key, &**element),
                _ => (ty, ty),
            };
            for (k, v) in pairs {
                put_sized(Some(k), key, out);
                put_sized(Some(v), element, out);
            }
        }
        Value::Tuple(fields) => {
            let types: &[Type] = if let Type::Tuple(types) = ty {
                types
            } else {
                &[]
            };
            for (field, ty) in fields.iter().zip(types) {
                put_sized(field.as_ref(), ty, out);
            }
        }
        Value::Udt(fields) => {
            let types: &[(String, Type)] = if let Type::Udt(udt) = ty {
                &udt.fields
            } else {
                &[]
            };
            for (field, (_, ty)) in fields.iter().zip(types) {
                put_sized(field.as_ref(), ty, out);
            }
        }
        Value::Vector(values) => {
            let element = if let Type::Vector(element, _) = ty {
                element
            } else {
                ty
            };
            let sized = fixed_size(element).is_none();
            for value in values {
                if sized {
                    let bytes = to_bytes(value, element);
                    put_vint(bytes.len() as u64, out);
                    out.extend_from_slice(&bytes);
                } else {
                    encode(value, element, out);
                }
            }
        }
    }
}

/// A value's bytes.
pub fn to_bytes(value: &Value, ty: &Type) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, ty, &mut out);
    out
}

/// Whether a value is one of this type, as [`encode`] wants it.
pub fn is_of(value: &Value, ty: &Type) -> bool {
    let all = |values: &[Value], element: &Type| values.iter().all(|value| is_of(value, element));
    let field =
        |(field, ty): (&Option<Value>, &Type)| field.as_ref().is_none_or(|value| is_of(value, ty));
    match value {
        Value::Empty | Value::Raw(_) => true,
        Value::Text(_) => matches!(ty, Type::Ascii | Type::Text),
        Value::Blob(_) => matches!(ty, Type::Blob | Type::Custom(_)),
        Value::Boolean(_) => *ty == Type::Boolean,
        Value::TinyInt(_) => *ty == Type::TinyInt,
        Value::SmallInt(_) => *ty == Type::SmallInt,
        Value::Int(_) => *ty == Type::Int,
        Value::BigInt(_) => matches!(ty, Type::BigInt | Type::Counter),
        Value::Varint(_) => *ty == Type::Varint,
        Value::Decimal { .. } => *ty == Type::Decimal,
        Value::Float(_) => *ty == Type::Float,
        Value::Double(_) => *ty == Type::Double,
        Value::Uuid(_) => matches!(ty, Type::Uuid | Type::TimeUuid),
        Value::Timestamp(_) => *ty == Type::Timestamp,
        Value::Date(_) => *ty == Type::Date,
        Value::Time(_) => *ty == Type::Time,
        Value::Inet(_) => *ty == Type::Inet,
        Value::Duration { .. } => *ty == Type::Duration,
        Value::List(values) => matches!(ty, Type::List(element) if all(values, element)),
        Value::Set(values) => matches!(ty, Type::Set(element) if all(values, element)),
        Value::Vector(values) => matches!(ty, Type::Vector(element, dimension)
            if values.len() == usize::from(*dimension) && all(values, element)),
        Value::Map(pairs) => matches!(ty, Type::Map(key, element)
            if pairs.iter().all(|(k, v)| is_of(k, key) && is_of(v, element))),
        Value::Tuple(fields) => matches!(ty, Type::Tuple(types)
            if fields.len() <= types.len() && fields.iter().zip(types).all(field)),
        Value::Udt(fields) => matches!(ty, Type::Udt(udt)
            if fields.len() <= udt.fields.len()
                && fields.iter().zip(udt.fields.iter().map(|(_, ty)| ty)).all(field)),
    }
}

/// The value of any bytes.
pub fn decode(ty: &Type, bytes: &[u8]) -> Value {
    decode_strictly(ty, bytes).unwrap_or_else(|| Value::Raw(bytes.to_vec()))
}

fn decode_strictly(ty: &Type, bytes: &[u8]) -> Option<Value> {
    match ty {
        Type::Ascii if !bytes.is_ascii() => return None,
        Type::Ascii | Type::Text => {
            return Some(Value::Text(str::from_utf8(bytes).ok()?.to_owned()));
        }
        Type::Blob | Type::Custom(_) => return Some(Value::Blob(bytes.to_vec())),
        Type::Tuple(types) => return fields(types.iter(), bytes).map(Value::Tuple),
        Type::Udt(udt) => {
            return fields(udt.fields.iter().map(|(_, ty)| ty), bytes).map(Value::Udt);
        }
        _ if bytes.is_empty() => return Some(Value::Empty),
        _ => {}
    }
    Some(match ty {
        Type::Boolean => match bytes {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return None,
        },
        Type::TinyInt => Value::TinyInt(i8::from_be_bytes(bytes.try_into().ok()?)),
        Type::SmallInt => Value::SmallInt(i16::from_be_bytes(bytes.try_into().ok()?)),
        Type::Int => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?)),
        Type::BigInt | Type::Counter => Value::BigInt(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::Timestamp => Value::Timestamp(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::Time => Value::Time(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::Varint => Value::Varint(bytes.to_vec()),
        Type::Decimal => {
            let (scale, unscaled) = bytes.split_first_chunk::<4>()?;
            if unscaled.is_empty() {
                return None;
            }
            Value::Decimal {
                unscaled: unscaled.to_vec(),
                scale: i32::from_be_bytes(*scale),
            }
        }
        Type::Float => Value::Float(F32::from_bits(u32::from_be_bytes(bytes.try_into().ok()?))),
        Type::Double => Value::Double(F64::from_bits(u64::from_be_bytes(bytes.try_into().ok()?))),
        Type::Uuid | Type::TimeUuid => Value::Uuid(bytes.try_into().ok()?),
        Type::Date => Value::Date(u32::from_be_bytes(bytes.try_into().ok()?)),
        Type::Inet => match bytes.len() {
            4 => Value::Inet(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            16 => Value::Inet(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            _ => return None,
        },
        Type::Duration => {
            let mut rest = bytes;
            let mut next = || {
                let zigzag = take_vint(&mut rest)?;
                Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
            };
            let (months, days, nanos) = (next()?, next()?, next()?);
            if !rest.is_empty() {
                return None;
            }
            let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
            Value::Duration {
                months,
                days,
                nanos,
            }
        }
        Type::List(element) => Value::List(elements(element, bytes)?),
        Type::Set(element) => Value::Set(elements(element, bytes)?),
        Type::Map(key, value) => {
            let mut rest = bytes;
            let count = take_count(&mut rest)?;
            let mut pairs = Vec::with_capacity(count.min(rest.len()));
            for _ in 0..count {
                let k = decode(key, take_sized(&mut rest)??);
                pairs.push((k, decode(value, take_sized(&mut rest)??)));
            }
            rest.is_empty().then_some(Value::Map(pairs))?
        }
        Type::Vector(element, dimension) => {
            let mut rest = bytes;
            let mut values = Vec::with_capacity(usize::from(*dimension).min(rest.len()));
            for _ in 0..*dimension {
                let size = match fixed_size(element) {
                    Some(size) => size,
                    None => usize::try_from(take_vint(&mut rest)?).ok()?,
                };
                let (value, after) = rest.split_at_checked(size)?;
                rest = after;
                values.push(decode(element, value));
            }
            rest.is_empty().then_some(Value::Vector(values))?
        }
        Type::Ascii | Type::Text | Type::Blob | Type::Custom(_) | Type::Tuple(_) | Type::Udt(_) => {
            return None;
        }
    })
}

fn elements(ty: &Type, bytes: &[u8]) -> Option<Vec<Value>> {
    let mut rest = bytes;
    let count = take_count(&mut rest)?;
    let mut values = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        values.push(decode(ty, take_sized(&mut rest)??));
    }
    rest.is_empty().then_some(values)
}

fn fields<'a>(types: impl Iterator<Item = &'a Type>, bytes: &[u8]) -> Option<Vec<Option<Value>>> {
    let mut rest = bytes;
    let mut values = Vec::new();
    for ty in types {
        if rest.is_empty() {
            break;
        }
        values.push(take_sized(&mut rest)?.map(|bytes| decode(ty, bytes)));
    }
    rest.is_empty().then_some(values)
}

/// How many bytes each value of a type has inside a vector, if all have the same.
/// (The server knows no fixed size for tinyint, smallint, date and time.)
fn fixed_size(ty: &Type) -> Option<usize> {
    match ty {
        Type::Boolean => Some(1),
        Type::Int | Type::Float => Some(4),
        Type::BigInt | Type::Counter | Type::Double | Type::Timestamp => Some(8),
        Type::Uuid | Type::TimeUuid => Some(16),
        Type::Vector(element, dimension) => Some(fixed_size(element)? * usize::from(*dimension)),
        Type::Ascii
        | Type::Text
        | Type::TinyInt
        | Type::SmallInt
        | Type::Varint
        | Type::Decimal
        | Type::Blob
        | Type::Date
        | Type::Time
        | Type::Inet
        | Type::Duration
        | Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Custom(_) => None,
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(count as i32).to_be_bytes());
}

fn put_sized(value: Option<&Value>, ty: &Type, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&(-1i32).to_be_bytes());
    if let Some(value) = value {
        encode(value, ty, out);
        let size = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let (count, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(i32::from_be_bytes(*count)).ok()
}

/// The next value; `Some(None)` is a null. Only -1 is a null that can be written again as it was.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (size, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    let size = i32::from_be_bytes(*size);
    if size == -1 {
        return Some(None);
    }
    let (value, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after;
    Some(Some(value))
}

/// An unsigned variable-length integer: as many leading ones in the first byte as bytes follow.
fn put_vint(value: u64, out: &mut Vec<u8>) {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    let extra = if bits > 56 { 8 } else { (bits - 1) / 7 };
    let bytes = value.to_be_bytes();
    if extra == 8 {
        out.push(0xff);
        out.extend_from_slice(&bytes);
    } else {
        let first = out.len();
        out.extend_from_slice(&bytes[7 - extra..]);
        out[first] |= !(0xff_u8 >> extra);
    }
}

fn take_vint(rest: &mut &[u8]) -> Option<u64> {
    let (&first, after) = rest.split_first()?;
    let extra = first.leading_ones() as usize;
    let (tail, after) = after.split_at_checked(extra)?;
    let head = if extra >= 7 {
        0
    } else {
        u64::from(first & (0xff >> extra))
    };
    let value = tail
        .iter()
        .fold(head, |value, &byte| value << 8 | u64::from(byte));
    let mut shortest = Vec::with_capacity(9);
    put_vint(value, &mut shortest);
    *rest = after;
    (shortest.len() == extra + 1).then_some(value)
}

/// A partition key's bytes, as its token is made of them.
pub fn partition_bytes(columns: &[Column], partition: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    if let ([column], [value]) = (columns, partition) {
        encode(value, &column.ty, &mut out);
        return out;
    }
    for (column, value) in columns.iter().zip(partition) {
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        encode(value, &column.ty, &mut out);
        let size = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&size.to_be_bytes());
        out.push(0);
    }
    out
}

/// The Murmur3 token of a partition key, as `token(…)` gives it. Never `i64::MIN`.
pub fn token(columns: &[Column], partition: &[Value]) -> i64 {
    murmur3_token(&partition_bytes(columns, partition))
}

/// Cassandra's Murmur3 (x64, 128 bits, upper half): it takes the bytes of the tail as signed ones,
/// unlike all others's.
pub fn murmur3_token(bytes: &[u8]) -> i64 {
    const C1: i64 = 0x87c3_7b91_1142_53d5_u64 as i64;
    const C2: i64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: i64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: i64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_i64, 0_i64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let [a, b] = halves(block);
        h1 ^= mix1(a);
        h1 = h1
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 ^= mix2(b);
        h2 = h2
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let (mut k1, mut k2) = (0_i64, 0_i64);
    for (at, &byte) in tail.iter().enumerate() {
        let signed = i64::from(byte as i8);
        if at < 8 {
            k1 ^= signed << (8 * at);
        } else {
            k2 ^= signed << (8 * (at - 8));
        }
    }
    h2 ^= mix2(k2);
    h1 ^= mix1(k1);
    h1 ^= bytes.len() as i64;
    h2 ^= bytes.len() as i64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1).wrapping_add(finish(h2));
    if h1 == i64::MIN { i64::MAX } else { h1 }
}

fn halves(block: &[u8; 16]) -> [i64; 2] {
    let both = u128::from_le_bytes(*block);
    [both as u64 as i64, (both >> 64) as u64 as i64]
}

fn finish(mut k: i64) -> i64 {
    k ^= (k as u64 >> 33) as i64;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd_u64 as i64);
    k ^= (k as u64 >> 33) as i64;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53_u64 as i64);
    k ^ (k as u64 >> 33) as i64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::arbitrary;
    use crate::schema::Role;

    fn column(name: &str, ty: Type) -> Column {
        Column {
            name: name.into(),
            ty,
            frozen: true,
            role: Role::Partition,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_of_any_type_come_back(ty in arbitrary::ty(), bytes in vec(any::<u8>(), 0..40)) {
            let value = decode(&ty, &bytes);
            prop_assert!(is_of(&value, &ty), "{value:?} as {ty}");
            prop_assert_eq!(to_bytes(&value, &ty), bytes);
        }

        #[test]
        fn damaged_bytes_come_back(
            (ty, value) in arbitrary::typed(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in 0..3_usize,
        ) {
            let mut bytes = to_bytes(&value, &ty);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(bytes.len().saturating_sub(cut));
            }
            prop_assert_eq!(to_bytes(&decode(&ty, &bytes), &ty), bytes);
        }

        #[test]
        fn values_come_back((ty, value) in arbitrary::typed()) {
            prop_assert!(is_of(&value, &ty));
            prop_assert_eq!(decode(&ty, &to_bytes(&value, &ty)), value);
        }
    }

    #[test]
    fn values_are_told_from_those_of_another_type() {
        let ints = Type::List(Box::new(Type::Int));
        assert!(is_of(
            &Value::List(vec![Value::Int(1), Value::Empty]),
            &ints
        ));
        assert!(!is_of(&Value::List(vec![Value::text("1")]), &ints));
        assert!(!is_of(&Value::BigInt(1), &Type::Int));
        assert!(!is_of(
            &Value::Tuple(vec![None, None]),
            &Type::Tuple(vec![Type::Int])
        ));
    }

    /// Bytes as the native protocol's specification writes them.
    #[test]
    fn known_bytes() {
        let duration = Value::Duration {
            months: 1,
            days: -2,
            nanos: 1000,
        };
        assert_eq!(
            to_bytes(&duration, &Type::Duration),
            [0x02, 0x03, 0x87, 0xd0]
        );
        let decimal = Value::Decimal {
            unscaled: vec![0x6e],
            scale: 2,
        };
        assert_eq!(to_bytes(&decimal, &Type::Decimal), [0, 0, 0, 2, 0x6e]);
        let pair = Type::Tuple(vec![Type::Int, Type::Text]);
        let value = Value::Tuple(vec![None, Some(Value::text("a"))]);
        assert_eq!(
            to_bytes(&value, &pair),
            [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'a']
        );
        assert_eq!(decode(&Type::Boolean, &[2]), Value::Raw(vec![2]));
        assert_eq!(decode(&Type::Int, &[]), Value::Empty);
        assert_eq!(decode(&Type::Text, &[]), Value::text(""));
    }

    /// As the Python driver computes them.
    #[test]
    fn known_tokens() {
        let all: Vec<u8> = (0..=255).collect();
        for (bytes, token) in [
            (&b""[..], 0),
            (b"a", -8_839_064_797_231_613_815),
            (b"ab", -7_815_133_031_266_706_642),
            (b"\x80", -5_284_281_814_142_962_636),
            (b"123", -7_468_325_962_851_647_638),
            (&[0xff; 15], -2_195_530_867_418_009_455),
            (&[0xff; 16], -2_824_192_546_314_762_522),
            (&[0xff; 17], -4_128_212_798_341_382_003),
            (&b"\xfe\xff\x80".repeat(7), 8_555_590_895_040_064_225),
            (&all, 2_060_892_794_568_774_329),
        ] {
            assert_eq!(murmur3_token(bytes), token, "{bytes:?}");
        }
    }

    #[test]
    fn tokens_of_keys() {
        let id = [column("id", Type::Int)];
        assert_eq!(token(&id, &[Value::Int(1)]), -4_069_959_284_402_364_209);
        let both = [column("a", Type::Text), column("b", Type::Int)];
        let key = [Value::text("a"), Value::Int(1)];
        assert_eq!(
            partition_bytes(&both, &key),
            [0, 1, b'a', 0, 0, 4, 0, 0, 0, 1, 0]
        );
        assert_eq!(token(&both, &key), 8_247_712_171_917_364_652);
        let texts = [column("a", Type::Text), column("b", Type::Text)];
        let key = [Value::text(""), Value::text("a")];
        assert_eq!(token(&texts, &key), -3_901_752_403_867_371_625);
    }
}
