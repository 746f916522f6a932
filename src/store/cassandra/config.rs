//! How to reach a cluster, as a plan says it.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;
pub use crate::store::Consistency;

/// Encryption of the connections. The files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; `None` = those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, where the servers ask for one (`require_client_auth`).
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// How to reach a keyspace of a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Some of the nodes, `host` or `host:port` (9042 if left out). The others are found from them.
    pub nodes: Vec<String>,
    /// The keyspace, as stored (case kept, no quotes).
    pub keyspace: String,
    /// Consistency of reads and writes.
    pub consistency: Consistency,
    /// The only datacenter that is asked; needed where the cluster has more than one.
    pub datacenter: Option<String>,
    /// The role to log in as.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Encryption; `None` is plain text.
    pub tls: Option<Tls>,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long the answer to one request may take. Above the server's own timeouts (10 s for
    /// ranges, by default), so that the server's more telling answer comes first.
    pub request_timeout: Duration,
}

impl Config {
    /// A keyspace of a cluster, at `local_quorum`, without login and encryption.
    pub fn new(
        nodes: impl IntoIterator<Item = impl Into<String>>,
        keyspace: impl Into<String>,
    ) -> Self {
        Config {
            nodes: nodes.into_iter().map(Into::into).collect(),
            keyspace: keyspace.into(),
            consistency: Consistency::LocalQuorum,
            datacenter: None,
            username: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }
}
