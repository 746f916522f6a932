//! What a write does, cell by cell: which calls are made, and what comes of them.

use super::*;

/// The calls of a write for each item, in each phase.
fn assert_steps(mutation: &Mutation, expected: &[(&[Phase], [&str; 5])]) {
    let mut phases = 0;
    for (in_phases, cells) in expected {
        for (phase, (item, cell)) in in_phases.iter().flat_map(|phase| {
            items()
                .into_iter()
                .zip(cells)
                .map(move |cell| (*phase, cell))
        }) {
            let what = format!("{mutation:?} in {phase} on {item:?}");
            let mut stores = Stores::of(item, old());
            let (outcome, calls) = run(Write::new(phase, mutation.clone(), NOW), &mut stores);
            let outcome = match outcome {
                WriteAnswer::Done => "",
                WriteAnswer::Unknown => " -> unknown",
                WriteAnswer::Unmet(None) => " -> unmet",
                WriteAnswer::Unmet(Some(_)) => " -> unmet by a row",
                WriteAnswer::Later => " -> later",
                WriteAnswer::Told(_) => " -> told",
                WriteAnswer::Wrong(_) => " -> wrong",
                WriteAnswer::Refused => "refused",
            };
            assert_eq!(format!("{calls}{outcome}"), *cell, "{what}");
        }
        phases += in_phases.len();
    }
    assert_eq!(phases, Phase::ALL.len(), "every phase");
}

const OLD: (&[Phase], [&str; 5]) = (&[Phase::Old], ["O"; 5]);
const OFFLINE: (&[Phase], [&str; 5]) = (&[Phase::Offline], ["refused"; 5]);

#[test]
fn put() {
    let put = "N put a IF rtke";
    assert_steps(
        &Mutation::Put(row(key(), [Some(8), Some(9)])),
        &[
            OLD,
            (&[Phase::Bridge], [put, put, put, "N put a IF rtke, O", put]),
            (&[Phase::Switch, Phase::Copy, Phase::New], ["N put a"; 5]),
            (&[Phase::Done], ["N put unmarked"; 5]),
            OFFLINE,
        ],
    );
}

#[test]
fn delete() {
    let bury = "N bury IF rtke";
    assert_steps(
        &Mutation::Delete(key()),
        &[
            OLD,
            (
                &[Phase::Bridge],
                [bury, bury, bury, "N bury IF rtke, O", bury],
            ),
            (&[Phase::Switch, Phase::Copy, Phase::New], ["N bury"; 5]),
            (&[Phase::Done], ["N remove"; 5]),
            OFFLINE,
        ],
    );
}

#[test]
fn update() {
    let first = "N set a IF rt";
    let replace = "N set a IF rt, N put a IF e";
    let partial = "N set a IF rt, N set k IF k-";
    let alone = "N set a IF rtk-";
    let unmarked = "N set unmarked IF rtk-";
    assert_steps(
        &Mutation::Update(set([Some(Edit::Set(Value::Int(8))), None])),
        &[
            OLD,
            (
                &[Phase::Bridge],
                [
                    first,
                    first,
                    "N set a IF rt, N set k IF k",
                    "N set a IF rt, O",
                    replace,
                ],
            ),
            (
                &[Phase::Switch, Phase::Copy],
                [first, first, partial, partial, replace],
            ),
            (
                &[Phase::New],
                [alone, alone, alone, alone, "N set a IF rtk-, N put a IF e"],
            ),
            (
                &[Phase::Done],
                [
                    unmarked,
                    unmarked,
                    unmarked,
                    unmarked,
                    "N set unmarked IF rtk-, N put unmarked IF e",
                ],
            ),
            OFFLINE,
        ],
    );
}

#[test]
fn update_that_only_removes() {
    let first = "N set a IF r";
    let partial = "N set a IF r, N set k IF k-";
    let decided = "N set a IF r, N set k IF k";
    assert_steps(
        &Mutation::Update(set([Some(Edit::Clear), None])),
        &[
            OLD,
            (
                &[Phase::Bridge],
                [first, first, decided, "N set a IF r, O", first],
            ),
            (
                &[Phase::Switch, Phase::Copy],
                [first, first, partial, partial, first],
            ),
            (&[Phase::New], [first, first, decided, first, first]),
            (
                &[Phase::Done],
                [
                    "N set unmarked IF r",
                    "N set unmarked IF r",
                    "N set unmarked IF r, N set k IF k",
                    "N set unmarked IF r",
                    "N set unmarked IF r",
                ],
            ),
            OFFLINE,
        ],
    );
}

