//! A target whose control record is lost: nobody knows its phase any more but the operator, and what lies in
//! the target tells which phases it can have been.
//!
//! Whatever worked under the lost record has to have ended before the target is looked at, and before there is
//! a record again. Tools, and applications from `switch` on, work only while their lease lasts, and find no
//! record to renew it under; so it takes a lease, and the longest operation or landing. An application in `bridge` has
//! nothing to do without the new store, and one that reaches it learns that the record is gone. In `old` nobody
//! can be once a row was written to the new store. When there is a record again, each application joins anew,
//! under the new beginning; no progress, dead letter, journal or verification of an earlier one counts.
//!
//! So whatever the phase was, among those in which both stores are read, `switch` and `copy` are lawful: nobody
//! is in another one. `done` is different: there deleted rows leave no trace, so that the old table would bring
//! them back. Applications write without marks there, and that shows.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

use super::copy::OPERATION;
use super::{Migration, Refusal, Survey, WATCH_EVERY};
use crate::clock::Clock;
use crate::control::{Lease, New, Record, Watch};
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::model::{Mark, Row};
use crate::protocol::{Phase, counter};
use crate::schema::Table;
use crate::store::{Cursor, Range};

/// Parts of the target that are looked through at once.
const SCANS: usize = 8;
/// Items of one page.
const ITEMS: usize = 5_000;

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

/// What lies in a target, by who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Items that a copy or fold wrote.
    pub copied: u64,
    /// Items that applications wrote, saved or deleted; counters that they added to.
    pub applications: u64,
    /// Items without a mark: written in `done`, or by somebody else.
    pub unmarked: u64,
}

impl Marks {
    fn and(self, other: Marks) -> Marks {
        Marks {
            copied: self.copied + other.copied,
            applications: self.applications + other.applications,
            unmarked: self.unmarked + other.unmarked,
        }
    }

    fn of(item: &Row, is_counter: bool) -> Marks {
        // A fold leaves a counter's mark as it is, so what was added shows in its watermark too.
        let is_added_to = is_counter
            && !counter::Item::of(item.clone())
                .is_ok_and(|item| counter::may_return_to_old(Some(&item)));
        let mut marks = Marks::default();
        match item.mark {
            None => marks.unmarked = 1,
            Some(Mark::Copied) if !is_added_to => marks.copied = 1,
            Some(
                Mark::Copied | Mark::Resaved | Mark::Application | Mark::Tombstone | Mark::Partial,
            ) => {
                marks.applications = 1;
            }
        }
        marks
    }

    /// Whether a migration that begins at `old` would hide or overwrite what was moved here before. Folded
    /// counters are at home in `old`.
    pub(super) fn is_of_a_migration(self, is_counter: bool) -> bool {
        self.applications > 0 || (!is_counter && self.copied > 0)
    }

    /// What stands against giving a target with these items a phase.
    fn against(self, is_counter: bool, regain: Regain) -> Vec<Refusal> {
        let phase = regain.phase;
        let refusal = |what: String, help: &str| Refusal {
            what,
            help: help.to_owned(),
        };
        let mut refusals = Vec::new();
        match phase {
            Phase::Old if self.is_of_a_migration(is_counter) => refusals.push(refusal(
                "in `old` nobody looks at the new store, and items were moved or written there".into(),
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
    /// Makes a lost control record anew, in the phase that the operator names, if what lies in the target
    /// allows that. Waits first until nobody can work under the lost one any more. Safe to repeat, and to kill.
    pub(super) async fn regain(
        &self,
        survey: &Survey,
        record: Record,
        regain: Regain,
    ) -> Result<Marks> {
        // At first sight, so that what can't be isn't waited for.
        self.regainable(survey, regain).await?;
        self.outlive(regain.lease).await?;
        let marks = self.regainable(survey, regain).await?;
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
            fenced: fenced.cloned().collect(),
            ..record
        };
        self.control.clear(&self.spec.to).await?;
        match self.control.add(&self.spec.to, &record).await? {
            true => Ok(marks),
            false => Err(self.overtaken()),
        }
    }

    /// What lies in the target, if that allows the phase.
    async fn regainable(&self, survey: &Survey, regain: Regain) -> Result<Marks> {
        let target = survey.transform.target();
        let marks = self.marks(target).await?;
        let refusals = marks.against(target.is_counter(), regain);
        if refusals.is_empty() {
            return Ok(marks);
        }
        let lines = refusals
            .iter()
            .map(|refusal| format!("\n  {}; {}", refusal.what, refusal.help));
        let message = format!(
            "the target ({}) can't be taken over in `{}`:{}",
            marks.told(),
            regain.phase,
            lines.collect::<String>()
        );
        Err(Error::new(Kind::Mismatch, message).at("target", self.spec.to.as_str()))
    }

    /// Waits until nobody can work under a record that isn't there any more, and takes those away who are still
    /// registered. None of them can renew its lease meanwhile.
    async fn outlive(&self, lease: Lease) -> Result<()> {
        let registered = self.control.participants(&self.spec.to).await?;
        let silences = registered.iter().map(|(_, one, _)| one.longest_landing());
        let known = lease.lasts + lease.operation.max(OPERATION).max(lease.landing);
        let longest = silences.fold(known, Duration::max);
        tracing::info!(
            "{}: waiting {} s, until whoever worked under the lost record has stopped",
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

    /// Counts what lies in the target, by who wrote it.
    pub(super) async fn marks(&self, target: &Table) -> Result<Marks> {
        let new = self.new.patient(Patience::default(), &self.pace.new);
        let ranges = new.splits(target, SCANS).await?;
        let mut scans: FuturesUnordered<_> = ranges
            .iter()
            .map(|range| marks_of(&new, target, range))
            .collect();
        let mut marks = Marks::default();
        while let Some(found) = scans.next().await {
            marks = marks.and(found?);
        }
        Ok(marks)
    }
}

impl Marks {
    /// In words.
    pub fn told(self) -> String {
        format!(
            "{} items of applications, {} copied, {} without a mark",
            self.applications, self.copied, self.unmarked
        )
    }
}

async fn marks_of(new: &New, target: &Table, range: &Range) -> Result<Marks> {
    let is_counter = target.is_counter();
    let mut marks = Marks::default();
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = new.scan(target, range, cursor.as_ref(), ITEMS).await?;
        for item in &page.unreadable {
            // Whatever it is, with a mark it came by the shim or a tool, and without it didn't.
            match item.is_marked {
                true => marks.applications += 1,
                false => marks.unmarked += 1,
            }
        }
        for item in &page.rows {
            marks = marks.and(Marks::of(item, is_counter));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(marks);
        }
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

    #[test]
    fn a_counter_that_was_added_to_is_an_application_s() {
        use crate::model::{Key, Value};
        let counter = |mark, total, watermark| {
            let key = Key::row(vec![Value::Int(1)], vec![]);
            let mut row = Row::new(key, vec![Some(Value::BigInt(total))]);
            row.mark = mark;
            row.watermarks = vec![watermark];
            Marks::of(&row, true)
        };
        let folded = counter(Some(Mark::Copied), 5, Some(5));
        assert_eq!((folded.copied, folded.applications), (1, 0));
        let added = counter(Some(Mark::Copied), 6, Some(5));
        assert_eq!((added.copied, added.applications), (0, 1));
        assert_eq!(counter(Some(Mark::Application), 5, Some(5)).applications, 1);
        assert_eq!(counter(None, 5, Some(5)).unmarked, 1);
    }
}
