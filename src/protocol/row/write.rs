mod judged;

use super::{Call, Reply, RowStep, completes_what_is_met, move_over, settle, show};
use crate::model::{
    Change, Condition, ItemState, Judged, Key, Mark, Mutation, Returns, Row, Then, Update,
};
use crate::protocol::{Machine, Phase};

/// Writes a row: any [`Mutation`], or what is [`Judged`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    wanted: WantedWrite,
    place: WritePlace,
    returns: Returns,
    /// It goes with others in one transaction of the new store.
    together: bool,
    /// It has been told [`WriteAnswer::Later`] before.
    looks_first: bool,
    now: i64,
    at: WriteAt,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WantedWrite {
    Mutation(Mutation),
    Judged(Judged),
}

/// Where a phase writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum WritePlace {
    Old,
    /// In the new store, with this mark.
    New(Beneath, Option<Mark>),
    Refused,
}

/// What the old store means for a key that the new store doesn't have, or in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Beneath {
    /// It is where such a key is still written.
    Written,
    /// Someone else may still write there.
    Moving,
    /// It can be read, and doesn't change any more.
    Frozen,
    /// It has nothing that counts.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WriteAt {
    /// Nothing has been written.
    Start,
    /// The application's write to the new store is out.
    WritingNew(WriteCondition),
    /// The application's write to the old store is out. This is the row to be told of.
    WritingOld(Option<Row>),
    /// The old row is being read. This is the item, absent or partial.
    ReadingOld(Option<Row>),
    /// The item is being made whole before the write; this is the old row, if there is one.
    Completing(Option<Row>),
    /// The item is being read, to be judged.
    JudgingNew,
    /// The old row is being read, to be judged or to be told of.
    JudgingOld,
    /// It is written, to this item; what the item doesn't decide is being read in the old store.
    Telling(Option<Row>),
}

/// What a write to the new store was made on the condition of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum WriteCondition {
    /// That a row, if it is one, is as its writer wants it.
    Wanted,
    /// Nothing of the kind.
    Other,
}

/// The answer of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteAnswer {
    /// It is written.
    Done,
    /// It is written, and this is the row that was to be told, if there is one.
    Told(Option<Row>),
    /// The reply was lost: it may have been written, or may be yet. Sending it again is the caller's
    /// choice, since a later write may be undone by it.
    Unknown,
    /// The write's own condition isn't met, by this row. Nothing was changed.
    Unmet(Option<Row>),
    /// The write needs the old value, which can't be changed safely in this phase. Nothing was changed;
    /// from `copy` on the same write will do.
    Later,
    /// It can't be done to the row that is there. Nothing was changed.
    Wrong(String),
    /// Applications may not write to this table: it is offline.
    Refused,
}

/// What a cell of the tables says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellAction {
    /// Write to the old store.
    Old,
    /// Replace the item by a row: the given one, or what an update makes of nothing.
    Put(Option<Mark>),
    /// Leave a tombstone.
    Bury,
    /// Delete the item.
    Remove,
    /// Change the item's columns, and mark it so.
    Edit(Option<Mark>),
    /// Leave the item as it is, if it is as it is wanted.
    Keep,
    /// Change the item as its writer makes of it.
    Compute,
    /// Make the item whole, then begin again.
    Complete,
    /// Nothing would change.
    Nothing,
    /// The write's own condition isn't met.
    Unmet,
    /// Its writer can make nothing of there being no row.
    Wrong,
    /// Not in this phase.
    Later,
    /// Not at all.
    Refused,
}

