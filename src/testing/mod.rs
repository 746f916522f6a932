//! What tests use: a suite for every store ([`conformance`]), and stores around a store that fail or stop where a test
//! wants it.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod faulty;
pub mod rig;
#[cfg(feature = "conformance")]
pub mod stopping;
