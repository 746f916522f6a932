//! Every store behaves alike.

use crossfade::store::cassandra::{Cassandra, CassandraConfig, Consistency};
use crossfade::store::dynamodb::{self, Credentials, DynamoDb};
use crossfade::store::embedded::Embedded;
use crossfade::store::memory::Memory;
use crossfade::testing::conformance::run;
use scylla::client::session_builder::SessionBuilder;

use crate::support::{cassandra_address, dynamodb_url, folder, unique};

#[tokio::test]
async fn memory() {
    run(&Memory::new(), "t").await;
}

#[tokio::test]
async fn embedded() {
    let folder = folder();
    let store = Embedded::open(folder.path()).expect("a store");
    run(&store, "t").await;
}

#[tokio::test]
async fn cassandra() {
    let keyspace = unique("conformance");
    let session = SessionBuilder::new()
        .known_node(cassandra_address())
        .fetch_schema_metadata(false)
        .build()
        .await
        .expect("a session");
    let make = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(make, ()).await.expect("a keyspace");
    let mut config = CassandraConfig::new([cassandra_address()], keyspace.clone());
    config.consistency = Consistency::One;
    let store = Cassandra::connect(config).await.expect("a store");
    run(&store, "t").await;
    session
        .query_unpaged(format!("DROP KEYSPACE {keyspace}"), ())
        .await
        .expect("dropped");
}

#[tokio::test]
async fn dynamodb() {
    let store = DynamoDb::connect(dynamodb::DynamoDbConfig {
        region: Some("us-east-1".into()),
        endpoint: Some(dynamodb_url()),
        credentials: Some(Credentials {
            access_key_id: "crossfade".into(),
            secret_access_key: "crossfade".into(),
            session_token: None,
        }),
        ..dynamodb::DynamoDbConfig::default()
    });
    run(&store.await.expect("a store"), &unique("conformance")).await;
}
