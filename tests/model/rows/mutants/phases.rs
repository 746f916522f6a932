//! Phases left out, tools in the wrong phase, and a barrier that doesn't wait for all participants.

use super::*;

/// Participants that are moved through phases, and a tool.
fn walk(
    name: &str,
    phases: &[Phase],
    operations: &[(Kind, usize)],
    variant: &'static dyn Variant,
    invariant: &'static str,
) {
    let participants = 1 + operations.iter().map(|(_, by)| *by).max().unwrap();
    let together = vec![phases[0]; participants];
    let starts = stores(&together).into_iter().map(|stores| World {
        crashes: u8::from(!variant.drains()),
        ..world(stores, &together, operations)
    });
    let reads = if invariant == I2 {
        Together::OneOrder
    } else {
        Together::Not
    };
    let model = Rows {
        walk: phases.to_vec(),
        reads,
        ..model(starts.collect(), variant)
    };
    breaks(name, invariant, model);
}

/// `old` puts 1 in O, `switch` puts 2 in N, acknowledged; `old` reads 1.
#[test]
fn without_bridge() {
    let cast = cast(WHOLE, &[]);
    mutant(
        "rows without `bridge`",
        (Old, Switch),
        cast,
        &AsDesigned,
        I1,
    );
}

/// O is read for a copy; `bridge`, finding nothing in N, puts there, acknowledged; the copy hides that.
#[test]
fn without_switch() {
    let copier = cast(WHOLE, &[Kind::Copy]);
    mutant(
        "rows without `switch`, copier",
        (Bridge, Copy),
        copier,
        &AsDesigned,
        I1,
    );
    let resave = two_reads(WHOLE);
    mutant(
        "rows without `switch`, re-save",
        (Bridge, Copy),
        resave,
        &AsDesigned,
        I1,
    );
}

/// `done` deletes the item; `copy` finds the old row.
#[test]
fn without_new() {
    let cast = cast(WHOLE, &[]);
    mutant("rows without `new`", (Copy, Done), cast, &AsDesigned, I1);
}

/// As without `switch`, though all others is where they should be.
#[test]
fn copier_beside_bridge() {
    let phases = [Bridge, Switch, Copy];
    let operations = [(Kind::Put, 0), (Kind::Get, 1), (Kind::Copy, 2)];
    let starts = stores(&phases[..2]).into_iter();
    let starts = starts.map(|stores| world(stores, &phases, &operations));
    breaks(
        "rows copier beside `bridge`",
        I1,
        model(starts.collect(), &AsDesigned),
    );
}

/// The same for what a read saves.
#[test]
fn resave_beside_bridge() {
    fn begins(begun: Begun) -> Option<Machine> {
        (begun.who.kind == Kind::Get && begun.who.phase == Switch).then(|| begun.in_phase(Copy))
    }
    let cast = two_reads(WHOLE);
    mutant(
        "rows re-save in `switch`",
        (Bridge, Switch),
        cast,
        &Begins(begins),
        I1,
    );
}

/// A row that is only in the old store isn't there any more, or shows some columns alone.
#[test]
fn new_with_rows_missing() {
    for operations in [
        &[(Kind::Get, 0)][..],
        &[(Kind::SetFirst, 0), (Kind::Get, 1)],
    ] {
        let name = format!("rows `new` too early, {} operations", operations.len());
        walk(&name, &[Copy, New], operations, &EarlyNew, I1);
    }
}

/// A put in `switch`, acknowledged, isn't seen in `old`.
#[test]
fn old_with_an_application_s_row() {
    let operations = [(Kind::Put, 0), (Kind::Get, 1)];
    walk(
        "rows `old` too early",
        &[Switch, Bridge, Old],
        &operations,
        &EarlyOld,
        I1,
    );
}

/// A put in `bridge` goes to the copy, and who is in `old` already reads the old row.
#[test]
fn old_with_copied_rows() {
    let operations = [(Kind::Put, 0), (Kind::Get, 1)];
    walk(
        "rows `old` with copies",
        &[Bridge, Old],
        &operations,
        &CopiesStay,
        I1,
    );
}

/// The old row is saved after it was deleted and purged; or after `bridge` wrote another to O.
#[test]
fn resave_not_pinned() {
    let resave = &Unpinned(|who| who.is_saving);
    let operations = [
        (Kind::Get, 0),
        (Kind::Delete, 1),
        (Kind::Copy, 1),
        (Kind::Get, 1),
    ];
    walk(
        "rows re-save not guarded, forward",
        &[Copy, New, Done],
        &operations,
        resave,
        I1,
    );
    let operations = [(Kind::Get, 0), (Kind::Put, 1), (Kind::Get, 1)];
    walk(
        "rows re-save not guarded, back",
        &[Copy, Switch, Bridge],
        &operations,
        resave,
        I1,
    );
}

/// The same for what a copier writes.
#[test]
fn copier_not_in_the_barrier() {
    let copier = &Unpinned(|who| who.kind == Kind::Copy);
    let operations = [
        (Kind::Copy, 2),
        (Kind::Delete, 0),
        (Kind::Get, 1),
        (Kind::Purge, 1),
    ];
    walk(
        "rows copier outside, forward",
        &[Copy, New, Done],
        &operations,
        copier,
        I1,
    );
    let operations = [(Kind::Copy, 2), (Kind::Put, 0), (Kind::Get, 1)];
    walk(
        "rows copier outside, back",
        &[Copy, Switch, Bridge],
        &operations,
        copier,
        I1,
    );
}

/// A killed copier's write arrives after `bridge` wrote to O; or a killed write of `bridge` arrives in `copy`, is
/// read, and a copier that had read the old row before hides it again.
#[test]
fn late_calls_not_drained() {
    let operations = [(Kind::Copy, 2), (Kind::Put, 0), (Kind::Get, 1)];
    walk(
        "rows late calls, back",
        &[Copy, Switch, Bridge],
        &operations,
        &Undrained,
        I1,
    );
    let operations = [
        (Kind::Put, 0),
        (Kind::Copy, 1),
        (Kind::Get, 1),
        (Kind::Get, 1),
    ];
    walk(
        "rows late calls, forward",
        &[Bridge, Switch, Copy],
        &operations,
        &Undrained,
        I2,
    );
}

/// What an application puts in `bridge` while others are in `copy` already: a copier that read O before hides it.
const LATE_PUT: [(Kind, usize); 3] = [(Kind::Put, 0), (Kind::Copy, 1), (Kind::Get, 1)];
const TO_COPY: [Phase; 3] = [Bridge, Switch, Copy];

/// It read the phase, and registers when the others have left it.
#[test]
fn registering_after_reading_the_phase() {
    fn begins(begun: Begun) -> Option<Machine> {
        (begun.who.kind == Kind::Put).then(|| begun.in_phase(Bridge))
    }
    let name = "rows phase read before registering";
    walk(name, &TO_COPY, &LATE_PUT, &Begins(begins), I1);
}

/// Its lease is over, the others have gone on without it, and it goes on and answers.
#[test]
fn answering_after_the_lease() {
    let put = &Unpinned(|who| who.kind == Kind::Put);
    walk("rows answer after the lease", &TO_COPY, &LATE_PUT, put, I1);
}
