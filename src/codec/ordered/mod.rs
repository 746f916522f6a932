//! One clustering column inside a sort key.
//!
//! A component is a header byte and a body: `02` and the value, or `01` alone for CQL's empty value. `03`
//! comes before bytes that don't follow their type: they are equal to themselves alone, in no promised order.
//! A component says itself where it ends, so components follow one another without a separator. Ascending
//! bytes are ascending values; a descending component is the same with every bit turned round.

mod composite;

use std::cmp::Ordering;

#[cfg(feature = "_store")]
pub(crate) use self::composite::holds_others;

use super::{cql, number, text};
use crate::error::{Error, Kind, Result};
use crate::model::{F32, F64, Value};
use crate::schema::{Order, Type};

/// The most digits that a decimal gets by zeros at its end.
const MOST_DIGITS: usize = 1 << 18;

const EMPTY: u8 = 0x01;
const VALUE: u8 = 0x02;
const BYTES: u8 = 0x03;
const NEGATIVE: u8 = 0x01;
const ZERO: u8 = 0x02;
const POSITIVE: u8 = 0x03;

/// The first bytes that neither begin with `prefix` nor come before it; `None` if there are none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// Appends a value's component.
///
/// Byte order is Cassandra's order for every type but `custom`: these are equal exactly if their bytes are,
/// in no promised order.
///
/// # Errors
/// [`Kind::Invalid`], with nothing appended, if the value isn't of this type or is a `varint` of more
/// than 32,767 bytes.
pub fn encode_component(ty: &Type, order: Order, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    if put_component(ty, value, composite::holds_others(ty), out).is_none() {
        out.truncate(start);
        let message = format!("a value can't be part of a sort key as a {ty}");
        return Err(Error::new(Kind::Invalid, message));
    }
    if order == Order::Desc {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// Appends an ascending component; `None` if the value can't have one, when some of it may have been appended.
/// Bytes that don't follow their type are taken only inside others, and where others would be inside.
fn put_component(ty: &Type, value: &Value, takes_raw: bool, out: &mut Vec<u8>) -> Option<()> {
    if is_empty(ty, value) {
        out.push(EMPTY);
        return Some(());
    }
    match value {
        Value::Raw(bytes) if takes_raw && !(*ty == Type::Boolean && bytes.len() == 1) => {
            out.push(BYTES);
            put_escaped(bytes, out);
            Some(())
        }
        _ => {
            out.push(VALUE);
            body(ty, value, out)
        }
    }
}

/// Reads a component, and gives what follows it; `None` if there is none. See
/// [`crate::item::keys::sort_values`] for the types that come back as an equal value.
pub fn decode_component<'a>(ty: &Type, order: Order, bytes: &'a [u8]) -> Option<(Value, &'a [u8])> {
    let mut input = Input {
        rest: bytes,
        flip: match order {
            Order::Asc => 0x00,
            Order::Desc => 0xff,
        },
    };
    let value = read_component(ty, &mut input)?;
    Some((value, input.rest))
}

fn read_component(ty: &Type, input: &mut Input<'_>) -> Option<Value> {
    let header = input.byte()?;
    read_value(ty, header, input)
}

/// Reads what follows a component's header.
fn read_value(ty: &Type, header: u8, input: &mut Input<'_>) -> Option<Value> {
    match header {
        EMPTY if composite::has_fields(ty) => Some(cql::decode(ty, &[])),
        EMPTY => Some(Value::Empty),
        VALUE => read_body(ty, input),
        BYTES => Some(cql::decode(ty, &input.escaped()?)),
        _ => None,
    }
}

/// Compares two values of a type as Cassandra orders them in a clustering column, set or map.
/// Values that aren't of the type come last.
pub fn compare(ty: &Type, a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::BigInt(a), Value::BigInt(b)) => a.cmp(b),
        _ => {
            let component = |value| {
                let mut out = Vec::new();
                match encode_component(ty, Order::Asc, value, &mut out) {
                    Ok(()) => (false, out),
                    Err(_) => (true, cql::to_bytes(value, ty)),
                }
            };
            component(a).cmp(&component(b))
        }
    }
}

/// Whether a value has no bytes, where ordinary values of its type have some.
fn is_empty(ty: &Type, value: &Value) -> bool {
    match value {
        Value::Empty => !matches!(ty, Type::Ascii | Type::Text | Type::Blob | Type::Custom(_)),
        Value::Tuple(fields) | Value::Udt(fields) => fields.is_empty() && composite::has_fields(ty),
        _ => false,
    }
}

