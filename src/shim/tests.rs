#![allow(clippy::unwrap_used)]

mod judged;
mod timing;

use serde_json::{Value as Json, json};

use super::*;
use crate::control::Record;
use crate::item::Mapping;
use crate::model::{Mark, Row, Value};
use crate::protocol::Phase;
use crate::schema::{Column, Order, Role, Table as Schema, Type};
use crate::spec::TablePlan;
use crate::store::{Old, Reads, Store};
use crate::testing::faulty::{Faults, Faulty};
use crate::testing::rig::{Rig, record};
use crate::transform::{ExpiryFrom, ExpiryRule};

/// Two stores in memory, with the tables `users`, `events` and `votes`.
pub(super) struct Bench {
    pub(super) rig: Rig,
}

const TABLES: [&str; 3] = ["users", "events", "votes"];

fn schema(name: &str) -> Schema {
    let columns = match name {
        "users" => vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("name", Type::Text, Role::Regular),
            Column::new("age", Type::Int, Role::Regular),
            Column::new("tags", Type::Set(Box::new(Type::Text)), Role::Regular),
        ],
        "events" => vec![
            Column::new("p", Type::Text, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Desc)),
            Column::new("s", Type::Text, Role::Static),
            Column::new("what", Type::Text, Role::Regular),
        ],
        _ => vec![
            Column::new("act", Type::Text, Role::Partition),
            Column::new("n", Type::Counter, Role::Regular),
        ],
    };
    Schema::new(name, columns)
}

fn spec(name: &str) -> TableSpec {
    let table = TablePlan {
        expiry: (name == "users").then(|| ExpiryRule {
            attribute: "expires_at".into(),
            from: ExpiryFrom::Max,
        }),
        ..TablePlan::new(name).to(format!("new-{name}"))
    };
    TableSpec::new("test", table)
}

impl Bench {
    pub(super) async fn new(phase: Phase) -> Bench {
        let rig = Rig::new().await;
        for name in TABLES {
            let (spec, source) = (spec(name), schema(name));
            let transform = spec.transform(&source, 0).unwrap();
            let target = transform.target();
            rig.create(&source, target).await;
            Mapping::new(target).unwrap();
            let record = Record {
                old_id: rig.old.inspect(name).await.unwrap().unwrap().id,
                target_id: rig.new.inspect(&spec.to).await.unwrap().unwrap().id,
                mapping: crate::codec::text::hex(&transform.fingerprint()),
                ..record(phase, &source, target)
            };
            assert!(rig.control().add(&spec.to, &record).await.unwrap());
        }
        Bench { rig }
    }

    fn shim(&self) -> Shim {
        let settings = Settings {
            resave: ResaveMode::Inline,
            ..Settings::new("test")
        };
        self.shim_of(settings, self.rig.old.clone(), self.rig.new.clone(), false)
    }

    pub(super) fn shim_of(
        &self,
        settings: Settings,
        old: Arc<dyn Store>,
        new: Arc<dyn Store>,
        exactly_once: bool,
    ) -> Shim {
        let mut tables = TABLES.map(spec);
        for spec in &mut tables {
            spec.table.exactly_once = exactly_once;
        }
        let old = OldStore::Open(Old(old));
        Shim::start(settings, old, New::over(new), self.rig.control(), tables).unwrap()
    }

    async fn set(&self, phase: Phase) {
        for name in TABLES {
            self.rig.control().set_phase(&spec(name).to, phase).await;
        }
    }

    /// An item of the new store as it is.
    async fn item(&self, name: &str, key: &crate::model::Key) -> Option<Row> {
        let spec = spec(name);
        let transform = spec.transform(&schema(name), 0).unwrap();
        let mut rows = self
            .rig
            .new
            .get(transform.target(), std::slice::from_ref(key))
            .await
            .unwrap();
        rows.pop().flatten()
    }
}

const ALL: [Phase; 6] = [
    Phase::Old,
    Phase::Bridge,
    Phase::Switch,
    Phase::Copy,
    Phase::New,
    Phase::Done,
];

