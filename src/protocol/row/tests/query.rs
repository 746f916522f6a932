//! Ranges: the merge of both stores against a naive one, page by page and while others write.

use std::ops::Bound;

use proptest::prelude::*;

use super::*;

fn range() -> ClusteringRange {
    ClusteringRange {
        partition: vec![Value::Int(0)],
        from: Bound::Unbounded,
        until: Bound::Unbounded,
    }
}

fn query(after: Option<Key>, reverse: bool, limit: usize) -> Query {
    Query {
        range: range(),
        reverse,
        after,
        limit,
    }
}

/// What one key has in both stores.
fn pair() -> impl Strategy<Value = (Option<Row>, Option<Row>)> {
    let cells = || [any::<Option<u8>>(), any::<Option<u8>>()];
    let cells = move || cells().prop_map(|cells| cells.map(|cell| cell.map(i32::from)));
    let item = (0..6, cells()).prop_map(|(kind, cells)| match kind {
        0 => None,
        1 => Some(item(key(), Mark::Tombstone, [None, None])),
        2 => Some(partial(key(), &[1], [None, cells[1]])),
        3 => Some(Row {
            expires: Some(NOW),
            ..item(key(), Mark::Copied, cells)
        }),
        4 => Some(item(key(), Mark::Copied, cells)),
        _ => Some(item(key(), Mark::Application, cells)),
    });
    (
        item,
        proptest::option::of(cells().prop_map(|cells| row(key(), cells))),
    )
}

fn stores_of(pairs: Vec<(Option<Row>, Option<Row>)>) -> Stores {
    let mut stores = Stores::default();
    for (place, (item, old)) in pairs.into_iter().enumerate() {
        let key = at(place as i32);
        let place = |row: Row| Row {
            key: key.clone(),
            ..row
        };
        stores.new.extend(item.map(place));
        stores.old.extend(old.map(place));
    }
    stores
}

/// All rows as `Get` shows them, one by one.
fn naive(phase: Phase, stores: &Stores, reverse: bool) -> Vec<Row> {
    let keys = (0..20).map(at);
    let mut rows: Vec<Row> = keys
        .filter_map(|key| {
            let got = run(Get::new(phase, key, NOW, false), &mut stores.clone()).0;
            match got {
                Got::Row(row) => row,
                Got::Save(row, _) => Some(row),
                Got::Refused => None,
            }
        })
        .collect();
    if reverse {
        rows.reverse();
    }
    rows
}

/// All pages of a query; `between` may act before each call.
fn pages(
    phase: Phase,
    stores: &mut Stores,
    (reverse, limit, rows_expire): (bool, usize, bool),
    mut between: impl FnMut(&Call, &mut Stores),
) -> Vec<Vec<Row>> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let query = query(after, reverse, limit);
        let mut query = QueryRange::new(phase, query, InOrder, NOW, rows_expire);
        let Queried::Rows(rows, next) = drive(&mut query, stores, &mut between).0 else {
            panic!("refused");
        };
        pages.push(rows);
        match next {
            Some(key) => after = Some(key),
            None => return pages,
        }
    }
}

