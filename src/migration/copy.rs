//! Copying what is left of a table.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pacing::PacedTool;
use super::tool::under_lease;
use super::{Event, Migration, Survey};
use crate::clock::{Clock, unix_seconds};
use crate::control::{Gone, ParticipantKind, Record, Versioned, Watch};
use crate::copier::{self, Copier, CopyOutcome, CopyProgress, Counters};
use crate::error::{Error, Kind, Result};
use crate::journal::{Binding, Journal};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::model::Tokens;
use crate::protocol::Phase;
use crate::protocol::counter::{Pass, Rules};
use crate::protocol::phase::Work;
use crate::store::{Old, Reads, Writer};

/// How a copy is to be run.
pub struct CopyOptions {
    /// Nothing writes to the table: no phases are wanted.
    pub offline: bool,
    /// Counters: nothing adds to the old ones any more, so leave each watermark at the old total.
    /// Changes nothing for a table of rows.
    pub settle: bool,
    /// Which shard of how many, from 0.
    pub shard: Option<(u32, u32)>,
    /// The plan's journal folder.
    pub journal: PathBuf,
    /// Machine and process, for people.
    pub copier: String,
    /// How long the copier works on after its last look at the control record.
    pub lease: Duration,
    /// How the copier goes about its work; its share is set from `shard`.
    pub copy: copier::CopySettings,
}

/// A copy that has begun.
pub struct Started {
    /// What it counts.
    pub live: Arc<CopyProgress>,
    /// Rows of the whole table, roughly, where the old store tells.
    pub rows: Option<u64>,
    /// Which part of the ring it copies.
    pub share: Tokens,
}

