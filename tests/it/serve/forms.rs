//! Columns whose attributes have a form by choice (`form = "text"` and `"number"`): the shim and the sidecar read, write and
//! compare them in both stores, a copy brings them over, and a verification sees when one is another.

use crossfade::connect;
use crossfade::model::{Edit, Update, Value};
use crossfade::plan::Plan;
use crossfade::shim::{Table, Ttl, Written};
use serde_json::{Value as Json, json};

use super::clients::Sidecar;
use super::native::Asked;
use crate::command::{Bench, says};

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 10\n[shim]\nresave = \"inline\"\ndeadline_seconds = 10\n\
                    [[table]]\nname = \"t\"\nto = \"@-t\"\nkey_only = \"keep\"\n[table.columns]\n\
                    v = { form = \"text\" }\nn = { form = \"text\" }\nprice = { form = \"number\" }\n\
                    sum = { form = \"text\", rename = \"total\" }\n";

/// 2^256 - 1: no N holds it.
const LONG: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

async fn bench() -> Bench {
    let bench = Bench::new("forms").await;
    bench
        .cql("CREATE TABLE t (id text PRIMARY KEY, v varint, n bigint, price decimal, sum decimal)")
        .await;
    for row in [
        format!("'a', {LONG}, -5, 12.5, 1.10"),
        "'b', 7, 9223372036854775807, 1.10, 1E+300".to_owned(),
        format!("'c', -{LONG}, 0, 100, 0.00"),
    ] {
        let insert = format!("INSERT INTO t (id, v, n, price, sum) VALUES ({row})");
        bench.cql(&insert).await;
    }
    bench.plan(PLAN);
    bench
}

fn item(id: &str, v: &str, n: &str, price: Json, total: &str) -> Json {
    json!({"id": {"S": id}, "v": {"S": v}, "n": {"S": n}, "price": price, "total": {"S": total}})
}

/// The three rows, whoever shows them.
fn items() -> [Json; 3] {
    // 1.10: scale 2, unscaled value 110.
    let envelope = json!({"M": {"_t": {"S": "decimal"}, "_v": {"B": "AAAAAm4="}}});
    [
        item("a", LONG, "-5", json!({"N": "12.5"}), "1.10"),
        item("b", "7", "9223372036854775807", envelope, "1E+300"),
        item("c", &format!("-{LONG}"), "0", json!({"N": "100"}), "0.00"),
    ]
}

/// Reads, writes and conditions of the sidecar.
async fn by_items(sidecar: &Asked, target: &str, phase: &str) {
    let get = async |id: &str| {
        let key = json!({"TableName": target, "Key": {"id": {"S": id}}, "ConsistentRead": true});
        sidecar.done("GetItem", key).await["Item"].clone()
    };
    for wanted in items() {
        let id = wanted["id"]["S"].as_str().expect("an id");
        assert_eq!(get(id).await, wanted, "{phase}");
    }
    let id = format!("item-{phase}");
    let put = |v: Json| {
        let mut item = item(&id, "", "-1", json!({"N": "0.25"}), "2.50");
        item["v"] = v;
        json!({"TableName": target, "Item": item})
    };
    for (v, why) in [
        (
            json!({"N": "7"}),
            "the attribute v isn't what a varint becomes",
        ),
        (json!({"S": "007"}), "the value of `v` would be another one"),
    ] {
        let refused = sidecar.refused("PutItem", put(v)).await;
        assert!(refused.contains(why), "{phase}: {refused}");
    }
    sidecar.done("PutItem", put(json!({"S": LONG}))).await;
    let update = |condition: &str, price: &str| {
        json!({
            "TableName": target, "Key": {"id": {"S": id}},
            "UpdateExpression": "SET #t = :t, price = price + :p", "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#t": "total"},
            "ExpressionAttributeValues": {
                ":t": {"S": "3.00"}, ":p": {"N": "0.5"}, ":v": {"S": LONG}, ":price": {"N": price},
            },
        })
    };
    let refused = sidecar.refused("UpdateItem", update("v = :v AND price < :price", "0.2"));
    assert!(
        refused.await.starts_with("ConditionalCheckFailedException"),
        "{phase}"
    );
    let condition = update("v = :v AND price < :price", "0.3");
    sidecar.done("UpdateItem", condition).await;
    let wanted = item(&id, LONG, "-1", json!({"N": "0.75"}), "3.00");
    assert_eq!(get(&id).await, wanted, "{phase}");
}

