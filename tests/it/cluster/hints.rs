//! A write of before the freeze that reaches the replicas after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::statement::{Consistency, Statement};
use serde_json::Value as Json;

use super::{Cluster, PATIENCE, make, plan_at, write_to_all};
use crate::command::{Bench, number, says};

const LEVELS: &str = "consistency = \"local_quorum\"\nwrite_consistency = \"one\"";

/// A session that talks to one node alone, and to what that has by itself.
async fn alone(node: &str) -> Session {
    let filter = AllowListHostFilter::new([node]).expect("a filter");
    SessionBuilder::new()
        .known_node(node)
        .host_filter(Arc::new(filter))
        .fetch_schema_metadata(false)
        .build()
        .await
        .expect("a session")
}

fn at_one(bench: &Bench, cql: &str) -> Statement {
    let mut statement = Statement::new(bench.named(cql));
    statement.set_consistency(Consistency::One);
    statement
}

/// Whether a node itself has a row.
async fn has(session: &Session, bench: &Bench, id: &str) -> bool {
    let read = at_one(
        bench,
        &format!("SELECT name FROM @.users WHERE id = '{id}'"),
    );
    match session.query_unpaged(read, ()).await {
        Ok(rows) => rows.into_rows_result().expect("rows").rows_num() > 0,
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: CROSSFADE_CLUSTER=1 tests/run"]
async fn a_hint_that_arrives_after_the_freeze_is_told_and_mended() {
    let cluster = Cluster::new();
    let bench = cluster.bench("hints").await;
    let users = "CREATE TABLE users (id text PRIMARY KEY, name text)";
    make(&bench, "users", users).await;
    let old = "INSERT INTO @.users (id, name) VALUES ('seen', 'A')";
    write_to_all(&bench, old).await;
    plan_at(
        &bench,
        LEVELS,
        "[[table]]\nname = \"users\"\nto = \"@-users\"\n",
    );
    let check = bench.migrate(&["check"]).run().expect_code(0);
    assert!(check.stdout.contains("reads-may-miss-writes"), "{check}");
    bench.init();
    let (first, second) = (
        alone(&cluster.nodes[0]).await,
        alone(&cluster.nodes[1]).await,
    );

    // One node takes the writes, with hints for the others.
    cluster.control(&[2, 3], "pause");
    for write in [
        "INSERT INTO @.users (id, name) VALUES ('unseen', 'B')",
        "UPDATE @.users SET name = 'C' WHERE id = 'seen'",
    ] {
        let write = at_one(&bench, write);
        first.query_unpaged(write, ()).await.expect("acknowledged");
    }
    // What the others are sent directly is out of date by the time that they read it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    cluster.control(&[1], "pause");
    cluster.control(&[2, 3], "resume");
    let begun = Instant::now();
    while !has(&second, &bench, "seen").await {
        assert!(begun.elapsed() < PATIENCE, "the second node isn't back");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(!has(&second, &bench, "unseen").await, "it came directly");

    let advance = [
        "advance", "--table", "users", "--to", "copy", "--expect", "0",
    ];
    bench.migrate(&advance).run().expect_code(0);
    bench.migrate(&["copy"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);

    cluster.control(&[1], "resume");
    let begun = Instant::now();
    while !has(&second, &bench, "unseen").await {
        assert!(begun.elapsed() < PATIENCE, "the hint isn't delivered");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    cluster.settle(&bench).await;

    // It keeps the time at which it was written, so that it is no late write.
    let verify = ["verify", "--json", "-"];
    let found = bench.migrate(&verify).run().expect_code(1);
    let tables: Vec<Json> = serde_json::from_str(&found.stdout).expect("an array");
    let counts = ["missing", "different", "unseen", "late_writes"];
    let counts = counts.map(|name| number(&tables[0], name));
    assert_eq!(counts, [1, 1, 2, 0], "{}", tables[0]);
    let words = [
        "of before the freeze",
        "--repair",
        "nodetool repair",
        "--consistency all",
    ];
    says(&found, &words);
    bench.migrate(&["verify", "--repair"]).run();
    let all = ["verify", "--consistency", "all"];
    bench.migrate(&all).run().expect_code(0);
    bench.done().await;
}
