//! Writes that depend on the row that is there, and rows that are told of.

use super::{
    Beneath, Call, CellAction, RowStep, WantedWrite, Write, WriteAnswer, WriteAt, WriteCondition,
    WritePlace,
};
use super::{show, update_action, whole};
use crate::model::{
    Change, Condition, Edit, ItemState, Judged, Looks, Mark, Mutation, Returns, Row, Rule, Then,
    Update,
};

/// The table: what a judged write does where the item is in this state. A tombstone, an item that has expired, and
/// no item where the old store has no part in it, are judged as there being no row.
pub(super) fn action(
    judged: &Judged,
    item: ItemState,
    beneath: Beneath,
    mark: Option<Mark>,
) -> CellAction {
    match item {
        ItemState::Row => then(judged, item, mark),
        ItemState::Tombstone | ItemState::Expired => of_nothing(judged, item, mark),
        ItemState::Absent => whole(beneath, of_nothing(judged, item, mark)),
        ItemState::Partial => whole(beneath, CellAction::Complete),
    }
}

fn of_nothing(judged: &Judged, item: ItemState, mark: Option<Mark>) -> CellAction {
    match judged.rule.holds(None) {
        Ok(true) => then(judged, item, mark),
        Ok(false) => CellAction::Unmet,
        Err(_) => CellAction::Wrong,
    }
}

fn then(judged: &Judged, item: ItemState, mark: Option<Mark>) -> CellAction {
    match &judged.then {
        Then::Put(_) => CellAction::Put(mark),
        Then::Delete if mark.is_none() => CellAction::Remove,
        Then::Delete => CellAction::Bury,
        Then::Update(update) => update_action(update, item, Beneath::Nothing, mark),
        Then::Compute => CellAction::Compute,
        Then::Nothing => CellAction::Keep,
    }
}

impl Write {
    /// The change that its writer makes of the item, on the condition that what was looked at is still so.
    pub(super) fn compute(&mut self, item: Option<Row>) -> RowStep<WriteAnswer> {
        let state = ItemState::of(item.as_ref(), self.now);
        let row = item.clone().filter(|_| state == ItemState::Row);
        let row = row.and_then(|row| show(Some(row), None, self.now));
        let (WantedWrite::Judged(judged), WritePlace::New(_, mark)) = (&self.wanted, self.place)
        else {
            return RowStep::Done(WriteAnswer::Refused);
        };
        match judged.rule.holds(row.as_ref()) {
            Ok(true) => {}
            Ok(false) => return self.act(CellAction::Unmet, item),
            Err(error) => return RowStep::Done(WriteAnswer::Wrong(error.message().to_owned())),
        }
        let update = match computed(judged, row.as_ref()) {
            Ok(update) => update,
            Err(message) => return RowStep::Done(WriteAnswer::Wrong(message)),
        };
        let (change, on) = match (update_action(&update, state, Beneath::Nothing, mark), item) {
            (CellAction::Put(mark), _) => {
                let row = update.of_nothing();
                (Change::Put(Row { mark, ..row }), self.still(state))
            }
            (CellAction::Edit(mark), Some(item)) if state == ItemState::Row => {
                let on = unchanged(&judged.rule, item, self.now);
                (edit(update, mark), on)
            }
            (CellAction::Edit(mark), _) => (edit(update, mark), self.still(state)),
            (
                CellAction::Old
                | CellAction::Bury
                | CellAction::Remove
                | CellAction::Keep
                | CellAction::Compute
                | CellAction::Complete
                | CellAction::Nothing
                | CellAction::Unmet
                | CellAction::Wrong
                | CellAction::Later
                | CellAction::Refused,
                _,
            ) => return self.told(None),
        };
        self.write_own(change, on, WriteCondition::Other)
    }

    fn still(&self, state: ItemState) -> Condition {
        Condition::In {
            states: vec![state],
            now: self.now,
        }
    }

    /// The old store's part: a plain write, or the row first.
    pub(super) fn begin_old(&mut self) -> RowStep<WriteAnswer> {
        match (&self.wanted, self.returns) {
            (WantedWrite::Mutation(mutation), Returns::Nothing) => {
                let call = Call::WriteOld(mutation.clone());
                self.at = WriteAt::WritingOld(None);
                RowStep::Call(call)
            }
            (WantedWrite::Mutation(_) | WantedWrite::Judged(_), _) => {
                self.at = WriteAt::JudgingOld;
                RowStep::Call(Call::ReadOld(self.wanted.key().clone()))
            }
        }
    }

    /// What is written to the old store, given the row that it has. A judged write is made on the condition that
    /// the cells that were looked at are still so. A row that is only to be told of is read beside the write.
    pub(super) fn seen_old(&mut self, old: Option<Row>) -> RowStep<WriteAnswer> {
        let mutation = match &self.wanted {
            WantedWrite::Mutation(mutation) => Some(mutation.clone()),
            WantedWrite::Judged(judged) => match on_old(judged, old.as_ref()) {
                Ok(mutation) => mutation,
                Err(JudgedVerdict::Unmet) => return RowStep::Done(WriteAnswer::Unmet(old)),
                Err(JudgedVerdict::Wrong(message)) => {
                    return RowStep::Done(WriteAnswer::Wrong(message));
                }
            },
        };
        let Some(mutation) = mutation else {
            return self.told(old);
        };
        let told = match self.returns {
            Returns::Nothing => None,
            Returns::Old => old,
            Returns::New => match after(&mutation, old) {
                Ok(row) => row,
                Err(message) => return RowStep::Done(WriteAnswer::Wrong(message)),
            },
        };
        self.at = WriteAt::WritingOld(told);
        RowStep::Call(Call::WriteOld(mutation))
    }

