//! Rows as JSON, and back: what the typed calls of [`crate::shim`] go through.
//!
//! | CQL type | JSON |
//! |---|---|
//! | integers, `varint`, `counter` | number; text of digits where a number is too large |
//! | `float`, `double` | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `decimal` | text: `"12.50"` as `"1250E-2"`; a number is taken too |
//! | `boolean`, `text`, `ascii` | themselves |
//! | `blob`, custom types | text in base64 |
//! | `uuid`, `timeuuid`, `inet` | their usual text |
//! | `timestamp` | text, RFC 3339 with milliseconds; outside the years 0 to 9999 milliseconds since 1970 |
//! | `date`, `time` | `"2026-11-21"`, `"14:00:00.123456789"`; what has no such form as days since 1970, nanoseconds |
//! | `duration` | `{"months": 1, "days": 2, "nanos": 3}` |
//! | `list`, `set`, `vector`, `tuple` | array |
//! | `map`, user-defined types | object; a map's keys are text, or the JSON text of what they are |
//!
//! A null column is left out of a row, and null means the same as leaving it out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use crate::codec::{number, text};
use crate::error::{Error, Kind, Result};
use crate::model::{F32, F64, Key, Row, Value};
use crate::schema::{Column, Table, Type};

/// Days between 1970-01-01 and day 0 of [`Value::Date`].
const DATE_ZERO: i64 = 1 << 31;
/// The Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;
const NANOS: i64 = 1_000_000_000;

/// A row as an object.
pub fn of_row(table: &Table, row: &Row) -> Map<String, Json> {
    let mut object = of_key(table, &row.key);
    for (column, value) in table.cells().iter().zip(&row.cells) {
        if let Some(value) = value {
            object.insert(column.name.clone(), of_value(value, &column.ty));
        }
    }
    object
}

/// A key as an object of its columns.
pub fn of_key(table: &Table, key: &Key) -> Map<String, Json> {
    let partition = table.partition().iter().zip(&key.partition);
    let clustering = table.clustering().iter();
    let clustering = clustering.zip(key.clustering.iter().flatten());
    let pair =
        |(column, value): (&Column, &Value)| (column.name.clone(), of_value(value, &column.ty));
    partition.chain(clustering).map(pair).collect()
}

/// The key in an object. Without any clustering column, in a table that has some, it is the place of the
/// partition's static columns.
///
/// # Errors
/// [`Kind::Invalid`] if a column is missing or of another type.
pub fn key(table: &Table, object: &Map<String, Json>) -> Result<Key> {
    let columns = table.clustering();
    let is_static = !columns.is_empty() && !columns.iter().any(|c| object.contains_key(&c.name));
    Ok(Key {
        partition: key_part(table, table.partition(), object)?,
        clustering: match is_static {
            true => None,
            false => Some(key_part(table, columns, object)?),
        },
    })
}

/// The values of key columns.
///
/// # Errors
/// As of [`key`].
pub fn key_part(
    table: &Table,
    columns: &[Column],
    object: &Map<String, Json>,
) -> Result<Vec<Value>> {
    let value = |column: &Column| match object.get(&column.name) {
        Some(json) => column_value(table, column, json)?
            .ok_or_else(|| wrong(table, column, "a key column can't be null")),
        None => Err(wrong(table, column, "a key column is missing")),
    };
    columns.iter().map(value).collect()
}

/// The row in an object: columns that are left out are null.
///
/// # Errors
/// As of [`key`]; and [`Kind::Invalid`] for a column that the table doesn't have.
pub fn row(table: &Table, object: &Map<String, Json>) -> Result<Row> {
    refuse_unknown(table, object)?;
    let cell = |column: &Column| match object.get(&column.name) {
        Some(json) => column_value(table, column, json),
        None => Ok(None),
    };
    let cells: Result<Vec<Option<Value>>> = table.cells().iter().map(cell).collect();
    Ok(Row::new(key(table, object)?, cells?))
}

