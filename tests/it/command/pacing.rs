//! The plan's `[pace]`: no tool takes more of the stores than that.

use std::time::Instant;

use serde_json::Value as Json;

use super::{Bench, number};

const TABLES: &str = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";
const ROWS: i32 = 600;

fn seconds(object: &Json) -> f64 {
    object["seconds"].as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_takes_more_of_the_stores_than_the_plan_allows() {
    let bench = Bench::new("pace").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..ROWS).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let pace = |read_rows: u32, write_units: u32| {
        let pace = format!("[pace]\nread_rows = {read_rows}\nwrite_units = {write_units}\n");
        bench.plan(&format!("{pace}{TABLES}"));
    };
    // What is saved up before the work begins, and what is on its way when it ends, may come on top.
    const SPARE: f64 = 1.5;
    let least = |rate: u32| f64::from(ROWS) / f64::from(rate) - SPARE;

    pace(1_000_000, 100);
    bench.init();
    let copy = bench.migrate(&["copy", "--offline", "--json"]);
    let copied = copy.run().expect_code(0).json();
    assert_eq!(number(&copied[0], "written"), ROWS as u64);
    assert!(seconds(&copied[0]) >= least(100), "{}", copied[0]);

    pace(100, 1);
    let file = bench.folder.path().join("found.json");
    let arguments = ["verify", "--json", file.to_str().expect("UTF-8")];
    bench.migrate(&arguments).run().expect_code(0);
    let found = std::fs::read_to_string(file).expect("a file");
    let found: Json = serde_json::from_str(&found).expect("an array");
    assert_eq!(number(&found[0], "new_rows"), ROWS as u64);
    assert!(seconds(&found[0]) >= least(100), "{found}");

    pace(1_000_000, 100);
    let begun = Instant::now();
    let finish = [
        "finish",
        "--table",
        "t",
        "--yes-done",
        "t",
        "--strip",
        "--yes-strip",
    ];
    bench.migrate(&finish).run().expect_code(0);
    let took = begun.elapsed().as_secs_f64();
    assert!(took >= least(100), "{took}");
    bench.done().await;
}
