//! The order of reads, and rows that expire.

use super::*;

/// O is read; `bridge` puts a row there, acknowledged; the first update makes a partial item; N is read, and the
/// item laid over the row that was.
#[test]
fn reads_of_old_first() {
    fn begins(begun: Begun) -> Option<Machine> {
        let old_call = match begun.who.kind {
            Kind::Get => Call::ReadOld(key()),
            Kind::Query => Call::QueryOld(Query {
                range: range(),
                reverse: false,
                after: None,
                limit: 1,
            }),
            _ => return None,
        };
        Some(Machine::OldFirst(OldFirst {
            read: begun.machine().into(),
            old_call,
            old: None,
        }))
    }
    for reader in [[Kind::Get], [Kind::Query]] {
        let name = format!("rows {:?} reads O first", reader[0]);
        let cast = Cast {
            readers: &reader,
            ..cast(WRITES, &[])
        };
        mutant(&name, (Bridge, Switch), cast, &Begins(begins), I1);
    }
}

/// Rows that expire while this goes on.
fn expiring(phases: (Phase, Phase), cast: Cast, variant: &'static dyn Variant) -> Rows {
    Rows {
        rows_expire: true,
        ..model(scenarios::expiring(pair(phases.0, phases.1, cast)), variant)
    }
}

/// The item is gone, and shows the old row, which lives longer.
#[test]
fn native_expiry_before_done() {
    let cast = Cast {
        at_once: 1,
        ..cast(WHOLE, &[])
    };
    let model = expiring((Switch, Copy), cast, &NativeExpiry);
    breaks("rows native expiry before `done`", I1, model);
}

/// An update that takes an expired item for a row brings its other columns back.
#[test]
fn update_keeps_what_expired() {
    fn calls(stores: &Stores, call: &Call, _: Who) -> Option<Call> {
        let is_expired = ItemState::of(stores.new.as_ref(), stores.now) == ItemState::Expired;
        match call {
            Call::WriteNew {
                key,
                change: Change::Edit { cells, mark, .. },
                ..
            } if is_expired => Some(Call::WriteNew {
                key: key.clone(),
                change: Change::Edit {
                    cells: cells.clone(),
                    mark: *mark,
                    expires: Some(i64::MAX),
                },
                on: Condition::Always,
            }),
            _ => None,
        }
    }
    let cast = cast(WRITES, &[]);
    let model = expiring((Switch, Switch), cast, &Calls(calls));
    breaks("rows update keeps what expired", I1, model);
}

/// N is read; a row is put there (or deleted), acknowledged; the old one expires; O is read. It takes the second
/// look where N had nothing, and where it had a partial item.
#[test]
fn miss_without_a_second_look() {
    fn begins(begun: Begun) -> Option<Machine> {
        let rows_expire = false;
        let looks_once = || Begun {
            rows_expire,
            ..begun
        };
        begun.who.kind.is_read().then(|| looks_once().machine())
    }
    for (reader, item) in [
        (Kind::Get, ItemState::Absent),
        (Kind::Get, ItemState::Partial),
        (Kind::Query, ItemState::Absent),
        (Kind::Query, ItemState::Partial),
    ] {
        let name = format!("rows {reader:?} without a second look, {item:?} (E1)");
        let cast = Cast {
            readers: &[reader],
            ..cast(WHOLE, &[])
        };
        let mut model = expiring((Switch, Switch), cast, &Begins(begins));
        let start = |world: &World| ItemState::of(world.stores.new.as_ref(), world.stores.now);
        model.starts.retain(|world| start(world) == item);
        breaks(&name, I1, model);
    }
}

/// N is read; a row is put there, acknowledged; the old one expires; an update in `bridge` that had found nothing
/// in N makes another in O, and that is shown.
#[test]
fn hit_in_old_without_a_second_look() {
    fn begins(begun: Begun) -> Option<Machine> {
        let trusts = || TrustsOld {
            read: begun.machine().into(),
            item: None,
        };
        (begun.who.kind == Kind::Get).then(|| Machine::TrustsOld(trusts()))
    }
    let cast = cast(&[Kind::Put, Kind::SetFirst], &[]);
    let mut model = expiring((Bridge, Switch), cast, &Begins(begins));
    model.starts = old_alone(model.starts);
    breaks("rows a hit in O without a second look", I1, model);
}

/// The old row that a copier read before it met a partial item may have expired before that was written.
#[test]
fn completion_with_an_old_row_read_before() {
    fn begins(begun: Begun) -> Option<Machine> {
        let remembers = || OldFirst {
            read: begun.machine().into(),
            old_call: Call::ReadOld(key()),
            old: None,
        };
        (begun.who.kind == Kind::Copy).then(|| Machine::OldFirst(remembers()))
    }
    let cast = Cast {
        at_once: 1,
        ..cast(WRITES, &[Kind::Copy])
    };
    let model = expiring((Switch, Copy), cast, &Begins(begins));
    breaks("rows completion with an old row read before", I1, model);
}

/// The columns that a partial item decides may have been written again since the old row expired.
#[test]
fn completion_of_another_item() {
    fn calls(_: &Stores, call: &Call, _: Who) -> Option<Call> {
        match call {
            Call::WriteNew {
                key,
                change: change @ Change::Edit { .. },
                on: Condition::Same(seen),
            } => Some(Call::WriteNew {
                key: key.clone(),
                change: change.clone(),
                on: Condition::Decides(seen.decided.clone()),
            }),
            _ => None,
        }
    }
    let cast = Cast {
        at_once: 1,
        ..cast(WRITES, &[Kind::Copy])
    };
    let model = expiring((Switch, Copy), cast, &Calls(calls));
    breaks("rows completion of another item", I1, model);
}