/// Refuses names that the table doesn't have: a misspelled column would be lost.
///
/// # Errors
/// [`Kind::Invalid`], naming the table's columns.
pub fn refuse_unknown(table: &Table, object: &Map<String, Json>) -> Result<()> {
    let is_unknown = |name: &&String| !table.columns.iter().any(|column| column.name == **name);
    let Some(name) = object.keys().find(is_unknown) else {
        return Ok(());
    };
    let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    Err(
        Error::new(Kind::Invalid, format!("there is no column `{name}`"))
            .with_context("table", table.name.as_str())
            .with_help(format!("its columns are {}", names.join(", "))),
    )
}

/// A column's value; `None` for null.
///
/// # Errors
/// [`Kind::Invalid`] if it is of another type.
pub fn column_value(table: &Table, column: &Column, json: &Json) -> Result<Option<Value>> {
    if json.is_null() {
        return Ok(None);
    }
    match value(json, &column.ty) {
        // A collection of cells without elements is null.
        Some(Value::List(all) | Value::Set(all)) if column.is_multicell() && all.is_empty() => {
            Ok(None)
        }
        Some(Value::Map(all)) if column.is_multicell() && all.is_empty() => Ok(None),
        Some(value) => Ok(Some(value)),
        None => {
            let message = format!("{json} is no value of type {}", column.cql_type());
            Err(wrong(table, column, &message))
        }
    }
}

fn wrong(table: &Table, column: &Column, message: &str) -> Error {
    Error::new(Kind::Invalid, message)
        .with_context("table", table.name.as_str())
        .with_context("column", column.name.as_str())
}

/// A value as JSON.
pub fn of_value(value: &Value, ty: &Type) -> Json {
    let elements = |values: &[Value], ty: &Type| values.iter().map(|v| of_value(v, ty)).collect();
    let field = |value: &Option<Value>, ty: &Type| match value {
        Some(value) => of_value(value, ty),
        None => Json::Null,
    };
    match (value, ty) {
        (Value::Empty, _) => Json::String(String::new()),
        (Value::Text(text), _) => Json::String(text.clone()),
        (Value::Blob(bytes) | Value::Raw(bytes), _) => Json::String(STANDARD.encode(bytes)),
        (Value::Boolean(value), _) => Json::Bool(*value),
        (Value::TinyInt(value), _) => Json::from(*value),
        (Value::SmallInt(value), _) => Json::from(*value),
        (Value::Int(value), _) => Json::from(*value),
        (Value::BigInt(value), _) => Json::from(*value),
        (Value::Varint(bytes), _) => integer(&number::integer_text(bytes)),
        (Value::Decimal { unscaled, scale }, _) => Json::String(format!(
            "{}E{}",
            number::integer_text(unscaled),
            -i64::from(*scale)
        )),
        (Value::Float(value), _) => float(f64::from(value.get()), value.get().to_string()),
        (Value::Double(value), _) => float(value.get(), value.get().to_string()),
        (Value::Uuid(bytes), _) => Json::String(text::uuid(bytes)),
        (Value::Timestamp(millis), _) => {
            timestamp_text(*millis).map_or_else(|| Json::from(*millis), Json::String)
        }
        (Value::Date(days), _) => {
            let days = i64::from(*days) - DATE_ZERO;
            date_text(days).map_or_else(|| Json::from(days), Json::String)
        }
        (Value::Time(nanos), _) => {
            time_text(*nanos).map_or_else(|| Json::from(*nanos), Json::String)
        }
        (Value::Inet(address), _) => Json::String(address.to_string()),
        (
            Value::Duration {
                months,
                days,
                nanos,
            },
            _,
        ) => {
            serde_json::json!({"months": months, "days": days, "nanos": nanos})
        }
        (Value::List(values), Type::List(ty))
        | (Value::Set(values), Type::Set(ty))
        | (Value::Vector(values), Type::Vector(ty, _)) => Json::Array(elements(values, ty)),
        (Value::Map(pairs), Type::Map(key, ty)) => {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(k, v)| (map_key(&of_value(k, key)), of_value(v, ty)));
            Json::Object(pairs.collect())
        }
        (Value::Tuple(fields), Type::Tuple(types)) => {
            let fields = types
                .iter()
                .zip(fields.iter().chain(std::iter::repeat(&None)));
            Json::Array(fields.map(|(ty, value)| field(value, ty)).collect())
        }
        (Value::Udt(fields), Type::Udt(udt)) => {
            let fields = udt.fields.iter().zip(fields);
            let fields = fields.filter(|(_, value)| value.is_some());
            let fields = fields.map(|((name, ty), value)| (name.clone(), field(value, ty)));
            Json::Object(fields.collect())
        }
        // What isn't of its column's type has no better form than its bytes.
        (
            Value::List(_)
            | Value::Set(_)
            | Value::Vector(_)
            | Value::Map(_)
            | Value::Tuple(_)
            | Value::Udt(_),
            _,
        ) => Json::String(STANDARD.encode(crate::codec::cql::to_bytes(value, ty))),
    }
}

