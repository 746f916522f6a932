//! Moving a table from phase to phase, with everyone who may write to it.
//!
//! A step is: everyone has acknowledged the phase that the record names; what the next one takes is there;
//! then the record is changed, if it still is the one that was read before all that; then again every participant
//! has to acknowledge. So no two are ever further apart than one phase, wherever this is killed, and
//! however many do it at once. Doing it again is always the way to go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::moves::{Event, MoveOptions, MovePreview, Observer, Refusal};
use super::{Migration, WATCH_EVERY};
use crate::clock;
use crate::codec::text::hex;
use crate::control::{Control, Gone, Participant, ParticipantKind, Record, Versioned, Watch};
use crate::copier::stopped;
use crate::error::{Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::protocol::Phase;
use crate::protocol::phase::Transition;

/// How soon to look again at first: an idle participant acknowledges at once.
const FIRST_LOOK: Duration = Duration::from_millis(200);

impl Migration {
    /// Moves the table to a phase, step by step: [`Transition::Forward`] or [`Transition::Back`]. Where it is there
    /// already, waits until everyone is.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if no such steps lead there, if what a phase takes isn't there, or if another
    /// command moves the table elsewhere at the same time; [`Kind::Stopped`]; the stores'.
    pub async fn advance(
        &self,
        way: Transition,
        to: Phase,
        options: &MoveOptions<'_>,
        stop: &CancellationToken,
        tell: Observer<'_>,
    ) -> Result<()> {
        // Dropped anywhere, it leaves what a killed one leaves.
        tokio::select! {
            walked = self.started(way, to, options, tell) => walked,
            () = stop.cancelled() => Err(stopped()),
        }
    }

    /// A store that isn't there at all is told of soon; one that goes away on the way is waited for.
    async fn started(
        &self,
        way: Transition,
        to: Phase,
        options: &MoveOptions<'_>,
        tell: Observer<'_>,
    ) -> Result<()> {
        self.movable(&self.control).await?;
        self.patiently().walk(way, to, options, tell).await
    }

    async fn walk(
        &self,
        way: Transition,
        to: Phase,
        options: &MoveOptions<'_>,
        tell: Observer<'_>,
    ) -> Result<()> {
        let control = self.control.clone();
        let mut watch = Watch::new(options.clock.clone());
        let there = self.movable(&control).await?.record;
        let mut ahead = self.path(&there, way, to)?;
        self.vouched(&control, there.phase, to, &options.gone)
            .await?;
        if let Some(refusal) = self.unasked(&ahead, options) {
            return Err(Error::new(Kind::Config, refusal.what)
                .with_context("table", self.spec.name.as_str())
                .with_help(refusal.help));
        }
        // What argues against the last step had better be known before applications are moved towards it.
        if to == Phase::Old && ahead.len() > 1 {
            let refusals = self.may_return(&there).await?;
            if !refusals.is_empty() {
                return Err(self.refused(to, &refusals));
            }
        }
        // What can't be taken in `switch` had better be known before applications are moved there.
        if ahead.windows(2).any(|step| is_freezing(step[0], step[1])) {
            let refusals = self.may_close(options.open_old).await?;
            if !refusals.is_empty() {
                return Err(self.refused(Phase::Copy, &refusals));
            }
        }
        loop {
            let there = self.movable(&control).await?;
            let now = there.record.phase;
            // Another operator who does the same may have gone on; none may have turned round.
            let Some(passed) = ahead.iter().position(|phase| *phase == now) else {
                return Err(self.overtaken().with_context("now in", now.name()));
            };
            ahead.drain(..passed);
            if !self
                .all_in(
                    &control,
                    &mut watch,
                    (now, ahead.get(1).copied()),
                    &options.gone,
                    tell,
                )
                .await?
            {
                continue;
            }
            if way == Transition::Back && now == Phase::Switch && !there.record.fenced.is_empty() {
                self.open_fence(&control, &there, options, tell).await?;
                continue;
            }
            let Some(next) = ahead.get(1) else {
                return Ok(());
            };
            self.step(&control, &there, *next, options, tell).await?;
        }
    }

    /// Changes the record, unless someone else has done so since it was read: what has become of it is
    /// seen when it is read again.
    async fn step(
        &self,
        control: &Control,
        there: &Versioned,
        next: Phase,
        options: &MoveOptions<'_>,
        tell: Observer<'_>,
    ) -> Result<()> {
        let from = there.record.phase;
        let applications = self.applications(control, from, next, options).await?;
        if from == Phase::Old {
            tell(Event::Applications(&applications));
        }
        let refusals = self.may_enter(&there.record, next, options).await?;
        if !refusals.is_empty() {
            return Err(self.refused(next, &refusals));
        }
        tell(Event::Step { from, to: next });
        if let Some(adoption) = there
            .record
            .adoption
            .as_ref()
            .filter(|_| from == Phase::Old)
        {
            tracing::info!(
                "{}: from `{next}` on applications see the {} items that the target was taken over with, and not the \
                 old rows that have the same keys",
                self.spec.name,
                adoption.items
            );
        }
        let there = match is_freezing(from, next) {
            true => match self.close_fence(control, there, options, tell).await? {
                Some(noted) => noted,
                None => return Ok(()),
            },
            false => there.clone(),
        };
        let mut moved = moved(&there.record, next);
        if is_freezing(from, next) {
            moved.frozen_at = self.old_time(options).await;
        }
        control
            .replace(&self.spec.to, &there, &moved)
            .await
            .map(drop)
    }

    /// What the old store's clock says, now that nothing writes there any more: to tell later writes from earlier
    /// ones, and when rows end. It waits for the store as a copy does, which comes next. One that is gone for good
    /// is no reason to stay.
    async fn old_time(&self, options: &MoveOptions<'_>) -> Option<i64> {
        let now = || async {
            let old = (options.open_old)().await?;
            let now = old.0.now().await;
            old.0.close().await;
            now
        };
        let now = Patience::DEFAULT.insist("the old store's time", now).await;
        now.unwrap_or_else(|error| {
            tracing::warn!(
                "{}: writes to the old table that come too late won't be recognised, since its time isn't \
                 known: {error}",
                self.spec.name
            );
            None
        })
    }

    /// What a move would do, and what prevents it now. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if no such steps lead there; the stores'.
    pub async fn forecast(
        &self,
        way: Transition,
        to: Phase,
        options: &MoveOptions<'_>,
    ) -> Result<Vec<MovePreview>> {
        let there = self.movable(&self.control).await?;
        let path = self.path(&there.record, way, to)?;
        self.vouched(&self.control, there.record.phase, to, &options.gone)
            .await?;
        let registered = self.control.participants(&self.spec.to).await?;
        let registered = registered.into_iter().map(|(id, one, _)| (id, one));
        let registered: Vec<(String, Participant)> = registered.collect();
        let mut steps = Vec::new();
        let mut record = there.record;
        for next in path.into_iter().skip(1) {
            let mut refusals = self.may_enter(&record, next, options).await?;
            let count = self.unexpected(registered.iter(), record.phase, next, options);
            refusals.extend(count);
            refusals.extend(self.unasked(&[record.phase, next], options));
            let takes = self.spec.fence.clone();
            let gives = match (record.phase, next) {
                (Phase::Copy, Phase::Switch) | (Phase::Switch, Phase::Bridge) => {
                    std::mem::take(&mut record.fenced)
                }
                (_, _) => BTreeSet::new(),
            };
            steps.push(MovePreview {
                from: record.phase,
                to: next,
                waits_for: registered.clone(),
                takes: takes.filter(|_| is_freezing(record.phase, next)),
                gives,
                refusals,
            });
            record = moved(&record, next);
        }
        Ok(steps)
    }

    /// Waits until everyone has acknowledged a phase, and nothing that was begun in an earlier one can
    /// still land; before a step that fears late calls, nothing of the participants that are gone either. `false` if the record is in another phase meanwhile.
    pub(super) async fn all_in(
        &self,
        control: &Control,
        watch: &mut Watch,
        (phase, next): (Phase, Option<Phase>),
        gone: &Gone,
        tell: Observer<'_>,
    ) -> Result<bool> {
        let begun = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            let left = watch
                .look(control, &self.spec.to, phase, next, gone)
                .await?;
            if left.is_empty() {
                tell(Event::Reached(phase));
                return Ok(true);
            }
            if control.require(&self.spec.to).await?.record.phase != phase {
                return Ok(false);
            }
            tell(Event::Waiting {
                phase,
                left: &left,
                waited: begun.elapsed(),
            });
            tokio::time::sleep(pause).await;
            pause = WATCH_EVERY;
        }
    }

    /// The record, if it is this plan's and target's. Doesn't ask the old store, which may be gone.
    async fn movable(&self, control: &Control) -> Result<Versioned> {
        let there = control.require(&self.spec.to).await?;
        let spec = self.spec.settled(&there.record);
        let transform = spec.transform(&there.record.source.read()?, there.record.default_ttl)?;
        let here = Record {
            plan: self.spec.plan.clone(),
            target_id: self.target().await?.id,
            mapping: hex(&transform.fingerprint()),
            ..there.record.clone()
        };
        self.spec.same(&there.record, &here)?;
        self.refuse_emptying(&there.record)?;
        Ok(there)
    }

    fn path(&self, record: &Record, way: Transition, to: Phase) -> Result<Vec<Phase>> {
        let from = record.phase;
        if let Some(path) = from.path(to, way) {
            return Ok(path);
        }
        let help = match (from, to) {
            (Phase::Done, _) => {
                "the move is over: from `done` there is no way back, since deleted rows have left no trace \
                 that would hide the old ones"
            }
            (Phase::Offline, _) => {
                "from `offline` it can go to `new` and `done`, or back to `old` by `migrate reset`"
            }
            (_, Phase::Offline) => {
                "`migrate copy --offline` sets a table `offline`, from `old` only"
            }
            (_, _) if from.path(to, Transition::Back).is_some() => "`migrate back` goes that way",
            (_, _) => "`migrate advance` goes that way",
        };
        Err(Error::new(
            Kind::Mismatch,
            format!("this command can't go from `{from}` to `{to}`"),
        )
        .with_context("table", self.spec.name.as_str())
        .with_help(help))
    }

    /// Nothing enters `done` without having said so, by whatever command.
    fn unasked(&self, ahead: &[Phase], options: &MoveOptions<'_>) -> Option<Refusal> {
        let name = &self.spec.name;
        let enters = ahead.iter().skip(1).any(|phase| *phase == Phase::Done);
        (enters && options.done.as_ref() != Some(name)).then(|| Refusal {
            what: "from `done` there is no way back, so it takes the table's name".into(),
            help: format!("add `--yes-done {name}` once you are sure"),
        })
    }

    /// Refuses to take for gone an id that isn't registered, or any sooner than a living participant may be silent. Where
    /// everyone is in the phase already, none is waited for.
    async fn vouched(&self, control: &Control, now: Phase, to: Phase, gone: &Gone) -> Result<()> {
        let registered = control.participants(&self.spec.to).await?;
        if let Some(silent) = gone.silent {
            let shims = registered.iter().map(|(_, one, _)| one);
            let shims = shims.filter(|one| one.kind == ParticipantKind::Shim);
            let floor = shims.map(Participant::longest_silence).max();
            if let Some(floor) = floor.filter(|floor| silent < *floor) {
                return Err(too_soon(silent, floor).with_context("table", self.spec.name.as_str()));
            }
        }
        let is_known = |id: &&String| registered.iter().any(|(there, ..)| there == *id);
        let unknown: Vec<&String> = gone.ids.iter().filter(|id| !is_known(id)).collect();
        let all_there = registered.iter().all(|(_, one, _)| one.phase == Some(to));
        if unknown.is_empty() || now == to && all_there {
            return Ok(());
        }
        let named = |(id, one, _): &(String, Participant, i64)| format!("{id} ({})", one.name);
        let registered: Vec<String> = registered.iter().map(named).collect();
        let help = match registered.as_slice() {
            [] => "no participant is registered, so leave `--gone` out".to_owned(),
            names => format!(
                "registered are: {}. One that an earlier run has taken away needs no `--gone` any more",
                names.join(", ")
            ),
        };
        let unknown: Vec<String> = unknown.iter().map(|id| format!("`{id}`")).collect();
        let message = format!(
            "--gone: {} isn't registered for this table",
            unknown.join(", ")
        );
        Err(Error::new(Kind::Config, message)
            .with_context("table", self.spec.name.as_str())
            .with_help(help))
    }

    /// Who is registered as an application, if there are as many as the operator expects.
    async fn applications(
        &self,
        control: &Control,
        from: Phase,
        to: Phase,
        options: &MoveOptions<'_>,
    ) -> Result<Vec<(String, Participant)>> {
        let registered = control.participants(&self.spec.to).await?;
        let registered = registered.into_iter().map(|(id, one, _)| (id, one));
        let applications: Vec<_> = registered.filter(is_application).collect();
        match self.unexpected(applications.iter(), from, to, options) {
            None => Ok(applications),
            Some(refusal) => Err(Error::new(Kind::Mismatch, refusal.what)
                .with_context("table", self.spec.name.as_str())
                .with_help(refusal.help)),
        }
    }

    fn unexpected<'r>(
        &self,
        registered: impl Iterator<Item = &'r (String, Participant)>,
        from: Phase,
        to: Phase,
        options: &MoveOptions<'_>,
    ) -> Option<Refusal> {
        let there: Vec<&str> = registered
            .filter(|one| is_application(one))
            .map(|(_, one)| one.name.as_str())
            .collect();
        if there.is_empty() && options.expect.is_none() && leaves_writers(from, to) {
            return Some(Refusal {
                what: "no application is registered for this table".into(),
                help: "start those that use it, with the shim: one that isn't registered goes on writing to the \
                       old store alone, and loses what it writes. If there is none, say so with `--expect 0`"
                    .into(),
            });
        }
        let expected = options.expect.filter(|expected| *expected != there.len())?;
        let what = match there.as_slice() {
            [] => format!("no application is registered, and {expected} are expected"),
            names => format!(
                "{} registered ({}), and {expected} are expected",
                match names.len() {
                    1 => "1 application is".to_owned(),
                    count => format!("{count} applications are"),
                },
                names.join(", ")
            ),
        };
        Some(Refusal {
            what,
            help: "is one of them missing, or left over? See `migrate status`".into(),
        })
    }

    fn refused(&self, to: Phase, refusals: &[Refusal]) -> Error {
        let lines = refusals
            .iter()
            .map(|refusal| format!("\n  {}; {}", refusal.what, refusal.help));
        Error::new(
            Kind::Mismatch,
            format!(
                "the table can't enter `{to}` yet:{}",
                lines.collect::<String>()
            ),
        )
        .with_context("table", self.spec.name.as_str())
    }
}

