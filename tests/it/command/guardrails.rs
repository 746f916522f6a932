//! A cluster whose owner has set guardrails: what the tool adapts to, and what it names.

use super::secure::{bench, plan};
use super::{Bench, says};
use crate::support::{OwnServers, Secure};

const SETTINGS: &str = "page_size_warn_threshold: 10
page_size_fail_threshold: 20
allow_filtering_enabled: false
read_consistency_levels_disallowed: [ALL]
write_consistency_levels_disallowed: [ANY]
tombstone_warn_threshold: 100
tombstone_failure_threshold: 1000";

const ROWS: i32 = 700;
/// Deleted rows of one partition: more than a read may pass.
const DELETED: i32 = 3_000;

/// Writes the plan of a role that isn't a superuser: guardrails are for those alone.
fn plan_at(bench: &Bench, server: &Secure, role: &str, level: &str, more: &str) {
    plan(bench, server, role, more);
    let file = bench.folder.path().join("plan.toml");
    let text = std::fs::read_to_string(file).expect("a plan");
    assert!(text.contains("consistency = \"one\""));
    let text = text.replace("consistency = \"one\"", level);
    bench.write("plan.toml", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn guardrails_are_kept_within_or_named() {
    let servers = OwnServers::start_with(&["secure"], SETTINGS);
    let server = servers.secure();
    let bench = bench(&server, "guarded").await;
    let rows = (0..ROWS).map(|p| (p, "x"));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench
        .cql("CREATE TABLE buried (p int, c int, v text, PRIMARY KEY (p, c))")
        .await;
    bench
        .fill(
            "DELETE FROM buried WHERE p = 1 AND c = ?",
            (0..DELETED).map(|c| (c,)),
        )
        .await;
    bench
        .fill(
            "INSERT INTO buried (p, c, v) VALUES (?, ?, ?)",
            [(1, DELETED, "x"), (2, 0, "x")],
        )
        .await;
    bench
        .cql("CREATE ROLE guarded WITH LOGIN = true AND PASSWORD = 'pass'")
        .await;
    bench.cql("GRANT SELECT ON KEYSPACE @ TO guarded").await;
    let run = |arguments: &[&str], code| {
        let run = bench.migrate(arguments).env("CASSANDRA_PASSWORD", "pass");
        run.run().expect_code(code)
    };
    let more = "[[table]]\nname = \"buried\"\nto = \"@-buried\"\n";
    let one = "consistency = \"one\"";

    // Pages become as small as they have to be, and that is said.
    plan_at(&bench, &server, "guarded", one, more);
    run(&["init"], 0);
    let copied = run(&["copy", "--offline", "--table", "t"], 0);
    says(&copied, &["pages of 20 rows at most", "page_rows = 20"]);
    assert_eq!(bench.items("t").await.len(), ROWS as usize);
    run(&["verify", "--table", "t"], 0);

    // A partition of too many tombstones is read in parts, which takes filtering.
    let refused = run(&["copy", "--offline", "--table", "buried"], 2);
    says(
        &refused,
        &["allow_filtering", "allow_filtering_enabled: true", "buried"],
    );

    // A level that isn't allowed is named, with the key that sets it.
    plan_at(&bench, &server, "guarded", "consistency = \"all\"", more);
    let refused = run(&["verify", "--table", "t"], 2);
    says(&refused, &["consistency level", "`consistency`", "ALL"]);
    bench.done().await;
}