impl Migration {
    /// The record of a table that is offline, or that nothing keeps from going offline.
    async fn may_go_offline(&self, survey: &Survey) -> Result<Versioned> {
        let there = self.checked(survey).await?;
        let phase = there.record.phase;
        if phase == Phase::Offline {
            return Ok(there);
        }
        if phase.transition_to(Phase::Offline).is_none() {
            return Err(Error::new(
                Kind::Mismatch,
                format!("the table is in phase `{phase}`, and only from `old` it can go offline"),
            )
            .with_context("target", self.spec.to.as_str())
            .with_help("a migration with a running application has begun; go on with that"));
        }
        let instances = self.control.participants(&self.spec.to).await?;
        let instances: Vec<String> = instances
            .into_iter()
            .filter(|(_, participant, _)| participant.kind == ParticipantKind::Shim)
            .map(|(id, participant, _)| format!("{id} ({})", participant.name))
            .collect();
        if !instances.is_empty() {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "applications are registered for this table: {}",
                    instances.join(", ")
                ),
            )
            .with_context("target", self.spec.to.as_str())
            .with_help(
                "`--offline` is for a table that no application writes to; stop them first",
            ));
        }
        // Counters may have been folded before.
        let is_counter = survey.transform.source().is_counter();
        let beyond = match is_counter {
            true => Vec::new(),
            false => self.beyond_adopted(&there.record).await?,
        };
        if !beyond.is_empty() {
            let message = format!(
                "the target got items after `migrate init`, such as {}",
                beyond.join("; ")
            );
            return Err(Error::new(Kind::Mismatch, message)
                .with_context("target", self.spec.to.as_str())
                .with_help(format!(
                    "find out what writes to it; delete them, or accept them with `migrate init --adopt {}`",
                    self.spec.to
                )));
        }
        Ok(there)
    }

    /// Sets the record to `offline` if it isn't yet, and gives the record under which to copy.
    async fn go_offline(&self, survey: &Survey) -> Result<Record> {
        let there = self.may_go_offline(survey).await?;
        if there.record.phase == Phase::Offline {
            return Ok(there.record);
        }
        let freeze = there.record.freeze + 1;
        let record = Record {
            phase: Phase::Offline,
            freeze,
            frozen_at: self.old_looks.0.now().await?,
            moves: there.record.moves_and(Phase::Offline, unix_seconds()),
            ..there.record.clone()
        };
        if self.control.replace(&self.spec.to, &there, &record).await? {
            return Ok(record);
        }
        // Another copy did the same a moment ago, or something else is going on.
        let now = self.checked(survey).await?.record;
        if now.phase == Phase::Offline {
            Ok(now)
        } else {
            Err(self.overtaken())
        }
    }

    /// How the table's counters are folded, and the record under which to; `None` for rows.
    async fn begin_copy(
        &self,
        survey: &Survey,
        options: &CopyOptions,
    ) -> Result<(Option<Counters>, Record)> {
        let record = match options.offline {
            true => self.go_offline(survey).await?,
            false => self.checked(survey).await?.record,
        };
        let counters = self.counters_in(record.phase, survey, options.settle)?;
        Ok((counters, record))
    }

    /// The phase in which a copy would begin. Changes nothing.
    ///
    /// # Errors
    /// What [`Migration::copy`] would be refused with.
    pub async fn would_copy(&self, survey: &Survey, offline: bool, settle: bool) -> Result<Phase> {
        self.refuse_incapable(survey)?;
        let phase = match offline {
            true => {
                self.may_go_offline(survey).await?;
                Phase::Offline
            }
            false => self.checked(survey).await?.record.phase,
        };
        self.counters_in(phase, survey, settle).map(|_| phase)
    }

    /// How the table's counters are folded in a phase; `None` for rows.
    fn counters_in(&self, phase: Phase, survey: &Survey, settle: bool) -> Result<Option<Counters>> {
        if !survey.transform.source().is_counter() {
            return match phase.allows(Work::Copy) {
                true => Ok(None),
                false => Err(self.rows_not_in(phase)),
            };
        }
        let pass = match settle {
            true => Pass::Settling,
            false => Pass::CatchUp,
        };
        if !phase.allows(pass.work()) {
            return Err(self.not_in(phase, pass));
        }
        let rules = Rules {
            decrements: self.spec.decrements,
        };
        Ok(Some(Counters { pass, rules }))
    }

    fn rows_not_in(&self, phase: Phase) -> Error {
        let table = self.spec.name.as_str();
        let (what, help) = match phase {
            Phase::Old => (
                "rows can't be copied while applications write to the old table",
                format!(
                    "move them first, `migrate advance --to copy --table {table}`; or, if they are stopped, \
                     add --offline"
                ),
            ),
            Phase::Bridge | Phase::Switch => (
                "rows can't be copied before every participant has left the old table",
                format!("`migrate advance --to copy --table {table}`"),
            ),
            Phase::New | Phase::Done | Phase::Copy | Phase::Offline => (
                "there is nothing left to be copied",
                "every row is in the new store already; see `migrate status`".to_owned(),
            ),
        };
        Error::new(Kind::Mismatch, what)
            .with_context("table", table)
            .with_context("phase", phase.name())
            .with_help(help)
    }

    fn not_in(&self, phase: Phase, pass: Pass) -> Error {
        let (what, help) = match pass {
            Pass::CatchUp => (
                "counters aren't folded in this phase",
                "every one is inside the new store already; see `migrate status`",
            ),
            Pass::Settling => (
                "a final pass is for a table that no application adds to any more",
                "leave --final out until `migrate advance --to copy`; or stop the application and add --offline",
            ),
        };
        Error::new(Kind::Mismatch, what)
            .with_context("table", self.spec.name.as_str())
            .with_context("phase", phase.name())
            .with_help(help)
    }

    /// Copies what is left of a table of rows, or folds what its counters have grown by. `ready` is
    /// told when the work itself begins.
    ///
    /// # Errors
    /// See [`Copier::run`]; and [`Kind::Mismatch`], [`Kind::Missing`] if plan, stores and control
    /// record don't fit together.
    pub async fn copy(
        &self,
        options: CopyOptions,
        stop: &CancellationToken,
        ready: impl FnOnce(Started),
    ) -> Result<CopyOutcome> {
        let survey = self.survey().await?;
        self.refuse_incapable(&survey)?;
        let (counters, record) = self.begin_copy(&survey, &options).await?;
        let (phase, begun) = (record.phase, record.clone());
        let shard = options.shard;
        let name = shard.map_or_else(String::new, |(i, n)| format!("{i}/{n}"));
        let binding = Binding {
            plan: self.spec.plan.clone(),
            table: self.spec.name.clone(),
            old_id: record.old_id.clone(),
            target_id: record.target_id.clone(),
            mapping: record.mapping.clone(),
            freeze: record.freeze,
            incarnation: record.incarnation.clone(),
            shard: name,
        };
        let folder = options.journal.join(journal_folder(&self.spec.name, shard));
        let opened = Journal::open(&folder, &binding, survey.transform.source()).await?;
        match &opened.set_aside {
            Some(why) if opened.frozen_since => tracing::debug!("{why}"),
            Some(why) => tracing::warn!("{why}"),
            None => {}
        }
        let elsewhere = self.done_elsewhere(&record).await?;
        let old = match counters.map(|counters| counters.pass) {
            None | Some(Pass::CatchUp) => Retry::new(self.old.0.clone(), Patience::default()),
            Some(Pass::Settling) => {
                let (old, patience) = &self.settling;
                Retry::new(old.0.clone(), *patience)
            }
        };
        let old = old.paced(&self.pace.old);
        // Not the journal's id alone: what one that was killed has sent may still land, and a move waits for
        // that as long as its item is there.
        let id = format!("{}-{:08x}", opened.journal.id(), rand::random::<u32>());
        let (kind, name) = (ParticipantKind::Copier, options.copier.as_str());
        let member = self.join(&id, kind, name, options.lease, &record).await?;
        let leased = member.writer(&self.new);
        let new = Retry::new(Arc::new(leased), Patience::default()).paced(&self.pace.new);
        let live = Arc::new(CopyProgress::new(old.seen(), new.seen()));
        let mut copy = options.copy;
        if let Some((index, count)) = shard {
            copy.share = shard_tokens(index, count);
        }
        copy.readers = match old.capabilities().readers {
            0 => copy.readers,
            readers => readers,
        };
        copy.splits = splits(&copy, survey.old.bytes);
        ready(Started {
            live: live.clone(),
            rows: survey.old.rows,
            share: copy.share,
        });
        let copier = Copier {
            old: Old(Arc::new(old)),
            control: self.patient_control(),
            new: Writer(Arc::new(new)),
            transform: Arc::new(survey.transform.frozen(record.frozen_at)),
            counters,
            beside_applications: phase != Phase::Offline,
            freeze: record.freeze,
            incarnation: record.incarnation,
            mapping: record.mapping,
            copier: options.copier.clone(),
            options: copy,
        };
        let tool = PacedTool {
            command: "copy",
            name: &options.copier,
            reads_old: true,
            writes: true,
            lease: options.lease,
            journal: Some((&options.journal, journal_folder(&self.spec.name, shard))),
        };
        let work = async {
            self.may_begin(counters, phase, stop).await?;
            copier
                .run(&opened.journal, opened.remembered, &elsewhere, &live, stop)
                .await
        };
        match under_lease(&member, self.at_pace(tool, work)).await {
            Err(error) if error.kind() == Kind::Mismatch => Err(self.moved_on(&begun, error).await),
            copied => copied,
        }
    }

    /// What a copy ends with whose record isn't the one any more that it began under. Where no more than
    /// the phase was moved, it has only been stopped.
    async fn moved_on(&self, begun: &Record, error: Error) -> Error {
        let Ok(now) = self.control.require(&self.spec.to).await else {
            return error;
        };
        let now = now.record;
        let goes_on =
            now.incarnation == begun.incarnation && now.mapping == begun.mapping && !now.emptying;
        if !goes_on || (now.phase, now.freeze) == (begun.phase, begun.freeze) {
            return error;
        }
        let message = format!(
            "the table was moved from `{}` to `{}` while it was copied",
            begun.phase, now.phase
        );
        Error::new(Kind::Stopped, message)
            .with_context("table", self.spec.name.as_str())
            .with_help("the same command goes on there, if anything is left to be done")
            .with_source(error)
    }

    /// Waits until the work may begin: rows are copied, and counters settled, when nothing of an earlier
    /// phase can land any more. For rows of a table that is offline no one has to be waited for: no
    /// application was registered, and no other work on rows leads there.
    async fn may_begin(
        &self,
        counters: Option<Counters>,
        phase: Phase,
        stop: &CancellationToken,
    ) -> Result<()> {
        let may = |all_have_acknowledged| match counters {
            Some(counters) => counters.pass.may_begin(phase, all_have_acknowledged),
            // Offline too: an application may have registered at the last moment.
            None => all_have_acknowledged,
        };
        if may(false) {
            return Ok(());
        }
        let mut told = false;
        let mut tell = |now: Event<'_>| {
            if let (false, Event::Waiting { phase, left, .. }) = (told, now) {
                let names = left.iter().map(|one| one.participant.name.as_str());
                tracing::info!(
                    "{}: waiting until what was begun before `{phase}` is over: {}",
                    self.spec.name,
                    names.collect::<Vec<_>>().join(", ")
                );
                told = true;
            }
        };
        let mut watch = Watch::new(Clock::Machine);
        let none_gone = Gone::default();
        let control = self.patient_control();
        let acknowledged = self.all_in(&control, &mut watch, (phase, None), &none_gone, &mut tell);
        let is_here = tokio::select! {
            here = acknowledged => here?,
            () = stop.cancelled() => return Err(copier::stopped()),
        };
        match may(is_here) {
            true => Ok(()),
            false => Err(self.overtaken()),
        }
    }
}

