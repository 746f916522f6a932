//! Counters: how old totals get into the new store exactly once, and what is shown meanwhile.
//!
//! An item of the new store holds, for each counter column, its value `c` and its watermark `w`: how much
//! of the old store's total `o` is already inside `c`. What isn't there counts as 0. So `c - w` is what was
//! added in the new store itself, and the whole total is `o + (c - w)` at every moment.
//!
//! | operation | phases | steps; each is one store call, and atomic |
//! |---|---|---|
//! | [`FoldCounters`] | `old` to `copy`, `offline` | 1 read the item (`w`). 2 read the old totals (`o`). 3 add `o - w` to `c` and set `w = o` in every column that differs, mark the item as copied if it has no mark, IF each `w` still is what was read. Refused, or the reply was lost: from 1 |
//! | | first pass | 1 put `c = w = o` as scanned, marked as copied, IF nothing is there. Refused or lost: the steps above |
//! | | later passes | 1 read the item: every `w` is what was scanned: done. Else from 2 on |
//! | [`Count`] | `old` | 1 read the old totals |
//! | | `bridge`, `switch`, `copy` | 1 read the item (`c` and `w` at once). 2 read the old totals: `o + c - w` |
//! | | `new`, `done` | 1 read the item: `c` |
//! | [`AddToCounters`] | `old`, `bridge` | 1 add in the old store |
//! | | `switch`, `copy`, `new` | 1 add to `c`, mark the item as the application's |
//! | | `done` | 1 add to `c` |
//! | [`Tally`] | `old`, `bridge` | 1 as [`AddToCounters`]. 2 as [`Count`] |
//! | | `switch`, `copy` | 1 as [`AddToCounters`], and the store tells the item as it is then (`c` and `w` at once). 2 read the old totals: `o + c - w` |
//! | | `new`, `done` | 1 as [`AddToCounters`], and the store tells the item as it is then: `c` |
//!
//! Why nothing is counted twice, and nothing lost:
//!
//! - A fold moves what it adds from one side of `o + (c - w)` to the other, in one write. Whenever it is
//!   killed, repeated, or run twice at once, `c - w` stays as it is, and so does the total.
//! - The condition on `w` lets each stretch of the old total pass once. No one has to know whether a write
//!   whose reply was lost has happened: the next fold reads it from `w`. For the same reason a journal is
//!   never asked what has been folded; it only saves a look at rows that can't have changed
//!   ([`Pass::may_skip`]).
//! - An add has no such condition, and is sent once. A lost reply is told as [`Added::Unknown`].
//! - `c` alone is shown from `new` on, so that phase wants `w = o` everywhere, found by a pass that begins
//!   when every participant is in `copy`, hence after the last add to the old store and after the last fold that
//!   may have read less ([`Pass::may_begin`], [`may_enter_new`]).
//! - After a way back to `bridge` the old totals grow again, and `w` tells how much of them is new.
//!
//! The old store's total is always read after `w` before it is called too low: a total that was read
//! earlier may just be older than what another copier has folded since.
//!
//! A machine given a reply that doesn't fit its call begins anew where that is harmless (a fold, a count),
//! and an add answers that its outcome is unknown, since it may have been sent. What drives one has to
//! bound the number of its calls: two folds of one row keep refusing each other only while one of them
//! gets on, but a store that never tells its outcome would be asked for ever.

mod tally;

use super::phase::{CounterAdd, CounterShown, Work};
use super::{Machine, Phase};
use crate::error::{Error, Kind, Result};
use crate::model::{Move, Row, Value};

pub use tally::{Tallied, Tally};

/// One number for each counter column, in the order of [`crate::schema::Table::cells`]; `None` is null.
/// Columns missing at the end are null.
pub type Totals = Vec<Option<i64>>;

/// What a machine wants next, about one counter row.
pub type CounterStep<A> = super::Step<CounterCall, A>;

/// A counter row in the new store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CounterItem {
    /// The values.
    pub totals: Totals,
    /// How much of the old totals is inside each.
    pub watermarks: Totals,
}

impl CounterItem {
    /// The item of a row as the new store gives it.
    ///
    /// # Errors
    /// As of [`totals_of`].
    pub fn of(row: Row) -> Result<CounterItem> {
        Ok(CounterItem {
            totals: totals_of(&row)?,
            watermarks: row.watermarks,
        })
    }
}

