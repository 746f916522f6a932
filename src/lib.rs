//! Move a table from one data store to another. This version copies tables of a stopped application;
//! moving them while it keeps running is being built on the same ground.
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`], [`schema`], [`error`] | keys, values, rows; typed tables; what went wrong and whether it may have happened |
//! | [`cql`] | the binary form of CQL values, and tokens |
//! | [`mapping`] | values and keys as the new store holds them; rename, drop, mask |
//! | [`protocol`] | the rules of a migration, without I/O |
//! | [`store`] | the `Store` trait and one module per store |
//! | [`layer`] | wrappers around a store that are stores themselves |
//! | [`control`] | what all processes of a migration agree on: the record, leases, the barrier |
//! | [`shim`], [`json`] | what an application links; rows as JSON |
//! | [`copier`], [`journal`] | copies rows, restartably |
//! | [`verifier`] | compares both stores, restartably |
//! | [`migration`] | one table's way from an old store to a new one |
//! | [`plan`], [`spec`], [`secret`] | what moves from where to where; passwords that never show |
//! | [`connect`] | from a plan to open stores |

pub mod cql;
pub mod error;
pub mod mapping;
pub mod model;
pub mod protocol;
pub mod schema;
pub mod visible;

#[cfg(feature = "_store")]
pub mod connect;
#[cfg(feature = "_store")]
pub mod control;
#[cfg(feature = "_store")]
pub mod intervals;
#[cfg(feature = "_store")]
pub mod json;
#[cfg(feature = "_store")]
pub mod layer;
#[cfg(feature = "_store")]
pub mod plan;
#[cfg(feature = "_store")]
pub mod secret;
#[cfg(feature = "_store")]
pub mod shim;
#[cfg(feature = "_store")]
pub mod show;
#[cfg(feature = "_store")]
pub mod spec;
#[cfg(feature = "_store")]
pub mod store;

#[cfg(feature = "copy")]
pub mod copier;
#[cfg(feature = "copy")]
pub mod journal;
#[cfg(feature = "copy")]
pub mod migration;
#[cfg(feature = "copy")]
pub mod verifier;

#[cfg(any(feature = "embedded", feature = "copy"))]
mod disk;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod stops;
