//! The rules as they are, and mutants: each changes one of them, and nothing else.

use crossfade::protocol::Machine;
use crossfade::protocol::Phase;
use crossfade::protocol::counter::{
    AddToCounters, Added, Count, Counted, CounterCall, CounterItem, CounterReply, CounterStep,
    FoldCounters, Folded, Pass, Rules, Tallied, Tally, may_enter_new, may_return_to_old,
};

use super::stores::{Late, Stores, Write};

/// Where a mutant can step in. What it leaves alone is the library's.
pub trait Variant: Send + Sync {
    fn call(&self, stores: &mut Stores, call: &CounterCall, _: Phase) -> CounterReply {
        stores.call(call)
    }

    fn fold_step(
        &self,
        fold: &mut FoldCounters,
        _: &CounterCall,
        reply: CounterReply,
        _journal: Option<&[Option<i64>]>,
    ) -> CounterStep<Folded> {
        fold.step(reply)
    }

    fn add_step(
        &self,
        add: &mut AddToCounters,
        _: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Added> {
        add.step(reply)
    }

    fn tally_step(
        &self,
        tally: &mut Tally,
        _: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Tallied> {
        tally.step(reply)
    }

    fn count(&self, phase: Phase) -> Count {
        Count::new(phase)
    }

    fn may_skip(
        &self,
        pass: Pass,
        rules: Rules,
        remembered: Option<&[Option<i64>]>,
        scanned: &[Option<i64>],
    ) -> bool {
        pass.may_skip(rules, remembered, scanned)
    }

    fn may_enter_new(&self, settled: Option<u64>, freeze: u64) -> bool {
        may_enter_new(settled, freeze)
    }

    fn may_return_to_old(&self, item: Option<&CounterItem>) -> bool {
        may_return_to_old(item)
    }

    fn may_begin(&self, pass: Pass, phase: Phase, everybody_is_here: bool) -> bool {
        pass.may_begin(phase, everybody_is_here)
    }

    /// What a count takes a reply for.
    fn shown(&self, reply: CounterReply) -> CounterReply {
        reply
    }

    /// Whether the phase waits for copiers as for all others.
    fn waits_for_copiers(&self) -> bool {
        true
    }

    /// Whether the phase waits until no add of an earlier one can land any more.
    fn waits_for_adds(&self) -> bool {
        true
    }
}

pub struct AsDesigned;
impl Variant for AsDesigned {}

/// The total is put where nothing is; an item that is there isn't folded into.
pub struct PutIfAbsent;
impl Variant for PutIfAbsent {
    fn fold_step(
        &self,
        fold: &mut FoldCounters,
        _: &CounterCall,
        reply: CounterReply,
        _: Option<&[Option<i64>]>,
    ) -> CounterStep<Folded> {
        match reply {
            CounterReply::New(Some(item)) => CounterStep::Done(Folded::Unchanged {
                totals: item.totals,
            }),
            reply => fold.step(reply),
        }
    }
}

/// A fold doesn't ask whether the watermark still is what was read.
pub struct NoCondition;
impl Variant for NoCondition {
    fn call(&self, stores: &mut Stores, call: &CounterCall, _: Phase) -> CounterReply {
        match call {
            CounterCall::Fold(moves) => {
                stores.add_moves(moves);
                stores.set_watermarks(moves);
                CounterReply::Written
            }
            call => stores.call(call),
        }
    }
}

/// The watermark is set by a second write, after the add.
pub struct TwoWrites;
impl Variant for TwoWrites {
    fn call(&self, stores: &mut Stores, call: &CounterCall, phase: Phase) -> CounterReply {
        match call {
            CounterCall::Fold(moves) if stores.expected(moves) => {
                stores.add_moves(moves);
                stores.late.push(Late {
                    write: Write::Watermarks(moves.clone()),
                    phase,
                    add: None,
                });
                CounterReply::Written
            }
            call => stores.call(call),
        }
    }
}

/// What has been folded is what the journal says, not what the item says.
pub struct JournalTrusted;
impl Variant for JournalTrusted {
    fn fold_step(
        &self,
        fold: &mut FoldCounters,
        _: &CounterCall,
        reply: CounterReply,
        journal: Option<&[Option<i64>]>,
    ) -> CounterStep<Folded> {
        match reply {
            CounterReply::New(item) => {
                let totals = item.unwrap_or_default().totals;
                let watermarks = journal.unwrap_or_default().to_vec();
                fold.step(CounterReply::New(Some(CounterItem { totals, watermarks })))
            }
            reply => fold.step(reply),
        }
    }

    fn call(&self, stores: &mut Stores, call: &CounterCall, phase: Phase) -> CounterReply {
        NoCondition.call(stores, call, phase)
    }
}

/// No watermark, but a mark: once, in `copy`, the whole old total is added to the item, and from then on
/// all of it counts as inside, whatever it is. The mark is a watermark of 0 in the model's item.
pub struct FinalMark;
impl Variant for FinalMark {
    fn may_begin(&self, pass: Pass, phase: Phase, everybody_is_here: bool) -> bool {
        pass == Pass::Settling && pass.may_begin(phase, everybody_is_here)
    }

    fn call(&self, stores: &mut Stores, call: &CounterCall, _: Phase) -> CounterReply {
        match call {
            CounterCall::ReadNew => {
                let old = stores.old.clone().unwrap_or_default();
                let marked = |item: CounterItem| CounterItem {
                    watermarks: item
                        .watermarks
                        .iter()
                        .zip(old)
                        .map(|(mark, old)| mark.and(old))
                        .collect(),
                    ..item
                };
                CounterReply::New(stores.new.clone().map(marked))
            }
            CounterCall::Insert(_) | CounterCall::Fold(_) if is_marked(stores) => {
                CounterReply::Refused
            }
            call => {
                let reply = stores.call(call);
                if matches!(call, CounterCall::Insert(_) | CounterCall::Fold(_))
                    && reply == CounterReply::Written
                {
                    let marks = stores.new.iter_mut().flat_map(|item| &mut item.watermarks);
                    marks.for_each(|mark| *mark = Some(0));
                }
                reply
            }
        }
    }
}

fn is_marked(stores: &Stores) -> bool {
    let mut marks = stores.new.iter().flat_map(|item| &item.watermarks);
    marks.any(Option::is_some)
}

/// An add whose reply was lost is sent again.
pub struct AddAgain;
impl Variant for AddAgain {
    fn add_step(
        &self,
        add: &mut AddToCounters,
        call: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Added> {
        match reply {
            CounterReply::Unknown => CounterStep::Call(call.clone()),
            reply => add.step(reply),
        }
    }
}

/// The totals after an add are looked up after it, not told by the write itself.
pub struct LooksAfter;
impl Variant for LooksAfter {
    fn tally_step(
        &self,
        tally: &mut Tally,
        _: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Tallied> {
        match reply {
            CounterReply::New(_) if !tally.is_made() => tally.step(CounterReply::Written),
            reply => tally.step(reply),
        }
    }
}

/// An add is told what the new store has, as if the old store had no part in it.
pub struct TellsNewAlone;
impl Variant for TellsNewAlone {
    fn tally_step(
        &self,
        tally: &mut Tally,
        _: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Tallied> {
        match reply {
            CounterReply::New(Some(item)) if !tally.is_made() => {
                CounterStep::Done(Tallied::Added(Counted::Total(item.totals)))
            }
            reply => tally.step(reply),
        }
    }
}

/// An add whose totals are wanted is sent again when its reply was lost.
pub struct TellsAgain;
impl Variant for TellsAgain {
    fn tally_step(
        &self,
        tally: &mut Tally,
        call: &CounterCall,
        reply: CounterReply,
    ) -> CounterStep<Tallied> {
        match reply {
            CounterReply::Unknown => CounterStep::Call(call.clone()),
            reply => tally.step(reply),
        }
    }
}

/// `new` is entered without asking for a settling pass.
pub struct EarlyNew;
impl Variant for EarlyNew {
    fn may_enter_new(&self, _: Option<u64>, _: u64) -> bool {
        true
    }
}

/// `bridge` is left for `old` without asking what was added to the new store.
pub struct EarlyOld;
impl Variant for EarlyOld {
    fn may_return_to_old(&self, _: Option<&CounterItem>) -> bool {
        true
    }
}

/// A settling pass of an earlier freeze is enough for `new`.
pub struct EarlierFreeze;
impl Variant for EarlierFreeze {
    fn may_enter_new(&self, settled: Option<u64>, _: u64) -> bool {
        settled.is_some()
    }
}

/// A settling pass believes a journal, and so does a pass where totals may go down.
pub struct JournalSettles;
impl Variant for JournalSettles {
    fn may_skip(
        &self,
        _: Pass,
        _: Rules,
        remembered: Option<&[Option<i64>]>,
        scanned: &[Option<i64>],
    ) -> bool {
        Pass::CatchUp.may_skip(Rules::default(), remembered, scanned)
    }
}

/// The phase moves on while a copier still works in one before.
pub struct LooseCopier;
impl Variant for LooseCopier {
    fn waits_for_copiers(&self) -> bool {
        false
    }
}

/// A settling pass begins while others may still be in the phase before.
pub struct EarlySettling;
impl Variant for EarlySettling {
    fn may_begin(&self, pass: Pass, phase: Phase, _: bool) -> bool {
        pass.may_begin(phase, true)
    }
}

/// The new store's value alone is shown before `new`.
pub struct ShowsNewAlone;
impl Variant for ShowsNewAlone {
    fn count(&self, _: Phase) -> Count {
        Count::new(Phase::New)
    }
}

/// The old total and the new value are shown together, as if nothing of the one were inside the other.
pub struct ShowsBoth;
impl Variant for ShowsBoth {
    fn shown(&self, reply: CounterReply) -> CounterReply {
        match reply {
            CounterReply::New(Some(item)) => CounterReply::New(Some(CounterItem {
                watermarks: vec![],
                ..item
            })),
            reply => reply,
        }
    }
}

/// The phase moves on while an add of one before may still land.
pub struct LateAdds;
impl Variant for LateAdds {
    fn waits_for_adds(&self) -> bool {
        false
    }
}
