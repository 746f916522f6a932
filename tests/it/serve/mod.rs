//! The sidecar: its wire, and clients in other languages.

mod attempts;
pub(crate) mod clients;
mod ending;
mod languages;
mod lost;
pub(crate) mod python;
mod wire;
