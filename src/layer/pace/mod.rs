//! The pace: how much of a store a process takes in a second.
//!
//! What a call costs is known once it is over. So it takes what such calls have cost lately, waits until
//! that is there, and puts the account right afterwards. The account may be overdrawn: whoever comes next
//! waits for it. So a ceiling holds over any stretch of time, but for one second's worth that may have been
//! saved up, and for calls that cost more than those before them.
//!
//! Within the ceilings the pace follows what the store bears (`adaptive.rs`):
//!
//! | store | what it says | what is done |
//! |---|---|---|
//! | either | it asks for less (throttles, `Overloaded`) | a tenth less than it has really done lately, then slowly more |
//! | old | reads time out, or too few replicas answer | three tenths less |
//! | old | the p99 of its reads is above the plan's `old_p99_ms` | the same |
//! | new | one partition is hot | that one's rows wait, the others don't (`hot.rs`) |
//!
//! Calls that a store has refused are made again within a budget (`budget.rs`).

mod account;
mod adaptive;
mod budget;
mod hot;
mod latency;
mod meter;
mod reason;
mod rows;
mod seconds;
#[cfg(test)]
mod tests;
mod took;
mod totals;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use account::{Account, HeldBy, Orders, Spent, TELLING};
use budget::RetryBudget;
use hot::{HotPartitions, HotTaken};
use latency::Latencies;
pub use reason::{PaceReason, PacedStore};
pub(super) use rows::WrittenRows;
use rows::{RefusedRows, has_timed_out};
pub use seconds::PaceSecond;
use seconds::PaceSeconds;
pub use took::TookCounts;
pub use totals::PaceTotals;

use crate::error::{Error, Kind, Result};
use crate::store::Room;

/// What is left after a throttle, and after an old store was found to suffer.
const TO_AFTER_THROTTLE: f64 = 0.9;
const TO_WHEN_SLOW: f64 = 0.7;
/// An old store that suffers is judged anew after so long at the earliest.
const SLOW_EVERY: Duration = Duration::from_secs(1);
/// What a store has complained of counts as the reason for so long, while the limit that followed is there.
const SUFFERED: Duration = Duration::from_secs(10);
/// However ill a store is, one call is made in so many seconds, to see whether it is better.
const PROBE_SECONDS: f64 = 2.0;
/// And so much is read and written in a second: calls are refused and fail for causes besides the pace too, and a tool
/// that made no more than one call for each of them would never end.
const LEAST_ROWS: f64 = 100.0;
const LEAST_UNITS: f64 = 25.0;

/// A pace as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceNow {
    /// The most rows read in a second; none = as many as the store gives.
    pub read_rows: Option<f64>,
    /// The most units written in a second.
    pub write_units: Option<f64>,
    /// Rows that are read in a second, over the last one.
    pub rows: f64,
    /// Units that are written in a second, over the last one.
    pub units: f64,
    /// Why it isn't more; none where nothing holds it back.
    pub reason: Option<PaceReason>,
}

/// What operators want of a pace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceOrders {
    /// The most rows read in a second; none = no ceiling.
    pub read_rows: Option<f64>,
    /// The most units written in a second; none = no ceiling.
    pub write_units: Option<f64>,
    /// Nothing is taken.
    pub is_paused: bool,
    /// By [`crate::clock::Clock::Machine`]: past it nothing is taken until there are new orders. None = for ever.
    pub valid_until: Option<Duration>,
}

/// The pace of one table in one store, for all that a process does there as a tool. Applications have none.
#[derive(Debug)]
pub struct Pace {
    store: PacedStore,
    /// The old table's name, for metrics.
    table: Arc<str>,
    reads: Account,
    writes: Account,
    hot: HotPartitions,
    budget: RetryBudget,
    /// What the p99 of reads may be, and what they took.
    slow: Option<(Duration, Mutex<Latencies>)>,
    suffering: Mutex<Suffering>,
    seconds: Mutex<PaceSeconds>,
    totals: Mutex<PaceTotals>,
    in_flight: AtomicU64,
    room: Arc<Room>,
    /// Whether it follows what the store bears.
    is_adaptive: bool,
}

/// What the store has complained of last.
#[derive(Debug, Default)]
struct Suffering {
    last: Option<(PaceReason, Instant)>,
    judged: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(None, None)
    }
}

