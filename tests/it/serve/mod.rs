//! The sidecar: its wire, and clients in other languages.

mod clients;
mod python;
mod wire;
