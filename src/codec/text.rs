//! Scalars as text that reads back as the same value.

use super::number;
use crate::model::Value;
use crate::schema::Type;

/// Numbers with more bytes than this aren't written as digits: turning them around takes time that
/// grows with the square of their length.
const DECIMAL_BYTES: usize = 1024;

/// Days of a `date` value before 1970-01-01.
const DATE_ZERO: i64 = 1 << 31;

/// Whether values of a type are small integers: `tinyint` to `bigint`, `date`, `time`, `timestamp`.
pub(crate) fn is_integer(ty: &Type) -> bool {
    of_integer(ty, 0).is_some()
}

/// The integer of a value of such a type: days since 1970-01-01 for a date, milliseconds since then
/// for a timestamp, nanoseconds for a time. `None` if the value isn't one.
pub(crate) fn integer(ty: &Type, value: &Value) -> Option<i64> {
    match (ty, value) {
        (Type::TinyInt, Value::TinyInt(value)) => Some(i64::from(*value)),
        (Type::SmallInt, Value::SmallInt(value)) => Some(i64::from(*value)),
        (Type::Int, Value::Int(value)) => Some(i64::from(*value)),
        (Type::BigInt | Type::Counter, Value::BigInt(value))
        | (Type::Timestamp, Value::Timestamp(value))
        | (Type::Time, Value::Time(value)) => Some(*value),
        (Type::Date, Value::Date(value)) => Some(i64::from(*value) - DATE_ZERO),
        _ => None,
    }
}

/// The value of such a type that an integer stands for.
pub(crate) fn of_integer(ty: &Type, integer: i64) -> Option<Value> {
    match ty {
        Type::TinyInt => integer.try_into().ok().map(Value::TinyInt),
        Type::SmallInt => integer.try_into().ok().map(Value::SmallInt),
        Type::Int => integer.try_into().ok().map(Value::Int),
        Type::BigInt | Type::Counter => Some(Value::BigInt(integer)),
        Type::Timestamp => Some(Value::Timestamp(integer)),
        Type::Time => Some(Value::Time(integer)),
        Type::Date => {
            let days = integer.checked_add(DATE_ZERO)?;
            days.try_into().ok().map(Value::Date)
        }
        Type::Ascii
        | Type::Text
        | Type::Varint
        | Type::Decimal
        | Type::Float
        | Type::Double
        | Type::Boolean
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

/// A decimal as `<unscaled>E<-scale>`, if these very bytes come back: `110E-2` is 1.10.
pub(crate) fn decimal(unscaled: &[u8], scale: i32) -> Option<String> {
    (unscaled.len() <= DECIMAL_BYTES && number::is_shortest(unscaled))
        .then(|| format!("{}E{}", number::integer_text(unscaled), -i64::from(scale)))
}

/// The decimal of such a text.
pub(crate) fn of_decimal(text: &str) -> Option<Value> {
    let (unscaled, exponent) = text.split_once('E')?;
    let exponent: i64 = exponent.parse().ok()?;
    Some(Value::Decimal {
        unscaled: number::integer_bytes(unscaled)?,
        scale: i32::try_from(-exponent).ok()?,
    })
}

/// A number as people write it, if these very bytes come back: `-12`, `1.10`, and for a decimal that would take
/// many zeros `1.5E-9` or `1E+400`, as Java's `BigDecimal` writes it.
pub(crate) fn plain_number(ty: &Type, value: &Value) -> Option<String> {
    let is_written = |bytes: &[u8]| bytes.len() <= DECIMAL_BYTES && number::is_shortest(bytes);
    match value {
        Value::Varint(bytes) => is_written(bytes).then(|| number::integer_text(bytes)),
        Value::Decimal { unscaled, scale } => {
            is_written(unscaled).then(|| plain_decimal(unscaled, *scale))
        }
        value => integer(ty, value).map(|integer| integer.to_string()),
    }
}

fn plain_decimal(unscaled: &[u8], scale: i32) -> String {
    /// A number of a lower power of ten has an exponent.
    const LEAST_POWER: i64 = -6;
    let integer = number::integer_text(unscaled);
    let (sign, digits) = match integer.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", integer.as_str()),
    };
    let power = digits.len() as i64 - 1 - i64::from(scale);
    match usize::try_from(scale) {
        Ok(decimals) if power >= LEAST_POWER => number::pointed(&integer, decimals),
        Ok(_) | Err(_) => {
            let mantissa = number::pointed(digits, digits.len() - 1);
            format!("{sign}{mantissa}E{power:+}")
        }
    }
}

/// The value of a type that such a text, or any other spelling of the number, stands for.
pub(crate) fn of_plain_number(ty: &Type, text: &str) -> Option<Value> {
    match ty {
        Type::Varint => number::integer_bytes(text).map(Value::Varint),
        Type::Decimal => of_any_decimal(text),
        ty => of_integer(ty, text.parse().ok()?),
    }
}

/// The decimal of a text such as `12.50`, `1250E-2`, `-3e4`.
pub(crate) fn of_any_decimal(text: &str) -> Option<Value> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unscaled = number::integer_bytes(&format!("{whole}{fraction}"))?;
    let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    Some(Value::Decimal {
        unscaled,
        scale: i32::try_from(scale).ok()?,
    })
}

/// A UUID in lower case, with hyphens.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(*byte, &mut out);
    }
    out
}

/// The UUID of such a text.
pub(crate) fn of_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|at| bytes[*at] != b'-') {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    of_hex(&plain)?.try_into().ok()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| push_hex(*byte, &mut out));
    out
}

/// The bytes of hexadecimal digits.
pub(crate) fn of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn push_hex(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}
