//! Stop points: places where a process dies on purpose, so that a test can start it again from after
//! every one of them. They are there in builds with the feature `conformance` only.
//!
//! With `CROSSFADE_STOP_AT=7` the process aborts at the seventh point that it comes to, with
//! `CROSSFADE_STOP_AT="7 before a flush of the journal"` at the seventh of that place: no destructor
//! runs, nothing is flushed, no reply is waited for. Points are before and after every write to the
//! new store, its control table included ([`crate::testing::stopping`]), and before and after every
//! flush of the journal, and after a range of a copy was shared.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the point, and the place whose points are counted; none counts them all.
static STOP_AT: LazyLock<Option<(u64, Option<String>)>> = LazyLock::new(|| {
    let text = std::env::var("CROSSFADE_STOP_AT").ok()?;
    let (number, place) = match text.split_once(' ') {
        Some((number, place)) => (number, Some(place.to_owned())),
        None => (text.as_str(), None),
    };
    Some((number.parse().ok()?, place))
});
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Whether the environment names a point to stop at.
pub fn are_asked_for() -> bool {
    STOP_AT.is_some()
}

/// How many points the process has come to.
pub fn passed() -> u64 {
    PASSED.load(Ordering::Relaxed)
}

/// A point. The process ends here if it is the one that was asked for.
pub fn point(place: &str) {
    let Some((stop_at, wanted)) = &*STOP_AT else {
        return;
    };
    if wanted.as_ref().is_some_and(|wanted| wanted != place) {
        return;
    }
    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if number == *stop_at {
        eprintln!("stopped at point {number}: {place}");
        std::process::abort();
    }
}
