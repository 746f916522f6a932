//! How to reach a cluster, as a plan says it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How many replicas must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // CQL's names say it
pub enum Consistency {
    One,
    Two,
    Three,
    LocalOne,
    Quorum,
    LocalQuorum,
    EachQuorum,
    All,
}

impl Consistency {
    /// Every one, with the word a plan uses for it.
    pub const WORDS: [(&'static str, Consistency); 8] = [
        ("one", Consistency::One),
        ("two", Consistency::Two),
        ("three", Consistency::Three),
        ("local_one", Consistency::LocalOne),
        ("quorum", Consistency::Quorum),
        ("local_quorum", Consistency::LocalQuorum),
        ("each_quorum", Consistency::EachQuorum),
        ("all", Consistency::All),
    ];

    /// From the word a plan uses.
    pub fn from_word(word: &str) -> Option<Self> {
        Consistency::WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, consistency)| *consistency)
    }
}

/// A password. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// The secret itself, to be handed to whoever checks it and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Encryption of the connections. The files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted.
    pub ca: PathBuf,
    /// The client's own certificate, where the servers ask for one (`require_client_auth`).
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
}

/// How to reach a keyspace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
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
