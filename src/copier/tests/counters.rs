//! Counters: whatever is killed, lost or run twice at once, they end as they are in the old store.

use std::cell::RefCell;

use super::*;
use crate::model::Condition;
use crate::protocol::counter::Rules;
use crate::store::{Reads, Store};

const COUNTERS: i32 = 300;

fn votes() -> Table {
    Table::new(
        "events",
        vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("down", Type::Counter, Role::Regular),
            Column::new("up", Type::Counter, Role::Regular),
        ],
    )
}

fn vote(n: i32, down: Option<i64>, up: Option<i64>) -> Row {
    let id = if n % 3 == 0 { 7 } else { n / 4 };
    let key = Key::row(vec![Value::Int(id)], vec![Value::Int(n)]);
    Row::new(key, [down, up].map(|total| total.map(Value::BigInt)).into())
}

/// Some of one column, some of both, some of zero.
fn all() -> Vec<Row> {
    let row = |n: i32| {
        vote(
            n,
            (n % 2 == 0).then_some(n.into()),
            (n % 5 != 0).then_some(0),
        )
    };
    (0..COUNTERS).map(row).collect()
}

fn counters(pass: Pass, decrements: bool) -> Option<Counters> {
    let rules = Rules { decrements };
    Some(Counters { pass, rules })
}

async fn bench(faults: Faults) -> Bench {
    Bench::of(&votes(), all(), faults).await
}

/// Adds to a counter of the old store, which is in memory, so that it is done at once.
fn add(bench: &Bench, n: i32, column: usize, by: i64) {
    let (table, key) = (votes(), vote(n, None, None).key);
    let there = bench.rig.old.get(&table, std::slice::from_ref(&key));
    let mut row = there.now_or_never().unwrap().unwrap().remove(0).unwrap();
    let total = match row.cells[column] {
        Some(Value::BigInt(total)) => total,
        _ => 0,
    };
    row.cells[column] = Some(Value::BigInt(total + by));
    let rows = [row];
    let put = bench.rig.old.put(&table, &rows, &Condition::Always);
    assert!(put.now_or_never().unwrap().rows[0].is_ok());
}

async fn assert_settled(bench: &Bench) {
    let olds = content(&bench.rig.old, &votes()).await;
    let news = content(&bench.rig.new, bench.transform.target()).await;
    assert_eq!(olds.len(), COUNTERS as usize);
    let numbers = |row: &Row| -> Vec<Option<i64>> {
        let number = |cell: &Option<Value>| match cell {
            Some(Value::BigInt(number)) => Some(*number),
            _ => None,
        };
        row.cells.iter().map(number).collect()
    };
    for (key, old) in &olds {
        let totals = numbers(old);
        match news.get(key) {
            None => assert!(totals.iter().all(Option::is_none), "{key} is missing"),
            Some(new) => {
                assert_eq!(numbers(new), totals, "{key}");
                assert_eq!(new.watermarks, totals, "{key}");
            }
        }
    }
    assert!(news.keys().all(|key| olds.contains_key(key)));
}

#[tokio::test]
async fn later_passes_move_what_was_added_and_skip_the_rest() {
    let mut bench = bench(Faults::default()).await;
    bench.counters = counters(Pass::CatchUp, false);
    let empty = all().iter().filter(|row| row.cells == [None, None]).count() as u64;
    let first = bench.run(1, None).await.unwrap();
    assert!(first.complete && first.is_counter);
    let all = COUNTERS as u64;
    assert_eq!((first.counts.read, first.counts.folded), (all, all - empty));
    add(&bench, 3, 1, 40);
    add(&bench, 4, 0, 2);
    let second = bench.run(2, None).await.unwrap().counts;
    assert_eq!(
        (second.read, second.folded, second.unchanged),
        (all, 2, all - 2)
    );
    assert_settled(&bench).await;
    // Without the journal it is looked up in the target instead.
    let elsewhere = tempfile::tempdir().unwrap();
    let third = bench
        .run_from(elsewhere.path(), 3, None, || {})
        .await
        .unwrap()
        .counts;
    assert_eq!((third.folded, third.unchanged), (0, all));
    bench.counters = counters(Pass::Settling, false);
    let last = bench.run(4, None).await.unwrap().counts;
    assert_eq!((last.folded, last.settled), (0, all));
    let progress = bench.rig.control().progress("target").await.unwrap();
    assert!(
        progress
            .iter()
            .any(|(_, progress)| progress.intervals().is_all())
    );
}

