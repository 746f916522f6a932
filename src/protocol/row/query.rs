use std::collections::VecDeque;

use super::walk::{ClusteringOrder, Stretch, Walk, WalkedStores};
use super::{Call, Reply, RowStep, Write, WriteAnswer, show};
use crate::model::{ClusteringRange, ItemState, Key, Mutation, Query, Row};
use crate::protocol::phase::RowRead;
use crate::protocol::{Machine, Phase};

fn stores(phase: Phase, rows_expire: bool) -> Option<WalkedStores> {
    match phase.row_read() {
        RowRead::Old => Some(WalkedStores::Old),
        read @ (RowRead::NewElseOld | RowRead::NewElseOldAndSave) => {
            Some(WalkedStores::Both { read, rows_expire })
        }
        RowRead::New => Some(WalkedStores::New),
        RowRead::Refused => None,
    }
}

/// Reads a page of a range of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryRange<O> {
    /// `None` where applications may not read.
    walk: Option<Walk<O>>,
    limit: usize,
    now: i64,
    rows: Vec<Row>,
    /// Where it began.
    began_after: Option<Key>,
}

/// The answer of a [`QueryRange`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Queried {
    /// The rows, without marks and decided cells. If there may be more, the next page begins after this
    /// key; in whatever phase, since it stands for both stores' positions.
    Rows(Vec<Row>, Option<Key>),
    /// Applications may not read this table: it is offline.
    Refused,
}

