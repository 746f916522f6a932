//! Apache Cassandra (3.0 and later) and ScyllaDB, by the native protocol.
//!
//! | file | what it holds |
//! |---|---|
//! | `config`, `connect`, `tls` | how to reach a cluster, and what is checked before it is used |
//! | `inspect`, `estimate`, `overlap` | a table as the server describes it, and what its owner should know |
//! | `statement`, `decode` | CQL texts, prepared once; rows between the wire and [`crate::model`] |
//! | `scan`, `resume` | pages of a range, and going on after a row |
//! | `ceiling` | how many rows a page may have |
//! | `pulse` | which nodes have gone away lately |
//! | `share` | how much of the cluster a tool takes |
//! | `rate` | how much applications write to a table |
//! | `slice`, `ordinal` | cutting a range in two |
//! | `mutate` | what applications write to single rows |
//! | `query` | parts of a partition: queries and deletes |
//! | `put`, `create` | puts and purges of rows; tables made and dropped |
//! | `shown` | whether the login is shown all that a table holds |
//! | `fence` | taking a role's permission to write to one table, and giving it back |
//! | `errors` | what the driver's errors mean |
//!
//! The driver never retries here, never sends a request twice to be quicker, and only `SELECT`s are
//! marked idempotent.

mod ceiling;
mod config;
mod connect;
mod create;
mod decode;
mod errors;
mod estimate;
mod fence;
mod inspect;
mod mutate;
mod ordinal;
mod overlap;
mod pulse;
mod put;
mod query;
mod rate;
mod repaired;
mod resume;
mod scan;
mod share;
mod shown;
mod slice;
mod statement;
mod tls;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Statement;
use scylla::statement::prepared::PreparedStatement;

use self::ceiling::Ceiling;
pub use self::config::{CassandraConfig, ClientCertificate, Consistency, Login, Tls};
use self::errors::Doing;
use self::pulse::Pulse;
pub use self::rate::WriteRate;
pub use self::repaired::RepairHistory;
pub use self::share::{READS_OF_NODE, ReadShare};
use super::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, WriteAccess, WriteOutcomes, failed_rows, unsupported,
};
use crate::error::{Error, Kind, Result};
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Row, Tokens,
};
use crate::schema::Table;

/// Reads and writes by key that are under way at once, for one call.
const AT_ONCE: usize = 64;

/// How long the question whether a server lives may take.
const PULSE: Duration = Duration::from_secs(3);

/// Which replicas a read asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replicas {
    /// As many as is configured.
    Configured,
    /// Those that agree on writes on a condition: it sees every one that was decided.
    Agreed,
}

/// A keyspace of a cluster.
#[derive(Clone)]
pub struct Cassandra {
    name: String,
    keyspace: String,
    session: Arc<Session>,
    /// What its reads ask for, unless `reads` says otherwise.
    consistency: Consistency,
    reads: Option<Consistency>,
    /// What to do where there are too few replicas for that, beside bringing them back.
    way_out: Option<&'static str>,
    /// What its writes ask for.
    writes: Consistency,
    /// The only one whose nodes are asked, where the cluster has several.
    datacenter: Option<String>,
    /// Who it logs in as.
    login: Option<String>,
    /// Ranges that are read at once, where the plan says so.
    readers: Option<usize>,
    /// Rows of a page at most.
    page_rows: Arc<Ceiling>,
    /// Which nodes have gone away lately.
    pulse: Arc<Pulse>,
    /// Whether `TTL(…)` takes a collection that isn't frozen (Cassandra 5.0 and later).
    reads_element_ttls: bool,
    /// Whether `USING TTL 0` means the table's default, not for good (Cassandra before 3.6).
    zero_ttl_is_default: bool,
    /// Where that makes no difference: tables that had no default when they were first written to.
    without_default_ttl: Arc<RwLock<HashSet<String>>>,
    /// Rows tell when they were written, if that isn't before this: microseconds since 1970.
    writes_since: Option<i64>,
    partitioner: String,
    /// By the CQL text, which says table and shape.
    prepared: Arc<RwLock<HashMap<String, PreparedStatement>>>,
    permit: Option<Permit>,
}

impl std::fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cassandra")
            .field("name", &self.name)
            .field("keyspace", &self.keyspace)
            .finish_non_exhaustive()
    }
}

