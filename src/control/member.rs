//! A participant's own side: joining, renewing its lease, acknowledging a phase, leaving.
//!
//! - It registers first and reads the phase afterwards, so that no move can pass it by.
//! - An operation holds a [`PhaseGuard`] of the phase it began in. A phase is acknowledged once no guard of
//!   another one is held; new operations begin in the new phase meanwhile, as on another machine.
//! - A lease begins before the renewal is sent, so it ends here before any other participant takes it for over.
//!   Past it, no operation begins and none is answered as a success. Applications that have
//!   acknowledged `old` or `bridge`, and are in one of them, need none.
//! - Nothing leaves, and no phase is let go, while anything of it may still land: of this process, or of one
//!   before it that had the same id and was killed.
//! - Whose item was taken away, because it was thought dead, has lapsed: it registers anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::record::LANDING_SECONDS;
use super::told::ToldPhase;
use super::{Control, INSTANCE, New, Participant, ParticipantKind, Record, VERSION};
use crate::clock::Clock;
use crate::error::{Effect, Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::model::{Condition, Value};
use crate::protocol::Phase;
use crate::store::{Permit, Writer};

/// How often registering is tried when the item is taken away in between.
const JOINS: u32 = 3;
/// How often to look whether anything is still under way.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Renewals in the time of a lease.
const RENEWALS: u32 = 3;
/// A request of a renewal gets this part of the lease.
const REQUEST_SHARE: u32 = 6;
/// So often its time is doubled at most.
const MOST_DOUBLINGS: u32 = 3;
/// How soon a renewal that hung is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How long a participant may go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Without a renewal.
    pub lasts: Duration,
    /// The longest operation, its retries and re-saves included.
    pub operation: Duration,
    /// How long what was sent may be under way after its sender has given it up: in a network, in a proxy, in
    /// the service, which takes a signed request for some minutes.
    pub landing: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Lease {
            lasts: Duration::from_secs(10),
            operation: Duration::from_secs(5),
            landing: Duration::from_secs(LANDING_SECONDS),
        }
    }
}

/// Who a participant is.
#[derive(Clone, Debug)]
pub struct MemberRole {
    /// Its id, which no other participant has at the same time. One that starts again may keep it.
    pub id: String,
    /// What it is.
    pub kind: ParticipantKind,
    /// Machine and process, for people.
    pub name: String,
    /// How long it may go on by itself.
    pub lease: Lease,
    /// What its lease is measured with.
    pub clock: Clock,
}

/// What a record has to be like, for a participant to work under it.
pub type Accept = Box<dyn Fn(&Record) -> Result<()> + Send + Sync>;

/// A participant's membership.
pub struct Member {
    pub(super) control: Control,
    target: String,
    id: String,
    role: MemberRole,
    accept: Accept,
    state: Mutex<MemberState>,
    /// Its item as it was last written, and its version. Locked over a renewal.
    item: tokio::sync::Mutex<Option<(Participant, i64)>>,
    drained: Notify,
    /// Requests of renewals that hung since the last one that was answered.
    hung: AtomicU32,
    /// The control table over connections of its own, since one has hung.
    afresh: Mutex<Option<Control>>,
    /// The phase that metrics tell.
    told: ToldPhase,
}

struct MemberState {
    /// Counts the times it has joined; guards of an earlier one are worth nothing.
    joined: u64,
    /// What new operations begin in.
    phase: Phase,
    /// When it learned that.
    phase_since: Duration,
    /// What its item says.
    acknowledged: Phase,
    /// When the lease ends.
    until: Duration,
    /// Operations under way.
    guards: BTreeMap<Phase, usize>,
    /// What was sent under a phase, and nothing waits for any more, is taken for over then.
    landing: BTreeMap<Phase, Duration>,
    /// Surely over it is then.
    late_until: Duration,
    /// Why it may not work any more, until it has joined again.
    lapsed: Option<Error>,
    /// It won't join again.
    has_left: bool,
}

/// An operation's hold on the phase it began in, and with it the right to write: see [`PhaseGuard::permit`].
pub struct PhaseGuard {
    right: Right,
}

