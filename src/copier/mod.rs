//! Copies rows: many ranges of the old table at once, page by page, each row put into the new store
//! only if nothing is there.
//!
//! A range's cursor is noted when every row of a page is acknowledged, and a range is done when all
//! its pages are, so that a copier that is killed anywhere goes on from there and at worst sends
//! some rows again, which changes nothing. A row that can't be kept in the new store becomes a dead
//! letter before its cursor moves on; a range that can't be read is cut until what can't be read
//! stands alone.

mod progress;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

pub use progress::{Live, Reading};
use work::Job;

use crate::control::{Control, Counts, DeadLetter, Progress};
use crate::error::{Error, Kind, Result};
use crate::intervals::Intervals;
use crate::journal::{Journal, Remembered};
use crate::mapping::transform::Transform;
use crate::model::{Key, Mark, Row, Tokens};
use crate::protocol::Phase;
use crate::show;
use crate::store::{Cursor, Guard, New, Old, Page, Put, Puts, Range};

/// How a copy goes about its work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which part of the ring to copy.
    pub share: Tokens,
    /// Ranges that are read at once.
    pub readers: usize,
    /// Ranges that the whole ring is cut into.
    pub splits: usize,
    /// Puts that may be under way at once.
    pub puts: usize,
    /// Bytes of rows that may be in memory at once.
    pub bytes_in_flight: usize,
    /// Bytes of rows that a page should have.
    pub page_bytes: usize,
    /// How often progress is written to the control table.
    pub report_every: Duration,
    /// Dead letters after which the copy stops, since something in the plan must be wrong.
    pub most_failures: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            share: Tokens::ALL,
            readers: 16,
            splits: 256,
            puts: 64,
            bytes_in_flight: 48 << 20,
            page_bytes: 512 << 10,
            report_every: Duration::from_secs(10),
            most_failures: 10_000,
        }
    }
}

/// Rows of the first page of a range, before anything is known of their size.
const FIRST_PAGE: usize = 100;
const LARGEST_PAGE: usize = 5_000;
/// Rows that are put with one call.
const PUT_BYTES: usize = 1 << 20;
/// How long writes under way may take once the copy has been asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often a range that can't be cut any more is tried before it becomes a dead letter.
const LAST_TRIES: u32 = 3;

/// Everything a copy of one table needs.
pub struct Copier {
    /// Where rows are read. Should wait by itself, see [`crate::layer::Retry`].
    pub old: Old,
    /// Where they are put. Should wait by itself too.
    pub new: New,
    /// From the old table to the new one.
    pub transform: Arc<Transform>,
    /// Where progress and dead letters are shared.
    pub control: Control,
    /// The freeze it works under.
    pub freeze: u64,
    /// The control record's beginning.
    pub begun: String,
    /// Fingerprint of the mapping.
    pub mapping: String,
    /// Machine and process, for people.
    pub copier: String,
    /// How it goes about its work.
    pub options: Options,
}

/// How a copy ended.
#[derive(Debug)]
pub struct Outcome {
    /// What this run has counted.
    pub counts: Counts,
    /// Whether its share of the table is done.
    pub complete: bool,
}

struct Run<'a> {
    copier: &'a Copier,
    journal: &'a Journal,
    live: &'a Live,
    stop: &'a CancellationToken,
    done: Mutex<Intervals>,
    puts: Semaphore,
    bytes: Semaphore,
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
        live: &Live,
        stop: &CancellationToken,
    ) -> Result<Outcome> {
        let mut done = remembered.done;
        done.extend(elsewhere);
        journal.adopt(elsewhere).await?;
        self.repeat_failures(remembered.failures).await?;
        let jobs = work::jobs(&done, &remembered.cursors, &self.options);
        live.set_share(done.share_of(self.options.share));
        let run = Run {
            copier: self,
            journal,
            live,
            stop,
            done: Mutex::new(done),
            puts: Semaphore::new(self.options.puts),
            bytes: Semaphore::new(self.options.bytes_in_flight),
        };
        let earlier = remembered.counts;
        // Others have to see that somebody is at work before the first row is written.
        run.tell(&earlier, false).await?;
        run.still_mine().await?;
        let outcome = tokio::select! {
            outcome = run.all(jobs) => outcome,
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
        let missing = run.done.lock().await.missing_in(self.options.share);
        Ok(Outcome {
            counts: live.counts(),
            complete: missing.is_empty(),
        })
    }

    /// Dead letters that the control table has lost are written to it again.
    async fn repeat_failures(&self, mut letters: Vec<DeadLetter>) -> Result<()> {
        if !letters.is_empty() {
            let known = self.control.failures(self.target()).await?;
            let known: BTreeSet<String> = known.iter().map(DeadLetter::digest).collect();
            letters.retain(|letter| !known.contains(&letter.digest()));
        }
        self.control.add_failures(self.target(), &letters).await
    }

    fn target(&self) -> &str {
        &self.transform.target().name
    }
}

