//! Lists and deletes of parts of a partition, against a plain walk over the rows that are there.

use std::cmp::Ordering;
use std::ops::Bound;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::put;
use crate::model::{Key, List, Row, Span, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Guard, Store};

/// How many spans are listed, and how many deleted.
const SPANS: usize = 30;

pub(super) async fn run(store: &dyn Store, prefix: &str) {
    if !store.capabilities().write {
        return;
    }
    let (up, down) = (Order::Asc, Order::Desc);
    let mixed = table(&format!("{prefix}_mixed"), [up, down, up]);
    let falling = table(&format!("{prefix}_falling"), [down, down, down]);
    for table in [mixed, falling] {
        store.create(&table).await.expect("a table can be created");
        let mut chance = SmallRng::seed_from_u64(20_261_121);
        lists(store, &table, &mut chance).await;
        deletes(store, &table, &mut chance).await;
    }
}

/// `(p text, a int, b text, c bigint; shared text static, n int)`.
fn table(name: &str, orders: [Order; 3]) -> Table {
    let column = |name: &str, ty, role| Column {
        name: name.into(),
        ty,
        frozen: false,
        role,
    };
    let [a, b, c] = orders.map(Role::Clustering);
    Table::new(
        name,
        vec![
            column("p", Type::Text, Role::Partition),
            column("a", Type::Int, a),
            column("b", Type::Text, b),
            column("c", Type::BigInt, c),
            column("shared", Type::Text, Role::Static),
            column("n", Type::Int, Role::Regular),
        ],
    )
}

/// Values of the three clustering columns; every other one of the bounds lies between rows.
fn value(column: usize, at: i32) -> Value {
    match column {
        0 => Value::Int(at - 2),
        1 => Value::text(["", "B", "a", "a\0", "é"][at as usize]),
        _ => Value::BigInt(i64::from(at) << 33),
    }
}

/// The keys of a partition in clustering order, its static row first.
fn keys(table: &Table, partition: &str) -> Vec<Key> {
    let partition = vec![Value::text(partition)];
    let mut rows = Vec::new();
    for a in [0, 2, 4] {
        for b in [0, 2, 4] {
            for c in [0, 2, 4] {
                rows.push(vec![value(0, a), value(1, b), value(2, c)]);
            }
        }
    }
    rows.sort_by(|one, other| compare(table, one, other));
    let rows = rows.into_iter().map(|row| Key::row(partition.clone(), row));
    std::iter::once(Key::statics(partition.clone()))
        .chain(rows)
        .collect()
}

/// In clustering order, as far as the shorter of the two goes.
fn compare(table: &Table, one: &[Value], other: &[Value]) -> Ordering {
    let pairs = table.clustering().iter().zip(one.iter().zip(other));
    let orderings = pairs.map(|(column, (one, other))| {
        let ordering = match (one, other) {
            (Value::Int(one), Value::Int(other)) => one.cmp(other),
            (Value::Text(one), Value::Text(other)) => one.cmp(other),
            (Value::BigInt(one), Value::BigInt(other)) => one.cmp(other),
            _ => unreachable!("values of one column"),
        };
        match column.role {
            Role::Clustering(Order::Desc) => ordering.reverse(),
            Role::Clustering(Order::Asc) | Role::Partition | Role::Static | Role::Regular => {
                ordering
            }
        }
    });
    orderings.fold(Ordering::Equal, Ordering::then)
}

fn is_within(table: &Table, span: &Span, key: &Key) -> bool {
    let Some(row) = &key.clustering else {
        return span.is_whole();
    };
    let from = match &span.from {
        Bound::Unbounded => true,
        Bound::Included(prefix) => compare(table, row, prefix).is_ge(),
        Bound::Excluded(prefix) => compare(table, row, prefix).is_gt(),
    };
    let until = match &span.until {
        Bound::Unbounded => true,
        Bound::Included(prefix) => compare(table, row, prefix).is_le(),
        Bound::Excluded(prefix) => compare(table, row, prefix).is_lt(),
    };
    from && until
}