impl Write {
    /// A write begun in this phase at `now`, in seconds since 1970. A given row's mark means nothing.
    pub fn new(phase: Phase, mutation: Mutation, now: i64) -> Self {
        let application = Some(Mark::Application);
        let place = match phase {
            Phase::Old => WritePlace::Old,
            Phase::Bridge => WritePlace::New(Beneath::Written, application),
            Phase::Switch => WritePlace::New(Beneath::Moving, application),
            Phase::Copy => WritePlace::New(Beneath::Frozen, application),
            Phase::New => WritePlace::New(Beneath::Nothing, application),
            Phase::Done => WritePlace::New(Beneath::Nothing, None),
            Phase::Offline => WritePlace::Refused,
        };
        Write {
            wanted: WantedWrite::Mutation(mutation),
            place,
            returns: Returns::Nothing,
            together: false,
            looks_first: false,
            now,
            at: WriteAt::Start,
        }
    }

    /// A write that depends on the row that is there, begun in this phase at `now`.
    pub fn judged(phase: Phase, judged: Judged, now: i64) -> Self {
        let wanted = WantedWrite::Judged(judged);
        let key = Mutation::Delete(wanted.key().clone());
        Write {
            wanted,
            ..Write::new(phase, key, now)
        }
    }

    /// The same write, answered [`WriteAnswer::Told`] once it is made.
    #[must_use]
    pub fn telling(self, returns: Returns) -> Self {
        Write { returns, ..self }
    }

    /// The same write as a part of a transaction: only the new store has these.
    pub(super) fn together(self) -> Self {
        Write {
            together: true,
            ..self
        }
    }

    /// The same write, made again after [`WriteAnswer::Later`]: it looks whether the item that it needs is there by now before
    /// it sends anything that changes something, so that where it isn't, it is still known that nothing was changed.
    #[must_use]
    pub fn after_later(self) -> Self {
        Write {
            looks_first: true,
            ..self
        }
    }

    /// Whether the call that is out is the write itself, and not one that prepares it.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.at, WriteAt::WritingNew(_))
    }

    /// Whether it is written, and only what is to be told is still missing.
    pub fn is_made(&self) -> bool {
        matches!(self.at, WriteAt::Telling(_))
    }
}

impl Machine for Write {
    type Call = Call;
    type Reply = Reply;
    type Answer = WriteAnswer;

    /// The write for an item as most items are. Where it is in another state, the refusal tells which.
    fn begin(&mut self) -> RowStep<WriteAnswer> {
        if self.looks_first || self.action(ItemState::Row) == CellAction::Compute {
            self.looks_first = false;
            self.at = WriteAt::JudgingNew;
            return RowStep::Call(Call::ReadNew(self.wanted.key().clone()));
        }
        let actions = ItemState::ALL.map(|state| self.action(state));
        let first = actions
            .into_iter()
            .find(|action| self.change(*action).is_some());
        self.act(first.unwrap_or(actions[0]), None)
    }

