//! What rows become, written down from the description of the item format, and nothing else.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as A;
use scylla::value::CqlValue as C;

use super::{Item, Row};

/// A table's columns by what they are for.
pub(crate) struct Shape {
    pub(crate) partition: &'static [&'static str],
    pub(crate) clustering: &'static [&'static str],
    pub(crate) statics: &'static [&'static str],
}

/// An attribute of a value.
pub(crate) fn attribute(value: &C) -> A {
    let all = |values: &[C]| values.iter().map(attribute).collect();
    match value {
        C::Ascii(text) | C::Text(text) => A::S(text.clone()),
        C::TinyInt(n) => A::N(n.to_string()),
        C::SmallInt(n) => A::N(n.to_string()),
        C::Int(n) => A::N(n.to_string()),
        C::BigInt(n) => A::N(n.to_string()),
        C::Timestamp(at) => A::N(at.0.to_string()),
        C::Date(date) => A::N((i64::from(date.0) - (1 << 31)).to_string()),
        C::Time(time) => A::N(time.0.to_string()),
        C::Double(n) => A::N(n.to_string()),
        C::Boolean(value) => A::Bool(*value),
        C::Blob(bytes) => A::B(Blob::new(bytes.clone())),
        C::Uuid(id) => A::S(id.to_string()),
        C::Timeuuid(id) => A::S(id.to_string()),
        C::Inet(address) => A::S(address.to_string()),
        C::Decimal(decimal) => {
            let (digits, scale) = decimal.as_signed_be_bytes_slice_and_exponent();
            let negative = digits.first().is_some_and(|byte| byte & 0x80 != 0);
            let start = if negative { -1_i128 } else { 0 };
            let unscaled = digits
                .iter()
                .fold(start, |n, byte| n << 8 | i128::from(*byte));
            A::S(format!("{unscaled}E{}", -i64::from(scale)))
        }
        C::List(values) => A::L(all(values)),
        C::Set(values) => match values.first() {
            Some(C::Text(_)) => A::Ss(values.iter().filter_map(C::as_text).cloned().collect()),
            _ => A::L(all(values)),
        },
        C::Map(pairs) => {
            let pair =
                |(key, value): &(C, C)| (key.as_text().expect("a text").clone(), attribute(value));
            A::M(pairs.iter().map(pair).collect())
        }
        C::UserDefinedType { fields, .. } => {
            let field = |(name, value): &(String, Option<C>)| {
                Some((name.clone(), attribute(value.as_ref()?)))
            };
            A::M(fields.iter().filter_map(field).collect())
        }
        C::Tuple(values) => {
            let member = |value: &Option<C>| value.as_ref().map_or(A::Null(true), attribute);
            A::L(values.iter().map(member).collect())
        }
        other => panic!("these tests have no such column: {other:?}"),
    }
}

/// Columns by name, in one order, and sets in one order: fit to be compared.
type Plain = BTreeMap<String, String>;

fn plain(name: &str, attribute: &A) -> (String, String) {
    let text = match attribute {
        A::Ss(members) => {
            let mut members = members.clone();
            members.sort();
            format!("{members:?}")
        }
        A::M(fields) => {
            let fields: Plain = fields
                .iter()
                .map(|(name, field)| plain(name, field))
                .collect();
            format!("{fields:?}")
        }
        other => format!("{other:?}"),
    };
    (name.to_owned(), text)
}

/// The items that rows should have become, by their key columns.
fn wanted(shape: &Shape, rows: &[Row]) -> BTreeMap<String, Plain> {
    let mut items = BTreeMap::new();
    for row in rows {
        let cell = |name: &&str| Some(plain(name, &attribute(row[*name].as_ref()?)));
        let partition: Plain = shape.partition.iter().filter_map(cell).collect();
        let statics: Plain = shape.statics.iter().filter_map(cell).collect();
        if !statics.is_empty() {
            let item = partition.clone().into_iter().chain(statics).collect();
            items.insert(format!("{partition:?} static"), item);
        }
        let is_row = shape.clustering.iter().all(|name| row[*name].is_some());
        if is_row {
            let key: Plain = shape.clustering.iter().filter_map(cell).collect();
            let all: Vec<&str> = row.keys().map(String::as_str).collect();
            let own = all.iter().filter(|name| !shape.statics.contains(name));
            items.insert(
                format!("{partition:?} {key:?}"),
                own.filter_map(cell).collect(),
            );
        }
    }
    items
}

/// The items that are there, without made keys and the mark, by their key columns.
fn found(shape: &Shape, items: Vec<Item>) -> BTreeMap<String, Plain> {
    let mut found = BTreeMap::new();
    for mut item in items {
        assert_eq!(item.remove("_m"), Some(A::S("c".into())), "{item:?}");
        if let Some(pk) = item.remove("pk") {
            assert_eq!(pk, A::S(made(shape, &item)));
        }
        let sk = item.remove("sk");
        let columns: Plain = item
            .iter()
            .map(|(name, value)| plain(name, value))
            .collect();
        let some = |names: &[&str]| -> Plain {
            let column = |name: &&str| Some((name.to_string(), columns.get(*name)?.clone()));
            names.iter().filter_map(column).collect()
        };
        let (partition, clustering) = (some(shape.partition), some(shape.clustering));
        let name = if clustering.is_empty() && !shape.clustering.is_empty() {
            assert_eq!(
                sk,
                Some(A::B(Blob::new([0]))),
                "statics stand before all rows"
            );
            format!("{partition:?} static")
        } else {
            format!("{partition:?} {clustering:?}")
        };
        assert!(
            found.insert(name, columns).is_none(),
            "one key twice: {item:?}"
        );
    }
    found
}

/// A made partition key: the parts joined with `#`, each with its own `#` and `\` escaped.
fn made(shape: &Shape, item: &Item) -> String {
    let part = |name: &&str| match &item[*name] {
        A::S(text) => text.replace('\\', r"\\").replace('#', r"\#"),
        A::N(number) => number.clone(),
        other => panic!("these tests have no such key: {other:?}"),
    };
    shape
        .partition
        .iter()
        .map(part)
        .collect::<Vec<_>>()
        .join("#")
}

/// Fails, with some examples, unless the items are exactly what the rows should have become.
#[track_caller]
pub(crate) fn assert_same(shape: &Shape, rows: &[Row], items: Vec<Item>) {
    let (wanted, found) = (wanted(shape, rows), found(shape, items));
    let missing: Vec<_> = wanted
        .keys()
        .filter(|key| !found.contains_key(*key))
        .collect();
    let extra: Vec<_> = found
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .collect();
    let few = |keys: &[&String]| {
        format!(
            "{} {:?}",
            keys.len(),
            keys.iter().take(3).collect::<Vec<_>>()
        )
    };
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {}, extra {}",
        few(&missing),
        few(&extra)
    );
    for (key, columns) in &wanted {
        assert_eq!(&found[key], columns, "{key}");
    }
}
