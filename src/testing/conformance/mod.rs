//! One behaviour suite for every store: what the rest of the crate relies on, checked through the
//! [`Store`] trait alone. What a store can't do by its [`Capabilities`](crate::store::Capabilities)
//! is checked to be refused, not skipped.
//!
//! ```no_run
//! # async fn run(store: &dyn crossfade::store::Store) {
//! crossfade::testing::conformance::run(store, "my_tables").await;
//! # }
//! ```
//!
//! Every check panics with what was expected and what was seen.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

use crate::error::Kind;
use crate::model::{Condition, Key, Mark, Row, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Store, WriteOutcome};

mod applications;
mod changes;
mod conditions;
mod counters;
mod queries;
mod ranges;
mod scans;
mod together;

/// Runs every check on a store; tables whose names begin with `prefix` are made and left.
///
/// # Panics
/// On the first check that fails.
pub async fn run(store: &dyn Store, prefix: &str) {
    tables(store, &format!("{prefix}_tables")).await;
    puts(store, &format!("{prefix}_puts")).await;
    conditions_of_puts(store, &format!("{prefix}_guards")).await;
    marks(store, &format!("{prefix}_marks")).await;
    purges(store, &format!("{prefix}_purges")).await;
    counters::folds(store, &format!("{prefix}_folds")).await;
    counters::adds(store, &format!("{prefix}_adds")).await;
    queries::pages(store, &format!("{prefix}_pages")).await;
    scans::scans(store, &format!("{prefix}_scans")).await;
    conditions::conditions(store, &format!("{prefix}_conditions")).await;
    changes::changes(store, &format!("{prefix}_changes")).await;
    together::together(store, &format!("{prefix}_together")).await;
    missing(store, &format!("{prefix}_nowhere")).await;
    applications::run(store, prefix).await;
    ranges::run(store, prefix).await;
}

/// `(id text, at int DESC; shared text static, n bigint, body text)`.
fn events(name: &str) -> Table {
    Table::new(
        name,
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Desc)),
            Column::new("shared", Type::Text, Role::Static),
            Column::new("body", Type::Text, Role::Regular),
            Column::new("n", Type::BigInt, Role::Regular),
        ],
    )
}

const BODY: usize = 1;
const N: usize = 2;

fn event(id: &str, at: i32, body: Option<&str>, n: Option<i64>) -> Row {
    let key = Key::row(vec![Value::text(id)], vec![Value::Int(at)]);
    Row::new(key, vec![None, body.map(Value::text), n.map(Value::BigInt)])
}

fn statics(id: &str, shared: &str) -> Row {
    let key = Key::statics(vec![Value::text(id)]);
    Row::new(key, vec![Some(Value::text(shared)), None, None])
}

async fn create(store: &dyn Store, name: &str) -> Table {
    let table = events(name);
    store.create(&table).await.expect("a table can be created");
    table
}

async fn put(
    store: &dyn Store,
    table: &Table,
    rows: Vec<Row>,
    on: &Condition,
) -> Vec<WriteOutcome> {
    let count = rows.len();
    let puts = store.put(table, &rows, on).await;
    assert_eq!(puts.rows.len(), count, "one answer for each row");
    puts.rows
        .into_iter()
        .map(|row| row.expect("a lawful row can be put"))
        .collect()
}

async fn get(store: &dyn Store, table: &Table, key: &Key) -> Option<Row> {
    let rows = store
        .get(table, std::slice::from_ref(key))
        .await
        .expect("a key can be read");
    assert_eq!(rows.len(), 1, "one answer for each key");
    rows.into_iter().next().flatten()
}

async fn tables(store: &dyn Store, name: &str) {
    assert!(
        store.inspect(name).await.unwrap().is_none(),
        "a table that was never made"
    );
    let table = create(store, name).await;
    let first = store
        .inspect(name)
        .await
        .unwrap()
        .expect("a table that was made");
    store
        .create(&table)
        .await
        .expect("making a table again changes nothing");
    let again = store
        .inspect(name)
        .await
        .unwrap()
        .expect("a table that was made");
    assert_eq!(first.id, again.id, "an identity stays");
    if let Some(seen) = first.table {
        assert_eq!(
            seen.columns, table.columns,
            "a table reads back as it was made"
        );
    }
    let mut other = table.clone();
    other.columns[0].ty = Type::Int;
    let error = store
        .create(&other)
        .await
        .expect_err("a table with other keys");
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
}

async fn puts(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let rows = vec![
        event("a", 1, Some("one"), Some(i64::MIN)),
        event("a", -2, Some(""), None),
        event("b", i32::MAX, None, Some(0)),
        event("c", 0, None, None),
        statics("a", "for all of a"),
        statics("z", "no rows"),
    ];
    let answers = put(store, &table, rows.clone(), &Condition::Always).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == WriteOutcome::Written)
    );
    let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
    let read = store.get(&table, &keys).await.unwrap();
    for (row, read) in rows.iter().zip(read) {
        assert_eq!(read.as_ref(), Some(row), "a row reads back as it was put");
    }
    assert_eq!(
        get(store, &table, &event("a", 3, None, None).key).await,
        None
    );
    assert_eq!(store.get(&table, &[]).await.unwrap(), []);
    put(
        store,
        &table,
        vec![event("a", 1, None, Some(7))],
        &Condition::Always,
    )
    .await;
    assert_eq!(
        get(store, &table, &rows[0].key).await,
        Some(event("a", 1, None, Some(7))),
        "a put replaces the whole row: columns left out are null"
    );
}

