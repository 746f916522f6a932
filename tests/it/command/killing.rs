//! Copies that are stopped in every way there is, and finish.

use std::time::Duration;

use scylla::value::{CqlDecimal, CqlTimestamp};
use uuid::Uuid;

use super::items::{Shape, assert_same};
use super::{Bench, number, says};
use crate::support::is_long;

/// The columns of [`fill_messages`]'s table.
pub(crate) const MESSAGES: Shape = Shape {
    partition: &["room", "day"],
    clustering: &["at", "id"],
    statics: &[],
};

pub(crate) const PLAN: &str = "[[table]]\nname = \"messages\"\nto = \"@-messages\"\n";

/// A table with text, collections, blobs and a composite clustering key in mixed order.
pub(crate) async fn fill_messages(bench: &Bench, rows: usize) {
    bench.cql(CREATE_MESSAGES).await;
    add_messages(bench, rows).await;
}

pub(crate) const CREATE_MESSAGES: &str = "CREATE TABLE messages (room text, day int, at timestamp, id uuid, body text, tags set<text>, meta map<text, text>, marks list<int>, picture blob, price decimal, PRIMARY KEY ((room, day), at, id)) WITH CLUSTERING ORDER BY (at DESC, id ASC)";

/// The rows of [`fill_messages`]'s table.
pub(crate) async fn add_messages(bench: &Bench, rows: usize) {
    let values = (0..rows).map(|n| {
        let tags: Vec<String> = (0..n % 4).map(|tag| format!("tag {tag}")).collect();
        let meta: Vec<(String, String)> = (0..n % 3)
            .map(|key| (format!("key.{key}"), format!("value {n}")))
            .collect();
        let meta: std::collections::BTreeMap<_, _> = meta.into_iter().collect();
        let marks: Vec<i32> = (0..n % 5).map(|mark| (n * mark) as i32 - 7).collect();
        (
            format!("room #{}", n % 97),
            (n / 1_000) as i32,
            CqlTimestamp(1_700_000_000_000 - (n as i64 % 11) * 1_000),
            Uuid::from_u128(n as u128 * 0x9e37_79b9_7f4a_7c15_f39c),
            (n % 10 != 0).then(|| format!("message {n} ☎ {}", "x".repeat(n % 60))),
            tags,
            meta,
            marks,
            (n % 6 == 0).then(|| vec![(n % 256) as u8; n % 300]),
            price(n as i32 - 50),
        )
    });
    let insert = "INSERT INTO messages (room, day, at, id, body, tags, meta, marks, picture, price) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    bench.fill(insert, values).await;
}

/// So many cents, in as few bytes as there can be: any more, and the item has them as they are.
fn price(cents: i32) -> CqlDecimal {
    let bytes = cents.to_be_bytes();
    let spare = |at: &usize| {
        let (byte, next) = (bytes[*at], bytes[*at + 1] & 0x80);
        (byte == 0 && next == 0) || (byte == 0xff && next != 0)
    };
    let first = (0..3).find(|at| !spare(at)).unwrap_or(3);
    CqlDecimal::from_signed_be_bytes_and_exponent(bytes[first..].to_vec(), 2)
}

pub(crate) async fn assert_all_there(bench: &Bench, rows: usize) {
    let old = bench.rows("messages").await;
    assert_eq!(old.len(), rows);
    assert_same(&MESSAGES, &old, bench.items("messages").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_five_times_nothing_is_lost() {
    let rows = if is_long() { 100_000 } else { 10_000 };
    let bench = Bench::new("killed").await;
    fill_messages(&bench, rows).await;
    bench.plan(PLAN).init();
    for kill in 1..=5 {
        let mut running = bench.migrate(&["copy", "--offline"]).spawn();
        bench.until("messages", rows * kill / 7, &mut running).await;
        let moment = rand::random_range(0..200);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let outcome = running.kill();
        assert_eq!(outcome.code, None, "it was killed: {outcome}");
    }
    let outcome = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    let line = &outcome.json()[0];
    assert!(
        number(line, "read") < rows as u64 / 2,
        "it goes on where it was: {line}"
    );
    assert_all_there(&bench, rows).await;
    assert_eq!(bench.status()[0]["copied"], 1.0);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_once_it_stops_cleanly_and_twice_at_once() {
    const ROWS: usize = 4_000;
    let bench = Bench::new("interrupted").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let mut running = bench.migrate(&["copy", "--offline", "--json"]).spawn();
    bench.until("messages", ROWS / 5, &mut running).await;
    running.interrupt();
    let first = running.wait().expect_code(3);
    says(&first, &["stopping", "run the same command again"]);
    let read = number(&first.json()[0], "read");
    assert!(read < ROWS as u64, "{first}");
    let status = bench.status();
    let copier = &status[0]["copiers"][0];
    assert_eq!(copier["ended"], true, "it said goodbye: {copier}");

    let mut running = bench.migrate(&["copy", "--offline"]).spawn();
    bench.until("messages", ROWS * 2 / 5, &mut running).await;
    running.signal("TERM");
    running.wait_for("about stopping", |line| line.contains("stopping"));
    running.interrupt();
    running.wait().expect_code(3);

    let last = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    assert!(
        number(&last.json()[0], "read") < ROWS as u64 * 4 / 5,
        "{last}"
    );
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}

/// The first of two, stopped in mid-work, so that the second certainly meets it.
#[tokio::test(flavor = "multi_thread")]
async fn two_copies_at_once() {
    const ROWS: usize = 2_400;
    let bench = Bench::new("two").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let other = bench.stores().replace("/journal\"", "/other-journal\"");
    bench.write("other.toml", &format!("{other}{PLAN}"));

    let mut first = bench.migrate(&["copy", "--offline"]).spawn();
    bench.until("messages", 200, &mut first).await;
    first.signal("STOP");
    let second = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    let holder = format!("process {}", first.pid());
    says(
        &second,
        &[
            "another copy holds this journal",
            &holder,
            "[journal] dir",
            "--shard",
        ],
    );
    let beside = bench
        .migrate_by("other.toml", &["copy", "--offline"])
        .spawn();
    first.signal("CONT");
    first.wait().expect_code(0);
    beside.wait().expect_code(0);
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}
