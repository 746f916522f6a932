//! Compares both stores, row by row and in both directions, without a point read where they agree.
//!
//! Each store is scanned once, at the same time as the other. What is read is summed up in a million
//! buckets; only where sums differ, rows are looked at again, in `rounds`, and each row that then
//! seems to differ is looked at once more by itself before it is called a difference. What Cassandra takes
//! for equal is said in `canonical`. A verification that was killed goes on from its [`Checkpoint`].
//!
//! It shares no way of finding rows with the copier: it cuts the old table elsewhere, reads other pages,
//! and finds what is in the new table by scanning that.
//!
//! What the application owns (its rows, tombstones) isn't compared, and neither are the old rows of such keys.
//! Counters are compared by their watermarks, whatever was added to them. Items that were `adopted` are counted, and
//! otherwise like the application's.

mod adopted;
mod buckets;
mod canonical;
mod ends;
mod expiries;
mod found;
mod grid;
mod mend;
mod narrow;
mod rounds;
mod sample;
mod scan;
mod state;
mod suspects;
#[cfg(test)]
pub(crate) mod tests;
mod verdict;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use adopted::Adopted;
pub(crate) use adopted::digest as adopted_digest;
pub use found::{Example, Found, Values};
pub use mend::Mended;
use state::VerifyState;
pub use state::{Belongs, Checkpoint};

use crate::clock::unix_seconds;
use crate::control::New;
use crate::error::{Error, Kind, Result};
use crate::model::{Row, Tokens, Value};
use crate::protocol::counter::Rules;
use crate::store::{Old, Writer};
use crate::transform::Transform;

/// Rows that expire within so many seconds are left out on both sides.
const MARGIN: i64 = 300;
/// A write time further ahead than this is one that hasn't come yet: microseconds.
const FUTURE: i64 = 60 * 1_000_000;

/// How often to look whether what was read is too old.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a verification goes about its work.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// Ranges that are read at once, of each store; fewer where the old store says so
    /// ([`crate::store::Capabilities::readers`]).
    pub readers: usize,
    /// Ranges that the old table is cut into.
    pub old_ranges: usize,
    /// Parts that the new table is cut into.
    pub new_parts: usize,
    /// Bytes of rows that a page should have.
    pub page_bytes: usize,
    /// How long a row that seems to differ is left alone before it is looked at again.
    pub delay: Duration,
    /// Rows of one round, by some 60 bytes each. A round reads the new table once.
    pub round_rows: u64,
    /// Rounds at most: what is suspected beyond that isn't looked at.
    pub most_rounds: u64,
    /// How often both tables are read at most to narrow down which rows are suspected.
    pub most_narrowings: u32,
    /// Differences after which it stops.
    pub max_differences: u64,
    /// Keys of the application's that are remembered at once, by 8 bytes each. Of more, each so many cost one
    /// more scan of both tables.
    pub most_owned: usize,
    /// Rows that one run may mend.
    pub most_mended: usize,
    /// Which part of the old table is looked at, 0 to 1. Less than all of it: in whole token ranges, and nothing
    /// looks for rows that the old store lacks.
    pub sample: f64,
    /// How often the state is kept at most.
    pub keep_every: Duration,
    /// How long what was read of the tables counts. What an earlier run has read is read again when it is older.
    pub fresh: Duration,
}

impl Default for VerifySettings {
    fn default() -> Self {
        VerifySettings {
            readers: 6,
            // Neither is a multiple of the copier's, so that the edges lie elsewhere.
            old_ranges: 53,
            new_parts: 6,
            page_bytes: 384 << 10,
            delay: Duration::from_secs(2),
            round_rows: 400_000,
            most_rounds: 4,
            most_narrowings: 2,
            max_differences: 100_000,
            most_owned: 4_000_000,
            most_mended: 100_000,
            sample: 1.0,
            keep_every: Duration::from_millis(250),
            fresh: Duration::from_secs(3_600),
        }
    }
}

/// Everything a verification of one table needs.
pub struct Verifier {
    /// Where old rows are read. Should wait by itself, and for room, see [`crate::layer::Retry`], and tell when rows were
    /// written since the freeze.
    pub old: Old,
    /// Where items are read, and mended. Should wait by itself too.
    pub new: New,
    /// From the old table to the new one.
    pub transform: Arc<Transform>,
    /// What the plan says of its counters; `None` for a table of rows.
    pub counters: Option<Rules>,
    /// When the old table was frozen by the old store's clock, microseconds since 1970, if that is known.
    pub frozen_at: Option<i64>,
    /// A copy of this freeze is through, so that what it saw of the old store is in the new one.
    pub is_copied: bool,
    /// Items that were in the new store before anything was moved.
    pub adopted: Adopted,
    /// How it goes about its work.
    pub options: VerifySettings,
}

