//! One row on its way from the old store to the new one.

mod history;
mod machines;
mod mutants;
mod scenarios;
mod shared;
mod stores;
mod variants;
mod world;

use crossfade::protocol::Phase::{self, Bridge, Copy, Done, New, Old, Switch};

use crate::checking::{breaks, holds, long};
use machines::Kind::{
    self, Append, ClearFirst, Compute, Delete, DeleteRange, DeleteThere, Get, Insert, Purge, Put,
    PutIf, PutIfTogether, PutNew, Query, Scan, SetFirst, SetSecond, SetTogether, UpdateIf,
};
use scenarios::{Cast, expiring, pair, repairs, stores, world};
use variants::AsDesigned;
use world::{I1, I2, Rows, Together, World};

/// Phases that participants can be in at the same time.
const PAIRS: [(Phase, Phase); 11] = [
    (Old, Old),
    (Old, Bridge),
    (Bridge, Bridge),
    (Bridge, Switch),
    (Switch, Switch),
    (Switch, Copy),
    (Copy, Copy),
    (Copy, New),
    (New, New),
    (New, Done),
    (Done, Done),
];

const TOOLS: &[Kind] = &[Kind::Copy, Purge];

fn as_designed(starts: Vec<World>) -> Rows {
    Rows {
        starts,
        walk: Vec::new(),
        rows_expire: false,
        reads: Together::Not,
        variant: &AsDesigned,
    }
}

/// What a cast can do in each pair of phases, from everything that both stores can have.
fn pairs(cast: Cast) -> Vec<World> {
    let pairs = PAIRS.into_iter();
    pairs
        .flat_map(|(one, other)| pair(one, other, cast))
        .collect()
}

#[test]
fn two_writes_and_a_read() {
    let (writers, readers) = match long() {
        false => (&[Put, SetFirst, SetSecond, Delete][..], &[Get][..]),
        true => (
            &[Put, SetFirst, SetSecond, ClearFirst, Delete, DeleteRange][..],
            &[Get, Query][..],
        ),
    };
    let cast = Cast {
        writers,
        readers,
        ..Cast::of(TOOLS)
    };
    holds("rows, two writes and a read", as_designed(pairs(cast)));
}

#[test]
fn ranges_and_removals() {
    let cast = Cast {
        writers: &[SetFirst, ClearFirst, DeleteRange],
        readers: &[Query],
        ..Cast::of(TOOLS)
    };
    holds("rows, ranges and removals", as_designed(pairs(cast)));
}

#[test]
fn two_writes_and_two_reads() {
    let cast = match long() {
        false => Cast {
            writers: &[Put, SetFirst],
            ..Cast::of(&[])
        },
        true => Cast {
            writers: &[Put, SetFirst, SetSecond, Delete],
            ..Cast::of(TOOLS)
        },
    };
    let model = Rows {
        reads: Together::AsPromised,
        ..as_designed(pairs(Cast { reads: 2, ..cast }))
    };
    holds("rows, two writes and two reads", model);
}

/// The caller sends the same again, which is lawful for what sets values: an appended element would be
/// there twice.
#[test]
fn lost_replies() {
    let cast = Cast {
        writers: if long() {
            &[Put, SetFirst, SetSecond, Delete]
        } else {
            &[Put, SetFirst]
        },
        losses: 1,
        ..Cast::of(if long() { TOOLS } else { &[Kind::Copy] })
    };
    holds("rows, a lost reply and a retry", as_designed(pairs(cast)));
}

#[test]
fn writes_that_need_the_old_value() {
    let cast = match long() {
        false => Cast {
            writers: &[SetFirst, Append, Insert, UpdateIf],
            ..Cast::of(&[])
        },
        true => Cast {
            writers: &[Put, SetFirst, Delete, Append, Insert, UpdateIf],
            ..Cast::of(TOOLS)
        },
    };
    holds(
        "rows, writes that need the old value",
        as_designed(pairs(cast)),
    );
}

#[test]
fn writes_on_a_rule() {
    let casts = match long() {
        false => vec![
            Cast {
                writers: &[SetFirst, PutNew, DeleteThere],
                ..Cast::of(&[])
            },
            Cast {
                writers: &[SetFirst, PutIf, Compute],
                ..Cast::of(&[])
            },
        ],
        true => vec![Cast {
            writers: &[Put, SetFirst, Delete, PutNew, PutIf, DeleteThere, Compute],
            ..Cast::of(TOOLS)
        }],
    };
    let starts = casts.into_iter().flat_map(pairs);
    holds("rows, writes on a rule", as_designed(starts.collect()));
}

#[test]
fn transactions() {
    let (writers, tools): (&[Kind], _) = match long() {
        false => (&[SetFirst, SetTogether, PutIfTogether], &[][..]),
        true => (
            &[Put, SetFirst, SetSecond, Delete, SetTogether, PutIfTogether],
            TOOLS,
        ),
    };
    let cast = Cast {
        writers,
        ..Cast::of(tools)
    };
    holds("rows, transactions", as_designed(pairs(cast)));
}

