//! Against an endpoint that refuses, throttles, lies and dies as each test tells it to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crossfade::error::{Effect, Error, Kind};
use crossfade::model::{Condition, Value};
use crossfade::store::dynamodb::{DynamoDb, DynamoDbConfig};
use crossfade::store::{Range, Reads, Store, Weight, WriteOutcome, WriteOutcomes};
use serde_json::{Value as Json, json};

use super::{config, connect, key, note, notes, some_notes};
use crate::scripted::{Reply, Request, Scripted, error};

fn statements(request: &Request) -> usize {
    request.body["Statements"].as_array().map_or(0, Vec::len)
}

pub fn all_written(request: &Request) -> Reply {
    let answers = vec![json!({"TableName": "t"}); statements(request)];
    Reply::Json(200, json!({"Responses": answers}))
}

/// The second row's answer has this error, the others are written.
fn second_fails(request: &Request, code: &str) -> Reply {
    let mut answers = vec![json!({"TableName": "t"}); statements(request)];
    answers[1] = json!({"Error": {"Code": code, "Message": "as the test wants it"}});
    Reply::Json(200, json!({"Responses": answers}))
}

async fn put(endpoint: &Scripted, rows: i32) -> WriteOutcomes {
    let store = connect(&endpoint.url).await;
    store
        .put(&notes("t"), &some_notes(rows), &Condition::absent())
        .await
}

pub fn errors(puts: WriteOutcomes) -> Vec<Error> {
    puts.rows.into_iter().filter_map(Result::err).collect()
}

#[tokio::test]
async fn each_code_of_a_statement_concerns_its_row_alone() {
    let expected = [
        ("ThrottlingError", Kind::Throttled, Effect::None),
        (
            "ProvisionedThroughputExceeded",
            Kind::Throttled,
            Effect::None,
        ),
        ("RequestLimitExceeded", Kind::Throttled, Effect::None),
        ("TransactionConflict", Kind::Transient, Effect::None),
        ("InternalServerError", Kind::Transient, Effect::Unknown),
        ("ValidationError", Kind::Invalid, Effect::None),
        (
            "ItemCollectionSizeLimitExceeded",
            Kind::Invalid,
            Effect::None,
        ),
        ("AccessDenied", Kind::Denied, Effect::None),
        ("ResourceNotFound", Kind::Missing, Effect::None),
        ("SomethingNew", Kind::Unknown, Effect::Unknown),
    ];
    for (code, kind, effect) in expected {
        let endpoint = Scripted::start(move |request| second_fails(request, code));
        let puts = put(&endpoint, 3).await;
        assert_eq!(puts.rows[0].as_ref().unwrap(), &WriteOutcome::Written);
        assert_eq!(puts.rows[2].as_ref().unwrap(), &WriteOutcome::Written);
        let error = puts.rows[1].as_ref().unwrap_err();
        assert_eq!(
            (error.kind(), error.known_effect()),
            (kind, effect),
            "{code}"
        );
        assert!(error.to_string().contains("key id=a, n=1"), "{error}");
        assert_eq!(endpoint.seen().len(), 1, "{code}");
    }
    let endpoint = Scripted::start(|request| second_fails(request, "DuplicateItem"));
    assert_eq!(
        put(&endpoint, 3).await.rows[1].as_ref().unwrap(),
        &WriteOutcome::Refused
    );
}

#[tokio::test]
async fn a_request_refused_as_a_whole_is_halved_until_the_culprit_stands_alone() {
    let endpoint = Scripted::start(|request| {
        if request.body.to_string().contains("poison") {
            error(400, "ValidationException", "one of them is wrong")
        } else {
            all_written(request)
        }
    });
    let mut rows = some_notes(25);
    rows[17] = note("a", 17, "poison");
    let store = connect(&endpoint.url).await;
    let puts = store.put(&notes("t"), &rows, &Condition::absent()).await;
    for (n, row) in puts.rows.iter().enumerate() {
        match row {
            Ok(put) => assert_eq!((put, n == 17), (&WriteOutcome::Written, false)),
            Err(error) => assert_eq!((error.kind(), n), (Kind::Invalid, 17)),
        }
    }
    assert!(endpoint.seen().len() <= 11, "{}", endpoint.seen().len());
}

