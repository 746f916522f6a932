//! A whole keyspace by a few lines of a plan.

use super::{Bench, says};

const ALL: &str = "[defaults]\nto_prefix = \"@-\"\n[lease]\nseconds = 2\nlanding_seconds = 1\n\
    [[table]]\nname = \"*\"\nexcept = [\"scratch\"]\n[[table]]\nname = \"users\"\nto = \"@-people\"\n";

async fn filled(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE audit (id int PRIMARY KEY, v text)")
        .await;
    bench
        .cql("CREATE TABLE votes (id int PRIMARY KEY, n counter)")
        .await;
    for table in ["users", "scratch"] {
        let create = format!("CREATE TABLE {table} (id int PRIMARY KEY, v text)");
        bench.cql(&create).await;
    }
    for id in 0..10 {
        for table in ["audit", "users", "scratch"] {
            let insert = format!("INSERT INTO {table} (id, v) VALUES ({id}, 'x')");
            bench.cql(&insert).await;
        }
        let add = format!("UPDATE votes SET n = n + {id} WHERE id = {id}");
        bench.cql(&add).await;
    }
    bench
}

fn tables(bench: &Bench) -> Vec<String> {
    let of = |status: &serde_json::Value| status["table"].as_str().expect("a name").to_owned();
    bench.status().iter().map(of).collect()
}

/// Counters first, what is left out stays out, and once it is begun nobody asks the old store which tables there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_by_a_star() {
    let bench = filled("star").await;
    bench.plan(ALL);
    assert_eq!(tables(&bench), ["votes", "audit", "users"]);
    let check = bench.migrate(&["check"]).run().expect_code(0).stdout;
    assert!(check.contains("all 3 tables can be moved"), "{check}");
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_eq!(bench.items("votes").await.len(), 10);
    assert_eq!(bench.items("audit").await.len(), 10);
    assert_eq!(bench.items("people").await.len(), 10);

    // A table that is new since then is taken in by `init`, and by nothing else.
    bench
        .cql("CREATE TABLE late (id int PRIMARY KEY, v text)")
        .await;
    assert_eq!(tables(&bench), ["votes", "audit", "users"]);
    let copy = bench.migrate(&["copy", "--table", "late"]).run();
    says(
        &copy.expect_code(2),
        &["the plan has no table `late`", "settled by `migrate init`"],
    );
    let check = bench.migrate(&["check"]).run().expect_code(0).stdout;
    assert!(check.contains("late -> "), "{check}");
    assert_eq!(tables(&bench), ["votes", "audit", "users"]);

    // The old store is gone; where each table stands is told all the same.
    let away = bench.stores().replace(
        &format!("nodes = [\"{}\"]", bench.node),
        "nodes = [\"127.0.0.1:1\"]",
    );
    bench.write("away.toml", &(away + ALL));
    let status = bench.migrate_by("away.toml", &["status", "--json"]).run();
    assert_eq!(status.expect_code(0).stdout.lines().count(), 3);

    // One that was begun and is gone from the old store stays known; one that wasn't begun doesn't.
    bench.cql("DROP TABLE audit").await;
    bench.init();
    assert_eq!(tables(&bench), ["votes", "late", "audit", "users"]);
    bench.done().await;
}

/// Before `init` there is nothing to go by but the old store; a pattern that is new since then is no part of what was
/// written down.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_down_is_of_the_patterns_of_then() {
    let bench = filled("renewed").await;
    let narrow = ALL.replace("name = \"*\"\nexcept = [\"scratch\"]", "name = \"v*\"");
    bench.plan(&narrow).init();
    assert_eq!(tables(&bench), ["votes", "users"]);
    let wide = narrow.replace("name = \"v*\"", "name = \"v*\"\n[[table]]\nname = \"a*\"");
    bench.plan(&wide);
    assert_eq!(tables(&bench), ["votes", "audit", "users"]);
    let audit = &bench.status()[1];
    assert!(audit["phase"].is_null(), "{audit}");
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_of_nothing_is_pointed_at() {
    let bench = filled("nothing").await;
    bench.plan("[[table]]\nname = \"ts_*\"\nto_prefix = \"@-\"\n");
    for command in ["check", "init", "status"] {
        let refused = bench.migrate(&[command]).run().expect_code(2);
        says(
            &refused,
            &[
                "plan.toml:15: no table is called `ts_*`",
                "votes, audit, scratch, users",
            ],
        );
    }
    bench.done().await;
}

/// An application serves what the patterns stand for, and starts while the old store is away.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_has_all_tables_of_a_pattern() {
    let bench = filled("served").await;
    bench.plan(ALL).init();
    let away = bench.stores().replace(
        &format!("nodes = [\"{}\"]", bench.node),
        "nodes = [\"127.0.0.1:1\"]",
    );
    let path = bench.write("away.toml", &(away + ALL));
    let plan = crossfade::Plan::load(&path).expect("a plan");
    let shim = crossfade::connect::shim(&plan, "a test")
        .await
        .expect("a shim");
    let targets: Vec<&str> = shim.tables().map(crossfade::Table::target).collect();
    let wanted = ["audit", "people", "votes"].map(|name| bench.target(name));
    assert_eq!(targets, wanted);
    shim.leave().await.expect("left");
    bench.done().await;
}
