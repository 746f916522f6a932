//! Both stores, as far as one key goes. Every call is atomic.

use crossfade::model::{
    Change, ClusteringRange, Condition, Key, Mutation, Query, Returns, Row, Value,
};
use crossfade::protocol::row::{Call, PageReply, Reply};

/// How many columns the table has: a number and a list of numbers.
pub const WIDTH: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stores {
    pub old: Option<Row>,
    pub new: Option<Row>,
    /// Seconds since 1970.
    pub now: i64,
}

impl Stores {
    pub fn call(&mut self, call: &Call) -> Reply {
        match call {
            Call::ReadNew(_) => Reply::Row(self.new.clone()),
            Call::ReadOld(_) => Reply::Row(self.old.clone()),
            Call::QueryNew(query) => page(&self.new, query),
            Call::QueryOld(query) => page(&self.old, query),
            Call::WriteNew { key, change, on } => {
                if !on.holds(self.new.as_ref()) {
                    return Reply::Refused(self.new.clone());
                }
                self.new = change.of(key, WIDTH, self.new.take()).unwrap();
                Reply::Written
            }
            Call::WriteAndTell {
                key,
                change,
                on,
                returns,
            } => {
                if !on.holds(self.new.as_ref()) {
                    return Reply::Refused(self.new.clone());
                }
                let before = self.new.clone();
                self.new = change.of(key, WIDTH, self.new.take()).unwrap();
                match returns {
                    Returns::Nothing => Reply::Written,
                    Returns::Old => Reply::Told(before),
                    Returns::New => Reply::Told(self.new.clone()),
                }
            }
            Call::WriteOld(mutation) => self.write_old(mutation),
            Call::DeleteOld(_) => {
                self.old = None;
                Reply::Written
            }
        }
    }

    fn write_old(&mut self, mutation: &Mutation) -> Reply {
        let update = match mutation {
            Mutation::Insert(_) if self.old.is_some() => return Reply::Refused(self.old.clone()),
            Mutation::Put(row) | Mutation::Insert(row) => {
                self.old = Some(row.clone());
                return Reply::Written;
            }
            Mutation::Delete(_) => {
                self.old = None;
                return Reply::Written;
            }
            Mutation::UpdateIf { expected, .. } | Mutation::DeleteIf { expected, .. }
                if !self.has(expected) =>
            {
                return Reply::Refused(self.old.clone());
            }
            Mutation::DeleteIf { .. } => {
                self.old = None;
                return Reply::Written;
            }
            Mutation::UpdateIf { update, .. } => update,
            Mutation::Update(update) => update,
        };
        if self.old.is_none() && update.only_removes() {
            return Reply::Written;
        }
        let change = Change::Edit {
            cells: update.cells.clone(),
            mark: None,
            expires: None,
        };
        let old = self.old.take();
        self.old = change.of(&update.key, WIDTH, old).unwrap().map(|row| Row {
            decided: Default::default(),
            ..row
        });
        Reply::Written
    }

    /// Whether the old row is there and has these cells.
    fn has(&self, expected: &[(usize, Option<Value>)]) -> bool {
        let (expected, now) = (expected.to_vec(), self.now);
        Condition::Cells { expected, now }.holds(self.old.as_ref())
    }

    /// The time goes on. The old store forgets rows that have expired by itself.
    pub fn tick(&mut self, now: i64) {
        self.now = now;
        let old = self.old.take();
        self.old = old.filter(|row| row.expires.is_none_or(|at| at > now));
    }
}

/// The only key lies after the beginning.
fn page(row: &Option<Row>, query: &Query) -> Reply {
    let row = row.clone().filter(|_| query.after.is_none());
    Reply::Page(PageReply {
        rows: row.into_iter().collect(),
        more: false,
    })
}

pub fn key() -> Key {
    Key::row(vec![Value::Int(0)], vec![])
}

pub fn range() -> ClusteringRange {
    ClusteringRange {
        partition: vec![Value::Int(0)],
        from: std::ops::Bound::Unbounded,
        until: std::ops::Bound::Unbounded,
    }
}