/// What a whole request's failure means, whichever call it was.
pub fn refusals() -> Vec<(Reply, Kind, Effect)> {
    let throttled = |code| (error(400, code, "slower"), Kind::Throttled, Effect::None);
    vec![
        throttled("ProvisionedThroughputExceededException"),
        throttled("ThrottlingException"),
        throttled("RequestLimitExceeded"),
        (
            error(500, "InternalServerError", "?"),
            Kind::Transient,
            Effect::Unknown,
        ),
        (
            error(503, "ServiceUnavailable", "?"),
            Kind::Transient,
            Effect::Unknown,
        ),
        (
            Reply::Raw(502, "<html>Bad gateway".into()),
            Kind::Transient,
            Effect::Unknown,
        ),
        (
            Reply::Raw(200, "<html>Welcome".into()),
            Kind::Unknown,
            Effect::Unknown,
        ),
        (
            error(400, "NeverHeardOfException", "?"),
            Kind::Unknown,
            Effect::Unknown,
        ),
        (
            error(400, "AccessDeniedException", "no"),
            Kind::Denied,
            Effect::None,
        ),
        (
            error(400, "ResourceNotFoundException", "no"),
            Kind::Missing,
            Effect::None,
        ),
        (
            error(400, "ExpiredTokenException", "old"),
            Kind::Denied,
            Effect::None,
        ),
        (Reply::Cut, Kind::Unreachable, Effect::Unknown),
        (
            Reply::CutInside(200, json!({"Responses": [{}, {}, {}]})),
            Kind::Unreachable,
            Effect::Unknown,
        ),
        (
            Reply::CutInside(400, json!({"__type": "ValidationException"})),
            Kind::Unreachable,
            Effect::Unknown,
        ),
        // A proxy may end a body early, and say nothing of it.
        (
            Reply::Raw(200, "{\"Responses\": [{}, {".into()),
            Kind::Unreachable,
            Effect::Unknown,
        ),
        (Reply::Silence, Kind::Timeout, Effect::Unknown),
    ]
}

