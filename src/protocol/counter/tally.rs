use super::{Call, Count, Counted, Counting, Place, Reply, Step, Totals};
use crate::protocol::phase::{CounterAdd, CounterShown};
use crate::protocol::{Machine, Phase};

/// Adds to a row's counters, for an application that wants to know the totals after it.
///
/// The new store tells the item as the add left it, value and watermark at once; then the old total is read, where
/// it counts. So from `copy` on, where nobody adds to the old store any more, no two adds are told the same total.
/// The old store tells nothing: the totals are read after the add, and others may have added meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    phase: Phase,
    by: Totals,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Start,
    Sent,
    /// The add is made.
    Counting(Count),
    Over(Tallied),
}

/// The answer of a [`Tally`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tallied {
    /// It has happened, and this is what is there then.
    Added(Counted),
    /// It has certainly not happened.
    Refused,
    /// Nobody can tell whether it has happened.
    Unknown,
}

impl Tally {
    /// An add in this phase, as of [`super::Add::new`].
    pub fn new(phase: Phase, by: Totals) -> Self {
        Tally {
            phase,
            by,
            state: State::Start,
        }
    }

    /// Whether the add is made, and only the totals are still missing.
    pub fn is_made(&self) -> bool {
        matches!(self.state, State::Counting(_))
    }

    fn counted(&mut self, step: Step<Counted>) -> Step<Tallied> {
        match step {
            Step::Call(call) => Step::Call(call),
            Step::Done(counted) => self.end(Tallied::Added(counted)),
        }
    }

    fn end(&mut self, answer: Tallied) -> Step<Tallied> {
        self.state = State::Over(answer.clone());
        Step::Done(answer)
    }
}

impl Machine for Tally {
    type Call = Call;
    type Reply = Reply;
    type Answer = Tallied;

    /// The first step. Asked again, it never repeats the add.
    fn begin(&mut self) -> Step<Tallied> {
        match &self.state {
            State::Start => {}
            State::Sent | State::Counting(_) => return self.end(Tallied::Unknown),
            State::Over(answer) => return Step::Done(answer.clone()),
        }
        let by = self.by.clone();
        let call = match self.phase.counter_add() {
            CounterAdd::Old => Call::Add { to: Place::Old, by },
            CounterAdd::New => Call::AddAndTell { to: Place::New, by },
            CounterAdd::NewUnmarked => Call::AddAndTell {
                to: Place::NewUnmarked,
                by,
            },
            CounterAdd::Refused => return self.end(Tallied::Refused),
        };
        self.state = State::Sent;
        Step::Call(call)
    }

    fn step(&mut self, reply: Reply) -> Step<Tallied> {
        match (&mut self.state, reply) {
            (State::Start, _) => self.begin(),
            (State::Sent, Reply::New(item)) => {
                let shown = self.phase.counter_shown();
                let item = item.unwrap_or_default();
                match shown {
                    CounterShown::OldAndNew => {
                        let state = Counting::ReadingOld(item);
                        self.state = State::Counting(Count { shown, state });
                        Step::Call(Call::ReadOld)
                    }
                    CounterShown::New | CounterShown::Old | CounterShown::Refused => {
                        self.end(Tallied::Added(Counted::Total(item.totals)))
                    }
                }
            }
            (State::Sent, Reply::Written) => {
                let mut count = Count::new(self.phase);
                let step = count.begin();
                self.state = State::Counting(count);
                self.counted(step)
            }
            (State::Sent, Reply::Refused) => self.end(Tallied::Refused),
            (State::Sent, Reply::Old(_) | Reply::Unknown) => self.end(Tallied::Unknown),
            (State::Counting(count), reply) => {
                let step = count.step(reply);
                self.counted(step)
            }
            (State::Over(answer), _) => Step::Done(answer.clone()),
        }
    }
}
