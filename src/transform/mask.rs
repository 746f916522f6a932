//! How single values change on the way: made unreadable, replaced, converted.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::codec::text;
use crate::error::{Error, Kind, Result};
use crate::model::Value;
use crate::schema::Type;
use crate::secret::Secret;

/// What masked text reads with [`Mask::Redact`].
const REDACTED: &str = "[redacted]";
/// Hexadecimal digits of a masked address: 96 bits, so that no two addresses fall together.
const ADDRESS_DIGITS: usize = 24;
/// Rounds of the permutation of digits, as in NIST's format-preserving encryption.
const ROUNDS: u8 = 10;

/// How values are made unreadable. Null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// HMAC-SHA256 under the plan's mask key: equal values stay equal. Text becomes its lower-case
    /// hexadecimal digits, a blob its 32 bytes.
    Hmac,
    /// `[redacted]`, whatever it was.
    Redact,
    /// An e-mail address of a domain that belongs to no one, `<24 hexadecimal digits>@example.com`, made of the whole value
    /// under the plan's mask key: equal values stay equal.
    Email,
    /// A telephone number of the same length: digits become others under the plan's mask key, but for a `+` or `00`
    /// and the two digits after it. All else stays. Equal values stay equal, different ones different.
    Phone,
    /// Every digit becomes another under the plan's mask key, all else stays. Equal values stay equal, different ones
    /// different.
    Digits,
}

impl Mask {
    /// Every one with its name in a plan.
    pub const NAMES: &[(&str, Mask)] = &[
        ("hmac", Mask::Hmac),
        ("redact", Mask::Redact),
        ("email", Mask::Email),
        ("phone", Mask::Phone),
        ("digits", Mask::Digits),
    ];

    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Mask::Hmac => "hmac",
            Mask::Redact => "redact",
            Mask::Email => "email",
            Mask::Phone => "phone",
            Mask::Digits => "digits",
        }
    }

    /// Whether it takes the plan's mask key.
    pub fn is_keyed(self) -> bool {
        match self {
            Mask::Hmac | Mask::Email | Mask::Phone | Mask::Digits => true,
            Mask::Redact => false,
        }
    }

    /// Whether it can be laid on values of this type.
    pub(super) fn fits(self, ty: &Type) -> bool {
        let of_text = matches!(ty, Type::Text | Type::Ascii);
        match self {
            Mask::Hmac | Mask::Redact => of_text || *ty == Type::Blob,
            Mask::Email | Mask::Phone | Mask::Digits => of_text,
        }
    }
}

/// How values become those of another type or unit. Null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    /// A whole number becomes text.
    Text,
    /// Text becomes a whole number of 64 bits; a row with any other text is a dead letter.
    Number,
    /// Seconds, or a timestamp, become milliseconds since 1970.
    Milliseconds,
    /// Milliseconds, or a timestamp, become seconds since 1970, rounded down.
    Seconds,
}

impl Convert {
    /// Every one with its name in a plan.
    pub const NAMES: &[(&str, Convert)] = &[
        ("text", Convert::Text),
        ("number", Convert::Number),
        ("milliseconds", Convert::Milliseconds),
        ("seconds", Convert::Seconds),
    ];

    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Convert::Text => "text",
            Convert::Number => "number",
            Convert::Milliseconds => "milliseconds",
            Convert::Seconds => "seconds",
        }
    }

    /// What a column of this type is then; `None` if it can't be converted so.
    pub(super) fn of(self, ty: &Type) -> Option<Type> {
        let is_whole = matches!(
            ty,
            Type::TinyInt | Type::SmallInt | Type::Int | Type::BigInt
        );
        match self {
            Convert::Text => is_whole.then_some(Type::Text),
            Convert::Number => matches!(ty, Type::Text | Type::Ascii).then_some(Type::BigInt),
            Convert::Milliseconds | Convert::Seconds => {
                (matches!(ty, Type::Int | Type::BigInt | Type::Timestamp)).then_some(Type::BigInt)
            }
        }
    }

    fn apply(self, value: &Value) -> Result<Value> {
        let unfit = |why: &str| {
            let message = format!("the value can't be converted to {}: {why}", self.name());
            Error::new(Kind::Invalid, message)
        };
        let whole = match value {
            Value::TinyInt(number) => Some(i64::from(*number)),
            Value::SmallInt(number) => Some(i64::from(*number)),
            Value::Int(number) => Some(i64::from(*number)),
            Value::BigInt(number) => Some(*number),
            _ => None,
        };
        match (self, whole, value) {
            (Convert::Text, Some(number), _) => Ok(Value::text(number.to_string())),
            (Convert::Number, _, Value::Text(text)) => match text.parse::<i64>() {
                // What is written in another way than here would read otherwise when it is made text again.
                Ok(number) if number.to_string() == *text => Ok(Value::BigInt(number)),
                Ok(_) | Err(_) => Err(unfit("it isn't a whole number of 64 bits, plainly written")),
            },
            (Convert::Milliseconds | Convert::Seconds, _, Value::Timestamp(milliseconds)) => {
                Ok(Value::BigInt(match self {
                    Convert::Seconds => milliseconds.div_euclid(1_000),
                    Convert::Text | Convert::Number | Convert::Milliseconds => *milliseconds,
                }))
            }
            (Convert::Milliseconds, Some(seconds), _) => match seconds.checked_mul(1_000) {
                Some(milliseconds) => Ok(Value::BigInt(milliseconds)),
                None => Err(unfit("it is too large")),
            },
            (Convert::Seconds, Some(milliseconds), _) => {
                Ok(Value::BigInt(milliseconds.div_euclid(1_000)))
            }
            (
                Convert::Text | Convert::Number | Convert::Milliseconds | Convert::Seconds,
                None | Some(_),
                _,
            ) => Err(unfit("it is of another type")),
        }
    }
}

