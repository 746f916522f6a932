//! Somebody who writes, somebody who moves the table, and what lies in two keys.

use std::collections::BTreeSet;
use std::time::Duration;

use crossfade::control::{Participant, ParticipantKind};
use crossfade::protocol::Phase;
use stateright::{Model, Property};

/// Nothing that was acknowledged is hidden.
pub const SEEN: &str = "P1: what was acknowledged is seen";
/// Nothing goes that was copied since.
pub const STAYS: &str = "P2: what was copied after a reset stays";
/// The rules let the table through though a writer stands still for ever.
const ARRIVES: &str = "the table arrives though somebody stands still";
/// Who stood still goes on afterwards, and writes nothing.
const GIVES_UP: &str = "who stood still gives up when the table has arrived";

/// Rows that a call of several requests is about.
const KEYS: usize = 2;
/// A moment after everything that is waited for.
const LAST: u8 = 8;
const LEASE: u64 = 1;
const OPERATION: u64 = 1;
const LANDING: u64 = 2;

/// The rules that a mutant changes.
pub trait Rules: Send + Sync {
    /// A permit is asked before each request, rather than before the first one of a call.
    fn asks_before_each(&self) -> bool {
        true
    }
    /// The barrier waits for what may still land, before steps that fear it.
    fn waits_for_landing(&self) -> bool {
        true
    }
    /// Such a one registers, and holds a permit.
    fn joins(&self, _: ParticipantKind) -> bool {
        true
    }
    /// Whoever stood still sees by the clock of its lease that time has passed.
    fn lease_clock_goes_on(&self) -> bool {
        true
    }
    /// It signs with the right time.
    fn signs_with_the_right_time(&self) -> bool {
        true
    }
    /// The service takes no request that was signed longer ago than the landing time.
    fn service_refuses_old_requests(&self) -> bool {
        true
    }
}

pub struct AsDesigned;

impl Rules for AsDesigned {}

#[derive(Clone)]
pub struct Permits {
    pub start: World,
    /// The phases that the table is moved through.
    pub walk: Vec<Phase>,
    pub rules: &'static dyn Rules,
}

/// What the new store has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Absent,
    Copied,
    Application,
}

/// How far a request is that hasn't been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    Begins,
    /// Signed then.
    Signed(u8),
    /// And permitted.
    Permitted(u8),
}

/// A request on its way: for a key, signed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    key: usize,
    signed: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    pub kind: ParticipantKindHash,
    /// The key of its next request; as many as there are, and it has sent all.
    key: usize,
    next: Next,
    /// A permit was asked in this call.
    has_asked: bool,
    /// When its lease ends by its own clock, and what that shows.
    until: u8,
    clock: u8,
    stands_still: bool,
    has_stood_still: bool,
    /// It works no more: it has seen that it may not.
    is_over: bool,
    /// Its item is there.
    is_registered: bool,
    /// It was taken for dead.
    is_gone: bool,
}

/// The library's kinds have no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParticipantKindHash(pub ParticipantKind);

impl std::hash::Hash for ParticipantKindHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: u8,
    place: usize,
    /// Since when the barrier has seen the writer's item unchanged.
    since: Option<u8>,
    writer: Writer,
    wire: BTreeSet<Sent>,
    new: [Item; KEYS],
    /// Whether an application has written a key to the old store, and was told so.
    acknowledged: [bool; KEYS],
    /// Whether a copy has arrived since the target was emptied.
    is_copied: bool,
}

impl World {
    pub fn new(kind: ParticipantKind, phase: Phase) -> Self {
        let there = match phase {
            Phase::Offline => Item::Copied,
            _ => Item::Absent,
        };
        World {
            now: 0,
            place: 0,
            since: None,
            writer: Writer {
                kind: ParticipantKindHash(kind),
                key: 0,
                next: Next::Begins,
                has_asked: false,
                until: LEASE as u8,
                clock: 0,
                stands_still: false,
                has_stood_still: false,
                is_over: false,
                is_registered: true,
                is_gone: false,
            },
            wire: BTreeSet::new(),
            new: [there; KEYS],
            acknowledged: [false; KEYS],
            is_copied: false,
        }
    }

