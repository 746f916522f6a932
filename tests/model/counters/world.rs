//! One counter row, and everyone who has to do with it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crossfade::protocol::Phase;
use crossfade::protocol::counter::{
    AddToCounters, Count, CounterCall, FoldCounters, Pass, Rules, Tally, Totals,
};

use super::stores::Stores;
use super::variants::Variant;

/// A size of the model.
#[derive(Clone)]
pub struct Counters {
    pub rules: Rules,
    /// The row in the old store at the beginning.
    pub old: Totals,
    /// The phases that the table is moved through.
    pub walk: Vec<Phase>,
    /// What each application adds, one after the other.
    pub adds: Vec<Vec<Totals>>,
    /// Whether applications want to know the totals after their adds.
    pub tells: bool,
    /// How often each application counts, beside its adds.
    pub counts: Vec<u8>,
    pub copiers: usize,
    /// How often a copier is killed.
    pub kills: u8,
    /// How often a reply is lost.
    pub losses: u8,
    /// Who follows which rule.
    pub variant: &'static dyn Variant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub stores: Stores,
    pub control: Control,
    pub copiers: Vec<Copier>,
    pub applications: Vec<Application>,
    /// Of all adds, as bits: called for, landed, answered.
    pub attempted: u32,
    pub landed: u32,
    pub acknowledged: u32,
    pub kills: u8,
    pub losses: u8,
    /// The totals that adds were told which began in `copy` or later.
    pub told: BTreeSet<Totals>,
    /// The first step that was wrong in itself.
    pub wrong: Option<Wrong>,
}

impl World {
    /// Copiers are alike: which of them is the first makes no other world.
    pub fn order_copiers(&mut self) {
        if self.copiers.len() > 1 {
            self.copiers.sort_by_cached_key(|copier| {
                let mut hasher = DefaultHasher::new();
                copier.hash(&mut hasher);
                hasher.finish()
            });
        }
    }
}

/// The control record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Control {
    pub phase: Phase,
    /// How far the walk has come.
    pub place: usize,
    pub freeze: u64,
    pub settled: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copier {
    pub phase: Phase,
    /// The freeze that it has read along with the phase.
    pub freeze: u64,
    pub journal: Option<Totals>,
    pub work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Idle,
    Folding {
        fold: FoldCounters,
        call: CounterCall,
        pass: Pass,
    },
    /// The row is folded, and the journal doesn't know yet.
    Noting {
        totals: Totals,
        is_settled: bool,
    },
    /// The settling pass is over, and the control record doesn't know yet.
    Settled,
}

impl Work {
    /// What is left to do when the row is folded and noted. The row is the whole table.
    pub fn after(is_settled: bool) -> Self {
        match is_settled {
            true => Work::Settled,
            false => Work::Idle,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Application {
    pub phase: Phase,
    /// How many of its adds it has begun.
    pub begun: usize,
    pub adding: Option<Adding>,
    pub counts: u8,
    pub counting: Option<Counting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Adding {
    pub machine: Adder,
    pub call: CounterCall,
    /// The adds that had been answered when it began.
    pub acknowledged: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Adder {
    Add(AddToCounters),
    Tally(Tally),
}

impl Adding {
    /// Whether the call that is out is the add itself.
    pub fn is_write(&self) -> bool {
        matches!(
            self.call,
            CounterCall::Add { .. } | CounterCall::AddAndTell { .. }
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counting {
    pub count: Count,
    pub call: CounterCall,
    /// The adds that had been answered when it began.
    pub acknowledged: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A count was below what was acknowledged before it began, or above what was attempted.
    Count,
    /// An add was told a total that can't be there after it.
    Tally,
    /// Two adds were told the same total.
    Told,
    /// A copier's write changed `c - w`.
    Fold,
    /// A copier took a total for one that went down.
    Alarm,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The control record goes on to the next phase of the walk.
    Move,
    /// Somebody sees that it has.
    CopierFollows(usize),
    ApplicationFollows(usize),
    /// A scan of the old store comes upon the row.
    Scan(usize),
    /// The call that a fold wants, or what comes after it.
    CopierStep(usize),
    /// A copier is killed, its write perhaps on its way, and starts with this journal.
    Kill(usize, Option<Totals>),
    /// The copier's write is on its way, and its reply is lost.
    LoseFold(usize),
    BeginAdd(usize),
    StepAdd(usize),
    LoseAdd(usize),
    BeginCount(usize),
    StepCount(usize),
    /// A write that nothing waits for any more.
    Land(usize),
    Vanish(usize),
}

/// Adds are numbered in steps of this, from one application to the next.
pub const ADDS_EACH: usize = 8;
