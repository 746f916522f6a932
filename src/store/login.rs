//! How a store is connected to: who logs in, over what, and how many replicas answer.

use std::path::PathBuf;

use crate::secret::Secret;

/// Who to log in as.
#[derive(Clone, Debug)]
pub struct Login {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// Encryption of the connections. The files are PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates of the authorities to trust; `None` trusts those the system does. A node's
    /// certificate must name the node's IP address, since that is how the driver finds the others.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, where the nodes ask for one (`require_client_auth`).
    pub client: Option<ClientCertificate>,
}

/// A client's certificate and its private key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How many replicas answer a read, where a store has replicas. Serial consistencies aren't here:
/// they read one partition at a time, never a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the CQL names say it
pub enum Consistency {
    One,
    Two,
    Three,
    Quorum,
    All,
    LocalQuorum,
    EachQuorum,
    LocalOne,
}

impl Consistency {
    /// Every one with its name as a plan writes it.
    pub const NAMES: &[(&str, Consistency)] = &[
        ("one", Consistency::One),
        ("two", Consistency::Two),
        ("three", Consistency::Three),
        ("quorum", Consistency::Quorum),
        ("all", Consistency::All),
        ("local_quorum", Consistency::LocalQuorum),
        ("each_quorum", Consistency::EachQuorum),
        ("local_one", Consistency::LocalOne),
    ];
}