    /// The step after a reply. One that doesn't fit a write counts as lost; where nothing but old rows has
    /// been written yet, the machine begins anew.
    fn step(&mut self, reply: Reply) -> RowStep<WriteAnswer> {
        match std::mem::replace(&mut self.at, WriteAt::Start) {
            WriteAt::Start => self.begin(),
            WriteAt::WritingNew(asked) => match reply {
                Reply::Written => RowStep::Done(WriteAnswer::Done),
                Reply::Told(item) => self.tell(item),
                Reply::Refused(item) => self.refused(asked, item),
                Reply::Row(_) | Reply::Page(_) | Reply::Unknown => {
                    RowStep::Done(WriteAnswer::Unknown)
                }
            },
            WriteAt::WritingOld(told) => match reply {
                Reply::Written => self.told(told),
                Reply::Refused(row) => self.old_refused(row),
                Reply::Row(_) | Reply::Page(_) | Reply::Told(_) | Reply::Unknown => {
                    RowStep::Done(WriteAnswer::Unknown)
                }
            },
            WriteAt::JudgingNew => match reply {
                Reply::Row(item) => self.act(self.action_on(&item), item),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            WriteAt::JudgingOld => match reply {
                Reply::Row(old) => self.seen_old(old),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            WriteAt::Telling(item) => match reply {
                Reply::Row(old) => self.told(show(item, old, self.now)),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.tell(item),
            },
            WriteAt::ReadingOld(item) => match reply {
                Reply::Row(old) => self.complete(item, old),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            WriteAt::Completing(old) => match reply {
                Reply::Refused(item) => match (self.action_on(&item), old) {
                    (CellAction::Complete, Some(old)) if completes_what_is_met(&old) => {
                        self.complete(item, Some(old))
                    }
                    (action, _) => self.act(action, item),
                },
                Reply::Written
                | Reply::Told(_)
                | Reply::Row(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
        }
    }
}

impl Write {
    /// The tables: what is to be done where the item is in this state.
    fn action(&self, item: ItemState) -> CellAction {
        match (self.action_alone(item), self.together, &self.wanted) {
            (CellAction::Old, true, _) => CellAction::Later,
            // Its condition has to hold when the others are written.
            (CellAction::Nothing, true, WantedWrite::Judged(_)) => CellAction::Keep,
            (action, _, _) => action,
        }
    }

    fn action_alone(&self, item: ItemState) -> CellAction {
        let (beneath, mark) = match self.place {
            WritePlace::Old => return CellAction::Old,
            WritePlace::New(beneath, mark) => (beneath, mark),
            WritePlace::Refused => return CellAction::Refused,
        };
        let mutation = match &self.wanted {
            WantedWrite::Mutation(mutation) => mutation,
            WantedWrite::Judged(judged) => return judged::action(judged, item, beneath, mark),
        };
        match (mutation, item) {
            (Mutation::Put(_) | Mutation::Delete(_), ItemState::Absent)
                if beneath == Beneath::Written =>
            {
                CellAction::Old
            }
            (Mutation::Put(_), _) => CellAction::Put(mark),
            (Mutation::Delete(_), _) if mark.is_none() => CellAction::Remove,
            (Mutation::Delete(_), _) => CellAction::Bury,
            (Mutation::Update(update), _) => update_action(update, item, beneath, mark),
            (Mutation::Insert(_), ItemState::Row) => CellAction::Unmet,
            (Mutation::Insert(_), ItemState::Tombstone | ItemState::Expired) => {
                CellAction::Put(mark)
            }
            (Mutation::Insert(_), ItemState::Absent) => whole(beneath, CellAction::Put(mark)),
            (Mutation::UpdateIf { .. }, ItemState::Row) => CellAction::Edit(mark),
            (Mutation::DeleteIf { .. }, ItemState::Row) if mark.is_none() => CellAction::Remove,
            (Mutation::DeleteIf { .. }, ItemState::Row) => CellAction::Bury,
            (
                Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. },
                ItemState::Tombstone | ItemState::Expired,
            ) => CellAction::Unmet,
            (Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. }, ItemState::Absent) => {
                whole(beneath, CellAction::Unmet)
            }
            (
                Mutation::Insert(_) | Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. },
                ItemState::Partial,
            ) => whole(beneath, CellAction::Complete),
        }
    }

    fn action_on(&self, item: &Option<Row>) -> CellAction {
        self.action(ItemState::of(item.as_ref(), self.now))
    }

    /// The write to the new store that an action is, if it is one.
    fn change(&self, action: CellAction) -> Option<Change> {
        match action {
            CellAction::Put(mark) => self.row().map(|row| Change::Put(Row { mark, ..row })),
            CellAction::Bury => Some(Change::Bury),
            CellAction::Remove => Some(Change::Remove),
            CellAction::Keep => Some(Change::Keep),
            CellAction::Edit(mark) => self.update().map(|update| Change::Edit {
                cells: update.cells.clone(),
                mark,
                expires: update.expires,
            }),
            CellAction::Old
            | CellAction::Compute
            | CellAction::Complete
            | CellAction::Nothing
            | CellAction::Unmet
            | CellAction::Wrong
            | CellAction::Later
            | CellAction::Refused => None,
        }
    }

    fn update(&self) -> Option<&Update> {
        match &self.wanted {
            WantedWrite::Mutation(Mutation::Update(update) | Mutation::UpdateIf { update, .. }) => {
                Some(update)
            }
            WantedWrite::Judged(judged) => match &judged.then {
                Then::Update(update) => Some(update),
                Then::Put(_) | Then::Delete | Then::Compute | Then::Nothing => None,
            },
            WantedWrite::Mutation(
                Mutation::Put(_)
                | Mutation::Insert(_)
                | Mutation::Delete(_)
                | Mutation::DeleteIf { .. },
            ) => None,
        }
    }

    fn row(&self) -> Option<Row> {
        let given = match &self.wanted {
            WantedWrite::Mutation(Mutation::Put(row) | Mutation::Insert(row)) => Some(row),
            WantedWrite::Judged(judged) => match &judged.then {
                Then::Put(row) => Some(row),
                Then::Update(_) | Then::Delete | Then::Compute | Then::Nothing => None,
            },
            WantedWrite::Mutation(
                Mutation::Update(_)
                | Mutation::UpdateIf { .. }
                | Mutation::Delete(_)
                | Mutation::DeleteIf { .. },
            ) => None,
        };
        let given = given.cloned();
        given.or_else(|| self.update().map(Update::of_nothing))
    }

    /// The condition of an action that writes: all states that want this very action.
    fn condition(&self, action: CellAction) -> Condition {
        if let WantedWrite::Mutation(
            Mutation::UpdateIf { expected, .. } | Mutation::DeleteIf { expected, .. },
        ) = &self.wanted
        {
            return Condition::Cells {
                expected: expected.clone(),
                now: self.now,
            };
        }
        let states = ItemState::ALL.into_iter();
        let states: Vec<ItemState> = states
            .filter(|state| self.action(*state) == action)
            .collect();
        if let (WantedWrite::Judged(judged), true) =
            (&self.wanted, states.contains(&ItemState::Row))
        {
            let or = states.into_iter().filter(|state| *state != ItemState::Row);
            return Condition::Judged {
                rule: judged.rule.clone(),
                or: or.collect(),
                now: self.now,
            };
        }
        if states.len() == ItemState::ALL.len() {
            return Condition::Always;
        }
        Condition::In {
            states,
            now: self.now,
        }
    }

    fn act(&mut self, action: CellAction, item: Option<Row>) -> RowStep<WriteAnswer> {
        if let Some(change) = self.change(action) {
            let asked = match self.action(ItemState::Row) == action {
                true => WriteCondition::Wanted,
                false => WriteCondition::Other,
            };
            return self.write_own(change, self.condition(action), asked);
        }
        match action {
            CellAction::Old => self.begin_old(),
            CellAction::Compute => self.compute(item),
            CellAction::Wrong => self.wrong(),
            CellAction::Complete if self.is_alone() => self.complete(item, None),
            CellAction::Complete => {
                self.at = WriteAt::ReadingOld(item);
                RowStep::Call(Call::ReadOld(self.wanted.key().clone()))
            }
            CellAction::Unmet => RowStep::Done(WriteAnswer::Unmet(show(item, None, self.now))),
            CellAction::Later => RowStep::Done(WriteAnswer::Later),
            CellAction::Refused => RowStep::Done(WriteAnswer::Refused),
            CellAction::Nothing
            | CellAction::Put(_)
            | CellAction::Bury
            | CellAction::Remove
            | CellAction::Edit(_)
            | CellAction::Keep => self.told(None),
        }
    }

    /// A write that brings over what the old store has.
    fn write(&self, change: Change, on: Condition) -> RowStep<WriteAnswer> {
        RowStep::Call(Call::WriteNew {
            key: self.wanted.key().clone(),
            change,
            on,
        })
    }

    /// The application's own write.
    fn write_own(
        &mut self,
        change: Change,
        on: Condition,
        asked: WriteCondition,
    ) -> RowStep<WriteAnswer> {
        self.at = WriteAt::WritingNew(asked);
        let key = self.wanted.key().clone();
        RowStep::Call(match self.returns {
            Returns::Nothing => Call::WriteNew { key, change, on },
            returns @ (Returns::Old | Returns::New) => Call::WriteAndTell {
                key,
                change,
                on,
                returns,
            },
        })
    }

    fn refused(&mut self, asked: WriteCondition, item: Option<Row>) -> RowStep<WriteAnswer> {
        let is_row = ItemState::of(item.as_ref(), self.now) == ItemState::Row;
        match (&self.wanted, asked) {
            // The row is there, so it is what it is like that is in the way.
            (
                WantedWrite::Judged(_)
                | WantedWrite::Mutation(Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. }),
                WriteCondition::Wanted,
            ) if is_row => self.act(CellAction::Unmet, item),
            (_, WriteCondition::Wanted | WriteCondition::Other) => {
                self.act(self.action_on(&item), item)
            }
        }
    }

    fn is_alone(&self) -> bool {
        matches!(self.place, WritePlace::New(Beneath::Nothing, _))
    }

    /// Brings the old row into the new store, or what is missing of it. If there is none, there won't be
    /// one any more, and the new store's item is all there is.
    fn complete(&mut self, item: Option<Row>, old: Option<Row>) -> RowStep<WriteAnswer> {
        if let Some(row) = &old {
            let (change, on) = move_over(item.as_ref(), row, Mark::Resaved);
            self.at = WriteAt::Completing(old);
            return self.write(change, on);
        }
        if let WritePlace::New(beneath, _) = &mut self.place {
            *beneath = Beneath::Nothing;
        }
        match (item, self.action(ItemState::Partial)) {
            (Some(partial), CellAction::Complete) => {
                let (change, on) = settle(partial);
                self.at = WriteAt::Completing(None);
                self.write(change, on)
            }
            (item, _) => self.act(self.action_on(&item), item),
        }
    }
}

fn update_action(
    update: &Update,
    item: ItemState,
    beneath: Beneath,
    mark: Option<Mark>,
) -> CellAction {
    let partial = CellAction::Edit(Some(Mark::Partial));
    let makes_none = update.only_removes();
    match (item, beneath) {
        (ItemState::Row, _) => CellAction::Edit(mark),
        (ItemState::Tombstone | ItemState::Expired, _) if makes_none => CellAction::Nothing,
        (ItemState::Tombstone, _) => CellAction::Edit(mark),
        (ItemState::Expired, _) => CellAction::Put(mark),
        (ItemState::Absent, Beneath::Written) => CellAction::Old,
        (
            ItemState::Absent | ItemState::Partial,
            Beneath::Written | Beneath::Moving | Beneath::Frozen,
        ) if !update.needs_old() => partial,
        (ItemState::Absent, _) if makes_none => whole(beneath, CellAction::Nothing),
        // A partial item without any value shows no row, and must not become an empty one.
        (ItemState::Partial, _) if makes_none => whole(beneath, partial),
        (ItemState::Absent | ItemState::Partial, _) => whole(beneath, CellAction::Edit(mark)),
    }
}

/// What needs the whole row waits until the old one can be brought over. `alone` is what to do if the old
/// store has no part in it.
fn whole(beneath: Beneath, alone: CellAction) -> CellAction {
    match beneath {
        Beneath::Written | Beneath::Moving => CellAction::Later,
        Beneath::Frozen => CellAction::Complete,
        Beneath::Nothing => alone,
    }
}

impl WantedWrite {
    fn key(&self) -> &Key {
        match self {
            WantedWrite::Mutation(mutation) => mutation.key(),
            WantedWrite::Judged(judged) => &judged.key,
        }
    }
}
