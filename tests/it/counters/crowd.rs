//! Many counters that grow all the time, two copiers that are killed all the time.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::value::Counter;

use super::{Counted, VOTES, VOTES_PLAN, copy};
use crate::command::Bench;
use crate::support::is_long;

/// The leases are short: what is done last waits until the killed ones are surely dead.
const PLAN: &str = "[lease]\nseconds = 3\noperation_seconds = 3\nlanding_seconds = 3\n";
/// Increments under way at once, and the pause behind each: the copiers want some of the machine too.
const VOTERS: usize = 6;
const BREATH: Duration = Duration::from_millis(6);

/// How often each copier is killed at least.
const LEAST_KILLS: u32 = 4;

/// How many counters there are, and how long the copiers are killed for.
fn size() -> (usize, Duration) {
    match is_long() {
        true => (50_000, Duration::from_secs(300)),
        false => (12_000, Duration::from_secs(20)),
    }
}

/// What the writers know of each counter.
#[derive(Default)]
struct Sent {
    acknowledged: HashMap<usize, i64>,
    /// Of these it isn't known whether they happened.
    lost: HashMap<usize, i64>,
}

/// Increments random counters until it is told to stop, each exactly once.
async fn voter(
    bench: Arc<Bench>,
    counters: usize,
    consistency: Consistency,
    stop: Arc<AtomicBool>,
) -> Sent {
    let add = format!("UPDATE {}.votes SET n = n + ? WHERE id = ?", bench.keyspace);
    let session: &Session = &bench.session;
    let mut add = session.prepare(add).await.expect("prepared");
    add.set_consistency(consistency);
    add.set_is_idempotent(false);
    add.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
    let mut sent = Sent::default();
    while !stop.load(Ordering::Relaxed) {
        let (n, by) = (rand::random_range(0..counters), rand::random_range(1..=5));
        let added = session
            .execute_unpaged(&add, (Counter(by), format!("v{n}")))
            .await;
        let known = match added {
            Ok(_) => &mut sent.acknowledged,
            Err(_) => &mut sent.lost,
        };
        *known.entry(n).or_default() += by;
        tokio::time::sleep(BREATH).await;
    }
    sent
}

/// What became of a copier's runs.
#[derive(Debug, Default)]
struct Runs {
    killed: u32,
    finished: u32,
    folded: u64,
}

