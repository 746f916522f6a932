//! What a copy costs: the real command from a real Cassandra to a fast endpoint, beside a script of the afternoon kind
//! (`benches/afternoon.py`), and its parts on their own.
//!
//! `CROSSFADE_CASSANDRA` says where the old store is (`eval "$(tests/servers/start)"` starts one), `CROSSFADE_PYTHON`
//! which Python has boto3 and cassandra-driver; without them, what needs them is left out.
//!
//! ```text
//! cargo bench --bench copy -- 200000
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials as Keys, Region};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ReturnConsumedCapacity};
use common::process::{self, Part, Ran};
use common::{config, endpoint, line, median};
use crossfade::model::Condition;
use crossfade::model::{Add, Key, Mark, Row, Value};
use crossfade::schema::{Column, Order, Role, Table, Type};
use crossfade::store::cassandra::{self, Cassandra, Consistency};
use crossfade::store::dynamodb::DynamoDb;
use crossfade::store::embedded::Embedded;
use crossfade::store::{Range, Reads, Store};
use futures::stream::{self, StreamExt};

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURNS: usize = 3;
/// Rows of a put while a table is filled, and of a page.
const PAGE: usize = 1_000;
/// Requests under way at once.
const AT_ONCE: usize = 16;
/// Rows of a guarded batch.
const BATCH: usize = 25;

fn main() {
    match process::role() {
        Some(role) => endpoint::run(&role[1..]),
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(bench());
        }
    }
}

async fn bench() {
    let count = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let count: usize = count.unwrap_or(200_000);
    println!("{}", process::machine());
    guarded_writes(count / 2).await;
    for rows in [count / 2, count * 5] {
        embedded(rows).await;
    }
    let Ok(node) = std::env::var("CROSSFADE_CASSANDRA") else {
        println!("without CROSSFADE_CASSANDRA there is no copy to measure");
        return;
    };
    let keyspace = std::env::var("CROSSFADE_BENCH_KEYSPACE");
    let keyspace = keyspace.unwrap_or_else(|_| format!("bench_{:08x}", rand::random::<u32>()));
    let old = cassandra(&node, &keyspace).await;
    let table = table("users");
    if old.inspect("users").await.unwrap().is_none() {
        fill(&old, &table, count, row).await;
    }
    scan(&old, &table, count).await;
    for turn in 1..=TURNS {
        let ours = copy(&node, &keyspace, "users", count, turn);
        told("copy", &ours, count, &format!("turn {turn}"));
        if let Ok(python) = std::env::var("CROSSFADE_PYTHON") {
            let some = count / 10;
            if let Some(theirs) = afternoon(&python, &node, &keyspace, some) {
                line(
                    "copy beside a script",
                    &format!("{:.1} us a row", ours.busy_us(count)),
                    &format!(
                        "{:.1} us a row, {:.0} rows/s",
                        theirs.busy_us(some),
                        theirs.rate(some)
                    ),
                    Some(theirs.busy_us(some) / ours.busy_us(count)),
                );
            }
        }
    }
    other_shapes(&node, &keyspace, &old, count).await;
}

/// Other shapes of tables, each copied once.
async fn other_shapes(node: &str, keyspace: &str, old: &Cassandra, count: usize) {
    let wide = count / 10;
    fill(old, &wide_table(), wide, wide_row).await;
    let ran = copy(node, keyspace, "wide", wide, 1);
    told("copy of rows of 60 columns", &ran, wide, "");
    let partitions = table("partitions");
    fill(old, &partitions, count, |n| {
        let mut row = row(n);
        row.key.partition = vec![Value::text(format!("team {}", n / ROWS_OF_PARTITION))];
        row
    })
    .await;
    let ran = copy(node, keyspace, "partitions", count, 1);
    let what = format!("copy of partitions of {ROWS_OF_PARTITION} rows");
    told(&what, &ran, count, "");
    let counters = count / 4;
    fill_counters(old, counters).await;
    let ran = copy(node, keyspace, "votes", counters, 1);
    told("folds of counters", &ran, counters, "two to a row");
}

