//! A cluster whose owner has set limits: pages of fifty rows, no filtering, no reads at ALL. They hold for
//! ordinary users alone.

use super::secure::{bench, plan};
use crate::support::OwnServers;

const SETTINGS: &str = "
page_size_fail_threshold: 50
allow_filtering_enabled: false
read_consistency_levels_disallowed: [ALL]
";
const ROWS: i32 = 700;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_guardrails() {
    let servers = OwnServers::start_with(&["secure"], SETTINGS);
    let server = servers.secure();
    let bench = bench(&server, "guarded").await;
    let rows = (0..ROWS).map(|p| (p, format!("text {p}")));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench
        .cql("CREATE ROLE IF NOT EXISTS reader WITH LOGIN = true AND PASSWORD = 'reader'")
        .await;
    bench.cql("GRANT SELECT ON KEYSPACE @ TO reader").await;
    let migrate = |arguments: &[&str]| {
        let command = bench.migrate(arguments).env("CASSANDRA_PASSWORD", "reader");
        command.run()
    };

    // It finds out what the cluster takes, and says so once.
    plan(&bench, &server, "reader", "");
    migrate(&["init"]).expect_code(0);
    let copied = migrate(&["copy", "--offline"]).expect_code(0);
    let told = copied.stderr.matches("`page_rows = 50`").count();
    assert_eq!(told, 1, "{copied}");
    let verified = migrate(&["verify"]).expect_code(0);
    assert!(!verified.stderr.contains("isn't as it was"), "{verified}");

    // A plan that says it asks for no more from the start.
    let path = bench.folder.path().join("plan.toml");
    let text = std::fs::read_to_string(&path).expect("a plan");
    let said = text.replace("[old.tls]", "page_rows = 50\n[old.tls]");
    std::fs::write(&path, &said).expect("written");
    let verified = migrate(&["verify"]).expect_code(0);
    assert!(!verified.stderr.contains("page_rows"), "{verified}");

    // A level that isn't taken is said to be that.
    let refused = migrate(&["verify", "--consistency", "all"]).expect_code(2);
    assert!(
        refused
            .stderr
            .contains("doesn't take this consistency level"),
        "{refused}"
    );
    assert!(
        refused.stderr.contains("Guardrail read_consistency_levels"),
        "{refused}"
    );
    bench.cql("DROP ROLE reader").await;
}
