//! A call that lands when its sender is long gone: what a step that fears late calls waits for, and what comes of
//! it if it doesn't.

use std::sync::Arc;
use std::time::Duration;

use crossfade::control::{Accept, Gone, Member, MemberRole, New, ParticipantKind, Record, Watch};
use crossfade::model::{Condition, Key, Mark, Mutation, Row, Value};
use crossfade::protocol::Phase;
use crossfade::shim::{OldStore, Settings, Shim, Ttl};
use crossfade::store::{Old, Store};

use super::TARGET;
use super::wire::{Process, Weather, Wire};
use super::world::{LEASE, World, control, schema, spec};

/// Everything arrives at once.
const CALM: Weather = Weather {
    slow: 0.0,
    slowest: Duration::ZERO,
    unreachable: 0.0,
    lost: 0.0,
    held: Duration::ZERO,
};
/// A proxy keeps what it has taken for so long: beyond the longest operation, within the landing time.
const HELD: Weather = Weather {
    held: Duration::from_millis(5_500),
    ..CALM
};

fn row(a: i32) -> Row {
    let key = Key::row(vec![Value::text("x")], vec![Value::Int(0)]);
    Row::new(key, vec![Some(Value::Int(a)), None])
}

/// Moves the record once everyone is there.
async fn step(world: &World, watch: &mut Watch, next: Phase, waits_for: Option<Phase>) {
    let process = Process::new(&world.chance, CALM);
    let control = control(world, &process);
    let there = control.require(TARGET).await.unwrap();
    let phase = there.record.phase;
    loop {
        let nobody = Gone::default();
        let left = watch.look(&control, TARGET, phase, waits_for, &nobody);
        if left.await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let record = Record {
        phase: next,
        ..there.record.clone()
    };
    assert!(control.replace(TARGET, &there, &record).await.unwrap());
}

/// A copier is killed while its put is on the way, the table goes back to `bridge`, and an application writes. Gives
/// what it reads in the end.
async fn read_in_the_end(is_feared: bool) -> Option<Value> {
    let world = World::new(0).await;
    let source = schema(false);
    let old: Arc<dyn Store> = world.old.clone();
    old.apply(&source, &Mutation::Put(row(1))).await.unwrap();
    let mut watch = Watch::new(world.clock());
    for next in [Phase::Bridge, Phase::Switch, Phase::Copy] {
        step(&world, &mut watch, next, None).await;
    }
    let process = Process::new(&world.chance, HELD);
    let role = MemberRole {
        id: "copier".into(),
        kind: ParticipantKind::Copier,
        name: "copier".into(),
        lease: LEASE,
        clock: world.clock(),
    };
    let accept: Accept = Box::new(|_| Ok(()));
    let own = Process::new(&world.chance, CALM);
    let member = Member::join(control(&world, &own), TARGET, role, accept)
        .await
        .unwrap();
    let writer = member.writer(&New::over(Wire::to(&world.new, &process)));
    let transform = spec().transform(&source, 0).unwrap();
    let copied = Row {
        mark: Some(Mark::Copied),
        ..row(1)
    };
    let put = async {
        writer
            .put(transform.target(), &[copied], &Condition::absent())
            .await
    };
    let put = tokio::time::timeout(Duration::from_millis(10), put).await;
    assert!(put.is_err(), "it is on its way");
    process.kill();
    for next in [Phase::Switch, Phase::Bridge] {
        step(&world, &mut watch, next, is_feared.then_some(next)).await;
    }
    let settings = Settings {
        lease: LEASE,
        deadline: Duration::from_secs(2),
        clock: world.clock(),
        ..Settings::new("app")
    };
    let store = OldStore::Open(Old(Wire::to(&world.old, &own)));
    let new = New::over(Wire::to(&world.new, &own));
    let shim = Shim::start(settings, store, new, control(&world, &own), [spec()]).unwrap();
    let table = shim.table("things").unwrap();
    table.put(row(2), Ttl::Never).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let read = table.get(&row(2).key).await.unwrap().unwrap();
    read.cells[0].clone()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fears_late_calls_waits_for_them() {
    assert_eq!(read_in_the_end(true).await, Some(Value::Int(2)));
}

/// The mutant.
#[tokio::test(start_paused = true)]
async fn without_that_an_acknowledged_write_is_hidden() {
    assert_eq!(read_in_the_end(false).await, Some(Value::Int(1)));
}
