//! What may be spent of one thing: units written, or rows read.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::adaptive::{AdaptiveLimit, SETTLING, StepDown};
use super::meter::Meter;
use crate::clock::Clock;

/// How much of what a call has cost goes into what the next one is thought to cost.
const LEARNED: f64 = 0.1;
/// Over how long a rate is measured.
const LATELY: Duration = Duration::from_secs(1);
/// How much may be saved up beneath a ceiling, and beneath a limit that a store has set, in seconds.
const SAVED: f64 = 1.0;
const SAVED_WITHIN_LIMIT: f64 = 0.1;
/// The most that is owed beneath a limit that a store has set, in seconds.
const MOST_OWED: f64 = 2.0;
/// What held a call up counts as the reason of the pace for so long.
pub(super) const TELLING: Duration = Duration::from_secs(3);

/// What an operator and the plan want of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Orders {
    /// The most in a second; none is no ceiling.
    pub ceiling: Option<f64>,
    pub is_paused: bool,
    /// By the machine's clock: past it nobody knows what an operator wants, and nothing is taken. None is for ever.
    pub valid_until: Option<Duration>,
}

/// Why a call had to wait, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBy {
    Ceiling,
    Store,
    Operator,
    /// The control table doesn't say what operators want.
    Ignorance,
}

/// What one call has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub begun: Instant,
    amount: f64,
}

/// How a call went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// What it has cost, and what of it could be done.
    pub done: f64,
    /// Things that couldn't be done: the store asked to send them later, or didn't answer.
    pub refused: usize,
}

#[derive(Debug)]
pub(super) struct Account {
    state: Mutex<AccountState>,
    /// Everybody in turn, so that no large call waits for ever.
    turn: tokio::sync::Mutex<()>,
    /// For the one whose turn it is: what may be spent has changed.
    changed: Notify,
}

#[derive(Debug)]
struct AccountState {
    orders: Orders,
    limit: AdaptiveLimit,
    /// Below 0 it is overdrawn.
    balance: f64,
    /// When that was.
    at: Instant,
    /// What one thing has cost lately.
    usual: f64,
    done: Meter,
    asked: Meter,
    held: Option<(HeldBy, Instant)>,
}

impl AccountState {
    /// What may be spent in a second, what of it may be saved up, and what holds it there.
    fn rate(&mut self, now: Instant) -> Option<(f64, f64, HeldBy)> {
        let taken = self.done.rate(now, LATELY);
        let limit = self.limit.now(now, taken);
        match (self.orders.ceiling, limit) {
            (None, None) => None,
            (Some(ceiling), Some(limit)) if limit < ceiling => {
                Some((limit, limit * SAVED_WITHIN_LIMIT, HeldBy::Store))
            }
            (Some(ceiling), None | Some(_)) => Some((ceiling, ceiling * SAVED, HeldBy::Ceiling)),
            (None, Some(limit)) => Some((limit, limit * SAVED_WITHIN_LIMIT, HeldBy::Store)),
        }
    }

    fn is_unsure(&self) -> bool {
        let until = self.orders.valid_until;
        until.is_some_and(|until| Clock::Machine.now() >= until)
    }