    /// The old store met another row than was read: a judged write is judged again.
    pub(super) fn old_refused(&mut self, row: Option<Row>) -> RowStep<WriteAnswer> {
        match &self.wanted {
            WantedWrite::Mutation(_) => RowStep::Done(WriteAnswer::Unmet(row)),
            WantedWrite::Judged(_) => self.seen_old(row),
        }
    }

    pub(super) fn wrong(&self) -> RowStep<WriteAnswer> {
        let error = match &self.wanted {
            WantedWrite::Judged(judged) => judged.rule.holds(None).err(),
            WantedWrite::Mutation(_) => None,
        };
        let message = error.map(|error| error.message().to_owned());
        RowStep::Done(message.map_or(WriteAnswer::Refused, WriteAnswer::Wrong))
    }

    /// The write is made, and the store told this item: the row before or after it, but for what the old store
    /// has of it. While others may still write there, that is read beside the write.
    pub(super) fn tell(&mut self, item: Option<Row>) -> RowStep<WriteAnswer> {
        let state = ItemState::of(item.as_ref(), self.now);
        match (self.place, state) {
            (
                WritePlace::New(Beneath::Written | Beneath::Moving | Beneath::Frozen, _),
                ItemState::Absent | ItemState::Partial,
            ) => {
                self.at = WriteAt::Telling(item);
                RowStep::Call(Call::ReadOld(self.wanted.key().clone()))
            }
            (WritePlace::New(..) | WritePlace::Old | WritePlace::Refused, _) => {
                self.told(show(item, None, self.now))
            }
        }
    }

    pub(super) fn told(&self, row: Option<Row>) -> RowStep<WriteAnswer> {
        RowStep::Done(match self.returns {
            Returns::Nothing => WriteAnswer::Done,
            Returns::Old | Returns::New => WriteAnswer::Told(row),
        })
    }
}

/// Why a judged write isn't made.
enum JudgedVerdict {
    Unmet,
    Wrong(String),
}

/// What a judged write is to the old store; `None` if it changes nothing.
fn on_old(judged: &Judged, old: Option<&Row>) -> Result<Option<Mutation>, JudgedVerdict> {
    match judged.rule.holds(old) {
        Ok(true) => {}
        Ok(false) => return Err(JudgedVerdict::Unmet),
        Err(error) => return Err(JudgedVerdict::Wrong(error.message().to_owned())),
    }
    let expected = old.map(|old| looked_at(judged.rule.looks(), old));
    let update = match (&judged.then, expected) {
        (Then::Put(row), None) => return Ok(Some(Mutation::Insert(row.clone()))),
        (Then::Put(row), Some(expected)) => {
            let update = replacing(row);
            return Ok(Some(Mutation::UpdateIf { update, expected }));
        }
        (Then::Delete, Some(expected)) => {
            let key = judged.key.clone();
            return Ok(Some(Mutation::DeleteIf { key, expected }));
        }
        (Then::Delete, None) | (Then::Nothing, _) => return Ok(None),
        (Then::Update(update), expected) => (update.clone(), expected),
        (Then::Compute, expected) => (
            computed(judged, old).map_err(JudgedVerdict::Wrong)?,
            expected,
        ),
    };
    Ok(match update {
        (update, Some(expected)) => Some(Mutation::UpdateIf { update, expected }),
        (update, None) if update.only_removes() => None,
        (update, None) => Some(Mutation::Insert(update.of_nothing())),
    })
}

/// An update that makes the whole row, where one is there.
fn replacing(row: &Row) -> Update {
    let cells = row.cells.iter().cloned();
    Update {
        key: row.key.clone(),
        cells: cells
            .map(|cell| Some(cell.map_or(Edit::Clear, Edit::Set)))
            .collect(),
        expires: row.expires,
    }
}

fn computed(judged: &Judged, row: Option<&Row>) -> Result<Update, String> {
    let edits = judged.rule.edits(row);
    let edits = edits.map_err(|error| error.message().to_owned())?;
    Ok(Update {
        key: judged.key.clone(),
        cells: edits.cells,
        expires: edits.expires,
    })
}

fn edit(update: Update, mark: Option<Mark>) -> Change {
    Change::Edit {
        cells: update.cells,
        mark,
        expires: update.expires,
    }
}

/// That what a rule looked at of an item is still so.
fn unchanged(rule: &Rule, item: Row, now: i64) -> Condition {
    match rule.looks() {
        looks @ Looks::Cells(_) => Condition::Cells {
            expected: looked_at(looks, &item),
            now,
        },
        Looks::Row => Condition::Same(item.into()),
    }
}

fn looked_at(looks: &Looks, row: &Row) -> Vec<(usize, Option<crate::model::Value>)> {
    let cells = row.cells.iter().cloned().enumerate();
    match looks {
        Looks::Cells(places) => cells.filter(|(at, _)| places.contains(at)).collect(),
        Looks::Row => cells.collect(),
    }
}

/// The row that a write to the old store makes of the one that is there.
fn after(mutation: &Mutation, old: Option<Row>) -> Result<Option<Row>, String> {
    let update = match mutation {
        Mutation::Put(row) | Mutation::Insert(row) => return Ok(Some(row.clone())),
        Mutation::Delete(_) | Mutation::DeleteIf { .. } => return Ok(None),
        Mutation::Update(update) | Mutation::UpdateIf { update, .. } => update,
    };
    if old.is_none() && update.only_removes() {
        return Ok(None);
    }
    let width = update.cells.len();
    let edited = edit(update.clone(), None).of(&update.key, width, old);
    let edited = edited.map_err(|error| error.message().to_owned())?;
    Ok(edited.map(|row| Row {
        decided: Default::default(),
        ..row
    }))
}
