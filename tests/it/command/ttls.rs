//! Rows' times to live, in tables of Jaeger, Zipkin and KairosDB and case by case. What Cassandra says is
//! asked of the plain driver, what is in the new store of the plain SDK.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use crossfade::connect;
use crossfade::plan::Plan;
use serde_json::json;

use super::{Bench, Item, number, says};

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs() as i64
}

/// Seconds that a clock, a rounding and a slow machine may take.
const NEAR: i64 = 60;

#[track_caller]
pub(super) fn near(found: i64, wanted: i64, what: &str) {
    assert!(
        (wanted - NEAR..=wanted + NEAR).contains(&found),
        "{what}: {found}, wanted {wanted}"
    );
}

pub(super) fn expiry(item: &Item) -> Option<i64> {
    let at = item.get("expires_at")?;
    Some(at.as_n().expect("an N").parse().expect("seconds"))
}

/// Plans every one of the tables with an expiry, and what else is said of each.
fn plan(bench: &Bench, tables: &[&str], more: &str) {
    let table = |name: &&str| {
        format!(
            "[[table]]\nname = \"{name}\"\nto = \"@-{name}\"\n\
             expiry = {{ attribute = \"expires_at\", from = \"max\" }}\n{more}"
        )
    };
    bench.plan(&tables.iter().map(table).collect::<String>());
}

/// Each table's line of a copy.
pub(super) fn copied(bench: &Bench, code: i32) -> BTreeMap<String, (u64, u64)> {
    let outcome = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(code);
    let line = |line: &serde_json::Value| {
        let name = line["table"].as_str().expect("a name").to_owned();
        (name, (number(line, "written"), number(line, "failed")))
    };
    outcome.json().iter().map(line).collect()
}

/// When the tables were frozen, seconds since 1970: what the control record says.
pub(super) async fn frozen_at(bench: &Bench, table: &str) -> i64 {
    let (target, record) = (bench.target(table), "record".to_owned());
    let key = |text: String| AttributeValue::S(text);
    let got = bench
        .dynamo
        .get_item()
        .table_name(format!("{}-control", bench.keyspace));
    let got = got
        .key("target", key(target))
        .key("item", key(record))
        .send()
        .await;
    let item = got.expect("an answer").item.expect("a record");
    let doc: serde_json::Value =
        serde_json::from_str(item["doc"].as_s().expect("an S")).expect("JSON");
    doc["frozen_at"].as_i64().expect("a moment") / 1_000_000
}

/// The index tables have nothing but their keys; rows of `traces` come with all their columns.
const JAEGER: [&str; 9] = [
    "CREATE TYPE keyvalue (key text, value_type text, value_string text, value_bool boolean, value_long bigint, \
     value_double double, value_binary blob)",
    "CREATE TYPE log (ts bigint, fields frozen<list<frozen<keyvalue>>>)",
    "CREATE TYPE span_ref (ref_type text, trace_id blob, span_id bigint)",
    "CREATE TYPE process (service_name text, tags frozen<list<frozen<keyvalue>>>)",
    "CREATE TABLE traces (trace_id blob, span_id bigint, span_hash bigint, parent_id bigint, operation_name text, \
     flags int, start_time bigint, duration bigint, tags list<frozen<keyvalue>>, logs list<frozen<log>>, \
     refs list<frozen<span_ref>>, process frozen<process>, PRIMARY KEY (trace_id, span_id, span_hash)) \
     WITH default_time_to_live = 172800",
    "CREATE TABLE service_names (service_name text, PRIMARY KEY (service_name)) WITH default_time_to_live = 172800",
    "CREATE TABLE operation_names_v2 (service_name text, span_kind text, operation_name text, \
     PRIMARY KEY ((service_name), span_kind, operation_name)) WITH default_time_to_live = 172800",
    "CREATE TABLE duration_index (service_name text, operation_name text, bucket timestamp, duration bigint, \
     start_time bigint, trace_id blob, PRIMARY KEY ((service_name, operation_name, bucket), duration, start_time, \
     trace_id)) WITH CLUSTERING ORDER BY (duration DESC, start_time DESC) AND default_time_to_live = 172800",
    "CREATE TABLE tag_index (service_name text, tag_key text, tag_value text, start_time bigint, trace_id blob, \
     span_id bigint, PRIMARY KEY ((service_name, tag_key, tag_value), start_time, trace_id, span_id)) \
     WITH CLUSTERING ORDER BY (start_time DESC) AND default_time_to_live = 172800",
];

