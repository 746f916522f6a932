//! One behaviour suite for every store: what the rest of the crate relies on, checked through the
//! [`Store`] trait alone. What a store can't do by its [`Capabilities`](crate::store::Capabilities)
//! is checked to be refused, not skipped.
//!
//! ```no_run
//! # async fn run(store: &dyn crossfade::store::Store) {
//! crossfade::conformance::run(store, "my_tables").await;
//! # }
//! ```
//!
//! Every check panics with what was expected and what was seen.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod applications;
mod spans;

use std::collections::BTreeSet;

use crate::error::Kind;
use crate::model::{Fold, Key, List, Mark, Move, Row, Span, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Cursor, Guard, Put, Range, Store};

/// Runs every check on a store; tables whose names begin with `prefix` are made and left.
///
/// # Panics
/// On the first check that fails.
pub async fn run(store: &dyn Store, prefix: &str) {
    tables(store, &format!("{prefix}_tables")).await;
    puts(store, &format!("{prefix}_puts")).await;
    guards(store, &format!("{prefix}_guards")).await;
    marks(store, &format!("{prefix}_marks")).await;
    purges(store, &format!("{prefix}_purges")).await;
    folds(store, &format!("{prefix}_folds")).await;
    queries(store, &format!("{prefix}_queries")).await;
    scans(store, &format!("{prefix}_scans")).await;
    missing(store, &format!("{prefix}_nowhere")).await;
    applications::run(store, prefix).await;
    spans::run(store, prefix).await;
}

