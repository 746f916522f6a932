//! How much of something there was lately.

use std::time::Duration;

use tokio::time::Instant;

/// Of how many slots of which length it remembers: three seconds.
const SLOTS: usize = 30;
const SLOT_MILLIS: u64 = 100;

/// Counts by tenths of a second.
#[derive(Debug)]
pub(super) struct Meter {
    begun: Instant,
    slots: [f64; SLOTS],
    /// The number of the newest slot.
    newest: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            begun: Instant::now(),
            slots: [0.0; SLOTS],
            newest: 0,
        }
    }

    pub(super) fn add(&mut self, now: Instant, count: f64) {
        self.move_on(now);
        let place = self.place(self.newest);
        self.slots[place] += count;
    }

    /// How many there were in a second, over the last `over`.
    pub(super) fn rate(&mut self, now: Instant, over: Duration) -> f64 {
        self.move_on(now);
        let whole = (over.as_millis() as u64 / SLOT_MILLIS).clamp(1, SLOTS as u64 - 1);
        let whole = whole.min(self.newest);
        let first = self.newest - whole;
        let sum: f64 = (first..=self.newest)
            .map(|slot| self.slots[self.place(slot)])
            .sum();
        // The newest slot isn't full.
        let passed = now.saturating_duration_since(self.begun).as_millis() as u64;
        let millis = passed.saturating_sub(first * SLOT_MILLIS);
        sum * 1e3 / millis.max(SLOT_MILLIS) as f64
    }

    fn move_on(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun).as_millis() as u64;
        let slot = passed / SLOT_MILLIS;
        let from = (self.newest + 1).max((slot + 1).saturating_sub(SLOTS as u64));
        for passed_over in from..=slot {
            let place = self.place(passed_over);
            self.slots[place] = 0.0;
        }
        self.newest = self.newest.max(slot);
    }

    fn place(&self, slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_late() {
        let mut meter = Meter::new();
        let second = Duration::from_secs(1);
        assert_eq!(meter.rate(Instant::now(), second), 0.0);
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(20)).await;
            meter.add(Instant::now(), 2.0);
        }
        let rate = meter.rate(Instant::now(), second);
        assert!((95.0..=105.0).contains(&rate), "{rate}");
        tokio::time::advance(Duration::from_millis(900)).await;
        let rate = meter.rate(Instant::now(), second);
        assert!((5.0..=25.0).contains(&rate), "{rate}");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(meter.rate(Instant::now(), second), 0.0);
        meter.add(Instant::now(), 10.0);
        let rate = meter.rate(Instant::now(), second);
        assert!((9.0..=11.0).contains(&rate), "{rate}");
    }
}
