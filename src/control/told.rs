//! What a participant tells metrics of itself.

use std::sync::{Mutex, PoisonError};

use crate::protocol::Phase;

/// The phase that metrics tell.
#[derive(Default)]
pub(super) struct ToldPhase(Mutex<Option<Phase>>);

impl ToldPhase {
    /// The lease was renewed in this phase, at a time of day (seconds since 1970).
    pub(super) fn renewed(&self, target: &str, phase: Phase, at: Option<i64>) {
        metrics::gauge!("crossfade_lease_renewed_timestamp_seconds", "target" => target.to_owned())
            .set(at.unwrap_or(0) as f64);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == Some(phase) {
            return;
        }
        let is = |phase: Phase, value: f64| {
            let target = target.to_owned();
            metrics::gauge!("crossfade_phase", "target" => target, "phase" => phase.name())
                .set(value);
        };
        if let Some(before) = told.replace(phase) {
            is(before, 0.0);
        }
        is(phase, 1.0);
    }
}
