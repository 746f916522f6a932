//! Counters: folding them, and adding to them.

use super::{get, put};
use crate::error::Kind;
use crate::model::{Add, Condition, Fold, Key, Mark, Move, Row, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Store, WriteOutcome};

/// `(id text, at int; down counter, up counter)`, so that the key of an item may be made.
pub(super) fn counters(name: &str) -> Table {
    Table::new(
        name,
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("poll", Type::Boolean, Role::Partition),
            Column::new("at", Type::Uuid, Role::Clustering(Order::Asc)),
            Column::new("down", Type::Counter, Role::Regular),
            Column::new("up", Type::Counter, Role::Regular),
        ],
    )
}

/// A row of counters: totals and watermarks of `down` and `up`.
pub(super) fn counted(id: &str, totals: [Option<i64>; 2], watermarks: [Option<i64>; 2]) -> Row {
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

pub(super) async fn folds(store: &dyn Store, name: &str) {
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
    assert_eq!(
        send("a", first).await,
        WriteOutcome::Written,
        "a fold makes its row"
    );
    let row = counted("a", [None, Some(5)], [None, Some(5)]);
    assert_eq!(read("a").await, Some(row.clone()));
    assert_eq!(
        send("a", first).await,
        WriteOutcome::Refused,
        "as after a lost reply"
    );
    assert_eq!(
        read("a").await,
        Some(row.clone()),
        "nothing is counted twice"
    );
    let one_wrong = [Some((None, 1)), Some((Some(4), 6))];
    assert_eq!(send("a", one_wrong).await, WriteOutcome::Refused);
    assert_eq!(
        read("a").await,
        Some(row),
        "a row of counters moves as a whole"
    );
    assert_eq!(send("a", both).await, WriteOutcome::Written);
    let row = counted("a", [Some(-3), Some(9)], [Some(-3), Some(9)]);
    assert_eq!(read("a").await, Some(row));
    assert_eq!(
        send("a", [None, Some((Some(9), 2))]).await,
        WriteOutcome::Written,
        "downwards"
    );

    // What the application added stays apart from what moved, and so does its mark.
    let mut own = counted("b", [None, Some(100)], [None, Some(40)]);
    own.mark = Some(Mark::Application);
    put(store, &table, vec![own.clone()], &Condition::Always).await;
    assert_eq!(read("b").await, Some(own.clone()), "watermarks read back");
    assert_eq!(
        send("b", [None, Some((Some(40), 41))]).await,
        WriteOutcome::Written
    );
    let mut after = counted("b", [None, Some(101)], [None, Some(41)]);
    after.mark = own.mark;
    assert_eq!(read("b").await, Some(after));

    // A first pass puts whole rows, and a row of zeros is a row.
    let rows = vec![
        counted("b", [Some(1); 2], [Some(1); 2]),
        counted("c", [Some(0); 2], [Some(0); 2]),
    ];
    let answers = put(store, &table, rows.clone(), &Condition::absent()).await;
    assert_eq!(answers, [WriteOutcome::Refused, WriteOutcome::Written]);
    assert_eq!(read("c").await, Some(rows[1].clone()));
    let widest = [Some((Some(0), i64::MIN)), Some((Some(0), i64::MAX))];
    assert_eq!(send("c", widest).await, WriteOutcome::Written);
    let totals = [Some(i64::MIN), Some(i64::MAX)];
    assert_eq!(read("c").await, Some(counted("c", totals, totals)));
}

/// Adds come together with what was folded before, and never touch a watermark.
pub(super) async fn adds(store: &dyn Store, name: &str) {
    if !store.capabilities().change {
        return;
    }
    let table = counters(name);
    store.create(&table).await.expect("a table can be created");
    let send = async |by: [Option<i64>; 2], mark| {
        let add = Add {
            key: counted("a", [None; 2], [None; 2]).key,
            by: by.into(),
            mark,
            token: None,
        };
        store.add(&table, &add).await.expect("a lawful add");
    };
    let read = async || get(store, &table, &counted("a", [None; 2], [None; 2]).key).await;
    let own = |totals, watermarks: [Option<i64>; 2]| {
        let mut row = counted("a", totals, watermarks);
        row.mark = Some(Mark::Application);
        if watermarks == [None; 2] {
            row.watermarks = Vec::new();
        }
        row
    };
    send([None, Some(5)], Some(Mark::Application)).await;
    let made = own([None, Some(5)], [None; 2]);
    assert_eq!(read().await, Some(made), "an add makes its row");
    let folds = vec![fold("a", [Some((None, 7)), Some((None, 100))])];
    let puts = store.fold(&table, folds).await;
    assert!(
        matches!(&puts.rows[..], [Ok(WriteOutcome::Written)]),
        "{puts:?}"
    );
    send([Some(-9), Some(0)], Some(Mark::Application)).await;
    let both = own([Some(-2), Some(105)], [Some(7), Some(100)]);
    assert_eq!(read().await, Some(both.clone()));
    send([Some(1), None], None).await;
    let mut after = both;
    (after.mark, after.cells[0]) = (None, Some(Value::BigInt(-1)));
    assert_eq!(
        read().await,
        Some(after),
        "an add without a mark leaves none"
    );
}
