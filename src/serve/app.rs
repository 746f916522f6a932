//! What the requests on a sidecar share: its tables, and the way to others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::attempts::Attempts;
use super::fault::{Fault, Twice};
use super::indexes::Indexes;
use super::pass::{Passed, Upstream, table_of};
use super::signature::Access;
use super::target::Target;
use crate::error::{Effect, Error, Kind};
use crate::protocol::Phase;
use crate::shim::{Shim, Table};

/// How long to wait before it is looked again whether an operation can begin.
const PAUSE: Duration = Duration::from_millis(50);

/// What comes before an operation's name.
pub(super) const SERVICE: &str = "DynamoDB_20120810.";

/// What is done with tables that the plan doesn't name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Requests on them are sent on.
    #[default]
    Pass,
    /// They are refused.
    Refuse,
}

/// Answers requests: each by one of these of its own ([`App::begin`]).
pub(super) struct App {
    shared: Arc<Shared>,
    /// When the request has to be over: whatever it waits for, it has one deadline.
    until: Option<Instant>,
}

/// What all requests share.
pub(super) struct Shared {
    shim: Shim,
    /// By their names in the new store.
    pub tables: BTreeMap<String, Table>,
    pub withheld: BTreeSet<String>,
    pub upstream: Option<Arc<dyn Upstream>>,
    pub access: Option<Access>,
    pub unknown: Unknown,
    pub attempts: Arc<Attempts>,
    pub indexes: Indexes,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl App {
    pub fn new(
        shim: Shim,
        withheld: BTreeSet<String>,
        upstream: Option<Arc<dyn Upstream>>,
        access: Option<Access>,
        unknown: Unknown,
    ) -> Self {
        let tables = shim.tables();
        let tables = tables.map(|table| (table.target().to_owned(), table.clone()));
        App {
            shared: Arc::new(Shared {
                tables: tables.collect(),
                shim,
                withheld,
                upstream,
                access,
                unknown,
                attempts: Arc::default(),
                indexes: Indexes::default(),
            }),
            until: None,
        }
    }

    /// For one request, that begins now.
    pub fn begin(&self) -> App {
        App {
            shared: self.shared.clone(),
            until: Some(Instant::now() + self.shared.shim.deadline()),
        }
    }

    /// When what begins now has to be over.
    pub fn until(&self) -> Instant {
        let deadline = || Instant::now() + self.shared.shim.deadline();
        self.until.unwrap_or_else(deadline)
    }

    pub fn shim(&self) -> Shim {
        self.shared.shim.until(self.until())
    }

    /// How long a request takes at most.
    pub fn deadline(&self) -> Duration {
        self.shared.shim.deadline()
    }

    /// A table of the plan, by its name in the new store.
    pub fn table(&self, name: &str) -> Option<Table> {
        let table = self.shared.tables.get(name)?;
        Some(table.until(self.until()))
    }

    /// A table of the plan, by its name or ARN; `None` for another one that requests may go to.
    pub async fn target(&self, name: &str) -> Result<Option<Target>, Fault> {
        let name = table_of(name);
        match self.table(name) {
            Some(table) => {
                let phase = self.can_begin(&table).await?;
                Ok(Some(Target {
                    phase,
                    name: name.to_owned(),
                    items: table.items().await?,
                    table,
                }))
            }
            None => self.refuse_other(name).map(|()| None),
        }
    }

    /// Waits, as long as the request has time, until an operation can begin. A lease that is lost comes back by itself, and
    /// an SDK that was told to ask again would have given up within a second.
    async fn can_begin(&self, table: &Table) -> Result<Phase, Fault> {
        let until = self.until();
        loop {
            match table.ready() {
                Ok(phase) => return Ok(phase),
                Err(error) if error.kind().is_transient() && Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Refuses the control table; and others, if the plan says so.
    pub fn refuse_other(&self, name: &str) -> Result<(), Fault> {
        if self.withheld.contains(name) {
            return Err(Fault::denied(format!(
                "`{name}` isn't served by this sidecar: it is the migration's control table, or a table of the plan that \
                 the sidecar was started without"
            )));
        }
        if self.unknown == Unknown::Refuse && !self.tables.contains_key(name) {
            return Err(Fault::denied(format!(
                "the plan doesn't name the table `{name}`, and its [serve] unknown = \"refuse\" refuses others"
            )));
        }
        Ok(())
    }

    /// Sends a part of a request on, for as long as that has time. A lost reply means this.
    pub async fn send_on(
        &self,
        operation: &str,
        body: Bytes,
        lost: Effect,
    ) -> Result<Passed, Fault> {
        let target = format!("{SERVICE}{operation}");
        let sending = self.send_as(&target, "application/x-amz-json-1.0", body);
        let sent = tokio::time::timeout_at(self.until(), sending).await;
        sent.unwrap_or_else(|_| {
            let late = Error::new(Kind::Timeout, "the new store didn't answer in time");
            Err(Fault::of(&late.with_effect(lost), Twice::Same))
        })
    }

    pub async fn send_as(&self, target: &str, kind: &str, body: Bytes) -> Result<Passed, Fault> {
        let upstream = self.upstream.as_ref().ok_or_else(|| {
            Fault::new(
                400,
                "ResourceNotFoundException",
                "Requested resource not found: this sidecar's new store has the plan's tables alone",
            )
        })?;
        let sent = upstream.send(target, kind, body).await;
        sent.map_err(|error| Fault::unanswered(&error))
    }
}
