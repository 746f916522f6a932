//! Steps that aren't taken by mistake, and steps that can be taken back.

use super::*;

#[tokio::test]
async fn without_any_application_the_old_table_is_left_only_if_the_operator_says_that_there_is_none()
 {
    let bench = Bench::rows().await;
    let copier = bench.join(ParticipantKind::Copier).await;
    for (now, next) in [
        (Phase::Old, Phase::Bridge),
        (Phase::Bridge, Phase::Switch),
        (Phase::Switch, Phase::Copy),
    ] {
        let moved = |expect| bench.moved(Transition::Forward, next, expect, Gone::default());
        let error = moved(None).await.unwrap_err().to_string();
        assert!(error.contains("`--expect 0`"), "{error}");
        assert_eq!(bench.position().await.0, now);
        let forecast = bench.forecast(next, None, Gone::default()).await.unwrap();
        assert_eq!(forecast[0].refusals.len(), 1, "{now}");
        bench.set(next).await;
        copier.renew().await.unwrap();
    }
    copier.leave().await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.verify().await;
    let moved = bench.moved(Transition::Forward, Phase::New, None, Gone::default());
    moved.await.unwrap();
}

#[tokio::test]
async fn a_table_of_rows_returns_to_old_while_the_target_holds_nothing() {
    for mark in [
        Some(Mark::Application),
        Some(Mark::Copied),
        Some(Mark::Tombstone),
        None,
    ] {
        let bench = Bench::rows().await;
        bench.forward(Phase::Switch).await.unwrap();
        bench.back(Phase::Old).await.unwrap();
        assert_eq!(bench.position().await, (Phase::Old, 0));
        bench.forward(Phase::Switch).await.unwrap();
        put(&bench.rig.new, &bench.target(), &[row(3, mark)]).await;
        for from in [Phase::Switch, Phase::Bridge] {
            bench.back(from).await.unwrap();
            let error = bench.back(Phase::Old).await.unwrap_err().to_string();
            assert!(error.contains("the new store has rows"), "{error}");
            assert!(error.contains("id=3"), "{error}");
            assert_eq!(bench.position().await, (from, 0), "the phase hasn't moved");
        }
    }
}

/// What was there before anything was moved is nothing that an application wrote to the new store.
#[tokio::test]
async fn adopted_items_dont_keep_a_table_from_returning_to_old() {
    let bench = Bench::rows().await;
    put(&bench.rig.new, &bench.target(), &[row(3, None)]).await;
    let adopt = InitOptions {
        adopt: true,
        ..InitOptions::default()
    };
    let adopted = bench.migration.init(adopt).await.unwrap();
    assert_eq!(adopted, Init::Adopted(1));
    bench.forward(Phase::Switch).await.unwrap();
    bench.back(Phase::Old).await.unwrap();
    bench.forward(Phase::Bridge).await.unwrap();
    put(
        &bench.rig.new,
        &bench.target(),
        &[row(3, Some(Mark::Application))],
    )
    .await;
    let error = bench.back(Phase::Old).await.unwrap_err().to_string();
    assert!(error.contains("id=3"), "{error}");
}

#[tokio::test]
async fn counters_return_to_old_while_nobody_has_added_in_the_new_store() {
    let bench = Bench::of(Type::Counter).await;
    let source = source(Type::Counter);
    let counter = |total: i64, watermark: Option<i64>| {
        let mut counter = row(3, Some(Mark::Copied));
        counter.cells = vec![Some(Value::BigInt(total))];
        counter.watermarks = vec![watermark];
        counter
    };
    put(&bench.rig.old, &source, &[counter(5, None)]).await;
    let target = Table {
        name: "target".into(),
        ..source
    };
    bench.forward(Phase::Bridge).await.unwrap();
    put(&bench.rig.new, &target, &[counter(4, Some(4))]).await;
    bench.back(Phase::Old).await.unwrap();
    bench.forward(Phase::Switch).await.unwrap();
    put(&bench.rig.new, &target, &[counter(5, Some(4))]).await;
    let error = bench.back(Phase::Old).await.unwrap_err().to_string();
    assert!(error.contains("counters that were added to"), "{error}");
    assert_eq!(bench.position().await.0, Phase::Switch);
}

