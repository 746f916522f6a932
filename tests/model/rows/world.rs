//! Everyone who has to do with one row, and every order in which their steps can fall.

use crossfade::model::{ItemState, Mark, Row};
use crossfade::protocol::Phase;
use crossfade::protocol::row::{Call, Reply, RowStep, WriteAnswer};
use stateright::{Model, Property};

use super::history::{History, Meant, Told, cells};
use super::machines::{Answer, Kind, Machine, writes, writes_new};
use super::shared::Shared;
use super::stores::Stores;
use super::variants::{Begun, Variant, Who};

/// Each read fits an order of all writes in which everything acknowledged is in its place.
pub const I1: &str = "I1: each read fits an order of the writes";
/// All reads together fit one.
pub const I2: &str = "I2: all reads fit one order of the writes";
/// All reads of a column together fit one.
pub const I2_COLUMNS: &str = "I2 for each column";
/// All conditional writes together were told the truth.
pub const TOLD: &str = "conditional writes are told the truth";
/// What a tool or a re-save writes leaves alone what an application wrote.
pub const OWNED: &str = "what an application wrote stays";
/// Nothing is stuck.
const ENDS: &str = "everything ends";

/// The time before anything expires, and the time after everything has.
pub const BEFORE: i64 = 100;
pub const EXPIRY: i64 = 150;
pub const AFTER: i64 = 200;

/// A model: where it starts, and by which rules it goes on.
#[derive(Clone)]
pub struct Rows {
    pub starts: Vec<World>,
    /// The phases that the table is moved through. One participant or more may be a phase apart at the
    /// start; with a single phase, or none, they stay where they are.
    pub walk: Vec<Phase>,
    pub rows_expire: bool,
    /// How several reads are compared.
    pub reads: Together,
    pub variant: &'static dyn Variant,
}

/// What several reads have to fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Nothing, but each of them fits alone.
    Not,
    /// One order; but where `bridge` meets `switch`, one for each column.
    AsPromised,
    /// One order everywhere.
    OneOrder,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub stores: Stores,
    /// How far the walk has come.
    pub place: usize,
    /// The phase that each participant is in.
    pub participants: Vec<Phase>,
    pub operations: Vec<Operation>,
    pub history: History,
    /// How many replies may still be lost.
    pub losses: u8,
    /// How many operations may still be killed.
    pub crashes: u8,
    /// The call of one that was killed, still on its way.
    pub late: Option<Shared<(Call, Who)>>,
    pub broken: Option<&'static str>,
    pub is_owned_broken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub kind: Kind,
    /// The number in all values it writes.
    pub number: u16,
    /// Which participant does it.
    pub by: usize,
    /// Which write or read of the history it is.
    pub trace: Option<usize>,
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    Waiting,
    Running(Shared<Running>),
    /// Its caller was told that nobody knows the outcome.
    Unknown,
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    pub machine: Machine,
    /// What it waits for.
    pub call: Call,
    pub who: Who,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The control record goes on to the next phase of the walk.
    Move(Phase),
    /// A participant sees that it has.
    Follow(usize),
    Begin(usize),
    /// The same, and the reply to its first call is lost.
    BeginAndLose(usize),
    /// The operation's call is made, and its reply arrives.
    Step(usize),
    /// The operation's call is made, and its reply is lost.
    Lose(usize),
    /// The caller does the same again.
    Retry(usize),
    /// Whoever does the operation is killed.
    Kill(usize),
    /// What the killed one had sent arrives.
    Land,
    /// The time comes at which rows expire.
    Expire,
    /// The new store takes an item away that has expired.
    Vanish,
}

