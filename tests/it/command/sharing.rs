//! A table most of whose rows are in one range: readers that have nothing left to do share it.

use crossfade::codec::cql;
use crossfade::model::{Tokens, Value};
use crossfade::schema::{Column, Role, Type};

use super::items::{Shape, assert_same};
use super::{Bench, number};

const EVENTS: Shape = Shape {
    partition: &["id"],
    clustering: &["at"],
    statics: &[],
};
/// Partitions of the crowded range, and rows of each.
const CROWD: usize = 30;
const EACH: i32 = 40;
/// Rows elsewhere.
const ALONE: i32 = 200;

/// Whether a partition is in a stretch that is as narrow as the ranges of a small table, which lies in two of them at most.
fn is_crowded(id: i32) -> bool {
    let columns = [Column::new("id", Type::Int, Role::Partition)];
    let range = Tokens::ALL.split(65)[20];
    range.contains(cql::token(&columns, &[Value::Int(id)]))
}

async fn fill(bench: &Bench) -> usize {
    bench
        .cql("CREATE TABLE events (id int, at int, body text, PRIMARY KEY (id, at))")
        .await;
    let crowd = (0..).filter(|id| is_crowded(*id)).take(CROWD);
    let crowd = crowd.flat_map(|id| (0..EACH).map(move |at| (id, at)));
    let alone = (0..ALONE).filter(|id| !is_crowded(*id)).map(|id| (id, 0));
    let keys: Vec<(i32, i32)> = crowd.chain(alone).collect();
    let rows = keys
        .iter()
        .map(|(id, at)| (*id, *at, format!("{id}, {at}")));
    let insert = "INSERT INTO events (id, at, body) VALUES (?, ?, ?)";
    bench.fill(insert, rows).await;
    // Pages are small, so that the crowded range takes many of them.
    let stores = bench.stores();
    let stores = stores.replace("[new]", "page_rows = 20\n[new]");
    let table = "[[table]]\nname = \"events\"\nto = \"@-events\"\n";
    bench.write("plan.toml", &format!("{stores}{table}"));
    bench.init();
    keys.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_readers_share_a_crowded_range_and_each_row_is_written_once() {
    let bench = Bench::new("sharing").await;
    let rows = fill(&bench).await as u64;
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .env("RUST_LOG", "crossfade=debug")
        .run()
        .expect_code(0);
    let shared = copied.stderr.matches("an idle reader takes over").count();
    assert!(shared >= 4, "{copied}");
    let line = &copied.json()[0];
    let counts = ["read", "written", "present"].map(|field| number(line, field));
    assert_eq!(counts, [rows, rows, 0], "{line}");
    assert_same(
        &EVENTS,
        &bench.rows("events").await,
        bench.items("events").await,
    );
    assert_eq!(bench.status()[0]["copied"], 1.0);
    bench.done().await;
}

/// One reader has nobody to share with.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_how_many_ranges_are_read_at_once() {
    let bench = Bench::new("alone").await;
    let rows = fill(&bench).await as u64;
    let checked = bench.migrate(&["check"]).run().expect_code(0);
    let chosen =
        "reads: 8 ranges at once (1 node, each read of 1 replica; at most 8 for each node)";
    assert!(checked.stdout.contains(chosen), "{checked}");
    let path = bench.folder.path().join("plan.toml");
    let plan = std::fs::read_to_string(path).expect("the plan");
    bench.write(
        "plan.toml",
        &plan.replace("page_rows", "readers = 1\npage_rows"),
    );
    let checked = bench.migrate(&["check"]).run().expect_code(0);
    let planned = "reads: 1 range at once (1 node, each read of 1 replica; `readers` of the plan)";
    assert!(checked.stdout.contains(planned), "{checked}");
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .env("RUST_LOG", "crossfade=debug")
        .run()
        .expect_code(0);
    assert!(!copied.stderr.contains("an idle reader"), "{copied}");
    assert_eq!(number(&copied.json()[0], "written"), rows);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_range_is_shared_nothing_is_lost() {
    let bench = Bench::new("shared").await;
    fill(&bench).await;
    for number in [1, 2, 3] {
        let point = format!("{number} after a range was shared");
        let copy = bench.migrate(&["copy", "--offline"]);
        let killed = copy.env("CROSSFADE_STOP_AT", point).run();
        assert_eq!(killed.code, None, "{killed}");
    }
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_same(
        &EVENTS,
        &bench.rows("events").await,
        bench.items("events").await,
    );
    let again = bench.migrate(&["copy", "--offline", "--json"]).run();
    assert_eq!(number(&again.expect_code(0).json()[0], "read"), 0);
    bench.done().await;
}
