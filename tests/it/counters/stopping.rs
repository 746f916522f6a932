//! The process dies before and after each write to the target, to the control table and to the
//! journal, one point after the other, and is started again: the totals are those of a run that
//! nothing has stopped.

use std::collections::HashMap;
use std::fs;

use aws_sdk_dynamodb::types::{DeleteRequest, WriteRequest};

use super::Counters;
use crate::command::{Bench, Item};
use crate::support::is_long;

const SCORES: Counters = Counters {
    table: "scores",
    keys: &["room", "n"],
    columns: &["lost", "won"],
};

/// Few partitions, so that there are few pages.
const ROOMS: usize = 6;
const COUNTERS: usize = 60;

async fn fill_scores(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE scores (room text, n int, lost counter, won counter, PRIMARY KEY (room, n))")
        .await;
    futures::future::join_all((0..COUNTERS).map(|n| score(&bench, n, n as i64))).await;
    bench
        .plan("[[table]]\nname = \"scores\"\nto = \"@-scores\"\n")
        .init();
    bench
}

/// Adds to a counter, of every third row to both.
async fn score(bench: &Bench, n: usize, by: i64) {
    let n = n % COUNTERS;
    let lost = if n.is_multiple_of(3) {
        ", lost = lost + 1"
    } else {
        ""
    };
    let room = n % ROOMS;
    bench
        .cql(&format!(
            "UPDATE scores SET won = won + {by}{lost} WHERE room = 'r{room}' AND n = {n}"
        ))
        .await;
}

/// Runs a copy that is to stop at a point. `None` if it came to its end, else where it stopped.
fn stopped_at(bench: &Bench, arguments: &[&str], point: &str) -> Option<String> {
    let copy = bench
        .migrate(arguments)
        .env("CROSSFADE_STOP_AT", point.replace('@', &bench.keyspace));
    let outcome = copy.run();
    if outcome.code == Some(0) {
        return None;
    }
    assert_eq!(outcome.code, None, "it died of something else: {outcome}");
    let place = outcome
        .stderr
        .lines()
        .find_map(|line| line.split_once("stopped at point "));
    let (_, place) = place.unwrap_or_else(|| panic!("it doesn't say where: {outcome}"));
    let (_, place) = place.split_once(": ").expect("a number and a place");
    Some(place.replace(&bench.keyspace, "@"))
}

/// The points that are tried: all of them where the run is a long one, else every fifth, and the first of each
/// of these places.
fn tried(count: u64, places: &[&str]) -> Vec<String> {
    let by_number = (1..=count).step_by(if is_long() { 1 } else { 5 });
    let by_place = places.iter().map(|place| format!("1 {place}"));
    by_number.map(|n| n.to_string()).chain(by_place).collect()
}

/// How many points a copy comes to that nothing stops.
fn points(bench: &Bench, arguments: &[&str]) -> u64 {
    let copy = bench
        .migrate(arguments)
        .env("CROSSFADE_STOP_AT", u64::MAX.to_string());
    let outcome = copy.run().expect_code(0);
    let line = outcome
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("stop points passed: "));
    line.expect("the number of points")
        .parse()
        .expect("a number")
}

/// Where the process was stopped, and how often.
#[derive(Default)]
struct Places(HashMap<String, u32>);

impl Places {
    fn add(&mut self, place: Option<String>) {
        *self
            .0
            .entry(place.unwrap_or_else(|| "nowhere".into()))
            .or_default() += 1;
    }

    /// Fails unless it was stopped at all of these, and nearly always. The journal gathers what comes
    /// within a moment, and a lease is renewed every few seconds, so that a run may have some points
    /// less than the one that was counted.
    fn assert_enough(&self, wanted: &[&str]) {
        println!("stopped {:?}", self.0);
        for place in wanted {
            assert!(
                self.0.contains_key(*place),
                "never stopped {place}: {:?}",
                self.0
            );
        }
        let nowhere = self.0.get("nowhere").copied().unwrap_or(0);
        assert!(nowhere * 5 <= self.0.values().sum(), "{:?}", self.0);
    }
}

/// A target, and its control table, as they were once.
struct Snapshot {
    control: String,
    items: Vec<Item>,
}

