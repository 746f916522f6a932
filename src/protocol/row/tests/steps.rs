//! Each cell of the tables: which calls are made, and what comes of them.

use super::*;

/// What N has at the start, in the order of [`State::ALL`]: a copied row, a tombstone, an item that decides
/// the first column, nothing, and a row that has expired.
fn items() -> [Option<Row>; 5] {
    let expired = Row {
        expires: Some(NOW),
        ..item(key(), Mark::Copied, [Some(1), None])
    };
    [
        Some(listed(item(key(), Mark::Copied, [Some(1), None]), 2)),
        Some(item(key(), Mark::Tombstone, [None, None])),
        Some(partial(key(), &[0], [Some(5), None])),
        None,
        Some(listed(expired, 2)),
    ]
}

/// With a list in the second column.
fn listed(mut row: Row, element: i32) -> Row {
    row.cells[1] = Some(list(&[element]));
    row
}

fn list(elements: &[i32]) -> Value {
    Value::List(elements.iter().copied().map(Value::Int).collect())
}

/// What O has.
fn old() -> Option<Row> {
    Some(listed(row(key(), [Some(3), None]), 4))
}

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
                Outcome::Done => "",
                Outcome::Unknown => " -> unknown",
                Outcome::Unmet(None) => " -> unmet",
                Outcome::Unmet(Some(_)) => " -> unmet by a row",
                Outcome::Later => " -> later",
                Outcome::Refused => "refused",
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
        let unmet = Outcome::Unmet(Some(row(key(), [Some(1), None])));
        assert_eq!(outcome, unmet, "{phase}");
        let (outcome, _) = run(Write::new(phase, update_if(1), NOW), &mut stores);
        assert_eq!(outcome, Outcome::Done, "{phase}");
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
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(calls, "N set a IF rt, O?, N set a IF rtk-");
    assert_eq!(stores.new.first(), alone.as_ref());

    let insert = Mutation::Insert(row(key(), [Some(8), None]));
    let mut stores = Stores::default();
    let (outcome, calls) = run(Write::new(Phase::Copy, insert.clone(), NOW), &mut stores);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(calls, "N put a IF te, O?, N put a IF t-e");

    // Columns were taken away from a row that has never been there.
    let empty = partial(key(), &[0], [None, None]);
    for phase in [Phase::Copy, Phase::New, Phase::Done] {
        let mut stores = Stores::of(Some(empty.clone()), None);
        let (outcome, calls) = run(Write::new(phase, insert.clone(), NOW), &mut stores);
        assert_eq!(outcome, Outcome::Done, "in {phase}: {calls}");
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
    assert_eq!(outcome, Outcome::Done);
    let expected = "N set a IF rt, O?, N put r IF -, N set a IF that k, N set a IF rt";
    assert_eq!(calls.join(", "), expected);
    let cells = [Some(Value::Int(5)), Some(list(&[4, 8]))];
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
            assert!(matches!(first, Step::Call(_)), "{first:?}");
            let answer = write.step(Reply::Unknown);
            assert_eq!(
                answer,
                Step::Done(Outcome::Unknown),
                "{mutation:?}, {phase}"
            );
        }
    }
}

fn get(phase: Phase, stores: &mut Stores, rows_expire: bool) -> (Got, String) {
    run(Get::new(phase, key(), NOW, rows_expire), stores)
}

#[test]
fn get_shows_the_new_row_else_the_old_one() {
    let new = Some(listed(row(key(), [Some(1), None]), 2));
    let laid_over = Some(listed(row(key(), [Some(5), None]), 4));
    let shown = [new.clone(), None, laid_over, old(), None];
    let calls = ["N?", "N?", "N?, O?", "N?, O?", "N?"];
    for phase in [Phase::Bridge, Phase::Switch] {
        for ((item, shown), calls) in items().into_iter().zip(&shown).zip(calls) {
            let got = get(phase, &mut Stores::of(item, old()), false);
            assert_eq!(got, (Got::Row(shown.clone()), calls.to_owned()), "{phase}");
        }
    }
    let alone = Some(row(key(), [Some(5), None]));
    let shown = [new, None, alone, None, None];
    for phase in [Phase::New, Phase::Done] {
        for (item, shown) in items().into_iter().zip(&shown) {
            let got = get(phase, &mut Stores::of(item, old()), true);
            assert_eq!(got, (Got::Row(shown.clone()), "N?".to_owned()), "{phase}");
        }
    }
    let got = get(Phase::Old, &mut Stores::of(items()[0].clone(), old()), true);
    assert_eq!(got, (Got::Row(old()), "O?".to_owned()));
    let got = get(Phase::Offline, &mut Stores::of(None, old()), true);
    assert_eq!(got, (Got::Refused, String::new()));
}

