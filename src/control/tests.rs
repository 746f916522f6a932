//! The record under competition, and the barrier with members that stop and come back.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::Clock;
use crate::model::Tokens;
use crate::model::{Condition, Intervals};
use crate::protocol::Phase;
use crate::store::memory::Memory;
use crate::store::{Permit, Store};
use crate::testing::faulty::{Faults, Faulty};
use crate::testing::rig;

fn record(plan: &str) -> Record {
    let table = Table::new("t", vec![Column::new("id", Type::Int, Role::Partition)]);
    Record {
        plan: plan.into(),
        freeze: 0,
        ..rig::record(Phase::Old, &table, &table)
    }
}

fn control(memory: &Arc<Memory>, faults: Faults) -> Control {
    let store = Faulty::new(memory.clone(), faults, 1);
    Control::new(New::over(Arc::new(store)), "control")
}

#[tokio::test]
async fn a_change_names_the_version_it_has_seen() {
    let memory = Arc::new(Memory::new());
    let control = control(&memory, Faults::default());
    assert_eq!(
        control.load("t").await.unwrap(),
        None,
        "no table, no record"
    );
    control.create().await.unwrap();
    assert!(control.add("t", &record("a")).await.unwrap());
    assert!(
        !control.add("t", &record("b")).await.unwrap(),
        "another was quicker"
    );
    let seen = control.require("t").await.unwrap();
    let offline = Record {
        phase: Phase::Offline,
        freeze: 1,
        ..record("a")
    };
    assert!(control.replace("t", &seen, &offline).await.unwrap());
    let late = Record {
        freeze: 9,
        ..record("a")
    };
    assert!(
        !control.replace("t", &seen, &late).await.unwrap(),
        "it has changed since"
    );
    assert_eq!(control.require("t").await.unwrap().record, offline);
}

#[tokio::test]
async fn a_change_whose_reply_is_lost_is_found_again() {
    let memory = Arc::new(Memory::new());
    control(&memory, Faults::default()).create().await.unwrap();
    let deaf = control(
        &memory,
        Faults {
            reply_lost: 1.0,
            ..Faults::default()
        },
    );
    assert!(deaf.add("t", &record("a")).await.unwrap());
    let seen = deaf.require("t").await.unwrap();
    let next = Record {
        freeze: 1,
        ..record("a")
    };
    assert!(deaf.replace("t", &seen, &next).await.unwrap());
    let error = deaf.replace("t", &seen, &record("b")).await.unwrap_err();
    assert_eq!(error.known_effect(), Effect::Unknown, "not ours: {error}");
    assert_eq!(deaf.require("t").await.unwrap().record, next);
}

#[tokio::test]
async fn what_copiers_note_is_listed_and_can_be_cleared() {
    let memory = Arc::new(Memory::new());
    let control = control(&memory, Faults::default());
    control.create().await.unwrap();
    let done = [
        Tokens {
            after: i64::MIN,
            up_to: -5,
        },
        Tokens {
            after: 7,
            up_to: i64::MAX,
        },
    ];
    let done: Intervals = done.into_iter().collect();
    let progress = Progress {
        freeze: 1,
        begun: "once".into(),
        mapping: "m".into(),
        copier: "here".into(),
        heartbeat: 3,
        noted_at: None,
        ended: false,
        done: Progress::ranges(&done),
        counts: Counts::default(),
    };
    control.note_progress("t", "one", &progress).await.unwrap();
    let letter = |what: &str| DeadLetter {
        what: what.into(),
        reason: "x".into(),
        freeze: 0,
        key: None,
        range: None,
        mended: false,
    };
    control
        .add_failures("t", &[letter("a"), letter("b"), letter("a")])
        .await
        .unwrap();
    control.add_failures("other", &[letter("c")]).await.unwrap();
    let listed = control.progress("t").await.unwrap();
    assert_eq!(listed, [("one".to_owned(), progress)]);
    assert_eq!(listed[0].1.intervals(), done);
    assert_eq!(control.failures("t").await.unwrap().len(), 2);
    control.clear("t").await.unwrap();
    assert!(control.failures("t").await.unwrap().is_empty());
    assert!(control.progress("t").await.unwrap().is_empty());
    assert_eq!(control.failures("other").await.unwrap().len(), 1);
}

/// A time that only [`pass`] moves.
fn stopped() -> Clock {
    Clock::Counted(Arc::default())
}

