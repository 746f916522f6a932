//! When a row of the old table ends in the new store: the one rule that the copier, the shim, the verifier
//! and the retry of dead letters go by.
//!
//! In Cassandra a row is there for as long as its marker or any of its cells is. An `INSERT` writes the
//! marker, with the TTL that it gives its cells; an `UPDATE` writes cells alone. CQL tells the TTL and the
//! write time of cells, and nothing of markers. So the end of a row is known
//!
//! - where a cell stays: so does the row, whatever its marker does;
//! - where all its cells end at one moment and were written at one moment: that was the `INSERT` (an
//!   `UPDATE` of every cell there is looks the same, and is taken for one);
//! - where the last cell ends no sooner than a marker that was written beside the youngest cell with the
//!   table's own TTL;
//! - of a partition's static columns, which have no marker: with the last of them.
//!
//! Of all other rows the plan says what becomes of them ([`KeyOnly`]).

use super::{ExpiryFrom, KeyOnly};
use crate::error::{Error, Kind, Result};
use crate::model::{CellTimes, End, Ends, Row, Times};

/// How far a moment may be off that comes from other clocks than the one it is compared with: seconds.
const CLOCKS: i64 = 60;
const MICROS: i64 = 1_000_000;

/// What decides when the rows of one table end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lifetime {
    pub expiry: Option<ExpiryFrom>,
    pub key_only: Option<KeyOnly>,
    /// Seconds that a row of the old table lives where its writer didn't say; 0 is for good.
    pub default_ttl: u32,
    /// When the old table was frozen, microseconds since 1970.
    pub frozen_at: Option<i64>,
}

/// What the cells of a row tell together.
#[derive(Default)]
struct SeenTimes {
    /// The first and the last end of those that tell theirs.
    told: Option<(End, End)>,
    /// The first end of those that are moved.
    first_moved: Option<End>,
    /// The earliest and the latest time one was written, microseconds since 1970.
    written: Option<(i64, i64)>,
    /// Some don't tell when they end.
    untold: bool,
}

impl SeenTimes {
    fn of(cells: &[CellTimes], moves: impl Fn(usize) -> bool) -> SeenTimes {
        let mut seen = SeenTimes::default();
        for (at, cell) in cells.iter().enumerate() {
            let (first, last) = match cell.ends {
                Ends::Null => continue,
                Ends::Untold => {
                    seen.untold = true;
                    continue;
                }
                Ends::Told { first, last } => (first, last),
            };
            let (earliest, latest) = seen.told.unwrap_or((first, last));
            seen.told = Some((earliest.min(first), latest.max(last)));
            if moves(at) {
                let earliest = seen.first_moved.unwrap_or(first);
                seen.first_moved = Some(earliest.min(first));
            }
            if let Some(at) = cell.written {
                let (earliest, latest) = seen.written.unwrap_or((at, at));
                seen.written = Some((earliest.min(at), latest.max(at)));
            }
        }
        seen
    }

    /// Whether all cells that tell their times look like those of a single write.
    fn is_one_write(&self) -> bool {
        self.told.is_some_and(|(first, last)| first == last)
            && self
                .written
                .is_none_or(|(earliest, latest)| earliest == latest)
    }
}

impl Lifetime {
    /// Whether anything says that rows of the table may end.
    pub fn is_limited(&self) -> bool {
        self.default_ttl > 0 || self.expiry.is_some() || self.key_only.is_some()
    }

