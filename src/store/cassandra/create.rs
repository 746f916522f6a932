//! Making tables and dropping them.

use super::Cassandra;
use super::errors::{self, Doing};
use super::statement::{of, quoted_always};
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, Order, Role, Table, Type, Udt};
use crate::store::same_keys;

impl Cassandra {
    pub(super) async fn create_table(&self, table: &Table) -> Result<()> {
        let mut udts = Vec::new();
        table
            .columns
            .iter()
            .for_each(|column| column.ty.collect_udts(&mut udts));
        for udt in udts {
            self.define(&create_type(&self.keyspace, &udt))
                .await
                .map_err(|error| self.placed(error, table, Doing::Write))?;
        }
        self.define(&create_table(&self.keyspace, table))
            .await
            .map_err(|error| self.placed(error, table, Doing::Write))?;
        let there = self.inspect_table(&table.name).await?;
        let Some(there) = there.and_then(|there| there.table) else {
            return Err(Error::new(Kind::Missing, "the new table can't be seen yet")
                .with_context("table", table.name.clone())
                .with_help("check `nodetool describecluster` and try again"));
        };
        same_keys(&there, table)
    }

    pub(super) async fn drop_named(&self, table: &str) -> Result<()> {
        let (keyspace, table) = (quoted_always(&self.keyspace), quoted_always(table));
        self.define(&format!("DROP TABLE IF EXISTS {keyspace}.{table}"))
            .await
    }

    pub(super) async fn define(&self, cql: &str) -> Result<()> {
        self.session
            .query_unpaged(cql, ())
            .await
            .map(|_| ())
            .map_err(|error| errors::executing(error, Doing::Write).with_context("statement", cql))
    }
}

/// A type as a definition wants it; only collections, tuples and user-defined types can be frozen.
fn type_text(ty: &Type, frozen: bool) -> String {
    let freezes = matches!(
        ty,
        Type::List(_) | Type::Set(_) | Type::Map(..) | Type::Tuple(_) | Type::Udt(_)
    );
    if frozen && freezes {
        format!("frozen<{ty}>")
    } else {
        ty.to_string()
    }
}

fn create_type(keyspace: &str, udt: &Udt) -> String {
    let fields: Vec<String> = udt
        .fields
        .iter()
        .map(|(name, ty)| format!("{} {}", quoted_always(name), type_text(ty, true)))
        .collect();
    format!(
        "CREATE TYPE IF NOT EXISTS {}.{} ({})",
        quoted_always(keyspace),
        quoted_always(&udt.name),
        fields.join(", ")
    )
}

fn create_table(keyspace: &str, table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let is_static = if column.role == Role::Static {
                " STATIC"
            } else {
                ""
            };
            format!(
                "{} {}{is_static}",
                quoted_always(&column.name),
                type_text(&column.ty, column.frozen)
            )
        })
        .collect();
    let names = |columns: &[Column]| -> Vec<String> {
        columns
            .iter()
            .map(|column| quoted_always(&column.name))
            .collect()
    };
    let mut key = vec![format!("({})", names(table.partition()).join(", "))];
    key.extend(names(table.clustering()));
    let orders: Vec<String> = table
        .clustering()
        .iter()
        .map(|column| {
            let order = match column.role {
                Role::Clustering(Order::Desc) => "DESC",
                Role::Clustering(Order::Asc) | Role::Partition | Role::Static | Role::Regular => {
                    "ASC"
                }
            };
            format!("{} {order}", quoted_always(&column.name))
        })
        .collect();
    let order = if orders.is_empty() {
        String::new()
    } else {
        format!(" WITH CLUSTERING ORDER BY ({})", orders.join(", "))
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({})){order}",
        of(keyspace, table),
        columns.join(", "),
        key.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_table_is_created_with_its_orders_and_types() {
        let column = |name: &str, ty, frozen, role| Column {
            name: name.into(),
            ty,
            frozen,
            role,
        };
        let inner = Arc::new(Udt {
            name: "Inner".into(),
            fields: vec![("n".into(), Type::List(Box::new(Type::Int)))],
        });
        let table = Table::new(
            "Order",
            vec![
                column("p", Type::Int, true, Role::Partition),
                column("c", Type::TimeUuid, true, Role::Clustering(Order::Desc)),
                column("s", Type::Text, false, Role::Static),
                column("u", Type::Udt(inner.clone()), true, Role::Regular),
            ],
        );
        assert_eq!(
            create_table("ks", &table),
            "CREATE TABLE IF NOT EXISTS \"ks\".\"Order\" (\"p\" int, \"c\" timeuuid, \"s\" text STATIC, \
             \"u\" frozen<\"Inner\">, PRIMARY KEY ((\"p\"), \"c\")) WITH CLUSTERING ORDER BY (\"c\" DESC)"
        );
        assert_eq!(
            create_type("ks", &inner),
            "CREATE TYPE IF NOT EXISTS \"ks\".\"Inner\" (\"n\" frozen<list<int>>)"
        );
    }
}
