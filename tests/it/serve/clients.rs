//! Applications in other languages against the sidecar, in every phase and straight afterwards against DynamoDB itself:
//! what they see is the same.

use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::languages::Language;
use crate::command::{Bench, credentials, says};
use crate::support::{Running, free_address};

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 10\n[shim]\nresave = \"inline\"\ndeadline_seconds = 10\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n\
                    [[table]]\nname = \"events\"\nto = \"@-events\"\nkey_only = \"keep\"\n\
                    [[table]]\nname = \"notes\"\nto = \"@-notes\"\nkey_only = \"keep\"\n";
const TABLES: [&str; 4] = ["votes", "users", "events", "notes"];
const PHASES: [&str; 6] = ["old", "bridge", "switch", "copy", "new", "done"];

/// A sidecar, and where it listens.
pub struct Sidecar {
    pub running: Running,
    pub url: String,
}

impl Sidecar {
    /// Starts one, and waits until it is ready.
    pub fn start(bench: &Bench) -> Self {
        let address = free_address().to_string();
        let probe = |what| {
            let probe = ["serve", "--listen", &address, "--probe", what];
            bench.migrate(&probe).run()
        };
        says(&probe("alive").expect_code(2), &["doesn't answer"]);
        let sidecar = Self::start_at(bench, &address);
        for what in ["alive", "ready"] {
            let answered = probe(what).expect_code(0);
            assert!(answered.stdout.starts_with("HTTP/1.1 200"), "{answered}");
        }
        sidecar
    }

