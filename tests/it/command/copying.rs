//! Whole copies that go well.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue as A;
use crossfade::codec::canonical;
use crossfade::model::{Condition, Key, Mark, Row, Value};
use crossfade::schema::{Column, Layout, Role, Table};
use crossfade::store::cassandra::{Cassandra, CassandraConfig, Consistency};
use crossfade::store::dynamodb::{self, DynamoDb};
use crossfade::store::{Reads, Store, WriteOutcome};
use crossfade::transform::Transform;

use super::items::{Shape, assert_same};
use super::killing::{MESSAGES, fill_messages};
use super::{Bench, credentials, number};
use crate::cassandra::types::every_type;
use crate::support::release;

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs() as i64
}

fn text(item: &super::Item, name: &str) -> Option<String> {
    item.get(name)
        .map(|value| value.as_s().expect("an S").clone())
}

const PLAN: &str = r#"
[mask]
key = "${MASK_KEY}"
[[table]]
name = "sessions"
to = "@-sessions"
expiry = { attribute = "expires_at", from = "max" }
[[table]]
name = "messages"
to = "@-messages"
[[table]]
name = "users"
to = "@-users"
[table.columns]
email = { mask = "hmac" }
phone = { mask = "redact" }
mail = { rename = "contact" }
password_hash = { drop = true }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn several_tables_move_in_the_order_of_the_plan() {
    let bench = Bench::new("several").await;
    bench.plan(PLAN);
    fill_messages(&bench, 500).await;
    bench
        .cql("CREATE TABLE sessions (id text PRIMARY KEY, who int)")
        .await;
    bench
        .cql("INSERT INTO sessions (id, who) VALUES ('short', 1) USING TTL 5000")
        .await;
    bench
        .cql("INSERT INTO sessions (id, who) VALUES ('stays', 2)")
        .await;
    let written = now();
    bench.cql("CREATE TABLE users (id int PRIMARY KEY, email text, phone text, mail text, password_hash text)").await;
    for (id, email) in [
        (1, "a@example.org"),
        (2, "b@example.org"),
        (3, "a@example.org"),
    ] {
        let row = format!(
            "INSERT INTO users (id, email, phone, mail, password_hash) VALUES ({id}, '{email}', '555', 'm{id}', 'hunter2')"
        );
        // Not through `cql`, to which an @ is the keyspace.
        bench.session.query_unpaged(row, ()).await.expect("a row");
    }
    let run = |arguments: &[&str]| {
        bench
            .migrate(arguments)
            .env("MASK_KEY", "a key of the test")
            .run()
    };
    run(&["check"]).expect_code(0);
    run(&["init"]).expect_code(0);
    run(&["init"]).expect_code(0);
    let copied = run(&["copy", "--offline", "--json"]).expect_code(0);

    let lines = copied.json();
    let tables: Vec<_> = lines
        .iter()
        .map(|line| line["table"].as_str().expect("a name"))
        .collect();
    assert_eq!(tables, ["sessions", "messages", "users"]);
    let fields = "table, read, written, present, completed, failed, bytes, units, seconds, rows_per_second, \
                  folded, unchanged, settled, went_down";
    for line in &lines {
        let mut wanted: Vec<&str> = fields.split(", ").collect();
        wanted.sort_unstable();
        let mut found: Vec<&String> = line.as_object().expect("an object").keys().collect();
        found.sort_unstable();
        assert_eq!(found, wanted);
        assert_eq!(number(line, "read"), number(line, "written"), "{line}");
        assert!(
            number(line, "bytes") > 0 && line["units"].as_f64() > Some(0.0),
            "{line}"
        );
    }
    assert_same(
        &MESSAGES,
        &bench.rows("messages").await,
        bench.items("messages").await,
    );

    let sessions = bench.items("sessions").await;
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        let expires = session
            .get("expires_at")
            .map(|at| at.as_n().expect("an N").parse::<i64>());
        match text(&session, "id").as_deref() {
            Some("short") => {
                let left = expires.expect("it expires").expect("seconds") - written;
                assert!((4990..=5002).contains(&left), "{left}");
            }
            _ => assert_eq!(expires, None),
        }
    }

    let mut users = bench.items("users").await;
    users.sort_by_key(|user| user["id"].as_n().expect("an N").clone());
    let masked: Vec<_> = users
        .iter()
        .map(|user| text(user, "email").expect("a mask"))
        .collect();
    assert_eq!(masked[0], masked[2], "equal values stay equal");
    assert_ne!(masked[0], masked[1]);
    assert_eq!(masked[0].len(), 64, "{}", masked[0]);
    for (at, user) in users.iter().enumerate() {
        assert_eq!(user["phone"], A::S("[redacted]".into()));
        assert_eq!(text(user, "contact"), Some(format!("m{}", at + 1)));
        assert_eq!(user["_m"], A::S("c".into()));
        let mut names: Vec<&str> = user.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["_m", "contact", "email", "id", "phone"]);
    }

    let again = run(&["copy", "--offline", "--json"]).expect_code(0);
    for line in again.json() {
        assert_eq!(
            (number(&line, "read"), number(&line, "written")),
            (0, 0),
            "{line}"
        );
    }
    let status = run(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status.len(), 3);
    for line in &status {
        assert_eq!(
            (&line["phase"], &line["copied"]),
            (&"offline".into(), &1.0.into()),
            "{line}"
        );
        assert_eq!(number(line, "dead_letters"), 0);
    }
    assert!(run(&["status"]).expect_code(0).stdout.contains("100.0 %"));
    let said = run(&["failures"]).expect_code(0);
    assert!(said.stdout.contains("no dead letters"), "{said}");
    bench.done().await;
}

