//! Driving the protocol's machines against the stores.

use std::cmp::Ordering;
use std::sync::Arc;

use futures::future::join_all;

use super::ResaveMode;
use super::inner::{Begun, TableInner};
use super::operation::{Operation, Sent, StoreWrite, WhichStore};
use super::queue::out_of_range;
use crate::clock::unix_seconds;
use crate::codec::canonical;
use crate::display;
use crate::error::{Effect, Error, Kind, Result};
use crate::item::keys;
use crate::model::{
    ClusteringRange, Edit, ItemState, Key, Mark, Mutation, Query, Row, Update, Value,
};
use crate::protocol::row::{
    self, Call, ClusteringOrder, DeleteProgress, DeleteRange, Get, Got, Queried, QueryRange, Reply,
    Write, WriteAnswer,
};
use crate::protocol::{Machine, Phase, Step, counter};
use crate::schema::{Role, Table as Schema};
use crate::store::{Changed, QueryPage, Reading};
use crate::transform::Transform;

/// Keys that are listed at once to be deleted.
const DELETED_AT_ONCE: usize = 100;
/// Of these, deleted beside the one whose turn it is.
const DELETED_BESIDE: usize = 15;

/// What came of a write that has a condition of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Written.
    Done,
    /// The condition isn't met, by this row. Nothing was changed.
    Unmet(Option<Row>),
}

/// What came of a write that may have a condition, and may have been asked for the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Written. The row before or after, if it was asked for and there is one.
    Done(Option<Row>),
    /// The condition isn't met, by this row. Nothing was changed.
    Unmet(Option<Row>),
}

/// A page of a range of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsPage {
    /// The rows: fewer than were asked for, or none, if the deadline came first (there may be any number of deleted
    /// rows before the next one).
    pub rows: Vec<Row>,
    /// The key after which the next page begins, if there may be more. It stays good in every phase and
    /// in another process.
    pub next: Option<Key>,
}

impl Operation {
    pub async fn get(mut self, key: Key) -> Result<Option<Row>> {
        self.shows = true;
        let key = canonical::key(self.joined.transform.target(), key);
        let mut get = Get::new(self.phase(), key, unix_seconds(), self.joined.rows_expire());
        let reading = self.table.settings.reads;
        let got = self.drive(&mut get, reading).await?;
        self.check()?;
        match got {
            Got::Row(row) => Ok(row),
            Got::Save(row, resave) => {
                match (&self.why_not_kept, self.table.settings.resave) {
                    (Some(error), _) => self.not_resaved(error),
                    (None, ResaveMode::Inline) => self.resave(*resave).await,
                    (None, ResaveMode::Background) => self.resave_behind(*resave),
                }
                Ok(Some(row))
            }
            Got::Refused => Err(self.table.offline()),
        }
    }