/// The value that a plan's text means in a column of this type; `None` if it means none.
pub(super) fn constant(text: &str, ty: &Type) -> Option<Value> {
    match ty {
        Type::Text => Some(Value::text(text)),
        Type::Ascii if text.is_ascii() => Some(Value::text(text)),
        Type::TinyInt => text.parse().ok().map(Value::TinyInt),
        Type::SmallInt => text.parse().ok().map(Value::SmallInt),
        Type::Int => text.parse().ok().map(Value::Int),
        Type::BigInt => text.parse().ok().map(Value::BigInt),
        Type::Boolean => text.parse().ok().map(Value::Boolean),
        _ => None,
    }
}

/// What is done to the values of one column.
#[derive(Clone)]
pub(super) enum ValueStep {
    Hmac(Box<Hmac<Sha256>>),
    Email(Box<Hmac<Sha256>>),
    Digits {
        mac: Box<Hmac<Sha256>>,
        keeps_country: bool,
    },
    Redact,
    Constant(Value),
    Convert(Convert),
}

impl ValueStep {
    /// Of a mask.
    ///
    /// # Errors
    /// [`Kind::Config`] if the key can't be used.
    pub fn masking(mask: Mask, key: Option<&Secret>) -> Result<ValueStep> {
        let mac = || keyed(key).map(Box::new);
        Ok(match mask {
            Mask::Redact => ValueStep::Redact,
            Mask::Hmac => ValueStep::Hmac(mac()?),
            Mask::Email => ValueStep::Email(mac()?),
            Mask::Phone | Mask::Digits => ValueStep::Digits {
                mac: mac()?,
                keeps_country: mask == Mask::Phone,
            },
        })
    }

    pub fn apply(&self, value: &mut Value) -> Result<()> {
        let made = match (self, &*value) {
            (ValueStep::Constant(constant), _) => constant.clone(),
            (ValueStep::Convert(convert), value) => convert.apply(value)?,
            (ValueStep::Hmac(mac), Value::Text(text)) => {
                Value::Text(text::hex(&digest(mac, text.as_bytes())))
            }
            (ValueStep::Hmac(mac), Value::Blob(bytes)) => Value::Blob(digest(mac, bytes)),
            (ValueStep::Email(mac), Value::Text(text)) => {
                let mut digits = text::hex(&digest(mac, text.as_bytes()));
                digits.truncate(ADDRESS_DIGITS);
                Value::text(format!("{digits}@example.com"))
            }
            (ValueStep::Digits { mac, keeps_country }, Value::Text(text)) => {
                let kept = if *keeps_country { country(text) } else { 0 };
                Value::Text(other_digits(mac, text, kept))
            }
            (ValueStep::Redact, Value::Text(_)) => Value::text(REDACTED),
            (ValueStep::Redact, Value::Blob(_)) => Value::Blob(REDACTED.into()),
            (
                ValueStep::Hmac(_)
                | ValueStep::Email(_)
                | ValueStep::Digits { .. }
                | ValueStep::Redact,
                _,
            ) => {
                let message = "a value to be masked is neither text nor a blob";
                return Err(Error::new(Kind::Invalid, message));
            }
        };
        *value = made;
        Ok(())
    }
}

/// How many digits at a number's beginning say which country it is of: two behind `+` or `00`.
fn country(text: &str) -> usize {
    let text = text.trim_start();
    match (text.strip_prefix('+'), text.strip_prefix("00")) {
        (Some(_), _) => 2,
        (None, Some(_)) => 4,
        (None, None) => 0,
    }
}

/// The text with other digits from the `kept`th on: a permutation of all texts of its shape.
fn other_digits(mac: &Hmac<Sha256>, text: &str, kept: usize) -> String {
    let mut digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|digit| digit - b'0')
        .collect();
    let kept = kept.min(digits.len());
    permute(mac, &mut digits[kept..]);
    let mut digits = digits.into_iter();
    text.chars()
        .map(|c| match c.is_ascii_digit() {
            true => digits.next().map_or(c, |digit| char::from(b'0' + digit)),
            false => c,
        })
        .collect()
}

