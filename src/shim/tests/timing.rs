//! When operations end, and what is said then.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;
use crate::error::{Effect, Error, Kind};
use crate::model::{ClusteringRange, Condition, Key};
use crate::testing::faulty::{Faults, Faulty};

const DEADLINE: Duration = Duration::from_secs(5);

/// What came of an add, and how long it took.
type Ended = (Result<()>, Duration);

struct Slowly {
    bench: Bench,
    new: Arc<Faulty>,
    shim: Shim,
}

impl Slowly {
    async fn new(phase: Phase, faults: Faults, exactly_once: bool) -> Self {
        let bench = Bench::new(phase).await;
        let new = Arc::new(Faulty::new(bench.rig.new.clone(), faults, 1));
        let settings = Settings::new("test");
        assert_eq!(settings.deadline, DEADLINE);
        let shim = bench.shim_of(settings, bench.rig.old.clone(), new.clone(), exactly_once);
        Slowly { bench, new, shim }
    }

    /// An add of 1 after a while.
    fn add(&self, after: Duration) -> tokio::task::JoinHandle<Ended> {
        let votes = self.shim.table("votes").unwrap();
        tokio::spawn(async move {
            let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
            sleep(after).await;
            let begun = Instant::now();
            (votes.add(&act, "n", 1).await, begun.elapsed())
        })
    }

    async fn total(&self) -> Option<Value> {
        let transform = spec("votes").transform(&schema("votes"), 0).unwrap();
        let table = transform.target();
        let act = crate::model::Key::row(vec![Value::text("a1")], vec![]);
        let there = self
            .bench
            .rig
            .new
            .read(table, &act, Reading::Strong)
            .await
            .unwrap();
        there.and_then(|row| row.cells[0].clone())
    }
}

fn effect(ended: &Ended) -> Option<Effect> {
    ended.0.as_ref().err().map(Error::known_effect)
}

/// One write takes 4.7 of the five seconds that an add has, and all that came meanwhile go after it.
#[tokio::test(start_paused = true)]
async fn adds_that_waited_through_a_hiccup_have_deadlines_of_their_own() {
    let slowly = Slowly::new(Phase::New, Faults::default(), false).await;
    let votes = slowly.shim.table("votes").unwrap();
    votes.phase().await.unwrap();
    slowly.new.take(Duration::from_millis(4_700));
    let first = slowly.add(Duration::ZERO);
    sleep(Duration::from_millis(50)).await;
    slowly.new.take(Duration::from_millis(600));
    let others: Vec<_> = (1..45)
        .map(|at| slowly.add(Duration::from_millis(at * 100)))
        .collect();
    assert!(first.await.unwrap().0.is_ok());
    let mut done = 0;
    for (at, other) in others.into_iter().enumerate() {
        let ended = other.await.unwrap();
        match effect(&ended) {
            None => done += 1,
            // Its own time was over, and not a younger one's.
            Some(effect) => {
                assert_eq!(effect, Effect::Unknown, "{at}: {ended:?}");
                assert!(ended.1 >= DEADLINE * 98 / 100, "{at}: {ended:?}");
                assert!(at < 4, "{at}: {ended:?}");
            }
        }
    }
    assert!(done > 40, "{done}");
    assert_eq!(
        slowly.total().await,
        Some(Value::BigInt(45)),
        "all were counted"
    );
}

/// The one that waits for a write that hangs knows at its own deadline that nothing was sent.
#[tokio::test(start_paused = true)]
async fn an_add_that_was_never_sent_has_certainly_not_happened() {
    for exactly_once in [false, true] {
        let slowly = Slowly::new(Phase::New, Faults::default(), exactly_once).await;
        slowly.shim.table("votes").unwrap().phase().await.unwrap();
        slowly.new.take(Duration::from_secs(600));
        let mut adds = Vec::new();
        for _ in 0..3 {
            adds.push(slowly.add(Duration::ZERO));
            // Each comes to be sent, or to wait, at one and the same time.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        let mut effects = Vec::new();
        for add in adds {
            let ended = add.await.unwrap();
            assert!(ended.1 <= DEADLINE, "{ended:?}");
            assert_eq!(ended.0.as_ref().unwrap_err().kind(), Kind::Timeout);
            effects.extend(effect(&ended));
        }
        assert_eq!(effects, [Effect::Unknown, Effect::None, Effect::None]);
    }
}

/// A store that is slow to refuse: no try is begun that the deadline would cut off, since its outcome wouldn't be known.
#[tokio::test(start_paused = true)]
async fn a_last_try_has_the_time_that_tries_take() {
    let faults = Faults {
        unreachable: 1.0,
        ..Faults::default()
    };
    let bench = Bench::new(Phase::Old).await;
    let old = Arc::new(Faulty::new(bench.rig.old.clone(), faults, 1));
    let shim = bench.shim_of(
        Settings::new("test"),
        old.clone(),
        bench.rig.new.clone(),
        false,
    );
    let (users, votes) = (shim.table("users").unwrap(), shim.table("votes").unwrap());
    for takes in 1..25 {
        old.take(Duration::from_millis(takes * 40));
        let key = Key::row(vec![Value::text("u1")], vec![]);
        let put = users.put(Row::new(key, vec![None; 3]), Ttl::Never).await;
        let error = put.unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None),
            "{takes}"
        );
        // The same of what waits for the write of its key.
        let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
        let adds = [0, 1, 2].map(|_| votes.add(&act, "n", 1));
        for added in futures::future::join_all(adds).await {
            let error = added.unwrap_err();
            assert_eq!(error.known_effect(), Effect::None, "{takes}: {error}");
        }
    }
}

