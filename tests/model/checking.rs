//! Running a model to its end, and telling how large it was.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// Whether larger sizes were asked for.
pub fn long() -> bool {
    std::env::var_os("CROSSFADE_LONG").is_some_and(|value| value != "0")
}

/// Visits every state that can be reached. All of the model's `always` have to hold in each, and each
/// `sometimes` has to come up: a model that never gets anywhere would hold as well.
pub fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let begun = Instant::now();
    let checker = model.checker().spawn_bfs().join();
    checker.assert_properties();
    tell(name, &checker, begun, "every invariant holds");
}

/// Looks for a state in which `invariant` is broken, and shows a short way to it.
pub fn breaks<M>(name: &str, invariant: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let begun = Instant::now();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([invariant]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let Some(path) = checker.discovery(invariant) else {
        tell(name, &checker, begun, "every invariant holds, and must not");
        panic!("{name} must break {invariant}");
    };
    let holds = checker.model().property(invariant).condition;
    let actions: Vec<M::Action> = path
        .into_vec()
        .into_iter()
        .take_while(|(state, _)| holds(checker.model(), state))
        .filter_map(|(_, action)| action)
        .collect();
    let outcome = format!("breaks {invariant} after {} steps", actions.len());
    tell(name, &checker, begun, &outcome);
    println!("{name} breaks {invariant}:\n  {actions:?}");
}

/// A line on stderr, past the test harness, which would keep it to itself.
fn tell<M: Model>(name: &str, checker: &impl Checker<M>, begun: Instant, outcome: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "model {name}: {} states ({} steps, depth {}) in {:.1} s: {outcome}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
}