    /// The writer's item, as the barrier reads it.
    fn participant(&self, phase: Phase) -> Participant {
        Participant {
            kind: self.writer.kind.0,
            name: String::new(),
            phase: Some(phase),
            heartbeat: 0,
            renewed_at: None,
            lease_seconds: LEASE,
            operation_seconds: OPERATION,
            landing_seconds: LANDING,
            gone: self.writer.is_gone,
            late: false,
        }
    }

    fn silent(&self) -> Option<Duration> {
        let since = self.since?;
        Some(Duration::from_secs(u64::from(self.now - since)))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Time passes.
    Tick,
    /// The writer stands still, or goes on.
    StandStill,
    GoOn,
    Sign,
    Ask,
    Send,
    /// The writer renews its lease, and sees what the record says.
    Renew,
    Land(Sent),
    /// The barrier looks at the writer's item for the first time.
    Look,
    /// It takes the writer for dead.
    Retire,
    Move,
    /// An application writes a key in `bridge`, and is told so.
    Write(usize),
}

impl Permits {
    fn phase(&self, world: &World) -> Phase {
        self.walk[world.place]
    }

    /// Whether the writer is waited for at all.
    fn is_participant(&self, world: &World) -> bool {
        self.rules.joins(world.writer.kind.0)
    }

    fn fears(&self, world: &World, next: Phase) -> bool {
        self.rules.waits_for_landing() && self.phase(world).fears_late_calls(next)
    }

    /// The next phase, if the barrier lets the table go there.
    fn next_phase(&self, world: &World) -> Option<Phase> {
        let next = *self.walk.get(world.place + 1)?;
        let writer = &world.writer;
        let participant = world.participant(self.phase(world));
        let is_through = if !self.is_participant(world) || !writer.is_registered {
            true
        } else if writer.is_gone {
            let landed = world
                .silent()
                .is_some_and(|silent| silent >= participant.longest_landing());
            landed || !self.fears(world, next)
        } else {
            // It works in the phase that the table began in, and ends its work there.
            false
        };
        is_through.then_some(next)
    }

    /// Whether the writer may send its next request, as it sees it.
    fn may_send(&self, world: &World) -> bool {
        let writer = &world.writer;
        if !self.is_participant(world) || (writer.has_asked && !self.rules.asks_before_each()) {
            return true;
        }
        let is_leased = world.participant(self.walk[0]).is_leased();
        assert!(
            is_leased,
            "an application in `old` or `bridge` has nothing to fear here"
        );
        writer.clock < writer.until
    }

    /// Whether the service takes a request that says that it was signed then.
    fn is_taken(&self, signed: u8, now: u8) -> bool {
        !self.rules.service_refuses_old_requests() || u64::from(now) <= u64::from(signed) + LANDING
    }

    fn land(&self, world: &mut World, sent: Sent) {
        world.wire.remove(&sent);
        let item = &mut world.new[sent.key];
        match (world.writer.kind.0, *item) {
            (ParticipantKind::Reset, Item::Copied) => *item = Item::Absent,
            (ParticipantKind::Reset, Item::Absent | Item::Application) => {}
            // Only where nothing is.
            (_, Item::Absent) => *item = Item::Copied,
            (_, Item::Copied | Item::Application) => {}
        }
    }

