//! Writes without their conditions.

use super::*;

/// The same write, unconditionally, if `picks` says so.
fn unguarded(call: &Call, picks: fn(&Change, &Condition) -> bool) -> Option<Call> {
    match call {
        Call::WriteNew { key, change, on } if picks(change, on) => Some(Call::WriteNew {
            key: key.clone(),
            change: change.clone(),
            on: Condition::Always,
        }),
        _ => None,
    }
}

/// A row is put over the partial item, acknowledged; the completion changes it.
#[test]
fn completion_without_its_condition() {
    fn calls(_: &Stores, call: &Call, _: Who) -> Option<Call> {
        unguarded(call, |_, on| matches!(on, Condition::Decides(_)))
    }
    for invariant in [I1, OWNED] {
        let name = format!("rows completion without IF ({invariant})");
        let cast = cast(WRITES, &[Kind::Copy]);
        mutant(&name, (Copy, Copy), cast, &Calls(calls), invariant);
    }
}

/// A row is put, acknowledged; the copy of the old one replaces it.
#[test]
fn copy_without_its_condition() {
    fn calls(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        let puts = |change: &Change, _: &Condition| matches!(change, Change::Put(_));
        (who.kind == Kind::Copy)
            .then(|| unguarded(call, puts))
            .flatten()
    }
    for invariant in [I1, OWNED] {
        let name = format!("rows copy without IF ({invariant})");
        let cast = cast(WHOLE, &[Kind::Copy]);
        mutant(&name, (Copy, Copy), cast, &Calls(calls), invariant);
    }
}

/// The same for what a read saves.
#[test]
fn resave_without_its_condition() {
    fn calls(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        who.is_saving
            .then(|| unguarded(call, |_, _| true))
            .flatten()
    }
    for invariant in [I1, OWNED] {
        let name = format!("rows re-save without IF ({invariant})");
        mutant(
            &name,
            (Copy, Copy),
            two_reads(WHOLE),
            &Calls(calls),
            invariant,
        );
    }
}

/// The same for what is mended.
#[test]
fn repair_without_its_condition() {
    fn calls(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        let marked = |_: &Change, on: &Condition| matches!(on, Condition::Marked(_));
        (who.kind == Kind::Repair)
            .then(|| unguarded(call, marked))
            .flatten()
    }
    let starts = repairs((Copy, Copy), &[Kind::Put, Kind::Delete]);
    breaks("rows repair without IF", I1, model(starts, &Calls(calls)));
}

/// A row is put over the tombstone and deleted with it; or one is deleted for good, and comes back empty.
#[test]
fn purge_without_its_condition() {
    fn of_tombstones(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        let removes = |change: &Change, _: &Condition| matches!(change, Change::Remove);
        (who.kind == Kind::Purge)
            .then(|| unguarded(call, removes))
            .flatten()
    }
    fn of_marks(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        let strips = |change: &Change, _: &Condition| matches!(change, Change::Strip);
        (who.kind == Kind::Purge)
            .then(|| unguarded(call, strips))
            .flatten()
    }
    let cast = cast(WHOLE, &[Kind::Purge]);
    mutant(
        "rows purge without IF `t`",
        (New, Done),
        cast,
        &Calls(of_tombstones),
        I1,
    );
    mutant(
        "rows strip without IF",
        (Done, Done),
        cast,
        &Calls(of_marks),
        I1,
    );
}
