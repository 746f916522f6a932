//! An old table that is written to, and a target that takes less.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput};
use crossfade::store::cassandra::{Cassandra, CassandraConfig, Consistency};

use super::{Bench, says};

const WARNING: &str = "warning: applications make";
/// How long the server may take until its mean of five minutes shows what is written: it looks each five seconds.
const PATIENCE: Duration = Duration::from_secs(120);

async fn provision(bench: &Bench, write: i64) {
    let units = ProvisionedThroughput::builder()
        .write_capacity_units(write)
        .read_capacity_units(100)
        .build()
        .expect("units");
    let update = bench.dynamo.update_table().table_name(bench.target("t"));
    let update = update.billing_mode(BillingMode::Provisioned);
    let updated = update.provisioned_throughput(units).send().await;
    updated.expect("updated");
}

async fn store(bench: &Bench) -> Cassandra {
    let mut config = CassandraConfig::new(vec![bench.node.clone()], bench.keyspace.clone());
    config.consistency = Consistency::One;
    Cassandra::connect(config).await.expect("connected")
}

/// Rows of two write units, about a hundred a second, until the answer is dropped.
fn write_on(bench: &Arc<Bench>) -> tokio::task::JoinHandle<()> {
    let bench = bench.clone();
    tokio::spawn(async move {
        let insert = "INSERT INTO t (p, body) VALUES (?, ?)";
        let body = "x".repeat(1_500);
        for turn in 0.. {
            let rows: Vec<(i32, String)> = (0..10)
                .map(|n| ((turn * 10 + n) % 500, body.clone()))
                .collect();
            bench.fill(insert, rows).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn advance_warns_where_applications_write_more_than_the_target_takes() {
    let bench = Arc::new(Bench::new("demand").await);
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, body text)")
        .await;
    bench.cql("CREATE TABLE quiet (p int PRIMARY KEY)").await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    provision(&bench, 1).await;
    let advance = |to: &str, more: &[&str]| {
        let words = [
            &["advance", "--table", "t", "--to", to, "--expect", "0"],
            more,
        ];
        bench.migrate(&words.concat()).run().expect_code(0)
    };
    let before = advance("switch", &["--dry-run"]);
    assert!(!before.stderr.contains(WARNING), "{before}");

    let writing = write_on(&bench);
    let begun = Instant::now();
    let told = loop {
        let told = advance("switch", &["--dry-run"]);
        if told.stderr.contains(WARNING) {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    says(
        &told,
        &[
            "t: warning: applications make",
            "(a mean of five minutes, of 1 node)",
            "takes 1 at once.",
            "migrate capacity --plan",
            "--table t --write",
        ],
    );
    let old = store(&bench).await;
    let rate = old.write_rate("t").await.expect("told").expect("a rate");
    assert_eq!((rate.nodes, rate.silent), (1, 0));
    assert!(rate.per_second > 1.0, "{rate:?}");
    let quiet = old.write_rate("quiet").await.expect("told");
    assert_eq!(quiet.expect("a rate").per_second, 0.0);

    // Each row is two write units.
    let survey = advance("bridge", &[]);
    assert!(!survey.stderr.contains(WARNING), "{survey}");
    provision(&bench, 10_000).await;
    let enough = advance("switch", &["--dry-run"]);
    assert!(!enough.stderr.contains(WARNING), "{enough}");
    provision(&bench, 1).await;
    let moved = advance("switch", &[]);
    assert!(moved.stderr.contains(WARNING), "{moved}");
    says(&moved, &["bridge -> switch"]);
    assert_eq!(bench.status()[0]["phase"], "switch");
    writing.abort();
    let _ = writing.await;
    let Ok(bench) = Arc::try_unwrap(bench) else {
        panic!("it is written to still");
    };
    bench.done().await;
}
