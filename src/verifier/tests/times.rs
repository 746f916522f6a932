//! Rows that expire, and rows that came late.

use super::*;
use crate::clock::unix_seconds;

/// Times of a row whose cells at these places end then; the others stay.
fn expiring(mut row: Row, at: i64, cells: &[usize]) -> Row {
    let times = row.cells.iter().enumerate().map(|(cell, value)| CellTimes {
        ends: match (value, cells.contains(&cell)) {
            (None, _) => Ends::Null,
            (Some(_), true) => Ends::of([End::At(at)]),
            (Some(_), false) => Ends::NEVER,
        },
        written: None,
    });
    row.times = Times::OfCells(times.collect());
    row
}

/// A row whose second cell was written then.
fn written(row: Row, at: i64) -> Row {
    let mut row = expiring(row, 0, &[]);
    if let Times::OfCells(cells) = &mut row.times {
        cells[1].written = Some(at);
    }
    row
}

#[tokio::test]
async fn expiries_are_compared_within_the_clocks_bound() {
    let rule = ExpiryRule {
        attribute: "gone_at".into(),
        from: ExpiryFrom::Max,
    };
    let bench = Bench::of(people(), &BTreeMap::new(), Some(&rule)).await;
    let later = unix_seconds() + 10_000;
    let rows: Vec<Row> = (0..20)
        .map(|id| expiring(person(id, 0, "x"), later, &[1, 2]))
        .collect();
    let soon = expiring(person(50, 0, "x"), unix_seconds() + 20, &[1, 2]);
    let mut all = rows.clone();
    all.push(soon.clone());
    bench.both(&all).await;
    let timed: Arc<dyn Store> = Arc::new(Timed::of(bench.rig.old.clone(), &all));
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.expiring, 1);

    // Two seconds off, a minute off, and none at all.
    for (id, at) in [(1, Some(later + 2)), (2, Some(later + 600)), (3, None)] {
        let mut item = marked(person(id, 0, "x"), Mark::Copied);
        item.expires = at;
        bench.put_new(&[item]).await;
    }
    // One that has expired too early hides a row that the old store still shows.
    for (id, at) in [(4, unix_seconds() - 5), (5, unix_seconds() + 100)] {
        let mut item = marked(person(id, 0, "x"), Mark::Copied);
        item.expires = Some(at);
        bench.put_new(&[item]).await;
    }
    // A row that is gone from the old store because it has expired.
    let mut gone = marked(person(60, 0, "x"), Mark::Copied);
    gone.expires = Some(unix_seconds() - 5);
    bench.put_new(&[gone]).await;
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert_eq!(
        named(&found),
        [2, 3, 4, 5].map(|id| format!("different id=p{id}, at=0"))
    );
    let mended = bench
        .run(timed.clone(), Some(false))
        .await
        .unwrap()
        .mended
        .unwrap();
    assert_eq!(mended.rewritten, 4);
    assert!(bench.run(timed, None).await.unwrap().found.is_clean());
}

#[tokio::test]
async fn an_item_may_go_with_the_first_cell_of_its_row_where_the_plan_says_so() {
    let rule = ExpiryRule {
        attribute: "gone_at".into(),
        from: ExpiryFrom::Min,
    };
    let bench = Bench::of(people(), &BTreeMap::new(), Some(&rule)).await;
    // The name of the first has expired; of the second nothing has.
    let mut rows = [1, 2].map(|id| expiring(person(id, 0, "x"), unix_seconds() + 10_000, &[2]));
    rows[0].cells[1] = None;
    bench.put_old(&rows).await;
    for id in [1, 2] {
        let mut item = marked(person(id, 0, "x"), Mark::Copied);
        item.expires = Some(unix_seconds() - 5);
        bench.put_new(&[item]).await;
    }
    let timed: Arc<dyn Store> = Arc::new(Timed::of(bench.rig.old.clone(), &rows));
    let found = bench.run(timed, None).await.unwrap().found;
    assert_eq!(named(&found), ["different id=p2, at=0"]);
}

