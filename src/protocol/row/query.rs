use std::collections::VecDeque;

use super::walk::{ClusteringOrder, Stores, Stretch, Walk};
use super::{Call, Outcome, Reply, Step, Write, show};
use crate::model::{Key, List, Mutation, Row, Span, State};
use crate::protocol::phase::RowRead;
use crate::protocol::{Machine, Phase};

fn stores(phase: Phase, rows_expire: bool) -> Option<Stores> {
    match phase.row_read() {
        RowRead::Old => Some(Stores::Old),
        read @ (RowRead::NewElseOld | RowRead::NewElseOldAndSave) => {
            Some(Stores::Both { read, rows_expire })
        }
        RowRead::New => Some(Stores::New),
        RowRead::Refused => None,
    }
}

/// Reads a page of a range of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query<O> {
    /// `None` where applications may not read.
    walk: Option<Walk<O>>,
    limit: usize,
    now: i64,
    rows: Vec<Row>,
    /// Where it began.
    began_after: Option<Key>,
}

/// The answer of a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Queried {
    /// The rows, without marks and decided cells. If there may be more, the next page begins behind this
    /// key; in whatever phase, since it stands for both stores' positions.
    Rows(Vec<Row>, Option<Key>),
    /// Applications may not read this table: it is offline.
    Refused,
}

impl<O: ClusteringOrder> Query<O> {
    /// A page of rows, begun in this phase at `now` (seconds since 1970); `rows_expire` as of
    /// [`super::Get::new`].
    pub fn new(phase: Phase, list: List, order: O, now: i64, rows_expire: bool) -> Self {
        let limit = list.limit.max(1);
        let stores = stores(phase, rows_expire);
        let began_after = list.after.clone();
        Query {
            began_after,
            walk: stores.map(|stores| Walk::new(order, stores, list)),
            limit,
            now,
            rows: Vec::new(),
        }
    }

    /// What it has come to, for a driver that can't go on: a page with fewer rows than were asked for, or none, and
    /// where the next one begins. `None` if it hasn't come further than where it began.
    pub fn so_far(self) -> Option<Queried> {
        let walk = self.walk?;
        let after = walk
            .after()
            .filter(|key| Some(*key) != self.began_after.as_ref())?;
        Some(Queried::Rows(self.rows, Some(after.clone())))
    }
}

impl<O: ClusteringOrder> Machine for Query<O> {
    type Call = Call;
    type Reply = Reply;
    type Answer = Queried;

    fn begin(&mut self) -> Step<Queried> {
        match &mut self.walk {
            Some(walk) => Step::Call(walk.advance()),
            None => Step::Done(Queried::Refused),
        }
    }

    /// The step after a reply.
    fn step(&mut self, reply: Reply) -> Step<Queried> {
        let Some(walk) = &mut self.walk else {
            return Step::Done(Queried::Refused);
        };
        let (pairs, is_over) = match walk.step(reply) {
            Step::Call(call) => return Step::Call(call),
            Step::Done(Stretch { pairs, is_over }) => (pairs, is_over),
        };
        let mut pairs = pairs.into_iter().peekable();
        while let Some(pair) = pairs.next() {
            self.rows.extend(show(pair.item, pair.old, self.now));
            if self.rows.len() == self.limit && !(is_over && pairs.peek().is_none()) {
                let rows = std::mem::take(&mut self.rows);
                return Step::Done(Queried::Rows(rows, Some(pair.key)));
            }
        }
        if is_over {
            return Step::Done(Queried::Rows(std::mem::take(&mut self.rows), None));
        }
        Step::Call(walk.advance())
    }
}

/// Deletes a range of rows: key by key, but for phase `old`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeleteRange<O> {
    phase: Phase,
    now: i64,
    /// `None` where applications may not write.
    walk: Option<Walk<O>>,
    /// Keys that have been found and are still to be deleted.
    keys: VecDeque<Key>,
    /// Keys behind the one that is being deleted, which were deleted beside it: how many, and the last.
    ahead: (u64, Option<Key>),
    /// Whether there are no further ones.
    is_over: bool,
    at: At,
    progress: Progress,
}

/// How far a [`DeleteRange`] has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Keys that were deleted.
    pub deleted: u64,
    /// Up to this key nothing of the range was left: it was deleted, or had been before.
    pub up_to: Option<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    Walking,
    Deleting(Key, Box<Write>),
    DeletingOld,
}

impl<O: ClusteringOrder> DeleteRange<O> {
    /// Deletes the rows of a span, begun in this phase at `now` (seconds since 1970), reading keys `page`
    /// by `page`. It begins after what an earlier one, in whatever phase, has come to.
    pub fn new(
        phase: Phase,
        span: Span,
        earlier: Progress,
        order: O,
        page: usize,
        now: i64,
    ) -> Self {
        let list = List {
            span,
            reverse: false,
            after: earlier.up_to.clone(),
            limit: page,
        };
        let stores = stores(phase, false);
        DeleteRange {
            phase,
            now,
            walk: stores.map(|stores| Walk::new(order, stores, list)),
            keys: VecDeque::new(),
            ahead: (0, None),
            is_over: false,
            at: At::Walking,
            progress: earlier,
        }
    }

