//! The rules as they are, and mutants: each changes one of them, and nothing else.

use crossfade::model::{Change, Edit, ItemState, Mark, Mutation, Query, Row, Value};
use crossfade::protocol::row::{Call, Reply, RowStep, Write, WriteAnswer, may_return_to_old};
use crossfade::protocol::{Machine as _, Phase};

use super::machines::{Answer, Kind, Machine};
use super::stores::Stores;

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Who {
    pub kind: Kind,
    /// The phase it began in.
    pub phase: Phase,
    /// Whether it is a read that has been answered, and now saves what it found.
    pub is_saving: bool,
}

/// Where a mutant can step in. What it leaves alone is the library's.
pub trait Variant: Send + Sync {
    fn machine(&self, begun: Begun) -> Machine {
        begun.machine()
    }

    fn call(&self, stores: &mut Stores, call: &Call, _: Who) -> Reply {
        stores.call(call)
    }

    /// Whether its participant stays in its phase as long as this operation runs.
    fn waits_for(&self, _: Who) -> bool {
        true
    }

    /// Whether no phase is left while a call of somebody who was killed may still arrive.
    fn drains(&self) -> bool {
        true
    }

    /// Whether all rows are in the new store, and whole.
    fn is_ready_for_new(&self, stores: &Stores) -> bool {
        match ItemState::of(stores.new.as_ref(), stores.now) {
            ItemState::Row | ItemState::Tombstone | ItemState::Expired => true,
            ItemState::Absent | ItemState::Partial => stores.old.is_none(),
        }
    }

    /// Whether `bridge` may be left for `old`.
    fn may_return_to_old(&self, stores: &Stores) -> bool {
        may_return_to_old(stores.new.as_ref())
    }

    /// Whether the new store takes expired items away by itself, while these are the participants' phases.
    fn expires_natively(&self, phases: &[Phase]) -> bool {
        phases.contains(&Phase::Done)
    }
}

/// An operation as it begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub who: Who,
    pub number: u16,
    pub now: i64,
    pub rows_expire: bool,
}

impl Begun {
    /// The library's machine.
    pub fn machine(self) -> Machine {
        Machine::new(
            self.who.kind,
            self.number,
            self.who.phase,
            self.now,
            self.rows_expire,
        )
    }

    /// The same as another kind of operation.
    pub fn of_kind(self, kind: Kind) -> Machine {
        let who = Who { kind, ..self.who };
        Begun { who, ..self }.machine()
    }

    /// The same in another phase.
    pub fn in_phase(self, phase: Phase) -> Machine {
        let who = Who { phase, ..self.who };
        Begun { who, ..self }.machine()
    }
}

pub struct AsDesigned;
impl Variant for AsDesigned {}

/// Some operations are begun in another way.
pub struct Begins(pub fn(Begun) -> Option<Machine>);

impl Variant for Begins {
    fn machine(&self, begun: Begun) -> Machine {
        (self.0)(begun).unwrap_or_else(|| begun.machine())
    }
}

/// Some calls are other ones.
pub struct Calls(pub fn(&Stores, &Call, Who) -> Option<Call>);

impl Variant for Calls {
    fn call(&self, stores: &mut Stores, call: &Call, who: Who) -> Reply {
        match (self.0)(stores, call, who) {
            Some(call) => stores.call(&call),
            None => stores.call(call),
        }
    }
}

/// Some items of the new store are taken for something else by those who read them.
pub struct Reads(pub fn(Row, Who) -> Option<Row>);

impl Variant for Reads {
    fn call(&self, stores: &mut Stores, call: &Call, who: Who) -> Reply {
        match (call, stores.call(call)) {
            (Call::ReadNew(_), Reply::Row(Some(item))) => Reply::Row((self.0)(item, who)),
            (_, reply) => reply,
        }
    }
}

/// Some operations don't keep their participant in its phase.
pub struct Unpinned(pub fn(Who) -> bool);

impl Variant for Unpinned {
    fn waits_for(&self, who: Who) -> bool {
        !(self.0)(who)
    }
}