/// Static columns, a partition with nothing else, and rows whose every cell is null.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_static_columns() {
    let bench = Bench::new("statics").await;
    bench.cql("CREATE TABLE t (p text, q int, c int, d text, host text STATIC, v double, primary key ((p, q), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)").await;
    for (p, q) in [("a#b", 1), (r"a\", 2), ("", 3), ("only statics", 4)] {
        bench
            .cql(&format!(
                "INSERT INTO t (p, q, host) VALUES ('{p}', {q}, 'h{q}')"
            ))
            .await;
    }
    for (p, q, c, d) in [
        ("a#b", 1, 1, ""),
        ("a#b", 1, -5, "x"),
        (r"a\", 2, 7, "y"),
        ("", 3, 1, "z"),
        ("b", 9, 1, "q"),
    ] {
        bench
            .cql(&format!(
                "INSERT INTO t (p, q, c, d, v) VALUES ('{p}', {q}, {c}, '{d}', 1.5)"
            ))
            .await;
    }
    bench
        .cql("INSERT INTO t (p, q, c, d) VALUES ('bare', 1, 1, 'k')")
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let shape = Shape {
        partition: &["p", "q"],
        clustering: &["c", "d"],
        statics: &["host"],
    };
    assert_same(&shape, &bench.rows("t").await, bench.items("t").await);
    bench.done().await;
}

/// A table with a column of each type that a store can make.
fn wide(release: (u32, u32)) -> Table {
    let column = |name: String, ty, frozen, role| Column {
        name,
        ty,
        frozen,
        role,
    };
    let mut columns = vec![column(
        "id".into(),
        crossfade::schema::Type::Int,
        false,
        Role::Partition,
    )];
    for (at, (text, ty, _)) in every_type(release).into_iter().enumerate() {
        columns.push(column(
            format!("v{at:02}"),
            ty,
            text.starts_with("frozen<"),
            Role::Regular,
        ));
    }
    Table::new("wide", columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_was() {
    let bench = Bench::new("wide").await;
    let release = release(&bench.session).await;
    let table = wide(release);
    let mut config = CassandraConfig::new([bench.node.clone()], bench.keyspace.clone());
    config.consistency = Consistency::One;
    let old = Cassandra::connect(config).await.expect("a store");
    old.create(&table).await.expect("created");
    let types = every_type(release);
    let most = types
        .iter()
        .map(|(_, _, values)| values.len())
        .max()
        .expect("some");
    let row = |at: usize| {
        let cells = types
            .iter()
            .map(|(_, _, values)| values.get(at).cloned())
            .collect();
        Row::new(Key::row(vec![Value::Int(at as i32)], vec![]), cells)
    };
    // The last row has no cell but its key.
    let rows: Vec<Row> = (0..=most).map(row).collect();
    for put in old.put(&table, &rows, &Condition::Always).await.rows {
        assert_eq!(put.expect("a put"), WriteOutcome::Written);
    }
    bench
        .plan("[[table]]\nname = \"wide\"\nto = \"@-wide\"\n")
        .init();
    bench.migrate(&["check"]).run().expect_code(0);
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0)
        .json();
    assert_eq!(number(&copied[0], "written"), rows.len() as u64);

    let described = old
        .inspect("wide")
        .await
        .expect("an answer")
        .expect("there")
        .table
        .expect("columns");
    let to = bench.target("wide");
    let transform = Transform::new(
        &described,
        &BTreeMap::new(),
        None,
        None,
        &to,
        Layout::default(),
    )
    .expect("a transform");
    let mut read = items_as_rows(&bench, transform.target()).await;
    read.sort_by_key(|row| format!("{:?}", row.key));
    assert_eq!(read.len(), rows.len());
    for (read, wanted) in read.iter().zip(&rows) {
        assert_eq!(read.key, wanted.key);
        assert_eq!(read.mark, Some(Mark::Copied));
        // Equal values have one form: that without nulls at the end of a tuple or a user-defined type.
        let kept = canonical::stored(transform.target(), wanted.clone());
        for (at, (name, _, _)) in types.iter().enumerate() {
            assert_eq!(read.cells[at], kept.cells[at], "{name} of {:?}", wanted.key);
        }
    }
    bench.done().await;
}

async fn items_as_rows(bench: &Bench, target: &Table) -> Vec<Row> {
    let [(_, id), (_, secret), (_, region)] = credentials();
    let new = DynamoDb::connect(dynamodb::DynamoDbConfig {
        region: Some(region),
        endpoint: Some(bench.url.clone()),
        credentials: Some(dynamodb::Credentials {
            access_key_id: id,
            secret_access_key: secret.as_str().into(),
            session_token: None,
        }),
        ..dynamodb::DynamoDbConfig::default()
    });
    let new = new.await.expect("a store");
    let mut read = Vec::new();
    crossfade::migration::read_all(&new, target, |row| read.push(row))
        .await
        .expect("rows");
    read
}

/// More deleted rows in one partition than a server reads over with its default settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_full_of_tombstones() {
    const DELETED: i32 = 105_000;
    let bench = Bench::new("tombstones").await;
    bench
        .cql("CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))")
        .await;
    let around = (0..40).map(|p| (p, -1, "before"));
    let live = (0..DELETED).step_by(1_000).map(|c| (7, c, "among"));
    let rows: Vec<_> = around
        .chain(live)
        .chain([(7, DELETED + 1, "behind")])
        .collect();
    bench
        .fill("INSERT INTO t (p, c, v) VALUES (?, ?, ?)", rows)
        .await;
    for first in (0..DELETED).step_by(1_000) {
        let deletes: String = (first + 1..first + 1_000)
            .map(|c| format!("DELETE FROM t WHERE p = 7 AND c = {c};"))
            .collect();
        bench
            .cql(&format!("BEGIN UNLOGGED BATCH {deletes} APPLY BATCH"))
            .await;
    }
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0)
        .json();
    assert_eq!(number(&copied[0], "failed"), 0);
    let items = bench.items("t").await;
    assert_eq!(items.len(), 40 + 105 + 1);
    assert_eq!(
        items
            .iter()
            .filter(|item| item["v"] == A::S("among".into()))
            .count(),
        105
    );
    bench.done().await;
}
