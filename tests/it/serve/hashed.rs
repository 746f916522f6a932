//! Tables whose long partition keys are hashed: such a row is known by its key once the new store has it.

use crossfade::item::keys::hashed_text;
use serde_json::{Value as Json, json};

use super::clients::Sidecar;
use super::native::Asked;
use crate::command::Bench;

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 10\n[shim]\nresave = \"inline\"\ndeadline_seconds = 10\n\
                    [[table]]\nname = \"long\"\nto = \"@-long\"\nkey_only = \"keep\"\nkeys = { partition_hash = true }\n";

fn values(said: &Json) -> Vec<&str> {
    let items = said["Items"].as_array().expect("items").iter();
    items
        .map(|item| item["v"]["S"].as_str().expect("a value"))
        .collect()
}

/// All pages of a scan or a query, of one item each.
async fn paged(sidecar: &Asked, operation: &str, mut body: Json) -> Vec<String> {
    body["Limit"] = json!(1);
    let mut found = Vec::new();
    loop {
        let said = sidecar.done(operation, body.clone()).await;
        found.extend(values(&said).into_iter().map(str::to_owned));
        body["ExclusiveStartKey"] = said["LastEvaluatedKey"].clone();
        if said["LastEvaluatedKey"].is_null() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_keys_are_known_by_their_hash_once_they_are_in_the_new_store() {
    let bench = Bench::new("hashed").await;
    bench
        .cql("CREATE TABLE long (id text, at int, v text, PRIMARY KEY (id, at))")
        .await;
    let id = "x".repeat(3_000);
    let hash = hashed_text(id.clone());
    assert!(hash.starts_with("#sha256:"), "{hash}");
    for (id, at, v) in [("short", 1, "s"), (&id, 1, "a"), (&id, 2, "b")] {
        bench
            .cql(&format!(
                "INSERT INTO long (id, at, v) VALUES ('{id}', {at}, '{v}')"
            ))
            .await;
    }
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    let table = bench.target("long");
    let running = Sidecar::start(&bench);
    let sidecar = Asked::at(&running.url).await;
    let advance = |to: &str| {
        let advance = ["advance", "--table", "long", "--to", to, "--expect", "1"];
        let done = ["--yes-done", "long"];
        let extra = if to == "done" { &done[..] } else { &[] };
        bench
            .migrate(&[&advance[..], extra].concat())
            .run()
            .expect_code(0);
    };
    let by = |pk: &str, at: i32| json!({"TableName": table, "Key": {"pk": {"S": pk}, "at": {"N": at.to_string()}}});
    let put = |at: i32, v: &str| {
        json!({"TableName": table, "Item": {
            "pk": {"S": hash}, "id": {"S": id}, "at": {"N": at.to_string()}, "v": {"S": v},
        }})
    };
    let query = json!({
        "TableName": table, "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": hash}},
    });
    let scan = json!({"TableName": table});

    // In the old store it is known by its whole item alone.
    let said = sidecar.done("GetItem", by("short", 1)).await;
    assert_eq!(said["Item"]["v"]["S"], "s");
    for (operation, body) in [("GetItem", by(&hash, 1)), ("Query", query.clone())] {
        let refused = sidecar.refused(operation, body).await;
        assert!(
            refused.starts_with("ValidationException: the partition key is hashed, and doesn't tell which row is meant")
                && refused.ends_with("and every one from phase `new` on"),
            "{refused}"
        );
    }
    sidecar.done("PutItem", put(3, "c")).await;
    let mut found = paged(&sidecar, "Scan", scan.clone()).await;
    found.sort();
    assert_eq!(found, ["a", "b", "c", "s"]);

    // What the new store has, it knows.
    advance("copy");
    let unmoved = sidecar.refused("GetItem", by(&hash, 1)).await;
    assert!(unmoved.contains("in phase `copy`"), "{unmoved}");
    sidecar.done("PutItem", put(4, "d")).await;
    let said = sidecar.done("GetItem", by(&hash, 4)).await;
    assert_eq!(said["Item"]["id"]["S"], json!(id));
    assert_eq!(
        paged(&sidecar, "Query", query.clone()).await,
        ["a", "b", "c", "d"]
    );
    let said = sidecar.done("GetItem", by(&hash, 4)).await;
    assert_eq!(said["Item"]["v"]["S"], "d");
    sidecar.done("DeleteItem", by(&hash, 4)).await;
    bench.migrate(&["copy"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);

    for phase in ["new", "done"] {
        advance(phase);
        let said = sidecar.done("GetItem", by(&hash, 1)).await;
        assert_eq!(said["Item"]["v"]["S"], "a", "{phase}");
        assert_eq!(
            sidecar.done("GetItem", by(&hash, 4)).await,
            json!({}),
            "{phase}"
        );
        assert_eq!(
            sidecar.done("GetItem", by(&hash, 9)).await,
            json!({}),
            "{phase}"
        );
        sidecar.done("DeleteItem", by(&hash, 9)).await;
        let mut set = by(&hash, 2);
        set["UpdateExpression"] = json!("SET v = :v");
        set["ExpressionAttributeValues"] = json!({":v": {"S": phase}});
        sidecar.done("UpdateItem", set).await;
        let batch = json!({"RequestItems": {table.as_str(): {"Keys": [by(&hash, 2)["Key"], by(&hash, 9)["Key"]]}}});
        let said = sidecar.done("BatchGetItem", batch).await;
        assert_eq!(
            said["Responses"][&table].as_array().map(Vec::len),
            Some(1),
            "{said}"
        );
        assert_eq!(
            paged(&sidecar, "Query", query.clone()).await,
            ["a", phase, "c"]
        );
        let mut found = paged(&sidecar, "Scan", scan.clone()).await;
        found.sort();
        let mut all = ["a", "c", "s", phase];
        all.sort();
        assert_eq!(found, all);
        let mut nothing = by(&hash, 9);
        nothing["UpdateExpression"] = json!("SET v = :v");
        nothing["ExpressionAttributeValues"] = json!({":v": {"S": "v"}});
        if phase == "new" {
            let refused = sidecar.refused("UpdateItem", nothing).await;
            assert!(refused.contains("put the whole item"), "{refused}");
        }
    }
    running.running.signal("TERM");
    running.running.wait().expect_code(0);
    bench.done().await;
}
