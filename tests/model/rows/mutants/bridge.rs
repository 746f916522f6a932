//! What `bridge` writes, and where.

use super::*;

/// N has the row: what `bridge` writes isn't seen.
#[test]
fn bridge_without_a_look() {
    fn begins(begun: Begun) -> Option<Machine> {
        let writes = begun.who.kind.meant(0).is_some();
        (writes && begun.who.phase == Bridge).then(|| begun.in_phase(Old))
    }
    let cast = cast(WHOLE, &[]);
    mutant(
        "rows bridge never looks",
        (Bridge, Switch),
        cast,
        &Begins(begins),
        I1,
    );
}

/// A peer in `old` doesn't see it.
#[test]
fn bridge_writes_new_always() {
    fn begins(begun: Begun) -> Option<Machine> {
        let writes = begun.who.kind.meant(0).is_some();
        (writes && begun.who.phase == Bridge).then(|| begun.in_phase(Switch))
    }
    let cast = cast(WHOLE, &[]);
    mutant(
        "rows bridge writes N always",
        (Old, Bridge),
        cast,
        &Begins(begins),
        I1,
    );
}

/// A bridge write to N, as far as it has the key: every column of the table in one call after the other.
fn in_place(begun: Begun) -> Vec<Call> {
    let mutation = begun.who.kind.mutation(begun.number);
    let change = |states: &[ItemState], change| Call::WriteNew {
        key: key(),
        change,
        on: Condition::In {
            states: states.to_vec(),
            now: begun.now,
        },
    };
    let there = [
        ItemState::Row,
        ItemState::Tombstone,
        ItemState::Partial,
        ItemState::Expired,
    ];
    match mutation {
        Some(Mutation::Put(row)) => {
            let mark = Some(Mark::Application);
            vec![change(&there, Change::Put(Row { mark, ..row }))]
        }
        Some(Mutation::Delete(_)) => vec![change(&there, Change::Bury)],
        Some(Mutation::Update(update)) => {
            let edit = |mark| Change::Edit {
                cells: update.cells.clone(),
                mark: Some(mark),
                expires: None,
            };
            vec![
                change(&[ItemState::Partial], edit(Mark::Partial)),
                change(
                    &[ItemState::Row, ItemState::Tombstone],
                    edit(Mark::Application),
                ),
            ]
        }
        other => panic!("not a plain write: {other:?}"),
    }
}

fn in_old(begun: Begun) -> Vec<Call> {
    let mutation = begun.who.kind.mutation(begun.number);
    mutation.map(Call::WriteOld).into_iter().collect()
}

fn writes_in_bridge(begun: Begun, calls: impl FnOnce() -> Vec<Call>) -> Option<Machine> {
    let writes = begun.who.kind.mutation(0).is_some() && begun.who.phase == Bridge;
    writes.then(|| Machine::Script(Script(calls())))
}

/// A read finds nothing in N; `switch` puts a row; `bridge` changes a column of the row in O, and of that in N;
/// the read shows what O has now: a row that never was.
#[test]
fn bridge_writes_old_first() {
    fn begins(begun: Begun) -> Option<Machine> {
        writes_in_bridge(begun, || [in_old(begun), in_place(begun)].concat())
    }
    let starts = pair(Bridge, Switch, cast(&[Kind::Put, Kind::SetFirst], &[]));
    let model = model(old_alone(starts), &Begins(begins));
    breaks("rows bridge writes O, then N", I1, model);
}

/// Half of the write is seen: beneath a partial item, before the item itself has it, or after.
#[test]
fn bridge_writes_both_sides() {
    fn begins(begun: Begun) -> Option<Machine> {
        let calls = || [in_place(begun), in_old(begun), in_place(begun)].concat();
        writes_in_bridge(begun, calls)
    }
    let cast = cast(WRITES, &[]);
    mutant(
        "rows bridge writes N, O, N",
        (Bridge, Switch),
        cast,
        &Begins(begins),
        I1,
    );
}

/// A read holds a partial item, and the row beneath it vanishes.
#[test]
fn range_delete_in_old_beside_switch() {
    fn begins(begun: Begun) -> Option<Machine> {
        let calls = || {
            let bury = Call::WriteNew {
                key: key(),
                change: Change::Bury,
                on: Condition::In {
                    states: vec![ItemState::Row, ItemState::Tombstone, ItemState::Partial],
                    now: begun.now,
                },
            };
            vec![bury, Call::DeleteOld(range())]
        };
        let is_meant = begun.who.kind == Kind::DeleteRange && begun.who.phase == Bridge;
        is_meant.then(|| Machine::Script(Script(calls())))
    }
    let cast = cast(&[Kind::SetFirst, Kind::DeleteRange], &[]);
    mutant(
        "rows range delete natively in O",
        (Bridge, Switch),
        cast,
        &Begins(begins),
        I1,
    );
}

/// In `bridge` a conditional write would go to the old store where N has nothing, as other writes do. It succeeds
/// there though an update in `switch` came first, and was read without it.
#[test]
fn conditional_write_in_bridge() {
    fn begins(begun: Begun) -> Option<Machine> {
        let is_meant = begun.who.kind == Kind::UpdateIf && begun.who.phase == Bridge;
        let mutation = begun.who.kind.mutation(begun.number).filter(|_| is_meant)?;
        Some(Machine::Beneath(Beneath {
            write: begun.machine().into(),
            mutation,
            is_absent: false,
            is_beneath: false,
        }))
    }
    let cast = cast(&[Kind::UpdateIf, Kind::SetFirst], &[]);
    mutant(
        "rows update-if in `bridge`",
        (Bridge, Switch),
        cast,
        &Begins(begins),
        TOLD,
    );
}