/// The right to work: in a phase, under a live lease, since one joining. A participant that goes on under
/// another record joins anew, so that a joining belongs to one record, and in a phase to one freeze.
#[derive(Clone)]
struct Right {
    member: Arc<Member>,
    phase: Phase,
    joined: u64,
}

impl Right {
    fn check(&self) -> Result<()> {
        self.member
            .may_work(&self.member.state(), self.phase, self.joined)
    }
}

impl Member {
    /// Registers, and then learns the phase.
    ///
    /// # Errors
    /// The store's; [`Kind::Missing`] without a control record; what `accept` says of the record.
    pub async fn join(
        control: Control,
        target: &str,
        role: MemberRole,
        accept: Accept,
    ) -> Result<Arc<Self>> {
        let member = Self::outside(control, target, role, accept);
        member.renew().await?;
        Ok(member)
    }

    /// The same for a tool, which waits while the new store is busy or away, and says so. An application's
    /// operations have deadlines of their own.
    ///
    /// # Errors
    /// [`Kind::Missing`] without a control record; what `accept` says of the record; the store's, once the patience is over.
    pub async fn join_patiently(
        control: Control,
        target: &str,
        role: MemberRole,
        accept: Accept,
        patience: Patience,
    ) -> Result<Arc<Self>> {
        let store = control.store.clone();
        let member = Self::outside(control, target, role, accept);
        patience.insist(store.name(), || member.renew()).await?;
        Ok(member)
    }

    /// Of a participant that hasn't joined yet.
    fn outside(control: Control, target: &str, role: MemberRole, accept: Accept) -> Arc<Self> {
        Arc::new(Member {
            control,
            target: target.to_owned(),
            id: role.id.clone(),
            role,
            accept,
            state: Mutex::new(MemberState {
                joined: 0,
                phase: Phase::Old,
                phase_since: Duration::ZERO,
                acknowledged: Phase::Old,
                until: Duration::ZERO,
                guards: BTreeMap::new(),
                landing: BTreeMap::new(),
                late_until: Duration::ZERO,
                lapsed: Some(left()),
                has_left: false,
            }),
            item: tokio::sync::Mutex::new(None),
            drained: Notify::new(),
            hung: AtomicU32::new(0),
            afresh: Mutex::new(None),
            told: ToldPhase::default(),
        })
    }

