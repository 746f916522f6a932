//! `crossfade::permissions` is compared with the requests that each command is seen to send, and the page with both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crossfade::permissions::{ASKED, COMMANDS, page};
use serde_json::Value as Json;

use super::Bench;
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;

const BEGINS: &str = "<!-- Printed from src/permissions.rs -->\n";
const ENDS: &str = "<!-- End -->\n";

/// The tables that a request is about, each with the action that it takes there.
fn actions(request: &Request) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let body = &request.body;
    match request.call.as_str() {
        "BatchExecuteStatement" => {
            let statements = body["Statements"].as_array().expect("statements");
            let table = |statement: &Json| {
                let statement = text(&statement["Statement"]);
                assert!(statement.starts_with("INSERT"), "{statement}");
                statement.split('"').nth(1).expect("a table").to_owned()
            };
            statements
                .iter()
                .map(|one| (table(one), "PartiQLInsert".to_owned()))
                .collect()
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().expect("tables").keys();
            tables
                .map(|table| (table.clone(), request.call.clone()))
                .collect()
        }
        // Of no table, and granted with the role's own credentials.
        "ListTables" => Vec::new(),
        call => vec![(text(&body["TableName"]), call.to_owned())],
    }
}

/// What each command was seen to do, on targets and on the control table.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, [BTreeSet<String>; 2]>);

