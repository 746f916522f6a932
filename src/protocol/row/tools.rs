use super::{Call, Reply, RowStep, completes_what_is_met, move_over};
use crate::model::{Change, Condition, Key, Mark, Row};
use crate::protocol::Machine;

/// Copies a row. Lawful where [`crate::protocol::phase::Work::Copy`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyRow {
    key: Key,
    /// The old row, once it has been read.
    old: Option<Row>,
    /// The partial item that is in the way.
    partial: Option<Row>,
}

/// The answer of a [`CopyRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copied {
    /// The old store has no such row.
    Absent,
    /// It is in the new store now. (After a lost reply it may be one's own write that was
    /// [`Copied::Owned`].)
    Saved,
    /// The new store had some of its columns, and now has all.
    Completed,
    /// The new store has that key already.
    Owned,
}

impl CopyRow {
    /// Copies the row with this key, reading it first.
    pub fn of_key(key: Key) -> Self {
        CopyRow {
            key,
            old: None,
            partial: None,
        }
    }

    /// Copies a row of the old store that has been read already: after the table was frozen.
    pub fn of_row(row: Row) -> Self {
        CopyRow {
            key: row.key.clone(),
            old: Some(row),
            partial: None,
        }
    }
}

impl Machine for CopyRow {
    type Call = Call;
    type Reply = Reply;
    type Answer = Copied;

    fn begin(&mut self) -> RowStep<Copied> {
        let key = self.key.clone();
        let Some(old) = &self.old else {
            return RowStep::Call(Call::ReadOld(key));
        };
        let (change, on) = move_over(self.partial.as_ref(), old, Mark::Copied);
        RowStep::Call(Call::WriteNew { key, change, on })
    }

    /// The step after a reply. Whatever doesn't fit is repeated: the conditions allow it.
    fn step(&mut self, reply: Reply) -> RowStep<Copied> {
        let is_reading = self.old.is_none();
        match reply {
            Reply::Row(None) if is_reading => RowStep::Done(Copied::Absent),
            Reply::Row(old) if is_reading => {
                self.old = old;
                self.begin()
            }
            Reply::Written if !is_reading => RowStep::Done(match self.partial {
                Some(_) => Copied::Completed,
                None => Copied::Saved,
            }),
            Reply::Refused(item) if is_partial(&item) => {
                self.partial = item;
                self.old = self.old.take().filter(completes_what_is_met);
                self.begin()
            }
            Reply::Refused(_) if !is_reading => RowStep::Done(Copied::Owned),
            Reply::Row(_)
            | Reply::Written
            | Reply::Refused(_)
            | Reply::Page(_)
            | Reply::Told(_)
            | Reply::Unknown => self.begin(),
        }
    }
}

fn is_partial(item: &Option<Row>) -> bool {
    item.as_ref().and_then(|item| item.mark) == Some(Mark::Partial)
}

/// Mends a row that was copied and differs. Lawful where [`crate::protocol::phase::Work::Repair`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repair {
    key: Key,
    delete_extra: bool,
    at: Repairing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repairing {
    ReadingNew,
    /// The old row is being read; this is the item, which no application has written.
    ReadingOld(Row, Mark),
    Writing(Repaired),
    Copying(Box<CopyRow>),
}

/// The answer of a [`Repair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repaired {
    /// The new store had no such key.
    Copied(Copied),
    /// The application owns the key, or an unknown writer wrote it.
    Owned,
    /// Both stores have the same.
    Same,
    /// It is now as in the old store.
    Mended,
    /// The old store has no such row, and it was left in the new one.
    Extra,
    /// The old store has no such row, and now the new one hasn't either.
    Deleted,
}

impl Repair {
    /// Repairs the row with this key. An item whose row the old store lacks is deleted if `delete_extra`
    /// says so.
    pub fn new(key: Key, delete_extra: bool) -> Self {
        Repair {
            key,
            delete_extra,
            at: Repairing::ReadingNew,
        }
    }
}

impl Machine for Repair {
    type Call = Call;
    type Reply = Reply;
    type Answer = Repaired;

    fn begin(&mut self) -> RowStep<Repaired> {
        self.at = Repairing::ReadingNew;
        RowStep::Call(Call::ReadNew(self.key.clone()))
    }

    /// The step after a reply. A refusal, a lost reply, and one that doesn't fit mean: from the start.
    fn step(&mut self, reply: Reply) -> RowStep<Repaired> {
        match (&mut self.at, reply) {
            (Repairing::ReadingNew, Reply::Row(item)) => self.seen_new(item),
            (Repairing::ReadingOld(item, mark), Reply::Row(old)) => {
                let (item, mark) = (item.clone(), *mark);
                self.seen_old(&item, mark, old)
            }
            (Repairing::Writing(answer), Reply::Written) => RowStep::Done(*answer),
            (Repairing::Copying(copy), reply) => match copy.step(reply) {
                RowStep::Call(call) => RowStep::Call(call),
                RowStep::Done(copied) => RowStep::Done(Repaired::Copied(copied)),
            },
            (Repairing::ReadingNew | Repairing::ReadingOld(..), Reply::Written)
            | (Repairing::Writing(_), Reply::Row(_))
            | (_, Reply::Refused(_) | Reply::Page(_) | Reply::Told(_) | Reply::Unknown) => {
                self.begin()
            }
        }
    }
}

impl Repair {
    fn seen_new(&mut self, item: Option<Row>) -> RowStep<Repaired> {
        let Some(item) = item else {
            let mut copy = CopyRow::of_key(self.key.clone());
            let first = copy.begin();
            self.at = Repairing::Copying(copy.into());
            return match first {
                RowStep::Call(call) => RowStep::Call(call),
                RowStep::Done(copied) => RowStep::Done(Repaired::Copied(copied)),
            };
        };
        match item.mark {
            Some(mark @ (Mark::Copied | Mark::Resaved)) => {
                self.at = Repairing::ReadingOld(item, mark);
                RowStep::Call(Call::ReadOld(self.key.clone()))
            }
            Some(Mark::Application | Mark::Tombstone | Mark::Partial) | None => {
                RowStep::Done(Repaired::Owned)
            }
        }
    }

    fn seen_old(&mut self, item: &Row, mark: Mark, old: Option<Row>) -> RowStep<Repaired> {
        let (change, answer) = match old {
            Some(old) if old.cells == item.cells && old.expires == item.expires => {
                return RowStep::Done(Repaired::Same);
            }
            Some(old) => {
                let mark = Some(Mark::Copied);
                (Change::Put(Row { mark, ..old }), Repaired::Mended)
            }
            None if self.delete_extra => (Change::Remove, Repaired::Deleted),
            None => return RowStep::Done(Repaired::Extra),
        };
        self.at = Repairing::Writing(answer);
        RowStep::Call(Call::WriteNew {
            key: self.key.clone(),
            change,
            on: Condition::Marked(mark),
        })
    }
}