proptest! {
    #[test]
    fn a_query_shows_what_single_reads_show(
        pairs in prop::collection::vec(pair(), 0..20),
        phase in prop::sample::select(&Phase::ALL[..6]),
        reverse: bool,
        limit in 1_usize..8,
        rows_expire: bool,
    ) {
        let mut stores = stores_of(pairs);
        let expected = naive(phase, &stores, reverse);
        let pages = pages(phase, &mut stores, (reverse, limit, rows_expire), |_, _| {});
        let last = pages.len() - 1;
        for (number, page) in pages.iter().enumerate() {
            prop_assert!(number == last || page.len() == limit, "{pages:?}");
            prop_assert!(page.len() <= limit);
        }
        let shown: Vec<Row> = pages.concat();
        prop_assert_eq!(shown, expected);
    }

    /// Rows move from O to N all the time, and others are put over them: each row that was there
    /// before stays visible, and no value that was overwritten before the query began comes back.
    #[test]
    fn a_query_beside_writers_misses_no_row(
        pairs in prop::collection::vec(pair(), 1..20),
        phase in prop::sample::select(&[Phase::Switch, Phase::Copy][..]),
        reverse: bool,
        limit in 1_usize..8,
        rows_expire: bool,
        writes in prop::collection::vec((0_i32..20, 0_u8..4), 0..40),
    ) {
        let mut stores = stores_of(pairs);
        let before = naive(phase, &stores, reverse);
        let mut writes = writes.into_iter();
        let mut deleted = Vec::new();
        let mut put = Vec::new();
        let pages = pages(phase, &mut stores, (reverse, limit, rows_expire), |_, stores| {
            let Some((place, what)) = writes.next() else { return };
            let key = at(place);
            match what {
                0 => {
                    put.push(key.clone());
                    let new = row(key, [Some(1_000), Some(1_000)]);
                    run(Write::new(phase, Mutation::Put(new), NOW), stores);
                }
                1 => {
                    deleted.push(key.clone());
                    run(Write::new(phase, Mutation::Delete(key), NOW), stores);
                }
                _ => {
                    run(CopyRow::of_key(key), stores);
                }
            }
        });
        let shown = pages.concat();
        let in_order = shown.windows(2).all(|two| {
            let order = InOrder.compare(&two[0].key, &two[1].key);
            if reverse { order.is_gt() } else { order.is_lt() }
        });
        prop_assert!(in_order, "{shown:?}");
        for row in &before {
            let seen = shown.iter().find(|seen| seen.key == row.key);
            match seen {
                None => prop_assert!(deleted.contains(&row.key), "{} of {shown:?}", place(&row.key)),
                Some(seen) if put.contains(&row.key) => {
                    let new = [Some(Value::Int(1_000)), Some(Value::Int(1_000))];
                    prop_assert!(seen.cells == row.cells || seen.cells == new);
                }
                Some(seen) => prop_assert_eq!(&seen.cells, &row.cells),
            }
        }
        for row in &shown {
            let was_there = before.iter().any(|before| before.key == row.key);
            prop_assert!(was_there || put.contains(&row.key));
        }
    }
}

/// The whole row is put in N, and then the old one expires: between a query's looks at N and O.
#[test]
fn a_row_that_moves_while_its_old_one_expires_is_seen() {
    let old: Vec<Row> = (0..6)
        .map(|place| row(at(place), [Some(place), None]))
        .collect();
    for (rows_expire, seen) in [(false, 5), (true, 6)] {
        for limit in 1..8 {
            let mut stores = Stores {
                new: Vec::new(),
                old: old.clone(),
            };
            let mut calls = 0;
            let pages = pages(
                Phase::Switch,
                &mut stores,
                (false, limit, rows_expire),
                |call, stores| {
                    calls += 1;
                    let is_first = calls == 2 && matches!(call, Call::QueryOld(_));
                    if is_first {
                        let moved = stores.old.remove(0);
                        run(Write::new(Phase::Switch, Mutation::Put(moved), NOW), stores);
                    }
                },
            );
            assert_eq!(pages.concat().len(), seen, "limit {limit}");
        }
    }
}

/// An old page reaches further than the new store has been read: what is beyond isn't trusted.
#[test]
fn a_stretch_of_the_old_store_is_read_after_the_new_one() {
    let old = vec![row(at(0), [Some(0), None]), row(at(5), [Some(0), None])];
    let new = (1..4).map(|place| item(at(place), Mark::Application, [Some(1), None]));
    let mut stores = Stores {
        new: new.collect(),
        old,
    };
    let mut is_read = false;
    let pages = pages(
        Phase::Bridge,
        &mut stores,
        (false, 2, false),
        |call, stores| {
            // A peer in `switch` puts the last row after the first look at O, and it is acknowledged before
            // the query gets there.
            if is_read {
                let new = Mutation::Put(row(at(5), [Some(9), None]));
                run(Write::new(Phase::Switch, new, NOW), stores);
            }
            is_read |= matches!(call, Call::QueryOld(_));
        },
    );
    let shown = pages.concat();
    assert_eq!(shown.len(), 5);
    assert_eq!(shown[4].cells[0], Some(Value::Int(9)));
}

