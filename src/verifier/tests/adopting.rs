//! Items that were in the target before anything was moved.

use super::*;
use crate::verifier::adopted_digest;

impl Bench {
    fn adopt(&mut self, items: &[Row]) {
        let target = self.transform.target();
        let digests = items.iter().map(|item| adopted_digest(target, item));
        self.adopted = Adopted::of(digests.collect());
    }
}

#[tokio::test]
async fn what_was_adopted_is_counted_and_a_strangers_write_is_not_it() {
    for sample in [1.0, 0.999_999] {
        let mut bench = Bench::people(40).await;
        bench.sample = sample;
        let there: Vec<Row> = (3..8).map(|id| person(id, 1, "before")).collect();
        bench.adopt(&there);
        bench.put_new(&there).await;
        let found = bench.verify().await;
        assert_eq!((found.adopted, found.differences()), (5, 0), "{sample}");
        // One is an application's by now, one is deleted by it, and one was changed without the shim.
        bench
            .put_new(&[
                marked(person(3, 1, "mine"), Mark::Application),
                marked(person(4, 1, "before"), Mark::Application),
                person(5, 1, "a stranger"),
                person(9, 1, "a stranger"),
            ])
            .await;
        let found = bench.verify().await;
        assert_eq!(
            named(&found),
            ["foreign id=p5, at=1", "foreign id=p9, at=1"],
            "{sample}"
        );
        assert_eq!(found.adopted, 2);
        // A repair changes neither.
        bench.sample = 1.0;
        assert_eq!(bench.repair(true).await.rows(), 0);
    }
}

#[tokio::test]
async fn however_many_were_adopted_their_old_rows_are_left_out() {
    let mut bench = Bench::people(100).await;
    let there: Vec<Row> = (0..90).map(|id| person(id, 1, "before")).collect();
    bench.adopt(&there);
    bench.put_new(&there).await;
    let mut verifier = bench.verifier(bench.rig.old.clone());
    verifier.options.most_owned = 40;
    // What differs is looked for in many rounds.
    bench
        .put_new(&[marked(person(95, 1, "wrong"), Mark::Copied)])
        .await;
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let found = outcome.unwrap().found;
    assert_eq!(named(&found), ["different id=p95, at=1"]);
    assert_eq!(found.adopted, 90);
}

#[tokio::test]
async fn an_adopted_counter_counts_beside_what_was_folded_into_it() {
    for sample in [1.0, 0.999_999] {
        let mut bench = Bench::of(votes(), &BTreeMap::new(), None).await;
        bench.sample = sample;
        for id in 0..20 {
            let old = [id as i64 + 1, 7];
            bench.put_old(&[vote(id, old, None, 0)]).await;
            bench.put_new(&[vote(id, old, Some(Mark::Copied), 0)]).await;
        }
        let counter = |id, old, mark, beyond| vote(id, old, mark, beyond);
        // Neither with its old row folded in nor without any does it count as off.
        bench.adopt(&[counter(2, [0, 0], None, 5), counter(30, [0, 0], None, 5)]);
        bench
            .put_new(&[
                counter(2, [3, 7], Some(Mark::Copied), 5),
                counter(30, [0, 0], None, 5),
            ])
            .await;
        let found = bench.verify().await;
        assert_eq!(found.differences(), 0, "{:?}", found.examples);
        // A sample looks for no item without an old row.
        let all = if sample < 1.0 { 1 } else { 2 };
        assert_eq!(found.adopted, all);
        // What wasn't folded into it is missed all the same.
        bench.put_new(&[counter(2, [0, 0], None, 5)]).await;
        assert_eq!(named(&bench.verify().await), ["counters_wrong id=v2"]);
        bench
            .put_new(&[
                counter(2, [3, 7], Some(Mark::Copied), 6),
                counter(3, [4, 7], Some(Mark::Copied), 1),
            ])
            .await;
        assert_eq!(named(&bench.verify().await), ["counters_wrong id=v3"]);
    }
}
