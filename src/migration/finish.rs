//! The end of a migration: `done`, and nothing left of it in the new table.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::moves::{MoveOptions, Observer};
use super::pacing::PacedTool;
use super::tool::{under_lease, unless_stopped};
use super::{Migration, SCAN_ROWS};
use crate::clock::Clock;
use crate::clock::unix_seconds;
use crate::control::{Lease, Member, MemberRole, New, ParticipantKind, Record};
use crate::display;
use crate::driver::{Sides, try_drive};
use crate::error::{Error, Kind, Result};
use crate::item::{Mapping, item_size};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::Row;
use crate::protocol::phase::Transition;
use crate::protocol::row::{Purge, Purged};
use crate::protocol::{Machine, Phase, Step};
use crate::schema::Table;
use crate::store::{Cursor, Old, Range};

/// Parts of the target that are gone over at once.
const PARTS: usize = 8;
/// Items of a part that are written at once.
const AT_ONCE: usize = 16;
/// Items that are left as they are, of which more than their number is told.
const MOST_KEPT: usize = 20;
/// Bytes of one write unit.
const UNIT: usize = 1_024;

/// What `finish` has found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Items that it went over.
    pub items: u64,
    /// Tombstones, expired rows and items that show no row: deleted.
    pub deleted: u64,
    /// Items whose marks and watermarks were taken off.
    pub stripped: u64,
    /// Live items that still have some.
    pub marked: u64,
    /// Write units that taking them off costs.
    pub units: u64,
    /// Items with a mark that can't be read or changed. They are left as they are.
    pub left: u64,
    /// The first of them.
    pub kept: Vec<Kept>,
}

/// An item that is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key, for people.
    pub key: String,
    /// Why it is left.
    pub reason: String,
}

impl Finished {
    fn and(self, other: Finished) -> Finished {
        let mut kept = self.kept;
        kept.extend(other.kept);
        kept.truncate(MOST_KEPT);
        Finished {
            items: self.items + other.items,
            deleted: self.deleted + other.deleted,
            stripped: self.stripped + other.stripped,
            marked: self.marked + other.marked,
            units: self.units + other.units,
            left: self.left + other.left,
            kept,
        }
    }

    fn left(key: String, reason: String) -> Finished {
        Finished {
            items: 1,
            left: 1,
            kept: vec![Kept { key, reason }],
            ..Finished::default()
        }
    }
}

impl Migration {
    /// Moves the table from `new` or `offline` to `done` and waits until everyone is there.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] in any other phase; those of [`Migration::advance`].
    pub async fn enter_done(
        &self,
        options: &MoveOptions<'_>,
        stop: &CancellationToken,
        tell: Observer<'_>,
    ) -> Result<()> {
        let there = self.control.require(&self.spec.to).await?.record;
        self.spec.same_plan(&there)?;
        match there.phase {
            Phase::New | Phase::Offline | Phase::Done => {
                self.advance(Transition::Forward, Phase::Done, options, stop, tell).await
            }
            phase @ (Phase::Old | Phase::Bridge | Phase::Switch | Phase::Copy) => Err(Error::new(
                Kind::Mismatch,
                format!("the table is in phase `{phase}`, and only from `new` it can be finished"),
            )
            .with_context("table", self.spec.name.as_str())
            .with_help("move it with `migrate advance --to new` first, and let the applications run for a while")),
        }
    }

    /// Goes over the new table: deletes tombstones and rows that have expired, and with `strip` takes marks
    /// and watermarks off live items. Each write is on the condition of what was read; safe to repeat, and to
    /// kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] outside `done`; [`Kind::Stopped`]; the new store's.
    pub async fn purge(
        &self,
        strip: bool,
        copier: &str,
        lease: Lease,
        stop: &CancellationToken,
    ) -> Result<Finished> {
        let record = self.control.require(&self.spec.to).await?.record;
        self.spec.same_plan(&record)?;
        let member = self.join_purge(copier, lease, &record).await?;
        let target = record.target.read()?;
        let leased = member.writer(&self.new);
        let purging = Purging {
            mapping: Mapping::new(&target)?,
            reads: self.new.patient(Patience::default(), &self.pace.new),
            writes: Some(Retry::new(Arc::new(leased), Patience::default()).paced(&self.pace.new)),
            target,
            strip,
        };
        let tool = PacedTool {
            command: "finish",
            name: copier,
            reads_old: false,
            writes: true,
            lease: lease.lasts,
            journal: None,
        };
        let work = self.at_pace(tool, unless_stopped(stop, purging.all()));
        let finished = under_lease(&member, work).await?;
        // In `done` items without a mark are what applications write.
        self.control.forget_adopted(&self.spec.to).await?;
        if strip {
            self.note_stripped(&record).await?;
        }
        Ok(finished)
    }

    /// Notes that no item has an attribute of the migration's own any more, and none will get one.
    async fn note_stripped(&self, begun: &Record) -> Result<()> {
        loop {
            let there = self.control.require(&self.spec.to).await?;
            if there.record.incarnation != begun.incarnation || there.record.stripped {
                return Ok(());
            }
            let stripped = Record {
                stripped: true,
                ..there.record.clone()
            };
            if self
                .control
                .replace(&self.spec.to, &there, &stripped)
                .await?
            {
                return Ok(());
            }
        }
    }