    /// Saves behind the caller's back; the phase is held until that is over.
    fn resave_behind(self, resave: row::Resave) {
        match self.table.resaves.clone().try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(async move {
                self.resave(resave).await;
                drop(permit);
            })),
            Err(_) => count_resave(&self.table, "skipped"),
        }
    }

    async fn resave(mut self, mut resave: row::Resave) {
        self.saves = true;
        let outcome = match self.drive_resave(&mut resave).await {
            Ok(outcome) => outcome,
            Err(error) => return self.not_resaved(&error),
        };
        count_resave(&self.table, outcome);
    }

    fn not_resaved(&self, error: &Error) {
        tracing::debug!("{}: a row wasn't re-saved: {error}", self.table.name);
        count_resave(&self.table, "failed");
    }

    async fn drive_resave(&mut self, resave: &mut row::Resave) -> Result<&'static str> {
        let mut step = resave.begin();
        let mut outcome = "saved";
        let mut pauses = self.table.pauses();
        while let Step::Call(call) = step {
            let reply = self.call(call, Reading::Strong).await?;
            match &reply {
                Reply::Refused(_) => outcome = "refused",
                Reply::Written | Reply::Told(_) | Reply::Row(_) | Reply::Page(_) => {
                    outcome = "saved"
                }
                Reply::Unknown => drop(self.pause(&mut pauses).await),
            }
            step = resave.step(reply);
        }
        Ok(outcome)
    }

    pub async fn query(mut self, query: Query) -> Result<RowsPage> {
        self.shows = true;
        let query = canonical::query(self.joined.transform.target(), query);
        let order = TableOrder(self.joined.transform.clone());
        let expire = self.joined.rows_expire();
        let mut query = QueryRange::new(self.phase(), query, order, unix_seconds(), expire);
        let queried = match self.drive(&mut query, Reading::Strong).await {
            Ok(queried) => queried,
            Err(error) if self.has_time().is_ok() => return Err(error),
            Err(error) => query.so_far().ok_or(error)?,
        };
        self.check()?;
        match queried {
            Queried::Rows(rows, next) => Ok(RowsPage { rows, next }),
            Queried::Refused => Err(self.table.offline()),
        }
    }

    /// Deletes what is left of a range, and tells how far it has come meanwhile: the caller that drops it knows that too.
    pub async fn delete_range(
        mut self,
        range: ClusteringRange,
        progress: &mut DeleteProgress,
    ) -> Result<()> {
        // It takes their keys alone.
        self.shows = true;
        let range = canonical::range(self.joined.transform.target(), range);
        let order = TableOrder(self.joined.transform.clone());
        self.may_write(|joined| joined.keeps_partition(&range.partition))?;
        let mut delete = DeleteRange::new(
            self.phase(),
            range,
            progress.clone(),
            order,
            DELETED_AT_ONCE,
            unix_seconds(),
        );
        let before = progress.deleted;
        let ended = self.drive_beside(&mut delete, progress).await;
        let ended = ended.and_then(|outcome| self.written(outcome));
        let error = match ended {
            Ok(Returned::Done(_)) => return Ok(()),
            Ok(Returned::Unmet(_)) => self.table.unknown(),
            Err(error) => error,
        };
        Err(self.partly(error, before, progress))
    }

    /// Deletes the keys of a page several at a time.
    async fn drive_beside(
        &mut self,
        delete: &mut DeleteRange<TableOrder>,
        progress: &mut DeleteProgress,
    ) -> Result<WriteAnswer> {
        let mut step = delete.begin();
        loop {
            progress.clone_from(delete.progress());
            let call = match step {
                Step::Call(call) => call,
                Step::Done(outcome) => return Ok(outcome),
            };
            let others = delete.beside(DELETED_BESIDE);
            let others = others.into_iter().map(|(key, mut write)| {
                let mut part = self.beside();
                async move { (key, part.drive(&mut write, Reading::Strong).await) }
            });
            let others: Vec<_> = others.collect();
            let together = !others.is_empty();
            let (reply, others) =
                futures::join!(self.call(call, Reading::Strong), join_all(others));
            let mut deleted = Vec::with_capacity(others.len());
            for (key, outcome) in others {
                match outcome {
                    Ok(WriteAnswer::Done) => deleted.push(key),
                    Ok(other) => return Ok(other),
                    // Some of the others were deleted.
                    Err(error) => return Err(error.with_effect(Effect::Unknown)),
                }
            }
            delete.deleted_beside(deleted);
            let reply = reply.map_err(|error| match together {
                true => error.with_effect(Effect::Unknown),
                false => error,
            })?;
            step = delete.step(reply);
        }
    }

    /// What ended the deletion of a range, and how far it has come.
    fn partly(&self, error: Error, before: u64, progress: &DeleteProgress) -> Error {
        let Some(key) = &progress.up_to else {
            return error;
        };
        let table = self.joined.transform.target();
        let count = progress.deleted;
        let error = match count > before {
            true => error.with_effect(Effect::Unknown),
            false => error,
        };
        error
            .with_context("deleted so far", format!("{count} rows"))
            .with_context("up to", display::key(table, key))
            .with_help(
                "go on after this key with the same `RangeDeletion`; or delete the range again, which looks \
                at what is deleted already once more",
            )
    }

    /// What an outcome means to the caller. [`WriteAnswer::Later`] is an error that passes.
    fn written(&self, outcome: WriteAnswer) -> Result<Returned> {
        match outcome {
            WriteAnswer::Done => self.may_say_done().map(|()| Returned::Done(None)),
            WriteAnswer::Told(row) => self.may_say_done().map(|()| Returned::Done(row)),
            WriteAnswer::Unmet(row) => self.may_say_done().map(|()| Returned::Unmet(row)),
            WriteAnswer::Wrong(message) => Err(Error::new(Kind::Invalid, message)),
            WriteAnswer::Unknown => Err(self.table.unknown()),
            WriteAnswer::Later => Err(Error::new(
                Kind::Transient,
                format!(
                    "this write needs the old value, which can't be changed in phase `{}`",
                    self.phase()
                ),
            )
            .with_context("table", self.table.name.as_str())
            .with_help("try again: it will do from `copy` on")),
            WriteAnswer::Refused => Err(self.table.offline()),
        }
    }

    async fn drive<M: Machine<Call = Call, Reply = Reply>>(
        &mut self,
        machine: &mut M,
        reading: Reading,
    ) -> Result<M::Answer> {
        // Only the first look at the new store may be an eventual one: later ones decide something.
        let mut reading = reading;
        let mut step = machine.begin();
        loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(answer) => return Ok(answer),
            };
            let reply = self.call(call, std::mem::take(&mut reading)).await?;
            step = machine.step(reply);
        }
    }

    /// Carries a call out. What is read of the old store comes as the new one would have it.
    ///
    /// # Errors
    /// It certainly changed nothing.
    pub async fn call(&mut self, call: Call, reading: Reading) -> Result<Reply> {
        self.has_time()?;
        match call {
            Call::ReadNew(key) => Ok(Reply::Row(self.read_new(&key, reading).await?)),
            Call::ReadOld(key) => {
                // Where it is frozen, what was read may be brought over.
                self.saves |= self.phase() == Phase::Copy;
                metrics::counter!("crossfade_fallbacks_total", "table" => self.table.name.clone())
                    .increment(1);
                Ok(Reply::Row(self.read_old(&key).await?))
            }
            Call::WriteNew { key, change, on } => {
                self.joined.keeps(&key)?;
                let request = StoreWrite::Change(&key, &change, &on);
                self.write(WhichStore::New, &request).await.map(reply)
            }
            Call::WriteAndTell {
                key,
                change,
                on,
                returns,
            } => {
                self.joined.keeps(&key)?;
                let request = StoreWrite::ChangeAndTell(&key, &change, &on, returns);
                self.write(WhichStore::New, &request).await.map(reply)
            }
            Call::WriteOld(mutation) => {
                let mutation = old_mutation(&self.joined.transform, mutation);
                let sent = self
                    .write(WhichStore::Old, &StoreWrite::Mutation(&mutation))
                    .await?;
                match reply(sent) {
                    Reply::Refused(Some(row)) => {
                        // Where the old store is still written to, it is only shown.
                        self.shows = true;
                        Ok(Reply::Refused(Some(self.moved(row)?)))
                    }
                    reply => Ok(reply),
                }
            }
            Call::QueryNew(query) => Ok(page(self.query_page(WhichStore::New, &query).await?)),
            Call::QueryOld(query) => {
                let mut listed = self.query_page(WhichStore::Old, &query).await?;
                let rows = listed.rows.into_iter().map(|row| self.moved(row));
                listed.rows = rows.collect::<Result<_>>()?;
                Ok(page(listed))
            }
            Call::DeleteOld(range) => {
                let request = StoreWrite::Delete(&range);
                self.write(WhichStore::Old, &request).await.map(reply)
            }
        }
    }

    async fn read_old(&mut self, key: &Key) -> Result<Option<Row>> {
        let row = self.read(WhichStore::Old, key, Reading::Strong).await?;
        row.map(|row| self.moved(row)).transpose()
    }

    /// A row of the old store as the new one would have it.
    pub fn moved(&mut self, row: Row) -> Result<Row> {
        let frozen = self.joined.frozen_at.get();
        let (row, kept) = self.joined.transform.look_at(row, frozen)?;
        match kept.and_then(|()| self.joined.keeps(&row.key)) {
            Err(error) if self.shows => self.why_not_kept = Some(error),
            kept => kept?,
        }
        Ok(row)
    }

    async fn read_new(&self, key: &Key, reading: Reading) -> Result<Option<Row>> {
        let mut item = self.read(WhichStore::New, key, reading).await?;
        let mut state = ItemState::of(item.as_ref(), unix_seconds());
        if reading == Reading::Eventual && state != ItemState::Row {
            item = self.read(WhichStore::New, key, Reading::Strong).await?;
            state = ItemState::of(item.as_ref(), unix_seconds());
        }
        let found = match state {
            ItemState::Row => "row",
            ItemState::Tombstone => "tombstone",
            ItemState::Partial => "partial",
            ItemState::Expired => "expired",
            ItemState::Absent => "absent",
        };
        let table = self.table.name.clone();
        metrics::counter!("crossfade_new_reads_total", "table" => table, "found" => found)
            .increment(1);
        Ok(item)
    }

    pub async fn count(mut self, key: Key) -> Result<Vec<Option<i64>>> {
        let key = canonical::key(self.joined.transform.target(), key);
        let mut count = counter::Count::new(self.phase());
        let mut step = count.begin();
        let counted = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(counted) => break counted,
            };
            step = count.step(self.read_counter(call, &key).await?);
        };
        self.check()?;
        self.totals(counted)
    }

    /// One total for each column.
    pub fn totals(&self, counted: counter::Counted) -> Result<counter::Totals> {
        let width = self.joined.transform.target().cells().len();
        match counted {
            counter::Counted::Total(mut totals) => {
                totals.resize(width, None);
                Ok(totals)
            }
            counter::Counted::OutOfRange { total, .. } => {
                Err(out_of_range(total).with_context("table", self.table.name.as_str()))
            }
            counter::Counted::Refused => Err(self.table.offline()),
        }
    }

    pub async fn read_counter(
        &mut self,
        call: counter::CounterCall,
        key: &Key,
    ) -> Result<counter::CounterReply> {
        match call {
            counter::CounterCall::ReadNew => {
                let item = self.read_new(key, Reading::Strong).await?;
                Ok(counter::CounterReply::New(item.map(|row| {
                    counter::CounterItem {
                        totals: totals(&row),
                        watermarks: row.watermarks,
                    }
                })))
            }
            counter::CounterCall::ReadOld => {
                let row = self.read_old(key).await?;
                Ok(counter::CounterReply::Old(row.map(|row| totals(&row))))
            }
            counter::CounterCall::Insert(_)
            | counter::CounterCall::Fold(_)
            | counter::CounterCall::Add { .. }
            | counter::CounterCall::AddAndTell { .. } => Ok(counter::CounterReply::Refused),
        }
    }
}

