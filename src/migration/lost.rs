//! A target whose control record is lost: only the operator knows its phase any more, and what is in
//! the target tells which phases it can have been.
//!
//! Whatever worked under the lost record has to have ended before the target is looked at, and before there is
//! a record again. Tools, and applications from `switch` on, work only while their lease lasts, and find no
//! record to renew it under; so it takes a lease, and the longest operation or landing. An application in `bridge` has
//! nothing to do without the new store, and one that reaches it learns that the record is gone. In `old` no instance
//! can be once a row was written to the new store. When there is a record again, each application joins anew,
//! under the new beginning; no progress, dead letter, journal or verification of an earlier one counts.
//!
//! So whatever the phase was, among those in which both stores are read, `switch` and `copy` are lawful: no instance
//! is in any other. `done` is different: there deleted rows leave no trace, so that the old table would bring
//! them back. Applications write without marks there, and that shows.

use std::time::Duration;

use super::adopting::Stock;
use super::marks::Marks;
use super::{Migration, Refusal, Survey, WATCH_EVERY};
use crate::clock::Clock;
use crate::control::{Lease, Record, Watch};
use crate::error::{Error, Kind, Result};
use crate::protocol::Phase;
use crate::verifier::Adopted;

/// The phase that an operator gives a target whose control record is lost.
#[derive(Clone, Copy, Debug)]
pub struct Regain {
    /// The phase.
    pub phase: Phase,
    /// How long an application goes on by itself.
    pub lease: Lease,
    /// The operator vouches that the table never was in `done`.
    pub never_done: bool,
    /// The operator wants `done`, and knows that there is no way back.
    pub done: bool,
}

impl Marks {
    /// What argues against giving a target with these items a phase.
    fn against(self, is_counter: bool, regain: Regain) -> Vec<Refusal> {
        let phase = regain.phase;
        let refusal = |what: String, help: &str| Refusal {
            what,
            help: help.to_owned(),
        };
        let mut refusals = Vec::new();
        match phase {
            Phase::Old if self.is_of_a_migration(is_counter) => refusals.push(refusal(
                "in `old` nothing reads the new store, and items were moved or written there".into(),
                "name `switch` if an application has used it, `offline` if it was copied offline",
            )),
            Phase::Old => {}
            Phase::Bridge => refusals.push(refusal(
                "a record isn't begun in `bridge`".into(),
                "name `switch`; from there `migrate back --to bridge` leads",
            )),
            Phase::New => refusals.push(refusal(
                "nothing here shows that every row has arrived".into(),
                "name `copy`, to which the way back from `new` is always open; then copy, verify, and \
                 `migrate advance --to new`",
            )),
            Phase::Switch | Phase::Copy if self.applications == 0 => refusals.push(refusal(
                format!("no application has written to the target, so it wasn't in `{phase}`, as far as one can see"),
                match self.copied {
                    0 => "run `migrate init` without `--phase`",
                    _ => "name `offline`: an item that was copied offline would hide what the old table has by now. \
                          Verify it with `--repair`, and go on to `new`",
                },
            )),
            Phase::Offline if self.applications > 0 => refusals.push(refusal(
                format!("{} items are an application's, and in `offline` none works", self.applications),
                "name `switch` or `copy`",
            )),
            Phase::Offline if self.copied == 0 => refusals.push(refusal(
                "nothing was copied to the target".into(),
                "run `migrate init` without `--phase`",
            )),
            Phase::Done if !regain.done => refusals.push(refusal(
                "from `done` there is no way back, so it takes the table's name".into(),
                "add `--yes-done` with it, if the table was in `done`",
            )),
            Phase::Switch | Phase::Copy | Phase::Offline | Phase::Done => {}
        }
        let reads_old = matches!(phase, Phase::Switch | Phase::Copy | Phase::Offline);
        if reads_old && self.unmarked > 0 && !regain.never_done {
            refusals.push(refusal(
                format!(
                    "{} items have no mark: in `done` applications write such ones, and what they delete there \
                     would come back from the old table",
                    self.unmarked
                ),
                "name `done` if the table was there; or add `--never-done`, if you are sure that it wasn't, and \
                 these items came from elsewhere",
            ));
        }
        refusals
    }
}

