//! A limit that follows what a store bears: down at once when the store asks for less, up again by a cubic curve.
//!
//! The curve is that of CUBIC, which the AWS SDKs' adaptive mode uses too: it is back soon at what the store bore
//! before, stays near that for a moment, and then looks ever more boldly for more. With [`GROWTH`] a limit that was
//! taken back by a tenth has doubled after six seconds or seven.

use std::time::Duration;

use tokio::time::Instant;

/// How steep the curve is, in parts of the peak for each second cubed.
const GROWTH: f64 = 0.0125;
/// After a step down nothing is judged for so long: what was under way is answered in it.
pub(super) const SETTLING: Duration = Duration::from_millis(250);
/// A limit has no meaning beyond so many times what is really taken.
const BEYOND: f64 = 2.0;
/// A step down goes to no less than this part of what was taken.
const DEEPEST: f64 = 0.1;

/// How far down one step goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepDown {
    /// The part of the limit that is left at most.
    pub to: f64,
    /// What the store has really done in a second lately, where that tells what it bears.
    pub borne: Option<f64>,
    /// What was asked of it in a second.
    pub asked: f64,
    /// It goes no lower.
    pub least: f64,
}

/// What may be taken in a second, as far as the store's answers tell. None until it asks for less.
#[derive(Debug, Default)]
pub(super) struct AdaptiveLimit(Option<Curve>);

#[derive(Debug)]
struct Curve {
    /// The limit after the last step down.
    base: f64,
    /// What the store bore before that.
    peak: f64,
    stepped: Instant,
    /// When the curve began to rise: with the first good news after the step.
    rising: Option<Instant>,
}

impl Curve {
    fn at(&self, now: Instant) -> f64 {
        let Some(rising) = self.rising else {
            return self.base;
        };
        let seconds = now.saturating_duration_since(rising).as_secs_f64();
        let back = ((1.0 - self.base / self.peak).max(0.0) / GROWTH).cbrt();
        let risen = self.peak * (1.0 + GROWTH * (seconds - back).powi(3));
        risen.max(self.base)
    }
}

impl AdaptiveLimit {
    /// The limit, where `taken` is what is really taken in a second: one that nobody reaches grows no further.
    pub(super) fn now(&self, now: Instant, taken: f64) -> Option<f64> {
        let curve = self.0.as_ref()?;
        Some(curve.at(now).min((taken * BEYOND).max(curve.peak)))
    }

    /// When it stepped down last.
    pub(super) fn stepped(&self) -> Option<Instant> {
        self.0.as_ref().map(|curve| curve.stepped)
    }

    /// Whether what happened to a call that began then tells anything of the present limit.
    pub(super) fn is_told_by(&self, begun: Instant) -> bool {
        self.stepped()
            .is_none_or(|stepped| begun >= stepped + SETTLING)
    }

    /// The store asks for less.
    pub(super) fn step_down(&mut self, now: Instant, step: StepDown) {
        let before = self
            .now(now, step.asked)
            .map_or(step.asked, |limit| limit.min(step.asked.max(step.least)));
        let borne = step.borne.unwrap_or(before);
        let base = (before * step.to)
            .min(borne)
            .max(before * DEEPEST)
            .max(step.least);
        let peak = match step.borne {
            Some(borne) => borne.min(before),
            // Where only the curve tells, a store that is slow twice bears less than the curve thinks.
            None => {
                let peak = self.0.as_ref().map_or(before, |curve| curve.peak);
                let half_way = f64::midpoint(1.0, step.to);
                if before < peak {
                    peak * half_way
                } else {
                    before
                }
            }
        };
        self.0 = Some(Curve {
            base,
            peak: peak.max(base),
            stepped: now,
            rising: None,
        });
    }

    /// The store is well, by a call that began after the last step down.
    pub(super) fn is_well(&mut self, now: Instant) {
        if let Some(curve) = &mut self.0 {
            curve.rising.get_or_insert(now);
        }
    }
}
