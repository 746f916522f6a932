//! The sidecar for trying, on embedded stores; and whatever a client says of a table of the plan, it goes on.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crossfade::model::{Key, Mutation, Row, Value};
use crossfade::schema::{Column, Role, Table, Type};
use crossfade::store::Store;
use crossfade::store::embedded::Embedded;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use super::native::Asked;
use crate::support::{Migrate, Running, folder, free_address};

const PLAN: &str = "name = \"try\"\n[old]\nkind = \"embedded\"\npath = \"old\"\n[new]\nkind = \"embedded\"\npath = \"new\"\n\
                    [lease]\nseconds = 4\noperation_seconds = 3\n[shim]\nresave = \"inline\"\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"votes\"\n[[table]]\nname = \"users\"\nkey_only = \"keep\"\n";

async fn old_tables(folder: &Path) {
    let store = Embedded::open(&folder.join("old")).expect("a folder");
    let id = || Column::new("id", Type::Text, Role::Partition);
    let users = [
        id(),
        Column::new("name", Type::Text, Role::Regular),
        Column::new("age", Type::Int, Role::Regular),
        Column::new("tags", Type::Set(Box::new(Type::Text)), Role::Regular),
    ];
    let users = Table::new("users", users.into());
    store.create(&users).await.expect("users");
    for at in 0..4 {
        let key = Key::row(vec![Value::text(format!("u{at}"))], vec![]);
        // A table's cells are in the order of their names.
        let cells = vec![Some(Value::Int(at)), Some(Value::text("N")), None];
        let put = Mutation::Put(Row::new(key, cells));
        store.apply(&users, &put).await.expect("a row");
    }
    let votes = [id(), Column::new("n", Type::Counter, Role::Regular)];
    let votes = Table::new("votes", votes.into());
    store.create(&votes).await.expect("votes");
}

fn migrate(folder: &Path, arguments: &[&str]) -> Migrate {
    Migrate::new(arguments)
        .arg("--plan")
        .arg("cf.toml")
        .in_folder(folder)
}

