//! The copier on stores in memory that fail, killed again and again: what is there at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

mod counters;
mod partial;
mod sharing;

use super::*;
use crate::journal::Binding;
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{Mark, Value};
use crate::protocol::Phase;
use crate::schema::{Column, Layout, Order, Role, Table, Type};
use crate::testing::faulty::{Faults, Faulty};
use crate::testing::rig::{Rig, content, put, record};

const ROWS: i32 = 700;

fn table() -> Table {
    Table::new(
        "events",
        vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("body", Type::Text, Role::Regular),
        ],
    )
}

/// One wide partition among narrow ones.
fn rows() -> Vec<Row> {
    let row = |n: i32| {
        let id = if n % 3 == 0 { 7 } else { n / 4 };
        let key = Key::row(vec![Value::Int(id)], vec![Value::Int(n)]);
        Row::new(key, vec![Some(Value::Text(format!("row {n}")))])
    };
    (0..ROWS).map(row).collect()
}

struct Bench {
    rig: Rig,
    transform: Arc<Transform>,
    folder: tempfile::TempDir,
    faults: Faults,
    refused: Option<Key>,
    counters: Option<Counters>,
    beside_applications: bool,
    options: CopySettings,
    /// The most pages that the last run asked for at once, first ones of ranges left out.
    most_pages: AtomicU64,
    /// What a call to the old store takes to arrive.
    page_takes: Duration,
}

impl Bench {
    async fn new(faults: Faults) -> Self {
        Bench::of(&table(), rows(), faults).await
    }

    async fn of(table: &Table, rows: Vec<Row>, faults: Faults) -> Self {
        let transform = Transform::new(
            table,
            &BTreeMap::new(),
            None,
            None,
            "target",
            Layout::default(),
        );
        let transform = Arc::new(transform.unwrap());
        let rig = Rig::new().await;
        rig.create(table, transform.target()).await;
        put(&rig.old, table, &rows).await;
        let record = record(Phase::Offline, table, transform.target());
        assert!(rig.control().add("target", &record).await.unwrap());
        Bench {
            rig,
            transform,
            folder: tempfile::tempdir().unwrap(),
            faults,
            refused: None,
            counters: None,
            beside_applications: false,
            options: CopySettings {
                readers: 4,
                splits: 16,
                puts: 4,
                ..CopySettings::default()
            },
            most_pages: AtomicU64::new(0),
            page_takes: Duration::ZERO,
        }
    }

    fn waiting(store: Arc<Faulty>) -> Retry {
        let patience = Patience {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(2),
            give_up: Duration::from_secs(60),
        };
        Retry::new(store, patience)
    }

    /// One run. `polls`: killed when the copy has been given that many turns.
    async fn run(&self, seed: u64, polls: Option<u32>) -> Option<CopyOutcome> {
        self.run_from(self.folder.path(), seed, polls, || {}).await
    }

    /// The same with a journal of its own, and something else that happens before each turn.
    async fn run_from(
        &self,
        folder: &std::path::Path,
        seed: u64,
        polls: Option<u32>,
        mut meanwhile: impl FnMut(),
    ) -> Option<CopyOutcome> {
        let binding = Binding {
            plan: "test".into(),
            table: "events".into(),
            old_id: "old".into(),
            target_id: "new".into(),
            mapping: "same".into(),
            freeze: 1,
            incarnation: "once".into(),
            shard: String::new(),
        };
        let opened = Journal::open(folder, &binding, self.transform.source())
            .await
            .unwrap();
        assert_eq!(opened.set_aside, None);
        let write_faults = Faults {
            widest: 0,
            breaks: 0,
            ..self.faults
        };
        let read = Arc::new(Faulty::new(self.rig.old.clone(), self.faults, seed));
        read.take(self.page_takes);
        let old = Self::waiting(read.clone());
        let mut new = Faulty::new(self.rig.new.clone(), write_faults, !seed);
        if let Some(key) = &self.refused {
            new = new.refusing(key.clone());
        }
        let new = Self::waiting(Arc::new(new));
        let live = CopyProgress::new(old.seen(), new.seen());
        let copier = Copier {
            old: Old(Arc::new(old)),
            new: Writer(Arc::new(new)),
            transform: self.transform.clone(),
            control: self.rig.control(),
            counters: self.counters,
            beside_applications: self.beside_applications,
            freeze: 1,
            incarnation: "once".into(),
            mapping: "same".into(),
            copier: "test".into(),
            options: self.options.clone(),
        };
        let stop = CancellationToken::new();
        let progress = self.rig.control().progress("target").await.unwrap();
        let elsewhere = match self.counters {
            None => Intervals::default(),
            Some(_) => progress
                .iter()
                .flat_map(|(_, p)| p.intervals().iter().collect::<Vec<_>>())
                .collect(),
        };
        let mut run =
            Box::pin(copier.run(&opened.journal, opened.remembered, &elsewhere, &live, &stop));
        let mut turns = 0;
        let killed = std::future::poll_fn(|context| {
            turns += 1;
            meanwhile();
            if polls.is_some_and(|polls| turns > polls) {
                return std::task::Poll::Ready(None);
            }
            run.poll_unpin(context).map(Some)
        });
        let outcome = killed.await;
        self.most_pages.store(read.most_pages(), Ordering::Relaxed);
        outcome.map(|outcome| outcome.expect("a copy on stores that come back"))
    }

