//! From a plan to open stores.

use std::sync::Arc;

use crate::control::{Control, Expansion, New};
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::plan::{Names, NewStorePlan, OldStorePlan, PatternPlan, Plan, TablePlan};
#[cfg(feature = "serve")]
use crate::serve;
use crate::shim::{OldStore as Later, Settings, Shim};
use crate::spec::TableSpec;
#[cfg(feature = "cassandra")]
use crate::store::cassandra::{self, Cassandra};
#[cfg(feature = "dynamodb")]
use crate::store::dynamodb::{self, DynamoDb};
#[cfg(feature = "embedded")]
use crate::store::embedded::Embedded;
use crate::store::{Old, Store};

/// Opens the store that is left.
///
/// # Errors
/// The store's; [`Kind::Missing`] for an embedded one that isn't there, since it is never made here;
/// [`Kind::Unsupported`] if this build doesn't have it.
pub async fn old(plan: &Plan) -> Result<Old> {
    let store: Result<Arc<dyn Store>> = match &plan.old {
        #[cfg(feature = "cassandra")]
        OldStorePlan::Cassandra(plan) => Ok(Arc::new(open_cassandra(plan).await?)),
        #[cfg(not(feature = "cassandra"))]
        OldStorePlan::Cassandra(_) => Err(left_out("cassandra")),
        #[cfg(feature = "embedded")]
        OldStorePlan::Embedded { path } if path.is_dir() => Ok(Arc::new(Embedded::open(path)?)),
        #[cfg(feature = "embedded")]
        OldStorePlan::Embedded { path } => {
            let message = "there is no embedded store in this folder";
            Err(Error::new(Kind::Missing, message)
                .with_context("folder", path.display().to_string())
                .with_help("name the folder of the old store in [old] path"))
        }
        #[cfg(not(feature = "embedded"))]
        OldStorePlan::Embedded { .. } => Err(left_out("embedded")),
    };
    store.map(Old)
}

/// The same in the midst of something: a cluster that doesn't answer is asked again for a while, which is said.
///
/// # Errors
/// As of [`old`].
pub async fn old_patiently(plan: &Plan) -> Result<Old> {
    Patience::LOOK.insist("the old store", || old(plan)).await
}

/// The plan with tables in place of its patterns: those that `migrate init` wrote down, so that the old store isn't
/// needed any more; before it was run for these patterns, those of the old store's tables that match, which is opened
/// unless it is given. A plan without patterns stays as it is.
///
/// # Errors
/// The stores'; [`Kind::Config`] for what is wrong with the tables, by line.
pub async fn expanded(plan: Plan, control: &Control, old: Option<&Old>) -> Result<Plan> {
    if plan.patterns.is_empty() {
        return Ok(plan);
    }
    let patience = Patience::LOOK;
    let noted = patience.insist("the control table", || control.expansion(&plan.name));
    match covering(&plan, noted.await?) {
        Some(names) => Ok(plan.expand(&names, Names::Noted)?),
        None => expanded_anew(plan, old).await,
    }
}

/// The same, as the old store's tables are now.
///
/// # Errors
/// As of [`expanded`].
pub async fn expanded_anew(plan: Plan, old: Option<&Old>) -> Result<Plan> {
    if plan.patterns.is_empty() {
        return Ok(plan);
    }
    let names = match old {
        Some(old) => old.0.tables().await?,
        None => {
            let old = self::old(&plan).await?;
            let names = old.0.tables().await;
            old.0.close().await;
            names?
        }
    };
    Ok(plan.expand(&names, Names::OfStore)?)
}

/// The same for an application, which starts whichever store can be asked.
async fn expanded_for_shim(plan: Plan, control: &Control) -> Result<Plan> {
    if plan.patterns.is_empty() {
        return Ok(plan);
    }
    let noted = match control.expansion(&plan.name).await {
        Ok(noted) => noted,
        Err(error) if error.kind().is_transient() => None,
        Err(error) => return Err(error),
    };
    match covering(&plan, noted) {
        Some(names) => Ok(plan.expand(&names, Names::Noted)?),
        None => expanded_anew(plan, None).await,
    }
}

