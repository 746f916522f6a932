//! What is done to the row, as the library's machines.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crossfade::model::{
    Edit, Edits, Judge, Judged, Key, Looks, Mutation, Query, Row, Rule, Then, Update, Value,
};
use crossfade::protocol::phase::Work;
use crossfade::protocol::row::{
    Call, Cause, ClusteringOrder, Concluded, CopyRow, DeleteRange, Get, Got, PageLimit, Purge,
    Queried, QueryRange, Repair, Repaired, Reply, Resave, RowStep, ScanCall, ScanOrder, ScanReply,
    TogetherCall, TogetherReply, Walked, Walkover, Write, WriteAnswer, WriteTogether,
};
use crossfade::protocol::{Machine as _, Phase, Step};

use super::history::{Meaning, Meant, Wanted, cells};
use super::stores::{key, range};

/// Something that is to be done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Put,
    SetFirst,
    SetSecond,
    ClearFirst,
    Append,
    Delete,
    DeleteRange,
    Insert,
    UpdateIf,
    PutNew,
    PutIf,
    DeleteThere,
    Compute,
    /// Those that are a transaction of the new store.
    SetTogether,
    PutIfTogether,
    Get,
    Query,
    Scan,
    Copy,
    Repair,
    Purge,
}

impl Kind {
    /// Whether a tool does it, and not an application.
    pub fn work(self) -> Option<Work> {
        match self {
            Kind::Copy => Some(Work::Copy),
            Kind::Repair => Some(Work::Repair),
            Kind::Purge => Some(Work::Purge),
            _ => None,
        }
    }

    pub fn is_read(self) -> bool {
        matches!(self, Kind::Get | Kind::Query | Kind::Scan)
    }

    /// Whether its writer is told if its condition was met.
    pub fn is_conditional(self) -> bool {
        matches!(
            self,
            Kind::Insert
                | Kind::UpdateIf
                | Kind::PutNew
                | Kind::PutIf
                | Kind::PutIfTogether
                | Kind::DeleteThere
        )
    }

    /// What a row has to be like for it, if it is a write on a rule.
    fn wanted(self) -> Option<Wanted> {
        match self {
            Kind::PutNew => Some(Wanted::Nothing),
            Kind::PutIf | Kind::PutIfTogether => Some(Wanted::First(OLD)),
            Kind::DeleteThere => Some(Wanted::There),
            _ => None,
        }
    }

    /// The write on a rule that it is.
    pub fn judged(self, number: u16) -> Option<Judged> {
        let then = match self {
            Kind::PutNew | Kind::PutIf | Kind::PutIfTogether => Then::Put(row([number, number])),
            Kind::DeleteThere => Then::Delete,
            Kind::Compute => Then::Compute,
            _ => return None,
        };
        let wanted = self.wanted();
        let looks = match wanted {
            Some(Wanted::First(_)) | None => BTreeSet::from([0]),
            Some(Wanted::Nothing | Wanted::There) => BTreeSet::new(),
        };
        Some(Judged {
            key: key(),
            rule: Rule::new(Ruling {
                wanted,
                number,
                looks: Looks::Cells(looks),
                text: format!("{self:?} {number}"),
            }),
            then,
        })
    }

    /// What the operation with this number means by it; nobody else writes its values.
    pub fn meant(self, number: u16) -> Option<Meant> {
        let keep = Meaning::Keep;
        match self {
            Kind::Put => Some(Meant::Put([number, number])),
            Kind::SetFirst | Kind::SetTogether => Some(Meant::Update([Meaning::Set(number), keep])),
            Kind::SetSecond => Some(Meant::Update([keep, Meaning::Set(number)])),
            Kind::ClearFirst => Some(Meant::Update([Meaning::Clear, keep])),
            Kind::Append => Some(Meant::Update([keep, Meaning::Append(number)])),
            Kind::Delete | Kind::DeleteRange => Some(Meant::Delete),
            Kind::Insert => Some(Meant::Insert([number, number])),
            Kind::UpdateIf => Some(Meant::UpdateIf([keep, Meaning::Set(number)], OLD)),
            Kind::PutNew => Some(Meant::PutIf([number, number], Wanted::Nothing)),
            Kind::PutIf | Kind::PutIfTogether => {
                Some(Meant::PutIf([number, number], Wanted::First(OLD)))
            }
            Kind::DeleteThere => Some(Meant::DeleteIf(Wanted::There)),
            Kind::Compute => Some(Meant::Compute(number)),
            Kind::Get | Kind::Query | Kind::Scan | Kind::Copy | Kind::Repair | Kind::Purge => None,
        }
    }

