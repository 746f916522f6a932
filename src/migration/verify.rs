//! Comparing both stores, and what comes of it for the migration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::findings::{self, LastVerification};
use super::pacing::PacedTool;
use super::tool::under_lease;
use super::{Migration, Refusal, Survey};
use crate::clock::unix_seconds;
use crate::control::{Control, ParticipantKind, Progress, Record, Verified};
use crate::error::{Error, Kind, Result};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::protocol::Phase;
use crate::protocol::counter::Rules;
use crate::protocol::phase::Work;
use crate::store::{Old, Writer};
use crate::verifier::{
    self, Belongs, Checkpoint, Mending, Verifier, VerifyOutcome, VerifyProgress,
};

/// How far another machine's clock may be ahead of this one, seconds.
const CLOCKS: i64 = 60;

/// The old store as a verification reads it: given the moment since which it is to tell when rows were
/// written, microseconds since 1970.
pub type OldReading = Arc<dyn Fn(Option<i64>) -> Old + Send + Sync>;

/// How a verification is to be run.
pub struct VerifyOptions {
    /// The plan's journal folder, where its state is kept.
    pub journal: PathBuf,
    /// Machine and process, for people.
    pub name: String,
    /// How long a repair may go on without renewing its lease.
    pub lease: Duration,
    /// Whether what is found is mended; and if so, whether items are deleted that the old store lacks.
    pub repair: Option<bool>,
    /// Only where a repair may be done, though none is: to see what it would find.
    pub as_repair: bool,
    /// How the old store is read; `None` reads it like all others, and finds no late writes.
    pub old: Option<OldReading>,
    /// A name for that, with which an unfinished run has to agree.
    pub reading: String,
    /// How long a read of the old store is tried. Where every replica is asked, not long: one may never come
    /// back, and the operator has to say so.
    pub patience: Patience,
    /// How the verifier goes about its work.
    pub verify: verifier::VerifySettings,
}

impl Migration {
    /// Compares both stores' tables, and mends what differs if told so. What a whole verification finds is
    /// noted in the control table. `ready` is told when the work begins.
    ///
    /// # Errors
    /// See [`Verifier::run`]; [`Kind::Mismatch`] in a phase in which the stores needn't agree, and if the
    /// control record was changed meanwhile.
    pub async fn verify(
        &self,
        options: VerifyOptions,
        stop: &CancellationToken,
        ready: impl FnOnce(Arc<VerifyProgress>),
    ) -> Result<VerifyOutcome> {
        let survey = self.survey().await?;
        let record = self.checked(&survey).await?.record;
        self.may_verify(&record, options.repair.is_some() || options.as_repair)?;
        let copiers = self.copiers(&record).await?;
        let mut checkpoint = self.checkpoint(&survey, &record, &options, copiers.clone())?;
        let old = match &options.old {
            Some(open) => open(record.frozen_at),
            None => self.old.clone(),
        };
        let member = match options.repair {
            None => None,
            Some(_) => {
                // Whatever was found before is about to change.
                self.control.forget_verified(&self.spec.to).await?;
                let id = format!("repair-{:016x}", rand::random::<u64>());
                let (kind, name) = (ParticipantKind::Repair, options.name.as_str());
                Some(self.join(&id, kind, name, options.lease, &record).await?)
            }
        };
        let repair = match (options.repair, &member) {
            (Some(delete_extra), Some(member)) => {
                let leased = Arc::new(member.writer(&self.new));
                let patient = Retry::new(leased, Patience::default()).paced(&self.pace.new);
                Some(Mending {
                    new: Writer(Arc::new(patient)),
                    delete_extra,
                })
            }
            (_, _) => None,
        };
        let is_counter = survey.transform.source().is_counter();
        let is_copied = !is_counter && self.done_elsewhere(&record).await?.is_all();
        let readers = match old.0.capabilities().readers {
            0 => options.verify.readers,
            readers => options.verify.readers.min(readers),
        };
        let verifier = Verifier {
            old: Old(Arc::new(
                Retry::new(old.0, options.patience).paced(&self.pace.old),
            )),
            new: self.new.patient(Patience::default(), &self.pace.new),
            transform: Arc::new(survey.transform.frozen(record.frozen_at)),
            counters: is_counter.then_some(Rules {
                decrements: self.spec.decrements,
            }),
            frozen_at: record.frozen_at,
            is_copied,
            adopted: self.adopted(&record).await?,
            options: verifier::VerifySettings {
                readers,
                fresh: self.fresh,
                ..options.verify
            },
        };
        let live = Arc::new(VerifyProgress::default());
        ready(live.clone());
        let tool = PacedTool {
            command: match options.repair {
                None => "verify",
                Some(_) => "verify --repair",
            },
            name: &options.name,
            reads_old: true,
            writes: options.repair.is_some(),
            lease: options.lease,
            journal: Some((&options.journal, self.spec.name.clone())),
        };
        let work = verifier.run(&mut checkpoint, repair, &live, stop);
        let work = self.at_pace(tool, work);
        let outcome = match &member {
            None => work.await,
            Some(member) => under_lease(member, work).await,
        };
        let outcome = outcome?;
        if outcome.found.foreign > 0 && record.adopted && record.adoption.is_none() {
            self.advise_a_list();
        }
        let is_whole = verifier.options.sample >= 1.0;
        // Hours of work: a new store that is away now is waited for too.
        tokio::select! {
            noted = self.note(&record, &outcome, is_whole.then_some(copiers)) => noted?,
            () = stop.cancelled() => return Err(verifier::stopped()),
        }
        let last = LastVerification::new(&record, &outcome, verifier.options.sample);
        findings::keep(&options.journal, &self.spec.name, &last);
        if is_whole {
            checkpoint.remove();
        }
        Ok(outcome)
    }

