//! The way back out of `offline`.

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, says};

const ROWS: usize = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_can_be_emptied_and_copied_again() {
    let bench = Bench::new("reset").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let reset = || bench.migrate(&["reset", "--table", "messages"]);
    says(&reset().run().expect_code(2), &["phase `old`", "offline"]);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);

    let mut running = reset().spawn();
    while bench.holds("messages", ROWS * 3 / 4).await {
        assert!(running.runs(), "it isn't over so soon");
    }
    running.kill();
    assert!(bench.holds("messages", 1).await, "it was killed half-way");
    let copy = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&copy, &["a reset of this table has begun", "migrate reset"]);

    let outcome = reset().run().expect_code(0);
    assert!(outcome.stdout.contains("phase old"), "{outcome}");
    assert_eq!(bench.items("messages").await.len(), 0);
    let status = &bench.status()[0];
    assert_eq!(
        (&status["phase"], &status["copied"]),
        (&"old".into(), &0.0.into())
    );

    let again = bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    says(&again, &["the journal in", "aside-1"]);
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}

/// What somebody else wrote isn't the copier's to delete.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_leaves_what_others_wrote() {
    use aws_sdk_dynamodb::types::AttributeValue as A;
    let bench = Bench::new("foreign").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .fill(
            "INSERT INTO t (p, v) VALUES (?, ?)",
            (0..20).map(|p| (p, p)),
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench
        .put(
            "t",
            &[
                ("p", A::N("7".into())),
                ("v", A::N("70".into())),
                ("_m", A::S("a".into())),
            ],
        )
        .await;
    let outcome = bench
        .migrate(&["reset", "--table", "t"])
        .run()
        .expect_code(0);
    assert!(
        outcome.stdout.contains("19 copied items deleted"),
        "{outcome}"
    );
    says(&outcome, &["1 items of", "not written by the copier"]);
    let left = bench.items("t").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["v"], A::N("70".into()));
    bench.done().await;
}
