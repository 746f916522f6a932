//! One table's way from an old store to a new one: what each command does to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

mod adopting;
mod advance;
mod copy;
mod emptying;
mod entering;
mod fence;
pub mod findings;
mod finish;
pub mod history;
mod init;
mod lost;
mod marks;
mod measure;
mod moves;
mod pacing;
mod rehearsal;
mod reset;
mod retry;
mod settle;
mod survey;
mod tool;
mod verify;

pub use crate::spec::{TablePlan, TableSpec};
pub use advance::too_soon;
pub use copy::{CopyOptions, Started, shard_tokens};
pub use emptying::Emptying;
pub use finish::{Finished, Kept};
pub use init::{Init, InitOptions};
pub use lost::Regain;
pub use marks::Marks;
pub use measure::{ExpectedLetters, Measured, Portion};
pub use moves::{Event, MoveOptions, MovePreview, Observer, OpenOld, Refusal};
pub use pacing::PaceStatus;
pub use rehearsal::Dropped;
pub use reset::Reset;
pub use retry::Retried;
pub use settle::Unkept;
pub use survey::Survey;
pub use verify::{OldReading, VerifyOptions};

use crate::codec::text::hex;
use crate::control::{
    Control, DeadLetter, Lease, New, Participant, ParticipantKind, Progress, Record, Verified,
    Versioned,
};
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::layer::{Pace, Retry};
use crate::model::{Intervals, Row, Tokens};
use crate::protocol::Phase;
use crate::schema::StoredTable;
use crate::store::{Cursor, Inspection, Old, Range, Room};

/// A table's migration.
#[derive(Clone)]
pub struct Migration {
    /// What the plan says.
    pub spec: TableSpec,
    /// The stores as they are: for those who wrap them in their own patience, pace and lease.
    old: Old,
    /// The old store as a settling pass reads it, and how long it waits for it.
    settling: (Old, Patience),
    new: New,
    /// The stores as every look asks them: again, while they are busy or away, and telling whom it waits for.
    old_looks: Old,
    new_looks: New,
    control: Control,
    /// The control table for participants: a renewal that waits is none.
    leases: Control,
    pace: Paces,
    operation: Duration,
    landing: Duration,
    /// How long ago the oldest part of a verification may have been read for its result to count.
    fresh: Duration,
}

/// The paces at which the tools work in either store, and the room that their pages share.
#[derive(Clone, Debug)]
pub struct Paces {
    /// In the old one.
    pub old: Arc<Pace>,
    /// In the new one. The control table isn't slowed down.
    pub new: Arc<Pace>,
}

impl Paces {
    /// These ceilings, and one room for the pages of both stores.
    pub fn new(old: Pace, new: Pace) -> Self {
        let room = Arc::<Room>::default();
        Paces {
            old: Arc::new(old.within(&room)),
            new: Arc::new(new.within(&room)),
        }
    }
}

impl Default for Paces {
    fn default() -> Self {
        Paces::new(Pace::default(), Pace::default())
    }
}

/// Where a table's migration stands.
pub struct Status {
    /// The control record, if there is one.
    pub record: Option<Record>,
    /// Whether it is a table of counters.
    pub is_counter: bool,
    /// Share of the ring that is copied, or whose counters a final pass has settled: 0 to 1.
    pub share: f64,
    /// Every copier that worked under the current freeze.
    pub copiers: Vec<(String, Progress)>,
    /// Who is registered, by id: applications and tools that may write to the target. One that was killed
    /// stays until a command has waited for it.
    pub instances: Vec<(String, Participant)>,
    /// Rows and ranges that could not be copied.
    pub failures: u64,
    /// What the last whole verification of this freeze found.
    pub verified: Option<Verified>,
    /// What operators want of its tools' pace, and what these do.
    pub pace: PaceStatus,
}

const SCAN_ROWS: usize = 500;
/// See [`Migration::fresh`].
const FRESH: Duration = Duration::from_secs(3_600);
/// How often to look whether other participants are still there.
const WATCH_EVERY: Duration = Duration::from_secs(1);
impl Migration {
    /// A table's migration between two stores.
    pub fn new(spec: TableSpec, old: Old, new: New, control: Control) -> Self {
        let leases = control;
        let (old_looks, new_looks, control) = looks(&old, &new, &leases, Patience::LOOK);
        Migration {
            spec,
            settling: (old.clone(), Patience::default()),
            old,
            new,
            old_looks,
            new_looks,
            control,
            leases,
            pace: Paces::default(),
            operation: tool::OPERATION,
            landing: Lease::default().landing,
            fresh: FRESH,
        }
    }

