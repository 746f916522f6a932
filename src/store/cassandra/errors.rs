//! What the driver's errors mean: kind, effect, and what to do next.

use scylla::errors::{
    BrokenConnectionError, BrokenConnectionErrorKind, ConnectionError, ConnectionPoolError,
    ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    MetadataFetchErrorKind, NewSessionError, NextPageError, NextRowError, PrepareError,
    RequestAttemptError, RequestError, UseKeyspaceError,
};
use scylla::frame::frame_errors::FrameHeaderParseError;

use crate::error::{Effect, Error, Kind};

/// What was being done, which decides what some errors mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Reading a range: one that is too costly can be cut.
    Scan,
    /// Reading by key, or the schema.
    Read,
    /// Changing rows or the schema.
    Write,
    /// Changing a row on a condition. The replicas agree that the change is made before they make it,
    /// so that one may come to find too few of them when it is decided already.
    Decide,
}

impl Doing {
    /// The effect of a request whose end isn't known.
    fn effect(self) -> Effect {
        match self {
            Doing::Scan | Doing::Read => Effect::None,
            Doing::Write | Doing::Decide => Effect::Unknown,
        }
    }

    /// The effect of a request for which a coordinator found too few replicas.
    fn effect_of_too_few(self) -> Effect {
        match self {
            Doing::Scan | Doing::Read | Doing::Write => Effect::None,
            Doing::Decide => Effect::Unknown,
        }
    }
}

/// A request that failed while it was being executed.
pub(super) fn executing(error: ExecutionError, doing: Doing) -> Error {
    let found = match &error {
        ExecutionError::LastAttemptError(attempt) => attempted(attempt, doing),
        ExecutionError::PrepareError(error) => return preparing(error.clone(), doing),
        ExecutionError::RequestTimeout(after) => no_answer(after.as_millis(), doing),
        ExecutionError::ConnectionPoolError(error) => pooled(error),
        ExecutionError::EmptyPlan => no_nodes(),
        ExecutionError::BadQuery(_) => Error::new(
            Kind::Invalid,
            "the driver refused to send a value, or a key that is too long",
        ),
        ExecutionError::UseKeyspaceError(error) => using(error, doing),
        ExecutionError::SchemaAgreementError(_) | ExecutionError::MetadataError(_) => {
            Error::new(Kind::Transient, "the nodes don't agree on the schema yet")
                .with_effect(doing.effect())
                .with_help("check `nodetool describecluster` and try again")
        }
        _ => unknown(&error, doing),
    };
    found.with_source(error)
}

/// A statement the server didn't want to prepare.
pub(super) fn preparing(error: PrepareError, doing: Doing) -> Error {
    let found = match &error {
        PrepareError::AllAttemptsFailed { first_attempt } => attempted(first_attempt, doing),
        PrepareError::ConnectionPoolError(error) => pooled(error),
        PrepareError::PreparedStatementIdsMismatch => Error::new(
            Kind::Transient,
            "the nodes prepared one statement in different ways; a schema change may be under way",
        ),
        _ => unknown(&error, doing),
    };
    // Nothing runs before it is prepared.
    found.with_effect(Effect::None).with_source(error)
}

/// A session that didn't come about.
pub(super) fn connecting(error: NewSessionError, encrypted: bool) -> Error {
    let found = match &error {
        NewSessionError::FailedToResolveAnyHostname(names) => Error::new(
            Kind::Unreachable,
            format!("no address was found for {}", names.join(", ")),
        )
        .with_help("check the names in `nodes` and the resolver of this machine"),
        NewSessionError::EmptyKnownNodesList => no_known_nodes(),
        NewSessionError::MetadataError(error) => described(error, encrypted),
        NewSessionError::UseKeyspaceError(error) => using(error, Doing::Read),
        NewSessionError::IllegalConfig(why) => Error::new(
            Kind::Config,
            format!("the driver refuses these settings: {why}"),
        ),
        _ => unknown(&error, Doing::Read),
    };
    found.with_source(error)
}