#[test]
fn get_in_copy_saves_what_only_o_had() {
    for (before, calls) in [(2, "N set a IF that k"), (3, "N put r IF -")] {
        let mut stores = Stores::of(items()[before].clone(), old());
        let (got, _) = get(Phase::Copy, &mut stores, false);
        let Got::Save(shown, resave) = got else {
            panic!("nothing to save: {got:?}");
        };
        let ((), made) = run(*resave, &mut stores);
        assert_eq!(made, calls);
        assert_eq!(get(Phase::New, &mut stores, false).0, Got::Row(Some(shown)));
    }
    let (got, _) = get(Phase::Copy, &mut Stores::default(), false);
    assert_eq!(got, Got::Row(None));
    // Somebody was faster: their row stays.
    let mut stores = Stores::of(None, old());
    let (got, _) = get(Phase::Copy, &mut stores, false);
    let theirs = item(key(), Mark::Application, [Some(7), None]);
    stores.new.push(theirs.clone());
    let Got::Save(_, resave) = got else {
        panic!("nothing to save: {got:?}");
    };
    run(*resave, &mut stores);
    assert_eq!(stores.new, [theirs]);
}

#[test]
fn both_stores_are_seen_at_one_moment_where_rows_expire() {
    let stores = |item: Option<Row>| Stores::of(item, old());
    for (phase, there, missing) in [
        (Phase::Bridge, "N?, O?, N?", "N?, O?, N?"),
        (Phase::Switch, "N?, O?, N?", "N?, O?, N?"),
        (Phase::Copy, "N?, O?", "N?, O?, N?"),
        (Phase::New, "N?", "N?"),
    ] {
        for item in [items()[2].clone(), None] {
            let (_, calls) = get(phase, &mut stores(item.clone()), true);
            assert_eq!(calls, there, "{phase}");
            let (_, calls) = get(phase, &mut Stores::of(item, None), true);
            assert_eq!(calls, missing, "{phase}");
        }
    }
}

#[test]
fn a_miss_is_confirmed_where_rows_expire() {
    let put = item(key(), Mark::Application, [Some(7), None]);
    for (rows_expire, shown) in [(false, None), (true, Some(row(key(), [Some(7), None])))] {
        let mut get = Get::new(Phase::Switch, key(), NOW, rows_expire);
        let mut stores = Stores::of(None, old());
        let (got, _) = drive(&mut get, &mut stores, |call, stores| {
            if matches!(call, Call::ReadOld(_)) {
                // Put, and then the old row expires.
                *stores = Stores::of(Some(put.clone()), None);
            }
        });
        assert_eq!(got, Got::Row(shown));
    }
}

#[test]
fn copy() {
    let cases = [
        (0, "N put c IF -", Copied::Owned),
        (1, "N put c IF -", Copied::Owned),
        (2, "N put c IF -, N set a IF that k", Copied::Completed),
        (3, "N put c IF -", Copied::Saved),
        (4, "N put c IF -", Copied::Owned),
    ];
    for (at, calls, copied) in cases {
        let before = items()[at].clone();
        let mut stores = Stores::of(before.clone(), old());
        let answer = run(CopyRow::of_row(old().unwrap()), &mut stores);
        assert_eq!(answer, (copied, calls.to_owned()));
        if copied == Copied::Owned {
            assert_eq!(stores.new.first(), before.as_ref());
        }
        let mut stores = Stores::of(before, old());
        let answer = run(CopyRow::of_key(key()), &mut stores);
        assert_eq!(answer, (copied, format!("O?, {calls}")));
    }
    let none = run(CopyRow::of_key(key()), &mut Stores::default());
    assert_eq!(none, (Copied::Absent, "O?".to_owned()));
}

#[test]
fn copy_completes_whatever_partial_item_it_meets() {
    let mut stores = Stores::of(items()[2].clone(), old());
    let mut copy = CopyRow::of_row(old().unwrap());
    let mut calls = 0;
    let (copied, _) = drive(&mut copy, &mut stores, |_, stores| {
        calls += 1;
        if calls == 2 {
            stores.new[0] = listed(partial(key(), &[0, 1], [Some(5), None]), 6);
        }
    });
    assert_eq!((copied, calls), (Copied::Completed, 3));
    let whole = listed(item(key(), Mark::Application, [Some(5), None]), 6);
    assert_eq!(stores.new, [whole]);
}

