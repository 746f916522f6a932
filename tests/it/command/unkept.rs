//! Rows whose keys the new store can't hold: as long as the old store is asked they are read from there, and
//! nothing is written that would be lost.

use std::ops::Bound;

use aws_sdk_dynamodb::types::AttributeValue;
use crossfade::error::{Effect, Error, Kind};
use crossfade::model::{ClusteringRange, Edit, Key, Query, Row, Update, Value};
use crossfade::plan::Plan;
use crossfade::shim::{Shim, Table, Ttl};

use super::{Bench, says};

fn text(text: &str) -> Value {
    Value::text(text)
}

fn key(p: &str, c: &str) -> Key {
    Key::row(vec![text(p)], vec![text(c)])
}

fn row(p: &str, c: &str) -> Row {
    Row::new(key(p, c), vec![Some(text("new"))])
}

/// A key column that is too long.
fn long(letter: &str, limit: usize) -> String {
    letter.repeat(limit + 1)
}

async fn shim(bench: &Bench) -> Shim {
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    crossfade::connect::shim(&plan, "unkept")
        .await
        .expect("a shim")
}

/// Moves the table on while the application takes part.
async fn advance(bench: &Bench, to: &str) {
    let running = bench
        .migrate(&["advance", "--table", "t", "--to", to, "--expect", "1"])
        .spawn();
    let moved = tokio::task::spawn_blocking(|| running.wait()).await;
    moved.expect("a task").expect_code(0);
}

fn whole(p: &str, limit: usize) -> Query {
    Query {
        range: ClusteringRange::whole(vec![text(p)]),
        reverse: false,
        after: None,
        limit,
    }
}

/// The clustering values of all pages.
async fn listed(table: &Table, mut query: Query) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = table.query(query.clone()).await.expect("a page");
        found.extend(
            page.rows
                .into_iter()
                .map(|row| match &row.key.clustering.as_deref() {
                    Some([Value::Text(text)]) => text[..text.len().min(3)].to_owned(),
                    other => panic!("{other:?}"),
                }),
        );
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

#[track_caller]
fn refused(outcome: Result<impl std::fmt::Debug, Error>, reason: &str) {
    let error = outcome.expect_err("it is refused");
    assert_eq!(
        (error.kind(), error.known_effect()),
        (Kind::Invalid, Effect::None),
        "{error}"
    );
    assert!(error.to_string().contains(reason), "{error}");
}

async fn refuses_to_write(table: &Table, p: &str, c: &str, reason: &str) {
    refused(table.put(row(p, c), Ttl::Never).await, reason);
    refused(table.insert(row(p, c), Ttl::Never).await, reason);
    refused(table.delete(&key(p, c)).await, reason);
    let update = || Update {
        key: key(p, c),
        cells: vec![Some(Edit::Set(text("new")))],
        expires: None,
    };
    refused(table.update(update(), Ttl::Never).await, reason);
    let expected = vec![(0, Some(text("old")))];
    refused(
        table.update_if(update(), expected, Ttl::Never).await,
        reason,
    );
}