/// Where `bridge` meets `switch`, with one writer: of two, one in `bridge` may have found nothing in the new store and
/// write to the old one after the other has made an item, and a scan has passed there (see `row::scan`).
#[test]
fn scans() {
    let cast = Cast {
        writers: &[Put, SetFirst, Delete],
        readers: &[Scan],
        ..Cast::of(if long() { TOOLS } else { &[Kind::Copy] })
    };
    let starts = PAIRS.into_iter().flat_map(|(one, other)| {
        let at_once = match (one, other) {
            (Bridge, Switch) => 1,
            _ => 2,
        };
        pair(one, other, Cast { at_once, ..cast })
    });
    holds("rows, scans", as_designed(starts.collect()));
}

/// The exception is one: so it is told of.
#[test]
fn a_scan_may_miss_a_row_that_bridge_and_switch_write_at_once() {
    let cast = Cast {
        writers: &[Put, SetFirst],
        readers: &[Scan],
        ..Cast::of(&[])
    };
    let model = as_designed(pair(Bridge, Switch, cast));
    breaks("rows, a scan where bridge meets switch", I1, model);
}

#[test]
fn three_writes() {
    let model = match long() {
        false => as_designed(pair(
            Bridge,
            Switch,
            Cast {
                writers: &[SetFirst, Delete],
                at_once: 3,
                ..Cast::of(&[])
            },
        )),
        true => as_designed(pairs(Cast {
            writers: &[Put, SetFirst, Delete],
            at_once: 3,
            ..Cast::of(TOOLS)
        })),
    };
    holds("rows, three writes and a read", model);
}

#[test]
fn rows_that_expire() {
    let one_write = Cast {
        writers: &[Put, SetFirst, Delete],
        readers: &[Get, Query],
        at_once: 1,
        ..Cast::of(&[Kind::Copy])
    };
    let two_writes = Cast {
        writers: &[Put, SetFirst],
        ..Cast::of(&[])
    };
    let starts = match long() {
        false => [pairs(one_write), pair(Bridge, Switch, two_writes)].concat(),
        true => pairs(Cast {
            at_once: 2,
            readers: &[Get],
            tools: TOOLS,
            ..one_write
        }),
    };
    let model = Rows {
        rows_expire: true,
        ..as_designed(expiring(starts))
    };
    holds("rows, while they expire", model);
}

#[test]
fn repair() {
    let writers = &[Put, SetFirst, SetSecond, ClearFirst, Delete];
    let pairs = [(Switch, Copy), (Copy, Copy), (Copy, New)];
    let starts = pairs.into_iter().flat_map(|pair| repairs(pair, writers));
    holds("rows, repair", as_designed(starts.collect()));
}

/// Two applications that write, of which one reads, a copier and a purge, moved through phases.
fn walk(phases: &[Phase], writers: &[Kind]) -> Rows {
    let limit = u8::from(long());
    let mut starts = Vec::new();
    for stores in stores(&phases[..1]) {
        for (at, first) in writers.iter().enumerate() {
            for second in &writers[at..] {
                for (by, reader) in [(0, 0), (1, 0), (1, 1)] {
                    let writes = [(*first, 0), (*second, by)];
                    let mut operations = vec![(Get, reader), (Kind::Copy, 2)];
                    operations.extend(phases.contains(&Done).then_some((Purge, 2)));
                    operations.extend(writes);
                    starts.push(World {
                        crashes: limit,
                        losses: limit,
                        ..world(stores.clone(), &[phases[0]; 3], &operations)
                    });
                }
            }
        }
    }
    Rows {
        walk: phases.to_vec(),
        ..as_designed(starts)
    }
}

#[test]
fn there() {
    let writers: &[Kind] = if long() {
        &[Put, SetFirst, SetSecond, Delete]
    } else {
        &[Put, SetFirst, Delete]
    };
    let phases = [Old, Bridge, Switch, Copy, New, Done];
    holds("rows, old to done", walk(&phases, writers));
}

#[test]
fn back_and_forth() {
    let writers: &[Kind] = if long() {
        &[Put, SetFirst, Delete]
    } else {
        &[Put, SetFirst]
    };
    let phases = [New, Copy, Switch, Bridge, Switch, Copy, New];
    holds("rows, back and forth", walk(&phases, writers));
}

/// From `switch` as far back as nothing was written to the new store, and there again.
#[test]
fn back_to_old() {
    let writers: &[Kind] = if long() {
        &[Put, SetFirst, Delete]
    } else {
        &[Put, SetFirst]
    };
    let phases = [Switch, Bridge, Old, Bridge, Switch, Copy];
    holds("rows, back to old", walk(&phases, writers));
}

/// What isn't promised: a put or delete in `bridge` that found nothing in the new store and was overtaken
/// by the key's first update in `switch` is seen in the other columns only, and later than the update.
#[test]
fn bridge_beside_switch_by_row() {
    let cast = Cast {
        writers: &[Put, SetFirst],
        reads: 2,
        ..Cast::of(&[])
    };
    let model = Rows {
        reads: Together::OneOrder,
        ..as_designed(pair(Bridge, Switch, cast))
    };
    breaks("rows, whole rows in `bridge` and `switch`", I2, model);
}

/// Nor is this, be it in `old` alone: a write that is sent again after a lost reply can undo another.
#[test]
fn blind_retry() {
    let cast = Cast {
        writers: &[Put],
        reads: 2,
        losses: 1,
        ..Cast::of(&[])
    };
    let model = Rows {
        reads: Together::OneOrder,
        ..as_designed(pair(Old, Old, cast))
    };
    breaks("rows, a write sent again blindly", I2, model);
}
