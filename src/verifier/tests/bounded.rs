//! How much is read where much differs.

use super::*;

#[tokio::test]
async fn however_many_keys_the_application_owns_few_scans_leave_them_out() {
    let bench = Bench::people(100).await;
    for id in 0..90 {
        let mut own = marked(person(id, 1, "mine"), Mark::Application);
        if id % 3 == 0 {
            own.mark = Some(Mark::Tombstone);
            own.cells = vec![None; 3];
        }
        bench.put_new(&[own]).await;
    }
    let [old, new] =
        [bench.rig.old.clone(), bench.rig.new.clone()].map(|store| Arc::new(Timed::of(store, &[])));
    let mut verifier = Verifier {
        new: New::over(new.clone()),
        ..bench.verifier(old.clone())
    };
    verifier.options.most_owned = 40;
    let parts = new.splits(bench.transform.target(), verifier.options.readers);
    let parts = parts.await.unwrap().len() as u64;
    let ranges = verifier.options.old_ranges as u64;
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    assert!(outcome.unwrap().found.is_clean());
    // The comparison itself, and three parts.
    let scans = |store: &Timed| store.scans.load(Ordering::Relaxed);
    assert_eq!((scans(&old) / ranges, scans(&new)), (4, 4 * parts));
}

#[tokio::test]
async fn every_row_may_differ_and_each_is_counted_once() {
    let bench = Bench::of(people(), &BTreeMap::new(), None).await;
    let rows: Vec<Row> = (0..90).map(|id| person(id, 0, "someone")).collect();
    bench.put_old(&rows).await;
    // One partition has more rows than a round takes.
    let wide: Vec<Row> = (0..40).map(|at| person(1_000, at, "someone")).collect();
    bench.put_old(&wide).await;
    let found = bench.verify().await;
    assert_eq!((found.missing, found.differences()), (130, 130));
    let extra: Vec<Row> = (0..50)
        .map(|id| marked(person(2_000 + id, 0, "x"), Mark::Resaved))
        .collect();
    bench.put_new(&extra).await;
    let found = bench.verify().await;
    assert_eq!(
        (found.missing, found.extra, found.differences()),
        (130, 50, 180)
    );
    assert_eq!(bench.repair(true).await.rows(), 180);
    assert!(bench.verify().await.is_clean());
}

/// How often each table is read to find what differs, of 3,000 rows in one partition and 300 in others.
async fn scans_of(
    differs: impl Fn(usize, i32) -> bool,
    set: impl Fn(&mut VerifySettings),
) -> (Found, (u64, u64)) {
    let bench = Bench::of(people(), &BTreeMap::new(), None).await;
    let wide = (0..3_000).map(|at| (0, at));
    let keys = wide.chain((1..=300).map(|id| (id, 0)));
    for (id, at) in keys {
        bench.both(&[person(id, at, "someone")]).await;
        if differs(id, at) {
            let item = marked(person(id, at, "spoilt"), Mark::Copied);
            bench.put_new(&[item]).await;
        }
    }
    let mut new = Timed::of(bench.rig.new.clone(), &[]);
    new.has_no_tokens = true;
    let new = Arc::new(new);
    let mut verifier = Verifier {
        new: New::over(new.clone()),
        ..bench.verifier(bench.rig.old.clone())
    };
    verifier.options = VerifySettings {
        page_bytes: 20_000,
        round_rows: 500,
        most_rounds: 4,
        ..verifier.options
    };
    set(&mut verifier.options);
    let parts = new.splits(bench.transform.target(), verifier.options.readers);
    let parts = parts.await.unwrap().len() as u64;
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let begun = new.scans.load(Ordering::Relaxed);
    (outcome.unwrap().found, (begun, parts))
}

#[tokio::test]
async fn however_many_rows_differ_the_tables_are_read_a_few_times() {
    // One row of a partition that has more than a round: a scan, a narrowing, a round.
    let (found, (scans, parts)) = scans_of(|id, at| id == 0 && at == 17, |_| ()).await;
    assert_eq!(named(&found), ["different id=p0, at=17"]);
    assert_eq!(scans, 3 * parts);
    // All of them, and all are wanted: what more rounds would find isn't looked for.
    let (found, (scans, parts)) = scans_of(|_, _| true, |_| ()).await;
    assert!(found.stopped_early && !found.is_clean());
    assert!(found.seem_different > 300, "{}", found.seem_different);
    assert!((1_000..3_300).contains(&found.different), "{found:?}");
    assert!(scans <= 7 * parts, "{scans}");
    // Enough is enough.
    let enough = |options: &mut VerifySettings| options.max_differences = 150;
    let (found, (scans, parts)) = scans_of(|_, _| true, enough).await;
    assert!(found.stopped_early);
    assert!((150..300).contains(&found.different), "{}", found.different);
    assert!(scans <= 2 * parts, "{scans}");
    // Nothing to be seen, and one that is more than enough.
    let one = |options: &mut VerifySettings| options.max_differences = 1;
    let (found, (scans, parts)) = scans_of(|_, _| false, one).await;
    assert!(found.is_clean() && scans == parts);
}

#[tokio::test]
async fn a_scan_stops_where_it_meets_nothing_but_differences() {
    let bench = Bench::people(5).await;
    for id in 100..2_000 {
        bench.put_new(&[person(id, 0, "a stranger")]).await;
    }
    let mut verifier = bench.verifier(bench.rig.old.clone());
    verifier.options.max_differences = 120;
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let found = outcome.unwrap().found;
    assert!(found.stopped_early);
    assert!((120..400).contains(&found.foreign), "{}", found.foreign);
}
