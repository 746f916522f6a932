//! Lists and deletes of parts of a partition, against a plain walk over the rows that are there.

use std::cmp::Ordering;
use std::ops::Bound;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::put;
use crate::model::{ClusteringRange, Condition, Key, Query, Row, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::Store;

/// How many ranges are listed, and how many deleted.
const SPANS: usize = 30;

pub(super) async fn run(store: &dyn Store, prefix: &str) {
    let can = store.capabilities();
    if !can.write && !can.change {
        return;
    }
    let (up, down) = (Order::Asc, Order::Desc);
    let mut tables = vec![
        table(
            &format!("{prefix}_mixed"),
            &[(Type::Int, up), (Type::Text, down), (Type::BigInt, up)],
            true,
        ),
        table(
            &format!("{prefix}_falling"),
            &[(Type::Int, down), (Type::Text, down), (Type::BigInt, down)],
            true,
        ),
        table(
            &format!("{prefix}_within"),
            &[
                (Type::Tuple(vec![Type::Text, Type::Int]), down),
                (Type::List(Box::new(Type::Text)), up),
            ],
            true,
        ),
    ];
    if can.change {
        // What the sort key of a new store is like depends on these.
        tables.extend([
            table(&format!("{prefix}_none"), &[], false),
            table(&format!("{prefix}_number"), &[(Type::Int, up)], false),
            table(
                &format!("{prefix}_number_falling"),
                &[(Type::Int, down)],
                false,
            ),
            table(
                &format!("{prefix}_text_falling"),
                &[(Type::Text, down)],
                false,
            ),
            table(&format!("{prefix}_made"), &[(Type::Text, up)], true),
        ]);
    }
    for table in tables {
        store.create(&table).await.expect("a table can be created");
        let mut chance = SmallRng::seed_from_u64(20_261_121);
        queries(store, &table, &mut chance).await;
        if can.write {
            deletes(store, &table, &mut chance).await;
        }
    }
}

/// `(p text, a …, b …, c …; shared text static, n int)`, with as many of `a` to `c` as are given.
fn table(name: &str, clustering: &[(Type, Order)], statics: bool) -> Table {
    let mut columns = vec![Column::new("p", Type::Text, Role::Partition)];
    let names = ["a", "b", "c"].into_iter().zip(clustering);
    columns.extend(names.map(|(name, (ty, order))| Column {
        frozen: matches!(ty, Type::Tuple(_) | Type::List(_)),
        ..Column::new(name, ty.clone(), Role::Clustering(*order))
    }));
    if statics {
        columns.push(Column::new("shared", Type::Text, Role::Static));
    }
    columns.push(Column::new("n", Type::Int, Role::Regular));
    Table::new(name, columns)
}

/// Values of a clustering column; every other one of the bounds lies between rows.
fn value(column: &Column, at: i32) -> Value {
    match column.ty {
        Type::Int => Value::Int(at - 2),
        Type::BigInt => Value::BigInt(i64::from(at) << 33),
        // Not in the order of their bytes, which begin with how many there are.
        Type::Tuple(_) => {
            let text = ["", "aa", "b", "ba", "é"][at as usize];
            Value::Tuple(vec![Some(Value::text(text)), Some(Value::Int(-at))])
        }
        Type::List(_) => {
            let texts: &[&str] = [&[][..], &["aa"], &["b"], &["b", ""], &["é"]][at as usize];
            Value::List(texts.iter().map(|text| Value::text(*text)).collect())
        }
        _ => Value::text(["", "B", "a", "a\0", "é"][at as usize]),
    }
}

/// The keys of a partition in clustering order, its static row first.
fn keys(table: &Table, partition: &str) -> Vec<Key> {
    let partition = vec![Value::text(partition)];
    // A key attribute of its own holds no empty text.
    let is_own = table.clustering().len() == 1 && !table.has_statics();
    let places = if is_own { [1, 2, 4] } else { [0, 2, 4] };
    let mut rows = vec![Vec::new()];
    for column in table.clustering() {
        let longer = rows.iter().flat_map(|row: &Vec<Value>| {
            places.map(|at| [&row[..], &[value(column, at)]].concat())
        });
        rows = longer.collect();
    }
    rows.sort_by(|one, other| compare(table, one, other));
    let statics = table.has_statics().then(|| Key::statics(partition.clone()));
    let rows = rows.into_iter().map(|row| Key::row(partition.clone(), row));
    statics.into_iter().chain(rows).collect()
}

/// In clustering order, as far as the shorter of the two goes.
fn compare(table: &Table, one: &[Value], other: &[Value]) -> Ordering {
    let pairs = table.clustering().iter().zip(one.iter().zip(other));
    let orderings = pairs.map(|(column, (one, other))| {
        let ordering = compare_values(one, other);
        match column.role {
            Role::Clustering(Order::Desc) => ordering.reverse(),
            Role::Clustering(Order::Asc) | Role::Partition | Role::Static | Role::Regular => {
                ordering
            }
        }
    });
    orderings.fold(Ordering::Equal, Ordering::then)
}

fn compare_values(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::BigInt(one), Value::BigInt(other)) => one.cmp(other),
        (Value::Tuple(one), Value::Tuple(other)) => {
            let fields = one.iter().flatten().zip(other.iter().flatten());
            let orderings = fields.map(|(one, other)| compare_values(one, other));
            orderings.fold(Ordering::Equal, Ordering::then)
        }
        (Value::List(one), Value::List(other)) => {
            let members = one.iter().zip(other);
            let orderings = members.map(|(one, other)| compare_values(one, other));
            let ordering = orderings.fold(Ordering::Equal, Ordering::then);
            ordering.then(one.len().cmp(&other.len()))
        }
        _ => unreachable!("values of one column"),
    }
}

