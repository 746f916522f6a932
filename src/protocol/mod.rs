//! The rules of a migration: pure code, no I/O.
//!
//! | module | what it holds |
//! |---|---|
//! | [`phase`] | what is done where in each phase, and which moves are lawful |
//! | [`row`] | reading, writing, copying, mending and purging rows |
//! | [`counter`] | folding, showing and adding to counters |
//!
//! Every operation is a small state machine: [`Step::Call`] names the store call it needs next, its
//! reply is handed back, and at last comes [`Step::Done`] with the answer. What drives a machine
//! carries out the calls, each of them atomic, and decides nothing: so the applications' shim, the
//! copier and the model of `tests/model.rs` all follow the same rules.

pub mod counter;
pub mod phase;
pub mod row;

pub use phase::Phase;

/// An operation as a machine. One that is dropped before its end has done what its calls did, and nothing else.
pub trait Machine {
    /// What it asks of the stores.
    type Call;
    /// What came of that.
    type Reply;
    /// What it ends with.
    type Answer;

    /// The first step.
    fn begin(&mut self) -> Step<Self::Call, Self::Answer>;

    /// The step after a reply; each machine's own documentation says what one means that doesn't fit the call.
    fn step(&mut self, reply: Self::Reply) -> Step<Self::Call, Self::Answer>;
}

/// What a machine wants next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step<C, A> {
    /// This store call; its reply goes into the machine.
    Call(C),
    /// Nothing: this is the answer.
    Done(A),
}