    /// When a row ends in the new store; `None` is never. `moves` says of each cell whether it is moved.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the plan doesn't say, or refuses such a row.
    pub fn end(&self, row: &Row, moves: impl Fn(usize) -> bool) -> Result<Option<i64>> {
        let cells = match &row.times {
            Times::OfRow => return Ok(row.expires),
            Times::OfCells(cells) => cells,
        };
        let seen = SeenTimes::of(cells, moves);
        let Some((first, last)) = seen.told else {
            let why = match seen.untold {
                true => "this server doesn't tell when elements of its collections end",
                false => "it has nothing but its key, whose TTL Cassandra doesn't tell",
            };
            return match self.is_limited() {
                true => self.decided(None, None, why),
                false => Ok(None),
            };
        };
        let earliest = match first {
            End::Never => return Ok(None),
            End::At(at) => at,
        };
        match (self.expiry, last) {
            (None, _) => Err(no_rule()),
            (Some(ExpiryFrom::Min), _) => Ok(match seen.first_moved {
                Some(End::At(at)) => Some(at),
                // What is moved of it stays; or nothing is, and it goes as a whole.
                Some(End::Never) => None,
                None => Some(earliest),
            }),
            (Some(ExpiryFrom::Reject), _) if first != last => Err(differing()),
            (Some(ExpiryFrom::Max | ExpiryFrom::Reject), End::Never) => Ok(None),
            (Some(ExpiryFrom::Max | ExpiryFrom::Reject), End::At(at)) => {
                if row.key.is_static() || seen.is_one_write() || self.outlasts_default(at, &seen) {
                    return Ok(Some(at));
                }
                let written = seen.written.map(|(_, latest)| latest);
                let why = "its cells were written at different times, and Cassandra doesn't tell the TTL of the \
                           row itself";
                self.decided(Some(at), written, why)
            }
        }
    }

    /// Whether the last cell ends no sooner than a marker with the table's own TTL that was written no later
    /// than the youngest cell.
    fn outlasts_default(&self, last: i64, seen: &SeenTimes) -> bool {
        let ttl = i64::from(self.default_ttl);
        let slack = CLOCKS.min(ttl / 10);
        let written = seen.written.map(|(_, latest)| seconds(latest));
        ttl > 0 && written.is_some_and(|written| last + slack >= written.saturating_add(ttl))
    }

    /// What the plan says of a row whose end isn't known, its last cell ending so and its youngest one
    /// written then.
    fn decided(&self, last: Option<i64>, written: Option<i64>, why: &str) -> Result<Option<i64>> {
        match (self.key_only.unwrap_or_default(), last) {
            (KeyOnly::Keep, _) => Ok(None),
            (KeyOnly::Cells, Some(last)) => Ok(Some(last)),
            (KeyOnly::DefaultTtl, _) => {
                // Nothing was written after the freeze, whatever a client said.
                let marker = match (written, self.frozen_at) {
                    (Some(written), Some(frozen)) => written.min(frozen),
                    (Some(at), None) | (None, Some(at)) => at,
                    (None, None) => return Err(not_frozen()),
                };
                let end = seconds(marker).saturating_add(i64::from(self.default_ttl));
                Ok(Some(last.map_or(end, |last| last.max(end))))
            }
            (KeyOnly::Reject, _) | (KeyOnly::Cells, None) => Err(self.unknown(last, why)),
        }
    }

    fn unknown(&self, last: Option<i64>, why: &str) -> Error {
        let mut ways = Vec::new();
        if self.default_ttl > 0 && self.expiry.is_some() {
            ways.push("`key_only = \"default_ttl\"` (it was written with the table's own TTL)");
        }
        if last.is_some() {
            ways.push("`key_only = \"cells\"` (it goes with the last of its cells)");
        }
        ways.push("`key_only = \"keep\"` (it stays)");
        let message = format!("it isn't known when the row ends: {why}");
        Error::new(Kind::Invalid, message).with_help(format!(
            "write {} for the table in the plan, then run `migrate failures --retry`",
            ways.join(" or ")
        ))
    }
}

/// Of microseconds, rounded up: a row must not end too early.
fn seconds(micros: i64) -> i64 {
    micros.div_euclid(MICROS) + i64::from(micros.rem_euclid(MICROS) > 0)
}

fn no_rule() -> Error {
    Error::new(
        Kind::Invalid,
        "the row has cells that expire, and the plan doesn't say what becomes of that",
    )
    .with_help(
        "add `expiry = { attribute = \"expires_at\", from = \"max\" }` to the table in the plan",
    )
}

fn differing() -> Error {
    Error::new(Kind::Invalid, "the row's cells expire at different times")
        .with_help("write `from = \"max\"` or `\"min\"` in the table's `expiry` in the plan")
}

fn not_frozen() -> Error {
    Error::new(
        Kind::Invalid,
        "the row has nothing but its key, and when the old table was frozen isn't known, from which its TTL \
         would be counted",
    )
    .with_help(
        "the old store's clock couldn't be read at the freeze: go back (`migrate back --to switch`), freeze it \
         anew (`migrate advance --to copy`) and copy again",
    )
}

#[cfg(test)]
mod tests;
