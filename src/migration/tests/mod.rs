//! Moves from phase to phase, between stores in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::control::{Accept, Gone, Lease, Member, MemberRole, Participant, ParticipantKind};
use crate::copier;
use crate::model::{Condition, Key, Mark, Value};
use crate::protocol::phase::Transition;
use crate::schema::{Column, Role, Table, Type};
use crate::spec::TablePlan;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::testing::rig::{Rig, put};

mod doors;
mod memory;

struct Bench {
    migration: Migration,
    rig: Rig,
    clock: Arc<AtomicU64>,
    /// What was told, a line for each.
    told: Mutex<Vec<String>>,
    folder: tempfile::TempDir,
}

fn source(value: Type) -> Table {
    Table::new(
        "users",
        vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("body", value, Role::Regular),
        ],
    )
}

fn row(id: i32, mark: Option<Mark>) -> Row {
    let key = Key::row(vec![Value::Int(id)], vec![]);
    let mut row = Row::new(key, vec![Some(Value::text("x"))]);
    row.mark = mark;
    row
}

impl Bench {
    async fn of(value: Type) -> Self {
        let rig = Rig::new().await;
        let source = source(value);
        rig.old.create(&source).await.unwrap();
        if !source.is_counter() {
            let rows: Vec<Row> = (0..10).map(|id| row(id, None)).collect();
            put(&rig.old, &source, &rows).await;
        }
        let spec = TableSpec::new("test", TablePlan::new("users").to("target"));
        let (old, new) = (Old(rig.old.clone()), New::over(rig.new.clone()));
        let migration = Migration::new(spec, old, new, rig.control());
        migration.init(InitOptions::default()).await.unwrap();
        Bench {
            migration,
            rig,
            clock: Arc::default(),
            told: Mutex::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn rows() -> Self {
        Self::of(Type::Text).await
    }

    async fn moved(
        &self,
        way: Transition,
        to: Phase,
        expect: Option<usize>,
        gone: Gone,
    ) -> Result<()> {
        let options = MoveOptions {
            expect,
            gone,
            clock: Clock::Counted(self.clock.clone()),
            done: Some("users".into()),
            open_old: &|| Box::pin(async { Ok(Old(self.rig.old.clone())) }),
        };
        // Each look is five seconds after the one before.
        let mut tell = |told: Event<'_>| {
            if matches!(told, Event::Waiting { .. }) {
                self.clock.fetch_add(5_000, Ordering::SeqCst);
            }
            self.told.lock().unwrap().push(format!("{told:?}"));
        };
        let stop = CancellationToken::new();
        self.migration
            .advance(way, to, &options, &stop, &mut tell)
            .await
    }

    async fn forecast(
        &self,
        to: Phase,
        expect: Option<usize>,
        gone: Gone,
    ) -> Result<Vec<MovePreview>> {
        let options = MoveOptions {
            expect,
            gone,
            clock: Clock::Counted(self.clock.clone()),
            done: Some("users".into()),
            open_old: &|| Box::pin(async { Ok(Old(self.rig.old.clone())) }),
        };
        self.migration
            .forecast(Transition::Forward, to, &options)
            .await
    }

    /// Moves ahead. Both stores are compared first where that may be, since `new` asks for it.
    async fn forward(&self, to: Phase) -> Result<()> {
        let phase = self.position().await.0;
        if matches!(phase, Phase::Copy | Phase::Offline) && matches!(to, Phase::New | Phase::Done) {
            self.verify().await;
        }
        self.ahead(to).await
    }

    /// Moves ahead, and that alone, with the applications that are there.
    async fn ahead(&self, to: Phase) -> Result<()> {
        let registered = self.migration.control.participants("target").await?;
        let shims = registered.iter();
        let shims = shims.filter(|(_, one, _)| one.kind == ParticipantKind::Shim);
        let expect = Some(shims.count());
        self.moved(Transition::Forward, to, expect, Gone::default())
            .await
    }

    async fn back(&self, to: Phase) -> Result<()> {
        self.moved(Transition::Back, to, None, Gone::default())
            .await
    }

    async fn refused(&self, to: Phase) -> String {
        let error = self.forward(to).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch, "{error}");
        error.to_string()
    }

    async fn copy(&self, offline: bool, settle: bool) -> Result<copier::CopyOutcome> {
        let options = CopyOptions {
            offline,
            settle,
            shard: None,
            journal: self.folder.path().into(),
            copier: "here".into(),
            lease: Duration::from_secs(10),
            copy: copier::CopySettings::default(),
        };
        let stop = CancellationToken::new();
        self.migration.copy(options, &stop, |_| ()).await
    }

