//! Copies rows and folds counters: many ranges of the old table at once, page by page. A row is put
//! into the new store only if nothing is there; how a counter is folded is said in
//! [`crate::protocol::counter`].
//!
//! A range's cursor is noted when every row of a page is acknowledged, and a range is done when all
//! its pages are, so that a copier that is killed anywhere goes on from there and at worst sends
//! some rows again, which changes nothing. A row that can't be kept in the new store becomes a dead
//! letter before its cursor moves on; a range that can't be read is cut until what can't be read
//! is alone. A reader that has nothing left to do takes over a part of a range that is still being read.
//!
//! Counters may grow while they are folded, so a pass over them always begins at the start. What a
//! pass has folded is in the journal and is passed over by the next one; a settling pass believes
//! neither, and what it has settled is noted for all participants.

mod complete;
mod counters;
mod deleted;
mod progress;
mod ranges;
mod rows;
mod running;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

pub use counters::Counters;
pub use progress::{CopyProgress, CopySnapshot};
use work::Job;

use crate::clock;
use crate::codec::cql;
use crate::control::StoredKey;
use crate::control::{Control, Counts, DeadLetter, Progress};
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::journal::{Journal, Remembered};
use crate::layer::FIRST_PAGE;
use crate::model::Intervals;
use crate::model::{Key, Row, Tokens};
use crate::protocol::counter::Pass;
use crate::store::{Old, Writer};
use crate::transform::Transform;

/// How a copy goes about its work.
#[derive(Clone, Debug)]
pub struct CopySettings {
    /// Which part of the ring to copy.
    pub share: Tokens,
    /// Ranges that are read at once, where the old store doesn't tell ([`crate::store::Capabilities::readers`]).
    pub readers: usize,
    /// Ranges that the whole ring is cut into.
    pub splits: usize,
    /// Puts that may be under way at once.
    pub puts: usize,
    /// Bytes of rows that a page should have.
    pub page_bytes: usize,
    /// How often progress is written to the control table.
    pub report_every: Duration,
    /// Dead letters after which the copy stops, since something in the plan must be wrong.
    pub most_failures: u64,
}

impl Default for CopySettings {
    fn default() -> Self {
        CopySettings {
            share: Tokens::ALL,
            readers: 16,
            splits: 256,
            puts: 64,
            page_bytes: 512 << 10,
            report_every: Duration::from_secs(10),
            most_failures: 10_000,
        }
    }
}

/// Of the first pages of later ranges. They are as large as the last page was to be, but elsewhere
/// rows may be far larger.
const LARGEST_FIRST_PAGE: usize = 400;
/// Rows that are put with one call.
const PUT_BYTES: usize = 1 << 20;
/// How long writes under way may take once the copy has been asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often a range that can't be cut any more is tried before it becomes a dead letter.
const LAST_TRIES: u32 = 3;

/// Everything a copy of one table needs.
pub struct Copier {
    /// Where rows are read. Should wait by itself, and for room for what it reads, see [`crate::layer::Retry`].
    pub old: Old,
    /// Where they are put. Should wait by itself too.
    pub new: Writer,
    /// From the old table to the new one.
    pub transform: Arc<Transform>,
    /// Where progress and dead letters are shared.
    pub control: Control,
    /// How its counters are folded; `None` for a table of rows.
    pub counters: Option<Counters>,
    /// Applications use the new store too, and may have left partial items there.
    pub beside_applications: bool,
    /// The freeze it works under.
    pub freeze: u64,
    /// The control record's incarnation.
    pub incarnation: String,
    /// Fingerprint of the mapping.
    pub mapping: String,
    /// Machine and process, for people.
    pub copier: String,
    /// How it goes about its work.
    pub options: CopySettings,
}

/// How a copy ended.
#[derive(Debug)]
pub struct CopyOutcome {
    /// What this run has counted.
    pub counts: Counts,
    /// Whether its share of the table is done.
    pub complete: bool,
    /// Whether counters were folded, rather than rows copied.
    pub is_counter: bool,
}

