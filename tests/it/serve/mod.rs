//! The sidecar: its wire, and clients in other languages.

mod clients;
mod lost;
mod python;
mod wire;
