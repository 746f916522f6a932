//! The sidecar: its wire, and clients in other languages.

pub(crate) mod clients;
mod lost;
mod python;
mod wire;
