use super::{Call, Reply, Step};
use crate::model::{Change, If, Key, Mark, Row, State};

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
    /// There was nothing to do.
    Nothing,
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

    /// The first step.
    pub fn begin(&mut self) -> Step<Purged> {
        if let Some(item) = self.scanned.take() {
            return self.seen(Some(*item));
        }
        self.at = At::Reading;
        Step::Call(Call::ReadNew(self.key.clone()))
    }

    /// The step after a reply. A lost one, and one that doesn't fit, mean: from the start.
    pub fn step(&mut self, reply: Reply) -> Step<Purged> {
        match (self.at, reply) {
            (At::Reading, Reply::Row(item)) | (At::Writing(_), Reply::Refused(item)) => {
                self.seen(item)
            }
            (At::Writing(answer), Reply::Written) => Step::Done(answer),
            (At::Reading, Reply::Written | Reply::Refused(_))
            | (At::Writing(_), Reply::Row(_))
            | (_, Reply::Page(_) | Reply::Unknown) => self.begin(),
        }
    }

    fn seen(&mut self, item: Option<Row>) -> Step<Purged> {
        let Some((change, on, answer)) = item.and_then(|item| self.change(item)) else {
            return Step::Done(Purged::Nothing);
        };
        self.at = At::Writing(answer);
        Step::Call(Call::WriteNew {
            key: self.key.clone(),
            change,
            on,
        })
    }

    /// What is to be done with an item, if anything.
    fn change(&self, item: Row) -> Option<(Change, If, Purged)> {
        let is_empty = item.cells.iter().all(Option::is_none);
        match (State::of(Some(&item), self.now), item.mark) {
            (State::Absent, _) => None,
            (State::Expired, _) => {
                let on = self.is_still(State::Expired);
                Some((Change::Remove, on, Purged::Deleted))
            }
            (State::Tombstone, _) => {
                let on = If::Marked(Mark::Tombstone);
                Some((Change::Remove, on, Purged::Deleted))
            }
            (State::Row | State::Partial, _) if !self.strip => None,
            // Without any value it shows no row, so it matters whether it still has none.
            (State::Partial, _) if is_empty => {
                Some((Change::Remove, If::Same(item.into()), Purged::Deleted))
            }
            (State::Partial, _) => Some((Change::Strip, If::Same(item.into()), Purged::Stripped)),
            (State::Row, Some(mark)) => Some((Change::Strip, If::Marked(mark), Purged::Stripped)),
            (State::Row, None) if item.watermarks.is_empty() => None,
            // A counter that was added to since takes its mark off, and keeps its watermarks.
            (State::Row, None) => {
                let on = self.is_still(State::Row);
                Some((Change::Strip, on, Purged::Stripped))
            }
        }
    }

    fn is_still(&self, state: State) -> If {
        If::In {
            states: vec![state],
            now: self.now,
        }
    }
}