/// A plan that names no node.
pub(super) fn no_known_nodes() -> Error {
    Error::new(Kind::Config, "no node of the cluster is set")
        .with_help("write at least one into `nodes`, like `nodes = [\"10.0.0.1:9042\"]`")
}

fn described(error: &MetadataError, encrypted: bool) -> Error {
    match error {
        MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
            last_connection_error,
        }) => connected(last_connection_error, encrypted),
        MetadataError::ConnectionPoolError(error) => pooled(error),
        MetadataError::FetchError(fetch) => {
            let request = match &fetch.error {
                MetadataFetchErrorKind::PrepareError(attempt) => Ok(attempt),
                MetadataFetchErrorKind::NextRowError(NextRowError::NextPageError(
                    NextPageError::RequestFailure(error),
                )) => match error {
                    RequestError::LastAttemptError(attempt) => Ok(attempt),
                    RequestError::ConnectionPoolError(error) => Err(pooled(error)),
                    RequestError::RequestTimeout(after) => {
                        Err(no_answer(after.as_millis(), Doing::Read))
                    }
                    RequestError::EmptyPlan => Err(no_nodes()),
                    _ => Err(unknown(error, Doing::Read)),
                },
                _ => Err(unknown(error, Doing::Read)),
            };
            match request {
                Ok(RequestAttemptError::DbError(DbError::Invalid | DbError::SyntaxError, _)) => {
                    Error::new(
                        Kind::Unsupported,
                        format!(
                            "the server has no `{}`, so it is older than Cassandra 3.0",
                            fetch.table
                        ),
                    )
                    .with_help("move to Cassandra 3.0 or later, or ScyllaDB, first")
                }
                Ok(attempt) => attempted(attempt, Doing::Read),
                Err(error) => error,
            }
        }
        MetadataError::Peers(_)
        | MetadataError::Keyspaces(_)
        | MetadataError::Udts(_)
        | MetadataError::Tables(_)
        | MetadataError::ClientRoutes(_) => Error::new(
            Kind::Unsupported,
            format!("the cluster describes itself in a way the driver doesn't know: {error}"),
        ),
        _ => unknown(error, Doing::Read),
    }
}

fn connected(error: &ConnectionError, encrypted: bool) -> Error {
    match error {
        ConnectionError::ConnectTimeout => unreachable_node("no node answered in time"),
        ConnectionError::IoError(io) => match io.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(tls) => insecure(tls),
            None if encrypted && io.kind() == std::io::ErrorKind::UnexpectedEof => Error::new(
                Kind::Config,
                "the node ended the TLS handshake; it may not speak TLS on this port",
            )
            .with_help("check `client_encryption_options` of the node, and whether it asks for a client certificate"),
            None => unreachable_node(&format!("no node could be reached: {io}")),
        },
        ConnectionError::BrokenConnection(error) => broken(error, encrypted, Doing::Read),
        ConnectionError::ConnectionSetupRequestError(setup) => set_up(&setup.error, encrypted),
        ConnectionError::UseKeyspaceError(error) => using(error, Doing::Read),
        ConnectionError::TranslationError(_) | ConnectionError::NoSourcePortForShard(_) => {
            unreachable_node(&format!("no connection could be opened: {error}"))
        }
        _ => unknown(error, Doing::Read),
    }
}

fn set_up(error: &ConnectionSetupRequestErrorKind, encrypted: bool) -> Error {
    match error {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, why) => {
            Error::new(Kind::Denied, format!("the login was refused: {why}"))
                .with_help("check `username` and `password`")
        }
        ConnectionSetupRequestErrorKind::DbError(DbError::Unauthorized, why) => {
            Error::new(Kind::Denied, format!("the role may not log in: {why}"))
                .with_help("the role needs LOGIN = true and access to this datacenter")
        }
        ConnectionSetupRequestErrorKind::DbError(DbError::ProtocolError, why) => {
            too_old(&format!("it said: {why}"))
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => Error::new(
            Kind::Denied,
            "the cluster requires a login, and none is set",
        )
        .with_help("set `username` and `password`"),
        ConnectionSetupRequestErrorKind::DbError(error, why) => answered(error, why, Doing::Read),
        ConnectionSetupRequestErrorKind::BrokenConnection(error) => {
            broken(error, encrypted, Doing::Read)
        }
        _ => unknown(error, Doing::Read),
    }
}