impl Seen {
    fn add(&mut self, command: &'static str, control: &str, forwarding: &Forwarding) {
        let all = self.0.entry(command).or_default();
        for exchange in forwarding.take() {
            for (table, action) in actions(&exchange.request) {
                all[usize::from(table == control)].insert(action);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_does_what_its_permissions_say() {
    let mut bench = Bench::new("grants").await;
    let forwarding = Forwarding::start(&bench.url, |_| Fault::None);
    bench.url = forwarding.url.clone();
    let control = bench.named("@-control");
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .cql("CREATE TABLE n (p int PRIMARY KEY, c counter)")
        .await;
    bench.cql("CREATE TABLE o (p int PRIMARY KEY, v int)").await;
    let values = || (0..30).map(|p| (p, p));
    bench
        .fill("INSERT INTO t (p, v) VALUES (?, ?)", values())
        .await;
    bench
        .fill("INSERT INTO o (p, v) VALUES (?, ?)", values())
        .await;
    // Without an `expiry` this one is a dead letter.
    bench
        .cql("INSERT INTO t (p, v) VALUES (100, 1) USING TTL 86400")
        .await;
    bench.cql("UPDATE n SET c = c + 5 WHERE p = 1").await;
    let table = |name: &str| format!("[[table]]\nname = \"{name}\"\nto = \"@-{name}\"\n");
    bench.plan(&["n", "t", "o"].map(table).concat());

    let mut seen = Seen::default();
    let mut run = |command: &'static str, arguments: &[&str], codes: &[i32]| {
        let words: Vec<&str> = command
            .split(' ')
            .chain(arguments.iter().copied())
            .collect();
        let outcome = bench.migrate(&words).run();
        assert!(
            outcome.code.is_some_and(|code| codes.contains(&code)),
            "{outcome}"
        );
        seen.add(command, &control, &forwarding);
    };
    run("check", &[], &[0, 1]);
    run("init", &[], &[0]);
    run("init", &[], &[0]);
    run("check", &[], &[0, 1]);
    run("status", &[], &[0]);
    run("report", &["--html", "report.html"], &[0]);
    for name in ["n", "t"] {
        run(
            "advance",
            &["--table", name, "--to", "bridge", "--expect", "0"],
            &[0],
        );
        run("back", &["--table", name, "--to", "old"], &[0]);
        run(
            "advance",
            &["--table", name, "--to", "copy", "--expect", "0"],
            &[0],
        );
        run("copy", &["--table", name], &[0, 1]);
    }
    run("capacity", &["--table", "t", "--write", "1"], &[0, 2]);
    run("pace", &["--write-units", "900000"], &[0]);
    run("pace", &["--as-planned"], &[0]);
    run("failures", &[], &[1]);
    run("failures --retry", &[], &[1]);
    bench.cql("DELETE FROM t WHERE p = 100").await;
    run("failures --retry", &[], &[0]);
    run("verify", &["--table", "t"], &[0, 1]);
    bench
        .put(
            "t",
            &[
                ("p", aws_sdk_dynamodb::types::AttributeValue::N("7".into())),
                ("v", aws_sdk_dynamodb::types::AttributeValue::N("70".into())),
                ("_m", aws_sdk_dynamodb::types::AttributeValue::S("c".into())),
            ],
        )
        .await;
    bench
        .put(
            "t",
            &[
                (
                    "p",
                    aws_sdk_dynamodb::types::AttributeValue::N("700".into()),
                ),
                ("_m", aws_sdk_dynamodb::types::AttributeValue::S("c".into())),
            ],
        )
        .await;
    run("verify", &["--table", "t"], &[1]);
    run(
        "verify --repair",
        &["--table", "t", "--delete-extra"],
        &[0, 1],
    );
    run("verify", &["--table", "t"], &[0]);
    run("copy", &["--table", "n", "--final"], &[0]);
    run("verify", &["--table", "n"], &[0]);
    run("status", &[], &[0]);
    for name in ["t", "n"] {
        run("advance", &["--table", name, "--to", "new"], &[0]);
    }
    run("back", &["--table", "t", "--to", "copy"], &[0]);
    run("advance", &["--table", "t", "--to", "new"], &[0]);
    for name in ["t", "n"] {
        let finish = [
            "--table",
            name,
            "--yes-done",
            name,
            "--strip",
            "--yes-strip",
        ];
        run("finish", &finish, &[0]);
    }
    run("copy --to-suffix", &["-rehearsal", "--table", "o"], &[0]);
    run("rehearse drop", &["--table", "o"], &[0]);
    run("copy", &["--table", "o", "--offline"], &[0]);
    run("reset", &["--table", "o", "--yes-reset", "o"], &[0]);

    let mut wrong = Vec::new();
    for (command, [targets, on_control]) in &seen.0 {
        let permissions = COMMANDS.iter().find(|one| one.command == *command);
        let permissions = permissions.expect("a command of the table");
        let mut compare =
            |place: &str, seen: &BTreeSet<String>, always: &[&str], all: Vec<&str>| {
                let asks = |action: &str| *command == "check" && ASKED.contains(&action);
                let more = seen
                    .iter()
                    .filter(|action| !all.contains(&action.as_str()) && !asks(action));
                wrong.extend(more.map(|action| format!("{command} did {action} on {place}")));
                let less = always.iter().filter(|action| !seen.contains(**action));
                wrong.extend(
                    less.map(|action| format!("{command} wasn't seen to do {action} on {place}")),
                );
            };
        let all = permissions.all_on_targets();
        compare("a target", targets, permissions.targets, all);
        let all = permissions.all_on_control();
        compare("the control table", on_control, permissions.control, all);
    }
    for one in COMMANDS.iter().filter(|one| one.command != "shim, serve") {
        assert!(
            seen.0.contains_key(one.command),
            "{} was not run",
            one.command
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.done().await;
}

/// `CROSSFADE_WRITE_DOCS=1` writes the page.
#[test]
fn the_page_has_the_permissions_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let text = fs::read_to_string(&path).expect("docs/security.md");
    let (before, rest) = text.split_once(BEGINS).expect("where the table begins");
    let (there, after) = rest.split_once(ENDS).expect("where the table ends");
    if std::env::var_os("CROSSFADE_WRITE_DOCS").is_some() {
        fs::write(
            &path,
            format!("{before}{BEGINS}\n{}\n{ENDS}{after}", page()),
        )
        .expect("written");
        return;
    }
    let wanted = format!("\n{}\n", page());
    assert_eq!(
        there, wanted,
        "run this test once with CROSSFADE_WRITE_DOCS=1"
    );
}