impl Snapshot {
    async fn take(bench: &Bench) -> Self {
        let control = format!("{}-control", bench.keyspace);
        let scan = bench
            .dynamo
            .scan()
            .table_name(&control)
            .consistent_read(true);
        let items = scan.send().await.expect("items").items.unwrap_or_default();
        assert_eq!(items.len(), 1, "the record alone");
        Snapshot { control, items }
    }

    /// Empties the target, puts the control table back, and forgets the journal.
    async fn restore(&self, bench: &Bench) {
        let target = bench.target("scores");
        for (table, keys) in [
            (&target, ["room", "n"]),
            (&self.control, ["target", "item"]),
        ] {
            let scan = bench.dynamo.scan().table_name(table).consistent_read(true);
            let items = scan.send().await.expect("items").items.unwrap_or_default();
            let delete = |item: &Item| {
                let key = keys.map(|name| (name.to_owned(), item[name].clone()));
                let delete = DeleteRequest::builder().set_key(Some(key.into()));
                let delete = delete.build().expect("a key");
                WriteRequest::builder().delete_request(delete).build()
            };
            for some in items.chunks(25) {
                let batch = bench.dynamo.batch_write_item();
                let batch = batch.request_items(table, some.iter().map(delete).collect());
                let left = batch.send().await.expect("deleted").unprocessed_items;
                assert!(left.is_none_or(|left| left.is_empty()));
            }
        }
        for item in &self.items {
            let put = bench.dynamo.put_item().table_name(&self.control);
            put.set_item(Some(item.clone())).send().await.expect("put");
        }
        if bench.journal().exists() {
            fs::remove_dir_all(bench.journal()).expect("deleted");
        }
    }
}

const FIRST_PLACES: [&str; 6] = [
    "before a put in @-control",
    "after a put in @-control",
    "before a put in @-scores",
    "after a put in @-scores",
    "before a flush of the journal",
    "after a flush of the journal",
];

const LATER_PLACES: [&str; 6] = [
    "before a put in @-control",
    "after a put in @-control",
    "before a fold in @-scores",
    "after a fold in @-scores",
    "before a flush of the journal",
    "after a flush of the journal",
];

/// From nothing to settled: the record goes offline, every item is put, what is settled is noted.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_and_last_pass_stopped_at_every_point() {
    const COPY: [&str; 3] = ["copy", "--offline", "--final"];
    let bench = fill_scores("first").await;
    let begun = Snapshot::take(&bench).await;
    let count = points(&bench, &COPY);
    assert_eq!(SCORES.assert_equal(&bench).await, COUNTERS);
    let mut places = Places::default();
    for point in tried(count, &FIRST_PLACES) {
        begun.restore(&bench).await;
        places.add(stopped_at(&bench, &COPY, &point));
        bench.migrate(&COPY).run().expect_code(0);
        assert_eq!(SCORES.assert_equal(&bench).await, COUNTERS, "point {point}");
    }
    assert_eq!(bench.status()[0]["copied"], 1.0);
    places.assert_enough(&FIRST_PLACES);
    bench.done().await;
}

/// Pass after pass over totals that grow, before each one and after each death.
#[tokio::test(flavor = "multi_thread")]
async fn later_passes_stopped_at_every_point() {
    const GROWN: usize = 12;
    let bench = fill_scores("later").await;
    bench.migrate(&["copy"]).run().expect_code(0);
    let grow = async |from: usize, count: usize| {
        let adds = (0..count).map(|n| score(&bench, from + n * 7, 1 + n as i64));
        futures::future::join_all(adds).await;
    };
    grow(0, GROWN).await;
    let count = points(&bench, &["copy"]);
    assert_eq!(SCORES.assert_equal(&bench).await, COUNTERS);
    let mut places = Places::default();
    for (turn, point) in tried(count, &LATER_PLACES).into_iter().enumerate() {
        let from = (turn + 1) * 5;
        grow(from, GROWN).await;
        places.add(stopped_at(&bench, &["copy"], &point));
        // Some of those that the stopped one was at.
        grow(from, 3).await;
        bench.migrate(&["copy"]).run().expect_code(0);
        assert_eq!(SCORES.assert_equal(&bench).await, COUNTERS, "point {point}");
    }
    places.assert_enough(&LATER_PLACES);
    bench.done().await;
}
