//! A sidecar that is told to end while it is asked: no request fails, though clients don't try again, and no move waits
//! for it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::clients::Sidecar;
use super::lost::ask;
use super::python::python;
use crate::command::{Bench, credentials};

const PLAN: &str = "[lease]\nseconds = 10\noperation_seconds = 5\n[shim]\ndeadline_seconds = 5\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n";

#[tokio::test]
async fn a_sidecar_that_ends_under_load_fails_no_request_and_holds_up_no_move() {
    let bench = Bench::new("serve").await;
    bench
        .cql("CREATE TABLE votes (act text PRIMARY KEY, n counter)")
        .await;
    bench
        .cql("CREATE TABLE users (id text PRIMARY KEY, age int)")
        .await;
    bench.plan(PLAN).init();
    let (ends, stays) = (Sidecar::start(&bench), Sidecar::start(&bench));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/serve/ending.py");
    let mut asking = Command::new(python())
        .args([file, &bench.keyspace, &ends.url, &stays.url])
        .envs(credentials())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut said = BufReader::new(asking.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it asks");

    std::thread::sleep(Duration::from_secs(1));
    ends.running.signal("TERM");
    ends.running.wait().expect_code(0);
    // In `old` a move waits, whatever the lease, for whoever is registered.
    for table in ["votes", "users"] {
        assert_eq!(
            bench.status()[0]["instances"].as_array().map(Vec::len),
            Some(1)
        );
        let advance = [
            "advance", "--table", table, "--to", "bridge", "--expect", "1",
        ];
        bench.migrate(&advance).run().expect_code(0);
    }
    std::thread::sleep(Duration::from_secs(1));

    let mut stdin = asking.stdin.take().expect("piped");
    writeln!(stdin).expect("told");
    line.clear();
    said.read_line(&mut line).expect("what came of it");
    assert!(asking.wait().expect("its end").success());
    let told: Json = serde_json::from_str(&line).expect("JSON");
    println!("{told}");
    assert_eq!(told["failed"], json!([]), "{told}");
    let get = json!({"TableName": bench.target("votes"), "Key": {"act": {"S": "a"}}});
    let (_, item) = ask(&stays.url, "GetItem", &get, "total", 1);
    let added = told["added"].to_string();
    assert_eq!(item["Item"]["n"]["N"], added.as_str(), "{told}");
    stays.running.signal("TERM");
    stays.running.wait().expect_code(0);
    bench.done().await;
}