/// Whether an application that doesn't follow a step, since it isn't registered, would go on writing where the
/// others don't look any more; or where a copier has read already.
fn leaves_writers(from: Phase, to: Phase) -> bool {
    matches!(
        (from, to),
        (Phase::Old, Phase::Bridge) | (Phase::Bridge, Phase::Switch) | (Phase::Switch, Phase::Copy)
    )
}

fn is_application(one: &(String, Participant)) -> bool {
    one.1.kind == ParticipantKind::Shim
}

/// That a participant would be taken for gone that may be well.
pub fn too_soon(silent: Duration, floor: Duration) -> Error {
    Error::new(
        Kind::Config,
        format!(
            "--gone-silent: {} s are too short: one that lives may be silent for {} s, its lease and its longest \
             operation",
            silent.as_secs(),
            floor.as_secs()
        ),
    )
    .with_help("take a time that is much longer, such as 15m; or name those that are gone with `--gone ID`")
}

/// Whether the old table is frozen by a step. Coming back from `new` it isn't: nothing has written to it
/// in between.
fn is_freezing(from: Phase, to: Phase) -> bool {
    from == Phase::Switch && to == Phase::Copy
}

fn moved(record: &Record, to: Phase) -> Record {
    Record {
        phase: to,
        freeze: record.freeze + u64::from(is_freezing(record.phase, to)),
        moves: record.moves_and(to, clock::unix_seconds()),
        ..record.clone()
    }
}
