//! Wrappers around a store that are stores themselves.

pub mod pace;
pub mod retry;
mod sizes;

pub use pace::Pace;
pub use retry::Retry;
pub use sizes::{FIRST_PAGE, next_page};