    fn advise_a_list(&self) {
        tracing::warn!(
            "{}: an earlier version has taken this target over, and kept no list of what was in it. If the items \
             without a mark are those, `migrate init --adopt {}` makes the list",
            self.spec.name,
            self.spec.to
        );
    }

    /// Makes sure that what was found is of any worth, and notes it if the tables were compared as a whole:
    /// then with the copiers there were when that began.
    async fn note(
        &self,
        record: &Record,
        outcome: &VerifyOutcome,
        copiers: Option<BTreeMap<String, String>>,
    ) -> Result<()> {
        let control = self.patient_control();
        self.is_still(&control, record).await?;
        let Some(copiers) = copiers else {
            return Ok(());
        };
        let verified = Verified {
            freeze: record.freeze,
            incarnation: record.incarnation.clone(),
            mapping: record.mapping.clone(),
            clean: outcome.found.is_clean(),
            differences: outcome.found.differences(),
            old_rows: outcome.found.old_rows,
            ended_at: unix_seconds(),
            oldest_at: Some(outcome.oldest_at),
            copiers,
        };
        control.note_verified(&self.spec.to, &verified).await
    }

    /// Why a verification whose oldest part was read then, by its own clock, is too old to count; none if it isn't.
    pub fn is_stale(&self, oldest_at: Option<i64>) -> Option<Refusal> {
        let again = format!("run `migrate verify --table {}`", self.spec.name);
        let Some(oldest_at) = oldest_at else {
            return Some(Refusal {
                what: "the last verification was noted by an earlier version of this tool, which doesn't tell \
                       when it read what"
                    .into(),
                help: again,
            });
        };
        let age = unix_seconds().saturating_sub(oldest_at);
        if age < -CLOCKS {
            return Some(Refusal {
                what: format!(
                    "by this machine's clock the last verification begins in {} s",
                    age.unsigned_abs()
                ),
                help: format!(
                    "compare the clocks of this machine and of the one that verified, then {again}"
                ),
            });
        }
        let fresh = self.fresh.as_secs();
        (age.max(0).unsigned_abs() > fresh).then(|| Refusal {
            what: format!(
                "the oldest part of the last verification was read {} ago, and `[verify] fresh` is {}",
                time(age.unsigned_abs()),
                time(fresh)
            ),
            help: format!(
                "{again}; if it takes longer than that, raise `fresh` in the plan's [verify], which is \
                 enough if nothing can have changed since"
            ),
        })
    }