    pub fn mutation(self, number: u16) -> Option<Mutation> {
        let update = |cells: [Option<Edit>; 2]| Update {
            key: key(),
            cells: cells.into(),
            expires: None,
        };
        let second = |edit| update([None, Some(edit)]);
        match self {
            Kind::Put => Some(Mutation::Put(row([number, number]))),
            Kind::Insert => Some(Mutation::Insert(row([number, number]))),
            Kind::SetFirst | Kind::SetTogether => Some(Mutation::Update(update([
                Some(Edit::Set(digit(number))),
                None,
            ]))),
            Kind::ClearFirst => Some(Mutation::Update(update([Some(Edit::Clear), None]))),
            Kind::SetSecond => Some(Mutation::Update(second(Edit::Set(list(number))))),
            Kind::Append => Some(Mutation::Update(second(Edit::Append(vec![digit(number)])))),
            Kind::UpdateIf => Some(Mutation::UpdateIf {
                update: second(Edit::Set(list(number))),
                expected: vec![(0, Some(digit(OLD)))],
            }),
            Kind::Delete => Some(Mutation::Delete(key())),
            Kind::DeleteRange
            | Kind::PutNew
            | Kind::PutIf
            | Kind::DeleteThere
            | Kind::Compute
            | Kind::PutIfTogether
            | Kind::Get
            | Kind::Query
            | Kind::Scan
            | Kind::Copy
            | Kind::Repair
            | Kind::Purge => None,
        }
    }

    /// Whether it is a transaction.
    fn is_together(self) -> bool {
        matches!(self, Kind::SetTogether | Kind::PutIfTogether)
    }
}

/// The number of the old row's values.
pub const OLD: u16 = 1;

/// A row with these values; 0 is null.
pub fn row(numbers: [u16; 2]) -> Row {
    let [first, second] = numbers;
    let cells = [
        (first != 0).then(|| digit(first)),
        (second != 0).then(|| list(second)),
    ];
    Row::new(key(), cells.into())
}

fn digit(number: u16) -> Value {
    Value::Int(number.into())
}

fn list(number: u16) -> Value {
    Value::List(vec![digit(number)])
}

/// A rule: what the row has to be like, and what is made of it.
#[derive(Debug)]
struct Ruling {
    wanted: Option<Wanted>,
    number: u16,
    looks: Looks,
    text: String,
}

impl Judge for Ruling {
    fn text(&self) -> &str {
        &self.text
    }

    fn holds(&self, row: Option<&Row>) -> crossfade::Result<bool> {
        let row = row.map(cells);
        Ok(self.wanted.is_none_or(|wanted| wanted.is_met(row)))
    }

    fn edits(&self, row: Option<&Row>) -> crossfade::Result<Edits> {
        let first = row.and_then(|row| row.cells[0].clone());
        let elements = first.into_iter().chain([digit(self.number)]).collect();
        Ok(Edits {
            cells: vec![None, Some(Edit::Set(Value::List(elements)))],
            expires: None,
        })
    }

    fn looks(&self) -> &Looks {
        &self.looks
    }
}

/// There is only one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OneKey;

impl ClusteringOrder for OneKey {
    fn compare(&self, _: &Key, _: &Key) -> Ordering {
        Ordering::Equal
    }
}

impl ScanOrder for OneKey {
    fn compare(&self, _: &Key, _: &Key) -> Ordering {
        Ordering::Equal
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::large_enum_variant,
    reason = "the scan's is large, and millions of states would each pay for a box"
)]
pub enum Machine {
    Scan(Walkover<OneKey>),
    Get(Get),
    Resave(Resave),
    Query(QueryRange<OneKey>),
    Write(Write),
    Together(Transaction),
    DeleteRange(DeleteRange<OneKey>),
    Copy(CopyRow),
    Repair(Repair),
    Purge(Purge),
    /// Mutants'.
    Script(super::variants::Script),
    OldFirst(super::variants::OldFirst),
    TrustsOld(super::variants::TrustsOld),
    Beneath(super::variants::Beneath),
    JudgedBeneath(super::variants::JudgedBeneath),
    NewFirst(super::variants::NewFirst),
}

/// What comes of any machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Saw(Option<Row>, Option<Box<Resave>>),
    /// What a scan showed of the key: once, or more often.
    Scanned(Vec<Row>),
    Wrote(WriteAnswer),
    /// The old row was put over what a copy had made of it.
    Mended,
    Nothing,
}