#[tokio::test]
async fn what_lands_before_everybody_is_in_bridge_keeps_the_table_there() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    for phase in [Phase::Bridge, Phase::Switch] {
        bench.set(phase).await;
        shim.renew().await.unwrap();
    }
    let guard = shim.guard().unwrap();
    let back = bench.back(Phase::Old);
    let write = async {
        while bench.told("Waiting { phase: Bridge") == 0 {
            tokio::task::yield_now().await;
        }
        // Begun in `switch`.
        put(
            &bench.rig.new,
            &bench.target(),
            &[row(3, Some(Mark::Application))],
        )
        .await;
        drop(guard);
        shim.renew().await.unwrap();
    };
    let (moved, ()) = tokio::join!(back, write);
    let error = moved.unwrap_err().to_string();
    assert!(error.contains("id=3"), "{error}");
    assert_eq!(bench.position().await.0, Phase::Bridge);
}

#[tokio::test]
async fn only_those_who_are_registered_and_silent_for_long_are_taken_for_gone() {
    let bench = Bench::rows().await;
    let shim = bench.join(ParticipantKind::Shim).await;
    let moved = |gone| bench.moved(Transition::Forward, Phase::Bridge, Some(1), gone);
    let silent = |seconds| Gone {
        ids: vec![],
        silent: Some(Duration::from_secs(seconds)),
    };
    // Its lease is 10 s, its longest operation 5.
    let error = moved(silent(14)).await.unwrap_err().to_string();
    assert!(error.contains("for 15 s"), "{error}");
    let unknown = || Gone {
        ids: vec![shim.id().into(), "nobody".into()],
        silent: None,
    };
    let error = moved(unknown()).await.unwrap_err().to_string();
    assert!(error.contains("`nobody` isn't registered"), "{error}");
    assert!(error.contains(shim.id()), "{error}");
    let forecast = bench.forecast(Phase::Bridge, Some(1), unknown()).await;
    assert!(forecast.is_err());
    assert_eq!(bench.position().await.0, Phase::Old);

    // A command that has taken it away, and is run again when all is over.
    let gone = Gone {
        ids: vec![shim.id().into()],
        silent: None,
    };
    bench.set(Phase::Bridge).await;
    bench
        .moved(Transition::Forward, Phase::Bridge, None, gone.clone())
        .await
        .unwrap();
    let again = bench.moved(Transition::Forward, Phase::Bridge, None, gone);
    again.await.unwrap();
}

#[tokio::test]
async fn done_is_entered_only_by_an_operator_who_has_typed_the_name() {
    let bench = Bench::rows().await;
    bench.forward(Phase::Copy).await.unwrap();
    assert!(bench.copy(false, false).await.unwrap().complete);
    bench.verify().await;
    for done in [None, Some("user".to_owned())] {
        let options = MoveOptions {
            expect: None,
            gone: Gone::default(),
            clock: Clock::Counted(bench.clock.clone()),
            done,
            open_old: &|| Box::pin(async { Ok(Old(bench.rig.old.clone())) }),
        };
        let (stop, mut tell) = (CancellationToken::new(), |_: Event<'_>| ());
        let (way, migration) = (Transition::Forward, &bench.migration);
        let moved = migration.advance(way, Phase::Done, &options, &stop, &mut tell);
        let error = moved.await.unwrap_err().to_string();
        assert!(error.contains("`--yes-done users`"), "{error}");
        assert_eq!(
            bench.position().await.0,
            Phase::Copy,
            "nor the steps before"
        );
    }
    bench.ahead(Phase::Done).await.unwrap();
}
