//! Writes that depend on the row that is there: which calls are made, and what comes of them.

use std::collections::BTreeSet;

use super::*;
use crate::error::{Error, Kind, Result};
use crate::model::{Edits, Judge, Judged, Looks, Rule, Then};

/// That the first column is so; or that there is no row, or one.
#[derive(Clone, Debug, PartialEq)]
enum Wants {
    First(i32),
    Nothing,
    Row,
    /// The number of the row's first column, which there must be, and one more.
    More,
}

#[derive(Debug)]
struct Test {
    wants: Wants,
    looks: Looks,
    text: String,
}

fn rule(wants: Wants) -> Rule {
    let looks = match wants {
        Wants::First(_) | Wants::More => BTreeSet::from([0]),
        Wants::Nothing | Wants::Row => BTreeSet::new(),
    };
    Rule::new(Test {
        text: format!("{wants:?}"),
        looks: Looks::Cells(looks),
        wants,
    })
}

impl Judge for Test {
    fn text(&self) -> &str {
        &self.text
    }

    fn holds(&self, row: Option<&Row>) -> Result<bool> {
        Ok(match &self.wants {
            Wants::First(number) => {
                row.is_some_and(|row| row.cells[0] == Some(Value::Int(*number)))
            }
            Wants::Nothing => row.is_none(),
            Wants::Row => row.is_some(),
            Wants::More => true,
        })
    }

    fn edits(&self, row: Option<&Row>) -> Result<Edits> {
        let Some(Some(Value::Int(number))) = row.map(|row| &row.cells[0]) else {
            return Err(Error::new(Kind::Invalid, "there is no number"));
        };
        Ok(Edits {
            cells: vec![Some(Edit::Set(Value::Int(number + 1))), None],
            expires: None,
        })
    }

    fn looks(&self) -> &Looks {
        &self.looks
    }
}

fn judged(wants: Wants, then: Then) -> Judged {
    Judged {
        key: key(),
        rule: rule(wants),
        then,
    }
}

fn put() -> Then {
    Then::Put(row(key(), [Some(8), None]))
}

/// The calls of a write for each item, in the order of [`State::ALL`], over an old row.
fn assert_steps(judged: &Judged, phases: &[Phase], expected: [&str; 5]) {
    for phase in phases {
        for (item, cell) in items().into_iter().zip(expected) {
            let what = format!("{judged:?} in {phase} on {item:?}");
            let mut stores = Stores::of(item, old());
            let write = Write::judged(*phase, judged.clone(), NOW);
            let (outcome, calls) = run(write, &mut stores);
            let outcome = match outcome {
                WriteAnswer::Done => "",
                WriteAnswer::Unmet(None) => " -> unmet",
                WriteAnswer::Unmet(Some(_)) => " -> unmet by a row",
                WriteAnswer::Later => " -> later",
                WriteAnswer::Wrong(_) => " -> wrong",
                outcome => panic!("{what}: {outcome:?}"),
            };
            assert_eq!(format!("{calls}{outcome}"), cell, "{what}");
        }
    }
}

#[test]
fn a_condition_on_the_row() {
    let wanted = "N put a IF as wanted";
    let unmet = "N put a IF as wanted -> unmet";
    let by_row = "N put a IF as wanted -> unmet by a row";
    let later = "N put a IF as wanted -> later";
    let held = judged(Wants::First(1), put());
    let failed = judged(Wants::First(7), put());
    let mixed = &[Phase::Bridge, Phase::Switch];
    assert_steps(&held, mixed, [wanted, unmet, later, later, unmet]);
    assert_steps(&failed, mixed, [by_row, unmet, later, later, unmet]);
    // The old row has 3, the partial item 5.
    let completed = "N put a IF as wanted, O?, N set a IF that k, N put a IF as wanted";
    let copied = "N put a IF as wanted, O?, N put r IF -, N put a IF as wanted";
    let five = judged(Wants::First(5), put());
    let copy = &[Phase::Copy];
    let by_copy = format!("{copied} -> unmet by a row");
    assert_steps(&five, copy, [by_row, unmet, completed, &by_copy, unmet]);
    let three = judged(Wants::First(3), put());
    let by_completed = format!("{completed} -> unmet by a row");
    assert_steps(&three, copy, [by_row, unmet, &by_completed, copied, unmet]);
    let alone = "N put a IF as wanted, N set a IF that k, N put a IF as wanted";
    assert_steps(&five, &[Phase::New], [by_row, unmet, alone, unmet, unmet]);
}

#[test]
fn a_condition_that_nothing_meets() {
    let on = "N put a IF as wanted or te";
    let by_row = "N put a IF as wanted or te -> unmet by a row";
    let later = "N put a IF as wanted or te -> later";
    let new = judged(Wants::Nothing, put());
    let mixed = &[Phase::Bridge, Phase::Switch];
    assert_steps(&new, mixed, [by_row, on, later, later, on]);
    let anything = "N put a IF as wanted or t-e";
    let by_row = "N put a IF as wanted or t-e -> unmet by a row";
    let whole = "N put a IF as wanted or t-e, N set a IF that k, N put a IF as wanted or t-e -> unmet by a row";
    let phases = &[Phase::New];
    assert_steps(&new, phases, [by_row, anything, whole, anything, anything]);
}

