//! How many calls are made again that a store has asked to make later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many at once, after a time without any.
const MOST: f64 = 100.0;
/// Each call that goes well allows this part of one more.
const EARNED: f64 = 0.1;
/// So many in a second are allowed whatever becomes of them, so that a store that has been busy is seen to be back.
const ALWAYS: f64 = 5.0;
/// The most that is owed: nobody waits longer than for this many.
const OWED: f64 = 25.0;

/// A budget for repeated calls: while a store refuses all, they trickle, and a burst never becomes a storm.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<(f64, Instant)>);

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget(Mutex::new((MOST, Instant::now())))
    }
}

impl RetryBudget {
    /// Waits until one more call may be made again.
    pub(super) async fn take(&self) {
        let wait = {
            let mut state = self.state();
            let now = Instant::now();
            let passed = now.saturating_duration_since(state.1).as_secs_f64();
            let left = (state.0 + passed * ALWAYS).min(MOST) - 1.0;
            *state = (left.max(-OWED), now);
            (-state.0).max(0.0) / ALWAYS
        };
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    }

    /// A call has gone well.
    pub(super) fn earn(&self) {
        let mut state = self.state();
        state.0 = (state.0 + EARNED).min(MOST);
    }

    fn state(&self) -> MutexGuard<'_, (f64, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_and_again_trickles() {
        let budget = RetryBudget::default();
        let begun = Instant::now();
        for _ in 0..100 {
            budget.take().await;
        }
        assert_eq!(begun.elapsed().as_secs(), 0, "a burst is free");
        for _ in 0..50 {
            budget.take().await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((9.0..=11.0).contains(&took), "{took}");
        for _ in 0..200 {
            budget.earn();
        }
        let begun = Instant::now();
        for _ in 0..20 {
            budget.take().await;
        }
        assert!(begun.elapsed().as_secs() < 1, "what went well allows more");
    }
}