impl Model for Rows {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.starts.clone()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        for (at, operation) in world.operations.iter().enumerate() {
            match &operation.progress {
                Progress::Waiting if self.may_begin(world, operation) => {
                    actions.push(Action::Begin(at));
                    if world.losses > 0 && self.begins_with_a_call() {
                        actions.push(Action::BeginAndLose(at));
                    }
                }
                Progress::Waiting | Progress::Over => {}
                Progress::Running(running) => {
                    actions.push(Action::Step(at));
                    if world.losses > 0 && writes(&running.call) {
                        actions.push(Action::Lose(at));
                    }
                    if world.crashes > 0 {
                        actions.push(Action::Kill(at));
                    }
                }
                Progress::Unknown => actions.push(Action::Retry(at)),
            }
        }
        if self.rows_expire && world.stores.now == BEFORE {
            actions.push(Action::Expire);
        }
        let item = ItemState::of(world.stores.new.as_ref(), world.stores.now);
        if item == ItemState::Expired && self.variant.expires_natively(&world.participants) {
            actions.push(Action::Vanish);
        }
        if world.late.is_some() {
            actions.push(Action::Land);
        }
        actions.extend(self.next_phase(world).map(Action::Move));
        if let Some(phase) = self.walk.get(world.place) {
            let behind = world.participants.iter().enumerate();
            let behind = behind.filter(|(at, own)| *own != phase && !self.is_pinned(world, *at));
            actions.extend(behind.map(|(at, _)| Action::Follow(at)));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        match action {
            Action::Move(_) => world.place += 1,
            Action::Follow(at) => world.participants[at] = self.walk[world.place],
            Action::Begin(at) | Action::Retry(at) => {
                self.begin(&mut world, at);
                if self.begins_with_a_call() {
                    self.call(&mut world, at, false);
                }
            }
            Action::BeginAndLose(at) => {
                self.begin(&mut world, at);
                world.losses -= 1;
                let running = world.operations[at].running()?;
                if !writes(&running.call) {
                    return None;
                }
                self.call(&mut world, at, true);
            }
            Action::Step(at) => self.call(&mut world, at, false),
            Action::Lose(at) => {
                world.losses -= 1;
                self.call(&mut world, at, true);
            }
            Action::Kill(at) => {
                world.crashes -= 1;
                let late = |running: &Running| (running.call.clone(), running.who).into();
                let running = world.operations[at].running();
                world.late = running.filter(|_| !self.variant.drains()).map(late);
                world.operations[at].progress = Progress::Over;
            }
            Action::Land => {
                let (call, who) = (*world.late.take()?).clone();
                self.make(&mut world, &call, who);
            }
            Action::Expire => {
                world.stores.tick(AFTER);
                let expiry = world.history.add_write(Meant::Expire);
                world.history.begin_write(expiry);
                world.history.end_write(expiry, None);
            }
            Action::Vanish => world.stores.new = None,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn is_whole(world: &World, name: &'static str) -> bool {
            world.broken != Some(name)
        }
        vec![
            Property::always(I1, |_, world| is_whole(world, I1)),
            Property::always(I2, |_, world| is_whole(world, I2)),
            Property::always(I2_COLUMNS, |_, world| is_whole(world, I2_COLUMNS)),
            Property::always(TOLD, |_, world| is_whole(world, TOLD)),
            Property::always(OWNED, |_, world: &World| !world.is_owned_broken),
            Property::sometimes(ENDS, |model: &Rows, world: &World| {
                let mut operations = world.operations.iter();
                world.place + 1 >= model.walk.len()
                    && operations.all(|operation| operation.progress == Progress::Over)
            }),
        ]
    }
}

impl Operation {
    fn running(&self) -> Option<&Running> {
        match &self.progress {
            Progress::Running(running) => Some(running),
            Progress::Waiting | Progress::Unknown | Progress::Over => None,
        }
    }
}

impl Rows {
    /// Whether operations make their first call as soon as they begin. What may lie between makes them
    /// longer, and a longer operation fits more orders of the writes, so nothing is overlooked; unless
    /// time passes meanwhile, or the call itself is killed on its way.
    fn begins_with_a_call(&self) -> bool {
        !self.rows_expire && self.variant.drains()
    }

    fn may_begin(&self, world: &World, operation: &Operation) -> bool {
        let phase = world.participants[operation.by];
        let work = operation.kind.work();
        work.is_none_or(|work| phase.allows(work))
    }

    /// Whether something that the participant has begun keeps it in its phase.
    fn is_pinned(&self, world: &World, by: usize) -> bool {
        let own = world.operations.iter().filter(|own| own.by == by);
        let mut running = own.filter_map(Operation::running);
        running.any(|running| self.variant.waits_for(running.who))
    }

    /// The barrier: where the walk goes on, if everyone is there.
    fn next_phase(&self, world: &World) -> Option<Phase> {
        let phase = self.walk.get(world.place)?;
        let next = *self.walk.get(world.place + 1)?;
        assert!(
            phase.transition_to(next).is_some(),
            "no way from {phase} to {next}"
        );
        let is_ready = match next {
            Phase::New if *phase == Phase::Copy => self.variant.is_ready_for_new(&world.stores),
            Phase::Old => self.variant.may_return_to_old(&world.stores),
            _ => true,
        };
        let mut participants = world.participants.iter();
        (participants.all(|own| own == phase) && is_ready).then_some(next)
    }

    fn begin(&self, world: &mut World, at: usize) {
        let operation = &world.operations[at];
        let phase = world.participants[operation.by];
        let who = Who {
            kind: operation.kind,
            phase,
            is_saving: false,
        };
        match operation.trace {
            Some(read) if operation.kind.is_read() => world.history.begin_read(read),
            Some(write) => world.history.begin_write(write),
            None => {}
        }
        let mut machine = self.variant.machine(Begun {
            who,
            number: operation.number,
            now: world.stores.now,
            rows_expire: self.rows_expire,
        });
        let step = machine.begin();
        self.next(world, at, machine, who, step);
    }

