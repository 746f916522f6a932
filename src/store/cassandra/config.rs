//! How to reach a cluster, as a plan says it.

use std::time::Duration;

pub use crate::store::{ClientCertificate, Consistency, Login, Tls};

/// How to reach a keyspace of a cluster.
#[derive(Clone, Debug)]
pub struct CassandraConfig {
    /// Some of the nodes, `host` or `host:port` (9042 if left out). The others are found from them.
    pub nodes: Vec<String>,
    /// The keyspace, as stored (case kept, no quotes).
    pub keyspace: String,
    /// Consistency of reads.
    pub consistency: Consistency,
    /// Consistency of writes; `None`: that of reads. Where the two together reach fewer replicas than
    /// there are and one more, a read may miss what was written.
    pub write_consistency: Option<Consistency>,
    /// Ranges that tools read at once; `None`: as many as are a fair share of the cluster, see [`super::ReadShare`].
    pub readers: Option<u32>,
    /// Rows of a page at most, whatever is asked for; `None` where the cluster sets no limit.
    pub page_rows: Option<u32>,
    /// The only datacenter that is asked; needed where the cluster has more than one.
    pub datacenter: Option<String>,
    /// Who to log in as; `None` where the cluster asks for no login.
    pub login: Option<Login>,
    /// Encryption; `None` is plain text.
    pub tls: Option<Tls>,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long the answer to one request may take. Above the server's own timeouts (10 s for
    /// ranges, by default), so that the server's more telling answer comes first.
    pub request_timeout: Duration,
}

impl CassandraConfig {
    /// A keyspace of a cluster, at `local_quorum`, without login and encryption.
    pub fn new(
        nodes: impl IntoIterator<Item = impl Into<String>>,
        keyspace: impl Into<String>,
    ) -> Self {
        CassandraConfig {
            nodes: nodes.into_iter().map(Into::into).collect(),
            keyspace: keyspace.into(),
            consistency: Consistency::LocalQuorum,
            write_consistency: None,
            readers: None,
            page_rows: None,
            datacenter: None,
            login: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
        }
    }
}