#[test]
fn a_tombstone_is_no_row() {
    let bury = "N bury IF as wanted";
    let unmet = "N bury IF as wanted -> unmet";
    let later = "N bury IF as wanted -> later";
    let delete = judged(Wants::Row, Then::Delete);
    let mixed = &[Phase::Bridge, Phase::Switch];
    assert_steps(&delete, mixed, [bury, unmet, later, later, unmet]);
    let remove = "N remove IF as wanted";
    let unmet = "N remove IF as wanted -> unmet";
    let settled = "N remove IF as wanted, N set a IF that k, N remove IF as wanted";
    let phases = &[Phase::Done];
    assert_steps(&delete, phases, [remove, unmet, settled, unmet, unmet]);
}

#[test]
fn what_is_made_of_the_row_is_written_on_what_was_read() {
    let set = "N?, N set a IF cells";
    let more = judged(Wants::More, Then::Compute);
    let (wrong, later) = ("N? -> wrong", "N? -> later");
    let mixed = &[Phase::Bridge, Phase::Switch];
    assert_steps(&more, mixed, [set, wrong, later, later, wrong]);
    let completed = "N?, O?, N set a IF that k, N?, N set a IF cells";
    let copied = "N?, O?, N put r IF -, N?, N set a IF cells";
    let copy = &[Phase::Copy];
    assert_steps(&more, copy, [set, wrong, completed, copied, wrong]);
}

/// What was told to come later looks before it sends anything that changes something.
#[test]
fn what_was_told_later_looks_first() {
    let held = judged(Wants::First(1), put());
    for phase in [Phase::Bridge, Phase::Switch] {
        let calls = items().map(|item| {
            let write = Write::judged(phase, held.clone(), NOW).after_later();
            run(write, &mut Stores::of(item, old())).1
        });
        let put = "N?, N put a IF as wanted";
        assert_eq!(calls, [put, "N?", "N?", "N?", "N?"], "{phase}");
    }
}

/// In `old`: the row is read, judged, and written where the cells that were looked at are still so.
#[test]
fn the_old_store_is_written_on_the_cells_that_were_looked_at() {
    let of = |wants, then| {
        let mut stores = Stores::of(None, old());
        let judged = judged(wants, then);
        let (outcome, calls) = run(Write::judged(Phase::Old, judged, NOW), &mut stores);
        (outcome, calls, stores.old)
    };
    let (outcome, calls, left) = of(Wants::First(3), put());
    assert_eq!((outcome, calls.as_str()), (WriteAnswer::Done, "O?, O"));
    assert_eq!(left, [row(key(), [Some(8), None])]);
    let (outcome, calls, left) = of(Wants::First(3), Then::Delete);
    assert_eq!((outcome, calls.as_str()), (WriteAnswer::Done, "O?, O"));
    assert!(left.is_empty());
    let (outcome, calls, left) = of(Wants::More, Then::Compute);
    assert_eq!((outcome, calls.as_str()), (WriteAnswer::Done, "O?, O"));
    assert_eq!(left[0].cells[0], Some(Value::Int(4)));
    let (outcome, calls, left) = of(Wants::First(1), put());
    assert_eq!((outcome, calls.as_str()), (WriteAnswer::Unmet(old()), "O?"));
    assert_eq!(left[0], old().unwrap());
}

/// Someone else writes between the read and the write: it is judged anew, by what was met.
#[test]
fn an_old_row_that_has_changed_is_judged_again() {
    let mut stores = Stores::of(None, old());
    let mut write = Write::judged(Phase::Old, judged(Wants::More, Then::Compute), NOW);
    let mut is_first = true;
    let (outcome, calls) = drive(&mut write, &mut stores, |call, stores| {
        if matches!(call, Call::WriteOld(_)) && std::mem::take(&mut is_first) {
            stores.old = vec![row(key(), [Some(20), None])];
        }
    });
    let expected = ["O?", "O", "O"];
    assert_eq!(
        (outcome, calls),
        (WriteAnswer::Done, expected.map(String::from).into())
    );
    assert_eq!(stores.old[0].cells[0], Some(Value::Int(21)));
}

/// What a write tells is what a read would have shown before or after it.
#[test]
fn the_row_before_and_after_is_told_in_every_phase() {
    let update = || set([Some(Edit::Set(Value::Int(8))), None]);
    let mutations = [
        Mutation::Put(row(key(), [Some(8), None])),
        Mutation::Update(update()),
        Mutation::Delete(key()),
    ];
    let shown = |phase, stores: &mut Stores| {
        let (got, _) = run(Get::new(phase, key(), NOW, false), stores);
        match got {
            Got::Row(row) => row,
            Got::Save(row, _) => Some(row),
            Got::Refused => panic!("refused"),
        }
    };
    let phases = Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::Offline);
    for phase in phases {
        for item in items()
            .into_iter()
            .filter(|_| phase != Phase::Old)
            .chain([None])
        {
            for mutation in &mutations {
                for returns in [Returns::Old, Returns::New] {
                    // From `new` on an old row is one that was copied.
                    let is_over = matches!(phase, Phase::New | Phase::Done);
                    let mut stores = Stores::of(item.clone(), old().filter(|_| !is_over));
                    let before = shown(phase, &mut stores);
                    let write = Write::new(phase, mutation.clone(), NOW).telling(returns);
                    let (outcome, _) = run(write, &mut stores);
                    let after = shown(phase, &mut stores);
                    let wanted = match returns {
                        Returns::Old => before,
                        _ => after,
                    };
                    let what = format!("{mutation:?} {returns:?} in {phase} on {item:?}");
                    assert_eq!(outcome, WriteAnswer::Told(wanted), "{what}");
                }
            }
        }
    }
}
