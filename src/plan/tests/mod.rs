#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use super::*;

/// The shortest plan that holds; tests change a line of it.
const SMALL: &str = r#"name = "bgt"
[old]
kind = "cassandra"
nodes = ["127.0.0.1"]
keyspace = "bgt"
[new]
kind = "dynamodb"
region = "us-east-1"
[[table]]
name = "users"
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("db.example".into()),
        "PORT" => Some("9999".into()),
        "PASSWORD" | "CASSANDRA_PASSWORD" | "MASK_KEY" => Some("hunter2 ${HOST}".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Plan, PlanErrors> {
    Plan::parse(text, Path::new("cf.toml"), &env)
}

fn parsed(text: &str) -> Plan {
    parse(text).unwrap_or_else(|errors| panic!("{errors}\n\n{text}"))
}

fn errors(text: &str) -> String {
    match parse(text) {
        Ok(plan) => panic!("this must not hold: {plan:?}\n\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// `SMALL` with one line replaced. The line must be there.
fn with(line: &str, by: &str) -> String {
    assert!(SMALL.contains(line), "{line}");
    SMALL.replacen(line, by, 1)
}

fn cassandra(plan: &Plan) -> &CassandraPlan {
    match &plan.old {
        OldStorePlan::Cassandra(cassandra) => cassandra,
        OldStorePlan::Embedded { path } => panic!("{path:?}"),
    }
}

fn dynamodb(plan: &Plan) -> &DynamoDbPlan {
    match &plan.new {
        NewStorePlan::DynamoDb(dynamodb) => dynamodb,
        NewStorePlan::Embedded { path } => panic!("{path:?}"),
    }
}

mod broken;
mod patterns;
mod schema;
mod whole;
