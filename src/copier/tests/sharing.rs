//! Tables most of whose rows are in one range: readers that have nothing left to do share it.

use super::*;
use crate::codec::cql;
use crate::model::Condition;
use crate::protocol::counter::Rules;
use crate::store::Store;

/// Partitions of the crowded range, and rows of each.
const CROWD: usize = 40;
const EACH: i32 = 30;
const SPLITS: usize = 4;
/// Rows of its large partition.
const LARGE: i32 = 400;

fn is_crowded(id: i32) -> bool {
    let key = [Value::Int(id)];
    // Of width rounded down, as many and one more are all of the ring.
    Tokens::ALL.split(SPLITS + 1)[1].contains(cql::token(table().partition(), &key))
}

fn row(id: i32, at: i32) -> Row {
    let key = Key::row(vec![Value::Int(id)], vec![Value::Int(at)]);
    Row::new(key, vec![Some(Value::Text(format!("{id}: {at}")))])
}

/// One row in each of some partitions elsewhere, and the rest in the crowded range.
fn skewed() -> Vec<Row> {
    let alone = (0..).filter(|id| !is_crowded(*id)).take(6);
    let crowd = (0..).filter(|id| is_crowded(*id)).take(CROWD);
    let large = crowd.clone().nth(CROWD / 2).unwrap();
    let size = move |id| if id == large { LARGE } else { EACH };
    alone
        .map(|id| row(id, 0))
        .chain(crowd.flat_map(|id| (0..size(id)).map(move |at| row(id, at))))
        .collect()
}

/// Four readers, of whom three soon have nothing left. A page is about two rows.
async fn bench(faults: Faults) -> Bench {
    let mut bench = Bench::of(&table(), skewed(), faults).await;
    bench.options = small(bench.options);
    bench
}

/// The readers that at one moment waited for a further page of the crowded range; one, if it isn't shared.
fn readers_at_once(bench: &Bench) -> u64 {
    bench.most_pages.load(Ordering::Relaxed)
}

/// What a page takes where readers are to be seen at work at once.
const PAGE_TAKES: Duration = Duration::from_millis(2);

fn small(options: CopySettings) -> CopySettings {
    CopySettings {
        readers: 4,
        splits: SPLITS,
        page_bytes: 2 * row(1, 1).weight(),
        ..options
    }
}

async fn assert_copied(bench: &Bench) {
    let olds = content(&bench.rig.old, bench.transform.source()).await;
    let news = content(&bench.rig.new, bench.transform.target()).await;
    assert!(olds.keys().eq(news.keys()), "the same keys");
    assert!(news.iter().all(|(key, new)| new.cells == olds[key].cells));
}

#[tokio::test]
async fn idle_readers_take_part_of_a_crowded_range_and_each_row_is_written_once() {
    let mut bench = bench(Faults::default()).await;
    bench.page_takes = PAGE_TAKES;
    let rows = skewed().len() as u64;
    let counts = bench.run(1, None).await.unwrap().counts;
    assert_eq!(
        (counts.read, counts.written, counts.present),
        (rows, rows, 0)
    );
    assert_copied(&bench).await;
    assert!(readers_at_once(&bench) >= 3);
    let again = bench.run(2, None).await.unwrap();
    assert!(again.complete);
    assert_eq!(again.counts.read, 0);
}

#[tokio::test]
async fn killed_while_ranges_are_shared_nothing_is_lost() {
    let faults = Faults {
        unreachable: 0.05,
        reply_lost: 0.05,
        throttled: 0.05,
        ..Faults::default()
    };
    let mut chance = SmallRng::seed_from_u64(20_261_128);
    let (mut kills, mut resumed) = (0, 0);
    for seed in 0..15 {
        let bench = bench(faults).await;
        let mut read = 0;
        for attempt in 0.. {
            let polls = (attempt < 8).then(|| chance.random_range(1..400));
            match bench.run(seed * 100 + attempt, polls).await {
                Some(outcome) => {
                    assert!(outcome.complete);
                    read = outcome.counts.read;
                    break;
                }
                None => kills += 1,
            }
        }
        resumed += u64::from(read < skewed().len() as u64);
        assert_copied(&bench).await;
    }
    assert!(kills > 30, "only {kills} runs were killed");
    assert!(resumed > 5, "only {resumed} went on where one was");
}

/// Ranges that break after their first page are cut, and their halves are read by whoever is idle.
#[tokio::test]
async fn what_is_cut_is_shared_too() {
    let faults = Faults {
        breaks: u64::MAX >> 6,
        ..Faults::default()
    };
    let mut bench = bench(faults).await;
    bench.page_takes = PAGE_TAKES;
    let outcome = bench.run(3, None).await.unwrap();
    assert!(outcome.complete);
    assert_eq!(outcome.counts.failed, 0);
    assert_copied(&bench).await;
    assert!(readers_at_once(&bench) >= 3);
}

/// A settling pass counts what it meets, and believes that it has met each counter once: one that was deleted is
/// found, and nothing is looked up a second time.
#[tokio::test]
async fn counters_of_a_crowded_range_are_met_once_each() {
    let votes = Table::new(
        "events",
        vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("votes", Type::Counter, Role::Regular),
        ],
    );
    let counters: Vec<Row> = skewed()
        .into_iter()
        .map(|row| Row::new(row.key, vec![Some(Value::BigInt(3))]))
        .collect();
    let weight = counters[0].weight();
    let mut bench = Bench::of(&votes, counters.clone(), Faults::default()).await;
    bench.options = CopySettings {
        page_bytes: 2 * weight,
        ..small(bench.options)
    };
    bench.page_takes = PAGE_TAKES;
    let rules = Rules { decrements: false };
    let all = counters.len() as u64;
    for pass in [Pass::CatchUp, Pass::Settling] {
        bench.counters = Some(Counters { pass, rules });
        let counts = bench.run(1, None).await.unwrap().counts;
        assert_eq!(counts.read, all, "{pass:?}");
        assert!(readers_at_once(&bench) >= 3, "{pass:?}");
        assert_eq!(counts.went_down, 0);
    }
    let progress = bench.rig.control().progress("target").await.unwrap();
    assert!(progress.iter().any(|(_, one)| one.intervals().is_all()));
    let gone = vec![counters[all as usize / 2].key.clone()];
    let purged = bench.rig.old.purge(&votes, gone, &Condition::Always).await;
    assert!(purged.rows.iter().all(Result::is_ok));
    let counts = bench.run(2, None).await.unwrap().counts;
    assert_eq!((counts.read, counts.went_down), (all - 1, 1));
}
