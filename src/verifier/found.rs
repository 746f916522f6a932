//! What a verification finds.

use serde::{Deserialize, Serialize};

use super::adopted::Adopted;
use super::canonical::differing;
use super::verdict::Verdict;
use crate::display;
use crate::model::{Key, Row};
use crate::store::Unreadable;
use crate::transform::Transform;

/// Examples that are kept of one table.
const MOST_EXAMPLES: usize = 1_000;

/// What a verification of one table has counted, and examples of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Rows of the old table that were looked at.
    pub old_rows: u64,
    /// Items of the new one that were looked at, without tombstones.
    pub new_rows: u64,
    /// Old rows that the new store lacks, and those that it could never hold.
    pub missing: u64,
    /// Of `missing` and `different`: old rows that were written before the freeze, as far as is told, though a
    /// copy of this freeze is through. Its reads didn't see them so.
    #[serde(default)]
    pub unseen: u64,
    /// Items that were copied or saved again, and whose rows the old store lacks.
    pub extra: u64,
    /// Rows of which both stores have one, and not the same.
    pub different: u64,
    /// Counter rows whose watermark isn't the old total; and those that no application has added to, and
    /// whose total isn't the watermark.
    pub counters_wrong: u64,
    /// Items that were in the new store when `init --adopt` took it over, and are as they were then; counters
    /// that were, unless an application has added to them since. No differences.
    #[serde(default)]
    pub adopted: u64,
    /// Items without a mark that weren't adopted: neither a shim nor a tool wrote them.
    pub foreign: u64,
    /// Old rows that were written after the old table was frozen, and that the new store doesn't have so.
    pub late_writes: u64,
    /// Items of some columns alone whose rows the old store holds: they haven't been completed.
    pub partial: u64,
    /// Items that can't be read as rows, and ranges of the old table that can't be read at all.
    pub unreadable: u64,
    /// Rows that were about to expire: left out, and not counted above.
    pub expiring: u64,
    /// Old rows with a write time that hasn't come yet, so that it can't be told whether they came late. They
    /// were compared like all others.
    pub future: u64,
    /// Old rows that were written after the freeze, and that the new store has all the same.
    pub late_but_same: u64,
    /// Of counters, the sum of all old totals.
    pub old_total: i128,
    /// Of counters, the sum of the new store's totals.
    pub new_total: i128,
    /// From how many seconds on an expiry that is wrong was sure to show; None where no row expires. Of smaller
    /// errors only some did. Where single rows are looked at, 5 seconds are the bound.
    #[serde(default)]
    pub expiry_bound: Option<u64>,
    /// It has stopped before it had looked at everything: so many differences were found, or it would have had to
    /// read the tables too often.
    #[serde(default)]
    pub stopped_early: bool,
    /// Then: in how many rows the stores seemed to differ at least, as far as that is known.
    #[serde(default)]
    pub seem_different: u64,
    /// The first of what was found.
    pub examples: Vec<Example>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What it counts as: the name of one of [`Found`]'s numbers.
    pub kind: String,
    /// The row's key, for people.
    pub key: String,
    /// The columns that differ, as the new table names them.
    pub columns: Vec<Values>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A column in both stores; null where there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Its name.
    pub column: String,
    /// What the old store has.
    pub old: Option<String>,
    /// What the new store has.
    pub new: Option<String>,
}

impl Found {
    /// How many differences of any kind there are.
    pub fn differences(&self) -> u64 {
        self.missing
            + self.extra
            + self.different
            + self.counters_wrong
            + self.foreign
            + self.late_writes
            + self.partial
            + self.unreadable
    }

    /// Whether both stores have the same, as far as was looked, and everything was looked at.
    pub fn is_clean(&self) -> bool {
        self.differences() == 0 && !self.stopped_early
    }

    /// Notes that it stops before it has looked at everything, where so many rows seem to differ.
    pub(super) fn stop_early(&mut self, seem_different: u64) {
        self.stopped_early = true;
        self.seem_different = self.seem_different.max(seem_different);
    }

