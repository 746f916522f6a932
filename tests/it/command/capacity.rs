//! Copies that raise what their target takes, and lower it in the end. DynamoDB Local changes that at once.

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput};

use super::{Bench, says};

const PLAN: &str =
    "[[table]]\nname = \"t\"\nto = \"@-t\"\ncapacity = { during_copy = 10_000, after = 50 }\n";

async fn units(bench: &Bench) -> Option<i64> {
    let described = bench.dynamo.describe_table().table_name(bench.target("t"));
    let table = described.send().await.expect("described").table;
    table?.provisioned_throughput()?.write_capacity_units()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_raises_the_capacity_of_its_target_and_lowers_it_however_it_ends() {
    let bench = Bench::new("capacity").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..50).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench.plan(PLAN).init();
    let provisioned = ProvisionedThroughput::builder()
        .write_capacity_units(100)
        .read_capacity_units(100)
        .build()
        .expect("units");
    let update = bench.dynamo.update_table().table_name(bench.target("t"));
    let update = update.billing_mode(BillingMode::Provisioned);
    let updated = update.provisioned_throughput(provisioned).send().await;
    updated.expect("updated");

    // It fails: rows can't be copied while applications may write.
    let failed = bench.migrate(&["copy"]).run().expect_code(2);
    let steps = [
        "100 write and 100 read units a second ($0.08 an hour) -> 10,000 write and 100 read units a second ($6.51 an hour)",
        "10,000 write and 100 read units a second ($6.51 an hour) -> 50 write and 100 read units a second ($0.05 an hour)",
    ];
    says(&failed, &steps);
    assert_eq!(units(&bench).await, Some(50));
    let copied = bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    says(&copied, &["-> 10,000 write", "-> 50 write"]);
    assert_eq!(units(&bench).await, Some(50));

    let capacity = |arguments: &[&str]| {
        let words = [&["capacity", "--table", "t"], arguments].concat();
        bench.migrate(&words).run()
    };
    let set = capacity(&[
        "--write",
        "200",
        "--read",
        "10",
        "--at",
        "2020-01-01T00:00:00Z",
    ]);
    says(
        &set.expect_code(0),
        &["-> 200 write and 10 read units a second"],
    );
    assert_eq!(units(&bench).await, Some(200));
    says(
        &capacity(&["--write", "5", "--at", "soon"]).expect_code(2),
        &["2026-12-05T19:00:00Z"],
    );
    bench.done().await;
}
