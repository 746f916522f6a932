//! Tables with more columns than an expression holds, on the real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use crossfade::model::{
    Add, Change, Condition, Edit, Fold, ItemState, Key, Mark, Move, Row, Value,
};
use crossfade::schema::{Role, Table, Type};
use crossfade::store::{Changed, Reading, Reads, Store, WriteOutcome};

use super::{column, connect};
use crate::support::{dynamodb_url, unique};

const COLUMNS: usize = 420;

/// Columns of several types, long names among them.
fn wide(name: &str) -> Table {
    let mut columns = vec![column("id", Type::Text, Role::Partition)];
    columns.extend((0..COLUMNS).map(|at| {
        let ty = match at % 6 {
            0 => Type::Text,
            1 => Type::Int,
            2 => Type::Boolean,
            3 => Type::Blob,
            4 => Type::List(Box::new(Type::Int)),
            _ => Type::Set(Box::new(Type::Text)),
        };
        column(&format!("a_column_of_many_{at:03}"), ty, Role::Regular)
    }));
    Table::new(name, columns)
}

fn value(at: usize, round: i32) -> Value {
    match at % 6 {
        0 => Value::text(format!("{at} {round}")),
        1 => Value::Int(at as i32 + round),
        2 => Value::Boolean(round % 2 == 0),
        3 => Value::Blob(vec![at as u8, round as u8]),
        4 => Value::List(vec![Value::Int(round), Value::Int(round)]),
        _ => Value::Set(vec![Value::text(format!("{round}"))]),
    }
}

fn key(id: &str) -> Key {
    Key::row(vec![Value::text(id)], vec![])
}

/// Edits of these columns.
fn edits(columns: impl Fn(usize) -> bool, round: i32) -> Vec<Option<Edit>> {
    let edit = |at| columns(at).then(|| Edit::Set(value(at, round)));
    (0..COLUMNS).map(edit).collect()
}

fn edit(cells: Vec<Option<Edit>>, mark: Mark) -> Change {
    Change::Edit {
        cells,
        mark: Some(mark),
        expires: None,
    }
}

fn partial_or_absent() -> Condition {
    Condition::In {
        states: vec![ItemState::Partial, ItemState::Absent],
        now: 0,
    }
}

#[tokio::test]
async fn a_partial_item_of_many_columns_is_completed() {
    let store = connect(&dynamodb_url()).await;
    let table = wide(&unique("wide"));
    store.create(&table).await.unwrap();
    // Few columns are decided, or so many that neither the update nor a comparison is an expression.
    for (id, decides) in [("few", 3), ("many", 200), ("most", 400)] {
        let key = key(id);
        let decided = |at: usize| at < decides;
        let change = edit(edits(decided, 1), Mark::Partial);
        let done = store
            .update_item(&table, &key, &change, &partial_or_absent())
            .await;
        assert_eq!(done.unwrap(), Changed::Written, "{id}");
        let partial = store
            .read(&table, &key, Reading::Strong)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (partial.mark, partial.decided.len()),
            (Some(Mark::Partial), decides)
        );

        let rest = edit(edits(|at| !decided(at), 2), Mark::Application);
        let other: BTreeSet<usize> = (0..decides + 1).collect();
        let refused = store
            .update_item(&table, &key, &rest, &Condition::Decides(other))
            .await;
        assert_eq!(
            refused.unwrap(),
            Changed::Refused(Some(partial.clone())),
            "{id}"
        );
        // As it was seen, and as it isn't any more.
        let mut younger = partial.clone();
        younger.cells[0] = Some(value(0, 9));
        let refused = store
            .update_item(&table, &key, &rest, &Condition::Same(younger.into()))
            .await;
        assert_eq!(
            refused.unwrap(),
            Changed::Refused(Some(partial.clone())),
            "{id}"
        );
        let on = match id {
            "few" => Condition::Decides(partial.decided.clone()),
            _ => Condition::Same(partial.into()),
        };
        assert_eq!(
            store.update_item(&table, &key, &rest, &on).await.unwrap(),
            Changed::Written,
            "{id}"
        );
        let whole = store
            .read(&table, &key, Reading::Strong)
            .await
            .unwrap()
            .unwrap();
        let cells = (0..COLUMNS).map(|at| Some(value(at, if decided(at) { 1 } else { 2 })));
        assert_eq!(whole.cells, cells.collect::<Vec<_>>(), "{id}");
        assert_eq!(
            (whole.mark, whole.decided.len()),
            (Some(Mark::Application), 0)
        );
    }
}