/// A store that refuses for now: each add is tried again until its own deadline, and hasn't happened.
#[tokio::test(start_paused = true)]
async fn adds_that_are_refused_for_now_have_certainly_not_happened() {
    let faults = Faults {
        unreachable: 1.0,
        ..Faults::default()
    };
    let bench = Bench::new(Phase::Old).await;
    let old = Arc::new(Faulty::new(bench.rig.old.clone(), faults, 1));
    let shim = bench.shim_of(Settings::new("test"), old, bench.rig.new.clone(), false);
    let votes = shim.table("votes").unwrap();
    let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
    let adds = (0..20).map(async |at: u64| {
        sleep(Duration::from_millis(at * 200)).await;
        let begun = Instant::now();
        let error = votes.add(&act, "n", 1).await.unwrap_err();
        (error, begun.elapsed())
    });
    for (error, took) in futures::future::join_all(adds).await {
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None)
        );
        assert!(
            took > Duration::from_secs(4) && took <= DEADLINE,
            "{took:?}"
        );
    }
}

/// Joining takes three seconds, and the write as long.
#[tokio::test(start_paused = true)]
async fn a_deadline_counts_from_the_call_and_joining_is_part_of_it() {
    for typed in [false, true] {
        let slowly = Slowly::new(Phase::New, Faults::default(), false).await;
        slowly.new.take(Duration::from_secs(3));
        let users = slowly.shim.table("users").unwrap();
        let begun = Instant::now();
        let put = match typed {
            true => users.put_as(&json!({"id": "u1", "name": "Ann"})).await,
            false => {
                let key = crate::model::Key::row(vec![Value::text("u1")], vec![]);
                users.put(Row::new(key, vec![None; 3]), Ttl::Never).await
            }
        };
        let error = put.unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Timeout, Effect::Unknown)
        );
        assert_eq!(begun.elapsed(), DEADLINE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_that_takes_longer_than_a_deadline_is_deleted_call_by_call() {
    let slowly = Slowly::new(Phase::Switch, Faults::default(), false).await;
    let row = |at| {
        let key = Key::row(vec![Value::text("x")], vec![Value::Int(at)]);
        Row::new(key, vec![None, Some(Value::text("old"))])
    };
    let rows: Vec<Row> = (0..2_500).map(row).collect();
    let table = schema("events");
    let puts = slowly.bench.rig.old.put(&table, &rows, &Condition::Always);
    assert!(puts.await.rows.iter().all(Result::is_ok));
    let events = slowly.shim.table("events").unwrap();
    events.phase().await.unwrap();
    let whole = || ClusteringRange::whole(vec![Value::text("x")]);

    slowly.new.take(Duration::from_secs(600));
    let error = events.delete_range(whole()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.known_effect()),
        (Kind::Timeout, Effect::None)
    );

    // One after the other, 62 of them would fit into a deadline.
    slowly.new.take(Duration::from_millis(80));
    let mut calls = 1;
    while let Err(error) = events.delete_range(whole()).await {
        assert_eq!(error.known_effect(), Effect::Unknown, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("deleted so far") && text.contains("up to p="),
            "{text}"
        );
        calls += 1;
        assert!(calls < 5, "each deletes what is left: {text}");
    }
    assert!(calls > 2, "one deadline isn't enough for all");
    let before = slowly.new.calls();
    events.delete_range(whole()).await.unwrap();
    let walked = slowly.new.calls() - before;
    assert!(walked < 10, "{walked} calls over what was deleted before");
}

