//! What is said of a move from phase to phase: how it is to be made, how it goes on, what is against it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::control::{Awaited, Gone, Participant};
use crate::error::Result;
use crate::protocol::Phase;
use crate::store::Old;

/// Opens the old store, should a move have to look into it. It may be dead by then, so that it isn't
/// opened before.
pub type OpenOld<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<Old>> + Sync);

/// Is told how a move goes on.
pub type Observer<'a> = &'a mut (dyn FnMut(Event<'_>) + Send);

/// How a table is to be moved.
pub struct MoveOptions<'a> {
    /// How many applications have to be registered, where the operator says so.
    pub expect: Option<usize>,
    /// Whom the operator vouches to be gone.
    pub gone: Gone,
    /// What the wait for those who are silent is measured with.
    pub clock: Clock,
    /// The table's name, typed by an operator who wants it in `done` and knows that there is no way back.
    pub done: Option<String>,
    /// The old store.
    pub open_old: OpenOld<'a>,
}

/// How a move goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// `old` is about to be left, and these applications follow. One that isn't among them goes on
    /// writing to the old store only.
    Applications(&'a [(String, Participant)]),
    /// A step is about to be made.
    Step {
        /// Where everyone is.
        from: Phase,
        /// Where everyone is to go.
        to: Phase,
    },
    /// These haven't acknowledged the phase yet.
    Waiting {
        /// The phase.
        phase: Phase,
        /// Who, and since when each is silent.
        left: &'a [Awaited],
        /// How long it has been waiting for this phase.
        waited: Duration,
    },
    /// Everyone is in this phase.
    Reached(Phase),
    /// The role may not write to the old table any more; it waits until no server goes by what it
    /// remembers.
    Fencing {
        /// The role.
        role: &'a str,
        /// How long it waits.
        settles: Duration,
    },
    /// The role may write to the old table again.
    Unfenced {
        /// The role.
        role: &'a str,
    },
}

/// A step that a move would make.
#[derive(Debug)]
pub struct MovePreview {
    /// Where it would begin.
    pub from: Phase,
    /// Where it would lead.
    pub to: Phase,
    /// Who is registered now, by id, and would have to acknowledge it.
    pub waits_for: Vec<(String, Participant)>,
    /// The role whose permission to write to the old table it would take.
    pub takes: Option<String>,
    /// The roles that it would give theirs back.
    pub gives: BTreeSet<String>,
    /// What argues against it now.
    pub refusals: Vec<Refusal>,
}

/// Something that prevents entering a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub help: String,
}
