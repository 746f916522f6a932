//! Transactions: several rows at one moment, each in its table's phase.
//!
//! | phase | writes | reads |
//! |---|---|---|
//! | `old` | refused: O has none | refused |
//! | `bridge` | each as [`Write`], in one transaction of N; a key that N lacks: later | N has an item for each key that isn't `k`; else later |
//! | `switch` | the same; what may be written over an old row is | the same |
//! | `copy` | the same; what has to be whole is completed first | absent or `k`: copied first |
//! | `new`, `done` | the same | one transaction of N |
//!
//! Only N has transactions, so all that a transaction decides has to be there. What [`Write`] does in several calls
//! is done before; then all of the application's own writes go together, each on its condition. A write that is
//! refused takes its next step, as told by the item that was met, and they go again.

use super::{Call, CopyRow, Reply, Write, WriteAnswer, show};
use crate::model::{Change, Condition, ItemState, Key, Row};
use crate::protocol::phase::RowRead;
use crate::protocol::{Machine, Phase, Step};

/// What a transaction asks of the stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TogetherCall {
    /// A call about one of its rows, by its place.
    One(usize, Box<Call>),
    /// These writes to the new store, all or none: with the place of each.
    Write(Vec<(usize, Key, Change, Condition)>),
    /// Read the items of all keys at one moment.
    Read,
}

/// What came of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TogetherReply {
    /// Of a call about one row.
    One(Reply),
    /// All is written.
    Written,
    /// Nothing is written: for each of the writes the item that was in its way, if it was that one's.
    Refused(Vec<Option<Option<Row>>>),
    /// The items, in the order of the keys.
    Rows(Vec<Option<Row>>),
    /// The reply was lost.
    Unknown,
}

/// What came of a transaction's writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Concluded {
    /// All is written.
    Done,
    /// Nothing is written, because of these: one for each write.
    Cancelled(Vec<Cause>),
    /// The reply was lost: all of it may have been written, or may be yet.
    Unknown,
    /// One of the rows can't be written so in its phase. Nothing was changed.
    Later,
    /// The old store would have to write.
    Unsupported,
    /// A table is offline.
    Refused,
}

/// What one write has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing.
    None,
    /// Its condition isn't met, by this row.
    Unmet(Option<Row>),
    /// It can't be done to the row that is there.
    Wrong(String),
}