    /// What the commands do between two steps of the table.
    fn moved(&self, world: &mut World) {
        world.place += 1;
        match self.phase(world) {
            // Another reset has emptied the target.
            Phase::Old => world.new = [Item::Absent; KEYS],
            // A copy has gone through, and a verification.
            Phase::Offline => {
                world.new = [Item::Copied; KEYS];
                world.is_copied = true;
            }
            _ => {}
        }
    }
}

impl Model for Permits {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let writer = &world.writer;
        if world.now < LAST {
            actions.push(Action::Tick);
        }
        actions.extend(world.wire.iter().copied().map(Action::Land));
        if writer.stands_still {
            actions.push(Action::GoOn);
        } else if !writer.is_over {
            actions.push(Action::StandStill);
            if writer.key < KEYS {
                actions.push(match writer.next {
                    Next::Begins => Action::Sign,
                    Next::Signed(_) => Action::Ask,
                    Next::Permitted(_) => Action::Send,
                });
            }
            if self.is_participant(world) {
                actions.push(Action::Renew);
            }
        }
        if self.is_participant(world) && writer.is_registered {
            match world.since {
                None => actions.push(Action::Look),
                Some(_) if !writer.is_gone => actions.push(Action::Retire),
                Some(_) => {}
            }
        }
        if self.next_phase(world).is_some() {
            actions.push(Action::Move);
        }
        if self.phase(world) == Phase::Bridge {
            actions.extend((0..KEYS).map(Action::Write));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        let now = world.now;
        match action {
            Action::Tick => {
                world.now += 1;
                if !world.writer.stands_still || self.rules.lease_clock_goes_on() {
                    world.writer.clock += 1;
                }
                let now = world.now;
                world.wire.retain(|sent| self.is_taken(sent.signed, now));
            }
            Action::StandStill => {
                world.writer.stands_still = true;
                world.writer.has_stood_still = true;
            }
            Action::GoOn => world.writer.stands_still = false,
            Action::Sign => {
                world.writer.next = Next::Signed(match self.rules.signs_with_the_right_time() {
                    true => now,
                    false => world.writer.clock,
                });
            }

            Action::Ask => {
                let Next::Signed(signed) = world.writer.next else {
                    return None;
                };
                match self.may_send(&world) {
                    true => {
                        world.writer.has_asked = true;
                        world.writer.next = Next::Permitted(signed);
                    }
                    false => world.writer.is_over = true,
                }
            }
            Action::Send => {
                let Next::Permitted(signed) = world.writer.next else {
                    return None;
                };
                let key = world.writer.key;
                if self.is_taken(signed, now) {
                    world.wire.insert(Sent { key, signed });
                }
                world.writer.key += 1;
                world.writer.next = Next::Begins;
            }
            Action::Renew => {
                let works = self.phase(&world) == self.walk[0] && world.place == 0;
                match works && !world.writer.is_gone {
                    true => {
                        world.writer.until = world.writer.clock + LEASE as u8;
                        world.since = world.since.map(|_| now);
                    }
                    // It leaves word that something of it may still land: it counts as gone from then on.
                    false => {
                        world.writer.is_over = true;
                        if !world.writer.is_gone {
                            world.writer.is_gone = true;
                            world.since = Some(now);
                        }
                    }
                }
            }
            Action::Land(sent) => self.land(&mut world, sent),
            Action::Look => world.since = Some(now),
            Action::Retire => {
                let participant = world.participant(self.phase(&world));
                let is_dead = world.silent()? >= participant.longest_silence();
                if !is_dead {
                    return None;
                }
                world.writer.is_gone = true;
            }
            Action::Move => self.moved(&mut world),
            Action::Write(key) => match world.new[key] {
                Item::Absent => world.acknowledged[key] = true,
                Item::Copied | Item::Application => world.new[key] = Item::Application,
            },
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SEEN, |_, world: &World| {
                let mut keys = world.new.iter().zip(world.acknowledged);
                // A copied item was as the old row is now only if nothing has written that since.
                !keys.any(|(item, written)| written && *item == Item::Copied)
            }),
            Property::always(STAYS, |_, world: &World| {
                !world.is_copied || world.new.iter().all(|item| *item == Item::Copied)
            }),
            Property::sometimes(ARRIVES, |model: &Self, world: &World| {
                world.place + 1 == model.walk.len() && world.writer.stands_still
            }),
            Property::sometimes(GIVES_UP, |model: &Self, world: &World| {
                let arrived = world.place + 1 == model.walk.len();
                arrived && world.writer.has_stood_still && world.writer.is_over
            }),
        ]
    }
}
