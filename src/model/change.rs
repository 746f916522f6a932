//! What is written: by an application to a row, and in the new store to an item.

use std::collections::BTreeSet;

use super::{Key, Mark, Row, Value};
use crate::error::{Error, Kind, Result};

/// What a write does to one cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Gives it this value.
    Set(Value),
    /// Makes it null.
    Clear,
    /// Adds elements at the end of a list.
    Append(Vec<Value>),
    /// Adds elements to a set.
    AddToSet(Vec<Value>),
    /// Takes elements out of a set.
    RemoveFromSet(Vec<Value>),
    /// Puts entries into a map, over those with the same keys.
    PutInMap(Vec<(Value, Value)>),
    /// Takes the entries with these keys out of a map.
    RemoveFromMap(Vec<Value>),
}

impl Edit {
    /// Whether what comes of it depends on the value that is there.
    pub fn needs_old(&self) -> bool {
        match self {
            Edit::Set(_) | Edit::Clear => false,
            Edit::Append(_)
            | Edit::AddToSet(_)
            | Edit::RemoveFromSet(_)
            | Edit::PutInMap(_)
            | Edit::RemoveFromMap(_) => true,
        }
    }

    /// What it makes of null. A collection without elements is null.
    pub fn of_null(&self) -> Option<Value> {
        match self {
            Edit::Set(value) => Some(value.clone()),
            Edit::Append(elements) if !elements.is_empty() => Some(Value::List(elements.clone())),
            Edit::AddToSet(elements) if !elements.is_empty() => Some(Value::Set(elements.clone())),
            Edit::PutInMap(entries) if !entries.is_empty() => Some(Value::Map(entries.clone())),
            Edit::Append(_)
            | Edit::AddToSet(_)
            | Edit::PutInMap(_)
            | Edit::Clear
            | Edit::RemoveFromSet(_)
            | Edit::RemoveFromMap(_) => None,
        }
    }

    /// What it makes of a value. The order inside a set or map means nothing.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the value isn't such a collection.
    pub fn of(&self, old: Option<Value>) -> Result<Option<Value>> {
        let Some(old) = old else {
            return Ok(self.of_null());
        };
        match (self, old) {
            (Edit::Set(value), _) => Ok(Some(value.clone())),
            (Edit::Clear, _) => Ok(None),
            (Edit::Append(elements), Value::List(mut list)) => {
                list.extend_from_slice(elements);
                Ok((!list.is_empty()).then_some(Value::List(list)))
            }
            (Edit::AddToSet(elements), Value::Set(mut set)) => {
                let new = elements.iter().filter(|element| !set.contains(element));
                let new: Vec<Value> = new.cloned().collect();
                set.extend(new);
                Ok((!set.is_empty()).then_some(Value::Set(set)))
            }
            (Edit::RemoveFromSet(elements), Value::Set(mut set)) => {
                set.retain(|element| !elements.contains(element));
                Ok((!set.is_empty()).then_some(Value::Set(set)))
            }
            (Edit::PutInMap(entries), Value::Map(mut map)) => {
                map.retain(|(key, _)| entries.iter().all(|(new, _)| new != key));
                map.extend_from_slice(entries);
                Ok((!map.is_empty()).then_some(Value::Map(map)))
            }
            (Edit::RemoveFromMap(keys), Value::Map(mut map)) => {
                map.retain(|(key, _)| !keys.contains(key));
                Ok((!map.is_empty()).then_some(Value::Map(map)))
            }
            (
                Edit::Append(_)
                | Edit::AddToSet(_)
                | Edit::RemoveFromSet(_)
                | Edit::PutInMap(_)
                | Edit::RemoveFromMap(_),
                _,
            ) => {
                let message = "a value isn't the collection whose elements are to be changed";
                Err(Error::new(Kind::Invalid, message))
            }
        }
    }
}

/// A change of some of a row's columns, as `UPDATE` has it. The row need not exist.
///
/// Expiry belongs to the whole row here. (In Cassandra an update's belongs to the cells it writes.)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// The row's key.
    pub key: Key,
    /// In the order of [`crate::schema::Table::cells`]; `None` leaves a column as it is.
    pub cells: Vec<Option<Edit>>,
    /// When the row expires afterwards, seconds since 1970; `None` leaves that as it is.
    pub expires: Option<i64>,
}

