//! The shim: what an application links to go on while its tables move.
//!
//! ```no_run
//! # async fn run(shim: crossfade::shim::Shim) -> crossfade::error::Result<()> {
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct User { id: String, name: String }
//!
//! let users = shim.table("users")?;
//! users.put_as(&User { id: "u1".into(), name: "Ann".into() }).await?;
//! let ann: Option<User> = users.get_as(&serde_json::json!({"id": "u1"})).await?;
//! let votes = shim.table("votes")?;
//! let act = votes.key_of(&serde_json::json!({"act": "a1"})).await?;
//! votes.add(&act, "n", 1).await?;
//! # Ok(()) }
//! ```
//!
//! Where an operation reads and writes follows from the table's phase, by the machines of
//! [`crate::protocol`]; an application never sees it. Keys, columns and rows are those of the *new* table:
//! where the plan renames a column, the application uses its new name from the start. A table with masked
//! columns has no way back to the old store, so the shim refuses it.
//!
//! - **It is a participant.** It registers for each table, follows its phase and holds a lease. From `switch`
//!   on it fails closed once its lease has run out, and joins again by itself. An application that ends, be it by
//!   SIGTERM, calls [`Shim::leave`], so that no move waits for it.
//! - **Deadlines.** Every operation ends within [`Settings::deadline`]. Reads, and writes that certainly
//!   haven't happened, are tried again until then. A write whose reply was lost is not: its error says
//!   [`crate::error::Effect::Unknown`], and the caller decides.
//! - **Cancelling.** An operation may be dropped at any moment. Its phase is held until nothing of it can land
//!   any more.
//! - **The other store.** A store that an operation doesn't need may be slow, failing or gone. The old one is
//!   connected to when it is first needed.
//! - **Expiry** belongs to whole rows in the new store: a put or an update with a time to live makes the row
//!   expire then. [`Ttl::Default`] is the old table's default.
//!
//! # Metrics
//!
//! Through the `metrics` facade, each with the label `table`:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `crossfade_new_reads_total` | counter | `found`: `row`, `tombstone`, `partial`, `expired`, `absent` |
//! | `crossfade_fallbacks_total` | counter | reads that had to ask the old store too |
//! | `crossfade_resaves_total` | counter | `outcome`: `saved`, `refused`, `failed`, `skipped` |
//! | `crossfade_adds_coalesced_total` | counter | adds that went along with another one |
//! | `crossfade_store_seconds` | histogram | `store`: `new`, `old`; `call`: `read`, `write`, `list` |

mod adds;
mod command;
#[cfg(feature = "serve")]
mod held;
mod inner;
mod items;
mod judged;
mod old;
mod operation;
mod queue;
mod rows;
mod scan;
mod table;
mod transact;
mod typed;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "serve")]
pub(crate) use self::held::HeldPhase;
pub use self::items::Items;
pub use self::old::{Connect, OldStore};
pub use self::queue::AddToken;
pub use self::rows::{Returned, RowsPage, Written};
pub use self::scan::{Scan, ScanPart, Scanned};
pub use self::table::{RangeDeletion, Table};
pub use self::transact::{Cancelled, TransactWrite, Transacted, Writes};
use crate::clock::Clock;
use crate::control::{Control, Lease, New};
use crate::error::{Error, Kind, Result};
use crate::spec::TableSpec;
use crate::store::Reading;

/// How long an operation may take at most where adds are to count exactly once. DynamoDB remembers a token for
/// ten minutes after the request with it; of those, two are left for a request that is late on its way.
pub const EXACTLY_ONCE_WITHIN: Duration = Duration::from_secs(8 * 60);

/// How an application takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id, which no other instance has at the same time: what `migrate advance --gone` takes. One that
    /// starts again may keep it.
    pub id: String,
    /// Machine and process, for people.
    pub name: String,
    /// How long it may go on by itself.
    pub lease: Lease,
    /// How long an operation takes at most; no longer than [`Lease::operation`].
    pub deadline: Duration,
    /// How rows are read in the new store. An eventual hit is believed; a miss is asked for again, strongly,
    /// before the old store is.
    pub reads: Reading,
    /// When what was found in the old store is saved in the new one.
    pub resave: ResaveMode,
    /// What leases are measured with.
    pub clock: Clock,
}

