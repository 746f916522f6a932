//! Each rule is needed.

use super::*;
use crate::checking::breaks;
use crate::permits::world::{SEEN, STAYS};

/// Asks before the first request of its call, and for the others goes by that.
struct AskedOnce;

impl Rules for AskedOnce {
    fn asks_before_each(&self) -> bool {
        false
    }
}

/// Takes a participant for gone, and all it has sent, once its lease and its longest operation are over.
struct WaitsForLeases;

impl Rules for WaitsForLeases {
    fn waits_for_landing(&self) -> bool {
        false
    }
}

/// A reset doesn't register, and asks nobody.
struct ResetWithout;

impl Rules for ResetWithout {
    fn joins(&self, kind: ParticipantKind) -> bool {
        kind != ParticipantKind::Reset
    }
}

/// A service that takes a request however long ago it was signed, as DynamoDB Local does.
struct NoSignatures;

impl Rules for NoSignatures {
    fn service_refuses_old_requests(&self) -> bool {
        false
    }
}

/// A machine that is paused from outside, and sees no time pass.
struct Paused;

impl Rules for Paused {
    fn lease_clock_goes_on(&self) -> bool {
        false
    }
    fn signs_with_the_right_time(&self) -> bool {
        false
    }
}

/// The same, but its time of day is set right as soon as it goes on.
struct PausedAndSet;

impl Rules for PausedAndSet {
    fn lease_clock_goes_on(&self) -> bool {
        false
    }
}

fn copier(name: &str, rules: &'static dyn Rules) {
    breaks(name, SEEN, going_back(ParticipantKind::Copier, rules));
}

/// The copier's first row is refused or lands in time. It stands still; the table goes to `bridge`, where an
/// application writes the second row to the old store, acknowledged; then the copier sends that row as it was.
#[test]
fn asked_once_a_call() {
    copier("permits asked once a call, copier", &AskedOnce);
    breaks("permits asked once a call, reset", STAYS, reset(&AskedOnce));
}

/// The lease is over, and what was sent under it is still on its way.
#[test]
fn a_barrier_that_waits_for_the_lease_alone() {
    copier("permits, no landing time, copier", &WaitsForLeases);
    let resave = going_back(ParticipantKind::Shim, &WaitsForLeases);
    breaks("permits, no landing time, re-save", SEEN, resave);
    breaks(
        "permits, no landing time, reset",
        STAYS,
        reset(&WaitsForLeases),
    );
}

/// It goes on after another reset, a copy and a move to `new`, and deletes what was copied.
#[test]
fn a_reset_without_a_permit() {
    breaks("permits, a reset without one", STAYS, reset(&ResetWithout));
}

/// What isn't promised: it stood still between asking and sending.
#[test]
fn a_service_that_takes_old_requests() {
    copier("permits, no signatures", &NoSignatures);
}

/// What it signs is as old as its clock says, so that the service holds it back; but not if that clock is set right
/// before its lease is seen to be over.
#[test]
fn a_machine_that_sees_no_time_pass() {
    let model = going_back(ParticipantKind::Copier, &Paused);
    holds("permits, a clock that stands still", model);
    copier("permits, a clock that is set right", &PausedAndSet);
}
