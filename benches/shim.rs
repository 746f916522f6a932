//! What the shim costs, on the DynamoDB of `CROSSFADE_DYNAMODB` (`http://host:port`, a DynamoDB Local for one).
//!
//! ```text
//! CROSSFADE_DYNAMODB=http://127.0.0.1:8000 cargo bench --bench shim
//! ```
//!
//! Prints figures of one run: a hit in the new store beside the same read with the SDK alone, turn about; and
//! how many writes 10,000 adds a second to three keys become.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials as Keys, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use crossfade::control::{Control, New, Record};
use crossfade::error::Result;
use crossfade::migration::{InitOptions, Migration};
use crossfade::protocol::Phase;
use crossfade::schema::{Column, Role, Table, Type};
use crossfade::shim::{OldStore, Settings, Shim};
use crossfade::spec::{TablePlan, TableSpec};
use crossfade::store::dynamodb::DynamoDb;
use crossfade::store::memory::Memory;
use crossfade::store::{Old, Store};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::json;

const READS: usize = 4_000;
const KEYS: usize = 3;
const ADDS_A_SECOND: u64 = 10_000;
const SECONDS: u64 = 5;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("CROSSFADE_DYNAMODB")
        .map_err(|_| "set CROSSFADE_DYNAMODB to the address of a DynamoDB Local")?;
    let bench = Bench::new(&url).await?;
    bench.hits(&url).await?;
    bench.adds().await?;
    Ok(())
}

struct Bench {
    name: String,
    shim: Shim,
}

/// Counts the calls of the new store, each of which the shim times by a metric.
#[derive(Default)]
struct Calls(AtomicU64);

impl HistogramFn for Calls {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Relaxed);
    }
}

struct Counting(Arc<Calls>);

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let of_new = |label: &metrics::Label| label.key() == "store" && label.value() == "new";
        match key.name() == "crossfade_store_seconds" && key.labels().any(of_new) {
            true => Histogram::from_arc(self.0.clone()),
            false => Histogram::noop(),
        }
    }
}

fn tables() -> [Table; 2] {
    [
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("name", Type::Text, Role::Regular),
            Column::new("body", Type::Text, Role::Regular),
        ],
        vec![
            Column::new("act", Type::Text, Role::Partition),
            Column::new("n", Type::Counter, Role::Regular),
        ],
    ]
    .map(|columns| Table::new(if columns.len() == 3 { "users" } else { "votes" }, columns))
}

impl Bench {
    /// Two tables in phase `copy`, with an empty old store.
    async fn new(url: &str) -> Result<Self> {
        let name = format!("bench-{:08x}", std::process::id());
        let dynamodb: Arc<dyn Store> = Arc::new(DynamoDb::connect(common::config(url)).await?);
        let old = Old(Arc::new(Memory::new()));
        let control = Control::new(New::over(dynamodb.clone()), &format!("{name}-control"));
        let mut specs = Vec::new();
        for table in tables() {
            old.0.create(&table).await?;
            let spec = TableSpec::new(
                &name,
                TablePlan::new(&table.name).to(format!("{name}-{}", table.name)),
            );
            let new = New::over(dynamodb.clone());
            let migration = Migration::new(spec.clone(), old.clone(), new, control.clone());
            migration.init(InitOptions::default()).await?;
            for phase in [Phase::Bridge, Phase::Switch, Phase::Copy] {
                let there = control.require(&spec.to).await?;
                let record = Record {
                    phase,
                    ..there.record.clone()
                };
                control.replace(&spec.to, &there, &record).await?;
            }
            specs.push(spec);
        }
        let settings = Settings::new("bench");
        let old = OldStore::Open(old);
        let shim = Shim::start(settings, old, New::over(dynamodb), control, specs)?;
        Ok(Bench { name, shim })
    }

    async fn hits(&self, url: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let users = self.shim.table("users")?;
        let row = json!({"id": "u1", "name": "Ann", "body": "x".repeat(400)});
        users.put_as(&row).await?;
        let key = users.key_of(&json!({"id": "u1"})).await?;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Keys::new("crossfade", "crossfade", None, None, "bench"))
            .endpoint_url(url)
            .build();
        let bare = Client::from_conf(config);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..READS + 200 {
            let begun = Instant::now();
            bare.get_item()
                .table_name(format!("{}-users", self.name))
                .key("id", AttributeValue::S("u1".into()))
                .consistent_read(true)
                .send()
                .await?;
            let took = begun.elapsed();
            let begun = Instant::now();
            users.get(&key).await?;
            // The first ones warm both up.
            if turn >= 200 {
                without.push(took);
                with.push(begun.elapsed());
            }
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (with, without) = (at(&mut with, share), at(&mut without, share));
            let ratio = with.as_secs_f64() / without.as_secs_f64();
            println!("a hit, {name}: shim {with:?}, bare SDK {without:?}, ratio {ratio:.3}");
        }
        Ok(())
    }

    async fn adds(&self) -> std::result::Result<(), Box<dyn std::error::Error>> {
        // Only now, so that it costs no hit anything.
        let calls = Arc::<Calls>::default();
        metrics::set_global_recorder(Counting(calls.clone()))?;
        let votes = self.shim.table("votes")?;
        let mut keys = Vec::new();
        for act in 0..KEYS {
            keys.push(votes.key_of(&json!({"act": format!("act {act}")})).await?);
        }
        let begun = tokio::time::Instant::now();
        let mut added = tokio::task::JoinSet::new();
        for number in 0..ADDS_A_SECOND * SECONDS {
            let (votes, key) = (votes.clone(), keys[number as usize % KEYS].clone());
            tokio::time::sleep_until(
                begun + Duration::from_micros(number * 1_000_000 / ADDS_A_SECOND),
            )
            .await;
            added.spawn(async move { votes.add(&key, "n", 1).await });
        }
        while let Some(one) = added.join_next().await {
            one.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let writes = calls.0.load(Relaxed);
        let mut counted = 0;
        for key in &keys {
            counted += votes.count(key).await?[0].unwrap_or(0);
        }
        println!(
            "{} adds in {seconds:.2} s to {KEYS} keys: {:.0} writes a second and key; counted {counted}",
            ADDS_A_SECOND * SECONDS,
            writes as f64 / KEYS as f64 / seconds
        );
        Ok(())
    }
}

fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}
