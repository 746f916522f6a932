//! Carries the calls of the machines of single rows to the stores, for every tool. Applications have a driver of
//! their own, [`crate::shim`], whose operations have deadlines.
//!
//! No rule of the protocol is here, and three of driving:
//!
//! - A tool's stores try again by themselves ([`crate::layer::Retry`]), so that an error which comes this far ends the
//!   work on its row. Nothing is lost by that: the next run reads what has become of it.
//! - A machine that isn't at its end after [`MOST_CALLS`] is given up: every refusal is another writer's success,
//!   so something changes the row all the time, or the store answers without doing.
//! - A call that no tool may make is an error, and nothing is sent.

use crate::error::{Error, Kind, Result};
use crate::model::{Condition, Fold, Key, Mark, Row, Value};
use crate::protocol::counter::{self, CounterItem, Folded, Rules, Totals, totals_of};
use crate::protocol::row::{self, Copied, CopyRow};
use crate::protocol::{Machine, Step};
use crate::schema::Table;
use crate::store::{Changed, Old, Reading, Store, WriteOutcome, WriteOutcomes};
use crate::transform::Transform;

/// Calls that one row may take.
pub(crate) const MOST_CALLS: u32 = 300;

/// Carries out a machine's calls until it has its answer; `None` if it has none after [`MOST_CALLS`].
///
/// # Errors
/// What `carry` failed with.
pub(crate) async fn try_drive<M: Machine, F>(
    mut machine: M,
    carry: impl Fn(M::Call) -> F,
) -> Result<Option<M::Answer>>
where
    F: Future<Output = Result<M::Reply>>,
{
    let mut step = machine.begin();
    for _ in 0..MOST_CALLS {
        match step {
            Step::Done(answer) => return Ok(Some(answer)),
            Step::Call(call) => step = machine.step(carry(call).await?),
        }
    }
    Ok(None)
}

/// The same, for a tool that can't do without the answer.
///
/// # Errors
/// What `carry` failed with; [`Kind::Unknown`] if there is no answer after [`MOST_CALLS`].
pub(crate) async fn drive<M: Machine, F>(
    machine: M,
    carry: impl Fn(M::Call) -> F,
) -> Result<M::Answer>
where
    F: Future<Output = Result<M::Reply>>,
{
    try_drive(machine, carry).await?.ok_or_else(no_end)
}

/// What a row that isn't settled after [`MOST_CALLS`] ends with.
pub(crate) fn no_end() -> Error {
    let message = format!("a row isn't settled after {MOST_CALLS} calls");
    Error::new(Kind::Unknown, message)
        .with_help("start again; if it stays so, something else changes it all the time")
}

/// What a call ends with that no tool may make.
pub(crate) fn impossible() -> Error {
    Error::new(Kind::Unknown, "a tool asked for what only applications do")
}

/// Both stores of a table, as a tool reaches them.
#[derive(Clone, Copy)]
pub(crate) struct BothStores<'a> {
    /// The store that is left.
    pub old: &'a Old,
    /// The store that is moved to.
    pub new: &'a dyn Store,
    /// From the old table to the new one.
    pub transform: &'a Transform,
}

impl<'a> BothStores<'a> {
    /// The row that has this key in the old store.
    pub fn row(&self, source: &'a Key) -> Sides<'a> {
        Sides {
            old: Some((*self, source)),
            new: self.new,
            target: self.transform.target(),
        }
    }

    /// A row of the old store in the new table's form, if there is one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new table can't hold it; the store's.
    pub async fn old_row(&self, source: &Key) -> Result<Option<Row>> {
        let table = self.transform.source();
        let row = self.old.0.read(table, source, Reading::Strong).await?;
        row.map(|row| self.transform.apply(row)).transpose()
    }

    /// Copies a row, or completes its partial item.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the new store can't hold it; the stores'.
    pub async fn copy(&self, source: &Key, target: &Key) -> Result<Copied> {
        let row = self.row(source);
        drive(CopyRow::of_key(target.clone()), async |call| {
            row.row(call).await
        })
        .await
    }

    /// Folds a counter row.
    ///
    /// # Errors
    /// As of [`BothStores::copy`].
    pub async fn fold(&self, rules: Rules, source: &Key, target: &Key) -> Result<Folded> {
        let row = self.row(source);
        drive(counter::FoldCounters::new(rules), |call| {
            row.counter(call, target)
        })
        .await
    }
}

/// One row, as a tool reaches it.
pub(crate) struct Sides<'a> {
    /// Where its old row is; `None` for a tool that has no old store.
    pub old: Option<(BothStores<'a>, &'a Key)>,
    /// The store that is moved to.
    pub new: &'a dyn Store,
    /// Its table.
    pub target: &'a Table,
}

