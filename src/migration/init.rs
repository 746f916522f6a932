//! Targets and their control records.

use super::survey::TargetContent;
use super::{Marks, Migration, Regain, Survey};
use crate::control::{Record, Versioned};
use crate::error::{Error, Kind, Result};
use crate::protocol::Phase;
use crate::protocol::phase::Transition;
use crate::verifier::Adopted;

/// What `init` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// The target and its record are there now.
    Created,
    /// They were there already, and are this plan's.
    Repeated,
    /// The target, or another plan's record, was taken over, with so many items that were there.
    Adopted(u64),
    /// A lost record was made anew, for a target with these items.
    Regained(Marks),
}

/// The typed ways round what `init` refuses.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitOptions {
    /// Take a target with a stream.
    pub allow_stream: bool,
    /// Take a target over that has items, or another plan's record.
    pub adopt: bool,
    /// The target's record is lost, and this is the phase it is to have. Goes with `adopt`.
    pub regain: Option<Regain>,
}

impl Migration {
    /// Creates the target and its control record. Safe to repeat, and to kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the target has items, other keys, or another plan's record;
    /// [`Kind::Unsupported`] for what a table or a target may not have.
    pub async fn init(&self, options: InitOptions) -> Result<Init> {
        let survey = self.survey().await?;
        self.refuse(&survey.old.findings)?;
        self.refuse_incapable(&survey)?;
        self.control.create().await?;
        self.new_looks.create(survey.transform.target()).await?;
        let target = self.target().await?;
        self.refuse_target(&target, options.allow_stream)?;
        let record = self.record_of(&survey, &target);
        match self.control.load(&self.spec.to).await? {
            Some(there) => match options.regain {
                Some(regain) => self.repeat_regain(&there, &record, regain),
                None => self.repeat(&survey, there, record, options).await,
            },
            None if options.adopt && options.regain.is_some() => match options.regain {
                Some(regain) => {
                    let marks = self.regain(&survey, record, regain).await?;
                    Ok(Init::Regained(marks))
                }
                None => self.begin(&survey, record, options).await,
            },
            None => self.begin(&survey, record, options).await,
        }
    }

    /// Refuses a target that holds something and has no record here.
    pub(super) fn foreign_items(&self, held: TargetContent) -> Error {
        let control = self.control.name();
        if held == TargetContent::Marked {
            return Error::new(
                Kind::Mismatch,
                "the target carries the marks of a migration, but the control table has no record of it",
            )
            .with_context("target", self.spec.to.as_str())
            .with_context("control table", control)
            .with_help(format!(
                "is `control_table` in the plan spelled as it was when the table was initialised? Then nothing is \
                 lost: correct it. Taking the target over instead would begin at `old`, and rows that an \
                 application has written to the new store would be hidden. If the record is lost, say in which phase \
                 the table was: `migrate init --adopt {} --phase PHASE`",
                self.spec.to
            ));
        }
        Error::new(
            Kind::Mismatch,
            "the target has items already, but no control record of this plan",
        )
        .with_context("target", self.spec.to.as_str())
        .with_context("control table", control)
        .with_help(format!(
            "name an empty or new table in the plan's `to`, or take it over as it is with \
             `migrate init --adopt {}`: items that are there stay, and old rows with their keys \
             aren't copied",
            self.spec.to
        ))
    }

    async fn begin(&self, survey: &Survey, record: Record, options: InitOptions) -> Result<Init> {
        let held = self.held(survey.transform.target()).await?;
        let holds_items = held != TargetContent::Nothing;
        if holds_items && !options.adopt {
            return Err(self.foreign_items(held));
        }
        let adoption = match holds_items {
            true => {
                let target = survey.transform.target();
                let stock = self.stock(target, Some(&Adopted::default())).await?;
                self.refuse_moved(survey, stock.marks)?;
                self.listed(stock).await?
            }
            false => None,
        };
        let record = Record {
            adopted: holds_items,
            adoption,
            ..record
        };
        // Of a record that an operator deleted. A copier that still runs has its dead letters elsewhere too.
        self.control.clear(&self.spec.to).await?;
        if self.control.add(&self.spec.to, &record).await? {
            return Ok(match holds_items {
                true => adopted_items(&record),
                false => Init::Created,
            });
        }
        // Another `init` was quicker; it must have been this plan's.
        let there = self.control.require(&self.spec.to).await?;
        self.repeat(
            survey,
            there,
            record,
            InitOptions {
                adopt: false,
                ..options
            },
        )
        .await
    }

    /// Refuses to begin anew what was begun before: in `old` nothing would look at what applications have written
    /// to the new store, and a copy wouldn't overwrite what an earlier one has left.
    fn refuse_moved(&self, survey: &Survey, marks: Marks) -> Result<()> {
        if !marks.is_of_a_migration(survey.transform.target().is_counter()) {
            return Ok(());
        }
        let message = format!(
            "this target has been moved to before ({}), and its control record is lost",
            marks.told()
        );
        Err(Error::new(Kind::Mismatch, message)
            .with_context("target", self.spec.to.as_str())
            .with_context("control table", self.control.name())
            .with_help(format!(
                "is that the plan's right control table? If it is, say in which phase the target was: `migrate init \
                 --adopt {} --phase PHASE`, see \"the night the control table is lost\" in docs/operating.md",
                self.spec.to
            )))
    }

