//! What copiers do.

use std::collections::BTreeSet;

use crossfade::protocol::Machine;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{
    CounterCall, CounterReply, CounterStep, FoldCounters, Folded, Pass, Totals,
};

use super::stores::{Late, Write};
use super::world::{Action, Copier, Counters, Work, World, Wrong};

impl Counters {
    /// What a copier may do next.
    pub fn copier_actions(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let copier = &world.copiers[at];
        match &copier.work {
            Work::Idle => {
                if copier.phase != world.control.phase {
                    actions.push(Action::CopierFollows(at));
                }
                if self.scan(world, copier).is_some() {
                    actions.push(Action::Scan(at));
                }
                return;
            }
            Work::Folding { call, .. } if is_write(call) && world.losses > 0 => {
                actions.push(Action::LoseFold(at));
            }
            Work::Folding { .. } | Work::Noting { .. } | Work::Settled => {}
        }
        actions.push(Action::CopierStep(at));
        if world.kills > 0 {
            // Its own, that of another copier, or none.
            let journals = world.copiers.iter().map(|copier| copier.journal.clone());
            let journals: BTreeSet<_> = journals.chain([None]).collect();
            actions.extend(journals.into_iter().map(|j| Action::Kill(at, j)));
        }
    }

    fn pass(&self, world: &World, phase: Phase) -> Option<Pass> {
        let everybody = phase == world.control.phase && self.everybody_is_here(world);
        [Pass::Settling, Pass::CatchUp]
            .into_iter()
            .find(|pass| self.variant.may_begin(*pass, phase, everybody))
    }

    /// The row comes up in a copier's scan. `None` if there is nothing to do.
    pub fn scan(&self, world: &World, copier: &Copier) -> Option<Work> {
        let pass = self.pass(world, copier.phase)?;
        let passed_over = (pass == Pass::Settling).then(|| Work::after(true));
        let Some(scanned) = world.stores.old.clone() else {
            return passed_over;
        };
        let rules = self.rules;
        let remembered = copier.journal.as_deref();
        if self.variant.may_skip(pass, rules, remembered, &scanned) {
            return passed_over;
        }
        let mut fold = match remembered {
            None => FoldCounters::first(rules, scanned),
            Some(_) => FoldCounters::again(rules, scanned),
        };
        match fold.begin() {
            CounterStep::Call(call) => Some(Work::Folding { fold, call, pass }),
            CounterStep::Done(_) => unreachable!("a fold looks before it answers"),
        }
    }

    pub fn copier_step(&self, world: &mut World, at: usize) {
        let Copier {
            phase,
            journal,
            work,
            ..
        } = world.copiers[at].clone();
        world.copiers[at].work = match work {
            Work::Idle => Work::Idle,
            Work::Folding {
                mut fold,
                call,
                pass,
            } => {
                let reply = if is_write(&call) {
                    self.fold(world, &Write::Whole(call.clone()), phase)
                } else {
                    self.variant.call(&mut world.stores, &call, phase)
                };
                let step = self
                    .variant
                    .fold_step(&mut fold, &call, reply, journal.as_deref());
                self.folded(world, at, fold, step, pass)
            }
            Work::Noting { totals, is_settled } => {
                world.copiers[at].journal = Some(totals);
                Work::after(is_settled)
            }
            Work::Settled => {
                world.control.settled = Some(world.copiers[at].freeze);
                Work::Idle
            }
        };
    }

    fn folded(
        &self,
        world: &mut World,
        at: usize,
        fold: FoldCounters,
        step: CounterStep<Folded>,
        pass: Pass,
    ) -> Work {
        let folded = match step {
            CounterStep::Call(call) => return Work::Folding { fold, call, pass },
            CounterStep::Done(folded) => folded,
        };
        let is_settled = pass == Pass::Settling && folded.is_settled();
        match folded {
            Folded::Folded { totals } | Folded::Unchanged { totals } if world.kills > 0 => {
                Work::Noting { totals, is_settled }
            }
            // A step of its own only matters where somebody can be killed before it.
            Folded::Folded { totals } | Folded::Unchanged { totals } => {
                world.copiers[at].journal = Some(totals);
                Work::after(is_settled)
            }
            Folded::WentDown(_) | Folded::Gone => {
                world.wrong.get_or_insert(Wrong::Alarm);
                Work::after(is_settled)
            }
        }
    }

    /// Carries out a copier's write, and looks at what it did.
    pub fn fold(&self, world: &mut World, write: &Write, phase: Phase) -> CounterReply {
        let before = self.beyond(world);
        let reply = match write {
            Write::Whole(call) => self.variant.call(&mut world.stores, call, phase),
            Write::Watermarks(moves) => {
                world.stores.set_watermarks(moves);
                CounterReply::Written
            }
        };
        if self.beyond(world) != before {
            world.wrong.get_or_insert(Wrong::Fold);
        }
        reply
    }

    pub fn kill(&self, world: &mut World, at: usize, journal: Option<Totals>) {
        world.kills -= 1;
        self.send_late_fold(world, at);
        world.copiers[at] = Copier {
            phase: world.control.phase,
            freeze: world.control.freeze,
            journal,
            work: Work::Idle,
        };
    }

    /// Leaves a copier's write, if it is at one, to itself.
    fn send_late_fold(&self, world: &mut World, at: usize) {
        let Copier { phase, work, .. } = &world.copiers[at];
        let Work::Folding { call, .. } = work else {
            return;
        };
        if is_write(call) {
            let late = Late {
                write: Write::Whole(call.clone()),
                phase: *phase,
                add: None,
            };
            world.stores.late.push(late);
        }
    }

    pub fn lose_fold(&self, world: &mut World, at: usize) {
        world.losses -= 1;
        self.send_late_fold(world, at);
        let Copier { journal, work, .. } = world.copiers[at].clone();
        if let Work::Folding {
            mut fold,
            call,
            pass,
        } = work
        {
            let step =
                self.variant
                    .fold_step(&mut fold, &call, CounterReply::Unknown, journal.as_deref());
            world.copiers[at].work = self.folded(world, at, fold, step, pass);
        }
    }
}

fn is_write(call: &CounterCall) -> bool {
    match call {
        CounterCall::ReadNew | CounterCall::ReadOld => false,
        CounterCall::Insert(_)
        | CounterCall::Fold(_)
        | CounterCall::Add { .. }
        | CounterCall::AddAndTell { .. } => true,
    }
}