/// A copier that is started again and again, and killed at a random moment of its work if it doesn't end
/// before. Once on its way its journal is deleted.
fn copier(bench: &Bench, plan: &str, journal: &Path, until: Instant, lose_at: Instant) -> Runs {
    let mut runs = Runs::default();
    let mut lost = false;
    // Where little is done in that time, until there is something to be seen.
    while Instant::now() < until || runs.killed < LEAST_KILLS {
        let mut running = bench.migrate_by(plan, &["copy", "--json"]).spawn();
        // It says who it is in the journal's lock when it begins.
        let me = format!("process {}\n", running.pid());
        let lock = journal.join("votes").join("lock");
        let has_begun = || fs::read_to_string(&lock).is_ok_and(|holder| holder == me);
        while running.runs() && !has_begun() {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Some come farther than others.
        let longest = [3_000, 3_000, 9_000][runs.killed as usize % 3];
        let moment = Instant::now() + Duration::from_millis(rand::random_range(0..longest));
        while running.runs() && Instant::now() < moment {
            std::thread::sleep(Duration::from_millis(10));
        }
        if running.runs() {
            let outcome = running.kill();
            runs.killed += u32::from(outcome.code.is_none());
        } else {
            let counted = Counted::of(&running.wait().expect_code(0));
            runs.finished += 1;
            runs.folded += counted.folded;
        }
        if !lost && Instant::now() > lose_at {
            fs::remove_dir_all(journal).expect("deleted");
            lost = true;
        }
    }
    assert!(lost, "its journal was never deleted");
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copiers_killed_while_counters_grow() {
    let bench = Arc::new(Bench::new("crowd").await);
    bench
        .cql("CREATE TABLE votes (id text PRIMARY KEY, n counter)")
        .await;
    let (counters, length) = size();
    let plan = format!("{PLAN}{VOTES_PLAN}");
    bench.plan(&plan).init();
    let other = bench.stores().replace("/journal\"", "/other-journal\"");
    bench.write("other.toml", &format!("{other}{plan}"));

    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let voters: Vec<_> = (0..VOTERS)
        .map(|at| {
            let consistency = [Consistency::LocalQuorum, Consistency::One][at % 2];
            tokio::spawn(voter(bench.clone(), counters, consistency, stop.clone()))
        })
        .collect();
    // They come to be while they are folded already.
    let filled = bench.clone();
    let filling = tokio::spawn(async move {
        let first = (0..counters).map(|n| (Counter(n as i64 % 7), format!("v{n}")));
        let add = "UPDATE votes SET n = n + ? WHERE id = ?";
        filled.fill(add, first).await;
        println!("filled after {:?}", begun.elapsed());
    });
    let journals = [
        ("plan.toml", bench.journal()),
        ("other.toml", bench.folder.path().join("other-journal")),
    ];
    let copiers = journals
        .into_iter()
        .zip([3, 2])
        .map(|((plan, journal), third)| {
            let bench = bench.clone();
            tokio::task::spawn_blocking(move || {
                copier(
                    &bench,
                    plan,
                    &journal,
                    begun + length,
                    begun + length / third,
                )
            })
        });
    let mut killed = 0;
    for copier in copiers.collect::<Vec<_>>() {
        let runs = copier.await.expect("no panic");
        println!("{runs:?}");
        killed += runs.killed;
    }
    filling.await.expect("filled");
    println!(
        "{} items after {:?}",
        bench.items("votes").await.len(),
        begun.elapsed()
    );
    assert!(killed >= 2 * LEAST_KILLS, "only {killed} were killed");
    // The counters grow until the very end, and then the application stops.
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut lost) = (HashMap::<usize, i64>::new(), HashMap::<usize, i64>::new());
    for voter in voters {
        let sent = voter.await.expect("no panic");
        sent.acknowledged
            .into_iter()
            .for_each(|(n, by)| *acknowledged.entry(n).or_default() += by);
        sent.lost
            .into_iter()
            .for_each(|(n, by)| *lost.entry(n).or_default() += by);
    }
    println!(
        "{} counters grew, {} of them by nobody knows how much, after {:?}",
        acknowledged.len(),
        lost.len(),
        begun.elapsed()
    );

    let last = copy(&bench, &[], 0);
    assert_eq!(last.read, counters as u64);
    let settled = copy(&bench, &["--offline", "--final"], 0);
    assert_eq!(
        (settled.settled, settled.folded, settled.went_down),
        (counters as u64, 0, 0)
    );
    println!(
        "last pass {last:?}, settled {settled:?} after {:?}",
        begun.elapsed()
    );

    assert_eq!(VOTES.assert_equal(&bench).await, counters);
    let totals = VOTES.in_cassandra(&bench).await;
    for n in 0..counters {
        let key = format!(
            "{:?}",
            [aws_sdk_dynamodb::types::AttributeValue::S(format!("v{n}"))]
        );
        let total = totals[&key][0].expect("a total") - n as i64 % 7;
        let sure = acknowledged.get(&n).copied().unwrap_or(0);
        let perhaps = lost.get(&n).copied().unwrap_or(0);
        assert!(
            (sure..=sure + perhaps).contains(&total),
            "v{n}: {total}, {sure} + {perhaps}"
        );
    }
    println!("compared after {:?}", begun.elapsed());
    Arc::try_unwrap(bench)
        .ok()
        .expect("nobody else")
        .done()
        .await;
}