impl Pace {
    /// So many rows read in a second, and so many write units; `None` is no ceiling.
    ///
    /// A row counts as one unit where the store doesn't tell what a write has cost.
    pub fn new(read_rows: Option<u32>, write_units: Option<u32>) -> Self {
        Pace {
            store: PacedStore::New,
            table: Arc::default(),
            seconds: Mutex::default(),
            totals: Mutex::new(PaceTotals::new()),
            in_flight: AtomicU64::default(),
            // It isn't known how many rows a page has before the first one is there.
            reads: Account::new(read_rows.map(f64::from), 0.0),
            writes: Account::new(write_units.map(f64::from), 1.0),
            hot: HotPartitions::default(),
            budget: RetryBudget::default(),
            slow: None,
            suffering: Mutex::default(),
            room: Arc::default(),
            is_adaptive: true,
        }
    }

    /// One that counts, and holds nothing back: for a store whose pace isn't set.
    pub fn unlimited() -> Self {
        Pace {
            is_adaptive: false,
            ..Pace::default()
        }
    }

    /// The same for the old store, whose reads are to keep within this time: 99 of 100 of them.
    #[must_use]
    pub fn of_old(mut self, p99: Option<Duration>) -> Self {
        self.store = PacedStore::Old;
        self.slow = p99.map(|p99| (p99, Mutex::default()));
        self
    }

    /// The same, with pages that take their room from this: that of the whole process.
    #[must_use]
    pub fn within(mut self, room: &Arc<Room>) -> Self {
        self.room = room.clone();
        self
    }

    /// A pace of the same ceilings for another table, which has borne nothing yet.
    #[must_use]
    pub fn anew(&self, table: &str) -> Self {
        let ceiling = |account: &Account| account.orders().ceiling;
        let slow = self.slow.as_ref().map(|(p99, _)| *p99);
        Pace {
            store: self.store,
            table: table.into(),
            reads: Account::new(ceiling(&self.reads), 0.0),
            writes: Account::new(ceiling(&self.writes), 1.0),
            slow: slow.map(|p99| (p99, Mutex::default())),
            room: self.room.clone(),
            is_adaptive: self.is_adaptive,
            ..Pace::default()
        }
    }

    /// What was done so far.
    pub fn totals(&self) -> PaceTotals {
        *locked(&self.totals)
    }

    /// Calls under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What was done in each whole second after this one (seconds since 1970), and if the work is over in the last one
    /// too; the last two minutes are known.
    pub fn seconds(&self, after: i64, is_over: bool) -> Vec<PaceSecond> {
        locked(&self.seconds).after(after, is_over)
    }

    /// The most rows read and units written in a second, as they are ordered now.
    pub fn ceilings(&self) -> (Option<f64>, Option<f64>) {
        (self.reads.orders().ceiling, self.writes.orders().ceiling)
    }

    /// What operators want from now on, calls that wait included.
    pub fn order(&self, orders: PaceOrders) {
        let each = |ceiling| Orders {
            ceiling,
            is_paused: orders.is_paused,
            valid_until: orders.valid_until,
        };
        self.reads.order(each(orders.read_rows));
        self.writes.order(each(orders.write_units));
    }

    /// How it stands now.
    pub fn now(&self) -> PaceNow {
        let (read_rows, rows, reads_held) = self.reads.now();
        let (write_units, units, writes_held) = self.writes.now();
        let mut limits = [read_rows, write_units].into_iter().flatten();
        let is_limited = limits.any(|(_, by_store)| by_store);
        PaceNow {
            read_rows: read_rows.map(|(rows, _)| rows),
            write_units: write_units.map(|(units, _)| units),
            rows,
            units,
            reason: self.reason([reads_held, writes_held], is_limited),
        }
    }

    /// `is_limited` says whether a store has set one of the limits.
    fn reason(&self, held: [Option<HeldBy>; 2], is_limited: bool) -> Option<PaceReason> {
        let is = |why| held.contains(&Some(why));
        if is(HeldBy::Operator) {
            return Some(PaceReason::Paused);
        }
        if is(HeldBy::Ignorance) {
            return Some(PaceReason::OrdersUnknown);
        }
        let suffering = self.suffering().last;
        let telling = match is_limited {
            // Calls that take seconds are few, and each of them tells.
            true => SUFFERED,
            false => TELLING,
        };
        let lately = suffering.filter(|(_, at)| at.elapsed() < telling);
        if let Some((reason, _)) = lately {
            return Some(reason);
        }
        if is(HeldBy::Store) {
            return Some(suffering.map_or(PaceReason::Throttled(self.store), |(reason, _)| reason));
        }
        match (self.hot.count(), is(HeldBy::Ceiling)) {
            (0, true) => Some(PaceReason::Ceiling),
            (0, false) => None,
            (count, _) => Some(PaceReason::HotPartitions(count)),
        }
    }

