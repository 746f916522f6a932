//! What a verification costs beside reading: both tables scanned and thrown away, one after the other and both at
//! once, and then compared, on the same servers in the same run, turn about. Promised: at most 1.2 times the slower of
//! the two scans.
//!
//! That holds where each store has machines of its own. Where both servers and the verifier share a few cores, the
//! two scans of a verification take turns on them, so that both at once is what it can be compared with; and
//! the processor time of this process tells what comparing costs, whatever else the machine does.
//!
//! `CROSSFADE_CASSANDRA` and `CROSSFADE_DYNAMODB` say where the servers are; `eval "$(tests/servers/start)"` starts
//! some. `cargo bench --bench verify -- 200000` says how many rows of about 300 bytes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crossfade::control::New;
use crossfade::error::Result;
use crossfade::model::{Condition, Key, Mark, Row, Value};
use crossfade::schema::{Column, Layout, Order, Role, Table, Type};
use crossfade::store::cassandra::{Cassandra, CassandraConfig, Consistency};
use crossfade::store::dynamodb::DynamoDb;
use crossfade::store::{Cursor, Old, Range, Reads, Store};
use crossfade::transform::Transform;
use crossfade::verifier::{Adopted, Belongs, Checkpoint, Verifier, VerifyProgress, VerifySettings};

const TURNS: usize = 3;
/// Rows of a put, and of a page of the bare scans.
const PUT: usize = 1_000;
const PAGE: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let rows: usize = rows.unwrap_or(200_000);
    let name = format!("bench_verify_{:08x}", rand::random::<u32>());
    let (old, new) = (Arc::new(cassandra(&name).await), Arc::new(dynamo().await));
    let transform = Transform::new(
        &table(&name),
        &BTreeMap::new(),
        None,
        None,
        &name,
        Layout::default(),
    );
    let transform = Arc::new(transform.unwrap());
    fill(&*old, &*new, &transform, rows).await;

    let frozen_at = old.now().await.unwrap().unwrap();
    let late = Arc::new(
        old.reading_at(Consistency::One)
            .telling_writes_since(frozen_at),
    );
    let options = VerifySettings::default();
    let (readers, old_ranges, new_parts) = (options.readers, options.old_ranges, options.new_parts);
    let folder = tempfile::tempdir().unwrap();
    let mut ratios: [Vec<f64>; 3] = Default::default();
    for turn in 1..=TURNS {
        let (source, target) = (transform.source(), transform.target());
        let scan_old = || bare(&*old, source, old_ranges, readers, rows);
        let scan_new = || bare(&*new, target, new_parts, readers, rows);
        let from_old = timed(scan_old()).await;
        let from_new = timed(scan_new()).await;
        let both = timed(async { tokio::join!(scan_old(), scan_new()) }).await;
        let verifier = Verifier {
            old: Old(late.clone()),
            new: New::over(new.clone()),
            transform: transform.clone(),
            counters: None,
            frozen_at: Some(frozen_at),
            is_copied: true,
            adopted: Adopted::default(),
            options: options.clone(),
        };
        let mut checkpoint = checkpoint(folder.path(), &transform, turn);
        let compared = timed(async {
            let (live, stop) = (VerifyProgress::default(), CancellationToken::new());
            let outcome = verifier
                .run(&mut checkpoint, None, &live, &stop)
                .await
                .unwrap();
            assert!(outcome.found.is_clean(), "{:?}", outcome.found);
            assert_eq!(outcome.found.old_rows, rows as u64);
        })
        .await;
        println!(
            "turn {turn}: {rows} rows; old table alone {from_old}, new one alone {from_new}, both at once {both}, \
             compared {compared}"
        );
        let slower = from_old.wall.max(from_new.wall);
        ratios[0].push(compared.wall.as_secs_f64() / slower.as_secs_f64());
        ratios[1].push(compared.wall.as_secs_f64() / both.wall.as_secs_f64());
        ratios[2].push(compared.busy.as_secs_f64() / (from_old.busy + from_new.busy).as_secs_f64());
    }
    let [of_slower, of_both, of_busy] = ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[TURNS / 2]
    });
    println!(
        "median {of_slower:.2} of the slower scan alone, {of_both:.2} of both at once, {of_busy:.2} of both scans' \
         processor time; memory {} MB",
        resident()
    );
}

