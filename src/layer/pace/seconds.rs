//! What a process did in a store, second by second: a minute's average hides what a spike does.

use std::collections::VecDeque;
use std::time::Duration;

use super::took::TookCounts;
use crate::clock;

/// Seconds that are kept.
const KEPT: usize = 120;

/// One second of a process's work in a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PaceSecond {
    /// Which one: seconds since 1970, by this machine's clock.
    pub at: i64,
    /// Rows read.
    pub rows: u64,
    /// Units written.
    pub units: f64,
    /// Rows, and reads, that the store asked to send later.
    pub throttled: u64,
    /// Those of them that were for hot partitions.
    pub hot: u64,
    /// Reads that timed out, or found too few replicas or no server.
    pub failed: u64,
    /// How long the slowest read took.
    pub slowest: Duration,
    /// How long reads took that ended in it.
    pub reads: TookCounts,
    /// How long writes took that ended in it.
    pub writes: TookCounts,
}

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct PaceSeconds(VecDeque<PaceSecond>);

impl PaceSeconds {
    /// The one that it is now. A clock that is set back counts into the last one.
    pub(super) fn now(&mut self) -> &mut PaceSecond {
        let now = clock::unix_seconds();
        if self.0.back().is_none_or(|last| last.at < now) {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back(PaceSecond {
                at: now,
                ..PaceSecond::default()
            });
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Those after this one; the present one isn't whole, and is wanted at the end of the work alone. Those in which
    /// nothing happened are left out.
    pub(super) fn after(&self, at: i64, is_over: bool) -> Vec<PaceSecond> {
        let now = clock::unix_seconds();
        let is_wanted = |second: &&PaceSecond| second.at > at && (is_over || second.at < now);
        self.0.iter().filter(is_wanted).cloned().collect()
    }
}
