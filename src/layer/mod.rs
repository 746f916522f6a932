//! Wrappers around a store that are stores themselves.

#[cfg(any(test, feature = "conformance"))]
pub mod faulty;
pub mod pace;
pub mod retry;
mod sizes;
#[cfg(feature = "conformance")]
pub mod stopping;

pub use pace::Pace;
pub use retry::Retry;
pub use sizes::{FIRST_PAGE, next_page};
