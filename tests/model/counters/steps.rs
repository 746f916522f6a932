//! Every order in which the steps of all can fall, and the barrier between the phases.

use std::collections::BTreeSet;

use crossfade::protocol::Phase;
use stateright::{Model, Property};

use super::stores::{Late, Stores, Write};
use super::world::{Action, Application, Control, Copier, Counters, Work, World, Wrong};

impl Counters {
    /// Whether all are in the phase of the control record, and nothing from before can land any more.
    pub fn everybody_is_here(&self, world: &World) -> bool {
        let phase = world.control.phase;
        let copiers_are = || world.copiers.iter().all(|copier| copier.phase == phase);
        world.applications.iter().all(|app| app.phase == phase)
            && (!self.variant.waits_for_copiers() || copiers_are())
            && world.stores.late.iter().all(|late| {
                late.phase == phase || (late.add.is_some() && !self.variant.waits_for_adds())
            })
    }

    fn next_phase(&self, world: &World) -> Option<Phase> {
        let next = *self.walk.get(world.control.place + 1)?;
        let control = &world.control;
        let may_enter = match next {
            Phase::New | Phase::Done => self.variant.may_enter_new(control.settled, control.freeze),
            Phase::Old => self.variant.may_return_to_old(world.stores.new.as_ref()),
            Phase::Bridge | Phase::Switch | Phase::Copy | Phase::Offline => true,
        };
        (may_enter && self.everybody_is_here(world)).then_some(next)
    }

    /// The walk has come to its end, with every add and count after it.
    fn all_is_done(&self, world: &World) -> bool {
        let is_done = |(at, application): (usize, &Application)| {
            application.begun == self.adds[at].len() && application.counts == 0
        };
        world.control.place + 1 == self.walk.len()
            && self.everybody_is_here(world)
            && world.applications.iter().enumerate().all(is_done)
    }
}

impl Model for Counters {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let is_lawful = |step: &[Phase]| step[0].transition_to(step[1]).is_some();
        assert!(self.walk.windows(2).all(is_lawful), "{:?}", self.walk);
        let phase = self.walk[0];
        let application = |counts: &u8| Application {
            phase,
            begun: 0,
            adding: None,
            counts: *counts,
            counting: None,
        };
        let copier = Copier {
            phase,
            freeze: 0,
            journal: None,
            work: Work::Idle,
        };
        let is_there = self.old.iter().any(Option::is_some);
        vec![World {
            stores: Stores {
                old: is_there.then(|| self.old.clone()),
                new: None,
                late: vec![],
            },
            control: Control {
                phase,
                place: 0,
                freeze: 0,
                settled: None,
            },
            copiers: vec![copier; self.copiers],
            applications: self.counts.iter().map(application).collect(),
            attempted: 0,
            landed: 0,
            acknowledged: 0,
            kills: self.kills,
            losses: self.losses,
            told: BTreeSet::new(),
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.next_phase(world).is_some() {
            actions.push(Action::Move);
        }
        for at in 0..world.copiers.len() {
            self.copier_actions(world, at, actions);
        }
        for at in 0..world.applications.len() {
            self.application_actions(world, at, actions);
        }
        for at in 0..world.stores.late.len() {
            actions.push(Action::Land(at));
            actions.push(Action::Vanish(at));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Move => {
                let control = &mut next.control;
                control.phase = self.next_phase(world)?;
                control.place += 1;
                if control.phase == Phase::Copy {
                    control.freeze += 1;
                }
            }
            Action::CopierFollows(at) => {
                next.copiers[at].phase = next.control.phase;
                next.copiers[at].freeze = next.control.freeze;
            }
            Action::ApplicationFollows(at) => next.applications[at].phase = next.control.phase,
            Action::Scan(at) => {
                next.copiers[at].work = self.scan(world, &world.copiers[at])?;
            }
            Action::CopierStep(at) => self.copier_step(&mut next, at),
            Action::Kill(at, journal) => self.kill(&mut next, at, journal),
            Action::LoseFold(at) => self.lose_fold(&mut next, at),
            Action::BeginAdd(at) => self.begin_add(&mut next, at),
            Action::StepAdd(at) => self.step_add(&mut next, at, false),
            Action::LoseAdd(at) => self.step_add(&mut next, at, true),
            Action::BeginCount(at) => self.begin_count(&mut next, at),
            Action::StepCount(at) => self.step_count(&mut next, at),
            Action::Land(at) => {
                let Late { write, phase, add } = next.stores.late.remove(at);
                match (write, add) {
                    (Write::Whole(call), Some(add)) => self.add(&mut next, &call, phase, add),
                    (write, _) => self.fold(&mut next, &write, phase),
                };
            }
            Action::Vanish(at) => {
                next.stores.late.remove(at);
            }
        }
        next.order_copiers();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("conservation", |model: &Self, world: &World| {
                model.conserves(world)
            }),
            Property::always("new_is_settled", |model: &Self, world: &World| {
                model.new_is_settled(world)
            }),
            Property::always("count_within", |_, world: &World| {
                world.wrong != Some(Wrong::Count)
            }),
            Property::always("tally_within", |_, world: &World| {
                world.wrong != Some(Wrong::Tally)
            }),
            Property::always("tallies_differ", |_, world: &World| {
                world.wrong != Some(Wrong::Told)
            }),
            Property::always("fold_preserves", |_, world: &World| {
                world.wrong != Some(Wrong::Fold)
            }),
            Property::always("no_false_alarm", |_, world: &World| {
                world.wrong != Some(Wrong::Alarm)
            }),
            Property::sometimes("all is done", |model: &Self, world: &World| {
                model.all_is_done(world)
            }),
            Property::sometimes("two phases at once", |_, world: &World| {
                Self::live_phases(world).any(|phase| phase != world.control.phase)
            }),
        ];
        if self.losses > 0 || self.kills > 0 {
            let is_late = |_: &Self, world: &World| !world.stores.late.is_empty();
            properties.push(Property::sometimes("a write is late", is_late));
        }
        properties
    }
}
