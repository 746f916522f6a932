use super::{Call, Reply, Step};
use crate::model::{Change, If, Key, Mark, Row};

/// Takes away what the migration left at a key: a tombstone, and the marks if it is told so. Lawful where
/// [`crate::protocol::phase::Work::Purge`] is; beside a participant that is still in `new` it has to be
/// repeated once that one has followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Purge {
    key: Key,
    strip: bool,
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
    /// A tombstone was deleted, or a partial item that shows no row.
    Deleted,
    /// The marks were taken off.
    Stripped,
}

impl Purge {
    /// A purge of this key; `strip` takes the marks off live items too.
    pub fn new(key: Key, strip: bool) -> Self {
        Purge {
            key,
            strip,
            at: At::Reading,
        }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step<Purged> {
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
        let Some((item, mark)) = item.and_then(|item| item.mark.map(|mark| (item, mark))) else {
            return Step::Done(Purged::Nothing);
        };
        let strip = Change::Edit {
            cells: vec![None; item.cells.len()],
            mark: None,
            expires: None,
        };
        let is_empty = item.cells.iter().all(Option::is_none);
        let (change, on, answer) = match mark {
            Mark::Tombstone => (Change::Remove, If::Marked(mark), Purged::Deleted),
            Mark::Partial | Mark::Copied | Mark::Resaved | Mark::Application if !self.strip => {
                return Step::Done(Purged::Nothing);
            }
            // Without any value it shows no row, so it matters whether it still has none.
            Mark::Partial if is_empty => (Change::Remove, If::Same(item.into()), Purged::Deleted),
            Mark::Partial => (strip, If::Same(item.into()), Purged::Stripped),
            Mark::Copied | Mark::Resaved | Mark::Application => {
                (strip, If::Marked(mark), Purged::Stripped)
            }
        };
        self.at = At::Writing(answer);
        Step::Call(Call::WriteNew {
            key: self.key.clone(),
            change,
            on,
        })
    }
}
