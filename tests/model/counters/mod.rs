//! One counter row on its way from the old store to the new one.
//!
//! | invariant | what it says, in every state that can be reached |
//! |---|---|
//! | conservation | what each live phase shows is the sum of all adds that have landed |
//! | count_within | a count is at least what had been acknowledged when it began, at most what had been attempted when it ended |
//! | tally_within | an add that is told the totals is told at least itself and what had been acknowledged when it began, at most what had been attempted when it ended |
//! | tallies_differ | from `copy` on no two adds are told the same totals |
//! | fold_preserves | no write of a copier changes `c - w` |
//! | new_is_settled | while anybody is in `new` or `done`, `w` is the old total |
//! | no_false_alarm | no total is said to have gone down, since none does against the plan |
//!
//! An add counts once, whether it is acknowledged or not. Somebody who is killed, or waits no longer for a
//! reply, leaves a write behind that lands later or never; only the barrier waits for it. A copier that was
//! killed starts with its own journal, another's, or none.
//!
//! Taken for granted here: each call is atomic in its store, and the barrier knows who is where. Counters
//! that were deleted, and numbers at the ends of their range, are tested beside the machines.

mod applications;
mod copiers;
mod invariants;
mod mutants;
mod steps;
mod stores;
mod variants;
mod world;

use crossfade::protocol::Phase::{self, Bridge, Copy, Done, New, Offline, Old, Switch};
use crossfade::protocol::counter::{Rules, Totals};

use crate::checking::{holds, long};
use variants::AsDesigned;
use world::Counters;

/// There and back again, further back each time.
const BACK_AND_FORTH: [Phase; 10] = [
    Bridge, Switch, Copy, New, Copy, Switch, Bridge, Switch, Copy, New,
];

/// As far back as nothing was added to the new store, and there again.
const BACK_TO_OLD: [Phase; 6] = [Bridge, Switch, Bridge, Old, Bridge, Switch];

/// A counter that is at 2, and two applications that add 1 to it, each.
fn size(walk: &[Phase]) -> Counters {
    let add: Totals = vec![Some(1)];
    Counters {
        rules: Rules::default(),
        old: vec![Some(2)],
        walk: walk.to_vec(),
        adds: vec![vec![add.clone()], vec![add]],
        tells: false,
        counts: vec![0, 0],
        copiers: 1,
        kills: 0,
        losses: 0,
        variant: &AsDesigned,
    }
}

/// Two copiers, one of which is killed and starts with any journal.
fn killed(walk: &[Phase]) -> Counters {
    Counters {
        copiers: 2,
        kills: 1,
        losses: u8::from(long()),
        counts: vec![u8::from(long()), 0],
        ..size(walk)
    }
}

/// One of the applications counts meanwhile, and a reply is lost.
fn counted(walk: &[Phase]) -> Counters {
    Counters {
        copiers: if long() { 2 } else { 1 },
        counts: vec![1, 0],
        losses: 1,
        ..size(walk)
    }
}

/// Along a way that is too long for two copiers: one that is killed.
fn killed_far(walk: &[Phase]) -> Counters {
    Counters {
        kills: 1,
        losses: u8::from(long()),
        ..size(walk)
    }
}

/// The same: one copier and a count.
fn counted_far(walk: &[Phase]) -> Counters {
    Counters {
        counts: vec![1, 0],
        losses: u8::from(long()),
        ..size(walk)
    }
}

#[test]
fn old_beside_bridge() {
    // Adds of both phases go the same way: more than one shows little else.
    let model = Counters {
        adds: match long() {
            true => size(&[]).adds,
            false => vec![vec![vec![Some(1)]], vec![]],
        },
        ..killed(&[Old, Bridge])
    };
    holds("counters, killed, old-bridge", model);
    holds("counters, counted, old-bridge", counted(&[Old, Bridge]));
}

#[test]
fn bridge_beside_switch() {
    let walk = [Bridge, Switch];
    holds("counters, killed, bridge-switch", killed(&walk));
    holds("counters, counted, bridge-switch", counted(&walk));
}

