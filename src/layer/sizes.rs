//! What rows weigh, and how many of them are a page.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::Row;
use crate::store::Page;

/// What a row may weigh before any has been seen.
const FIRST: f64 = (128 << 10) as f64;
/// Rows times bytes: what so many rows have not weighed halves what is expected of the next ones. After `n`
/// small rows that is this by `n`.
const PATIENCE: f64 = (8_u64 << 30) as f64;
/// What a row may weigh however many small ones have been seen.
const LEAST: f64 = 2_048.0;

/// What the rows of a store's tables may weigh: the largest seen lately, or a floor that falls slowly while
/// all are smaller.
#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<HashMap<String, f64>>);

impl Sizes {
    pub fn may_weigh(&self, table: &str) -> usize {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(table).map_or(FIRST, |size| size.max(LEAST)) as usize
    }

    /// Learns from a page; gives what its rows weigh together.
    pub fn saw(&self, table: &str, page: &Page) -> usize {
        let (mut sum, mut largest) = (0, 0);
        for weight in page.rows.iter().map(Row::weight) {
            sum += weight;
            largest = largest.max(weight);
        }
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = sizes.entry(table.to_owned()).or_insert(FIRST);
        *size = fallen(*size, page.rows.len()).max(largest as f64);
        sum
    }
}

/// What is expected after so many smaller rows.
fn fallen(size: f64, rows: usize) -> f64 {
    1.0 / (1.0 / size + rows as f64 / PATIENCE)
}

/// Rows of the very first pages, before anything is known of them.
pub const FIRST_PAGE: usize = 100;
/// Rows of a page at most.
const LARGEST_PAGE: usize = 5_000;

/// How many rows its reader would like the next page to have, after one of up to `limit`. Fewer where there
/// isn't room for them ([`crate::store::Room`]).
pub fn next_page(page: &Page, limit: usize, wanted_bytes: usize) -> usize {
    if page.rows.is_empty() {
        return limit;
    }
    let weight: usize = page.rows.iter().map(Row::weight).sum();
    let each = (weight / page.rows.len()).max(1);
    (wanted_bytes / each)
        .clamp(1, LARGEST_PAGE)
        .min(limit.saturating_mul(4))
}