impl Machine {
    pub fn new(kind: Kind, number: u16, phase: Phase, now: i64, rows_expire: bool) -> Self {
        let plain = |mutation| Write::new(phase, mutation, now);
        let write = kind.mutation(number).map(plain);
        let judged = |judged| Write::judged(phase, judged, now);
        if let Some(write) = write.or_else(|| kind.judged(number).map(judged)) {
            return match kind.is_together() {
                true => Machine::Together(Transaction::new(phase, write)),
                false => Machine::Write(write),
            };
        }
        match kind {
            Kind::Get => Machine::Get(Get::new(phase, key(), now, rows_expire)),
            Kind::Query => {
                let query = Query {
                    range: range(),
                    reverse: false,
                    after: None,
                    limit: 1,
                };
                Machine::Query(QueryRange::new(phase, query, OneKey, now, rows_expire))
            }
            Kind::Scan => {
                let bound = PageLimit {
                    rows: 9,
                    bytes: usize::MAX,
                    pages: 9,
                };
                let walk = Walkover::new(phase, None, OneKey, bound, now, rows_expire);
                Machine::Scan(walk)
            }
            Kind::DeleteRange => Machine::DeleteRange(DeleteRange::new(
                phase,
                range(),
                Default::default(),
                OneKey,
                1,
                now,
            )),
            Kind::Copy => Machine::Copy(CopyRow::of_key(key())),
            Kind::Repair => Machine::Repair(Repair::new(key(), true)),
            Kind::Purge => Machine::Purge(Purge::new(key(), true, now)),
            _ => unreachable!("{kind:?} is a mutation"),
        }
    }

    pub fn begin(&mut self) -> RowStep<Answer> {
        match self {
            Machine::Scan(walk) => scanned(walk.begin()),
            Machine::Get(get) => got(get.begin()),
            Machine::Resave(resave) => nothing(resave.begin()),
            Machine::Query(query) => queried(query.begin()),
            Machine::Write(write) => wrote(write.begin()),
            Machine::Together(transaction) => transaction.begin(),
            Machine::DeleteRange(delete) => wrote(delete.begin()),
            Machine::Copy(copy) => nothing(copy.begin()),
            Machine::Repair(repair) => repaired(repair.begin()),
            Machine::Purge(purge) => nothing(purge.begin()),
            Machine::Script(script) => script.begin(),
            Machine::OldFirst(read) => read.begin(),
            Machine::TrustsOld(read) => read.begin(),
            Machine::Beneath(write) => write.begin(),
            Machine::JudgedBeneath(write) => write.begin(),
            Machine::NewFirst(scan) => scan.begin(),
        }
    }

    /// The step after the reply to a call.
    pub fn step(&mut self, call: &Call, reply: Reply) -> RowStep<Answer> {
        match self {
            Machine::Scan(walk) => scanned(walk.step(match reply {
                Reply::Page(page) => ScanReply::Page(page),
                Reply::Row(row) => ScanReply::Rows(vec![row]),
                other => panic!("a scan doesn't get {other:?}"),
            })),
            Machine::Get(get) => got(get.step(reply)),
            Machine::Resave(resave) => nothing(resave.step(reply)),
            Machine::Query(query) => queried(query.step(reply)),
            Machine::Write(write) => wrote(write.step(reply)),
            Machine::Together(transaction) => transaction.step(reply),
            Machine::DeleteRange(delete) => wrote(delete.step(reply)),
            Machine::Copy(copy) => nothing(copy.step(reply)),
            Machine::Repair(repair) => repaired(repair.step(reply)),
            Machine::Purge(purge) => nothing(purge.step(reply)),
            Machine::Script(script) => script.step(reply),
            Machine::OldFirst(read) => read.step(call, reply),
            Machine::TrustsOld(read) => read.step(call, reply),
            Machine::Beneath(write) => write.step(call, reply),
            Machine::JudgedBeneath(write) => write.step(reply),
            Machine::NewFirst(scan) => scan.step(reply),
        }
    }
}

/// A transaction of one write: what prepares it are calls like any others, and all that is its own goes at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    all: WriteTogether,
    /// Its own write is out, and not what prepares it.
    is_own: bool,
}

impl Transaction {
    fn new(phase: Phase, write: Write) -> Self {
        Transaction {
            all: WriteTogether::new(vec![(phase, write)]),
            is_own: false,
        }
    }

    fn begin(&mut self) -> RowStep<Answer> {
        let step = self.all.begin();
        self.took(step)
    }

