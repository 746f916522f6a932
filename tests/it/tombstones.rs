//! A partition of which most rows were deleted through the shim, and lie in the old store still: it is read and
//! deleted from there on, however many there are.

use aws_sdk_dynamodb::types::{AttributeValue as A, PutRequest, WriteRequest};
use crossfade::connect;
use crossfade::error::Kind;
use crossfade::model::{ClusteringRange, Query, Value};
use crossfade::plan::Plan;
use futures::{StreamExt, TryStreamExt};

use crate::command::Bench;
use crate::support::is_long;

const PLAN: &str = "[lease]\nseconds = 3\noperation_seconds = 2\n[shim]\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"inbox\"\nto = \"@-inbox\"\n";
/// Rows that nobody has deleted, after all the others.
const LEFT: i64 = 7;

fn deleted() -> i64 {
    // Looking at these takes longer than a deadline.
    match is_long() {
        true => 300_000,
        false => 5_000,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_many_deleted_rows_is_read_and_deleted() {
    let bench = Bench::new("inbox").await;
    bench
        .cql("CREATE TABLE inbox (p int, at bigint, v text, PRIMARY KEY (p, at))")
        .await;
    let insert = "INSERT INTO inbox (p, at, v) VALUES (1, ?, 'old')";
    bench
        .fill(insert, (0..deleted() + LEFT).map(|at| (at,)))
        .await;
    bench.plan(PLAN).init();
    let advance = [
        "advance", "--table", "inbox", "--to", "switch", "--expect", "0",
    ];
    bench.migrate(&advance).run().expect_code(0);
    let tombstone = |at: i64| {
        let put = PutRequest::builder()
            .item("p", A::N("1".into()))
            .item("at", A::N(at.to_string()))
            .item("_m", A::S("t".into()));
        let put = put.build().expect("an item");
        WriteRequest::builder().put_request(put).build()
    };
    let places: Vec<i64> = (0..deleted()).collect();
    futures::stream::iter(places.chunks(25))
        .map(|some| {
            let batch = bench.dynamo.batch_write_item();
            let writes = some.iter().copied().map(tombstone).collect();
            batch.request_items(bench.target("inbox"), writes).send()
        })
        .buffer_unordered(8)
        .try_for_each(|_| async { Ok(()) })
        .await
        .expect("written");

    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "inbox").await.expect("a shim");
    let inbox = shim.table("inbox").expect("a table");
    inbox.phase().await.expect("joined");
    let whole = || ClusteringRange::whole(vec![Value::Int(1)]);
    let mut query = Query {
        range: whole(),
        reverse: false,
        after: None,
        limit: 1,
    };
    let mut pages = 1;
    let first = loop {
        let page = inbox.query(query.clone()).await.expect("a page");
        if let Some(row) = page.rows.into_iter().next() {
            break row;
        }
        assert!(
            page.next.is_some() && page.next != query.after,
            "each gets further"
        );
        query.after = page.next;
        pages += 1;
    };
    assert_eq!(first.key.clustering, Some(vec![Value::BigInt(deleted())]));

    let mut deletion = inbox.range_deletion(whole());
    let mut runs = 1;
    while let Err(error) = deletion.run().await {
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        runs += 1;
        assert!(runs < 200, "each gets further: {error}");
    }
    println!("{} deleted rows: {pages} pages, {runs} runs", deleted());
    assert_eq!(deletion.deleted(), LEFT as u64);
    let items = bench.items("inbox").await;
    assert_eq!(items.len() as i64, deleted() + LEFT);
    assert!(items.iter().all(|item| item["_m"] == A::S("t".into())));
    shim.leave().await.expect("left");
    bench.done().await;
}
