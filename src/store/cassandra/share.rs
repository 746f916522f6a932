//! How much of a cluster a tool takes: ranges that it reads at once.

use scylla::cluster::metadata::Strategy;

use super::{Cassandra, Consistency};

/// Reads that a tool has under way at a node by default: a quarter of those that a node does at once (`concurrent_reads`
/// in cassandra.yaml, 32 unless it is set otherwise).
pub const READS_OF_NODE: usize = 8;
/// Ranges that a tool reads at once by default, however large the cluster is.
const MOST_READERS: usize = 16;

/// What a tool takes of a cluster while it reads tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadShare {
    /// Ranges that it reads at once.
    pub readers: usize,
    /// Nodes that it asks: those of the datacenter.
    pub nodes: usize,
    /// Replicas that each read asks, of those nodes.
    pub replicas: usize,
    /// Whether `readers` is what the plan says, and not what was chosen for so many nodes and replicas.
    pub is_planned: bool,
}

impl Cassandra {
    /// What a tool takes of the cluster as it is now.
    pub fn read_share(&self) -> ReadShare {
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        let asked =
            nodes.filter(|node| self.datacenter.is_none() || node.datacenter == self.datacenter);
        let nodes = asked.count().max(1);
        let copies = state.get_keyspace(&self.keyspace).map_or(1, |keyspace| {
            copies(&keyspace.strategy, self.datacenter.as_deref())
        });
        let level = self.reads.unwrap_or(self.consistency);
        let replicas = replicas(level, copies).min(nodes);
        ReadShare {
            readers: self.readers.unwrap_or_else(|| readers(nodes, replicas)),
            nodes,
            replicas,
            is_planned: self.readers.is_some(),
        }
    }
}

fn readers(nodes: usize, replicas: usize) -> usize {
    (READS_OF_NODE * nodes / replicas.max(1)).clamp(1, MOST_READERS)
}

/// How many replicas a row has in the datacenter that is asked.
fn copies(strategy: &Strategy, datacenter: Option<&str>) -> usize {
    match strategy {
        Strategy::SimpleStrategy { replication_factor } => *replication_factor,
        Strategy::NetworkTopologyStrategy {
            datacenter_repfactors: of,
        } => {
            let named = datacenter.and_then(|name| of.get(name));
            named.or_else(|| of.values().max()).copied().unwrap_or(1)
        }
        // One replica, or a strategy that nothing is known of.
        _ => 1,
    }
}

/// How many of a row's replicas in the datacenter a read asks.
fn replicas(level: Consistency, copies: usize) -> usize {
    let asked = match level {
        Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::Quorum | Consistency::LocalQuorum | Consistency::EachQuorum => copies / 2 + 1,
        Consistency::All => copies,
    };
    asked.clamp(1, copies.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Consistency::*;

    #[test]
    fn a_node_has_eight_reads_at_once_and_a_tool_sixteen() {
        for (nodes, copies, level, wanted) in [
            (1, 1, LocalQuorum, 8),
            (3, 3, LocalOne, 16),
            (3, 3, LocalQuorum, 12),
            (3, 3, All, 8),
            (4, 3, LocalQuorum, 16),
            (30, 3, All, 16),
            (2, 1, Three, 16),
            (3, 5, Two, 12),
        ] {
            let asked = replicas(level, copies);
            assert_eq!(readers(nodes, asked), wanted, "{nodes} {copies} {level:?}");
            assert!(wanted * asked <= READS_OF_NODE * nodes);
        }
    }

    #[test]
    fn replicas_are_those_of_the_datacenter() {
        let of = [("east".to_owned(), 3), ("west".to_owned(), 5)];
        let network = Strategy::NetworkTopologyStrategy {
            datacenter_repfactors: of.into(),
        };
        assert_eq!(copies(&network, Some("east")), 3);
        assert_eq!(copies(&network, None), 5);
        let replication_factor = 2;
        let simple = Strategy::SimpleStrategy { replication_factor };
        assert_eq!(copies(&simple, Some("any")), 2);
    }
}