fn broken(error: &BrokenConnectionError, encrypted: bool, doing: Doing) -> Error {
    match error.downcast_ref::<BrokenConnectionErrorKind>() {
        Some(BrokenConnectionErrorKind::FrameHeaderParseError(
            FrameHeaderParseError::VersionNotSupported(version),
        )) => too_old(&format!("it answers in version {version} of the native protocol")),
        Some(BrokenConnectionErrorKind::FrameHeaderParseError(
            FrameHeaderParseError::FrameFromClient | FrameHeaderParseError::UnknownResponseOpcode(_),
        )) => Error::new(
            Kind::Config,
            "what answers on this port doesn't speak Cassandra's native protocol; it may want TLS, or be another service",
        )
        .with_help("check the port (9042 by default) and whether `[old.tls]` is needed"),
        _ if !encrypted => Error::new(
            Kind::Unreachable,
            format!("the connection broke: {error}"),
        )
        .with_effect(doing.effect())
        .with_help("check the node's log; a node that wants TLS ends a plain connection like this too"),
        _ => Error::new(Kind::Unreachable, format!("the connection broke: {error}"))
            .with_effect(doing.effect())
            .with_help("check the node's log"),
    }
}

fn insecure(error: &rustls::Error) -> Error {
    let (message, help) = match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => (
            "the node's certificate isn't signed by an authority in `ca`".to_owned(),
            "give the CA that signed the nodes' certificates",
        ),
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        ) => (
            format!("the node's certificate isn't for its address: {error}"),
            "the certificate must name the node's IP address (a subjectAltName of type IP), since nodes find each other by address",
        ),
        rustls::Error::AlertReceived(_) => (
            format!("the node ended the TLS handshake: {error}"),
            "it may want a client certificate: set `cert` and `key`",
        ),
        rustls::Error::InvalidMessage(_) => (
            "the node doesn't speak TLS on this port".to_owned(),
            "leave `[old.tls]` out, or turn `client_encryption_options` on at the nodes",
        ),
        _ => (
            format!("the TLS connection failed: {error}"),
            "check `ca`, `cert` and `key`, and the dates of the certificates",
        ),
    };
    Error::new(Kind::Config, message).with_help(help)
}

fn too_old(how: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the server is too old: {how}, and the driver needs version 4"),
    )
    .with_help("Cassandra 3.0 or later, or ScyllaDB, is needed; upgrade the cluster first")
}

fn pooled(error: &ConnectionPoolError) -> Error {
    match error {
        ConnectionPoolError::Broken {
            last_connection_error,
        } => connected(last_connection_error, false),
        ConnectionPoolError::Initializing => unreachable_node("connections are still being opened"),
        ConnectionPoolError::NodeDisabledByHostFilter => no_nodes(),
        _ => unknown(error, Doing::Read),
    }
}

fn using(error: &UseKeyspaceError, doing: Doing) -> Error {
    match error {
        UseKeyspaceError::RequestError(attempt) => attempted(attempt, doing),
        UseKeyspaceError::BadKeyspaceName(_) | UseKeyspaceError::KeyspaceNameMismatch { .. } => {
            Error::new(Kind::Config, format!("the keyspace can't be used: {error}"))
        }
        UseKeyspaceError::RequestTimeout(after) => no_answer(after.as_millis(), doing),
        _ => unknown(error, doing),
    }
}