    /// While a key is being deleted: further ones, up to so many, that its driver may delete beside it, each by a
    /// [`Write`] of its own, in any order. All of them have to be done before the next step, and then
    /// [`DeleteRange::deleted_beside`] is told; if one isn't done, that is the answer of the whole.
    pub fn beside(&mut self, most: usize) -> Vec<(Key, Write)> {
        let count = match self.at {
            At::Deleting(..) => self.keys.len().min(most),
            At::Walking | At::DeletingOld => 0,
        };
        let keys = self.keys.drain(..count);
        let write = |key: Key| {
            let write = Write::new(self.phase, Mutation::Delete(key.clone()), self.now);
            (key, write)
        };
        keys.map(write).collect()
    }

    /// Keys that came of [`DeleteRange::beside`] were deleted, all of them and in that order.
    pub fn deleted_beside(&mut self, keys: Vec<Key>) {
        self.ahead.0 += keys.len() as u64;
        self.ahead.1 = keys.into_iter().next_back().or(self.ahead.1.take());
    }

    /// How far it has come: also where its caller can't go on.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl<O: ClusteringOrder> Machine for DeleteRange<O> {
    type Call = Call;
    type Reply = Reply;
    type Answer = Outcome;

    fn begin(&mut self) -> Step<Outcome> {
        match (&self.walk, self.phase) {
            (None, _) => Step::Done(Outcome::Refused),
            (Some(walk), Phase::Old) => {
                self.at = At::DeletingOld;
                Step::Call(Call::DeleteOld(walk.rest()))
            }
            (
                Some(_),
                Phase::Bridge
                | Phase::Switch
                | Phase::Copy
                | Phase::New
                | Phase::Done
                | Phase::Offline,
            ) => self.next(),
        }
    }

    /// The step after a reply. A lost reply to a delete ends the whole, as some rows may be left.
    fn step(&mut self, reply: Reply) -> Step<Outcome> {
        match (&mut self.at, reply) {
            (At::DeletingOld, Reply::Written) => Step::Done(Outcome::Done),
            (
                At::DeletingOld,
                Reply::Row(_)
                | Reply::Page(_)
                | Reply::Refused(_)
                | Reply::Told(_)
                | Reply::Unknown,
            ) => Step::Done(Outcome::Unknown),
            (At::Deleting(key, write), reply) => {
                let (key, step) = (key.clone(), write.step(reply));
                self.deleted(key, step)
            }
            (At::Walking, reply) => self.walked(reply),
        }
    }
}

impl<O: ClusteringOrder> DeleteRange<O> {
    fn walked(&mut self, reply: Reply) -> Step<Outcome> {
        let Some(walk) = &mut self.walk else {
            return Step::Done(Outcome::Refused);
        };
        match walk.step(reply) {
            Step::Call(call) => Step::Call(call),
            Step::Done(Stretch { pairs, is_over }) => {
                let is_tombstone = |item: &Row| State::of(Some(item), self.now) == State::Tombstone;
                let found = pairs.into_iter();
                let found = found.filter(|pair| !pair.item.as_ref().is_some_and(is_tombstone));
                self.keys.extend(found.map(|pair| pair.key));
                self.is_over = is_over;
                self.next()
            }
        }
    }

    fn next(&mut self) -> Step<Outcome> {
        if let Some(key) = self.keys.pop_front() {
            let mut write = Write::new(self.phase, Mutation::Delete(key.clone()), self.now);
            let step = write.begin();
            self.at = At::Deleting(key.clone(), write.into());
            return self.deleted(key, step);
        }
        match &mut self.walk {
            Some(walk) if !self.is_over => {
                // What the last stretch had is deleted, and much of it may have been before.
                self.progress.up_to = walk.after().cloned().or(self.progress.up_to.take());
                self.at = At::Walking;
                Step::Call(walk.advance())
            }
            Some(_) | None => Step::Done(Outcome::Done),
        }
    }

    fn deleted(&mut self, key: Key, step: Step<Outcome>) -> Step<Outcome> {
        match step {
            Step::Call(call) => Step::Call(call),
            Step::Done(Outcome::Done) => {
                let (beside, last) = std::mem::take(&mut self.ahead);
                self.progress.deleted += 1 + beside;
                self.progress.up_to = Some(last.unwrap_or(key));
                self.next()
            }
            Step::Done(
                other @ (Outcome::Told(_)
                | Outcome::Unknown
                | Outcome::Unmet(_)
                | Outcome::Later
                | Outcome::Wrong(_)
                | Outcome::Refused),
            ) => Step::Done(other),
        }
    }
}