/// When what a read found in the old store is saved in the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResaveMode {
    /// Behind the caller's back; skipped where too many are under way, since the copier brings them anyway.
    #[default]
    Background,
    /// Before the answer is given.
    Inline,
}

/// How long a row lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// The old table's default; for ever if it has none.
    #[default]
    Default,
    /// For ever. An update leaves the row's expiry as it is.
    Never,
    /// So many seconds from now; at least 1.
    Seconds(u32),
    /// At this time, in seconds since 1970.
    At(i64),
}

impl Settings {
    /// The defaults, for a process of this name.
    pub fn new(name: impl Into<String>) -> Self {
        let lease = Lease::default();
        Settings {
            id: format!("{:016x}", rand::random::<u64>()),
            name: name.into(),
            deadline: lease.operation,
            lease,
            reads: Reading::Strong,
            resave: ResaveMode::Background,
            clock: Clock::Machine,
        }
    }
}

/// An application's access to its tables.
#[derive(Clone)]
pub struct Shim {
    tables: BTreeMap<String, Table>,
    deadline: Duration,
    until: Option<Instant>,
}

impl Shim {
    /// Takes part in the migration of these tables: registers for each, in the background. What is asked of a
    /// table before it has joined waits. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Kind::Config`] if the deadline is longer than the lease's longest operation, or than
    /// [`EXACTLY_ONCE_WITHIN`] where a table counts exactly once.
    pub fn start(
        settings: Settings,
        old: OldStore,
        new: New,
        control: Control,
        tables: impl IntoIterator<Item = TableSpec>,
    ) -> Result<Shim> {
        if settings.deadline > settings.lease.operation {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "an operation may take {:?}, but the lease says {:?} at most",
                    settings.deadline, settings.lease.operation
                ),
            )
            .with_help(
                "lower `deadline_seconds` in [shim], or raise `operation_seconds` in [lease]",
            ));
        }
        let tables: Vec<TableSpec> = tables.into_iter().collect();
        let exact = tables.iter().find(|table| table.exactly_once);
        if let Some(table) = exact.filter(|_| settings.deadline > EXACTLY_ONCE_WITHIN) {
            let message = format!(
                "an operation may take {:?}, and an add can be told from one that was sent before for {:?}",
                settings.deadline, EXACTLY_ONCE_WITHIN
            );
            return Err(Error::new(Kind::Config, message)
                .with_context("table", table.name.as_str())
                .with_help("lower `deadline_seconds` in [shim], or leave `exactly_once` out"));
        }
        let settings = Arc::new(settings);
        let old = Arc::new(old);
        let table = |spec: TableSpec| {
            let name = spec.name.clone();
            let table = Table::start(
                spec,
                settings.clone(),
                old.clone(),
                new.clone(),
                control.clone(),
            );
            (name, table)
        };
        Ok(Shim {
            tables: tables.into_iter().map(table).collect(),
            deadline: settings.deadline,
            until: None,
        })
    }

    /// A table, by its name in the plan: the old table's.
    ///
    /// # Errors
    /// [`Kind::Config`] if there is none.
    pub fn table(&self, name: &str) -> Result<Table> {
        let table = self.tables.get(name).map(|table| match self.until {
            Some(until) => table.until(until),
            None => table.clone(),
        });
        table.ok_or_else(|| {
            let names: Vec<&str> = self.tables.keys().map(String::as_str).collect();
            Error::new(Kind::Config, format!("there is no table `{name}`"))
                .with_help(format!("there are: {}", names.join(", ")))
        })
    }

    /// The same application, whose operations have to be over by then: they are parts of one request.
    #[cfg(feature = "serve")]
    pub(crate) fn until(&self, until: Instant) -> Shim {
        Shim {
            until: Some(until),
            ..self.clone()
        }
    }

    /// How long an operation takes at most.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// Leaves: waits until nothing is under way any more, so that no move waits for this instance. Without
    /// it, a move waits until the lease is over, or in `old` and `bridge` until an operator says that it is gone.
    ///
    /// # Errors
    /// The new store's.
    pub async fn leave(self) -> Result<()> {
        let mut left = Ok(());
        for table in self.tables.into_values() {
            left = left.and(table.leave().await);
        }
        left
    }
}