    async fn verify(&self) -> crate::verifier::VerifyOutcome {
        let options = VerifyOptions {
            journal: self.folder.path().into(),
            name: "here".into(),
            lease: Duration::from_secs(10),
            repair: None,
            as_repair: false,
            old: None,
            reading: "all".into(),
            patience: Patience::default(),
            verify: crate::verifier::VerifySettings {
                delay: Duration::ZERO,
                ..crate::verifier::VerifySettings::default()
            },
        };
        let stop = CancellationToken::new();
        self.migration.verify(options, &stop, |_| ()).await.unwrap()
    }

    async fn position(&self) -> (Phase, u64) {
        let there = self.migration.control.require("target").await.unwrap();
        (there.record.phase, there.record.freeze)
    }

    /// What an earlier command has left: the record in this phase, and none waited for.
    async fn set(&self, phase: Phase) {
        self.migration.control.set_phase("target", phase).await;
    }

    async fn join(&self, kind: ParticipantKind) -> Arc<Member> {
        let role = MemberRole {
            id: format!("{:016x}", rand::random::<u64>()),
            kind,
            name: "an application".into(),
            lease: Lease::default(),
            clock: Clock::Counted(self.clock.clone()),
        };
        let accept: Accept = Box::new(|_| Ok(()));
        Member::join(self.migration.control.clone(), "target", role, accept)
            .await
            .unwrap()
    }

    fn target(&self) -> Table {
        Table {
            name: "target".into(),
            ..source(Type::Text)
        }
    }

    fn told(&self, what: &str) -> usize {
        let told = self.told.lock().unwrap();
        told.iter().filter(|line| line.starts_with(what)).count()
    }
}

#[tokio::test]
async fn a_table_goes_all_the_way_and_back_as_far_as_it_may() {
    let bench = Bench::rows().await;
    bench.forward(Phase::Copy).await.unwrap();
    assert_eq!(bench.position().await, (Phase::Copy, 1));
    assert_eq!((bench.told("Applications"), bench.told("Step")), (1, 3));
    bench.forward(Phase::Copy).await.unwrap();
    assert_eq!(bench.told("Step"), 3, "it is there");

    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.forward(Phase::New).await.unwrap();
    bench.back(Phase::Copy).await.unwrap();
    assert_eq!(bench.position().await, (Phase::Copy, 1), "frozen all along");
    bench.forward(Phase::New).await.unwrap();

    bench.back(Phase::Bridge).await.unwrap();
    assert_eq!(bench.position().await, (Phase::Bridge, 1));
    // The old table may have been written to again.
    let refused = bench.refused(Phase::New).await;
    assert_eq!(bench.position().await, (Phase::Copy, 2));
    assert!(refused.contains("(freeze 2)"), "{refused}");
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.forward(Phase::Done).await.unwrap();
    for to in [Phase::New, Phase::Copy, Phase::Old] {
        let error = bench.back(to).await.unwrap_err().to_string();
        assert!(error.contains("no way back"), "{error}");
    }
}

#[tokio::test]
async fn what_leads_nowhere_is_refused_and_says_what_does() {
    let bench = Bench::rows().await;
    bench.forward(Phase::Switch).await.unwrap();
    let back = |to| bench.back(to);
    let refused = bench.refused(Phase::Bridge).await;
    assert!(refused.contains("migrate back"), "{refused}");
    let ahead = back(Phase::Copy).await.unwrap_err().to_string();
    assert!(ahead.contains("migrate advance"), "{ahead}");
    let old = bench.refused(Phase::Old).await;
    assert!(old.contains("migrate back"), "{old}");
    let offline = bench.refused(Phase::Offline).await;
    assert!(offline.contains("--offline"), "{offline}");
    assert_eq!(bench.position().await, (Phase::Switch, 0));
}

#[tokio::test]
async fn old_is_left_only_with_an_empty_target() {
    let bench = Bench::rows().await;
    put(&bench.rig.new, &bench.target(), &[row(3, None)]).await;
    let refused = bench.refused(Phase::Bridge).await;
    assert!(refused.contains("the target has items"), "{refused}");
    assert_eq!(bench.position().await, (Phase::Old, 0));
    bench
        .migration
        .init(InitOptions {
            adopt: true,
            ..InitOptions::default()
        })
        .await
        .unwrap();
    bench.forward(Phase::Bridge).await.unwrap();
}

#[tokio::test]
async fn rows_are_copied_in_copy_and_offline_alone() {
    let bench = Bench::rows().await;
    for phase in [Phase::Old, Phase::Bridge, Phase::Switch] {
        bench.forward(phase).await.unwrap();
        let error = bench.copy(false, false).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.to_string().contains("migrate advance --to copy"));
        assert!(error.to_string().contains(phase.name()), "{error}");
    }
    bench.forward(Phase::Copy).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.forward(Phase::New).await.unwrap();
    let error = bench.copy(false, false).await.unwrap_err().to_string();
    assert!(error.contains("nothing left"), "{error}");
}

