//! What a client gets, in each phase, while the old store is down, while the new one is, and while the lease is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value as Json, json};

use super::clients::{Sidecar, advance_all};
use super::lost::ask;
use super::relay::Relay;
use crate::command::Bench;
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;
use crate::support::{cassandra_address, dynamodb_url, unique};

const PLAN: &str = "[lease]\nseconds = 3\noperation_seconds = 2\nlanding_seconds = 3\n\
                    [shim]\nresave = \"inline\"\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n\
                    [[table]]\nname = \"events\"\nto = \"@-events\"\nkey_only = \"keep\"\n";
const TABLES: [&str; 3] = ["votes", "users", "events"];
const PHASES: [&str; 6] = ["old", "bridge", "switch", "copy", "new", "done"];
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked.
const ASKED: [&str; 10] = [
    "get moved",
    "get",
    "put",
    "update",
    "delete",
    "add",
    "count",
    "put if",
    "query",
    "scan",
];

fn request(bench: &Bench, asked: &str) -> (&'static str, Json) {
    let users = bench.target("users");
    let key = |id: &str| json!({"id": {"S": id}});
    let values = json!({":a": {"N": "1"}});
    match asked {
        "get moved" => ("GetItem", json!({"TableName": users, "Key": key("moved")})),
        "get" => ("GetItem", json!({"TableName": users, "Key": key("still")})),
        "put" => (
            "PutItem",
            json!({"TableName": users, "Item": {"id": {"S": "put"}, "age": {"N": "1"}}}),
        ),
        "update" => (
            "UpdateItem",
            json!({"TableName": users, "Key": key("updated"), "UpdateExpression": "SET age = :a",
                   "ExpressionAttributeValues": values}),
        ),
        "delete" => (
            "DeleteItem",
            json!({"TableName": users, "Key": key("deleted")}),
        ),
        "add" => (
            "UpdateItem",
            json!({"TableName": bench.target("votes"), "Key": {"act": {"S": "a"}},
                   "UpdateExpression": "ADD n :a", "ExpressionAttributeValues": values}),
        ),
        "count" => (
            "GetItem",
            json!({"TableName": bench.target("votes"), "Key": {"act": {"S": "a"}}}),
        ),
        "put if" => (
            "PutItem",
            json!({"TableName": users, "Item": key(&unique("new")), "ConditionExpression": "attribute_not_exists(id)"}),
        ),
        "query" => (
            "Query",
            json!({"TableName": bench.target("events"), "KeyConditionExpression": "p = :p",
                   "ExpressionAttributeValues": {":p": {"S": "p"}}}),
        ),
        "scan" => ("Scan", json!({"TableName": bench.target("events")})),
        other => panic!("{other}"),
    }
}

/// What is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Old,
    New,
    Lease,
}

/// Whether a request is answered all the same.
fn is_answered(phase: &str, away: Away, asked: &str) -> bool {
    // A condition on a key that hasn't moved waits for `copy`, whatever is away.
    if asked == "put if" && matches!(phase, "bridge" | "switch") {
        return false;
    }
    match (away, phase) {
        // `old` needs nothing of the new store, and `new` and `done` nothing of the old one.
        (Away::Old, "new" | "done") | (Away::New, "old") => true,
        (Away::Old, "old" | "bridge") => false,
        // What has moved, and what is written whatever it was.
        (Away::Old, _) => matches!(asked, "get moved" | "put" | "update" | "delete" | "add"),
        // There the old store counts.
        (Away::New, "bridge") => asked == "add",
        (Away::New, _) => false,
        // Where the old store decides, no lease is needed.
        (Away::Lease, phase) => matches!(phase, "old" | "bridge"),
    }
}

/// Words of which an answer has to have one: what is away.
fn words(away: Away, phase: &str, asked: &str) -> &'static [&'static str] {
    match away {
        _ if asked == "put if" && matches!(phase, "bridge" | "switch") => &[""],
        Away::Old => &["cassandra", "old store"],
        Away::New => &["DynamoDB", "new store", "lease"],
        Away::Lease => &["lease", "control record"],
    }
}

