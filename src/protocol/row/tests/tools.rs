//! What copying, mending and purging do to each item.

use super::*;

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
        (0, "N?", "N?, N strip IF marked c"),
        (1, "N?, N remove IF marked t", "N?, N remove IF marked t"),
        (2, "N?", "N?, N strip IF same"),
        (3, "N?", "N?"),
        (4, "N?, N remove IF e", "N?, N remove IF e"),
    ];
    for (at, calls, strip_calls) in cases {
        for (strip, calls) in [(false, calls), (true, strip_calls)] {
            let mut stores = Stores::of(items()[at].clone(), None);
            let (_, made) = run(Purge::new(key(), strip, NOW), &mut stores);
            assert_eq!(made, calls, "item {at}, strip {strip}");
            let marks = stores.new.iter().filter(|item| item.mark.is_some());
            assert!(!strip || marks.count() == 0, "item {at}");
        }
    }
    // The one that has changed it since it was read has taken its marks off, or deleted it: nothing is left to be done.
    for item in items().into_iter().take(1).flatten() {
        let unmarked = Row {
            mark: None,
            ..item.clone()
        };
        for now in [Some(unmarked), None] {
            let mut stores = Stores::of(now, None);
            let (purged, calls) = run(Purge::of_item(item.clone(), true, NOW), &mut stores);
            let found = (purged, calls.as_str());
            assert_eq!(found, (Purged::Clean, "N strip IF marked c"));
        }
    }
    let mut stores = Stores::of(items()[0].clone(), None);
    let (purged, _) = run(Purge::new(key(), false, NOW), &mut stores);
    assert_eq!(purged, Purged::Marked);
    let empty = partial(key(), &[0], [None, None]);
    let mut stores = Stores::of(Some(empty), None);
    let (purged, calls) = run(Purge::new(key(), true, NOW), &mut stores);
    assert_eq!(
        (purged, calls.as_str()),
        (Purged::Deleted, "N?, N remove IF same")
    );
}

#[test]
fn tools_begin_again_after_a_lost_reply() {
    fn lose_each<M: Machine<Call = Call, Reply = Reply> + Clone>(
        machine: M,
        before: &Stores,
    ) -> Vec<Stores> {
        let mut ends = Vec::new();
        for lost in 0.. {
            for applied in [false, true] {
                let (mut machine, mut stores) = (machine.clone(), before.clone());
                let (mut step, mut calls) = (machine.begin(), 0);
                while let RowStep::Call(call) = step {
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
        Purge::new(key(), true, NOW),
        &Stores::of(items()[0].clone(), None),
    );
    assert!(purges.iter().all(|stores| stores.new[0].mark.is_none()));
}