/// The value that JSON stands for; `None` if it isn't of this type.
pub fn value(json: &Json, ty: &Type) -> Option<Value> {
    let elements = |ty: &Type| -> Option<Vec<Value>> {
        json.as_array()?
            .iter()
            .map(|json| value(json, ty))
            .collect()
    };
    let field = |json: Option<&Json>, ty: &Type| -> Option<Option<Value>> {
        match json {
            None | Some(Json::Null) => Some(None),
            Some(json) => value(json, ty).map(Some),
        }
    };
    Some(match ty {
        Type::Ascii => Value::Text(json.as_str().filter(|text| text.is_ascii())?.to_owned()),
        Type::Text => Value::Text(json.as_str()?.to_owned()),
        Type::TinyInt => Value::TinyInt(small(json)?),
        Type::SmallInt => Value::SmallInt(small(json)?),
        Type::Int => Value::Int(small(json)?),
        Type::BigInt | Type::Counter => Value::BigInt(small(json)?),
        Type::Varint => Value::Varint(number::integer_bytes(&digits(json)?)?),
        Type::Decimal => text::of_any_decimal(&digits(json)?)?,
        Type::Float => {
            let given = double(json)?;
            let value = given as f32;
            // What is too large for it is no infinity.
            (value.is_infinite() == given.is_infinite()).then_some(())?;
            Value::Float(F32::from_bits(value.to_bits()))
        }
        Type::Double => Value::Double(F64::from_bits(double(json)?.to_bits())),
        Type::Boolean => Value::Boolean(json.as_bool()?),
        Type::Blob | Type::Custom(_) => Value::Blob(STANDARD.decode(json.as_str()?).ok()?),
        Type::Uuid | Type::TimeUuid => {
            Value::Uuid(text::of_uuid(&json.as_str()?.to_ascii_lowercase())?)
        }
        Type::Timestamp => Value::Timestamp(timestamp(json)?),
        Type::Date => Value::Date(u32::try_from(days(json)? + DATE_ZERO).ok()?),
        Type::Time => Value::Time(nanos_of_day(json)?),
        Type::Inet => Value::Inet(json.as_str()?.parse().ok()?),
        Type::Duration => {
            let part = |name: &str| json.get(name).map_or(Some(0), Json::as_i64);
            Value::Duration {
                months: i32::try_from(part("months")?).ok()?,
                days: i32::try_from(part("days")?).ok()?,
                nanos: part("nanos")?,
            }
        }
        Type::List(element) => Value::List(elements(element)?),
        Type::Set(element) => Value::Set(elements(element)?),
        Type::Vector(element, size) => {
            let values = elements(element)?;
            (values.len() == usize::from(*size)).then_some(Value::Vector(values))?
        }
        Type::Map(key, element) => {
            let pair = |(name, json): (&String, &Json)| {
                Some((
                    value(&read_map_key(name, key)?, key)?,
                    value(json, element)?,
                ))
            };
            Value::Map(json.as_object()?.iter().map(pair).collect::<Option<_>>()?)
        }
        Type::Tuple(types) => {
            let fields = json
                .as_array()
                .filter(|fields| fields.len() <= types.len())?;
            let fields = fields.iter().zip(types);
            Value::Tuple(
                fields
                    .map(|(json, ty)| field(Some(json), ty))
                    .collect::<Option<_>>()?,
            )
        }
        Type::Udt(udt) => {
            let object = json.as_object()?;
            let is_known = |name: &String| udt.fields.iter().any(|(field, _)| field == name);
            object.keys().all(is_known).then_some(())?;
            let fields = udt.fields.iter();
            let fields = fields.map(|(name, ty)| field(object.get(name), ty));
            Value::Udt(fields.collect::<Option<_>>()?)
        }
    })
}

