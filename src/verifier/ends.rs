//! When an old row may end, told from its cells alone and in other words than the copier's rule: so that a fault of
//! that rule isn't called clean by the rule itself.
//!
//! A row is there for as long as any of its cells is. So it doesn't end before the last of them, and not at all if one
//! stays; and it ends later only where the plan says so of rows whose end Cassandra doesn't tell.

use crate::model::{End, Ends, Times};
use crate::transform::{KeyOnly, Transform};

/// Whether an item may end then, as the new store has it, whose old row has these times.
pub(super) fn may_end(transform: &Transform, times: &Times, expires: Option<i64>) -> bool {
    let Times::OfCells(cells) = times else {
        return true;
    };
    let mut lasts = Vec::with_capacity(cells.len());
    for cell in cells {
        match cell.ends {
            Ends::Null => {}
            // Whatever the others tell, this one may stay longer.
            Ends::Untold => return true,
            Ends::Told { last, .. } => lasts.push(last),
        }
    }
    // The plan has it end with the first of its cells, of those that are moved.
    if transform.expires_with_the_first_cell() {
        return true;
    }
    match (lasts.into_iter().max(), expires) {
        // Of nothing but its key the plan tells.
        (None, _) | (Some(End::Never), None) => true,
        (Some(End::Never), Some(_)) => false,
        (Some(End::At(_)), None) => transform.key_only() == KeyOnly::Keep,
        (Some(End::At(last)), Some(at)) => match transform.key_only() {
            KeyOnly::DefaultTtl => at >= last,
            KeyOnly::Reject | KeyOnly::Cells | KeyOnly::Keep => at == last,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{CellTimes, Key, Row, Value};
    use crate::schema::{Column, Layout, Role, Table, Type};
    use crate::transform::{ExpiryFrom, ExpiryRule};

    fn transform(from: ExpiryFrom, key_only: KeyOnly) -> Transform {
        let columns = vec![
            Column::new("p", Type::Int, Role::Partition),
            Column::new("a", Type::Int, Role::Regular),
            Column::new("b", Type::Int, Role::Regular),
        ];
        let rule = ExpiryRule {
            attribute: "expires_at".into(),
            from,
        };
        let table = Table::new("t", columns);
        let rules = BTreeMap::new();
        let layout = Layout::default();
        let transform = Transform::new(&table, &rules, Some(&rule), None, "t", layout).unwrap();
        let living = transform.living(Some(key_only), 1_000).unwrap();
        living.frozen(Some(5_000_000_000))
    }

    fn cell(first: End, last: End) -> CellTimes {
        CellTimes {
            ends: Ends::Told { first, last },
            written: Some(1),
        }
    }

    #[test]
    fn an_item_outlives_no_row_and_ends_before_none() {
        let of = |key_only| transform(ExpiryFrom::Max, key_only);
        let (early, late, never) = (End::At(100), End::At(200), End::Never);
        let both = Times::OfCells(vec![cell(early, early), cell(early, late)]);
        let one_stays = Times::OfCells(vec![cell(early, never), cell(late, late)]);
        let may = |key_only, times, at| may_end(&of(key_only), times, at);
        for key_only in [KeyOnly::Reject, KeyOnly::Cells] {
            assert!(may(key_only, &both, Some(200)));
            for wrong in [None, Some(100), Some(199), Some(201)] {
                assert!(!may(key_only, &both, wrong), "{wrong:?}");
            }
            assert!(may(key_only, &one_stays, None));
            assert!(!may(key_only, &one_stays, Some(200)));
        }
        assert!(may(KeyOnly::Keep, &both, None));
        assert!(may(KeyOnly::DefaultTtl, &both, Some(900)));
        assert!(!may(KeyOnly::DefaultTtl, &both, Some(199)));
        let nothing = Times::OfCells(vec![CellTimes::default(); 2]);
        assert!(may(KeyOnly::Keep, &nothing, None));
    }

    fn end() -> impl Strategy<Value = End> {
        prop_oneof![Just(End::Never), (900_i64..1_100).prop_map(End::At)]
    }

    fn times() -> impl Strategy<Value = CellTimes> {
        let ends = prop_oneof![
            Just(Ends::Null),
            Just(Ends::Untold),
            (end(), end()).prop_map(|(one, other)| Ends::of([one, other])),
        ];
        let written = prop_oneof![Just(None), (0_i64..200_000_000).prop_map(Some)];
        (ends, written).prop_map(|(ends, written)| CellTimes { ends, written })
    }

    proptest! {
        #[test]
        fn the_copiers_rule_never_says_anything_else(
            cells in prop::collection::vec(times(), 2),
            from in prop_oneof![Just(ExpiryFrom::Max), Just(ExpiryFrom::Min), Just(ExpiryFrom::Reject)],
            key_only in prop_oneof![
                Just(KeyOnly::Reject),
                Just(KeyOnly::Cells),
                Just(KeyOnly::DefaultTtl),
                Just(KeyOnly::Keep)
            ],
        ) {
            let transform = transform(from, key_only);
            let value = |cell: &CellTimes| match cell.ends {
                Ends::Null => None,
                Ends::Untold | Ends::Told { .. } => Some(Value::Int(1)),
            };
            let mut row = Row::new(Key::row(vec![Value::Int(1)], vec![]), cells.iter().map(value).collect());
            row.times = Times::OfCells(cells);
            let times = row.times.clone();
            if let Ok(item) = transform.apply(row) {
                prop_assert!(may_end(&transform, &times, item.expires), "{:?} {times:?}", item.expires);
            }
        }
    }
}
