//! Faults between the command and DynamoDB: answers that are lost, servers that fail before or after
//! the work, throttles. The totals are right all the same, and nothing that was done is done again.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::{VOTES, VOTES_PLAN, copy, fill_votes, vote};
use crate::command::Bench;
use crate::forwarding::{Exchange, Fault, Forwarding};
use crate::scripted::Request;

const COUNTERS: usize = 400;
/// How many grow between two passes.
const GROWN: usize = 120;

/// What happens to the calls of one name, one after the other, from the start again at the end.
const FAULTS: [Fault; 11] = [
    Fault::ReplyLost,
    Fault::None,
    Fault::FailsBehind,
    Fault::None,
    Fault::Throttled,
    Fault::None,
    Fault::FailsBefore,
    Fault::None,
    Fault::None,
    Fault::CutInside,
    Fault::None,
];

/// Of a batch's statements these are throttled.
const SOME: &[usize] = &[1, 3];

/// Each call's own turn; single statements of batches are throttled in some that are free.
fn faults() -> impl FnMut(&Request) -> Fault {
    let mut turns: HashMap<String, usize> = HashMap::new();
    move |request| {
        let body = request.body.to_string();
        // What a command looks at when it begins isn't tried again.
        let is_looked_at = request.call.starts_with("Describe")
            || body.contains("-control") && !body.contains("progress ");
        if is_looked_at {
            return Fault::None;
        }
        let turn = turns.entry(request.call.clone()).or_default();
        *turn += 1;
        match (request.call.as_str(), &FAULTS[*turn % FAULTS.len()]) {
            ("BatchExecuteStatement", Fault::None) if *turn % FAULTS.len() % 4 == 1 => {
                Fault::StatementsThrottled(SOME.to_vec())
            }
            // The first of its kind: a call that times out takes ten seconds.
            ("UpdateItem" | "BatchExecuteStatement", _) if *turn == 4 => Fault::ReplyWithheld,
            (_, fault) => fault.clone(),
        }
    }
}

/// The key of a counter's item in a request.
fn update_of(exchange: &Exchange) -> Option<String> {
    let body = &exchange.request.body;
    (exchange.request.call == "UpdateItem")
        .then(|| body["Key"]["id"]["S"].as_str().expect("a key").to_owned())
}

fn is_done(exchange: &Exchange) -> bool {
    exchange
        .answer
        .as_ref()
        .is_some_and(|(status, _)| *status == 200)
}

fn is_refused(exchange: &Exchange) -> bool {
    exchange.answer.as_ref().is_some_and(|(status, body)| {
        let kind = body["__type"].as_str().unwrap_or_default();
        *status == 400 && kind.ends_with("ConditionalCheckFailedException")
    })
}

/// Whether it reads the item of this key.
fn reads(exchange: &Exchange, id: &str) -> bool {
    let holds = |body: &Json| {
        body.to_string()
            .contains(&format!("\"id\":{{\"S\":\"{id}\"}}"))
    };
    matches!(exchange.request.call.as_str(), "GetItem" | "BatchGetItem")
        && holds(&exchange.request.body)
}

/// Every request that goes through the SDK was its first and only try.
fn assert_not_retried_by_the_sdk(seen: &[Exchange]) {
    for exchange in seen {
        let tries = exchange.request.header("amz-sdk-request");
        let tries = tries.unwrap_or("attempt=1; max=1");
        assert_eq!(tries, "attempt=1; max=1", "{}", exchange.request.call);
    }
}

/// Every fold that was done and not heard of is followed by one that is refused, or by a look at the
/// item, before anything else is written to it. Gives how many there were.
fn assert_looked_at_again(seen: &[Exchange]) -> usize {
    let mut count = 0;
    for (at, exchange) in seen.iter().enumerate() {
        let Some(id) = update_of(exchange) else {
            continue;
        };
        let unheard = matches!(
            exchange.fault,
            Fault::ReplyLost | Fault::CutInside | Fault::ReplyWithheld | Fault::FailsBehind
        );
        if !unheard || !is_done(exchange) {
            continue;
        }
        count += 1;
        let mut later = seen[at + 1..].iter();
        let next = later.find(|next| {
            next.answer.is_some() && (update_of(next).as_ref() == Some(&id) || reads(next, &id))
        });
        let next = next.unwrap_or_else(|| panic!("nobody looked what had become of {id}"));
        assert!(
            is_refused(next) || reads(next, &id),
            "{id} was written again: {next:?}"
        );
    }
    count
}

/// How much was added to each counter by folds that were done.
fn added(seen: &[Exchange]) -> BTreeMap<String, i64> {
    let mut added = BTreeMap::new();
    for exchange in seen.iter().filter(|exchange| is_done(exchange)) {
        if let Some(id) = update_of(exchange) {
            let by = &exchange.request.body["ExpressionAttributeValues"][":by0"]["N"];
            *added.entry(id).or_default() += by
                .as_str()
                .expect("a number")
                .parse::<i64>()
                .expect("an integer");
        }
    }
    added
}

fn count(seen: &[Exchange], call: &str, fault: &Fault) -> usize {
    seen.iter()
        .filter(|exchange| exchange.request.call == call && exchange.fault == *fault)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_lost_failures_and_throttles() {
    let mut bench = Bench::new("endpoint").await;
    fill_votes(&bench, COUNTERS).await;
    let endpoint = Forwarding::start(&bench.url, faults());
    bench.plan(VOTES_PLAN).init();
    bench.url = endpoint.url.clone();
    bench.plan(VOTES_PLAN);

    // Every item is put.
    let first = copy(&bench, &[], 0);
    assert_eq!(
        (first.read, first.went_down, first.failed),
        (COUNTERS as u64, 0, 0)
    );
    VOTES.assert_equal(&bench).await;
    let seen = endpoint.take();
    assert_not_retried_by_the_sdk(&seen);
    for fault in FAULTS.iter().filter(|fault| **fault != Fault::None) {
        assert!(
            count(&seen, "BatchExecuteStatement", fault) > 0,
            "no {fault:?}"
        );
    }
    assert!(
        count(
            &seen,
            "BatchExecuteStatement",
            &Fault::StatementsThrottled(SOME.to_vec())
        ) > 3
    );

    // Those that grew are added to, each in a call of its own.
    for round in 0..2 {
        let grown: BTreeMap<String, i64> = (0..GROWN)
            .map(|at| ((at * 3 + round) % COUNTERS, 1 + at as i64))
            .map(|(n, by)| (format!("v{n}"), by))
            .collect();
        for (id, by) in &grown {
            vote(&bench, id[1..].parse().expect("a number"), *by).await;
        }
        let last: &[&str] = if round == 0 {
            &[]
        } else {
            &["--offline", "--final"]
        };
        copy(&bench, last, 0);
        VOTES.assert_equal(&bench).await;
        let seen = endpoint.take();
        assert_not_retried_by_the_sdk(&seen);
        let unheard = assert_looked_at_again(&seen);
        assert!(unheard > GROWN / 5, "only {unheard} folds went unheard");
        assert_eq!(added(&seen), grown, "each grew by what it had grown by");
        for fault in FAULTS.iter().filter(|fault| **fault != Fault::None) {
            assert!(count(&seen, "UpdateItem", fault) > 3, "no {fault:?}");
        }
        println!(
            "round {round}: {} requests, {unheard} folds went unheard",
            seen.len()
        );
    }
    assert_eq!(bench.status()[0]["copied"], 1.0);
    bench.done().await;
}
