//! Keys, values and ranges as people read them, on one line and with nothing in it that acts on a terminal
//! ([`crate::visible`]). Never parsed again.

use crate::codec::number;
use crate::codec::text::hex;
use crate::model::{Key, Value};
use crate::schema::{Column, Table};
use crate::store::Range;
use crate::visible::visible;

/// Characters of one value; more are cut.
const LONGEST: usize = 200;

/// A key: `id=u1, at=2`.
pub fn key(table: &Table, key: &Key) -> String {
    let mut parts = columns(table.partition(), &key.partition);
    match &key.clustering {
        Some(clustering) => parts.extend(columns(table.clustering(), clustering)),
        None => parts.push("static columns".into()),
    }
    parts.join(", ")
}

/// The partition of a key: `id=u1`.
#[cfg(feature = "copy")]
pub(crate) fn partition(table: &Table, key: &Key) -> String {
    columns(table.partition(), &key.partition).join(", ")
}

fn columns(columns: &[Column], values: &[Value]) -> Vec<String> {
    columns
        .iter()
        .zip(values)
        .map(|(c, v)| format!("{}={}", visible(&c.name), value(v)))
        .collect()
}

/// A range.
pub fn range(table: &Table, range: &Range) -> String {
    match range {
        Range::Tokens(tokens) => format!("all rows with tokens in {tokens}"),
        Range::Segment { index, total } => format!("segment {index} of {total}"),
        Range::Slice(slice) => {
            let mut parts = columns(table.clustering(), &slice.prefix);
            let next = table.clustering().get(slice.prefix.len());
            let name = next.map_or("?".into(), |column| visible(&column.name));
            if let Some(from) = &slice.from {
                parts.push(format!("{name} from {}", value(from)));
            }
            if let Some(until) = &slice.until {
                parts.push(format!("{name} below {}", value(until)));
            }
            let token = slice.token;
            if parts.is_empty() {
                format!("all rows with token {token}")
            } else {
                format!("rows with token {token} and {}", parts.join(", "))
            }
        }
    }
}

fn integer(bytes: &[u8]) -> String {
    match bytes.len() <= LONGEST {
        true => number::integer_text(bytes),
        // Turning it into digits takes time that grows with the square of its length.
        false => format!("0x{}", hex(bytes)),
    }
}

/// A value, cut if it is long.
pub fn value(value: &Value) -> String {
    let text = whole(value);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({})", &text[..end], size(value, &text)),
        None => text,
    }
}

/// How much there is of a value that is cut: of bytes, which are shown as twice as many digits, how many they are.
fn size(value: &Value, text: &str) -> String {
    match value {
        Value::Text(text) => format!("{} bytes", text.len()),
        Value::Blob(bytes) | Value::Raw(bytes) | Value::Varint(bytes) => {
            format!("{} bytes", bytes.len())
        }
        Value::Empty
        | Value::Boolean(_)
        | Value::TinyInt(_)
        | Value::SmallInt(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::Decimal { .. }
        | Value::Float(_)
        | Value::Double(_)
        | Value::Uuid(_)
        | Value::Timestamp(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Inet(_)
        | Value::Duration { .. }
        | Value::List(_)
        | Value::Vector(_)
        | Value::Set(_)
        | Value::Map(_)
        | Value::Tuple(_)
        | Value::Udt(_) => format!("{} characters", text.chars().count()),
    }
}

fn whole(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(whole).collect::<Vec<_>>().join(", ");
    let fields = |fields: &[Option<Value>]| {
        let field = |field: &Option<Value>| field.as_ref().map_or_else(|| "null".into(), whole);
        fields.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    match value {
        Value::Empty => "(empty)".into(),
        Value::Text(text) => visible(text).into_owned(),
        Value::Blob(bytes) | Value::Raw(bytes) => format!("0x{}", hex(bytes)),
        Value::Boolean(value) => value.to_string(),
        Value::TinyInt(value) => value.to_string(),
        Value::SmallInt(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::Varint(bytes) => integer(bytes),
        Value::Decimal { unscaled, scale } => {
            format!("{}E{}", integer(unscaled), -i64::from(*scale))
        }
        Value::Float(value) => format!("{value:?}"),
        Value::Double(value) => format!("{value:?}"),
        Value::Uuid(bytes) => {
            let hex = hex(bytes);
            let parts = [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ];
            parts.join("-")
        }
        Value::Timestamp(millis) => timestamp(*millis),
        Value::Date(days) => date(i64::from(*days) - (1 << 31)),
        Value::Time(nanos) => format!("{nanos} ns"),
        Value::Inet(address) => address.to_string(),
        Value::Duration {
            months,
            days,
            nanos,
        } => format!("{months}mo{days}d{nanos}ns"),
        Value::List(values) | Value::Vector(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("{{{}}}", list(values)),
        Value::Map(pairs) => {
            let pair = |(k, v): &(Value, Value)| format!("{}: {}", whole(k), whole(v));
            format!(
                "{{{}}}",
                pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Tuple(values) | Value::Udt(values) => format!("({})", fields(values)),
    }
}

/// Days since 1970-01-01 as `2026-11-21`, in the proleptic Gregorian calendar.
fn date(days: i64) -> String {
    // Years begin in March here, so that a leap day is the last of its year.
    let since = days + 719_468;
    let (era, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Milliseconds since 1970 as `2026-11-21T14:00:00.000Z`.
fn timestamp(millis: i64) -> String {
    const DAY: i64 = 86_400_000;
    let (day, rest) = (millis.div_euclid(DAY), millis.rem_euclid(DAY));
    let (seconds, millis) = (rest / 1_000, rest % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "{}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z",
        date(day)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_read_as_digits() {
        let decimal = |unscaled: &[u8], scale| {
            let unscaled = unscaled.into();
            value(&Value::Decimal { unscaled, scale })
        };
        assert_eq!(decimal(&[0x6e], 2), "110E-2");
        assert_eq!(decimal(&[0xff], -5), "-1E5");
        assert_eq!(value(&Value::Varint(vec![1, 0])), "256");
        assert!(value(&Value::Varint(vec![1; 5_000])).starts_with("0x0101"));
    }

    #[test]
    fn a_value_that_is_cut_tells_how_much_there_is_of_it() {
        let ends = |shown: Value, end: &str| {
            let text = value(&shown);
            assert!(text.ends_with(end), "{text}");
        };
        ends(Value::Blob(vec![7; 300]), "0707… (300 bytes)");
        ends(Value::Varint(vec![1; 5_000]), "… (5000 bytes)");
        ends(Value::Text("ä".repeat(201)), "ää… (402 bytes)");
        let list = vec![Value::Blob(vec![7; 300]); 2];
        ends(Value::List(list), "… (1208 characters)");
        assert_eq!(value(&Value::Text("ä".repeat(200))), "ä".repeat(200));
    }

    #[test]
    fn days_and_instants_read_as_people_write_them() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_778), "2026-11-21");
        assert_eq!(date(-719_468), "0000-03-01");
        assert_eq!(timestamp(1_763_733_600_123), "2025-11-21T14:00:00.123Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999Z");
        assert!(timestamp(i64::MIN).starts_with("-292275055-05-16T"));
    }
}
