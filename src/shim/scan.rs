//! Reading a whole table, page by page, in every phase.

use std::cmp::Ordering;
use std::sync::Arc;

use super::operation::{Operation, WhichStore};
use super::rows::place;
use super::table::Table;
use crate::clock::unix_seconds;
use crate::codec::cql;
use crate::error::{Error, Kind, Result};
use crate::model::{Key, Row, Tokens};
use crate::protocol::row::{
    self, PageLimit, Position, ScanCall, ScanOrder, ScanReply, Walked, Walkover,
};
use crate::protocol::{Machine, Step};
use crate::store::{Cursor, Page, Range};
use crate::transform::Transform;

/// Bytes of rows that end a page.
const PAGE_BYTES: usize = 1 << 20;
/// Pages of a store that end a page, so that one of nothing but tombstones doesn't take too long.
const STORE_PAGES: usize = 32;

/// A part of a table for a scan that several do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPart {
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
    pub part: Option<ScanPart>,
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
    /// Reads a page of the whole table, in no particular order. A row that is there all the time is shown once; one
    /// that is deleted and put again meanwhile may be shown twice, and while rows move to `new` so may one that is
    /// written.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a part that there isn't; a deadline, a store or the lease, as in [`Table::get`].
    pub async fn scan(&self, scan: Scan) -> Result<Scanned> {
        let begun = self.begun().await?;
        self.inner.is_of_rows(&begun.joined, None)?;
        Operation::begin(&self.inner, &begun.joined, begun.deadline)?
            .scan(scan)
            .await
    }
}

/// Where each store goes on, by its own cursor if it has given one in this page.
#[derive(Default)]
struct Cursors {
    old: Option<Cursor>,
    new: Option<Cursor>,
}

impl Operation {
    async fn scan(mut self, scan: Scan) -> Result<Scanned> {
        self.shows = true;
        let part = scan.part.unwrap_or(ScanPart { index: 0, total: 1 });
        let tokens = Tokens::ALL.split(part.total as usize);
        let Some(tokens) = tokens.get(part.index as usize).copied() else {
            let message = format!("there is no part {} of {}", part.index, part.total);
            return Err(Error::new(Kind::Invalid, message));
        };
        let order = RingOrder(self.joined.transform.clone());
        let bound = PageLimit {
            rows: scan.limit,
            bytes: PAGE_BYTES,
            pages: STORE_PAGES,
        };
        let expire = self.joined.rows_expire();
        let mut walk = Walkover::new(
            self.phase(),
            scan.position,
            order.clone(),
            bound,
            unix_seconds(),
            expire,
        );
        let mut cursors = Cursors::default();
        let mut step = walk.begin();
        let walked = loop {
            let call = match step {
                Step::Call(call) => call,
                Step::Done(walked) => break walked,
            };
            self.has_time()?;
            let reply = match call {
                ScanCall::Old { after, limit } => {
                    let range = Range::Tokens(tokens);
                    let page = self.old_page(&order, &mut cursors.old, &range, after, limit);
                    ScanReply::Page(page.await?)
                }
                ScanCall::New { after, limit } => {
                    let range = match self.table.new.capabilities().token_ranges {
                        true => Range::Tokens(tokens),
                        false => Range::Segment {
                            index: part.index,
                            total: part.total,
                        },
                    };
                    let page = self.new_page(&mut cursors.new, &range, after, limit);
                    ScanReply::Page(page.await?)
                }
                ScanCall::ReadOld(keys) => {
                    let rows = self.read_all(WhichStore::Old, &keys).await?;
                    let rows = rows.into_iter();
                    let moved = rows.map(|row| row.map(|row| self.moved(row)).transpose());
                    ScanReply::Rows(moved.collect::<Result<_>>()?)
                }
                ScanCall::ReadNew(keys) => {
                    ScanReply::Rows(self.read_all(WhichStore::New, &keys).await?)
                }
            };
            step = walk.step(reply);
        };
        self.check()?;
        match walked {
            Walked::Rows(rows, next) => Ok(Scanned { rows, next }),
            Walked::Refused => Err(self.table.offline()),
        }
    }

    /// A page of the old store's rows after a key, as the new store would have them.
    async fn old_page(
        &mut self,
        order: &RingOrder,
        cursor: &mut Option<Cursor>,
        range: &Range,
        after: Option<Key>,
        limit: usize,
    ) -> Result<row::PageReply> {
        // A store that goes on by a key alone may give rows again.
        let is_after = |row: &Row| match &after {
            Some(after) => order.compare(&row.key, after).is_gt(),
            None => true,
        };
        let at = resumed_at(cursor, &after);
        let rows = |operation: &mut Self, page: Page| {
            let rows = page.rows.into_iter().filter(is_after);
            rows.map(|row| operation.moved(row)).collect()
        };
        self.first_page(WhichStore::Old, cursor, range, at, limit, rows)
            .await
    }

    async fn new_page(
        &mut self,
        cursor: &mut Option<Cursor>,
        range: &Range,
        after: Option<Key>,
        limit: usize,
    ) -> Result<row::PageReply> {
        let at = resumed_at(cursor, &after);
        let rows = |_: &mut Self, page: Page| Ok(page.readable()?.rows);
        self.first_page(WhichStore::New, cursor, range, at, limit, rows)
            .await
    }

    /// The first page from a place on of which something is left, or the last one.
    async fn first_page(
        &mut self,
        place: WhichStore,
        cursor: &mut Option<Cursor>,
        range: &Range,
        mut at: Option<Cursor>,
        limit: usize,
        rows: impl Fn(&mut Self, Page) -> Result<Vec<Row>> + Send + Sync,
    ) -> Result<row::PageReply> {
        loop {
            let mut page = self.scan_page(place, range, at.as_ref(), limit).await?;
            let next = page.next.take();
            let rows = rows(self, page)?;
            if rows.is_empty() && next.is_some() {
                self.has_time()?;
                at = next;
                continue;
            }
            let more = next.is_some();
            *cursor = next;
            return Ok(row::PageReply { rows, more });
        }
    }
}

/// The store's own cursor, if it comes after this key.
fn resumed_at(cursor: &mut Option<Cursor>, after: &Option<Key>) -> Option<Cursor> {
    let key = after.clone()?;
    let known = cursor.take().filter(|cursor| cursor.key == key);
    Some(known.unwrap_or(Cursor { key, state: None }))
}

/// The order in which an old store is walked over.
#[derive(Clone)]
struct RingOrder(Arc<Transform>);

impl ScanOrder for RingOrder {
    fn compare(&self, a: &Key, b: &Key) -> Ordering {
        let table = self.0.target();
        let place = |key: &Key| {
            let bytes = cql::partition_bytes(table.partition(), &key.partition);
            (cql::murmur3_token(&bytes), bytes, place(table, key))
        };
        place(a).cmp(&place(b))
    }
}
