mod judged;

use super::{Call, Reply, Step, completes_what_is_met, move_over, settle, show};
use crate::model::{
    Change, Condition, Judged, Key, Mark, Mutation, Returns, Row, State, Then, Update,
};
use crate::protocol::{Machine, Phase};

/// Writes a row: any [`Mutation`], or what is [`Judged`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    wanted: Wanted,
    place: Place,
    returns: Returns,
    /// It goes with others in one transaction of the new store.
    together: bool,
    now: i64,
    at: At,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Mutation(Mutation),
    Judged(Judged),
}

/// Where a phase writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
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
    /// Somebody else may still write there.
    Moving,
    /// It can be read, and doesn't change any more.
    Frozen,
    /// It has nothing that counts.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Nothing has been written.
    Start,
    /// The application's write to the new store is out.
    WritingNew(Asked),
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
enum Asked {
    /// That a row, if it is one, is as its writer wants it.
    Wanted,
    /// Nothing of the kind.
    Other,
}

/// The answer of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
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
enum Action {
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
            Phase::Old => Place::Old,
            Phase::Bridge => Place::New(Beneath::Written, application),
            Phase::Switch => Place::New(Beneath::Moving, application),
            Phase::Copy => Place::New(Beneath::Frozen, application),
            Phase::New => Place::New(Beneath::Nothing, application),
            Phase::Done => Place::New(Beneath::Nothing, None),
            Phase::Offline => Place::Refused,
        };
        Write {
            wanted: Wanted::Mutation(mutation),
            place,
            returns: Returns::Nothing,
            together: false,
            now,
            at: At::Start,
        }
    }

    /// A write that depends on the row that is there, begun in this phase at `now`.
    pub fn judged(phase: Phase, judged: Judged, now: i64) -> Self {
        let wanted = Wanted::Judged(judged);
        let key = Mutation::Delete(wanted.key().clone());
        Write {
            wanted,
            ..Write::new(phase, key, now)
        }
    }

    /// The same write, answered [`Outcome::Told`] once it is made.
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

    /// Whether the call that is out is the write itself, and not one that prepares it.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.at, At::WritingNew(_))
    }

    /// Whether it is written, and only what is to be told is still missing.
    pub fn is_made(&self) -> bool {
        matches!(self.at, At::Telling(_))
    }
}

impl Machine for Write {
    type Call = Call;
    type Reply = Reply;
    type Answer = Outcome;

    /// The write for an item as most items are. Where it is in another state, the refusal tells which.
    fn begin(&mut self) -> Step<Outcome> {
        if self.action(State::Row) == Action::Compute {
            self.at = At::JudgingNew;
            return Step::Call(Call::ReadNew(self.wanted.key().clone()));
        }
        let actions = State::ALL.map(|state| self.action(state));
        let first = actions
            .into_iter()
            .find(|action| self.change(*action).is_some());
        self.act(first.unwrap_or(actions[0]), None)
    }