fn told(what: &str, ran: &Ran, count: usize, beside: &str) {
    line(
        what,
        &format!(
            "{:.1} us of processor time a row, {:.0} rows/s, {:.0} MB",
            ran.busy_us(count),
            ran.rate(count),
            ran.peak
        ),
        beside,
        None,
    );
}

/// The real command, offline, between two embedded stores: what a copy takes where neither store does, and memory at two
/// sizes.
async fn embedded(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let table = table("users");
    let old = Embedded::open(&folder.path().join("old")).unwrap();
    old.create(&table).await.unwrap();
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(PAGE) {
        let rows: Vec<Row> = some.iter().map(|n| row(*n)).collect();
        let put = old.put(&table, &rows, &Condition::Always).await;
        assert!(put.rows.iter().all(Result::is_ok));
    }
    drop(old);
    let plan = at("cf.toml");
    let text = format!(
        r#"
name = "bench"
[old]
kind = "embedded"
path = "{}"
[new]
kind = "embedded"
path = "{}"
[journal]
dir = "{}"
[[table]]
name = "users"
to = "moved"
"#,
        at("old"),
        at("new"),
        at("journal")
    );
    std::fs::write(&plan, text).unwrap();
    let migrate = env!("CARGO_BIN_EXE_migrate");
    process::run(migrate, &["init", "--plan", &plan]);
    let ran = process::run(migrate, &["copy", "--offline", "--plan", &plan]);
    let copied = ran.output.replace(',', "");
    assert!(copied.contains(&count.to_string()), "{}", ran.output);
    let what = format!("embedded to embedded, {count} rows (promised: 150000 rows/s)");
    told(&what, &ran, count, "");
}

/// The real command, offline, to an endpoint that keeps keys alone.
fn copy(node: &str, keyspace: &str, table: &str, count: usize, turn: usize) -> Ran {
    let endpoint = Part::start(&["endpoint", "keys", "moved-"]);
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("cf.toml");
    let text = format!(
        r#"
name = "bench"
[old]
kind = "cassandra"
nodes = ["{node}"]
keyspace = "{keyspace}"
consistency = "one"
[new]
kind = "dynamodb"
region = "us-east-1"
endpoint = "{}"
control_table = "bench-control"
[journal]
dir = "{}"
[[table]]
name = "{table}"
to = "moved-{table}-{turn}"
"#,
        endpoint.url(),
        folder.path().join("journal").display()
    );
    std::fs::write(&plan, text).unwrap();
    let plan = plan.to_str().unwrap().to_owned();
    let migrate = env!("CARGO_BIN_EXE_migrate");
    process::run(migrate, &["init", "--plan", &plan]);
    let ran = process::run(migrate, &["copy", "--offline", "--plan", &plan]);
    let copied = ran.output.replace(',', "");
    assert!(copied.contains(&count.to_string()), "{}", ran.output);
    ran
}

fn afternoon(python: &str, node: &str, keyspace: &str, count: usize) -> Option<Ran> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/afternoon.py");
    let has_driver = std::process::Command::new(python)
        .args(["-c", "import cassandra, boto3"])
        .output();
    if !has_driver.is_ok_and(|output| output.status.success()) {
        println!("{python} has no boto3 and cassandra-driver: nothing to compare with");
        return None;
    }
    let endpoint = Part::start(&["endpoint", "keys", ""]);
    let count = count.to_string();
    Some(process::run(
        python,
        &[script, node, keyspace, "users", &endpoint.url(), &count],
    ))
}

