#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::{Key, Value};

const NEVER: Ends = Ends::NEVER;
const NONE: (Ends, i64) = (Ends::Null, 0);
const UNTOLD: (Ends, i64) = (Ends::Untold, 0);

fn at(end: i64) -> Ends {
    Ends::of([End::At(end)])
}

fn mixed(first: i64) -> Ends {
    Ends::of([End::Never, End::At(first)])
}

/// A row of three cells that end so and were written in that second; a second of 0 isn't told.
fn row(cells: [(Ends, i64); 3]) -> Row {
    let there = |(ends, _): &(Ends, i64)| (*ends != Ends::Null).then_some(Value::Int(1));
    let values = cells.iter().map(there).collect();
    let times = cells.map(|(ends, written)| CellTimes {
        ends,
        written: (written > 0).then_some(written * MICROS),
    });
    Row {
        times: Times::OfCells(times.into()),
        ..Row::new(Key::row(vec![Value::Int(1)], vec![]), values)
    }
}

fn lifetime(expiry: Option<ExpiryFrom>, key_only: Option<KeyOnly>, default_ttl: u32) -> Lifetime {
    Lifetime {
        expiry,
        key_only,
        default_ttl,
        frozen_at: Some(1_000 * MICROS),
    }
}

/// What each rule makes of a row: reject, cells, default_ttl, keep.
#[track_caller]
fn becomes(default_ttl: u32, cells: [(Ends, i64); 3], wanted: [Option<Option<i64>>; 4]) {
    use KeyOnly::{Cells, DefaultTtl, Keep, Reject};
    for (rule, wanted) in [Reject, Cells, DefaultTtl, Keep].into_iter().zip(wanted) {
        let lifetime = lifetime(Some(ExpiryFrom::Max), Some(rule), default_ttl);
        let found = lifetime.end(&row(cells), |_| true);
        match wanted {
            Some(end) => assert_eq!(found.unwrap(), end, "{rule:?} {cells:?}"),
            None => {
                let error = found.unwrap_err();
                assert_eq!(error.kind(), Kind::Invalid);
                assert!(
                    error.next_step().unwrap().contains("key_only = "),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn the_end_of_a_row_is_known_or_the_plan_decides() {
    let known = |end| [Some(end); 4];
    let of = |last: Option<i64>, by_default: i64| {
        [None, last.map(Some), Some(Some(by_default)), Some(None)]
    };
    // One write, and a cell that stays.
    becomes(0, [(at(900), 100), (at(900), 100), NONE], known(Some(900)));
    becomes(0, [(at(900), 100), NONE, NONE], known(Some(900)));
    becomes(0, [(at(900), 0), (at(900), 0), UNTOLD], known(Some(900)));
    becomes(0, [(at(900), 100), (NEVER, 200), NONE], known(None));
    becomes(0, [(at(900), 100), (mixed(950), 200), NONE], known(None));
    becomes(0, [(NEVER, 100), UNTOLD, NONE], known(None));
    // Several writes, be it in one second, and nothing that tells.
    becomes(
        500,
        [(at(300), 100), (at(310), 110), NONE],
        of(Some(310), 610),
    );
    becomes(
        500,
        [(at(300), 100), (at(300), 101), NONE],
        of(Some(300), 601),
    );
    becomes(500, [NONE, NONE, NONE], of(None, 1_500));
    becomes(500, [UNTOLD, NONE, NONE], of(None, 1_500));
    // By the table's own TTL, or longer than that.
    becomes(
        500,
        [(at(600), 100), (at(610), 110), NONE],
        known(Some(610)),
    );
    becomes(
        500,
        [(at(300), 100), (at(700), 110), NONE],
        known(Some(700)),
    );
    // A write time that a client made up.
    becomes(
        500,
        [(at(300), 90_000), (at(310), 90_001), NONE],
        of(Some(310), 1_500),
    );
}

#[test]
fn a_table_without_any_limit_keeps_its_rows() {
    let plain = lifetime(None, None, 0);
    for cells in [
        [NONE, NONE, NONE],
        [UNTOLD, NONE, NONE],
        [(NEVER, 0), UNTOLD, NONE],
    ] {
        assert_eq!(plain.end(&row(cells), |_| true).unwrap(), None);
    }
    let error = plain.end(&row([(at(900), 0), (NEVER, 0), NONE]), |_| true);
    assert!(
        error
            .unwrap_err()
            .next_step()
            .unwrap()
            .contains("expiry = {")
    );
    // A default is enough to doubt.
    let error = lifetime(None, None, 5)
        .end(&row([NONE; 3]), |_| true)
        .unwrap_err();
    let help = error.next_step().unwrap();
    assert!(
        help.contains("\"keep\"") && !help.contains("default_ttl"),
        "{help}"
    );
}

#[test]
fn static_columns_have_no_marker() {
    let mut statics = row([(at(900), 100), (at(950), 200), NONE]);
    statics.key = Key::statics(vec![Value::Int(1)]);
    let reject = lifetime(Some(ExpiryFrom::Max), None, 0);
    assert_eq!(reject.end(&statics, |_| true).unwrap(), Some(950));
}

#[test]
fn a_row_goes_with_its_first_cell_or_only_if_all_agree() {
    let min = lifetime(Some(ExpiryFrom::Min), None, 0);
    let cells = row([(at(900), 100), (mixed(800), 200), (NEVER, 1)]);
    assert_eq!(min.end(&cells, |_| true).unwrap(), Some(800));
    // A column that isn't moved takes nothing with it.
    assert_eq!(min.end(&cells, |at| at == 0).unwrap(), Some(900));
    assert_eq!(min.end(&cells, |at| at == 2).unwrap(), None);
    let reject = lifetime(Some(ExpiryFrom::Reject), None, 0);
    let one = row([(at(900), 100), (at(900), 100), NONE]);
    assert_eq!(reject.end(&one, |_| true).unwrap(), Some(900));
    for other in [at(800), NEVER, mixed(900)] {
        let cells = row([(at(900), 100), (other, 100), NONE]);
        let error = reject.end(&cells, |_| true).unwrap_err();
        assert!(error.message().contains("different times"), "{error}");
    }
}

#[test]
fn a_column_that_is_left_behind_keeps_its_row() {
    let max = lifetime(Some(ExpiryFrom::Max), None, 0);
    let cells = row([(at(900), 100), (NEVER, 200), NONE]);
    assert_eq!(max.end(&cells, |at| at == 0).unwrap(), None);
}

#[test]
fn a_store_with_one_end_for_a_row_is_believed() {
    let mut row = row([NONE; 3]);
    row.times = Times::OfRow;
    row.expires = Some(7);
    let reject = lifetime(Some(ExpiryFrom::Max), None, 0);
    assert_eq!(reject.end(&row, |_| true).unwrap(), Some(7));
}

#[test]
fn without_the_moment_of_the_freeze_nothing_is_counted_from_it() {
    let rule = Some(KeyOnly::DefaultTtl);
    let unfrozen = Lifetime {
        frozen_at: None,
        ..lifetime(Some(ExpiryFrom::Max), rule, 500)
    };
    let error = unfrozen.end(&row([NONE; 3]), |_| true).unwrap_err();
    assert!(error.message().contains("frozen"), "{error}");
    let cells = row([(at(300), 100), (at(310), 110), NONE]);
    assert_eq!(unfrozen.end(&cells, |_| true).unwrap(), Some(610));
}
