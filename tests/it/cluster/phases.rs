//! Two of three nodes away and back in every phase, while an application goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Cluster, QUORUM, make, plan_at, write_to_all};
use crate::command::says;
use crate::driving::Driven;

const PLAN: &str = "[lease]\nseconds = 8\noperation_seconds = 5\n[shim]\ndeadline_seconds = 4\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\n";
const TABLES: [&str; 2] = ["votes", "users"];
/// Writes of each kind while nodes are away.
const WRITES: usize = 3;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Made,
    NotMade,
    Unknown,
}

fn told(answer: &Json) -> Told {
    match (&answer["ok"], answer["error"]["effect"].as_str()) {
        (Json::Bool(true), None) => Told::Made,
        (_, Some("none")) => Told::NotMade,
        (_, Some("unknown")) => Told::Unknown,
        _ => panic!("what is this? {answer}"),
    }
}

/// What an application was told of its writes.
#[derive(Default)]
struct Ledger {
    users: BTreeMap<String, Told>,
    added: BTreeMap<&'static str, usize>,
}

impl Ledger {
    /// Writes of every kind, and a read of a row that only the old table has.
    fn write(&mut self, p: &mut Driven, phase: &str, when: &str) -> Vec<Told> {
        let mut all = Vec::new();
        for n in 0..WRITES {
            let id = format!("{phase} {when} {n}");
            let row = json!({"id": id, "name": "A"});
            let put = told(&p.ask(json!({"op": "put", "table": "users", "row": row})));
            self.users.insert(id, put);
            let add =
                json!({"op": "add", "table": "votes", "key": {"act": "a"}, "column": "n", "by": 1});
            let add = told(&p.ask(add));
            let name = match add {
                Told::Made => "made",
                Told::NotMade => "not made",
                Told::Unknown => "unknown",
            };
            *self.added.entry(name).or_default() += 1;
            all.extend([put, add]);
        }
        all
    }

    /// What was acknowledged is there, and what was said not to have been made isn't.
    fn assert_kept(&self, p: &mut Driven, phase: &str) {
        for (id, told) in &self.users {
            let answer = p.ask(json!({"op": "get", "table": "users", "key": {"id": id}}));
            let there = match &answer["ok"] {
                Json::Null if answer.get("error").is_none() => false,
                Json::Object(row) => {
                    assert_eq!(row["name"], "A", "{answer}");
                    true
                }
                _ => panic!("in {phase}, {id}: {answer}"),
            };
            match told {
                Told::Made => assert!(there, "in {phase} {id} was acknowledged and isn't there"),
                Told::NotMade => assert!(!there, "in {phase} {id} wasn't made and is there"),
                Told::Unknown => {}
            }
        }
        let answer = p.ask(json!({"op": "count", "table": "votes", "key": {"act": "a"}}));
        let total = answer["ok"]["n"]
            .as_u64()
            .unwrap_or_else(|| panic!("in {phase}: {answer}"));
        let added = |what| self.added.get(what).copied().unwrap_or(0) as u64;
        let (made, unknown) = (100 + added("made"), added("unknown"));
        assert!(
            (made..=made + unknown).contains(&total),
            "in {phase} {total} are counted, {made} were acknowledged, {unknown} may have been"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: CROSSFADE_CLUSTER=1 tests/run"]
async fn two_of_three_nodes_away_and_back_in_every_phase() {
    let cluster = Cluster::new();
    let bench = cluster.bench("phases").await;
    let votes = "CREATE TABLE votes (act text PRIMARY KEY, n counter)";
    make(&bench, "votes", votes).await;
    let users = "CREATE TABLE users (id text PRIMARY KEY, name text)";
    make(&bench, "users", users).await;
    let old = "INSERT INTO @.users (id, name) VALUES ('old', 'O')";
    write_to_all(&bench, old).await;
    bench
        .cql("UPDATE votes SET n = n + 100 WHERE act = 'a'")
        .await;
    plan_at(&bench, QUORUM, PLAN);
    bench.init();
    let mut p = Driven::start(&bench);
    let mut ledger = Ledger::default();
    let read = json!({"op": "get", "table": "users", "key": {"id": "old"}});
    let was_read = json!({"ok": {"id": "old", "name": "O"}});
    for phase in ["old", "bridge", "switch", "copy", "new"] {
        for table in TABLES {
            let advance = ["advance", "--table", table, "--to", phase, "--expect", "1"];
            bench.migrate(&advance).run().expect_code(0);
        }
        let all = ledger.write(&mut p, phase, "before");
        assert_eq!(all, [Told::Made; 2 * WRITES], "in {phase}");

        // Killed, or alive and without an answer.
        let (take, give) = match phase {
            "bridge" | "copy" => ("kill", "start"),
            _ => ("pause", "resume"),
        };
        cluster.control(&[2, 3], take);
        let copying = (phase == "copy").then(|| bench.migrate(&["copy", "--final"]).spawn());
        let meanwhile = ledger.write(&mut p, phase, "meanwhile");
        let answer = p.ask(read.clone());
        match phase {
            "old" | "bridge" => {
                let kind = &answer["error"]["kind"];
                assert!(
                    *kind == "unreachable" || *kind == "timeout",
                    "in {phase}: {answer}"
                );
            }
            // The new store takes writes alone; before `copy` is over, reads of what it lacks need the old one.
            "switch" | "copy" => assert_eq!(meanwhile, [Told::Made; 2 * WRITES], "in {phase}"),
            _ => {
                assert_eq!(meanwhile, [Told::Made; 2 * WRITES], "in {phase}");
                assert_eq!(answer, was_read, "in {phase}");
            }
        }
        cluster.control(&[2, 3], give);
        cluster.settle(&bench).await;
        if let Some(copying) = copying {
            let copied = copying.wait();
            // The last fold asks all replicas, and waits for them half a minute: on a busy machine they may take
            // longer to come back.
            if copied.code != Some(0) {
                says(&copied.expect_code(2), &["bring nodes back"]);
            }
        }
        // The application's own connections come back.
        let mut tries = 0;
        while p.ask(read.clone()) != was_read {
            tries += 1;
            assert!(tries < 300, "in {phase} the old row isn't read again");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        ledger.assert_kept(&mut p, phase);
        if phase == "copy" {
            // What was copied while totals went on being added is settled now.
            bench.migrate(&["copy", "--final"]).run().expect_code(0);
            bench.migrate(&["verify"]).run().expect_code(0);
        }
    }
    p.end();
    bench.done().await;
}
