//! What has to hold in every state.

use crossfade::protocol::Machine;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{
    Counted, CounterCall, CounterItem, CounterReply, CounterStep, Totals,
};

use super::world::{ADDS_EACH, Counters, World};

/// A column's number; null counts as 0.
fn number(totals: &[Option<i64>], column: usize) -> i64 {
    totals.get(column).copied().flatten().unwrap_or(0)
}

/// Whether every column is the same; those missing at the end are null.
fn same(one: &[Option<i64>], other: &[Option<i64>]) -> bool {
    let at = |totals: &[Option<i64>], column| totals.get(column).copied().flatten();
    (0..one.len().max(other.len())).all(|column| at(one, column) == at(other, column))
}

impl Counters {
    /// What each of a set of adds, given as bits, adds to a column.
    fn parts(&self, adds: u32, column: usize) -> impl Iterator<Item = i64> {
        let each = move |add: usize| self.adds[add / ADDS_EACH][add % ADDS_EACH][column];
        (0..32)
            .filter(move |add| adds & (1 << add) != 0)
            .filter_map(each)
    }

    /// The old store's totals at the beginning, and all adds that have landed.
    fn applied(&self, world: &World) -> Totals {
        let total = |(column, old): (usize, &Option<i64>)| {
            let mut parts = self.parts(world.landed, column).peekable();
            match (old, parts.peek()) {
                (None, None) => None,
                (old, _) => Some(old.unwrap_or(0) + parts.sum::<i64>()),
            }
        };
        self.old.iter().enumerate().map(total).collect()
    }

    /// What somebody in this phase would show, were nothing to happen meanwhile.
    fn shown(&self, world: &World, phase: Phase) -> Counted {
        let mut stores = world.stores.clone();
        let mut count = self.variant.count(phase);
        let mut step = count.begin();
        loop {
            match step {
                CounterStep::Call(call) => {
                    step = count.step(self.variant.call(&mut stores, &call, phase))
                }
                CounterStep::Done(counted) => return counted,
            }
        }
    }

    fn item(&self, world: &World) -> CounterItem {
        let mut stores = world.stores.clone();
        let phase = world.control.phase;
        match self.variant.call(&mut stores, &CounterCall::ReadNew, phase) {
            CounterReply::New(item) => item.unwrap_or_default(),
            reply => panic!("{reply:?} isn't an item"),
        }
    }

    /// `c - w` of each column.
    pub fn beyond(&self, world: &World) -> Vec<i64> {
        let CounterItem { totals, watermarks } = self.item(world);
        let beyond = |column| number(&totals, column) - number(&watermarks, column);
        (0..self.old.len()).map(beyond).collect()
    }

    /// Whether a count lies between all that was acknowledged when it began and all that is attempted.
    /// What takes away does so the other way round.
    pub fn is_within(&self, world: &World, counted: &Counted, acknowledged: u32) -> bool {
        let Counted::Total(totals) = counted else {
            return false;
        };
        (0..self.old.len()).all(|column| {
            let up = |adds| -> i64 { self.parts(adds, column).filter(|by| *by > 0).sum() };
            let down = |adds| -> i64 { self.parts(adds, column).filter(|by| *by < 0).sum() };
            let old = number(&self.old, column);
            let least = old + up(acknowledged) + down(world.attempted);
            let most = old + up(world.attempted) + down(acknowledged);
            (least..=most).contains(&number(totals, column))
        })
    }

    /// Every phase that somebody is in, or may join in.
    pub fn live_phases(world: &World) -> impl Iterator<Item = Phase> {
        let applications = world.applications.iter().map(|a| a.phase);
        let copiers = world.copiers.iter().map(|c| c.phase);
        let control = std::iter::once(world.control.phase);
        applications.chain(copiers).chain(control)
    }

    pub fn conserves(&self, world: &World) -> bool {
        let applied = self.applied(world);
        let holds = |phase: Phase| match self.shown(world, phase) {
            Counted::Total(totals) => same(&totals, &applied),
            Counted::OutOfRange { .. } => false,
            Counted::Refused => phase == Phase::Offline,
        };
        let mut seen = Vec::new();
        Self::live_phases(world).all(|phase| {
            let shown = phase.counter_shown();
            let is_new = !seen.contains(&shown);
            seen.push(shown);
            !is_new || holds(phase)
        })
    }

    pub fn new_is_settled(&self, world: &World) -> bool {
        let shows_new = |phase| matches!(phase, Phase::New | Phase::Done);
        if !Self::live_phases(world).any(shows_new) {
            return true;
        }
        let old = world.stores.old.as_deref().unwrap_or_default();
        same(&self.item(world).watermarks, old)
    }
}