impl Run<'_> {
    async fn all(&self, jobs: Vec<Job>) -> Result<()> {
        let mut jobs = jobs.into_iter();
        let mut running: FuturesUnordered<_> = jobs
            .by_ref()
            .take(self.copier.options.readers)
            .map(|job| self.job(job))
            .collect();
        let mut stopped = None;
        while let Some(outcome) = running.next().await {
            match outcome {
                Ok(()) if stopped.is_none() => {
                    running.extend(jobs.next().map(|job| self.job(job)));
                }
                Ok(()) => {}
                // The others finish what they have under way.
                Err(error) if error.kind() == Kind::Stopped => stopped = Some(error),
                Err(error) => return Err(error),
            }
        }
        stopped.map_or(Ok(()), Err)
    }

    async fn job(&self, job: Job) -> Result<()> {
        let resume = job.resume.map(|key| Cursor { key, state: None });
        self.tokens(job.tokens, resume).await
    }

    /// Copies a range of tokens: as it is, or cut in parts if it can't be read as a whole.
    fn tokens(
        &self,
        tokens: Tokens,
        resume: Option<Cursor>,
    ) -> futures::future::BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (error, last) = match self.pages(&Range::Tokens(tokens), resume).await {
                Ok(()) => return self.finish(tokens, tokens).await,
                Err(Ended { error, last }) if error.kind() == Kind::RangeTooCostly => (error, last),
                Err(Ended { error, .. }) => return Err(error),
            };
            let left = self.settle_before(tokens, last).await?;
            match left.halves() {
                Some((low, high)) => {
                    tracing::info!("cutting the range {left}, which can't be read whole: {error}");
                    self.tokens(low, None).await?;
                    self.tokens(high, None).await?;
                    self.finish(
                        left,
                        Tokens {
                            after: left.up_to,
                            up_to: left.up_to,
                        },
                    )
                    .await
                }
                None => {
                    self.parts(Range::Tokens(left), error).await?;
                    self.finish(left, left).await
                }
            }
        })
    }

    /// What was read of a range that failed on the way is done, down to the last whole partition.
    async fn settle_before(&self, tokens: Tokens, last: Option<Key>) -> Result<Tokens> {
        let Some(key) = last else { return Ok(tokens) };
        let columns = self.copier.transform.source().partition();
        let token = crate::cql::token(columns, &key.partition);
        if !tokens.contains(token) || token - 1 <= tokens.after {
            return Ok(tokens);
        }
        self.finish(
            tokens,
            Tokens {
                after: tokens.after,
                up_to: token - 1,
            },
        )
        .await?;
        Ok(Tokens {
            after: token - 1,
            up_to: tokens.up_to,
        })
    }

    /// Copies a range below a single token in parts; what can't be read alone is a dead letter.
    fn parts(&self, range: Range, error: Error) -> futures::future::BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let source = self.copier.transform.source();
            let Some(parts) = self.copier.old.0.halve(source, &range) else {
                return self.last_try(&range, error).await;
            };
            for part in parts {
                match self.pages(&part, None).await {
                    Ok(()) => {}
                    Err(Ended { error, .. }) if error.kind() == Kind::RangeTooCostly => {
                        self.parts(part, error).await?;
                    }
                    Err(Ended { error, .. }) => return Err(error),
                }
            }
            Ok(())
        })
    }

    async fn last_try(&self, range: &Range, first: Error) -> Result<()> {
        let mut error = first;
        for attempt in 0..LAST_TRIES {
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
            match self.pages(range, None).await {
                Ok(()) => return Ok(()),
                Err(ended) if ended.error.kind() == Kind::RangeTooCostly => error = ended.error,
                Err(ended) => return Err(ended.error),
            }
        }
        let letter = DeadLetter {
            what: show::range(self.copier.transform.source(), range),
            reason: error.to_string(),
            key: None,
        };
        self.bury(vec![letter]).await
    }

    /// Reads the pages of a range one after the other, writing each while the next is read.
    async fn pages(&self, range: &Range, resume: Option<Cursor>) -> Result<(), Ended> {
        let mut limit = FIRST_PAGE;
        let mut last = None;
        let mut next = self.page(range, resume.as_ref(), limit).await;
        loop {
            let page = next.map_err(|error| Ended {
                error,
                last: last.clone(),
            })?;
            limit = page_limit(&page, limit, self.copier.options.page_bytes);
            let cursor = page.next.clone();
            let newest = page.rows.last().map(|row| row.key.clone());
            let weight: usize = page.rows.iter().map(Row::weight).sum();
            let room = self.room(weight).await.map_err(|error| Ended {
                error,
                last: last.clone(),
            })?;
            let reading = async {
                match &cursor {
                    Some(cursor) => Some(self.page(range, Some(cursor), limit).await),
                    None => None,
                }
            };
            let writing = async {
                let written = self.write(page.rows).await;
                drop(room);
                written
            };
            let (following, written) = tokio::join!(reading, writing);
            written.map_err(|error| Ended {
                error,
                last: last.clone(),
            })?;
            last = newest.or(last);
            if let (Range::Tokens(tokens), Some(key)) = (range, &last)
                && cursor.is_some()
            {
                self.journal.acknowledge(*tokens, key);
            }
            match following {
                Some(page) => next = page,
                None => return Ok(()),
            }
        }
    }

    async fn room(&self, weight: usize) -> Result<tokio::sync::SemaphorePermit<'_>> {
        let most = self.copier.options.bytes_in_flight;
        let permits = u32::try_from(weight.clamp(1, most)).unwrap_or(u32::MAX);
        tokio::select! {
            room = self.bytes.acquire_many(permits) => room.map_err(|_| stopped()),
            () = self.stop.cancelled() => Err(stopped()),
        }
    }

    async fn page(&self, range: &Range, after: Option<&Cursor>, limit: usize) -> Result<Page> {
        let source = self.copier.transform.source();
        tokio::select! {
            page = self.copier.old.0.scan(source, range, after, limit) => page,
            () = self.stop.cancelled() => Err(stopped()),
        }
    }

    /// Puts the rows of a page, each only if absent, and returns when all are settled.
    async fn write(&self, rows: Vec<Row>) -> Result<()> {
        self.live.read(rows.len());
        let mut failures = Vec::new();
        let mut chunks = Vec::new();
        let capabilities = self.copier.new.0.capabilities();
        let (mut chunk, mut weight) = (Vec::new(), 0);
        for row in rows {
            let key = row.key.clone();
            let mut row = match self.copier.transform.apply(row) {
                Ok(row) => row,
                Err(error) if error.kind() == Kind::Invalid => {
                    failures.push(self.letter(&key, &error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            row.mark = Some(Mark::Copied);
            weight += row.weight();
            chunk.push((key, row));
            if chunk.len() >= capabilities.put_rows.max(1) || weight >= PUT_BYTES {
                chunks.push(std::mem::take(&mut chunk));
                weight = 0;
            }
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        let mut puts: FuturesUnordered<_> =
            chunks.into_iter().map(|chunk| self.put(chunk)).collect();
        while let Some(refused) = puts.next().await {
            failures.extend(refused?);
        }
        drop(puts);
        if failures.is_empty() {
            Ok(())
        } else {
            self.bury(failures).await
        }
    }

    async fn put(&self, chunk: Vec<(Key, Row)>) -> Result<Vec<DeadLetter>> {
        let (keys, rows): (Vec<Key>, Vec<Row>) = chunk.into_iter().unzip();
        let target = self.copier.transform.target();
        let putting = async {
            let _turn = self.puts.acquire().await.map_err(|_| stopped())?;
            Ok::<Puts, Error>(self.copier.new.0.put(target, rows, &Guard::Absent).await)
        };
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        let puts = tokio::select! {
            puts = putting => puts?,
            () = late => return Err(stopped()),
        };
        self.live.put(&puts);
        let mut failures = Vec::new();
        for (key, answer) in keys.iter().zip(puts.rows) {
            match answer {
                Ok(Put::Written | Put::Refused) => {}
                Err(error) if error.kind() == Kind::Invalid => {
                    failures.push(self.letter(key, &error));
                }
                Err(error) => {
                    return Err(error.at("key", show::key(self.copier.transform.source(), key)));
                }
            }
        }
        Ok(failures)
    }

    fn letter(&self, key: &Key, error: &Error) -> DeadLetter {
        let source = self.copier.transform.source();
        DeadLetter {
            what: show::key(source, key),
            reason: error.to_string(),
            key: Some(show::stored_key(source, key)),
        }
    }

    /// Keeps dead letters where they can't be lost, before any cursor moves past them.
    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<()> {
        let copier = self.copier;
        copier
            .control
            .add_failures(copier.target(), &letters)
            .await?;
        self.journal.add_failures(&letters).await?;
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
            .at("table", copier.transform.source().name.as_str())
            .help("something in the plan is wrong for this table; see `migrate failures`"));
        }
        Ok(())
    }

    /// Notes a range as done: first in the journal, then for everybody.
    async fn finish(&self, range: Tokens, done: Tokens) -> Result<()> {
        self.journal.finish(range, done).await?;
        let mut all = self.done.lock().await;
        all.insert(done);
        self.live.set_share(all.share_of(self.copier.options.share));
        Ok(())
    }

    /// Tells others how far it has come, for ever. Ends only with an error: the record has changed.
    async fn report(&self, earlier: Counts) -> Error {
        loop {
            tokio::time::sleep(self.copier.options.report_every).await;
            if let Err(error) = self.still_mine().await {
                return error;
            }
            if let Err(error) = self.tell(&earlier, false).await {
                return error;
            }
        }
    }

    /// Whether the control record still is the one this copy was begun under.
    async fn still_mine(&self) -> Result<()> {
        let there = self
            .copier
            .control
            .require(self.copier.target())
            .await?
            .record;
        let same = there.phase == Phase::Offline
            && there.freeze == self.copier.freeze
            && there.begun == self.copier.begun
            && there.mapping == self.copier.mapping
            && !there.emptying;
        if same {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            "the control record was changed while this copy ran",
        )
        .at("target", self.copier.target())
        .at("freeze now", there.freeze.to_string())
        .at("freeze of this copy", self.copier.freeze.to_string())
        .help("a reset or another plan is at work; see `migrate status`"))
    }

    async fn tell(&self, earlier: &Counts, ended: bool) -> Result<()> {
        let counts = self.live.counts().plus(earlier);
        self.journal.count(&counts).await?;
        let progress = Progress {
            freeze: self.copier.freeze,
            begun: self.copier.begun.clone(),
            mapping: self.copier.mapping.clone(),
            copier: self.copier.copier.clone(),
            heartbeat: self.live.beat(),
            ended,
            done: Progress::ranges(&*self.done.lock().await),
            counts,
        };
        let control = &self.copier.control;
        control
            .note_progress(self.copier.target(), self.journal.id(), &progress)
            .await
    }
}

/// Why reading a range ended early, and the last key that the target has of it.
struct Ended {
    error: Error,
    last: Option<Key>,
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "stopped; start again to go on")
}

/// How many rows the next page should have, from the size of the last one.
fn page_limit(page: &Page, limit: usize, wanted: usize) -> usize {
    if page.rows.is_empty() {
        return limit;
    }
    let weight: usize = page.rows.iter().map(Row::weight).sum();
    let each = (weight / page.rows.len()).max(1);
    (wanted / each).clamp(1, LARGEST_PAGE).min(limit * 4)
}

/// How long something took, in seconds.
pub(crate) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