#[test]
fn a_range_is_deleted_in_both_stores() {
    for phase in &Phase::ALL[..6] {
        for page in 1..5 {
            let mut stores = Stores {
                new: vec![
                    item(at(1), Mark::Application, [Some(1), None]),
                    item(at(2), Mark::Tombstone, [None, None]),
                    partial(at(3), &[0], [Some(1), None]),
                ],
                old: [0, 2, 3, 4]
                    .map(|place| row(at(place), [Some(0), None]))
                    .into(),
            };
            let delete = DeleteRange::new(
                *phase,
                range(),
                DeleteProgress::default(),
                InOrder,
                page,
                NOW,
            );
            let (outcome, calls) = run(delete, &mut stores);
            assert_eq!(outcome, WriteAnswer::Done, "in {phase}");
            assert_eq!(naive(*phase, &stores, false), [], "in {phase}: {calls}");
            let (writes, expected) = match phase {
                Phase::Old => ("O delete range", 1),
                Phase::Bridge | Phase::Switch | Phase::Copy => ("N bury", 4),
                Phase::New => ("N bury", 2),
                Phase::Done => ("N remove", 2),
                Phase::Offline => ("", 0),
            };
            assert_eq!(
                calls.matches(writes).count(),
                expected,
                "in {phase}: {calls}"
            );
        }
    }
}

#[test]
fn a_lost_delete_ends_the_range() {
    let mut stores = Stores {
        new: Vec::new(),
        old: [0, 1, 2]
            .map(|place| row(at(place), [Some(0), None]))
            .into(),
    };
    let mut delete = DeleteRange::new(
        Phase::Switch,
        range(),
        DeleteProgress::default(),
        InOrder,
        10,
        NOW,
    );
    let mut step = delete.begin();
    while let RowStep::Call(call) = step {
        let is_write = matches!(call, Call::WriteNew { .. });
        let reply = stores.call(call);
        step = delete.step(if is_write { Reply::Unknown } else { reply });
    }
    assert_eq!(step, RowStep::Done(WriteAnswer::Unknown));
    assert_eq!(stores.new.len(), 1);
}

#[test]
fn offline_refuses_ranges() {
    let mut query = QueryRange::new(Phase::Offline, query(None, false, 1), InOrder, NOW, false);
    assert_eq!(query.begin(), RowStep::Done(Queried::Refused));
    let mut delete = DeleteRange::new(
        Phase::Offline,
        range(),
        DeleteProgress::default(),
        InOrder,
        1,
        NOW,
    );
    assert_eq!(delete.begin(), RowStep::Done(WriteAnswer::Refused));
}

/// Three thousand rows that were deleted, before the first one that wasn't.
#[test]
fn many_deleted_rows_are_passed_in_few_calls() {
    for phase in [Phase::Switch, Phase::Copy, Phase::New] {
        let mut stores = Stores::default();
        for place in 0..3_000 {
            stores
                .new
                .push(item(at(place), Mark::Tombstone, [None, None]));
            stores.old.push(row(at(place), [Some(1), None]));
        }
        stores
            .new
            .push(item(at(3_000), Mark::Application, [Some(2), None]));
        let mut query = QueryRange::new(phase, query(None, false, 1), InOrder, NOW, false);
        // It fails where there are a hundred calls.
        let (queried, calls) = drive(&mut query, &mut stores, |_, _| {});
        assert_eq!(
            queried,
            Queried::Rows(vec![row(at(3_000), [Some(2), None])], None)
        );
        assert!(calls.len() < 40, "{phase:?}: {}", calls.len());
    }
}

#[test]
fn pages_grow_as_far_as_large_rows_allow() {
    let mut stores = Stores::default();
    for place in 0..60 {
        let mut old = row(at(place), [None, None]);
        old.cells[0] = Some(Value::text("x".repeat(200_000)));
        stores.old.push(old);
        stores
            .new
            .push(item(at(place), Mark::Tombstone, [None, None]));
    }
    let mut limits = Vec::new();
    let mut query = QueryRange::new(Phase::Switch, query(None, false, 2), InOrder, NOW, false);
    let note = |call: &Call, _: &mut Stores| {
        if let Call::QueryNew(query) | Call::QueryOld(query) = call {
            limits.push(query.limit);
        }
    };
    let (queried, _) = drive(&mut query, &mut stores, note);
    assert_eq!(queried, Queried::Rows(Vec::new(), None));
    let largest = limits.iter().max().copied().unwrap_or_default();
    assert!((4..=10).contains(&largest), "{limits:?}");
}