/// Puts another number of as many digits in place of one, each of which stands for one other: a Feistel network, whose
/// rounds add to one half what the key makes of the other half.
fn permute(mac: &Hmac<Sha256>, digits: &mut [u8]) {
    let (left, right) = digits.split_at_mut(digits.len() / 2);
    for round in 0..ROUNDS {
        match round % 2 {
            0 => add(mac, round, left, right),
            _ => add(mac, round, right, left),
        }
    }
}

/// Adds to each digit, modulo ten, what the key makes of the others.
fn add(mac: &Hmac<Sha256>, round: u8, others: &[u8], digits: &mut [u8]) {
    let width = digits.len() as u64;
    for (part, digits) in (0_u64..).zip(digits.chunks_mut(16)) {
        let mut input = b"crossfade digits".to_vec();
        input.push(round);
        input.extend(width.to_be_bytes());
        input.extend(part.to_be_bytes());
        input.extend(others);
        // Two bytes for a digit: one alone would favour some digits.
        for (digit, bytes) in digits.iter_mut().zip(digest(mac, &input).chunks(2)) {
            let sum = bytes
                .iter()
                .fold(0, |sum, byte| sum * 256 + u32::from(*byte));
            *digit = (*digit + (sum % 10) as u8) % 10;
        }
    }
}

pub(super) fn digest(mac: &Hmac<Sha256>, bytes: &[u8]) -> Vec<u8> {
    let mut mac = mac.clone();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn keyed(key: Option<&Secret>) -> Result<Hmac<Sha256>> {
    let key = key.map_or("", Secret::expose);
    Hmac::new_from_slice(key.as_bytes())
        .map_err(|error| Error::new(Kind::Config, "the mask key can't be used").with_source(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn masked(mask: Mask, text: &str) -> String {
        let step = ValueStep::masking(mask, Some(&Secret::new("secret"))).unwrap();
        let mut value = Value::text(text);
        step.apply(&mut value).unwrap();
        match value {
            Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn shapes_stay() {
        let address = masked(Mask::Email, "ann@itv.example");
        assert!(
            address.ends_with("@example.com") && !address.contains("ann"),
            "{address}"
        );
        assert_eq!(address, masked(Mask::Email, "ann@itv.example"));
        assert_ne!(address, masked(Mask::Email, "bob@itv.example"));
        for (number, kept) in [("+44 20 7946 0958", 3), ("0044 (20) 7946-0958", 4), ("", 0)] {
            let made = masked(Mask::Phone, number);
            let shape = |text: &str| -> String {
                let sign = |c: char| if c.is_ascii_digit() { '#' } else { c };
                text.chars().map(sign).collect()
            };
            assert_eq!(shape(&made), shape(number), "{made}");
            assert_eq!(made[..kept], number[..kept]);
            assert!(number.is_empty() || made != number);
        }
        assert_eq!(masked(Mask::Digits, "NL-x é"), "NL-x é");
    }

    /// No two fall together, so that keys may be masked so.
    #[test]
    fn digits_are_permuted() {
        for width in 1..=4_usize {
            let all = 10_u32.pow(width as u32);
            let made: BTreeSet<String> = (0..all)
                .map(|number| masked(Mask::Digits, &format!("{number:0width$}")))
                .collect();
            assert_eq!(made.len(), all as usize, "{width}");
        }
        let long = "1234567890".repeat(8);
        assert_ne!(masked(Mask::Digits, &long), long);
    }

    #[test]
    fn values_are_converted_or_refused() {
        let of = |convert: Convert, value: Value| convert.apply(&value).ok();
        assert_eq!(of(Convert::Text, Value::Int(-7)), Some(Value::text("-7")));
        assert_eq!(
            of(Convert::Number, Value::text("42")),
            Some(Value::BigInt(42))
        );
        for text in ["042", "+1", "1.0", "", " 1", "9223372036854775808"] {
            assert_eq!(of(Convert::Number, Value::text(text)), None, "{text}");
        }
        assert_eq!(
            of(Convert::Milliseconds, Value::Int(2)),
            Some(Value::BigInt(2_000))
        );
        assert_eq!(of(Convert::Milliseconds, Value::BigInt(i64::MAX)), None);
        assert_eq!(
            of(Convert::Seconds, Value::BigInt(-1)),
            Some(Value::BigInt(-1))
        );
        assert_eq!(
            of(Convert::Seconds, Value::Timestamp(1_999)),
            Some(Value::BigInt(1))
        );
        assert_eq!(of(Convert::Text, Value::Boolean(true)), None);
    }

    #[test]
    fn constants_are_of_the_columns_type() {
        assert_eq!(constant("x", &Type::Text), Some(Value::text("x")));
        assert_eq!(constant("7", &Type::Int), Some(Value::Int(7)));
        assert_eq!(constant("300", &Type::TinyInt), None);
        assert_eq!(constant("true", &Type::Boolean), Some(Value::Boolean(true)));
        assert_eq!(constant("x", &Type::Blob), None);
    }
}
