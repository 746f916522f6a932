use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::error::ThrottleCause;
use crate::model::Value;
use crate::store::{WriteOutcome, WriteOutcomes};

const FEW: [&[Value]; 25] = [&[]; 25];

fn rows(keys: &'static [&'static [Value]]) -> WrittenRows<'static> {
    WrittenRows { table: "t", keys }
}

fn written(count: usize, units: f64) -> WriteOutcomes {
    WriteOutcomes {
        rows: (0..count).map(|_| Ok(WriteOutcome::Written)).collect(),
        units,
        bytes: 0,
    }
}

/// A store that bears so many units a second, and saves up a tenth of a second's.
struct Bearing {
    state: Mutex<(f64, Instant)>,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Every row is of this partition, and the store says so.
    cause: Option<ThrottleCause>,
}

impl Bearing {
    fn new() -> Arc<Self> {
        Bearing::called(None)
    }

    fn called(cause: Option<ThrottleCause>) -> Arc<Self> {
        Arc::new(Bearing {
            state: Mutex::new((0.0, Instant::now())),
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
            cause,
        })
    }

    fn write(&self, count: usize, each_second: f64) -> WriteOutcomes {
        let mut state = locked(&self.state);
        let passed = state.1.elapsed().as_secs_f64();
        *state = (
            (state.0 + passed * each_second).min(each_second / 10.0),
            Instant::now(),
        );
        let mut answer = written(0, 0.0);
        for _ in 0..count {
            if state.0 >= 1.0 {
                state.0 -= 1.0;
                answer.units += 1.0;
                answer.rows.push(Ok(WriteOutcome::Written));
                self.accepted.fetch_add(1, Ordering::Relaxed);
            } else {
                let mut error = Error::new(Kind::Throttled, "less");
                if let Some(cause) = self.cause {
                    error = error.with_throttle_cause(cause);
                }
                answer.rows.push(Err(error));
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    /// Accepted in a second and the share that was refused, over the next `seconds`.
    async fn over(&self, seconds: u64) -> (f64, f64) {
        let get = || {
            let get = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
            (get(&self.accepted), get(&self.refused))
        };
        let (accepted, refused) = get();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (more, more_refused) = get();
        let (accepted, refused) = (more - accepted, more_refused - refused);
        (
            accepted / seconds as f64,
            refused / (accepted + refused).max(1.0),
        )
    }
}

/// Eight at once write batches into a store that bears what `bears` says, until the answer is dropped.
fn writers(
    pace: &Arc<Pace>,
    store: &Arc<Bearing>,
    bears: impl Fn() -> f64 + Clone + Send + Sync + 'static,
) -> tokio::task::JoinSet<()> {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pace, store, bears) = (pace.clone(), store.clone(), bears.clone());
        writers.spawn(async move {
            loop {
                let write = async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    store.write(25, bears())
                };
                let answer = pace.writing(rows(&FEW), write).await;
                if answer.rows.iter().any(Result::is_err) {
                    pace.again().await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    writers
}

#[tokio::test(start_paused = true)]
async fn it_settles_at_what_the_store_bears_and_follows_it() {
    let bears = Arc::new(AtomicU64::new(1_000));
    let told = bears.clone();
    let bears_now = move || told.load(Ordering::Relaxed) as f64;
    let (pace, store) = (Arc::new(Pace::default()), Bearing::new());
    let _writers = writers(&pace, &store, bears_now);
    store.over(5).await;
    for now in [1_000, 2_000, 1_000, 500, 4_000] {
        bears.store(now, Ordering::Relaxed);
        // Ten seconds for each doubling or halving; the last is three doublings.
        store.over(if now == 4_000 { 20 } else { 10 }).await;
        let (rate, refused) = store.over(20).await;
        let is_near = (now as f64 * 0.9..=now as f64 * 1.1).contains(&rate);
        assert!(is_near, "{now}: {rate}, {refused}");
        assert!(refused < 0.05, "{now}: {rate}, {refused}");
        assert_eq!(
            pace.now().reason,
            Some(PaceReason::Throttled(PacedStore::New)),
            "{now}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_paces_share_what_a_store_bears() {
    let store = Bearing::new();
    let paces = [Arc::new(Pace::default()), Arc::new(Pace::default())];
    let _writers: Vec<_> = paces
        .iter()
        .map(|pace| writers(pace, &store, || 1_000.0))
        .collect();
    store.over(15).await;
    let (rate, refused) = store.over(30).await;
    assert!((900.0..=1_100.0).contains(&rate), "{rate}, {refused}");
    assert!(refused < 0.05, "{rate}, {refused}");
}

#[tokio::test(start_paused = true)]
async fn a_hot_partition_holds_up_its_own_rows_alone() {
    const HOT: &[Value] = &[Value::Int(1)];
    const COOL: &[Value] = &[Value::Int(2)];
    const HOT_ROWS: [&[Value]; 10] = [HOT; 10];
    const COOL_ROWS: [&[Value]; 10] = [COOL; 10];
    let pace = Arc::new(Pace::default());
    let hot = Bearing::called(Some(ThrottleCause::Partition));
    let mut tasks = tokio::task::JoinSet::new();
    let cool = Arc::new(AtomicU64::default());
    for _ in 0..2 {
        let (pace, hot) = (pace.clone(), hot.clone());
        tasks.spawn(async move {
            loop {
                let write = async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    hot.write(10, 100.0)
                };
                pace.writing(rows(&HOT_ROWS), write).await;
            }
        });
    }
    let (paced, count) = (pace.clone(), cool.clone());
    tasks.spawn(async move {
        loop {
            let write = async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                count.fetch_add(10, Ordering::Relaxed);
                written(10, 10.0)
            };
            paced.writing(rows(&COOL_ROWS), write).await;
        }
    });
    hot.over(10).await;
    let before = cool.load(Ordering::Relaxed);
    let (rate, refused) = hot.over(20).await;
    let cool = (cool.load(Ordering::Relaxed) - before) / 20;
    assert!((85.0..=115.0).contains(&rate), "{rate}, {refused}");
    assert!(refused < 0.1, "{rate}, {refused}");
    assert!(cool > 1_500, "the others wait for it: {cool}");
    assert_eq!(pace.now().reason, Some(PaceReason::HotPartitions(1)));
    assert_eq!(pace.now().write_units, None);
}

#[tokio::test(start_paused = true)]
async fn an_old_store_that_is_slow_is_asked_for_less_until_it_is_quick_again() {
    let over = Duration::from_millis(50);
    let pace = Arc::new(Pace::default().of_old(Some(over)));
    let (took, pages) = (Arc::new(AtomicU64::new(20)), Arc::new(AtomicU64::default()));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (pace, took, pages) = (pace.clone(), took.clone(), pages.clone());
        readers.spawn(async move {
            loop {
                let read = async {
                    let begun = Instant::now();
                    tokio::time::sleep(Duration::from_millis(took.load(Ordering::Relaxed))).await;
                    pace.took("scan", begun);
                    pages.fetch_add(1, Ordering::Relaxed);
                    Ok(100)
                };
                let _ = pace.reading(read, |rows| *rows).await;
            }
        });
    }
    let rate = async |seconds| {
        let before = pages.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (pages.load(Ordering::Relaxed) - before) as f64 / seconds as f64
    };
    let free = rate(5).await;
    assert_eq!(pace.now().reason, None);
    took.store(84, Ordering::Relaxed);
    rate(20).await;
    let held = rate(10).await;
    assert!(held < free / 20.0, "{free}, {held}");
    assert!(held > 0.2, "it is asked still: {held}");
    let why = pace.now().reason.map(|reason| reason.to_string());
    assert_eq!(why.as_deref(), Some("old store slow: p99 84 ms over 50"),);
    took.store(20, Ordering::Relaxed);
    rate(40).await;
    let again = rate(5).await;
    assert!(again > free * 0.9, "{free}, {again}");
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_the_old_store_slow_it_down_and_a_ceiling_stays_one() {
    let pace = Pace::new(Some(1_000), None).of_old(None);
    let page = async |answer: Result<usize>| {
        let read = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer
        };
        let _ = pace.reading(read, |rows| *rows).await;
    };
    for _ in 0..30 {
        page(Ok(100)).await;
    }
    assert_eq!(pace.now().reason, Some(PaceReason::Ceiling));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        page(Err(Error::new(Kind::Timeout, "late"))).await;
    }
    assert_eq!(pace.now().reason, Some(PaceReason::OldFails));
    let limit = pace.now().read_rows.unwrap_or(f64::MAX);
    assert!(limit < 1_000.0, "{limit}");
    let begun = Instant::now();
    for _ in 0..600 {
        page(Ok(100)).await;
    }
    let rate = 60_000.0 / begun.elapsed().as_secs_f64();
    assert!((700.0..=1_020.0).contains(&rate), "{rate}");
}

#[tokio::test(start_paused = true)]
async fn orders_hold_for_calls_that_wait_already() {
    let pace = Arc::new(Pace::new(None, Some(1)));
    let write = |pace: &Arc<Pace>| {
        let pace = pace.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let write = async { written(25, 25.0) };
                pace.writing(rows(&FEW), write).await;
            }
        })
    };
    let writing = write(&pace);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!writing.is_finished());
    pace.order(PaceOrders::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(writing.is_finished(), "a ceiling that was raised");

    let paused = PaceOrders {
        is_paused: true,
        ..PaceOrders::default()
    };
    pace.order(paused);
    let writing = write(&pace);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!writing.is_finished());
    assert_eq!(pace.now().reason, Some(PaceReason::Paused));
    let unsure = PaceOrders {
        valid_until: Some(Duration::ZERO),
        ..PaceOrders::default()
    };
    pace.order(unsure);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!writing.is_finished(), "nobody knows what operators want");
    assert_eq!(pace.now().reason, Some(PaceReason::OrdersUnknown));
    pace.order(PaceOrders::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(writing.is_finished());
}

