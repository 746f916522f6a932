//! Times in which a store is away, and what has been seen of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a [`super::Retry`] has seen, for the one that shows it.
#[derive(Debug, Default)]
pub struct RetryCounts {
    /// Times the store asked for less.
    pub throttles: AtomicU64,
    /// Calls that are waiting right now for a store that couldn't be reached.
    pub waiting: AtomicU64,
    /// No call has had an answer since one couldn't reach the store.
    pub is_silent: AtomicBool,
}

impl RetryCounts {
    /// Whether the store is being waited for. One that has answered a call is back, though others still pause.
    pub fn is_away(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// How long one outage isn't told after another one has been: of a store that comes and goes.
const APART: Duration = Duration::from_secs(5);

/// A time in which a store is away, as all calls see it together: from the first one that fails until each that
/// has failed has its answer.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Away>);

#[derive(Debug, Default)]
struct Away {
    calls: usize,
    since: Option<Instant>,
    /// When the present one was told.
    told: Option<Instant>,
    /// When the last one was told.
    last_told: Option<Instant>,
}

impl Outage {
    fn away(&self) -> MutexGuard<'_, Away> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to say that the store is away: once for each outage.
    pub(super) fn is_to_be_told(&self) -> bool {
        let mut away = self.away();
        let is_soon = away.last_told.is_some_and(|told| told.elapsed() < APART);
        if away.told.is_some() || is_soon {
            return false;
        }
        away.told = Some(Instant::now());
        away.last_told = away.told;
        true
    }

    /// How long it was, if it is over and had been told.
    pub(super) fn ended(&self) -> Option<Duration> {
        let mut away = self.away();
        if away.calls > 0 {
            return None;
        }
        let since = away.since.take();
        away.told.take().and(since).map(|since| since.elapsed())
    }
}

/// A call that waits for a store that is away, until it has its answer or is dropped.
pub(super) struct WaitingCall(Arc<Outage>, Arc<RetryCounts>);

impl WaitingCall {
    pub(super) fn new(outage: &Arc<Outage>, seen: &Arc<RetryCounts>) -> Self {
        let mut away = outage.away();
        if away.calls == 0 {
            // Also after one whose last call was given up.
            (away.since, away.told) = (Some(Instant::now()), None);
        }
        away.calls += 1;
        drop(away);
        seen.waiting.fetch_add(1, Ordering::Relaxed);
        WaitingCall(outage.clone(), seen.clone())
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.0.away().calls -= 1;
        self.1.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_once_and_its_end_once() {
        let (outage, seen) = (Arc::<Outage>::default(), Arc::<RetryCounts>::default());
        let wait = || WaitingCall::new(&outage, &seen);
        let (one, other) = (wait(), wait());
        assert!(outage.is_to_be_told());
        assert!(!outage.is_to_be_told(), "one word for all calls");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!outage.is_to_be_told(), "however long it lasts");
        drop(one);
        assert_eq!(outage.ended(), None, "a call is waiting still");
        drop(other);
        assert_eq!(outage.ended(), Some(Duration::from_secs(30)));
        assert_eq!(outage.ended(), None);
        assert_eq!(seen.waiting.load(Ordering::Relaxed), 0);

        // Another one, long after it; and one whose only call is dropped.
        let one = wait();
        assert!(outage.is_to_be_told());
        drop(one);
        tokio::time::advance(APART).await;
        let other = wait();
        assert!(outage.is_to_be_told());
        drop(other);
    }
}
