//! The DynamoDB store: against a real server, and against one that misbehaves as told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crossfade::model::{Key, Row, Value};
use crossfade::schema::{Column, Order, Role, Table, Type};
use crossfade::store::dynamodb::{Credentials, DynamoDb, DynamoDbConfig};

mod capacity;
mod changes;
mod connection;
mod faults;
mod local;
mod permits;
mod wide;

fn config(endpoint: &str) -> DynamoDbConfig {
    DynamoDbConfig {
        region: Some("us-east-1".into()),
        endpoint: Some(endpoint.into()),
        credentials: Some(Credentials {
            access_key_id: "AKIDCROSSFADE".into(),
            secret_access_key: "a-secret-to-be-kept".into(),
            session_token: Some("a-token-to-be-kept".into()),
        }),
        ..DynamoDbConfig::default()
    }
}

async fn connect(endpoint: &str) -> DynamoDb {
    DynamoDb::connect(config(endpoint)).await.unwrap()
}

fn column(name: &str, ty: Type, role: Role) -> Column {
    let frozen = matches!(role, Role::Partition | Role::Clustering(_));
    Column {
        name: name.into(),
        ty,
        frozen,
        role,
    }
}

/// `id text, n int, body text, primary key (id, n)`.
fn notes(name: &str) -> Table {
    let columns = vec![
        column("id", Type::Text, Role::Partition),
        column("n", Type::Int, Role::Clustering(Order::Asc)),
        column("body", Type::Text, Role::Regular),
    ];
    Table::new(name, columns)
}

fn key(id: &str, n: i32) -> Key {
    Key::row(vec![Value::text(id)], vec![Value::Int(n)])
}

fn note(id: &str, n: i32, body: &str) -> Row {
    Row::new(key(id, n), vec![Some(Value::text(body))])
}

fn some_notes(count: i32) -> Vec<Row> {
    (0..count).map(|n| note("a", n, "b")).collect()
}