/// A row's totals.
///
/// # Errors
/// [`Kind::Invalid`] if it has a cell that is no counter's.
pub fn totals_of(row: &Row) -> Result<Totals> {
    let total = |cell: &Option<Value>| match cell {
        None => Ok(None),
        Some(Value::BigInt(total)) => Ok(Some(*total)),
        Some(_) => Err(Error::new(
            Kind::Invalid,
            "a counter's value isn't a number",
        )),
    };
    row.cells.iter().map(total).collect()
}

/// A store call about one counter row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterCall {
    /// Read values and watermarks in the new store, in one strongly consistent read.
    ReadNew,
    /// Read the totals in the old store, with its overlapping consistency.
    ReadOld,
    /// Put an item with these values, equal watermarks, and the copier's mark, if nothing is there.
    Insert(Totals),
    /// In one write to the new store, for every column that has a move: add what it says to the value and
    /// set the watermark, if each of their watermarks still is `from`. An item without a mark becomes the
    /// copier's; one that isn't there is made.
    Fold(Vec<Option<Move>>),
    /// Add to the counters, at most once. Never to be sent again by the one that carries it out.
    Add {
        /// Where.
        to: AddPlace,
        /// How much, for each column.
        by: Totals,
    },
    /// The same, to the new store alone. The reply is the item as it is then.
    AddAndTell {
        /// Where.
        to: AddPlace,
        /// How much, for each column.
        by: Totals,
    },
}

/// Where an application's add goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddPlace {
    /// To the old store.
    Old,
    /// To the new store, whose item becomes the application's.
    New,
    /// To the new store, without a mark.
    NewUnmarked,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterReply {
    /// The new store's item, if there is one.
    New(Option<CounterItem>),
    /// The old store's totals, if there is such a row.
    Old(Option<Totals>),
    /// The write has happened.
    Written,
    /// The write has certainly not happened: its condition wasn't met, or the store took no work.
    Refused,
    /// The reply was lost: the write may have happened, or may happen yet.
    Unknown,
}

/// What a plan says of a table's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Totals may go down.
    pub decrements: bool,
}

/// A way over all counters of the old store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Folds what there is, while more may come.
    CatchUp,
    /// When the old totals don't change any more: leaves `w = o` in every counter, or tells where it couldn't. Its
    /// reads of the old store ask all replicas, unless the plan's `final_read` says otherwise.
    Settling,
}

impl Pass {
    /// The work it is, for [`Phase::allows`].
    pub fn work(self) -> Work {
        match self {
            Pass::CatchUp => Work::Fold,
            Pass::Settling => Work::Settle,
        }
    }

    /// Whether a tool that is in this phase may begin it.
    ///
    /// `all_have_acknowledged`: all other participants are in the phase too, and nothing that was begun in the
    /// one before can still land. A settling pass has to wait for that: another copier may have read the old
    /// total before the last add, and where totals may go down, its fold could still set `w` back.
    pub fn may_begin(self, phase: Phase, all_have_acknowledged: bool) -> bool {
        let may = match self {
            Pass::CatchUp => true,
            Pass::Settling => all_have_acknowledged,
        };
        may && phase.allows(self.work())
    }

    /// Whether a row may be passed over because a journal remembers that these very totals, as just
    /// `scanned`, had been folded.
    ///
    /// Totals that may go down can have been folded further since, and be back; and a settling pass
    /// believes the item alone.
    pub fn may_skip(
        self,
        rules: Rules,
        remembered: Option<&[Option<i64>]>,
        scanned: &[Option<i64>],
    ) -> bool {
        match self {
            Pass::CatchUp => !rules.decrements && remembered.is_some_and(|r| same(r, scanned)),
            Pass::Settling => false,
        }
    }
}

/// Whether a table's counters are all inside the new store, so that it may enter `new`.
///
/// `settled` is the number of the freeze in which a settling pass went over all counters and found or made
/// `w = o` in each ([`Folded::is_settled`]). Going back and forth begins another freeze, after which the old
/// totals may have grown.
pub fn may_enter_new(settled: Option<u64>, freeze: u64) -> bool {
    settled == Some(freeze)
}

