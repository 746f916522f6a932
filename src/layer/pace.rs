//! Ceilings: how much of a store a process takes in a second.
//!
//! What a call costs is known once it is over. So it takes what such calls have cost lately, waits until
//! that is there, and puts the account right afterwards. The account may be overdrawn: the next one
//! waits for it. So a ceiling holds over any stretch of time, but for one second's worth that may have been
//! saved up, and for calls that cost more than those before them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::store::Room;

/// How much of what a call has cost goes into what the next one is thought to cost.
const LEARNED: f64 = 0.1;

/// The ceilings of one store, for all that a process does there as a tool. Applications have none.
#[derive(Debug, Default)]
pub struct Pace {
    reads: Option<Account>,
    writes: Option<Account>,
    room: Arc<Room>,
}

impl Pace {
    /// So many rows read in a second, and so many write units; `None` is no ceiling.
    ///
    /// A row counts as one unit where the store doesn't tell what a write has cost.
    pub fn new(read_rows: Option<u32>, write_units: Option<u32>) -> Self {
        Pace {
            // It isn't known how many rows a page has before the first one is there.
            reads: read_rows.map(|rate| Account::new(rate, 0.0)),
            writes: write_units.map(|rate| Account::new(rate, 1.0)),
            room: Arc::default(),
        }
    }

    /// The same, with pages that take their room from this: that of the whole process.
    #[must_use]
    pub fn within(mut self, room: &Arc<Room>) -> Self {
        self.room = room.clone();
        self
    }

    /// Where pages take their room.
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Reads, and tells how many rows that were.
    pub(super) async fn reading<T>(
        &self,
        call: impl Future<Output = Result<T>>,
        rows: impl Fn(&T) -> usize,
    ) -> Result<T> {
        let Some(account) = &self.reads else {
            return call.await;
        };
        let taken = account.take(1).await;
        let answer = call.await;
        account.settle(1, taken, answer.as_ref().map_or(0, rows) as f64);
        answer
    }

    /// Writes `count` rows, and tells what that has cost.
    pub(super) async fn writing<T>(
        &self,
        count: usize,
        call: impl Future<Output = T>,
        units: impl Fn(&T) -> f64,
    ) -> T {
        let Some(account) = &self.writes else {
            return call.await;
        };
        let taken = account.take(count).await;
        let answer = call.await;
        let units = units(&answer);
        let cost = if units > 0.0 { units } else { count as f64 };
        account.settle(count, taken, cost);
        answer
    }
}

/// What may be spent.
#[derive(Debug)]
struct Account {
    /// What comes in, in a second; the most that is saved up, too.
    rate: f64,
    state: Mutex<PaceState>,
}

#[derive(Debug)]
struct PaceState {
    /// Below 0 it is overdrawn.
    balance: f64,
    /// When that was.
    at: Instant,
    /// What one thing has cost lately.
    usual: f64,
}

impl Account {
    fn new(rate: u32, usual: f64) -> Self {
        Account {
            rate: f64::from(rate.max(1)),
            state: Mutex::new(PaceState {
                balance: 0.0,
                at: Instant::now(),
                usual,
            }),
        }
    }

    /// Takes what `count` things usually cost, and waits until that has come in. Gives what was taken.
    async fn take(&self, count: usize) -> f64 {
        let (taken, wait) = {
            let mut state = self.state();
            let now = Instant::now();
            let came_in = now.duration_since(state.at).as_secs_f64() * self.rate;
            state.at = now;
            let taken = state.usual * count as f64;
            state.balance = (state.balance + came_in).min(self.rate) - taken;
            (taken, (-state.balance).max(0.0) / self.rate)
        };
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
        taken
    }

    /// What was taken for `count` things has in truth cost this.
    fn settle(&self, count: usize, taken: f64, cost: f64) {
        let mut state = self.state();
        state.balance += taken - cost;
        let each = cost / count.max(1) as f64;
        state.usual += (each - state.usual) * LEARNED;
    }

    fn state(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Eight at once write rows of so many units for a while; gives the units of a second.
    async fn written_in_a_second(
        pace: Pace,
        units: impl Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    ) -> f64 {
        const SECONDS: u64 = 60;
        let (pace, sum) = (Arc::new(pace), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now();
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (pace, sum) = (pace.clone(), sum.clone());
            writers.spawn(async move {
                for turn in 0.. {
                    let write = async {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        sum.fetch_add(25 * units(turn), Ordering::Relaxed);
                    };
                    pace.writing(25, write, |()| (25 * units(turn)) as f64)
                        .await;
                    if begun.elapsed() >= Duration::from_secs(SECONDS) {
                        return;
                    }
                }
            });
        }
        writers.join_all().await;
        sum.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_is_reached_and_kept() {
        for cost in [1, 3, 40] {
            let rate = written_in_a_second(Pace::new(None, Some(1_000)), move |_| cost).await;
            // All are on their way when the minute ends.
            let last = 8.0 * 25.0 * cost as f64 / 60.0;
            assert!((950.0..=1_000.0 + last).contains(&rate), "{cost}: {rate}");
        }
        let rate = written_in_a_second(Pace::new(None, Some(1_000)), |turn| 1 + turn % 7).await;
        assert!((900.0..=1_050.0).contains(&rate), "{rate}");
        let rate = written_in_a_second(Pace::default(), |_| 1).await;
        assert!(rate > 30_000.0, "without a ceiling: {rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_paid_for_by_the_rows_they_had() {
        let pace = Pace::new(Some(100), None);
        let begun = Instant::now();
        for rows in [500, 0, 0, 500] {
            let page = async { Ok(rows) };
            assert_eq!(pace.reading(page, |rows| *rows).await.ok(), Some(rows));
        }
        let took = begun.elapsed().as_secs_f64();
        // The last one is a debt.
        assert!((5.0..=6.0).contains(&took), "{took}");
        let failed =
            async { Err::<usize, _>(crate::error::Error::new(crate::error::Kind::Timeout, "")) };
        assert!(pace.reading(failed, |rows| *rows).await.is_err());
        let took = begun.elapsed().as_secs_f64();
        assert!((10.0..=11.0).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_saved_up_is_a_second_at_most() {
        let pace = Pace::new(None, Some(100));
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let begun = Instant::now();
        for _ in 0..5 {
            pace.writing(100, async {}, |()| 100.0).await;
        }
        assert_eq!(begun.elapsed().as_secs_f64().round(), 4.0);
    }
}
