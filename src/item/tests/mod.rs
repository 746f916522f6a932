#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;
mod forms;
mod items;
mod keys;
mod round_trip;
mod values;

use super::*;
use crate::codec::{canonical, number, text};
use crate::error::Kind;
use crate::model::{Key, Mark, Row, Value};
use crate::schema::{Column, Layout, Order, Role, Table, Type, Udt};

fn column(name: &str, ty: Type, role: Role) -> Column {
    Column {
        name: name.into(),
        frozen: matches!(role, Role::Partition | Role::Clustering(_)),
        ty,
        role,
    }
}

fn frozen(column: Column) -> Column {
    Column {
        frozen: true,
        ..column
    }
}

fn mapping(columns: Vec<Column>) -> Mapping {
    Mapping::new(&Table::new("t", columns)).unwrap()
}

fn id() -> Column {
    column("id", Type::Text, Role::Partition)
}

/// A mapping of `id text PRIMARY KEY, v <type>`.
fn with_value(ty: Type) -> Mapping {
    mapping(vec![id(), column("v", ty, Role::Regular)])
}

fn row(cells: Vec<Option<Value>>) -> Row {
    Row::new(Key::row(vec![Value::text("k")], Vec::new()), cells)
}

/// The attribute of `v`, after checking that it reads back.
fn attr_of(mapping: &Mapping, value: Value) -> Option<Attr> {
    let row = row(vec![Some(value)]);
    let item = mapping.item(&row).unwrap();
    let read = mapping.row(item.clone()).unwrap();
    let found = item.into_iter().find(|(name, _)| name == "v");
    match &found {
        Some(_) => assert_eq!(read, canonical::stored(mapping.table(), row)),
        None => assert_eq!(read.cells, [None]),
    }
    found.map(|(_, attr)| attr)
}

fn envelope(ty: &str, bytes: &[u8]) -> Attr {
    Attr::M(vec![
        ("_t".into(), Attr::S(ty.into())),
        ("_v".into(), Attr::B(bytes.to_vec())),
    ])
}

fn n(text: &str) -> Attr {
    Attr::N(text.into())
}

fn s(text: &str) -> Attr {
    Attr::S(text.into())
}

fn list(ty: Type) -> Type {
    Type::List(Box::new(ty))
}

fn set(ty: Type) -> Type {
    Type::Set(Box::new(ty))
}

fn map(key: Type, ty: Type) -> Type {
    Type::Map(Box::new(key), Box::new(ty))
}

fn double(value: f64) -> Value {
    Value::Double(value.into())
}

fn varint(text: &str) -> Value {
    Value::Varint(number::integer_bytes(text).unwrap())
}

fn asc(name: &str, ty: Type) -> Column {
    column(name, ty, Role::Clustering(Order::Asc))
}

fn desc(name: &str, ty: Type) -> Column {
    column(name, ty, Role::Clustering(Order::Desc))
}

/// Attributes' values as they are written on the wire, one after the other.
fn texts(attributes: &[(&str, Attr)]) -> Vec<String> {
    let text = |(_, attr): &(&str, Attr)| {
        let mut text = Vec::new();
        wire::put_attr(&mut text, attr);
        String::from_utf8(text).unwrap()
    };
    attributes.iter().map(text).collect()
}
