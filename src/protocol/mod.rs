//! The rules of a migration: pure code, no I/O. So far the names of the phases.

mod phase;

pub use phase::Phase;
