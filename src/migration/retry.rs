//! Dead letters, sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pacing::PacedTool;
use super::tool::{under_lease, unless_stopped};
use super::{Migration, Survey};
use crate::control::{Control, DeadLetter, ParticipantKind, Record};
use crate::display;
use crate::driver::BothStores;
use crate::error::{Error, Kind, Result};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::{Key, Tokens};
use crate::protocol::counter::{Folded, Rules};
use crate::protocol::phase::Work;
use crate::store::{Cursor, Old, Range, Store, Writer};
use crate::transform::Transform;

/// Rows of one page of a range.
const ROWS: usize = 500;

/// What became of a table's dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// They are in the new store now, or gone from the old one.
    pub mended: u64,
    /// They stay, with their newest reason.
    pub left: u64,
}

impl Migration {
    /// Sends every dead letter again, by the rules of a copy. Safe to repeat, and to kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] in a phase in which nothing is copied; those of the stores that aren't about single
    /// rows.
    pub async fn retry(
        &self,
        name: &str,
        lease: Duration,
        stop: &CancellationToken,
    ) -> Result<Retried> {
        let (survey, record) = self.may_retry().await?;
        let source = survey.transform.source();
        let control = self.patient_control();
        let letters = control.failures(&self.spec.to).await?;
        if letters.is_empty() {
            return Ok(Retried::default());
        }
        // Whatever was found before is about to change.
        control.forget_verified(&self.spec.to).await?;
        let id = format!("retry-{:016x}", rand::random::<u64>());
        let kind = ParticipantKind::Retry;
        let member = self.join(&id, kind, name, lease, &record).await?;
        let leased = Arc::new(member.writer(&self.new));
        let patient = |store: Arc<dyn Store>, pace| {
            Arc::new(Retry::new(store, Patience::default()).paced(pace))
        };
        let transform = survey.transform.frozen(record.frozen_at);
        let again = Again {
            old: Old(patient(self.old.0.clone(), &self.pace.old)),
            new: Writer(patient(leased, &self.pace.new)),
            transform: &transform,
            counters: source.is_counter().then_some(Rules {
                decrements: self.spec.decrements,
            }),
        };
        let tool = PacedTool {
            command: "failures --retry",
            name,
            reads_old: true,
            writes: true,
            lease,
            journal: None,
        };
        let work = unless_stopped(stop, again.all(&control, &self.spec.to, letters));
        under_lease(&member, self.at_pace(tool, work)).await
    }

    /// How many dead letters [`Migration::retry`] would send again: rows, and ranges. Changes nothing.
    ///
    /// # Errors
    /// What it would be refused with.
    pub async fn would_retry(&self) -> Result<(u64, u64)> {
        self.may_retry().await?;
        let letters = self.control.failures(&self.spec.to).await?;
        let rows = letters.iter().filter(|letter| letter.key.is_some()).count();
        Ok((rows as u64, (letters.len() - rows) as u64))
    }

    /// The table and its record, if dead letters may be sent again now.
    async fn may_retry(&self) -> Result<(Survey, Record)> {
        let survey = self.survey().await?;
        self.refuse_incapable(&survey)?;
        let record = self.checked(&survey).await?.record;
        let work = match survey.transform.source().is_counter() {
            true => Work::Fold,
            false => Work::Copy,
        };
        if record.phase.allows(work) {
            return Ok((survey, record));
        }
        Err(
            Error::new(Kind::Mismatch, "nothing is copied in this phase")
                .with_context("table", self.spec.name.as_str())
                .with_context("phase", record.phase.name())
                .with_help("move the table with `migrate advance --to copy`, or back with `migrate back --to copy`"),
        )
    }
}

struct Again<'a> {
    old: Old,
    new: Writer,
    transform: &'a Transform,
    counters: Option<Rules>,
}

impl Again<'_> {
    async fn all(
        &self,
        control: &Control,
        target: &str,
        letters: Vec<DeadLetter>,
    ) -> Result<Retried> {
        let mut retried = Retried::default();
        for letter in letters {
            let key = letter.key.as_ref();
            let key = key.and_then(|key| key.key(self.transform.source()));
            let failed = match (key, letter.tokens()) {
                (Some(key), _) => self.row(&key).await?,
                (None, Some(tokens)) => self.range(Range::Tokens(tokens)).await?,
                (None, None) => Some(
                    "it was noted by an earlier version, which didn't keep where it is; `migrate verify \
                     --repair` finds what is missing"
                        .to_owned(),
                ),
            };
            // Each by itself, so that a kill costs one of them at most.
            match failed {
                None => {
                    control.mend_failures(target, &[letter]).await?;
                    retried.mended += 1;
                }
                Some(reason) => {
                    let letter = DeadLetter { reason, ..letter };
                    control.add_failures(target, &[letter]).await?;
                    retried.left += 1;
                }
            }
        }
        Ok(retried)
    }

    /// Copies or folds a row; the reason if it can't be.
    async fn row(&self, key: &Key) -> Result<Option<String>> {
        let sent = self.send(key).await;
        match sent {
            Ok(failed) => Ok(failed),
            Err(error) if error.kind() == Kind::Invalid => Ok(Some(error.to_string())),
            Err(error) => {
                Err(error.with_context("key", display::key(self.transform.source(), key)))
            }
        }
    }

    async fn send(&self, key: &Key) -> Result<Option<String>> {
        let stores = BothStores {
            old: &self.old,
            new: &*self.new.0,
            transform: self.transform,
        };
        let Some(rules) = self.counters else {
            let Some(row) = stores.old_row(key).await? else {
                return Ok(None);
            };
            return stores.copy(key, &row.key).await.map(|_| None);
        };
        let target = match stores.old_row(key).await? {
            Some(row) => row.key,
            // Only a folded counter can miss its old row, and then an operator has to decide.
            None if self.transform.keeps_keys() => key.clone(),
            None => return Ok(None),
        };
        match stores.fold(rules, key, &target).await? {
            Folded::Folded { .. } | Folded::Unchanged { .. } | Folded::Gone => Ok(None),
            Folded::WentDown(_) => Ok(Some(
                "a counter is still below what the new store has of it, or was deleted; it has to be decided \
                 by hand"
                    .to_owned(),
            )),
        }
    }

    /// Copies the rows of a range, cutting what can't be read whole; the first reason if any of it can't be
    /// copied.
    async fn range(&self, range: Range) -> Result<Option<String>> {
        let source = self.transform.source();
        let mut failed = None;
        let mut left = vec![range];
        while let Some(range) = left.pop() {
            let mut cursor: Option<Cursor> = None;
            loop {
                let page = self.old.0.scan(source, &range, cursor.as_ref(), ROWS).await;
                let page = match page {
                    Err(error) if error.kind() == Kind::RangeTooCostly => {
                        match self.old.0.halve(source, &range) {
                            Some(parts) => left.extend(parts),
                            None => failed = failed.or(Some(error.to_string())),
                        }
                        break;
                    }
                    page => page?,
                };
                for row in page.rows {
                    failed = failed.or(self.row(&row.key).await?);
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(failed)
    }
}

impl DeadLetter {
    /// Where a range is; `None` for a row.
    fn tokens(&self) -> Option<Tokens> {
        let (after, up_to) = self.range?;
        Some(Tokens { after, up_to })
    }
}