/// The part of the ring that belongs to shard `index` (from 0) of `count`.
pub fn shard_tokens(index: u32, count: u32) -> Tokens {
    let parts = Tokens::ALL.split(count.max(1) as usize);
    parts.get(index as usize).copied().unwrap_or(Tokens {
        after: i64::MAX,
        up_to: i64::MAX,
    })
}

fn journal_folder(table: &str, shard: Option<(u32, u32)>) -> String {
    match shard {
        Some((index, count)) => format!("{table}.{index}-of-{count}"),
        None => table.to_owned(),
    }
}

/// About one range for each 32 MB, within reason.
fn splits(options: &copier::CopySettings, bytes: Option<u64>) -> usize {
    let wanted = bytes.map_or(options.splits, |bytes| (bytes >> 25) as usize);
    wanted.clamp(options.readers * 4, 16_384)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::control::{Control, New};
    use crate::migration::InitOptions;
    use crate::schema::{Column, Role, Table, Type};
    use crate::spec::{TablePlan, TableSpec};
    use crate::store::Store;
    use crate::store::memory::Memory;

    async fn bench() -> Migration {
        let id = Column::new("id", Type::Int, Role::Partition);
        let old = Arc::new(Memory::new());
        old.create(&Table::new("users", vec![id])).await.unwrap();
        let spec = TableSpec::new("test", TablePlan::new("users").to("target"));
        let new = New::over(Arc::new(Memory::new()));
        let control = Control::new(new.clone(), "control");
        let migration = Migration::new(spec, Old(old), new, control);
        migration.init(InitOptions::default()).await.unwrap();
        migration
    }

    #[tokio::test]
    async fn a_table_on_its_way_with_an_application_cannot_go_offline() {
        for phase in Phase::ALL {
            let migration = bench().await;
            migration.control.set_phase("target", phase).await;
            let record = migration.control.require("target").await.unwrap().record;
            let survey = migration.survey().await.unwrap();
            let gone = migration.go_offline(&survey).await;
            if matches!(phase, Phase::Old | Phase::Offline) {
                assert_eq!(gone.unwrap().phase, Phase::Offline);
                continue;
            }
            let error = gone.unwrap_err();
            assert_eq!(error.kind(), Kind::Mismatch);
            assert!(error.to_string().contains(phase.name()), "{error}");
            let there = migration.control.require("target").await.unwrap();
            assert_eq!(there.record, record, "and nothing has changed");
        }
    }
}
