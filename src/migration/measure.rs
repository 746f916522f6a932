//! What becomes of rows of the old table, without writing any: how large the items are, and which rows make none.

use std::collections::BTreeMap;

use super::{Migration, Survey};
use crate::clock;
use crate::display;
use crate::error::{Error, Kind, Result};
use crate::forecast::{self, Size};
use crate::item::{Mapping, item_size};
use crate::layer::retry::{Patience, Retry};
use crate::model::{Mark, Row, Tokens};
use crate::schema::Table;
use crate::store::{Cursor, Range, Reads};
use crate::transform::Transform;

/// Places of the ring that a glance reads from, and rows of each.
const PLACES: usize = 32;
const ROWS: usize = 100;
/// Parts that the ring is cut into where a share of it is read.
const PARTS: usize = 1_000;
/// Rows of a page.
const PAGE: usize = 1_000;
/// Examples of each kind of trouble.
const EXAMPLES: usize = 3;

/// How much of a table is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// Some rows from places all over the ring.
    Glance,
    /// This share of the ring, above 0 and below 1, in whole token ranges.
    Share(f64),
    /// All of it.
    All,
}

/// Rows that would become dead letters for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedLetters {
    /// How many.
    pub rows: u64,
    /// Some of them, for people: the key, and where in the row.
    pub examples: Vec<String>,
}

/// What was found in the rows that were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Rows read.
    pub rows: u64,
    /// How much of the ring was read from end to end, 0 to 1; 0 where that isn't known.
    pub share: f64,
    /// Bytes of the items, as DynamoDB counts them.
    pub bytes: u64,
    /// Write units of the items.
    pub write_units: u64,
    /// The largest item, bytes, and its key for people.
    pub largest: Option<(u64, String)>,
    /// Rows that end some day.
    pub ending: u64,
    /// Rows of nothing but their key.
    pub key_only: u64,
    /// Rows that would become dead letters, by the reason.
    pub troubles: BTreeMap<String, ExpectedLetters>,
}

impl Measured {
    /// Rows that make an item.
    pub fn fine(&self) -> u64 {
        let troubled = self.troubles.values().map(|trouble| trouble.rows);
        self.rows - troubled.sum::<u64>()
    }

    /// The items that were made.
    pub fn size(&self) -> Size {
        Size {
            rows: self.fine() as f64,
            bytes: self.bytes as f64,
            write_units: self.write_units as f64,
        }
    }

    /// All the table's items, as far as this and what the old store estimates tell.
    pub fn whole(&self, rows: Option<u64>, bytes: Option<u64>) -> Option<Size> {
        let size = self.size();
        if self.share > 0.0 {
            return size.whole(self.share);
        }
        match (rows, bytes) {
            (Some(rows), _) => size.of_rows(rows as f64),
            // The bytes of rows and of items are about the same.
            (None, Some(bytes)) if size.bytes > 0.0 => size.whole(size.bytes / bytes as f64),
            (None, Some(_) | None) => None,
        }
    }
}

/// Makes items of rows, and counts.
struct Scale<'a> {
    transform: Transform,
    source: &'a Table,
    mapping: &'a Mapping,
    measured: Measured,
}

impl Scale<'_> {
    fn add(&mut self, row: Row) {
        let measured = &mut self.measured;
        measured.rows += 1;
        measured.key_only += u64::from(self.transform.is_key_only(&row));
        let key = display::key(self.source, &row.key);
        let item = self.transform.apply(row).and_then(|mut row| {
            row.mark = Some(Mark::Copied);
            measured.ending += u64::from(row.expires.is_some());
            self.mapping.item(&row)
        });
        match item {
            Ok(item) => {
                let bytes = item_size(&item) as u64;
                measured.bytes += bytes;
                measured.write_units += forecast::write_units(bytes);
                if measured
                    .largest
                    .as_ref()
                    .is_none_or(|(most, _)| bytes > *most)
                {
                    measured.largest = Some((bytes, key));
                }
            }
            Err(error) => {
                let trouble = measured.troubles.entry(error.cause()).or_default();
                trouble.rows += 1;
                if trouble.examples.len() < EXAMPLES {
                    let places = error.places();
                    trouble.examples.push(match places.is_empty() {
                        true => key,
                        false => format!("{key} ({places})"),
                    });
                }
            }
        }
    }
}