impl Sides<'_> {
    async fn old_row(&self) -> Result<Option<Row>> {
        let (stores, source) = self.old.as_ref().ok_or_else(impossible)?;
        stores.old_row(source).await
    }

    /// Carries out a call about a row.
    ///
    /// # Errors
    /// The stores'; a call that no tool may make.
    pub async fn row(&self, call: row::Call) -> Result<row::Reply> {
        Ok(match call {
            row::Call::ReadNew(key) => {
                row::Reply::Row(self.new.read(self.target, &key, Reading::Strong).await?)
            }
            row::Call::ReadOld(_) => row::Reply::Row(self.old_row().await?),
            row::Call::WriteNew { key, change, on } => {
                match self
                    .new
                    .update_item(self.target, &key, &change, &on)
                    .await?
                {
                    Changed::Written => row::Reply::Written,
                    Changed::Told(item) => row::Reply::Told(item),
                    Changed::Refused(item) => row::Reply::Refused(item),
                }
            }
            row::Call::WriteOld(_)
            | row::Call::QueryNew(_)
            | row::Call::QueryOld(_)
            | row::Call::DeleteOld(_)
            | row::Call::WriteAndTell { .. } => return Err(impossible()),
        })
    }

    /// Carries out a call about the counter row that has this key in the new store.
    ///
    /// # Errors
    /// As of [`Sides::row`].
    pub async fn counter(
        &self,
        call: counter::CounterCall,
        key: &Key,
    ) -> Result<counter::CounterReply> {
        Ok(match call {
            counter::CounterCall::ReadNew => {
                let row = self.new.read(self.target, key, Reading::Strong).await?;
                counter::CounterReply::New(row.map(CounterItem::of).transpose()?)
            }
            counter::CounterCall::ReadOld => {
                let row = self.old_row().await?;
                counter::CounterReply::Old(row.as_ref().map(totals_of).transpose()?)
            }
            counter::CounterCall::Insert(totals) => {
                let row = first_copy(key.clone(), totals);
                written(
                    self.new
                        .put(self.target, &[row], &Condition::absent())
                        .await,
                )?
            }
            counter::CounterCall::Fold(moves) => {
                let key = key.clone();
                let fold = Fold { key, moves };
                written(self.new.fold(self.target, vec![fold]).await)?
            }
            counter::CounterCall::Add { .. } | counter::CounterCall::AddAndTell { .. } => {
                return Err(impossible());
            }
        })
    }
}

/// The item of a counter row whose totals are all inside it.
pub(crate) fn first_copy(key: Key, totals: Totals) -> Row {
    let cells = totals.iter().map(|total| total.map(Value::BigInt));
    let mut row = Row::new(key, cells.collect());
    row.watermarks = totals;
    row.mark = Some(Mark::Copied);
    row
}

/// What a write of one row came to.
///
/// # Errors
/// The store's.
pub(crate) fn written(outcomes: WriteOutcomes) -> Result<counter::CounterReply> {
    match outcomes.rows.into_iter().next() {
        Some(Ok(WriteOutcome::Written)) => Ok(counter::CounterReply::Written),
        Some(Ok(WriteOutcome::Refused)) => Ok(counter::CounterReply::Refused),
        Some(Err(error)) => Err(error),
        None => Ok(counter::CounterReply::Unknown),
    }
}
