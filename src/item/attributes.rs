//! Which attributes a table's items have, and what can be wrong with that.

use std::collections::HashMap;

use crate::codec::text;
use crate::schema::{Column, Form, Role, Table, Type};

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// A key attribute of the new store's table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: KeyType,
    /// Whether it is made of key columns (`pk`, `sk`), which then are attributes of their own too;
    /// else it is the attribute of the only column of its part of the key.
    pub made: bool,
}

/// The name of a made sort key where the plan gives none.
pub const SORT_ATTRIBUTE: &str = "sk";

/// The attribute that says who wrote an item.
pub(super) fn mark(table: &Table) -> String {
    format!("{}m", table.layout.reserved_prefix)
}

/// The attribute with the names of the columns that a partial item decides.
pub(super) fn decided(table: &Table) -> String {
    format!("{}d", table.layout.reserved_prefix)
}

/// The attribute of each cell's watermark; `None` for what isn't a counter.
pub(super) fn watermarks(table: &Table) -> Vec<Option<String>> {
    let prefix = &table.layout.reserved_prefix;
    let name = |column: &Column| {
        (column.ty == Type::Counter).then(|| format!("{prefix}w_{}", column.name))
    };
    table.cells().iter().map(name).collect()
}

/// The form of each cell's attribute; `None` for the usual one.
pub(super) fn forms(table: &Table) -> Vec<Option<Form>> {
    let forms = &table.layout.forms;
    let form = |column: &Column| forms.get(&column.name).copied();
    table.cells().iter().map(form).collect()
}

pub(super) fn partition_attribute(table: &Table) -> KeyAttribute {
    let layout = &table.layout;
    let own = match (table.partition(), &layout.partition_attribute) {
        ([column], None) if !layout.partition_hash => {
            own_partition_type(&column.ty).map(|ty| (column.name.clone(), ty))
        }
        _ => None,
    };
    match own {
        Some((name, ty)) => KeyAttribute {
            name,
            ty,
            made: false,
        },
        None => KeyAttribute {
            name: layout.partition_attribute.clone().unwrap_or("pk".into()),
            ty: KeyType::S,
            made: true,
        },
    }
}

fn own_partition_type(ty: &Type) -> Option<KeyType> {
    match ty {
        Type::TinyInt
        | Type::SmallInt
        | Type::Int
        | Type::BigInt
        | Type::Date
        | Type::Time
        | Type::Timestamp => Some(KeyType::N),
        Type::Blob => Some(KeyType::B),
        Type::Text | Type::Ascii | Type::Uuid | Type::TimeUuid | Type::Inet | Type::Decimal => {
            Some(KeyType::S)
        }
        Type::Counter
        | Type::Varint
        | Type::Float
        | Type::Double
        | Type::Boolean
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

pub(super) fn sort_attribute(table: &Table) -> Option<KeyAttribute> {
    let layout = &table.layout;
    let own = match (table.clustering(), &layout.sort_attribute) {
        ([], _) => return None,
        ([column], None) if !table.has_statics() => {
            own_sort_type(&column.ty).map(|ty| (column.name.clone(), ty))
        }
        _ => None,
    };
    Some(match own {
        Some((name, ty)) => KeyAttribute {
            name,
            ty,
            made: false,
        },
        None => KeyAttribute {
            name: layout
                .sort_attribute
                .clone()
                .unwrap_or(SORT_ATTRIBUTE.into()),
            ty: KeyType::B,
            made: true,
        },
    })
}

/// The types whose own attribute sorts as the column does.
fn own_sort_type(ty: &Type) -> Option<KeyType> {
    match ty {
        Type::Text | Type::Ascii => Some(KeyType::S),
        _ if text::is_integer(ty) => Some(KeyType::N),
        _ => None,
    }
}

pub(super) fn wrong_with(
    table: &Table,
    partition: &KeyAttribute,
    sort: Option<&KeyAttribute>,
) -> Vec<String> {
    const NAME_LIMIT: usize = 255;
    let layout = &table.layout;
    let mut wrong = Vec::new();
    if table.partition().is_empty() {
        wrong.push("the table has no partition key".to_owned());
    }
    if let (None, Some(name)) = (sort, &layout.sort_attribute) {
        wrong.push(format!(
            "a sort key {name} is named, but the table has no clustering column"
        ));
    }
    for column in &table.columns {
        let in_key = matches!(column.role, Role::Partition | Role::Clustering(_));
        if in_key && matches!(column.ty, Type::Duration | Type::Counter) {
            wrong.push(format!(
                "the column {} is a {}, which no key can hold",
                column.name, column.ty
            ));
        }
    }
    for key in [Some(partition), sort].into_iter().flatten() {
        if key.name.is_empty() || key.name.len() > NAME_LIMIT {
            wrong.push(format!(
                "the key attribute \"{}\" has {} bytes in its name, and must have 1 to {NAME_LIMIT}",
                key.name,
                key.name.len()
            ));
        }
    }
    for (name, form) in &layout.forms {
        let fits = |column: &Column| column.name == *name && form.fits(&column.ty);
        if !table.cells().iter().any(fits) {
            let form = form.name();
            wrong.push(format!(
                "no column {name} outside the key can have form = \"{form}\""
            ));
        }
    }
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut claim = |name: &str, owner: String| match owners.get(name) {
        Some(first) => wrong.push(format!(
            "the attribute name {name} is wanted by {first} and by {owner}"
        )),
        None => {
            owners.insert(name.to_owned(), owner);
        }
    };
    claim(&mark(table), "the mark".into());
    claim(&decided(table), "the columns of a partial item".into());
    for (column, watermark) in table.cells().iter().zip(watermarks(table)) {
        if let Some(name) = watermark {
            claim(&name, format!("the watermark of {}", column.name));
        }
    }
    for (key, owner) in [(Some(partition), "partition"), (sort, "sort")] {
        if let Some(key) = key.filter(|key| key.made) {
            claim(&key.name, format!("the made {owner} key"));
        }
    }
    if let Some(name) = &layout.expiry_attribute {
        claim(name, "the expiry".into());
    }
    for column in &table.columns {
        claim(&column.name, "a column".to_owned());
    }
    wrong
}
