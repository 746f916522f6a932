//! What a single row is suspected of, and what a second look says. The scans, the rounds, the second look and the
//! samples all go by it.

use crate::error::Error;
use crate::model::{Key, Mark, Row, Value};

/// Rows that are read with one call.
pub(super) const READ_KEYS: usize = 100;

/// Why a row has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Why {
    /// The stores seem to differ.
    Compared,
    /// The old row was written after the freeze.
    Late,
    /// The old row can't be one of the new store.
    Unfit,
    /// The item has no mark.
    Foreign,
    /// The counter's total isn't its watermark, though no application has added to it.
    Totals,
}

impl Why {
    /// Whether what the scan itself has seen tells that it is one, so that a comparison has to leave it out.
    pub fn is_special(self) -> bool {
        match self {
            Why::Compared => false,
            Why::Late | Why::Unfit | Why::Foreign | Why::Totals => true,
        }
    }
}

/// A row to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub why: Why,
    /// Its key in the new store.
    pub key: Key,
    /// Its key in the old store, as far as it can be told: of an item with a masked key it can't.
    pub source: Option<Key>,
}

/// What comes of a second look.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Same,
    /// The application owns the key, so the old row doesn't matter.
    Owned,
    /// The same: it was there before anything was moved. Whatever had changed it has changed it back.
    Adopted,
    Expiring,
    LateButSame,
    Missing,
    /// The new store can't hold the old row.
    Unfit(Error),
    Extra,
    Different,
    /// A counter's watermark isn't the old total.
    Counter,
    /// A counter's total isn't its watermark.
    Total,
    Foreign,
    Late,
    Partial,
}

impl Verdict {
    /// Whether a repair may mend it.
    pub fn can_be_mended(&self) -> bool {
        match self {
            Verdict::Missing
            | Verdict::Extra
            | Verdict::Different
            | Verdict::Counter
            | Verdict::Late
            | Verdict::Partial => true,
            Verdict::Same
            | Verdict::Owned
            | Verdict::Adopted
            | Verdict::Expiring
            | Verdict::LateButSame
            | Verdict::Unfit(_)
            | Verdict::Total
            | Verdict::Foreign => false,
        }
    }
}

/// What an item means to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// It has to be what the old row is.
    Compared,
    /// The old row doesn't matter.
    Owned,
    /// The same: it was there before anything was moved.
    Adopted,
    /// The same, and it isn't known who wrote it.
    Foreign,
    /// It takes an old row to complete it: if there is one, the stores differ.
    Partial,
}

/// Whether a counter item that no application has added to shows something else than was folded.
pub(super) fn is_off(item: &Row) -> bool {
    let total = |cell: &Option<Value>| match cell {
        Some(Value::BigInt(total)) => *total,
        Some(_) | None => 0,
    };
    let inside = |at: usize| item.watermarks.get(at).copied().flatten().unwrap_or(0);
    let mut cells = item.cells.iter().enumerate();
    item.mark == Some(Mark::Copied) && cells.any(|(at, cell)| total(cell) != inside(at))
}