/// Whether a counter row lets its table go back from `bridge` to `old`, where the old total alone is shown.
/// Asked of every row once every participant is in `bridge`, and so nothing adds to the new store: `c - w`, which no
/// fold changes, has to be 0. What was folded may stay; it shows nothing, and the next fold goes on from it.
pub fn may_return_to_old(item: Option<&CounterItem>) -> bool {
    item.is_none_or(|item| same(&item.totals, &item.watermarks))
}

/// Moves what a row's old totals have grown by into the new store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoldCounters {
    rules: Rules,
    state: Folding,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Folding {
    /// A scan has read these totals, and there is most likely no item yet.
    First(Totals),
    /// A scan has read these totals, and they are most likely inside.
    Again(Totals),
    /// Nothing is known.
    Start,
    /// The item is being read. If all its watermarks are these, that was all.
    ReadingNew(Option<Totals>),
    /// The old totals are being read; these are the watermarks.
    ReadingOld(Totals),
    /// These totals are being written.
    Writing(Totals),
}

/// The answer of a [`FoldCounters`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Folded {
    /// The row was written.
    Folded {
        /// The old totals that are inside now.
        totals: Totals,
    },
    /// There was nothing to fold.
    Unchanged {
        /// The old totals that are inside.
        totals: Totals,
    },
    /// Columns whose old total is below what is inside; nothing of the row was written.
    WentDown(Vec<Down>),
    /// The old store has no such row (any more), and none of it is inside.
    Gone,
}

/// A counter whose old total can't be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Down {
    /// Which of the columns.
    pub column: usize,
    /// How much of the old total is inside.
    pub watermark: i64,
    /// The old total; `None` if the counter was deleted, after which what Cassandra shows is undefined.
    pub total: Option<i64>,
}

impl Folded {
    /// Whether the watermarks are the totals that were read: what a settling pass wants of every row.
    pub fn is_settled(&self) -> bool {
        match self {
            Folded::Folded { .. } | Folded::Unchanged { .. } | Folded::Gone => true,
            Folded::WentDown(_) => false,
        }
    }
}

impl FoldCounters {
    /// A fold of a row of which nothing is known: reads both stores, then writes if need be.
    pub fn new(rules: Rules) -> Self {
        FoldCounters {
            rules,
            state: Folding::Start,
        }
    }

    /// The fold of a row whose totals a scan has just read, and which most likely isn't in the new store
    /// yet: a single write if so.
    pub fn first(rules: Rules, scanned: Totals) -> Self {
        FoldCounters {
            rules,
            state: Folding::First(scanned),
        }
    }

    /// The fold of a row whose totals a scan has just read, and which most likely has them inside already:
    /// a single read if so.
    pub fn again(rules: Rules, scanned: Totals) -> Self {
        FoldCounters {
            rules,
            state: Folding::Again(scanned),
        }
    }
}

impl Machine for FoldCounters {
    type Call = CounterCall;
    type Reply = CounterReply;
    type Answer = Folded;

    fn begin(&mut self) -> CounterStep<Folded> {
        match std::mem::replace(&mut self.state, Folding::Start) {
            Folding::First(scanned) if self.may_insert(&scanned) => {
                self.write(CounterCall::Insert(scanned.clone()), scanned)
            }
            Folding::Again(scanned) => self.read_new(Some(scanned)),
            Folding::First(_)
            | Folding::Start
            | Folding::ReadingNew(_)
            | Folding::ReadingOld(_)
            | Folding::Writing(_) => self.read_new(None),
        }
    }

    /// The step after a reply. Anything but what was hoped for means: from the start, because every step
    /// may safely be repeated.
    fn step(&mut self, reply: CounterReply) -> CounterStep<Folded> {
        match std::mem::replace(&mut self.state, Folding::Start) {
            Folding::ReadingNew(scanned) => match reply {
                CounterReply::New(item) => {
                    self.seen_new(item.unwrap_or_default().watermarks, scanned)
                }
                CounterReply::Old(_)
                | CounterReply::Written
                | CounterReply::Refused
                | CounterReply::Unknown => self.read_new(None),
            },
            Folding::ReadingOld(watermarks) => match reply {
                CounterReply::Old(totals) => self.seen_old(&watermarks, totals),
                CounterReply::New(_)
                | CounterReply::Written
                | CounterReply::Refused
                | CounterReply::Unknown => self.read_new(None),
            },
            Folding::Writing(totals) => match reply {
                CounterReply::Written => CounterStep::Done(Folded::Folded { totals }),
                CounterReply::New(_)
                | CounterReply::Old(_)
                | CounterReply::Refused
                | CounterReply::Unknown => self.read_new(None),
            },
            Folding::First(_) | Folding::Again(_) | Folding::Start => self.read_new(None),
        }
    }
}

