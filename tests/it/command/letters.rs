//! Rows that the new store can't hold: each is a dead letter with its reason, and its neighbours
//! are copied.

use std::collections::BTreeSet;

use super::{Bench, number, says};

/// Copies, and gives each dead letter's key and reason as `failures --json` has them.
fn letters(bench: &Bench, copied: u64) -> Vec<(String, String)> {
    let outcome = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(1);
    says(&outcome, &["could not be copied", "migrate failures"]);
    let line = &outcome.json()[0];
    assert_eq!(number(line, "written"), copied, "{line}");
    let failures = bench.migrate(&["failures", "--json"]).run().expect_code(1);
    let letters: Vec<_> = failures
        .json()
        .iter()
        .map(|letter| {
            assert_eq!(letter["kind"], "row", "{letter}");
            assert!(letter["key"]["partition"][0].is_string(), "{letter}");
            let text = |field: &str| letter[field].as_str().expect("a text").to_owned();
            (text("what"), text("reason"))
        })
        .collect();
    assert_eq!(number(line, "failed"), letters.len() as u64);
    let listed = bench.migrate(&["failures"]).run().expect_code(1).stdout;
    for (what, reason) in &letters {
        assert!(listed.contains(what) && listed.contains(reason), "{listed}");
    }
    assert_eq!(
        number(&bench.status()[0], "dead_letters"),
        letters.len() as u64
    );

    // They stay dead letters, and nothing is done again.
    let again = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(1);
    assert_eq!(number(&again.json()[0], "read"), 0);
    letters
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

async fn keys(bench: &Bench, name: &str) -> BTreeSet<String> {
    let items = bench.items("t").await;
    items
        .iter()
        .map(|item| format!("{:?}", item[name]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_over_400_kb() {
    let bench = Bench::new("large").await;
    bench
        .cql("CREATE TABLE t (p int, c int, name text, photo blob, PRIMARY KEY (p, c))")
        .await;
    let rows = (0..30).map(|c| {
        (
            1,
            c,
            "someone",
            vec![7_u8; if c == 13 { 450_000 } else { 100 }],
        )
    });
    bench
        .fill(
            "INSERT INTO t (p, c, name, photo) VALUES (?, ?, ?, ?)",
            rows,
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();

    let checked = bench.migrate(&["check"]).run().expect_code(1);
    contains(&checked.stdout, &["dead letters: 1 of 30", "p=1, c=13"]);
    let letters = letters(&bench, 29);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].0, "p=1, c=13");
    // Its size, the limit, and the column to look at.
    contains(&letters[0].1, &["450", "409600", "photo"]);
    assert_eq!(keys(&bench, "c").await.len(), 29);

    let still = bench.migrate(&["failures", "--retry"]).run().expect_code(1);
    says(&still, &["0 copied, 1 still fail"]);
    bench
        .cql("UPDATE t SET photo = 0x00 WHERE p = 1 AND c = 13")
        .await;
    let cured = bench.migrate(&["failures", "--retry"]).run().expect_code(0);
    says(&cured, &["1 copied, 0 still fail"]);
    contains(&cured.stdout, &["no dead letters"]);
    assert_eq!(keys(&bench, "c").await.len(), 30);
    // The journal remembers it, and knows better now.
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.migrate(&["failures"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_the_limits() {
    let bench = Bench::new("keys").await;
    bench
        .cql("CREATE TABLE t (p text, c text, v int, PRIMARY KEY (p, c))")
        .await;
    let long = |count: usize| "ä".repeat(count);
    let rows = [
        (long(1_024), "fits".to_owned(), 1),
        (long(1_025), "too long a partition key".to_owned(), 2),
        ("fits".to_owned(), long(512), 3),
        ("too long a sort key".to_owned(), long(513), 4),
    ];
    bench
        .fill("INSERT INTO t (p, c, v) VALUES (?, ?, ?)", rows)
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    let letters = letters(&bench, 2);
    let about = |words: &str| {
        let found = letters.iter().find(|(what, _)| what.contains(words));
        &found.unwrap_or_else(|| panic!("{words}: {letters:?}")).1
    };
    contains(
        about("too long a partition key"),
        &["partition key", "2050", "2048"],
    );
    contains(about("too long a sort key"), &["sort key", "1026", "1024"]);
    let kept = keys(&bench, "v").await;
    assert_eq!(
        kept,
        BTreeSet::from([r#"N("1")"#.to_owned(), r#"N("3")"#.to_owned()])
    );
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_clustering_text_where_the_sort_key_is_text() {
    let bench = Bench::new("empty").await;
    bench
        .cql("CREATE TABLE t (p int, c text, v int, PRIMARY KEY (p, c))")
        .await;
    // A table that has such a row by then gets a made sort key.
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench
        .fill(
            "INSERT INTO t (p, c, v) VALUES (1, ?, ?)",
            [("", 1), ("a", 2), ("b", 3)],
        )
        .await;
    let letters = letters(&bench, 2);
    assert_eq!(letters.len(), 1);
    contains(&letters[0].1, &["c is empty", "keys = { sort"]);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_that_the_plan_says_nothing_about() {
    let bench = Bench::new("ttl").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .cql("INSERT INTO t (p, v) VALUES (1, 1) USING TTL 5000")
        .await;
    bench.cql("INSERT INTO t (p, v) VALUES (2, 2)").await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    let letters = letters(&bench, 1);
    assert_eq!(letters[0].0, "p=1");
    contains(&letters[0].1, &["expire", "expiry = {"]);
    bench.done().await;
}

/// Control characters and those that turn the order of what follows.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keys_and_values_say_is_shown_and_not_done() {
    let bench = Bench::new("forged").await;
    bench
        .cql("CREATE TABLE t (p text, c text, name text, photo blob, PRIMARY KEY (p, c))")
        .await;
    let forged = "\u{1b}[2J\r\nno dead letters\u{9b}1m\u{202e}";
    let key = |c: i32| (forged, format!("{c}{forged}"));
    let rows = (0..4).map(|c| {
        let (p, c_text) = key(c);
        (
            p,
            c_text,
            forged,
            vec![7_u8; if c == 0 { 450_000 } else { 10 }],
        )
    });
    bench
        .fill(
            "INSERT INTO t (p, c, name, photo) VALUES (?, ?, ?, ?)",
            rows,
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n");
    let check = bench.migrate(&["check"]).run().expect_code(1);
    bench.init();
    let copy = bench.migrate(&["copy", "--offline"]).run().expect_code(1);
    let listed = bench.migrate(&["failures"]).run().expect_code(1);
    let json = bench.migrate(&["failures", "--json"]).run().expect_code(1);
    let target = bench.target("t");
    let item = bench.items("t").await.pop().expect("three were copied");
    bench
        .dynamo
        .update_item()
        .table_name(target)
        .key("p", item["p"].clone())
        .key("c", item["c"].clone())
        .update_expression("SET #n = :n")
        .expression_attribute_names("#n", "name")
        .expression_attribute_values(
            ":n",
            aws_sdk_dynamodb::types::AttributeValue::S(format!("x{forged}")),
        )
        .send()
        .await
        .expect("changed");
    let verify = bench.migrate(&["verify"]).run().expect_code(1);
    contains(&verify.stdout, &["different", "name: old"]);
    assert_eq!(json.json().len(), 1);
    for outcome in [&check, &copy, &listed, &json, &verify] {
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(acts), "{text:?}");
            let forged = text.lines().any(|line| line.starts_with("no dead letters"));
            assert!(!forged, "{text}");
        }
    }
    for outcome in [&check, &listed, &verify] {
        contains(&outcome.stdout, &["\\u{1b}[2J\\r\\nno dead letters"]);
    }
}