async fn reads_from_the_old_store(table: &Table, wide: &str, far: &str) {
    for (p, c) in [("p", ""), ("p", wide), (far, "c")] {
        let found = table
            .get(&key(p, c))
            .await
            .expect("an answer")
            .expect("a row");
        assert_eq!(found.cells, [Some(text("old"))]);
    }
    assert_eq!(table.get(&key(far, "")).await.expect("an answer"), None);
    let all = ["", "a", "b", "zzz"];
    for limit in [1, 2, 10] {
        assert_eq!(
            listed(table, whole("p", limit)).await,
            all,
            "pages of {limit}"
        );
        let backwards = Query {
            reverse: true,
            ..whole("p", limit)
        };
        let mut found = listed(table, backwards).await;
        found.reverse();
        assert_eq!(found, all, "backwards, pages of {limit}");
        assert_eq!(listed(table, whole(far, limit)).await, ["c"]);
        let between = |from, until| Query {
            range: ClusteringRange {
                from,
                until,
                ..ClusteringRange::whole(vec![text("p")])
            },
            ..whole("p", limit)
        };
        let included = |c: &str| Bound::Included(vec![text(c)]);
        let excluded = |c: &str| Bound::Excluded(vec![text(c)]);
        assert_eq!(
            listed(table, between(included(""), excluded("b"))).await,
            ["", "a"]
        );
        assert_eq!(
            listed(table, between(excluded(""), excluded(wide))).await,
            ["a", "b"]
        );
        assert_eq!(
            listed(table, between(included("b"), included(wide))).await,
            ["b", "zzz"]
        );
        assert_eq!(
            listed(table, between(included(wide), Bound::Unbounded)).await,
            ["zzz"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_where_they_are_and_writes_are_refused() {
    let bench = Bench::new("unkept").await;
    bench
        .cql("CREATE TABLE t (p text, c text, v text, PRIMARY KEY (p, c))")
        .await;
    bench.plan(
        "[lease]\nseconds = 3\noperation_seconds = 3\n[[table]]\nname = \"t\"\nto = \"@-t\"\n",
    );
    bench.init();
    let (wide, far) = (long("z", 1_024), long("f", 2_048));
    let rows = [("p", ""), ("p", "a"), ("p", "b"), ("p", &wide), (&far, "c")];
    let rows = rows.map(|(p, c)| (p.to_owned(), c.to_owned(), "old"));
    bench
        .fill("INSERT INTO t (p, c, v) VALUES (?, ?, ?)", rows)
        .await;

    let shim = shim(&bench).await;
    let table = shim.table("t").expect("it").clone();
    table
        .put(row("p", ""), Ttl::Never)
        .await
        .expect("all is in the old store");
    bench
        .cql("INSERT INTO t (p, c, v) VALUES ('p', '', 'old')")
        .await;
    reads_from_the_old_store(&table, &wide, &far).await;
    for phase in ["bridge", "switch", "copy"] {
        advance(&bench, phase).await;
        assert_eq!(table.phase().await.expect("a phase").name(), phase);
        reads_from_the_old_store(&table, &wide, &far).await;
        refuses_to_write(&table, "p", "", "is empty").await;
        refuses_to_write(&table, "p", &wide, "sort key").await;
        refuses_to_write(&table, &far, "c", "partition key").await;
        let gone = table
            .delete_range(ClusteringRange::whole(vec![text(&far)]))
            .await;
        refused(gone, "partition key");
        reads_from_the_old_store(&table, &wide, &far).await;
    }
    let copied = bench.migrate(&["copy"]).run().expect_code(1);
    says(&copied, &["could not be copied"]);
    let refused = bench
        .migrate(&["advance", "--table", "t", "--to", "new"])
        .run()
        .expect_code(2);
    says(&refused, &["3 rows or ranges could not be copied"]);
    reads_from_the_old_store(&table, &wide, &far).await;
    shim.leave().await.expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_partition_keys_are_hashed_by_choice() {
    let bench = Bench::new("hashed").await;
    bench
        .cql("CREATE TABLE t (p text, c text, v text, PRIMARY KEY (p, c))")
        .await;
    bench
        .cql("CREATE TABLE n (p text PRIMARY KEY, n counter)")
        .await;
    let far = long("f", 2_048);
    let rows = [("p", "a"), (&*far, "a"), (&*far, "b"), ("#sha256:", "a")];
    let rows = rows.map(|(p, c)| (p.to_owned(), c.to_owned(), "old"));
    bench
        .fill("INSERT INTO t (p, c, v) VALUES (?, ?, ?)", rows)
        .await;
    bench
        .fill(
            "UPDATE n SET n = n + 7 WHERE p = ?",
            [(far.clone(),), ("p".to_owned(),)],
        )
        .await;
    let keys = "keys = { partition_hash = true }\n";
    bench.plan(&format!(
        "[lease]\nseconds = 3\noperation_seconds = 3\n\
         [[table]]\nname = \"t\"\nto = \"@-t\"\n{keys}[[table]]\nname = \"n\"\nto = \"@-n\"\n{keys}"
    ));
    bench.migrate(&["check"]).run().expect_code(0);
    bench.init();
    let shim = shim(&bench).await;
    let table = shim.table("t").expect("it").clone();
    let counters = shim.table("n").expect("it").clone();
    let counter = Key::row(vec![text(&far)], Vec::new());
    for phase in ["bridge", "switch"] {
        advance(&bench, phase).await;
    }
    // A partial item and a tombstone, before the rest is copied.
    let update = Update {
        key: key(&far, "a"),
        cells: vec![Some(Edit::Set(text("new")))],
        expires: None,
    };
    table.update(update, Ttl::Never).await.expect("written");
    table.delete(&key(&far, "b")).await.expect("deleted");
    advance(&bench, "copy").await;
    table
        .put(row(&far, "d"), Ttl::Never)
        .await
        .expect("written");
    for to in ["bridge", "switch", "copy"] {
        let running = bench
            .migrate(&["advance", "--table", "n", "--to", to, "--expect", "1"])
            .spawn();
        let moved = tokio::task::spawn_blocking(|| running.wait()).await;
        moved.expect("a task").expect_code(0);
    }
    counters.add(&counter, "n", 5).await.expect("added");
    bench.migrate(&["copy"]).run().expect_code(0);
    bench
        .migrate(&["copy", "--final", "--table", "n"])
        .run()
        .expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    for (name, to) in [("t", "new"), ("n", "new")] {
        let running = bench
            .migrate(&["advance", "--table", name, "--to", to, "--expect", "1"])
            .spawn();
        let moved = tokio::task::spawn_blocking(|| running.wait()).await;
        moved.expect("a task").expect_code(0);
    }
    assert_eq!(counters.count(&counter).await.expect("a total"), [Some(12)]);
    assert_eq!(listed(&table, whole(&far, 1)).await, ["a", "d"]);
    let changed = table
        .get(&key(&far, "a"))
        .await
        .expect("an answer")
        .expect("a row");
    assert_eq!(changed.cells, [Some(text("new"))]);
    assert!(
        table
            .get(&key("#sha256:", "a"))
            .await
            .expect("an answer")
            .is_some()
    );
    for item in bench.items("t").await {
        let partition = item["p"].as_s().expect("a text");
        let hash = item["pk"].as_s().expect("a text");
        assert_eq!(hash.starts_with("#sha256:"), partition != "p", "{hash}");
    }
    shim.leave().await.expect("left");
}

/// Where it isn't said whether a sort key is made, a table that needs one gets it, for good.
#[tokio::test(flavor = "multi_thread")]
async fn empty_clustering_values_make_a_sort_key() {
    let bench = Bench::new("emptysort").await;
    bench
        .cql("CREATE TABLE t (p text, c text, v text, PRIMARY KEY (p, c))")
        .await;
    bench
        .cql("INSERT INTO t (p, c, v) VALUES ('p', '', 'old')")
        .await;
    bench
        .cql("INSERT INTO t (p, c, v) VALUES ('p', 'a', 'old')")
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n");
    let check = bench.migrate(&["check"]).run().expect_code(0);
    assert!(check.stdout.contains("sort sk (B)"), "{}", check.stdout);
    let init = bench.migrate(&["init"]).run().expect_code(0);
    says(&init, &["the sort key is made"]);
    // It stays so without such a row, and after an `init` that was killed before the record.
    bench.cql("DELETE FROM t WHERE p = 'p' AND c = ''").await;
    bench.init();
    let check = bench.migrate(&["check"]).run().expect_code(0);
    assert!(check.stdout.contains("sort sk (B)"), "{}", check.stdout);
    bench
        .dynamo
        .delete_item()
        .table_name(format!("{}-control", bench.keyspace))
        .key("target", AttributeValue::S(bench.target("t")))
        .key("item", AttributeValue::S("record".to_owned()))
        .send()
        .await
        .expect("deleted");
    bench.init();
    bench
        .cql("INSERT INTO t (p, c, v) VALUES ('p', '', 'old')")
        .await;
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    assert_eq!(bench.items("t").await.len(), 2);
}
