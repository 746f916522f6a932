//! Writes on a rule, scans, and transactions.

use crossfade::protocol::row::Write;

use super::*;

/// A row moves to the new store after that has been walked over: it is in neither part of the scan.
#[test]
fn scan_that_reads_the_new_store_first() {
    fn begins(begun: Begun) -> Option<Machine> {
        let is_meant = begun.who.kind == Kind::Scan;
        is_meant.then(|| Machine::NewFirst(NewFirst::default()))
    }
    let cast = Cast {
        readers: &[Kind::Scan],
        at_once: 1,
        ..cast(&[Kind::Put, Kind::SetFirst], &[Kind::Copy])
    };
    let name = "rows scan of N before O";
    mutant(name, (Switch, Copy), cast, &Begins(begins), I1);
}

/// In `bridge` a rule is judged on the old row where the new store has nothing. It holds there, though an update in
/// `switch` came first, and was read.
#[test]
fn rule_judged_in_bridge_on_a_key_that_has_not_moved() {
    fn begins(begun: Begun) -> Option<Machine> {
        let is_meant = begun.who.kind == Kind::PutIf && begun.who.phase == Bridge;
        let judged = begun.who.kind.judged(begun.number).filter(|_| is_meant)?;
        Some(Machine::JudgedBeneath(JudgedBeneath {
            write: Write::judged(Bridge, judged.clone(), begun.now),
            beneath: Write::judged(Old, judged, begun.now),
            is_beneath: false,
        }))
    }
    let cast = cast(&[Kind::PutIf, Kind::SetFirst], &[]);
    let name = "rows rule judged on O in `bridge`";
    mutant(name, (Bridge, Switch), cast, &Begins(begins), TOLD);
}

/// A deleted row is deleted again by somebody who is told that it was there.
#[test]
fn tombstone_taken_for_a_row() {
    fn calls(stores: &Stores, call: &Call, _: Who) -> Option<Call> {
        let item = stores.new.as_ref()?;
        let Call::WriteNew { key, change, on } = call else {
            return None;
        };
        let Condition::Judged { rule, .. } = on else {
            return None;
        };
        let is_taken = item.mark == Some(Mark::Tombstone) && rule.holds(Some(item)).unwrap();
        is_taken.then(|| Call::WriteNew {
            key: key.clone(),
            change: change.clone(),
            on: Condition::Always,
        })
    }
    let cast = cast(&[Kind::Delete, Kind::DeleteThere], &[]);
    let name = "rows tombstone taken for a row";
    mutant(name, (Copy, Copy), cast, &Calls(calls), TOLD);
}

/// Two put a row where it was as they wanted it, and both are told that it was.
#[test]
fn conditional_put_that_is_not_conditional_on_what_was_read() {
    fn in_old(_: &Stores, call: &Call, _: Who) -> Option<Call> {
        let Call::WriteOld(Mutation::UpdateIf { update, .. }) = call else {
            return None;
        };
        Some(Call::WriteOld(Mutation::UpdateIf {
            update: update.clone(),
            expected: Vec::new(),
        }))
    }
    fn in_new(_: &Stores, call: &Call, _: Who) -> Option<Call> {
        let Call::WriteNew { key, change, on } = call else {
            return None;
        };
        let Condition::Judged { now, .. } = on else {
            return None;
        };
        Some(Call::WriteNew {
            key: key.clone(),
            change: change.clone(),
            on: Condition::In {
                states: vec![ItemState::Row],
                now: *now,
            },
        })
    }
    let name = "rows put-if without IF in O";
    mutant(
        name,
        (Old, Old),
        cast(&[Kind::PutIf], &[]),
        &Calls(in_old),
        TOLD,
    );
    let name = "rows put-if without IF in N";
    let puts = cast(&[Kind::PutIf, Kind::Put], &[]);
    mutant(name, (New, New), puts, &Calls(in_new), TOLD);
}

/// A transaction is sent without its conditions: it puts a row over one that another has written since, and is told that the
/// row was as it wanted it; and in `bridge` it writes to the new store what those in `old` don't see.
#[test]
fn transaction_without_its_conditions() {
    fn calls(_: &Stores, call: &Call, who: Who) -> Option<Call> {
        let Call::WriteNew { key, change, .. } = call else {
            return None;
        };
        let is_meant = matches!(who.kind, Kind::PutIfTogether | Kind::SetTogether);
        is_meant.then(|| Call::WriteNew {
            key: key.clone(),
            change: change.clone(),
            on: Condition::Always,
        })
    }
    let name = "rows transaction without IF";
    let puts = cast(&[Kind::PutIfTogether, Kind::Put], &[]);
    mutant(name, (New, New), puts, &Calls(calls), TOLD);
    let name = "rows transaction without IF beside `old`";
    let sets = cast(&[Kind::SetTogether, Kind::Put], &[]);
    mutant(name, (Old, Bridge), sets, &Calls(calls), I1);
}