impl FoldCounters {
    /// A row without any total isn't worth an item, and a total below 0 may be a stale or a wrong one.
    fn may_insert(&self, scanned: &[Option<i64>]) -> bool {
        let mut totals = scanned.iter().flatten().peekable();
        totals.peek().is_some() && (self.rules.decrements || totals.all(|total| *total >= 0))
    }

    fn read_new(&mut self, scanned: Option<Totals>) -> CounterStep<Folded> {
        self.state = Folding::ReadingNew(scanned);
        CounterStep::Call(CounterCall::ReadNew)
    }

    fn seen_new(&mut self, watermarks: Totals, scanned: Option<Totals>) -> CounterStep<Folded> {
        match scanned {
            Some(totals) if same(&totals, &watermarks) => {
                CounterStep::Done(Folded::Unchanged { totals })
            }
            Some(_) | None => {
                self.state = Folding::ReadingOld(watermarks);
                CounterStep::Call(CounterCall::ReadOld)
            }
        }
    }

    fn seen_old(
        &mut self,
        watermarks: &[Option<i64>],
        totals: Option<Totals>,
    ) -> CounterStep<Folded> {
        let is_there = totals.is_some();
        let totals = totals.unwrap_or_default();
        let mut downs = Vec::new();
        let mut moves = Vec::new();
        for column in 0..watermarks.len().max(totals.len()) {
            let from = at(watermarks, column);
            let total = at(&totals, column);
            let watermark = from.unwrap_or(0);
            moves.push(match total {
                None if from.is_none() => None,
                Some(to) if from == Some(to) => None,
                Some(to) if self.rules.decrements || to >= watermark => Some(Move { from, to }),
                None | Some(_) => {
                    downs.push(Down {
                        column,
                        watermark,
                        total,
                    });
                    None
                }
            });
        }
        if !downs.is_empty() {
            CounterStep::Done(Folded::WentDown(downs))
        } else if !is_there {
            CounterStep::Done(Folded::Gone)
        } else if moves.iter().all(Option::is_none) {
            CounterStep::Done(Folded::Unchanged { totals })
        } else {
            self.write(CounterCall::Fold(moves), totals)
        }
    }

    fn write(&mut self, call: CounterCall, totals: Totals) -> CounterStep<Folded> {
        self.state = Folding::Writing(totals);
        CounterStep::Call(call)
    }
}

/// Finds a row's totals, as the application shows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Count {
    shown: CounterShown,
    state: Counting,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counting {
    Start,
    ReadingNew,
    /// This is the item.
    ReadingOld(CounterItem),
}

/// The answer of a [`Count`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// The totals; all null if there is no such row.
    Total(Totals),
    /// A total that no `i64` can hold: an error, since a wrapped one would be believed.
    OutOfRange {
        /// Which of the columns.
        column: usize,
        /// What it would be.
        total: i128,
    },
    /// Applications may not read this table: it is offline.
    Refused,
}

impl Count {
    /// A count in this phase.
    pub fn new(phase: Phase) -> Self {
        Count {
            shown: phase.counter_shown(),
            state: Counting::Start,
        }
    }
}

impl Machine for Count {
    type Call = CounterCall;
    type Reply = CounterReply;
    type Answer = Counted;

    fn begin(&mut self) -> CounterStep<Counted> {
        match self.shown {
            CounterShown::Old => self.read_old(CounterItem::default()),
            CounterShown::OldAndNew | CounterShown::New => {
                self.state = Counting::ReadingNew;
                CounterStep::Call(CounterCall::ReadNew)
            }
            CounterShown::Refused => CounterStep::Done(Counted::Refused),
        }
    }

    /// The step after a reply. One that isn't what was asked for means: from the start.
    fn step(&mut self, reply: CounterReply) -> CounterStep<Counted> {
        match std::mem::replace(&mut self.state, Counting::Start) {
            Counting::ReadingNew => match reply {
                CounterReply::New(item) => self.seen_new(item.unwrap_or_default()),
                CounterReply::Old(_)
                | CounterReply::Written
                | CounterReply::Refused
                | CounterReply::Unknown => self.begin(),
            },
            Counting::ReadingOld(item) => match reply {
                CounterReply::Old(totals) => {
                    CounterStep::Done(total(&totals.unwrap_or_default(), &item))
                }
                CounterReply::New(_)
                | CounterReply::Written
                | CounterReply::Refused
                | CounterReply::Unknown => self.begin(),
            },
            Counting::Start => self.begin(),
        }
    }
}