    fn step(&mut self, reply: Reply) -> RowStep<Answer> {
        let reply = match (self.is_own, reply) {
            (false, reply) => TogetherReply::One(reply),
            (true, Reply::Written) => TogetherReply::Written,
            (true, Reply::Refused(met)) => TogetherReply::Refused(vec![Some(met)]),
            (true, Reply::Unknown) => TogetherReply::Unknown,
            (true, other) => panic!("a transaction doesn't get {other:?}"),
        };
        let step = self.all.step(reply);
        self.took(step)
    }

    fn took(&mut self, step: Step<TogetherCall, Concluded>) -> RowStep<Answer> {
        self.is_own = matches!(step, Step::Call(TogetherCall::Write(_)));
        let answer = match step {
            Step::Call(TogetherCall::One(0, call)) => return RowStep::Call(*call),
            Step::Call(TogetherCall::Write(mut writes)) if writes.len() == 1 => {
                let (_, key, change, on) = writes.remove(0);
                return RowStep::Call(Call::WriteNew { key, change, on });
            }
            Step::Call(other) => panic!("a transaction of one write asks for {other:?}"),
            Step::Done(Concluded::Done) => WriteAnswer::Done,
            Step::Done(Concluded::Unknown) => WriteAnswer::Unknown,
            // In `old` there are none, and nothing was changed either.
            Step::Done(Concluded::Later | Concluded::Unsupported) => WriteAnswer::Later,
            Step::Done(Concluded::Refused) => WriteAnswer::Refused,
            Step::Done(Concluded::Cancelled(mut causes)) => match causes.pop() {
                Some(Cause::Unmet(row)) => WriteAnswer::Unmet(row),
                other => panic!("it is cancelled because of {other:?}"),
            },
        };
        RowStep::Done(Answer::Wrote(answer))
    }
}

fn answered<A>(step: RowStep<A>, answer: impl FnOnce(A) -> Answer) -> RowStep<Answer> {
    match step {
        RowStep::Call(call) => RowStep::Call(call),
        RowStep::Done(done) => RowStep::Done(answer(done)),
    }
}

fn got(step: RowStep<Got>) -> RowStep<Answer> {
    answered(step, |got| match got {
        Got::Row(row) => Answer::Saw(row, None),
        Got::Save(row, resave) => Answer::Saw(Some(row), Some(resave)),
        Got::Refused => panic!("nobody is offline here"),
    })
}

fn queried(step: RowStep<Queried>) -> RowStep<Answer> {
    answered(step, |queried| match queried {
        Queried::Rows(mut rows, None) => Answer::Saw(rows.pop(), None),
        Queried::Rows(_, Some(_)) => panic!("there is one key"),
        Queried::Refused => panic!("nobody is offline here"),
    })
}

type Walking = crossfade::protocol::Step<ScanCall, Walked>;

fn scanned(step: Walking) -> RowStep<Answer> {
    let query = |after| Query {
        range: range(),
        reverse: false,
        after,
        limit: 1,
    };
    match step {
        Walking::Call(ScanCall::Old { after, .. }) => RowStep::Call(Call::QueryOld(query(after))),
        Walking::Call(ScanCall::New { after, .. }) => RowStep::Call(Call::QueryNew(query(after))),
        Walking::Call(ScanCall::ReadOld(_)) => RowStep::Call(Call::ReadOld(key())),
        Walking::Call(ScanCall::ReadNew(_)) => RowStep::Call(Call::ReadNew(key())),
        Walking::Done(Walked::Rows(rows, None)) => RowStep::Done(Answer::Scanned(rows)),
        Walking::Done(other) => panic!("a scan of one key ends with {other:?}"),
    }
}

fn wrote(step: RowStep<WriteAnswer>) -> RowStep<Answer> {
    answered(step, Answer::Wrote)
}

fn repaired(step: RowStep<Repaired>) -> RowStep<Answer> {
    answered(step, |repaired| match repaired {
        Repaired::Mended | Repaired::Deleted => Answer::Mended,
        Repaired::Copied(_) | Repaired::Owned | Repaired::Same | Repaired::Extra => Answer::Nothing,
    })
}

fn nothing<A>(step: RowStep<A>) -> RowStep<Answer> {
    answered(step, |_| Answer::Nothing)
}

/// Whether a call writes to the new store.
pub fn writes_new(call: &Call) -> bool {
    matches!(call, Call::WriteNew { .. })
}

/// Whether a call writes at all.
pub fn writes(call: &Call) -> bool {
    writes_new(call) || matches!(call, Call::WriteOld(_) | Call::DeleteOld(_))
}