    /// Where pages take their room.
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Waits for its part of the budget: a call that was refused is to be made again.
    pub(super) async fn again(&self) {
        if self.is_adaptive {
            self.budget.take().await;
        }
    }

    /// Reads, and tells how many rows that were.
    pub(super) async fn reading<T>(
        &self,
        call: impl Future<Output = Result<T>>,
        rows: impl Fn(&T) -> usize,
    ) -> Result<T> {
        let taken = self.reads.take(1).await;
        let answer = self.under_way(call).await;
        match &answer {
            Ok(page) => {
                let count = rows(page) as u64;
                let done = count as f64;
                locked(&self.seconds).now().rows += count;
                locked(&self.totals).rows += count;
                self.reads.settle(1, taken, Spent { done, refused: 0 });
                self.budget.earn();
                self.is_quick(taken.begun);
            }
            Err(error) => {
                self.reads.forgo(taken);
                self.read_failed(error, taken.begun);
            }
        }
        answer
    }

    /// Writes `count` rows, and tells what that has cost. `partitions` tells each row's partition, where that is asked.
    pub(super) async fn writing(
        &self,
        rows: WrittenRows<'_>,
        call: impl Future<Output = crate::store::WriteOutcomes>,
    ) -> crate::store::WriteOutcomes {
        let hot = self.cool(&rows).await;
        let taken = self.writes.take(rows.count()).await;
        let answer = self.under_way(call).await;
        let refused = rows.refused(&answer);
        let is_done = |row: &&Result<crate::store::WriteOutcome>| row.is_ok();
        let done = answer.rows.iter().filter(is_done).count();
        // What an embedded store has no units for counts as one.
        let units = if answer.units.is_finite() && answer.units > 0.0 {
            answer.units
        } else {
            done as f64
        };
        self.count_writes(units, &refused);
        let spent = Spent {
            done: units,
            refused: rows.count().saturating_sub(done),
        };
        self.writes.settle(rows.count(), taken, spent);
        if let Some(hot) = hot {
            self.hot.settle(hot, &refused.hot);
        } else if !refused.hot.is_empty() {
            self.hot.settle(HotTaken::default(), &refused.hot);
        }
        let throttled = refused.all - refused.hot.values().sum::<usize>();
        if throttled > 0 {
            self.throttled(&self.writes, taken.begun);
        } else if has_timed_out(&answer) {
            self.suffers(PaceReason::NewFails);
        } else {
            self.writes.is_well(taken.begun);
        }
        if refused.all == 0 {
            self.budget.earn();
        }
        answer
    }

