use super::{Call, Reply, RowStep, move_over, must_look_again, show};
use crate::model::{Change, Condition, ItemState, Key, Mark, Row};
use crate::protocol::phase::RowRead;
use crate::protocol::{Machine, Phase};

/// Reads a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Get {
    key: Key,
    read: RowRead,
    now: i64,
    rows_expire: bool,
    at: GetAt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum GetAt {
    Start,
    /// The item is being read.
    New,
    /// The old row is being read. This is the item, absent or partial.
    Old(Option<Row>),
    /// The item is being read again. This is what it was, and the old row.
    NewAgain(Option<Row>, Option<Row>),
}

/// The answer of a [`Get`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Got {
    /// The row, if there is one, without mark and decided cells.
    Row(Option<Row>),
    /// The row, and what is to be saved of it: behind the caller's back, but before the operation's phase
    /// is left.
    Save(Row, Box<Resave>),
    /// Applications may not read this table: it is offline.
    Refused,
}

impl Get {
    /// A read of the row with this key, begun in this phase at `now` (seconds since 1970).
    ///
    /// `rows_expire` says whether rows of the table can expire at all: where they can't, a row that the new
    /// store lacks takes one read less.
    pub fn new(phase: Phase, key: Key, now: i64, rows_expire: bool) -> Self {
        Get {
            key,
            read: phase.row_read(),
            now,
            rows_expire,
            at: GetAt::Start,
        }
    }
}

impl Machine for Get {
    type Call = Call;
    type Reply = Reply;
    type Answer = Got;

    fn begin(&mut self) -> RowStep<Got> {
        match self.read {
            RowRead::Old => self.read_old(None),
            RowRead::NewElseOld | RowRead::NewElseOldAndSave | RowRead::New => {
                self.at = GetAt::New;
                RowStep::Call(Call::ReadNew(self.key.clone()))
            }
            RowRead::Refused => RowStep::Done(Got::Refused),
        }
    }

    /// The step after a reply. One that isn't what was asked for means: from the start.
    fn step(&mut self, reply: Reply) -> RowStep<Got> {
        let row = match reply {
            Reply::Row(row) => row,
            Reply::Page(_)
            | Reply::Written
            | Reply::Refused(_)
            | Reply::Told(_)
            | Reply::Unknown => {
                return self.begin();
            }
        };
        match std::mem::replace(&mut self.at, GetAt::Start) {
            GetAt::Start => self.begin(),
            GetAt::New => self.seen_new(row),
            GetAt::Old(item) => self.seen_old(item, row),
            GetAt::NewAgain(item, old) if row == item => self.seen_both(item, old),
            GetAt::NewAgain(..) => self.seen_new(row),
        }
    }
}

impl Get {
    fn read_old(&mut self, item: Option<Row>) -> RowStep<Got> {
        self.at = GetAt::Old(item);
        RowStep::Call(Call::ReadOld(self.key.clone()))
    }

    fn seen_new(&mut self, item: Option<Row>) -> RowStep<Got> {
        match (ItemState::of(item.as_ref(), self.now), self.read) {
            (ItemState::Row | ItemState::Tombstone | ItemState::Expired, _) | (_, RowRead::New) => {
                RowStep::Done(Got::Row(show(item, None, self.now)))
            }
            (
                ItemState::Absent | ItemState::Partial,
                RowRead::Old | RowRead::NewElseOld | RowRead::NewElseOldAndSave | RowRead::Refused,
            ) => self.read_old(item),
        }
    }

    fn seen_old(&mut self, item: Option<Row>, old: Option<Row>) -> RowStep<Got> {
        if self.rows_expire && must_look_again(self.read, old.as_ref()) {
            self.at = GetAt::NewAgain(item, old);
            return RowStep::Call(Call::ReadNew(self.key.clone()));
        }
        self.seen_both(item, old)
    }

    fn seen_both(&self, item: Option<Row>, old: Option<Row>) -> RowStep<Got> {
        let resave = match (self.read, &old) {
            (RowRead::NewElseOldAndSave, Some(old)) => Some(Resave::new(item.as_ref(), old)),
            (RowRead::NewElseOldAndSave, None)
            | (RowRead::Old | RowRead::NewElseOld | RowRead::New | RowRead::Refused, _) => None,
        };
        match (show(item, old, self.now), resave) {
            (Some(row), Some(resave)) => RowStep::Done(Got::Save(row, resave.into())),
            (row, Some(_) | None) => RowStep::Done(Got::Row(row)),
        }
    }
}

/// Saves in the new store what a [`Get`] found in the old one. Nothing waits for it, and it may fail; but
/// it belongs to the operation, whose phase must not be left before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resave {
    key: Key,
    change: Change,
    on: Condition,
}

impl Resave {
    fn new(item: Option<&Row>, old: &Row) -> Self {
        let (change, on) = move_over(item, old, Mark::Resaved);
        Resave {
            key: old.key.clone(),
            change,
            on,
        }
    }
}

impl Machine for Resave {
    type Call = Call;
    type Reply = Reply;
    type Answer = ();

    fn begin(&mut self) -> RowStep<()> {
        RowStep::Call(Call::WriteNew {
            key: self.key.clone(),
            change: self.change.clone(),
            on: self.on.clone(),
        })
    }

    /// The step after a reply. A refusal means that someone else was there first, and a write whose
    /// reply was lost may be sent again, because of its condition.
    fn step(&mut self, reply: Reply) -> RowStep<()> {
        match reply {
            Reply::Written | Reply::Refused(_) => RowStep::Done(()),
            Reply::Row(_) | Reply::Page(_) | Reply::Told(_) | Reply::Unknown => self.begin(),
        }
    }
}
