//! One table, several copiers.

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, number, says};

#[tokio::test(flavor = "multi_thread")]
async fn shards_cover_everything_exactly_once() {
    const ROWS: usize = 3_000;
    let bench = Bench::new("shards").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let shard = |which: &str| bench.migrate(&["copy", "--offline", "--json", "--shard", which]);
    let shards = [
        shard("0/3").spawn(),
        shard("auto/3").env("JOB_COMPLETION_INDEX", "1").spawn(),
        shard("auto/3")
            .env("AWS_BATCH_JOB_ARRAY_INDEX", "2")
            .spawn(),
    ];
    let (mut read, mut sent) = (0, 0);
    for shard in shards {
        let line = &shard.wait().expect_code(0).json()[0];
        assert!(number(line, "read") > 0, "{line}");
        read += number(line, "read");
        // On a busy machine an answer may come too late: what is sent again counts as present.
        sent += number(line, "written") + number(line, "present");
    }
    assert_eq!((read, sent), (ROWS as u64, ROWS as u64), "each row once");
    assert_all_there(&bench, ROWS).await;
    let status = &bench.status()[0];
    assert_eq!(status["copied"], 1.0);
    assert_eq!(status["copiers"].as_array().map(Vec::len), Some(3));
    let whole = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    assert_eq!(
        number(&whole.json()[0], "read"),
        0,
        "the shards' work adds up"
    );

    says(
        &shard("3/3").run().expect_code(2),
        &["--shard 3/3", "0 to 2"],
    );
    says(
        &shard("auto/3").run().expect_code(2),
        &["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"],
    );
    let wrong = shard("auto/3").env("JOB_COMPLETION_INDEX", "seven").run();
    says(&wrong.expect_code(2), &["JOB_COMPLETION_INDEX", "seven"]);
    bench.done().await;
}
