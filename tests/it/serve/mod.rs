//! The sidecar: its wire, and clients in other languages.

pub(crate) mod clients;
mod lost;
pub(crate) mod python;
mod wire;