    /// Counts a row that was looked at more closely.
    pub(super) fn count(
        &mut self,
        verdict: &Verdict,
        key: &Key,
        seen: (Option<&Row>, Option<&Row>),
        transform: &Transform,
        is_copied: bool,
    ) {
        let (kind, count) = match verdict {
            Verdict::Same | Verdict::Owned => return,
            Verdict::Adopted => {
                self.adopted += 1;
                return;
            }
            Verdict::Expiring => {
                self.expiring += 1;
                return;
            }
            Verdict::LateButSame => {
                self.late_but_same += 1;
                return;
            }
            Verdict::Missing | Verdict::Unfit(_) => ("missing", &mut self.missing),
            Verdict::Extra => ("extra", &mut self.extra),
            Verdict::Different => ("different", &mut self.different),
            Verdict::Counter | Verdict::Total => ("counters_wrong", &mut self.counters_wrong),
            Verdict::Foreign => ("foreign", &mut self.foreign),
            Verdict::Late => ("late_writes", &mut self.late_writes),
            Verdict::Partial => ("partial", &mut self.partial),
        };
        *count += 1;
        let is_unseen = is_copied && matches!(verdict, Verdict::Missing | Verdict::Different);
        self.unseen += u64::from(is_unseen);
        if self.examples.len() >= MOST_EXAMPLES {
            return;
        }
        let note = match verdict {
            Verdict::Missing if is_unseen => {
                Some("written before the freeze, and not there though the copy is through".to_owned())
            }
            Verdict::Unfit(error) => Some(error.to_string()),
            Verdict::Total => Some(
                "no application has added to it in the new store, and its total isn't what was folded"
                    .to_owned(),
            ),
            Verdict::Same
            | Verdict::Owned
            | Verdict::Adopted
            | Verdict::Expiring
            | Verdict::LateButSame
            | Verdict::Missing
            | Verdict::Extra
            | Verdict::Different
            | Verdict::Counter
            | Verdict::Foreign
            | Verdict::Late
            | Verdict::Partial => None,
        };
        self.examples.push(Example {
            kind: kind.to_owned(),
            key: display::key(transform.target(), key),
            columns: columns(transform, seen.0, seen.1),
            note,
        });
    }

    /// Counts an item that can't be read.
    pub(super) fn unreadable(&mut self, item: &Unreadable, adopted: &Adopted) {
        if item.digest.is_some_and(|digest| adopted.has(digest)) {
            self.adopted += 1;
            return;
        }
        let (kind, count) = match item.is_marked {
            true => ("unreadable", &mut self.unreadable),
            false => ("foreign", &mut self.foreign),
        };
        *count += 1;
        self.note(kind, item.key.clone(), item.error.message().to_owned());
    }

    /// Counts a range of the old table that can't be read.
    pub(super) fn unreadable_range(&mut self, range: String, why: String) {
        self.unreadable += 1;
        self.note("unreadable", range, why);
    }

    fn note(&mut self, kind: &str, key: String, note: String) {
        if self.examples.len() < MOST_EXAMPLES {
            self.examples.push(Example {
                kind: kind.to_owned(),
                key,
                columns: Vec::new(),
                note: Some(note),
            });
        }
    }
}

/// The columns in which an old row and an item differ: all it has, if there is one of them alone.
fn columns(transform: &Transform, old: Option<&Row>, new: Option<&Row>) -> Vec<Values> {
    let table = transform.target();
    let Some(any) = old.or(new) else {
        return Vec::new();
    };
    let nothing = Row::new(any.key.clone(), vec![None; table.cells().len()]);
    let differing = differing(table, old.unwrap_or(&nothing), new.unwrap_or(&nothing));
    let value = |row: Option<&Row>, at: usize| {
        let value = row.and_then(|row| row.cells.get(at)?.as_ref());
        value.map(display::value)
    };
    let mut columns: Vec<Values> = differing
        .into_iter()
        .map(|at| Values {
            column: table.cells()[at].name.clone(),
            old: value(old, at),
            new: value(new, at),
        })
        .collect();
    // A counter's cells are what of the old total is inside; what it shows is beside it.
    for (at, column) in table.cells().iter().enumerate() {
        let Some(Some(inside)) = new.and_then(|row| row.watermarks.get(at)) else {
            continue;
        };
        columns.retain(|values| values.column != column.name);
        let total = new
            .and_then(|row| row.cells.get(at)?.as_ref())
            .map(display::value);
        columns.push(Values {
            column: column.name.clone(),
            old: value(old, at),
            new: Some(format!(
                "{} (of it from the old store: {inside})",
                total.unwrap_or_else(|| "null".into())
            )),
        });
    }
    let expires = |row: Option<&Row>| row.and_then(|row| row.expires).map(|at| at.to_string());
    if expires(old) != expires(new)
        && let Some(name) = &table.layout.expiry_attribute
    {
        columns.push(Values {
            column: name.clone(),
            old: expires(old),
            new: expires(new),
        });
    }
    columns
}
