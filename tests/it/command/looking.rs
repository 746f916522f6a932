//! A store that is busy for a moment is no reason for a command to end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::{Bench, says};
use crate::forwarding::{Fault, Forwarding};

const LOOKS: [&str; 5] = ["DescribeTable", "BatchGetItem", "GetItem", "Query", "Scan"];

/// The first look of each kind that a command makes gets no answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_looks_again_and_says_for_whom_it_waits() {
    let bench = Bench::new("looking").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..5).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let lost: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let losing = lost.clone();
    let forwarding = Forwarding::start(&bench.url, move |request| {
        let mut lost = losing.lock().expect("no panic");
        match LOOKS.contains(&request.call.as_str()) && lost.insert(request.call.clone()) {
            true => Fault::ReplyLost,
            false => Fault::None,
        }
    });
    let stores = bench.stores().replace(&bench.url, &forwarding.url);
    let table = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";
    bench.write("plan.toml", &format!("{stores}{table}"));
    let t = ["--table", "t"];
    let commands: [(&str, &[&str]); 10] = [
        ("init", &[]),
        ("check", &[]),
        ("status", &[]),
        ("failures", &[]),
        ("advance", &["--to", "bridge", "--expect", "0"]),
        ("back", &["--to", "old"]),
        ("copy", &["--offline"]),
        ("verify", &[]),
        ("finish", &["--dry-run"]),
        ("reset", &["--yes-reset", "t"]),
    ];
    for (command, more) in commands {
        lost.lock().expect("no panic").clear();
        let arguments = [&[command][..], &t, more].concat();
        let outcome = bench.migrate(&arguments).run().expect_code(0);
        says(&outcome, &["waiting for dynamodb"]);
    }
    bench.done().await;
}

/// A tool that can't register at once waits, as it does with all that comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_registers_waits_for_the_control_table() {
    let bench = Bench::new("joining").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..5).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    // What is asked of its own item, and the first writes of it.
    let failures = Arc::new(Mutex::new(0));
    let failing = failures.clone();
    let forwarding = Forwarding::start(&bench.url, move |request| {
        let mut left = failing.lock().expect("no panic");
        let body = request.body.to_string();
        let is_own = body.contains("\"instance ") && request.call != "Query";
        match *left > 0 && is_own {
            true => {
                *left -= 1;
                match *left % 2 {
                    0 => Fault::FailsBefore,
                    _ => Fault::ReplyLost,
                }
            }
            false => Fault::None,
        }
    });
    let stores = bench.stores().replace(&bench.url, &forwarding.url);
    let table = "[lease]\nlanding_seconds = 1\n[[table]]\nname = \"t\"\nto = \"@-t\"\n";
    bench.write("plan.toml", &format!("{stores}{table}"));
    bench.init();
    let commands: [&[&str]; 3] = [
        &["copy", "--offline"],
        &["verify", "--repair"],
        &["reset", "--table", "t", "--yes-reset", "t"],
    ];
    for command in commands {
        *failures.lock().expect("no panic") = 4;
        let outcome = bench.migrate(command).run().expect_code(0);
        says(&outcome, &["waiting for dynamodb", "answers again"]);
        assert_eq!(*failures.lock().expect("no panic"), 0, "{command:?}");
    }
    bench.done().await;
}