/// A phase is left though a call of somebody who was killed may still arrive.
pub struct Undrained;

impl Variant for Undrained {
    fn drains(&self) -> bool {
        false
    }
}

/// Nobody asks whether all rows have been copied, and whole.
pub struct EarlyNew;

impl Variant for EarlyNew {
    fn is_ready_for_new(&self, _: &Stores) -> bool {
        true
    }
}

/// Nobody asks what the new store holds before `bridge` is left for `old`.
pub struct EarlyOld;

impl Variant for EarlyOld {
    fn may_return_to_old(&self, _: &Stores) -> bool {
        true
    }
}

/// What was copied is taken for no row when `bridge` is left for `old`.
pub struct CopiesStay;

impl Variant for CopiesStay {
    fn may_return_to_old(&self, stores: &Stores) -> bool {
        let item = stores.new.as_ref();
        item.is_none_or(|item| matches!(item.mark, Some(Mark::Copied | Mark::Resaved)))
    }
}

/// The new store's own expiry is on all the time.
pub struct NativeExpiry;

impl Variant for NativeExpiry {
    fn expires_natively(&self, _: &[Phase]) -> bool {
        true
    }
}

/// An element is appended as if a list could be replaced like any column: without knowing what it holds.
pub struct LaidOver;

impl Variant for LaidOver {
    fn machine(&self, begun: Begun) -> Machine {
        match begun.who.kind {
            Kind::Append => begun.of_kind(Kind::SetSecond),
            _ => begun.machine(),
        }
    }

    fn call(&self, stores: &mut Stores, call: &Call, who: Who) -> Reply {
        let mut call = call.clone();
        if let (
            Kind::Append,
            Call::WriteNew {
                change: Change::Edit { cells, .. },
                ..
            },
        ) = (who.kind, &mut call)
        {
            for cell in cells.iter_mut().flatten() {
                if let Edit::Set(Value::List(elements)) = cell {
                    *cell = Edit::Append(elements.clone());
                }
            }
        }
        stores.call(&call)
    }
}

/// Calls in a row, whatever comes of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script(pub Vec<Call>);

impl Script {
    pub fn begin(&mut self) -> RowStep<Answer> {
        if self.0.is_empty() {
            RowStep::Done(Answer::Wrote(WriteAnswer::Done))
        } else {
            RowStep::Call(self.0.remove(0))
        }
    }

    pub fn step(&mut self, _: Reply) -> RowStep<Answer> {
        self.begin()
    }
}

/// A read that looks into the old store first, and remembers what it found until it asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OldFirst {
    pub read: Box<Machine>,
    pub old_call: Call,
    pub old: Option<Reply>,
}

impl OldFirst {
    pub fn begin(&mut self) -> RowStep<Answer> {
        RowStep::Call(self.old_call.clone())
    }

    pub fn step(&mut self, call: &Call, reply: Reply) -> RowStep<Answer> {
        let step = match self.old {
            None => {
                self.old = Some(reply);
                self.read.begin()
            }
            Some(_) => self.read.step(call, reply),
        };
        match (step, &self.old) {
            (RowStep::Call(call @ (Call::ReadOld(_) | Call::QueryOld(_))), Some(old)) => {
                self.read.step(&call, old.clone())
            }
            (step, _) => step,
        }
    }
}

/// A read that doesn't look at the new store again if the old one had a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustsOld {
    pub read: Box<Machine>,
    /// What the new store had.
    pub item: Option<Row>,
}

impl TrustsOld {
    pub fn begin(&mut self) -> RowStep<Answer> {
        self.read.begin()
    }

    pub fn step(&mut self, call: &Call, reply: Reply) -> RowStep<Answer> {
        let had_old = matches!((call, &reply), (Call::ReadOld(_), Reply::Row(Some(_))));
        if let (Call::ReadNew(_), Reply::Row(item)) = (call, &reply) {
            self.item = item.clone();
        }
        match self.read.step(call, reply) {
            RowStep::Call(call @ Call::ReadNew(_)) if had_old => {
                self.read.step(&call, Reply::Row(self.item.clone()))
            }
            step => step,
        }
    }
}