#[tokio::test]
async fn late_writes_are_told_from_others() {
    const FROZEN: i64 = 1_000_000;
    let mut bench = Bench::people(30).await;
    bench.frozen_at = Some(FROZEN);
    let late = |id: usize, name: &str, at: i64| written(person(id, 0, name), at);
    let rows = [
        late(100, "a new row", FROZEN + 5),
        late(1, "another value", FROZEN + 5),
        late(2, "someone", FROZEN + 5),
        late(3, "mine is younger", FROZEN + 5),
        late(4, "someone", FROZEN - 1),
        late(5, "someone", i64::MAX / 2),
    ];
    bench.put_old(&rows).await;
    bench
        .put_new(&[marked(person(3, 0, "mine"), Mark::Application)])
        .await;
    let timed: Arc<dyn Store> = Arc::new(Timed::of(bench.rig.old.clone(), &rows));
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert_eq!(
        named(&found),
        [
            "late_writes id=p1, at=0",
            "late_writes id=p100, at=0",
            "late_writes id=p3, at=0",
        ]
    );
    assert_eq!((found.late_but_same, found.future), (1, 1));
    let mended = bench
        .run(timed.clone(), Some(false))
        .await
        .unwrap()
        .mended
        .unwrap();
    assert_eq!((mended.copied, mended.rewritten, mended.left), (1, 1, 1));
    let found = bench.run(timed, None).await.unwrap().found;
    assert_eq!(named(&found), ["late_writes id=p3, at=0"]);
}

/// What is written while a long verification runs comes late too, and isn't from the future.
#[tokio::test(start_paused = true)]
async fn the_old_stores_clock_goes_on_while_it_is_read() {
    let mut bench = Bench::people(3).await;
    bench.frozen_at = Some(1_000_000);
    let row = written(person(1, 0, "another value"), timed::NOW + 300 * 1_000_000);
    bench.put_old(std::slice::from_ref(&row)).await;
    let mut slow = Timed::of(bench.rig.old.clone(), &[row]);
    slow.page = Duration::from_secs(600);
    let mut verifier = bench.verifier(Arc::new(slow));
    verifier.options.keep_every = Duration::from_secs(3_600);
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let found = outcome.unwrap().found;
    assert_eq!(named(&found), ["late_writes id=p1, at=0"]);
    assert_eq!(found.future, 0);
}

/// The rows of one partition that all expire at the same moment, and their items, some of which say something else.
async fn a_wide_partition(off: impl Fn(i32) -> i64) -> Found {
    let rule = ExpiryRule {
        attribute: "gone_at".into(),
        from: ExpiryFrom::Max,
    };
    let bench = Bench::of(people(), &BTreeMap::new(), Some(&rule)).await;
    let later = unix_seconds() + 1_000_000;
    let rows: Vec<Row> = (0..20_000)
        .map(|at| expiring(person(1, at, "x"), later, &[1, 2]))
        .collect();
    bench.put_old(&rows).await;
    let items: Vec<Row> = (0..20_000)
        .map(|at| {
            let mut item = marked(person(1, at, "x"), Mark::Copied);
            item.expires = Some(later + off(at));
            item
        })
        .collect();
    bench.put_new(&items).await;
    let mut verifier = bench.verifier(Arc::new(Timed::of(bench.rig.old.clone(), &rows)));
    verifier.options.page_bytes = 1 << 20;
    verifier.options.round_rows = 50_000;
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    outcome.unwrap().found
}

/// What both stores may be apart, another way for each row.
fn honest(at: i32) -> i64 {
    i64::from(at.wrapping_mul(7) % 11) - 5
}

#[tokio::test]
async fn an_expiry_that_is_wrong_is_found_among_any_number_of_others() {
    let clean = a_wide_partition(honest).await;
    assert!(clean.is_clean(), "{clean:?}");
    for wrong in [-43_200, 64] {
        let found = a_wide_partition(|at| if at == 777 { wrong } else { honest(at) }).await;
        assert_eq!(named(&found), ["different id=p1, at=777"], "{wrong}");
    }
    let found = a_wide_partition(|at| match at {
        5 => -860_000,
        19_000 => 860_000,
        _ => honest(at),
    });
    assert_eq!(
        named(&found.await),
        ["different id=p1, at=19000", "different id=p1, at=5"]
    );
}
