//! The sidecar: its wire, and clients in other languages.

mod attempts;
pub(crate) mod clients;
mod embedded;
mod ending;
mod forms;
mod hashed;
mod languages;
mod lost;
mod native;
mod outages;
pub(crate) mod python;
mod relay;
mod wire;