impl Migration {
    /// Makes a lost control record anew, in the phase that the operator names, if what is in the target
    /// allows that. Waits first until no participant can work under the lost one any more. Safe to repeat, and to kill.
    pub(super) async fn regain(
        &self,
        survey: &Survey,
        record: Record,
        regain: Regain,
    ) -> Result<Marks> {
        // At first sight, so that what can't be isn't waited for.
        self.regainable(survey, regain).await?;
        self.outlive(regain.lease).await?;
        let stock = self.regainable(survey, regain).await?;
        let marks = stock.marks;
        let is_frozen = matches!(regain.phase, Phase::Copy | Phase::Offline);
        let frozen_at = match is_frozen {
            true => self.old_looks.0.now().await?,
            false => None,
        };
        // In `copy` the role may have lost its permission: who goes back gives it again, which changes nothing
        // where it never was taken.
        let fenced = self
            .spec
            .fence
            .iter()
            .filter(|_| regain.phase == Phase::Copy);
        let record = Record {
            phase: regain.phase,
            freeze: u64::from(is_frozen),
            frozen_at,
            adopted: marks.unmarked > 0,
            adoption: self.listed(stock).await?,
            fenced: fenced.cloned().collect(),
            ..record
        };
        self.control.clear(&self.spec.to).await?;
        match self.control.add(&self.spec.to, &record).await? {
            true => Ok(marks),
            false => Err(self.overtaken()),
        }
    }

    /// What a lost control record would be made anew for. Changes nothing, and waits for no one.
    pub(super) async fn would_regain(&self, survey: &Survey, regain: Regain) -> Result<Marks> {
        Ok(self.regainable(survey, regain).await?.marks)
    }

    /// What is in the target, if that allows the phase.
    async fn regainable(&self, survey: &Survey, regain: Regain) -> Result<Stock> {
        let target = survey.transform.target();
        // In `done` items without a mark are what applications write.
        let list = Adopted::default();
        let list = (regain.phase != Phase::Done).then_some(&list);
        let stock = self.stock(target, list).await?;
        self.refuse_phase(survey, stock.marks, regain)?;
        Ok(stock)
    }

    /// Refuses a phase that a target with these items can't have been in.
    pub(super) fn refuse_phase(&self, survey: &Survey, marks: Marks, regain: Regain) -> Result<()> {
        let refusals = marks.against(survey.transform.target().is_counter(), regain);
        if refusals.is_empty() {
            return Ok(());
        }
        let lines = refusals
            .iter()
            .map(|refusal| format!("  {}; {}", refusal.what, refusal.help));
        let message = format!(
            "the target ({}) can't be taken over in `{}`:",
            marks.told(),
            regain.phase,
        );
        let error =
            Error::new(Kind::Mismatch, message).with_context("target", self.spec.to.as_str());
        Err(lines.fold(error, Error::with_line))
    }

    /// Waits until no participant can work under a record that isn't there any more, and takes those away who are still
    /// registered. None of them can renew its lease meanwhile.
    async fn outlive(&self, lease: Lease) -> Result<()> {
        let registered = self.control.participants(&self.spec.to).await?;
        let silences = registered.iter().map(|(_, one, _)| one.longest_landing());
        let known = lease.lasts + lease.operation.max(self.operation).max(lease.landing);
        let longest = silences.fold(known, Duration::max);
        tracing::info!(
            "{}: waiting {} s, until every participant of the lost record has stopped",
            self.spec.to,
            longest.as_secs()
        );
        let mut watch = Watch::new(Clock::Machine);
        watch.outlived(&self.control, &self.spec.to).await?;
        tokio::time::sleep(longest).await;
        while !watch
            .outlived(&self.control, &self.spec.to)
            .await?
            .is_empty()
        {
            tokio::time::sleep(WATCH_EVERY).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIED: Marks = Marks {
        copied: 2,
        applications: 0,
        unmarked: 0,
    };
    const USED: Marks = Marks {
        copied: 2,
        applications: 1,
        unmarked: 0,
    };
    const UNMARKED: Marks = Marks {
        copied: 2,
        applications: 1,
        unmarked: 1,
    };

    fn refused(marks: Marks, is_counter: bool, phase: Phase, vouched: bool) -> bool {
        let regain = Regain {
            phase,
            lease: Lease::default(),
            never_done: vouched,
            done: vouched,
        };
        !marks.against(is_counter, regain).is_empty()
    }

    #[test]
    fn the_phase_has_to_fit_what_lies_in_the_target() {
        use Phase::{Bridge, Copy, Done, New, Offline, Old, Switch};
        let allowed = |marks, is_counter, vouched| -> Vec<Phase> {
            let phases = Phase::ALL.into_iter();
            phases
                .filter(|phase| !refused(marks, is_counter, *phase, vouched))
                .collect()
        };
        assert_eq!(allowed(Marks::default(), false, false), [Old]);
        assert_eq!(allowed(COPIED, false, false), [Offline]);
        assert_eq!(allowed(COPIED, true, false), [Old, Offline]);
        for is_counter in [false, true] {
            assert_eq!(allowed(USED, is_counter, false), [Switch, Copy]);
            assert_eq!(allowed(USED, is_counter, true), [Switch, Copy, Done]);
            assert_eq!(allowed(UNMARKED, is_counter, false), []);
            assert_eq!(allowed(UNMARKED, is_counter, true), [Switch, Copy, Done]);
            for never in [Bridge, New] {
                assert!(refused(USED, is_counter, never, true));
            }
        }
    }
}
