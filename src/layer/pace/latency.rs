//! How long reads of a store take, and whether that is too long.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What counts.
const LATELY: Duration = Duration::from_secs(5);
/// Of fewer reads nothing follows.
const FEWEST: usize = 3;
/// More aren't kept; the oldest go first.
const MOST: usize = 2_000;

/// The reads of late.
#[derive(Debug, Default)]
pub(super) struct Latencies(VecDeque<(Instant, Duration)>);

impl Latencies {
    /// A read that began then took this long.
    pub(super) fn add(&mut self, begun: Instant, took: Duration) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((begun, took));
    }

    /// The time that 99 of 100 reads keep within, of those that began lately and since then; none while there are too
    /// few.
    pub(super) fn p99(&mut self, now: Instant, since: Option<Instant>) -> Option<Duration> {
        let is_old =
            |read: &(Instant, Duration)| now.saturating_duration_since(read.0 + read.1) > LATELY;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        let counts = |begun: Instant| since.is_none_or(|since| begun >= since);
        let mut all: Vec<Duration> = self
            .0
            .iter()
            .filter(|(begun, _)| counts(*begun))
            .map(|(_, took)| *took)
            .collect();
        if all.len() < FEWEST {
            return None;
        }
        all.sort_unstable();
        all.get((all.len() * 99).div_ceil(100) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_slowest_of_a_hundred_is_left_out_and_what_is_long_ago_too() {
        let mut reads = Latencies::default();
        let begun = Instant::now();
        let millis = Duration::from_millis;
        reads.add(begun, millis(7));
        reads.add(begun, millis(9));
        assert_eq!(reads.p99(begun, None), None);
        reads.add(begun, millis(8));
        assert_eq!(reads.p99(begun, None), Some(millis(9)));
        for _ in 0..97 {
            reads.add(begun, millis(5));
        }
        assert_eq!(reads.p99(begun, None), Some(millis(8)));
        tokio::time::advance(millis(100)).await;
        assert_eq!(reads.p99(Instant::now(), Some(Instant::now())), None);
        tokio::time::advance(millis(6_000)).await;
        assert_eq!(reads.p99(Instant::now(), None), None);
    }
}
