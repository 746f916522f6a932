//! Wrappers around a store that are stores themselves.

pub mod retry;

pub use retry::Retry;
