//! The shim as scripts see it: `examples/drive` on the real servers, through every phase; and what a read costs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crossfade::connect;
use crossfade::model::{ClusteringRange, Value};
use crossfade::plan::Plan;
use crossfade::shim::Table;
use serde_json::{Value as Json, json};

use crate::command::{Bench, Item, credentials};
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;
use crate::support::signal;

/// The leases are short, so that no move waits long.
const PLAN: &str = "[lease]\nseconds = 2\noperation_seconds = 2\n[shim]\nresave = \"inline\"\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\nexpiry = { attribute = \"expires_at\", from = \"max\" }\n\
                    [table.columns]\nnick = { rename = \"nickname\" }\nx = { drop = true }\n\
                    [[table]]\nname = \"events\"\nto = \"@-events\"\n";
const TABLES: [&str; 3] = ["votes", "users", "events"];

async fn bench(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    for statement in [
        "CREATE TABLE votes (act text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, nick text, age int, tags set<text>, seen timestamp, x text)",
        "CREATE TABLE events (p text, at int, s text STATIC, what text, PRIMARY KEY (p, at)) \
         WITH CLUSTERING ORDER BY (at DESC)",
        "UPDATE votes SET n = n + 100 WHERE act = 'a'",
        "INSERT INTO users (id, nick, age) VALUES ('old', 'O', 1)",
        "INSERT INTO users (id, nick, age) VALUES ('hit', 'H', 2)",
        "INSERT INTO events (p, s) VALUES ('p', 'shared')",
    ] {
        bench.cql(statement).await;
    }
    for at in 0..5 {
        bench
            .cql(&format!(
                "INSERT INTO events (p, at, what) VALUES ('p', {at}, 'old')"
            ))
            .await;
    }
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    bench
}

fn advance(bench: &Bench, to: &str, applications: &str) {
    for table in TABLES {
        if to == "new" {
            let verify = bench.migrate(&["verify", "--table", table]);
            verify.run().expect_code(0);
        }
        let advance = ["advance", "--table", table, "--to", to];
        let advance = bench.migrate(&[&advance[..], &["--expect", applications]].concat());
        advance.run().expect_code(0);
    }
}

/// The example, which `cargo test` builds beside the tests.
pub(crate) fn drive() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_migrate")).parent();
    let path = folder.expect("a folder").join("examples/drive");
    assert!(
        path.is_file(),
        "run `cargo build --all-features --examples` first: {path:?}"
    );
    path
}

pub(crate) struct Driven {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    next: u64,
}

impl Driven {
    pub(crate) fn start(bench: &Bench) -> Self {
        let mut child = Command::new(drive())
            .arg("--plan")
            .arg(bench.folder.path().join("plan.toml"))
            .envs(credentials())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("drive");
        Driven {
            commands: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("stdout")),
            child,
            next: 0,
        }
    }

    /// One command, and its answer.
    pub(crate) fn ask(&mut self, mut command: Json) -> Json {
        self.next += 1;
        command["id"] = json!(self.next);
        let mut answer = self.ask_raw(format!("{command}\n").as_bytes());
        assert_eq!(answer["id"], json!(self.next), "{answer}");
        answer.as_object_mut().expect("an object").remove("id");
        answer
    }

    /// What is answered to a line.
    fn ask_raw(&mut self, line: &[u8]) -> Json {
        let commands = self.commands.as_mut().expect("open");
        commands.write_all(line).expect("sent");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    #[track_caller]
    fn ok(&mut self, command: Json, expected: Json) {
        let answer = self.ask(command.clone());
        assert_eq!(answer, json!({"ok": expected}), "{command}");
    }

    /// Ends at the end of its input.
    pub(crate) fn end(mut self) {
        drop(self.commands.take());
        assert!(self.child.wait().expect("its end").success());
    }
}