    /// Takes what `count` things usually cost, or says when to look again; while it is paused there is nothing to look at.
    fn take(&mut self, count: usize) -> Result<Taken, Option<Duration>> {
        let now = Instant::now();
        let hold = match (self.orders.is_paused, self.is_unsure()) {
            (true, _) => Some(HeldBy::Operator),
            (false, true) => Some(HeldBy::Ignorance),
            (false, false) => None,
        };
        if let Some(why) = hold {
            self.held = Some((why, now));
            return Err(None);
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let amount = self.usual * count as f64;
        if let Some((rate, saved, why)) = self.rate(now) {
            let mut balance = self.balance + passed * rate;
            if matches!(why, HeldBy::Store) {
                // A page larger than thought isn't paid off for minutes at the rate of a store that suffers.
                balance = balance.max(-rate * MOST_OWED);
            }
            // A call that costs more than may be saved up has to be made too.
            let needed = amount.min(saved);
            self.balance = balance.min(saved.max(needed));
            let missing = needed - self.balance;
            if missing > 1e-9 {
                self.held = Some((why, now));
                // A limit rises meanwhile, so that less has to be waited for.
                let wait = (missing / rate.max(1e-3)).min(SETTLING.as_secs_f64());
                return Err(Some(Duration::from_secs_f64(wait)));
            }
            self.balance -= amount;
        } else {
            // What was done without a limit is no debt beneath one that comes later.
            self.balance = 0.0;
        }
        Ok(Taken { begun: now, amount })
    }
}

impl Account {
    /// One of which a thing is thought to cost this, until it has been seen.
    pub(super) fn new(ceiling: Option<f64>, usual: f64) -> Self {
        Account {
            state: Mutex::new(AccountState {
                orders: Orders {
                    ceiling,
                    ..Orders::default()
                },
                limit: AdaptiveLimit::default(),
                balance: 0.0,
                at: Instant::now(),
                usual,
                done: Meter::new(),
                asked: Meter::new(),
                held: None,
            }),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes what `count` things usually cost, once that has come in.
    pub(super) async fn take(&self, count: usize) -> Taken {
        let _turn = self.turn.lock().await;
        loop {
            let wait = match self.state().take(count) {
                Ok(taken) => return taken,
                Err(wait) => wait,
            };
            let changed = self.changed.notified();
            match wait {
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// A call of `count` things is over.
    pub(super) fn settle(&self, count: usize, taken: Taken, spent: Spent) {
        let now = Instant::now();
        let mut state = self.state();
        let done = count.saturating_sub(spent.refused);
        // What couldn't be done was asked for all the same.
        let cost = spent.done + state.usual * spent.refused as f64;
        state.balance += taken.amount - cost;
        if done > 0 {
            let each = spent.done / done as f64;
            state.usual += (each - state.usual) * LEARNED;
        }
        state.done.add(now, spent.done);
        state.asked.add(now, cost);
    }

    /// Puts back what a call has taken of which nothing is known.
    pub(super) fn forgo(&self, taken: Taken) {
        self.state().balance += taken.amount;
    }

    /// The store asks for less than this. `to` is the part of it that is left at most; `is_measured` says whether
    /// what it has done meanwhile is all that it can.
    pub(super) fn step_down(&self, to: f64, is_measured: bool, least: f64) {
        let now = Instant::now();
        let mut state = self.state();
        let since = state
            .limit
            .stepped()
            .map_or(LATELY, |stepped| now.saturating_duration_since(stepped));
        let over = since.clamp(SETTLING, LATELY);
        let borne = is_measured.then(|| state.done.rate(now, over));
        let asked = state.asked.rate(now, over);
        let step = StepDown {
            to,
            borne,
            asked,
            least,
        };
        state.limit.step_down(now, step);
        state.balance = state.balance.min(0.0);
        drop(state);
        self.changed.notify_one();
    }

    /// The store is well, by a call that began then.
    pub(super) fn is_well(&self, begun: Instant) {
        let mut state = self.state();
        if state.limit.is_told_by(begun) {
            state.limit.is_well(Instant::now());
        }
    }

    /// Whether a call that began then tells anything of the present limit.
    pub(super) fn is_told_by(&self, begun: Instant) -> bool {
        self.state().limit.is_told_by(begun)
    }

    /// What one thing costs, as far as that is known.
    pub(super) fn usual(&self) -> f64 {
        self.state().usual
    }

    pub(super) fn order(&self, orders: Orders) {
        self.state().orders = orders;
        self.changed.notify_one();
    }

    pub(super) fn orders(&self) -> Orders {
        self.state().orders
    }

    /// The most in a second, and whether a store has set it; what is done in a second; and what has held up calls lately.
    pub(super) fn now(&self) -> (Option<(f64, bool)>, f64, Option<HeldBy>) {
        let now = Instant::now();
        let mut state = self.state();
        let rate = state.rate(now);
        let rate = rate.map(|(rate, _, why)| (rate, why == HeldBy::Store));
        let done = state.done.rate(now, LATELY);
        let held = match (state.orders.is_paused, state.is_unsure()) {
            (true, _) => Some(HeldBy::Operator),
            (false, true) => Some(HeldBy::Ignorance),
            (false, false) => {
                let lately = state
                    .held
                    .filter(|(_, at)| now.saturating_duration_since(*at) < TELLING);
                lately.map(|(why, _)| why)
            }
        };
        (rate, done, held)
    }

    fn state(&self) -> MutexGuard<'_, AccountState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