fn is_within(table: &Table, range: &ClusteringRange, key: &Key) -> bool {
    let Some(row) = &key.clustering else {
        return range.is_whole();
    };
    let from = match &range.from {
        Bound::Unbounded => true,
        Bound::Included(prefix) => compare(table, row, prefix).is_ge(),
        Bound::Excluded(prefix) => compare(table, row, prefix).is_gt(),
    };
    let until = match &range.until {
        Bound::Unbounded => true,
        Bound::Included(prefix) => compare(table, row, prefix).is_le(),
        Bound::Excluded(prefix) => compare(table, row, prefix).is_lt(),
    };
    from && until
}

/// Spans of every kind: one that is whole, then what chance brings, some of them without any row.
fn ranges(
    table: &Table,
    chance: &mut SmallRng,
    partition: impl Fn(usize) -> String,
) -> Vec<ClusteringRange> {
    let mut bound = || {
        let all = table.clustering().len();
        let columns = chance.random_range(all.min(1)..=all);
        let columns = &table.clustering()[..columns];
        let prefix = columns
            .iter()
            .map(|column| value(column, chance.random_range(0..5)))
            .collect();
        match chance.random_range(0..5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(prefix),
            _ => Bound::Excluded(prefix),
        }
    };
    let range = |at: usize| {
        let partition = vec![Value::text(partition(at))];
        match at {
            0 => ClusteringRange::whole(partition),
            _ => ClusteringRange {
                partition,
                from: bound(),
                until: bound(),
            },
        }
    };
    (0..SPANS).map(range).collect()
}

async fn fill(store: &dyn Store, table: &Table, keys: &[Key]) {
    let row = |key: &Key| {
        let cells = table.cells().iter().map(|column| match column.role {
            Role::Static => key.is_static().then(|| Value::text("s")),
            Role::Regular | Role::Partition | Role::Clustering(_) => {
                (!key.is_static()).then_some(Value::Int(1))
            }
        });
        Row::new(key.clone(), cells.collect())
    };
    let rows = keys.iter().map(row).collect();
    put(store, table, rows, &Condition::Always).await;
}

/// All of a query, page by page. Each page goes on after the last key of the one before alone.
async fn query(store: &dyn Store, table: &Table, mut query: Query) -> Vec<Key> {
    let mut seen: Vec<Key> = Vec::new();
    loop {
        let page = store.query(table, &query).await.expect("a page");
        assert!(
            page.rows.len() <= query.limit,
            "at most {} rows",
            query.limit
        );
        assert!(
            !page.rows.is_empty() || !page.more,
            "an empty page is the last"
        );
        seen.extend(page.rows.into_iter().map(|row| row.key));
        if !page.more {
            return seen;
        }
        query.after = seen.last().cloned();
    }
}

async fn queries(store: &dyn Store, table: &Table, chance: &mut SmallRng) {
    let there = keys(table, "l");
    fill(store, table, &there).await;
    let mut found = 0;
    let ways = [
        (false, 1),
        (true, 3),
        (false, 3),
        (true, 1),
        (false, 100),
        (true, 100),
    ];
    for (at, range) in ranges(table, chance, |_| "l".to_owned())
        .into_iter()
        .enumerate()
    {
        let (reverse, limit) = ways[at % ways.len()];
        let mut wanted: Vec<Key> = there.clone();
        wanted.retain(|key| is_within(table, &range, key));
        if reverse {
            wanted.reverse();
        }
        let mut asked = Query {
            range,
            reverse,
            after: None,
            limit,
        };
        let seen = query(store, table, asked.clone()).await;
        assert_eq!(seen, wanted, "{asked:?}");
        found += seen.len();
        // After a key that may not be there, and may lie anywhere.
        let after = random_key(table, &asked.range.partition, chance);
        wanted.retain(|key| match (compare_keys(table, key, &after), reverse) {
            (order, false) => order.is_gt(),
            (order, true) => order.is_lt(),
        });
        asked.after = Some(after);
        let seen = query(store, table, asked.clone()).await;
        assert_eq!(seen, wanted, "{asked:?}");
    }
    assert!(found > there.len(), "the ranges hold rows");
}

/// A key of a row, or the static row's.
fn random_key(table: &Table, partition: &[Value], chance: &mut SmallRng) -> Key {
    if table.has_statics() && chance.random_range(0..5) == 0 {
        return Key::statics(partition.to_vec());
    }
    // A key attribute of its own holds no empty text.
    let columns = table.clustering().iter();
    let values = columns.map(|column| value(column, chance.random_range(1..5)));
    Key::row(partition.to_vec(), values.collect())
}

/// In clustering order, the static row first.
fn compare_keys(table: &Table, one: &Key, other: &Key) -> Ordering {
    match (&one.clustering, &other.clustering) {
        (Some(one), Some(other)) => compare(table, one, other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

async fn deletes(store: &dyn Store, table: &Table, chance: &mut SmallRng) {
    for range in ranges(table, chance, |at| format!("d{at}")) {
        let [Value::Text(partition)] = &range.partition[..] else {
            unreachable!("a text");
        };
        let mut left = keys(table, partition);
        fill(store, table, &left).await;
        store
            .delete(table, &range)
            .await
            .expect("a range can be deleted");
        left.retain(|key| !is_within(table, &range, key));
        let all = Query {
            range: ClusteringRange::whole(range.partition.clone()),
            reverse: false,
            after: None,
            limit: 100,
        };
        assert_eq!(query(store, table, all).await, left, "without {range:?}");
    }
}
