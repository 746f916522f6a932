//! The plan: which tables move from where to where, and what is different about them there.
//!
//! The types are for everyone. Reading them from TOML (`Plan::load`, `Plan::parse`) comes with the
//! feature `plan`. A plan that was read is checked as far as that goes without a store: nothing
//! after it has to ask again whether names are valid or tables collide.
//!
//! Relative paths (`[journal] dir`, `path` of an embedded store, certificates, `file:` references)
//! start at the working directory, like every path on a command line. They don't start at the
//! plan's own folder because that is often read-only: a mounted configuration, a checked-out
//! repository.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use std::time::Duration;

pub use crate::control::Lease;
pub use crate::forecast::Prices;
use crate::secret::Secret;
pub use crate::shim::ResaveMode;
pub use crate::spec::{CapacityPlan, FinalRead, Ignore, KeyNames, TablePlan, WarmPlan};
use crate::store::Reading;
pub use crate::store::{ClientCertificate, Consistency, Login, Tls};

#[cfg(feature = "plan")]
mod check;
mod defaults;
mod errors;
#[cfg(feature = "plan")]
mod live;
#[cfg(feature = "plan")]
mod names;
#[cfg(feature = "plan")]
mod parse;
mod patterns;
#[cfg(feature = "plan")]
mod reader;
#[cfg(feature = "plan")]
mod reference;
#[cfg(feature = "plan")]
pub mod schema;
#[cfg(feature = "plan")]
mod stores;
#[cfg(feature = "plan")]
mod tables;
mod targets;
#[cfg(all(test, feature = "plan"))]
mod tests;
#[cfg(feature = "plan")]
mod unbuilt;

pub use errors::{PlanError, PlanErrors};
pub use patterns::{Except, Names, PatternPlan};

/// The control table's name where the plan gives none.
pub const DEFAULT_CONTROL_TABLE: &str = "migrate-control";

/// The port of a Cassandra node where the plan gives none.
pub const DEFAULT_CASSANDRA_PORT: u16 = 9042;

/// The region of a server that isn't AWS's, where the plan gives none: requests have to be signed
/// for some region.
pub const DEFAULT_LOCAL_REGION: &str = "us-east-1";

/// What moves, from where, to where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, 1 to 64 of `A-Za-z0-9_.-`: part of keys in the control table.
    pub name: String,
    /// The store that is left.
    pub old: OldStorePlan,
    /// The store that is moved to.
    pub new: NewStorePlan,
    /// The table in the new store that holds the control records (`[new] control_table`).
    pub control_table: String,
    /// The journal's folder; `journal/<name>` unless the plan says otherwise.
    pub journal_dir: PathBuf,
    /// What the tools may take of the stores (`[pace]`).
    pub pace: PacePlan,
    /// How long a participant that may write to the new store goes on by itself (`[lease]`).
    pub lease: Lease,
    /// How applications go about their work (`[shim]`).
    pub shim: ShimPlan,
    /// What a verification is good for (`[verify]`).
    pub verify: VerifyPlan,
    /// How the sidecar listens (`[serve]`).
    pub serve: Serve,
    /// What the new store takes for its work (`[prices]`); left out = what is known here.
    pub prices: Option<Prices>,
    /// The key of `mask = "hmac"`. There is one if any column asks for it.
    pub mask_key: Option<Secret>,
    /// The tables that are named, in the order they move; neither names nor targets repeat. All of the plan's
    /// tables once [`Plan::expand`] has seen the names of the old store's; then at least one.
    pub tables: Vec<TablePlan>,
    /// Names that stand for several tables, such as `*`.
    pub patterns: Vec<PatternPlan>,
    /// The file it came from, for messages.
    pub file: PathBuf,
}

/// The store that is left, and how to reach it.
#[derive(Clone, Debug)]
pub enum OldStorePlan {
    /// Apache Cassandra or ScyllaDB.
    Cassandra(CassandraPlan),
    /// A folder of this crate's own store.
    Embedded {
        /// The folder.
        path: PathBuf,
    },
}

