//! Applications that go on while their tables move.

mod copying;
mod late;
mod scheduler;
mod wire;
mod world;

/// The control table and the target of the worlds in memory.
const CONTROL: &str = "control";
const TARGET: &str = "new-things";
