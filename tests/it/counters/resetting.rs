//! Counter tables that are emptied and begun anew.

use super::{VOTES, VOTES_PLAN, copy, fill_votes};
use crate::command::Bench;

const COUNTERS: usize = 200;

/// The journal remembers totals that the emptied target has no more.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_reset_every_total_moves_again() {
    let bench = Bench::new("resetting").await;
    fill_votes(&bench, COUNTERS).await;
    bench.plan(VOTES_PLAN).init();
    assert_eq!(copy(&bench, &["--offline"], 0).folded, COUNTERS as u64);
    let reset = bench
        .migrate(&["reset", "--table", "votes", "--yes-reset", "votes"])
        .run();
    let said = reset.expect_code(0).stdout;
    assert!(said.contains("200 copied items deleted"), "{said}");
    assert_eq!(bench.items("votes").await.len(), 0);

    assert_eq!(copy(&bench, &[], 0).folded, COUNTERS as u64);
    assert_eq!(VOTES.assert_equal(&bench).await, COUNTERS);
    assert_eq!(bench.status()[0]["phase"], "old");
    bench.done().await;
}
