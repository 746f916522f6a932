//! Every condition of a change, on items in every state.

use crate::model::{Change, Condition, ItemState, Key, Mark, Row, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Changed, Reading, Store};

const NOW: i64 = 1_000;

/// Changes one key of one table again and again: from each state, on each condition.
pub(super) async fn conditions(store: &dyn Store, name: &str) {
    if !store.capabilities().change {
        return;
    }
    let single = vec![Column::new("id", Type::Text, Role::Partition)];
    let made = vec![
        Column::new("id", Type::Text, Role::Partition),
        Column::new("of", Type::Boolean, Role::Partition),
        Column::new("at", Type::Decimal, Role::Clustering(Order::Asc)),
    ];
    let half = Value::Decimal {
        unscaled: vec![5],
        scale: 1,
    };
    let id = Value::text("k");
    let keys = [
        (single, Key::row(vec![id.clone()], vec![])),
        (made, Key::row(vec![id, Value::Boolean(true)], vec![half])),
    ];
    // Without an attribute for it nothing expires.
    for (expires, (columns, key)) in [false, true].into_iter().zip(keys) {
        let table = table(&format!("{name}_{expires}"), columns, expires);
        store.create(&table).await.expect("a table can be created");
        each(store, &table, &key, expires).await;
    }
}

fn table(name: &str, mut columns: Vec<crate::schema::Column>, expires: bool) -> Table {
    columns.extend([
        Column::new("a", Type::Int, Role::Regular),
        Column::new("b", Type::Text, Role::Regular),
        Column::new("tags", Type::Set(Box::new(Type::Text)), Role::Regular),
    ]);
    let mut table = Table::new(name, columns);
    table.layout.expiry_attribute = expires.then(|| "expires_at".to_owned());
    table
}

async fn each(store: &dyn Store, table: &Table, key: &Key, expires: bool) {
    let change = async |change: &Change, on: &Condition| {
        let answer = store.update_item(table, key, change, on).await;
        answer.unwrap_or_else(|error| panic!("{change:?} {on:?}: {error:?}"))
    };
    let read = async || {
        let row = store.read(table, key, Reading::Strong).await;
        row.expect("a key can be read")
    };
    let mut second = row(key, Some(77), None);
    second.mark = Some(Mark::Resaved);
    let all = items(key, expires);
    for item in &all {
        let first = match item {
            Some(row) => Change::Put(row.clone()),
            None => Change::Remove,
        };
        let second = Change::Put(second.clone());
        assert_eq!(change(&first, &Condition::Always).await, Changed::Written);
        for on in ifs(&all) {
            let answer = change(&second, &on).await;
            if on.holds(item.as_ref()) {
                assert_eq!(answer, Changed::Written, "{on:?} where {item:?} is");
                change(&first, &Condition::Always).await;
            } else {
                let expected = Changed::Refused(item.clone());
                assert_eq!(answer, expected, "{on:?} where {item:?} is");
            }
        }
        assert_eq!(read().await, *item, "what was refused changed nothing");
    }
}

fn row(key: &Key, a: Option<i32>, b: Option<&str>) -> Row {
    let tags = a.map(|_| Value::Set(vec![Value::text("x"), Value::text("y")]));
    Row::new(
        key.clone(),
        vec![a.map(Value::Int), b.map(Value::text), tags],
    )
}

/// Nothing, and an item of every mark: without cells, with some; for good, expired, and soon to expire.
fn items(key: &Key, expires: bool) -> Vec<Option<Row>> {
    let mut items = vec![None];
    let marks = [
        None,
        Some(Mark::Copied),
        Some(Mark::Resaved),
        Some(Mark::Application),
        Some(Mark::Tombstone),
        Some(Mark::Partial),
    ];
    let ages = match expires {
        true => vec![None, Some(NOW), Some(NOW + 1)],
        false => vec![None],
    };
    for (at, mark) in marks.into_iter().enumerate() {
        let mut item = match (at % 2, mark) {
            (_, Some(Mark::Tombstone)) => row(key, None, None),
            (0, _) => row(key, Some(1), None),
            (_, _) => row(key, Some(2), Some("")),
        };
        if mark == Some(Mark::Partial) {
            item.decided = [0, 1].into();
        }
        item.mark = mark;
        // Each age goes with some marks only, or there would be too many.
        item.expires = ages[at % ages.len()];
        items.push(Some(item));
    }
    let mut undecided = row(key, None, None);
    undecided.mark = Some(Mark::Partial);
    items.push(Some(undecided));
    items
}

fn ifs(items: &[Option<Row>]) -> Vec<Condition> {
    let all = ItemState::ALL.len();
    let states = |bits: usize| {
        let states = ItemState::ALL.into_iter().enumerate();
        let states = states.filter(|(at, _)| bits & (1 << at) != 0);
        states.map(|(_, state)| state).collect()
    };
    let mut ifs: Vec<Condition> = [0b00000, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000]
        .into_iter()
        .chain([0b00011, 0b01100, 0b10011, 0b01111, 0b10111, (1 << all) - 1])
        .map(|bits| Condition::In {
            states: states(bits),
            now: NOW,
        })
        .collect();
    let tags = Value::Set(vec![Value::text("x"), Value::text("y")]);
    let cells = [
        vec![],
        vec![(0, Some(Value::Int(1))), (1, None)],
        vec![(1, Some(Value::text(""))), (2, Some(tags))],
        vec![(2, None)],
    ];
    ifs.extend(cells.map(|expected| Condition::Cells { expected, now: NOW }));
    ifs.extend([
        Condition::Always,
        Condition::absent(),
        Condition::Decides([0, 1].into()),
        Condition::Decides([1].into()),
        Condition::Decides([].into()),
        Condition::Marked(Mark::Copied),
        Condition::Marked(Mark::Partial),
    ]);
    let rows = items.iter().flatten().step_by(2);
    ifs.extend(rows.map(|row| Condition::Same(row.clone().into())));
    ifs
}