const JAEGERS: [&str; 5] = [
    "service_names",
    "operation_names_v2",
    "duration_index",
    "tag_index",
    "traces",
];

async fn jaeger(bench: &Bench, rows: i64) {
    for statement in JAEGER {
        bench.cql(statement).await;
    }
    let names = (0..rows).map(|n| (format!("service {n}"),));
    bench
        .fill("INSERT INTO service_names (service_name) VALUES (?)", names)
        .await;
    let names = (0..rows).map(|n| (format!("service {n}"), "client", "GET /"));
    let insert =
        "INSERT INTO operation_names_v2 (service_name, span_kind, operation_name) VALUES (?, ?, ?)";
    bench.fill(insert, names).await;
    for n in 0..rows {
        for statement in [
            format!(
                "INSERT INTO duration_index (service_name, operation_name, bucket, duration, start_time, trace_id) \
                 VALUES ('s', 'o', {n}, 5, {n}, 0x0{n})"
            ),
            format!(
                "INSERT INTO tag_index (service_name, tag_key, tag_value, start_time, trace_id, span_id) \
                 VALUES ('s', 'k', 'v', {n}, 0x0{n}, {n})"
            ),
            format!(
                "INSERT INTO traces (trace_id, span_id, span_hash, parent_id, operation_name, flags, start_time, \
                 duration, tags, logs, refs, process) VALUES (0x0{n}, {n}, 1, 0, 'GET', 1, 5, 6, \
                 [{{key: 'a', value_type: 'string', value_string: 'b'}}, {{key: 'c'}}], [{{ts: 1}}], [], \
                 {{service_name: 's'}})"
            ),
        ] {
            bench.cql(&statement).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_jaeger_whose_rows_have_nothing_but_their_key() {
    const ROWS: u64 = 9;
    let bench = Bench::new("jaeger").await;
    jaeger(&bench, ROWS as i64).await;
    plan(&bench, &JAEGERS, "");
    let written = now();

    // What is told beforehand, and the default: nothing is lost, and each row says what is to be decided.
    let told = bench.migrate(&["check"]).run().expect_code(1).stdout;
    assert_eq!(
        told.matches("dead letters: 9 of 9 sampled rows").count(),
        4,
        "{told}"
    );
    assert_eq!(told.matches("note: key-only: ").count(), 4, "{told}");
    assert!(!told.contains("give the table an `expiry`"), "{told}");
    bench.init();
    let lines = copied(&bench, 1);
    for (table, line) in &lines {
        let wanted = match table.as_str() {
            "traces" => (ROWS, 0),
            _ => (0, ROWS),
        };
        assert_eq!(*line, wanted, "{table}");
    }
    let failures = bench.migrate(&["failures", "--json"]).run().expect_code(1);
    for letter in failures.json() {
        let reason = letter["reason"].as_str().expect("a text");
        assert!(reason.contains("key_only = \"default_ttl\""), "{reason}");
    }

    // A row of the table's own TTL can't live longer than that from the freeze on.
    plan(&bench, &JAEGERS, "key_only = \"default_ttl\"\n");
    bench.migrate(&["failures", "--retry"]).run().expect_code(0);
    for table in JAEGERS {
        let items = bench.items(table).await;
        assert_eq!(items.len() as u64, ROWS, "{table}");
        for item in &items {
            let at = expiry(item).expect("it expires");
            near(at, written + 172_800, table);
            assert!(
                at >= frozen_at(&bench, table).await + 172_800 || table == "traces",
                "{table}"
            );
        }
    }
    bench.migrate(&["check"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);

    // A row that ends in the old store before its item does is no difference; one whose end was known is.
    bench
        .cql("DELETE FROM service_names WHERE service_name = 'service 1'")
        .await;
    bench.migrate(&["verify"]).run().expect_code(0);
    bench
        .cql("DELETE FROM traces WHERE trace_id = 0x01 AND span_id = 1 AND span_hash = 1")
        .await;
    let extra = bench.migrate(&["verify"]).run().expect_code(1);
    let traces = extra
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with("traces"));
    let traces: Vec<&str> = traces.expect("its line").split_whitespace().collect();
    assert_eq!(
        traces[..6],
        ["traces", "differs", "8", "9", "0", "1"],
        "{extra}"
    );
    let mended = ["verify", "--repair", "--delete-extra"];
    bench.migrate(&mended).run().expect_code(1);

    // To keep them for good is another thing, which a verification sees and mends.
    plan(&bench, &JAEGERS, "key_only = \"keep\"\n");
    bench.migrate(&["verify"]).run().expect_code(1);
    bench.migrate(&["verify", "--repair"]).run().expect_code(1);
    bench.migrate(&["verify"]).run().expect_code(0);
    for table in JAEGERS {
        for item in &bench.items(table).await {
            // The row of one has gone, so that it stays as it was.
            let is_gone = item.get("service_name") == Some(&AttributeValue::S("service 1".into()));
            let is_gone = is_gone && table == "service_names";
            assert_eq!(
                expiry(item).is_some(),
                table == "traces" || is_gone,
                "{item:?}"
            );
        }
    }
    bench.done().await;
}

const ZIPKIN: [&str; 7] = [
    "CREATE TYPE endpoint (service text, ipv4 inet, ipv6 inet, port int)",
    "CREATE TYPE annotation (ts bigint, v text)",
    "CREATE TABLE span (trace_id text, ts_uuid timeuuid, id text, trace_id_high text, parent_id text, kind text, \
     span text, ts bigint, duration bigint, l_ep endpoint, r_ep endpoint, annotations list<frozen<annotation>>, \
     tags map<text, text>, debug boolean, shared boolean, annotation_query text, \
     PRIMARY KEY (trace_id, ts_uuid, id)) WITH CLUSTERING ORDER BY (ts_uuid DESC) AND default_time_to_live = 604800",
    "CREATE TABLE trace_by_service_span (service text, span text, bucket int, ts timeuuid, trace_id text, \
     duration bigint, PRIMARY KEY ((service, span, bucket), ts)) WITH CLUSTERING ORDER BY (ts DESC) \
     AND default_time_to_live = 259200",
    "CREATE TABLE span_by_service (service text, span text, PRIMARY KEY (service, span)) \
     WITH default_time_to_live = 259200",
    "CREATE TABLE remote_service_by_service (service text, remote_service text, \
     PRIMARY KEY (service, remote_service)) WITH default_time_to_live = 259200",
    "CREATE TABLE autocomplete_tags (key text, value text, PRIMARY KEY (key, value)) \
     WITH default_time_to_live = 259200",
];

/// Spans have user-defined types that aren't frozen, with fields that are null.
#[tokio::test(flavor = "multi_thread")]
async fn spans_of_zipkin_keep_their_time_to_live() {
    const SPANS: u64 = 120;
    let bench = Bench::new("zipkin").await;
    for statement in ZIPKIN {
        bench.cql(statement).await;
    }
    for n in 0..SPANS {
        let remote = match n % 3 {
            0 => "null".to_owned(),
            1 => "{service: 'r'}".to_owned(),
            _ => format!("{{service: 'r', ipv4: '10.0.0.1', ipv6: '::1', port: {n}}}"),
        };
        let row = format!(
            "INSERT INTO span (trace_id, ts_uuid, id, span, ts, duration, l_ep, r_ep, annotations, tags) VALUES \
             ('t{}', now(), '{n}', 'GET', 5, 6, {{service: 's', ipv4: '10.0.0.1', port: 80}}, {remote}, \
             [{{ts: 1, v: 'ws'}}], {{'k': 'v', 'l': 'w'}})",
            n / 4
        );
        bench.cql(&row).await;
    }
    bench
        .cql("INSERT INTO trace_by_service_span (service, span, bucket, ts, trace_id, duration) VALUES ('s', 'o', 1, now(), 't', 5)")
        .await;
    for (table, columns) in [
        ("span_by_service", "service, span"),
        ("remote_service_by_service", "service, remote_service"),
        ("autocomplete_tags", "key, value"),
    ] {
        bench
            .cql(&format!(
                "INSERT INTO {table} ({columns}) VALUES ('a', 'b')"
            ))
            .await;
    }
    // By the plain driver: what the server says of a column that every row has.
    let select = format!("SELECT id, TTL(span) FROM {}.span", bench.keyspace);
    let asked = now();
    let answer = bench.session.query_unpaged(select, ()).await.expect("rows");
    let answer = answer.into_rows_result().expect("rows");
    let rows = answer.rows::<(String, i32)>().expect("their types");
    let ends: BTreeMap<String, i64> = rows
        .map(|row| {
            row.map(|(id, ttl)| (id, asked + i64::from(ttl)))
                .expect("a row")
        })
        .collect();
    let tables = ["span", "trace_by_service_span"];
    plan(&bench, &tables, "");
    bench.migrate(&["check"]).run().expect_code(0);
    bench.init();
    assert_eq!(copied(&bench, 0)["span"], (SPANS, 0));
    let spans = bench.items("span").await;
    assert_eq!(spans.len() as u64, SPANS);
    for span in spans {
        let id = span["id"].as_s().expect("an S");
        let at = expiry(&span).unwrap_or_else(|| panic!("{id} never expires"));
        assert!((at - ends[id]).abs() <= 5, "{id}: {at}, not {}", ends[id]);
    }
    assert!(expiry(&bench.items("trace_by_service_span").await[0]).is_some());
    bench.migrate(&["verify"]).run().expect_code(0);
    let rest = [
        "span_by_service",
        "remote_service_by_service",
        "autocomplete_tags",
    ];
    plan(&bench, &rest, "");
    bench.init();
    for (table, line) in copied(&bench, 1) {
        assert_eq!(line, (0, 1), "{table}");
    }
    bench.done().await;
}

const KAIROSDB: [&str; 3] = [
    "CREATE TABLE data_points (key blob, column1 blob, value blob, PRIMARY KEY ((key), column1))",
    "CREATE TABLE row_keys (metric text, table_name text, row_time timestamp, data_type text, \
     tags frozen<map<text, text>>, mtime timeuuid static, value text, \
     PRIMARY KEY ((metric, table_name, row_time), data_type, tags))",
    "CREATE TABLE row_key_time_index (metric text, table_name text, row_time timestamp, value text, \
     PRIMARY KEY ((metric), table_name, row_time))",
];

/// The tables have no TTL of their own: each write brings one.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_kairosdb_have_no_default() {
    let bench = Bench::new("kairosdb").await;
    for statement in KAIROSDB {
        bench.cql(statement).await;
    }
    for n in 0..5 {
        for statement in [
            format!(
                "INSERT INTO data_points (key, column1, value) VALUES (0x0{n}, 0x01, 0x02) USING TTL 90000"
            ),
            format!(
                "INSERT INTO row_keys (metric, table_name, row_time, data_type, tags, mtime) VALUES \
                 ('m', 'data_points', {n}, 'kairos_double', {{'host': 'a'}}, now()) USING TTL 90000"
            ),
            format!(
                "INSERT INTO row_key_time_index (metric, table_name, row_time) VALUES ('m', 'data_points', {n}) \
                 USING TTL 90000"
            ),
        ] {
            bench.cql(&statement).await;
        }
    }
    let written = now();
    let tables = ["data_points", "row_keys", "row_key_time_index"];
    plan(&bench, &tables, "");
    bench.migrate(&["check"]).run().expect_code(1);
    bench.init();
    let lines = copied(&bench, 1);
    assert_eq!(lines["data_points"], (5, 0));
    // A static row has no marker: it lives as long as its cells.
    assert_eq!(lines["row_keys"], (5, 5));
    assert_eq!(lines["row_key_time_index"], (0, 5));
    // There is no default that could be taken.
    plan(&bench, &tables, "key_only = \"default_ttl\"\n");
    let refused = bench.migrate(&["failures", "--retry"]).run().expect_code(2);
    says(&refused, &["default_time_to_live", "key_only"]);
    plan(&bench, &tables, "key_only = \"keep\"\n");
    bench.migrate(&["failures", "--retry"]).run().expect_code(0);
    for item in bench.items("data_points").await {
        near(
            expiry(&item).expect("it expires"),
            written + 90_000,
            "data_points",
        );
    }
    let items = bench.items("row_keys").await;
    assert_eq!(
        (
            items.len(),
            items.iter().filter(|item| expiry(item).is_some()).count()
        ),
        (10, 5)
    );
    let items = bench.items("row_key_time_index").await;
    assert_eq!(
        (
            items.len(),
            items.iter().filter(|item| expiry(item).is_some()).count()
        ),
        (5, 0)
    );
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}

/// Without `expiry` a table without a default is one whose rows stay: its rows of key columns alone are ordinary.
#[tokio::test(flavor = "multi_thread")]
async fn followers_are_copied_and_check_says_what_it_cannot_know() {
    let bench = Bench::new("followers").await;
    bench
        .cql("CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))")
        .await;
    bench
        .fill(
            "INSERT INTO t (a, b) VALUES (?, ?)",
            (0..20).map(|n| (n, n)),
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n");
    let told = bench.migrate(&["check"]).run().expect_code(0).stdout;
    assert!(told.contains("note: key-only: "), "{told}");
    bench.init();
    assert_eq!(copied(&bench, 0)["t"], (20, 0));
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}

/// The shim goes by the same rule as the copier, and so counts from the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_resaved_ends_when_a_copied_one_does() {
    let bench = Bench::new("resaved").await;
    bench
        .cql("CREATE TABLE t (id int PRIMARY KEY, v int) WITH default_time_to_live = 50000")
        .await;
    for id in 0..4 {
        bench
            .cql(&format!("INSERT INTO t (id) VALUES ({id})"))
            .await;
    }
    let lease = "[lease]\nseconds = 2\noperation_seconds = 2\n[shim]\nresave = \"inline\"\ndeadline_seconds = 2\n";
    let table = "[[table]]\nname = \"t\"\nto = \"@-t\"\nkey_only = \"default_ttl\"\n\
                 expiry = { attribute = \"expires_at\", from = \"max\" }\n";
    bench.plan(&format!("{lease}{table}"));
    bench.init();
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let t = shim.table("t").expect("t");
    t.phase().await.expect("it has joined");
    bench
        .migrate(&["advance", "--table", "t", "--to", "copy"])
        .run()
        .expect_code(0);
    let row = t
        .get_as::<serde_json::Value>(&json!({"id": 1}))
        .await
        .expect("read");
    assert_eq!(row, Some(json!({"id": 1})));
    let resaved = bench.items("t").await;
    assert_eq!(resaved.len(), 1);
    bench.migrate(&["copy"]).run().expect_code(0);
    let end = frozen_at(&bench, "t").await + 50_000;
    for item in bench.items("t").await {
        let at = expiry(&item).expect("it expires");
        assert!((end..=end + 1).contains(&at), "{at}, not {end}");
    }
    bench.migrate(&["verify"]).run().expect_code(0);
    shim.leave().await.expect("left");
    bench.done().await;
}
