//! What a plan says of one table, and whether a control record fits it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::control::Record;
use crate::error::{Error, Kind, Result};
use crate::schema::{Layout, StoredTable, Table};
use crate::secret::Secret;
use crate::transform::{ColumnRule, ExpiryRule, KeyOnly, Mask, Transform};

/// One table of a plan.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name in the old store, as stored: case kept, no quotes.
    pub name: String,
    /// Its name in the new store; the same unless the plan says otherwise.
    pub to: String,
    /// Where it is in the plan's file, from 1, for messages.
    pub line: usize,
    /// What the old table has and the new one won't, and its owner knows.
    pub ignore: BTreeSet<Ignore>,
    /// What reserved attributes begin with, where the default `_` clashes with a column.
    pub reserved_prefix: Option<String>,
    /// Names of key attributes.
    pub keys: KeyNames,
    /// What becomes of a row's time to live; without it a row that has one is a dead letter.
    pub expiry: Option<ExpiryRule>,
    /// What becomes of rows of which the old store doesn't tell when they end.
    pub key_only: Option<KeyOnly>,
    /// Counters may go down.
    pub decrements: bool,
    /// Adds to counters are transactions with a token, which may be sent again after a lost reply.
    pub exactly_once: bool,
    /// What a final pass over counters reads of the old store.
    pub final_read: FinalRead,
    /// The role whose permission to write to the old table is taken when the table enters `copy`.
    pub fence: Option<String>,
    /// Write units a second that a provisioned target is given while it is copied, and afterwards.
    pub capacity: Option<CapacityPlan>,
    /// What a target on demand is to be ready for at once before it is copied.
    pub warm: Option<WarmPlan>,
    /// Columns that don't stay as they are, by their name in the old store.
    pub columns: BTreeMap<String, ColumnRule>,
    /// How columns are masked in rehearsals, in place of what is done to their values else.
    pub rehearsal_masks: BTreeMap<String, Mask>,
}

/// Write units a second of a provisioned target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityPlan {
    /// While it is copied; a target that has more keeps it.
    pub during_copy: u32,
    /// Afterwards.
    pub after: u32,
}

/// Units a second that a target on demand is to be ready for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmPlan {
    /// Write units.
    pub write: u32,
    /// Read units; left out = as they are.
    pub read: Option<u32>,
}

/// How many replicas of the old store a final pass over counters reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FinalRead {
    /// Every one.
    #[default]
    All,
    /// More than half: accepted where a replica is gone for good.
    Quorum,
}

/// Something of the old table that isn't moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignore {
    /// Secondary indexes.
    Indexes,
    /// Materialized views.
    Views,
    /// Triggers.
    Triggers,
}

/// Names of key attributes. One that is given is made; where none is, one is made only if a column
/// can't be the key itself, and called `pk` or `sk`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyNames {
    /// The partition key's.
    pub partition: Option<String>,
    /// The sort key's.
    pub sort: Option<String>,
    /// Whether partition keys that are too long are hashed (`partition_hash = true`).
    pub partition_hash: bool,
}

impl Ignore {
    /// Every one with its name in a plan.
    pub const NAMES: &[(&str, Ignore)] = &[
        ("indexes", Ignore::Indexes),
        ("views", Ignore::Views),
        ("triggers", Ignore::Triggers),
    ];

    /// Its name in a plan, which is also the word of `Weight::Ignorable`.
    pub fn name(self) -> &'static str {
        match self {
            Ignore::Indexes => "indexes",
            Ignore::Views => "views",
            Ignore::Triggers => "triggers",
        }
    }
}

