//! Servers that answer differently by role: Cassandra 5 shows masked columns to those alone who may see them.

use super::secure::{bench, plan, session};
use super::{Bench, says};
use crate::support::{Migrate, Outcome, secure_cassandra, unique};

const PASSWORD: &str = "s3cr3t-pass!";

fn run(bench: &Bench, arguments: &[&str]) -> Outcome {
    let command: Migrate = bench.migrate(arguments);
    command.env("CASSANDRA_PASSWORD", PASSWORD).run()
}

async fn values(bench: &Bench) -> Vec<String> {
    let items = bench.items("t").await;
    let value = |item: &super::Item| item["v"].as_s().expect("an S").clone();
    let mut values: Vec<String> = items.iter().map(value).collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_sees_masked_values_copies_nothing() {
    let server = secure_cassandra();
    let bench = bench(&server, "masks").await;
    let role = unique("reader");
    for statement in [
        "INSERT INTO t (p, v) VALUES (1, 'a secret')".to_owned(),
        "INSERT INTO t (p, v) VALUES (2, 'another')".to_owned(),
        format!("CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{PASSWORD}'"),
        format!("GRANT SELECT ON TABLE @.t TO {role}"),
    ] {
        bench.cql(&statement).await;
    }
    plan(&bench, &server, &role, "");
    run(&bench, &["check"]).expect_code(0);
    run(&bench, &["init"]).expect_code(0);

    // The mask comes when the move has begun already: each command that reads looks anew.
    bench
        .cql("ALTER TABLE @.t ALTER v MASKED WITH DEFAULT")
        .await;
    let seen = session(&server, &role, PASSWORD).await;
    let seen = seen
        .query_unpaged(bench.named("SELECT v FROM @.t WHERE p = 1"), ())
        .await;
    let seen = seen.expect("rows").into_rows_result().expect("rows");
    assert_eq!(seen.single_row::<(String,)>().expect("a row").0, "****");
    let grant = bench.named(&format!("GRANT UNMASK ON TABLE @.t TO {role}"));
    let check = run(&bench, &["check"]).expect_code(2);
    assert!(
        check.stdout.contains(&grant) && check.stdout.contains("masked-columns"),
        "{check}"
    );
    says(
        &run(&bench, &["init"]).expect_code(2),
        &["masked-columns", "v", &grant],
    );
    says(
        &run(&bench, &["copy", "--offline"]).expect_code(2),
        &["masked-columns", "v", &grant],
    );
    assert!(bench.items("t").await.is_empty());

    bench.cql(&grant).await;
    run(&bench, &["check"]).expect_code(0);
    run(&bench, &["copy", "--offline"]).expect_code(0);
    assert_eq!(values(&bench).await, ["a secret", "another"]);
    run(&bench, &["verify"]).expect_code(0);
    bench
        .cql(&format!("REVOKE UNMASK ON TABLE @.t FROM {role}"))
        .await;
    says(
        &run(&bench, &["verify"]).expect_code(2),
        &["masked-columns", &grant],
    );

    // By a role that it inherits, and by a wider grant.
    let group = unique("group");
    bench.cql(&format!("CREATE ROLE {group}")).await;
    bench
        .cql(&format!("GRANT UNMASK ON KEYSPACE @ TO {group}"))
        .await;
    bench.cql(&format!("GRANT {group} TO {role}")).await;
    run(&bench, &["verify"]).expect_code(0);
    for role in [&role, &group] {
        bench.cql(&format!("DROP ROLE {role}")).await;
    }
    bench.done().await;
}