#[test]
fn a_range_that_is_being_deleted_tells_how_far_it_is() {
    let old = (0..10).map(|place| row(at(place), [Some(1), None]));
    let mut stores = Stores {
        old: old.collect(),
        ..Stores::default()
    };
    let mut delete = DeleteRange::new(
        Phase::Switch,
        range(),
        DeleteProgress::default(),
        InOrder,
        4,
        NOW,
    );
    assert_eq!(delete.progress(), &DeleteProgress::default());
    let mut step = delete.begin();
    let mut writes = 0;
    while let RowStep::Call(call) = step {
        if matches!(call, Call::WriteNew { .. }) {
            let (deleted, up_to) = (delete.progress().deleted, delete.progress().up_to.clone());
            assert_eq!(
                (deleted, up_to),
                (writes, (writes > 0).then(|| at(writes as i32 - 1)))
            );
            writes += 1;
        }
        step = delete.step(stores.call(call));
    }
    assert_eq!(delete.progress().deleted, 10);
}

/// Dropped after any number of calls, and gone on with by another one, in the same phase or in a later one.
#[test]
fn a_deletion_goes_on_where_an_earlier_one_was() {
    for (phase, later) in [
        (Phase::Switch, Phase::Switch),
        (Phase::Switch, Phase::Copy),
        (Phase::Copy, Phase::Switch),
        (Phase::Bridge, Phase::Old),
        (Phase::Bridge, Phase::Switch),
    ] {
        for calls in 0..40 {
            let mut stores = Stores::default();
            for place in 0..10 {
                stores.old.push(row(at(place), [Some(1), None]));
                // No item is in the new store where only the old one is asked.
                if later != Phase::Old && place % 3 == 0 {
                    let mark = if place < 5 {
                        Mark::Tombstone
                    } else {
                        Mark::Application
                    };
                    stores.new.push(item(at(place), mark, [None, None]));
                }
            }
            let mut delete =
                DeleteRange::new(phase, range(), DeleteProgress::default(), InOrder, 2, NOW);
            let mut step = delete.begin();
            for _ in 0..calls {
                let RowStep::Call(call) = step else { break };
                step = delete.step(stores.call(call));
            }
            let progress = delete.progress().clone();
            // What is written into the part that is over is later than its deletion, and stays.
            let is_over = |key: &Key| {
                let up_to = progress.up_to.as_ref();
                up_to.is_some_and(|up_to| InOrder.compare(key, up_to).is_le())
            };
            let mut again = DeleteRange::new(later, range(), progress.clone(), InOrder, 2, NOW);
            let mut step = again.begin();
            while let RowStep::Call(call) = step {
                if let Call::WriteNew { key, .. } = &call {
                    assert!(!is_over(key));
                }
                step = again.step(stores.call(call));
            }
            assert_eq!(step, RowStep::Done(WriteAnswer::Done));
            assert_eq!(naive(later, &stores, false), [], "{phase} {later} {calls}");
        }
    }
}

#[test]
fn a_query_that_can_t_go_on_gives_what_it_has() {
    let mut stores = Stores::default();
    for place in 0..12 {
        stores.old.push(row(at(place), [Some(1), None]));
        if place < 9 {
            stores
                .new
                .push(item(at(place), Mark::Tombstone, [None, None]));
        }
    }
    for calls in 0..8 {
        let mut shown = Vec::new();
        let mut after = None;
        // Every page ends after so many calls.
        for _ in 0..20 {
            let mut query = QueryRange::new(
                Phase::Switch,
                query(after.clone(), false, 2),
                InOrder,
                NOW,
                false,
            );
            let mut step = query.begin();
            for _ in 0..calls {
                let RowStep::Call(call) = step else { break };
                step = query.step(stores.call(call));
            }
            let queried = match step {
                RowStep::Done(queried) => Some(queried),
                RowStep::Call(_) => query.so_far(),
            };
            let Some(Queried::Rows(rows, next)) = queried else {
                assert!(calls < 2, "it has come nowhere with {calls} calls");
                break;
            };
            shown.extend(rows);
            if next.is_none() {
                break;
            }
            let is_further = |next: &Key| {
                let after = after.as_ref();
                after.is_none_or(|after| InOrder.compare(next, after).is_gt())
            };
            assert!(next.as_ref().is_some_and(is_further), "{next:?}");
            after = next;
        }
        let all = [9, 10, 11].map(|place| row(at(place), [Some(1), None]));
        assert_eq!(shown, if calls < 2 { &[][..] } else { &all[..] }, "{calls}");
    }
}