/// How a verification ended.
#[derive(Clone, Debug)]
pub struct VerifyOutcome {
    /// What was found.
    pub found: Found,
    /// What was mended; `None` if nothing asked for it.
    pub mended: Option<Mended>,
    /// Seconds it took, over all its runs.
    pub seconds: f64,
    /// When the oldest part of the tables was read that this is about, seconds since 1970. What changed there
    /// since then isn't in it.
    pub oldest_at: i64,
}

/// What a verification has done so far, for the one that shows it.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    old_rows: AtomicU64,
    new_rows: AtomicU64,
    /// Share of both tables, in millionths.
    share: AtomicU64,
}

impl VerifyProgress {
    /// Rows read so far, of the old table and of the new one.
    pub fn rows(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.old_rows), get(&self.new_rows))
    }

    /// Which part of both scans is done, 0 to 1.
    pub fn share(&self) -> f64 {
        self.share.load(Ordering::Relaxed) as f64 / 1e6
    }

    fn set(&self, state: &VerifyState) {
        let set = |count: &AtomicU64, value| count.store(value, Ordering::Relaxed);
        set(&self.old_rows, state.found.old_rows);
        set(&self.new_rows, state.found.new_rows);
        let done = state.parts.iter().filter(|part| part.is_done).count();
        let new = done as f64 / state.parts.len().max(1) as f64;
        let share = (state.old_done.share_of(Tokens::ALL) + new) / 2.0;
        set(&self.share, (share * 1e6) as u64);
    }
}

struct VerifyRun<'a> {
    verifier: &'a Verifier,
    live: &'a VerifyProgress,
    stop: &'a CancellationToken,
    state: Mutex<VerifyState>,
    seed: u64,
    cutoff: i64,
    /// Whether an earlier run has begun it.
    is_resumed: bool,
    /// How old the oldest part was when this run began, seconds.
    age: i64,
    begun: Instant,
    /// The old store's clock when this run began, microseconds since 1970.
    old_now: i64,
    /// Held by the task that looks at suspects in the midst of a scan.
    settling: tokio::sync::Mutex<()>,
}

/// How what is found is mended.
pub struct Mending {
    /// The store that is moved to, for a participant.
    pub new: Writer,
    /// Whether items are deleted whose rows the old store lacks.
    pub delete_extra: bool,
}

impl Verifier {
    /// Compares both stores, going on with what an earlier run has kept, and mends what it finds if told so.
    ///
    /// # Errors
    /// The first error of a store that isn't about single rows; [`Kind::Stopped`] if `stop` was cancelled.
    /// What had been read by then is kept, and starting again goes on from there; also when it is over, until
    /// the caller has noted what was found and removes the checkpoint.
    pub async fn run(
        &self,
        checkpoint: &mut Checkpoint,
        repair: Option<Mending>,
        live: &VerifyProgress,
        stop: &CancellationToken,
    ) -> Result<VerifyOutcome> {
        let is_whole = self.options.sample >= 1.0;
        let resumed = match is_whole {
            true => checkpoint.resume(self.options.fresh),
            false => None,
        };
        if let Some(state) = resumed {
            let pass = self.pass(Some(state), checkpoint, repair.as_ref(), live, stop);
            if let Some(outcome) = pass.await? {
                return Ok(outcome);
            }
            checkpoint.seconds = 0.0;
        }
        let outcome = self
            .pass(None, checkpoint, repair.as_ref(), live, stop)
            .await?;
        // Only one that goes on with another's work is given up.
        outcome.ok_or_else(stopped)
    }

    /// Goes on with a state, or begins anew. `None` if the state has become too old on the way.
    async fn pass(
        &self,
        resumed: Option<VerifyState>,
        checkpoint: &mut Checkpoint,
        repair: Option<&Mending>,
        live: &VerifyProgress,
        stop: &CancellationToken,
    ) -> Result<Option<VerifyOutcome>> {
        let begun = Instant::now();
        let is_resumed = resumed.is_some();
        let state = match resumed {
            Some(state) => state,
            None => {
                let (target, count) = (self.transform.target(), self.options.new_parts);
                VerifyState::new(self.new.splits(target, count).await?)
            }
        };
        live.set(&state);
        let old_now = match self.frozen_at {
            Some(_) => self.old.0.now().await?,
            None => None,
        };
        let oldest_at = state.begun_at;
        let run = VerifyRun {
            verifier: self,
            live,
            stop,
            seed: state.seed,
            cutoff: state.cutoff,
            is_resumed,
            age: unix_seconds() - oldest_at,
            state: Mutex::new(state),
            begun,
            old_now: old_now.unwrap_or(i64::MAX),
            settling: tokio::sync::Mutex::new(()),
        };
        let earlier = checkpoint.seconds;
        let seconds = || earlier + begun.elapsed().as_secs_f64();
        if self.options.sample < 1.0 {
            run.sample().await?;
            run.settle().await?;
        } else {
            let scanned = tokio::select! {
                scanned = run.scan() => scanned,
                error = run.keep(checkpoint, &seconds) => Err(error),
                () = run.grows_old(&seconds) => return Ok(None),
            };
            // Also of a run that failed or was stopped.
            checkpoint.keep(&run.state(), seconds())?;
            scanned?;
            run.settle().await?;
            if run.is_enough() {
                run.state().found.stop_early(0);
            } else {
                let sums = std::mem::take(&mut run.state().sums);
                run.find(sums).await?;
            }
        }
        run.settle().await?;
        let mended = match repair {
            Some(repair) => Some(run.mend(repair).await?),
            None => None,
        };
        let found = std::mem::take(&mut run.state().found);
        Ok(Some(VerifyOutcome {
            found,
            mended,
            seconds: seconds(),
            oldest_at,
        }))
    }
}

