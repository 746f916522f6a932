use super::{Call, Reply, RowStep};
use crate::model::{Change, Condition, ItemState, Key, Mark, Row};
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
    at: PurgeAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PurgeAt {
    Reading,
    Writing(Purged),
}

/// The answer of a [`Purge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purged {
    /// Nothing of the migration is left there.
    Clean,
    /// A live item keeps its marks, since nothing asked to take them off.
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
            at: PurgeAt::Reading,
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
            PurgeAt::Writing(answer) => Some(answer),
            PurgeAt::Reading => None,
        }
    }
}

impl Machine for Purge {
    type Call = Call;
    type Reply = Reply;
    type Answer = Purged;

    fn begin(&mut self) -> RowStep<Purged> {
        if let Some(item) = self.scanned.take() {
            return self.seen(Some(*item));
        }
        self.at = PurgeAt::Reading;
        RowStep::Call(Call::ReadNew(self.key.clone()))
    }

    /// The step after a reply. A lost one, and one that doesn't fit, mean: from the start.
    fn step(&mut self, reply: Reply) -> RowStep<Purged> {
        match (self.at, reply) {
            (PurgeAt::Reading, Reply::Row(item)) | (PurgeAt::Writing(_), Reply::Refused(item)) => {
                self.seen(item)
            }
            (PurgeAt::Writing(answer), Reply::Written) => RowStep::Done(answer),
            (PurgeAt::Reading, Reply::Written | Reply::Refused(_))
            | (PurgeAt::Writing(_), Reply::Row(_))
            | (_, Reply::Page(_) | Reply::Told(_) | Reply::Unknown) => self.begin(),
        }
    }
}

impl Purge {
    fn seen(&mut self, item: Option<Row>) -> RowStep<Purged> {
        // What is left is told of the item as it is now: the one that has changed it meanwhile may have taken its
        // marks off by that.
        let (change, on, answer) = match item.map(|item| self.change(item)) {
            None => return RowStep::Done(Purged::Clean),
            Some(Err(left)) => return RowStep::Done(left),
            Some(Ok(change)) => change,
        };
        self.at = PurgeAt::Writing(answer);
        RowStep::Call(Call::WriteNew {
            key: self.key.clone(),
            change,
            on,
        })
    }

    /// What is to be done with an item; or what is left of the migration there, if nothing is.
    fn change(&self, item: Row) -> Result<(Change, Condition, Purged), Purged> {
        let is_empty = item.cells.iter().all(Option::is_none);
        match (ItemState::of(Some(&item), self.now), item.mark) {
            (ItemState::Absent, _) => Err(Purged::Clean),
            (ItemState::Expired, _) => {
                let on = self.is_still(ItemState::Expired);
                Ok((Change::Remove, on, Purged::Deleted))
            }
            (ItemState::Tombstone, _) => {
                let on = Condition::Marked(Mark::Tombstone);
                Ok((Change::Remove, on, Purged::Deleted))
            }
            (ItemState::Row, None) if item.watermarks.is_empty() => Err(Purged::Clean),
            (ItemState::Row | ItemState::Partial, _) if !self.strip => Err(Purged::Marked),
            // Without any value it shows no row, so it matters whether it still has none.
            (ItemState::Partial, _) if is_empty => Ok((
                Change::Remove,
                Condition::Same(item.into()),
                Purged::Deleted,
            )),
            (ItemState::Partial, _) => Ok((
                Change::Strip,
                Condition::Same(item.into()),
                Purged::Stripped,
            )),
            (ItemState::Row, Some(mark)) => {
                Ok((Change::Strip, Condition::Marked(mark), Purged::Stripped))
            }
            // A counter that was added to since takes its mark off, and keeps its watermarks.
            (ItemState::Row, None) => {
                let on = self.is_still(ItemState::Row);
                Ok((Change::Strip, on, Purged::Stripped))
            }
        }
    }

    fn is_still(&self, state: ItemState) -> Condition {
        Condition::In {
            states: vec![state],
            now: self.now,
        }
    }
}
