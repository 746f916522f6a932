//! What applications do.

use crossfade::protocol::Machine;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{AddToCounters, Added, CounterCall, CounterReply, CounterStep};

use super::stores::{Late, Write};
use super::world::{ADDS_EACH, Action, Counters, Counting, World, Wrong};

impl Counters {
    /// What an application may do next.
    pub fn application_actions(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let application = &world.applications[at];
        let is_idle = application.adding.is_none() && application.counting.is_none();
        if is_idle && application.phase != world.control.phase {
            actions.push(Action::ApplicationFollows(at));
        }
        if application.adding.is_some() {
            actions.push(Action::StepAdd(at));
            if world.losses > 0 {
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
        let application = &mut world.applications[at];
        let by = self.adds[at][application.begun].clone();
        let add = at * ADDS_EACH + application.begun;
        application.begun += 1;
        let mut machine = AddToCounters::new(application.phase, by);
        if let CounterStep::Call(call) = machine.begin() {
            world.attempted |= 1 << add;
            application.adding = Some((machine, call));
        }
    }

    pub fn step_add(&self, world: &mut World, at: usize, lost: bool) {
        let application = &world.applications[at];
        let (phase, add) = (application.phase, at * ADDS_EACH + application.begun - 1);
        let Some((mut machine, call)) = application.adding.clone() else {
            return;
        };
        let reply = if lost {
            world.losses -= 1;
            world.stores.late.push(Late {
                write: Write::Whole(call.clone()),
                phase,
                add: Some(add),
            });
            CounterReply::Unknown
        } else {
            self.add(world, &call, phase, add)
        };
        world.applications[at].adding = match self.variant.add_step(&mut machine, &call, reply) {
            CounterStep::Call(call) => Some((machine, call)),
            CounterStep::Done(answer) => {
                if answer == Added::Added {
                    world.acknowledged |= 1 << add;
                }
                None
            }
        };
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
        if reply == CounterReply::Written {
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