fn attempted(error: &RequestAttemptError, doing: Doing) -> Error {
    match error {
        RequestAttemptError::DbError(error, why) => answered(error, why, doing),
        // Whatever broke it, and be it an answer that made no sense: the node had been talked to before, and
        // the request may have been on its way.
        RequestAttemptError::BrokenConnectionError(error) => {
            Error::new(Kind::Unreachable, format!("the connection broke: {error}"))
                .with_effect(doing.effect())
                .with_help("check the node's log")
        }
        RequestAttemptError::UnableToAllocStreamId => {
            Error::new(Kind::Throttled, "too many requests wait on one connection")
        }
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => Error::new(
            Kind::Invalid,
            format!("the request can't be written: {error}"),
        ),
        RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => {
            changed("a statement had to be prepared anew")
        }
        RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::NonfinishedPagingState => Error::new(
            Kind::Unsupported,
            format!("the driver can't read the server's answer: {error}"),
        )
        .with_effect(doing.effect()),
        _ => unknown(error, doing),
    }
}

fn answered(error: &DbError, why: &str, doing: Doing) -> Error {
    match error {
        DbError::ReadFailure { .. } if doing == Doing::Scan => Error::new(
            Kind::RangeTooCostly,
            format!("the replicas couldn't read the range: {why}"),
        )
        .with_help("a smaller range may be readable"),
        DbError::ReadTimeout { .. } => Error::new(
            Kind::Timeout,
            format!("the replicas didn't answer in time: {why}"),
        )
        .with_effect(doing.effect()),
        DbError::ReadFailure { .. } => Error::new(
            Kind::Transient,
            format!("the replicas couldn't read: {why}"),
        )
        .with_effect(doing.effect())
        .with_help("too many deleted rows before this one, or a damaged file: see the nodes' logs"),
        DbError::WriteTimeout { .. } => Error::new(
            Kind::Timeout,
            format!("the replicas didn't confirm the write in time: {why}"),
        )
        .with_effect(Effect::Unknown),
        DbError::WriteFailure { .. } => {
            Error::new(Kind::Transient, format!("replicas failed to write: {why}"))
                .with_effect(Effect::Unknown)
                .with_help("see the nodes' logs")
        }
        DbError::Unavailable { .. } => {
            Error::new(Kind::Unreachable, format!("too few replicas are up: {why}"))
                .with_effect(doing.effect_of_too_few())
                .with_help("check `nodetool status`, or lower `consistency`")
        }
        DbError::IsBootstrapping => Error::new(
            Kind::Unreachable,
            format!("the node is still joining the cluster: {why}"),
        )
        .with_effect(doing.effect_of_too_few()),
        DbError::Overloaded => {
            // A coordinator may say so after it has sent the write to some replicas.
            Error::new(Kind::Throttled, format!("the node is overloaded: {why}"))
                .with_effect(doing.effect())
        }
        DbError::RateLimitReached { .. } => Error::new(
            Kind::Throttled,
            format!("the partition's rate limit is reached: {why}"),
        )
        .with_effect(doing.effect()),
        DbError::Unauthorized => Error::new(Kind::Denied, format!("permission is missing: {why}")),
        DbError::AuthenticationError => {
            Error::new(Kind::Denied, format!("the login was refused: {why}"))
                .with_help("check `username` and `password`")
        }
        DbError::Invalid => invalid(why, doing),
        DbError::Unprepared { .. } => changed(why),
        DbError::SyntaxError | DbError::ConfigError | DbError::FunctionFailure { .. } => {
            Error::new(
                Kind::Unsupported,
                format!("the server refused the statement: {why}"),
            )
        }
        DbError::AlreadyExists { .. } => Error::new(
            Kind::Mismatch,
            format!("something of this name is there already: {why}"),
        ),
        DbError::ProtocolError => Error::new(
            Kind::Unsupported,
            format!("driver and server disagree on the protocol: {why}"),
        )
        .with_effect(doing.effect()),
        DbError::TruncateError => Error::new(
            Kind::Transient,
            format!("the table could not be truncated: {why}"),
        )
        .with_effect(doing.effect()),
        DbError::ServerError => {
            Error::new(Kind::Transient, format!("the node failed inside: {why}"))
                .with_effect(doing.effect())
                .with_help("see the node's log")
        }
        DbError::Other(code) => Error::new(
            Kind::Unknown,
            format!("the server answered with the unknown error {code:#06x}: {why}"),
        )
        .with_effect(Effect::Unknown),
        _ => unknown(error, doing),
    }
}

