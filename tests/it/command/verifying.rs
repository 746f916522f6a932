//! `migrate verify` on the real servers: what is planted is found, nothing else, and mended; a
//! verification that is killed goes on.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue as A;
use scylla::value::Counter;
use serde_json::Value as Json;

use super::{Bench, number, says};
use crate::forwarding::{Fault, Forwarding};
use crate::support::{Outcome, is_long};

const PLAN: &str = "[[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\n\
                    expiry = { attribute = \"expires_at\", from = \"max\" }\n";

/// Ten rows of users for one of votes.
async fn fill(bench: &Bench, rows: usize) {
    bench
        .cql("CREATE TABLE users (team text, id int, name text, tags set<text>, price decimal, PRIMARY KEY (team, id))")
        .await;
    let users = (0..rows).map(|n| {
        let tags: Vec<String> = (0..n % 4).map(|tag| format!("tag {tag}")).collect();
        (
            format!("team {}", n / 4),
            n as i32,
            format!("user {n}"),
            tags,
        )
    });
    bench
        .fill(
            "INSERT INTO users (team, id, name, tags) VALUES (?, ?, ?, ?)",
            users,
        )
        .await;
    bench
        .cql("INSERT INTO users (team, id, name) VALUES ('passing', 1, 'soon gone') USING TTL 100000")
        .await;
    bench
        .cql("CREATE TABLE votes (id text PRIMARY KEY, up counter)")
        .await;
    let votes = (0..rows / 10).map(|n| (Counter(n as i64 % 7 + 1), format!("poll {n}")));
    bench
        .fill("UPDATE votes SET up = up + ? WHERE id = ?", votes)
        .await;
}

