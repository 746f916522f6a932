//! A table's schema as it is kept: in the control record, so that reading needs no old store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Column, Layout, Order, Role, Table, Type, Udt};
use crate::error::{Error, Kind, Result};

/// A table's schema as text and names, for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTable {
    name: String,
    /// User-defined types, each before those that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<StoredUdt>,
    columns: Vec<StoredColumn>,
    layout: Layout,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredUdt {
    name: String,
    fields: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    r#type: String,
    role: StoredRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredRole {
    Partition,
    Asc,
    Desc,
    Static,
    Regular,
}

impl StoredTable {
    /// A table's schema, to be kept.
    pub fn of(table: &Table) -> Self {
        let mut types = Vec::new();
        table
            .columns
            .iter()
            .for_each(|column| column.ty.collect_udts(&mut types));
        let stored = |column: &Column| StoredColumn {
            name: column.name.clone(),
            r#type: column.cql_type(),
            role: match column.role {
                Role::Partition => StoredRole::Partition,
                Role::Clustering(Order::Asc) => StoredRole::Asc,
                Role::Clustering(Order::Desc) => StoredRole::Desc,
                Role::Static => StoredRole::Static,
                Role::Regular => StoredRole::Regular,
            },
        };
        StoredTable {
            name: table.name.clone(),
            types: types
                .iter()
                .map(|udt| StoredUdt {
                    name: udt.name.clone(),
                    fields: udt
                        .fields
                        .iter()
                        .map(|(name, ty)| (name.clone(), super::inner(ty)))
                        .collect(),
                })
                .collect(),
            columns: table.columns.iter().map(stored).collect(),
            layout: table.layout.clone(),
        }
    }

    /// Its layout in the new store.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The table again.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if a type can't be read.
    pub fn read(&self) -> Result<Table> {
        let unreadable = |why: String| {
            Error::new(
                Kind::Corrupt,
                format!("a stored schema can't be read: {why}"),
            )
            .with_context("table", self.name.as_str())
        };
        let mut types: Vec<Arc<Udt>> = Vec::new();
        for udt in &self.types {
            let field = |(name, ty): &(String, String)| {
                Ok((name.clone(), Type::parse(ty, &types).map_err(unreadable)?.0))
            };
            let fields = udt.fields.iter().map(field).collect::<Result<_>>()?;
            types.push(Arc::new(Udt {
                name: udt.name.clone(),
                fields,
            }));
        }
        let column = |column: &StoredColumn| {
            let (ty, frozen) = Type::parse(&column.r#type, &types).map_err(unreadable)?;
            let role = match column.role {
                StoredRole::Partition => Role::Partition,
                StoredRole::Asc => Role::Clustering(Order::Asc),
                StoredRole::Desc => Role::Clustering(Order::Desc),
                StoredRole::Static => Role::Static,
                StoredRole::Regular => Role::Regular,
            };
            Ok(Column {
                name: column.name.clone(),
                ty,
                frozen,
                role,
            })
        };
        let columns = self.columns.iter().map(column).collect::<Result<_>>()?;
        let mut table = Table::new(self.name.clone(), columns);
        table.layout = self.layout.clone();
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_schema_survives_json() {
        let street = Arc::new(Udt {
            name: "street".into(),
            fields: vec![("n".into(), Type::Int)],
        });
        let home = Arc::new(Udt {
            name: "Home".into(),
            fields: vec![
                ("at".into(), Type::Udt(street)),
                ("tags".into(), Type::Set(Box::new(Type::Text))),
            ],
        });
        let column = |name: &str, ty: Type, frozen, role| Column {
            name: name.into(),
            ty,
            frozen,
            role,
        };
        let table = Table::new(
            "users",
            vec![
                column("id", Type::Uuid, false, Role::Partition),
                column("at", Type::TimeUuid, false, Role::Clustering(Order::Desc)),
                column("home", Type::Udt(home.clone()), true, Role::Regular),
                column(
                    "homes",
                    Type::Map(Box::new(Type::Int), Box::new(Type::Udt(home))),
                    false,
                    Role::Regular,
                ),
            ],
        );
        let text = serde_json::to_string(&StoredTable::of(&table)).unwrap();
        let stored: StoredTable = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.read().unwrap(), table);
    }
}
