//! A final pass begins when nothing of an earlier phase can still land.

use aws_sdk_dynamodb::types::AttributeValue as A;

use super::{VOTES, VOTES_PLAN, copy, fill_votes, vote};
use crate::command::{Bench, says};

/// A copier that was killed in `old` may have read less than there is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_pass_waits_until_a_killed_copier_is_surely_dead() {
    let bench = Bench::new("waiting").await;
    fill_votes(&bench, 50).await;
    bench.plan(VOTES_PLAN).init();
    copy(&bench, &[], 0);
    vote(&bench, 7, 5).await;
    let ghost = r#"{"kind":"copier","name":"a ghost","phase":"old","heartbeat":3,"lease_seconds":2,"operation_seconds":1}"#;
    let put = bench
        .dynamo
        .put_item()
        .table_name(bench.named("@-control"))
        .item("target", A::S(bench.target("votes")))
        .item("item", A::S("instance ghost".into()))
        .item("doc", A::S(ghost.into()))
        .item("v", A::N("4".into()));
    put.send().await.expect("put");

    let begun = std::time::Instant::now();
    let arguments = ["copy", "--offline", "--final", "--json"];
    let outcome = bench.migrate(&arguments).run().expect_code(0);
    assert!(begun.elapsed().as_secs() >= 3, "{outcome}");
    says(
        &outcome,
        &["waiting until what was begun before `offline` is over: a ghost"],
    );
    assert_eq!(outcome.json()[0]["settled"], 50);
    assert_eq!(VOTES.assert_equal(&bench).await, 50);

    // Nobody is left, so that the next one needn't wait.
    let outcome = bench.migrate(&arguments).run().expect_code(0);
    assert!(!outcome.stderr.contains("waiting until"), "{outcome}");
    bench.done().await;
}

/// A pass that began in `old` has been stopped where the table is offline now: the same command goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_copier_of_an_earlier_phase_ends() {
    let bench = Bench::new("earlier").await;
    fill_votes(&bench, 4_000).await;
    bench.plan(VOTES_PLAN).init();
    let mut early = bench.migrate(&["copy"]).spawn();
    while !bench.has_items("votes").await {
        assert!(early.runs(), "it isn't over so soon");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    early.signal("STOP");
    let stores = bench.stores().replace("/journal\"", "/journal-late\"");
    bench.write("late.toml", &format!("{stores}{VOTES_PLAN}"));
    let late = bench.migrate_by("late.toml", &["copy", "--offline", "--json"]);
    late.run().expect_code(0);
    // Longer than a lease and its renewals.
    std::thread::sleep(std::time::Duration::from_secs(4));
    early.signal("CONT");
    let ended = early.wait().expect_code(3);
    says(
        &ended,
        &["the table was moved from `old` to `offline` while it was copied"],
    );
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}
