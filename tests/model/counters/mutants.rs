//! Each rule that is changed here is needed: the invariant named with it breaks, and a test fails if it
//! doesn't. Where a rule is needed in some cases only, the others are shown to hold without it.

use crossfade::protocol::Phase::{self, Bridge, Copy, New, Switch};

use super::variants::{
    AddAgain, EarlierFreeze, EarlyNew, EarlyOld, EarlySettling, FinalMark, JournalSettles,
    JournalTrusted, LateAdds, LooksAfter, LooseCopier, NoCondition, PutIfAbsent, ShowsBoth,
    ShowsNewAlone, TellsAgain, TellsNewAlone, TwoWrites, Variant,
};
use super::world::Counters;
use super::{BACK_AND_FORTH, BACK_TO_OLD, down, size};
use crate::checking::{breaks, holds};

const FORTH: [Phase; 4] = [Bridge, Switch, Copy, New];

fn forth(variant: &'static dyn Variant) -> Counters {
    Counters {
        variant,
        ..size(&FORTH)
    }
}

#[test]
fn a_total_that_is_put_if_absent() {
    let name = "mutant: put if absent";
    breaks(name, "conservation", forth(&PutIfAbsent));
    breaks(name, "new_is_settled", forth(&PutIfAbsent));
}

#[test]
fn a_fold_without_its_condition() {
    let name = "mutant: fold without condition";
    let two = |variant| Counters {
        copiers: 2,
        ..forth(variant)
    };
    breaks(name, "fold_preserves", two(&NoCondition));
    breaks(name, "conservation", two(&NoCondition));
}

#[test]
fn a_watermark_set_by_a_second_write() {
    let name = "mutant: watermark in a second write";
    breaks(name, "fold_preserves", forth(&TwoWrites));
    breaks(name, "conservation", forth(&TwoWrites));
}

#[test]
fn a_journal_in_place_of_the_watermark() {
    let name = "mutant: journal trusted";
    let model = Counters {
        kills: 1,
        ..forth(&JournalTrusted)
    };
    breaks(name, "fold_preserves", model.clone());
    breaks(name, "conservation", model);
}

/// It passes as long as there is no way back.
#[test]
fn a_final_add_with_a_mark() {
    holds("near a mutant: final mark, forth only", forth(&FinalMark));
    let model = Counters {
        variant: &FinalMark,
        ..size(&BACK_AND_FORTH)
    };
    breaks("mutant: final mark", "conservation", model);
}

#[test]
fn an_add_that_is_sent_again() {
    let name = "mutant: add sent again";
    let model = Counters {
        counts: vec![1, 0],
        losses: 1,
        ..forth(&AddAgain)
    };
    breaks(name, "conservation", model.clone());
    breaks(name, "count_within", model);
}

#[test]
fn totals_that_are_looked_up_after_the_add() {
    let model = Counters {
        tells: true,
        ..forth(&LooksAfter)
    };
    breaks("mutant: looks after", "tallies_differ", model);
}

#[test]
fn totals_of_the_new_store_alone() {
    let model = Counters {
        tells: true,
        ..forth(&TellsNewAlone)
    };
    breaks("mutant: tells new alone", "tally_within", model);
}

#[test]
fn an_add_with_totals_that_is_sent_again() {
    let model = Counters {
        tells: true,
        losses: 1,
        ..forth(&TellsAgain)
    };
    breaks("mutant: tells again", "conservation", model.clone());
    breaks("mutant: tells again", "tally_within", model);
}

#[test]
fn new_before_everything_is_inside() {
    let name = "mutant: new too early";
    breaks(name, "new_is_settled", forth(&EarlyNew));
    breaks(name, "conservation", forth(&EarlyNew));
}

#[test]
fn old_with_adds_in_the_new_store() {
    let model = Counters {
        variant: &EarlyOld,
        ..size(&BACK_TO_OLD)
    };
    breaks("mutant: old too early", "conservation", model);
}

#[test]
fn new_after_a_pass_of_an_earlier_freeze() {
    let model = Counters {
        variant: &EarlierFreeze,
        ..size(&BACK_AND_FORTH)
    };
    breaks("mutant: settled before", "new_is_settled", model);
}

/// With totals that go down: one that was folded further may be back where the journal saw it.
#[test]
fn a_journal_that_settles() {
    let model = Counters {
        copiers: 2,
        ..forth(&JournalSettles)
    };
    breaks("mutant: journal settles", "new_is_settled", down(model));
}

/// With totals that go down: a fold that read one earlier sets the watermark back. Where they only grow,
/// such a fold is refused.
#[test]
fn a_copier_the_barrier_does_not_wait_for() {
    let growing = Counters {
        copiers: 2,
        ..forth(&LooseCopier)
    };
    holds("near a mutant: loose copier, growing", growing.clone());
    breaks("mutant: loose copier", "new_is_settled", down(growing));
}

/// The same, by a copier that is still in `switch` while another one settles.
#[test]
fn a_settling_pass_that_does_not_wait_for_everybody() {
    let growing = Counters {
        copiers: 2,
        ..forth(&EarlySettling)
    };
    holds("near a mutant: early settling, growing", growing.clone());
    breaks("mutant: early settling", "new_is_settled", down(growing));
}

/// It lands in the old store when its total has been settled.
#[test]
fn an_add_that_is_not_waited_for() {
    let model = Counters {
        losses: 1,
        ..forth(&LateAdds)
    };
    breaks("mutant: late add, total", "conservation", model.clone());
    breaks("mutant: late add, settled", "new_is_settled", model);
}

#[test]
fn a_count_of_both_stores_as_they_are() {
    let model = Counters {
        counts: vec![1, 0],
        ..forth(&ShowsBoth)
    };
    breaks("mutant: shows o + c", "count_within", model);
}

#[test]
fn a_count_of_the_new_store_alone() {
    let model = Counters {
        counts: vec![1, 0],
        ..forth(&ShowsNewAlone)
    };
    breaks("mutant: shows c alone", "count_within", model);
}