#[tokio::test]
async fn many_columns_are_updated_and_compared() {
    let store = connect(&dynamodb_url()).await;
    let table = wide(&unique("wide"));
    store.create(&table).await.unwrap();
    let key = key("a");
    let cells = (0..COLUMNS).map(|at| Some(value(at, 1))).collect();
    let row = Row {
        mark: Some(Mark::Copied),
        ..Row::new(key.clone(), cells)
    };
    let puts = store
        .put(&table, std::slice::from_ref(&row), &Condition::absent())
        .await;
    assert_eq!(puts.rows[0].as_ref().unwrap(), &WriteOutcome::Written);
    let on = Condition::In {
        states: vec![ItemState::Row, ItemState::Tombstone],
        now: 0,
    };
    let all = edit(edits(|_| true, 2), Mark::Application);
    assert_eq!(
        store.update_item(&table, &key, &all, &on).await.unwrap(),
        Changed::Written
    );

    // A condition on more columns than an expression compares.
    let expected = |round| Condition::Cells {
        expected: (0..COLUMNS)
            .map(|at| (at, Some(value(at, round))))
            .collect(),
        now: 0,
    };
    let one = edit(edits(|at| at == 1, 7), Mark::Application);
    let there = store.read(&table, &key, Reading::Strong).await.unwrap();
    let refused = store
        .update_item(&table, &key, &one, &expected(1))
        .await
        .unwrap();
    assert_eq!(refused, Changed::Refused(there));
    assert_eq!(
        store
            .update_item(&table, &key, &one, &expected(2))
            .await
            .unwrap(),
        Changed::Written
    );
    let there = store
        .read(&table, &key, Reading::Strong)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(there.cells[1], Some(value(1, 7)));
    let gone = store
        .update_item(
            &table,
            &key,
            &Change::Remove,
            &Condition::Same(there.into()),
        )
        .await;
    assert_eq!(gone.unwrap(), Changed::Written);
    assert_eq!(
        store.read(&table, &key, Reading::Strong).await.unwrap(),
        None
    );
}

/// Of two that complete one partial item with many columns, while a third one changes it, none loses what
/// another one wrote.
#[tokio::test(flavor = "multi_thread")]
async fn updates_beside_the_completion_of_a_wide_row_are_kept() {
    let store = connect(&dynamodb_url()).await;
    let table = wide(&unique("wide"));
    store.create(&table).await.unwrap();
    for round in 0..5 {
        let key = key(&format!("r{round}"));
        let first = edit(edits(|at| at == 0, 1), Mark::Partial);
        store
            .update_item(&table, &key, &first, &partial_or_absent())
            .await
            .unwrap();
        let completing = async || {
            let rest = edit(edits(|at| at > 0, 2), Mark::Application);
            let decides = Condition::Decides([0].into());
            store
                .update_item(&table, &key, &rest, &decides)
                .await
                .unwrap()
        };
        let updating = async {
            let update = edit(edits(|at| at == 0, 3), Mark::Partial);
            let done = store
                .update_item(&table, &key, &update, &partial_or_absent())
                .await
                .unwrap();
            if done == Changed::Written {
                return;
            }
            let update = edit(edits(|at| at == 0, 3), Mark::Application);
            let row = Condition::In {
                states: vec![ItemState::Row],
                now: 0,
            };
            assert_eq!(
                store
                    .update_item(&table, &key, &update, &row)
                    .await
                    .unwrap(),
                Changed::Written
            );
        };
        tokio::join!(completing(), completing(), updating);
        let whole = store
            .read(&table, &key, Reading::Strong)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(whole.mark, Some(Mark::Application));
        assert_eq!(
            (&whole.cells[0], &whole.cells[1]),
            (&Some(value(0, 3)), &Some(value(1, 2)))
        );
    }
}

#[tokio::test]
async fn a_row_of_many_counters_is_folded_and_added_to() {
    let store = connect(&dynamodb_url()).await;
    let mut columns = vec![column("id", Type::Text, Role::Partition)];
    columns
        .extend((0..COLUMNS).map(|at| column(&format!("n{at:03}"), Type::Counter, Role::Regular)));
    let table = Table::new(unique("wide"), columns);
    store.create(&table).await.unwrap();
    let fold = |from: Option<i64>, to| Fold {
        key: key("a"),
        moves: vec![Some(Move { from, to }); COLUMNS],
    };
    for (fold, expected) in [
        (fold(None, 5), WriteOutcome::Written),
        (fold(None, 5), WriteOutcome::Refused),
        (fold(Some(5), 7), WriteOutcome::Written),
    ] {
        let puts = store.fold(&table, vec![fold]).await;
        assert_eq!(puts.rows[0].as_ref().unwrap(), &expected);
    }
    let add = Add {
        key: key("a"),
        by: (0..COLUMNS).map(|at| (at < 100).then_some(1)).collect(),
        mark: Some(Mark::Application),
        token: None,
    };
    store.add(&table, &add).await.unwrap();
    let there = store
        .read(&table, &key("a"), Reading::Strong)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(there.mark, Some(Mark::Application));
    assert_eq!(there.watermarks, vec![Some(7); COLUMNS]);
    assert_eq!(
        (&there.cells[0], &there.cells[400]),
        (&Some(Value::BigInt(8)), &Some(Value::BigInt(7)))
    );
}
