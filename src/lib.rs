//! Move tables from one data store to another while the application keeps running. The first pair is Apache
//! Cassandra (or ScyllaDB) to Amazon DynamoDB.
//!
//! An application opens its tables through the [`Shim`] for the time of the move. An operator moves each table from
//! phase to phase with the command `migrate`, which copies what the application hasn't asked for, folds counters,
//! compares both stores and cuts over. Where an operation reads and writes follows from the table's phase.
//!
//! ```no_run
//! # #[cfg(all(feature = "plan", feature = "cassandra", feature = "dynamodb"))]
//! # async fn run() -> crossfade::Result<()> {
//! use std::path::Path;
//!
//! use crossfade::{Plan, connect};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Serialize, Deserialize)]
//! struct User {
//!     id: String,
//!     name: Option<String>,
//! }
//!
//! let plan = Plan::load(Path::new("cf.toml"))?;
//! let shim = connect::shim(&plan, "web-1").await?;
//! let users = shim.table("users")?;
//! users.put_as(&User { id: "u1".into(), name: Some("Ann".into()) }).await?;
//! let ann: Option<User> = users.get_as(&json!({"id": "u1"})).await?;
//!
//! let votes = shim.table("votes")?;
//! let act = votes.key_of(&json!({"act": "act-1"})).await?;
//! votes.add(&act, "n", 1).await?;
//! shim.leave().await?;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `keys` | keys and values of items, without any dependency: for an application after the move |
//! | `cassandra`, `dynamodb`, `embedded` | a store each; with any of them the shim, the control record and leases |
//! | `plan` | reading plans from TOML |
//! | `copy` | the copier, its journal, the verifier and what the command does to a table |
//! | `serve` | the sidecar: DynamoDB's protocol for applications in other languages |
//! | `conformance` | the suite that a store of your own has to pass |
//! | `cli` (default) | the command `migrate` |
//!
//! An application takes `default-features = false, features = ["cassandra", "dynamodb", "plan"]`, or without `plan` and
//! TOML, and makes the plan itself: [`Plan::new`].
//!
//! # Modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`], [`schema`], [`error`] | keys, values, rows; typed tables; what went wrong and whether it may have happened |
//! | [`codec`] | values as bytes and as text, their order, tokens |
//! | [`item`] | rows and keys as the new store holds them |
//! | [`transform`] | what a plan does to rows: rename, drop, mask, expiry |
//! | [`protocol`] | the rules of a migration, without I/O |
//! | [`store`] | the `Store` trait and one module per store |
//! | [`layer`] | wrappers around a store that are stores themselves |
//! | [`control`] | what all processes of a migration agree on: the record, leases, the barrier |
//! | [`shim`], [`json`] | what an application links; rows as JSON |
//! | [`express`] | DynamoDB's expressions |
//! | [`copier`], [`journal`] | copies rows and folds counters, restartably |
//! | [`verifier`] | compares both stores, restartably, and mends |
//! | [`migration`] | what each command does to one table |
//! | [`plan`], [`spec`], [`secret`] | what moves from where to where; passwords that never show |
//! | [`connect`] | from a plan to open stores |
//!
//! The repository's `docs/ARCHITECTURE.md` follows a key through a read and through a copy.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod codec;
pub mod error;
pub mod item;
pub mod model;
pub mod protocol;
pub mod schema;
pub mod visible;

#[cfg(feature = "_store")]
pub mod clock;
#[cfg(feature = "_store")]
pub mod connect;
#[cfg(feature = "_store")]
pub mod control;
#[cfg(feature = "_store")]
pub mod display;
#[cfg(feature = "_store")]
pub mod express;
#[cfg(feature = "_store")]
pub mod forecast;
#[cfg(feature = "_store")]
pub mod json;
#[cfg(feature = "_store")]
pub mod layer;
#[cfg(feature = "_store")]
pub mod plan;
#[cfg(feature = "_store")]
pub mod secret;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "_store")]
pub mod shim;
#[cfg(feature = "_store")]
pub mod spec;
#[cfg(feature = "_store")]
pub mod store;
#[cfg(feature = "_store")]
pub mod transform;

#[cfg(feature = "copy")]
pub mod copier;
#[cfg(feature = "copy")]
pub mod journal;
#[cfg(feature = "copy")]
pub mod migration;
#[cfg(feature = "copy")]
pub mod permissions;
#[cfg(feature = "copy")]
pub mod verifier;

#[cfg(any(feature = "embedded", feature = "copy"))]
mod disk;
#[cfg(feature = "copy")]
mod driver;

#[cfg(feature = "conformance")]
pub mod failpoints;
#[cfg(any(feature = "conformance", all(test, feature = "_store")))]
pub mod testing;

pub use error::{Effect, Error, Kind, Result};
#[cfg(feature = "_store")]
pub use plan::Plan;
#[cfg(feature = "_store")]
pub use shim::{Shim, Table, Ttl};
#[cfg(feature = "_store")]
pub use store::Store;

/// The front page's code compiles.
#[cfg(all(doctest, feature = "plan", feature = "cassandra", feature = "dynamodb"))]
#[doc = include_str!("../README.md")]
pub struct FrontPage;