impl TableInner {
    /// Writes a row. A refusal that passes is tried again, each time under the phase of that moment.
    pub async fn write(self: &Arc<Self>, begun: &Begun, mutation: Mutation) -> Result<Written> {
        let mutation = canonical::mutation(begun.joined.transform.target(), mutation);
        let write = |phase| Write::new(phase, mutation.clone(), unix_seconds());
        Ok(match self.write_by(begun, mutation.key(), write).await? {
            Returned::Done(_) => Written::Done,
            Returned::Unmet(row) => Written::Unmet(row),
        })
    }

    /// The same with any machine that writes this row.
    pub async fn write_by(
        self: &Arc<Self>,
        begun: &Begun,
        key: &Key,
        write: impl Fn(Phase) -> Write,
    ) -> Result<Returned> {
        let deadline = begun.deadline;
        let mut pauses = self.pauses();
        let mut later = None;
        loop {
            let mut operation = Operation::begin(self, &begun.joined, deadline)?;
            operation.may_write(|joined| joined.keeps(key))?;
            // But for what is brought over in `copy`, an old row is only looked at.
            operation.shows = operation.phase() != Phase::Copy;
            let mut write = match later {
                None => write(operation.phase()),
                Some(_) => write(operation.phase()).after_later(),
            };
            let outcome = match operation.drive(&mut write, Reading::Strong).await {
                Ok(outcome) => outcome,
                Err(error) if write.is_made() => return Err(error.with_effect(Effect::Unknown)),
                // What was waited for says more than that the time is over.
                Err(error) if error.kind() == Kind::Timeout => return Err(later.unwrap_or(error)),
                Err(error) => return Err(error),
            };
            let is_later = outcome == WriteAnswer::Later;
            let written = operation.written(outcome);
            drop(operation);
            if !is_later || !pauses.wait(deadline).await {
                return written;
            }
            later = written.err();
        }
    }
}