    fn may_verify(&self, record: &Record, repair: bool) -> Result<()> {
        let phase = record.phase;
        let (work, what) = match repair {
            true => (Work::Repair, "repaired"),
            false => (Work::Verify, "compared"),
        };
        if phase.allows(work) {
            return Ok(());
        }
        let help = match phase {
            Phase::Old | Phase::Bridge | Phase::Switch => {
                "the old store still changes, or isn't copied yet: `migrate advance --to copy` and `migrate \
                 copy` come first; or `migrate copy --offline` if the applications are stopped"
            }
            Phase::New => "go back to `copy` first, `migrate back --to copy`: from there it may be",
            Phase::Done => "nothing reads the old store any more, and what it has may be gone",
            Phase::Copy | Phase::Offline => "see `migrate status`",
        };
        let message = format!("a table in this phase can't be {what}");
        Err(Error::new(Kind::Mismatch, message)
            .with_context("table", self.spec.name.as_str())
            .with_context("phase", phase.name())
            .with_help(help))
    }

    fn checkpoint(
        &self,
        survey: &Survey,
        record: &Record,
        options: &VerifyOptions,
        copiers: BTreeMap<String, String>,
    ) -> Result<Checkpoint> {
        let belongs = Belongs {
            plan: self.spec.plan.clone(),
            old: (self.spec.name.clone(), record.old_id.clone()),
            new: (self.spec.to.clone(), record.target_id.clone()),
            mapping: record.mapping.clone(),
            freeze: record.freeze,
            incarnation: record.incarnation.clone(),
            reading: options.reading.clone(),
            copiers,
            adoption: record.adoption.as_ref().map(|adoption| adoption.id.clone()),
        };
        let transform = &survey.transform;
        let tables = (transform.source().clone(), transform.target().clone());
        let (folder, table) = (&options.journal, &self.spec.name);
        Checkpoint::open(folder, table, belongs, tables)
    }

    /// What each copier and fold of this freeze tells of itself, as digests.
    async fn copiers(&self, record: &Record) -> Result<BTreeMap<String, String>> {
        let mut progress = self.control.progress(&self.spec.to).await?;
        progress.retain(|(_, progress)| progress.is_of(record));
        Ok(Progress::digests(&progress))
    }

    async fn is_still(&self, control: &Control, begun: &Record) -> Result<()> {
        let now = control.require(&self.spec.to).await?.record;
        let is_same = now.freeze == begun.freeze
            && now.incarnation == begun.incarnation
            && now.mapping == begun.mapping
            && now.phase.allows(Work::Verify);
        if is_same {
            return Ok(());
        }
        Err(Error::new(
            Kind::Mismatch,
            "the control record was changed while this verification ran, so what it found is worth nothing",
        )
        .with_context("target", self.spec.to.as_str())
        .with_context("now in", now.phase.name())
        .with_help("see `migrate status`, then verify again"))
    }

    /// What is wanting of a clean and fresh verification of this freeze, begun after the last copy and fold.
    ///
    /// # Errors
    /// The new store's.
    pub(super) async fn unverified(&self, record: &Record) -> Result<Option<Refusal>> {
        let verified = self.control.verified(&self.spec.to).await?;
        let copiers = self.copiers(record).await?;
        let what = match verified {
            Some(verified) if verified.is_of(record) => {
                if !verified.clean && verified.differences == 0 {
                    "the last verification didn't look at everything".to_owned()
                } else if !verified.clean {
                    format!(
                        "the last verification found {} differences",
                        verified.differences
                    )
                } else if verified.copiers != copiers {
                    "a copy or fold has run since the last verification began".to_owned()
                } else if let Some(stale) = self.is_stale(verified.oldest_at) {
                    return Ok(Some(stale));
                } else {
                    return Ok(None);
                }
            }
            Some(_) | None => format!(
                "nothing was verified since the old table was frozen (freeze {})",
                record.freeze
            ),
        };
        Ok(Some(Refusal {
            what,
            help: format!("run `migrate verify --table {}`", self.spec.name),
        }))
    }
}

/// `90 s`, `61 minutes`, `30 hours`.
fn time(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3_600),
    }
}
