//! Amazon DynamoDB, and what speaks its protocol: DynamoDB Local, ScyllaDB's Alternator.
//!
//! Rows that must not overwrite anything go as PartiQL `INSERT` statements, 25 to a request: each
//! has a condition and an answer of its own, which `BatchWriteItem` doesn't have, and it takes a
//! fraction of the work that as many `PutItem` calls take. Everything else, and everything on an
//! endpoint without PartiQL, goes as single conditional calls.
//!
//! Reads are strongly consistent unless asked otherwise. Nothing is retried here, by the SDK neither.
//!
//! | what is done | permissions on the table |
//! |---|---|
//! | look at a table, create one | `DescribeTable`, `DescribeTimeToLive` (may lack); `CreateTable` |
//! | let expired items be deleted | `DescribeTimeToLive`, `UpdateTimeToLive` |
//! | see and change what a table takes in a second | `DescribeTable`, `UpdateTable` |
//! | put where nothing is there | `PartiQLInsert`; `PutItem` too, for rows of many columns |
//! | put on another condition, purge | `PutItem`; `DeleteItem` |
//! | change one item | `PutItem`, `UpdateItem`, `DeleteItem`; `GetItem` too, for elements of collections and for more columns than an expression holds |
//! | fold counters, add to them | `UpdateItem` |
//! | read, get, query, scan | `GetItem`; `BatchGetItem`; `Query`; `Scan` |

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;

use super::{
    Capabilities, Changed, Cursor, Inspection, Page, Permit, QueryPage, Range, Reading, Reads,
    Store, Together, WriteOutcomes, failed_rows, unsupported,
};
use crate::error::Result;
use crate::item::Mapping;
use crate::model::{
    Add, Change, ClusteringRange, Condition, Fold, Key, Mutation, Query, Returns, Row,
};
use crate::schema::Table;

mod add;
mod allowed;
mod asking;
mod attr;
mod batch;
mod body;
mod capacity;
mod change;
mod connect;
mod create;
mod digest;
mod direct;
mod drop;
mod errors;
mod expression;
mod fold;
mod http;
mod inspect;
mod outcome;
mod put;
mod query;
mod raw;
mod read;
mod ready;
mod scan;
mod socket;
mod together;
mod update;
mod whole;

pub use allowed::ActionAnswer;
use asking::Asking;
pub use capacity::{CapacityStep, TableBilling, TableCapacity, Throughput};
pub use connect::{Credentials, DynamoDbConfig, EndpointTls};
use direct::Direct;
use errors::SdkCall;
pub use raw::{Raw, RawAnswer};

/// Rows that one request of a batch takes at most, set by DynamoDB.
const BATCH: usize = 25;

/// A DynamoDB endpoint. Cheap to clone, and to share behind an `Arc`; its tables are found by name.
#[derive(Clone)]
pub struct DynamoDb {
    client: Client,
    direct: Direct,
    endpoint: Arc<str>,
    name: Arc<str>,
    timeout: Option<Duration>,
    tls: Option<EndpointTls>,
    partiql: Arc<Partiql>,
    /// Compiled once for each table, by its name.
    mappings: Arc<RwLock<HashMap<String, Arc<Mapping>>>>,
    permit: Option<Permit>,
}

impl DynamoDb {
    /// Makes a client. Credentials are loaded; the endpoint isn't called yet, [`inspect`](crate::store::Reads::inspect)
    /// is the call that tells whether it answers.
    ///
    /// # Errors
    /// [`crate::error::Kind::Denied`] without credentials, [`crate::error::Kind::Config`] without
    /// a region, or with an endpoint or a certificate file that can't be used.
    pub async fn connect(config: DynamoDbConfig) -> Result<Self> {
        let connect::Ways {
            client,
            direct,
            endpoint,
        } = connect::ways(&config).await?;
        Ok(DynamoDb {
            client,
            direct,
            name: format!("dynamodb {endpoint}").into(),
            endpoint: endpoint.into(),
            timeout: config.timeout,
            tls: config.tls,
            partiql: Arc::new(Partiql::new(config.partiql)),
            mappings: Arc::default(),
            permit: None,
        })
    }

    /// The URL that calls go to, wherever it was set: the configuration, the environment, a profile or
    /// AWS's own rules.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The compiled mapping of a table, made again when the table isn't the one of the last call.
    fn mapping(&self, table: &Table) -> Result<Arc<Mapping>> {
        let known = self
            .mappings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&table.name)
            .cloned();
        if let Some(mapping) = known.filter(|mapping| mapping.table() == table) {
            return Ok(mapping);
        }
        let mapping = Arc::new(Mapping::new(table)?);
        self.mappings
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(table.name.clone(), mapping.clone());
        Ok(mapping)
    }

    fn reading<'a>(&'a self, action: &'static str, table: &'a str) -> SdkCall<'a> {
        SdkCall {
            action,
            table,
            endpoint: &self.endpoint,
            writes: false,
        }
    }

    /// The same with connections of its own. The endpoint and certificates were right when this one was made; should
    /// a file be gone since, the connections are shared.
    fn over_other_connections(&self) -> DynamoDb {
        let Ok(http) = connect::http_client(self.tls.as_ref(), self.timeout) else {
            return self.clone();
        };
        let config = self.client.config().to_builder().http_client(http.clone());
        DynamoDb {
            client: Client::from_conf(config.build()),
            direct: self.direct.over(http),
            ..self.clone()
        }
    }

    /// To be given to every request that changes rows.
    fn asking(&self) -> Asking {
        Asking(self.permit.clone())
    }

    fn writing<'a>(&'a self, action: &'static str, table: &'a str) -> SdkCall<'a> {
        SdkCall {
            writes: true,
            ..self.reading(action, table)
        }
    }
}