fn body(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match ty {
        Type::TinyInt => out.push(text::integer(ty, value)? as u8 ^ 0x80),
        Type::SmallInt => put(
            &(text::integer(ty, value)? as u16 ^ 1 << 15).to_be_bytes(),
            out,
        ),
        Type::Int => put(
            &(text::integer(ty, value)? as u32 ^ 1 << 31).to_be_bytes(),
            out,
        ),
        Type::BigInt | Type::Counter | Type::Timestamp | Type::Time => put(
            &(text::integer(ty, value)? as u64 ^ 1 << 63).to_be_bytes(),
            out,
        ),
        Type::Date => match value {
            Value::Date(days) => put(&days.to_be_bytes(), out),
            _ => return None,
        },
        Type::Boolean => match value {
            Value::Boolean(value) => out.push(u8::from(*value)),
            // The server takes any other byte as true.
            Value::Raw(bytes) if bytes.len() == 1 => out.push(u8::from(bytes != &[0])),
            _ => return None,
        },
        Type::Float => match value {
            Value::Float(value) => {
                let bits = if value.get().is_nan() {
                    0x7fc0_0000
                } else {
                    value.bits()
                };
                let flip = if bits >> 31 == 1 { u32::MAX } else { 1 << 31 };
                put(&(bits ^ flip).to_be_bytes(), out);
            }
            _ => return None,
        },
        Type::Double => match value {
            Value::Double(value) => {
                let bits = if value.get().is_nan() {
                    0x7ff8_0000_0000_0000
                } else {
                    value.bits()
                };
                let flip = if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
                put(&(bits ^ flip).to_be_bytes(), out);
            }
            _ => return None,
        },
        Type::Varint => match value {
            Value::Varint(bytes) => put_varint(bytes, out)?,
            _ => return None,
        },
        Type::Decimal => match value {
            Value::Decimal { unscaled, scale } => put_decimal(unscaled, *scale, out),
            _ => return None,
        },
        Type::Uuid => match value {
            Value::Uuid(bytes) => {
                let version = bytes[6] >> 4;
                out.push(version);
                if version == 1 {
                    put(&by_time(bytes), out);
                    put(&bytes[8..], out);
                } else {
                    put(bytes, out);
                }
            }
            _ => return None,
        },
        Type::TimeUuid => match value {
            Value::Uuid(bytes) => {
                put(&by_time(bytes), out);
                // The server compares these as signed bytes.
                out.extend(bytes[8..].iter().map(|byte| byte ^ 0x80));
            }
            _ => return None,
        },
        Type::Ascii | Type::Text => match value {
            Value::Text(text) => put_escaped(text.as_bytes(), out),
            Value::Empty => put_escaped(&[], out),
            _ => return None,
        },
        Type::Inet | Type::Duration => match value {
            Value::Inet(_) | Value::Duration { .. } if cql::is_of(value, ty) => {
                put_escaped(&cql::to_bytes(value, ty), out);
            }
            _ => return None,
        },
        Type::Blob | Type::Custom(_) => {
            if !cql::is_of(value, ty) {
                return None;
            }
            put_escaped(&cql::to_bytes(value, ty), out);
        }
        Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..) => composite::put(ty, value, out)?,
    }
    Some(())
}

fn read_body(ty: &Type, input: &mut Input<'_>) -> Option<Value> {
    Some(match ty {
        Type::TinyInt => Value::TinyInt((input.byte()? ^ 0x80) as i8),
        Type::SmallInt => Value::SmallInt((u16::from_be_bytes(input.array()?) ^ 1 << 15) as i16),
        Type::Int => Value::Int((u32::from_be_bytes(input.array()?) ^ 1 << 31) as i32),
        Type::BigInt | Type::Counter => Value::BigInt(input.signed()?),
        Type::Timestamp => Value::Timestamp(input.signed()?),
        Type::Time => Value::Time(input.signed()?),
        Type::Date => Value::Date(u32::from_be_bytes(input.array()?)),
        Type::Boolean => match input.byte()? {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return None,
        },
        Type::Float => {
            let bits = u32::from_be_bytes(input.array()?);
            let flip = if bits >> 31 == 1 { 1 << 31 } else { u32::MAX };
            Value::Float(F32::from_bits(bits ^ flip))
        }
        Type::Double => {
            let bits = u64::from_be_bytes(input.array()?);
            let flip = if bits >> 63 == 1 { 1 << 63 } else { u64::MAX };
            Value::Double(F64::from_bits(bits ^ flip))
        }
        Type::Varint => Value::Varint(read_varint(input)?),
        Type::Decimal => read_decimal(input)?,
        Type::Uuid => {
            let version = input.byte()?;
            let bytes: [u8; 16] = input.array()?;
            let uuid = if version == 1 {
                from_time(&bytes)
            } else {
                bytes
            };
            (uuid[6] >> 4 == version).then_some(Value::Uuid(uuid))?
        }
        Type::TimeUuid => {
            let mut bytes: [u8; 16] = input.array()?;
            bytes[8..].iter_mut().for_each(|byte| *byte ^= 0x80);
            Value::Uuid(from_time(&bytes))
        }
        Type::Ascii | Type::Text | Type::Blob | Type::Inet | Type::Duration | Type::Custom(_) => {
            cql::decode(ty, &input.escaped()?)
        }
        Type::List(_)
        | Type::Set(_)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Udt(_)
        | Type::Vector(..) => composite::read(ty, input)?,
    })
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
}