impl TablePlan {
    /// A table that keeps its name, its keys and its columns.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        TablePlan {
            to: name.clone(),
            name,
            line: 0,
            ignore: BTreeSet::new(),
            reserved_prefix: None,
            keys: KeyNames::default(),
            expiry: None,
            key_only: None,
            decrements: false,
            exactly_once: false,
            final_read: FinalRead::All,
            fence: None,
            capacity: None,
            warm: None,
            columns: BTreeMap::new(),
            rehearsal_masks: BTreeMap::new(),
        }
    }

    /// The same table under this name in the new store.
    #[must_use]
    pub fn to(self, to: impl Into<String>) -> Self {
        TablePlan {
            to: to.into(),
            ..self
        }
    }

    /// The same table as a rehearsal has it: under its name with the suffix, masked, and nothing is taken from the
    /// application.
    #[must_use]
    pub fn rehearsed(mut self, suffix: &str) -> Self {
        self.to += suffix;
        self.fence = None;
        for (name, mask) in std::mem::take(&mut self.rehearsal_masks) {
            let rule = self.columns.remove(&name).unwrap_or_default();
            let masked = ColumnRule {
                mask: Some(mask),
                constant: None,
                convert: None,
                ..rule
            };
            self.columns.insert(name, masked);
        }
        self
    }

    /// Whether the plan's `ignore` has this word.
    pub fn ignores(&self, word: &str) -> bool {
        self.ignore.iter().any(|ignored| ignored.name() == word)
    }

    /// The table's layout in the new store, defaults filled in.
    pub fn layout(&self) -> Layout {
        let default = Layout::default();
        Layout {
            partition_attribute: self.keys.partition.clone(),
            sort_attribute: self.keys.sort.clone(),
            partition_hash: self.keys.partition_hash,
            reserved_prefix: match &self.reserved_prefix {
                Some(prefix) => prefix.clone(),
                None => default.reserved_prefix,
            },
            expiry_attribute: self.expiry.as_ref().map(|expiry| expiry.attribute.clone()),
            forms: default.forms,
        }
    }
}

/// A table of a plan, and what it needs of the plan itself.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The plan's name.
    pub plan: String,
    /// What the plan says of the table.
    pub table: TablePlan,
    /// The plan's key of `mask = "hmac"`.
    pub mask_key: Option<Secret>,
    /// Whether the target is a scratch table of a rehearsal.
    pub rehearsal: bool,
}

impl Deref for TableSpec {
    type Target = TablePlan;

    fn deref(&self) -> &TablePlan {
        &self.table
    }
}

impl TableSpec {
    /// A table of the plan with this name, which has no key of `mask = "hmac"`.
    pub fn new(plan: impl Into<String>, table: TablePlan) -> Self {
        TableSpec {
            plan: plan.into(),
            table,
            mask_key: None,
            rehearsal: false,
        }
    }

    /// The same, where what the plan leaves open is as `init` settled it: whether a sort key is made.
    #[must_use]
    pub fn settled(&self, record: &Record) -> TableSpec {
        let mut settled = self.clone();
        let recorded = &record.target.layout().sort_attribute;
        let sort = &mut settled.table.keys.sort;
        *sort = sort.take().or(recorded.clone());
        settled
    }

    /// What becomes of the old table, in which a row lives `default_ttl` seconds where its writer didn't say.
    ///
    /// # Errors
    /// [`Kind::Config`] if the plan's rules don't fit it.
    pub fn transform(&self, source: &Table, default_ttl: u32) -> Result<Transform> {
        Transform::new(
            source,
            &self.columns,
            self.expiry.as_ref(),
            self.mask_key.as_ref(),
            &self.to,
            self.layout(),
        )?
        .living(self.key_only, default_ttl)
    }