fn user(n: i32) -> [(&'static str, A); 2] {
    [
        ("team", A::S(format!("team {}", n / 4))),
        ("id", A::N(n.to_string())),
    ]
}

/// Verifies, and gives the objects of votes and users.
fn verify(bench: &Bench, arguments: &[&str], code: i32) -> Vec<Json> {
    outcome_of(bench, arguments, code);
    read(bench)
}

fn outcome_of(bench: &Bench, arguments: &[&str], code: i32) -> Outcome {
    let file = bench.folder.path().join("found.json");
    let file = file.to_str().expect("UTF-8");
    let arguments = [&["verify", "--json", file], arguments].concat();
    let verify = bench.migrate(&arguments);
    verify.run().expect_code(code)
}

fn read(bench: &Bench) -> Vec<Json> {
    let text = std::fs::read_to_string(bench.folder.path().join("found.json")).expect("a file");
    serde_json::from_str(&text).expect("an array")
}

/// Verifies equal tables through an endpoint that sees every request, and that fails when a scan is over and what
/// it found is to be noted.
fn without_reading_single_rows(bench: &Bench) -> Vec<Json> {
    let control = format!("{}-control", bench.keyspace);
    let (about, mut scanned) = (control.clone(), false);
    let endpoint = Forwarding::start(&bench.url, move |request| {
        let fails = scanned && request.body.to_string().contains(&about);
        scanned = request.call == "Scan";
        match fails {
            true => Fault::FailsBefore,
            false => Fault::None,
        }
    });
    let counted = bench.stores().replace(&bench.url, &endpoint.url);
    bench.write("counted.toml", &format!("{counted}{PLAN}"));
    let file = bench.folder.path().join("found.json");
    let file = file.to_str().expect("UTF-8");
    let verify = bench.migrate_by("counted.toml", &["verify", "--json", file]);
    verify.run().expect_code(0);
    let asked = endpoint.take().into_iter().map(|exchange| exchange.request);
    let calls: Vec<String> = asked
        .filter(|request| !request.body.to_string().contains(&control))
        .map(|request| request.call)
        .collect();
    assert!(calls.iter().any(|call| call == "Scan"), "{calls:?}");
    let other =
        |call: &&String| !["Scan", "DescribeTable", "DescribeTimeToLive"].contains(&call.as_str());
    assert_eq!(calls.iter().find(other), None);
    read(bench)
}

const COUNTS: [&str; 8] = [
    "missing",
    "extra",
    "different",
    "counters_wrong",
    "foreign",
    "late_writes",
    "partial",
    "unreadable",
];

/// The counts that aren't 0.
pub(super) fn found(table: &Json) -> Vec<(&'static str, u64)> {
    let counts = COUNTS.map(|count| (count, number(table, count)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

pub(super) fn named(table: &Json, kind: &str) -> String {
    let examples = table["examples"].as_array().expect("examples");
    let found = examples.iter().find(|example| example["kind"] == kind);
    let found = found.unwrap_or_else(|| panic!("no {kind} in {table}"));
    found["key"].as_str().expect("a key").to_owned()
}

async fn plant(bench: &Bench) {
    let users = bench.target("users");
    let update = bench.dynamo.update_item().table_name(&users);
    let wrong = update
        .set_key(Some(
            user(17)
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        ))
        .update_expression("SET #n = :n")
        .expression_attribute_names("#n", "name")
        .expression_attribute_values(":n", A::S("somebody else".into()));
    wrong.send().await.expect("updated");
    let delete = bench.dynamo.delete_item().table_name(&users);
    let missing = delete.set_key(Some(
        user(18)
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
    ));
    missing.send().await.expect("deleted");
    let copied = ("_m", A::S("c".into()));
    let extra = [
        ("team", A::S("nobody".into())),
        ("id", A::N("1".into())),
        copied,
    ];
    bench.put("users", &extra).await;
    let foreign = [("team", A::S("strangers".into())), ("id", A::N("1".into()))];
    bench.put("users", &foreign).await;
    bench
        .cql("INSERT INTO users (team, id, name) VALUES ('late', 1, 'too late')")
        .await;
    let votes = bench.target("votes");
    let update = bench.dynamo.update_item().table_name(&votes);
    let off = update
        .key("id", A::S("poll 5".into()))
        .update_expression("ADD #w :one, #c :one")
        .expression_attribute_names("#w", "_w_up")
        .expression_attribute_names("#c", "up")
        .expression_attribute_values(":one", A::N("-1".into()));
    off.send().await.expect("updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_is_found_and_mended_and_nothing_else_is() {
    let rows = match is_long() {
        true => 200_000,
        false => 8_000,
    };
    let bench = Bench::new("verify").await;
    fill(&bench, rows).await;
    bench.plan(PLAN).init();
    let early = bench.migrate(&["verify"]).run().expect_code(2);
    says(&early, &["can't be compared", "migrate copy"]);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench
        .migrate(&["copy", "--offline", "--final", "--table", "votes"])
        .run()
        .expect_code(0);
    let equal = without_reading_single_rows(&bench);
    assert_eq!(equal[0]["table"], "votes");
    assert_eq!(
        (number(&equal[0], "old_rows"), number(&equal[0], "new_rows")),
        (rows as u64 / 10, rows as u64 / 10)
    );
    assert_eq!(
        (number(&equal[1], "old_rows"), number(&equal[1], "new_rows")),
        (rows as u64 + 1, rows as u64 + 1)
    );
    for table in &equal {
        assert_eq!(table["clean"], true, "{table}");
        assert_eq!(found(table), [], "{table}");
    }
    let status = bench.status();
    assert_eq!(status[1]["verified"]["clean"], true, "{}", status[1]);

    plant(&bench).await;
    let tables = verify(&bench, &[], 1);
    assert_eq!(found(&tables[0]), [("counters_wrong", 1)], "{}", tables[0]);
    assert_eq!(named(&tables[0], "counters_wrong"), "id=poll 5");
    let users = &tables[1];
    let all = ["missing", "extra", "different", "foreign", "late_writes"].map(|kind| (kind, 1));
    let mut counted = found(users);
    counted.sort_unstable();
    let mut all = all.to_vec();
    all.sort_unstable();
    assert_eq!(counted, all, "{users}");
    assert_eq!(named(users, "missing"), "team=team 4, id=18");
    assert_eq!(named(users, "extra"), "team=nobody, id=1");
    assert_eq!(named(users, "different"), "team=team 4, id=17");
    assert_eq!(named(users, "foreign"), "team=strangers, id=1");
    assert_eq!(named(users, "late_writes"), "team=late, id=1");
    let different = users["examples"].as_array().expect("examples");
    let different = different
        .iter()
        .find(|one| one["kind"] == "different")
        .expect("it");
    assert_eq!(
        different["columns"],
        serde_json::json!([{"column": "name", "old": "user 17", "new": "somebody else"}])
    );

    // Killed three times on the way to the same.
    let going_on = "users: going on where an earlier verification was stopped";
    for kill in 0..3 {
        let mut running = bench.migrate(&["verify", "--table", "users"]).spawn();
        if kill > 0 {
            running.wait_for(going_on, |line| line.contains(going_on));
        }
        while !super::exists(&bench.journal().join("users.verify")) {
            assert!(running.runs(), "it is killed in mid-work");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let moment = rand::random_range(0..rows as u64 / 20);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        assert_eq!(running.kill().code, None, "it is killed in mid-work");
    }
    let again = outcome_of(&bench, &["--repair", "--delete-extra"], 1);
    says(&again, &[going_on]);
    let repaired = read(&bench);
    for (first, second) in tables.iter().zip(&repaired) {
        for count in COUNTS.iter().chain(&["old_rows", "new_rows"]) {
            let (first, again) = (number(first, count), number(second, count));
            assert_eq!(first, again, "{count} of {second}");
        }
    }
    assert_eq!(repaired[0]["repaired"]["folded"], 1, "{}", repaired[0]);
    let mended = &repaired[1]["repaired"];
    assert_eq!(
        (&mended["copied"], &mended["rewritten"], &mended["deleted"]),
        (&2.into(), &1.into(), &1.into()),
        "{mended}"
    );
    // Nobody but a person may say what becomes of a stranger's item.
    let delete = bench.dynamo.delete_item().table_name(bench.target("users"));
    let stranger = delete
        .key("team", A::S("strangers".into()))
        .key("id", A::N("1".into()));
    stranger.send().await.expect("deleted");
    let clean = verify(&bench, &[], 0);
    assert_eq!(clean[1]["late_but_same"], 1, "{}", clean[1]);
    let piped = bench.migrate(&["verify", "--sample", "5%", "--json", "-"]);
    let piped = piped.run().expect_code(0);
    let array: Vec<Json> = serde_json::from_str(&piped.stdout).expect("data alone");
    assert_eq!(array.len(), 2);
    says(&piped, &["only 5 % of the old rows"]);
    bench.done().await;
}