    /// The same, for work that has begun: it waits for a store that goes away as a copy does.
    fn patiently(&self) -> Migration {
        let (old_looks, new_looks, control) =
            looks(&self.old, &self.new, &self.leases, Patience::default());
        Migration {
            old_looks,
            new_looks,
            control,
            ..self.clone()
        }
    }

    /// The same, with another age up to which a verification counts, as its oldest part was read; an hour
    /// unless this is called.
    #[must_use]
    pub fn fresh(mut self, fresh: Duration) -> Self {
        self.fresh = fresh;
        self
    }

    /// The same, within these ceilings.
    #[must_use]
    pub fn paced(mut self, pace: Paces) -> Self {
        self.pace = pace;
        self
    }

    /// Its paces, which are what operators and stores make of them while a command works.
    pub fn paces(&self) -> &Paces {
        &self.pace
    }

    /// The same, for a network and a service that may hold a call for so long after its sender has given it up:
    /// [`Lease::landing`] of its tools.
    #[must_use]
    pub fn landing(mut self, landing: Duration) -> Self {
        self.landing = landing;
        self
    }

    /// The same, with a new store whose calls end within this: [`Lease::operation`] of its tools. Without it, ten
    /// seconds, after which a call of DynamoDB is given up.
    #[must_use]
    pub fn operation(mut self, operation: Duration) -> Self {
        self.operation = operation;
        self
    }

    /// The same, with the old store as a settling pass has to read it: every replica, or as many as
    /// the plan accepts; and how long it waits for them.
    #[must_use]
    pub fn settling(mut self, old: Old, patience: Patience) -> Self {
        self.settling = (old, patience);
        self
    }

    fn record_of(&self, survey: &Survey, target: &Inspection) -> Record {
        Record {
            plan: self.spec.plan.clone(),
            phase: Phase::Old,
            freeze: 0,
            frozen_at: None,
            incarnation: beginning(),
            old_id: survey.old.id.clone(),
            target_id: target.id.clone(),
            mapping: hex(&survey.transform.fingerprint()),
            source: StoredTable::of(survey.transform.source()),
            target: StoredTable::of(survey.transform.target()),
            default_ttl: survey.old.default_ttl,
            emptying: false,
            stripped: false,
            adopted: false,
            adoption: None,
            fenced: BTreeSet::new(),
            rehearsal: self.spec.rehearsal,
            moves: Vec::new(),
            later: Default::default(),
        }
    }

    fn overtaken(&self) -> Error {
        Error::new(
            Kind::Mismatch,
            "another command changed the control record at the same time",
        )
        .with_context("target", self.spec.to.as_str())
        .with_help("look at `migrate status`, then run the command again")
    }

    /// The control record, once it has been compared with the plan and both stores.
    pub(super) async fn checked(&self, survey: &Survey) -> Result<Versioned> {
        let there = self.control.require(&self.spec.to).await?;
        let target = self.target().await?;
        self.spec
            .same(&there.record, &self.record_of(survey, &target))?;
        self.refuse_target(&target, true)?;
        self.refuse_unreadable(survey)?;
        self.refuse_emptying(&there.record)?;
        Ok(there)
    }

