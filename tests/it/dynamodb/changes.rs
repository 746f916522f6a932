//! Changes of single items and adds: what is known of their effect, whatever the endpoint does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade::error::{Effect, Error, Kind, Result};
use crossfade::model::{
    Add, Change, ClusteringRange, Condition, Edit, ItemState, Key, Mark, Query, Row, Value,
};
use crossfade::schema::{Role, Table, Type};
use crossfade::store::dynamodb::{DynamoDb, DynamoDbConfig};
use crossfade::store::{Changed, Reading, Reads, Store};
use futures::future::join_all;
use serde_json::{Value as Json, json};

use super::faults::refusals;
use super::{column, config, connect, key, note, notes};
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::{Reply, Request, Scripted, error};
use crate::support::{dynamodb_url, unique};

/// `id text PRIMARY KEY, list list<int>`.
fn lists(name: &str) -> Table {
    let list = Type::List(Box::new(Type::Int));
    let columns = vec![
        column("id", Type::Text, Role::Partition),
        column("list", list, Role::Regular),
    ];
    Table::new(name, columns)
}

fn votes(name: &str) -> Table {
    let columns = vec![
        column("id", Type::Text, Role::Partition),
        column("n", Type::Counter, Role::Regular),
    ];
    Table::new(name, columns)
}

fn id(id: &str) -> Key {
    Key::row(vec![Value::text(id)], vec![])
}

fn set_body(text: &str) -> Change {
    Change::Edit {
        cells: vec![Some(Edit::Set(Value::text(text)))],
        mark: Some(Mark::Application),
        expires: None,
    }
}

fn one_vote(token: Option<&str>) -> Add {
    Add {
        key: id("a"),
        by: vec![Some(1)],
        mark: Some(Mark::Application),
        token: token.map(str::to_owned),
    }
}

async fn change(store: &DynamoDb, key: &Key, change: &Change, on: &Condition) -> Result<Changed> {
    store.update_item(&notes("t"), key, change, on).await
}

async fn append_9(store: &DynamoDb, on: &Condition) -> Result<Changed> {
    let append = Change::Edit {
        cells: vec![Some(Edit::Append(vec![Value::Int(9)]))],
        mark: Some(Mark::Application),
        expires: None,
    };
    store.update_item(&lists("t"), &id("a"), &append, on).await
}

fn seen(error: &Error) -> (Kind, Effect) {
    (error.kind(), error.known_effect())
}

/// Every kind of change, and adds with and without a token, each on its own.
async fn each_call(store: &DynamoDb) -> Vec<Result<()>> {
    let changes = [
        Change::Put(note("a", 1, "b")),
        Change::Bury,
        Change::Remove,
        set_body("b"),
    ];
    let key = key("a", 1);
    let table = notes("t");
    let changes = changes.iter().map(async |change| {
        let answer = store
            .update_item(&table, &key, change, &Condition::absent())
            .await;
        answer.map(drop)
    });
    let votes = votes("t");
    let adds = [None, Some("token")].map(one_vote);
    let adds = adds.iter().map(async |add| store.add(&votes, add).await);
    let (mut all, adds) = tokio::join!(join_all(changes), join_all(adds));
    all.extend(adds);
    all
}

