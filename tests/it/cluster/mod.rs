//! A cluster of three nodes that keep a replica of everything each, and nodes of it that go away.
//!
//! Starting it takes about a minute and two gigabytes, and each test minutes more: `CROSSFADE_CLUSTER=1 tests/run`
//! starts it and runs them, one at a time.

mod hints;
mod nodes;
mod phases;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::{Consistency, Statement};

use crate::command::Bench;
use crate::support::{dynamodb_url, script};

/// How long a node may take to come back: for hanging only.
const PATIENCE: Duration = Duration::from_secs(300);

/// The nodes, counted from 1. All of them run again when it is dropped.
struct Cluster {
    nodes: Vec<String>,
    run: PathBuf,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: `CROSSFADE_CLUSTER=1 tests/run cluster::` starts a cluster and sets it")
    })
}

impl Cluster {
    fn new() -> Self {
        let nodes = variable("CROSSFADE_CLUSTER_NODES");
        Cluster {
            nodes: nodes.split(',').map(str::to_owned).collect(),
            run: variable("CROSSFADE_SERVERS").into(),
        }
    }

    /// Does `stop`, `kill`, `start`, `pause` or `resume` to some nodes, at once.
    fn control(&self, nodes: &[usize], action: &str) {
        let started = nodes.iter().map(|node| {
            let mut command = Command::new(script("control"));
            let command = command.args([&format!("cluster-{node}"), action]);
            command.env("CROSSFADE_SERVERS", &self.run).spawn()
        });
        let started: Vec<_> = started.collect();
        for child in started {
            let status = child.expect("tests/servers/control runs").wait();
            assert!(status.expect("its end").success(), "{nodes:?} {action}");
        }
    }

    async fn session(&self) -> Session {
        SessionBuilder::new()
            .known_nodes(&self.nodes)
            .fetch_schema_metadata(false)
            .build()
            .await
            .expect("a session")
    }

    /// A keyspace with three replicas.
    async fn bench(&self, name: &str) -> Bench {
        let session = self.session().await;
        let nodes = self.nodes.join("\", \"");
        let bench = Bench::replicated(3, name, nodes, dynamodb_url(), session).await;
        make(
            &bench,
            "pulse",
            "CREATE TABLE pulse (k int PRIMARY KEY, v int)",
        )
        .await;
        bench
    }

    /// Waits until every node takes part.
    async fn settle(&self, bench: &Bench) {
        write_to_all(bench, "INSERT INTO @.pulse (k, v) VALUES (1, 1)").await;
    }
}

/// A write that may be made twice, sent until all nodes have taken it: a node that hasn.t heard of a new table yet
/// refuses it.
async fn write_to_all(bench: &Bench, cql: &str) {
    let begun = Instant::now();
    let mut write = Statement::new(bench.named(cql));
    write.set_consistency(Consistency::All);
    while let Err(error) = bench.session.query_unpaged(write.clone(), ()).await {
        assert!(begun.elapsed() < PATIENCE, "not all nodes answer: {error}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=self.nodes.len() {
            for action in ["resume", "start"] {
                let mut command = Command::new(script("control"));
                command.args([&format!("cluster-{node}"), action]);
                // What runs already says so, and is left alone.
                let _ = command
                    .env("CROSSFADE_SERVERS", &self.run)
                    .stderr(std::process::Stdio::null())
                    .status();
            }
        }
    }
}

/// Makes a table, and waits until every node knows of it.
async fn make(bench: &Bench, name: &str, create: &str) {
    bench.cql(create).await;
    let begun = Instant::now();
    let mut read = Statement::new(bench.named(&format!("SELECT * FROM @.{name} LIMIT 1")));
    read.set_consistency(Consistency::All);
    // By any of them, in turn.
    let mut answered = 0;
    while answered < 9 {
        match bench.session.query_unpaged(read.clone(), ()).await {
            Ok(_) => answered += 1,
            Err(error) => {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "not all nodes know of {name}: {error}"
                );
                answered = 0;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}

/// Writes the plan: reads and writes at these levels.
fn plan_at(bench: &Bench, level: &str, tables: &str) {
    let stores = bench.stores();
    let one = "consistency = \"one\"";
    assert!(stores.contains(one));
    let stores = stores.replace(one, level);
    bench.write("plan.toml", &format!("{stores}{tables}"));
}

const QUORUM: &str = "consistency = \"local_quorum\"";
