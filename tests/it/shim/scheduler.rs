//! The shim's own async code against stores in memory, with a time of its own in which every call takes as
//! long as a seed says: thousands of seeds, each of them the same whenever it is run.
//!
//! ```text
//! CROSSFADE_SEED=4711 cargo test --all-features --test it histories_of
//! CROSSFADE_SEEDS=100000 …            so many seeds
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::copying::copier;
use super::world::{World, application, look_at_the_end, mover};
use crate::history::Judged;
use crate::support::is_long;

/// What became of a seed.
struct Ended {
    judged: Judged,
    wrongs: Vec<String>,
    told: String,
}

/// Runs a seed to its end.
fn run(seed: u64) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let here = tokio::task::LocalSet::new();
    here.block_on(&runtime, async {
        let world = World::new(seed).await;
        let applications: Vec<_> = (0..3)
            .map(|number| tokio::spawn(application(world.clone(), number)))
            .collect();
        let copying = tokio::task::spawn_local(copier(world.clone()));
        let (moving, told) = (tokio::spawn(mover(world.clone())), world.clone());
        let all = async move {
            moving
                .await
                .map_err(|error| format!("the mover: {error}"))?;
            for application in applications {
                let ended = application.await;
                ended.map_err(|error| format!("an application: {error}"))?;
            }
            copying
                .await
                .map_err(|error| format!("the copier: {error}"))?;
            let last = tokio::spawn(look_at_the_end(world.clone()));
            last.await.map_err(|error| format!("at the end: {error}"))
        };
        let ended: Result<(), String> =
            match tokio::time::timeout(Duration::from_secs(600), all).await {
                Ok(ended) => ended,
                Err(_) => Err("it never ended".into()),
            };
        let mut wrongs = told.history.wrongs();
        wrongs.extend(ended.err());
        Ended {
            judged: told.history.judged(),
            wrongs,
            told: told.told(),
        }
    })
}

fn count(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn seeds() -> u64 {
    count("CROSSFADE_SEEDS").unwrap_or(if is_long() { 10_000 } else { 200 })
}

#[test]
fn histories_of_applications_while_their_tables_move() {
    if let Some(seed) = count("CROSSFADE_SEED") {
        let ended = run(seed);
        println!("{:?}\n    {}", ended.judged, ended.told);
        assert!(ended.wrongs.is_empty(), "{}", ended.wrongs.join("\n"));
        return;
    }
    let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let workers = (0..2).map(|_| {
        let next = next.clone();
        std::thread::spawn(move || {
            let mut all = Judged::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds() {
                    return all;
                }
                let ended = run(seed);
                assert!(
                    ended.wrongs.is_empty(),
                    "CROSSFADE_SEED={seed}\n    {}\n{}",
                    ended.told,
                    ended.wrongs.join("\n")
                );
                all = all.and(ended.judged);
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    let judged = workers
        .into_iter()
        .map(|worker| worker.join().expect("no panic"));
    let judged = judged.fold(Judged::default(), Judged::and);
    println!("{} seeds in {:?}: {judged:?}", seeds(), begun.elapsed());
    assert!(judged.done > judged.unknown && judged.unknown > 0 && judged.reads > 0);
}

#[test]
fn a_seed_is_the_same_whenever_it_is_run() {
    for seed in 0..8 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.told, other.told);
        assert_eq!(one.judged, other.judged);
    }
}
