//! Items that are in a target before anything is moved there: what `init --adopt` takes over, and how it is told
//! later from what strangers write.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::{FuturesUnordered, StreamExt};

use super::Migration;
use super::marks::Marks;
use super::survey::MOST_NAMES;
use crate::control::{Adoption, New, Record};
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::model::Row;
use crate::schema::Table;
use crate::store::{Cursor, Range, Unreadable};
use crate::verifier::{Adopted, adopted_digest};

/// Parts of the target that are looked through at once.
const SCANS: usize = 8;
/// Items of one page.
const ITEMS: usize = 5_000;
/// Items that may be adopted. Their list takes 16 bytes of the control table for each, and 8 of a verification's
/// memory.
const MOST_ADOPTED: usize = 1_000_000;

/// What is in a target.
#[derive(Default)]
pub(super) struct Stock {
    /// By who wrote it.
    pub marks: Marks,
    /// The digests of what may be adopted.
    pub unmarked: Vec<u64>,
}

impl Stock {
    pub fn holds_items(&self) -> bool {
        self.marks != Marks::default()
    }
}

/// One look through a target.
struct TargetLook<'a> {
    new: New,
    target: &'a Table,
    /// What was adopted before; none, and nothing is listed.
    listing: Option<&'a Adopted>,
    listed: AtomicUsize,
}

impl Migration {
    /// Looks through all of a target. With what was adopted `before`, lists what may be by now: items without a
    /// mark, and counters that were adopted and that only folds have marked since.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if there are too many to be listed; the new store's.
    pub(super) async fn stock(&self, target: &Table, before: Option<&Adopted>) -> Result<Stock> {
        let look = TargetLook {
            new: self.new.patient(Patience::default(), &self.pace.new),
            target,
            listing: before,
            listed: AtomicUsize::new(0),
        };
        let ranges = look.new.splits(target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges.iter().map(|range| look.range(range)).collect();
        let mut stock = Stock::default();
        while let Some(part) = scans.next().await {
            let part = part?;
            stock.marks = stock.marks.and(part.marks);
            stock.unmarked.extend(part.unmarked);
            if look.listed.load(Ordering::Relaxed) > MOST_ADOPTED {
                return Err(self.too_many_to_adopt());
            }
        }
        Ok(stock)
    }

    fn too_many_to_adopt(&self) -> Error {
        Error::new(
            Kind::Unsupported,
            format!("the target has more than {MOST_ADOPTED} items without a mark, too many to be taken over"),
        )
        .with_context("target", self.spec.to.as_str())
        .with_help(
            "name an empty or new table in the plan's `to`, and bring these items into it once it is in `done`",
        )
    }

    /// Lists what is in a target. The list counts once a record names it.
    pub(super) async fn listed(&self, stock: Stock) -> Result<Option<Adoption>> {
        if stock.unmarked.is_empty() {
            return Ok(None);
        }
        let adoption = self.control.add_adopted(&self.spec.to, stock.unmarked);
        adoption.await.map(Some)
    }

    /// What was adopted under a record.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the list isn't whole; the new store's.
    pub(super) async fn adopted(&self, record: &Record) -> Result<Adopted> {
        match &record.adoption {
            Some(adoption) => {
                let digests = self.control.adopted(&self.spec.to, adoption).await?;
                Ok(Adopted::of(digests))
            }
            None => Ok(Adopted::default()),
        }
    }

    /// The same, if it can be read.
    pub(super) async fn adopted_before(&self, record: &Record) -> Result<Adopted> {
        match self.adopted(record).await {
            Err(error) if error.kind() == Kind::Corrupt => Ok(Adopted::default()),
            adopted => adopted,
        }
    }

    /// Whether a target was taken over, and it can't be told any more what it had: an earlier version kept no list.
    pub(super) async fn lacks_its_list(&self, record: &Record) -> Result<bool> {
        if !record.adopted {
            return Ok(false);
        }
        if record.adoption.is_none() {
            return Ok(true);
        }
        match self.adopted(record).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == Kind::Corrupt => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The first items of a target in `old` that aren't what was adopted, for people. Whatever there is where it
    /// was taken over by a version that kept no list may be.
    pub(super) async fn beyond_adopted(&self, record: &Record) -> Result<Vec<String>> {
        if record.adopted && record.adoption.is_none() {
            return Ok(Vec::new());
        }
        let adopted = self.adopted(record).await?;
        let target = record.target.read()?;
        let new = self.new.patient(Patience::default(), &self.pace.new);
        let ranges = new.splits(&target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| beyond(&new, &target, range, &adopted))
            .collect();
        let mut found = Vec::new();
        while let Some(some) = scans.next().await {
            found.extend(some?);
            if found.len() >= MOST_NAMES {
                break;
            }
        }
        found.truncate(MOST_NAMES);
        Ok(found)
    }
}

impl TargetLook<'_> {
    async fn range(&self, range: &Range) -> Result<Stock> {
        let mut stock = Stock::default();
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = self.new.scan(self.target, range, cursor.as_ref(), ITEMS);
            let page = page.await?;
            let is_counter = self.target.is_counter();
            for item in &page.unreadable {
                stock.marks = stock.marks.and(Marks::of_unreadable(item.is_marked));
            }
            for item in &page.rows {
                stock.marks = stock.marks.and(Marks::of(item, is_counter));
            }
            if let Some(before) = self.listing {
                let count = stock.unmarked.len();
                let may_be =
                    |item: &&Row| item.mark.is_none() || before.has_item(self.target, item);
                let items = page.rows.iter().filter(may_be);
                stock
                    .unmarked
                    .extend(items.map(|item| adopted_digest(self.target, item)));
                let unreadable = page.unreadable.iter();
                stock
                    .unmarked
                    .extend(unreadable.filter_map(|item| item.digest));
                let count = stock.unmarked.len() - count;
                self.listed.fetch_add(count, Ordering::Relaxed);
            }
            cursor = page.next;
            if cursor.is_none() || self.listed.load(Ordering::Relaxed) > MOST_ADOPTED {
                return Ok(stock);
            }
        }
    }
}

/// Whether an item that can't be read is one that was adopted, as it was then.
pub(super) fn is_adopted(item: &Unreadable, adopted: &Adopted) -> bool {
    item.digest.is_some_and(|digest| adopted.has(digest))
}

/// The first keys of a range whose items weren't adopted.
async fn beyond(
    new: &New,
    target: &Table,
    range: &Range,
    adopted: &Adopted,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), ITEMS).await?;
        let unreadable = page.unreadable.into_iter();
        found.extend(
            unreadable
                .filter(|item| !is_adopted(item, adopted))
                .map(|item| item.key),
        );
        let others = page
            .rows
            .iter()
            .filter(|item| !adopted.has_item(target, item));
        found.extend(others.map(|item| display::key(target, &item.key)));
        cursor = page.next;
        if cursor.is_none() || found.len() >= MOST_NAMES {
            return Ok(found);
        }
    }
}
