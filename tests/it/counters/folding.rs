//! Passes over counter tables of several shapes, and what their items look like.

use std::fs;

use aws_sdk_dynamodb::types::AttributeValue as A;

use super::{Counted, Counters, VOTES, VOTES_PLAN, add_in_new, copy, fill_votes, number_of, vote};
use crate::command::{Bench, Item, says};

const COUNTERS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn each_pass_moves_what_was_added_since() {
    let bench = Bench::new("passes").await;
    fill_votes(&bench, COUNTERS).await;
    bench.plan(VOTES_PLAN).init();
    let all = COUNTERS as u64;
    let counted = |folded: u64, settled: u64| Counted {
        read: all,
        folded,
        unchanged: all - folded,
        settled,
        went_down: 0,
        failed: 0,
    };

    assert_eq!(copy(&bench, &[], 0), counted(all, 0));
    assert_eq!(VOTES.assert_equal(&bench).await, COUNTERS, "zeros too");
    assert_eq!(
        bench.status()[0]["phase"],
        "old",
        "no phase was left for it"
    );

    for n in 0..7 {
        vote(&bench, n * 40, 3).await;
    }
    assert_eq!(copy(&bench, &[], 0), counted(7, 0));
    VOTES.assert_equal(&bench).await;
    assert_eq!(copy(&bench, &[], 0), counted(0, 0));

    // The target knows as well as the journal does.
    fs::remove_dir_all(bench.journal()).expect("deleted");
    vote(&bench, 5, 1).await;
    assert_eq!(copy(&bench, &[], 0), counted(1, 0));

    vote(&bench, 6, 1).await;
    assert_eq!(copy(&bench, &["--offline"], 0), counted(1, 0));
    assert_eq!(bench.status()[0]["phase"], "offline");
    vote(&bench, 7, 1).await;
    assert_eq!(copy(&bench, &["--offline", "--final"], 0), counted(1, all));
    assert_eq!(bench.status()[0]["copied"], 1.0);
    assert_eq!(copy(&bench, &["--final"], 0), counted(0, all));
    VOTES.assert_equal(&bench).await;

    let shown = bench.migrate(&["copy"]).run().expect_code(0).stdout;
    for word in ["counters", "unchanged", "settled", "went down", "300"] {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
    bench.done().await;
}

const EVENTS: Counters = Counters {
    table: "events",
    keys: &["room", "day", "at", "kind"],
    columns: &["down", "still", "up"],
};

/// Two made keys, and three counters: each row has some of them, one of every kind.
async fn fill_events(bench: &Bench) -> u64 {
    bench
        .cql("CREATE TABLE events (room text, day int, at bigint, kind text, down counter, still counter, up counter, PRIMARY KEY ((room, day), at, kind)) WITH CLUSTERING ORDER BY (at DESC, kind ASC)")
        .await;
    let mut rows = 0;
    for n in 0..24 {
        let key = format!(
            "room = 'room #{}' AND day = {} AND at = {} AND kind = 'k{n}'",
            n % 3,
            n % 2,
            n - 12
        );
        let changes = ["up = up + 5", "still = still + 0", "down = down - 7"];
        let chosen: Vec<&str> = (0..3)
            .filter(|column| n & (1 << column) != 0)
            .map(|column| changes[column])
            .collect();
        if !chosen.is_empty() {
            rows += 1;
            let change = format!("UPDATE events SET {} WHERE {key}", chosen.join(", "));
            bench.cql(&change).await;
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn several_counters_below_made_keys() {
    let bench = Bench::new("events").await;
    let rows = fill_events(&bench).await;
    let plan = "[[table]]\nname = \"events\"\nto = \"@-events\"\ndecrements = true\n";
    bench.plan(plan).init();
    let first = copy(&bench, &[], 0);
    assert_eq!((first.read, first.folded, first.failed), (rows, rows, 0));
    assert_eq!(EVENTS.assert_equal(&bench).await as u64, rows);
    for item in bench.items("events").await {
        assert_looks_as_documented(&item);
    }

    // Down, up, up from nothing, and around to where it was.
    let at = |n: i32| {
        let key = (n % 3, n % 2, n - 12);
        format!(
            "WHERE room = 'room #{}' AND day = {} AND at = {} AND kind = 'k{n}'",
            key.0, key.1, key.2
        )
    };
    bench
        .cql(&format!("UPDATE events SET up = up - 9 {}", at(1)))
        .await;
    bench
        .cql(&format!(
            "UPDATE events SET up = up + 1, down = down - 1 {}",
            at(7)
        ))
        .await;
    bench
        .cql(&format!("UPDATE events SET down = down - 4 {}", at(2)))
        .await;
    bench
        .cql(&format!("UPDATE events SET up = up + 1 {}", at(3)))
        .await;
    bench
        .cql(&format!("UPDATE events SET up = up - 1 {}", at(3)))
        .await;
    let second = copy(&bench, &[], 0);
    assert_eq!((second.folded, second.unchanged), (3, rows - 3));
    assert_eq!(EVENTS.assert_equal(&bench).await as u64, rows);
    let last = copy(&bench, &["--offline", "--final"], 0);
    assert_eq!((last.folded, last.settled, last.went_down), (0, rows, 0));
    bench.done().await;
}

/// A made key, the typed columns in it, a value and a watermark of every counter that has one, the
/// copier's mark, and nothing else.
#[track_caller]
fn assert_looks_as_documented(item: &Item) {
    let pk = item["pk"].as_s().expect("an S");
    let (room, day) = (
        item["room"].as_s().expect("an S"),
        item["day"].as_n().expect("an N"),
    );
    assert_eq!(pk, &format!(r"{}#{day}", room.replace('#', r"\#")));
    item["sk"].as_b().expect("a B");
    item["at"].as_n().expect("an N");
    item["kind"].as_s().expect("an S");
    assert_eq!(item["_m"], A::S("c".into()));
    let mut names = vec!["_m", "at", "day", "kind", "pk", "room", "sk"];
    for (column, watermark, total) in [
        ("down", "_w_down", -7),
        ("still", "_w_still", 0),
        ("up", "_w_up", 5),
    ] {
        if let Some(value) = number_of(item, column) {
            assert_eq!((value, number_of(item, watermark)), (total, Some(total)));
            names.extend([column, watermark]);
        }
    }
    let mut found: Vec<&str> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, names);
}

/// An application adds in the new store while the old totals still grow: both are counted, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_in_the_new_store_survives_every_fold() {
    let bench = Bench::new("both").await;
    fill_votes(&bench, 20).await;
    bench.plan(VOTES_PLAN).init();
    // Before the item is there, between two folds, and after the last.
    add_in_new(&bench, &VOTES, "v3", "n", 100).await;
    add_in_new(&bench, &VOTES, "new", "n", 7).await;
    assert_eq!(copy(&bench, &[], 0).folded, 20);
    add_in_new(&bench, &VOTES, "v3", "n", 10).await;
    add_in_new(&bench, &VOTES, "v4", "n", -2).await;
    vote(&bench, 3, 1).await;
    vote(&bench, 4, 1).await;
    fs::remove_dir_all(bench.journal()).expect("deleted");
    assert_eq!(copy(&bench, &[], 0).folded, 2);
    assert_eq!(copy(&bench, &["--offline", "--final"], 0).settled, 20);

    let shown = async |id: &str| {
        let item = VOTES.item(&bench, id).await.expect("an item");
        let mark = item["_m"].as_s().expect("an S").clone();
        (number_of(&item, "n"), number_of(&item, "_w_n"), mark)
    };
    assert_eq!(shown("v3").await, (Some(114), Some(4), "a".into()));
    assert_eq!(shown("v4").await, (Some(3), Some(5), "a".into()));
    assert_eq!(shown("v5").await, (Some(5), Some(5), "c".into()));
    assert_eq!(
        shown("new").await,
        (Some(7), None, "a".into()),
        "the old store has none"
    );
    bench.done().await;
}

/// A store that can't add on a condition is no target, whatever else it can do.
#[tokio::test(flavor = "multi_thread")]
async fn rows_and_counters_of_one_plan() {
    let bench = Bench::new("mixed").await;
    fill_votes(&bench, 10).await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, name text)")
        .await;
    bench
        .cql("INSERT INTO users (id, name) VALUES (1, 'ada')")
        .await;
    bench
        .plan(&format!(
            "{VOTES_PLAN}[[table]]\nname = \"users\"\nto = \"@-users\"\n"
        ))
        .init();
    // Without --offline the counters go, and the rows are refused.
    let outcome = bench.migrate(&["copy", "--json"]).run().expect_code(2);
    says(&outcome, &["users", "--offline"]);
    assert_eq!(Counted::of(&outcome).folded, 10);
    assert_eq!(bench.items("users").await.len(), 0);
    let lines = bench
        .migrate(&["copy", "--offline", "--final", "--json"])
        .run()
        .expect_code(0)
        .json();
    assert_eq!(lines[0]["settled"], 10, "{}", lines[0]);
    assert_eq!(lines[1]["written"], 1, "{}", lines[1]);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}
