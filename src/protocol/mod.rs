//! The rules of a migration: pure code, no I/O. [`phase`] has the table of what may be done when.

pub mod phase;

pub use phase::Phase;
