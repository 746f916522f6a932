//! What a plan says of one table, and whether a control record fits it.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::Record;
use crate::error::{Error, Kind, Result};
use crate::schema::{Layout, StoredTable, Table};
use crate::secret::Secret;
use crate::transform::{ColumnRule, ExpiryRule, KeyOnly, Transform};

/// What a plan says of one table.
#[derive(Clone, Debug, Default)]
pub struct TableSpec {
    /// The plan's name.
    pub plan: String,
    /// The old table.
    pub name: String,
    /// The new table.
    pub to: String,
    /// What may be there and is not taken along: `indexes`, `views`, `triggers`, `stream`.
    pub ignore: BTreeSet<String>,
    /// How items lie in the new table.
    pub layout: Layout,
    /// What happens to single columns.
    pub columns: BTreeMap<String, ColumnRule>,
    /// What a row's expiry becomes.
    pub expiry: Option<ExpiryRule>,
    /// What becomes of rows whose end isn't known.
    pub key_only: Option<KeyOnly>,
    /// The key of `mask = "hmac"`.
    pub mask_key: Option<Secret>,
    /// Counters may go down.
    pub decrements: bool,
    /// The role whose permission to write to the old table is taken when the table enters `copy`.
    pub fence: Option<String>,
}

impl TableSpec {
    /// The same, where what the plan leaves open is as `init` settled it: whether a sort key is made.
    #[must_use]
    pub fn settled(&self, record: &Record) -> TableSpec {
        let mut settled = self.clone();
        let recorded = &record.target.layout().sort_attribute;
        settled.layout.sort_attribute = settled.layout.sort_attribute.or(recorded.clone());
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
            self.layout.clone(),
        )?
        .living(self.key_only, default_ttl)
    }

    /// Whether a record is of this plan.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] with both names.
    pub fn same_plan(&self, there: &Record) -> Result<()> {
        if there.plan == self.plan {
            return Ok(());
        }
        Err(Error::new(Kind::Mismatch, "the control record has another plan name")
            .at("target", self.to.as_str())
            .at("recorded", there.plan.as_str())
            .at("now", self.plan.as_str())
            .help(format!(
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
        let mismatch = |what: &str, there: &str, here: &str, help: &str| {
            Err(Error::new(
                Kind::Mismatch,
                format!("the control record has another {what}"),
            )
            .at("target", self.to.as_str())
            .at("recorded", there)
            .at("now", here)
            .help(help))
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
            ..TableSpec::default()
        };
        let moving = crate::shim::Moving {
            spec: spec.clone(),
            exactly_once: false,
        };
        for shown in [format!("{spec:?}"), format!("{moving:#?}")] {
            assert!(
                shown.contains("redacted") && !shown.contains("hunter2"),
                "{shown}"
            );
            // As a list of bytes.
            assert!(!shown.contains("104"), "{shown}");
        }
    }
}
