//! The rows of a write, as a pace counts them.

use std::collections::BTreeMap;

use super::hot;
use crate::error::{Kind, Result, ThrottleCause};
use crate::model::Value;
use crate::store::{WriteOutcome, WriteOutcomes};

/// The rows of a write, of which a pace asks the partitions if some are hot.
#[derive(Clone, Copy)]
pub(in crate::layer) struct WrittenRows<'a> {
    pub table: &'a str,
    /// Each row's partition key.
    pub keys: &'a [&'a [Value]],
}

/// How many rows were refused, in all and in hot partitions, and what the store was short of for each.
#[derive(Default)]
pub(super) struct RefusedRows {
    pub all: usize,
    pub hot: BTreeMap<u64, usize>,
    pub causes: Vec<Option<ThrottleCause>>,
}

impl WrittenRows<'_> {
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = u64> {
        self.keys.iter().map(|key| hot::partition(self.table, key))
    }

    pub(super) fn refused(&self, answer: &WriteOutcomes) -> RefusedRows {
        let mut refused = RefusedRows::default();
        for (key, row) in self.keys.iter().zip(&answer.rows) {
            let Err(error) = row else { continue };
            if error.kind() != Kind::Throttled {
                continue;
            }
            refused.all += 1;
            refused.causes.push(error.throttled_by());
            if error.throttled_by() == Some(ThrottleCause::Partition) {
                let partition = hot::partition(self.table, key);
                *refused.hot.entry(partition).or_default() += 1;
            }
        }
        refused
    }
}

/// Whether the call as a whole got no answer in time. A row alone says little of what the store bears.
pub(super) fn has_timed_out(answer: &WriteOutcomes) -> bool {
    let mut rows = answer.rows.iter();
    let is_late = |row: &Result<WriteOutcome>| {
        row.as_ref()
            .is_err_and(|error| error.kind() == Kind::Timeout)
    };
    !answer.rows.is_empty() && rows.all(is_late)
}
