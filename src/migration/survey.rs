//! What a command looks at before it does anything: the old table, and what becomes of it; the target, and what it holds.

use std::sync::Arc;

use super::Migration;
use crate::error::{Error, Kind, Result};
use crate::model::Row;
use crate::schema::Table;
use crate::store::{Finding, Inspection, Old, Weight};
use crate::transform::Transform;

/// Items of a target by which it is told what it holds.
const FIRST_ITEMS: usize = 25;
/// Names of tables that are listed where one is wrong.
pub(super) const MOST_NAMES: usize = 5;

/// What a target holds that has no control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetContent {
    Nothing,
    /// Items without a mark.
    Foreign,
    /// Items that a migration has marked.
    Marked,
}

/// The old table, and what becomes of it.
pub struct Survey {
    /// What the old store tells.
    pub old: Inspection,
    /// From the old table to the new one. Where the plan leaves open whether a sort key is made, it is as
    /// `init` settled it, or would settle it now.
    pub transform: Arc<Transform>,
}

impl Migration {
    /// Looks at the old table and works out what becomes of it.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is no such table, [`Kind::Config`] if the plan's rules don't fit it.
    pub async fn survey(&self) -> Result<Survey> {
        let name = &self.spec.name;
        let Some(old) = self.old_looks.0.inspect(name).await? else {
            return Err(self.no_such_table().await);
        };
        let table = old.table.clone().ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "this store doesn't know its tables' columns",
            )
            .with_context("store", self.old.0.name())
        })?;
        let transform = match self.control.load(&self.spec.to).await? {
            Some(there) => {
                let spec = self.spec.settled(&there.record);
                spec.transform(&table, old.default_ttl)?
            }
            None => self.settle(&table, old.default_ttl).await?,
        };
        let transform = Arc::new(transform);
        Ok(Survey { old, transform })
    }

    async fn no_such_table(&self) -> Error {
        let name = self.spec.name.as_str();
        let error = Error::new(Kind::Missing, "the old store has no such table")
            .with_context("table", name)
            .with_context("store", self.old.0.name());
        // Names are only a help: without them the error is the same.
        let mut names = self.old_looks.0.tables().await.unwrap_or_default();
        let count = names.len();
        names.sort_by_key(|other| strsim::damerau_levenshtein(name, other));
        names.truncate(MOST_NAMES);
        match names.is_empty() {
            true => error,
            false => error.with_help(format!(
                "the nearest of its {count} tables: {}",
                names.join(", ")
            )),
        }
    }

    /// Looks at the target; `None` if there is none.
    ///
    /// # Errors
    /// The new store's.
    pub async fn inspect_target(&self) -> Result<Option<Inspection>> {
        self.new_looks.inspect(&self.spec.to).await
    }

    /// Compares a target that is there, and its control record, with the plan. `None` if neither is
    /// there yet; changes nothing.
    ///
    /// # Errors
    /// What [`Migration::init`] and [`Migration::copy`] would refuse.
    pub async fn check_target(&self, survey: &Survey) -> Result<Option<Inspection>> {
        let there = self.control.load(&self.spec.to).await?;
        let Some(target) = self.inspect_target().await? else {
            return match there {
                None => Ok(None),
                Some(_) => self.target().await.map(Some),
            };
        };
        // Only compares keys, since the table is there.
        self.new_looks.create(survey.transform.target()).await?;
        match there {
            Some(there) => self
                .spec
                .same(&there.record, &self.record_of(survey, &target))?,
            None => match self.held(survey.transform.target()).await? {
                TargetContent::Nothing => {}
                held @ (TargetContent::Foreign | TargetContent::Marked) => {
                    return Err(self.foreign_items(held));
                }
            },
        }
        Ok(Some(target))
    }

    /// What argues against moving this table, of what the stores found.
    pub fn refusals<'a>(&self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        let refused = |finding: &&Finding| match finding.weight {
            Weight::Note => false,
            Weight::Ignorable(word) => !self.spec.ignores(word),
            Weight::Refused => true,
        };
        findings.iter().filter(refused).collect()
    }

    /// Refuses a target that the stores' rules forbid. A stream that `init` has let pass stays so.
    pub(super) fn refuse_target(&self, target: &Inspection, allow_stream: bool) -> Result<()> {
        let mut findings = target.findings.clone();
        findings.retain(|finding| !(allow_stream && finding.code == "stream"));
        self.refuse(&findings)
    }

    pub(super) fn refuse(&self, findings: &[Finding]) -> Result<()> {
        let refusals = self.refusals(findings);
        if refusals.is_empty() {
            return Ok(());
        }
        let text = |f: &&Finding| format!("{}: {}; {}", f.code, f.message, f.next_step(true));
        let mut lines = refusals.iter().map(text);
        let first = Error::new(Kind::Unsupported, lines.next().unwrap_or_default());
        Err(lines
            .fold(first, |error, line| error.with_line(format!("  {line}")))
            .with_context("table", self.spec.name.as_str())
            .with_help("`migrate check` shows all there is to know"))
    }

    /// Refuses a new store that can't do what the table needs.
    pub(super) fn refuse_incapable(&self, survey: &Survey) -> Result<()> {
        if !survey.transform.source().is_counter() || self.new.capabilities().fold {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            "it is a counter table, and this store can't add to a counter on a condition: one that is \
             sent twice would be counted twice",
        )
        .with_context("table", self.spec.name.as_str())
        .with_context("store", self.new.name())
        .with_help("move counter tables to DynamoDB"))
    }

    pub(super) async fn target(&self) -> Result<Inspection> {
        self.inspect_target().await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the target table is missing")
                .with_context("target", self.spec.to.as_str())
                .with_context("store", self.new.name())
                .with_help(
                    "run `migrate init`; if it was deleted after that, run `migrate reset` and \
                     `migrate init --adopt` with its name",
                )
        })
    }

    /// What a target holds, by the first items that are met.
    pub(super) async fn held(&self, target: &Table) -> Result<TargetContent> {
        for range in self.new_looks.splits(target, 1).await? {
            let mut cursor = None;
            loop {
                let after = cursor.as_ref();
                match self
                    .new_looks
                    .scan(target, &range, after, FIRST_ITEMS)
                    .await
                {
                    Ok(page) if !page.rows.is_empty() || !page.unreadable.is_empty() => {
                        let is_marked = page.rows.iter().any(|row| row.mark.is_some())
                            || page.unreadable.iter().any(|item| item.is_marked);
                        return Ok(match is_marked {
                            true => TargetContent::Marked,
                            false => TargetContent::Foreign,
                        });
                    }
                    Ok(page) => cursor = page.next,
                    Err(error) => return Err(error),
                }
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(TargetContent::Nothing)
    }

    /// Refuses an old table that can't be read as it is, whatever the plan accepts: that may have changed since
    /// `init`, a grant say.
    pub(super) fn refuse_unreadable(&self, survey: &Survey) -> Result<()> {
        let mut findings = survey.old.findings.clone();
        findings.retain(|finding| finding.weight == Weight::Refused);
        self.refuse(&findings)
    }

    /// Reads some rows of the old table, spread over the ring.
    ///
    /// # Errors
    /// The old store's.
    pub async fn sample(&self, source: &Table, ranges: usize, rows: usize) -> Result<Vec<Row>> {
        sample_of(&self.old_looks, source, ranges, rows).await
    }
}

/// Reads some rows of a table, spread over the ring.
pub(super) async fn sample_of(
    old: &Old,
    source: &Table,
    ranges: usize,
    rows: usize,
) -> Result<Vec<Row>> {
    let mut sample = Vec::new();
    for range in old.0.splits(source, ranges).await? {
        let page = match old.0.scan(source, &range, None, rows).await {
            Err(error) if error.kind() == Kind::RangeTooCostly => continue,
            page => page?,
        };
        sample.extend(page.rows);
    }
    Ok(sample)
}