/// The store that is moved to, and how to reach it.
#[derive(Clone, Debug)]
pub enum NewStorePlan {
    /// Amazon DynamoDB, or a server that speaks its protocol.
    DynamoDb(DynamoDbPlan),
    /// A folder of this crate's own store.
    Embedded {
        /// The folder.
        path: PathBuf,
    },
}

/// A Cassandra or ScyllaDB cluster.
#[derive(Clone, Debug)]
pub struct CassandraPlan {
    /// Contact points, each `host:port`; IPv6 addresses in brackets. At least one.
    pub nodes: Vec<String>,
    /// The keyspace, as stored: case kept, no quotes.
    pub keyspace: String,
    /// The consistency of every read; `local_quorum` unless the plan says otherwise.
    pub consistency: Consistency,
    /// The consistency of what applications write through the shim; that of reads unless the plan says
    /// otherwise.
    pub write_consistency: Consistency,
    /// Ranges that each tool reads at once; left out = what the cluster's nodes and replicas allow.
    pub readers: Option<u32>,
    /// Rows of a page at most; left out = what the rows' sizes allow.
    pub page_rows: Option<u32>,
    /// The datacenter to read from; needed where the cluster has more than one.
    pub datacenter: Option<String>,
    /// Who to log in as; left out where the cluster asks for no login.
    pub login: Option<Login>,
    /// Encryption; left out = none.
    pub tls: Option<Tls>,
}

/// DynamoDB. Credentials come from the usual AWS chain.
#[derive(Clone, Debug)]
pub struct DynamoDbPlan {
    /// The region. Required for AWS; elsewhere [`DEFAULT_LOCAL_REGION`] unless the plan says
    /// otherwise.
    pub region: String,
    /// The server's address, `http://…` or `https://…`; left out = AWS.
    pub endpoint: Option<String>,
    /// Certificates to trust for `endpoint` (`[new.tls] ca`), PEM; left out = those the system
    /// trusts.
    pub ca: Option<PathBuf>,
    /// Whether the server speaks PartiQL; left out = found out.
    pub partiql: Option<bool>,
}

/// What the tools of one table may take of the stores in a second, all their processes together; `None` is no ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacePlan {
    /// Write units of the new store.
    pub write_units: Option<u32>,
    /// Rows read, of either store.
    pub read_rows: Option<u32>,
    /// What 99 of 100 reads of the old store are to keep within; `None` = however long they take.
    pub old_p99: Option<Duration>,
}

/// How applications go about their work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShimPlan {
    /// How rows of the new store are read.
    pub reads: Reading,
    /// When a row that was only found in the old store is saved in the new one.
    pub resave: ResaveMode,
    /// How long one operation may take, its retries included; never above [`Lease::operation`].
    pub deadline: Duration,
}

impl Default for ShimPlan {
    fn default() -> Self {
        ShimPlan {
            reads: Reading::Strong,
            resave: ResaveMode::Background,
            deadline: Lease::default().operation,
        }
    }
}

/// What a verification is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyPlan {
    /// How long ago the oldest part of a verification may have been read for its result to count.
    pub fresh: Duration,
}

impl Default for VerifyPlan {
    fn default() -> Self {
        VerifyPlan {
            fresh: Duration::from_secs(3_600),
        }
    }
}

/// Where the sidecar listens by default.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// How the sidecar listens, and to whom.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Its address. One beyond this machine is taken with a key only.
    pub listen: SocketAddr,
    /// The id and the secret that clients have to sign with; left out = anything on this machine.
    pub key: Option<(String, Secret)>,
    /// Requests on tables that the plan doesn't name are refused, and not sent on.
    pub refuses_unknown: bool,
}

impl Default for Serve {
    fn default() -> Self {
        Serve {
            listen: DEFAULT_LISTEN,
            key: None,
            refuses_unknown: false,
        }
    }
}
