//! The phases of a table's migration, and what may be done in each.
//!
//! A table is in one phase, which its control record names. Participants (applications and tools)
//! follow one by one, and a phase is only left once all of them are in it: so no two are ever further
//! apart than one step of the way, and the rules below are made so that neighbours are safe together.
//! An operation keeps the phase it began in to its end.
//!
//! | phase | row read | row write | counter added to | counter shown | the tool may | on | back |
//! |---|---|---|---|---|---|---|---|
//! | `old` | old | old | old | old | fold | `bridge`, `offline` | |
//! | `bridge` | new, else old | new if the key is there, else old | old | old + (c - w) | fold | `switch` | `old`, while the target holds nothing |
//! | `switch` | new, else old | new, over what the old one has | new | old + (c - w) | fold | `copy` | `bridge` |
//! | `copy` | new, else old, saved in the new one | new, over what the old one has | new | old + (c - w) | copy, repair, verify, fold, settle | `new` | `switch` |
//! | `new` | new | new; a delete leaves a tombstone | new | c | verify | `done` | `copy` |
//! | `done` | new | new; a delete deletes | new, unmarked | c | purge, drop the old table | | |
//! | `offline` | refused | refused | refused | refused | copy, repair, verify, fold, settle | `new`, `done` | `old`, by a reset |
//!
//! `c` is a counter's value in the new store and `w` its watermark: how much of the old total is inside
//! it. Looking (`check`, `status`, a dry run) is lawful in every phase.
//!
//! - `bridge` is what makes the first write to the new store safe: from then on every participant looks there
//!   first. Nothing but applications and folds writes there before `copy`.
//! - From `bridge` back to `old` it takes a target without any row, its own or a copied one, and no counter with
//!   `c` apart from `w` ([`crate::protocol::row::may_return_to_old`],
//!   [`crate::protocol::counter::may_return_to_old`]), looked for once every participant is in `bridge`. Then no participant
//!   writes a row there: `bridge` writes to the new store only where it has the key already. A copied row that is
//!   the old one's twin won't do: while some are in `bridge` and some in `old`, a write of `bridge` goes to the
//!   twin, and `old` doesn't see it.
//! - In `copy` nothing writes to the old store any more, so what is read there can't be overtaken.
//! - From `new` on nothing reads the old store, so it takes that every row and every counter has arrived.
//! - From `done` there is no way back: deleted rows leave no trace that would hide the old ones.
//! - `offline` is for a table that no application uses: it needs no other phase on the way.
//!   `copy --offline` sets it, and refuses where an application is registered.

use std::fmt;

/// Where a table's migration stands. Kept in the table's control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Everything happens in the old store.
    Old,
    /// Every participant looks in the new store first, and writes to the old one still.
    Bridge,
    /// Every participant writes to the new store.
    Switch,
    /// The old table is frozen, and what is left in it is copied.
    Copy,
    /// The old table isn't read any more, but the way back is open.
    New,
    /// The migration is over.
    Done,
    /// No application uses the table: the copier alone writes.
    Offline,
}

/// Where a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowRead {
    /// In the old store.
    Old,
    /// In the new store, and in the old one what the new one doesn't decide.
    NewElseOld,
    /// The same, and what was only found in the old store is saved in the new one.
    NewElseOldAndSave,
    /// In the new store.
    New,
    /// Not at all.
    Refused,
}

/// Where a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowWrite {
    /// To the old store.
    Old,
    /// To the new store if it has the key (be it a tombstone or a partial item), else to the old one.
    NewIfThereElseOld,
    /// To the new store, where what is written hides what the old one has: a delete leaves a tombstone,
    /// some columns alone make a partial item.
    NewOverOld,
    /// To the new store alone; a delete leaves a tombstone, for those that are a phase earlier.
    NewWithTombstones,
    /// To the new store alone, without marks; a delete deletes.
    New,
    /// Nowhere.
    Refused,
}