/// A write on a rule that is judged in the old store where it should wait for a later phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JudgedBeneath {
    pub write: Write,
    /// The same in phase `old`.
    pub beneath: Write,
    pub is_beneath: bool,
}

impl JudgedBeneath {
    pub fn begin(&mut self) -> RowStep<Answer> {
        let step = self.write.begin();
        self.next(step)
    }

    pub fn step(&mut self, reply: Reply) -> RowStep<Answer> {
        let step = match self.is_beneath {
            true => self.beneath.step(reply),
            false => self.write.step(reply),
        };
        self.next(step)
    }

    fn next(&mut self, step: RowStep<WriteAnswer>) -> RowStep<Answer> {
        match step {
            RowStep::Done(WriteAnswer::Later) if !self.is_beneath => {
                self.is_beneath = true;
                let step = self.beneath.begin();
                self.next(step)
            }
            RowStep::Done(outcome) => RowStep::Done(Answer::Wrote(outcome)),
            RowStep::Call(call) => RowStep::Call(call),
        }
    }
}

/// A scan that walks over the new store first, then over the old one's rows whose key the new one lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NewFirst {
    /// What it has shown, once it has walked over the new store.
    pub shown: Option<Vec<Row>>,
    /// The old row whose key is looked for in the new store.
    pub old: Option<Row>,
}

impl NewFirst {
    pub fn begin(&mut self) -> RowStep<Answer> {
        RowStep::Call(Call::QueryNew(whole()))
    }

    pub fn step(&mut self, reply: Reply) -> RowStep<Answer> {
        match (self.shown.take(), self.old.take(), reply) {
            (None, _, Reply::Page(page)) => {
                let rows = page.rows.into_iter();
                let rows = rows.filter(|item| item.mark != Some(Mark::Tombstone));
                self.shown = Some(rows.map(|row| Row { mark: None, ..row }).collect());
                RowStep::Call(Call::QueryOld(whole()))
            }
            (Some(shown), _, Reply::Page(page)) => match page.rows.into_iter().next() {
                None => RowStep::Done(Answer::Scanned(shown)),
                Some(old) => {
                    let key = old.key.clone();
                    (self.shown, self.old) = (Some(shown), Some(old));
                    RowStep::Call(Call::ReadNew(key))
                }
            },
            (shown, old, reply) => {
                let mut shown = shown.unwrap_or_default();
                let is_absent = reply == Reply::Row(None);
                shown.extend(old.filter(|_| is_absent));
                RowStep::Done(Answer::Scanned(shown))
            }
        }
    }
}

fn whole() -> Query {
    Query {
        range: super::stores::range(),
        reverse: false,
        after: None,
        limit: 1,
    }
}

/// A write that goes to the old store where the new one has nothing, and it should wait for a later phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Beneath {
    pub write: Box<Machine>,
    pub mutation: Mutation,
    /// Whether the new store had nothing.
    pub is_absent: bool,
    pub is_beneath: bool,
}

impl Beneath {
    pub fn begin(&mut self) -> RowStep<Answer> {
        let step = self.write.begin();
        self.next(step)
    }

    pub fn step(&mut self, call: &Call, reply: Reply) -> RowStep<Answer> {
        if self.is_beneath {
            return RowStep::Done(Answer::Wrote(match reply {
                Reply::Refused(row) => WriteAnswer::Unmet(row),
                _ => WriteAnswer::Done,
            }));
        }
        self.is_absent = reply == Reply::Refused(None);
        let step = self.write.step(call, reply);
        self.next(step)
    }

    fn next(&mut self, step: RowStep<Answer>) -> RowStep<Answer> {
        match step {
            RowStep::Done(Answer::Wrote(WriteAnswer::Later)) if self.is_absent => {
                self.is_beneath = true;
                RowStep::Call(Call::WriteOld(self.mutation.clone()))
            }
            step => step,
        }
    }
}