impl<O: ClusteringOrder> QueryRange<O> {
    /// A page of rows, begun in this phase at `now` (seconds since 1970); `rows_expire` as of
    /// [`super::Get::new`].
    pub fn new(phase: Phase, query: Query, order: O, now: i64, rows_expire: bool) -> Self {
        let limit = query.limit.max(1);
        let stores = stores(phase, rows_expire);
        let began_after = query.after.clone();
        QueryRange {
            began_after,
            walk: stores.map(|stores| Walk::new(order, stores, query)),
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

impl<O: ClusteringOrder> Machine for QueryRange<O> {
    type Call = Call;
    type Reply = Reply;
    type Answer = Queried;

    fn begin(&mut self) -> RowStep<Queried> {
        match &mut self.walk {
            Some(walk) => RowStep::Call(walk.advance()),
            None => RowStep::Done(Queried::Refused),
        }
    }

    /// The step after a reply.
    fn step(&mut self, reply: Reply) -> RowStep<Queried> {
        let Some(walk) = &mut self.walk else {
            return RowStep::Done(Queried::Refused);
        };
        let (pairs, is_over) = match walk.step(reply) {
            RowStep::Call(call) => return RowStep::Call(call),
            RowStep::Done(Stretch { pairs, is_over }) => (pairs, is_over),
        };
        let mut pairs = pairs.into_iter().peekable();
        while let Some(pair) = pairs.next() {
            self.rows.extend(show(pair.item, pair.old, self.now));
            if self.rows.len() == self.limit && !(is_over && pairs.peek().is_none()) {
                let rows = std::mem::take(&mut self.rows);
                return RowStep::Done(Queried::Rows(rows, Some(pair.key)));
            }
        }
        if is_over {
            return RowStep::Done(Queried::Rows(std::mem::take(&mut self.rows), None));
        }
        RowStep::Call(walk.advance())
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
    /// Keys after the one that is being deleted, which were deleted beside it: how many, and the last.
    ahead: (u64, Option<Key>),
    /// Whether there are no further ones.
    is_over: bool,
    at: QueryAt,
    progress: DeleteProgress,
}

/// How far a [`DeleteRange`] has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteProgress {
    /// Keys that were deleted.
    pub deleted: u64,
    /// Up to this key nothing of the range was left: it was deleted, or had been before.
    pub up_to: Option<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum QueryAt {
    Walking,
    Deleting(Key, Box<Write>),
    DeletingOld,
}

impl<O: ClusteringOrder> DeleteRange<O> {
    /// Deletes the rows of a range, begun in this phase at `now` (seconds since 1970), reading keys `page`
    /// by `page`. It begins after what an earlier one, in whatever phase, has come to.
    pub fn new(
        phase: Phase,
        range: ClusteringRange,
        earlier: DeleteProgress,
        order: O,
        page: usize,
        now: i64,
    ) -> Self {
        let query = Query {
            range,
            reverse: false,
            after: earlier.up_to.clone(),
            limit: page,
        };
        let stores = stores(phase, false);
        DeleteRange {
            phase,
            now,
            walk: stores.map(|stores| Walk::new(order, stores, query)),
            keys: VecDeque::new(),
            ahead: (0, None),
            is_over: false,
            at: QueryAt::Walking,
            progress: earlier,
        }
    }

    /// While a key is being deleted: further ones, up to so many, that its driver may delete beside it, each by a
    /// [`Write`] of its own, in any order. All of them have to be done before the next step, and then
    /// [`DeleteRange::deleted_beside`] is told; if one isn't done, that is the answer of the whole.
    pub fn beside(&mut self, most: usize) -> Vec<(Key, Write)> {
        let count = match self.at {
            QueryAt::Deleting(..) => self.keys.len().min(most),
            QueryAt::Walking | QueryAt::DeletingOld => 0,
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
    pub fn progress(&self) -> &DeleteProgress {
        &self.progress
    }
}

impl<O: ClusteringOrder> Machine for DeleteRange<O> {
    type Call = Call;
    type Reply = Reply;
    type Answer = WriteAnswer;

    fn begin(&mut self) -> RowStep<WriteAnswer> {
        match (&self.walk, self.phase) {
            (None, _) => RowStep::Done(WriteAnswer::Refused),
            (Some(walk), Phase::Old) => {
                self.at = QueryAt::DeletingOld;
                RowStep::Call(Call::DeleteOld(walk.rest()))
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
    fn step(&mut self, reply: Reply) -> RowStep<WriteAnswer> {
        match (&mut self.at, reply) {
            (QueryAt::DeletingOld, Reply::Written) => RowStep::Done(WriteAnswer::Done),
            (
                QueryAt::DeletingOld,
                Reply::Row(_)
                | Reply::Page(_)
                | Reply::Refused(_)
                | Reply::Told(_)
                | Reply::Unknown,
            ) => RowStep::Done(WriteAnswer::Unknown),
            (QueryAt::Deleting(key, write), reply) => {
                let (key, step) = (key.clone(), write.step(reply));
                self.deleted(key, step)
            }
            (QueryAt::Walking, reply) => self.walked(reply),
        }
    }
}

impl<O: ClusteringOrder> DeleteRange<O> {
    fn walked(&mut self, reply: Reply) -> RowStep<WriteAnswer> {
        let Some(walk) = &mut self.walk else {
            return RowStep::Done(WriteAnswer::Refused);
        };
        match walk.step(reply) {
            RowStep::Call(call) => RowStep::Call(call),
            RowStep::Done(Stretch { pairs, is_over }) => {
                let is_tombstone =
                    |item: &Row| ItemState::of(Some(item), self.now) == ItemState::Tombstone;
                let found = pairs.into_iter();
                let found = found.filter(|pair| !pair.item.as_ref().is_some_and(is_tombstone));
                self.keys.extend(found.map(|pair| pair.key));
                self.is_over = is_over;
                self.next()
            }
        }
    }

    fn next(&mut self) -> RowStep<WriteAnswer> {
        if let Some(key) = self.keys.pop_front() {
            let mut write = Write::new(self.phase, Mutation::Delete(key.clone()), self.now);
            let step = write.begin();
            self.at = QueryAt::Deleting(key.clone(), write.into());
            return self.deleted(key, step);
        }
        match &mut self.walk {
            Some(walk) if !self.is_over => {
                // What the last stretch had is deleted, and much of it may have been before.
                self.progress.up_to = walk.after().cloned().or(self.progress.up_to.take());
                self.at = QueryAt::Walking;
                RowStep::Call(walk.advance())
            }
            Some(_) | None => RowStep::Done(WriteAnswer::Done),
        }
    }

    fn deleted(&mut self, key: Key, step: RowStep<WriteAnswer>) -> RowStep<WriteAnswer> {
        match step {
            RowStep::Call(call) => RowStep::Call(call),
            RowStep::Done(WriteAnswer::Done) => {
                let (beside, last) = std::mem::take(&mut self.ahead);
                self.progress.deleted += 1 + beside;
                self.progress.up_to = Some(last.unwrap_or(key));
                self.next()
            }
            RowStep::Done(
                other @ (WriteAnswer::Told(_)
                | WriteAnswer::Unknown
                | WriteAnswer::Unmet(_)
                | WriteAnswer::Later
                | WriteAnswer::Wrong(_)
                | WriteAnswer::Refused),
            ) => RowStep::Done(other),
        }
    }
}