    fn call(&self, world: &mut World, at: usize, is_lost: bool) {
        let Some(running) = world.operations[at].running() else {
            return;
        };
        let Running {
            mut machine,
            call,
            who,
        } = running.clone();
        let reply = self.make(world, &call, who);
        let step = machine.step(&call, if is_lost { Reply::Unknown } else { reply });
        self.next(world, at, machine, who, step);
    }

    /// Makes a call, and looks whether it was lawful.
    fn make(&self, world: &mut World, call: &Call, who: Who) -> Reply {
        let before = world.stores.new.clone();
        let reply = self.variant.call(&mut world.stores, call, who);
        if writes_new(call) && (who.is_saving || who.kind.work().is_some()) {
            let after = world.stores.new.as_ref();
            world.is_owned_broken |= !leaves_owned(who.kind, before.as_ref(), after);
        }
        reply
    }

    fn next(
        &self,
        world: &mut World,
        at: usize,
        machine: Machine,
        who: Who,
        step: RowStep<Answer>,
    ) {
        let answer = match step {
            RowStep::Call(call) => {
                let running = Running { machine, call, who };
                world.operations[at].progress = Progress::Running(running.into());
                return;
            }
            RowStep::Done(answer) => answer,
        };
        world.operations[at].progress = Progress::Over;
        let trace = world.operations[at].trace;
        let is_conditional = who.kind.is_conditional();
        match (answer, trace) {
            (Answer::Saw(row, resave), Some(read)) => {
                world.history.end_read(read, row.as_ref().map(cells));
                self.judge(world, read);
                if let Some(resave) = resave {
                    let mut machine = Machine::Resave(*resave);
                    let step = machine.begin();
                    let is_saving = true;
                    self.next(world, at, machine, Who { is_saving, ..who }, step);
                }
            }
            (Answer::Scanned(rows), Some(read)) => {
                let seen = rows.iter().map(|row| Some(cells(row)));
                let nothing = rows.is_empty().then_some(None);
                for saw in seen.chain(nothing) {
                    world.history.end_read(read, saw);
                    self.judge(world, read);
                }
            }
            (Answer::Wrote(WriteAnswer::Done), Some(write)) => {
                let told = is_conditional.then_some(Told::Done);
                world.history.end_write(write, told);
            }
            (Answer::Wrote(WriteAnswer::Unmet(row)), Some(write)) => {
                let told = Told::Unmet(row.as_ref().map(cells));
                world.history.end_write(write, Some(told));
            }
            (Answer::Wrote(WriteAnswer::Later), Some(write)) => world.history.take_back(write),
            (Answer::Wrote(WriteAnswer::Unknown), _) => {
                world.operations[at].progress = Progress::Unknown;
            }
            (Answer::Mended, Some(write)) => world.history.end_write(write, None),
            (Answer::Nothing, Some(write)) if !who.is_saving => world.history.take_back(write),
            (Answer::Nothing, _) => {}
            (answer, _) => panic!("{who:?} was answered {answer:?}"),
        }
        if is_conditional && !world.history.told_fits() {
            world.broken = Some(TOLD);
        }
    }

    fn judge(&self, world: &mut World, read: usize) {
        let history = &world.history;
        let meets = |phase| world.participants.contains(&phase);
        let is_loose = meets(Phase::Bridge) && meets(Phase::Switch);
        let fits = match self.reads {
            Together::Not => (I1, true),
            Together::AsPromised if is_loose => (I2_COLUMNS, history.columns_fit()),
            Together::AsPromised | Together::OneOrder => (I2, history.reads_fit()),
        };
        if !history.read_fits(read) {
            world.broken = Some(I1);
        } else if let (name, false) = fits {
            world.broken = Some(name);
        }
    }
}

/// Whether a tool's write has left alone what is an application's.
fn leaves_owned(kind: Kind, before: Option<&Row>, after: Option<&Row>) -> bool {
    if before == after {
        return true;
    }
    let Some(item) = before else {
        return true;
    };
    let decides_the_same = |after: &Row| {
        let mut decided = item.decided.iter();
        after.mark == Some(Mark::Application)
            && decided.all(|cell| item.cells[*cell] == after.cells[*cell])
    };
    let shown = |item: Option<&Row>| {
        let item = item.filter(|item| match ItemState::of(Some(item), BEFORE) {
            ItemState::Row => true,
            ItemState::Partial => item.cells.iter().any(Option::is_some),
            ItemState::Tombstone | ItemState::Absent | ItemState::Expired => false,
        });
        item.map(|item| item.cells.clone())
    };
    match (kind, item.mark) {
        (Kind::Purge, _) => shown(before) == shown(after),
        (Kind::Repair, Some(Mark::Copied | Mark::Resaved)) => true,
        (_, Some(Mark::Partial)) => after.is_some_and(decides_the_same),
        _ => false,
    }
}
