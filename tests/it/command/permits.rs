//! `migrate check` without permissions: each that is missing is named, in both stores, whatever was refused first.

use serde_json::{Value as Json, json};

use super::{Bench, secure};
use crate::scripted::{Reply, Request, Scripted, error};
use crate::support::{secure_cassandra, unique};

const ARN: &str = "arn:aws:dynamodb:us-east-1:111122223333:table/";

/// Says no to these calls as AWS documents it, and knows no table otherwise.
fn without(denied: &'static [&'static str]) -> Scripted {
    Scripted::start(move |request: &Request| {
        if !denied.contains(&request.call.as_str()) {
            return error(
                400,
                "ResourceNotFoundException",
                "Requested resource not found",
            );
        }
        let name = request.body["TableName"].as_str();
        let batch = request.body["RequestItems"].as_object();
        let batch = batch.and_then(|tables| tables.keys().next());
        let table = name.or(batch.map(String::as_str)).expect("a table");
        let call = &request.call;
        let message = format!(
            "User: arn:aws:iam::111122223333:user/look is not authorized to perform: dynamodb:{call} on resource: {ARN}{table} because \
             no identity-based policy allows the dynamodb:{call} action"
        );
        let kind = "com.amazon.coral.service#AccessDeniedException";
        Reply::Json(400, json!({"__type": kind, "Message": message}))
    })
}

fn missing(line: &Json) -> Vec<(String, String)> {
    let missing = line["missing_permissions"].as_array().expect("a list");
    let text = |one: &Json, field: &str| one[field].as_str().expect("a text").to_owned();
    missing
        .iter()
        .map(|one| (text(one, "permission"), text(one, "on")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_of_the_new_store_is_named() {
    let mut bench = Bench::new("denied").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    const READS: [&str; 6] = [
        "BatchGetItem",
        "DescribeTable",
        "DescribeTimeToLive",
        "GetItem",
        "Query",
        "Scan",
    ];
    let endpoint = without(&READS);
    bench.url = endpoint.url.clone();
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n");
    let check = bench.migrate(&["check"]).run().expect_code(2);
    let (target, control) = (bench.target("t"), bench.named("@-control"));
    for action in READS {
        let line = format!("permission missing: dynamodb:{action} on {ARN}{target} (");
        assert!(check.stdout.contains(&line), "no `{line}` in {check}");
    }
    for action in ["BatchGetItem", "DescribeTable", "Query"] {
        let line = format!("permission missing: dynamodb:{action} on {ARN}{control} (");
        assert!(check.stdout.contains(&line), "no `{line}` in {check}");
    }
    assert!(!check.stdout.contains("SELECT on"), "{check}");
    let (_, decide) = check
        .stdout
        .split_once("to be decided:")
        .expect("a verdict");
    assert!(
        decide.contains(&format!(
            "permission missing: dynamodb:DescribeTable on {ARN}{target}"
        )),
        "{decide}"
    );
    assert!(
        !decide.contains("dynamodb:GetItem"),
        "it isn't taken by check: {decide}"
    );
    let (_, not_asked) = check
        .stdout
        .split_once("not asked, since asking would change something: ")
        .expect("a line");
    for action in [
        "CreateTable",
        "DeleteItem",
        "PartiQLInsert",
        "PutItem",
        "UpdateItem",
        "UpdateTable",
    ] {
        assert!(not_asked.contains(action), "{not_asked}");
    }
    for call in [
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "CreateTable",
        "BatchExecuteStatement",
    ] {
        assert_eq!(endpoint.count(call), 0, "{call}");
    }
    bench.done().await;
}

/// One is refused by either store, in one go.
#[tokio::test(flavor = "multi_thread")]
async fn both_stores_are_asked_whatever_the_other_says() {
    let server = secure_cassandra();
    let mut bench = secure::bench(&server, "permits").await;
    let endpoint = without(&["GetItem", "Scan"]);
    bench.url = endpoint.url.clone();
    let (secret, role) = ("s3cr3t-pass!", unique("looker"));
    bench
        .cql(&format!(
            "CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{secret}'"
        ))
        .await;
    secure::plan(&bench, &server, &role, "");
    let run = |arguments: &[&str]| {
        bench
            .migrate(arguments)
            .env("CASSANDRA_PASSWORD", secret)
            .run()
    };
    let target = format!("{ARN}{}", bench.target("t"));
    let select = bench.named("@.t");

    let told = run(&["check"]).expect_code(2).stdout;
    for line in [
        format!("permission missing: SELECT on {select} (check, init, "),
        format!("permission missing: dynamodb:GetItem on {target} ("),
        format!("permission missing: dynamodb:Scan on {target} (check, init, "),
        "permissions on the control table:\n  none is missing".to_owned(),
    ] {
        assert!(told.contains(&line), "no `{line}` in {told}");
    }
    let lines = run(&["check", "--json"]).expect_code(2).json();
    let wanted = [
        ("SELECT", select.as_str()),
        ("dynamodb:GetItem", target.as_str()),
        ("dynamodb:Scan", target.as_str()),
    ];
    assert_eq!(
        missing(&lines[0]),
        wanted.map(|(one, on)| (one.to_owned(), on.to_owned()))
    );

    // With the grant, what the old store lacks is gone, and what check doesn't need isn't a reason to refuse.
    bench
        .cql(&format!("GRANT SELECT ON TABLE @.t TO {role}"))
        .await;
    let checked = run(&["check", "--json"]).expect_code(0).json();
    assert_eq!(missing(&checked[0]).len(), 2, "{checked:?}");
    bench.cql(&format!("DROP ROLE {role}")).await;
    bench.done().await;
}
