//! Transactions over rows of one table or of several.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inner::{Begun, TableInner};
use super::judged::Updating;
use super::operation::{Operation, Sent, Tried, write_together};
use super::{Shim, Ttl};
use crate::clock::unix_seconds;
use crate::codec::canonical;
use crate::error::{Effect, Error, Kind, Result};
use crate::express::{ConditionExpression, UpdateExpression};
use crate::model::{Judged, Key, Mutation, Row, Then};
use crate::protocol::row::{
    Cause, Concluded, ReadTogether, SeenTogether, TogetherCall, TogetherReply, Write, WriteTogether,
};
use crate::protocol::{Machine, Phase, Step};
use crate::store::{Changed, Reading, Together};

/// One write of a transaction.
#[derive(Clone, Debug)]
pub struct TransactWrite {
    /// The table, by its name in the plan.
    pub table: String,
    /// What is written.
    pub writes: Writes,
    /// On which condition.
    pub on: Option<ConditionExpression>,
}

/// What one write of a transaction does.
#[derive(Clone, Debug)]
pub enum Writes {
    /// Puts the whole row.
    Put(Row, Ttl),
    /// Changes the row as an update of its item says.
    Update(Key, UpdateExpression),
    /// Deletes the row.
    Delete(Key),
    /// Nothing: the condition has to hold.
    Check(Key),
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transacted {
    /// All of it is written.
    Done,
    /// Nothing is written: one for each of its writes.
    Cancelled(Vec<Cancelled>),
}

/// What one write had to do with a transaction's being cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing.
    No,
    /// Its condition isn't met, by this row.
    Unmet(Option<Row>),
    /// It can't be done to the item that is there, in DynamoDB's words.
    Invalid(String),
}

/// The tables of a transaction, and the place of each.
#[derive(Default)]
struct Tables {
    begun: Vec<(Arc<TableInner>, Begun)>,
    places: BTreeMap<String, usize>,
}

impl Tables {
    /// The place of a table, which is joined if it is a new one.
    async fn place(&mut self, shim: &Shim, name: &str) -> Result<usize> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let table = shim.table(name)?;
        let begun = table.begun().await?;
        self.begun.push((table.inner.clone(), begun));
        self.places.insert(name.to_owned(), self.begun.len() - 1);
        Ok(self.begun.len() - 1)
    }

    fn begin(&self) -> Result<Vec<Operation>> {
        let begun = self.begun.iter();
        let begin = |(inner, begun): &(Arc<TableInner>, Begun)| {
            let mut operation = Operation::begin(inner, &begun.joined, begun.deadline)?;
            // But for what is brought over in `copy`, an old row is only looked at.
            operation.shows = operation.phase() != Phase::Copy;
            Ok(operation)
        };
        begun.map(begin).collect()
    }
}

impl Shim {
    /// Writes all of it or nothing.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a write that doesn't fit its table, and for the same row twice; [`Kind::Unsupported`] in `old`,
    /// where the old store has no transactions; a deadline, a store or a lease, as in [`super::Table::put_if`], whose effect
    /// may be unknown. In `bridge` every key has to be in the new
    /// store, and in `switch` those whose old value counts: else it is refused ([`Kind::Transient`]), and tried again
    /// until the deadline.
    pub async fn transact(&self, writes: Vec<TransactWrite>) -> Result<Transacted> {
        let mut tables = Tables::default();
        let mut wanted = Vec::with_capacity(writes.len());
        for write in writes {
            let place = tables.place(self, &write.table).await?;
            let (inner, begun) = &tables.begun[place];
            let updating = updating(inner, begun, write)?;
            let is_known = |(other, known): &(usize, Updating)| {
                *other == place && known.key() == updating.key()
            };
            if wanted.iter().any(is_known) {
                let message = "Transaction request cannot include multiple operations on one item";
                return Err(Error::new(Kind::Invalid, message));
            }
            wanted.push((place, updating));
        }
        let Some((first, begun)) = tables.begun.first() else {
            return Ok(Transacted::Done);
        };
        let (mut pauses, deadline) = (first.pauses(), begun.deadline);
        let mut waited = None;
        loop {
            let mut operations = tables.begin()?;
            let concluded = write_all(&mut operations, &wanted, waited.is_some()).await;
            let concluded = concluded.map_err(|error| instead_of_late(error, waited.take()))?;
            let causes = match concluded {
                Concluded::Done => {
                    let mut operations = operations.iter();
                    operations.try_for_each(Operation::may_say_done)?;
                    return Ok(Transacted::Done);
                }
                Concluded::Cancelled(causes) => causes,
                Concluded::Later => {
                    let later = later(&operations);
                    drop(operations);
                    if !pauses.wait(deadline).await {
                        return Err(later);
                    }
                    waited = Some(later);
                    continue;
                }
                Concluded::Unknown => return Err(first.unknown()),
                Concluded::Unsupported => return Err(without_transactions(&operations)),
                Concluded::Refused => return Err(first.offline()),
            };
            let cancelled = causes.into_iter().map(|cause| match cause {
                Cause::None => Cancelled::No,
                Cause::Unmet(row) => Cancelled::Unmet(row),
                Cause::Wrong(message) => Cancelled::Invalid(message),
            });
            return Ok(Transacted::Cancelled(cancelled.collect()));
        }
    }