/// `(id text, at int DESC; shared text static, n bigint, body text)`.
fn events(name: &str) -> Table {
    let column = |name: &str, ty, role| Column {
        name: name.into(),
        ty,
        frozen: false,
        role,
    };
    Table::new(
        name,
        vec![
            column("id", Type::Text, Role::Partition),
            column("at", Type::Int, Role::Clustering(Order::Desc)),
            column("shared", Type::Text, Role::Static),
            column("body", Type::Text, Role::Regular),
            column("n", Type::BigInt, Role::Regular),
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

async fn put(store: &dyn Store, table: &Table, rows: Vec<Row>, guard: &Guard) -> Vec<Put> {
    let count = rows.len();
    let puts = store.put(table, &rows, guard).await;
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
    let answers = put(store, &table, rows.clone(), &Guard::Always).await;
    assert!(answers.iter().all(|answer| *answer == Put::Written));
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
        &Guard::Always,
    )
    .await;
    assert_eq!(
        get(store, &table, &rows[0].key).await,
        Some(event("a", 1, None, Some(7))),
        "a put replaces the whole row: columns left out are null"
    );
}

async fn guards(store: &dyn Store, name: &str) {
    if !store.capabilities().guarded_put {
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
        &Guard::Always,
    )
    .await;
    let second: Vec<Row> = (0..60)
        .map(|at| event("g", at, Some("second"), Some(2)))
        .collect();
    let answers = put(store, &table, second.clone(), &Guard::Absent).await;
    for (at, answer) in answers.iter().enumerate() {
        let expected = if at % 3 == 0 {
            Put::Refused
        } else {
            Put::Written
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
    let wrong = Guard::Equals(N, Value::BigInt(2));
    assert_eq!(
        put(store, &table, vec![changed.clone()], &wrong).await,
        [Put::Refused]
    );
    let right = Guard::Equals(N, Value::BigInt(1));
    assert_eq!(
        put(store, &table, vec![changed.clone()], &right).await,
        [Put::Written]
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
            &Guard::Equals(BODY, Value::text("x"))
        )
        .await,
        [Put::Refused],
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
        put(store, &table, vec![row.clone()], &Guard::Absent).await;
        assert_eq!(
            get(store, &table, &row.key).await,
            Some(row),
            "a mark reads back"
        );
    }
    let mut copied = event("m", 0, Some("again"), None);
    copied.mark = Some(Mark::Copied);
    let guard = Guard::Marked(Mark::Tombstone);
    assert_eq!(
        put(store, &table, vec![copied.clone()], &guard).await,
        [Put::Refused]
    );
    let guard = Guard::Marked(Mark::Copied);
    assert_eq!(
        put(store, &table, vec![copied], &guard).await,
        [Put::Written]
    );
}

async fn purges(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let rows: Vec<Row> = (0..30).map(|at| event("p", at, Some("x"), None)).collect();
    put(store, &table, rows.clone(), &Guard::Always).await;
    let keys: Vec<Key> = rows.iter().take(20).map(|row| row.key.clone()).collect();
    let answers = store.purge(&table, keys.clone(), &Guard::Always).await.rows;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(Put::Written))),
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
    put(store, &table, vec![marked.clone()], &Guard::Always).await;
    for (mark, expected) in [
        (Mark::Copied, Put::Refused),
        (Mark::Application, Put::Written),
    ] {
        let keys = vec![marked.key.clone()];
        let answers = store.purge(&table, keys, &Guard::Marked(mark)).await.rows;
        assert!(
            matches!(&answers[..], [Ok(answer)] if *answer == expected),
            "{answers:?}"
        );
    }
}

/// `(id text, at int; down counter, up counter)`, so that the key of an item may be made.
fn counters(name: &str) -> Table {
    let column = |name: &str, ty, role| Column {
        name: name.into(),
        ty,
        frozen: false,
        role,
    };
    Table::new(
        name,
        vec![
            column("id", Type::Text, Role::Partition),
            column("poll", Type::Boolean, Role::Partition),
            column("at", Type::Uuid, Role::Clustering(Order::Asc)),
            column("down", Type::Counter, Role::Regular),
            column("up", Type::Counter, Role::Regular),
        ],
    )
}

/// A row of counters: totals and watermarks of `down` and `up`.
fn counted(id: &str, totals: [Option<i64>; 2], watermarks: [Option<i64>; 2]) -> Row {
    let partition = vec![Value::text(id), Value::Boolean(true)];
    let key = Key::row(partition, vec![Value::Uuid([7; 16])]);
    let mut row = Row::new(key, totals.map(|total| total.map(Value::BigInt)).into());
    row.mark = Some(Mark::Copied);
    row.watermarks = watermarks.into();
    row
}

fn fold(id: &str, moves: [Option<(Option<i64>, i64)>; 2]) -> Fold {
    Fold {
        key: counted(id, [None; 2], [None; 2]).key,
        moves: moves
            .map(|step| step.map(|(from, to)| Move { from, to }))
            .into(),
    }
}

async fn folds(store: &dyn Store, name: &str) {
    if !store.capabilities().fold {
        let puts = store
            .fold(&counters(name), vec![fold("x", [None, Some((None, 1))])])
            .await;
        let error = puts.rows[0]
            .as_ref()
            .expect_err("what a store can't do it refuses");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        return;
    }
    let table = counters(name);
    store.create(&table).await.expect("a table can be created");
    let send = async |id, moves| {
        let puts = store.fold(&table, vec![fold(id, moves)]).await;
        puts.rows
            .into_iter()
            .next()
            .unwrap()
            .expect("a lawful fold")
    };
    let read = async |id| get(store, &table, &fold(id, [None; 2]).key).await;
    let (first, both) = (
        [None, Some((None, 5))],
        [Some((None, -3)), Some((Some(5), 9))],
    );
    assert_eq!(send("a", first).await, Put::Written, "a fold makes its row");
    let row = counted("a", [None, Some(5)], [None, Some(5)]);
    assert_eq!(read("a").await, Some(row.clone()));
    assert_eq!(
        send("a", first).await,
        Put::Refused,
        "as after a lost reply"
    );
    assert_eq!(
        read("a").await,
        Some(row.clone()),
        "nothing is counted twice"
    );
    let one_wrong = [Some((None, 1)), Some((Some(4), 6))];
    assert_eq!(send("a", one_wrong).await, Put::Refused);
    assert_eq!(
        read("a").await,
        Some(row),
        "a row of counters moves as a whole"
    );
    assert_eq!(send("a", both).await, Put::Written);
    let row = counted("a", [Some(-3), Some(9)], [Some(-3), Some(9)]);
    assert_eq!(read("a").await, Some(row));
    assert_eq!(
        send("a", [None, Some((Some(9), 2))]).await,
        Put::Written,
        "downwards"
    );

    // What the application added stays apart from what moved, and so does its mark.
    let mut own = counted("b", [None, Some(100)], [None, Some(40)]);
    own.mark = Some(Mark::Application);
    put(store, &table, vec![own.clone()], &Guard::Always).await;
    assert_eq!(read("b").await, Some(own.clone()), "watermarks read back");
    assert_eq!(send("b", [None, Some((Some(40), 41))]).await, Put::Written);
    let mut after = counted("b", [None, Some(101)], [None, Some(41)]);
    after.mark = own.mark;
    assert_eq!(read("b").await, Some(after));

    // A first pass puts whole rows, and a row of zeros is a row.
    let rows = vec![
        counted("b", [Some(1); 2], [Some(1); 2]),
        counted("c", [Some(0); 2], [Some(0); 2]),
    ];
    let answers = put(store, &table, rows.clone(), &Guard::Absent).await;
    assert_eq!(answers, [Put::Refused, Put::Written]);
    assert_eq!(read("c").await, Some(rows[1].clone()));
    let widest = [Some((Some(0), i64::MIN)), Some((Some(0), i64::MAX))];
    assert_eq!(send("c", widest).await, Put::Written);
    let totals = [Some(i64::MIN), Some(i64::MAX)];
    assert_eq!(read("c").await, Some(counted("c", totals, totals)));
}

async fn queries(store: &dyn Store, name: &str) {
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

async fn scans(store: &dyn Store, name: &str) {
    let table = create(store, name).await;
    let mut wanted = BTreeSet::new();
    let mut rows = Vec::new();
    for partition in 0..40 {
        for at in 0..partition % 7 {
            rows.push(event(
                &format!("s{partition}"),
                at,
                Some("x"),
                Some(i64::from(at)),
            ));
        }
        if partition % 5 == 0 {
            rows.push(statics(&format!("s{partition}"), "static"));
        }
    }
    for row in &rows {
        assert!(wanted.insert(format!("{:?}", row.key)));
    }
    put(store, &table, rows, &Guard::Always).await;
    for (count, limit) in [(1, 3), (1, 1_000), (9, 2), (16, 1_000)] {
        let mut seen = BTreeSet::new();
        for range in store
            .splits(&table, count)
            .await
            .expect("a table can be cut")
        {
            for key in scan(store, &table, &range, limit).await {
                assert!(
                    seen.insert(format!("{key:?}")),
                    "{key:?} is in one range, once"
                );
            }
        }
        assert_eq!(
            seen, wanted,
            "{count} ranges in pages of {limit} are the whole table"
        );
    }
    resumes(store, &table).await;
    halves(store, &table, &wanted).await;
}

async fn scan(store: &dyn Store, table: &Table, range: &Range, limit: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store
            .scan(table, range, cursor.as_ref(), limit)
            .await
            .expect("a range can be read");
        keys.extend(page.rows.into_iter().map(|row| row.key));
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
}

/// A cursor from an earlier process goes on behind its key; what stood before may come again, what
/// stands behind must come.
async fn resumes(store: &dyn Store, table: &Table) {
    if !store.capabilities().token_ranges {
        return;
    }
    let range = store.splits(table, 1).await.unwrap().remove(0);
    let all = scan(store, table, &range, 1_000).await;
    for at in (0..all.len()).step_by(3) {
        let cursor = Cursor {
            key: all[at].clone(),
            state: None,
        };
        let mut behind = BTreeSet::new();
        let mut next = Some(cursor);
        while let Some(cursor) = next {
            let page = store.scan(table, &range, Some(&cursor), 4).await.unwrap();
            behind.extend(page.rows.iter().map(|row| format!("{:?}", row.key)));
            next = page.next;
        }
        for key in &all[at + 1..] {
            assert!(
                behind.contains(&format!("{key:?}")),
                "{key:?} stands behind {:?}",
                all[at]
            );
        }
    }
}

async fn halves(store: &dyn Store, table: &Table, wanted: &BTreeSet<String>) {
    if !store.capabilities().token_ranges {
        return;
    }
    let mut ranges = store.splits(table, 1).await.unwrap();
    for _ in 0..4 {
        let halved = ranges
            .iter()
            .map(|range| store.halve(table, range).expect("a wide range"));
        ranges = halved.flatten().collect();
    }
    let mut seen = Vec::new();
    for range in &ranges {
        seen.extend(
            scan(store, table, range, 50)
                .await
                .into_iter()
                .map(|key| format!("{key:?}")),
        );
    }
    assert_eq!(seen.len(), wanted.len(), "halves don't overlap");
    assert_eq!(
        &seen.into_iter().collect::<BTreeSet<_>>(),
        wanted,
        "halves are the whole"
    );
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
        .put(&table, &[event("a", 1, None, None)], &Guard::Absent)
        .await;
    match &puts.rows[..] {
        [Err(error)] => assert_eq!(error.kind(), Kind::Missing, "{error}"),
        other => panic!("a row was put where no table is: {other:?}"),
    }
}