    /// Whether no operation is under way, and nothing of an earlier one can land any more.
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        let now = self.role.clock.now();
        let has_landed = state.landing.values().all(|until| now >= *until);
        has_landed && state.guards.values().all(|count| *count == 0)
    }

    /// Waits until it is. Nothing new may begin meanwhile.
    async fn idle(&self) {
        while !self.is_idle() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its id, which `advance --gone` takes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The phase that new operations begin in.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The same, and for how long it has been so as far as this process knows.
    pub fn phase_since(&self) -> (Phase, Duration) {
        let state = self.state();
        let now = self.role.clock.now();
        (state.phase, now.saturating_sub(state.phase_since))
    }

    /// Holds the phase for one operation. Keep it until nothing of the operation is under way any
    /// more, its re-save included.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] once the lease has run out, or its item was taken away.
    pub fn guard(self: &Arc<Self>) -> Result<PhaseGuard> {
        let mut state = self.state();
        self.may_work(&state, state.phase, state.joined)?;
        let (phase, joined) = (state.phase, state.joined);
        *state.guards.entry(phase).or_default() += 1;
        Ok(PhaseGuard {
            right: Right {
                member: self.clone(),
                phase,
                joined,
            },
        })
    }

    /// Reads the record, follows its phase, acknowledges what can be, and renews the lease. Joins
    /// again if it has lapsed. To be called [`Member::renew_every`].
    ///
    /// # Errors
    /// [`Kind::Missing`] without a control record; what `accept` says of the record; the store's own. The lease that it has
    /// goes on until its end.
    pub async fn renew(&self) -> Result<()> {
        let mut item = self.item.lock().await;
        if self.state().has_left {
            return Err(left());
        }
        for _ in 0..JOINS {
            let since = self.role.clock.now();
            if item.is_none() || self.state().lapsed.is_some() {
                *item = Some(self.register().await?);
            }
            let Some((there, version)) = item.as_ref() else {
                continue;
            };
            let reading = self.control();
            let record = self.soon(reading.require(&self.target)).await?.record;
            if let Err(error) = (self.accept)(&record) {
                // The record isn't this participant's any more: no barrier is to wait for it, once nothing of
                // it can land any more. A row that is copied late would hide what others write in `bridge`.
                self.lapse(error.clone());
                self.idle().await;
                self.withdraw(there, *version).await?;
                *item = None;
                return Err(error);
            }
            let Some(acknowledged) = self.follow(there, record.phase) else {
                self.lapse(taken_away());
                *item = None;
                continue;
            };
            let next = Participant {
                phase: Some(acknowledged),
                heartbeat: there.heartbeat + 1,
                renewed_at: self.role.clock.unix_seconds(),
                late: self.is_late(),
                ..there.clone()
            };
            let on = Condition::equals(VERSION, Value::BigInt(*version));
            let (name, version) = (self.name(), version + 1);
            let control = self.control();
            let swap = control.swap(&self.target, &name, &next, version, &on);
            if self.soon(swap).await? {
                self.renewed(acknowledged, record.phase, since);
                *item = Some((next, version));
                return Ok(());
            }
            *item = self.earlier_renewal(&next, version).await?;
            if item.is_none() {
                self.lapse(taken_away());
            }
        }
        Err(taken_away())
    }

    /// A renewal that was given up, and has landed: its item is this one's own. Every other writer of it
    /// marks it as gone, or begins to count anew.
    async fn earlier_renewal(
        &self,
        next: &Participant,
        version: i64,
    ) -> Result<Option<(Participant, i64)>> {
        let (control, name) = (self.control(), self.name());
        let there = self.soon(control.item::<Participant>(&self.target, &name));
        Ok(there.await?.filter(|(there, at)| {
            *at == version && there.heartbeat == next.heartbeat && !there.gone
        }))
    }

    /// Takes its item away; or leaves word there that something of it may still land.
    async fn withdraw(&self, there: &Participant, version: i64) -> Result<()> {
        let control = self.control();
        match self.is_late() {
            true => control.retire(&self.target, &self.id, there, version).await,
            false => control.remove(&self.target, &self.id, version).await,
        }
        .map(drop)
    }

    /// Whether something of it that nothing waits for any more may still land.
    fn is_late(&self) -> bool {
        self.role.clock.now() < self.state().late_until
    }

    /// The control table, over connections that haven't hung.
    fn control(&self) -> Control {
        let afresh = self.afresh.lock().unwrap_or_else(PoisonError::into_inner);
        afresh.as_ref().unwrap_or(&self.control).clone()
    }

    /// One request of a renewal, within a part of the lease: one that hangs is tried anew while the lease
    /// lasts, over another connection. Each that hangs gives the next one twice the time, so that a slow
    /// store is no dead one.
    async fn soon<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let hung = self.hung.load(Ordering::SeqCst);
        let limit = self.role.lease.lasts / REQUEST_SHARE * (1 << hung.min(MOST_DOUBLINGS));
        if let Ok(answer) = tokio::time::timeout(limit, request).await {
            self.hung.store(0, Ordering::SeqCst);
            return answer;
        }
        self.hung.fetch_add(1, Ordering::SeqCst);
        let control = self.control.afresh();
        *self.afresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(control);
        Err(Error::new(
            Kind::Timeout,
            "the control table didn't answer in time; it is asked again over another connection",
        )
        .with_context("target", self.target.as_str())
        .with_effect(Effect::Unknown))
    }

    /// How often to renew.
    pub fn renew_every(&self) -> Duration {
        self.role.lease.lasts / RENEWALS
    }

    /// Renews for ever; at once when the last operation of an earlier phase ends. Ends only with an
    /// error that waiting doesn't cure: the record is another one now.
    pub async fn keep(&self) -> Error {
        let mut pause = self.renew_every();
        loop {
            tokio::select! {
                // In a fixed order, so that a test can do the same again.
                biased;
                () = tokio::time::sleep(pause) => {}
                () = self.drained.notified() => {}
            }
            pause = self.renew_every();
            match self.renew().await {
                Ok(()) => {}
                // The lease goes on meanwhile.
                Err(error) if error.kind() == Kind::Timeout => {
                    tracing::debug!("the lease on {} wasn't renewed: {error}", self.target);
                    pause = AGAIN_AFTER;
                }
                Err(error) if matches!(error.kind(), Kind::Mismatch | Kind::Missing) => {
                    return error;
                }
                // Credentials expire, and proxies answer nonsense: that may pass too.
                Err(error) => {
                    tracing::debug!("the lease on {} wasn't renewed: {error}", self.target);
                }
            }
        }
    }

    /// Leaves, once nothing of it can land any more: the barrier doesn't wait for it afterwards.
    ///
    /// # Errors
    /// The store's.
    pub async fn leave(&self) -> Result<()> {
        // First of all, so that nothing begins any more.
        self.state().has_left = true;
        self.lapse(left());
        let mut item = self.item.lock().await;
        self.lapse(left());
        self.idle().await;
        match item.take() {
            Some((there, version)) => self.withdraw(&there, version).await,
            None => Ok(()),
        }
    }

    async fn register(&self) -> Result<(Participant, i64)> {
        let seconds = |time: Duration| time.as_secs_f64().ceil() as u64;
        let (name, control) = (self.name(), self.control());
        let there = self.soon(control.item::<Participant>(&self.target, &name));
        let there = there.await?;
        // The barrier has gone on without one that is gone: whatever phase it learns is the one to begin in.
        let present = there.as_ref().filter(|(there, _)| !there.gone);
        let earlier = present.and_then(|(there, _)| there.phase);
        if there.is_some() {
            self.state().late_until = self.role.clock.now() + self.role.lease.landing;
        }
        let joining = Participant {
            kind: self.role.kind,
            name: self.role.name.clone(),
            phase: earlier,
            heartbeat: 0,
            renewed_at: self.role.clock.unix_seconds(),
            lease_seconds: seconds(self.role.lease.lasts),
            operation_seconds: seconds(self.role.lease.operation),
            landing_seconds: seconds(self.role.lease.landing),
            gone: false,
            late: there.is_some() || self.is_late(),
        };
        let (on, version) = match there {
            Some((_, version)) => (
                Condition::equals(VERSION, Value::BigInt(version)),
                version + 1,
            ),
            None => (Condition::absent(), 1),
        };
        let written = control.swap(&self.target, &name, &joining, version, &on);
        if !self.soon(written).await? {
            return Err(taken_away());
        }
        if let Some(phase) = earlier {
            // The process that had this item a moment ago may have been killed, with calls on their way: that phase
            // is not let go before they have landed.
            let mut state = self.state();
            state.phase = phase;
            let now = self.role.clock.now();
            state.landing.insert(phase, now + self.role.lease.operation);
        }
        Ok((joining, version))
    }

    /// Lets new operations begin in the record's phase, and says what can be acknowledged by now.
    /// `None` if the phases have gone on without it: so it must have been taken for dead.
    fn follow(&self, there: &Participant, phase: Phase) -> Option<Phase> {
        let mut state = self.state();
        let Some(acknowledged) = there.phase else {
            // It has just registered, so whatever phase it learns is the one to begin in.
            return Some(phase);
        };
        if state.phase != phase && state.phase.transition_to(phase).is_none() {
            return None;
        }
        let now = self.role.clock.now();
        if state.phase != phase {
            state.phase_since = now;
        }
        state.phase = phase;
        let mut guards = state.guards.iter();
        let mut landing = state.landing.iter();
        let drained = guards.all(|(guarded, count)| *guarded == phase || *count == 0)
            && landing.all(|(of, until)| *of == phase || now >= *until);
        Some(if drained { phase } else { acknowledged })
    }

    fn renewed(&self, acknowledged: Phase, phase: Phase, since: Duration) {
        let mut state = self.state();
        if state.lapsed.take().is_some() {
            state.joined += 1;
            state.guards.clear();
            state.phase = phase;
            state.phase_since = self.role.clock.now();
        }
        state.acknowledged = acknowledged;
        state.until = since + self.role.lease.lasts;
        drop(state);
        self.told
            .renewed(&self.target, phase, self.role.clock.unix_seconds());
    }

    fn lapse(&self, why: Error) {
        self.state().lapsed = Some(why);
    }

    /// Whether an operation of this phase may go on.
    fn may_work(&self, state: &MemberState, phase: Phase, joined: u64) -> Result<()> {
        if let Some(error) = &state.lapsed {
            return Err(error.clone());
        }
        if joined != state.joined {
            return Err(taken_away());
        }
        let needs_none = |phase: Phase| !phase.needs_lease();
        let unleased = self.role.kind == ParticipantKind::Shim
            && needs_none(phase)
            && needs_none(state.acknowledged);
        if unleased || self.role.clock.now() < state.until {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unreachable,
            "the control record couldn't be read in time, so nothing is done until it can",
        )
        .with_context("target", self.target.as_str())
        .with_help("check that the new store is reachable; this goes on by itself once it is"))
    }

    fn name(&self) -> String {
        format!("{INSTANCE}{}", self.id)
    }

    fn state(&self) -> MutexGuard<'_, MemberState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PhaseGuard {
    /// The phase it holds.
    pub fn phase(&self) -> Phase {
        self.right.phase
    }

    /// The same hold once more, for a part of the operation that goes on beside the others: the phase is held until
    /// all of them have given it back.
    #[must_use]
    pub fn again(&self) -> PhaseGuard {
        let Right {
            member,
            phase,
            joined,
        } = &self.right;
        let mut state = member.state();
        // Else it is void, as this one is.
        if state.joined == *joined {
            *state.guards.entry(*phase).or_default() += 1;
        }
        drop(state);
        PhaseGuard {
            right: self.right.clone(),
        }
    }

    /// What a store asks before each request of this operation.
    pub fn permit(&self) -> Permit {
        let right = self.right.clone();
        Permit::new(move || right.check())
    }

    /// The new store for this operation.
    pub fn writer(&self, new: &New) -> Writer {
        Writer(new.store().clone().permitted(self.permit()))
    }

    /// The new store for an operation that changes several tables at once: of each it has a guard.
    pub fn writer_of_all(guards: &[&PhaseGuard], new: &New) -> Writer {
        let permits: Vec<Permit> = guards.iter().map(|guard| guard.permit()).collect();
        let all = Permit::new(move || permits.iter().try_for_each(Permit::ask));
        Writer(new.store().clone().permitted(all))
    }

    /// Gives the phase back, though something that was sent may land yet: it is held for as long as that
    /// takes.
    pub(super) fn release_late(self) {
        let member = &self.right.member;
        let until = member.role.clock.now() + member.role.lease.operation;
        member.state().landing.insert(self.right.phase, until);
        self.may_land_late();
    }

    /// Notes that something of this operation may land after everyone has given it up, and would do harm
    /// then; see [`Phase::fears_late_calls`].
    pub fn may_land_late(&self) {
        let member = &self.right.member;
        let until = member.role.clock.now() + member.role.lease.landing;
        member.state().late_until = until;
    }

    /// Whether the operation may go on: to be asked before each of its calls, and once more before
    /// its answer is given. An answer that comes too late has an unknown effect.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] once the lease has run out, or its item was taken away.
    pub fn check(&self) -> Result<()> {
        self.right.check()
    }
}

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        let Right {
            member,
            phase,
            joined,
        } = &self.right;
        let mut state = member.state();
        if state.joined != *joined {
            return;
        }
        let now = state.phase;
        if let Some(count) = state.guards.get_mut(phase) {
            *count = count.saturating_sub(1);
            if *count == 0 && *phase != now {
                member.drained.notify_one();
            }
        }
    }
}

fn taken_away() -> Error {
    Error::new(
        Kind::Unreachable,
        "this participant was taken for dead, because its lease had run out or an operator said so",
    )
    .with_help("it joins again by itself")
}

fn left() -> Error {
    Error::new(
        Kind::Unreachable,
        "this participant has left, or hasn't joined yet",
    )
}