struct CopyRun<'a> {
    copier: &'a Copier,
    journal: &'a Journal,
    live: &'a CopyProgress,
    stop: &'a CancellationToken,
    done: Mutex<Done>,
    puts: Semaphore,
    /// Rows of a range's first page.
    first_page: AtomicUsize,
    /// Counter rows of which the new store has an item, as far as this run has met them.
    met: AtomicU64,
    /// Whether it has met some of them more than once, so that it can't tell how many it has met.
    met_again: AtomicBool,
    /// Whether most of the counters that were looked at last were in the new store already.
    mostly_there: AtomicBool,
    /// Digests of this run's dead letters.
    buried: Mutex<BTreeSet<String>>,
}

/// How far a run has come.
#[derive(Default)]
struct Done {
    /// What it has been through, or may leave out.
    passed: Intervals,
    /// What it tells others, for good.
    noted: Intervals,
    /// Tokens of rows that a settling pass couldn't settle.
    unsettled: BTreeSet<i64>,
}

impl Copier {
    /// Copies what is left of the table (or of its share), until it is done or `stop` is cancelled.
    ///
    /// `elsewhere` is what other copiers have done. The outcome of a stop is `complete: false`.
    ///
    /// # Errors
    /// The first error that isn't about a single row or range. What had been acknowledged by then
    /// is in the journal, and starting again goes on from there.
    pub async fn run(
        &self,
        journal: &Journal,
        remembered: Remembered,
        elsewhere: &Intervals,
        live: &CopyProgress,
        stop: &CancellationToken,
    ) -> Result<CopyOutcome> {
        let done = self.begin(journal, &remembered, elsewhere).await?;
        let jobs = work::jobs(&done.passed, &remembered.cursors, &self.options);
        let share = self.options.share;
        live.ranges.begin(share, done.passed.share_of(share));
        let run = CopyRun {
            copier: self,
            journal,
            live,
            stop,
            done: Mutex::new(done),
            puts: Semaphore::new(self.options.puts),
            first_page: AtomicUsize::new(FIRST_PAGE),
            met: AtomicU64::new(0),
            met_again: AtomicBool::new(false),
            mostly_there: AtomicBool::new(false),
            buried: Mutex::default(),
        };
        let earlier = remembered.counts;
        // Others have to see that a participant is at work before the first row is written.
        run.tell(&earlier, false).await?;
        let outcome = tokio::select! {
            outcome = run.whole(jobs) => outcome,
            error = run.report(earlier) => Err(error),
        };
        let stopped = match outcome {
            Ok(()) => false,
            Err(error) if error.kind() == Kind::Stopped => true,
            Err(error) => {
                // The error that ended it matters more than one of telling others.
                let _ = tokio::time::timeout(STOP_WITHIN, run.tell(&earlier, true)).await;
                return Err(error);
            }
        };
        if stopped {
            let told = tokio::time::timeout(STOP_WITHIN, run.tell(&earlier, true)).await;
            if !matches!(told, Ok(Ok(_))) {
                tracing::warn!(
                    "the control table wasn't told how far this run came; the journal knows"
                );
            }
        } else {
            run.tell(&earlier, true).await?;
        }
        let missing = run.done.lock().await.passed.missing_in(self.options.share);
        let complete = missing.is_empty();
        if complete && self.counters.is_some() {
            run.forget_mended().await?;
        }
        Ok(CopyOutcome {
            counts: live.counts(),
            complete,
            is_counter: self.counters.is_some(),
        })
    }

    /// What may be left out, and what others may know already.
    async fn begin(
        &self,
        journal: &Journal,
        remembered: &Remembered,
        elsewhere: &Intervals,
    ) -> Result<Done> {
        let mut done = Done::default();
        match self.counters.map(|counters| counters.pass) {
            None => {
                done.passed.extend(&remembered.done);
                done.passed.extend(elsewhere);
                journal.adopt(elsewhere).await?;
                self.repeat_failures(remembered.failures.clone()).await?;
                done.noted.extend(&done.passed);
            }
            Some(Pass::CatchUp | Pass::Settling) => done.noted.extend(elsewhere),
        }
        Ok(done)
    }

