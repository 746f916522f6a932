//! When a table's replicas were last brought together, as far as the server has written that down.

use std::collections::HashMap;

use scylla::value::CqlTimestamp;

use super::Cassandra;
use crate::clock;
use crate::error::Result;

/// When a table was repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairHistory {
    /// How long the table keeps its tombstones: what was deleted longer ago, and missed by a replica, may be back.
    pub gc_grace_seconds: u32,
    /// How long ago the last repair of any of its ranges succeeded; `None` if none is written down.
    pub seconds_ago: Option<i64>,
}

impl Cassandra {
    /// When a table was last repaired. `None` where there is one replica, which agrees with itself, and where the server
    /// keeps no such history.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn repaired(&self, table: &str) -> Result<Option<RepairHistory>> {
        let replication = self
            .rows_of::<(HashMap<String, String>,)>(
                "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
                (&self.keyspace,),
            )
            .await?;
        let counts = replication.iter().flat_map(|(options,)| options.values());
        // `3`, or `3/1` with transient replicas.
        let count = |value: &String| value.split('/').next()?.parse::<u32>().ok();
        if counts.filter_map(count).sum::<u32>() < 2 {
            return Ok(None);
        }
        let grace = self
            .rows_of::<(i32,)>(
                "SELECT gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
                (&self.keyspace, table),
            )
            .await?;
        let Some((grace,)) = grace.first() else {
            return Ok(None);
        };
        let ended = self
            .rows_of::<(Option<CqlTimestamp>, Option<String>)>(
                "SELECT finished_at, status FROM system_distributed.repair_history \
                 WHERE keyspace_name = ? AND columnfamily_name = ? ORDER BY id DESC LIMIT 1000",
                (&self.keyspace, table),
            )
            .await?;
        let succeeded = ended.into_iter().filter_map(|(at, status)| {
            let is_success = status.is_some_and(|status| status == "SUCCESS");
            at.filter(|_| is_success).map(|at| at.0)
        });
        let now = clock::unix_micros() / 1_000;
        Ok(Some(RepairHistory {
            gc_grace_seconds: u32::try_from(*grace).unwrap_or(0),
            seconds_ago: succeeded.max().map(|at| ((now - at) / 1_000).max(0)),
        }))
    }
}
