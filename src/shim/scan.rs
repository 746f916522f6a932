//! Reading a whole table, page by page, in every phase.

use super::judged::unbuilt;
use super::table::Table;
use crate::error::Result;
use crate::model::Row;
use crate::protocol::row::Position;

/// A part of a table for a scan that several do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub total: u32,
}

/// A page of a scan that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where it goes on: [`Scanned::next`] of the page before, for the same part. `None` is the start.
    pub position: Option<Position>,
    /// How many rows it has at most; at least 1. It ends at about 1 MiB in any case.
    pub limit: usize,
    /// The part of the table; `None` is all of it.
    pub part: Option<Part>,
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Its rows. There may be none though more follow.
    pub rows: Vec<Row>,
    /// Where the next page begins, if there may be more. It stays good in every phase and in another process.
    pub next: Option<Position>,
}

impl Table {
    /// Reads a page of the whole table, in no particular order.
    ///
    /// # Errors
    /// Those of [`Table::get`].
    pub async fn scan(&self, scan: Scan) -> Result<Scanned> {
        let _ = scan;
        Err(unbuilt())
    }
}
