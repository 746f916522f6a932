//! Listing partitions.

use std::cmp::Ordering;
use std::ops::Bound;

use super::{column, create, event, put, statics};
use crate::mapping::keys::compare;
use crate::model::{Key, List, Row, Span, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Guard, Store};

pub(super) async fn pages(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let mut rows: Vec<Row> = (0..25).map(|at| event("q", at, Some("x"), None)).collect();
    rows.push(event("other", 1, None, None));
    rows.push(statics("q", "static"));
    put(store, &table, rows, &Guard::Always).await;
    for limit in [1, 7, 1_000] {
        let mut seen: Vec<Key> = Vec::new();
        loop {
            let list = List {
                span: Span::whole(vec![Value::text("q")]),
                reverse: false,
                after: seen.last().cloned(),
                limit,
            };
            let listed = store.list(&table, &list).await.unwrap();
            seen.extend(listed.rows.into_iter().map(|row| row.key));
            if !listed.more {
                break;
            }
        }
        let mut wanted = vec![Key::statics(vec![Value::text("q")])];
        wanted.extend((0..25).rev().map(|at| event("q", at, None, None).key));
        assert_eq!(
            seen, wanted,
            "pages of {limit} are the whole partition, each row once"
        );
    }
}

/// Parts of partitions, forwards and backwards, in pages: what is listed is what lies between the bounds
/// in clustering order.
pub(super) async fn spans(store: &dyn Store, name: &str) {
    if !store.capabilities().change {
        return;
    }
    for (at, (clustering, statics)) in shapes().into_iter().enumerate() {
        let mut columns = vec![column("id", Type::Int, Role::Partition)];
        columns.extend(clustering);
        if statics {
            columns.push(column("shared", Type::Int, Role::Static));
        }
        columns.push(column("v", Type::Int, Role::Regular));
        let table = Table::new(format!("{name}_{at}"), columns);
        store.create(&table).await.expect("a table can be created");
        let rows = rows(&table);
        let others = [0, 2].map(|id| Row {
            key: Key::row(
                vec![Value::Int(id)],
                rows[rows.len() - 1]
                    .key
                    .clustering
                    .clone()
                    .unwrap_or_default(),
            ),
            ..rows[rows.len() - 1].clone()
        });
        put(store, &table, [&rows[..], &others].concat(), &Guard::Always).await;
        for (at, span) in some_spans(&table).into_iter().enumerate() {
            let reverse = at % 2 == 1;
            let mut wanted = within(&table, &rows, &span);
            if reverse {
                wanted.reverse();
            }
            for limit in [[1, 2, 3][at % 3], 100] {
                let list = List {
                    span: span.clone(),
                    reverse,
                    after: None,
                    limit,
                };
                assert_eq!(
                    list_all(store, &table, &list).await,
                    wanted,
                    "{list:?} of {}",
                    table.name
                );
            }
            behind_what_is_gone(store, &table, &span, &wanted, reverse).await;
        }
    }
}

/// Clustering columns, and whether there are static ones.
fn shapes() -> Vec<(Vec<Column>, bool)> {
    let asc = |name: &str, ty| column(name, ty, Role::Clustering(Order::Asc));
    let desc = |name: &str, ty| column(name, ty, Role::Clustering(Order::Desc));
    vec![
        (vec![], false),
        (vec![asc("a", Type::Int)], false),
        (vec![desc("a", Type::Int)], false),
        (vec![desc("a", Type::Text)], false),
        (vec![desc("a", Type::Text)], true),
        (vec![asc("a", Type::Int), desc("b", Type::Text)], true),
        (vec![desc("a", Type::Int), desc("b", Type::Int)], true),
    ]
}

/// The values that a clustering column's rows have; bounds have those between them too.
fn domain(ty: &Type) -> Vec<Value> {
    match ty {
        Type::Int => [-300, -1, 0, 255, 256].map(Value::Int).into(),
        _ => ["a", "a\0", "ab", "b", "é"].map(Value::text).into(),
    }
}

/// The rows of a partition, in clustering order.
fn rows(table: &Table) -> Vec<Row> {
    let mut keys = vec![vec![]];
    for column in table.clustering() {
        let longer = keys.iter().flat_map(|key| {
            let values = domain(&column.ty).into_iter();
            values.map(move |value| [&key[..], &[value]].concat())
        });
        // The second and the fourth value have no rows.
        keys = longer
            .enumerate()
            .filter(|(at, _)| at % 5 % 2 == 0)
            .map(|(_, key)| key)
            .collect();
    }
    keys.sort_by(|a, b| in_order(table, a, b));
    let cell = |role| {
        table
            .cells()
            .iter()
            .map(|cell| (cell.role == role).then_some(Value::Int(1)))
            .collect()
    };
    let mut rows = Vec::new();
    if table.has_statics() {
        rows.push(Row::new(
            Key::statics(vec![Value::Int(1)]),
            cell(Role::Static),
        ));
    }
    rows.extend(
        keys.into_iter()
            .map(|key| Row::new(Key::row(vec![Value::Int(1)], key), cell(Role::Regular))),
    );
    rows
}

