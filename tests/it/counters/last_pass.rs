//! The last pass: when it may be made, how it reads, and what it needs.

use std::time::{Duration, Instant};

use super::{VOTES, VOTES_PLAN, copy, fill_votes, vote};
use crate::command::{Bench, number, says};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_a_table_that_nobody_adds_to() {
    let bench = Bench::new("early").await;
    fill_votes(&bench, 20).await;
    bench.plan(VOTES_PLAN).init();
    let refused = bench.migrate(&["copy", "--final"]).run().expect_code(2);
    says(
        &refused,
        &[
            "no application adds to",
            "phase",
            "old",
            "leave --final out",
            "--offline",
        ],
    );
    assert_eq!(bench.items("votes").await.len(), 0, "nothing was folded");
    assert_eq!(bench.status()[0]["phase"], "old");
    assert_eq!(copy(&bench, &["--offline", "--final"], 0).settled, 20);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_settle_a_table_together() {
    let bench = Bench::new("halves").await;
    fill_votes(&bench, 200).await;
    bench.plan(VOTES_PLAN).init();
    copy(&bench, &[], 0);
    vote(&bench, 11, 2).await;
    vote(&bench, 12, 2).await;
    let mut settled = 0;
    for (at, shard) in ["0/2", "1/2"].into_iter().enumerate() {
        let counted = copy(&bench, &["--offline", "--final", "--shard", shard], 0);
        assert!(
            counted.settled > 0 && counted.read == counted.settled,
            "{counted:?}"
        );
        settled += counted.settled;
        let copied = bench.status()[0]["copied"].as_f64().expect("a share");
        assert_eq!(copied == 1.0, at == 1, "{shard}: {copied}");
    }
    assert_eq!(settled, 200);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}

/// One node is all there is, and three replicas are wanted.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_away_are_named_with_both_ways_out() {
    let bench = Bench::new("replicas").await;
    fill_votes(&bench, 20).await;
    bench
        .cql("ALTER KEYSPACE @ WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
        .await;
    bench.plan(VOTES_PLAN).init();
    assert_eq!(
        copy(&bench, &["--offline"], 0).folded,
        20,
        "one answers this"
    );
    let asked = Instant::now();
    let verify = bench.migrate(&["verify", "--consistency", "all"]).spawn();
    let refused = bench
        .migrate(&["copy", "--offline", "--final"])
        .run()
        .expect_code(2);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(600), "{took:?}");
    says(
        &refused,
        &[
            "too few replicas",
            "nodes away",
            "nodetool status",
            "final_read = \"quorum\"",
            "votes",
        ],
    );
    // Each has its own way out.
    let unverified = verify.wait().expect_code(2);
    let words = [
        "too few replicas",
        "nodes away",
        "leave `--consistency all` out",
    ];
    says(&unverified, &words);
    assert!(!unverified.stderr.contains("final_read"), "{unverified}");
    assert!(!refused.stderr.contains("--consistency"), "{refused}");
    assert_eq!(
        bench.status()[0]["copied"],
        0.0,
        "nothing counts as settled"
    );

    // Back with the replicas it has; and where a quorum is accepted, that is what is asked.
    bench
        .cql("ALTER KEYSPACE @ WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .await;
    bench.plan(&format!("{VOTES_PLAN}final_read = \"quorum\"\n"));
    let settled = bench
        .migrate(&["copy", "--final", "--json"])
        .run()
        .expect_code(0);
    assert_eq!(number(&settled.json()[0], "settled"), 20);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}
