use super::{AddPlace, Count, Counted, CounterCall, CounterReply, CounterStep, Counting, Totals};
use crate::protocol::phase::{CounterAdd, CounterShown};
use crate::protocol::{Machine, Phase};

/// Adds to a row's counters, for an application that wants to know the totals after it.
///
/// The new store tells the item as the add left it, value and watermark at once; then the old total is read, where
/// it counts. So from `copy` on, where nothing adds to the old store any more, no two adds are told the same total.
/// The old store tells nothing: the totals are read after the add, and others may have added meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    phase: Phase,
    by: Totals,
    state: TallyState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TallyState {
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
    /// It can't be told whether it has happened.
    Unknown,
}

impl Tally {
    /// An add in this phase, as of [`super::AddToCounters::new`].
    pub fn new(phase: Phase, by: Totals) -> Self {
        Tally {
            phase,
            by,
            state: TallyState::Start,
        }
    }

    /// Whether the add is made, and only the totals are still missing.
    pub fn is_made(&self) -> bool {
        matches!(self.state, TallyState::Counting(_))
    }

    fn counted(&mut self, step: CounterStep<Counted>) -> CounterStep<Tallied> {
        match step {
            CounterStep::Call(call) => CounterStep::Call(call),
            CounterStep::Done(counted) => self.end(Tallied::Added(counted)),
        }
    }

    fn end(&mut self, answer: Tallied) -> CounterStep<Tallied> {
        self.state = TallyState::Over(answer.clone());
        CounterStep::Done(answer)
    }
}

impl Machine for Tally {
    type Call = CounterCall;
    type Reply = CounterReply;
    type Answer = Tallied;

    /// The first step. Asked again, it never repeats the add.
    fn begin(&mut self) -> CounterStep<Tallied> {
        match &self.state {
            TallyState::Start => {}
            TallyState::Sent | TallyState::Counting(_) => return self.end(Tallied::Unknown),
            TallyState::Over(answer) => return CounterStep::Done(answer.clone()),
        }
        let by = self.by.clone();
        let call = match self.phase.counter_add() {
            CounterAdd::Old => CounterCall::Add {
                to: AddPlace::Old,
                by,
            },
            CounterAdd::New => CounterCall::AddAndTell {
                to: AddPlace::New,
                by,
            },
            CounterAdd::NewUnmarked => CounterCall::AddAndTell {
                to: AddPlace::NewUnmarked,
                by,
            },
            CounterAdd::Refused => return self.end(Tallied::Refused),
        };
        self.state = TallyState::Sent;
        CounterStep::Call(call)
    }

    fn step(&mut self, reply: CounterReply) -> CounterStep<Tallied> {
        match (&mut self.state, reply) {
            (TallyState::Start, _) => self.begin(),
            (TallyState::Sent, CounterReply::New(item)) => {
                let shown = self.phase.counter_shown();
                let item = item.unwrap_or_default();
                match shown {
                    CounterShown::OldAndNew => {
                        let state = Counting::ReadingOld(item);
                        self.state = TallyState::Counting(Count { shown, state });
                        CounterStep::Call(CounterCall::ReadOld)
                    }
                    CounterShown::New | CounterShown::Old | CounterShown::Refused => {
                        self.end(Tallied::Added(Counted::Total(item.totals)))
                    }
                }
            }
            (TallyState::Sent, CounterReply::Written) => {
                let mut count = Count::new(self.phase);
                let step = count.begin();
                self.state = TallyState::Counting(count);
                self.counted(step)
            }
            (TallyState::Sent, CounterReply::Refused) => self.end(Tallied::Refused),
            (TallyState::Sent, CounterReply::Old(_) | CounterReply::Unknown) => {
                self.end(Tallied::Unknown)
            }
            (TallyState::Counting(count), reply) => {
                let step = count.step(reply);
                self.counted(step)
            }
            (TallyState::Over(answer), _) => CounterStep::Done(answer.clone()),
        }
    }
}