/// Reads, writes and conditions of the shim.
async fn by_rows(table: &Table, phase: &str) {
    let read = async |id: &str| {
        let row = table.get_as::<Json>(&json!({"id": id})).await;
        row.expect("read").expect("a row")
    };
    let a = json!({"id": "a", "v": LONG, "n": -5, "price": "125E-1", "total": "110E-2"});
    assert_eq!(read("a").await, a, "{phase}");
    let b = json!({"id": "b", "v": 7, "n": i64::MAX, "price": "110E-2", "total": "1E300"});
    assert_eq!(read("b").await, b, "{phase}");
    let id = format!("row-{phase}");
    let mut row = json!({"id": id, "v": LONG, "n": 4, "price": "75E-1", "total": "10E-1"});
    table.put_as(&row).await.expect("put");
    assert_eq!(read(&id).await, row, "{phase}");
    let changes = json!({"n": 5, "total": "50E-2"});
    let key = json!({"id": id});
    table.update_as(&key, &changes, &[]).await.expect("updated");
    row["n"] = json!(5);
    row["total"] = json!("50E-2");
    assert_eq!(read(&id).await, row, "{phase}");

    // Numbers are compared as Cassandra does: 7.5 is 7.50, which is kept in the envelope.
    let key = table.key_of(&key).await.expect("a key");
    let decimal = |unscaled: i16, scale| Value::Decimal {
        unscaled: unscaled.to_be_bytes().into(),
        scale,
    };
    // The cells are n, price, total, v.
    let update_if = async |price: Value, n: i64| {
        let update = Update {
            key: key.clone(),
            cells: vec![None, Some(Edit::Set(decimal(1100, 3))), None, None],
            expires: None,
        };
        let expected = vec![(0, Some(Value::BigInt(n))), (1, Some(price))];
        table.update_if(update, expected, Ttl::Default).await
    };
    let unmet = update_if(decimal(750, 2), 6).await.expect("unmet");
    assert!(matches!(unmet, Written::Unmet(_)), "{phase}");
    let met = update_if(decimal(750, 2), 5).await.expect("met");
    assert!(matches!(met, Written::Done), "{phase}");
    row["price"] = json!("1100E-3");
    assert_eq!(read(&id).await, row, "{phase}");
    let unmet = update_if(decimal(750, 2), 5).await.expect("unmet");
    assert!(matches!(unmet, Written::Unmet(_)), "{phase}");
    let met = update_if(decimal(110, 2), 5).await.expect("met");
    assert!(matches!(met, Written::Done), "{phase}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_hold_for_every_reader_and_writer() {
    let bench = bench().await;
    let target = bench.target("t");
    let check = bench.migrate(&["check", "--json"]).run().expect_code(0);
    let check: Json = serde_json::from_str(&check.stdout).expect("JSON");
    let columns = check["columns"].as_array().expect("columns").iter();
    let forms: Vec<_> = columns
        .map(|one| (one["attribute"].as_str(), one["form"].as_str()))
        .collect();
    for (name, form) in [("v", "S"), ("n", "S"), ("price", "N"), ("total", "S")] {
        assert!(forms.contains(&(Some(name), Some(form))), "{forms:?}");
    }
    bench.init();

    let running = Sidecar::start(&bench);
    let sidecar = Asked::at(&running.url).await;
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let table = shim.table("t").expect("t");
    for phase in ["old", "switch", "copy", "new"] {
        if phase == "new" {
            bench.migrate(&["copy"]).run().expect_code(0);
            bench.migrate(&["verify"]).run().expect_code(0);
        }
        let advance = ["advance", "--table", "t", "--to", phase, "--expect", "2"];
        bench.migrate(&advance).run().expect_code(0);
        by_items(&sidecar, &target, phase).await;
        by_rows(&table, phase).await;
    }
    shim.leave().await.expect("left");
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_brings_forms_over_and_a_verification_looks_at_them() {
    let bench = bench().await;
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    for wanted in items() {
        let id = wanted["id"]["S"].as_str().expect("an id").to_owned();
        let key = aws_sdk_dynamodb::types::AttributeValue::S(id.clone());
        let get = bench.dynamo.get_item().table_name(bench.target("t"));
        let got = get.key("id", key).consistent_read(true).send().await;
        let item = got.expect("an answer").item.expect("an item");
        for (name, kind) in [("v", "S"), ("n", "S"), ("total", "S")] {
            let there = item[name].as_s().expect("an S");
            assert_eq!(wanted[name][kind], json!(there), "{id} {name}");
        }
        match wanted["price"]["N"].as_str() {
            Some(number) => assert_eq!(item["price"].as_n().expect("an N"), number),
            None => assert!(item["price"].is_m(), "{item:?}"),
        }
    }
    bench.migrate(&["verify"]).run().expect_code(0);

    // Another plan for the same target makes other items of the rows.
    let plan = format!("{}{PLAN}", bench.stores()).replace("v = { form = \"text\" }\n", "");
    bench.write("other.toml", &plan);
    let other = bench.migrate_by("other.toml", &["copy", "--offline"]).run();
    says(
        &other.expect_code(2),
        &["the control record has another mapping"],
    );

    // One digit more.
    let update = bench.dynamo.update_item().table_name(bench.target("t"));
    let value = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    update
        .key("id", value("a"))
        .update_expression("SET v = :v")
        .expression_attribute_values(":v", value(&format!("{LONG}0")))
        .send()
        .await
        .expect("updated");
    let found = bench.migrate(&["verify"]).run().expect_code(1);
    assert!(found.stdout.contains("differs"), "{found}");
    let mended = bench.migrate(&["verify", "--repair"]).run();
    mended.expect_code(1);
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}