    async fn assert_equal(&self) {
        let olds = content(&self.rig.old, self.transform.source()).await;
        let news = content(&self.rig.new, self.transform.target()).await;
        assert_eq!(olds.len(), ROWS as usize);
        assert!(olds.keys().eq(news.keys()), "the same keys");
        for (key, new) in &news {
            assert_eq!(new.cells, olds[key].cells, "{key}");
            assert_eq!(new.mark, Some(Mark::Copied), "{key}");
        }
    }
}

#[tokio::test]
async fn every_row_is_copied_once_and_a_second_run_has_nothing_to_do() {
    let bench = Bench::new(Faults::default()).await;
    let first = bench.run(1, None).await.unwrap();
    assert!(first.complete);
    assert_eq!(
        (first.counts.read, first.counts.written),
        (ROWS as u64, ROWS as u64)
    );
    bench.assert_equal().await;
    let second = bench.run(2, None).await.unwrap();
    assert!(second.complete);
    assert_eq!(second.counts.read, 0);
}

#[tokio::test]
async fn killed_at_any_turn_among_faults_it_ends_equal() {
    let faults = Faults {
        unreachable: 0.1,
        reply_lost: 0.1,
        throttled: 0.05,
        ..Faults::default()
    };
    let mut chance = SmallRng::seed_from_u64(20_261_121);
    let (mut kills, mut resumed) = (0, 0);
    for seed in 0..25 {
        let bench = Bench::new(faults).await;
        let mut read = 0;
        for attempt in 0.. {
            let polls = (attempt < 8).then(|| chance.random_range(1..40));
            match bench.run(seed * 100 + attempt, polls).await {
                Some(outcome) => {
                    assert!(outcome.complete);
                    read = outcome.counts.read;
                    break;
                }
                None => kills += 1,
            }
        }
        resumed += u64::from(read < ROWS as u64);
        bench.assert_equal().await;
    }
    assert!(kills > 50, "only {kills} runs were killed");
    assert!(
        resumed > 10,
        "only {resumed} of the last runs went on where an earlier one was"
    );
}

#[tokio::test]
async fn ranges_that_are_too_costly_are_cut_until_they_can_be_read() {
    let faults = Faults {
        widest: u64::MAX >> 9,
        ..Faults::default()
    };
    let bench = Bench::new(faults).await;
    let outcome = bench.run(3, None).await.unwrap();
    assert!(outcome.complete);
    assert_eq!(outcome.counts.failed, 0);
    bench.assert_equal().await;
}

#[tokio::test]
async fn a_row_that_is_refused_for_good_is_a_dead_letter_and_the_rest_is_copied() {
    let mut bench = Bench::new(Faults::default()).await;
    let odd = rows().remove(5).key;
    bench.refused = Some(odd.clone());
    let outcome = bench.run(4, None).await.unwrap();
    assert!(outcome.complete);
    assert_eq!(outcome.counts.failed, 1);
    let letters = bench.rig.control().failures("target").await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].what, display::key(&table(), &odd));
    assert_eq!(letters[0].reason, "refused on purpose");
    assert_eq!(
        content(&bench.rig.new, bench.transform.target())
            .await
            .len(),
        ROWS as usize - 1
    );
}