    /// The same at an address.
    pub fn start_at(bench: &Bench, address: &str) -> Self {
        let running = bench.migrate(&["serve", "--listen", address]).spawn();
        let url = format!("http://{address}");
        let mut sidecar = Sidecar { running, url };
        while !sidecar.is_ready() {
            assert!(sidecar.running.runs(), "it has ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        sidecar
    }

    fn is_ready(&self) -> bool {
        use std::io::{Read, Write};
        let address = self.url.trim_start_matches("http://");
        let Ok(mut socket) = TcpStream::connect(address) else {
            return false;
        };
        let request = b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        socket.write_all(request).is_ok()
            && socket.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }
}

/// What the keys begin with that a script uses in a phase: in no other text of it.
fn key(language: Language, phase: &str) -> String {
    format!("zz{}{phase}", language.short())
}

async fn bench() -> Bench {
    let bench = Bench::new("serve").await;
    for statement in [
        "CREATE TABLE votes (act text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, name text, age int, big bigint, score double, active boolean, \
         data blob, tags set<text>, props map<text, text>, notes list<text>, version int, \
         \"__edb_e__\" text, \"__edb_v__\" text)",
        "CREATE TABLE events (p text, at int, what text, PRIMARY KEY (p, at))",
        "CREATE TABLE notes (p text, title text, what text, owner text, PRIMARY KEY (p, title)) \
         WITH CLUSTERING ORDER BY (title DESC)",
    ] {
        bench.cql(statement).await;
    }
    let phases = PHASES.iter().chain(&["direct"]);
    let keys = phases.flat_map(|phase| Language::ALL.map(|language| key(language, phase)));
    for key in keys {
        for number in 0..8 {
            bench
                .cql(&format!(
                    "INSERT INTO users (id, name, age, score, tags, props) VALUES \
                     ('{key}-{number}', 'N{number}', {number}, 0.5, {{'a', 'b'}}, {{'k': 'v{number}'}})"
                ))
                .await;
            bench
                .cql(&format!(
                    "INSERT INTO events (p, at, what) VALUES ('{key}', {number}, 'w{number}')"
                ))
                .await;
        }
        for title in ["a", "ab", "b", "bé", "béé", "c"] {
            bench
                .cql(&format!(
                    "INSERT INTO notes (p, title, what) VALUES ('{key}', '{title}', 'w')"
                ))
                .await;
        }
        bench
            .cql(&format!(
                "UPDATE votes SET n = n + 100 WHERE act = '{key}-1'"
            ))
            .await;
    }
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    bench
}

/// Moves tables by one step, with what it takes.
pub fn advance_all(bench: &Bench, tables: &[&str], to: &str) {
    if to == "new" {
        bench.migrate(&["copy", "--final"]).run().expect_code(0);
        bench.migrate(&["verify"]).run().expect_code(0);
    }
    // Each waits for the sidecar's next look at its record.
    let advance = |table: &&str| {
        let done = ["--yes-done", table];
        let advance = ["advance", "--table", table, "--to", to, "--expect", "1"];
        let extra = if to == "done" { &done[..] } else { &[] };
        bench.migrate(&[&advance[..], extra].concat()).spawn()
    };
    // All begin before the first is waited for.
    let advancing: Vec<_> = tables.iter().map(advance).collect();
    for advancing in advancing {
        advancing.wait().expect_code(0);
    }
}

/// What a script sees: by step.
type Seen = Vec<(String, Json)>;

/// What each language's script sees. They run beside each other, on keys of their own: a step that is held until the
/// deadline is waited for once.
fn scripts(bench: &Bench, url: &str, phase: &str) -> [Seen; Language::ALL.len()] {
    let started = Language::ALL.map(|language| {
        let mut script = language.program("script");
        script
            .args([url, &bench.keyspace, &key(language, phase)])
            .envs(credentials())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = script.spawn().expect("it runs");
        thread::spawn(move || child.wait_with_output().expect("its output"))
    });
    let mut of = started.into_iter().zip(Language::ALL);
    std::array::from_fn(|_| {
        let (script, language) = of.next().expect("one for each");
        let output = script.join().expect("no panic");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language:?}, {phase}: {stderr}");
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let step = |line: &str| {
            let line: Json = serde_json::from_str(line).expect("JSON");
            (
                line["step"].as_str().expect("a step").to_owned(),
                line["seen"].clone(),
            )
        };
        lines.lines().map(step).collect()
    })
}

/// What a step may see instead in a phase: a refusal, as `docs/sidecar.md` has it.
fn is_refusal(phase: &str, step: &str, seen: &Json) -> bool {
    let last = seen.as_array().and_then(|seen| seen.last());
    let code = last.map(|last| last[0].clone()).unwrap_or_default();
    let is_conditional = step == "transactions" || step.starts_with("conditions");
    match phase {
        // The old store has none.
        "old" => step == "transactions" && code == json!("ValidationException"),
        // What hasn't moved can't be judged yet; of a last try that a busy machine didn't end in time, nobody knows.
        "bridge" | "switch" => {
            let unknown = ["InternalServerError", "AmbiguousWriteFailureException"];
            let is_unknown = unknown.iter().any(|unknown| code == *unknown);
            is_conditional && (code == json!("ServiceUnavailable") || is_unknown)
        }
        _ => false,
    }
}

#[tokio::test]
async fn applications_see_the_same_in_every_phase() {
    let bench = bench().await;
    let sidecar = Sidecar::start(&bench);
    let mut seen = Vec::new();
    for phase in PHASES {
        if phase != "old" {
            advance_all(&bench, &TABLES, phase);
        }
        seen.push((phase, scripts(&bench, &sidecar.url, phase)));
    }
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
    for table in TABLES {
        let finish = ["finish", "--table", table, "--strip", "--yes-strip"];
        bench.migrate(&finish).run().expect_code(0);
    }
    let direct = scripts(&bench, &bench.url, "direct");
    let mut wrong = Vec::new();
    for (phase, seen) in &seen {
        for ((language, seen), direct) in Language::ALL.iter().zip(seen).zip(&direct) {
            assert_eq!(seen.len(), direct.len(), "{language:?}, {phase}");
            for ((step, seen), (_, expected)) in seen.iter().zip(direct) {
                if seen != expected && !is_refusal(phase, step, seen) {
                    let difference = difference(seen, expected);
                    wrong.push(format!("{language:?}, {phase}, {step}:\n  {difference}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.done().await;
}

/// The first results that differ.
fn difference(seen: &Json, expected: &Json) -> String {
    let (seen, expected) = (
        seen.as_array().expect("a list"),
        expected.as_array().expect("a list"),
    );
    let at = seen
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    let at = at.unwrap_or(seen.len().min(expected.len()));
    let show = |all: &Vec<Json>| all.get(at).map_or("nothing".to_owned(), Json::to_string);
    format!(
        "result {at} is {}\n  and directly {}",
        show(seen),
        show(expected)
    )
}
