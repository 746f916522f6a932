//! The integration tests, in one binary. `tests/README.md` says what is where.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod browser;
mod cassandra;
mod cluster;
mod command;
mod conformance;
mod counters;
mod crowd;
mod demo;
mod docs;
mod driving;
mod dynamodb;
mod equal;
mod express;
mod features;
mod formats;
mod forwarding;
mod history;
mod layers;
mod metrics;
mod names;
mod on_items;
mod operations;
mod scripted;
mod serve;
mod shim;
mod support;
mod tombstones;