    /// Whether a record is of this plan.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] with both names.
    pub fn same_plan(&self, there: &Record) -> Result<()> {
        if there.rehearsal != self.rehearsal {
            let (message, help) = match there.rehearsal {
                true => (
                    "this is a scratch table of a rehearsal, and no target of a migration",
                    "name another target in `to`; `migrate rehearse drop` takes scratch tables away",
                ),
                false => (
                    "this is the target of a migration, and no scratch table of a rehearsal",
                    "write another suffix in --to-suffix",
                ),
            };
            return Err(Error::new(Kind::Mismatch, message)
                .with_context("target", self.to.as_str())
                .with_context("plan", there.plan.as_str())
                .with_help(help));
        }
        if there.plan == self.plan {
            return Ok(());
        }
        Err(Error::new(Kind::Mismatch, "the control record has another plan name")
            .with_context("target", self.to.as_str())
            .with_context("recorded", there.plan.as_str())
            .with_context("now", self.plan.as_str())
            .with_help(format!(
                "one target belongs to one plan: name another target in `to`, use that plan, or take \
                 the target over with `migrate init --adopt {}`",
                self.to
            )))
    }

    /// Whether a record is the one that this plan and these stores would write today.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] with both values.
    pub fn same(&self, there: &Record, here: &Record) -> Result<()> {
        match self.compared(there, here) {
            Err(error) if self.rehearsal && there.rehearsal => Err(error.with_help(
                "`migrate rehearse drop` takes this rehearsal away; then begin another",
            )),
            compared => compared,
        }
    }

    fn compared(&self, there: &Record, here: &Record) -> Result<()> {
        let mismatch = |what: &str, there: &str, here: &str, help: &str| {
            Err(Error::new(
                Kind::Mismatch,
                format!("the control record has another {what}"),
            )
            .with_context("target", self.to.as_str())
            .with_context("recorded", there)
            .with_context("now", here)
            .with_help(help))
        };
        self.same_plan(there)?;
        if there.target_id != here.target_id {
            let help = "the target was deleted and made again, or this is another account or region; \
                        to begin anew, run `migrate reset` if the table is offline, then \
                        `migrate init --adopt` with the target's name";
            return mismatch("target identity", &there.target_id, &here.target_id, help);
        }
        if there.old_id != here.old_id {
            let help = "the old table was dropped and made again, or this is another cluster";
            return mismatch("old table", &there.old_id, &here.old_id, help);
        }
        if there.source != here.source {
            let help = "the old table's schema was changed since `migrate init`; undo the change, or \
                        begin anew: `migrate reset` if it is offline, then `migrate init --adopt` with the \
                        target's name";
            let (was, is) = (columns(&there.source), columns(&here.source));
            return mismatch("source schema", &was, &is, help);
        }
        if self.expiry.is_some() && there.default_ttl != here.default_ttl {
            let help = "the old table's default_time_to_live was changed since `migrate init`, and rows' ends go \
                        by it; change it back, or begin anew: `migrate reset` if the table is offline, then \
                        `migrate init --adopt` with the target's name";
            let seconds = |ttl: u32| format!("{ttl} s");
            let (was, is) = (seconds(there.default_ttl), seconds(here.default_ttl));
            return mismatch("default time to live", &was, &is, help);
        }
        if there.mapping != here.mapping {
            let help = "the plan's columns, keys, expiry or mask changed since `migrate init`; undo \
                        that, or begin anew: `migrate reset` if it is offline, then \
                        `migrate init --adopt` with the target's name";
            return mismatch("mapping", &there.mapping, &here.mapping, help);
        }
        Ok(())
    }
}

fn columns(table: &StoredTable) -> String {
    match table.read() {
        Ok(table) => {
            let column = |c: &crate::schema::Column| format!("{} {}", c.name, c.cql_type());
            table
                .columns
                .iter()
                .map(column)
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(_) => "unreadable".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_key_is_not_shown() {
        let spec = TableSpec {
            mask_key: Some(Secret::new("hunter2")),
            ..TableSpec::new("bgt", TablePlan::new("users"))
        };
        for shown in [format!("{spec:?}"), format!("{spec:#?}")] {
            assert!(
                shown.contains("redacted") && !shown.contains("hunter2"),
                "{shown}"
            );
            // As a list of bytes.
            assert!(!shown.contains("104"), "{shown}");
        }
    }
}