    /// Changes one thing, which counts as one unit.
    pub(super) async fn changing<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let taken = self.writes.take(1).await;
        let answer = self.under_way(call).await;
        let mut rows = RefusedRows::default();
        if let Err(error) = &answer
            && error.kind() == Kind::Throttled
        {
            rows.all = 1;
            rows.causes.push(error.throttled_by());
        }
        let refused = rows.all;
        let done = 1.0 - refused as f64;
        self.count_writes(done, &rows);
        self.writes.settle(1, taken, Spent { done, refused });
        match refused {
            0 => {
                self.writes.is_well(taken.begun);
                self.budget.earn();
            }
            _ => self.throttled(&self.writes, taken.begun),
        }
        answer
    }

    /// A read took until now, from when it was sent.
    pub(super) fn took(&self, call: &'static str, begun: Instant) {
        let took = begun.elapsed();
        if let Some((_, reads)) = &self.slow {
            locked(reads).add(begun, took);
        }
        let mut seconds = locked(&self.seconds);
        let second = seconds.now();
        second.slowest = second.slowest.max(took);
        second.reads.add(took);
        drop(seconds);
        self.tell(call, took);
    }

    /// A call took this long: a metric.
    fn tell(&self, call: &'static str, took: Duration) {
        let store = match self.store {
            PacedStore::Old => "old",
            PacedStore::New => "new",
        };
        let table = self.table.to_string();
        metrics::histogram!("crossfade_store_seconds", "table" => table, "store" => store, "call" => call)
            .record(took);
    }

    /// A write took until now, from when it was sent.
    pub(super) fn wrote(&self, call: &'static str, begun: Instant) {
        let took = begun.elapsed();
        locked(&self.seconds).now().writes.add(took);
        self.tell(call, took);
    }

    async fn under_way<T>(&self, call: impl Future<Output = T>) -> T {
        let _one = InFlight::new(&self.in_flight);
        call.await
    }

    fn count_writes(&self, units: f64, refused: &RefusedRows) {
        let mut seconds = locked(&self.seconds);
        let second = seconds.now();
        second.units += units;
        second.throttled += refused.all as u64;
        second.hot += refused.hot.values().sum::<usize>() as u64;
        drop(seconds);
        let mut totals = locked(&self.totals);
        totals.units += units;
        for cause in &refused.causes {
            totals.throttled_by(*cause);
        }
    }

    async fn cool(&self, rows: &WrittenRows<'_>) -> Option<HotTaken> {
        match self.hot.any() {
            true => Some(self.hot.take(rows.partitions()).await),
            false => None,
        }
    }

    fn throttled(&self, account: &Account, begun: Instant) {
        self.suffers(PaceReason::Throttled(self.store));
        if self.is_adaptive && account.is_told_by(begun) {
            let least = (account.usual() / PROBE_SECONDS).max(LEAST_UNITS);
            account.step_down(TO_AFTER_THROTTLE, true, least);
        }
    }

    /// The old store suffers: it is asked for less. What pages have been read in a second doesn't tell what it bears.
    fn ease(&self, begun: Instant, to: f64) {
        let each = self.reads.usual();
        // Before the first page nothing is known that could be made less.
        if self.is_adaptive && each > 0.0 && self.may_judge(begun) {
            let least = (each / PROBE_SECONDS).max(LEAST_ROWS);
            self.reads.step_down(to, false, least);
        }
    }

    fn read_failed(&self, error: &Error, begun: Instant) {
        let is_refused = error.kind() == Kind::Throttled;
        let is_failed = matches!(error.kind(), Kind::Timeout | Kind::Unreachable);
        let mut seconds = locked(&self.seconds);
        let second = seconds.now();
        second.throttled += u64::from(is_refused);
        second.failed += u64::from(is_failed);
        drop(seconds);
        let mut totals = locked(&self.totals);
        totals.failed += u64::from(is_failed);
        if is_refused {
            totals.throttled_by(error.throttled_by());
        }
        drop(totals);
        match (error.kind(), self.store) {
            (Kind::Throttled, PacedStore::Old) => {
                self.suffers(PaceReason::Throttled(self.store));
                self.ease(begun, TO_AFTER_THROTTLE);
            }
            (Kind::Throttled, PacedStore::New) => self.throttled(&self.reads, begun),
            (Kind::Timeout | Kind::Unreachable, PacedStore::Old) => {
                self.suffers(PaceReason::OldFails);
                self.ease(begun, TO_WHEN_SLOW);
            }
            (Kind::Timeout, PacedStore::New) => self.suffers(PaceReason::NewFails),
            // What can't be reached is waited for by the layer above.
            (_, _) => {}
        }
    }

    /// A read went well. Whether all of them are quick enough is judged now and then.
    fn is_quick(&self, begun: Instant) {
        let Some((over, reads)) = &self.slow else {
            self.reads.is_well(begun);
            return;
        };
        let now = Instant::now();
        let judged = self.suffering().judged;
        let Some(p99) = locked(reads).p99(now, judged) else {
            return;
        };
        if p99 <= *over {
            self.reads.is_well(begun);
            return;
        }
        self.suffers(PaceReason::OldSlow { p99, over: *over });
        self.ease(begun, TO_WHEN_SLOW);
    }

    /// Whether the last judgement is long enough ago, and this read began after it.
    fn may_judge(&self, begun: Instant) -> bool {
        let now = Instant::now();
        let mut suffering = self.suffering();
        let is_time = suffering.judged.is_none_or(|judged| {
            now.saturating_duration_since(judged) >= SLOW_EVERY && begun >= judged
        });
        if is_time {
            suffering.judged = Some(now);
        }
        is_time
    }

    fn suffers(&self, reason: PaceReason) {
        self.suffering().last = Some((reason, Instant::now()));
    }

    fn suffering(&self) -> MutexGuard<'_, Suffering> {
        locked(&self.suffering)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call under way, until it is dropped.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