    /// The same command again, or one that isn't needed.
    fn repeat_regain(&self, there: &Versioned, record: &Record, regain: Regain) -> Result<Init> {
        self.spec.same(&there.record, record)?;
        match there.record.phase == regain.phase {
            true => Ok(Init::Repeated),
            false => Err(self.not_lost(there)),
        }
    }

    fn not_lost(&self, there: &Versioned) -> Error {
        let message = format!(
            "the control record isn't lost: the table is in phase `{}`",
            there.record.phase
        );
        Error::new(Kind::Mismatch, message)
            .with_context("target", self.spec.to.as_str())
            .with_help("`migrate advance` and `migrate back` move it")
    }

    fn not_adoptable(&self, phase: Phase) -> Error {
        let message = format!("a target in phase `{phase}` can't be taken over");
        Error::new(Kind::Mismatch, message)
            .with_context("target", self.spec.to.as_str())
            .with_help(match phase.transition_to(Phase::Old) {
                Some(Transition::Reset) => "run `migrate reset` with the plan it belongs to first",
                Some(Transition::Forward | Transition::Back | Transition::Offline) | None => {
                    "an application is being moved to it, or has been"
                }
            })
    }

    /// What [`Migration::init`] would do with `adopt`. Changes nothing, and waits for no one.
    ///
    /// # Errors
    /// What it would be refused with.
    pub async fn would_adopt(&self, options: InitOptions) -> Result<Init> {
        let survey = self.survey().await?;
        self.refuse(&survey.old.findings)?;
        self.refuse_incapable(&survey)?;
        let Some(target) = self.inspect_target().await? else {
            return match options.regain {
                // It would be empty.
                Some(regain) => self
                    .refuse_phase(&survey, Marks::default(), regain)
                    .map(|()| Init::Created),
                None => Ok(Init::Created),
            };
        };
        let table = survey.transform.target();
        // Only compares keys, since the table is there.
        self.new_looks.create(table).await?;
        self.refuse_target(&target, options.allow_stream)?;
        let there = self.control.load(&self.spec.to).await?;
        if let Some(regain) = options.regain {
            return match there {
                Some(there) => {
                    self.repeat_regain(&there, &self.record_of(&survey, &target), regain)
                }
                None => self.would_regain(&survey, regain).await.map(Init::Regained),
            };
        }
        let there = there.map(|there| there.record);
        let before = match &there {
            None => Adopted::default(),
            Some(there) if there.phase == Phase::Old => self.adopted_before(there).await?,
            Some(there) => {
                if self
                    .spec
                    .same(there, &self.record_of(&survey, &target))
                    .is_err()
                {
                    return Err(self.not_adoptable(there.phase));
                }
                match self.may_list(there).await? {
                    true => Adopted::default(),
                    false => return Ok(Init::Repeated),
                }
            }
        };
        let stock = self.stock(table, Some(&before)).await?;
        if there.is_none() {
            self.refuse_moved(&survey, stock.marks)?;
        }
        Ok(Init::Adopted(stock.unmarked.len() as u64))
    }

    async fn repeat(
        &self,
        survey: &Survey,
        there: Versioned,
        record: Record,
        options: InitOptions,
    ) -> Result<Init> {
        let same = self.spec.same(&there.record, &record);
        if !options.adopt {
            return same.map(|()| Init::Repeated);
        }
        if same.is_ok() && there.record.phase != Phase::Old {
            return self.list_again(survey, there).await;
        }
        if there.record.phase != Phase::Old {
            return Err(self.not_adoptable(there.record.phase));
        }
        let before = self.adopted_before(&there.record).await?;
        let stock = self.stock(survey.transform.target(), Some(&before)).await?;
        let adopted = stock.holds_items();
        // Written anew even if it is the same, for pieces of it may be lost.
        let adoption = self.listed(stock).await?;
        if same.is_ok() && adopted == there.record.adopted && adoption == there.record.adoption {
            return Ok(Init::Repeated);
        }
        let record = Record {
            adopted,
            adoption,
            freeze: there.record.freeze,
            ..record
        };
        self.replace_adopted(&there, record).await
    }

    /// Makes the list of what a target was taken over with, if there is none: an earlier version kept none.
    async fn list_again(&self, survey: &Survey, there: Versioned) -> Result<Init> {
        if !self.may_list(&there.record).await? {
            return Ok(Init::Repeated);
        }
        let target = survey.transform.target();
        let stock = self.stock(target, Some(&Adopted::default())).await?;
        let record = Record {
            adoption: self.listed(stock).await?,
            ..there.record.clone()
        };
        self.replace_adopted(&there, record).await
    }

    async fn may_list(&self, record: &Record) -> Result<bool> {
        match record.phase {
            // In `done` items without a mark are what applications write.
            Phase::Done => Ok(false),
            Phase::Old
            | Phase::Bridge
            | Phase::Switch
            | Phase::Copy
            | Phase::New
            | Phase::Offline => self.lacks_its_list(record).await,
        }
    }

    async fn replace_adopted(&self, there: &Versioned, record: Record) -> Result<Init> {
        match self.control.replace(&self.spec.to, there, &record).await? {
            true => Ok(adopted_items(&record)),
            false => Err(self.overtaken()),
        }
    }
}

fn adopted_items(record: &Record) -> Init {
    let items = record.adoption.as_ref().map(|adoption| adoption.items);
    Init::Adopted(items.unwrap_or(0))
}
