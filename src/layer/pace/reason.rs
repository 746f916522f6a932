//! Why a pace is what it is.

use std::fmt;
use std::time::Duration;

/// Which of the two stores it is, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacedStore {
    /// The one that is left.
    Old,
    /// The one that is moved to.
    #[default]
    New,
}

/// Why a pace is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceReason {
    /// An operator said so: `migrate pace --pause`.
    Paused,
    /// The control table doesn't say what operators want, so nothing is taken.
    OrdersUnknown,
    /// A store asks for less.
    Throttled(PacedStore),
    /// Some partitions of the new store are hot.
    HotPartitions(usize),
    /// The p99 of the old store's reads, and what the plan allows.
    OldSlow {
        /// What it is.
        p99: Duration,
        /// What it may be.
        over: Duration,
    },
    /// Reads of the old store time out, or it has too few replicas.
    OldFails,
    /// Calls of the new store time out.
    NewFails,
    /// The plan's ceiling, or an operator's.
    Ceiling,
}

impl fmt::Display for PaceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PaceReason::Paused => f.write_str("paused by an operator"),
            PaceReason::OrdersUnknown => {
                f.write_str("held: the control table doesn't say what operators want")
            }
            PaceReason::Throttled(PacedStore::Old) => f.write_str("throttled by the old store"),
            PaceReason::Throttled(PacedStore::New) => f.write_str("throttled by the new store"),
            PaceReason::HotPartitions(1) => f.write_str("one partition of the new store is hot"),
            PaceReason::HotPartitions(count) => {
                write!(f, "{count} partitions of the new store are hot")
            }
            PaceReason::OldSlow { p99, over } => write!(
                f,
                "old store slow: p99 {} ms over {}",
                p99.as_millis(),
                over.as_millis()
            ),
            PaceReason::OldFails => {
                f.write_str("old store slow: reads time out, or too few replicas answer")
            }
            PaceReason::NewFails => f.write_str("new store slow: calls time out"),
            PaceReason::Ceiling => f.write_str("ceiling"),
        }
    }
}