    /// What [`Migration::purge`] would do, and change nothing. Lawful in every phase.
    ///
    /// # Errors
    /// The new store's.
    pub async fn purge_forecast(&self, strip: bool) -> Result<Finished> {
        let record = self.control.require(&self.spec.to).await?.record;
        self.spec.same_plan(&record)?;
        let target = record.target.read()?;
        let purging = Purging {
            mapping: Mapping::new(&target)?,
            reads: self.new.patient(Patience::default(), &self.pace.new),
            writes: None,
            target,
            strip,
        };
        purging.all().await
    }

    /// Lets the new store delete expired rows by itself from now on, where the plan has an expiry.
    ///
    /// # Errors
    /// The new store's.
    pub async fn switch_expiry_on(&self) -> Result<bool> {
        let record = self.control.require(&self.spec.to).await?.record;
        let target = record.target.read()?;
        if target.layout.expiry_attribute.is_none() {
            return Ok(false);
        }
        self.new.enable_ttl(&target).await?;
        Ok(true)
    }

    /// Drops the old table.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] unless the table is in `done`, or if the old table isn't the recorded one; the old
    /// store's.
    pub async fn drop_old(&self, old: &Old) -> Result<()> {
        let record = self.control.require(&self.spec.to).await?.record;
        self.spec.same_plan(&record)?;
        let name = self.spec.name.as_str();
        if record.phase != Phase::Done {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "the table is in phase `{}`: the old one is dropped in `done` only",
                    record.phase
                ),
            )
            .with_context("table", name));
        }
        match old.0.inspect(name).await? {
            Some(there) if there.id == record.old_id => old.0.drop_table(name).await,
            Some(there) => Err(Error::new(
                Kind::Mismatch,
                "the old table isn't the one that was moved",
            )
            .with_context("table", name)
            .with_context("recorded", record.old_id)
            .with_context("now", there.id)),
            None => Ok(()),
        }
    }

    async fn join_purge(&self, name: &str, lease: Lease, record: &Record) -> Result<Arc<Member>> {
        let role = MemberRole {
            id: format!("purge-{:016x}", rand::random::<u64>()),
            kind: ParticipantKind::Purge,
            name: name.to_owned(),
            lease,
            clock: Clock::Machine,
        };
        let (begun, target) = (record.incarnation.clone(), self.spec.to.clone());
        let accept = move |now: &Record| {
            if now.incarnation == begun && now.phase == Phase::Done {
                return Ok(());
            }
            Err(Error::new(
                Kind::Mismatch,
                format!(
                    "the table is in phase `{}`, and tombstones are purged in `done` only",
                    now.phase
                ),
            )
            .with_context("target", target.as_str()))
        };
        let (leases, target) = (self.leases.clone(), &self.spec.to);
        Member::join_patiently(leases, target, role, Box::new(accept), Patience::LOOK).await
    }
}

struct Purging {
    target: Table,
    mapping: Mapping,
    reads: New,
    /// None: nothing is written, and what would be is counted as if it had been.
    writes: Option<Retry>,
    strip: bool,
}

impl Purging {
    async fn all(&self) -> Result<Finished> {
        let ranges = self.reads.splits(&self.target, PARTS).await?;
        stream::iter(ranges.iter().map(|range| self.part(range)))
            .buffer_unordered(PARTS)
            .try_fold(Finished::default(), async |all, part| Ok(all.and(part)))
            .await
    }

    async fn part(&self, range: &Range) -> Result<Finished> {
        let mut finished = Finished::default();
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = self
                .reads
                .scan(&self.target, range, cursor.as_ref(), SCAN_ROWS);
            let page = page.await?;
            for item in page.unreadable {
                // Without a mark it is nothing of the migration's.
                finished = finished.and(match item.is_marked {
                    true => Finished::left(item.key, item.error.to_string()),
                    false => Finished {
                        items: 1,
                        ..Finished::default()
                    },
                });
            }
            let items = page.rows.into_iter().map(|item| self.item(item));
            finished = stream::iter(items.collect::<Vec<_>>())
                .buffer_unordered(AT_ONCE)
                .try_fold(finished, async |all, one| Ok(all.and(one)))
                .await?;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(finished);
            }
        }
    }

    async fn item(&self, item: Row) -> Result<Finished> {
        let key = item.key.clone();
        match self.purged(item).await {
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Invalid) => {
                let key = display::key(&self.target, &key);
                Ok(Finished::left(key, error.to_string()))
            }
            purged => purged,
        }
    }

    async fn purged(&self, item: Row) -> Result<Finished> {
        let mut finished = Finished {
            items: 1,
            ..Finished::default()
        };
        let key = item.key.clone();
        let units = item_size(&self.mapping.item(&item)?).div_ceil(UNIT) as u64;
        let purge = Purge::of_item(item, self.strip, unix_seconds());
        let purged = match &self.writes {
            None => forecast(purge),
            Some(new) => {
                let (old, target) = (None, &self.target);
                let row = Sides { old, new, target };
                match try_drive(purge, |call| row.row(call)).await? {
                    Some(purged) => purged,
                    None => {
                        let reason = "it is changed all the time, each time before its marks could be taken off";
                        let key = display::key(&self.target, &key);
                        return Ok(Finished::left(key, reason.to_owned()));
                    }
                }
            }
        };
        match purged {
            Purged::Deleted => finished.deleted = 1,
            Purged::Stripped => finished.stripped = 1,
            Purged::Marked => {
                finished.marked = 1;
                finished.units = units.max(1);
            }
            Purged::Clean => {}
        }
        Ok(finished)
    }
}

/// What a purge would do to its item.
fn forecast(mut purge: Purge) -> Purged {
    match purge.begin() {
        Step::Done(purged) => purged,
        Step::Call(_) => purge.intends().unwrap_or(Purged::Clean),
    }
}
