//! Each machine's steps one by one, then on any stores and any replies. Interleavings are the business of
//! `tests/model.rs`.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const GROWING: Rules = Rules { decrements: false };
const BOTH_WAYS: Rules = Rules { decrements: true };

fn item(totals: &[Option<i64>], watermarks: &[Option<i64>]) -> CounterReply {
    CounterReply::New(Some(CounterItem {
        totals: totals.to_vec(),
        watermarks: watermarks.to_vec(),
    }))
}

fn old(totals: &[Option<i64>]) -> CounterReply {
    CounterReply::Old(Some(totals.to_vec()))
}

fn moved(from: Option<i64>, to: i64) -> Option<Move> {
    Some(Move { from, to })
}

/// What a fold does once it has read this item and these old totals.
fn decision(rules: Rules, watermarks: &[Option<i64>], totals: CounterReply) -> CounterStep<Folded> {
    let mut fold = FoldCounters::new(rules);
    assert_eq!(fold.begin(), CounterStep::Call(CounterCall::ReadNew));
    let values: Totals = watermarks.iter().map(|w| w.map(|w| w + 1)).collect();
    assert_eq!(
        fold.step(item(&values, watermarks)),
        CounterStep::Call(CounterCall::ReadOld)
    );
    fold.step(totals)
}

#[test]
fn columns_that_differ_move_in_one_write() {
    let totals = [Some(5), Some(7), None, Some(0)];
    let step = decision(GROWING, &[Some(3), Some(7), None, None], old(&totals));
    let moves = vec![moved(Some(3), 5), None, None, moved(None, 0)];
    assert_eq!(step, CounterStep::Call(CounterCall::Fold(moves)));
}

#[test]
fn a_row_of_zeros_gets_a_total_and_a_watermark_of_zero() {
    let mut fold = FoldCounters::new(GROWING);
    fold.begin();
    fold.step(CounterReply::New(None));
    let step = fold.step(old(&[Some(0), Some(0)]));
    let moves = vec![moved(None, 0), moved(None, 0)];
    assert_eq!(step, CounterStep::Call(CounterCall::Fold(moves)));
    let totals = vec![Some(0), Some(0)];
    assert_eq!(
        fold.step(CounterReply::Written),
        CounterStep::Done(Folded::Folded { totals })
    );
}

#[test]
fn equal_totals_are_not_written() {
    let totals = vec![Some(5), None];
    let step = decision(GROWING, &[Some(5)], old(&totals));
    assert_eq!(step, CounterStep::Done(Folded::Unchanged { totals }));
}

#[test]
fn a_total_below_its_watermark_stops_the_whole_row() {
    let watermarks = [Some(5), Some(1)];
    let totals = [Some(4), Some(9)];
    let down = Down {
        column: 0,
        watermark: 5,
        total: Some(4),
    };
    let step = decision(GROWING, &watermarks, old(&totals));
    assert_eq!(step, CounterStep::Done(Folded::WentDown(vec![down])));
    let moves = vec![moved(Some(5), 4), moved(Some(1), 9)];
    let step = decision(BOTH_WAYS, &watermarks, old(&totals));
    assert_eq!(step, CounterStep::Call(CounterCall::Fold(moves)));
    let below = Down {
        column: 0,
        watermark: 0,
        total: Some(-2),
    };
    let step = decision(GROWING, &[None], old(&[Some(-2)]));
    assert_eq!(step, CounterStep::Done(Folded::WentDown(vec![below])));
}

#[test]
fn a_deleted_counter_is_told_and_never_guessed() {
    let deleted = |column, watermark| Down {
        column,
        watermark,
        total: None,
    };
    for rules in [GROWING, BOTH_WAYS] {
        let step = decision(rules, &[Some(5), Some(1)], old(&[None, Some(2)]));
        assert_eq!(
            step,
            CounterStep::Done(Folded::WentDown(vec![deleted(0, 5)]))
        );
        let step = decision(rules, &[Some(5), Some(1)], CounterReply::Old(None));
        let both = vec![deleted(0, 5), deleted(1, 1)];
        assert_eq!(step, CounterStep::Done(Folded::WentDown(both)));
        let step = decision(rules, &[None, None], CounterReply::Old(None));
        assert_eq!(step, CounterStep::Done(Folded::Gone));
    }
}

#[test]
fn a_first_fold_is_one_write_unless_something_is_there() {
    let totals = vec![Some(5), None];
    for reply in [CounterReply::Refused, CounterReply::Unknown] {
        let mut fold = FoldCounters::first(GROWING, totals.clone());
        assert_eq!(
            fold.begin(),
            CounterStep::Call(CounterCall::Insert(totals.clone()))
        );
        assert_eq!(fold.step(reply), CounterStep::Call(CounterCall::ReadNew));
    }
    let mut fold = FoldCounters::first(GROWING, totals.clone());
    fold.begin();
    assert_eq!(
        fold.step(CounterReply::Written),
        CounterStep::Done(Folded::Folded { totals })
    );
}