async fn conditions_of_puts(store: &dyn Store, name: &str) {
    if !store.capabilities().conditional_put {
        return;
    }
    let table = create(store, name).await;
    let many: Vec<Row> = (0..60)
        .map(|at| event("g", at, Some("first"), Some(1)))
        .collect();
    put(
        store,
        &table,
        many.iter().step_by(3).cloned().collect(),
        &Condition::Always,
    )
    .await;
    let second: Vec<Row> = (0..60)
        .map(|at| event("g", at, Some("second"), Some(2)))
        .collect();
    let answers = put(store, &table, second.clone(), &Condition::absent()).await;
    for (at, answer) in answers.iter().enumerate() {
        let expected = if at % 3 == 0 {
            WriteOutcome::Refused
        } else {
            WriteOutcome::Written
        };
        assert_eq!(
            *answer, expected,
            "row {at}: each row has a condition and an answer of its own"
        );
        let there = get(store, &table, &second[at].key).await;
        let wanted = if at % 3 == 0 { &many[at] } else { &second[at] };
        assert_eq!(there.as_ref(), Some(wanted));
    }
    if !store.capabilities().marks {
        return;
    }
    let changed = event("g", 0, Some("changed"), Some(3));
    let wrong = Condition::equals(N, Value::BigInt(2));
    assert_eq!(
        put(store, &table, vec![changed.clone()], &wrong).await,
        [WriteOutcome::Refused]
    );
    let right = Condition::equals(N, Value::BigInt(1));
    assert_eq!(
        put(store, &table, vec![changed.clone()], &right).await,
        [WriteOutcome::Written]
    );
    assert_eq!(
        get(store, &table, &changed.key).await,
        Some(changed.clone())
    );
    let nowhere = event("nowhere", 0, Some("x"), Some(1));
    assert_eq!(
        put(
            store,
            &table,
            vec![nowhere],
            &Condition::equals(BODY, Value::text("x"))
        )
        .await,
        [WriteOutcome::Refused],
        "nothing there equals nothing"
    );
}

async fn marks(store: &dyn Store, name: &str) {
    if !store.capabilities().marks {
        return;
    }
    let table = create(store, name).await;
    let all = [
        Mark::Copied,
        Mark::Resaved,
        Mark::Application,
        Mark::Tombstone,
        Mark::Partial,
    ];
    for (at, mark) in all.into_iter().enumerate() {
        let mut row = event("m", at as i32, Some("marked"), None);
        row.mark = Some(mark);
        put(store, &table, vec![row.clone()], &Condition::absent()).await;
        assert_eq!(
            get(store, &table, &row.key).await,
            Some(row),
            "a mark reads back"
        );
    }
    let mut copied = event("m", 0, Some("again"), None);
    copied.mark = Some(Mark::Copied);
    let on = Condition::Marked(Mark::Tombstone);
    assert_eq!(
        put(store, &table, vec![copied.clone()], &on).await,
        [WriteOutcome::Refused]
    );
    let on = Condition::Marked(Mark::Copied);
    assert_eq!(
        put(store, &table, vec![copied], &on).await,
        [WriteOutcome::Written]
    );
}

async fn purges(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let rows: Vec<Row> = (0..30).map(|at| event("p", at, Some("x"), None)).collect();
    put(store, &table, rows.clone(), &Condition::Always).await;
    let keys: Vec<Key> = rows.iter().take(20).map(|row| row.key.clone()).collect();
    let answers = store
        .purge(&table, keys.clone(), &Condition::Always)
        .await
        .rows;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(WriteOutcome::Written))),
        "{answers:?}"
    );
    for row in &rows[..20] {
        assert_eq!(
            get(store, &table, &row.key).await,
            None,
            "a purged row is gone"
        );
    }
    assert!(
        get(store, &table, &rows[20].key).await.is_some(),
        "its neighbours stay"
    );
    if !store.capabilities().marks {
        return;
    }
    let mut marked = event("p", 100, None, None);
    marked.mark = Some(Mark::Application);
    put(store, &table, vec![marked.clone()], &Condition::Always).await;
    for (mark, expected) in [
        (Mark::Copied, WriteOutcome::Refused),
        (Mark::Application, WriteOutcome::Written),
    ] {
        let keys = vec![marked.key.clone()];
        let answers = store
            .purge(&table, keys, &Condition::Marked(mark))
            .await
            .rows;
        assert!(
            matches!(&answers[..], [Ok(answer)] if *answer == expected),
            "{answers:?}"
        );
    }
}

async fn missing(store: &dyn Store, name: &str) {
    let table = events(name);
    let key = event("a", 1, None, None).key;
    let error = store
        .get(&table, &[key])
        .await
        .expect_err("a table that isn't there");
    assert_eq!(error.kind(), Kind::Missing, "{error}");
    let puts = store
        .put(&table, &[event("a", 1, None, None)], &Condition::absent())
        .await;
    match &puts.rows[..] {
        [Err(error)] => assert_eq!(error.kind(), Kind::Missing, "{error}"),
        other => panic!("a row was put where no table is: {other:?}"),
    }
}