#[test]
fn repair() {
    let mended = ("N?, O?, N put c IF marked c", Repaired::Mended);
    let cases = [
        (Some(Mark::Copied), mended),
        (
            Some(Mark::Resaved),
            ("N?, O?, N put c IF marked r", Repaired::Mended),
        ),
        (Some(Mark::Application), ("N?", Repaired::Owned)),
        (Some(Mark::Tombstone), ("N?", Repaired::Owned)),
        (Some(Mark::Partial), ("N?", Repaired::Owned)),
        (None, ("N?", Repaired::Owned)),
    ];
    for (mark, (calls, repaired)) in cases {
        let wrong = Row {
            mark,
            ..row(key(), [Some(1), Some(2)])
        };
        let mut stores = Stores::of(Some(wrong), old());
        let answer = run(Repair::new(key(), true), &mut stores);
        assert_eq!(answer, (repaired, calls.to_owned()), "{mark:?}");
    }
    let same = old().map(|old| Row {
        mark: Some(Mark::Copied),
        ..old
    });
    let answer = run(Repair::new(key(), true), &mut Stores::of(same, old()));
    assert_eq!(answer, (Repaired::Same, "N?, O?".to_owned()));
    let answer = run(Repair::new(key(), true), &mut Stores::of(None, old()));
    let copied = Repaired::Copied(Copied::Saved);
    assert_eq!(answer, (copied, "N?, O?, N put c IF -".to_owned()));
    let extra = || Stores::of(items()[0].clone(), None);
    let answer = run(Repair::new(key(), false), &mut extra());
    assert_eq!(answer, (Repaired::Extra, "N?, O?".to_owned()));
    let answer = run(Repair::new(key(), true), &mut extra());
    let calls = "N?, O?, N remove IF marked c".to_owned();
    assert_eq!(answer, (Repaired::Deleted, calls));
}

#[test]
fn purge() {
    let cases = [
        (0, "N?", "N?, N set unmarked IF marked c"),
        (1, "N?, N remove IF marked t", "N?, N remove IF marked t"),
        (2, "N?", "N?, N set unmarked IF same"),
        (3, "N?", "N?"),
        (4, "N?", "N?, N set unmarked IF marked c"),
    ];
    for (at, calls, strip_calls) in cases {
        for (strip, calls) in [(false, calls), (true, strip_calls)] {
            let mut stores = Stores::of(items()[at].clone(), None);
            let (_, made) = run(Purge::new(key(), strip), &mut stores);
            assert_eq!(made, calls, "item {at}, strip {strip}");
            let marks = stores.new.iter().filter(|item| item.mark.is_some());
            assert!(!strip || marks.count() == 0, "item {at}");
        }
    }
    let empty = partial(key(), &[0], [None, None]);
    let mut stores = Stores::of(Some(empty), None);
    let (purged, calls) = run(Purge::new(key(), true), &mut stores);
    assert_eq!(
        (purged, calls.as_str()),
        (Purged::Deleted, "N?, N remove IF same")
    );
}

#[test]
fn tools_begin_again_after_a_lost_reply() {
    fn lose_each<M: Machine + Clone>(machine: M, before: &Stores) -> Vec<Stores> {
        let mut ends = Vec::new();
        for lost in 0.. {
            for applied in [false, true] {
                let (mut machine, mut stores) = (machine.clone(), before.clone());
                let (mut step, mut calls) = (machine.begin(), 0);
                while let Step::Call(call) = step {
                    let is_lost =
                        calls == lost && !matches!(call, Call::ReadNew(_) | Call::ReadOld(_));
                    let reply = if is_lost && !applied {
                        Reply::Unknown
                    } else {
                        stores.call(call)
                    };
                    step = machine.step(if is_lost { Reply::Unknown } else { reply });
                    calls += 1;
                }
                ends.push(stores);
                if calls <= lost {
                    return ends;
                }
            }
        }
        ends
    }
    let mends = [0, 2, 3];
    for at in mends {
        let before = Stores::of(items()[at].clone(), old());
        let ends = lose_each(CopyRow::of_key(key()), &before);
        let repairs = lose_each(Repair::new(key(), true), &before);
        for ends in [ends, repairs] {
            assert!(ends.len() > 2);
            assert!(
                ends.windows(2).all(|two| two[0].new == two[1].new),
                "{ends:?}"
            );
        }
    }
    let purges = lose_each(
        Purge::new(key(), true),
        &Stores::of(items()[0].clone(), None),
    );
    assert!(purges.iter().all(|stores| stores.new[0].mark.is_none()));
}
