//! The right to write: a permit before each request, a lease that ends, a barrier that waits for both.
//!
//! Somebody who writes to the new store with several requests may stand still at any moment for any time, between
//! asking and sending too, while the table is moved on. How long the barrier waits, and before which steps, is asked of
//! the library; so is whether a participant goes on without a lease. What is a model here:
//!
//! - One clock, which goes on for the one that stands still. (A mutant's doesn't.)
//! - A request is signed, then its permit is asked, then it is sent. It lands at any time, or never; but the service
//!   takes none that was signed longer ago than the landing time.
//! - The barrier counts from its own first look at a participant, and anew whenever that has changed its item.

mod mutants;
mod world;

use crossfade::control::ParticipantKind;
use crossfade::protocol::Phase::{Bridge, Copy, New, Offline, Old, Switch};

use crate::checking::holds;
use world::{AsDesigned, Permits, Rules, World};

/// A tool copies, or an application saves what it has read, while the table goes back to where the old store
/// decides.
fn going_back(kind: ParticipantKind, rules: &'static dyn Rules) -> Permits {
    Permits {
        start: World::new(kind, Copy),
        walk: vec![Copy, Switch, Bridge],
        rules,
    }
}

/// A reset empties the target, while another one does, and after that a copy, and a move to `new`.
fn reset(rules: &'static dyn Rules) -> Permits {
    Permits {
        start: World::new(ParticipantKind::Reset, Offline),
        walk: vec![Offline, Old, Offline, New],
        rules,
    }
}

#[test]
fn whoever_stands_still_hides_and_removes_nothing() {
    let kinds = [ParticipantKind::Copier, ParticipantKind::Shim];
    for kind in kinds {
        let name = format!("permits, {} and a way back", kind.name());
        holds(&name, going_back(kind, &AsDesigned));
    }
    holds("permits, reset", reset(&AsDesigned));
}
