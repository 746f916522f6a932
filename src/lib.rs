//! Move a table from one data store to another while the application keeps running.
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`], [`schema`], [`error`] | keys, values, rows; typed tables; what went wrong and whether it may have happened |
//! | [`cql`] | the binary form of CQL values, and tokens |
//! | [`mapping`] | values and keys as the new store holds them; rename, drop, mask |
//! | [`plan`], [`secret`] | what moves from where to where; passwords that never show |
//! | [`store`] | the `Store` trait and one module per store |

pub mod cql;
pub mod error;
pub mod mapping;
pub mod model;
pub mod schema;

#[cfg(feature = "_store")]
pub mod plan;
#[cfg(feature = "_store")]
pub mod secret;
#[cfg(feature = "_store")]
pub mod store;
