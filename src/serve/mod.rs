//! The sidecar: DynamoDB's protocol in front of a migration, for applications in any language.
//!
//! An application that has been ported to the AWS SDK talks to it instead of to DynamoDB
//! (`AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000`) while its tables move. For tables of the plan, known by their
//! names in the new store, each request becomes operations of the [`Shim`], which does the right thing in every
//! phase; everything else is sent on to DynamoDB, signed with the sidecar's own credentials. `docs/sidecar.md` has the
//! whole of it.
//!
//! ```text
//! wire     HTTP, limits, the end            route    which request goes where
//! json     attribute values as JSON         asked    expressions and the older parameters
//! item     requests on one item             query, scan, batch, transact
//! attempts a retry is its call's answer     pass     other tables, and tables themselves
//! native   what goes to DynamoDB in the application's own words, once the table is there
//! ```
//!
//! # Who may ask
//!
//! Every client that reaches the port has the sidecar's rights. So it listens on loopback; on another address only if it is
//! given an [`Access`], with which clients have to sign.
//!
//! # Metrics
//!
//! Beside the shim's:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `crossfade_requests_total` | counter | `operation`; `outcome`: `ok`, or the error's code |
//! | `crossfade_request_seconds` | histogram | `operation` |

mod app;
mod asked;
mod attempts;
mod batch;
mod capacity;
mod connection;
mod fault;
mod hashed;
mod indexes;
mod item;
mod json;
mod native;
mod pass;
mod query;
mod range;
mod route;
mod scan;
mod signature;
mod target;
mod transact;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::net::TcpListener;

use self::app::App;
use crate::error::{Error, Kind, Result};
use crate::shim::Shim;

pub use app::Unknown;
pub use pass::{Passed, Upstream};
pub use signature::Access;
pub use wire::Limits;

/// What a sidecar is, beside its shim.
#[derive(Clone, Default)]
pub struct SidecarSettings {
    /// Where requests on other tables go; without it there are none.
    pub upstream: Option<Arc<dyn Upstream>>,
    /// Tables that are refused here, by their names in the new store: the control table, and those of the plan that
    /// aren't served.
    pub withheld: BTreeSet<String>,
    /// The key that clients have to sign with; with none, every client is taken.
    pub access: Option<Access>,
    /// What is done with tables that the plan doesn't name.
    pub unknown: Unknown,
    /// What it takes on at most.
    pub limits: Limits,
}

/// Serves a shim's tables until `shutdown`, with everything else as it is by default: no other tables, and loopback
/// alone.
///
/// # Errors
/// [`Kind::Config`] for an address beyond this machine, which needs the [`Access`] of [`serve`]; the new store's, when it leaves.
pub async fn run(
    shim: Shim,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    serve(shim, SidecarSettings::default(), listener, shutdown).await
}

/// Serves a shim's tables until `shutdown`. Then it is no longer ready, closes connections as they are used, ends
/// what is under way, and leaves the migration's leases.
///
/// # Errors
/// [`Kind::Config`] for an address beyond this machine without an [`Access`]; the new store's, when it leaves.
pub async fn serve(
    shim: Shim,
    settings: SidecarSettings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener.local_addr().map_err(|error| {
        Error::new(Kind::Config, "the listener has no address").with_source(error)
    })?;
    if !address.ip().is_loopback() && settings.access.is_none() {
        return Err(Error::new(
            Kind::Config,
            "anything that reaches this address would have the sidecar's rights",
        )
        .with_context("listen", address.to_string())
        .with_help(
            "listen on 127.0.0.1, or give clients a key with `access_key` and `secret_key` in [serve]",
        ));
    }
    let SidecarSettings {
        upstream,
        withheld,
        access,
        unknown,
        limits,
    } = settings;
    let app = App::new(shim.clone(), withheld, upstream, access, unknown);
    wire::serve(Arc::new(app), limits, listener, shutdown).await;
    shim.leave().await
}