#[test]
fn a_first_fold_does_not_insert_what_has_to_be_looked_at() {
    for (rules, scanned, inserts) in [
        (GROWING, vec![Some(-1)], false),
        (GROWING, vec![Some(3), Some(-1)], false),
        (BOTH_WAYS, vec![Some(-1)], true),
        (GROWING, vec![Some(0)], true),
        (GROWING, vec![None, None], false),
        (GROWING, vec![], false),
    ] {
        let step = FoldCounters::first(rules, scanned.clone()).begin();
        let inserted = step == CounterStep::Call(CounterCall::Insert(scanned.clone()));
        assert_eq!(inserted, inserts, "{scanned:?} {rules:?}");
    }
}

#[test]
fn a_later_fold_is_one_read_where_nothing_has_changed() {
    let totals = vec![Some(5), None];
    let mut fold = FoldCounters::again(GROWING, totals.clone());
    assert_eq!(fold.begin(), CounterStep::Call(CounterCall::ReadNew));
    let step = fold.step(item(&[Some(8)], &[Some(5)]));
    assert_eq!(step, CounterStep::Done(Folded::Unchanged { totals }));
}

#[test]
fn a_stale_scan_is_not_taken_for_a_decrement() {
    let mut fold = FoldCounters::again(GROWING, vec![Some(5)]);
    fold.begin();
    let step = fold.step(item(&[Some(6)], &[Some(6)]));
    assert_eq!(
        step,
        CounterStep::Call(CounterCall::ReadOld),
        "the scan may be old"
    );
    let totals = vec![Some(6)];
    let step = fold.step(old(&totals));
    assert_eq!(step, CounterStep::Done(Folded::Unchanged { totals }));
}

#[test]
fn a_fold_that_lost_begins_anew() {
    for reply in [CounterReply::Refused, CounterReply::Unknown] {
        let mut fold = FoldCounters::new(GROWING);
        fold.begin();
        fold.step(CounterReply::New(None));
        fold.step(old(&[Some(1)]));
        assert_eq!(fold.step(reply), CounterStep::Call(CounterCall::ReadNew));
        let step = fold.step(item(&[Some(1)], &[Some(1)]));
        assert_eq!(step, CounterStep::Call(CounterCall::ReadOld));
    }
}

#[test]
fn totals_far_apart_are_moved_without_wrapping() {
    let step = decision(BOTH_WAYS, &[Some(i64::MIN)], old(&[Some(i64::MAX)]));
    let CounterStep::Call(CounterCall::Fold(moves)) = step else {
        unreachable!("{step:?}")
    };
    let by = moves[0].map(Move::by);
    assert_eq!(by, Some(i128::from(u64::MAX)));
}

/// What a count shows of these stores, and the calls it makes.
fn counted(
    phase: Phase,
    old: Option<Totals>,
    item: Option<CounterItem>,
) -> (Counted, Vec<CounterCall>) {
    let mut count = Count::new(phase);
    let mut calls = Vec::new();
    let mut step = count.begin();
    loop {
        let reply = match &step {
            CounterStep::Call(CounterCall::ReadNew) => CounterReply::New(item.clone()),
            CounterStep::Call(_) => CounterReply::Old(old.clone()),
            CounterStep::Done(answer) => return (answer.clone(), calls),
        };
        if let CounterStep::Call(call) = step {
            calls.push(call);
        }
        step = count.step(reply);
    }
}

#[test]
fn each_phase_shows_its_total() {
    let old = Some(vec![Some(10), None, None]);
    let item = Some(CounterItem {
        totals: vec![Some(9), Some(2)],
        watermarks: vec![Some(7)],
    });
    for (phase, expected, calls) in [
        (
            Phase::Old,
            vec![Some(10), None, None],
            vec![CounterCall::ReadOld],
        ),
        (
            Phase::Bridge,
            vec![Some(12), Some(2), None],
            vec![CounterCall::ReadNew, CounterCall::ReadOld],
        ),
        (
            Phase::New,
            vec![Some(9), Some(2)],
            vec![CounterCall::ReadNew],
        ),
    ] {
        let found = counted(phase, old.clone(), item.clone());
        assert_eq!(found, (Counted::Total(expected), calls), "{phase}");
    }
    let bridge = counted(Phase::Bridge, old.clone(), item.clone());
    for phase in [Phase::Switch, Phase::Copy] {
        assert_eq!(counted(phase, old.clone(), item.clone()), bridge);
    }
    let new = counted(Phase::New, None, item.clone());
    assert_eq!(counted(Phase::Done, None, item), new);
    let nothing = Counted::Total(vec![]);
    assert_eq!(counted(Phase::Bridge, None, None).0, nothing);
    let refused = (Counted::Refused, vec![]);
    assert_eq!(counted(Phase::Offline, old, None), refused);
}

