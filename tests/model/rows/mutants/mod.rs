//! Each rule is needed: without it, an invariant breaks.

mod bridge;
mod conditions;
mod items;
mod judged;
mod phases;
mod reads;

use crossfade::model::{Change, Condition, ItemState, Mark, Mutation, Query, Row};
use crossfade::protocol::Phase::{self, Bridge, Copy, Done, New, Old, Switch};
use crossfade::protocol::row::Call;

use super::machines::{Kind, Machine};
use super::scenarios::{self, Cast, pair, repairs, stores, world};
use super::stores::{Stores, key, range};
use super::variants::{
    AsDesigned, Begins, Begun, Beneath, Calls, CopiesStay, EarlyNew, EarlyOld, JudgedBeneath,
    LaidOver, NativeExpiry, NewFirst, OldFirst, Reads, Script, TrustsOld, Undrained, Unpinned,
    Variant, Who,
};
use super::world::{I1, I2, OWNED, Rows, TOLD, Together, World};
use crate::checking::breaks;

/// Two writes and a read, and a tool where a phase allows it.
fn cast<'a>(writers: &'a [Kind], tools: &'a [Kind]) -> Cast<'a> {
    Cast {
        writers,
        ..Cast::of(tools)
    }
}

const WHOLE: &[Kind] = &[Kind::Put, Kind::Delete];
const WRITES: &[Kind] = &[Kind::Put, Kind::SetFirst, Kind::SetSecond, Kind::Delete];

fn model(starts: Vec<World>, variant: &'static dyn Variant) -> Rows {
    Rows {
        starts,
        walk: Vec::new(),
        rows_expire: false,
        reads: Together::Not,
        variant,
    }
}

/// A mutant beside the library, or alone, in two phases.
fn mutant(
    name: &str,
    (one, other): (Phase, Phase),
    cast: Cast,
    variant: &'static dyn Variant,
    invariant: &'static str,
) {
    breaks(name, invariant, model(pair(one, other, cast), variant));
}

/// Those that start with an old row alone.
fn old_alone(starts: Vec<World>) -> Vec<World> {
    let starts = starts.into_iter();
    let alone = starts.filter(|world| world.stores.old.is_some() && world.stores.new.is_none());
    alone.collect()
}

/// One write, one read, and what a read saves is read by another.
fn two_reads(writers: &[Kind]) -> Cast<'_> {
    Cast {
        at_once: 1,
        reads: 2,
        ..cast(writers, &[])
    }
}
