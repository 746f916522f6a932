//! Opening a session, and what is checked before it is used.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement;

use super::ceiling::Ceiling;
use super::errors::{self, Doing};
use super::{Cassandra, CassandraConfig, Consistency, tls};
use crate::error::{Error, Kind, Result};

/// What connecting may take beyond the connections themselves: the driver reads topology and schema.
const DESCRIBING: Duration = Duration::from_secs(5);
/// Of the nodes that a plan names, how many may hang before one is asked that answers.
const MOST_HANGING: usize = 3;
/// After so long without a word a node is asked whether it is still there, and has so long to answer. Of a node that
/// takes connections and says nothing (it is paused, or collects garbage) nothing else tells: the time limit of
/// a connection is over once it is open.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(15);

impl Cassandra {
    /// Opens a session and checks what it is to be used for: login, encryption, datacenter,
    /// keyspace. Fails if no node answers: within some `connect_timeout`s if nothing listens, within 20 seconds for
    /// each of the first three nodes, and 25 more, if they take connections and hang.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] if no node answers, [`Kind::Denied`] for a wrong login,
    /// [`Kind::Missing`] for a keyspace that isn't there, [`Kind::Config`] for a datacenter that is
    /// wrong or has to be named, or for TLS that doesn't fit, and [`Kind::Unsupported`] for a
    /// server that is too old. Each names the nodes.
    pub async fn connect(config: CassandraConfig) -> Result<Cassandra> {
        let nodes = config.nodes.join(", ");
        open(config)
            .await
            .map_err(|error| error.with_context("nodes", nodes))
    }

    /// What the clock of the node that answers says, microseconds since 1970.
    pub(super) async fn clock(&self) -> Result<i64> {
        let now = self
            .rows_of::<(scylla::value::CqlTimeuuid,)>("SELECT now() FROM system.local", ())
            .await?;
        let first = now.into_iter().next();
        let time = first.and_then(|(now,)| uuid::Uuid::from_bytes(*now.as_bytes()).get_timestamp());
        let (seconds, nanos) = time.map_or((0, 0), |time| time.to_unix());
        match i64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Ok(seconds * 1_000_000 + i64::from(nanos / 1_000)),
            Ok(_) | Err(_) => Err(Error::new(
                Kind::Unsupported,
                "the server doesn't tell what time it is",
            )),
        }
    }

    /// The names of the keyspace's tables: counters first, and each of the two in order.
    pub(super) async fn table_names(&self) -> Result<Vec<String>> {
        let mut tables = self
            .rows_of::<(String, Option<Vec<String>>)>(
                "SELECT table_name, flags FROM system_schema.tables WHERE keyspace_name = ?",
                (&self.keyspace,),
            )
            .await?;
        let is_counter = |flags: &Option<Vec<String>>| {
            let mut flags = flags.iter().flatten();
            flags.any(|flag| flag == "counter")
        };
        tables.sort_by_cached_key(|(name, flags)| (!is_counter(flags), name.clone()));
        Ok(tables.into_iter().map(|(name, _)| name).collect())
    }
}

async fn open(config: CassandraConfig) -> Result<Cassandra> {
    if config.nodes.is_empty() {
        return Err(errors::no_known_nodes());
    }
    let session = session(&config).await?;
    check_datacenter(&session, config.datacenter.as_deref())?;
    let name = format!(
        "cassandra {}",
        config.nodes.first().map_or("", String::as_str)
    );
    let mut store = Cassandra {
        name,
        keyspace: config.keyspace,
        session: std::sync::Arc::new(session),
        consistency: config.consistency,
        datacenter: config.datacenter,
        login: config.login.map(|login| login.username),
        reads: None,
        way_out: None,
        writes: config.write_consistency.unwrap_or(config.consistency),
        readers: config
            .readers
            .and_then(|readers| usize::try_from(readers).ok()),
        page_rows: Arc::new(Ceiling::new(config.page_rows)),
        pulse: Arc::default(),
        reads_element_ttls: false,
        zero_ttl_is_default: false,
        without_default_ttl: Arc::default(),
        writes_since: None,
        partitioner: String::new(),
        prepared: Arc::default(),
        permit: None,
    };
    store.check_keyspace().await?;
    let local = store
        .rows_of::<(String, String)>("SELECT release_version, partitioner FROM system.local", ())
        .await?;
    if let Some((release, partitioner)) = local.into_iter().next() {
        let release = numbers(&release);
        store.reads_element_ttls = release.is_some_and(|release| release >= (5, 0));
        store.zero_ttl_is_default =
            release.is_some_and(|release| release < (3, 6)) && !store.is_scylla().await?;
        store.partitioner = partitioner;
    }
    Ok(store)
}