#[tokio::test]
async fn two_copiers_killed_among_faults_while_counters_grow() {
    let faults = Faults {
        unreachable: 0.1,
        reply_lost: 0.1,
        throttled: 0.05,
        ..Faults::default()
    };
    let mut kills = 0;
    for seed in 0..15_u64 {
        let mut bench = bench(faults).await;
        let chance = RefCell::new(SmallRng::seed_from_u64(seed));
        let decrements = seed % 3 == 0;
        bench.counters = counters(Pass::CatchUp, decrements);
        let grow = || {
            let mut chance = chance.borrow_mut();
            let lowest = if decrements { -3 } else { 0 };
            add(
                &bench,
                chance.random_range(0..COUNTERS),
                chance.random_range(0..2),
                chance.random_range(lowest..9),
            );
        };
        let mut other = tempfile::tempdir().unwrap();
        for attempt in 0..6 {
            let polls = || Some(chance.borrow_mut().random_range(1..60));
            let (one, two) = (polls(), polls());
            let ends = tokio::join!(
                bench.run_from(bench.folder.path(), seed * 100 + attempt, one, grow),
                bench.run_from(other.path(), seed * 100 + 50 + attempt, two, grow),
            );
            kills += u32::from(ends.0.is_none()) + u32::from(ends.1.is_none());
            if attempt % 2 == 1 {
                other = tempfile::tempdir().unwrap();
            }
        }
        let last = bench.run(seed, None).await.unwrap();
        assert!(last.complete);
        assert_eq!(last.counts.went_down, 0);
        assert_settled(&bench).await;
    }
    assert!(kills > 80, "only {kills} runs were killed");
}

#[tokio::test]
async fn a_counter_that_went_down_is_listed_until_it_is_in_order() {
    let mut bench = bench(Faults::default()).await;
    bench.counters = counters(Pass::CatchUp, false);
    bench.run(1, None).await.unwrap();
    add(&bench, 8, 0, -3);
    add(&bench, 9, 1, 5);
    let counts = bench.run(2, None).await.unwrap().counts;
    assert_eq!((counts.folded, counts.went_down, counts.failed), (1, 1, 1));
    let letters = bench.rig.control().failures("target").await.unwrap();
    assert_eq!(letters.len(), 1);
    let reason = "the counter down is 5 in the old store, below the 8 that the new store has of it; \
                  if it may go down, set `decrements = true` for the table";
    assert_eq!(letters[0].reason, reason);

    // Nothing of it is called settled.
    bench.counters = counters(Pass::Settling, false);
    let counts = bench.run(3, None).await.unwrap().counts;
    assert_eq!((counts.settled, counts.went_down), (COUNTERS as u64 - 1, 1));
    let progress = bench.rig.control().progress("target").await.unwrap();
    let settled = progress[0].1.intervals();
    let token = crate::codec::cql::token(votes().partition(), &vote(8, None, None).key.partition);
    let missing = settled.missing_in(Tokens::ALL);
    assert_eq!(
        missing,
        [Tokens {
            after: token - 1,
            up_to: token
        }]
    );

    bench.counters = counters(Pass::Settling, true);
    let counts = bench.run(4, None).await.unwrap().counts;
    assert_eq!((counts.folded, counts.went_down), (1, 0));
    assert!(
        bench
            .rig
            .control()
            .failures("target")
            .await
            .unwrap()
            .is_empty()
    );
    assert_settled(&bench).await;
    let progress = bench.rig.control().progress("target").await.unwrap();
    assert!(progress[0].1.intervals().is_all());
}

/// What is read again because a range breaks on the way mustn't make up for what is gone.
#[tokio::test]
async fn a_deleted_counter_is_found_though_ranges_are_read_twice() {
    let mut bench = bench(Faults::default()).await;
    bench.options.page_bytes = 300;
    bench.counters = counters(Pass::CatchUp, false);
    bench.run(1, None).await.unwrap();
    let key = vote(10, None, None).key;
    let purged = bench
        .rig
        .old
        .purge(&votes(), vec![key], &Condition::Always)
        .await;
    assert!(purged.rows.iter().all(Result::is_ok));
    bench.faults.breaks = 1;
    bench.counters = counters(Pass::Settling, false);
    let counts = bench.run(2, None).await.unwrap().counts;
    assert!(counts.read > COUNTERS as u64, "some are read twice");
    let letters = bench.rig.control().failures("target").await.unwrap();
    let reasons: Vec<&str> = letters.iter().map(|letter| &*letter.reason).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains("the counter row was deleted"));
}
