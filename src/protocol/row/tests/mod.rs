//! The tables of the module's docs, cell by cell, and the merge of both stores against a naive one.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::model::{Mark, Update, Value};
use crate::protocol::{Machine, Phase};

mod get;
mod judged;
mod query;
mod tools;
mod write;

const WIDTH: usize = 2;
const NOW: i64 = 1_000;

/// The key of the tests about one row.
fn key() -> Key {
    at(0)
}

fn at(place: i32) -> Key {
    Key::row(vec![Value::Int(0)], vec![Value::Int(place)])
}

fn row(key: Key, cells: [Option<i32>; WIDTH]) -> Row {
    Row::new(key, cells.map(|cell| cell.map(Value::Int)).into())
}

fn item(key: Key, mark: Mark, cells: [Option<i32>; WIDTH]) -> Row {
    let mark = Some(mark);
    Row {
        mark,
        ..row(key, cells)
    }
}

fn partial(key: Key, decided: &[usize], cells: [Option<i32>; WIDTH]) -> Row {
    Row {
        decided: decided.iter().copied().collect(),
        ..item(key, Mark::Partial, cells)
    }
}

fn set(cells: [Option<Edit>; WIDTH]) -> Update {
    Update {
        key: key(),
        cells: cells.into(),
        expires: None,
    }
}

/// What N has at the start, in the order of [`ItemState::ALL`]: a copied row, a tombstone, an item that decides
/// the first column, nothing, and a row that has expired.
fn items() -> [Option<Row>; 5] {
    let expired = Row {
        expires: Some(NOW),
        ..item(key(), Mark::Copied, [Some(1), None])
    };
    [
        Some(listed(item(key(), Mark::Copied, [Some(1), None]), 2)),
        Some(item(key(), Mark::Tombstone, [None, None])),
        Some(partial(key(), &[0], [Some(5), None])),
        None,
        Some(listed(expired, 2)),
    ]
}

/// With a list in the second column.
fn listed(mut row: Row, element: i32) -> Row {
    row.cells[1] = Some(elements(&[element]));
    row
}

fn elements(elements: &[i32]) -> Value {
    Value::List(elements.iter().copied().map(Value::Int).collect())
}

/// What O has.
fn old() -> Option<Row> {
    Some(listed(row(key(), [Some(3), None]), 4))
}

/// Two stores, few rows each, in clustering order.
#[derive(Clone, Debug, Default)]
struct Stores {
    new: Vec<Row>,
    old: Vec<Row>,
}

impl Stores {
    fn of(item: Option<Row>, old: Option<Row>) -> Self {
        Stores {
            new: item.into_iter().collect(),
            old: old.into_iter().collect(),
        }
    }

    fn find(rows: &[Row], key: &Key) -> Option<Row> {
        rows.iter().find(|row| row.key == *key).cloned()
    }

    fn replace(rows: &mut Vec<Row>, key: &Key, row: Option<Row>) {
        rows.retain(|row| row.key != *key);
        rows.extend(row);
        rows.sort_by(|a, b| InOrder.compare(&a.key, &b.key));
    }

    fn call(&mut self, call: Call) -> Reply {
        match call {
            Call::ReadNew(key) => Reply::Row(Self::find(&self.new, &key)),
            Call::ReadOld(key) => Reply::Row(Self::find(&self.old, &key)),
            Call::WriteNew { key, change, on } => {
                let item = Self::find(&self.new, &key);
                if !on.holds(item.as_ref()) {
                    return Reply::Refused(item);
                }
                let item = change.of(&key, WIDTH, item).unwrap();
                Self::replace(&mut self.new, &key, item);
                Reply::Written
            }
            Call::WriteAndTell {
                key,
                change,
                on,
                returns,
            } => {
                let before = Self::find(&self.new, &key);
                match self.call(Call::WriteNew {
                    key: key.clone(),
                    change,
                    on,
                }) {
                    Reply::Written if returns == Returns::Old => Reply::Told(before),
                    Reply::Written => Reply::Told(Self::find(&self.new, &key)),
                    reply => reply,
                }
            }
            Call::WriteOld(mutation) => self.write_old(&mutation),
            Call::QueryNew(query) => Reply::Page(page(&self.new, &query)),
            Call::QueryOld(query) => Reply::Page(page(&self.old, &query)),
            Call::DeleteOld(_) => {
                self.old.clear();
                Reply::Written
            }
        }
    }

