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

/// What the tools of the table say of themselves.
fn tools(bench: &Bench) -> Vec<Json> {
    let status = bench.status();
    status[0]["tools"].as_array().expect("tools").clone()
}

/// Waits until each of so many tools says that.
async fn until_all_say(bench: &Bench, count: usize, reason: &str) {
    let begun = Instant::now();
    loop {
        let tools = tools(bench);
        if tools.len() == count && tools.iter().all(|tool| tool["reason"] == reason) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{tools:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Fails unless stdout has all these words.
fn tells(outcome: &crate::support::Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.stdout.contains(word), "no `{word}`: {outcome}");
    }
}

/// Only for what hangs.
const LONG: std::time::Duration = std::time::Duration::from_secs(120);

/// The items of a table that nobody adds to any more.
async fn settled(bench: &Bench) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = bench.items("t").await.len();
        if now == before {
            return now;
        }
        before = now;
        // What was under way lands.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_pause_and_resume_tools_that_they_cannot_reach() {
    let bench = Bench::new("orders").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..ROWS).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let slow = "[pace]\nwrite_units = 5\n[lease]\nseconds = 3\noperation_seconds = 3\n";
    bench.plan(&format!("{slow}{TABLES}"));
    let pace = |arguments: &[&str]| {
        let words = [&["pace", "--table", "t"], arguments].concat();
        bench.migrate(&words).run()
    };
    // Of a table without a record nothing can be said.
    super::says(&pace(&["--pause"]).expect_code(2), &["migrate init"]);
    bench.init();
    super::says(&pace(&[]).expect_code(2), &["--pause"]);
    let shown = pace(&["--show"]).expect_code(0);
    tells(&shown, &["5 (plan)", "no ceiling", "no tool is at work"]);

    let copy = bench.migrate(&["copy", "--offline", "--json"]);
    let mut running = copy.spawn();
    bench.until("t", 1, &mut running).await;
    let paused = pace(&["--pause"]).expect_code(0);
    tells(&paused, &["paused", "copy", "they follow within"]);
    until_all_say(&bench, 1, "paused by an operator").await;
    let line = "\"reason\":\"paused by an operator\"";
    running.wait_for(line, |said| said.contains(line));
    let copied = settled(&bench).await;
    assert!(copied < ROWS as usize, "it is stopped in mid-work");
    assert!(running.runs());

    // One that begins now stands still too; and one that was suspended while nothing was said.
    let file = bench.folder.path().join("found.json");
    let other = bench.migrate(&["verify", "--json", file.to_str().expect("UTF-8")]);
    let other = other.spawn();
    until_all_say(&bench, 2, "paused by an operator").await;
    tells(
        &bench.migrate(&["status"]).run(),
        &["paused by an operator: t"],
    );
    assert_eq!(bench.items("t").await.len(), copied);
    pace(&["--resume"]).expect_code(0);
    // Its reads have no ceiling.
    other.wait();
    bench.until("t", copied + 1, &mut running).await;
    running.signal("STOP");
    pace(&["--pause"]).expect_code(0);
    let copied = settled(&bench).await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    running.signal("CONT");
    until_all_say(&bench, 1, "paused by an operator").await;
    assert_eq!(
        bench.items("t").await.len(),
        copied,
        "as if nobody had said so"
    );

    // Two at once: both are heard.
    let said = [["--write-units", "900000"], ["--read-rows", "800000"]];
    let said = said.map(|words| {
        let words = [&["pace", "--table", "t"], words.as_slice()].concat();
        bench.migrate(&words).spawn()
    });
    for one in said {
        one.wait().expect_code(0);
    }
    let resumed = pace(&["--resume"]).expect_code(0);
    tells(&resumed, &["900,000", "800,000"]);
    let wish = &bench.status()[0]["pace"];
    assert_eq!(wish["write_units"], 900_000, "{wish}");
    assert_eq!(wish["read_rows"], 800_000, "{wish}");
    assert_eq!(wish["paused"], false, "{wish}");
    running.wait().expect_code(0);
    assert_eq!(bench.items("t").await.len(), ROWS as usize);
    assert!(tools(&bench).is_empty(), "they have ended");
    let planned = pace(&["--as-planned"]).expect_code(0);
    tells(&planned, &["5 (plan)"]);
    bench.done().await;
}