/// Spans of every kind: one that is whole, then what chance brings, some of them without any row.
fn spans(chance: &mut SmallRng, partition: impl Fn(usize) -> String) -> Vec<Span> {
    let mut bound = || {
        let prefix = (0..chance.random_range(1..=3))
            .map(|column| value(column, chance.random_range(0..5)))
            .collect();
        match chance.random_range(0..5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(prefix),
            _ => Bound::Excluded(prefix),
        }
    };
    let span = |at: usize| {
        let partition = vec![Value::text(partition(at))];
        match at {
            0 => Span::whole(partition),
            _ => Span {
                partition,
                from: bound(),
                until: bound(),
            },
        }
    };
    (0..SPANS).map(span).collect()
}

async fn fill(store: &dyn Store, table: &Table, keys: &[Key]) {
    let row = |key: &Key| {
        let cells = match key.is_static() {
            true => vec![Some(Value::text("s")), None],
            false => vec![None, Some(Value::Int(1))],
        };
        Row::new(key.clone(), cells)
    };
    let rows = keys.iter().map(row).collect();
    put(store, table, rows, &Guard::Always).await;
}

/// All of a list, page by page. Each page goes on behind the last key of the one before alone.
async fn list(store: &dyn Store, table: &Table, mut list: List) -> Vec<Key> {
    let mut seen: Vec<Key> = Vec::new();
    loop {
        let page = store.list(table, &list).await.expect("a page");
        assert!(page.rows.len() <= list.limit, "at most {} rows", list.limit);
        assert!(
            !page.rows.is_empty() || !page.more,
            "an empty page is the last"
        );
        seen.extend(page.rows.into_iter().map(|row| row.key));
        if !page.more {
            return seen;
        }
        list.after = seen.last().cloned();
    }
}

async fn lists(store: &dyn Store, table: &Table, chance: &mut SmallRng) {
    let there = keys(table, "l");
    fill(store, table, &there).await;
    let mut found = 0;
    for span in spans(chance, |_| "l".to_owned()) {
        for (reverse, limit) in [(false, 1), (false, 3), (false, 100), (true, 3), (true, 100)] {
            let mut wanted: Vec<Key> = there.clone();
            wanted.retain(|key| is_within(table, &span, key));
            if reverse {
                wanted.reverse();
            }
            let mut asked = List {
                span: span.clone(),
                reverse,
                after: None,
                limit,
            };
            let seen = list(store, table, asked.clone()).await;
            assert_eq!(seen, wanted, "{asked:?}");
            found += seen.len();
            // Behind a key that isn't there, and may lie anywhere.
            let after: Vec<Value> = (0..3)
                .map(|column| value(column, chance.random_range(0..5)))
                .collect();
            wanted.retain(|key| match (&key.clustering, reverse) {
                (Some(row), false) => compare(table, row, &after).is_gt(),
                (Some(row), true) => compare(table, row, &after).is_lt(),
                (None, _) => reverse,
            });
            asked.after = Some(Key::row(span.partition.clone(), after));
            let seen = list(store, table, asked.clone()).await;
            assert_eq!(seen, wanted, "{asked:?}");
        }
    }
    assert!(found > SPANS * 5, "the spans hold rows");
}

async fn deletes(store: &dyn Store, table: &Table, chance: &mut SmallRng) {
    for span in spans(chance, |at| format!("d{at}")) {
        let [Value::Text(partition)] = &span.partition[..] else {
            unreachable!("a text");
        };
        let mut left = keys(table, partition);
        fill(store, table, &left).await;
        store
            .delete(table, &span)
            .await
            .expect("a span can be deleted");
        left.retain(|key| !is_within(table, &span, key));
        let all = List {
            span: Span::whole(span.partition.clone()),
            reverse: false,
            after: None,
            limit: 100,
        };
        assert_eq!(list(store, table, all).await, left, "without {span:?}");
    }
}
