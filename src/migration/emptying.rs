//! What a reset would delete: looked at before an operator is asked.

use futures::stream::{FuturesUnordered, StreamExt};

use super::adopting::is_adopted;
use super::moves::OpenOld;
use super::reset::unreadable;
use super::survey::MOST_NAMES;
use super::{Migration, SCAN_ROWS};
use crate::codec::text::hex;
use crate::control::{New, Record};
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{ItemState, Mark, Row};
use crate::protocol::phase::Transition;
use crate::protocol::{Phase, counter};
use crate::schema::StoredTable;
use crate::store::{Cursor, Old, Range};
use crate::transform::Transform;
use crate::verifier::{self, Adopted};

/// Parts of the target that are looked through at once.
const SCANS: usize = 8;

/// What a reset would delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emptying {
    /// Items that the copier wrote: it would delete them.
    pub copied: u64,
    /// Items of others, and what was there before: it would leave them.
    pub left: u64,
    /// How many of those were adopted.
    pub adopted: u64,
    /// Of those that the copier wrote, how many aren't as their old rows are: an application may have changed
    /// them since, or the old table was.
    pub changed: u64,
    /// The keys of the first of them.
    pub some: Vec<String>,
    /// Why items and old rows couldn't be compared, where they couldn't.
    pub not_compared: Option<String>,
}

impl Emptying {
    fn and(mut self, other: Emptying) -> Emptying {
        self.copied += other.copied;
        self.left += other.left;
        self.adopted += other.adopted;
        self.changed += other.changed;
        self.some.extend(other.some);
        self.some.truncate(MOST_NAMES);
        self.not_compared = self.not_compared.or(other.not_compared);
        self
    }
}

/// What items are compared with.
enum Against {
    /// Their old rows.
    Rows(Old, Box<Transform>),
    /// Their own watermarks: a total that is apart was added to.
    Watermarks,
    /// Nothing, for this reason.
    Nothing(String),
}

impl Migration {
    /// What [`Migration::reset`] would delete, compared with the old table as far as that can be asked. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the table isn't offline; the new store's.
    pub async fn reset_forecast(&self, open_old: OpenOld<'_>) -> Result<Emptying> {
        let record = self.record().await?;
        self.refuse_unless_offline(&record)?;
        if self.inspect_target().await?.is_none() {
            return Ok(Emptying::default());
        }
        let target = record.target.read()?;
        let against = match target.is_counter() {
            true => Against::Watermarks,
            false => self.old_rows(&record, open_old).await,
        };
        let adopted = self.adopted(&record).await?;
        let new = self.new.patient(Patience::default(), &self.pace.new);
        let ranges = new.splits(&target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| look(&new, &target, range, &adopted, &against))
            .collect();
        let mut found = Emptying::default();
        while let Some(part) = scans.next().await {
            found = found.and(part?);
        }
        if let Against::Rows(old, _) = &against {
            old.0.close().await;
        }
        Ok(found)
    }

    pub(super) fn refuse_unless_offline(&self, record: &Record) -> Result<()> {
        if record.phase.transition_to(Phase::Old) == Some(Transition::Reset) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            format!(
                "the table is in phase `{}`, and `reset` leads out of `offline` only",
                record.phase
            ),
        )
        .with_context("target", self.spec.to.as_str()))
    }

    /// The old table, if items can be compared with its rows.
    async fn old_rows(&self, record: &Record, open_old: OpenOld<'_>) -> Against {
        match self.comparable(record, open_old).await {
            Ok((old, transform)) => Against::Rows(old, Box::new(transform)),
            Err(error) => Against::Nothing(error.to_string()),
        }
    }

    async fn comparable(&self, record: &Record, open_old: OpenOld<'_>) -> Result<(Old, Transform)> {
        let source = record.source.read()?;
        let transform = self.spec.transform(&source, record.default_ttl)?;
        if hex(&transform.fingerprint()) != record.mapping {
            let message = "the plan isn't the one any more by which the table was copied";
            return Err(Error::new(Kind::Mismatch, message));
        }
        if !transform.keeps_keys() {
            return Err(Error::new(Kind::Unsupported, "the keys are masked"));
        }
        let old = open_old().await?;
        let there = old.0.inspect(&self.spec.name).await?;
        let is_same = there.is_some_and(|there| {
            there.id == record.old_id
                && there.table.as_ref().map(StoredTable::of) == Some(record.source.clone())
        });
        if !is_same {
            let message =
                "the old table isn't the one any more that was copied, or its schema was changed";
            return Err(Error::new(Kind::Mismatch, message));
        }
        let patient = Retry::new(old.0, Patience::LOOK).paced(&self.pace.old);
        Ok((Old(std::sync::Arc::new(patient)), transform))
    }
}

async fn look(
    new: &New,
    target: &crate::schema::Table,
    range: &Range,
    adopted: &Adopted,
    against: &Against,
) -> Result<Emptying> {
    let mut found = Emptying::default();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), SCAN_ROWS).await?;
        let page = page.readable_but_for_strangers().map_err(unreadable)?;
        found.left += page.unreadable.len() as u64;
        let unreadable = page.unreadable.iter();
        found.adopted += unreadable.filter(|item| is_adopted(item, adopted)).count() as u64;
        let (was_there, rows): (Vec<Row>, Vec<Row>) = page
            .rows
            .into_iter()
            .partition(|row| adopted.has_item(target, row));
        found.adopted += was_there.len() as u64;
        let (copied, others): (Vec<Row>, Vec<Row>) = rows
            .into_iter()
            .partition(|row| row.mark == Some(Mark::Copied));
        found.left += (was_there.len() + others.len()) as u64;
        found.copied += copied.len() as u64;
        let changed = match against {
            Against::Watermarks => added_to(&copied),
            Against::Rows(old, transform) => match differing(old, transform, &copied).await {
                Ok(changed) => changed,
                Err(error) => {
                    found.not_compared.get_or_insert(error.to_string());
                    Vec::new()
                }
            },
            Against::Nothing(why) => {
                found.not_compared.get_or_insert_with(|| why.clone());
                Vec::new()
            }
        };
        found.changed += changed.len() as u64;
        let some = changed.into_iter().take(MOST_NAMES);
        found
            .some
            .extend(some.map(|row| display::key(target, &row.key)));
        found.some.truncate(MOST_NAMES);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

fn added_to(copied: &[Row]) -> Vec<&Row> {
    let is_as_folded = |row: &&Row| {
        counter::CounterItem::of((*row).clone())
            .is_ok_and(|item| counter::may_return_to_old(Some(&item)))
    };
    copied.iter().filter(|row| !is_as_folded(row)).collect()
}

/// The items that aren't as their old rows are. One that has expired shows no row, whatever became of the old one.
async fn differing<'r>(
    old: &Old,
    transform: &Transform,
    copied: &'r [Row],
) -> Result<Vec<&'r Row>> {
    let now = crate::clock::unix_seconds();
    let live = copied
        .iter()
        .filter(|row| ItemState::of(Some(row), now) != ItemState::Expired);
    let live: Vec<&Row> = live.collect();
    let keys: Vec<_> = live.iter().map(|row| row.key.clone()).collect();
    let rows = old.0.get(transform.source(), &keys).await?;
    let mut changed = Vec::new();
    for (item, row) in live.into_iter().zip(rows) {
        // A row that can't be kept wasn't copied as it is now.
        let row = row.and_then(|row| transform.apply(row).ok());
        let is_same = row.is_some_and(|row| verifier::is_same(transform.target(), item, &row));
        if !is_same {
            changed.push(item);
        }
    }
    Ok(changed)
}
