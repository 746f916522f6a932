use super::{Call, Reply, Step};
use crate::model::{Change, Condition, Key, Mark, Row, State};
use crate::protocol::Machine;

/// Takes away what the migration left at a key: a tombstone, a row that has expired, and the marks if it is
/// told so. Lawful where
/// [`crate::protocol::phase::Work::Purge`] is; beside a participant that is still in `new` it has to be
/// repeated once that one has followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Purge {
    key: Key,
    strip: bool,
    now: i64,
    /// The item as a scan has read it.
    scanned: Option<Box<Row>>,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Reading,
    Writing(Purged),
}

/// The answer of a [`Purge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purged {
    /// Nothing of the migration is left there.
    Clean,
    /// A live item keeps its marks, since nobody asked to take them off.
    Marked,
    /// A tombstone was deleted, or an item that shows no row.
    Deleted,
    /// The marks were taken off.
    Stripped,
}

impl Purge {
    /// A purge of this key at `now` (seconds since 1970); `strip` takes the marks off live items too.
    pub fn new(key: Key, strip: bool, now: i64) -> Self {
        Purge {
            key,
            strip,
            now,
            scanned: None,
            at: At::Reading,
        }
    }

    /// The same of an item that a scan has just read.
    pub fn of_item(item: Row, strip: bool, now: i64) -> Self {
        Purge {
            scanned: Some(item.clone().into()),
            ..Purge::new(item.key, strip, now)
        }
    }

    /// What comes of the write that it wants, if it is made; `None` where it wants none.
    pub fn intends(&self) -> Option<Purged> {
        match self.at {
            At::Writing(answer) => Some(answer),
            At::Reading => None,
        }
    }
}

impl Machine for Purge {
    type Call = Call;
    type Reply = Reply;
    type Answer = Purged;

    fn begin(&mut self) -> Step<Purged> {
        if let Some(item) = self.scanned.take() {
            return self.seen(Some(*item));
        }
        self.at = At::Reading;
        Step::Call(Call::ReadNew(self.key.clone()))
    }

    /// The step after a reply. A lost one, and one that doesn't fit, mean: from the start.
    fn step(&mut self, reply: Reply) -> Step<Purged> {
        match (self.at, reply) {
            (At::Reading, Reply::Row(item)) | (At::Writing(_), Reply::Refused(item)) => {
                self.seen(item)
            }
            (At::Writing(answer), Reply::Written) => Step::Done(answer),
            (At::Reading, Reply::Written | Reply::Refused(_))
            | (At::Writing(_), Reply::Row(_))
            | (_, Reply::Page(_) | Reply::Told(_) | Reply::Unknown) => self.begin(),
        }
    }
}

impl Purge {
    fn seen(&mut self, item: Option<Row>) -> Step<Purged> {
        // What is left is told of the item as it is now: whoever has changed it meanwhile may have taken its
        // marks off by that.
        let (change, on, answer) = match item.map(|item| self.change(item)) {
            None => return Step::Done(Purged::Clean),
            Some(Err(left)) => return Step::Done(left),
            Some(Ok(change)) => change,
        };
        self.at = At::Writing(answer);
        Step::Call(Call::WriteNew {
            key: self.key.clone(),
            change,
            on,
        })
    }

    /// What is to be done with an item; or what is left of the migration there, if nothing is.
    fn change(&self, item: Row) -> Result<(Change, Condition, Purged), Purged> {
        let is_empty = item.cells.iter().all(Option::is_none);
        match (State::of(Some(&item), self.now), item.mark) {
            (State::Absent, _) => Err(Purged::Clean),
            (State::Expired, _) => {
                let on = self.is_still(State::Expired);
                Ok((Change::Remove, on, Purged::Deleted))
            }
            (State::Tombstone, _) => {
                let on = Condition::Marked(Mark::Tombstone);
                Ok((Change::Remove, on, Purged::Deleted))
            }
            (State::Row, None) if item.watermarks.is_empty() => Err(Purged::Clean),
            (State::Row | State::Partial, _) if !self.strip => Err(Purged::Marked),
            // Without any value it shows no row, so it matters whether it still has none.
            (State::Partial, _) if is_empty => Ok((
                Change::Remove,
                Condition::Same(item.into()),
                Purged::Deleted,
            )),
            (State::Partial, _) => Ok((
                Change::Strip,
                Condition::Same(item.into()),
                Purged::Stripped,
            )),
            (State::Row, Some(mark)) => {
                Ok((Change::Strip, Condition::Marked(mark), Purged::Stripped))
            }
            // A counter that was added to since takes its mark off, and keeps its watermarks.
            (State::Row, None) => {
                let on = self.is_still(State::Row);
                Ok((Change::Strip, on, Purged::Stripped))
            }
        }
    }

    fn is_still(&self, state: State) -> Condition {
        Condition::In {
            states: vec![state],
            now: self.now,
        }
    }
}