fn totals(row: &Row) -> counter::Totals {
    let total = |cell: &Option<Value>| match cell {
        Some(Value::BigInt(total)) => Some(*total),
        Some(_) | None => None,
    };
    row.cells.iter().map(total).collect()
}

fn reply(sent: Sent) -> Reply {
    match sent {
        Sent::Done(Changed::Written) => Reply::Written,
        Sent::Done(Changed::Told(item)) => Reply::Told(item),
        Sent::Done(Changed::Refused(item)) => Reply::Refused(item),
        Sent::Unknown(error) => {
            tracing::debug!("the reply to a write was lost: {error}");
            Reply::Unknown
        }
    }
}

fn page(listed: QueryPage) -> Reply {
    Reply::Page(row::PageReply {
        rows: listed.rows,
        more: listed.more,
    })
}

/// An application's write in the old table's columns.
fn old_mutation(transform: &Transform, mutation: Mutation) -> Mutation {
    let moved = 0..transform.target().cells().len();
    match mutation {
        // Columns that aren't moved aren't the application's any more, and stay as they are.
        Mutation::Put(row) if moved.len() < transform.source().cells().len() => {
            Mutation::Put(Row {
                mark: Some(Mark::Partial),
                decided: moved.filter_map(|at| transform.source_cell(at)).collect(),
                ..old_row(transform, row)
            })
        }
        Mutation::Put(row) => Mutation::Put(old_row(transform, row)),
        Mutation::Insert(row) => Mutation::Insert(old_row(transform, row)),
        Mutation::Update(update) => Mutation::Update(old_update(transform, update)),
        Mutation::Delete(key) => Mutation::Delete(key),
        Mutation::UpdateIf { update, expected } => Mutation::UpdateIf {
            update: old_update(transform, update),
            expected: old_expected(transform, expected),
        },
        Mutation::DeleteIf { key, expected } => Mutation::DeleteIf {
            key,
            expected: old_expected(transform, expected),
        },
    }
}