#[test]
fn switch_beside_copy() {
    let walk = [Switch, Copy];
    holds("counters, killed, switch-copy", killed(&walk));
    holds("counters, counted, switch-copy", counted(&walk));
}

#[test]
fn copy_beside_new_beside_done() {
    let walk = [Copy, New, Done];
    holds("counters, killed, copy-done", killed(&walk));
    holds("counters, counted, copy-done", counted(&walk));
}

#[test]
fn the_whole_way() {
    let walk = [Old, Bridge, Switch, Copy, New, Done];
    holds("counters, killed, old-done", killed_far(&walk));
    holds("counters, counted, old-done", counted_far(&walk));
}

#[test]
fn back_and_forth() {
    let walk = BACK_AND_FORTH;
    holds("counters, killed, back and forth", killed_far(&walk));
    holds("counters, counted, back and forth", counted_far(&walk));
}

#[test]
fn back_to_old() {
    holds("counters, killed, back to old", killed_far(&BACK_TO_OLD));
    holds("counters, counted, back to old", counted_far(&BACK_TO_OLD));
}

#[test]
fn two_copiers_back_and_forth() {
    let model = Counters {
        copiers: 2,
        kills: u8::from(long()),
        ..size(&BACK_AND_FORTH)
    };
    holds("counters, two copiers, back and forth", model);
}

/// One application adds 1, the other one takes 1 away.
fn down(model: Counters) -> Counters {
    Counters {
        rules: Rules { decrements: true },
        adds: vec![vec![vec![Some(1)]], vec![vec![Some(-1)]]],
        ..model
    }
}

/// A total that was 2, is 3 and is 2 again: what a copier read may be stale in a way that shows nowhere.
#[test]
fn totals_that_go_down() {
    let walk = [Bridge, Switch, Copy, New];
    let two = Counters {
        copiers: 2,
        kills: u8::from(long()),
        ..size(&walk)
    };
    holds("counters, down, two copiers", down(two));
    holds("counters, down, counted", down(counted_far(&walk)));
    let back_and_forth = down(size(&BACK_AND_FORTH));
    holds("counters, down, back and forth", back_and_forth);
}

/// Applications that want to know the totals after their adds.
fn told(walk: &[Phase]) -> Counters {
    Counters {
        tells: true,
        losses: u8::from(long()),
        ..size(walk)
    }
}

#[test]
fn adds_that_are_told_the_totals() {
    holds("counters, told, old-bridge", told(&[Old, Bridge]));
    holds("counters, told, bridge-switch", told(&[Bridge, Switch]));
    holds(
        "counters, told, switch-done",
        told(&[Switch, Copy, New, Done]),
    );
    let lost = Counters {
        losses: 1,
        ..told(&[Bridge, Switch, Copy])
    };
    holds("counters, told, lost", lost);
    holds("counters, told, back and forth", told(&BACK_AND_FORTH));
    let columns = Counters {
        old: vec![Some(0), None],
        adds: vec![vec![vec![Some(1), None]], vec![vec![Some(1), Some(1)]]],
        ..told(&[Bridge, Switch, Copy, New])
    };
    holds("counters, told, two columns", columns);
}

/// A zero, a null, and adds that touch one column or both.
#[test]
fn two_columns_of_a_row() {
    let walk = [Old, Bridge, Switch, Copy, New];
    let columns = Counters {
        old: vec![Some(0), None],
        adds: vec![vec![vec![Some(1), None]], vec![vec![Some(1), Some(1)]]],
        ..size(&walk)
    };
    let killed = Counters {
        kills: 1,
        ..columns.clone()
    };
    holds("counters, two columns, killed", killed);
    let counted = Counters {
        counts: vec![1, 0],
        ..columns.clone()
    };
    holds("counters, two columns, counted", counted);
    let nothing = Counters {
        old: vec![None, None],
        copiers: 2,
        ..columns
    };
    holds("counters, no row at first", nothing);
}

#[test]
fn offline_to_new() {
    holds("counters, killed, offline-new", killed(&[Offline, New]));
}
