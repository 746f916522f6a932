//! Indexes from `new` on, and everything in `done`: the sidecar's answers are DynamoDB's own, before `finish` has taken
//! away what shows no row, and afterwards.

use std::time::Duration;

use bytes::Bytes;
use crossfade::store::dynamodb::{Credentials, DynamoDbConfig, Raw};
use serde_json::{Value as Json, json};

use super::clients::Sidecar;
use crate::command::Bench;

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 10\n[shim]\nresave = \"inline\"\ndeadline_seconds = 10\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n\
                    expiry = { attribute = \"expires_at\", from = \"max\" }\n";
const PHASES: [&str; 4] = ["bridge", "switch", "copy", "new"];

/// Whoever asks: a sidecar, or DynamoDB itself.
pub struct Asked(Raw);

impl Asked {
    pub async fn at(url: &str) -> Self {
        let config = DynamoDbConfig {
            region: Some("us-east-1".into()),
            endpoint: Some(url.to_owned()),
            credentials: Some(Credentials {
                access_key_id: "crossfade".into(),
                secret_access_key: "crossfade".into(),
                session_token: None,
            }),
            timeout: Some(Duration::from_secs(120)),
            ..DynamoDbConfig::default()
        };
        Asked(Raw::connect(&config).await.expect("a client"))
    }

    /// The status and what was said.
    async fn ask(&self, operation: &str, body: Json) -> (u16, Json) {
        let target = format!("DynamoDB_20120810.{operation}");
        let body = Bytes::from(body.to_string());
        let answer = self.0.send(&target, "application/x-amz-json-1.0", body);
        let answer = answer.await.expect("an answer");
        let said = serde_json::from_slice(&answer.body).expect("JSON");
        (answer.status, said)
    }

    pub async fn done(&self, operation: &str, body: Json) -> Json {
        let (status, said) = self.ask(operation, body.clone()).await;
        assert_eq!(status, 200, "{operation} {body}: {said}");
        said
    }

