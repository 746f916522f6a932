//! Replies that are lost on their way to the sidecar and from it, and sidecars that are killed: nothing counts twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::clients::Sidecar;
use super::python::python;
use crate::command::{Bench, credentials};
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;
use crate::support::{cassandra_address, dynamodb_url};

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 3\n[shim]\nresave = \"inline\"\ndeadline_seconds = 3\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\nkey_only = \"keep\"\n";

/// Two tables in `copy`, whose new store is at this address, and a sidecar.
pub async fn in_copy(url: &str) -> (Bench, Sidecar) {
    by_plan(url, PLAN).await
}

/// The same with another plan.
async fn by_plan(url: &str, plan: &str) -> (Bench, Sidecar) {
    let bench = Bench::on("serve", cassandra_address(), url.to_owned()).await;
    for statement in [
        "CREATE TABLE votes (act text PRIMARY KEY, n counter)",
        "CREATE TABLE users (id text PRIMARY KEY, age int)",
        "UPDATE votes SET n = n + 100 WHERE act = 'a'",
    ] {
        bench.cql(statement).await;
    }
    bench.plan(plan);
    bench.migrate(&["init"]).run().expect_code(0);
    let sidecar = Sidecar::start(&bench);
    let advance = |table| {
        let advance = ["advance", "--table", table, "--to", "copy", "--expect", "1"];
        bench.migrate(&advance).spawn()
    };
    for advancing in ["votes", "users"].map(advance) {
        advancing.wait().expect_code(0);
    }
    (bench, sidecar)
}

