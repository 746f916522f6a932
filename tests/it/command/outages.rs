//! Servers that go away in the middle of a copy and come back.

use std::time::{Duration, Instant};

use super::Bench;
use super::killing::{PLAN, assert_all_there, fill_messages};
use super::says;
use crate::support::OwnServers;

const ROWS: usize = 12_000;
/// How long a server is away.
const OUTAGE: Duration = Duration::from_secs(20);
/// How long stopping may take when the new store is silent.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// One copy, and four outages on its way: each server stopped, and each one without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_a_server_that_is_away() {
    let servers = OwnServers::start(&["cassandra", "dynamodb"]);
    let bench = Bench::on(
        "outages",
        servers.cassandra_address(),
        servers.dynamodb_url(),
    )
    .await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let copy = bench
        .migrate(&["copy", "--offline", "--json"])
        .within(Duration::from_secs(400));
    let mut running = copy.spawn();
    let outages = [
        (
            "cassandra",
            "pause",
            "resume",
            "waiting for cassandra",
            "\"waiting_for\":\"old\"",
        ),
        (
            "cassandra",
            "stop",
            "start",
            "waiting for cassandra",
            "\"waiting_for\":\"old\"",
        ),
        (
            "dynamodb",
            "stop",
            "start",
            "waiting for dynamodb",
            "\"waiting_for\":\"new\"",
        ),
        (
            "dynamodb",
            "pause",
            "resume",
            "waiting for dynamodb",
            "\"waiting_for\":\"new\"",
        ),
    ];
    for (at, (server, take, give, warning, progress)) in outages.into_iter().enumerate() {
        bench
            .until("messages", ROWS * (at + 1) / 8, &mut running)
            .await;
        servers.control(server, take);
        match at {
            0 => refuses_a_reset(&bench),
            1 | 2 => tokio::time::sleep(OUTAGE).await,
            // Long enough is when it is said, below.
            _ => {}
        }
        running.wait_for(warning, |line| line.contains(warning));
        running.wait_for(progress, |line| line.contains(progress));
        servers.control(server, give);
        assert!(running.runs(), "it waits");
    }
    // Nor does a server that is away keep anybody who wants to stop.
    bench.until("messages", ROWS * 5 / 8, &mut running).await;
    servers.control("dynamodb", "pause");
    running.interrupt();
    let asked = Instant::now();
    running.wait().expect_code(3);
    let took = asked.elapsed();
    servers.control("dynamodb", "resume");
    assert!(took < STOPPED_WITHIN, "{took:?}");

    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_all_there(&bench, ROWS).await;
}

/// While a copy runs, even one that waits, its table can't be emptied. This takes 25 seconds.
fn refuses_a_reset(bench: &Bench) {
    let reset = bench
        .migrate(&["reset", "--table", "messages"])
        .run()
        .expect_code(2);
    says(&reset, &["a copy is running", "process", "stop it first"]);
}
