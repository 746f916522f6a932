//! Which nodes have been away lately. When a node dies, the others go on asking it until they have noticed, and
//! what needs its answer times out: that says nothing of the range that was read.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Cassandra;
use crate::error::{Error, Kind};

/// How long after a node was first seen away timeouts are put down to that. Nodes notice within some ten
/// seconds, and clients of a busy cluster find their way somewhat later.
const LATELY: Duration = Duration::from_secs(60);

/// When nodes were first seen away.
#[derive(Debug)]
pub(super) struct Pulse<Node = Uuid>(Mutex<HashMap<Node, Instant>>);

impl<Node> Default for Pulse<Node> {
    fn default() -> Self {
        Pulse(Mutex::default())
    }
}

impl<Node: Eq + Hash> Pulse<Node> {
    /// Looks at all nodes and whether each is there. Gives whether one of them has gone away lately, and may be
    /// back by now.
    pub fn feels_a_loss(&self, nodes: impl IntoIterator<Item = (Node, bool)>) -> bool {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = false;
        for (node, is_there) in nodes {
            if is_there {
                // What comes and goes is lost anew once it has been there for a while.
                match away.get(&node) {
                    Some(since) if since.elapsed() < LATELY => lost = true,
                    Some(_) | None => drop(away.remove(&node)),
                }
            } else {
                let since = away.entry(node).or_insert_with(Instant::now);
                lost |= since.elapsed() < LATELY;
            }
        }
        lost
    }
}

/// What it means that reading a range took too long: that a node has gone away, that the servers chew on the
/// range, or that there are none.
pub(super) async fn timed_out(
    error: Error,
    has_lost_a_node: bool,
    lives: impl Future<Output = bool>,
) -> Error {
    if !lives.await {
        return Error::new(
            Kind::Unreachable,
            format!("{}, and no server answers", error.message()),
        )
        .with_help("check that the nodes are up")
        .with_source(error);
    }
    if has_lost_a_node {
        return error
            .with_help("a node went away less than a minute ago: the same range is read again");
    }
    Error::new(
        Kind::RangeTooCostly,
        format!(
            "{}, though the server answers other questions",
            error.message()
        ),
    )
    .with_help("a smaller range may be readable")
    .with_source(error)
}

impl Cassandra {
    /// Whether the driver has lost sight of a node lately.
    pub(super) fn has_lost_a_node(&self) -> bool {
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        // Those of other datacenters aren't asked.
        let asked =
            nodes.filter(|node| self.datacenter.is_none() || node.datacenter == self.datacenter);
        self.pulse
            .feels_a_loss(asked.map(|node| (node.host_id, node.is_connected())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_felt_for_a_minute_once() {
        let pulse = Pulse::default();
        assert!(!pulse.feels_a_loss([("a", true), ("b", true)]));
        assert!(pulse.feels_a_loss([("a", true), ("b", false)]));
        tokio::time::advance(LATELY / 2).await;
        assert!(pulse.feels_a_loss([("a", true), ("b", false)]));
        assert!(
            pulse.feels_a_loss([("a", true), ("b", true)]),
            "back already"
        );
        tokio::time::advance(LATELY / 2).await;
        assert!(
            !pulse.feels_a_loss([("a", true), ("b", false)]),
            "it is known by now"
        );
        assert!(
            pulse.feels_a_loss([("a", false), ("b", false)]),
            "another one"
        );
        tokio::time::advance(LATELY).await;
        assert!(!pulse.feels_a_loss([("a", true), ("b", true)]));
        assert!(pulse.feels_a_loss([("a", true), ("b", false)]), "again");
    }

    #[tokio::test]
    async fn a_timeout_is_a_costly_range_only_while_all_nodes_are_there() {
        for (lost, lives, meant) in [
            (true, true, Kind::Timeout),
            (true, false, Kind::Unreachable),
            (false, true, Kind::RangeTooCostly),
            (false, false, Kind::Unreachable),
        ] {
            let error = Error::new(Kind::Timeout, "no answer");
            let error = timed_out(error, lost, async { lives }).await;
            assert_eq!(error.kind(), meant, "{lost} {lives}: {error}");
        }
    }
}