    /// Dead letters that the control table has lost are written to it again.
    async fn repeat_failures(&self, mut letters: Vec<DeadLetter>) -> Result<()> {
        if !letters.is_empty() {
            let known = self.control.all_failures(self.target()).await?;
            let known = known.iter().filter(|letter| letter.freeze == self.freeze);
            let known: BTreeSet<String> = known.map(DeadLetter::digest).collect();
            letters.retain(|letter| !known.contains(&letter.digest()));
        }
        self.control.add_failures(self.target(), &letters).await
    }

    fn target(&self) -> &str {
        &self.transform.target().name
    }
}

impl CopyRun<'_> {
    async fn all(&self, jobs: Vec<Job>) -> Result<()> {
        let readers = self.copier.options.readers;
        let mut jobs = jobs.into_iter();
        let mut running = FuturesUnordered::new();
        let mut stopped = None;
        loop {
            while stopped.is_none() && running.len() < readers {
                let Some(job) = jobs.next().or_else(|| self.taken_over()) else {
                    break;
                };
                running.push(self.job(job));
            }
            let is_idle = stopped.is_none() && running.len() < readers;
            let ended = tokio::select! {
                ended = running.next() => ended,
                () = self.live.ranges.more(), if is_idle => continue,
            };
            match ended {
                None => return stopped.map_or(Ok(()), Err),
                Some(Ok(())) => {}
                // The others finish what they have under way.
                Some(Err(error)) if error.kind() == Kind::Stopped => stopped = Some(error),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// What a reader that has nothing left to do takes over from another.
    fn taken_over(&self) -> Option<Job> {
        let tokens = self.live.ranges.take()?;
        tracing::debug!("an idle reader takes over the range {tokens}");
        #[cfg(feature = "conformance")]
        crate::failpoints::point("after a range was shared");
        let resume = None;
        Some(Job { tokens, resume })
    }

    /// All jobs, and after a settling pass a look from the other side.
    async fn whole(&self, jobs: Vec<Job>) -> Result<()> {
        self.all(jobs).await?;
        match self.copier.counters.map(|counters| counters.pass) {
            Some(Pass::Settling) => self.find_deleted().await,
            Some(Pass::CatchUp) | None => Ok(()),
        }
    }

    fn letter(&self, key: &Key, reason: impl ToString) -> DeadLetter {
        let source = self.copier.transform.source();
        DeadLetter {
            what: display::key(source, key),
            reason: reason.to_string(),
            freeze: self.copier.freeze,
            key: Some(StoredKey::of(source, key)),
            range: None,
            mended: false,
        }
    }

    /// Keeps dead letters where they can't be lost, before any cursor moves past them.
    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<()> {
        let copier = self.copier;
        copier
            .control
            .add_failures(copier.target(), &letters)
            .await?;
        match copier.counters {
            None => self.journal.add_failures(&letters).await?,
            // Every pass looks at every counter again.
            Some(_) => self
                .buried
                .lock()
                .await
                .extend(letters.iter().map(DeadLetter::digest)),
        }
        let failed = self.live.failed(letters.len());
        if failed >= copier.options.most_failures {
            let reason = letters
                .last()
                .map_or("", |letter| letter.reason.as_str())
                .to_owned();
            return Err(Error::new(
                Kind::Invalid,
                format!("{failed} dead letters so far; the last: {reason}"),
            )
            .with_context("table", copier.transform.source().name.as_str())
            .with_help("something in the plan is wrong for this table; see `migrate failures`"));
        }
        Ok(())
    }

    /// Forgets the dead letters of counters that a whole pass found in order again. Rows that are gone
    /// from the old store are none of those.
    async fn forget_mended(&self) -> Result<()> {
        let copier = self.copier;
        let share = copier.options.share;
        let source = copier.transform.source();
        let mut letters = copier.control.failures(copier.target()).await?;
        let buried = self.buried.lock().await;
        letters.retain(|letter| !buried.contains(&letter.digest()));
        let mut mended = Vec::new();
        let mut looked_at = Vec::new();
        for letter in letters {
            let key = letter.key.as_ref().and_then(|key| key.key(source));
            match key {
                Some(key) if share.contains(cql::token(source.partition(), &key.partition)) => {
                    looked_at.push((letter, key));
                }
                Some(_) => {}
                None if share == Tokens::ALL => mended.push(letter),
                None => {}
            }
        }
        let (letters, keys): (Vec<DeadLetter>, Vec<Key>) = looked_at.into_iter().unzip();
        let rows = copier.old.0.get(source, &keys).await?;
        let there = letters
            .into_iter()
            .zip(rows)
            .filter(|(_, row)| row.is_some());
        mended.extend(there.map(|(letter, _)| letter));
        copier
            .control
            .forget_failures(copier.target(), &mended)
            .await
    }

    /// Notes a range as done: first in the journal, then for all participants. `range` is as its reader began with it,
    /// which its cursor is named by.
    async fn finish(&self, range: Tokens, done: Tokens) -> Result<()> {
        let pass = self.copier.counters.map(|counters| counters.pass);
        if pass.is_none() {
            self.journal.finish(range, done).await?;
        }
        let mut all = self.done.lock().await;
        match pass {
            None => all.noted.insert(done),
            Some(Pass::CatchUp) => {}
            Some(Pass::Settling) => {
                let mut rest = done;
                let unsettled: Vec<i64> = all.unsettled.range(done.after..).copied().collect();
                for token in unsettled.into_iter().filter(|token| done.contains(*token)) {
                    all.noted.insert(Tokens {
                        up_to: token - 1,
                        ..rest
                    });
                    rest.after = token;
                }
                all.noted.insert(rest);
            }
        }
        all.passed.insert(done);
        let share = all.passed.share_of(self.copier.options.share);
        self.live.ranges.noted(range, share);
        Ok(())
    }

    /// Tells others how far it has come, for ever. Ends only with an error.
    async fn report(&self, earlier: Counts) -> Error {
        loop {
            tokio::time::sleep(self.copier.options.report_every).await;
            if let Err(error) = self.tell(&earlier, false).await {
                return error;
            }
        }
    }

    async fn tell(&self, earlier: &Counts, ended: bool) -> Result<()> {
        let counts = self.live.counts().plus(earlier);
        self.journal.count(&counts).await?;
        let progress = Progress {
            freeze: self.copier.freeze,
            begun: self.copier.incarnation.clone(),
            mapping: self.copier.mapping.clone(),
            copier: self.copier.copier.clone(),
            heartbeat: self.live.beat(),
            noted_at: Some(clock::unix_seconds()),
            ended,
            done: Progress::ranges(&self.done.lock().await.noted),
            counts,
        };
        let control = &self.copier.control;
        control
            .note_progress(self.copier.target(), self.journal.id(), &progress)
            .await
    }
}

impl CopyRun<'_> {
    /// Waits for its turn among the writes under way.
    async fn turn<T>(&self, calls: usize, write: impl Future<Output = T>) -> Result<T> {
        let calls = u32::try_from(calls.min(self.copier.options.puts)).unwrap_or(1);
        let _turn = self.puts.acquire_many(calls).await.map_err(|_| stopped())?;
        Ok(write.await)
    }

    /// A write, which may be finished when the copy has been asked to stop, but not for long.
    async fn unless_late<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            answer = write => answer,
            () = late => Err(stopped()),
        }
    }

    /// A read, given up when the copy has been asked to stop.
    async fn unless_stopped<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            answer = read => answer,
            () = self.stop.cancelled() => Err(stopped()),
        }
    }

    fn at_key(&self, error: Error, key: &Key) -> Error {
        error.with_context("key", display::key(self.copier.transform.source(), key))
    }

    /// The writing of one page.
    async fn write(&self, rows: Vec<Row>) -> Result<()> {
        self.live.read(rows.len());
        match self.copier.counters {
            None => self.copy(rows).await,
            Some(counters) => self.fold(counters, rows).await,
        }
    }
}

/// What a copy that was asked to stop ends with.
pub(crate) fn stopped() -> Error {
    Error::new(Kind::Stopped, "stopped; start again to go on")
}

/// How long something took, in seconds.
pub(crate) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