fn small<T: TryFrom<i64>>(json: &Json) -> Option<T> {
    let number = match json {
        Json::String(text) => text.parse().ok()?,
        Json::Number(number) => number.as_i64()?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    T::try_from(number).ok()
}

fn digits(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn integer(digits: &str) -> Json {
    match digits.parse::<i64>() {
        Ok(number) => Json::from(number),
        Err(_) => Json::String(digits.to_owned()),
    }
}

fn float(value: f64, shortest: String) -> Json {
    // An `f32` has fewer digits than the `f64` that it equals.
    let number = shortest.parse().ok().and_then(Number::from_f64);
    let name = || match (value.is_nan(), value > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    };
    number.map_or_else(|| Json::from(name()), Json::Number)
}

fn double(json: &Json) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => json.as_f64(),
    }
}

fn timestamp_text(millis: i64) -> Option<String> {
    let nanos = i128::from(millis) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    (0..=9_999)
        .contains(&at.year())
        .then(|| at.format(format).ok())?
}

fn timestamp(json: &Json) -> Option<i64> {
    let Some(text) = json.as_str() else {
        return json.as_i64();
    };
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

fn date_text(days: i64) -> Option<String> {
    let date = Date::from_julian_day(i32::try_from(days + EPOCH).ok()?).ok()?;
    date.format(format_description!("[year]-[month]-[day]"))
        .ok()
}

fn time_text(nanos: i64) -> Option<String> {
    let (seconds, nanos) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
    let hour = u8::try_from(seconds / 3_600).ok()?;
    let minute = u8::try_from(seconds / 60 % 60).ok()?;
    let second = u8::try_from(seconds % 60).ok()?;
    let time = Time::from_hms_nano(hour, minute, second, u32::try_from(nanos).ok()?).ok()?;
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:9]");
    time.format(format).ok()
}

fn days(json: &Json) -> Option<i64> {
    let Some(text) = json.as_str() else {
        return json.as_i64();
    };
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    Some(i64::from(date.to_julian_day()) - EPOCH)
}

fn nanos_of_day(json: &Json) -> Option<i64> {
    let Some(text) = json.as_str() else {
        return json.as_i64();
    };
    let format = format_description!("[hour]:[minute]:[second][optional [.[subsecond]]]");
    let since = Time::parse(text, format)
        .ok()?
        .duration_since(Time::MIDNIGHT);
    i64::try_from(since.whole_nanoseconds()).ok()
}

/// A map's key as an object's: text as it is, anything else as its JSON text.
fn map_key(key: &Json) -> String {
    match key {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            key.to_string()
        }
    }
}

fn read_map_key(name: &str, ty: &Type) -> Option<Json> {
    let as_text = Json::String(name.to_owned());
    match value(&as_text, ty) {
        Some(_) => Some(as_text),
        None => serde_json::from_str(name).ok(),
    }
}

#[cfg(test)]
mod tests;