#[tokio::test]
async fn a_call_that_fails_is_sent_once_and_says_what_is_known_of_its_effect() {
    for (reply, kind, effect) in refusals() {
        let script = reply.clone();
        let endpoint = Scripted::start(move |_| script.clone());
        let store = DynamoDb::connect(DynamoDbConfig {
            timeout: matches!(reply, Reply::Silence).then_some(Duration::from_secs(1)),
            ..config(&endpoint.url)
        });
        let answers = each_call(&store.await.unwrap()).await;
        assert_eq!(endpoint.seen().len(), answers.len(), "{reply:?}");
        assert_eq!(answers.len(), 6);
        for answer in answers {
            let error = answer.unwrap_err();
            assert_eq!(seen(&error), (kind, effect), "{reply:?}: {error:?}");
            assert!(error.to_string().contains("key"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_transaction_added_nothing_and_one_in_progress_may() {
    let cancelled = |code: &str| {
        let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        let reasons = json!([{"Code": code, "Message": "as the test wants it"}]);
        Reply::Json(
            400,
            json!({"__type": kind, "message": "?", "CancellationReasons": reasons}),
        )
    };
    let cases = [
        (
            cancelled("TransactionConflict"),
            Kind::Transient,
            Effect::None,
        ),
        (cancelled("ThrottlingError"), Kind::Throttled, Effect::None),
        (
            cancelled("ProvisionedThroughputExceeded"),
            Kind::Throttled,
            Effect::None,
        ),
        (cancelled("ValidationError"), Kind::Invalid, Effect::None),
        (cancelled("SomethingNew"), Kind::Unknown, Effect::None),
        (
            error(400, "IdempotentParameterMismatchException", "?"),
            Kind::Invalid,
            Effect::None,
        ),
        (
            error(400, "TransactionInProgressException", "?"),
            Kind::Transient,
            Effect::Unknown,
        ),
    ];
    for (reply, kind, effect) in cases {
        let script = reply.clone();
        let endpoint = Scripted::start(move |_| script.clone());
        let store = connect(&endpoint.url).await;
        let error = store
            .add(&votes("t"), &one_vote(Some("t1")))
            .await
            .unwrap_err();
        assert_eq!(seen(&error), (kind, effect), "{reply:?}: {error:?}");
        let [request] = &endpoint.seen()[..] else {
            panic!("sent once: {:?}", endpoint.seen());
        };
        assert_eq!(request.body["ClientRequestToken"], json!("t1"));
    }
}

fn refused(item: Option<Json>) -> Reply {
    let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    let mut body = json!({"__type": kind, "message": "The conditional request failed"});
    if let Some(item) = item {
        body["Item"] = item;
    }
    Reply::Json(400, body)
}

#[tokio::test]
async fn a_refusal_brings_the_item_that_was_met() {
    let item = json!({"id": {"S": "a"}, "n": {"N": "1"}, "body": {"S": "x"}, "_m": {"S": "k"},
        "_d": {"SS": ["body"]}});
    let mut met = note("a", 1, "x");
    met.mark = Some(Mark::Partial);
    met.decided = [0].into();
    let rows = Condition::In {
        states: vec![ItemState::Row],
        now: 0,
    };
    for (item, expected) in [(Some(item), Some(met)), (None, None)] {
        let endpoint = Scripted::start(move |_| refused(item.clone()));
        let store = connect(&endpoint.url).await;
        for what in [Change::Bury, Change::Remove, set_body("y")] {
            let answer = change(&store, &key("a", 1), &what, &rows).await;
            assert_eq!(answer.unwrap(), Changed::Refused(expected.clone()));
        }
        for request in endpoint.seen() {
            let asked = &request.body["ReturnValuesOnConditionCheckFailure"];
            assert_eq!(asked, "ALL_OLD", "{}", request.call);
        }
    }
    // An endpoint that doesn't know the option would look as if nothing were there.
    let endpoint = Scripted::start(|_| refused(None));
    let store = connect(&endpoint.url).await;
    let answer = change(&store, &key("a", 1), &Change::Bury, &Condition::absent()).await;
    assert_eq!(
        seen(&answer.unwrap_err()),
        (Kind::Unsupported, Effect::None)
    );
    // Nor is an item taken for nothing that can't be read.
    let odd = json!({"id": {"S": "a"}, "n": {"N": "1"}, "_m": {"S": "?"}});
    let endpoint = Scripted::start(move |_| refused(Some(odd.clone())));
    let store = connect(&endpoint.url).await;
    let answer = change(&store, &key("a", 1), &Change::Bury, &rows).await;
    assert_eq!(seen(&answer.unwrap_err()), (Kind::Corrupt, Effect::None));
}

fn with_list(numbers: &[i32]) -> Json {
    let numbers: Vec<Json> = numbers
        .iter()
        .map(|n| json!({"N": n.to_string()}))
        .collect();
    json!({"id": {"S": "a"}, "list": {"L": numbers}, "_m": {"S": "a"}})
}

#[tokio::test]
async fn a_partial_item_of_a_wide_table_is_told_by_what_it_decides() {
    let width = 200;
    let mut columns = vec![column("id", Type::Text, Role::Partition)];
    columns.extend((0..width).map(|at| column(&format!("c{at:03}"), Type::Int, Role::Regular)));
    let table = Table::new(unique("wide"), columns);
    let store = connect(&dynamodb_url()).await;
    store.create(&table).await.unwrap();
    let partial = |value| {
        let mut row = Row::new(id("a"), vec![None; width]);
        row.cells[0] = Some(Value::Int(value));
        row.decided = [0, 1].into();
        row.mark = Some(Mark::Partial);
        row
    };
    let put = Change::Put(partial(1));
    let change =
        async |what: &Change, on: &Condition| store.update_item(&table, &id("a"), what, on).await;
    assert_eq!(
        change(&put, &Condition::Always).await.unwrap(),
        Changed::Written
    );
    let other = Condition::Same(partial(2).into());
    let met = change(&Change::Bury, &other).await.unwrap();
    assert_eq!(met, Changed::Refused(Some(partial(1))));
    let same = Condition::Same(partial(1).into());
    let buried = change(&Change::Bury, &same).await.unwrap();
    assert_eq!(buried, Changed::Written);
}

/// An endpoint whose item always has one number more when it is written to, until it has `last` of them.
fn crowded(last: i32) -> Scripted {
    let mut there = vec![1];
    Scripted::start(move |request| {
        if request.call == "GetItem" {
            return Reply::Json(200, json!({"Item": with_list(&there)}));
        }
        if there.len() as i32 == last {
            return Reply::Json(200, json!({}));
        }
        there.push(there.len() as i32 + 1);
        refused(Some(with_list(&there)))
    })
}

#[tokio::test]
async fn an_edited_collection_is_edited_again_when_another_was_quicker() {
    let endpoint = crowded(3);
    let store = connect(&endpoint.url).await;
    let answer = append_9(&store, &Condition::Always).await;
    assert_eq!(answer.unwrap(), Changed::Written);
    assert_eq!(
        (endpoint.count("GetItem"), endpoint.count("UpdateItem")),
        (1, 3)
    );
    let last = endpoint.seen().pop().unwrap().body["ExpressionAttributeValues"].to_string();
    for list in ["[1,2,3]", "[1,2,3,9]"] {
        let numbers: Vec<i32> = serde_json::from_str(list).unwrap();
        let list = with_list(&numbers)["list"].to_string();
        assert!(last.contains(&list), "{list} in {last}");
    }

    let endpoint = crowded(100);
    let store = connect(&endpoint.url).await;
    let answer = append_9(&store, &Condition::Always).await;
    assert_eq!(seen(&answer.unwrap_err()), (Kind::Transient, Effect::None));
    assert_eq!(endpoint.count("UpdateItem"), 8);

    // Deleted meanwhile: then there is nothing to append to.
    let mut is_there = true;
    let endpoint = Scripted::start(move |request| match request.call.as_str() {
        "GetItem" => Reply::Json(200, json!({"Item": with_list(&[1])})),
        _ if std::mem::take(&mut is_there) => refused(None),
        _ => Reply::Json(200, json!({})),
    });
    let store = connect(&endpoint.url).await;
    let answer = append_9(&store, &Condition::Always).await;
    assert_eq!(answer.unwrap(), Changed::Written);
    let last = endpoint.seen().pop().unwrap().body["ExpressionAttributeValues"].to_string();
    assert!(last.contains(r#"{"L":[{"N":"9"}]}"#), "{last}");

    // The same collection, so it was the condition that didn't hold.
    let endpoint = Scripted::start(|request| match request.call.as_str() {
        "GetItem" => Reply::Json(200, json!({"Item": with_list(&[1])})),
        _ => refused(Some(with_list(&[1]))),
    });
    let store = connect(&endpoint.url).await;
    let on = Condition::Marked(Mark::Partial);
    let answer = append_9(&store, &on).await;
    assert!(matches!(answer.unwrap(), Changed::Refused(Some(_))));
    assert_eq!(endpoint.count("UpdateItem"), 1);
}

/// DynamoDB Local behind an endpoint whose next fault can be set.
async fn faulty() -> (DynamoDb, Arc<Mutex<Fault>>, Forwarding) {
    let next = Arc::new(Mutex::new(Fault::None));
    let script = next.clone();
    let endpoint = Forwarding::start(&dynamodb_url(), move |_: &Request| {
        std::mem::replace(&mut *script.lock().unwrap(), Fault::None)
    });
    (connect(&endpoint.url).await, next, endpoint)
}

#[tokio::test]
async fn what_a_lost_reply_hides_is_unknown_and_a_token_makes_an_add_count_once() {
    let (store, next, endpoint) = faulty().await;
    let (notes, votes) = (notes(&unique("notes")), votes(&unique("votes")));
    store.create(&notes).await.unwrap();
    store.create(&votes).await.unwrap();
    for fault in [Fault::ReplyLost, Fault::FailsBehind] {
        let row = note("a", 1, &format!("{fault:?}"));
        *next.lock().unwrap() = fault;
        let put = Change::Put(row.clone());
        let error = store
            .update_item(&notes, &row.key, &put, &Condition::Always)
            .await;
        assert_eq!(error.unwrap_err().known_effect(), Effect::Unknown);
        let there = store.read(&notes, &row.key, Reading::Strong).await;
        assert_eq!(there.unwrap(), Some(row), "it was done all the same");
    }
    let total = async || {
        let row = store.read(&votes, &id("a"), Reading::Strong).await;
        row.unwrap().map(|row| row.cells)
    };
    for (token, expected) in [(None, 1), (Some(unique("t")), 2)] {
        endpoint.take();
        *next.lock().unwrap() = Fault::ReplyLost;
        let add = one_vote(token.as_deref());
        let error = store.add(&votes, &add).await.unwrap_err();
        assert_eq!(error.known_effect(), Effect::Unknown);
        assert_eq!(endpoint.take().len(), 1, "an add is sent once");
        assert_eq!(total().await, Some(vec![Some(Value::BigInt(expected))]));
        if token.is_some() {
            store.add(&votes, &add).await.unwrap();
            assert_eq!(total().await, Some(vec![Some(Value::BigInt(expected))]));
        }
    }
}

#[tokio::test]
async fn what_an_item_cannot_hold_is_invalid_before_or_at_the_server() {
    let (store, _, endpoint) = faulty().await;
    let notes = notes(&unique("notes"));
    store.create(&notes).await.unwrap();
    endpoint.take();
    let big = "x".repeat(410_000);
    let put = Change::Put(note("a", 1, &big));
    let error = store
        .update_item(&notes, &key("a", 1), &put, &Condition::Always)
        .await;
    assert_eq!(seen(&error.unwrap_err()), (Kind::Invalid, Effect::None));
    let error = store
        .update_item(&notes, &key("", 1), &Change::Bury, &Condition::Always)
        .await;
    assert_eq!(seen(&error.unwrap_err()), (Kind::Invalid, Effect::None));
    let mut expiring = note("a", 1, "b");
    expiring.expires = Some(1);
    let put = Change::Put(expiring);
    let error = store
        .update_item(&notes, &key("a", 1), &put, &Condition::Always)
        .await;
    assert_eq!(seen(&error.unwrap_err()), (Kind::Invalid, Effect::None));
    assert!(endpoint.take().is_empty(), "known before anything is sent");
    let error = store
        .update_item(&notes, &key("a", 1), &set_body(&big), &Condition::Always)
        .await;
    assert_eq!(seen(&error.unwrap_err()), (Kind::Invalid, Effect::None));
    let there = store.read(&notes, &key("a", 1), Reading::Strong).await;
    assert_eq!(there.unwrap(), None);
}

#[tokio::test]
async fn empty_pages_of_a_list_are_passed_over_and_an_end_stays_out() {
    let item = |n: i32| json!({"id": {"S": "a"}, "n": {"N": n.to_string()}});
    let mut pages = vec![
        json!({"Items": [item(1)], "LastEvaluatedKey": item(1)}),
        json!({"Items": [], "LastEvaluatedKey": item(3)}),
        json!({"Items": [item(4), item(5)], "LastEvaluatedKey": item(5)}),
    ];
    pages.reverse();
    let endpoint = Scripted::start(move |_| Reply::Json(200, pages.pop().unwrap()));
    let store = connect(&endpoint.url).await;
    let query = Query {
        range: ClusteringRange {
            partition: vec![Value::text("a")],
            from: Bound::Excluded(vec![Value::Int(1)]),
            until: Bound::Excluded(vec![Value::Int(9)]),
        },
        reverse: false,
        after: None,
        limit: 2,
    };
    let listed = store.query(&notes("t"), &query).await.unwrap();
    let keys: Vec<Key> = listed.rows.into_iter().map(|row: Row| row.key).collect();
    assert_eq!((keys, listed.more), (vec![key("a", 4), key("a", 5)], true));
    assert_eq!(endpoint.count("Query"), 3);
}
