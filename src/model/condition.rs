//! What an item of the new store can be, and conditions on it.

use std::collections::BTreeSet;

use super::{Mark, Row, Rule, Value};

/// What is at a key of the new store at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemState {
    /// A whole row, written by the tool or by an application.
    Row,
    /// A tombstone.
    Tombstone,
    /// A partial item.
    Partial,
    /// No item.
    Absent,
    /// An item whose expiry has come, whatever it was. It shows no row, and hides the old store's.
    Expired,
}

impl ItemState {
    /// All of them.
    pub const ALL: [ItemState; 5] = [
        ItemState::Row,
        ItemState::Tombstone,
        ItemState::Partial,
        ItemState::Absent,
        ItemState::Expired,
    ];

    /// The state of what was found, `now` in seconds since 1970.
    pub fn of(item: Option<&Row>, now: i64) -> ItemState {
        let Some(item) = item else {
            return ItemState::Absent;
        };
        if item.expires.is_some_and(|at| at <= now) {
            return ItemState::Expired;
        }
        match item.mark {
            Some(Mark::Tombstone) => ItemState::Tombstone,
            Some(Mark::Partial) => ItemState::Partial,
            Some(Mark::Copied | Mark::Resaved | Mark::Application) | None => ItemState::Row,
        }
    }
}

/// The condition of a write to the new store, checked by the store in the same step. A refusal tells what
/// item was met.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// None.
    Always,
    /// The item is in one of these states.
    In {
        /// The states, in the order of [`ItemState::ALL`].
        states: Vec<ItemState>,
        /// Seconds since 1970.
        now: i64,
    },
    /// A whole row that hasn't expired, with these values in these cells; `None` is null.
    Cells {
        /// Places among [`crate::schema::Table::cells`], and what has to be there.
        expected: Vec<(usize, Option<Value>)>,
        /// Seconds since 1970.
        now: i64,
    },
    /// A whole row that hasn't expired, of which a rule of the application's holds; or one of these states.
    Judged {
        /// The rule.
        rule: Rule,
        /// The other states, in the order of [`ItemState::ALL`].
        or: Vec<ItemState>,
        /// Seconds since 1970.
        now: i64,
    },
    /// A partial item that decides just these cells.
    Decides(BTreeSet<usize>),
    /// An item with this mark.
    Marked(Mark),
    /// This very item: its mark, expiry, cells and decided cells are the same. Of a partial item, which has
    /// no others, the decided cells alone may be compared.
    Same(Box<Row>),
}

impl Condition {
    /// There is an item whose column (by its place among [`crate::schema::Table::cells`]) has this value, expired
    /// or not.
    pub fn equals(cell: usize, value: Value) -> Condition {
        Condition::Cells {
            expected: vec![(cell, Some(value))],
            now: i64::MIN,
        }
    }

    /// Whether it is that there is no item.
    pub fn is_absence(&self) -> bool {
        matches!(self, Condition::In { states, .. } if states[..] == [ItemState::Absent])
    }

    /// There is no item.
    pub fn absent() -> Condition {
        Condition::In {
            states: vec![ItemState::Absent],
            now: 0,
        }
    }

    /// Whether it is met by what is there.
    pub fn holds(&self, item: Option<&Row>) -> bool {
        match self {
            Condition::Always => true,
            Condition::In { states, now } => states.contains(&ItemState::of(item, *now)),
            Condition::Cells { expected, now } => item.is_some_and(|row| {
                let mut cells = expected.iter();
                ItemState::of(item, *now) == ItemState::Row
                    && cells.all(|(at, value)| row.cells.get(*at).unwrap_or(&None) == value)
            }),
            Condition::Judged { rule, or, now } => match ItemState::of(item, *now) {
                // A row that nothing can be said of isn't as it is wanted.
                ItemState::Row => rule.holds(item).unwrap_or(false),
                state @ (ItemState::Tombstone
                | ItemState::Partial
                | ItemState::Absent
                | ItemState::Expired) => or.contains(&state),
            },
            Condition::Decides(cells) => {
                item.is_some_and(|item| is_marked(item, Mark::Partial) && item.decided == *cells)
            }
            Condition::Marked(mark) => item.is_some_and(|item| is_marked(item, *mark)),
            Condition::Same(seen) => item.is_some_and(|item| {
                item.mark == seen.mark
                    && item.expires == seen.expires
                    && item.decided == seen.decided
                    && item.cells == seen.cells
            }),
        }
    }
}

fn is_marked(item: &Row, mark: Mark) -> bool {
    item.mark == Some(mark)
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    fn item(mark: Option<Mark>, cells: [Option<i32>; 2]) -> Row {
        let key = Key::row(vec![Value::Int(0)], vec![]);
        let mut row = Row::new(key, cells.map(|cell| cell.map(Value::Int)).into());
        row.mark = mark;
        row
    }

    #[test]
    fn an_expired_item_is_nothing_else() {
        let marks = [
            (Some(Mark::Copied), ItemState::Row),
            (Some(Mark::Resaved), ItemState::Row),
            (Some(Mark::Application), ItemState::Row),
            (None, ItemState::Row),
            (Some(Mark::Tombstone), ItemState::Tombstone),
            (Some(Mark::Partial), ItemState::Partial),
        ];
        for (mark, state) in marks {
            let mut item = item(mark, [Some(1), None]);
            assert_eq!(ItemState::of(Some(&item), 100), state);
            item.expires = Some(101);
            assert_eq!(ItemState::of(Some(&item), 100), state);
            item.expires = Some(100);
            assert_eq!(ItemState::of(Some(&item), 100), ItemState::Expired);
        }
        assert_eq!(ItemState::of(None, 100), ItemState::Absent);
    }

    #[test]
    fn conditions_on_what_is_there() {
        let row = item(Some(Mark::Copied), [Some(1), None]);
        let mut partial = item(Some(Mark::Partial), [Some(1), None]);
        partial.decided = [0].into();
        let is = |condition: &Condition| {
            [None, Some(&row), Some(&partial)].map(|item| condition.holds(item))
        };
        assert_eq!(is(&Condition::Always), [true, true, true]);
        assert_eq!(is(&Condition::absent()), [true, false, false]);
        let owned = Condition::In {
            states: vec![ItemState::Row, ItemState::Partial],
            now: 0,
        };
        assert_eq!(is(&owned), [false, true, true]);
        let cells = |expected: &[(usize, Option<i32>)]| Condition::Cells {
            expected: expected
                .iter()
                .map(|(at, value)| (*at, value.map(Value::Int)))
                .collect(),
            now: 0,
        };
        assert_eq!(is(&cells(&[])), [false, true, false]);
        assert_eq!(is(&cells(&[(0, Some(1)), (1, None)])), [false, true, false]);
        assert_eq!(is(&cells(&[(0, Some(1)), (1, Some(1))])), [false; 3]);
        assert_eq!(is(&Condition::Decides([0].into())), [false, false, true]);
        assert_eq!(is(&Condition::Decides([0, 1].into())), [false; 3]);
        assert_eq!(is(&Condition::Marked(Mark::Copied)), [false, true, false]);
        assert_eq!(
            is(&Condition::Same(partial.clone().into())),
            [false, false, true]
        );
        let mut other = row.clone();
        other.cells[1] = Some(Value::Int(2));
        assert_eq!(is(&Condition::Same(other.into())), [false; 3]);
    }
}