/// Where a counter is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterAdd {
    /// In the old store.
    Old,
    /// In the new store, marked as the application's.
    New,
    /// In the new store, without a mark.
    NewUnmarked,
    /// Nowhere.
    Refused,
}

/// What is shown as a counter's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CounterShown {
    /// The old store's total.
    Old,
    /// The old total, and what the new value has beyond its watermark: `o + (c - w)`.
    OldAndNew,
    /// The new store's value.
    New,
    /// Nothing.
    Refused,
}

/// What a tool does that changes something, or that means something in some phases only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Moves what the old counters have grown by.
    Fold,
    /// Folds in a pass that finds out whether anything is left to be folded.
    Settle,
    /// Copies rows, those that were dead letters included.
    Copy,
    /// Compares both stores.
    Verify,
    /// Mends what was copied and differs.
    Repair,
    /// Takes tombstones and marks away.
    Purge,
    /// Drops the old table.
    DropOld,
}

/// What a move from one phase to another is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A step ahead, with every participant.
    Forward,
    /// A step back, with every participant.
    Back,
    /// Into `offline`, while no application is registered.
    Offline,
    /// Out of `offline`, once what the copier wrote is deleted.
    Reset,
}

/// A line of the table.
struct PhaseRow {
    phase: Phase,
    name: &'static str,
    row_read: RowRead,
    row_write: RowWrite,
    counter_add: CounterAdd,
    counter_shown: CounterShown,
    needs_lease: bool,
    work: &'static [Work],
    moves: &'static [(Phase, Transition)],
}

/// What copying and its neighbourhood take: the old table doesn't change.
const FROZEN: &[Work] = &[
    Work::Fold,
    Work::Settle,
    Work::Copy,
    Work::Verify,
    Work::Repair,
];

/// In the order of the phases.
const TABLE: [PhaseRow; 7] = [
    PhaseRow {
        phase: Phase::Old,
        name: "old",
        row_read: RowRead::Old,
        row_write: RowWrite::Old,
        counter_add: CounterAdd::Old,
        counter_shown: CounterShown::Old,
        needs_lease: false,
        work: &[Work::Fold],
        moves: &[
            (Phase::Bridge, Transition::Forward),
            (Phase::Offline, Transition::Offline),
        ],
    },
    PhaseRow {
        phase: Phase::Bridge,
        name: "bridge",
        row_read: RowRead::NewElseOld,
        row_write: RowWrite::NewIfThereElseOld,
        counter_add: CounterAdd::Old,
        counter_shown: CounterShown::OldAndNew,
        needs_lease: false,
        work: &[Work::Fold],
        moves: &[
            (Phase::Switch, Transition::Forward),
            (Phase::Old, Transition::Back),
        ],
    },
    PhaseRow {
        phase: Phase::Switch,
        name: "switch",
        row_read: RowRead::NewElseOld,
        row_write: RowWrite::NewOverOld,
        counter_add: CounterAdd::New,
        counter_shown: CounterShown::OldAndNew,
        needs_lease: true,
        work: &[Work::Fold],
        moves: &[
            (Phase::Copy, Transition::Forward),
            (Phase::Bridge, Transition::Back),
        ],
    },
    PhaseRow {
        phase: Phase::Copy,
        name: "copy",
        row_read: RowRead::NewElseOldAndSave,
        row_write: RowWrite::NewOverOld,
        counter_add: CounterAdd::New,
        counter_shown: CounterShown::OldAndNew,
        needs_lease: true,
        work: FROZEN,
        moves: &[
            (Phase::New, Transition::Forward),
            (Phase::Switch, Transition::Back),
        ],
    },
    PhaseRow {
        phase: Phase::New,
        name: "new",
        row_read: RowRead::New,
        row_write: RowWrite::NewWithTombstones,
        counter_add: CounterAdd::New,
        counter_shown: CounterShown::New,
        needs_lease: true,
        work: &[Work::Verify],
        moves: &[
            (Phase::Done, Transition::Forward),
            (Phase::Copy, Transition::Back),
        ],
    },
    PhaseRow {
        phase: Phase::Done,
        name: "done",
        row_read: RowRead::New,
        row_write: RowWrite::New,
        counter_add: CounterAdd::NewUnmarked,
        counter_shown: CounterShown::New,
        needs_lease: true,
        work: &[Work::Purge, Work::DropOld],
        moves: &[],
    },
    PhaseRow {
        phase: Phase::Offline,
        name: "offline",
        row_read: RowRead::Refused,
        row_write: RowWrite::Refused,
        counter_add: CounterAdd::Refused,
        counter_shown: CounterShown::Refused,
        needs_lease: true,
        work: FROZEN,
        moves: &[
            (Phase::New, Transition::Forward),
            (Phase::Done, Transition::Forward),
            (Phase::Old, Transition::Reset),
        ],
    },
];