fn events(p: &mut Driven, reverse: bool) -> String {
    let answer = p.ask(
        json!({"op": "query", "table": "events", "partition": {"p": "p"}, "reverse": reverse}),
    );
    let rows = answer["ok"].as_array().expect("rows").clone();
    let name = |row: &Json| match row["at"].as_i64() {
        Some(at) => format!("{at}{}", &row["what"].as_str().expect("text")[..1]),
        None => "s".into(),
    };
    rows.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_drive_example_serves_every_operation_in_every_phase() {
    let bench = bench("drive").await;
    let mut p = Driven::start(&bench);
    let key = |id: &str| json!({"id": id});
    let mut total = 100;
    for (turn, phase) in ["old", "bridge", "switch", "copy", "new"]
        .into_iter()
        .enumerate()
    {
        advance(&bench, phase, "1");
        if phase == "copy" {
            bench.migrate(&["copy", "--final"]).run().expect_code(0);
            bench.migrate(&["verify"]).run().expect_code(0);
        }
        let id = format!("u{turn}");
        let get = |id: &str| json!({"op": "get", "table": "users", "key": key(id)});
        p.ok(get(&id), Json::Null);
        let row = json!({"id": id, "nickname": "A", "tags": ["x", "y"], "seen": "2026-11-21T10:00:00.123Z"});
        p.ok(
            json!({"op": "put", "table": "users", "row": row}),
            json!(true),
        );
        p.ok(get(&id), row);
        // A row of nothing but its key, though the old table has a column that isn't moved.
        let bare = format!("bare{turn}");
        p.ok(
            json!({"op": "put", "table": "users", "row": key(&bare)}),
            json!(true),
        );
        p.ok(get(&bare), key(&bare));
        p.ok(
            json!({"op": "update", "table": "users", "key": key(&id), "set": {"age": 5}, "remove": ["tags", "seen"]}),
            json!(true),
        );
        p.ok(get(&id), json!({"id": id, "nickname": "A", "age": 5}));
        p.ok(
            json!({"op": "delete", "table": "users", "key": key(&id)}),
            json!(true),
        );
        p.ok(get(&id), Json::Null);
        // A row that is only in the old store, and changed in part from here on.
        p.ok(
            json!({"op": "update", "table": "users", "key": key("old"), "set": {"age": turn}}),
            json!(true),
        );
        p.ok(
            get("old"),
            json!({"id": "old", "nickname": "O", "age": turn}),
        );

        p.ok(
            json!({"op": "add", "table": "votes", "key": {"act": "a"}, "column": "n", "by": 7}),
            json!(true),
        );
        total += 7;
        p.ok(
            json!({"op": "count", "table": "votes", "key": {"act": "a"}}),
            json!({"n": total}),
        );

        let at = 10 + turn;
        p.ok(
            json!({"op": "put", "table": "events", "row": {"p": "p", "at": at, "what": "new"}}),
            json!(true),
        );
        p.ok(
            json!({"op": "delete", "table": "events", "key": {"p": "p", "at": 4 - turn}}),
            json!(true),
        );
    }
    assert_eq!(events(&mut p, false), "s 14n 13n 12n 11n 10n");
    assert_eq!(events(&mut p, true), "10n 11n 12n 13n 14n s");
    let unknown = p.ask(json!({"op": "get", "table": "users", "key": {"idd": "x"}}));
    assert_eq!(unknown["error"]["kind"], json!("invalid"), "{unknown}");
    assert_eq!(unknown["error"]["effect"], json!("none"), "{unknown}");
    let misspelt = json!({"op": "update", "table": "users", "key": key("hit"), "sett": {}});
    let misspelt = p.ask(misspelt);
    assert_eq!(misspelt["error"]["kind"], json!("invalid"), "{misspelt}");
    let odd = p.ask_raw(b"\xff{\n");
    assert_eq!(odd["error"]["kind"], json!("invalid"), "{odd}");

    for table in TABLES {
        let unasked = ["finish", "--table", table, "--strip", "--yes-strip"];
        let refused = bench.migrate(&unasked).run().expect_code(2);
        assert!(refused.stderr.contains("--yes-done"), "{refused}");
        let early = ["finish", "--table", table, "--yes-done", table, "--strip"];
        let refused = bench.migrate(&early).run().expect_code(2);
        assert!(refused.stderr.contains("--yes-strip"), "{refused}");
        let finish = [
            "finish",
            "--table",
            table,
            "--yes-done",
            table,
            "--strip",
            "--yes-strip",
            "--yes-drop",
            table,
        ];
        let finished = bench.migrate(&finish).run().expect_code(0);
        assert!(finished.stderr.contains("may be taken out"), "{finished}");
        let gone = bench
            .session
            .query_unpaged(format!("SELECT * FROM {table}"), ());
        assert!(gone.await.is_err(), "{table} is dropped");
    }
    for table in TABLES {
        let items = bench.items(table).await;
        assert!(!items.is_empty(), "{table}");
        let reserved = |item: &Item| item.keys().any(|name| name.starts_with('_'));
        assert!(!items.iter().any(reserved), "{table}: {items:?}");
    }
    p.ok(
        json!({"op": "get", "table": "users", "key": key("hit")}),
        json!({"id": "hit", "nickname": "H", "age": 2}),
    );
    p.ok(
        json!({"op": "count", "table": "votes", "key": {"act": "a"}}),
        json!({"n": total}),
    );
    p.end();
    let status = bench.migrate(&["status", "--json"]).run().expect_code(0);
    assert!(
        !status.stdout.contains("drive, process"),
        "it has left: {status}"
    );
}

/// What reading a user asks of the new store's table, and whether there was one.
async fn requests(
    users: &Table,
    forwarding: &Forwarding,
    target: &str,
    id: &str,
) -> (bool, Vec<String>) {
    let key = users.key_of(&json!({"id": id})).await.expect("a key");
    forwarding.take();
    let row = users.get(&key).await.expect("read");
    let seen = forwarding.take().into_iter().map(|one| one.request);
    // The lease is renewed in between, under the target's name, in the control table.
    let is_about =
        |body: &Json| body["TableName"] == target || body["RequestItems"].get(target).is_some();
    let about = seen.filter(|one| is_about(&one.body));
    let name = |one: Request| match one.body["ConsistentRead"].as_bool() {
        Some(true) => format!("{} strongly", one.call),
        Some(false) => format!("{} eventually", one.call),
        None => one.call,
    };
    (row.is_some(), about.map(name).collect())
}

#[tokio::test]
async fn a_hit_in_the_new_store_is_one_request() {
    let bench = bench("cost").await;
    advance(&bench, "copy", "0");
    let forwarding = Forwarding::start(&bench.url, |_| Fault::None);
    let text = bench.stores().replace(&bench.url, &forwarding.url);
    let target = bench.named("@-users");
    let read = async |users: &Table, id: &str| requests(users, &forwarding, &target, id).await;
    let calls = |calls: &[&str]| {
        calls
            .iter()
            .map(|call| (*call).to_owned())
            .collect::<Vec<_>>()
    };

    let plan = bench.write("strong.toml", &format!("{text}{PLAN}"));
    let plan = Plan::load(&plan).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let users = shim.table("users").expect("users");
    // The first read finds it in the old store and saves it.
    let saved = calls(&["GetItem strongly", "PutItem"]);
    assert_eq!(read(&users, "hit").await, (true, saved));
    for _ in 0..3 {
        let hit = calls(&["GetItem strongly"]);
        assert_eq!(read(&users, "hit").await, (true, hit));
    }
    shim.leave().await.expect("left");

    // An eventual hit is believed, an eventual miss isn't.
    let eventual = PLAN.replace("[shim]", "[shim]\nreads = \"eventual\"");
    let plan = bench.write("eventual.toml", &format!("{text}{eventual}"));
    let plan = Plan::load(&plan).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let users = shim.table("users").expect("users");
    let hit = calls(&["GetItem eventually"]);
    assert_eq!(read(&users, "hit").await, (true, hit));
    let missed = ["GetItem eventually", "GetItem strongly", "GetItem strongly"];
    // The last look is for rows that expire: one may have come meanwhile.
    assert_eq!(read(&users, "nobody").await, (false, calls(&missed)));
    shim.leave().await.expect("left");
}

/// A row that can't be moved as the plan is can still be read, listed and deleted where it lies.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_expire_are_shown_though_the_plan_has_no_rule_for_them() {
    let bench = Bench::new("fading").await;
    for statement in [
        "CREATE TABLE sessions (p text, c int, v text, PRIMARY KEY (p, c))",
        "INSERT INTO sessions (p, c, v) VALUES ('p', 1, 'for good')",
        "INSERT INTO sessions (p, c, v) VALUES ('p', 2, 'fades') USING TTL 5000",
        "INSERT INTO sessions (p, c, v) VALUES ('q', 1, 'fades') USING TTL 5000",
    ] {
        bench.cql(statement).await;
    }
    let lease = "[lease]\nseconds = 2\noperation_seconds = 2\n[shim]\nresave = \"inline\"\ndeadline_seconds = 2\n";
    let table = "[[table]]\nname = \"sessions\"\nto = \"@-sessions\"\n";
    bench.plan(&format!("{lease}{table}"));
    bench.migrate(&["init"]).run().expect_code(0);
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let sessions = shim.table("sessions").expect("sessions");
    let row = |p: &str, c: i32, v: &str| json!({"p": p, "c": c, "v": v});
    for phase in ["old", "bridge", "switch", "copy"] {
        let advance = ["advance", "--table", "sessions", "--to", phase];
        bench.migrate(&advance).run().expect_code(0);
        let fades = sessions.get_as::<Json>(&json!({"p": "p", "c": 2})).await;
        let fades = fades.unwrap_or_else(|error| panic!("{phase}: {error}"));
        assert_eq!(fades, Some(row("p", 2, "fades")), "{phase}");
        let partition = json!({"p": "p"});
        let all = sessions.query_as::<Json>(&partition, false, None).await;
        let all = all.unwrap_or_else(|error| panic!("{phase}: {error}"));
        assert_eq!(all, [row("p", 1, "for good"), row("p", 2, "fades")]);
    }
    // It isn't saved: nobody could say when it has to go.
    assert!(bench.items("sessions").await.is_empty());
    let q = ClusteringRange::whole(vec![Value::text("q")]);
    sessions.delete_range(q).await.expect("deleted");
    let gone = sessions.get_as::<Json>(&json!({"p": "q", "c": 1})).await;
    assert_eq!(gone.expect("read"), None);
    shim.leave().await.expect("left");
}