/// The names that were written down, if they were for all patterns that the plan has today.
fn covering(plan: &Plan, noted: Option<Expansion>) -> Option<Vec<String>> {
    let noted = noted?;
    let is_noted = |pattern: &PatternPlan| noted.patterns.iter().any(|p| p == pattern.pattern());
    plan.patterns.iter().all(is_noted).then_some(noted.tables)
}

/// Opens the store that is moved to.
///
/// # Errors
/// The store's; [`Kind::Unsupported`] if this build doesn't have it.
pub async fn new(plan: &Plan) -> Result<New> {
    let store: Result<Arc<dyn Store>> = match &plan.new {
        #[cfg(feature = "dynamodb")]
        NewStorePlan::DynamoDb(plan) => Ok(Arc::new(open_dynamodb(plan).await?)),
        #[cfg(not(feature = "dynamodb"))]
        NewStorePlan::DynamoDb(_) => Err(left_out("dynamodb")),
        #[cfg(feature = "embedded")]
        NewStorePlan::Embedded { path } => Ok(Arc::new(Embedded::open(path)?)),
        #[cfg(not(feature = "embedded"))]
        NewStorePlan::Embedded { .. } => Err(left_out("embedded")),
    };
    store.map(New::over)
}

/// Connects to the cluster of a plan.
///
/// # Errors
/// The old store can't be reached, refuses the login, or can't be used with these settings.
#[cfg(feature = "cassandra")]
pub async fn open_cassandra(plan: &crate::plan::CassandraPlan) -> Result<Cassandra> {
    let mut config = cassandra::CassandraConfig::new(plan.nodes.clone(), plan.keyspace.clone());
    config.consistency = plan.consistency;
    config.write_consistency = Some(plan.write_consistency);
    config.readers = plan.readers;
    config.page_rows = plan.page_rows;
    config.datacenter = plan.datacenter.clone();
    config.login = plan.login.clone();
    config.tls = plan.tls.clone();
    Cassandra::connect(config).await
}

/// The DynamoDB that a plan moves to, for what only that has: its tables' capacity.
///
/// # Errors
/// The store's; [`Kind::Unsupported`] if the plan moves to another store.
#[cfg(feature = "dynamodb")]
pub async fn dynamodb(plan: &Plan) -> Result<DynamoDb> {
    match &plan.new {
        NewStorePlan::DynamoDb(plan) => open_dynamodb(plan).await,
        NewStorePlan::Embedded { .. } => Err(Error::new(
            Kind::Unsupported,
            "an embedded store has no capacity that could be changed",
        )),
    }
}

#[cfg(feature = "dynamodb")]
async fn open_dynamodb(plan: &crate::plan::DynamoDbPlan) -> Result<DynamoDb> {
    DynamoDb::connect(dynamodb_config(plan)).await
}

#[cfg(feature = "dynamodb")]
fn dynamodb_config(plan: &crate::plan::DynamoDbPlan) -> dynamodb::DynamoDbConfig {
    dynamodb::DynamoDbConfig {
        region: Some(plan.region.clone()),
        endpoint: plan.endpoint.clone(),
        partiql: plan.partiql,
        tls: plan.ca.clone().map(|ca| dynamodb::EndpointTls { ca }),
        ..dynamodb::DynamoDbConfig::default()
    }
}