// Each line is where its phase looks for it.
const _: () = {
    let mut place = 0;
    while place < TABLE.len() {
        assert!(TABLE[place].phase as usize == place);
        place += 1;
    }
};

impl Phase {
    /// All of them: the way from the old store to the new one, then `offline`.
    pub const ALL: [Phase; 7] = [
        Phase::Old,
        Phase::Bridge,
        Phase::Switch,
        Phase::Copy,
        Phase::New,
        Phase::Done,
        Phase::Offline,
    ];

    fn line(self) -> &'static PhaseRow {
        &TABLE[self as usize]
    }

    /// Its name, as people and the control record write it.
    pub fn name(self) -> &'static str {
        self.line().name
    }

    /// The phase of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let line = TABLE.iter().find(|line| line.name == name)?;
        Some(line.phase)
    }

    /// Where an application reads a row.
    pub fn row_read(self) -> RowRead {
        self.line().row_read
    }

    /// Where an application writes a row.
    pub fn row_write(self) -> RowWrite {
        self.line().row_write
    }

    /// Where an application adds to a counter.
    pub fn counter_add(self) -> CounterAdd {
        self.line().counter_add
    }

    /// What an application shows as a counter's total.
    pub fn counter_shown(self) -> CounterShown {
        self.line().counter_shown
    }

    /// Whether an application's operation takes a lease that lasts. Where the old store decides it doesn't: a hiccup
    /// of the new store must not stop a healthy application. Tools always take one.
    pub fn needs_lease(self) -> bool {
        self.line().needs_lease
    }

    /// Whether a tool may do this work.
    pub fn allows(self, work: Work) -> bool {
        self.line().work.contains(&work)
    }

    /// What a move to another phase is; `None` if there is no such move.
    pub fn transition_to(self, to: Phase) -> Option<Transition> {
        let moves = self.line().moves;
        let (_, way) = moves.iter().find(|(phase, _)| *phase == to)?;
        Some(*way)
    }

    /// Whether a call that was sent before a step does harm if it lands after it, so that the step waits for
    /// as long as a network and the service may still hold one.
    ///
    /// Harm is done by what copiers, re-saves and resets send: an old row, put where nothing is. In `bridge`
    /// it would hide what others go on writing to the old store; in `done` it would bring back what was
    /// deleted; after a way back to `old` it would be there when the next move begins. What applications
    /// send themselves has unknown effect until it lands, whenever that is, as without a migration.
    pub fn fears_late_calls(self, to: Phase) -> bool {
        match (self, to) {
            (
                Phase::Switch | Phase::Copy | Phase::New | Phase::Done | Phase::Offline,
                Phase::Bridge,
            )
            | (_, Phase::Old | Phase::Done) => true,
            (_, Phase::Bridge | Phase::Switch | Phase::Copy | Phase::New | Phase::Offline) => false,
        }
    }

    /// The phases on the way to another one, both ends included, by steps of one kind alone; the fewest
    /// there are. `None` if no such steps lead there.
    pub fn path(self, to: Phase, way: Transition) -> Option<Vec<Phase>> {
        if self == to {
            return Some(vec![self]);
        }
        let steps = self.line().moves.iter();
        let steps = steps.filter(|(_, kind)| *kind == way);
        let rest = steps.filter_map(|(next, _)| next.path(to, way));
        let mut path = rest.min_by_key(Vec::len)?;
        path.insert(0, self);
        Some(path)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_name_and_no_other() {
        let names = Phase::ALL.map(Phase::name);
        let expected = ["old", "bridge", "switch", "copy", "new", "done", "offline"];
        assert_eq!(names, expected);
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
        assert_eq!(Phase::from_name("Old"), None);
    }

    #[test]
    fn a_step_forward_has_a_step_back_but_at_the_end() {
        for pair in Phase::ALL[..6].windows(2) {
            let (from, to) = (pair[0], pair[1]);
            assert_eq!(
                from.transition_to(to),
                Some(Transition::Forward),
                "{from} -> {to}"
            );
            let back = match from {
                Phase::New => None,
                _ => Some(Transition::Back),
            };
            assert_eq!(to.transition_to(from), back, "{to} -> {from}");
        }
    }

    #[test]
    fn offline_begins_at_old_and_nothing_else_leaps() {
        let leaps: Vec<(Phase, Phase, Transition)> = Phase::ALL
            .into_iter()
            .flat_map(|from| Phase::ALL.map(|to| (from, to)))
            .filter(|(from, to)| (*from as usize).abs_diff(*to as usize) != 1)
            .filter_map(|(from, to)| Some((from, to, from.transition_to(to)?)))
            .collect();
        let expected = [
            (Phase::Old, Phase::Offline, Transition::Offline),
            (Phase::Offline, Phase::Old, Transition::Reset),
            (Phase::Offline, Phase::New, Transition::Forward),
        ];
        assert_eq!(leaps, expected);
        assert_eq!(Phase::Done.transition_to(Phase::Offline), None);
        assert_eq!(
            Phase::Offline.transition_to(Phase::Done),
            Some(Transition::Forward)
        );
    }

    #[test]
    fn paths_lead_step_by_step() {
        use Phase::{Bridge, Copy, Done, New, Offline, Old, Switch};
        let path = |from: Phase, to, way| from.path(to, way).unwrap_or_default();
        let forward = [Old, Bridge, Switch, Copy, New, Done];
        assert_eq!(path(Old, Done, Transition::Forward), forward);
        assert_eq!(
            path(Bridge, Copy, Transition::Forward),
            [Bridge, Switch, Copy]
        );
        assert_eq!(
            path(New, Bridge, Transition::Back),
            [New, Copy, Switch, Bridge]
        );
        assert_eq!(path(Bridge, Old, Transition::Back), [Bridge, Old]);
        assert_eq!(
            path(Copy, Old, Transition::Back),
            [Copy, Switch, Bridge, Old]
        );
        assert_eq!(path(Copy, Copy, Transition::Back), [Copy]);
        assert_eq!(path(Offline, Done, Transition::Forward), [Offline, Done]);
        let none: [(Phase, Phase, Transition); 5] = [
            (Offline, Old, Transition::Back),
            (Done, New, Transition::Back),
            (Copy, Switch, Transition::Forward),
            (Switch, Copy, Transition::Back),
            (Old, Offline, Transition::Forward),
        ];
        for (from, to, way) in none {
            assert_eq!(from.path(to, way), None, "{from} -> {to}");
        }
    }

    #[test]
    fn nothing_is_copied_while_the_old_table_can_change() {
        for phase in Phase::ALL {
            let frozen = matches!(phase, Phase::Copy | Phase::Offline);
            for work in [Work::Copy, Work::Repair, Work::Settle] {
                assert_eq!(phase.allows(work), frozen, "{work:?} in {phase}");
            }
            let old_is_read = !matches!(phase, Phase::New | Phase::Done);
            assert_eq!(phase.allows(Work::Fold), old_is_read, "fold in {phase}");
        }
    }
}