    /// Reads rows as they were together at one moment, in the order of the keys.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a key that doesn't fit its table; [`Kind::Unsupported`] in `old`; a deadline, a store or a
    /// lease, as in [`super::Table::get`]. In `bridge` and `switch` a
    /// key that hasn't moved refuses it ([`Kind::Transient`]), and is waited for until the deadline.
    pub async fn transact_get(&self, keys: Vec<(String, Key)>) -> Result<Vec<Option<Row>>> {
        let mut tables = Tables::default();
        let mut wanted = Vec::with_capacity(keys.len());
        for (name, key) in keys {
            let place = tables.place(self, &name).await?;
            let (inner, begun) = &tables.begun[place];
            inner.is_of_rows(&begun.joined, Some(&key))?;
            let key = canonical::key(begun.joined.transform.target(), key);
            wanted.push((place, key));
        }
        let Some((first, begun)) = tables.begun.first() else {
            return Ok(Vec::new());
        };
        let (mut pauses, deadline) = (first.pauses(), begun.deadline);
        let mut waited = None;
        loop {
            let mut operations = tables.begin()?;
            let seen = read_all(&mut operations, &wanted).await;
            match seen.map_err(|error| instead_of_late(error, waited.take()))? {
                SeenTogether::Rows(rows) => {
                    operations.iter().try_for_each(Operation::check)?;
                    return Ok(rows);
                }
                SeenTogether::Later => {
                    let later = later(&operations);
                    drop(operations);
                    if !pauses.wait(deadline).await {
                        return Err(later);
                    }
                    waited = Some(later);
                }
                SeenTogether::Unsupported => return Err(without_transactions(&operations)),
                SeenTogether::Refused => return Err(first.offline()),
            }
        }
    }
}

/// What a write of a transaction is to the protocol.
fn updating(inner: &Arc<TableInner>, begun: &Begun, write: TransactWrite) -> Result<Updating> {
    let joined = &begun.joined;
    let judged = |key: Key, then: Then, on: ConditionExpression| -> Result<Updating> {
        let rule = joined.items()?.rule(key.is_static(), Some(on), None)?;
        Ok(Updating::Judged(Judged { key, rule, then }))
    };
    let updating = match (write.writes, write.on) {
        (Writes::Put(row, ttl), on) => {
            let row = inner.fitting(joined, row, ttl)?;
            match on {
                None => Updating::Plain(Mutation::Put(row)),
                Some(on) => judged(row.key.clone(), Then::Put(row), on)?,
            }
        }
        (Writes::Update(key, update), on) => inner.updating(begun, &key, update, on)?,
        (Writes::Delete(key), on) => {
            inner.is_of_rows(joined, Some(&key))?;
            match on {
                None => Updating::Plain(Mutation::Delete(key)),
                Some(on) => judged(key, Then::Delete, on)?,
            }
        }
        (Writes::Check(key), Some(on)) => {
            inner.is_of_rows(joined, Some(&key))?;
            judged(key, Then::Nothing, on)?
        }
        (Writes::Check(_), None) => {
            return Err(Error::new(Kind::Invalid, "a check has no condition"));
        }
    };
    let target = joined.transform.target();
    Ok(match updating {
        Updating::Plain(mutation) => Updating::Plain(canonical::mutation(target, mutation)),
        Updating::Judged(judged) => Updating::Judged(canonical::judged(target, judged)),
    })
}