#[tokio::test]
async fn a_request_that_fails_is_the_same_error_for_each_of_its_rows_and_sent_once() {
    for (reply, kind, effect) in refusals() {
        for partiql in [true, false] {
            let script = reply.clone();
            let endpoint = Scripted::start(move |_| script.clone());
            let store = DynamoDb::connect(DynamoDbConfig {
                partiql: Some(partiql),
                timeout: matches!(reply, Reply::Silence).then_some(Duration::from_secs(1)),
                ..config(&endpoint.url)
            });
            let store = store.await.unwrap();
            let puts = store
                .put(&notes("t"), &some_notes(3), &Condition::absent())
                .await;
            let found = errors(puts);
            assert_eq!(found.len(), 3, "{reply:?}");
            for error in found {
                let seen = (error.kind(), error.known_effect());
                assert_eq!(seen, (kind, effect), "{reply:?}: {error:?}");
                assert!(error.to_string().contains(&endpoint.url), "{error}");
            }
            assert_eq!(
                endpoint.seen().len(),
                if partiql { 1 } else { 3 },
                "{reply:?}"
            );
            let read = store.get(&notes("t"), &[key("a", 1)]).await.unwrap_err();
            assert_eq!(
                (read.kind(), read.known_effect()),
                (kind, Effect::None),
                "{reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_not_used_for_a_second_try() {
    let mut count = 0;
    let endpoint = Scripted::start(move |request| {
        count += 1;
        if count == 1 {
            all_written(request)
        } else {
            Reply::Cut
        }
    });
    let store = connect(&endpoint.url).await;
    let first = store
        .put(&notes("t"), &some_notes(1), &Condition::absent())
        .await;
    assert!(errors(first).is_empty());
    let second = errors(
        store
            .put(&notes("t"), &some_notes(1), &Condition::absent())
            .await,
    );
    assert_eq!(second[0].known_effect(), Effect::Unknown);
    assert_eq!(endpoint.seen().len(), 2);
}

#[tokio::test]
async fn a_row_that_the_answer_forgets_may_have_been_written() {
    let endpoint = Scripted::start(|_| Reply::Json(200, json!({"Responses": [{}, {}]})));
    let puts = put(&endpoint, 3).await;
    assert!(puts.rows[0].is_ok() && puts.rows[1].is_ok());
    let error = puts.rows[2].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.known_effect()),
        (Kind::Unknown, Effect::Unknown)
    );
}

#[tokio::test]
async fn units_are_the_servers_where_it_tells() {
    let endpoint = Scripted::start(|_| {
        let told = json!([{"TableName": "t", "CapacityUnits": 7.5}]);
        Reply::Json(
            200,
            json!({"Responses": [{}, {}], "ConsumedCapacity": told}),
        )
    });
    assert_eq!(put(&endpoint, 2).await.units, 7.5);
    let silent = Scripted::start(all_written);
    assert_eq!(put(&silent, 30).await.units, 30.0);
}

#[tokio::test]
async fn a_request_has_at_most_25_statements_and_4_mib() {
    let endpoint = Scripted::start(all_written);
    assert!(errors(put(&endpoint, 60).await).is_empty());
    let mut rows = some_notes(12);
    for row in &mut rows {
        // A control character takes six bytes in JSON.
        row.cells[0] = Some(Value::text("\u{1}".repeat(200_000)));
    }
    let store = connect(&endpoint.url).await;
    assert!(errors(store.put(&notes("t"), &rows, &Condition::absent()).await).is_empty());
    let seen = endpoint.seen();
    assert!(
        seen.iter()
            .all(|request| request.bytes <= 4 << 20 && statements(request) <= 25)
    );
    let mut counts: Vec<usize> = seen.iter().map(statements).collect();
    counts.sort_unstable();
    assert_eq!(counts, [3, 3, 3, 3, 10, 25, 25]);
}

#[tokio::test]
async fn an_endpoint_without_partiql_gets_single_calls_and_is_not_asked_again() {
    let script = |request: &Request| match request.call.as_str() {
        "BatchExecuteStatement" => error(400, "UnknownOperationException", "no such thing"),
        _ => Reply::Json(200, json!({})),
    };
    let endpoint = Scripted::start(script);
    let store = connect(&endpoint.url).await;
    for _ in 0..2 {
        let puts = store
            .put(&notes("t"), &some_notes(3), &Condition::absent())
            .await;
        assert!(errors(puts).is_empty());
    }
    assert_eq!(endpoint.count("BatchExecuteStatement"), 1);
    assert_eq!(endpoint.count("PutItem"), 6);
    let conditions = endpoint.seen().into_iter().skip(1);
    assert!(conditions.into_iter().all(|request| {
        let names = request.body["ExpressionAttributeNames"]
            .as_object()
            .unwrap();
        let name = names.iter().find(|(_, attribute)| *attribute == "id");
        let absent = name.map(|(name, _)| format!("attribute_not_exists({name})"));
        request.body["ConditionExpression"].as_str() == absent.as_deref() && absent.is_some()
    }));

    let endpoint = Scripted::start(script);
    let store = DynamoDb::connect(DynamoDbConfig {
        partiql: Some(true),
        ..config(&endpoint.url)
    });
    let puts = store
        .await
        .unwrap()
        .put(&notes("t"), &some_notes(3), &Condition::absent())
        .await;
    let found = errors(puts);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].kind(), Kind::Unsupported);
    assert!(found[0].next_step().unwrap().contains("partiql = false"));
}

/// Answers a BatchGetItem with some of its keys, and leaves the others.
fn answers_some(request: &Request, count: usize) -> Reply {
    let keys = request.body["RequestItems"]["t"]["Keys"]
        .as_array()
        .unwrap();
    let (read, left) = keys.split_at(count.min(keys.len()));
    let left = if left.is_empty() {
        json!({})
    } else {
        json!({"t": {"Keys": left}})
    };
    Reply::Json(
        200,
        json!({"Responses": {"t": read}, "UnprocessedKeys": left}),
    )
}

