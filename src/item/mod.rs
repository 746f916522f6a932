//! Rows as items of the new store. Pure: no I/O, no SDK.
//!
//! [`Mapping`] turns the rows of one table into items and back; [`keys`] is the key format alone, for
//! applications.

mod attr;
mod attributes;
pub mod keys;
mod mapping;
mod parts;
mod range;
mod report;
mod sink;
mod types;
#[cfg(any(feature = "dynamodb", feature = "serve"))]
pub(crate) mod wire;
#[cfg(feature = "dynamodb")]
mod written;

#[cfg(test)]
mod tests;

pub use attr::{Attr, ITEM_LIMIT, item_size};
pub use attributes::{KeyAttribute, KeyType, SORT_ATTRIBUTE};
pub use keys::{PARTITION_KEY_LIMIT, SORT_KEY_LIMIT};
pub use mapping::{FoldedColumn, FoldedItem, Mapping};
pub use range::{SortEnd, SortRange};
pub use report::ColumnReport;
#[cfg(all(test, feature = "dynamodb"))]
pub(crate) use sink::Sink;
#[cfg(feature = "dynamodb")]
pub(crate) use written::WrittenItem;