impl Cassandra {
    /// The keyspace it reads and writes.
    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The same keyspace over the same connections, with reads at another consistency.
    #[must_use]
    pub fn reading_at(&self, consistency: Consistency) -> Cassandra {
        Cassandra {
            reads: Some(consistency),
            way_out: None,
            prepared: Arc::default(),
            ..self.clone()
        }
    }

    /// The same, which tells where there are too few replicas what else to do than to bring them back. Only who
    /// chose the consistency knows that.
    #[must_use]
    pub fn with_way_out(self, way_out: &'static str) -> Cassandra {
        Cassandra {
            way_out: Some(way_out),
            ..self
        }
    }

    /// The same, with rows that tell of each cell when it was written (of a collection: the youngest
    /// element), if that was at or after this moment: microseconds since 1970. Tables of counters
    /// don't; collections do so from Cassandra 5.0 on.
    #[must_use]
    pub fn telling_writes_since(self, moment: i64) -> Cassandra {
        Cassandra {
            writes_since: Some(moment),
            prepared: Arc::default(),
            ..self
        }
    }

    /// The prepared form of a statement, made once. `SELECT`s are marked idempotent, nothing else.
    async fn prepare(&self, cql: &str, doing: Doing) -> Result<PreparedStatement> {
        if let Some(statement) = self.known(cql) {
            return Ok(statement);
        }
        let statement = self.prepare_anew(cql, doing).await?;
        self.prepared
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(cql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The prepared form of a statement that isn't kept.
    async fn prepare_anew(&self, cql: &str, doing: Doing) -> Result<PreparedStatement> {
        let mut statement = match self.session.prepare(cql).await {
            Ok(statement) => statement,
            Err(error) => return Err(self.refused(error, doing).await),
        };
        let reads = cql.starts_with("SELECT ");
        statement.set_is_idempotent(reads);
        let consistency = if reads { self.reads } else { Some(self.writes) };
        if let Some(consistency) = consistency {
            statement.set_consistency(connect::driver_consistency(consistency));
        }
        statement.set_serial_consistency(Some(connect::serial_consistency(self.writes)));
        Ok(statement)
    }

    fn known(&self, cql: &str) -> Option<PreparedStatement> {
        let prepared = self.prepared.read().unwrap_or_else(PoisonError::into_inner);
        prepared.get(cql).cloned()
    }

    async fn refused(&self, error: PrepareError, doing: Doing) -> Error {
        let error = errors::preparing(error, doing);
        if error.kind() != Kind::Missing {
            return error;
        }
        match self.tables().await {
            Ok(tables) if tables.is_empty() => error.with_help("the keyspace has no tables"),
            Ok(tables) => {
                let shown: Vec<&str> = tables.iter().take(20).map(String::as_str).collect();
                error.with_help(format!("the keyspace has {}", shown.join(", ")))
            }
            Err(_) => error,
        }
    }

    /// The error with its place; a denied one also says which grant is missing.
    fn placed(&self, error: Error, table: &Table, doing: Doing) -> Error {
        let place = format!("{}.{}", self.keyspace, table.name);
        let error = match self.reads {
            Some(_) if error.kind() == Kind::Unreachable => self.too_few(error),
            Some(_) | None => error,
        };
        let error = if error.kind() == Kind::Denied {
            let permission = match doing {
                Doing::Scan | Doing::Read => "SELECT",
                Doing::Write | Doing::Decide => "MODIFY",
            };
            error.with_help(format!(
                "GRANT {permission} ON TABLE {}.{} TO the role that logs in",
                crate::schema::quoted(&self.keyspace),
                crate::schema::quoted(&table.name)
            ))
        } else {
            error
        };
        error
            .with_context("table", place)
            .with_context("store", self.name.clone())
    }

    /// A read that asks for more replicas than there are: which nodes are away, and the ways out.
    fn too_few(&self, error: Error) -> Error {
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        let away = nodes.filter(|node| !node.is_connected());
        let away: Vec<String> = away.map(|node| node.address.to_string()).collect();
        let away = match away.is_empty() {
            true => "none that the driver knows of".to_owned(),
            false => away.join(", "),
        };
        let help = "bring nodes back (`nodetool status` names them) and run the command again";
        let help = match self.way_out {
            Some(way_out) => format!("{help}; {way_out}"),
            None => help.to_owned(),
        };
        error.with_context("nodes away", away).with_help(help)
    }

    /// Whether a server answers at all: tells a costly range from a dead cluster.
    async fn lives(&self) -> bool {
        let mut question = Statement::new("SELECT release_version FROM system.local");
        question.set_is_idempotent(true);
        question.set_request_timeout(Some(PULSE));
        self.session.query_unpaged(question, ()).await.is_ok()
    }
}

#[async_trait]
impl Reads for Cassandra {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            token_ranges: true,
            conditional_put: true,
            create: true,
            marks: false,
            fold: false,
            change: false,
            write: true,
            idempotent_add: false,
            key_attributes: false,
            put_rows: 1,
            page_bytes: 0,
            readers: self.read_share().readers,
        }
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.inspect_table(table).await
    }