impl Count {
    fn seen_new(&mut self, item: CounterItem) -> CounterStep<Counted> {
        match self.shown {
            CounterShown::OldAndNew => self.read_old(item),
            CounterShown::New => CounterStep::Done(Counted::Total(item.totals)),
            CounterShown::Old | CounterShown::Refused => self.begin(),
        }
    }

    fn read_old(&mut self, item: CounterItem) -> CounterStep<Counted> {
        self.state = Counting::ReadingOld(item);
        CounterStep::Call(CounterCall::ReadOld)
    }
}

/// Adds to a row's counters, for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddToCounters {
    to: CounterAdd,
    by: Totals,
    state: Adding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Adding {
    Start,
    Sent,
    Over(Added),
}

/// The answer of an [`AddToCounters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Added {
    /// It has happened.
    Added,
    /// It has certainly not happened: the table is offline, or the store took no work.
    Refused,
    /// It can't be told whether it has happened, and sending it again might count it twice.
    Unknown,
}

impl AddToCounters {
    /// An add in this phase: how much, for each column; `None` leaves one alone.
    pub fn new(phase: Phase, by: Totals) -> Self {
        AddToCounters {
            to: phase.counter_add(),
            by,
            state: Adding::Start,
        }
    }
}

impl Machine for AddToCounters {
    type Call = CounterCall;
    type Reply = CounterReply;
    type Answer = Added;

    /// Asked again, it never repeats the call.
    fn begin(&mut self) -> CounterStep<Added> {
        match self.state {
            Adding::Start => match self.to {
                CounterAdd::Old => self.send(AddPlace::Old),
                CounterAdd::New => self.send(AddPlace::New),
                CounterAdd::NewUnmarked => self.send(AddPlace::NewUnmarked),
                CounterAdd::Refused => self.end(Added::Refused),
            },
            Adding::Sent => self.end(Added::Unknown),
            Adding::Over(answer) => CounterStep::Done(answer),
        }
    }

    /// The answer that a reply means.
    fn step(&mut self, reply: CounterReply) -> CounterStep<Added> {
        match self.state {
            Adding::Start => self.begin(),
            Adding::Sent => self.end(match reply {
                CounterReply::Written => Added::Added,
                CounterReply::Refused => Added::Refused,
                CounterReply::Unknown | CounterReply::New(_) | CounterReply::Old(_) => {
                    Added::Unknown
                }
            }),
            Adding::Over(answer) => CounterStep::Done(answer),
        }
    }
}

impl AddToCounters {
    fn send(&mut self, to: AddPlace) -> CounterStep<Added> {
        self.state = Adding::Sent;
        CounterStep::Call(CounterCall::Add {
            to,
            by: self.by.clone(),
        })
    }

    fn end(&mut self, answer: Added) -> CounterStep<Added> {
        self.state = Adding::Over(answer);
        CounterStep::Done(answer)
    }
}

/// `o + c - w` of every column.
fn total(old: &[Option<i64>], item: &CounterItem) -> Counted {
    let mut totals = Vec::new();
    for column in 0..old.len().max(item.totals.len()) {
        let (o, c) = (at(old, column), at(&item.totals, column));
        if o.is_none() && c.is_none() {
            totals.push(None);
            continue;
        }
        let number = |part: Option<i64>| i128::from(part.unwrap_or(0));
        let total = number(o) + number(c) - number(at(&item.watermarks, column));
        match i64::try_from(total) {
            Ok(total) => totals.push(Some(total)),
            Err(_) => return Counted::OutOfRange { column, total },
        }
    }
    Counted::Total(totals)
}

fn at(columns: &[Option<i64>], column: usize) -> Option<i64> {
    columns.get(column).copied().flatten()
}

/// Whether every column is the same.
fn same(one: &[Option<i64>], other: &[Option<i64>]) -> bool {
    (0..one.len().max(other.len())).all(|column| at(one, column) == at(other, column))
}

#[cfg(test)]
mod tests;