/// Writes rows in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriteTogether {
    parts: Vec<TogetherPart>,
    is_old: bool,
    /// Which part's own call is out; none of them if it is the transaction's.
    asked: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TogetherPart {
    write: Write,
    state: PartState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PartState {
    /// It hasn't begun.
    Start,
    /// A call that prepares it is out.
    Preparing,
    /// This is its write.
    Planned(Key, Change, Condition),
    /// It would change nothing.
    Nothing,
    Ended(Cause),
}

impl WriteTogether {
    /// The writes, each begun in its table's phase.
    pub fn new(writes: Vec<(Phase, Write)>) -> Self {
        WriteTogether {
            is_old: writes.iter().any(|(phase, _)| *phase == Phase::Old),
            parts: writes
                .into_iter()
                .map(|(_, write)| TogetherPart {
                    write: write.together(),
                    state: PartState::Start,
                })
                .collect(),
            asked: None,
        }
    }

    /// What a step of one of the parts means; `None`: the next one's turn.
    fn took(
        &mut self,
        at: usize,
        step: super::RowStep<WriteAnswer>,
    ) -> Option<Step<TogetherCall, Concluded>> {
        let part = self.parts.get_mut(at)?;
        part.state = match step {
            Step::Call(Call::WriteNew { key, change, on }) if part.write.is_own() => {
                PartState::Planned(key, change, on)
            }
            Step::Call(call) => {
                part.state = PartState::Preparing;
                self.asked = Some(at);
                return Some(Step::Call(TogetherCall::One(at, Box::new(call))));
            }
            Step::Done(WriteAnswer::Done | WriteAnswer::Told(_)) => PartState::Nothing,
            Step::Done(WriteAnswer::Unmet(row)) => PartState::Ended(Cause::Unmet(row)),
            Step::Done(WriteAnswer::Wrong(message)) => PartState::Ended(Cause::Wrong(message)),
            Step::Done(WriteAnswer::Later) => return Some(Step::Done(Concluded::Later)),
            Step::Done(WriteAnswer::Refused) => return Some(Step::Done(Concluded::Refused)),
            Step::Done(WriteAnswer::Unknown) => return Some(Step::Done(Concluded::Unknown)),
        };
        None
    }

    /// Begins what hasn't begun; then all go together.
    fn advance(&mut self) -> Step<TogetherCall, Concluded> {
        for at in 0..self.parts.len() {
            let part = &mut self.parts[at];
            if part.state != PartState::Start {
                continue;
            }
            let step = part.write.begin();
            if let Some(step) = self.took(at, step) {
                return step;
            }
        }
        let is_cancelled = |part: &TogetherPart| matches!(part.state, PartState::Ended(_));
        if self.parts.iter().any(is_cancelled) {
            let cause = |part: &TogetherPart| match &part.state {
                PartState::Ended(cause) => cause.clone(),
                PartState::Start
                | PartState::Preparing
                | PartState::Planned(..)
                | PartState::Nothing => Cause::None,
            };
            let causes = self.parts.iter().map(cause).collect();
            return Step::Done(Concluded::Cancelled(causes));
        }
        let planned = self.parts.iter().enumerate();
        let planned = planned.filter_map(|(at, part)| match &part.state {
            PartState::Planned(key, change, on) => {
                Some((at, key.clone(), change.clone(), on.clone()))
            }
            PartState::Start | PartState::Preparing | PartState::Nothing | PartState::Ended(_) => {
                None
            }
        });
        let planned: Vec<_> = planned.collect();
        self.asked = None;
        match planned.is_empty() {
            true => Step::Done(Concluded::Done),
            false => Step::Call(TogetherCall::Write(planned)),
        }
    }

    fn refused(&mut self, met: Vec<Option<Option<Row>>>) -> Step<TogetherCall, Concluded> {
        let planned = self.parts.iter().enumerate();
        let planned = planned.filter(|(_, part)| matches!(part.state, PartState::Planned(..)));
        let planned: Vec<usize> = planned.map(|(at, _)| at).collect();
        let refused: Vec<(usize, Option<Row>)> = planned
            .into_iter()
            .zip(met)
            .filter_map(|(at, met)| Some((at, met?)))
            .collect();
        // No other write was in the way, and nothing was written all the same.
        if refused.is_empty() {
            return Step::Done(Concluded::Later);
        }
        let mut preparing = None;
        for (at, item) in refused {
            let step = self.parts[at].write.step(Reply::Refused(item));
            // One call at a time: what another one prepares begins anew when it is its turn.
            match (self.took(at, step), &preparing) {
                (Some(step @ Step::Done(_)), _) => return step,
                (Some(step), None) => preparing = Some((at, step)),
                (Some(_), Some(_)) => self.parts[at].state = PartState::Start,
                (None, _) => {}
            }
        }
        match preparing {
            Some((at, step)) => {
                self.asked = Some(at);
                step
            }
            None => self.advance(),
        }
    }
}

impl Machine for WriteTogether {
    type Call = TogetherCall;
    type Reply = TogetherReply;
    type Answer = Concluded;

    fn begin(&mut self) -> Step<TogetherCall, Concluded> {
        match self.is_old {
            true => Step::Done(Concluded::Unsupported),
            false => self.advance(),
        }
    }

    /// A reply that doesn't fit a transaction counts as lost.
    fn step(&mut self, reply: TogetherReply) -> Step<TogetherCall, Concluded> {
        match (self.asked.take(), reply) {
            (Some(at), TogetherReply::One(reply)) => {
                let Some(part) = self.parts.get_mut(at) else {
                    return Step::Done(Concluded::Unknown);
                };
                let step = part.write.step(reply);
                match self.took(at, step) {
                    Some(step) => step,
                    None => self.advance(),
                }
            }
            (None, TogetherReply::Written) => Step::Done(Concluded::Done),
            (None, TogetherReply::Refused(met)) => self.refused(met),
            (None, TogetherReply::One(_) | TogetherReply::Rows(_) | TogetherReply::Unknown)
            | (
                Some(_),
                TogetherReply::Written
                | TogetherReply::Refused(_)
                | TogetherReply::Rows(_)
                | TogetherReply::Unknown,
            ) => Step::Done(Concluded::Unknown),
        }
    }
}

/// What came of a transaction's reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SeenTogether {
    /// The rows, in the order of the keys.
    Rows(Vec<Option<Row>>),
    /// One of the rows can't be read so in its phase.
    Later,
    /// The old store would have to be read.
    Unsupported,
    /// A table is offline.
    Refused,
}