/// Generated rows put where nothing is, beside the SDK alone with the same statements; turn about.
async fn guarded_writes(count: usize) {
    let table = table("users");
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let endpoint = Part::start(&["endpoint", "keys", ""]);
        let store = DynamoDb::connect(config(&endpoint.url())).await.unwrap();
        store.create(&table).await.unwrap();
        let rows: Vec<Row> = (0..count)
            .map(|n| Row {
                mark: Some(Mark::Copied),
                ..row(n)
            })
            .collect();
        let absent = Condition::absent();
        let before = process::busy();
        stream::iter(rows.chunks(BATCH))
            .map(|rows| store.put(&table, rows, &absent))
            .buffer_unordered(AT_ONCE)
            .for_each(async |put| assert!(put.rows.iter().all(Result::is_ok)))
            .await;
        let of_ours = (process::busy() - before).as_secs_f64() * 1e6 / count as f64;

        let endpoint = Part::start(&["endpoint", "keys", ""]);
        let store = DynamoDb::connect(config(&endpoint.url())).await.unwrap();
        store.create(&table).await.unwrap();
        let client = client(&endpoint.url());
        let statements: Vec<BatchStatementRequest> = rows.iter().map(statement).collect();
        let before = process::busy();
        stream::iter(statements.chunks(BATCH))
            .map(|some| {
                let request = client
                    .batch_execute_statement()
                    .set_statements(Some(some.to_vec()));
                request
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .buffer_unordered(AT_ONCE)
            .for_each(async |answer| {
                let answers = answer.unwrap().responses.unwrap();
                assert!(answers.iter().all(|answer| answer.error.is_none()));
            })
            .await;
        let of_theirs = (process::busy() - before).as_secs_f64() * 1e6 / count as f64;
        if turn > 0 {
            ours.push(of_ours);
            theirs.push(of_theirs);
            ratios.push(of_theirs / of_ours);
        }
    }
    line(
        "guarded writes, rows at hand",
        &format!("{:.1} us of processor time a row", median(&mut ours)),
        &format!(
            "{:.1} us, the SDK alone with the same statements at hand",
            median(&mut theirs)
        ),
        Some(median(&mut ratios)),
    );
}

fn client(url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Keys::new("crossfade", "crossfade", None, None, "bench"))
        .endpoint_url(url);
    Client::from_conf(config.build())
}

/// The same row for the SDK alone.
fn statement(row: &Row) -> BatchStatementRequest {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        _ => panic!("a text"),
    };
    let parts = |value: &Value| match value {
        Value::Set(members) => AttributeValue::Ss(members.iter().map(text).collect()),
        Value::Map(entries) => AttributeValue::M(
            entries
                .iter()
                .map(|(key, value)| (text(key), AttributeValue::S(text(value))))
                .collect(),
        ),
        Value::Blob(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Value::Timestamp(millis) => AttributeValue::N(millis.to_string()),
        Value::Int(number) => AttributeValue::N(number.to_string()),
        Value::Boolean(value) => AttributeValue::Bool(*value),
        other => AttributeValue::S(text(other)),
    };
    let key = row
        .key
        .partition
        .iter()
        .chain(row.key.clustering.iter().flatten());
    let cells = row.cells.iter().flatten();
    let mut values: Vec<AttributeValue> = key.chain(cells).map(parts).collect();
    values.push(AttributeValue::S("c".into()));
    BatchStatementRequest::builder()
        .statement(
            "INSERT INTO \"users\" VALUE {'team': ?, 'id': ?, 'active': ?, 'attributes': ?, 'born': ?, 'name': ?, \
             'picture': ?, 'tags': ?, '_m': ?}",
        )
        .set_parameters(Some(values))
        .build()
        .unwrap()
}