async fn session(config: &CassandraConfig) -> Result<Session> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.datacenter {
        policy = policy
            .prefer_datacenter(datacenter.clone())
            .permit_dc_failover(false);
    }
    let profile = ExecutionProfile::builder()
        .consistency(driver_consistency(config.consistency))
        .request_timeout(Some(config.request_timeout))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.connect_timeout)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE_ANSWER)
        .keyspaces_to_fetch([config.keyspace.clone()])
        .fetch_full_schema_metadata(false);
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(tls::client(tls)?));
    }
    if let Some(login) = &config.login {
        builder = builder.user(&login.username, login.password.expose());
    }
    // Nodes are asked one after the other, and one that hangs takes all the time that it may. Then all of them are
    // connected to at once.
    let asked = u32::try_from(config.nodes.len().min(MOST_HANGING)).unwrap_or(1);
    let hanging = config.connect_timeout.max(KEEPALIVE + KEEPALIVE_ANSWER);
    let within = hanging * (asked + 1) + DESCRIBING;
    match tokio::time::timeout(within, builder.build()).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(errors::connecting(error, config.tls.is_some())),
        Err(_) => Err(Error::new(
            Kind::Unreachable,
            format!("no session could be opened in {} s", within.as_secs()),
        )
        .with_help("check that the nodes are up, the port, `rpc_address` and the firewall")),
    }
}

pub(super) fn driver_consistency(consistency: Consistency) -> statement::Consistency {
    match consistency {
        Consistency::One => statement::Consistency::One,
        Consistency::Two => statement::Consistency::Two,
        Consistency::Three => statement::Consistency::Three,
        Consistency::LocalOne => statement::Consistency::LocalOne,
        Consistency::Quorum => statement::Consistency::Quorum,
        Consistency::LocalQuorum => statement::Consistency::LocalQuorum,
        Consistency::EachQuorum => statement::Consistency::EachQuorum,
        Consistency::All => statement::Consistency::All,
    }
}

/// What a write on a condition asks of the replicas while they agree: those of the own datacenter
/// where the write itself stays there.
pub(super) fn serial_consistency(writes: Consistency) -> statement::SerialConsistency {
    match writes {
        Consistency::LocalOne | Consistency::LocalQuorum => {
            statement::SerialConsistency::LocalSerial
        }
        Consistency::One
        | Consistency::Two
        | Consistency::Three
        | Consistency::Quorum
        | Consistency::EachQuorum
        | Consistency::All => statement::SerialConsistency::Serial,
    }
}

/// A read's consistency that sees every write on a condition that was decided.
pub(super) fn agreed(writes: Consistency) -> statement::Consistency {
    match serial_consistency(writes) {
        statement::SerialConsistency::Serial => statement::Consistency::Serial,
        statement::SerialConsistency::LocalSerial => statement::Consistency::LocalSerial,
    }
}

fn check_datacenter(session: &Session, wanted: Option<&str>) -> Result<()> {
    let state = session.get_cluster_state();
    let known: BTreeSet<&str> = state
        .get_nodes_info()
        .iter()
        .filter_map(|node| node.datacenter.as_deref())
        .collect();
    datacenter_fits(&known, wanted)
}