impl Update {
    /// Whether any column's new value depends on its old one.
    pub fn needs_old(&self) -> bool {
        self.cells.iter().flatten().any(Edit::needs_old)
    }

    /// Whether it gives no column a value, so that it makes no row where there is none.
    pub fn only_removes(&self) -> bool {
        let mut edits = self.cells.iter().flatten();
        edits.all(|edit| edit.of_null().is_none())
    }

    /// The row it makes where there is none.
    pub fn of_nothing(&self) -> Row {
        let cells = self.cells.iter();
        let values = cells.map(|edit| edit.as_ref().and_then(Edit::of_null));
        let mut row = Row::new(self.key.clone(), values.collect());
        row.expires = self.expires;
        row
    }
}

/// A write of an application to one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Puts the whole row. Every column is as given, be it null; of a partial row ([`Mark::Partial`]) those that
    /// it decides, and the others stay as they are.
    Put(Row),
    /// Changes some columns.
    Update(Update),
    /// Deletes the row.
    Delete(Key),
    /// Puts the whole row if there is none.
    Insert(Row),
    /// Changes some columns if the row is there and all `expected` cells are as given, `None` being null.
    UpdateIf {
        /// The change.
        update: Update,
        /// Places among [`crate::schema::Table::cells`], and what has to be there. Empty: the row alone.
        expected: Vec<(usize, Option<Value>)>,
    },
    /// Deletes the row if it is there and all `expected` cells are as given, `None` being null.
    DeleteIf {
        /// Which row.
        key: Key,
        /// As of [`Mutation::UpdateIf`].
        expected: Vec<(usize, Option<Value>)>,
    },
}

impl Mutation {
    /// The row's key.
    pub fn key(&self) -> &Key {
        match self {
            Mutation::Put(row) | Mutation::Insert(row) => &row.key,
            Mutation::Update(update) | Mutation::UpdateIf { update, .. } => &update.key,
            Mutation::Delete(key) | Mutation::DeleteIf { key, .. } => key,
        }
    }
}

/// A write to one item of the new store, made on a condition ([`super::Condition`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Replaces the whole item by this one, or makes it.
    Put(Row),
    /// Replaces the item by a tombstone ([`Mark::Tombstone`]), or makes one.
    Bury,
    /// Deletes the item, leaving nothing.
    Remove,
    /// Leaves everything as it is: its condition alone has to hold, beside other changes of a transaction.
    Keep,
    /// Takes away what the migration keeps at the item: mark, decided cells and watermarks. Where there is no
    /// item it makes an empty one, so its condition has to want one.
    Strip,
    /// Changes some cells of the item, or of a new one that has nothing else.
    Edit {
        /// In the order of [`crate::schema::Table::cells`]; `None` leaves a cell as it is.
        cells: Vec<Option<Edit>>,
        /// The mark it has afterwards. To a partial item's decided cells these are added; an item of any
        /// other mark has none afterwards.
        mark: Option<Mark>,
        /// A new expiry of the item; `None` leaves it as it is.
        expires: Option<i64>,
    },
}