/// The old table read and thrown away.
async fn scan(old: &Cassandra, table: &Table, count: usize) {
    let mut costs = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..TURNS {
        let (before, begun) = (process::busy(), Instant::now());
        let ranges = old.splits(table, 64).await.unwrap();
        let counts: Vec<usize> = stream::iter(ranges)
            .map(|range| read(old, table, range))
            .buffer_unordered(8)
            .collect()
            .await;
        assert_eq!(counts.iter().sum::<usize>(), count);
        costs.push((process::busy() - before).as_secs_f64() * 1e6 / count as f64);
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    line(
        "scan of the old table, thrown away",
        &format!(
            "{:.1} us of processor time a row, {:.0} rows/s",
            median(&mut costs),
            median(&mut rates)
        ),
        "",
        None,
    );
}

async fn read(store: &dyn Store, table: &Table, range: Range) -> usize {
    let (mut count, mut cursor) = (0, None);
    loop {
        let page = store
            .scan(table, &range, cursor.as_ref(), PAGE)
            .await
            .unwrap();
        count += page.rows.len();
        cursor = page.next;
        if cursor.is_none() {
            return count;
        }
    }
}

fn table(name: &str) -> Table {
    let text = || Box::new(Type::Text);
    Table::new(
        name,
        vec![
            Column::new("team", Type::Text, Role::Partition),
            Column::new("id", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("active", Type::Boolean, Role::Regular),
            Column::new("attributes", Type::Map(text(), text()), Role::Regular),
            Column::new("born", Type::Timestamp, Role::Regular),
            Column::new("name", Type::Text, Role::Regular),
            Column::new("picture", Type::Blob, Role::Regular),
            Column::new("tags", Type::Set(text()), Role::Regular),
        ],
    )
}

const COLUMNS: usize = 60;
const ROWS_OF_PARTITION: usize = 50_000;

fn wide_table() -> Table {
    let mut columns = vec![Column::new("id", Type::Int, Role::Partition)];
    columns
        .extend((0..COLUMNS).map(|at| Column::new(format!("c{at:02}"), Type::Text, Role::Regular)));
    Table::new("wide", columns)
}

/// About 2.5 KB.
fn wide_row(n: usize) -> Row {
    let key = Key::row(vec![Value::Int(n as i32)], Vec::new());
    let cell = |at: usize| Some(Value::text(format!("what column {at} says of row {n}")));
    Row::new(key, (0..COLUMNS).map(cell).collect())
}

async fn fill_counters(old: &Cassandra, count: usize) {
    let columns = vec![
        Column::new("id", Type::Int, Role::Partition),
        Column::new("down", Type::Counter, Role::Regular),
        Column::new("up", Type::Counter, Role::Regular),
    ];
    let table = Table::new("votes", columns);
    old.create(&table).await.unwrap();
    stream::iter(0..count)
        .map(|n| {
            let add = Add {
                key: Key::row(vec![Value::Int(n as i32)], Vec::new()),
                by: vec![Some(1), Some(n as i64)],
                mark: None,
                token: None,
            };
            let table = &table;
            async move { old.add(table, &add).await.unwrap() }
        })
        .buffer_unordered(AT_ONCE * 2)
        .for_each(async |()| {})
        .await;
}

/// About 500 bytes.
fn row(n: usize) -> Row {
    let key = Key::row(
        vec![Value::text(format!("team {}", n / 8))],
        vec![Value::Int(n as i32)],
    );
    let tags = (0..4)
        .map(|tag| Value::text(format!("tag {tag} of some")))
        .collect();
    let pair = |at: usize| {
        (
            Value::text(format!("attribute {at}")),
            Value::text(format!("value {at} of {n}")),
        )
    };
    let picture = (0..240).map(|at| (n * 31 + at * 7) as u8).collect();
    let cells = vec![
        Some(Value::Boolean(n.is_multiple_of(2))),
        Some(Value::Map((0..4).map(pair).collect())),
        Some(Value::Timestamp(1_700_000_000_000 + n as i64)),
        Some(Value::text(format!("user {n} with a name of some length"))),
        Some(Value::Blob(picture)),
        Some(Value::Set(tags)),
    ];
    Row::new(key, cells)
}

async fn cassandra(node: &str, keyspace: &str) -> Cassandra {
    let builder = scylla::client::session_builder::SessionBuilder::new().known_node(node);
    let session = builder.fetch_schema_metadata(false).build().await.unwrap();
    let create = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(create, ()).await.unwrap();
    let mut config = cassandra::CassandraConfig::new([node.to_owned()], keyspace);
    config.consistency = Consistency::One;
    Cassandra::connect(config).await.unwrap()
}

async fn fill(old: &Cassandra, table: &Table, count: usize, row: impl Fn(usize) -> Row) {
    let begun = Instant::now();
    old.create(table).await.unwrap();
    for first in (0..count).step_by(PAGE) {
        let some: Vec<Row> = (first..count.min(first + PAGE)).map(&row).collect();
        let put = old.put(table, &some, &Condition::Always).await;
        assert!(put.rows.iter().all(Result::is_ok));
    }
    println!(
        "{count} rows written to Cassandra in {:.0?}",
        begun.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
}