#[tokio::test]
async fn new_takes_a_finished_copy_without_dead_letters() {
    let bench = Bench::rows().await;
    let refused = bench.refused(Phase::New).await;
    assert!(
        refused.contains("`migrate copy --table users`"),
        "{refused}"
    );
    assert_eq!(bench.position().await, (Phase::Copy, 1));
    assert!(bench.copy(false, false).await.unwrap().complete);
    let letter = DeadLetter {
        what: "id=3".into(),
        reason: "x".into(),
        freeze: 1,
        key: None,
        range: None,
        mended: false,
    };
    let control = &bench.migration.control;
    control.add_failures("target", &[letter]).await.unwrap();
    let refused = bench.refused(Phase::New).await;
    assert!(refused.contains("migrate failures"), "{refused}");

    // A new freeze begins without them: its copy meets every row again.
    bench.back(Phase::Switch).await.unwrap();
    bench.forward(Phase::Copy).await.unwrap();
    assert!(bench.migration.failures().await.unwrap().is_empty());
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.forward(Phase::New).await.unwrap();
}

#[tokio::test]
async fn new_takes_a_clean_verification_of_this_freeze_that_nothing_has_followed() {
    let bench = Bench::rows().await;
    bench.forward(Phase::Copy).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    let refused = async |words: &str| {
        let error = bench.ahead(Phase::New).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("migrate verify --table users"), "{error}");
    };
    refused("nothing was verified").await;

    put(
        &bench.rig.new,
        &bench.target(),
        &[row(77, Some(Mark::Copied))],
    )
    .await;
    assert_eq!(bench.verify().await.found.extra, 1);
    refused("found 1 differences").await;
    let key = row(77, None).key;
    let target = bench.target();
    let purged = bench
        .rig
        .new
        .purge(&target, vec![key], &Condition::Always)
        .await;
    assert!(purged.rows.iter().all(Result::is_ok));
    assert!(bench.verify().await.found.is_clean());
    assert!(bench.copy(false, false).await.unwrap().complete);
    refused("a copy or fold has run").await;

    assert!(bench.verify().await.found.is_clean());
    let control = &bench.migration.control;
    let verified = control.verified("target").await.unwrap().unwrap();
    // It has ended just now, and what it read first is old.
    let oldest_at = verified.oldest_at.unwrap();
    assert!((0..600).contains(&(verified.ended_at - oldest_at)));
    let read_at = |oldest_at| Verified {
        oldest_at,
        ..verified.clone()
    };
    let aged = read_at(Some(oldest_at - 3_700));
    control.note_verified("target", &aged).await.unwrap();
    refused("read 61 minutes ago, and `[verify] fresh` is 60 minutes").await;
    let unknown = read_at(None);
    control.note_verified("target", &unknown).await.unwrap();
    refused("noted by an earlier version").await;
    let odd = read_at(Some(oldest_at + 3_000));
    control.note_verified("target", &odd).await.unwrap();
    refused("compare the clocks").await;
    // Noted by a machine whose clock is a little ahead.
    let ahead = read_at(Some(oldest_at + 30));
    control.note_verified("target", &ahead).await.unwrap();
    bench.ahead(Phase::New).await.unwrap();

    bench.back(Phase::Switch).await.unwrap();
    bench.ahead(Phase::Copy).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    refused("nothing was verified").await;
}

#[tokio::test]
async fn new_takes_whole_rows() {
    let bench = Bench::rows().await;
    bench.forward(Phase::Copy).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    // The old table lacks 77, so that nothing is missing of it.
    let mut partial = row(77, Some(Mark::Partial));
    partial.decided = [0].into();
    put(&bench.rig.new, &bench.target(), &[partial.clone()]).await;
    bench.forward(Phase::New).await.unwrap();
    bench.back(Phase::Copy).await.unwrap();
    partial.key = row(3, None).key;
    put(&bench.rig.new, &bench.target(), &[partial]).await;
    let refused = bench.refused(Phase::New).await;
    assert!(refused.contains("1 items have some columns"), "{refused}");
    assert!(refused.contains("id=3"), "{refused}");
}

#[tokio::test]
async fn counters_enter_new_when_a_final_pass_of_this_freeze_has_settled_all() {
    let bench = Bench::of(Type::Counter).await;
    bench.forward(Phase::Bridge).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    let early = bench.copy(false, true).await.unwrap_err().to_string();
    assert!(early.contains("a final pass is for"), "{early}");
    let refused = bench.refused(Phase::New).await;
    assert!(refused.contains("migrate copy --final"), "{refused}");
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.refused(Phase::New).await;
    assert!(bench.copy(false, true).await.unwrap().complete);
    bench.forward(Phase::New).await.unwrap();
}

