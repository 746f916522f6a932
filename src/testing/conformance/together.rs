//! Transactions: all of several changes, or none, each on its condition; and reads of one moment.

use super::{create, event, get};
use crate::error::Kind;
use crate::model::{Change, Condition, Edit, ItemState, Key, Mark, Row, Value};
use crate::schema::{Column, Role, Table, Type};
use crate::store::{Changed, Store, Together};

const NOW: i64 = 1_000;

/// Changes rows of two tables together.
pub(super) async fn together(store: &dyn Store, name: &str) {
    if !store.capabilities().change {
        return;
    }
    let events = create(store, &format!("{name}_events")).await;
    let columns = vec![
        Column::new("id", Type::Text, Role::Partition),
        Column::new("age", Type::Int, Role::Regular),
    ];
    let users = Table::new(format!("{name}_users"), columns);
    store.create(&users).await.expect("a table can be created");
    let user = |id: &str, age: i32| {
        let key = Key::row(vec![Value::text(id)], vec![]);
        Row::new(key, vec![Some(Value::Int(age))])
    };
    let first = event("a", 1, Some("x"), Some(1));
    let (ann, bea) = (user("ann", 1), user("bea", 2));
    let put = |row: &Row| Change::Put(row.clone());
    let is = |age: i32| Condition::Cells {
        expected: vec![(0, Some(Value::Int(age)))],
        now: NOW,
    };
    let absent = Condition::absent();
    let puts = (put(&first), put(&ann), put(&bea));

    // All of it, over two tables.
    let changes = [
        one(&events, &first.key, &puts.0, &absent),
        one(&users, &ann.key, &puts.1, &absent),
        one(&users, &bea.key, &puts.2, &Condition::Always),
    ];
    let answers = store.transact(&changes).await.expect("an answer");
    assert_eq!(answers, vec![Changed::Written; 3]);
    let keys = [
        (&users, &bea.key),
        (&events, &first.key),
        (&users, &ann.key),
    ];
    let rows = store.get_together(&keys).await.expect("rows");
    assert_eq!(
        rows,
        [Some(bea.clone()), Some(first.clone()), Some(ann.clone())]
    );

    // One condition that isn't met, and nothing of it is written: what was in the way is told.
    let older = Change::Edit {
        cells: vec![Some(Edit::Set(Value::Int(7)))],
        mark: Some(Mark::Application),
        expires: None,
    };
    let (one_year, two_years, three_years) = (is(1), is(2), is(3));
    let changes = [
        one(&users, &ann.key, &older, &one_year),
        one(&users, &bea.key, &Change::Bury, &three_years),
        one(&events, &first.key, &Change::Remove, &absent),
    ];
    let answers = store.transact(&changes).await.expect("an answer");
    let expected = [
        Changed::Written,
        Changed::Refused(Some(bea.clone())),
        Changed::Refused(Some(first.clone())),
    ];
    assert_eq!(answers, expected);
    let rows = store.get_together(&keys).await.expect("rows");
    assert_eq!(
        rows,
        [Some(bea.clone()), Some(first.clone()), Some(ann.clone())]
    );

    // A check alone, of what is there and of what isn't; and a delete that leaves a tombstone.
    let nobody = user("nobody", 0);
    let states = Condition::In {
        states: vec![ItemState::Absent],
        now: NOW,
    };
    let changes = [
        one(&users, &ann.key, &older, &one_year),
        one(&users, &bea.key, &Change::Bury, &two_years),
        one(&users, &nobody.key, &Change::Keep, &states),
        one(&events, &first.key, &Change::Remove, &Condition::Always),
    ];
    let answers = store.transact(&changes).await.expect("an answer");
    assert_eq!(answers, vec![Changed::Written; 4]);
    let seven = get(store, &users, &ann.key).await.expect("a row");
    assert_eq!(seven.cells, [Some(Value::Int(7))]);
    assert_eq!(seven.mark, Some(Mark::Application));
    let buried = get(store, &users, &bea.key).await.expect("a tombstone");
    assert_eq!(buried.mark, Some(Mark::Tombstone));
    assert_eq!(get(store, &users, &nobody.key).await, None);
    assert_eq!(get(store, &events, &first.key).await, None);
    let rows = store.get_together(&keys).await.expect("rows");
    assert_eq!(rows, [Some(buried), None, Some(seven)]);

    let nowhere = Table::new(format!("{name}_nowhere"), users.columns.clone());
    let changes = [one(&nowhere, &ann.key, &puts.1, &Condition::Always)];
    let error = store.transact(&changes).await.expect_err("no table");
    assert_eq!(error.kind(), Kind::Missing, "{error}");
}

fn one<'a>(table: &'a Table, key: &'a Key, change: &'a Change, on: &'a Condition) -> Together<'a> {
    Together {
        table,
        key,
        change,
        on,
    }
}