fn pass(clock: &Clock, seconds: u64) {
    if let Clock::Counted(millis) = clock {
        millis.fetch_add(seconds * 1_000, std::sync::atomic::Ordering::SeqCst);
    }
}

fn role(kind: ParticipantKind, clock: &Clock) -> MemberRole {
    MemberRole {
        id: format!("{:016x}", rand::random::<u64>()),
        kind,
        name: "here".into(),
        lease: Lease::default(),
        clock: clock.clone(),
    }
}

async fn join(control: &Control, kind: ParticipantKind, clock: &Clock) -> Arc<Member> {
    let accept: Accept = Box::new(|_| Ok(()));
    Member::join(control.clone(), "t", role(kind, clock), accept)
        .await
        .unwrap()
}

async fn prepared(phase: Phase) -> Control {
    let control = control(&Arc::new(Memory::new()), Faults::default());
    control.create().await.unwrap();
    let first = Record {
        phase,
        ..record("a")
    };
    assert!(control.add("t", &first).await.unwrap());
    control
}

async fn set(control: &Control, phase: Phase) {
    control.set_phase("t", phase).await;
}

async fn waiting(watch: &mut Watch, control: &Control, phase: Phase, gone: &Gone) -> usize {
    watch
        .look(control, "t", phase, None, gone)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn a_phase_is_acknowledged_when_what_began_before_it_has_ended() {
    let control = prepared(Phase::Old).await;
    let clock = stopped();
    let shim = join(&control, ParticipantKind::Shim, &clock).await;
    let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
    assert_eq!(waiting(&mut watch, &control, Phase::Old, &nobody).await, 0);
    let early = shim.guard().unwrap();
    set(&control, Phase::Bridge).await;
    assert_eq!(
        waiting(&mut watch, &control, Phase::Bridge, &nobody).await,
        1
    );
    shim.renew().await.unwrap();
    let late = shim.guard().unwrap();
    assert_eq!((early.phase(), late.phase()), (Phase::Old, Phase::Bridge));
    assert_eq!(
        waiting(&mut watch, &control, Phase::Bridge, &nobody).await,
        1,
        "one is under way"
    );
    drop(early);
    shim.renew().await.unwrap();
    assert_eq!(
        waiting(&mut watch, &control, Phase::Bridge, &nobody).await,
        0
    );
    late.check().unwrap();
    drop(late);
    shim.leave().await.unwrap();
    assert!(shim.guard().is_err());
    assert!(control.participants("t").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_application_goes_on_in_bridge_without_the_record_and_no_move_passes_it() {
    let control = prepared(Phase::Bridge).await;
    let clock = stopped();
    let shim = join(&control, ParticipantKind::Shim, &clock).await;
    let tool = join(&control, ParticipantKind::Copier, &clock).await;
    let (mut watch, mut gone) = (Watch::new(clock.clone()), Gone::default());
    set(&control, Phase::Switch).await;
    assert_eq!(waiting(&mut watch, &control, Phase::Switch, &gone).await, 2);
    pass(&clock, 14);
    assert!(tool.guard().is_err(), "a tool fails closed in every phase");
    assert_eq!(waiting(&mut watch, &control, Phase::Switch, &gone).await, 2);
    pass(&clock, 2);
    let left = watch
        .look(&control, "t", Phase::Switch, None, &gone)
        .await
        .unwrap();
    assert_eq!(left.len(), 1, "the tool is dead");
    assert_eq!(left[0].id, shim.id());
    pass(&clock, 3_600);
    shim.guard().unwrap().check().unwrap();
    assert_eq!(waiting(&mut watch, &control, Phase::Switch, &gone).await, 1);
    gone.silent = Some(std::time::Duration::from_secs(900));
    assert_eq!(waiting(&mut watch, &control, Phase::Switch, &gone).await, 0);
    shim.renew().await.unwrap();
    assert_eq!(shim.phase(), Phase::Switch, "it has joined again");
    shim.guard().unwrap().check().unwrap();
    assert_eq!(waiting(&mut watch, &control, Phase::Switch, &gone).await, 0);
}

#[tokio::test]
async fn from_switch_on_nothing_begins_or_succeeds_past_the_lease() {
    let control = prepared(Phase::Switch).await;
    let clock = stopped();
    let shim = join(&control, ParticipantKind::Shim, &clock).await;
    let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
    let guard = shim.guard().unwrap();
    assert_eq!(waiting(&mut watch, &control, Phase::Copy, &nobody).await, 1);
    pass(&clock, 9);
    guard.check().unwrap();
    pass(&clock, 1);
    assert!(guard.check().is_err() && shim.guard().is_err());
    assert_eq!(
        waiting(&mut watch, &control, Phase::Copy, &nobody).await,
        1,
        "a call may be late"
    );
    pass(&clock, 5);
    assert_eq!(waiting(&mut watch, &control, Phase::Copy, &nobody).await, 0);
    set(&control, Phase::Copy).await;
    set(&control, Phase::New).await;
    shim.renew().await.unwrap();
    assert!(guard.check().is_err(), "what began before stays worthless");
    assert_eq!(shim.guard().unwrap().phase(), Phase::New);
}

#[tokio::test]
async fn a_record_that_isnt_accepted_keeps_nobody_waiting() {
    let control = prepared(Phase::Old).await;
    let accept: Accept = Box::new(|record| match record.plan.as_str() {
        "b" => Ok(()),
        _ => Err(Error::new(Kind::Mismatch, "another plan")),
    });
    let joined = Member::join(
        control.clone(),
        "t",
        role(ParticipantKind::Shim, &stopped()),
        accept,
    )
    .await;
    assert_eq!(joined.err().map(|error| error.kind()), Some(Kind::Mismatch));
    assert!(control.participants("t").await.unwrap().is_empty());
    assert!(
        Member::join(
            control.clone(),
            "nowhere",
            role(ParticipantKind::Shim, &stopped()),
            Box::new(|_| Ok(()))
        )
        .await
        .is_err()
    );
}

/// Members that renew, hang for a while, lose answers and hold operations at random, while an operator
/// walks the phases there and back as the barrier allows.
#[tokio::test]
async fn nobody_who_may_work_is_ever_more_than_a_phase_away() {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    let way = [
        Phase::Old,
        Phase::Bridge,
        Phase::Switch,
        Phase::Copy,
        Phase::New,
        Phase::Copy,
        Phase::Switch,
        Phase::Bridge,
    ];
    let (mut moves, mut lapses) = (0, 0);
    for seed in 0..40 {
        let (mut chance, clock) = (SmallRng::seed_from_u64(seed), stopped());
        let memory = Arc::new(Memory::new());
        let plain = self::control(&memory, Faults::default());
        plain.create().await.unwrap();
        plain.add("t", &record("a")).await.unwrap();
        let faults = Faults {
            unreachable: 0.1,
            reply_lost: 0.1,
            ..Faults::default()
        };
        let shaky = Control::new(
            New::over(Arc::new(Faulty::new(memory, faults, seed))),
            "control",
        );
        let mut members = Vec::new();
        for kind in [
            ParticipantKind::Shim,
            ParticipantKind::Shim,
            ParticipantKind::Copier,
        ] {
            let mut member = join(&plain, kind, &clock).await;
            // From here on its calls fail now and then.
            Arc::get_mut(&mut member).unwrap().control = shaky.clone();
            members.push(member);
        }
        let mut hangs = [0_u64; 3];
        let mut guards: Vec<Vec<PhaseGuard>> = members.iter().map(|_| Vec::new()).collect();
        let (mut watch, mut at) = (Watch::new(clock.clone()), 0);
        for second in 0..600_u64 {
            for (place, member) in members.iter().enumerate() {
                if hangs[place] > second {
                    continue;
                }
                if chance.random_range(0..40) == 0 {
                    hangs[place] = second + chance.random_range(5..60);
                    continue;
                }
                guards[place]
                    .retain(|guard| guard.check().is_ok() && chance.random_range(0..3) > 0);
                if chance.random_range(0..3) == 0 {
                    lapses += u32::from(member.renew().await.is_err());
                }
                if let Ok(guard) = member.guard() {
                    guards[place].push(guard);
                }
            }
            if watch
                .look(&plain, "t", way[at % way.len()], None, &Gone::default())
                .await
                .unwrap()
                .is_empty()
            {
                at += 1;
                // From bridge, the end of the way back, on to switch again.
                if at % way.len() == 0 {
                    at = 2;
                }
                set(&plain, way[at % way.len()]).await;
                moves += 1;
            }
            let live: Vec<Phase> = guards
                .iter()
                .flatten()
                .filter(|guard| guard.check().is_ok())
                .map(PhaseGuard::phase)
                .collect();
            for (one, other) in live
                .iter()
                .flat_map(|one| live.iter().map(move |other| (one, other)))
            {
                let near = one == other
                    || one.transition_to(*other).is_some()
                    || other.transition_to(*one).is_some();
                assert!(near, "seed {seed}, second {second}: {one} beside {other}");
            }
            pass(&clock, 1);
        }
    }
    assert!(moves > 200, "only {moves} moves");
    assert!(lapses > 50, "only {lapses} renewals failed");
}

#[tokio::test]
async fn a_phase_is_held_for_what_a_killed_process_of_the_same_id_has_sent() {
    let control = prepared(Phase::Copy).await;
    let clock = stopped();
    let join = async || {
        let role = MemberRole {
            id: "one".into(),
            ..role(ParticipantKind::Shim, &clock)
        };
        let accept: Accept = Box::new(|_| Ok(()));
        Member::join(control.clone(), "t", role, accept).await
    };
    let killed = join().await.unwrap();
    set(&control, Phase::Switch).await;
    drop(killed);
    let shim = join().await.unwrap();
    assert_eq!(shim.phase(), Phase::Switch, "it works all the same");
    shim.guard().unwrap();
    let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
    for (seconds, left) in [(0, 1), (4, 1), (1, 0)] {
        pass(&clock, seconds);
        shim.renew().await.unwrap();
        let waiting = waiting(&mut watch, &control, Phase::Switch, &nobody).await;
        assert_eq!(waiting, left, "{seconds} seconds later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_isnt_gone_while_its_last_write_may_land() {
    let control = prepared(Phase::Copy).await;
    let clock = stopped();
    let copier = join(&control, ParticipantKind::Copier, &clock).await;
    let memory = Arc::new(Memory::new());
    let table = control.table.clone();
    memory.create(&table).await.unwrap();
    let losing = Faults {
        reply_lost: 1.0,
        ..Faults::default()
    };
    let losing = Arc::new(Faulty::new(memory, losing, 1));
    let leased = copier.writer(&New::over(losing));
    let row = Row::new(key("t", "row"), vec![None, None]);
    let puts = leased.put(&table, &[row], &Condition::absent()).await;
    assert!(puts.rows[0].is_err(), "its reply was lost");
    let leaving = tokio::spawn(async move { copier.leave().await });
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(control.participants("t").await.unwrap().len(), 1);
    pass(&clock, 5);
    leaving.await.unwrap().unwrap();
    assert!(control.participants("t").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_phase_of_a_record_changes_along_the_table_only() {
    for from in Phase::ALL {
        for to in Phase::ALL {
            let control = prepared(from).await;
            let seen = control.require("t").await.unwrap();
            let next = Record {
                phase: to,
                ..seen.record.clone()
            };
            let moved = control.replace("t", &seen, &next).await;
            if from == to || from.transition_to(to).is_some() {
                assert!(moved.unwrap(), "{from} -> {to}");
                continue;
            }
            assert_eq!(moved.unwrap_err().kind(), Kind::Mismatch, "{from} -> {to}");
            assert_eq!(control.require("t").await.unwrap(), seen, "{from} -> {to}");
        }
    }
}

/// A permit is asked by the store, and so before each request of a call.
#[tokio::test]
async fn a_put_stops_in_its_middle_once_the_lease_is_over() {
    let memory = Arc::new(Memory::new());
    let table = &Control::new(New::over(memory.clone()), "rows").table;
    memory.create(table).await.unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let permit = Permit::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0..3 => Ok(()),
        _ => Err(Error::new(Kind::Unreachable, "the lease is over")),
    });
    let rows: Vec<Row> = (0..5)
        .map(|n| Row::new(key("t", &n.to_string()), vec![None, None]))
        .collect();
    let store = memory.permitted(permit);
    let puts = store.put(table, &rows, &Condition::Always).await.rows;
    assert_eq!(puts.iter().filter(|put| put.is_ok()).count(), 3);
    for refused in &puts[3..] {
        let error = refused.as_ref().unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None)
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn steps_that_fear_late_calls_wait_until_nothing_can_land_any_more() {
    for (from, to) in [
        (Phase::Switch, Phase::Bridge),
        (Phase::New, Phase::Done),
        (Phase::Offline, Phase::Done),
    ] {
        let control = prepared(Phase::Copy).await;
        let clock = stopped();
        let copier = join(&control, ParticipantKind::Copier, &clock).await;
        let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
        set(&control, from).await;
        assert_eq!(waiting(&mut watch, &control, from, &nobody).await, 1);
        pass(&clock, 15);
        assert_eq!(
            waiting(&mut watch, &control, from, &nobody).await,
            0,
            "its lease and its longest operation are over"
        );
        assert!(control.participants("t").await.unwrap().is_empty());
        pass(&clock, 294);
        for (next, waited) in [(None, 0), (Some(Phase::Copy), 0), (Some(to), 1)] {
            let left = watch.look(&control, "t", from, next, &nobody).await;
            assert_eq!(left.unwrap().len(), waited, "{from} -> {next:?}");
        }
        // Another command, which has seen nothing of it, waits from its own first look on.
        let mut other = Watch::new(clock.clone());
        let left = other.look(&control, "t", from, Some(to), &nobody).await;
        assert_eq!(left.unwrap().len(), 1);
        pass(&clock, 1);
        let left = watch.look(&control, "t", from, Some(to), &nobody).await;
        assert_eq!(
            left.unwrap().len(),
            0,
            "a signed request isn't taken any more"
        );
        let left = other.look(&control, "t", from, Some(to), &nobody).await;
        assert_eq!(left.unwrap().len(), 0);
        drop(copier);
    }
}

#[tokio::test]
async fn who_leaves_with_calls_under_way_leaves_word() {
    let control = prepared(Phase::Copy).await;
    let clock = stopped();
    let shim = join(&control, ParticipantKind::Shim, &clock).await;
    let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
    shim.guard().unwrap().may_land_late();
    set(&control, Phase::Switch).await;
    shim.renew().await.unwrap();
    assert_eq!(
        waiting(&mut watch, &control, Phase::Switch, &nobody).await,
        0
    );
    let back = Some(Phase::Bridge);
    let left = watch
        .look(&control, "t", Phase::Switch, back, &nobody)
        .await;
    assert_eq!(left.unwrap().len(), 1, "a re-save may still land");
    shim.leave().await.unwrap();
    assert!(control.participants("t").await.unwrap().is_empty());
    let left = watch
        .look(&control, "t", Phase::Switch, back, &nobody)
        .await;
    assert_eq!(left.unwrap().len(), 1, "though it has left");
    pass(&clock, 310);
    let left = watch
        .look(&control, "t", Phase::Switch, back, &nobody)
        .await;
    assert_eq!(left.unwrap().len(), 0);
}

/// It has followed, and died before what it had left under way has landed.
#[tokio::test]
async fn who_leaves_word_and_is_killed_is_waited_for_no_longer_than_that() {
    let control = prepared(Phase::Copy).await;
    let clock = stopped();
    let copier = join(&control, ParticipantKind::Copier, &clock).await;
    let (mut watch, nobody) = (Watch::new(clock.clone()), Gone::default());
    copier.guard().unwrap().may_land_late();
    set(&control, Phase::Switch).await;
    copier.renew().await.unwrap();
    let back = Some(Phase::Bridge);
    for (seconds, waited) in [(0, 1), (15, 1), (294, 1), (1, 0)] {
        pass(&clock, seconds);
        let left = watch.look(&control, "t", Phase::Switch, back, &nobody);
        assert_eq!(left.await.unwrap().len(), waited, "{seconds} s later");
    }
    assert!(control.present_and_gone("t").await.unwrap().is_empty());
}

/// What watches instances reads those alone, not ten thousand dead letters each time.
#[tokio::test]
async fn items_are_read_by_the_range_of_their_names() {
    let control = prepared(Phase::Old).await;
    let clock = stopped();
    let tool = join(&control, ParticipantKind::Copier, &clock).await;
    for prefix in [PROGRESS, FAILURE, INSTANCE, VERIFIED] {
        let query = Query {
            range: beginning_with("t", prefix),
            reverse: false,
            after: None,
            limit: 100,
        };
        let listed = control.store.query(&control.table, &query).await.unwrap();
        let names: Vec<&str> = listed.rows.iter().filter_map(item_name).collect();
        match prefix == INSTANCE {
            true => assert_eq!(names, [format!("instance {}", tool.id())]),
            false => assert!(names.is_empty(), "{names:?}"),
        }
    }
}
