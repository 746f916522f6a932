//! What is known of tables' indexes: as DescribeTable tells it, for a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

/// How long a description is gone by.
const KEPT: Duration = Duration::from_secs(60);

/// An index.
pub(super) struct Index {
    pub partition: String,
    pub sort: Option<String>,
    /// The attributes that it has beside the keys; `None` for all.
    projected: Option<BTreeSet<String>>,
}

impl Index {
    pub fn of(said: &Json) -> Self {
        let key = |role: &str| {
            let mut keys = said["KeySchema"].as_array()?.iter();
            let key = keys.find(|key| key["KeyType"] == role)?;
            Some(key["AttributeName"].as_str()?.to_owned())
        };
        let projection = &said["Projection"];
        let named = projection["NonKeyAttributes"].as_array();
        let named = named.into_iter().flatten().filter_map(Json::as_str);
        Index {
            partition: key("HASH").unwrap_or_default(),
            sort: key("RANGE"),
            projected: (projection["ProjectionType"] != "ALL")
                .then(|| named.map(str::to_owned).collect()),
        }
    }

    /// Whether its items have this attribute, where the table's have it.
    pub fn has(&self, name: &str) -> bool {
        let is_key = name == self.partition || Some(name) == self.sort.as_deref();
        is_key || self.projected.as_ref().is_none_or(|all| all.contains(name))
    }
}

/// A table's indexes by name.
pub(super) type TableIndexes = Arc<BTreeMap<String, Index>>;

/// The indexes of tables.
#[derive(Default)]
pub(super) struct Indexes(Mutex<BTreeMap<String, (Instant, TableIndexes)>>);

impl Indexes {
    pub fn known(&self, table: &str) -> Option<TableIndexes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, described) = all.get(table)?;
        (at.elapsed() < KEPT).then(|| described.clone())
    }

    pub fn keep(&self, table: &str, described: &TableIndexes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(table.to_owned(), (Instant::now(), described.clone()));
    }
}