/// Asks until it is told what it has to be told. What was under way when a store went may end as unknown.
fn settles(url: &str, phase: &str, away: Away, asked: &str, request: &(&'static str, Json)) {
    let expected = is_answered(phase, away, asked);
    let begun = Instant::now();
    let mut is_lost = away != Away::Lease;
    loop {
        let call = unique("call");
        let (status, body) = ask(url, request.0, &request.1, &call, 1);
        let code = body["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let text = body["message"].as_str().unwrap_or_default();
        let told = format!("{phase}, {away:?} away, {asked}: {status} {code}: {text}");
        // An earlier try has made it.
        let status = match code {
            "ConditionalCheckFailedException" => 200,
            _ => status,
        };
        match (status, expected) {
            (200, true) => return,
            (503, false) => {
                assert_eq!(code, "ServiceUnavailable", "{told}");
                // A busy machine gives up before it knows, or loses its lease beside.
                let mut words = words(away, phase, asked).iter();
                if words.any(|word| text.contains(word)) {
                    if is_lost {
                        return;
                    }
                    is_lost = true;
                }
            }
            // Each table has a lease of its own; once it is over, it is over.
            (200, false) => assert!(!is_lost, "{told}"),
            // A busy machine, or what was cut off.
            (503 | 500, _) => {}
            (400, _) if code == "AmbiguousWriteFailureException" => {}
            (_, _) => panic!("{told}"),
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_ready(url: &str) -> bool {
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
    let request = b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn what_clients_get_while_something_is_away() {
    let blocked = Arc::new(AtomicBool::new(false));
    let blocks = blocked.clone();
    let forwarding = Forwarding::start(&dynamodb_url(), move |request: &Request| {
        let table = request.body["TableName"].as_str().unwrap_or_default();
        match table.ends_with("-control") && blocks.load(Ordering::SeqCst) {
            true => Fault::FailsBefore,
            false => Fault::None,
        }
    });
    let old = Relay::to(&cassandra_address());
    let new = Relay::to(forwarding.url.trim_start_matches("http://"));
    let url = format!("http://{}", new.address);
    // What the test itself asks of the old store goes there by another way.
    let session = SessionBuilder::new()
        .known_node(cassandra_address())
        .fetch_schema_metadata(false);
    let session = session.build().await.expect("a session");
    let bench = Bench::with("serve", old.address.clone(), url, session).await;
    for statement in [
        "CREATE TABLE votes (act text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, age int)",
        "CREATE TABLE events (p text, at int, what text, PRIMARY KEY (p, at))",
        "UPDATE votes SET n = n + 100 WHERE act = 'a'",
        "INSERT INTO users (id, age) VALUES ('still', 1)",
        "INSERT INTO users (id, age) VALUES ('updated', 1)",
        "INSERT INTO users (id, age) VALUES ('deleted', 1)",
        "INSERT INTO events (p, at, what) VALUES ('p', 1, 'w')",
    ] {
        bench.cql(statement).await;
    }
    bench.plan(PLAN).init();
    let sidecar = Sidecar::start(&bench);
    for phase in PHASES {
        if phase != "old" {
            advance_all(&bench, &TABLES, phase);
        }
        let item = json!({"TableName": bench.target("users"), "Item": {"id": {"S": "moved"}, "age": {"N": "1"}}});
        // A busy machine may need more than one deadline.
        let begun = Instant::now();
        while ask(&sidecar.url, "PutItem", &item, &unique("call"), 1).0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "{phase}: nothing is put");
        }
        for away in [Away::Old, Away::New, Away::Lease] {
            match away {
                Away::Old => old.down(),
                Away::New => new.down(),
                Away::Lease => {
                    blocked.store(true, Ordering::SeqCst);
                    // Where it needs one, it says so when it is over.
                    let needs = !matches!(phase, "old" | "bridge");
                    let begun = Instant::now();
                    while needs && is_ready(&sidecar.url) {
                        assert!(begun.elapsed() < PATIENCE, "{phase}: it keeps its lease");
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            }
            thread::scope(|scope| {
                for asked in ASKED {
                    let request = request(&bench, asked);
                    let url = &sidecar.url;
                    scope.spawn(move || settles(url, phase, away, asked, &request));
                }
            });
            old.up();
            new.up();
            blocked.store(false, Ordering::SeqCst);
            let begun = Instant::now();
            // What is back serves again, of itself.
            for asked in ASKED
                .iter()
                .filter(|asked| **asked != "put if" && **asked != "get")
            {
                let (operation, body) = request(&bench, asked);
                while ask(&sidecar.url, operation, &body, &unique("call"), 1).0 != 200 {
                    assert!(
                        begun.elapsed() < PATIENCE,
                        "{phase}: {asked} after {away:?}"
                    );
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
    bench.done().await;
}