/// Compares as many clustering columns as both have.
fn in_order(table: &Table, a: &[Value], b: &[Value]) -> Ordering {
    let columns = table.clustering().iter().zip(a.iter().zip(b));
    let mut orders = columns.map(|(column, (a, b))| match column.role {
        Role::Clustering(Order::Desc) => compare(&column.ty, b, a),
        Role::Clustering(Order::Asc) | Role::Partition | Role::Static | Role::Regular => {
            compare(&column.ty, a, b)
        }
    });
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn within(table: &Table, rows: &[Row], span: &Span) -> Vec<Key> {
    let is_within = |key: &Key| {
        let Some(clustering) = &key.clustering else {
            return span.is_whole();
        };
        let to = |prefix: &Vec<Value>| in_order(table, clustering, prefix);
        let from = match &span.from {
            Bound::Unbounded => true,
            Bound::Included(prefix) => to(prefix).is_ge(),
            Bound::Excluded(prefix) => to(prefix).is_gt(),
        };
        from && match &span.until {
            Bound::Unbounded => true,
            Bound::Included(prefix) => to(prefix).is_le(),
            Bound::Excluded(prefix) => to(prefix).is_lt(),
        }
    };
    let keys = rows.iter().map(|row| &row.key);
    keys.filter(|key| is_within(key)).cloned().collect()
}

/// The whole partition, and every tenth or so of all pairs of bounds.
fn some_spans(table: &Table) -> Vec<Span> {
    let mut prefixes = vec![vec![]];
    let mut longest = prefixes.clone();
    for column in table.clustering() {
        longest = longest
            .iter()
            .flat_map(|key| {
                domain(&column.ty)
                    .into_iter()
                    .map(move |value| [&key[..], &[value]].concat())
            })
            .collect();
        prefixes.extend(longest.iter().cloned());
    }
    let mut bounds = vec![Bound::Unbounded];
    for prefix in prefixes {
        bounds.extend([Bound::Included(prefix.clone()), Bound::Excluded(prefix)]);
    }
    let partition = vec![Value::Int(1)];
    let mut spans = vec![Span::whole(partition.clone()); 2];
    let pairs = bounds
        .iter()
        .flat_map(|from| bounds.iter().map(move |until| (from, until)));
    let every = (bounds.len() * bounds.len()).div_ceil(24) | 1;
    spans.extend(pairs.skip(1).step_by(every).map(|(from, until)| Span {
        partition: partition.clone(),
        from: from.clone(),
        until: until.clone(),
    }));
    spans
}

async fn list_all(store: &dyn Store, table: &Table, list: &List) -> Vec<Key> {
    let mut list = list.clone();
    let mut seen = Vec::new();
    loop {
        let listed = store.list(table, &list).await;
        let listed = listed.unwrap_or_else(|error| panic!("{list:?}: {error:?}"));
        assert!(listed.rows.len() <= list.limit, "{list:?}");
        assert!(!listed.more || !listed.rows.is_empty(), "{list:?}");
        seen.extend(listed.rows.into_iter().map(|row| row.key));
        if !listed.more {
            return seen;
        }
        list.after = seen.last().cloned();
    }
}

/// A page may begin behind a key that isn't there, and behind the static row where there is none in the
/// span.
async fn behind_what_is_gone(
    store: &dyn Store,
    table: &Table,
    span: &Span,
    wanted: &[Key],
    reverse: bool,
) {
    let gone = table
        .clustering()
        .iter()
        .map(|column| domain(&column.ty).swap_remove(1));
    let mut gone: Vec<Key> = vec![Key::row(span.partition.clone(), gone.collect())];
    if table.has_statics() {
        gone.push(Key::statics(span.partition.clone()));
    }
    if table.clustering().is_empty() {
        return;
    }
    for after in gone {
        let is_behind = |key: &&Key| {
            let order = match (&key.clustering, &after.clustering) {
                (Some(key), Some(after)) => in_order(table, key, after),
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (None, None) => Ordering::Equal,
            };
            if reverse {
                order.is_lt()
            } else {
                order.is_gt()
            }
        };
        let list = List {
            span: span.clone(),
            reverse,
            after: Some(after.clone()),
            limit: 100,
        };
        let wanted: Vec<Key> = wanted.iter().filter(is_behind).cloned().collect();
        assert_eq!(
            list_all(store, table, &list).await,
            wanted,
            "{list:?} of {}",
            table.name
        );
    }
}
