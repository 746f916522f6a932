//! The time of day, and the clock that leases are measured with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn unix_seconds() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Microseconds since 1970.
pub fn unix_micros() -> i64 {
    i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX)
}

/// A clock that is set before 1970 says 1970.
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// What leases are measured with.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's, which goes on while it is suspended.
    #[default]
    Machine,
    /// Milliseconds that the caller counts: for tests and simulations.
    Counted(Arc<AtomicU64>),
}

impl Clock {
    /// The time of day, seconds since 1970. None where the caller counts the time.
    pub fn unix_seconds(&self) -> Option<i64> {
        match self {
            Clock::Machine => Some(unix_seconds()),
            Clock::Counted(_) => None,
        }
    }

    /// The time since some moment that is the same for the life of the process.
    pub fn now(&self) -> Duration {
        match self {
            Clock::Machine => machine_time(),
            Clock::Counted(millis) => Duration::from_millis(millis.load(Ordering::SeqCst)),
        }
    }
}

/// Linux has a clock that goes on while the machine is suspended.
#[cfg(target_os = "linux")]
fn machine_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Elsewhere the standard library's has to do.
#[cfg(not(target_os = "linux"))]
fn machine_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
