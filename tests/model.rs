//! The rules of `crossfade::protocol` in every order in which their steps can fall: a model checker
//! ([stateright](https://www.stateright.rs)) drives the very machines that the copier and applications
//! drive, on a model of both stores.
//!
//! ```text
//! cargo test --test model -- --nocapture      the invariants hold, and every mutant breaks its own
//! CROSSFADE_LONG=1 cargo test --release --test model     the same at larger sizes
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "model/checking.rs"]
mod checking;
#[path = "model/counters/mod.rs"]
mod counters;
#[path = "model/permits/mod.rs"]
mod permits;
#[path = "model/rows/mod.rs"]
mod rows;