/// Kubernetes sends SIGTERM: an application that leaves then keeps no move waiting.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_leave_when_they_are_terminated() {
    let bench = bench("terminated").await;
    let mut p = Driven::start(&bench);
    let (hit, event) = (json!({"id": "hit"}), json!({"p": "p", "at": 1}));
    for (op, table, key) in [
        ("get", "users", hit),
        ("get", "events", event),
        ("count", "votes", json!({"act": "a"})),
    ] {
        let found = p.ask(json!({"op": op, "table": table, "key": key}));
        assert!(found["ok"].is_object(), "{found}");
    }
    let registered = |bench: &Bench| -> usize {
        let status = bench.status();
        let each = status
            .iter()
            .map(|table| table["instances"].as_array().map_or(0, Vec::len));
        each.sum()
    };
    assert_eq!(registered(&bench), TABLES.len());
    signal(p.child.id(), "TERM");
    // Its input is still open.
    assert!(p.child.wait().expect("its end").success());
    assert_eq!(registered(&bench), 0);

    let votes = bench.write(
        "votes.toml",
        &format!(
            "{}[[table]]\nname = \"votes\"\nto = \"@-votes\"\n[[table]]\nname = \"users\"\nto = \"@-users\"\n\
             expiry = {{ attribute = \"expires_at\", from = \"max\" }}\n\
             [table.columns]\nnick = {{ rename = \"nickname\" }}\nx = {{ drop = true }}\n",
            bench.stores()
        ),
    );
    let mut child = Command::new(drive().with_file_name("votes"))
        .arg("--plan")
        .arg(votes)
        .args(["--listen", "127.0.0.1:0"])
        .envs(credentials())
        .spawn()
        .expect("votes");
    while registered(&bench) < 2 {
        assert!(child.try_wait().expect("its state").is_none(), "it runs");
    }
    signal(child.id(), "TERM");
    assert!(child.wait().expect("its end").success());
    assert_eq!(registered(&bench), 0);
    bench.done().await;
}