    /// The step after a reply. One that doesn't fit a write counts as lost; where nothing but old rows has
    /// been written yet, the machine begins anew.
    fn step(&mut self, reply: Reply) -> Step<Outcome> {
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => self.begin(),
            At::WritingNew(asked) => match reply {
                Reply::Written => Step::Done(Outcome::Done),
                Reply::Told(item) => self.tell(item),
                Reply::Refused(item) => self.refused(asked, item),
                Reply::Row(_) | Reply::Page(_) | Reply::Unknown => Step::Done(Outcome::Unknown),
            },
            At::WritingOld(told) => match reply {
                Reply::Written => self.told(told),
                Reply::Refused(row) => self.old_refused(row),
                Reply::Row(_) | Reply::Page(_) | Reply::Told(_) | Reply::Unknown => {
                    Step::Done(Outcome::Unknown)
                }
            },
            At::JudgingNew => match reply {
                Reply::Row(item) => self.act(self.action_on(&item), item),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            At::JudgingOld => match reply {
                Reply::Row(old) => self.seen_old(old),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            At::Telling(item) => match reply {
                Reply::Row(old) => self.told(show(item, old, self.now)),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.tell(item),
            },
            At::ReadingOld(item) => match reply {
                Reply::Row(old) => self.complete(item, old),
                Reply::Written
                | Reply::Told(_)
                | Reply::Refused(_)
                | Reply::Page(_)
                | Reply::Unknown => self.begin(),
            },
            At::Completing(old) => match reply {
                Reply::Refused(item) => match (self.action_on(&item), old) {
                    (Action::Complete, Some(old)) if completes_what_is_met(&old) => {
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
    fn action(&self, item: State) -> Action {
        match (self.action_alone(item), self.together, &self.wanted) {
            (Action::Old, true, _) => Action::Later,
            // Its condition has to hold when the others are written.
            (Action::Nothing, true, Wanted::Judged(_)) => Action::Keep,
            (action, _, _) => action,
        }
    }

    fn action_alone(&self, item: State) -> Action {
        let (beneath, mark) = match self.place {
            Place::Old => return Action::Old,
            Place::New(beneath, mark) => (beneath, mark),
            Place::Refused => return Action::Refused,
        };
        let mutation = match &self.wanted {
            Wanted::Mutation(mutation) => mutation,
            Wanted::Judged(judged) => return judged::action(judged, item, beneath, mark),
        };
        match (mutation, item) {
            (Mutation::Put(_) | Mutation::Delete(_), State::Absent)
                if beneath == Beneath::Written =>
            {
                Action::Old
            }
            (Mutation::Put(_), _) => Action::Put(mark),
            (Mutation::Delete(_), _) if mark.is_none() => Action::Remove,
            (Mutation::Delete(_), _) => Action::Bury,
            (Mutation::Update(update), _) => update_action(update, item, beneath, mark),
            (Mutation::Insert(_), State::Row) => Action::Unmet,
            (Mutation::Insert(_), State::Tombstone | State::Expired) => Action::Put(mark),
            (Mutation::Insert(_), State::Absent) => whole(beneath, Action::Put(mark)),
            (Mutation::UpdateIf { .. }, State::Row) => Action::Edit(mark),
            (Mutation::DeleteIf { .. }, State::Row) if mark.is_none() => Action::Remove,
            (Mutation::DeleteIf { .. }, State::Row) => Action::Bury,
            (
                Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. },
                State::Tombstone | State::Expired,
            ) => Action::Unmet,
            (Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. }, State::Absent) => {
                whole(beneath, Action::Unmet)
            }
            (
                Mutation::Insert(_) | Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. },
                State::Partial,
            ) => whole(beneath, Action::Complete),
        }
    }

    fn action_on(&self, item: &Option<Row>) -> Action {
        self.action(State::of(item.as_ref(), self.now))
    }

    /// The write to the new store that an action is, if it is one.
    fn change(&self, action: Action) -> Option<Change> {
        match action {
            Action::Put(mark) => self.row().map(|row| Change::Put(Row { mark, ..row })),
            Action::Bury => Some(Change::Bury),
            Action::Remove => Some(Change::Remove),
            Action::Keep => Some(Change::Keep),
            Action::Edit(mark) => self.update().map(|update| Change::Edit {
                cells: update.cells.clone(),
                mark,
                expires: update.expires,
            }),
            Action::Old
            | Action::Compute
            | Action::Complete
            | Action::Nothing
            | Action::Unmet
            | Action::Wrong
            | Action::Later
            | Action::Refused => None,
        }
    }

    fn update(&self) -> Option<&Update> {
        match &self.wanted {
            Wanted::Mutation(Mutation::Update(update) | Mutation::UpdateIf { update, .. }) => {
                Some(update)
            }
            Wanted::Judged(judged) => match &judged.then {
                Then::Update(update) => Some(update),
                Then::Put(_) | Then::Delete | Then::Compute | Then::Nothing => None,
            },
            Wanted::Mutation(
                Mutation::Put(_)
                | Mutation::Insert(_)
                | Mutation::Delete(_)
                | Mutation::DeleteIf { .. },
            ) => None,
        }
    }

    fn row(&self) -> Option<Row> {
        let given = match &self.wanted {
            Wanted::Mutation(Mutation::Put(row) | Mutation::Insert(row)) => Some(row),
            Wanted::Judged(judged) => match &judged.then {
                Then::Put(row) => Some(row),
                Then::Update(_) | Then::Delete | Then::Compute | Then::Nothing => None,
            },
            Wanted::Mutation(
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
    fn condition(&self, action: Action) -> Condition {
        if let Wanted::Mutation(
            Mutation::UpdateIf { expected, .. } | Mutation::DeleteIf { expected, .. },
        ) = &self.wanted
        {
            return Condition::Cells {
                expected: expected.clone(),
                now: self.now,
            };
        }
        let states = State::ALL.into_iter();
        let states: Vec<State> = states
            .filter(|state| self.action(*state) == action)
            .collect();
        if let (Wanted::Judged(judged), true) = (&self.wanted, states.contains(&State::Row)) {
            let or = states.into_iter().filter(|state| *state != State::Row);
            return Condition::Judged {
                rule: judged.rule.clone(),
                or: or.collect(),
                now: self.now,
            };
        }
        if states.len() == State::ALL.len() {
            return Condition::Always;
        }
        Condition::In {
            states,
            now: self.now,
        }
    }

    fn act(&mut self, action: Action, item: Option<Row>) -> Step<Outcome> {
        if let Some(change) = self.change(action) {
            let asked = match self.action(State::Row) == action {
                true => Asked::Wanted,
                false => Asked::Other,
            };
            return self.write_own(change, self.condition(action), asked);
        }
        match action {
            Action::Old => self.begin_old(),
            Action::Compute => self.compute(item),
            Action::Wrong => self.wrong(),
            Action::Complete if self.is_alone() => self.complete(item, None),
            Action::Complete => {
                self.at = At::ReadingOld(item);
                Step::Call(Call::ReadOld(self.wanted.key().clone()))
            }
            Action::Unmet => Step::Done(Outcome::Unmet(show(item, None, self.now))),
            Action::Later => Step::Done(Outcome::Later),
            Action::Refused => Step::Done(Outcome::Refused),
            Action::Nothing
            | Action::Put(_)
            | Action::Bury
            | Action::Remove
            | Action::Edit(_)
            | Action::Keep => self.told(None),
        }
    }

    /// A write that brings over what the old store has.
    fn write(&self, change: Change, on: Condition) -> Step<Outcome> {
        Step::Call(Call::WriteNew {
            key: self.wanted.key().clone(),
            change,
            on,
        })
    }

    /// The application's own write.
    fn write_own(&mut self, change: Change, on: Condition, asked: Asked) -> Step<Outcome> {
        self.at = At::WritingNew(asked);
        let key = self.wanted.key().clone();
        Step::Call(match self.returns {
            Returns::Nothing => Call::WriteNew { key, change, on },
            returns @ (Returns::Old | Returns::New) => Call::WriteAndTell {
                key,
                change,
                on,
                returns,
            },
        })
    }

    fn refused(&mut self, asked: Asked, item: Option<Row>) -> Step<Outcome> {
        let is_row = State::of(item.as_ref(), self.now) == State::Row;
        match (&self.wanted, asked) {
            // The row is there, so it is what it is like that is in the way.
            (
                Wanted::Judged(_)
                | Wanted::Mutation(Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. }),
                Asked::Wanted,
            ) if is_row => self.act(Action::Unmet, item),
            (_, Asked::Wanted | Asked::Other) => self.act(self.action_on(&item), item),
        }
    }

    fn is_alone(&self) -> bool {
        matches!(self.place, Place::New(Beneath::Nothing, _))
    }

    /// Brings the old row into the new store, or what is missing of it. If there is none, there won't be
    /// one any more, and the new store's item is all there is.
    fn complete(&mut self, item: Option<Row>, old: Option<Row>) -> Step<Outcome> {
        if let Some(row) = &old {
            let (change, on) = move_over(item.as_ref(), row, Mark::Resaved);
            self.at = At::Completing(old);
            return self.write(change, on);
        }
        if let Place::New(beneath, _) = &mut self.place {
            *beneath = Beneath::Nothing;
        }
        match (item, self.action(State::Partial)) {
            (Some(partial), Action::Complete) => {
                let (change, on) = settle(partial);
                self.at = At::Completing(None);
                self.write(change, on)
            }
            (item, _) => self.act(self.action_on(&item), item),
        }
    }
}

fn update_action(update: &Update, item: State, beneath: Beneath, mark: Option<Mark>) -> Action {
    let partial = Action::Edit(Some(Mark::Partial));
    let makes_none = update.only_removes();
    match (item, beneath) {
        (State::Row, _) => Action::Edit(mark),
        (State::Tombstone | State::Expired, _) if makes_none => Action::Nothing,
        (State::Tombstone, _) => Action::Edit(mark),
        (State::Expired, _) => Action::Put(mark),
        (State::Absent, Beneath::Written) => Action::Old,
        (State::Absent | State::Partial, Beneath::Written | Beneath::Moving | Beneath::Frozen)
            if !update.needs_old() =>
        {
            partial
        }
        (State::Absent, _) if makes_none => whole(beneath, Action::Nothing),
        // A partial item without any value shows no row, and must not become an empty one.
        (State::Partial, _) if makes_none => whole(beneath, partial),
        (State::Absent | State::Partial, _) => whole(beneath, Action::Edit(mark)),
    }
}

/// What needs the whole row waits until the old one can be brought over. `alone` is what to do if the old
/// store has no part in it.
fn whole(beneath: Beneath, alone: Action) -> Action {
    match beneath {
        Beneath::Written | Beneath::Moving => Action::Later,
        Beneath::Frozen => Action::Complete,
        Beneath::Nothing => alone,
    }
}

impl Wanted {
    fn key(&self) -> &Key {
        match self {
            Wanted::Mutation(mutation) => mutation.key(),
            Wanted::Judged(judged) => &judged.key,
        }
    }
}