#[test]
fn update_that_needs_the_old_value() {
    let first = "N set a IF rt";
    let later = "N set a IF rt -> later";
    let replace = "N set a IF rt, N put a IF e";
    let alone = "N set a IF rtk-";
    let unmarked = "N set unmarked IF rtk-";
    assert_steps(
        &Mutation::Update(set([None, Some(Edit::Append(vec![Value::Int(8)]))])),
        &[
            OLD,
            (
                &[Phase::Bridge],
                [first, first, later, "N set a IF rt, O", replace],
            ),
            (&[Phase::Switch], [first, first, later, later, replace]),
            (
                &[Phase::Copy],
                [
                    first,
                    first,
                    "N set a IF rt, O?, N set a IF that k, N set a IF rt",
                    "N set a IF rt, O?, N put r IF -, N set a IF rt",
                    replace,
                ],
            ),
            (
                &[Phase::New],
                [alone, alone, alone, alone, "N set a IF rtk-, N put a IF e"],
            ),
            (
                &[Phase::Done],
                [
                    unmarked,
                    unmarked,
                    unmarked,
                    unmarked,
                    "N set unmarked IF rtk-, N put unmarked IF e",
                ],
            ),
            OFFLINE,
        ],
    );
}

#[test]
fn insert() {
    let met = "N put a IF te -> unmet by a row";
    let first = "N put a IF te";
    let later = "N put a IF te -> later";
    assert_steps(
        &Mutation::Insert(row(key(), [Some(8), None])),
        &[
            (&[Phase::Old], ["O -> unmet by a row"; 5]),
            (
                &[Phase::Bridge, Phase::Switch],
                [met, first, later, later, first],
            ),
            (
                &[Phase::Copy],
                [
                    met,
                    first,
                    "N put a IF te, O?, N set a IF that k, N put a IF te -> unmet by a row",
                    "N put a IF te, O?, N put r IF -, N put a IF te -> unmet by a row",
                    first,
                ],
            ),
            (
                &[Phase::New],
                [
                    "N put a IF t-e -> unmet by a row",
                    "N put a IF t-e",
                    "N put a IF t-e, N set a IF that k, N put a IF t-e -> unmet by a row",
                    "N put a IF t-e",
                    "N put a IF t-e",
                ],
            ),
            (
                &[Phase::Done],
                [
                    "N put unmarked IF t-e -> unmet by a row",
                    "N put unmarked IF t-e",
                    "N put unmarked IF t-e, N set a IF that k, N put unmarked IF t-e -> unmet by a row",
                    "N put unmarked IF t-e",
                    "N put unmarked IF t-e",
                ],
            ),
            OFFLINE,
        ],
    );
}

#[test]
fn update_if_the_row_is_there() {
    let first = "N set a IF cells";
    let later = "N set a IF cells -> later";
    let unmet = "N set a IF cells -> unmet";
    let whole = "N set a IF cells, N set a IF that k, N set a IF cells";
    let unmarked = "N set unmarked IF cells";
    let no = "N set unmarked IF cells -> unmet";
    assert_steps(
        &Mutation::UpdateIf {
            update: set([Some(Edit::Set(Value::Int(8))), None]),
            expected: Vec::new(),
        },
        &[
            OLD,
            (
                &[Phase::Bridge, Phase::Switch],
                [first, unmet, later, later, unmet],
            ),
            (
                &[Phase::Copy],
                [
                    first,
                    unmet,
                    "N set a IF cells, O?, N set a IF that k, N set a IF cells",
                    "N set a IF cells, O?, N put r IF -, N set a IF cells",
                    unmet,
                ],
            ),
            (&[Phase::New], [first, unmet, whole, unmet, unmet]),
            (
                &[Phase::Done],
                [
                    unmarked,
                    no,
                    "N set unmarked IF cells, N set a IF that k, N set unmarked IF cells",
                    no,
                    no,
                ],
            ),
            OFFLINE,
        ],
    );
}

