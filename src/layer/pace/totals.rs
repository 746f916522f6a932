//! What was done at a pace so far, for metrics.

use crate::error::ThrottleCause;

/// What was done at a pace so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaceTotals {
    /// Rows read.
    pub rows: u64,
    /// Units written.
    pub units: f64,
    /// Rows and reads that the store asked to send later, by what it is short of.
    pub throttled: [(&'static str, u64); 4],
    /// Reads that timed out, or found too few replicas or no server.
    pub failed: u64,
}

/// What a store is short of that doesn't tell.
const UNTOLD: &str = "untold";

impl PaceTotals {
    pub(super) fn new() -> Self {
        let cause = |cause: ThrottleCause| (cause.name(), 0);
        PaceTotals {
            throttled: [
                cause(ThrottleCause::Table),
                cause(ThrottleCause::Account),
                cause(ThrottleCause::Partition),
                (UNTOLD, 0),
            ],
            ..PaceTotals::default()
        }
    }

    pub(super) fn throttled_by(&mut self, cause: Option<ThrottleCause>) {
        let name = cause.map_or(UNTOLD, ThrottleCause::name);
        for (known, count) in &mut self.throttled {
            *count += u64::from(*known == name);
        }
    }
}