#[test]
fn a_total_that_does_not_fit_is_an_error() {
    let item = |c, w| {
        Some(CounterItem {
            totals: vec![Some(c)],
            watermarks: vec![Some(w)],
        })
    };
    let most = Some(vec![Some(i64::MAX)]);
    let shown = counted(Phase::Copy, most.clone(), item(2, 1)).0;
    let total = i128::from(i64::MAX) + 1;
    assert_eq!(shown, Counted::OutOfRange { column: 0, total });
    let shown = counted(Phase::Copy, most, item(i64::MAX, i64::MAX)).0;
    let total = Counted::Total(vec![Some(i64::MAX)]);
    assert_eq!(shown, total, "what is between may be larger");
}

#[test]
fn an_add_goes_to_its_phase_and_says_what_came_of_it() {
    let by = vec![Some(1), None];
    for (phase, to) in [
        (Phase::Old, AddPlace::Old),
        (Phase::Bridge, AddPlace::Old),
        (Phase::Switch, AddPlace::New),
        (Phase::Copy, AddPlace::New),
        (Phase::New, AddPlace::New),
        (Phase::Done, AddPlace::NewUnmarked),
    ] {
        for (reply, answer) in [
            (CounterReply::Written, Added::Added),
            (CounterReply::Refused, Added::Refused),
            (CounterReply::Unknown, Added::Unknown),
            (CounterReply::New(None), Added::Unknown),
        ] {
            let mut add = AddToCounters::new(phase, by.clone());
            let call = CounterCall::Add { to, by: by.clone() };
            assert_eq!(add.begin(), CounterStep::Call(call), "{phase}");
            assert_eq!(add.step(reply), CounterStep::Done(answer));
        }
    }
    let mut add = AddToCounters::new(Phase::Offline, by);
    assert_eq!(add.begin(), CounterStep::Done(Added::Refused));
}

#[test]
fn a_journal_saves_a_look_in_a_catch_up_pass_only() {
    let (five, six) = ([Some(5)], [Some(6)]);
    let skips = |pass: Pass, rules, scanned| pass.may_skip(rules, Some(&five), scanned);
    assert!(skips(Pass::CatchUp, GROWING, &five));
    assert!(!skips(Pass::CatchUp, GROWING, &six));
    assert!(!skips(Pass::CatchUp, BOTH_WAYS, &five));
    assert!(!skips(Pass::Settling, GROWING, &five));
    assert!(!Pass::CatchUp.may_skip(GROWING, None, &[]));
}

#[test]
fn a_settling_pass_waits_for_all() {
    for phase in Phase::ALL {
        let frozen = matches!(phase, Phase::Copy | Phase::Offline);
        let old_is_read = !matches!(phase, Phase::New | Phase::Done);
        assert_eq!(Pass::Settling.may_begin(phase, true), frozen, "{phase}");
        assert!(!Pass::Settling.may_begin(phase, false), "{phase}");
        for all in [true, false] {
            let may = Pass::CatchUp.may_begin(phase, all);
            assert_eq!(may, old_is_read, "{phase}");
        }
    }
}

#[test]
fn a_settling_pass_counts_for_its_own_freeze() {
    assert!(may_enter_new(Some(2), 2));
    assert!(!may_enter_new(Some(1), 2));
    assert!(!may_enter_new(None, 0));
    assert!(!Folded::WentDown(vec![]).is_settled());
    assert!(Folded::Gone.is_settled());
}

/// Small totals, so that equal ones are common, and the largest there are.
fn totals() -> impl Strategy<Value = Totals> {
    let total = prop_oneof![
        4 => -2..6i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
    ];
    vec(option::weighted(0.8, total), 0..4)
}

