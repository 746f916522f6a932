//! Calls by how long they took, so that percentiles of many seconds and processes can be told together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Steps in which times double: two that follow each other are a fifth apart.
const STEPS: f64 = 4.0;
/// Times are told from this one on, in tenths of a millisecond to a second: 10^4.
const IN_A_SECOND: f64 = 1e4;
/// Everything above is counted as this: 0.1 ms times 2^25, most of an hour.
const LAST: u8 = 100;

/// How many calls took how long: the number of the step, and how many calls took that long or less, and longer than the
/// step before. Step `n` is 0.1 ms times 2 to the power of `n`/4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TookCounts(BTreeMap<u8, u64>);

impl TookCounts {
    /// Counts a call.
    pub fn add(&mut self, took: Duration) {
        let step = ((took.as_secs_f64() * IN_A_SECOND).log2() * STEPS).ceil();
        // A cast of what is no number, or below, is 0.
        *self.0.entry((step as u8).min(LAST)).or_default() += 1;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &TookCounts) {
        for (step, count) in &other.0 {
            *self.0.entry(*step).or_default() += count;
        }
    }

    /// How many calls there were.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that so many of 100 calls kept within, rounded up to a step; none without calls.
    pub fn within(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut counted = 0;
        for (step, count) in &self.0 {
            counted += count;
            if counted >= wanted {
                let seconds = (f64::from(*step) / STEPS).exp2() / IN_A_SECOND;
                return Some(Duration::from_secs_f64(seconds));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn percentiles_are_a_step_above_at_most() {
        let mut counts = TookCounts::default();
        assert_eq!(counts.within(50), None);
        for millis in 1..=99 {
            counts.add(Duration::from_millis(millis));
        }
        counts.add(Duration::from_secs(2));
        for (percent, wanted) in [(50, 0.050), (99, 0.099), (100, 2.0)] {
            let told = counts.within(percent).unwrap().as_secs_f64();
            assert!((wanted..wanted * 1.2).contains(&told), "{percent}: {told}");
        }
        assert_eq!(counts.count(), 100);
        let mut twice = counts.clone();
        twice.merge(&counts);
        assert_eq!((twice.count(), twice.within(99)), (200, counts.within(99)));
        let json = serde_json::to_string(&twice).unwrap();
        assert_eq!(serde_json::from_str::<TookCounts>(&json).unwrap(), twice);
    }

    #[test]
    fn the_shortest_and_the_longest_are_counted() {
        let mut counts = TookCounts::default();
        counts.add(Duration::ZERO);
        assert_eq!(counts.within(99), Some(Duration::from_micros(100)));
        counts.add(Duration::from_secs(1 << 30));
        assert!(counts.within(100).unwrap() > Duration::from_secs(3_000));
    }
}