/// Looking at what was deleted before takes longer than a deadline.
#[tokio::test(start_paused = true)]
async fn a_deletion_and_a_query_get_through_any_number_of_deleted_rows() {
    const DELETED: i32 = 30_000;
    let slowly = Slowly::new(Phase::Switch, Faults::default(), false).await;
    let row = |at| {
        let key = Key::row(vec![Value::text("x")], vec![Value::Int(at)]);
        Row::new(key, vec![None, Some(Value::text("old"))])
    };
    // The later comes first.
    let rows: Vec<Row> = (0..DELETED + 10).map(row).collect();
    let tombstone = |row: &Row| Row {
        mark: Some(Mark::Tombstone),
        ..Row::new(row.key.clone(), vec![None; 2])
    };
    let tombstones: Vec<Row> = rows[10..].iter().map(tombstone).collect();
    let target = spec("events").transform(&schema("events"), 0).unwrap();
    let bench = &slowly.bench;
    for (store, table, rows) in [
        (&bench.rig.old, &schema("events"), &rows),
        (&bench.rig.new, target.target(), &tombstones),
    ] {
        let puts = store.put(table, rows, &Condition::Always).await;
        assert!(puts.rows.iter().all(Result::is_ok));
    }
    let events = slowly.shim.table("events").unwrap();
    events.phase().await.unwrap();
    slowly.new.take(Duration::from_millis(900));
    let whole = || ClusteringRange::whole(vec![Value::text("x")]);

    let mut query = crate::model::Query {
        range: whole(),
        reverse: false,
        after: None,
        limit: 1,
    };
    let mut pages = 0;
    let found = loop {
        let begun = Instant::now();
        let page = events.query(query.clone()).await.unwrap();
        assert!(begun.elapsed() <= DEADLINE, "{:?}", begun.elapsed());
        pages += 1;
        if let Some(row) = page.rows.into_iter().next() {
            break row.key;
        }
        let next = page.next.unwrap();
        assert_ne!(
            query.after.replace(next.clone()),
            Some(next),
            "each gets further"
        );
    };
    assert_eq!(found, row(9).key);
    assert!(pages > 2, "one deadline isn't enough: {pages}");
    let partition = json!({"p": "x"});
    let typed: Vec<Json> = events.query_as(&partition, false, Some(1)).await.unwrap();
    assert_eq!(typed[0]["at"], 9);

    // Each call that begins anew comes no further than the one before it.
    for _ in 0..2 {
        let error = events.delete_range(whole()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Timeout, Effect::None)
        );
        let text = error.to_string();
        assert!(
            text.contains("deleted so far 0 rows")
                && text.contains("up to p=")
                && text.contains("RangeDeletion"),
            "{text}"
        );
    }
    let mut deletion = events.range_deletion(whole());
    let mut up_to = None;
    while let Err(error) = deletion.run().await {
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert!(up_to.as_ref() != deletion.up_to(), "each gets further");
        up_to = deletion.up_to().cloned();
    }
    assert!(up_to.is_some());
    assert_eq!(deletion.deleted(), 10);
    let left: Vec<Json> = events.query_as(&partition, true, Some(1)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn counting_exactly_once_takes_a_deadline_within_the_ten_minutes_of_a_token() {
    let bench = Bench::new(Phase::New).await;
    for (minutes, exactly_once, is_taken) in [(8, true, true), (9, true, false), (60, false, true)]
    {
        let mut settings = Settings::new("test");
        settings.deadline = Duration::from_secs(minutes * 60);
        settings.lease.operation = settings.deadline;
        let mut votes = spec("votes");
        votes.table.exactly_once = exactly_once;
        let old = OldStore::Open(Old(bench.rig.old.clone()));
        let new = New::over(bench.rig.new.clone());
        let shim = Shim::start(settings, old, new, bench.rig.control(), [votes]);
        assert_eq!(shim.is_ok(), is_taken, "{minutes} minutes");
        let error = shim.err();
        assert!(error.is_none_or(|error| error.kind() == Kind::Config));
    }
}

/// Operations that are parts of one request share its deadline, however late they begin.
#[cfg(feature = "serve")]
#[tokio::test(start_paused = true)]
async fn parts_of_one_request_have_one_deadline() {
    let slowly = Slowly::new(Phase::New, Faults::default(), false).await;
    let begun = Instant::now();
    let shim = slowly.shim.until(begun + DEADLINE);
    let votes = shim.table("votes").unwrap();
    let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
    sleep(DEADLINE / 2).await;
    slowly.new.take(DEADLINE * 10);
    let late = votes.count(&act).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Timeout);
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
    let late = votes.add(&act, "n", 1).await.unwrap_err();
    assert_eq!(
        (late.kind(), late.known_effect()),
        (Kind::Timeout, Effect::None)
    );
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
}