fn old_expected(
    transform: &Transform,
    expected: Vec<(usize, Option<Value>)>,
) -> Vec<(usize, Option<Value>)> {
    let place = |(cell, value)| Some((transform.source_cell(cell)?, value));
    expected.into_iter().filter_map(place).collect()
}

fn old_row(transform: &Transform, row: Row) -> Row {
    let cells = to_source(transform, row.cells);
    Row { cells, ..row }
}

fn old_update(transform: &Transform, update: Update) -> Update {
    let mut cells = to_source(transform, update.cells);
    // A whole row that is replaced clears all columns; those of the other kind of row aren't its.
    for (column, edit) in transform.source().cells().iter().zip(&mut cells) {
        if (column.role == Role::Static) != update.key.is_static() {
            *edit = edit.take().filter(|edit| *edit != Edit::Clear);
        }
    }
    Update { cells, ..update }
}

/// One thing for each of the new table's cells, as one for each of the old table's.
pub(super) fn to_source<T: Clone>(transform: &Transform, cells: Vec<Option<T>>) -> Vec<Option<T>> {
    let mut old = vec![None; transform.source().cells().len()];
    for (at, cell) in cells.into_iter().enumerate() {
        if let Some(place) = transform.source_cell(at).and_then(|at| old.get_mut(at)) {
            *place = cell;
        }
    }
    old
}

fn count_resave(table: &TableInner, outcome: &'static str) {
    let name = table.name.clone();
    metrics::counter!("crossfade_resaves_total", "table" => name, "outcome" => outcome)
        .increment(1);
}

/// The order in which both stores list a partition.
#[derive(Clone)]
pub(super) struct TableOrder(pub Arc<Transform>);

impl ClusteringOrder for TableOrder {
    fn compare(&self, a: &Key, b: &Key) -> Ordering {
        let table = self.0.target();
        place(table, a).cmp(&place(table, b))
    }
}

/// Bytes that order as the key is in its partition; the static row is before all others.
pub(super) fn place(table: &Schema, key: &Key) -> Option<Vec<u8>> {
    let clustering = key.clustering.as_ref()?;
    let mut place = Vec::new();
    for (column, value) in table.clustering().iter().zip(clustering) {
        let order = match column.role {
            Role::Clustering(order) => order,
            Role::Partition | Role::Static | Role::Regular => crate::schema::Order::Asc,
        };
        // A value that isn't of its type was read from neither store.
        let _ = keys::encode_component(&column.ty, order, value, &mut place);
    }
    Some(place)
}
