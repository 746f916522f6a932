//! What a read shows, and what it saves.

use super::*;

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
    // Another instance was faster: its row stays.
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