/// One attempt of a call: status and body.
pub fn ask(url: &str, operation: &str, body: &Json, call: &str, attempt: u32) -> (u16, Json) {
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
         amz-sdk-invocation-id: {call}\r\namz-sdk-request: attempt={attempt}; max=5\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head[9..12].parse().expect("a number");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[tokio::test]
async fn a_lost_reply_is_never_counted_twice_and_a_hit_is_one_request() {
    let fault = Arc::new(Mutex::new((String::new(), Fault::None)));
    let next = fault.clone();
    let forwarding = Forwarding::start(&dynamodb_url(), move |request: &Request| {
        let (operation, fault) = &*next.lock().expect("no panic");
        let is_meant = request.call == *operation
            && request.body["TableName"]
                .as_str()
                .is_some_and(|name| !name.ends_with("-control"));
        if is_meant { fault.clone() } else { Fault::None }
    });
    let (bench, sidecar) = in_copy(&forwarding.url).await;
    let (url, votes, users) = (&sidecar.url, bench.target("votes"), bench.target("users"));
    let set =
        |operation: &str, what: Fault| *fault.lock().expect("no panic") = (operation.into(), what);
    let on = |table: &str| {
        let taken = forwarding.take().into_iter();
        taken
            .filter(|exchange| exchange.request.body["TableName"] == table)
            .count()
    };
    let add = json!({
        "TableName": votes, "Key": {"act": {"S": "a"}}, "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    });
    let total = |expected: i64| {
        let get = json!({"TableName": votes, "Key": {"act": {"S": "a"}}});
        let (status, body) = ask(url, "GetItem", &get, "total", 1);
        assert_eq!(
            (status, &body["Item"]["n"]["N"]),
            (200, &json!(expected.to_string()))
        );
    };
    let code = |body: &Json| {
        let code = body["__type"].as_str().expect("a code");
        code.rsplit('#').next().expect("one").to_owned()
    };

    // Answered once, however often it is asked.
    assert_eq!(ask(url, "UpdateItem", &add, "a", 1).0, 200);
    on(&votes);
    assert_eq!(ask(url, "UpdateItem", &add, "a", 2).0, 200);
    assert_eq!(on(&votes), 0);
    total(101);

    // Lost on its way here: it was made, and isn't made again.
    set("UpdateItem", Fault::ReplyLost);
    let (status, body) = ask(url, "UpdateItem", &add, "b", 1);
    assert_eq!(
        (status, code(&body).as_str()),
        (400, "AmbiguousWriteFailureException"),
        "{body}"
    );
    set("UpdateItem", Fault::None);
    on(&votes);
    assert_eq!(ask(url, "UpdateItem", &add, "b", 2), (status, body));
    let (status, body) = ask(url, "UpdateItem", &add, "of another sidecar", 2);
    assert_eq!(
        (status, code(&body).as_str()),
        (400, "AmbiguousWriteFailureException"),
        "{body}"
    );
    assert_eq!(on(&votes), 0);
    total(102);

    // Certainly not made: a retry makes it.
    set("UpdateItem", Fault::Throttled);
    // Of one whose last try the deadline cuts off, on a busy machine, it isn't certain.
    let refused = ["c", "d", "e", "f", "g"].into_iter().find(|call| {
        let (status, body) = ask(url, "UpdateItem", &add, call, 1);
        assert_eq!(status, 400, "{body}");
        code(&body) == "ProvisionedThroughputExceededException"
    });
    set("UpdateItem", Fault::None);
    let refused = refused.expect("one of five was certainly not made");
    assert_eq!(ask(url, "UpdateItem", &add, refused, 2).0, 200);
    total(103);

    // A write of constants may be made again.
    let put = json!({"TableName": users, "Item": {"id": {"S": "u"}, "age": {"N": "1"}}});
    set("PutItem", Fault::ReplyLost);
    let (status, body) = ask(url, "PutItem", &put, "put", 1);
    assert_eq!(
        (status, code(&body).as_str()),
        (500, "InternalServerError"),
        "{body}"
    );
    set("PutItem", Fault::None);
    assert_eq!(ask(url, "PutItem", &put, "put", 2).0, 200);

    // A hit is one request; a store that fails is waited for, and then it is a 503.
    on(&users);
    let get = json!({"TableName": users, "Key": {"id": {"S": "u"}}});
    assert_eq!(ask(url, "GetItem", &get, "e", 1).0, 200);
    assert_eq!(on(&users), 1);
    set("GetItem", Fault::FailsBefore);
    let (status, body) = ask(url, "GetItem", &get, "f", 1);
    assert_eq!(
        (status, code(&body).as_str()),
        (503, "ServiceUnavailable"),
        "{body}"
    );
    set("GetItem", Fault::None);
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
    bench.done().await;
}

#[tokio::test]
async fn a_killed_sidecar_makes_no_sdk_count_twice() {
    let (bench, mut sidecar) = in_copy(&dynamodb_url()).await;
    for mode in ["legacy", "standard"] {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/serve/adds.py");
        let mut adding = Command::new(python())
            .args([file, &sidecar.url, &bench.target("votes"), mode, mode])
            .envs(credentials())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut said = BufReader::new(adding.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it adds");
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            let address = sidecar.url.trim_start_matches("http://").to_owned();
            sidecar.running.kill();
            sidecar = Sidecar::start_at(&bench, &address);
        }
        std::thread::sleep(Duration::from_millis(700));
        drop(adding.stdin.take());
        line.clear();
        said.read_line(&mut line).expect("what it was told");
        assert!(adding.wait().expect("its end").success());
        let told: Json = serde_json::from_str(&line).expect("JSON");
        let number = |name: &str| told[name].as_i64().expect("a number");
        let get = json!({"TableName": bench.target("votes"), "Key": {"act": {"S": mode}}});
        let (_, item) = ask(&sidecar.url, "GetItem", &get, "total", 1);
        let total: i64 = item["Item"]["n"]["N"]
            .as_str()
            .expect("{item}")
            .parse()
            .expect("a number");
        let (sure, unsure) = (number("sure"), number("unsure"));
        assert!(sure > 0, "{told}");
        assert!(
            (sure..=sure + unsure).contains(&total),
            "{mode}: {total} of {told}"
        );
    }
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
    bench.done().await;
}

#[tokio::test]
async fn an_add_that_counts_exactly_once_is_made_again_with_its_token() {
    let loses = Arc::new(Mutex::new(false));
    let now = loses.clone();
    let forwarding = Forwarding::start(&dynamodb_url(), move |request: &Request| {
        let lost = *now.lock().expect("no panic") && request.call == "TransactWriteItems";
        if lost { Fault::ReplyLost } else { Fault::None }
    });
    let plan = PLAN.replace(
        "to = \"@-votes\"\n",
        "to = \"@-votes\"\nexactly_once = true\n",
    );
    let (bench, sidecar) = by_plan(&forwarding.url, &plan).await;
    let (url, votes) = (&sidecar.url, bench.target("votes"));
    let add = json!({
        "TableName": votes, "Key": {"act": {"S": "a"}}, "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}}, "ReturnValues": "UPDATED_NEW",
    });
    let total = |url: &str, expected: &str| {
        let get = json!({"TableName": votes, "Key": {"act": {"S": "a"}}});
        let (status, body) = ask(url, "GetItem", &get, "total", 1);
        assert_eq!((status, &body["Item"]["n"]["N"]), (200, &json!(expected)));
    };
    let code = |body: &Json| {
        let code = body["__type"].as_str().expect("a code");
        code.rsplit('#').next().expect("one").to_owned()
    };
    *loses.lock().expect("no panic") = true;
    let (status, body) = ask(url, "UpdateItem", &add, "call", 1);
    assert_eq!(
        (status, code(&body).as_str()),
        (500, "InternalServerError"),
        "{body}"
    );
    let tokens: Vec<Json> = forwarding
        .take()
        .into_iter()
        .filter(|exchange| exchange.request.call == "TransactWriteItems")
        .map(|exchange| exchange.request.body["ClientRequestToken"].clone())
        .collect();
    assert!(
        tokens.len() > 1 && tokens.iter().all(|token| *token == tokens[0]),
        "{tokens:?}"
    );
    *loses.lock().expect("no panic") = false;
    let (status, body) = ask(url, "UpdateItem", &add, "call", 2);
    assert_eq!(
        (status, &body["Attributes"]["n"]["N"]),
        (200, &json!("101")),
        "{body}"
    );
    let again: Vec<Json> = forwarding
        .take()
        .into_iter()
        .filter(|exchange| exchange.request.call == "TransactWriteItems")
        .map(|exchange| exchange.request.body["ClientRequestToken"].clone())
        .collect();
    assert_eq!(again, tokens[..1]);
    total(url, "101");

    // Another sidecar doesn't know it, nor how long the table has been in this phase.
    let second = Sidecar::start(&bench);
    let (status, body) = ask(&second.url, "UpdateItem", &add, "call", 3);
    assert_eq!(
        (status, code(&body).as_str()),
        (400, "AmbiguousWriteFailureException"),
        "{body}"
    );
    let (status, body) = ask(&second.url, "UpdateItem", &add, "another call", 1);
    assert_eq!(
        (status, &body["Attributes"]["n"]["N"]),
        (200, &json!("102")),
        "{body}"
    );
    total(url, "102");
    for sidecar in [sidecar, second] {
        sidecar.running.signal("TERM");
        sidecar.running.wait().expect_code(0);
    }
    bench.done().await;
}
