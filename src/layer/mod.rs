//! Wrappers around a store that are stores themselves.

mod outage;
pub mod pace;
pub mod retry;
mod sizes;

pub use pace::{
    Pace, PaceNow, PaceOrders, PaceReason, PaceSecond, PaceTotals, PacedStore, TookCounts,
};
pub use retry::Retry;
pub use sizes::{FIRST_PAGE, next_page};