#[tokio::test]
async fn what_was_written_is_read_in_every_phase() {
    for phase in ALL {
        let bench = Bench::new(phase).await;
        let shim = bench.shim();
        let users = shim.table("users").unwrap();
        let key = json!({"id": "u1"});
        assert_eq!(users.phase().await.unwrap(), phase);
        assert_eq!(users.get_as::<Json>(&key).await.unwrap(), None, "{phase}");
        users
            .put_as(&json!({"id": "u1", "name": "Ann", "tags": ["a"]}))
            .await
            .unwrap();
        users
            .update_as(&key, &json!({"age": 7}), &["name"])
            .await
            .unwrap();
        let row = users.get_as::<Json>(&key).await.unwrap().unwrap();
        assert_eq!(row, json!({"id": "u1", "age": 7, "tags": ["a"]}), "{phase}");
        users
            .put_as(&json!({"id": "u1", "name": "Bea"}))
            .await
            .unwrap();
        let row = users.get_as::<Json>(&key).await.unwrap().unwrap();
        assert_eq!(row, json!({"id": "u1", "name": "Bea"}), "{phase}");
        users
            .delete(&users.key_of(&key).await.unwrap())
            .await
            .unwrap();
        assert_eq!(users.get_as::<Json>(&key).await.unwrap(), None, "{phase}");

        let votes = shim.table("votes").unwrap();
        let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
        votes.add(&act, "n", 5).await.unwrap();
        votes.add(&act, "n", -2).await.unwrap();
        assert_eq!(votes.count(&act).await.unwrap(), [Some(3)], "{phase}");
        shim.leave().await.unwrap();
        let left = bench.rig.control().participants("new-users").await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn partitions_are_merged_in_order_and_deleted_from_both_stores() {
    let bench = Bench::new(Phase::Old).await;
    let shim = bench.shim();
    let events = shim.table("events").unwrap();
    for at in 0..5 {
        events
            .put_as(&json!({"p": "x", "at": at, "what": "old"}))
            .await
            .unwrap();
    }
    events
        .put_as(&json!({"p": "x", "s": "shared"}))
        .await
        .unwrap();
    shim.leave().await.unwrap();
    bench.set(Phase::Switch).await;

    let shim = bench.shim();
    let events = shim.table("events").unwrap();
    events
        .put_as(&json!({"p": "x", "at": 9, "what": "new"}))
        .await
        .unwrap();
    events
        .update_as(
            &json!({"p": "x", "at": 2}),
            &json!({"what": "changed"}),
            &[],
        )
        .await
        .unwrap();
    let gone = events.key_of(&json!({"p": "x", "at": 3})).await.unwrap();
    events.delete(&gone).await.unwrap();
    let read = async |reverse, limit| {
        let rows: Vec<Json> = events
            .query_as(&json!({"p": "x"}), reverse, limit)
            .await
            .unwrap();
        let name = |row: &Json| {
            row["at"].as_i64().map_or("s".into(), |at| {
                format!("{at}{}", &row["what"].as_str().unwrap()[..1])
            })
        };
        rows.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read(false, None).await, "s 9n 4o 2c 1o 0o");
    assert_eq!(read(true, None).await, "0o 1o 2c 4o 9n s");
    assert_eq!(read(false, Some(3)).await, "s 9n 4o");
    let partition = vec![Value::text("x")];
    events
        .delete_range(crate::model::ClusteringRange::whole(partition))
        .await
        .unwrap();
    assert_eq!(read(false, None).await, "");
}

#[tokio::test]
async fn a_row_that_is_found_in_the_old_store_is_saved_in_copy_only() {
    for (phase, saved) in [(Phase::Switch, None), (Phase::Copy, Some(Mark::Resaved))] {
        let bench = Bench::new(Phase::Old).await;
        let shim = bench.shim();
        let users = shim.table("users").unwrap();
        users
            .put_as(&json!({"id": "u1", "name": "Ann", "age": 1}))
            .await
            .unwrap();
        users
            .put_as(&json!({"id": "u2", "name": "Bea", "age": 2}))
            .await
            .unwrap();
        shim.leave().await.unwrap();
        bench.set(phase).await;
        let shim = bench.shim();
        let users = shim.table("users").unwrap();
        let (u1, u2) = (json!({"id": "u1"}), json!({"id": "u2"}));
        assert!(users.get_as::<Json>(&u1).await.unwrap().is_some());
        let key = users.key_of(&u1).await.unwrap();
        let mark = bench.item("users", &key).await.and_then(|row| row.mark);
        assert_eq!(mark, saved, "{phase}");
        users.update_as(&u2, &json!({"age": 3}), &[]).await.unwrap();
        let key = users.key_of(&u2).await.unwrap();
        assert_eq!(
            bench.item("users", &key).await.unwrap().mark,
            Some(Mark::Partial)
        );
        let row = users.get_as::<Json>(&u2).await.unwrap().unwrap();
        assert_eq!(row, json!({"id": "u2", "name": "Bea", "age": 3}));
        let mark = bench.item("users", &key).await.unwrap().mark;
        let completed = if saved.is_some() {
            Mark::Application
        } else {
            Mark::Partial
        };
        assert_eq!(mark, Some(completed), "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn adds_to_one_key_go_together() {
    let bench = Bench::new(Phase::New).await;
    let slow = Arc::new(Faulty::new(bench.rig.new.clone(), Faults::default(), 1));
    let settings = Settings::new("test");
    let shim = bench.shim_of(settings, bench.rig.old.clone(), slow.clone(), false);
    let votes = shim.table("votes").unwrap();
    let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
    let before = slow.calls();
    let adds = (0..1_000).map(|_| votes.add(&act, "n", 1));
    let added = futures::future::join_all(adds).await;
    assert!(added.iter().all(Result::is_ok));
    assert_eq!(votes.count(&act).await.unwrap(), [Some(1_000)]);
    let calls = slow.calls() - before;
    assert!(calls < 20, "{calls} calls for 1,000 adds and a count");
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_with_a_token_it_is_not() {
    let lost = Faults {
        reply_lost: 1.0,
        ..Faults::default()
    };
    for exactly_once in [false, true] {
        let bench = Bench::new(Phase::New).await;
        let losing = Arc::new(Faulty::new(bench.rig.new.clone(), lost, 1));
        let mut settings = Settings::new("test");
        settings.deadline = Duration::from_secs(1);
        let shim = bench.shim_of(
            settings,
            bench.rig.old.clone(),
            losing.clone(),
            exactly_once,
        );
        let votes = shim.table("votes").unwrap();
        let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
        let before = losing.calls();
        let error = votes.add(&act, "n", 1).await.unwrap_err();
        assert_eq!(error.known_effect(), crate::error::Effect::Unknown);
        let calls = losing.calls() - before;
        assert_eq!(calls > 1, exactly_once, "{calls} calls");
        let transform = spec("votes").transform(&schema("votes"), 0).unwrap();
        let there = bench
            .rig
            .new
            .read(transform.target(), &act, Reading::Strong);
        let total = there.await.unwrap().unwrap().cells;
        assert_eq!(total, [Some(Value::BigInt(1))], "counted once");
        let users = shim.table("users").unwrap();
        let error = users.put_as(&json!({"id": "u1"})).await.unwrap_err();
        assert_eq!(error.known_effect(), crate::error::Effect::Unknown);
    }
}

#[tokio::test]
async fn a_store_that_is_not_needed_may_be_gone() {
    let gone = Faults {
        unreachable: 1.0,
        ..Faults::default()
    };
    let bench = Bench::new(Phase::Copy).await;
    let dead = Arc::new(Faulty::new(bench.rig.old.clone(), gone, 1));
    let mut settings = Settings::new("test");
    settings.deadline = Duration::from_secs(2);
    let shim = bench.shim_of(settings, dead, bench.rig.new.clone(), false);
    let users = shim.table("users").unwrap();
    users
        .put_as(&json!({"id": "u1", "name": "Ann"}))
        .await
        .unwrap();
    assert!(
        users
            .get_as::<Json>(&json!({"id": "u1"}))
            .await
            .unwrap()
            .is_some()
    );
    let error = users
        .get_as::<Json>(&json!({"id": "u2"}))
        .await
        .unwrap_err();
    // Late, where the last try was cut off by the deadline.
    assert!(
        matches!(error.kind(), Kind::Unreachable | Kind::Timeout),
        "{error}"
    );
    assert_eq!(error.known_effect(), crate::error::Effect::None);
}

#[tokio::test]
async fn a_record_that_is_missing_or_offline_is_refused() {
    let bench = Bench::new(Phase::Offline).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let error = users
        .get_as::<Json>(&json!({"id": "u1"}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("offline"), "{error}");
    assert!(
        bench
            .rig
            .control()
            .participants("new-users")
            .await
            .unwrap()
            .is_empty()
    );

    let unknown = TableSpec::new("test", TablePlan::new("users").to("nowhere"));
    let old = OldStore::Open(Old(bench.rig.old.clone()));
    let new = New::over(bench.rig.new.clone());
    let settings = Settings::new("test");
    let shim = Shim::start(settings, old, new, bench.rig.control(), [unknown]).unwrap();
    let error = shim.table("users").unwrap().phase().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
}

#[tokio::test]
async fn a_row_that_has_expired_is_gone_and_still_hides_the_old_one() {
    let bench = Bench::new(Phase::Old).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let old = json!({"id": "u1", "name": "old"});
    users.put_as(&old).await.unwrap();
    shim.leave().await.unwrap();
    bench.set(Phase::Copy).await;

    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let new = json!({"id": "u1", "name": "new"});
    users.put_as_for(&new, Ttl::Seconds(1)).await.unwrap();
    let key = json!({"id": "u1"});
    assert_eq!(users.get_as::<Json>(&key).await.unwrap(), Some(new));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(users.get_as::<Json>(&key).await.unwrap(), None);
    // An update begins with nothing of what has expired.
    users
        .update_as(&key, &json!({"age": 1}), &[])
        .await
        .unwrap();
    let row = users.get_as::<Json>(&key).await.unwrap();
    assert_eq!(row, Some(json!({"id": "u1", "age": 1})));

    let events = shim.table("events").unwrap();
    let event = json!({"p": "x", "at": 1});
    let error = events.put_as_for(&event, Ttl::Seconds(9)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("expiry ="), "{error}");
}

#[tokio::test]
async fn what_needs_the_old_value_waits_until_it_can_be_had() {
    let bench = Bench::new(Phase::Old).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let row = json!({"id": "u1", "name": "Ann", "tags": ["a"]});
    users.put_as(&row).await.unwrap();
    shim.leave().await.unwrap();
    bench.set(Phase::Switch).await;

    let shim_within = |deadline| {
        let mut settings = Settings::new("test");
        settings.deadline = deadline;
        settings.lease.lasts = Duration::from_millis(1_500);
        settings.lease.operation = Duration::from_secs(20);
        bench.shim_of(
            settings,
            bench.rig.old.clone(),
            bench.rig.new.clone(),
            false,
        )
    };
    let shim = shim_within(Duration::from_millis(300));
    let users = shim.table("users").unwrap();
    let key = users.key_of(&json!({"id": "u1"})).await.unwrap();
    let mut cells = vec![None; 3];
    cells[2] = Some(crate::model::Edit::AddToSet(vec![Value::text("b")]));
    let add = crate::model::Update {
        key,
        cells,
        expires: None,
    };
    let error = users.update(add.clone(), Ttl::Default).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(error.known_effect(), crate::error::Effect::None);

    let shim = shim_within(Duration::from_secs(20));
    let users = shim.table("users").unwrap();
    users.phase().await.unwrap();
    let moved = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.set(Phase::Copy).await;
    };
    let (added, ()) = tokio::join!(users.update(add, Ttl::Default), moved);
    added.unwrap();
    let row = users.get_as::<Json>(&json!({"id": "u1"})).await.unwrap();
    let expected = json!({"id": "u1", "name": "Ann", "tags": ["a", "b"]});
    assert_eq!(row, Some(expected));
}

#[tokio::test]
async fn what_is_found_and_saved_is_counted() {
    let recorder = Counts::default();
    let bench = Bench::new(Phase::Copy).await;
    let users = schema("users");
    let cells = vec![None, Some(Value::text("Ann")), None];
    let row = Row::new(
        crate::model::Key::row(vec![Value::text("u1")], vec![]),
        cells,
    );
    bench
        .rig
        .old
        .put(&users, &[row], &crate::model::Condition::Always)
        .await;
    let counted = recorder.clone();
    let _recording = metrics::set_default_local_recorder(&counted);
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    for id in ["u1", "u1", "u2"] {
        users.get_as::<Json>(&json!({"id": id})).await.unwrap();
    }
    let counts = recorder.0.lock().unwrap().clone();
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!(count("crossfade_new_reads_total users row"), 1);
    assert_eq!(
        count("crossfade_new_reads_total users absent"),
        3,
        "{counts:?}"
    );
    assert_eq!(count("crossfade_fallbacks_total users"), 2);
    assert_eq!(count("crossfade_resaves_total users saved"), 1);
    assert!(count("crossfade_store_seconds users old read") > 0);
}

/// A recorder that counts, by name and the values of the labels.
#[derive(Clone, Default)]
struct Counts(Arc<std::sync::Mutex<BTreeMap<String, u64>>>);

struct Count(Counts, String);

impl Counts {
    fn count(&self, key: &metrics::Key) -> Arc<Count> {
        let labels = key.labels().map(|label| label.value());
        let name: Vec<&str> = std::iter::once(key.name()).chain(labels).collect();
        Arc::new(Count(self.clone(), name.join(" ")))
    }
}

impl metrics::CounterFn for Count {
    fn increment(&self, by: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += by;
    }
    fn absolute(&self, value: u64) {
        self.increment(value);
    }
}

impl metrics::HistogramFn for Count {
    fn record(&self, _: f64) {
        metrics::CounterFn::increment(self, 1);
    }
}

impl metrics::Recorder for Counts {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.count(key))
    }
    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }
    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.count(key))
    }
}
