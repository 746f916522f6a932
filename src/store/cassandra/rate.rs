//! How much applications write to a table, as its nodes count.

use std::sync::Arc;

use futures::future::join_all;
use scylla::cluster::Node;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::errors::{self, Doing};
use super::{Cassandra, PULSE};
use crate::error::{Error, Kind, Result};
use crate::schema::quoted;

/// What each node has been asked to write itself, whoever keeps the rows: what nodes say adds up.
const RATES: &str = "SELECT per_second FROM system_views.coordinator_write_latency WHERE keyspace_name = ? AND table_name = ?";

/// How much applications write to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriteRate {
    /// Writes a second, a mean of about the last five minutes; never more than there are. A batch counts once, and a write on
    /// a condition not at all.
    pub per_second: f64,
    /// Nodes of the datacenter that told.
    pub nodes: usize,
    /// Nodes of it that didn't, whose writes are missing.
    pub silent: usize,
}

impl Cassandra {
    /// How much applications write to a table, through the nodes that this store asks. `None` where servers don't tell:
    /// before Cassandra 4.0, and ScyllaDB.
    ///
    /// # Errors
    /// No node can be asked, or the login may not look.
    pub async fn write_rate(&self, table: &str) -> Result<Option<WriteRate>> {
        let mut statement = match self.session.prepare(RATES).await {
            Ok(statement) => statement,
            Err(error) => {
                let error = errors::preparing(error, Doing::Read);
                if error.kind() == Kind::Missing {
                    return Ok(None);
                }
                return Err(self.untold_rate(error));
            }
        };
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(PULSE));
        // Each node answers for itself alone.
        statement.set_consistency(Consistency::One);
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        let asked =
            nodes.filter(|node| self.datacenter.is_none() || node.datacenter == self.datacenter);
        let told = join_all(asked.map(|node| self.rate_at(node, &statement, table))).await;
        let mut rate = WriteRate::default();
        let mut last = None;
        for told in told {
            match told {
                Ok(per_second) => {
                    rate.nodes += 1;
                    rate.per_second += per_second;
                }
                Err(error) => {
                    rate.silent += 1;
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if rate.nodes == 0 => Err(self.untold_rate(error)),
            Some(_) | None => Ok(Some(rate)),
        }
    }

    /// What one node has been asked to write.
    async fn rate_at(
        &self,
        node: &Arc<Node>,
        statement: &PreparedStatement,
        table: &str,
    ) -> Result<f64> {
        let mut statement = statement.clone();
        let this = NodeIdentifier::Node(node.clone());
        let only = SingleTargetLoadBalancingPolicy::new(this, None);
        statement.set_load_balancing_policy(Some(only));
        let unreadable = |error: &dyn std::fmt::Display| {
            let message = format!("the server's own tables aren't as expected: {error}");
            Error::new(Kind::Unsupported, message)
        };
        let answer = self
            .session
            .execute_unpaged(&statement, (&self.keyspace, table))
            .await
            .map_err(|error| errors::executing(error, Doing::Read))?
            .into_rows_result()
            .map_err(|error| unreadable(&error))?;
        let row = answer
            .maybe_first_row::<(Option<f64>,)>()
            .map_err(|error| unreadable(&error))?;
        // A node that doesn't know the table yet has written nothing to it.
        Ok(row.and_then(|(per_second,)| per_second).unwrap_or(0.0))
    }

    fn untold_rate(&self, error: Error) -> Error {
        let error = error
            .with_context("statement", RATES)
            .with_context("store", self.name.as_str());
        if error.kind() != Kind::Denied {
            return error;
        }
        let me = quoted(self.login.as_deref().unwrap_or_default());
        error.with_help(format!(
            "GRANT SELECT ON TABLE system_views.coordinator_write_latency TO {me}"
        ))
    }
}