impl fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDb")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Reads for DynamoDb {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            token_ranges: false,
            conditional_put: true,
            create: true,
            marks: true,
            fold: true,
            change: true,
            write: false,
            idempotent_add: true,
            key_attributes: true,
            put_rows: BATCH,
            page_bytes: 1 << 20,
            readers: 0,
        }
    }

    async fn inspect(&self, table: &str) -> Result<Option<Inspection>> {
        self.look_at(table).await
    }

    async fn get(&self, table: &Table, keys: &[Key]) -> Result<Vec<Option<Row>>> {
        self.read_keys(&*self.mapping(table)?, keys).await
    }

    async fn read(&self, table: &Table, key: &Key, reading: Reading) -> Result<Option<Row>> {
        self.read_item(&*self.mapping(table)?, key, reading).await
    }

    async fn get_together(&self, keys: &[(&Table, &Key)]) -> Result<Vec<Option<Row>>> {
        self.read_together(keys).await
    }

    async fn query(&self, table: &Table, query: &Query) -> Result<QueryPage> {
        self.query_rows(&*self.mapping(table)?, query).await
    }

    async fn splits(&self, _table: &Table, count: usize) -> Result<Vec<Range>> {
        Ok(scan::segments(count))
    }

    async fn scan(
        &self,
        table: &Table,
        range: &Range,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.scan_page(&*self.mapping(table)?, range, after, limit)
            .await
    }

    /// A segment can't be cut: another number of segments cuts the table elsewhere.
    fn halve(&self, _table: &Table, _range: &Range) -> Option<Vec<Range>> {
        None
    }
}

#[async_trait]
impl Store for DynamoDb {
    fn afresh(self: Arc<Self>) -> Arc<dyn Store> {
        Arc::new(self.over_other_connections())
    }

    fn permitted(self: Arc<Self>, permit: Permit) -> Arc<dyn Store> {
        Arc::new(DynamoDb {
            permit: Some(permit),
            ..DynamoDb::clone(&self)
        })
    }

    async fn create(&self, table: &Table) -> Result<()> {
        self.create_table(&*self.mapping(table)?).await
    }

    async fn drop_table(&self, table: &str) -> Result<()> {
        self.drop_protected(table).await
    }

    async fn put(&self, table: &Table, rows: &[Row], on: &Condition) -> WriteOutcomes {
        match self.mapping(table) {
            Ok(mapping) => self.put_rows(&mapping, rows, on).await,
            Err(error) => failed_rows(rows.len(), &error),
        }
    }

    async fn purge(&self, table: &Table, keys: Vec<Key>, on: &Condition) -> WriteOutcomes {
        match self.mapping(table) {
            Ok(mapping) => self.delete_keys(&mapping, keys, on).await,
            Err(error) => failed_rows(keys.len(), &error),
        }
    }

    async fn fold(&self, table: &Table, folds: Vec<Fold>) -> WriteOutcomes {
        match self.mapping(table) {
            Ok(mapping) => self.fold_rows(&mapping, folds).await,
            Err(error) => failed_rows(folds.len(), &error),
        }
    }

    async fn update_item(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
    ) -> Result<Changed> {
        self.change_item(&*self.mapping(table)?, key, change, on, Returns::Nothing)
            .await
    }

    async fn update_item_and_return(
        &self,
        table: &Table,
        key: &Key,
        change: &Change,
        on: &Condition,
        returns: Returns,
    ) -> Result<Changed> {
        self.change_item(&*self.mapping(table)?, key, change, on, returns)
            .await
    }

    async fn transact(&self, changes: &[Together<'_>]) -> Result<Vec<Changed>> {
        self.change_together(changes).await
    }

    async fn add_and_return(&self, table: &Table, add: &Add) -> Result<Option<Row>> {
        self.add_up_and_tell(&*self.mapping(table)?, add).await
    }

    async fn add(&self, table: &Table, add: &Add) -> Result<()> {
        self.add_up(&*self.mapping(table)?, add).await
    }

    async fn apply(&self, _table: &Table, _mutation: &Mutation) -> Result<Changed> {
        Err(unsupported("writes as to an old store"))
    }

    async fn delete(&self, _table: &Table, _range: &ClusteringRange) -> Result<()> {
        Err(unsupported("deletes of ranges"))
    }

    async fn enable_ttl(&self, table: &Table) -> Result<()> {
        self.expire_items(&*self.mapping(table)?).await
    }
}

/// Whether the endpoint knows PartiQL, as far as it is known.
struct Partiql {
    missing: AtomicBool,
    /// The configuration says that it does, so that its lack is an error.
    demanded: bool,
}

impl Partiql {
    fn new(configured: Option<bool>) -> Self {
        Partiql {
            missing: AtomicBool::new(configured == Some(false)),
            demanded: configured == Some(true),
        }
    }

    /// Whether to try it.
    fn is_tried(&self) -> bool {
        !self.missing.load(Ordering::Relaxed)
    }

    /// Remembers that the endpoint doesn't have the call.
    fn is_missing(&self) {
        self.missing.store(true, Ordering::Relaxed);
    }
}