fn datacenter_fits(known: &BTreeSet<&str>, wanted: Option<&str>) -> Result<()> {
    let listed = || known.iter().copied().collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) if !known.contains(wanted) => Err(Error::new(
            Kind::Config,
            format!("the cluster has no datacenter `{wanted}`"),
        )
        .with_help(format!("it has {}; names are case-sensitive", listed()))),
        None if known.len() > 1 => Err(Error::new(
            Kind::Config,
            format!("the cluster has several datacenters: {}", listed()),
        )
        .with_help("set `datacenter` to the one that is near; only its nodes will be asked")),
        Some(_) | None => Ok(()),
    }
}

impl Cassandra {
    async fn check_keyspace(&self) -> Result<()> {
        let mut keyspaces: Vec<String> = self
            .rows_of::<(String,)>("SELECT keyspace_name FROM system_schema.keyspaces", ())
            .await?
            .into_iter()
            .map(|(name,)| name)
            .collect();
        if keyspaces.contains(&self.keyspace) {
            return Ok(());
        }
        keyspaces.retain(|name| !name.starts_with("system"));
        keyspaces.sort();
        let help = if keyspaces.is_empty() {
            "the cluster has none of its own yet".to_owned()
        } else {
            format!("it has {}; names are case-sensitive", keyspaces.join(", "))
        };
        Err(Error::new(
            Kind::Missing,
            format!("the cluster has no keyspace `{}`", self.keyspace),
        )
        .with_help(help))
    }

    /// Whether it is ScyllaDB, which calls itself Cassandra 3.0.8 and can do what later ones can.
    async fn is_scylla(&self) -> Result<bool> {
        let own = self
            .rows_of::<(String,)>(
                "SELECT table_name FROM system_schema.tables \
                 WHERE keyspace_name = 'system' AND table_name = 'scylla_local'",
                (),
            )
            .await?;
        Ok(!own.is_empty())
    }

    /// The rows of a short answer, from a schema or system table.
    pub(super) async fn rows_of<R>(
        &self,
        cql: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<Vec<R>>
    where
        R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        let unreadable = |error: &dyn std::error::Error| {
            Error::new(
                Kind::Unsupported,
                format!("the server's own tables aren't as expected: {error}"),
            )
            .with_context("statement", cql)
        };
        let mut statement = self.session.prepare(cql).await.map_err(|error| {
            errors::preparing(error, Doing::Read).with_context("statement", cql)
        })?;
        statement.set_is_idempotent(true);
        let answer = self
            .session
            .execute_unpaged(&statement, values)
            .await
            .map_err(|error| errors::executing(error, Doing::Read).with_context("statement", cql))?
            .into_rows_result()
            .map_err(|error| unreadable(&error))?;
        answer
            .rows::<R>()
            .map_err(|error| unreadable(&error))?
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| unreadable(&error))
    }
}

/// The first two numbers of a release's name.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_datacenter_must_be_named_where_there_are_several() {
        let two = BTreeSet::from(["east", "west"]);
        let error = datacenter_fits(&two, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("east, west"), "{error}");
        let error = datacenter_fits(&two, Some("East")).unwrap_err();
        assert!(error.to_string().contains("east, west"), "{error}");
        datacenter_fits(&two, Some("west")).unwrap();
        datacenter_fits(&BTreeSet::from(["only"]), None).unwrap();
    }

    #[test]
    fn releases_are_compared_by_their_first_two_numbers() {
        assert_eq!(numbers("5.0.5"), Some((5, 0)));
        assert_eq!(numbers("4.1-beta1"), Some((4, 1)));
        assert_eq!(numbers("3.11.19"), Some((3, 11)));
        assert_eq!(numbers("10.0-SNAPSHOT"), Some((10, 0)));
        assert_eq!(numbers("5"), None);
        assert_eq!(numbers(""), None);
    }
}