    fn write_old(&mut self, mutation: &Mutation) -> Reply {
        let key = mutation.key();
        let old = Self::find(&self.old, key);
        let row = match mutation {
            Mutation::Put(row) => Some(row.clone()),
            Mutation::Delete(_) => None,
            Mutation::Insert(_) if old.is_some() => return Reply::Refused(old),
            Mutation::Insert(row) => Some(row.clone()),
            Mutation::UpdateIf { expected, .. } | Mutation::DeleteIf { expected, .. }
                if !(Condition::Cells {
                    expected: expected.clone(),
                    now: NOW,
                })
                .holds(old.as_ref()) =>
            {
                return Reply::Refused(old);
            }
            Mutation::DeleteIf { .. } => None,
            Mutation::Update(update) | Mutation::UpdateIf { update, .. } => {
                let edit = Change::Edit {
                    cells: update.cells.clone(),
                    mark: None,
                    expires: None,
                };
                edit.of(key, WIDTH, old).unwrap()
            }
        };
        Self::replace(&mut self.old, key, row);
        Reply::Written
    }
}

/// Clustering keys of one int.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct InOrder;

impl ClusteringOrder for InOrder {
    fn compare(&self, a: &Key, b: &Key) -> std::cmp::Ordering {
        place(a).cmp(&place(b))
    }
}

fn place(key: &Key) -> i32 {
    match key.clustering.as_deref() {
        Some([Value::Int(place)]) => *place,
        other => panic!("a clustering key of {other:?}"),
    }
}

fn page(rows: &[Row], query: &Query) -> PageReply {
    let mut rows = rows.to_vec();
    if query.reverse {
        rows.reverse();
    }
    if let Some(after) = &query.after {
        let order = |row: &Row| InOrder.compare(&row.key, after);
        rows.retain(|row| {
            if query.reverse {
                order(row).is_lt()
            } else {
                order(row).is_gt()
            }
        });
    }
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    PageReply { rows, more }
}

/// Runs a machine to its end; `between` may act on the stores before each call. Also tells the calls.
fn drive<M: Machine<Call = Call, Reply = Reply>>(
    machine: &mut M,
    stores: &mut Stores,
    mut between: impl FnMut(&Call, &mut Stores),
) -> (M::Answer, Vec<String>) {
    let mut calls = Vec::new();
    let mut step = machine.begin();
    loop {
        match step {
            RowStep::Done(answer) => return (answer, calls),
            RowStep::Call(call) => {
                assert!(calls.len() < 100, "no end: {calls:?}");
                calls.push(text(&call));
                between(&call, stores);
                step = machine.step(stores.call(call));
            }
        }
    }
}

fn run<M: Machine<Call = Call, Reply = Reply>>(
    mut machine: M,
    stores: &mut Stores,
) -> (M::Answer, String) {
    let (answer, calls) = drive(&mut machine, stores, |_, _| {});
    (answer, calls.join(", "))
}

/// A call in short: `N?` and `O?` read; `N set k IF k-` changes cells and leaves a partial item, if there
/// is one or nothing.
fn text(call: &Call) -> String {
    let mark = |mark: &Option<Mark>| mark.map_or("unmarked", Mark::letter);
    match call {
        Call::ReadNew(_) => "N?".into(),
        Call::ReadOld(_) => "O?".into(),
        Call::QueryNew(_) => "N*".into(),
        Call::QueryOld(_) => "O*".into(),
        Call::WriteOld(_) => "O".into(),
        Call::DeleteOld(_) => "O delete range".into(),
        Call::WriteNew { change, on, .. } | Call::WriteAndTell { change, on, .. } => {
            let change = match change {
                Change::Put(row) => format!("put {}", mark(&row.mark)),
                Change::Bury => "bury".into(),
                Change::Remove => "remove".into(),
                Change::Strip => "strip".into(),
                Change::Keep => "keep".into(),
                Change::Edit { mark: m, .. } => format!("set {}", mark(m)),
            };
            let letters = |states: &[ItemState]| -> String {
                let letters = states.iter().map(|state| match state {
                    ItemState::Row => 'r',
                    ItemState::Tombstone => 't',
                    ItemState::Partial => 'k',
                    ItemState::Absent => '-',
                    ItemState::Expired => 'e',
                });
                letters.collect()
            };
            let condition = match on {
                Condition::Always => String::new(),
                Condition::In { states, .. } => format!(" IF {}", letters(states)),
                Condition::Judged { or, .. } if or.is_empty() => " IF as wanted".into(),
                Condition::Judged { or, .. } => format!(" IF as wanted or {}", letters(or)),
                Condition::Cells { .. } => " IF cells".into(),
                Condition::Decides(_) => " IF that k".into(),
                Condition::Marked(mark) => format!(" IF marked {}", mark.letter()),
                Condition::Same(_) => " IF same".into(),
            };
            format!("N {change}{condition}")
        }
    }
}
