//! One operation: its phase, its deadline, and its calls of the stores.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::inner::{Joined, TableInner};
use super::queue::LONGEST_TRY;
use crate::control::PhaseGuard;
use crate::error::{Effect, Error, Kind, Result};
use crate::model::{Add, Change, ClusteringRange, Condition, Key, Mutation, Query, Returns, Row};
use crate::protocol::Phase;
use crate::protocol::phase::{CounterAdd, RowWrite};
use crate::schema::Table;
use crate::store::{Changed, Cursor, Page, QueryPage, Range, Reading, Reads, Store, Together};

/// The first pause before a call is made again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One operation of an application, under the phase it began in.
pub(super) struct Operation {
    pub table: Arc<TableInner>,
    pub joined: Arc<Joined>,
    /// Taken out at the end.
    guard: Option<PhaseGuard>,
    deadline: Instant,
    /// A write is out, and it isn't known what has become of it.
    in_doubt: bool,
    /// It re-saves what the old store has: a late one would do harm.
    pub saves: bool,
    /// It only shows what the old store has, so that it takes rows too that can't be kept in the new one.
    pub shows: bool,
    /// Why a row that it has read can't be kept there.
    pub why_not_kept: Option<Error>,
}

/// What became of a write.
pub(super) enum Sent<T = Changed> {
    Done(T),
    /// The reply was lost.
    Unknown(Error),
}

/// What became of one try of a write.
pub(super) enum Tried<T = Changed> {
    Sent(Sent<T>),
    /// It certainly hasn't happened, and may if it is tried again.
    NotYet(Error),
}

fn not_yet<T>(error: Error) -> Result<Tried<T>> {
    match error.kind().is_transient() {
        true => Ok(Tried::NotYet(error)),
        false => Err(error),
    }
}