    pub async fn refused(&self, operation: &str, body: Json) -> String {
        let (status, said) = self.ask(operation, body).await;
        assert_ne!(status, 200, "{operation}: {said}");
        let code = said["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let message = said["message"].as_str().or(said["Message"].as_str());
        format!("{code}: {}", message.unwrap_or_default())
    }
}

/// The ids of a page's items, sorted.
fn ids(said: &Json) -> Vec<String> {
    let items = said["Items"].as_array().expect("items").iter();
    let mut ids: Vec<String> = items
        .map(|item| item["id"]["S"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

async fn bench() -> (Bench, Asked) {
    let bench = Bench::new("native").await;
    for statement in [
        "CREATE TABLE votes (act text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, name text, age int, city text)",
        "UPDATE votes SET n = n + 100 WHERE act = 'a'",
        "UPDATE votes SET n = n + 7 WHERE act = 'b'",
    ] {
        bench.cql(statement).await;
    }
    for number in 0..6 {
        bench
            .cql(&format!(
                "INSERT INTO users (id, name, age, city) VALUES ('u{number}', 'N{number}', {number}, 'Ulm')"
            ))
            .await;
    }
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    let direct = Asked::at(&bench.url).await;
    let index = |name: &str, key: &str, projection: &str| {
        json!({"Create": {
            "IndexName": name, "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "Projection": {"ProjectionType": projection},
        }})
    };
    for (name, key, projection) in [
        ("by-city", "city", "ALL"),
        ("by-city-keys", "city", "KEYS_ONLY"),
        ("by-id-keys", "id", "KEYS_ONLY"),
    ] {
        let body = json!({
            "TableName": bench.target("users"),
            "AttributeDefinitions": [{"AttributeName": "city", "AttributeType": "S"},
                                     {"AttributeName": "id", "AttributeType": "S"}],
            "GlobalSecondaryIndexUpdates": [index(name, key, projection)],
        });
        direct.done("UpdateTable", body).await;
        loop {
            let table = json!({"TableName": bench.target("users")});
            let said = direct.done("DescribeTable", table).await;
            let all = said["Table"]["GlobalSecondaryIndexes"].as_array();
            let mut all = all.expect("indexes").iter();
            if all.all(|index| index["IndexStatus"] == "ACTIVE") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    (bench, direct)
}

fn advance(bench: &Bench, to: &str) {
    if to == "new" {
        bench.migrate(&["copy", "--final"]).run().expect_code(0);
        bench.migrate(&["verify"]).run().expect_code(0);
    }
    for table in ["votes", "users"] {
        let done = ["--yes-done", table];
        let advance = ["advance", "--table", table, "--to", to, "--expect", "1"];
        let extra = if to == "done" { &done[..] } else { &[] };
        bench
            .migrate(&[&advance[..], extra].concat())
            .run()
            .expect_code(0);
    }
}

fn by_city(users: &str, index: &str) -> Json {
    json!({
        "TableName": users, "IndexName": index, "KeyConditionExpression": "city = :c",
        "ExpressionAttributeValues": {":c": {"S": "Ulm"}},
    })
}

fn with(mut body: Json, more: Json) -> Json {
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Queries and scans of every index see `u0`, `u3`, `u4` and `u5`, and nothing of the migration.
async fn indexes(sidecar: &Asked, users: &str) {
    let alive = ["u0", "u3", "u4", "u5"];
    for index in ["by-city", "by-city-keys"] {
        let said = sidecar.done("Query", by_city(users, index)).await;
        assert_eq!(ids(&said), alive, "{index}: {said}");
        assert_eq!(said["Count"], 4, "{said}");
        assert!(!said.to_string().contains("\"_m\""), "{said}");
        let count = with(by_city(users, index), json!({"Select": "COUNT"}));
        let said = sidecar.done("Query", count).await;
        assert_eq!((&said["Count"], &said["Items"]), (&json!(4), &Json::Null));
        let part = json!({"ProjectionExpression": "id"});
        let said = sidecar
            .done("Query", with(by_city(users, index), part))
            .await;
        assert_eq!(ids(&said), alive, "{said}");
        let only_id = json!({"id": {"S": "u0"}});
        let items = said["Items"].as_array().expect("items");
        assert!(items.contains(&only_id), "{said}");
        let older = json!({
            "TableName": users, "IndexName": index, "AttributesToGet": ["id"],
            "KeyConditions": {"city": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "Ulm"}]}},
        });
        let said = sidecar.done("Query", older).await;
        assert_eq!(ids(&said), alive, "{said}");
        assert!(said["Items"].as_array().expect("items").contains(&only_id));
    }
    for index in ["by-city", "by-city-keys", "by-id-keys"] {
        let (mut found, mut start) = (Vec::new(), Json::Null);
        loop {
            let mut body = json!({"TableName": users, "IndexName": index, "Limit": 2});
            if !start.is_null() {
                body["ExclusiveStartKey"] = start;
            }
            let said = sidecar.done("Scan", body).await;
            found.extend(ids(&said));
            start = said["LastEvaluatedKey"].clone();
            if start.is_null() {
                break;
            }
        }
        found.sort();
        assert_eq!(found, alive, "{index}");
    }
    let filtered = json!({
        "FilterExpression": "#n <> :n", "ExpressionAttributeNames": {"#n": "name"},
        "ExpressionAttributeValues": {":c": {"S": "Ulm"}, ":n": {"S": "N4"}},
    });
    let said = sidecar
        .done("Query", with(by_city(users, "by-city"), filtered))
        .await;
    assert_eq!(ids(&said), ["u0", "u3", "u5"], "{said}");
    let missing = sidecar.refused("Query", by_city(users, "by-nothing")).await;
    assert_eq!(
        missing,
        "ValidationException: The table does not have the specified index: by-nothing"
    );
    let mark = json!({
        "FilterExpression": "attribute_exists(#m)", "ExpressionAttributeNames": {"#m": "_m"},
    });
    let mark = sidecar
        .refused("Query", with(by_city(users, "by-city"), mark))
        .await;
    assert!(
        mark.contains("`_m` is one that the migration keeps for itself"),
        "{mark}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_read_from_new_on_and_done_is_dynamodb_itself() {
    let (bench, direct) = bench().await;
    let (users, votes) = (bench.target("users"), bench.target("votes"));
    let running = Sidecar::start(&bench);
    let sidecar = Asked::at(&running.url).await;
    for phase in PHASES {
        let refused = sidecar.refused("Query", by_city(&users, "by-city")).await;
        assert!(
            refused.starts_with("ValidationException: the index `by-city`"),
            "{refused}"
        );
        assert!(
            refused.ends_with("It is read from phase `new` on"),
            "{refused}"
        );
        let counters = sidecar.refused("Scan", json!({"TableName": votes})).await;
        assert!(counters.contains("holds counters"), "{counters}");
        advance(&bench, phase);
    }

    // Deleted, and expired.
    let user = |id: &str| json!({"TableName": users, "Key": {"id": {"S": id}}});
    sidecar.done("DeleteItem", user("u1")).await;
    let expires = json!({
        "UpdateExpression": "SET expires_at = :e", "ExpressionAttributeValues": {":e": {"N": "1000"}},
    });
    sidecar
        .done("UpdateItem", with(user("u2"), expires.clone()))
        .await;
    indexes(&sidecar, &users).await;
    advance(&bench, "done");
    indexes(&sidecar, &users).await;
    let said = sidecar.done("Scan", json!({"TableName": users})).await;
    assert_eq!(ids(&said), ["u0", "u3", "u4", "u5"], "{said}");
    let said = direct.done("Scan", json!({"TableName": users})).await;
    assert_eq!(
        ids(&said).len(),
        6,
        "nothing has been taken away yet: {said}"
    );
    for id in ["u1", "u2"] {
        assert_eq!(sidecar.done("GetItem", user(id)).await, json!({}));
    }

    // What isn't there is put and changed as if nothing were there.
    let fresh = json!({"ConditionExpression": "attribute_not_exists(id)"});
    let item = |id: &str, name: &str| json!({"TableName": users, "Item": {"id": {"S": id}, "name": {"S": name}}});
    sidecar
        .done("PutItem", with(item("u1", "new"), fresh.clone()))
        .await;
    let old = json!({"ReturnValuesOnConditionCheckFailure": "ALL_OLD"});
    let (status, said) = sidecar
        .ask("PutItem", with(with(item("u3", "x"), fresh), old))
        .await;
    assert_eq!(
        (status, &said["Item"]["name"]["S"]),
        (400, &json!("N3")),
        "{said}"
    );
    assert_eq!(said["Item"].get("_m"), None);
    let sums = json!({
        "UpdateExpression": "SET age = if_not_exists(age, :zero) + :n, color = :c",
        "ExpressionAttributeValues": {":zero": {"N": "0"}, ":n": {"N": "5000000000.5"}, ":c": {"S": "red"}},
        "ReturnValues": "ALL_NEW",
    });
    // Beyond an int, with a fraction, and an attribute that was no column.
    let said = sidecar
        .done("UpdateItem", with(user("u2"), sums.clone()))
        .await;
    let whole = json!({"id": {"S": "u2"}, "age": {"N": "5000000000.5"}, "color": {"S": "red"}});
    assert_eq!(said["Attributes"], whole);
    assert_eq!(sidecar.done("GetItem", user("u2")).await["Item"], whole);
    assert_eq!(direct.done("GetItem", user("u2")).await["Item"], whole);
    let said = sidecar.done("UpdateItem", with(user("u3"), sums)).await;
    assert_eq!(said["Attributes"]["age"]["N"], "5000000003.5");
    assert_eq!(
        direct.done("GetItem", user("u3")).await["Item"].get("_m"),
        None
    );

    // Arithmetic is DynamoDB's own: nothing is read before it, and nothing is lost.
    let sidecar = std::sync::Arc::new(sidecar);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (sidecar, key) = (sidecar.clone(), user("u4"));
        tasks.spawn(async move {
            let one = json!({
                "UpdateExpression": "SET age = age + :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            });
            sidecar.done("UpdateItem", with(key, one)).await
        });
    }
    tasks.join_all().await;
    let said = sidecar.done("GetItem", user("u4")).await;
    assert_eq!(said["Item"]["age"]["N"], "24");

    // Counters are numbers like others.
    let vote = |act: &str| json!({"TableName": votes, "Key": {"act": {"S": act}}});
    let said = sidecar.done("Scan", json!({"TableName": votes})).await;
    assert_eq!(said["Count"], 2, "{said}");
    assert!(!said.to_string().contains("\"_"), "{said}");
    let query = json!({
        "TableName": votes, "KeyConditionExpression": "act = :a",
        "ExpressionAttributeValues": {":a": {"S": "b"}},
    });
    let said = sidecar.done("Query", query).await;
    assert_eq!(said["Items"], json!([{"act": {"S": "b"}, "n": {"N": "7"}}]));
    let add = json!({
        "UpdateExpression": "ADD n :n", "ConditionExpression": "n < :most", "ReturnValues": "UPDATED_NEW",
        "ExpressionAttributeValues": {":n": {"N": "3"}, ":most": {"N": "10"}},
    });
    let said = sidecar
        .done("UpdateItem", with(vote("b"), add.clone()))
        .await;
    assert_eq!(said["Attributes"], json!({"n": {"N": "10"}}));
    let again = sidecar.refused("UpdateItem", with(vote("b"), add)).await;
    assert!(
        again.starts_with("ConditionalCheckFailedException"),
        "{again}"
    );
    let set = json!({
        "UpdateExpression": "SET n = :n", "ExpressionAttributeValues": {":n": {"N": "1"}},
    });
    sidecar.done("UpdateItem", with(vote("a"), set)).await;
    let plain = json!({
        "UpdateExpression": "ADD n :n", "ExpressionAttributeValues": {":n": {"N": "1"}},
    });
    sidecar.done("UpdateItem", with(vote("a"), plain)).await;
    assert_eq!(
        sidecar.done("GetItem", vote("a")).await["Item"]["n"]["N"],
        "2"
    );
    let old = with(vote("a"), json!({"ReturnValues": "ALL_OLD"}));
    let said = sidecar.done("DeleteItem", old).await;
    assert_eq!(
        said["Attributes"],
        json!({"act": {"S": "a"}, "n": {"N": "2"}})
    );
    let put = json!({"TableName": votes, "Item": {"act": {"S": "c"}, "n": {"N": "4"}, "text": {"S": "x"}}});
    sidecar.done("PutItem", put).await;

    // Batches and transactions, over tables of the plan and others.
    sidecar.done("UpdateItem", with(user("u5"), expires)).await;
    let batch = json!({"RequestItems": {
        users.as_str(): {"Keys": [{"id": {"S": "u0"}}, {"id": {"S": "u2"}}, {"id": {"S": "u5"}}],
                         "ProjectionExpression": "color"},
        votes.as_str(): {"Keys": [{"act": {"S": "c"}}]},
    }});
    let said = sidecar.done("BatchGetItem", batch).await;
    let colors = said["Responses"][&users].as_array().expect("items");
    assert_eq!(colors.len(), 2, "{said}");
    assert!(colors.contains(&json!({"color": {"S": "red"}})), "{said}");
    assert_eq!(said["Responses"][&votes][0]["text"]["S"], "x");
    let batch = json!({"RequestItems": {
        users.as_str(): [{"PutRequest": {"Item": {"id": {"S": "batch"}, "size": {"N": "1"}}}}],
        votes.as_str(): [{"DeleteRequest": {"Key": {"act": {"S": "c"}}}}],
    }});
    sidecar.done("BatchWriteItem", batch).await;
    let batch = json!({"RequestItems": {
        users.as_str(): [{"PutRequest": {"Item": {"id": {"S": "batch"}, "_m": {"S": "t"}}}}],
    }});
    let marked = sidecar.refused("BatchWriteItem", batch).await;
    assert!(marked.contains("keeps for itself"), "{marked}");
    let transaction = |on: &str| {
        json!({"TransactItems": [
            {"Update": with(vote("b"), json!({
                "UpdateExpression": "ADD n :n", "ExpressionAttributeValues": {":n": {"N": "90"}},
            }))},
            {"Put": with(item("u5", "fresh"), json!({"ConditionExpression": on}))},
            {"ConditionCheck": with(user("batch"), json!({
                "ConditionExpression": "attribute_exists(id)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }))},
        ]})
    };
    let cancelled = sidecar
        .refused("TransactWriteItems", transaction("attribute_exists(id)"))
        .await;
    assert!(
        cancelled.starts_with("TransactionCanceledException")
            && cancelled.contains("ConditionalCheckFailed"),
        "{cancelled}"
    );
    sidecar
        .done(
            "TransactWriteItems",
            transaction("attribute_not_exists(id)"),
        )
        .await;
    let gets = json!({"TransactItems": [
        {"Get": vote("b")},
        {"Get": with(user("u5"), json!({"ProjectionExpression": "#n", "ExpressionAttributeNames": {"#n": "name"}}))},
        {"Get": user("nobody")},
    ]});
    let said = sidecar.done("TransactGetItems", gets).await;
    let expected = json!([
        {"Item": {"act": {"S": "b"}, "n": {"N": "100"}}}, {"Item": {"name": {"S": "fresh"}}}, {},
    ]);
    assert_eq!(said["Responses"], expected);

    let statement =
        json!({"Statement": format!("SELECT \"name\" FROM \"{users}\" WHERE id = 'u5'")});
    let finish = ["finish", "--table", "users"];
    bench.migrate(&finish).run().expect_code(0);
    let refused = sidecar.refused("ExecuteStatement", statement.clone()).await;
    assert!(
        refused.contains("until `migrate finish --strip`"),
        "{refused}"
    );
    for table in ["votes", "users"] {
        let finish = ["finish", "--table", table, "--strip", "--yes-strip"];
        bench.migrate(&finish).run().expect_code(0);
    }
    // It hears of that when it reads its record next.
    let said = loop {
        match sidecar.ask("ExecuteStatement", statement.clone()).await {
            (200, said) => break said,
            (status, said) => assert_eq!(status, 400, "{said}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(said["Items"], json!([{"name": {"S": "fresh"}}]));
    for table in [&users, &votes] {
        let scan = json!({"TableName": table});
        let (through, itself) = (
            sidecar.done("Scan", scan.clone()).await,
            direct.done("Scan", scan).await,
        );
        assert_eq!(through["Items"], itself["Items"]);
    }
    running.running.signal("TERM");
    running.running.wait().expect_code(0);
    bench.done().await;
}