fn reply() -> impl Strategy<Value = CounterReply> {
    prop_oneof![
        option::of(
            (totals(), totals())
                .prop_map(|(totals, watermarks)| CounterItem { totals, watermarks })
        )
        .prop_map(CounterReply::New),
        option::of(totals()).prop_map(CounterReply::Old),
        Just(CounterReply::Written),
        Just(CounterReply::Refused),
        Just(CounterReply::Unknown),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<bool>().prop_map(|decrements| Rules { decrements })
}

/// One item of up to four columns.
#[derive(Clone, Debug, PartialEq)]
struct NewStore {
    is_there: bool,
    c: [i128; 4],
    w: [Option<i64>; 4],
}

impl NewStore {
    /// An item to which the application has added 3 in each column.
    fn holding(watermarks: Option<Totals>) -> Self {
        let w = std::array::from_fn(|column| at(watermarks.as_deref().unwrap_or(&[]), column));
        let is_there = watermarks.is_some();
        let added = if is_there { 3 } else { 0 };
        let c = w.map(|w| i128::from(w.unwrap_or(0)) + added);
        NewStore { is_there, c, w }
    }

    fn beyond(&self) -> [i128; 4] {
        std::array::from_fn(|column| self.c[column] - i128::from(self.w[column].unwrap_or(0)))
    }

    /// Drives a fold to its end. It takes a refused insert, two reads and a write at most.
    fn fold_alone(&mut self, mut fold: FoldCounters, o: &Totals) -> Result<Folded, TestCaseError> {
        let mut step = fold.begin();
        for _ in 0..5 {
            let call = match step {
                CounterStep::Done(folded) => return Ok(folded),
                CounterStep::Call(call) => call,
            };
            step = fold.step(match call {
                CounterCall::ReadNew => CounterReply::New(self.is_there.then(|| CounterItem {
                    totals: vec![],
                    watermarks: self.w.to_vec(),
                })),
                CounterCall::ReadOld => CounterReply::Old(Some(o.clone())),
                CounterCall::Insert(_) if self.is_there => CounterReply::Refused,
                CounterCall::Insert(totals) => {
                    *self = NewStore::holding(Some(totals));
                    self.c = self.w.map(|w| w.unwrap_or(0).into());
                    CounterReply::Written
                }
                CounterCall::Fold(moves) => {
                    self.is_there = true;
                    for (column, moved) in moves.into_iter().enumerate() {
                        let Some(moved) = moved else { continue };
                        prop_assert_eq!(self.w[column], moved.from);
                        self.c[column] += moved.by();
                        self.w[column] = Some(moved.to);
                    }
                    CounterReply::Written
                }
                CounterCall::Add { .. } | CounterCall::AddAndTell { .. } => {
                    unreachable!("a fold doesn't add for the application")
                }
            });
        }
        Err(TestCaseError::fail("too many calls"))
    }
}

proptest! {
    /// Left alone, a fold of any kind ends with `w = o` and `c - w` as it was, or says why not.
    #[test]
    fn a_fold_settles_the_row_or_tells(
        rules in rules(), o in totals(), scanned in totals(), there in option::of(totals()), way in 0..3,
    ) {
        let fold = match way {
            0 => FoldCounters::new(rules),
            1 => FoldCounters::first(rules, o.clone()),
            _ => FoldCounters::again(rules, scanned),
        };
        let mut new = NewStore::holding(there);
        let before = new.clone();
        let folded = new.fold_alone(fold, &o)?;
        prop_assert_eq!(new.beyond(), before.beyond());
        match folded {
            Folded::WentDown(downs) => {
                prop_assert_eq!(&new, &before);
                for down in downs {
                    let total = at(&o, down.column);
                    prop_assert_eq!(down.total, total);
                    prop_assert_eq!(down.watermark, new.w[down.column].unwrap_or(0));
                    prop_assert!(total.is_none_or(|total| !rules.decrements && total < down.watermark));
                }
            }
            Folded::Unchanged { totals } => {
                prop_assert_eq!(&new, &before);
                prop_assert!(same(&new.w, &totals));
            }
            Folded::Folded { totals } => {
                prop_assert!(same(&totals, &o));
                prop_assert!(same(&new.w, &o));
            }
            Folded::Gone => unreachable!("the row is there"),
        }
    }

    /// No replies, however wrong, make a machine panic or send an add twice.
    #[test]
    fn wrong_replies_are_borne(
        rules in rules(), phase in 0..7usize, scanned in totals(), replies in vec(reply(), 0..12),
    ) {
        let mut folds = [FoldCounters::new(rules), FoldCounters::first(rules, scanned.clone()), FoldCounters::again(rules, scanned.clone())];
        let mut count = Count::new(Phase::ALL[phase]);
        let mut add = AddToCounters::new(Phase::ALL[phase], scanned);
        let mut sent = 0;
        for (place, reply) in replies.into_iter().enumerate() {
            for fold in &mut folds {
                fold.step(reply.clone());
            }
            count.step(reply.clone());
            let step = if place % 3 == 0 { add.begin() } else { add.step(reply) };
            sent += u32::from(matches!(step, CounterStep::Call(_)));
        }
        prop_assert!(sent <= 1);
    }
}