/// Bytes of any length: `00` becomes `00 FF`, and `00 01` ends them. A single `00` at the end would
/// be enough ascending, but not with the bits turned round.
fn put_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    put(&[0x00, 0x01], out);
}

/// `8000` plus the number of magnitude bytes, then these; for a negative number `8000` minus it, then
/// these turned round.
fn put_varint(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (negative, magnitude) = number::magnitude(bytes);
    let length = u16::try_from(magnitude.len())
        .ok()
        .filter(|length| *length <= 0x7fff)?;
    if negative {
        put(&(0x8000 - length).to_be_bytes(), out);
        out.extend(magnitude.iter().map(|byte| !byte));
    } else {
        put(&(0x8000 + length).to_be_bytes(), out);
        put(&magnitude, out);
    }
    Some(())
}

fn read_varint(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let head = u16::from_be_bytes(input.array()?);
    let negative = head < 0x8000;
    let length = usize::from(head.abs_diff(0x8000));
    let flip = if negative { 0xff } else { 0x00 };
    let magnitude: Vec<u8> = (0..length)
        .map(|_| input.byte().map(|byte| byte ^ flip))
        .collect::<Option<_>>()?;
    Some(number::from_magnitude(negative, &magnitude))
}

/// `02` for 0. Else `03`, how many digits are before the point (plus 2^63), the digits in pairs, each
/// plus one, and `00`; for a negative number `01` and the rest turned round.
fn put_decimal(unscaled: &[u8], scale: i32, out: &mut Vec<u8>) {
    let (negative, magnitude) = number::magnitude(unscaled);
    let digits = number::digits(&magnitude);
    if digits.is_empty() {
        out.push(ZERO);
        return;
    }
    let point = digits.len() as i64 - i64::from(scale);
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    put(&(point as u64 ^ 1 << 63).to_be_bytes(), out);
    for pair in digits.trim_end_matches('0').as_bytes().chunks(2) {
        let digit = |at: usize| pair.get(at).map_or(0, |digit| digit - b'0');
        out.push(digit(0) * 10 + digit(1) + 1);
    }
    out.push(0x00);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn read_decimal(input: &mut Input<'_>) -> Option<Value> {
    let sign = input.byte()?;
    let negative = match sign {
        ZERO => {
            return Some(Value::Decimal {
                unscaled: vec![0],
                scale: 0,
            });
        }
        NEGATIVE => true,
        POSITIVE => false,
        _ => return None,
    };
    let outer = input.flip;
    if negative {
        input.flip = !input.flip;
    }
    let point = input.signed()?;
    let mut digits = String::new();
    loop {
        match input.byte()? {
            0 => break,
            pair @ 1..=100 => {
                digits.push(char::from(b'0' + (pair - 1) / 10));
                digits.push(char::from(b'0' + (pair - 1) % 10));
            }
            _ => return None,
        }
    }
    input.flip = outer;
    let shortest = digits.trim_end_matches('0').len();
    digits.truncate(shortest);
    let mut scale = (shortest as i64).checked_sub(point)?;
    // A scale is an i32, so the smallest one may have come with zeros after the digits.
    while scale < i64::from(i32::MIN) && digits.len() <= MOST_DIGITS {
        digits.push('0');
        scale += 1;
    }
    let magnitude = number::from_digits(&digits)?;
    Some(Value::Decimal {
        unscaled: number::from_magnitude(negative, &magnitude),
        scale: i32::try_from(scale).ok()?,
    })
}

/// A version 1 UUID's timestamp, the high part first.
fn by_time(bytes: &[u8; 16]) -> [u8; 8] {
    [6, 7, 4, 5, 0, 1, 2, 3].map(|at: usize| bytes[at])
}

fn from_time(bytes: &[u8; 16]) -> [u8; 16] {
    [4, 5, 6, 7, 2, 3, 0, 1, 8, 9, 10, 11, 12, 13, 14, 15].map(|at: usize| bytes[at])
}

/// What is left to read, with its bits turned round where they were.
struct Input<'a> {
    rest: &'a [u8],
    flip: u8,
}

impl Input<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte ^ self.flip)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(bytes.map(|byte| byte ^ self.flip))
    }

    fn signed(&mut self) -> Option<i64> {
        Some((u64::from_be_bytes(self.array()?) ^ 1 << 63) as i64)
    }

    fn escaped(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0xff => out.push(0),
                    0x01 => return Some(out),
                    _ => return None,
                },
                byte => out.push(byte),
            }
        }
    }
}