/// Reads rows in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadTogether {
    keys: Vec<(Phase, Key)>,
    now: i64,
    /// Keys that the old store has no row for, and won't have one.
    without_old: Vec<bool>,
    /// The row that is being copied.
    copying: Option<(usize, Box<CopyRow>)>,
}

impl ReadTogether {
    /// The keys, each in its table's phase, at `now` in seconds since 1970.
    pub fn new(keys: Vec<(Phase, Key)>, now: i64) -> Self {
        ReadTogether {
            without_old: vec![false; keys.len()],
            keys,
            now,
            copying: None,
        }
    }

    fn seen(&mut self, items: Vec<Option<Row>>) -> Step<TogetherCall, SeenTogether> {
        for (at, item) in items.iter().enumerate() {
            let Some((phase, key)) = self.keys.get(at) else {
                continue;
            };
            let is_whole = match ItemState::of(item.as_ref(), self.now) {
                ItemState::Row | ItemState::Tombstone | ItemState::Expired => true,
                ItemState::Absent | ItemState::Partial => self.without_old[at],
            };
            match phase.row_read() {
                RowRead::NewElseOld if !is_whole => return Step::Done(SeenTogether::Later),
                RowRead::NewElseOldAndSave if !is_whole => {
                    let copy = Box::new(CopyRow::of_key(key.clone()));
                    return self.copy(at, copy, None);
                }
                RowRead::NewElseOld
                | RowRead::NewElseOldAndSave
                | RowRead::New
                | RowRead::Old
                | RowRead::Refused => {}
            }
        }
        let rows = items.into_iter().map(|item| show(item, None, self.now));
        Step::Done(SeenTogether::Rows(rows.collect()))
    }

    /// Brings a row over; then all are read again.
    fn copy(
        &mut self,
        at: usize,
        mut copy: Box<CopyRow>,
        reply: Option<Reply>,
    ) -> Step<TogetherCall, SeenTogether> {
        let step = match reply {
            None => copy.begin(),
            Some(reply) => copy.step(reply),
        };
        match step {
            Step::Call(call) => {
                self.copying = Some((at, copy));
                Step::Call(TogetherCall::One(at, Box::new(call)))
            }
            Step::Done(copied) => {
                self.without_old[at] |= copied == super::Copied::Absent;
                Step::Call(TogetherCall::Read)
            }
        }
    }
}

impl Machine for ReadTogether {
    type Call = TogetherCall;
    type Reply = TogetherReply;
    type Answer = SeenTogether;

    fn begin(&mut self) -> Step<TogetherCall, SeenTogether> {
        let reads = |wanted: RowRead| {
            self.keys
                .iter()
                .any(|(phase, _)| phase.row_read() == wanted)
        };
        if reads(RowRead::Refused) {
            return Step::Done(SeenTogether::Refused);
        }
        if reads(RowRead::Old) {
            return Step::Done(SeenTogether::Unsupported);
        }
        Step::Call(TogetherCall::Read)
    }

    /// A reply that isn't what was asked for means: from the start.
    fn step(&mut self, reply: TogetherReply) -> Step<TogetherCall, SeenTogether> {
        match (self.copying.take(), reply) {
            (None, TogetherReply::Rows(items)) if items.len() == self.keys.len() => {
                self.seen(items)
            }
            (Some((at, copy)), TogetherReply::One(reply)) => self.copy(at, copy, Some(reply)),
            (
                None | Some(_),
                TogetherReply::Rows(_)
                | TogetherReply::One(_)
                | TogetherReply::Written
                | TogetherReply::Refused(_)
                | TogetherReply::Unknown,
            ) => self.begin(),
        }
    }
}
