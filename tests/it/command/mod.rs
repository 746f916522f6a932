//! The real command on the real servers. Tables are made with the plain Cassandra driver, items are
//! read with the plain AWS SDK: nothing here that judges a copy is code of the copier.

mod adopting;
mod advancing;
mod capacity;
mod copying;
mod demand;
mod desk;
mod dry;
mod fencing;
mod finishing;
mod forecasting;
mod guardrails;
pub(crate) mod items;
mod journals;
pub(crate) mod killing;
mod letters;
mod looking;
mod lost;
mod markers;
mod masks;
mod memory;
mod messages;
mod metering;
mod outages;
mod pacing;
mod patterns;
mod permissions;
mod permits;
mod plainly;
mod planning;
mod plans;
mod refusals;
mod rehearsing;
pub(crate) mod reporting;
mod resets;
mod schemas;
mod secure;
mod shards;
mod sharing;
mod snapshots;
mod throttling;
mod traffic;
mod ttls;
mod unkept;
mod verifying;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use futures::{StreamExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlValue;
use serde_json::Value as Json;

use crate::support::{Migrate, Outcome, Running, cassandra_address, dynamodb_url, folder, unique};

pub(crate) type Item = HashMap<String, AttributeValue>;
pub(crate) type Row = BTreeMap<String, Option<CqlValue>>;

/// Writes under way at once while a table is filled.
const WRITERS: usize = 64;

/// A keyspace, a folder and target names of a test's own. In what a plan says `@` is the keyspace.
pub(crate) struct Bench {
    pub(crate) node: String,
    pub(crate) url: String,
    pub(crate) keyspace: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) session: Session,
    pub(crate) dynamo: Client,
}

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// A server on this machine takes any credentials.
pub(crate) fn credentials() -> [(&'static str, String); 3] {
    [
        (
            "AWS_ACCESS_KEY_ID",
            variable("AWS_ACCESS_KEY_ID", "crossfade"),
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            variable("AWS_SECRET_ACCESS_KEY", "crossfade"),
        ),
        ("AWS_REGION", variable("AWS_REGION", "us-east-1")),
    ]
}

/// The AWS SDK alone.
fn client(url: &str) -> Client {
    let [(_, id), (_, secret), (_, region)] = credentials();
    let token = std::env::var("AWS_SESSION_TOKEN").ok();
    let credentials = aws_sdk_dynamodb::config::Credentials::new(id, secret, token, None, "tests");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(aws_config::Region::new(region))
        .credentials_provider(credentials)
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

impl Bench {
    pub(crate) async fn new(name: &str) -> Self {
        Self::on(name, cassandra_address(), dynamodb_url()).await
    }

    pub(crate) async fn on(name: &str, node: String, url: String) -> Self {
        let session = SessionBuilder::new()
            .known_node(&node)
            // The driver can't read the types of other tests' tables.
            .fetch_schema_metadata(false)
            .build()
            .await
            .expect("a session");
        Self::with(name, node, url, session).await
    }

    pub(crate) async fn with(name: &str, node: String, url: String, session: Session) -> Self {
        Self::replicated(1, name, node, url, session).await
    }

    /// With so many replicas.
    pub(crate) async fn replicated(
        replicas: usize,
        name: &str,
        node: String,
        url: String,
        session: Session,
    ) -> Self {
        let keyspace = unique(name);
        let bench = Bench {
            dynamo: client(&url),
            folder: folder(),
            node,
            url,
            keyspace,
            session,
        };
        bench
            .cql(&format!(
                "CREATE KEYSPACE @ WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
            ))
            .await;
        bench
            .session
            .use_keyspace(&bench.keyspace, false)
            .await
            .expect("it");
        bench
    }

    /// `@` becomes the keyspace.
    pub(crate) fn named(&self, text: &str) -> String {
        text.replace('@', &self.keyspace)
    }

    pub(crate) async fn cql(&self, statement: &str) {
        let statement = self.named(statement);
        if let Err(error) = self.session.query_unpaged(statement.as_str(), ()).await {
            panic!("{statement}: {error}");
        }
    }

    /// Runs one statement with many sets of values.
    pub(crate) async fn fill<V: scylla::serialize::row::SerializeRow>(
        &self,
        statement: &str,
        values: impl IntoIterator<Item = V>,
    ) {
        let prepared = self.session.prepare(statement).await.expect("prepared");
        futures::stream::iter(values)
            .map(|values| self.session.execute_unpaged(&prepared, values))
            .buffer_unordered(WRITERS)
            .try_for_each(|_| async { Ok(()) })
            .await
            .expect("written");
    }

    /// A plan's beginning: both stores, a control table and a journal of the test's own.
    pub(crate) fn stores(&self) -> String {
        let [_, _, (_, region)] = credentials();
        format!(
            "name = \"{keyspace}\"\n\
             [old]\nkind = \"cassandra\"\nnodes = [\"{node}\"]\nkeyspace = \"{keyspace}\"\nconsistency = \"one\"\n\
             [new]\nkind = \"dynamodb\"\nregion = \"{region}\"\nendpoint = \"{url}\"\ncontrol_table = \"{keyspace}-control\"\n\
             [journal]\ndir = \"{journal}\"\n",
            keyspace = self.keyspace,
            node = self.node,
            url = self.url,
            journal = self.journal().display(),
        )
    }

    /// Writes the plan: both stores, and these tables.
    pub(crate) fn plan(&self, tables: &str) -> &Self {
        self.write("plan.toml", &format!("{}{tables}", self.stores()));
        self
    }

    /// Writes a file of the test's folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, self.named(text)).expect("written");
        path
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// The command on `plan.toml`.
    pub(crate) fn migrate(&self, arguments: &[&str]) -> Migrate {
        self.migrate_by("plan.toml", arguments)
    }

    /// The command on another plan of the folder.
    pub(crate) fn migrate_by(&self, plan: &str, arguments: &[&str]) -> Migrate {
        let plan = self.folder.path().join(plan);
        let mut command = Migrate::new(arguments).arg("--plan").arg(plan);
        for (name, value) in credentials() {
            command = command.env(name, value);
        }
        command.in_folder(self.folder.path())
    }

    pub(crate) fn init(&self) {
        self.migrate(&["init"]).run().expect_code(0);
    }

    pub(crate) fn target(&self, table: &str) -> String {
        format!("{}-{table}", self.keyspace)
    }

    /// Every row of an old table, as the driver reads it.
    pub(crate) async fn rows(&self, table: &str) -> Vec<Row> {
        let statement = format!("SELECT * FROM {}.{table}", self.keyspace);
        let pager = self.session.query_iter(statement, ()).await.expect("pages");
        let names: Vec<String> = pager
            .column_specs()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        pager
            .rows_stream::<scylla::value::Row>()
            .expect("rows")
            .map_ok(|row| names.iter().cloned().zip(row.columns).collect())
            .try_collect()
            .await
            .expect("rows")
    }

    /// Every item of a target, as the SDK reads it.
    pub(crate) async fn items(&self, table: &str) -> Vec<Item> {
        let scan = self
            .dynamo
            .scan()
            .table_name(self.target(table))
            .consistent_read(true);
        scan.into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .expect("items")
    }

    /// Whether a target has any item.
    pub(crate) async fn has_items(&self, table: &str) -> bool {
        let scan = self.dynamo.scan().table_name(self.target(table));
        let scan = scan.limit(1).consistent_read(true).send().await;
        scan.expect("a page").count() > 0
    }

    /// About how many items a target has. One segment of sixteen tells: counting all of them again and again costs
    /// the server more than the command that is waited for.
    pub(crate) async fn about(&self, table: &str) -> usize {
        const SEGMENTS: i32 = 16;
        let scan = self.dynamo.scan().table_name(self.target(table));
        let scan = scan.select(Select::Count).consistent_read(true);
        let scan = scan.segment(0).total_segments(SEGMENTS);
        let mut pages = scan.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += page.expect("a page").count();
        }
        (count * SEGMENTS) as usize
    }

    /// Waits until a target has about so many items, while a command runs.
    pub(crate) async fn until(&self, table: &str, wanted: usize, running: &mut Running) {
        while self.about(table).await < wanted {
            assert!(running.runs(), "it ended before {table} had {wanted} items");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn put(&self, table: &str, item: &[(&str, AttributeValue)]) {
        let put = self.dynamo.put_item().table_name(self.target(table));
        let item = item
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        put.set_item(Some(item)).send().await.expect("put");
    }

    /// Deletes a target that `init` has protected.
    pub(crate) async fn delete(&self, table: &str) {
        let target = self.target(table);
        let unprotect = self.dynamo.update_table().table_name(&target);
        unprotect
            .deletion_protection_enabled(false)
            .send()
            .await
            .expect("unprotected");
        self.dynamo
            .delete_table()
            .table_name(&target)
            .send()
            .await
            .expect("deleted");
    }

    pub(crate) fn status(&self) -> Vec<Json> {
        self.migrate(&["status", "--json"])
            .run()
            .expect_code(0)
            .json()
    }

    pub(crate) async fn done(self) {
        self.cql("DROP KEYSPACE @").await;
    }
}

/// Fails unless stderr has all these words.
#[track_caller]
pub(crate) fn says(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "no `{word}` on stderr: {outcome}"
        );
    }
}

/// A number of a line of `--json`.
#[track_caller]
pub(crate) fn number(line: &Json, field: &str) -> u64 {
    line[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number `{field}` in {line}"))
}

pub(crate) fn exists(folder: &Path) -> bool {
    folder.try_exists().expect("a folder")
}
