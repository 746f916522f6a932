//! What a running copy counts, for the one that shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::running::RunningRanges;
use crate::control::Counts;
use crate::protocol::counter::{Folded, Pass};
use crate::store::{WriteOutcome, WriteOutcomes};

/// The counts of a copy while it runs.
pub struct CopyProgress {
    begun: Instant,
    read: AtomicU64,
    written: AtomicU64,
    present: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    milliunits: AtomicU64,
    folded: AtomicU64,
    unchanged: AtomicU64,
    settled: AtomicU64,
    went_down: AtomicU64,
    pub(super) ranges: RunningRanges,
    beat: AtomicU64,
    old: std::sync::Arc<crate::layer::retry::RetryCounts>,
    new: std::sync::Arc<crate::layer::retry::RetryCounts>,
}

/// One look at a running copy.
#[derive(Clone, Copy, Debug)]
pub struct CopySnapshot {
    /// What it has counted in this run.
    pub counts: Counts,
    /// Share of the table (or of this shard) that is done or being written, 0 to 1, by tokens.
    pub share: f64,
    /// Seconds for which the slowest reader has been in one partition: what it has left there isn't known.
    pub same_partition_seconds: f64,
    /// Rows so far of the largest partition that is being read, where one takes several pages.
    pub partition_rows: Option<u64>,
    /// Whether the old store is being waited for.
    pub old_away: bool,
    /// Whether the new store is being waited for.
    pub new_away: bool,
}

impl CopyProgress {
    /// Counts from nothing. `old` and `new` are what the stores' retry layers have seen.
    pub fn new(
        old: std::sync::Arc<crate::layer::retry::RetryCounts>,
        new: std::sync::Arc<crate::layer::retry::RetryCounts>,
    ) -> Self {
        CopyProgress {
            begun: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            present: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            milliunits: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            went_down: AtomicU64::new(0),
            ranges: RunningRanges::default(),
            beat: AtomicU64::new(0),
            old,
            new,
        }
    }

    /// How it stands now.
    pub fn reading(&self) -> CopySnapshot {
        let slowest = self.ranges.slowest();
        CopySnapshot {
            counts: self.counts(),
            share: self.ranges.share(),
            same_partition_seconds: slowest.seconds,
            partition_rows: slowest.partition_rows,
            old_away: self.old.is_away(),
            new_away: self.new.is_away(),
        }
    }

    /// What this run has counted so far.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            read: get(&self.read),
            written: get(&self.written),
            present: get(&self.present),
            completed: get(&self.completed),
            failed: get(&self.failed),
            bytes: get(&self.bytes),
            units: get(&self.milliunits) as f64 / 1e3,
            throttles: get(&self.new.throttles),
            seconds: super::seconds(self.begun),
            folded: get(&self.folded),
            unchanged: get(&self.unchanged),
            settled: get(&self.settled),
            went_down: get(&self.went_down),
        }
    }

    pub(super) fn read(&self, rows: usize) {
        self.read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn put(&self, puts: &WriteOutcomes) {
        let is_written =
            |row: &&crate::error::Result<WriteOutcome>| matches!(row, Ok(WriteOutcome::Written));
        let written = puts.rows.iter().filter(is_written).count() as u64;
        self.written.fetch_add(written, Ordering::Relaxed);
        self.wrote(puts);
    }

    /// Rows whose keys the new store had already: as they are, or with some of their columns only.
    pub(super) fn met(&self, present: usize, completed: usize) {
        self.present.fetch_add(present as u64, Ordering::Relaxed);
        self.completed
            .fetch_add(completed as u64, Ordering::Relaxed);
    }

    /// What a write took, whatever it was.
    pub(super) fn wrote(&self, puts: &WriteOutcomes) {
        self.bytes.fetch_add(puts.bytes, Ordering::Relaxed);
        self.milliunits
            .fetch_add((puts.units * 1e3) as u64, Ordering::Relaxed);
    }

    /// Counter rows that the journal knows to be folded.
    pub(super) fn skipped(&self, rows: u64) {
        self.unchanged.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counter rows that are gone from the old store.
    pub(super) fn deleted(&self, rows: u64) {
        self.went_down.fetch_add(rows, Ordering::Relaxed);
    }

    /// A counter row that has its answer.
    pub(super) fn folded(&self, folded: &Folded, pass: Pass) {
        let count = match folded {
            Folded::Folded { .. } => &self.folded,
            Folded::Unchanged { .. } | Folded::Gone => &self.unchanged,
            Folded::WentDown(_) => &self.went_down,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if pass == Pass::Settling && folded.is_settled() {
            self.settled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts dead letters, and says how many there are in this run by now.
    pub(super) fn failed(&self, letters: usize) -> u64 {
        self.failed.fetch_add(letters as u64, Ordering::Relaxed) + letters as u64
    }

    pub(super) fn beat(&self) -> u64 {
        self.beat.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Counts) -> Counts {
        Counts {
            read: self.read + other.read,
            written: self.written + other.written,
            present: self.present + other.present,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            bytes: self.bytes + other.bytes,
            units: self.units + other.units,
            throttles: self.throttles + other.throttles,
            seconds: self.seconds + other.seconds,
            folded: self.folded + other.folded,
            unchanged: self.unchanged + other.unchanged,
            settled: self.settled + other.settled,
            went_down: self.went_down + other.went_down,
        }
    }
}