/// Eight at once write rows of so many units for a while; gives the units of a second.
async fn written_in_a_second(
    pace: Pace,
    units: impl Fn(u64) -> u64 + Copy + Send + Sync + 'static,
) -> f64 {
    const SECONDS: u64 = 20;
    let (pace, sum) = (Arc::new(pace), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pace, sum) = (pace.clone(), sum.clone());
        writers.spawn(async move {
            for turn in 0.. {
                let write = async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    sum.fetch_add(25 * units(turn), Ordering::Relaxed);
                    written(25, (25 * units(turn)) as f64)
                };
                pace.writing(rows(&FEW), write).await;
                if begun.elapsed() >= Duration::from_secs(SECONDS) {
                    return;
                }
            }
        });
    }
    writers.join_all().await;
    sum.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_is_reached_and_kept() {
    for cost in [1, 3, 40] {
        let rate = written_in_a_second(Pace::new(None, Some(1_000)), move |_| cost).await;
        // All are on their way when the minute ends.
        let last = 8.0 * 25.0 * cost as f64 / 20.0;
        assert!((950.0..=1_000.0 + last).contains(&rate), "{cost}: {rate}");
    }
    let rate = written_in_a_second(Pace::new(None, Some(1_000)), |turn| 1 + turn % 7).await;
    assert!((900.0..=1_100.0).contains(&rate), "{rate}");
    let rate = written_in_a_second(Pace::default(), |_| 1).await;
    assert!(rate > 30_000.0, "without a ceiling: {rate}");
}

#[tokio::test(start_paused = true)]
async fn pages_are_paid_for_by_the_rows_they_had() {
    let pace = Pace::new(Some(100), None);
    let begun = Instant::now();
    for rows in [500, 0, 0, 500] {
        let page = async { Ok(rows) };
        assert_eq!(pace.reading(page, |rows| *rows).await.ok(), Some(rows));
    }
    let took = begun.elapsed().as_secs_f64();
    // The last one is a debt.
    assert!((5.0..=6.0).contains(&took), "{took}");
    let failed = async { Err::<usize, _>(Error::new(Kind::Timeout, "")) };
    assert!(pace.reading(failed, |rows| *rows).await.is_err());
    let took = begun.elapsed().as_secs_f64();
    assert!((10.0..=11.0).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_up_is_a_second_at_most() {
    let pace = Pace::new(None, Some(25));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let begun = Instant::now();
    for _ in 0..5 {
        let write = async { written(25, 25.0) };
        pace.writing(rows(&FEW), write).await;
    }
    assert_eq!(begun.elapsed().as_secs_f64().round(), 4.0);
}