    async fn now(&self) -> Result<Option<i64>> {
        self.clock().await.map(Some)
    }

    async fn tables(&self) -> Result<Vec<String>> {
        self.table_names().await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        let reads: Vec<_> = keys
            .iter()
            .map(|key| self.get_one(table, key, Replicas::Configured))
            .collect();
        futures::stream::iter(reads)
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| self.placed(error, table, Doing::Read))
    }

    /// At the configured consistency, however it is asked: what else would be the newest isn't known.
    async fn read(&self, table: &Table, key: &Key, _reading: Reading) -> Result<Option<Row>> {
        let row = self.get_one(table, key, Replicas::Configured).await;
        row.map_err(|error| self.placed(error, table, Doing::Read))
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        let listed = self.query_range(table, query).await;
        listed.map_err(|error| self.placed(error, table, Doing::Read))
    }

    async fn write_access(&self, table: &str, role: &str) -> Result<WriteAccess> {
        self.write_access_of(table, role).await
    }

    async fn splits(&self, _table: &Table, count: usize) -> Result<Vec<Range>> {
        Ok(Tokens::ALL
            .split(count)
            .into_iter()
            .map(Range::Tokens)
            .collect())
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let error = match self.read_page(table, range, after, limit).await {
            Ok(page) => return Ok(page),
            Err(error) => error,
        };
        let error = match error.kind() {
            Kind::Timeout => pulse::timed_out(error, self.has_lost_a_node(), self.lives()).await,
            _ => error,
        };
        Err(self.placed(error, table, Doing::Scan))
    }

    fn halve(&self, table: &Table, range: &Range) -> Option<Vec<Range>> {
        slice::halve(table, range)
    }
}

#[async_trait]
impl Store for Cassandra {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        self
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(Cassandra {
            permit: Some(permit),
            ..Cassandra::clone(&self)
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.create_table(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        self.put_rows(table, rows, on).await
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        self.purge_keys(table, keys, on).await
    }

    /// A counter of Cassandra can't be added to on a condition, so that a fold whose answer is lost
    /// would be counted twice or not at all.
    async fn fold(&self, _table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        let error = Error::new(
            Kind::Unsupported,
            "counters can't be moved into Cassandra: it can't add to them on a condition",
        );
        failed_rows(
            folds.len(),
            &error.with_context("store", self.name.as_str()),
        )
    }

    async fn update_item(
        &self,
        _table: &Table,
        _key: &Key,
        _change: &Change,
        _on: &Condition,
    ) -> Result<Changed> {
        Err(unsupported("changes on a condition"))
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        let added = self.add_once(table, add).await;
        added.map_err(|error| self.placed(error, table, Doing::Write))
    }

    async fn apply(&self, table: &Table, mutation: &Mutation) -> Result<Changed> {
        let doing = match mutation {
            Mutation::Put(_) | Mutation::Update(_) | Mutation::Delete(_) => Doing::Write,
            Mutation::Insert(_) | Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. } => {
                Doing::Decide
            }
        };
        let changed = self.mutate(table, mutation).await;
        changed.map_err(|error| self.placed(error, table, doing))
    }

    async fn delete(&self, table: &Table, range: &ClusteringRange) -> Result<()> {
        let deleted = self.delete_range(table, range).await;
        deleted.map_err(|error| self.placed(error, table, Doing::Write))
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.drop_named(table).await
    }

    async fn revoke(&self, table: &str, role: &str) -> Result<()> {
        self.revoke_from(table, role).await
    }

    async fn grant(&self, table: &str, role: &str) -> Result<()> {
        self.grant_to(table, role).await
    }
}