async fn write_all(
    operations: &mut [Operation],
    wanted: &[(usize, Updating)],
    after_later: bool,
) -> Result<Concluded> {
    let mut writes = Vec::with_capacity(wanted.len());
    for (place, updating) in wanted {
        let operation = &operations[*place];
        operation.may_write(|joined| joined.keeps(updating.key()))?;
        let (phase, now) = (operation.phase(), unix_seconds());
        let write = match updating {
            Updating::Plain(mutation) => Write::new(phase, mutation.clone(), now),
            Updating::Judged(judged) => Write::judged(phase, judged.clone(), now),
        };
        let write = match after_later {
            true => write.after_later(),
            false => write,
        };
        writes.push((phase, write));
    }
    let mut machine = WriteTogether::new(writes);
    let mut step = machine.begin();
    loop {
        let call = match step {
            Step::Call(call) => call,
            Step::Done(concluded) => return Ok(concluded),
        };
        let reply = match call {
            TogetherCall::One(at, call) => {
                let operation = &mut operations[wanted[at].0];
                TogetherReply::One(operation.call(*call, Reading::Strong).await?)
            }
            TogetherCall::Write(planned) => {
                let joined: Vec<_> = operations.iter().map(|one| one.joined.clone()).collect();
                let changes = planned.iter().map(|(at, key, change, on)| Together {
                    table: joined[wanted[*at].0].transform.target(),
                    key,
                    change,
                    on,
                });
                let changes: Vec<_> = changes.collect();
                send(operations, &changes).await?
            }
            TogetherCall::Read => TogetherReply::Unknown,
        };
        step = machine.step(reply);
    }
}

/// Sends a transaction: again while it certainly hasn't happened and there is time left.
async fn send(operations: &mut [Operation], changes: &[Together<'_>]) -> Result<TogetherReply> {
    let Some(mut pauses) = operations.first().map(|first| first.table.pauses()) else {
        return Ok(TogetherReply::Unknown);
    };
    loop {
        let answers = match write_together(operations, changes).await? {
            Tried::Sent(Sent::Done(answers)) => answers,
            Tried::Sent(Sent::Unknown(error)) => {
                tracing::debug!("the reply to a transaction was lost: {error}");
                return Ok(TogetherReply::Unknown);
            }
            Tried::NotYet(error) => match operations.first() {
                Some(first) if first.pause(&mut pauses).await => continue,
                Some(_) | None => return Err(error),
            },
        };
        let met = answers.into_iter().map(|answer| match answer {
            Changed::Refused(row) => Some(row),
            Changed::Written | Changed::Told(_) => None,
        });
        let met: Vec<_> = met.collect();
        return Ok(match met.iter().all(Option::is_none) {
            true => TogetherReply::Written,
            false => TogetherReply::Refused(met),
        });
    }
}

async fn read_all(operations: &mut [Operation], wanted: &[(usize, Key)]) -> Result<SeenTogether> {
    let keys = wanted.iter();
    let keys = keys.map(|(place, key)| (operations[*place].phase(), key.clone()));
    let mut machine = ReadTogether::new(keys.collect(), unix_seconds());
    let mut step = machine.begin();
    loop {
        let call = match step {
            Step::Call(call) => call,
            Step::Done(seen) => return Ok(seen),
        };
        let reply = match call {
            TogetherCall::One(at, call) => {
                let operation = &mut operations[wanted[at].0];
                TogetherReply::One(operation.call(*call, Reading::Strong).await?)
            }
            TogetherCall::Read => {
                let joined: Vec<_> = operations.iter().map(|one| one.joined.clone()).collect();
                let keys = wanted.iter();
                let keys = keys.map(|(place, key)| (joined[*place].transform.target(), key));
                let keys: Vec<_> = keys.collect();
                TogetherReply::Rows(operations[0].read_together(&keys).await?)
            }
            TogetherCall::Write(_) => TogetherReply::Unknown,
        };
        step = machine.step(reply);
    }
}

/// What was waited for says more than that the time is over.
fn instead_of_late(error: Error, waited: Option<Error>) -> Error {
    match (error.kind(), error.known_effect(), waited) {
        (Kind::Timeout, Effect::None, Some(waited)) => waited,
        (_, _, _) => error,
    }
}

fn phases(operations: &[Operation]) -> String {
    let phases = operations.iter().map(|operation| {
        let (table, phase) = (&operation.table.name, operation.phase());
        format!("{table} in `{phase}`")
    });
    phases.collect::<Vec<_>>().join(", ")
}

fn later(operations: &[Operation]) -> Error {
    let message = "this transaction needs keys that the new store doesn't have yet";
    Error::new(Kind::Transient, message)
        .with_effect(Effect::None)
        .with_context("tables", phases(operations))
        .with_help("try again: it will do from `copy` on")
}

fn without_transactions(operations: &[Operation]) -> Error {
    let message = "the old store has no transactions";
    Error::new(Kind::Unsupported, message)
        .with_context("tables", phases(operations))
        .with_help("they work from `copy` on, and from `bridge` on for keys that have moved")
}