/// What the sidecar of a plan is: its shim, with all of the plan's tables or those with these names, and the rest. It
/// listens on `listen`.
///
/// # Errors
/// [`Kind::Config`] for a name that isn't the plan's, and if the plan's endpoint is the sidecar itself; those of
/// [`shim`].
#[cfg(feature = "serve")]
pub async fn sidecar(
    plan: &Plan,
    name: impl Into<String>,
    tables: &[String],
    listen: std::net::SocketAddr,
) -> Result<(Shim, serve::SidecarSettings)> {
    let mut served = plan.clone();
    if !plan.patterns.is_empty() {
        let new = new(plan).await?;
        let control = Control::new(new.clone(), &plan.control_table);
        served = expanded_for_shim(served, &control).await?;
        new.close().await;
    }
    let plan = &served.clone();
    let known = |name: &&String| plan.tables.iter().any(|table| table.name == **name);
    if let Some(name) = tables.iter().find(|name| !known(name)) {
        let names: Vec<&str> = plan
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        let error = Error::new(Kind::Config, format!("the plan has no table `{name}`"));
        return Err(error.with_help(format!("its tables are: {}", names.join(", "))));
    }
    let is_served = |table: &TablePlan| tables.is_empty() || tables.contains(&table.name);
    served.tables.retain(is_served);
    // A client that asks for a consistent read is given one.
    served.shim.reads = crate::store::Reading::Strong;
    let others = plan.tables.iter().filter(|table| !is_served(table));
    let mut settings = serve::SidecarSettings {
        withheld: others.map(|table| table.to.clone()).collect(),
        access: plan
            .serve
            .key
            .clone()
            .map(|(access_key, secret_key)| serve::Access {
                access_key,
                secret_key,
            }),
        unknown: match plan.serve.refuses_unknown {
            true => serve::Unknown::Refuse,
            false => serve::Unknown::Pass,
        },
        ..serve::SidecarSettings::default()
    };
    settings.withheld.insert(plan.control_table.clone());
    match &plan.new {
        #[cfg(feature = "dynamodb")]
        NewStorePlan::DynamoDb(dynamodb) => {
            let raw = dynamodb::Raw::connect(&dynamodb_config(dynamodb)).await?;
            refuse_loop(raw.endpoint(), listen)?;
            settings.upstream = Some(Arc::new(raw));
        }
        #[cfg(not(feature = "dynamodb"))]
        NewStorePlan::DynamoDb(_) => return Err(left_out("dynamodb")),
        NewStorePlan::Embedded { .. } => {
            let _ = listen;
        }
    }
    Ok((shim(&served, name).await?, settings))
}

/// Requests that the sidecar sends on must not come back to it.
#[cfg(all(feature = "serve", feature = "dynamodb"))]
fn refuse_loop(endpoint: &str, listen: std::net::SocketAddr) -> Result<()> {
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, host)| host);
    let host = host
        .split('/')
        .next()
        .unwrap_or(host)
        .replace("localhost", "127.0.0.1");
    let Ok(address) = host.parse::<std::net::SocketAddr>() else {
        return Ok(());
    };
    let is_here =
        address.ip() == listen.ip() || (address.ip().is_loopback() && listen.ip().is_unspecified());
    if !is_here || address.port() != listen.port() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Config,
        "the plan's new store is the address that the sidecar listens on",
    )
    .with_context("endpoint", endpoint)
    .with_help("name DynamoDB itself in [new] endpoint, or leave it out, and unset AWS_ENDPOINT_URL_DYNAMODB for the sidecar"))
}

/// Takes part in a plan's migrations: for an application of this name (machine and process, for people).
/// The old store is connected to when it is first needed.
///
/// # Errors
/// The new store's; those of [`Shim::start`].
pub async fn shim(plan: &Plan, name: impl Into<String>) -> Result<Shim> {
    let new = new(plan).await?;
    let control = Control::new(new.clone(), &plan.control_table);
    let plan = &expanded_for_shim(plan.clone(), &control).await?;
    let settings = Settings {
        lease: plan.lease,
        deadline: plan.shim.deadline,
        reads: plan.shim.reads,
        resave: plan.shim.resave,
        ..Settings::new(name)
    };
    let of_plan = plan.clone();
    let later = Later::later(Box::new(move || {
        let plan = of_plan.clone();
        Box::pin(async move { old(&plan).await })
    }));
    let tables = plan.tables.iter().map(|table| spec(plan, table));
    Shim::start(settings, later, new, control, tables)
}

/// A table of a plan, for what is done to it.
pub fn spec(plan: &Plan, table: &TablePlan) -> TableSpec {
    TableSpec {
        mask_key: plan.mask_key.clone(),
        ..TableSpec::new(&plan.name, table.clone())
    }
}

#[cfg(not(all(feature = "cassandra", feature = "dynamodb", feature = "embedded")))]
fn left_out(feature: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("this build has no `{feature}` store"),
    )
    .with_help(format!("build with `features = [\"{feature}\"]`"))
}