#[tokio::test]
async fn keys_left_over_are_read_while_there_is_progress_then_throttled() {
    let keys: Vec<_> = (0..150).map(|n| key("a", n)).collect();
    let endpoint = Scripted::start(|request| answers_some(request, 40));
    let found = connect(&endpoint.url)
        .await
        .get(&notes("t"), &keys)
        .await
        .unwrap();
    assert!(found.iter().map(|row| &row.as_ref().unwrap().key).eq(&keys));
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 3 + 2);
    assert!(
        seen.iter()
            .all(|r| r.body["RequestItems"]["t"]["ConsistentRead"] == true)
    );

    let endpoint = Scripted::start(|request| answers_some(request, 0));
    let error = connect(&endpoint.url)
        .await
        .get(&notes("t"), &keys)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Throttled);
}

#[tokio::test]
async fn empty_pages_of_a_scan_are_passed_over() {
    let item = |n: &str| json!({"id": {"S": "a"}, "n": {"N": n}});
    let endpoint = Scripted::start(move |request| {
        let start = request.body["ExclusiveStartKey"]["n"]["N"].as_str();
        Reply::Json(
            200,
            match start {
                None => json!({"Items": [], "LastEvaluatedKey": item("1")}),
                Some("1") => json!({"Items": [item("2")], "LastEvaluatedKey": item("3")}),
                Some("3") => json!({"Items": []}),
                Some(other) => panic!("{other}"),
            },
        )
    });
    let store = connect(&endpoint.url).await;
    let range = Range::Segment { index: 1, total: 3 };
    let page = store.scan(&notes("t"), &range, None, 10).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    let next = page.next.unwrap();
    assert_eq!(next.key, key("a", 2));
    let page = store
        .scan(&notes("t"), &range, Some(&next), 10)
        .await
        .unwrap();
    assert!(page.rows.is_empty() && page.next.is_none());
    for request in endpoint.seen() {
        let body = request.body;
        assert_eq!(
            (&body["Segment"], &body["TotalSegments"]),
            (&json!(1), &json!(3))
        );
        assert_eq!(
            (&body["ConsistentRead"], &body["Limit"]),
            (&json!(true), &json!(10))
        );
    }
}

#[tokio::test]
async fn a_denied_call_names_the_permission_and_the_table() {
    let endpoint = Scripted::start(|_| error(400, "AccessDeniedException", "not authorized"));
    let found = errors(put(&endpoint, 1).await);
    let next = found[0].next_step().unwrap();
    assert!(
        next.contains("dynamodb:PartiQLInsert") && next.contains(" t "),
        "{next}"
    );
}

fn description(more: Json) -> Json {
    let mut table = json!({"TableName": "t", "TableStatus": "ACTIVE", "ItemCount": 5,
        "TableSizeBytes": 500, "TableArn": "arn:t", "CreationDateTime": 1_700_000_000.25});
    table
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"Table": table})
}

#[tokio::test]
async fn inspecting_finds_replicas_and_lives_with_a_missing_permission() {
    let endpoint = Scripted::start(|request| match request.call.as_str() {
        "DescribeTable" => {
            let replicas = json!([{"RegionName": "eu-west-1"}]);
            Reply::Json(
                200,
                description(json!({"Replicas": replicas, "TableStatus": "CREATING"})),
            )
        }
        _ => error(400, "AccessDeniedException", "not authorized"),
    });
    let found = connect(&endpoint.url)
        .await
        .inspect("t")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.id, "arn:t@1700000000250");
    assert_eq!((found.rows, found.bytes), (Some(5), Some(500)));
    let findings: Vec<_> = found.findings.iter().map(|f| (f.code, f.weight)).collect();
    let expected = [
        ("not-active", Weight::Refused),
        ("replicas", Weight::Refused),
        ("native-ttl-unseen", Weight::Note),
    ];
    assert_eq!(findings, expected);
}
