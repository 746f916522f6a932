//! Values and keys as the new store holds them, and the transforms of a plan. Pure: no I/O.
//!
//! [`Mapping`] turns the rows of one table into items and back; [`keys`] is the key format alone, for
//! applications; [`Transform`] is what a plan does to rows on their way: rename, drop, mask, expiry.

mod attr;
mod attributes;
mod item;
pub mod keys;
mod parts;
mod report;
mod span;
mod types;

#[cfg(feature = "_store")]
pub mod transform;

#[cfg(test)]
mod tests;

pub use attr::{Attr, ITEM_LIMIT, item_size};
pub use attributes::{KeyAttribute, KeyType, SORT_ATTRIBUTE};
pub use item::{FoldedColumn, FoldedItem, Mapping};
pub use keys::{PARTITION_KEY_LIMIT, SORT_KEY_LIMIT};
pub use report::ColumnReport;
pub use span::{SortEnd, SortRange};
#[cfg(feature = "_store")]
pub use transform::Transform;
