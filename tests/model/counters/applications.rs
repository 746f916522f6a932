//! What applications do.

use crossfade::protocol::Machine;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{
    AddToCounters, Added, Counted, CounterCall, CounterReply, CounterStep, Tallied, Tally,
};

use super::stores::{Late, Write};
use super::world::{ADDS_EACH, Action, Adder, Adding, Counters, Counting, World, Wrong};

impl Counters {
    /// What an application may do next.
    pub fn application_actions(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let application = &world.applications[at];
        let is_idle = application.adding.is_none() && application.counting.is_none();
        if is_idle && application.phase != world.control.phase {
            actions.push(Action::ApplicationFollows(at));
        }
        if let Some(adding) = &application.adding {
            actions.push(Action::StepAdd(at));
            if world.losses > 0 && adding.is_write() {
                actions.push(Action::LoseAdd(at));
            }
        } else if application.begun < self.adds[at].len() {
            actions.push(Action::BeginAdd(at));
        }
        if application.counting.is_some() {
            actions.push(Action::StepCount(at));
        } else if application.counts > 0 {
            actions.push(Action::BeginCount(at));
        }
    }

    pub fn begin_add(&self, world: &mut World, at: usize) {
        let acknowledged = world.acknowledged;
        let application = &mut world.applications[at];
        let by = self.adds[at][application.begun].clone();
        let add = at * ADDS_EACH + application.begun;
        application.begun += 1;
        let (machine, call) = match self.tells {
            false => {
                let mut machine = AddToCounters::new(application.phase, by);
                let CounterStep::Call(call) = machine.begin() else {
                    return;
                };
                (Adder::Add(machine), call)
            }
            true => {
                let mut machine = Tally::new(application.phase, by);
                let CounterStep::Call(call) = machine.begin() else {
                    return;
                };
                (Adder::Tally(machine), call)
            }
        };
        world.attempted |= 1 << add;
        application.adding = Some(Adding {
            machine,
            call,
            acknowledged,
        });
    }

    pub fn step_add(&self, world: &mut World, at: usize, lost: bool) {
        let application = &world.applications[at];
        let (phase, add) = (application.phase, at * ADDS_EACH + application.begun - 1);
        let Some(mut adding) = world.applications[at].adding.take() else {
            return;
        };
        let reply = if lost {
            world.losses -= 1;
            world.stores.late.push(Late {
                write: Write::Whole(adding.call.clone()),
                phase,
                add: Some(add),
            });
            CounterReply::Unknown
        } else if adding.is_write() {
            self.add(world, &adding.call, phase, add)
        } else {
            self.variant.call(&mut world.stores, &adding.call, phase)
        };
        let next = match &mut adding.machine {
            Adder::Add(machine) => match self.variant.add_step(machine, &adding.call, reply) {
                CounterStep::Call(call) => Some(call),
                CounterStep::Done(answer) => {
                    if answer == Added::Added {
                        world.acknowledged |= 1 << add;
                    }
                    None
                }
            },
            Adder::Tally(machine) => match self.variant.tally_step(machine, &adding.call, reply) {
                CounterStep::Call(call) => Some(call),
                CounterStep::Done(Tallied::Added(counted)) => {
                    world.acknowledged |= 1 << add;
                    self.told(world, &counted, phase, adding.acknowledged | 1 << add);
                    None
                }
                CounterStep::Done(Tallied::Refused | Tallied::Unknown) => None,
            },
        };
        if let Some(call) = next {
            adding.call = call;
            world.applications[at].adding = Some(adding);
        }
    }

    /// What an add was told: at least itself and all that had been acknowledged; and from `copy` on never what another
    /// one was.
    fn told(&self, world: &mut World, counted: &Counted, phase: Phase, known: u32) {
        if !self.is_within(world, counted, known) {
            world.wrong.get_or_insert(Wrong::Tally);
        }
        let is_alone = match phase {
            Phase::Old | Phase::Bridge | Phase::Switch | Phase::Offline => true,
            Phase::Copy | Phase::New | Phase::Done => match counted {
                Counted::Total(totals) => world.told.insert(totals.clone()),
                Counted::OutOfRange { .. } | Counted::Refused => false,
            },
        };
        if !is_alone {
            world.wrong.get_or_insert(Wrong::Told);
        }
    }

    /// Carries out an add.
    pub fn add(
        &self,
        world: &mut World,
        call: &CounterCall,
        phase: Phase,
        add: usize,
    ) -> CounterReply {
        let reply = self.variant.call(&mut world.stores, call, phase);
        if let CounterReply::Written | CounterReply::New(_) = reply {
            world.landed |= 1 << add;
        }
        reply
    }

    pub fn begin_count(&self, world: &mut World, at: usize) {
        let acknowledged = world.acknowledged;
        let application = &mut world.applications[at];
        application.counts -= 1;
        let mut count = self.variant.count(application.phase);
        if let CounterStep::Call(call) = count.begin() {
            application.counting = Some(Counting {
                count,
                call,
                acknowledged,
            });
        }
    }

    pub fn step_count(&self, world: &mut World, at: usize) {
        let phase = world.applications[at].phase;
        let Some(mut counting) = world.applications[at].counting.take() else {
            return;
        };
        let reply = self.variant.call(&mut world.stores, &counting.call, phase);
        match counting.count.step(self.variant.shown(reply)) {
            CounterStep::Call(call) => {
                counting.call = call;
                world.applications[at].counting = Some(counting);
            }
            CounterStep::Done(counted) => {
                if !self.is_within(world, &counted, counting.acknowledged) {
                    world.wrong.get_or_insert(Wrong::Count);
                }
            }
        }
    }
}