impl VerifyRun<'_> {
    fn state(&self) -> MutexGuard<'_, VerifyState> {
        // What a page adds is added by calls that don't panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the state every now and then, less often the longer that takes. Ends only with an error.
    async fn keep(&self, checkpoint: &Checkpoint, seconds: &impl Fn() -> f64) -> Error {
        let mut pause = self.verifier.options.keep_every;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let kept = checkpoint.keep(&self.state(), seconds());
            if let Err(error) = kept {
                return error;
            }
            pause = self.verifier.options.keep_every.max(begun.elapsed() * 20);
        }
    }

    /// Ends once what an earlier run has read is too old to count, and reading all of it anew would have been done
    /// in that time: what was read is summed up, so that no part of it can be read again by itself. Where it
    /// would not, it is only said, once.
    async fn grows_old(&self, worked: &impl Fn() -> f64) {
        let fresh = self.verifier.options.fresh;
        loop {
            // A machine that sleeps stops the one clock, and an operator may set the other.
            let by_wall = unix_seconds() - self.state().begun_at;
            let by_run = self
                .age
                .saturating_add(self.begun.elapsed().as_secs() as i64);
            if by_wall.max(by_run).unsigned_abs() > fresh.as_secs() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let table = &self.verifier.transform.source().name;
        if self.is_resumed && worked() < fresh.as_secs_f64() {
            tracing::info!(
                "{table}: what was read first is older by now than `[verify] fresh` ({} s): reading everything \
                 again",
                fresh.as_secs()
            );
            return;
        }
        tracing::warn!(
            "{table}: this verification takes longer than `[verify] fresh` ({} s), so that `advance --to new` won't \
             take what it finds: raise `fresh` in the plan, which may be done at any time",
            fresh.as_secs()
        );
        std::future::pending().await
    }

    /// An old row as the new store would have it, in the form in which rows are compared. None for a row
    /// of counters without any total.
    fn as_new(&self, row: Row) -> Result<Option<Row>> {
        let times = row.times.clone();
        let transform = &self.verifier.transform;
        let mut row = transform.apply(row)?;
        if !ends::may_end(transform, &times, row.expires) {
            let message =
                "the rule by which rows end contradicts what its cells tell: a fault of this tool";
            return Err(Error::new(Kind::Corrupt, message)
                .with_help("please report it, with the row's TTLs"));
        }
        if self.verifier.counters.is_some() {
            if row.cells.iter().all(Option::is_none) {
                return Ok(None);
            }
            for cell in &mut row.cells {
                cell.get_or_insert(Value::BigInt(0));
            }
        }
        Ok(Some(row))
    }

    /// An item in the form in which rows are compared: of counters, what of the old totals is inside. None
    /// for an item of counters that has nothing of the old store.
    fn as_compared(&self, mut item: Row) -> Option<Row> {
        if self.verifier.counters.is_some() {
            if item.watermarks.iter().all(Option::is_none) {
                return None;
            }
            let inside = |at| item.watermarks.get(at).copied().flatten().unwrap_or(0);
            let cells = (0..item.cells.len()).map(|at| Some(Value::BigInt(inside(at))));
            item.cells = cells.collect();
        }
        Some(item)
    }
}

pub(crate) fn stopped() -> Error {
    Error::new(Kind::Stopped, "stopped; start again to go on")
}

/// Seconds that the expiries of a row and its copy may be apart: each is read by another clock.
const EXPIRIES_APART: u64 = 5;

/// Whether an item shows what an old row does, as the new store would have it.
pub(crate) fn is_same(table: &crate::schema::Table, item: &Row, old: &Row) -> bool {
    let expires_alike = match (item.expires, old.expires) {
        (None, None) => true,
        (Some(one), Some(other)) => one.abs_diff(other) <= EXPIRIES_APART,
        (None, Some(_)) | (Some(_), None) => false,
    };
    expires_alike && canonical::differing(table, item, old).is_empty()
}
