//! `migrate plan`: a plan made from a keyspace, and plans read without servers.

use serde_json::Value as Json;

use super::{Bench, credentials, says};
use crate::support::Migrate;

pub(super) fn new(bench: &Bench, more: &[&str]) -> Migrate {
    let mut command = Migrate::new([
        "plan",
        "new",
        "--nodes",
        &bench.node,
        "--keyspace",
        &bench.keyspace,
    ])
    .arg("--endpoint")
    .arg(&bench.url);
    for word in more {
        command = command.arg(word);
    }
    for (name, value) in credentials() {
        command = command.env(name, value);
    }
    command.in_folder(bench.folder.path())
}

/// A keyspace with all that has to be decided: the plan that is printed is one that `check` takes, and that moves it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_moves_the_keyspace() {
    let bench = Bench::new("drafted").await;
    for create in [
        "CREATE TABLE plain (id int PRIMARY KEY, v text)",
        "CREATE TABLE votes (id text, day int, n counter, PRIMARY KEY (id, day))",
        "CREATE TABLE \"Sessions\" (id uuid PRIMARY KEY, \"userName\" text, status text) WITH default_time_to_live = 86400",
        "CREATE TABLE marks (id int PRIMARY KEY, \"_m\" text, pk text, expires_at text)",
        "CREATE TABLE log (id int, at text, v varint, PRIMARY KEY (id, at))",
        "CREATE INDEX by_v ON plain (v)",
        "UPDATE votes SET n = n + 3 WHERE id = 'a' AND day = 1",
        "INSERT INTO plain (id, v) VALUES (1, 'x')",
        "INSERT INTO \"Sessions\" (id, \"userName\", status) VALUES (uuid(), 'Ann', 'ok')",
        // Rows of which nothing tells when they end.
        "INSERT INTO \"Sessions\" (id) VALUES (uuid())",
        "INSERT INTO marks (id, \"_m\", pk, expires_at) VALUES (1, 'm', 'p', 'never') USING TTL 5000",
        // No key attribute can be empty.
        "INSERT INTO log (id, at, v) VALUES (1, '', 2)",
        "INSERT INTO log (id, at, v) VALUES (1, 'b', 123456789012345678901234567890123456789)",
    ] {
        bench.cql(create).await;
    }
    let made = new(&bench, &[]).run().expect_code(0);
    let text = made.stdout.clone();
    let unwrapped = text.replace("\n# ", " ");
    for word in [
        "name = \"votes\"    # counters",
        "ignore = [\"indexes\"]",
        "index `by_v` on `v` isn't moved",
        "expiry = { attribute = \"expires_at\", from = \"max\" }",
        "expiry = { attribute = \"expires_at_\", from = \"max\" }",
        "key_only = \"keep\"",
        "reserved_prefix = \"_cf_\"",
        "keys = { sort = \"sk\" }",
        "of 2 sampled rows some have numbers of over 38 digits (1 in `v`)",
        "columns = { v = { form = \"text\" } }",
        "placeholders (`#name`): `status`",
        "keep their case, as stored: `userName`",
        "Decide: the region.",
    ] {
        assert!(unwrapped.contains(word), "no `{word}` in:\n{text}");
    }
    // A key that a column is stays one.
    assert!(!text.contains("pk_"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 130),
        "{text}"
    );
    assert!(
        text.find("name = \"votes\"") < text.find("name = \"plain\""),
        "{text}"
    );
    says(&made, &["5 tables, of which 0 can't be moved"]);

    // The control table and the journal are the test's own; nothing else is changed.
    let text = text.replace(
        "[new]\n",
        &bench.named("[new]\ncontrol_table = \"@-control\"\n"),
    );
    bench.write("plan.toml", &text);
    let read = bench.migrate(&["plan", "check"]).run().expect_code(0);
    assert!(read.stdout.contains("no mistake in it: 5 tables"), "{read}");
    let check = bench.migrate(&["check"]).run().expect_code(0);
    assert!(
        check.stdout.contains("all 5 tables can be moved"),
        "{check}"
    );
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    assert_eq!(bench.items("log").await.len(), 2);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_tables_and_what_cant_be_moved() {
    let bench = Bench::new("single").await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, v text)")
        .await;
    bench
        .cql("CREATE TABLE other (id int PRIMARY KEY, v text)")
        .await;
    let made = new(
        &bench,
        &[
            "--table",
            "users",
            "--name",
            "night",
            "--region",
            "eu-west-1",
        ],
    )
    .run();
    let text = made.expect_code(0).stdout;
    assert!(
        text.contains("name = \"night\"") && text.contains("region = \"eu-west-1\""),
        "{text}"
    );
    assert!(
        text.contains("name = \"users\"") && !text.contains("other"),
        "{text}"
    );
    assert!(!text.contains("Decide: the region"), "{text}");
    let unknown = new(&bench, &["--table", "user"]).run().expect_code(2);
    says(
        &unknown,
        &["the keyspace has no table `user`", "other, users"],
    );
    let keyspace = Migrate::new([
        "plan",
        "new",
        "--nodes",
        &bench.node,
        "--keyspace",
        "nowhere",
    ]);
    says(
        &keyspace.run().expect_code(2),
        &["the cluster has no keyspace `nowhere`"],
    );
    let login = new(&bench, &["--username", "app"]).run().expect_code(2);
    says(&login, &["there is no password", "CASSANDRA_PASSWORD"]);
    bench.done().await;
}

/// No server is asked, and mistakes are those of every other command.
#[test]
fn plans_are_checked_without_servers() {
    let folder = crate::support::folder();
    let asked = |text: &str| {
        let path = folder.path().join("cf.toml");
        std::fs::write(&path, text).expect("written");
        Migrate::new(["plan", "check", "--plan", "cf.toml"]).in_folder(folder.path())
    };
    let run = |text: &str| asked(text).run();
    let plan = "name = \"bgt\"\n[old]\nkind = \"cassandra\"\nnodes = [\"127.0.0.1:1\"]\nkeyspace = \"bgt\"\n\
        [new]\nkind = \"dynamodb\"\nendpoint = \"http://127.0.0.1:1\"\n[[table]]\nname = \"users\"\n[[table]]\nname = \"ts_*\"\n";
    let fine = run(plan).expect_code(0);
    assert!(
        fine.stdout
            .contains("cf.toml: no mistake in it: 1 table, all that match `ts_*`"),
        "{fine}"
    );
    assert!(
        fine.stdout.contains("migrate check --plan cf.toml"),
        "{fine}"
    );
    // The log is what the variable says, where that can be read, and the command works whatever it says.
    for (wanted, is_read) in [
        ("info,crossfade=debug", true),
        ("crossfade[copy]=debug", false),
        ("crossfade=loud", false),
    ] {
        let asked = asked(plan).env("RUST_LOG", wanted).run().expect_code(0);
        let warns = asked.stderr.contains("`RUST_LOG` can't be read");
        assert_eq!(warns, !is_read, "{wanted}: {asked}");
    }
    let wrong = run(&plan
        .replace("nodes", "node")
        .replace("kind = \"dynamodb\"", "kind = \"dynamo\""));
    says(
        &wrong.expect_code(2),
        &[
            "cf.toml:4: unknown key `node`",
            "cf.toml:7: `kind` can't be \"dynamo\"",
        ],
    );
    let schema = Migrate::new(["plan", "schema"]).run().expect_code(0).stdout;
    let schema: Json = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(
        schema["required"],
        serde_json::json!(["name", "new", "old", "table"])
    );
}