/// What is asked of a store.
enum Question<'a> {
    Row(&'a Key, Reading),
    Query(&'a Query),
    Rows(&'a [Key]),
    Together(&'a [(&'a Table, &'a Key)]),
    Scan(&'a Range, Option<&'a Cursor>, usize),
}

enum StoreAnswer {
    Row(Option<Row>),
    QueryPage(QueryPage),
    Rows(Vec<Option<Row>>),
    Page(Page),
}

impl Question<'_> {
    fn name(&self) -> &'static str {
        match self {
            Question::Row(..) => "read",
            Question::Rows(_) | Question::Together(_) => "read",
            Question::Query(_) | Question::Scan(..) => "list",
        }
    }

    async fn put(&self, store: &dyn Reads, table: &Table) -> Result<StoreAnswer> {
        Ok(match self {
            Question::Row(key, reading) => {
                StoreAnswer::Row(store.read(table, key, *reading).await?)
            }
            Question::Query(query) => StoreAnswer::QueryPage(store.query(table, query).await?),
            Question::Rows(keys) => StoreAnswer::Rows(store.get(table, keys).await?),
            Question::Together(keys) => StoreAnswer::Rows(store.get_together(keys).await?),
            Question::Scan(range, after, limit) => {
                StoreAnswer::Page(store.scan(table, range, *after, *limit).await?)
            }
        })
    }
}

/// What is to be written to a store.
pub(super) enum StoreWrite<'a> {
    Change(&'a Key, &'a Change, &'a Condition),
    ChangeAndTell(&'a Key, &'a Change, &'a Condition, Returns),
    Mutation(&'a Mutation),
    Delete(&'a ClusteringRange),
    Add(&'a Add),
    AddAndTell(&'a Add),
}

impl StoreWrite<'_> {
    async fn send(&self, store: &dyn Store, table: &Table) -> Result<Changed> {
        match self {
            StoreWrite::Change(key, change, on) => store.update_item(table, key, change, on).await,
            StoreWrite::ChangeAndTell(key, change, on, returns) => {
                store
                    .update_item_and_return(table, key, change, on, *returns)
                    .await
            }
            StoreWrite::Mutation(mutation) => store.apply(table, mutation).await,
            StoreWrite::Delete(range) => {
                store.delete(table, range).await.map(|()| Changed::Written)
            }
            StoreWrite::Add(add) => store.add(table, add).await.map(|()| Changed::Written),
            StoreWrite::AddAndTell(add) => {
                store.add_and_return(table, add).await.map(Changed::Told)
            }
        }
    }
}

impl Operation {
    /// Begins under the present phase.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] once the lease has run out, or was taken away.
    pub fn begin(
        table: &Arc<TableInner>,
        joined: &Arc<Joined>,
        deadline: Instant,
    ) -> Result<Operation> {
        let guard = joined.member.guard()?;
        Ok(Operation {
            table: table.clone(),
            joined: joined.clone(),
            guard: Some(guard),
            deadline,
            in_doubt: false,
            saves: false,
            shows: false,
            why_not_kept: None,
        })
    }

    /// A part of it that goes on beside the others, under the same phase and deadline.
    pub fn beside(&self) -> Operation {
        Operation {
            table: self.table.clone(),
            joined: self.joined.clone(),
            guard: self.guard.as_ref().map(PhaseGuard::again),
            deadline: self.deadline,
            in_doubt: false,
            saves: self.saves,
            shows: self.shows,
            why_not_kept: None,
        }
    }

    /// The phase it keeps.
    pub fn phase(&self) -> Phase {
        self.guard
            .as_ref()
            .map_or(Phase::Offline, PhaseGuard::phase)
    }

    /// Refuses writes of rows that couldn't be kept, unless they go to the old store as ever. In `bridge` they
    /// would do so too; but there is a way back from there, and none from where they could no more.
    ///
    /// # Errors
    /// Why they can't be kept.
    pub fn may_write(&self, kept: impl FnOnce(&Joined) -> Result<()>) -> Result<()> {
        match self.phase().row_write() {
            RowWrite::Old | RowWrite::Refused => Ok(()),
            RowWrite::NewIfThereElseOld
            | RowWrite::NewOverOld
            | RowWrite::NewWithTombstones
            | RowWrite::New => kept(&self.joined).map_err(|error| self.not_kept(error)),
        }
    }

    /// The same for adds to a counter.
    ///
    /// # Errors
    /// Why it can't be kept.
    pub fn may_add(&self, key: &Key) -> Result<()> {
        match self.phase().counter_add() {
            CounterAdd::Old | CounterAdd::Refused => Ok(()),
            CounterAdd::New | CounterAdd::NewUnmarked => {
                let kept = self.joined.keeps(key);
                kept.map_err(|error| self.not_kept(error))
            }
        }
    }

    fn not_kept(&self, error: Error) -> Error {
        error.with_context("table", self.table.name.as_str())
    }

    /// Refuses another call once there is no time left.
    ///
    /// # Errors
    /// [`Kind::Timeout`], without effect.
    pub fn has_time(&self) -> Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(Error::new(Kind::Timeout, "it took too long")
            .with_context("table", self.table.name.as_str()))
    }

    /// Whether it may go on: asked before each call, and before the answer is given.
    pub fn check(&self) -> Result<()> {
        match &self.guard {
            Some(guard) => guard.check(),
            None => Ok(()),
        }
    }

    /// That a write was made may only be said while the lease lasts: past it, others have gone on.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] with unknown effect.
    pub fn may_say_done(&self) -> Result<()> {
        self.check()
            .map_err(|error| error.with_effect(Effect::Unknown))
    }

    /// The old store, once its table has been compared with the record.
    async fn old(&self) -> Result<Arc<dyn Store>> {
        let old = self.table.old.get().await?;
        let check = || self.table.check_old(&self.joined, &*old);
        self.joined.old_is_right.get_or_try_init(check).await?;
        Ok(old)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// The store's, once there is no time left.
    pub async fn read(
        &self,
        place: WhichStore,
        key: &Key,
        reading: Reading,
    ) -> Result<Option<Row>> {
        match self.ask(place, &Question::Row(key, reading)).await? {
            StoreAnswer::Row(row) => Ok(row),
            StoreAnswer::QueryPage(_) | StoreAnswer::Rows(_) | StoreAnswer::Page(_) => {
                Err(misanswered())
            }
        }
    }

    /// Reads rows, in the order of the keys.
    ///
    /// # Errors
    /// As of [`Operation::read`].
    pub async fn read_all(&self, place: WhichStore, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        match self.ask(place, &Question::Rows(keys)).await? {
            StoreAnswer::Rows(rows) => Ok(rows),
            StoreAnswer::Row(_) | StoreAnswer::QueryPage(_) | StoreAnswer::Page(_) => {
                Err(misanswered())
            }
        }
    }

    /// Reads items of the new store's tables as they are at one moment.
    ///
    /// # Errors
    /// As of [`Operation::read`].
    pub async fn read_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        match self.ask(WhichStore::New, &Question::Together(keys)).await? {
            StoreAnswer::Rows(rows) => Ok(rows),
            StoreAnswer::Row(_) | StoreAnswer::QueryPage(_) | StoreAnswer::Page(_) => {
                Err(misanswered())
            }
        }
    }

    /// Reads a page of a range.
    ///
    /// # Errors
    /// As of [`Operation::read`].
    pub async fn scan_page(
        &self,
        place: WhichStore,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let question = Question::Scan(range, after, limit);
        match self.ask(place, &question).await? {
            StoreAnswer::Page(page) => Ok(page),
            StoreAnswer::Row(_) | StoreAnswer::QueryPage(_) | StoreAnswer::Rows(_) => {
                Err(misanswered())
            }
        }
    }

    /// Lists rows.
    ///
    /// # Errors
    /// As of [`Operation::read`].
    pub async fn query_page(&self, place: WhichStore, query: &Query) -> Result<QueryPage> {
        match self.ask(place, &Question::Query(query)).await? {
            StoreAnswer::QueryPage(listed) => Ok(listed),
            StoreAnswer::Row(_) | StoreAnswer::Rows(_) | StoreAnswer::Page(_) => Err(misanswered()),
        }
    }

    /// Asks, again and again until there is an answer or no time left.
    async fn ask(&self, place: WhichStore, question: &Question<'_>) -> Result<StoreAnswer> {
        let mut pauses = self.table.pauses();
        loop {
            self.check()?;
            let sending = async {
                let old;
                let store: &dyn Reads = match place {
                    WhichStore::Old => {
                        old = self.old().await?;
                        &*old
                    }
                    WhichStore::New => &*self.table.new,
                };
                let answer = question.put(store, self.schema(place));
                self.timed(place, question.name(), answer).await
            };
            let error = match tokio::time::timeout_at(self.deadline, sending).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.too_late(place)),
            };
            if !error.kind().is_transient() || !pauses.wait(self.deadline).await {
                return Err(error);
            }
        }
    }

    /// Writes: again while it certainly hasn't happened and there is time left.
    ///
    /// # Errors
    /// It certainly hasn't happened.
    pub async fn write(&mut self, place: WhichStore, request: &StoreWrite<'_>) -> Result<Sent> {
        let mut pauses = self.table.pauses();
        loop {
            match self.write_once(place, request).await? {
                Tried::Sent(sent) => return Ok(sent),
                Tried::NotYet(error) if !pauses.wait(self.deadline).await => return Err(error),
                Tried::NotYet(_) => {}
            }
        }
    }

    /// Writes, or tries to.
    ///
    /// # Errors
    /// It certainly hasn't happened, and won't.
    pub async fn write_once(
        &mut self,
        place: WhichStore,
        request: &StoreWrite<'_>,
    ) -> Result<Tried> {
        self.check()?;
        self.has_time()?;
        let store = match tokio::time::timeout_at(self.deadline, self.store(place)).await {
            Ok(Ok(store)) => store,
            Ok(Err(error)) => return not_yet(error.with_effect(Effect::None)),
            Err(_) => return Err(self.too_late(place)),
        };
        // From here to the answer, the one that drops this leaves a write that may still land.
        let was_in_doubt = std::mem::replace(&mut self.in_doubt, true);
        let sending = request.send(&*store, self.schema(place));
        let sending = self.timed(place, "write", sending);
        let error = match tokio::time::timeout_at(self.deadline, sending).await {
            Ok(Ok(answer)) => {
                self.in_doubt = was_in_doubt;
                return Ok(Tried::Sent(Sent::Done(answer)));
            }
            Ok(Err(error)) if error.known_effect() == Effect::Unknown => {
                return Ok(Tried::Sent(Sent::Unknown(error)));
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let error = self.too_late(place).with_effect(Effect::Unknown);
                return Ok(Tried::Sent(Sent::Unknown(error)));
            }
        };
        self.in_doubt = was_in_doubt;
        not_yet(error)
    }

    /// Waits before something is tried again; `false` if there is no time left.
    pub async fn pause(&self, pauses: &mut Pauses) -> bool {
        pauses.wait(self.deadline).await
    }

    /// A store to write to; the new one asks for this operation's permit before each request.
    async fn store(&self, place: WhichStore) -> Result<Arc<dyn Store>> {
        match (place, &self.guard) {
            (WhichStore::Old, _) => self.old().await,
            (WhichStore::New, Some(guard)) => Ok(guard.writer(&self.table.new).0),
            (WhichStore::New, None) => Err(Error::new(Kind::Stopped, "this operation is over")),
        }
    }

    /// The table as it is there.
    fn schema(&self, place: WhichStore) -> &Table {
        match place {
            WhichStore::Old => self.joined.transform.source(),
            WhichStore::New => self.joined.transform.target(),
        }
    }

    async fn timed<T>(
        &self,
        place: WhichStore,
        call: &'static str,
        work: impl Future<Output = T>,
    ) -> T {
        let begun = Instant::now();
        let answer = work.await;
        let table = self.table.name.clone();
        metrics::histogram!("crossfade_store_seconds", "table" => table, "store" => place.name(), "call" => call)
            .record(begun.elapsed());
        answer
    }

    fn too_late(&self, place: WhichStore) -> Error {
        Error::new(
            Kind::Timeout,
            format!("the {} store didn't answer in time", place.name()),
        )
        .with_context("table", self.table.name.as_str())
    }
}

/// Writes a transaction of the new store, or tries to: each of the operations holds its table's phase, and all of
/// their permits are asked.
///
/// # Errors
/// As of [`Operation::write_once`].
pub(super) async fn write_together(
    operations: &mut [Operation],
    changes: &[Together<'_>],
) -> Result<Tried<Vec<Changed>>> {
    for operation in operations.iter() {
        operation.check()?;
        operation.has_time()?;
    }
    let over = || Error::new(Kind::Stopped, "this operation is over");
    let first = operations.first().ok_or_else(over)?;
    let guards: Vec<&PhaseGuard> = operations
        .iter()
        .filter_map(|one| one.guard.as_ref())
        .collect();
    let store = PhaseGuard::writer_of_all(&guards, &first.table.new).0;
    let (deadline, late) = (first.deadline, first.too_late(WhichStore::New));
    // From here to the answer, the one that drops these leaves a write that may still land.
    let doubts = operations.iter_mut();
    let doubts = doubts.map(|one| std::mem::replace(&mut one.in_doubt, true));
    let doubts: Vec<bool> = doubts.collect();
    let error = match tokio::time::timeout_at(deadline, store.transact(changes)).await {
        Ok(Ok(answers)) => {
            restore(operations, doubts);
            return Ok(Tried::Sent(Sent::Done(answers)));
        }
        Ok(Err(error)) if error.known_effect() == Effect::Unknown => {
            return Ok(Tried::Sent(Sent::Unknown(error)));
        }
        Ok(Err(error)) => error,
        Err(_) => {
            return Ok(Tried::Sent(Sent::Unknown(
                late.with_effect(Effect::Unknown),
            )));
        }
    };
    restore(operations, doubts);
    not_yet(error)
}

fn restore(operations: &mut [Operation], doubts: Vec<bool>) {
    for (operation, was_in_doubt) in operations.iter_mut().zip(doubts) {
        operation.in_doubt = was_in_doubt;
    }
}

fn misanswered() -> Error {
    Error::new(Kind::Unknown, "a store answered another question")
}

/// Holds the phase of a write in doubt until it can't land any more: the barrier allows each call the
/// longest operation's time.
impl Drop for Operation {
    fn drop(&mut self) {
        let (true, Some(guard)) = (self.in_doubt, self.guard.take()) else {
            return;
        };
        let longest = self.table.settings.lease.operation;
        if self.saves {
            guard.may_land_late();
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(longest).await;
                drop(guard);
            });
        }
    }
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichStore {
    Old,
    New,
}

impl WhichStore {
    fn name(self) -> &'static str {
        match self {
            WhichStore::Old => "old",
            WhichStore::New => "new",
        }
    }
}

/// Pauses that double, each cut by chance so that many callers don't come back at once.
pub(super) struct Pauses {
    count: u32,
    chance: SmallRng,
    /// When the last try began.
    trying: Instant,
}

impl TableInner {
    /// Chance follows from the application's id, so that a test can do the same again.
    pub fn pauses(&self) -> Pauses {
        let mut of = DefaultHasher::new();
        self.settings.id.hash(&mut of);
        self.paused.fetch_add(1, Ordering::Relaxed).hash(&mut of);
        Pauses {
            count: 0,
            chance: SmallRng::seed_from_u64(of.finish()),
            trying: Instant::now(),
        }
    }
}

impl Pauses {
    /// Waits; `false` if there is no time left for another try. One that takes twice as long as the last one has to fit:
    /// of a write that the deadline cuts off it isn't known whether it was made, and until now that is known.
    pub async fn wait(&mut self, deadline: Instant) -> bool {
        let took = (self.trying.elapsed() * 2).min(LONGEST_TRY);
        let until = self.until();
        if until + took >= deadline {
            return false;
        }
        tokio::time::sleep_until(until).await;
        self.trying = Instant::now();
        true
    }

    /// Waits, whatever the time.
    pub async fn sleep(&mut self) {
        tokio::time::sleep_until(self.until()).await;
        self.trying = Instant::now();
    }

    fn until(&mut self) -> Instant {
        let spread = FIRST_PAUSE
            .saturating_mul(1 << self.count.min(10))
            .min(LONGEST_PAUSE);
        self.count += 1;
        Instant::now() + spread.mul_f64(0.5 + self.chance.random::<f64>() / 2.0)
    }
}
