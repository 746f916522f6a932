use super::*;
use crate::clock::unix_seconds;
use crate::testing::faulty::{Faults, Faulty};

#[tokio::test]
async fn ranges_that_are_too_costly_are_cut_and_counted_once() {
    let bench = Bench::people(300).await;
    let faults = Faults {
        widest: u64::MAX / 500,
        ..Faults::default()
    };
    let faulty: Arc<dyn Store> = Arc::new(Faulty::new(bench.rig.old.clone(), faults, 3));
    let found = bench.run(faulty, None).await.unwrap().found;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.old_rows, found.new_rows), (1_200, 1_200));
}

// In a time of its own: on a busy machine it would be killed before it can keep anything.
#[tokio::test(start_paused = true)]
async fn what_is_killed_anywhere_goes_on_with_the_same_counts() {
    let bench = Bench::people(400).await;
    bench
        .put_new(&[marked(person(7, 1, "somebody"), Mark::Copied)])
        .await;
    bench.put_new(&[person(501, 0, "a stranger")]).await;
    let whole = bench.verify().await;
    assert_eq!(whole.differences(), 2);
    // Each page takes a while, so that there is a midst.
    let mut timed = Timed::of(bench.rig.old.clone(), &[]);
    timed.page = Duration::from_millis(5);
    let timed: Arc<dyn Store> = Arc::new(timed);
    let mut kills = 0;
    let found = loop {
        let verifier = bench.verifier(timed.clone());
        let mut checkpoint = bench.checkpoint(bench.folder.path());
        let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
        // Dropped in the midst of it, like a process that is killed: what is kept was kept by itself.
        let work = verifier.run(&mut checkpoint, None, &live, &stop);
        // Longer and longer: what isn't kept has to be done in one go.
        let moment = Duration::from_millis(rand::random_range(4..12) + kills);
        match tokio::time::timeout(moment, work).await {
            Ok(outcome) => break outcome.unwrap().found,
            Err(_) => kills += 1,
        }
        assert!(kills < 200, "it gets on");
    };
    assert!(kills > 2, "it was killed");
    assert_eq!(found, whole);
}

/// Also where nothing but suspects is left to be looked at.
#[tokio::test]
async fn what_goes_on_shows_what_was_done_before() {
    let bench = Bench::people(20).await;
    bench.put_new(&[person(501, 0, "a stranger")]).await;
    let mut verifier = bench.verifier(bench.rig.old.clone());
    verifier.options.delay = Duration::from_secs(3_600);
    let stop = CancellationToken::new();
    for turn in 0..2 {
        let mut checkpoint = bench.checkpoint(bench.folder.path());
        let live = VerifyProgress::default();
        let scanned = async {
            while live.share() < 1.0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        };
        let work = verifier.run(&mut checkpoint, None, &live, &stop);
        let error = match turn {
            0 => tokio::join!(work, scanned).0.unwrap_err(),
            _ => work.await.unwrap_err(),
        };
        assert_eq!(error.kind(), Kind::Stopped);
        assert_eq!((live.rows(), live.share()), ((80, 81), 1.0));
    }
}

#[tokio::test]
async fn two_at_once_are_one_too_many_and_another_freeze_begins_anew() {
    let bench = Bench::people(3).await;
    let held = bench.checkpoint(bench.folder.path());
    let error = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.checkpoint(bench.folder.path())
    }));
    assert!(error.is_err());
    drop(held);
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let mut state = VerifyState::new(Vec::new());
    state.begun_at -= 200;
    checkpoint.keep(&state, 1.0).unwrap();
    let fresh = Duration::from_secs(1_000);
    assert!(checkpoint.resume(fresh).is_some());
    assert!(
        checkpoint.resume(Duration::from_secs(100)).is_none(),
        "too old"
    );
    checkpoint.belongs.copiers = [("one".to_owned(), "has worked".to_owned())].into();
    assert!(checkpoint.resume(fresh).is_none(), "copied since");
    checkpoint.belongs.copiers.clear();
    let file = bench.folder.path().join("people.verify");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(checkpoint.resume(fresh).is_none(), "damaged");
}

/// Verifies 400 partitions, is killed on the way, and ages by `age` seconds. Then 60 rows are spoilt, and a later run goes on. It takes about two minutes.
async fn spoilt_after(age: i64, fresh: u64) -> VerifyOutcome {
    let bench = Bench::people(400).await;
    let mut timed = Timed::of(bench.rig.old.clone(), &[]);
    timed.page = Duration::from_secs(10);
    let timed: Arc<dyn Store> = Arc::new(timed);
    let mut verifier = bench.verifier(timed);
    verifier.options.keep_every = Duration::from_secs(2);
    verifier.options.fresh = Duration::from_secs(fresh);
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    while live.share() < 0.6 {
        let work = verifier.run(&mut checkpoint, None, &live, &stop);
        let killed = tokio::time::timeout(Duration::from_secs(30), work).await;
        assert!(killed.is_err(), "it is killed on the way");
    }
    let mut state = checkpoint.resume(Duration::from_secs(fresh)).unwrap();
    state.begun_at -= age;
    let seconds = checkpoint.seconds;
    checkpoint.keep(&state, seconds).unwrap();
    let items = (0..60).map(|id| marked(person(id, 1, "spoilt"), Mark::Copied));
    bench.put_new(&items.collect::<Vec<_>>()).await;
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    outcome.unwrap()
}

// In a time of its own, see above.
#[tokio::test(start_paused = true)]
async fn what_was_read_too_long_ago_is_read_again() {
    // Also of what becomes too old only while it is gone on with.
    for age in [20 * 3_600, 3_570] {
        let outcome = spoilt_after(age, 3_600).await;
        assert_eq!(outcome.found.different, 60, "{age}");
        assert_eq!(outcome.found.old_rows, 1_600, "each row is counted once");
        assert!(unix_seconds() - outcome.oldest_at < 600, "{age}");
    }
    // What is gone on with tells how old it is.
    let outcome = spoilt_after(1_000, 3_600).await;
    assert!(outcome.found.different < 60);
    assert!((1_000..1_600).contains(&(unix_seconds() - outcome.oldest_at)));
}

#[tokio::test]
async fn what_is_kept_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::people(0).await;
    let folder = bench.folder.path().join("made/by it");
    let checkpoint = bench.checkpoint(&folder);
    checkpoint.keep(&VerifyState::new(Vec::new()), 1.0).unwrap();
    let mode = |path: &std::path::Path| {
        let permissions = std::fs::metadata(path).unwrap().permissions();
        permissions.mode() & 0o777
    };
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.join("people.verify")), 0o600);
    assert_eq!(mode(&folder.join("people.verify.lock")), 0o600);
}