/// A sidecar that is ready, and its URL. The embedded stores are its own as long as it runs.
fn started(folder: &Path) -> (Running, String) {
    let address = free_address().to_string();
    let mut running = migrate(folder, &["serve", "--listen", &address]).spawn();
    loop {
        let probe = migrate(folder, &["serve", "--listen", &address, "--probe", "ready"]);
        if probe.run().code == Some(0) {
            return (running, format!("http://{address}"));
        }
        assert!(running.runs(), "{}", running.wait());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn stopped(running: Running) {
    running.signal("TERM");
    running.wait().expect_code(0);
}

fn advance(folder: &Path, to: &str) {
    for table in ["votes", "users"] {
        let advance = ["advance", "--table", table, "--to", to, "--expect", "0"];
        let done = ["--yes-done", table];
        let extra = if to == "done" { &done[..] } else { &[] };
        migrate(folder, &[&advance[..], extra].concat())
            .run()
            .expect_code(0);
    }
}

fn update(table: &str, id: &str, text: &str, values: Json) -> Json {
    json!({
        "TableName": table, "Key": {"id": {"S": id}}, "UpdateExpression": text,
        "ExpressionAttributeValues": values, "ReturnValues": "ALL_NEW",
    })
}

async fn tried(sidecar: &Asked, phase: &str) {
    let tables = sidecar.done("ListTables", json!({})).await;
    assert_eq!(tables["TableNames"], json!(["users", "votes"]));
    let users = json!({"TableName": "users"});
    let described = sidecar.done("DescribeTable", users.clone()).await;
    assert_eq!(
        described["Table"]["KeySchema"],
        json!([{"AttributeName": "id", "KeyType": "HASH"}])
    );
    let item = json!({"id": {"S": phase}, "name": {"S": "new"}, "age": {"N": "1"}});
    let put = json!({"TableName": "users", "Item": item});
    sidecar.done("PutItem", put).await;
    let sum = update(
        "users",
        phase,
        "SET age = age + :n ADD tags :t",
        json!({":n": {"N": "4"}, ":t": {"SS": ["x"]}}),
    );
    let said = sidecar.done("UpdateItem", sum).await;
    assert_eq!(said["Attributes"]["age"]["N"], "5", "{phase}: {said}");
    let get = json!({"TableName": "users", "Key": {"id": {"S": "u2"}}});
    let said = sidecar.done("GetItem", get).await;
    assert_eq!(said["Item"]["age"]["N"], "2", "{phase}");
    let said = sidecar.done("Scan", users).await;
    let at = PHASES
        .iter()
        .position(|known| *known == phase)
        .expect("a phase");
    assert_eq!(said["Count"], json!(4 + at + 1), "{phase}: {said}");
    let vote = update("votes", "a", "ADD n :one", json!({":one": {"N": "1"}}));
    let said = sidecar.done("UpdateItem", vote).await;
    assert_eq!(
        said["Attributes"]["n"]["N"],
        json!((at + 1).to_string()),
        "{phase}"
    );
    let index = json!({
        "TableName": "users", "IndexName": "by-age", "KeyConditionExpression": "age = :a",
        "ExpressionAttributeValues": {":a": {"N": "1"}},
    });
    let refused = sidecar.refused("Query", index).await;
    assert!(refused.contains("the index `by-age`"), "{refused}");
    let put = |table: &str| json!({"Put": {"TableName": table, "Item": {"id": {"S": "mixed"}}}});
    let mixed = json!({"TransactItems": [put("users"), put("other")]});
    let refused = sidecar.refused("TransactWriteItems", mixed).await;
    assert!(
        refused.contains("can't take in another one, `other`"),
        "{refused}"
    );
    let nowhere = sidecar
        .refused("GetItem", json!({"TableName": "other", "Key": {}}))
        .await;
    assert!(
        nowhere.starts_with("ResourceNotFoundException"),
        "{nowhere}"
    );
}

const PHASES: [&str; 6] = ["old", "bridge", "switch", "copy", "new", "done"];

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_can_be_tried_without_any_server() {
    let folder = folder();
    let folder = folder.path();
    old_tables(folder).await;
    std::fs::write(folder.join("cf.toml"), PLAN).expect("written");
    migrate(folder, &["init"]).run().expect_code(0);
    for phase in PHASES {
        match phase {
            "old" => {}
            "new" => {
                migrate(folder, &["copy", "--final"]).run().expect_code(0);
                migrate(folder, &["verify"]).run().expect_code(0);
                advance(folder, phase);
            }
            _ => advance(folder, phase),
        }
        let (running, url) = started(folder);
        let sidecar = Asked::at(&url).await;
        // What has to be whole waits in these for a key that hasn't moved: here each key is new.
        if !["bridge", "switch"].contains(&phase) {
            tried(&sidecar, phase).await;
        } else {
            let put = json!({"TableName": "users", "Item": {"id": {"S": phase}}});
            sidecar.done("PutItem", put).await;
            let vote = update("votes", "a", "ADD n :one", json!({":one": {"N": "1"}}));
            sidecar.done("UpdateItem", vote).await;
        }
        if phase == "copy" {
            tokio::task::block_in_place(|| hostile(&url));
        }
        stopped(running);
    }
}

/// Random requests on tables of the plan: each is answered, and none is a failure of the sidecar's own.
fn hostile(url: &str) {
    let address = url.trim_start_matches("http://");
    let word = prop_oneof![
        Just("SET"),
        Just("REMOVE"),
        Just("ADD"),
        Just("DELETE"),
        Just("AND"),
        Just("OR"),
        Just("NOT"),
        Just("BETWEEN"),
        Just("IN"),
        Just("("),
        Just(")"),
        Just(","),
        Just("="),
        Just("<>"),
        Just("<"),
        Just("+"),
        Just("-"),
        Just("["),
        Just("]"),
        Just("."),
        Just("#n"),
        Just(":v"),
        Just("#"),
        Just(":"),
        Just("id"),
        Just("age"),
        Just("name"),
        Just("tags"),
        Just("other"),
        Just("_m"),
        Just("size"),
        Just("contains"),
        Just("if_not_exists"),
        Just("list_append"),
        Just("attribute_exists"),
        Just("0"),
        Just("99999999999"),
        Just("é"),
    ];
    let text = prop::collection::vec(word, 0..30).prop_map(|words| words.join(" "));
    let text = prop_oneof![
        4 => text,
        1 => ".{0,60}",
        1 => (1_usize..4_000).prop_map(|levels| "(".repeat(levels)),
        1 => (1_usize..900).prop_map(|levels| format!("age = age{}", " + age".repeat(levels))),
        1 => (1_usize..1_300).prop_map(|levels| format!("SET age{} = :v", ".a".repeat(levels))),
    ];
    let number = prop_oneof![
        "-?[0-9]{1,60}(\\.[0-9]{1,60})?([eE][+-]?[0-9]{1,6})?",
        Just("1e999999999999".to_owned()),
        Just("9".repeat(100_000)),
        Just("NaN".to_owned()),
    ];
    let nested = (0_usize..200)
        .prop_map(|levels| (0..levels).fold(json!({"S": "x"}), |inner, _| json!({"L": [inner]})));
    let value = prop_oneof![
        number.prop_map(|number| json!({"N": number})),
        nested,
        ".{0,20}".prop_map(|text| json!({"S": text})),
        Just(json!({"SS": []})),
        Just(json!({"NS": ["1", "1.0"]})),
        Just(json!({"B": "!"})),
        Just(json!({"M": {"": {"NULL": true}}})),
        Just(json!({"S": "x", "N": "1"})),
        Just(json!({})),
        Just(json!(7)),
    ];
    let operation = prop_oneof![
        Just("GetItem"),
        Just("PutItem"),
        Just("UpdateItem"),
        Just("DeleteItem"),
        Just("Query"),
        Just("Scan"),
        Just("BatchGetItem"),
        Just("BatchWriteItem"),
        Just("TransactWriteItems"),
        Just("TransactGetItems"),
    ];
    let parameter = prop_oneof![
        Just("ConditionExpression"),
        Just("UpdateExpression"),
        Just("FilterExpression"),
        Just("ProjectionExpression"),
        Just("KeyConditionExpression"),
    ];
    let table = prop_oneof![Just("users"), Just("votes")];
    let asked = (
        operation,
        table,
        prop::collection::vec((parameter, text), 0..3),
        value.clone(),
        value,
    );
    let asked = asked.prop_map(|(operation, table, expressions, value, key)| {
        let mut one = json!({
            "TableName": table, "Key": {"id": key}, "Item": {"id": {"S": "fuzz"}, "age": value, "name": {"S": "x"}},
            "ExpressionAttributeNames": {"#n": "name"}, "ExpressionAttributeValues": {":v": value},
            "Limit": 3, "ExclusiveStartKey": {"id": key, "_scan": {"S": "new up to {"}},
        });
        for (parameter, text) in expressions {
            one[parameter] = json!(text);
        }
        let body = match operation {
            "BatchGetItem" => json!({"RequestItems": {table: {"Keys": [one["Key"]], "ProjectionExpression": one["ProjectionExpression"]}}}),
            "BatchWriteItem" => json!({"RequestItems": {table: [{"PutRequest": {"Item": one["Item"]}}]}}),
            "TransactWriteItems" => json!({"TransactItems": [{"Update": one}, {"Put": one}]}),
            "TransactGetItems" => json!({"TransactItems": [{"Get": one}]}),
            _ => one,
        };
        (operation, body.to_string())
    });
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let run = runner.run(&asked, |(operation, body)| {
        let answer = said(address, operation, &body);
        let status = answer.get(9..12).unwrap_or("nothing");
        prop_assert!(
            status == "200" || status == "400",
            "{operation} {body}: {answer}"
        );
        Ok(())
    });
    run.expect("it answers");
}

fn said(address: &str, operation: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut socket = TcpStream::connect(address).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    socket.set_read_timeout(patience).expect("set");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    let _ = socket.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
