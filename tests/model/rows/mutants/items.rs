//! What an item tells: tombstones, partial items, and what needs a whole row.

use super::*;

/// `copy` finds the old row.
#[test]
fn real_delete_in_new() {
    fn calls(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        (who.phase == New).then(|| removing(call)).flatten()
    }
    let cast = cast(WHOLE, &[]);
    mutant(
        "rows real delete in `new`",
        (Copy, New),
        cast,
        &Calls(calls),
        I1,
    );
}

/// The next read finds the old row.
#[test]
fn delete_without_tombstone() {
    fn calls(_: &Stores, call: &Call, _: Who) -> Option<Call> {
        removing(call)
    }
    for phases in [(Switch, Switch), (Copy, Copy)] {
        let name = format!("rows delete without tombstone in `{}`", phases.0);
        mutant(&name, phases, cast(WHOLE, &[]), &Calls(calls), I1);
    }
}

fn removing(call: &Call) -> Option<Call> {
    match call {
        Call::WriteNew {
            key,
            change: Change::Bury,
            on,
        } => Some(Call::WriteNew {
            key: key.clone(),
            change: Change::Remove,
            on: on.clone(),
        }),
        _ => None,
    }
}

/// The same call, with another mark.
fn marked(call: &Call, mark: Mark) -> Option<Call> {
    match call {
        Call::WriteNew {
            key,
            change: Change::Edit { cells, expires, .. },
            on,
        } => Some(Call::WriteNew {
            key: key.clone(),
            change: Change::Edit {
                cells: cells.clone(),
                mark: Some(mark),
                expires: *expires,
            },
            on: on.clone(),
        }),
        _ => None,
    }
}

fn mark_of(item: &Option<Row>) -> Option<Mark> {
    item.as_ref().and_then(|item| item.mark)
}

/// The other columns are gone.
#[test]
fn update_of_nothing_makes_a_row() {
    fn calls(stores: &Stores, call: &Call, _: Who) -> Option<Call> {
        stores
            .new
            .is_none()
            .then(|| marked(call, Mark::Application))
            .flatten()
    }
    let cast = cast(WRITES, &[]);
    mutant(
        "rows update makes a row",
        (Switch, Switch),
        cast,
        &Calls(calls),
        I1,
    );
}

/// The same, at the second update.
#[test]
fn update_makes_a_partial_item_whole() {
    fn calls(stores: &Stores, call: &Call, _: Who) -> Option<Call> {
        let is_partial = mark_of(&stores.new) == Some(Mark::Partial);
        is_partial
            .then(|| marked(call, Mark::Application))
            .flatten()
    }
    let cast = cast(WRITES, &[]);
    mutant(
        "rows update makes `k` whole",
        (Switch, Switch),
        cast,
        &Calls(calls),
        I1,
    );
}

/// The update isn't seen.
#[test]
fn update_leaves_a_tombstone() {
    fn calls(stores: &Stores, call: &Call, _: Who) -> Option<Call> {
        let is_tombstone = mark_of(&stores.new) == Some(Mark::Tombstone);
        is_tombstone
            .then(|| marked(call, Mark::Tombstone))
            .flatten()
    }
    let cast = cast(WRITES, &[]);
    mutant(
        "rows update leaves `t`",
        (Switch, Switch),
        cast,
        &Calls(calls),
        I1,
    );
}

/// The other columns aren't seen.
#[test]
fn partial_item_taken_for_a_row() {
    fn reads(item: Row, who: Who) -> Option<Row> {
        let is_partial = who.kind == Kind::Get && item.mark == Some(Mark::Partial);
        let mark = if is_partial {
            Some(Mark::Application)
        } else {
            item.mark
        };
        Some(Row { mark, ..item })
    }
    let starts = pair(Switch, Switch, cast(WRITES, &[]));
    let model = model(old_alone(starts), &Reads(reads));
    breaks("rows `k` taken for a row", I1, model);
}

/// A row that is only in O outlives it.
#[test]
fn range_delete_of_new_alone() {
    fn begins(begun: Begun) -> Option<Machine> {
        (begun.who.kind == Kind::DeleteRange).then(|| begun.in_phase(New))
    }
    let cast = cast(&[Kind::Put, Kind::DeleteRange], &[]);
    mutant(
        "rows range delete lists N only",
        (Switch, Switch),
        cast,
        &Begins(begins),
        I1,
    );
}

/// A tombstone of `new` shows a row.
#[test]
fn done_without_tombstones() {
    fn reads(item: Row, who: Who) -> Option<Row> {
        let is_tombstone = who.phase == Done && item.mark == Some(Mark::Tombstone);
        let mark = if is_tombstone { None } else { item.mark };
        Some(Row { mark, ..item })
    }
    let cast = cast(WHOLE, &[]);
    mutant(
        "rows `done` doesn't know `t`",
        (New, Done),
        cast,
        &Reads(reads),
        I1,
    );
}

/// What was in the list before is gone.
#[test]
fn append_laid_over() {
    for phase in [Switch, Copy] {
        let name = format!("rows append laid over in `{phase}`");
        let cast = Cast {
            at_once: 1,
            ..cast(&[Kind::Append], &[])
        };
        mutant(&name, (phase, phase), cast, &LaidOver, I1);
    }
}

/// It succeeds though O has the row.
#[test]
fn insert_in_switch() {
    fn begins(begun: Begun) -> Option<Machine> {
        let is_meant = begun.who.kind == Kind::Insert && begun.who.phase == Switch;
        is_meant.then(|| begun.in_phase(New))
    }
    let cast = cast(&[Kind::Insert], &[]);
    mutant(
        "rows insert in `switch`",
        (Switch, Switch),
        cast,
        &Begins(begins),
        TOLD,
    );
}