#[tokio::test]
async fn a_table_that_was_copied_offline_enters_new_or_done() {
    for to in [Phase::New, Phase::Done] {
        let bench = Bench::rows().await;
        assert!(bench.copy(true, false).await.unwrap().complete);
        let error = bench.refused(Phase::Copy).await;
        assert!(error.contains("migrate reset"), "{error}");
        bench.forward(to).await.unwrap();
        assert_eq!(bench.position().await, (to, 1));
    }
    let bench = Bench::rows().await;
    bench.set(Phase::Offline).await;
    let refused = bench.refused(Phase::Done).await;
    assert!(refused.contains("copy --offline"), "{refused}");
}

#[tokio::test]
async fn a_step_waits_for_who_is_behind_also_after_a_kill() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    // Killed between the change of the record and the wait.
    bench.set(Phase::Bridge).await;
    let walk = bench.forward(Phase::Switch);
    let follow = async {
        while bench.told("Waiting { phase: Bridge") == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.position().await.0, Phase::Bridge, "not passed");
        shim.renew().await.unwrap();
        while bench.told("Waiting { phase: Switch") == 0 {
            tokio::task::yield_now().await;
        }
        shim.renew().await.unwrap();
    };
    let (walked, ()) = tokio::join!(walk, follow);
    walked.unwrap();
    assert_eq!((shim.phase(), bench.told("Reached")), (Phase::Switch, 2));
}

#[tokio::test]
async fn a_silent_application_is_passed_when_the_operator_says_that_it_is_gone() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    bench.set(Phase::Bridge).await;
    let gone = Gone {
        ids: vec![shim.id().into()],
        silent: None,
    };
    // Of one that is vouched for, no call may land late: so it takes its longest operation.
    let moved = bench.moved(Transition::Forward, Phase::Switch, Some(0), gone);
    moved.await.unwrap();
    assert!(bench.told("Waiting") > 0);
    assert_eq!(bench.position().await.0, Phase::Switch);
    assert!(shim.guard().is_ok(), "it doesn't know yet");
    shim.renew().await.unwrap();
    assert_eq!(shim.phase(), Phase::Switch);
}

#[tokio::test]
async fn another_number_of_applications_than_expected_is_refused() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    let tool = bench.join(ParticipantKind::Copier).await;
    let moved = |expect| {
        bench.moved(
            Transition::Forward,
            Phase::Bridge,
            Some(expect),
            Gone::default(),
        )
    };
    let error = moved(2).await.unwrap_err().to_string();
    assert!(error.contains("2 are expected"), "{error}");
    assert!(error.contains("an application"), "{error}");
    assert_eq!(bench.position().await.0, Phase::Old);
    let follow = async {
        while bench.told("Waiting") == 0 {
            tokio::task::yield_now().await;
        }
        shim.renew().await.unwrap();
        tool.renew().await.unwrap();
    };
    let (moved, ()) = tokio::join!(moved(1), follow);
    moved.unwrap();
}

#[tokio::test]
async fn two_commands_at_once_do_no_harm() {
    let bench = Bench::rows().await;
    let (one, other) = tokio::join!(bench.forward(Phase::Copy), bench.forward(Phase::Copy));
    one.unwrap();
    other.unwrap();
    assert_eq!(bench.position().await, (Phase::Copy, 1));

    // One that is overtaken by another that goes back doesn't fight with it.
    let _shim = bench.join(ParticipantKind::Shim).await;
    bench.back(Phase::Copy).await.unwrap();
    bench.set(Phase::New).await;
    let turn = async {
        while bench.told("Waiting { phase: New") == 0 {
            tokio::task::yield_now().await;
        }
        bench.set(Phase::Copy).await;
    };
    let (walked, ()) = tokio::join!(bench.forward(Phase::Done), turn);
    let error = walked.unwrap_err().to_string();
    assert!(error.contains("another command"), "{error}");
    assert_eq!(bench.position().await.0, Phase::Copy);
}

#[tokio::test]
async fn a_forecast_names_all_that_stands_against_it_and_changes_nothing() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    put(&bench.rig.new, &bench.target(), &[row(3, None)]).await;
    let steps = bench.forecast(Phase::New, Some(4), Gone::default()).await;
    let steps = steps.unwrap();
    let refusals: Vec<usize> = steps.iter().map(|step| step.refusals.len()).collect();
    assert_eq!(refusals, [2, 1, 1, 2]);
    let waits: Vec<&(String, Participant)> =
        steps.iter().flat_map(|step| &step.waits_for).collect();
    assert!(waits.len() == 4 && waits.iter().all(|(id, _)| id == shim.id()));
    assert_eq!(bench.position().await, (Phase::Old, 0));
}
