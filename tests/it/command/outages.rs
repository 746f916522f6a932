//! Servers that go away in the middle of a copy and come back.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, exists, number, says};
use crate::serve::clients::Sidecar;
use crate::support::{OwnServers, dynamodb_url, is_long};

const ROWS: usize = 12_000;
/// Short leases, which run out while a server is away.
const LEASES: &str = "[lease]\nseconds = 4\noperation_seconds = 3\n";
/// How long the old store is stopped, and the new one: longer than a lease lasts.
const OUTAGES: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(8)];
/// How long stopping may take when the new store is silent.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);

/// One copy and one verification, and outages on their ways: each server stopped, and each one without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_and_a_verification_wait_for_a_server_that_is_away() {
    let servers = OwnServers::start(&["cassandra", "dynamodb"]);
    let bench = Bench::on(
        "outages",
        servers.cassandra_address(),
        servers.dynamodb_url(),
    )
    .await;
    fill_messages(&bench, ROWS).await;
    bench.plan(&format!("{LEASES}{PLAN}")).init();
    let copy = bench.migrate(&["copy", "--offline", "--json"]);
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
            1 | 2 => tokio::time::sleep(OUTAGES[at - 1]).await,
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
    verifications_wait(&bench, &servers).await;
}

/// A verification finds the same when servers are away meanwhile as when none is, and mends it. Each outage begins
/// before the one before has ended, so that all of them are in the midst of it.
async fn verifications_wait(bench: &Bench, servers: &OwnServers) {
    let stray = &bench.items("messages").await[ROWS / 2];
    let delete = bench
        .dynamo
        .delete_item()
        .table_name(bench.target("messages"));
    let keys = ["pk", "sk"].map(|name| (name.to_owned(), stray[name].clone()));
    delete
        .set_key(Some(keys.into()))
        .send()
        .await
        .expect("deleted");
    let file = bench.folder.path().join("found.json");
    let file = file.to_str().expect("UTF-8");
    let found = || -> Json {
        let text = std::fs::read_to_string(file).expect("a file");
        let mut tables: Vec<Json> = serde_json::from_str(&text).expect("an array");
        let table = tables[0].as_object_mut().expect("an object");
        for own in ["oldest_at", "seconds"] {
            table.remove(own);
        }
        tables.remove(0)
    };
    let verify = bench.migrate(&["verify", "--json", file]);
    verify.run().expect_code(1);
    let mut undisturbed = found();
    assert_eq!(number(&undisturbed, "missing"), 1, "{undisturbed}");

    let away = Duration::from_secs(if is_long() { 15 } else { 3 });
    let verify = bench.migrate(&["verify", "--repair", "--json", file]);
    let mut running = verify.spawn();
    while !exists(&bench.journal().join("messages.verify")) {
        assert!(running.runs(), "it is disturbed in mid-work");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let take = async |server: &str, action: &str| {
        servers.control(server, action);
        tokio::time::sleep(away).await;
    };
    // First, while there is something left of it to read.
    servers.control("dynamodb", "stop");
    take("cassandra", "pause").await;
    servers.control("cassandra", "resume");
    let waiting = "waiting for dynamodb";
    running.wait_for(waiting, |line| line.contains(waiting));
    if is_long() {
        take("cassandra", "stop").await;
        servers.control("dynamodb", "start");
        take("dynamodb", "pause").await;
        servers.control("cassandra", "start");
        servers.control("dynamodb", "resume");
    } else {
        servers.control("dynamodb", "start");
    }
    let disturbed = running.wait().expect_code(1);
    let found = found();
    assert_eq!(number(&found["repaired"], "copied"), 1, "{found}");
    undisturbed["repaired"] = found["repaired"].clone();
    assert_eq!(found, undisturbed, "{disturbed}");
}

/// While a copy runs, even one that waits, its table can't be emptied. It is watched for a lease.
fn refuses_a_reset(bench: &Bench) {
    let reset = bench
        .migrate(&["reset", "--table", "messages", "--yes-reset", "messages"])
        .run()
        .expect_code(2);
    says(&reset, &["a copy is running", "process", "stop it first"]);
}

/// Cassandra goes away while an `advance` waits for an application, and the driver has to find its way back to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_advance_waits_for_cassandra_on_its_way() {
    let servers = OwnServers::start(&["cassandra"]);
    let bench = Bench::on("midway", servers.cassandra_address(), dynamodb_url()).await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench.cql("INSERT INTO t (p, v) VALUES (1, 1)").await;
    bench
        .plan("[lease]\nseconds = 3\nlanding_seconds = 2\n[[table]]\nname = \"t\"\nto = \"@-t\"\n")
        .init();
    let sidecar = Sidecar::start(&bench);
    // It acknowledges no step for as long as it stands still, and can't be told from one that is slow.
    sidecar.running.signal("STOP");
    let advance = ["advance", "--table", "t", "--to", "copy", "--expect", "1"];
    let mut advancing = bench.migrate(&advance).spawn();
    advancing.wait_for("of a wait", |line| line.contains("waiting for"));
    servers.control("cassandra", "stop");
    sidecar.running.signal("CONT");
    let away = "waiting for the old store";
    advancing.wait_for(away, |line| line.contains(away));
    // Longer than a driver's first tries of connecting again.
    if is_long() {
        tokio::time::sleep(Duration::from_secs(45)).await;
    }
    assert!(advancing.runs(), "it waits");
    servers.control("cassandra", "start");
    let moved = advancing.wait().expect_code(0);
    says(
        &moved,
        &["switch -> copy", "every participant is in `copy`"],
    );
    bench.migrate(&["copy"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
}