#[test]
fn update_if_the_cells_are_as_expected() {
    let update_if = |expected: i32| Mutation::UpdateIf {
        update: set([Some(Edit::Set(Value::Int(8))), None]),
        expected: vec![(0, Some(Value::Int(expected)))],
    };
    for phase in [Phase::Switch, Phase::Copy, Phase::New, Phase::Done] {
        let there = item(key(), Mark::Application, [Some(1), None]);
        let mut stores = Stores::of(Some(there), None);
        let (outcome, _) = run(Write::new(phase, update_if(2), NOW), &mut stores);
        let unmet = WriteAnswer::Unmet(Some(row(key(), [Some(1), None])));
        assert_eq!(outcome, unmet, "{phase}");
        let (outcome, _) = run(Write::new(phase, update_if(1), NOW), &mut stores);
        assert_eq!(outcome, WriteAnswer::Done, "{phase}");
        assert_eq!(stores.new[0].cells[0], Some(Value::Int(8)), "{phase}");
    }
}

#[test]
fn what_o_lacks_for_good_is_not_waited_for() {
    let append = set([None, Some(Edit::Append(vec![Value::Int(8)]))]);
    let alone = Some(item(key(), Mark::Application, [None, None]));
    let alone = alone.map(|row| listed(row, 8));
    let mut stores = Stores::default();
    let (outcome, calls) = run(
        Write::new(Phase::Copy, Mutation::Update(append), NOW),
        &mut stores,
    );
    assert_eq!(outcome, WriteAnswer::Done);
    assert_eq!(calls, "N set a IF rt, O?, N set a IF rtk-");
    assert_eq!(stores.new.first(), alone.as_ref());

    let insert = Mutation::Insert(row(key(), [Some(8), None]));
    let mut stores = Stores::default();
    let (outcome, calls) = run(Write::new(Phase::Copy, insert.clone(), NOW), &mut stores);
    assert_eq!(outcome, WriteAnswer::Done);
    assert_eq!(calls, "N put a IF te, O?, N put a IF t-e");

    // Columns were taken away from a row that has never been there.
    let empty = partial(key(), &[0], [None, None]);
    for phase in [Phase::Copy, Phase::New, Phase::Done] {
        let mut stores = Stores::of(Some(empty.clone()), None);
        let (outcome, calls) = run(Write::new(phase, insert.clone(), NOW), &mut stores);
        assert_eq!(outcome, WriteAnswer::Done, "in {phase}: {calls}");
        assert_eq!(stores.new[0].cells[0], Some(Value::Int(8)), "{phase}");
    }
}

#[test]
fn a_race_for_completion_is_lost_and_the_write_goes_on() {
    let append = set([None, Some(Edit::Append(vec![Value::Int(8)]))]);
    let mut stores = Stores::of(None, old());
    let mut write = Write::new(Phase::Copy, Mutation::Update(append), NOW);
    let (outcome, calls) = drive(&mut write, &mut stores, |call, stores| {
        let moves = matches!(
            call,
            Call::WriteNew {
                change: Change::Put(_),
                ..
            }
        );
        if moves && stores.new.is_empty() {
            stores.new.push(partial(key(), &[0], [Some(5), None]));
        }
    });
    assert_eq!(outcome, WriteAnswer::Done);
    let expected = "N set a IF rt, O?, N put r IF -, N set a IF that k, N set a IF rt";
    assert_eq!(calls.join(", "), expected);
    let cells = [Some(Value::Int(5)), Some(elements(&[4, 8]))];
    assert_eq!(stores.new[0].cells, cells);
}

#[test]
fn a_lost_reply_to_an_applications_write_is_told() {
    let mutations = [
        Mutation::Put(row(key(), [Some(8), Some(9)])),
        Mutation::Update(set([Some(Edit::Set(Value::Int(8))), None])),
        Mutation::Delete(key()),
    ];
    for mutation in mutations {
        for phase in &Phase::ALL[..6] {
            let mut write = Write::new(*phase, mutation.clone(), NOW);
            let first = write.begin();
            assert!(matches!(first, RowStep::Call(_)), "{first:?}");
            let answer = write.step(Reply::Unknown);
            assert_eq!(
                answer,
                RowStep::Done(WriteAnswer::Unknown),
                "{mutation:?}, {phase}"
            );
        }
    }
}