/// The server gives one code for a table that isn't there, for a schema that changed and for data
/// it won't take; only its words tell them apart.
fn invalid(why: &str, doing: Doing) -> Error {
    let words = why.to_ascii_lowercase();
    let has = |part: &str| words.contains(part);
    if let Some(name) = guardrail(why) {
        guarded(name, why, doing)
    } else if has("consistency level") {
        // ScyllaDB and services that speak CQL have limits of their own.
        refused_level(why)
    } else if has("unconfigured table") || has("table") && has("does not exist") {
        Error::new(Kind::Missing, format!("the table isn't there: {why}"))
    } else if has("keyspace") && has("does not exist") {
        Error::new(Kind::Missing, format!("the keyspace isn't there: {why}"))
    } else if has("undefined")
        || has("unknown identifier")
        || has("unrecognized name")
        || has("unknown type")
    {
        changed(why)
    } else {
        match doing {
            Doing::Scan => changed(why),
            Doing::Read | Doing::Write | Doing::Decide => {
                Error::new(Kind::Invalid, format!("the server refused the data: {why}"))
            }
        }
    }
}

/// The name of the guardrail in whose words a request was refused (Cassandra 4.1 and later).
pub(super) fn guardrail(why: &str) -> Option<&str> {
    let (_, tail) = why.split_once("Guardrail ")?;
    let (name, _) = tail.split_once(" violated")?;
    Some(name)
}

/// A request that the cluster's owner doesn't want; nothing of it was done.
fn guarded(name: &str, why: &str, doing: Doing) -> Error {
    let refused = |help: &str| {
        let message = format!("a guardrail of the cluster refused the request: {why}");
        Error::new(Kind::Unsupported, message).with_help(help)
    };
    match name {
        "read_consistency_levels" | "write_consistency_levels" => refused_level(why),
        "allow_filtering" => refused(
            "a partition that can't be read as a whole is read in parts, by ALLOW FILTERING on its own token: set \
             `allow_filtering_enabled: true` for the time of the copy, or copy as a superuser",
        ),
        "page_size" => refused("set `page_rows` in [old] to what it takes"),
        // Those of values, collections and items: the data are at fault.
        _ => match doing {
            Doing::Write | Doing::Decide => Error::new(
                Kind::Invalid,
                format!("a guardrail of the cluster refused the data: {why}"),
            ),
            Doing::Scan | Doing::Read => {
                refused("raise it in the cluster's settings for the time of the copy")
            }
        },
    }
}

fn refused_level(why: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the cluster doesn't take this consistency level: {why}"),
    )
    .with_help(
        "set `consistency` or `write_consistency` in [old] to one that it takes; the last fold reads at ALL unless \
         the table has `final_read = \"quorum\"`",
    )
}

fn changed(why: &str) -> Error {
    Error::new(
        Kind::Mismatch,
        format!("the table isn't as it was when its schema was read: {why}"),
    )
    .with_help("look at what changed (`DESCRIBE TABLE`), and start again")
}

fn no_answer(milliseconds: u128, doing: Doing) -> Error {
    Error::new(
        Kind::Timeout,
        format!("no answer came in {milliseconds} ms"),
    )
    .with_effect(doing.effect())
}

fn no_nodes() -> Error {
    Error::new(Kind::Unreachable, "no node of the chosen datacenter is up")
        .with_help("check `nodetool status` and `datacenter`")
}

fn unreachable_node(message: &str) -> Error {
    Error::new(Kind::Unreachable, message)
        .with_help("check that the nodes are up, the port, `rpc_address` and the firewall")
}

fn unknown(error: &dyn std::error::Error, doing: Doing) -> Error {
    Error::new(Kind::Unknown, format!("the driver failed: {error}")).with_effect(doing.effect())
}