impl Migration {
    /// Reads rows of the old table, within the pace, and works out what becomes of them.
    ///
    /// # Errors
    /// The old store's; [`Kind::Config`] if the plan's rules don't make a table of it.
    pub async fn measure(&self, survey: &Survey, portion: Portion) -> Result<Measured> {
        let mapping = Mapping::new(survey.transform.target())?;
        let source = survey.transform.source();
        let mut scale = Scale {
            // As if it were frozen now: rows' ends are counted from there.
            transform: survey.transform.frozen(Some(clock::unix_micros())),
            source,
            mapping: &mapping,
            measured: Measured::default(),
        };
        let old = Retry::new(self.old.0.clone(), Patience::LOOK).paced(&self.pace.old);
        match portion {
            Portion::Glance => {
                // A place of which all rows were read counts as read.
                let (mut whole, mut width) = (true, 0.0);
                for range in old.splits(source, PLACES).await? {
                    let page = match old.scan(source, &range, None, ROWS).await {
                        Err(error) if error.kind() == Kind::RangeTooCostly => {
                            whole = false;
                            continue;
                        }
                        page => page?,
                    };
                    whole &= page.next.is_none();
                    width += share_of(&range);
                    page.rows.into_iter().for_each(|row| scale.add(row));
                }
                scale.measured.share = if whole { width.min(1.0) } else { 0.0 };
            }
            Portion::Share(share) => {
                let parts = old.splits(source, PARTS).await?;
                let wanted =
                    ((share * parts.len() as f64).ceil() as usize).clamp(1, parts.len().max(1));
                let step = parts.len() as f64 / wanted as f64;
                for place in 0..wanted {
                    if let Some(range) = parts.get((place as f64 * step) as usize) {
                        read(&old, source, range.clone(), &mut scale).await?;
                        scale.measured.share += share_of(range);
                    }
                }
            }
            Portion::All => {
                for range in old.splits(source, PLACES).await? {
                    read(&old, source, range, &mut scale).await?;
                }
                scale.measured.share = 1.0;
            }
        }
        Ok(scale.measured)
    }
}

/// Reads a range to its end. One that is too much for the server is halved.
async fn read(old: &dyn Reads, source: &Table, range: Range, scale: &mut Scale<'_>) -> Result<()> {
    let mut waiting = vec![range];
    while let Some(range) = waiting.pop() {
        let mut after: Option<Cursor> = None;
        loop {
            match old.scan(source, &range, after.as_ref(), PAGE).await {
                Ok(page) => {
                    page.rows.into_iter().for_each(|row| scale.add(row));
                    after = page.next;
                }
                Err(error) if error.kind() == Kind::RangeTooCostly && after.is_none() => {
                    match old.halve(source, &range) {
                        Some(parts) => waiting.extend(parts),
                        None => unread(scale, &error),
                    }
                }
                Err(error) if error.kind() == Kind::RangeTooCostly => {
                    unread(scale, &error);
                    after = None;
                }
                Err(error) => return Err(error),
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// A range that can't be read becomes a dead letter too.
fn unread(scale: &mut Scale<'_>, error: &Error) {
    let trouble = scale.measured.troubles.entry(error.cause()).or_default();
    trouble.examples.push(error.places());
}

/// How much of the ring a range is, 0 to 1.
fn share_of(range: &Range) -> f64 {
    match range {
        Range::Tokens(tokens) if *tokens == Tokens::ALL => 1.0,
        Range::Tokens(tokens) => tokens.width() as f64 / u64::MAX as f64,
        Range::Slice(_) | Range::Segment { .. } => 0.0,
    }
}