/// How long something took, and the processor time of this process meanwhile.
struct Took {
    wall: Duration,
    busy: Duration,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2?} ({:.2?} busy)", self.wall, self.busy)
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> Took {
    let (begun, before) = (Instant::now(), busy());
    work.await;
    Took {
        wall: begun.elapsed(),
        busy: busy() - before,
    }
}

/// Processor time of this process so far.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn table(name: &str) -> Table {
    Table::new(
        name,
        vec![
            Column::new("team", Type::Text, Role::Partition),
            Column::new("id", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("body", Type::Text, Role::Regular),
            Column::new("born", Type::Timestamp, Role::Regular),
            Column::new("name", Type::Text, Role::Regular),
            Column::new("tags", Type::Set(Box::new(Type::Text)), Role::Regular),
        ],
    )
}

fn row(n: usize) -> Row {
    let key = Key::row(
        vec![Value::text(format!("team {}", n / 8))],
        vec![Value::Int(n as i32)],
    );
    let tags = (0..3)
        .map(|tag| Value::text(format!("tag {tag}")))
        .collect();
    let cells = vec![
        Some(Value::text("x".repeat(180 + n % 40))),
        Some(Value::Timestamp(1_700_000_000_000 + n as i64)),
        Some(Value::text(format!("user {n}"))),
        Some(Value::Set(tags)),
    ];
    Row::new(key, cells)
}

async fn cassandra(keyspace: &str) -> Cassandra {
    let node = std::env::var("CROSSFADE_CASSANDRA").unwrap();
    let builder = scylla::client::session_builder::SessionBuilder::new().known_node(&node);
    let session = builder.fetch_schema_metadata(false).build().await.unwrap();
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(create, ()).await.unwrap();
    let mut config = CassandraConfig::new([node], keyspace);
    config.consistency = Consistency::One;
    Cassandra::connect(config).await.unwrap()
}

async fn dynamo() -> DynamoDb {
    let url = std::env::var("CROSSFADE_DYNAMODB").unwrap();
    DynamoDb::connect(common::config(&url)).await.unwrap()
}

async fn fill(old: &dyn Store, new: &dyn Store, transform: &Transform, rows: usize) {
    let (source, target) = (transform.source(), transform.target());
    old.create(source).await.unwrap();
    new.create(target).await.unwrap();
    for first in (0..rows).step_by(PUT) {
        let some: Vec<Row> = (first..rows.min(first + PUT)).map(row).collect();
        let copied = some.iter().cloned().map(|row| Row {
            mark: Some(Mark::Copied),
            ..row
        });
        let copied: Vec<Row> = copied.collect();
        let absent = Condition::absent();
        let (one, other) = tokio::join!(
            old.put(source, &some, &Condition::Always),
            new.put(target, &copied, &absent)
        );
        let answers = one.rows.into_iter().chain(other.rows);
        answers.collect::<Result<Vec<_>>>().unwrap();
    }
}

/// Reads a table and throws it away.
async fn bare(store: &dyn Store, table: &Table, ranges: usize, readers: usize, rows: usize) {
    let ranges = store.splits(table, ranges).await.unwrap();
    let counts: Vec<usize> = stream::iter(ranges)
        .map(|range| count(store, table, range))
        .buffer_unordered(readers)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(counts.iter().sum::<usize>(), rows);
}

async fn count(store: &dyn Store, table: &Table, range: Range) -> Result<usize> {
    let (mut count, mut cursor) = (0, None::<Cursor>);
    loop {
        let page = store.scan(table, &range, cursor.as_ref(), PAGE).await?;
        count += page.rows.len();
        cursor = page.next;
        if cursor.is_none() {
            return Ok(count);
        }
    }
}

fn checkpoint(folder: &std::path::Path, transform: &Transform, turn: usize) -> Checkpoint {
    let belongs = Belongs {
        plan: "bench".into(),
        old: ("old".into(), turn.to_string()),
        new: ("new".into(), turn.to_string()),
        mapping: String::new(),
        freeze: 0,
        incarnation: String::new(),
        reading: String::new(),
        copiers: BTreeMap::new(),
        adoption: None,
    };
    let tables = (transform.source().clone(), transform.target().clone());
    Checkpoint::open(folder, "bench", belongs, tables).unwrap()
}

/// Memory of this process now, MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1_024
}