impl Change {
    /// What it makes of an item, or of none. `width` is the number of a table's cells.
    ///
    /// # Errors
    /// [`Kind::Invalid`] as of [`Edit::of`].
    pub fn of(&self, key: &Key, width: usize, item: Option<Row>) -> Result<Option<Row>> {
        let blank = || Row::new(key.clone(), vec![None; width]);
        match self {
            Change::Put(row) => Ok(Some(row.clone())),
            Change::Remove => Ok(None),
            Change::Keep => Ok(item),
            Change::Strip => Ok(Some(Row {
                mark: None,
                decided: BTreeSet::new(),
                watermarks: Vec::new(),
                ..item.unwrap_or_else(blank)
            })),
            Change::Bury => Ok(Some(Row::tombstone(key.clone(), width))),
            Change::Edit {
                cells,
                mark,
                expires,
            } => {
                let mut item = item.unwrap_or_else(blank);
                let edited = item.cells.iter_mut().zip(cells).enumerate();
                for (at, (cell, edit)) in edited {
                    let Some(edit) = edit else { continue };
                    *cell = edit.of(cell.take())?;
                    item.decided.insert(at);
                }
                match mark {
                    Some(Mark::Partial) => {}
                    Some(Mark::Copied | Mark::Resaved | Mark::Application | Mark::Tombstone)
                    | None => item.decided.clear(),
                }
                item.mark = *mark;
                item.expires = expires.or(item.expires);
                Ok(Some(item))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ints(numbers: &[i32]) -> Vec<Value> {
        numbers.iter().copied().map(Value::Int).collect()
    }

    fn entries(pairs: &[(i32, i32)]) -> Vec<(Value, Value)> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| (Value::Int(*key), Value::Int(*value)))
            .collect()
    }

    #[test]
    fn an_edit_of_null_is_one_of_an_empty_collection() {
        let empty = [Value::List(vec![]), Value::Set(vec![]), Value::Map(vec![])];
        let edits = [
            (Edit::Append(ints(&[1])), 0, Some(Value::List(ints(&[1])))),
            (Edit::Append(vec![]), 0, None),
            (Edit::AddToSet(ints(&[1])), 1, Some(Value::Set(ints(&[1])))),
            (Edit::RemoveFromSet(ints(&[1])), 1, None),
            (
                Edit::PutInMap(entries(&[(1, 2)])),
                2,
                Some(Value::Map(entries(&[(1, 2)]))),
            ),
            (Edit::RemoveFromMap(ints(&[1])), 2, None),
        ];
        for (edit, of, expected) in edits {
            assert_eq!(edit.of_null(), expected, "{edit:?} of null");
            let of_empty = edit.of(Some(empty[of].clone())).unwrap();
            assert_eq!(of_empty, expected, "{edit:?} of nothing");
            assert_eq!(edit.of(None).unwrap(), expected, "{edit:?} of None");
        }
    }

    #[test]
    fn elements_are_changed_and_the_others_stay() {
        let set = Value::Set(ints(&[1, 2]));
        let list = Value::List(ints(&[1, 2]));
        let map = Value::Map(entries(&[(1, 10), (2, 20)]));
        let of = |edit: Edit, value: &Value| edit.of(Some(value.clone())).unwrap();
        assert_eq!(
            of(Edit::Append(ints(&[2])), &list),
            Some(Value::List(ints(&[1, 2, 2])))
        );
        assert_eq!(
            of(Edit::AddToSet(ints(&[2, 3])), &set),
            Some(Value::Set(ints(&[1, 2, 3])))
        );
        assert_eq!(
            of(Edit::RemoveFromSet(ints(&[1, 3])), &set),
            Some(Value::Set(ints(&[2])))
        );
        assert_eq!(of(Edit::RemoveFromSet(ints(&[1, 2])), &set), None);
        assert_eq!(
            of(Edit::PutInMap(entries(&[(1, 11), (3, 30)])), &map),
            Some(Value::Map(entries(&[(2, 20), (1, 11), (3, 30)])))
        );
        assert_eq!(
            of(Edit::RemoveFromMap(ints(&[2])), &map),
            Some(Value::Map(entries(&[(1, 10)])))
        );
        let wrong = Edit::Append(ints(&[1])).of(Some(Value::Int(1)));
        assert_eq!(wrong.unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn only_a_partial_item_keeps_what_it_decides() {
        let key = Key::row(vec![Value::Int(0)], vec![]);
        let edit = |cell: usize, mark| {
            let mut cells = vec![None; 2];
            cells[cell] = Some(Edit::Set(Value::Int(cell as i32)));
            Change::Edit {
                cells,
                mark,
                expires: None,
            }
        };
        let partial = Some(Mark::Partial);
        let first = edit(0, partial).of(&key, 2, None).unwrap().unwrap();
        assert_eq!((first.mark, &first.decided), (partial, &[0].into()));
        assert_eq!(first.cells, [Some(Value::Int(0)), None]);
        let both = edit(1, partial).of(&key, 2, Some(first.clone())).unwrap();
        assert_eq!(both.unwrap().decided, [0, 1].into());
        let whole = edit(1, Some(Mark::Application)).of(&key, 2, Some(first));
        let whole = whole.unwrap().unwrap();
        assert_eq!(whole.mark, Some(Mark::Application));
        assert!(whole.decided.is_empty());
        let tombstone = Change::Bury.of(&key, 2, Some(whole)).unwrap().unwrap();
        assert_eq!(tombstone.mark, Some(Mark::Tombstone));
        assert_eq!(tombstone.cells, [None, None]);
    }
}