    fn refuse_emptying(&self, record: &Record) -> Result<()> {
        if !record.emptying {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            "a reset of this table has begun and isn't over",
        )
        .with_context("target", self.spec.to.as_str())
        .with_help("run `migrate reset` again; it goes on where it was"))
    }

    /// The control table, for those who wait until the new store answers.
    fn patient_control(&self) -> Control {
        self.patiently().control
    }

    /// What every copier has done under this freeze and mapping.
    async fn done_elsewhere(&self, record: &Record) -> Result<Intervals> {
        let mut done = Intervals::default();
        for (_, progress) in self.control.progress(&self.spec.to).await? {
            if progress.is_of(record) && progress.mapping == record.mapping {
                done.extend(&progress.intervals());
            }
        }
        Ok(done)
    }

    /// The control record, which has to be there and of this plan.
    ///
    /// # Errors
    /// [`Kind::Missing`], [`Kind::Mismatch`]; the new store's.
    pub async fn record(&self) -> Result<Record> {
        let record = self.control.require(&self.spec.to).await?.record;
        self.spec.same_plan(&record)?;
        Ok(record)
    }

    /// How many participants of each kind are registered.
    ///
    /// # Errors
    /// The new store's.
    pub async fn registered(&self) -> Result<Vec<(&'static str, usize)>> {
        let there = self.control.participants(&self.spec.to).await?;
        let of = |kind: ParticipantKind| {
            let count = there.iter().filter(|(_, one, _)| one.kind == kind).count();
            (kind.name(), count)
        };
        Ok(ParticipantKind::ALL.into_iter().map(of).collect())
    }

    /// The table's phase, or `None` before `init`.
    ///
    /// # Errors
    /// The new store's; a record that can't be read, or of another plan.
    pub async fn phase(&self) -> Result<Option<Phase>> {
        let Some(there) = self.control.load(&self.spec.to).await? else {
            return Ok(None);
        };
        self.spec.same_plan(&there.record)?;
        Ok(Some(there.record.phase))
    }

    /// Where the migration stands. Asks the new store only.
    ///
    /// # Errors
    /// The new store's.
    pub async fn status(&self) -> Result<Status> {
        let Some(there) = self.control.load(&self.spec.to).await? else {
            return Ok(Status {
                record: None,
                is_counter: false,
                share: 0.0,
                copiers: Vec::new(),
                instances: Vec::new(),
                failures: 0,
                verified: None,
                pace: PaceStatus::default(),
            });
        };
        let record = there.record;
        self.spec.same_plan(&record)?;
        let counts = match record.phase {
            // What there is belongs to a freeze that was left: the next one begins anew.
            Phase::Old | Phase::Bridge | Phase::Switch => false,
            Phase::Copy | Phase::New | Phase::Done | Phase::Offline => true,
        };
        let share = match counts {
            true => self.done_elsewhere(&record).await?.share_of(Tokens::ALL),
            false => 0.0,
        };
        let mut copiers = self.control.progress(&self.spec.to).await?;
        copiers.retain(|(_, progress)| progress.is_of(&record));
        let failures = self.letters(&record).await?.len() as u64;
        let instances = self.control.participants(&self.spec.to).await?;
        let instances = instances.into_iter().map(|(id, one, _)| (id, one));
        let is_counter = record.source.read().is_ok_and(|table| table.is_counter());
        let verified = self.control.verified(&self.spec.to).await?;
        Ok(Status {
            is_counter,
            verified: verified.filter(|verified| counts && verified.is_of(&record)),
            record: Some(record),
            share,
            copiers,
            instances: instances.collect(),
            failures,
            pace: self.pace_status().await?,
        })
    }

    /// The table's dead letters.
    ///
    /// # Errors
    /// The new store's; [`Kind::Missing`] if the table has no control record, so that its phase isn't known.
    pub async fn failures(&self) -> Result<Vec<DeadLetter>> {
        match self.control.load(&self.spec.to).await? {
            Some(there) => {
                self.spec.same_plan(&there.record)?;
                self.letters(&there.record).await
            }
            None => Err(self.control.has_none(&self.spec.to)),
        }
    }

    /// The dead letters that count: what an earlier freeze couldn't copy is met again by the copy of this
    /// one. Counters are folded across freezes.
    async fn letters(&self, record: &Record) -> Result<Vec<DeadLetter>> {
        let mut letters = self.control.failures(&self.spec.to).await?;
        let is_counter = record.source.read()?.is_counter();
        letters.retain(|letter| is_counter || letter.freeze == record.freeze);
        Ok(letters)
    }
}

fn looks(old: &Old, new: &New, control: &Control, patience: Patience) -> (Old, New, Control) {
    let old = Old(Arc::new(Retry::new(old.0.clone(), patience)));
    let new = new.patient(patience, &Arc::default());
    let control = Control::new(new.clone(), control.name());
    (old, new, control)
}

/// A name for what begins now.
fn beginning() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// All ranges of a table as one list of pages, for commands that read a whole table.
pub async fn read_all(
    store: &dyn crate::store::Store,
    table: &crate::schema::Table,
    mut each: impl FnMut(Row),
) -> Result<()> {
    for range in store.splits(table, 8).await? {
        read_range(store, table, &range, &mut each).await?;
    }
    Ok(())
}

async fn read_range(
    store: &dyn crate::store::Store,
    table: &crate::schema::Table,
    range: &Range,
    each: &mut impl FnMut(Row),
) -> Result<()> {
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store.scan(table, range, cursor.as_ref(), SCAN_ROWS).await?;
        let page = page.readable()?;
        page.rows.into_iter().for_each(&mut *each);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
