//! Faults between the command and Cassandra, frame by frame: errors that a server sends, answers that are
//! lost or late, connections that are cut; while ranges are scanned and while single rows are read.

use std::time::Duration;

use scylla_proxy::{
    Condition, Reaction, RequestFrame, RequestOpcode, RequestReaction, RequestRule, ResponseOpcode,
    ResponseReaction, ResponseRule, RunningProxy, example_db_errors as db,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Counted, VOTES, VOTES_PLAN, copy, fill_votes, vote};
use crate::command::Bench;
use crate::support::proxied;

const COUNTERS: usize = 400;
const GROWN: usize = 60;
/// Beside it what the driver does by itself takes no time.
const DELAY: Duration = Duration::from_secs(3);

type Seen = (RequestFrame, Option<u16>);

/// Frames that were hit, and statements that were prepared.
struct Wire {
    proxy: RunningProxy,
    hit: (UnboundedSender<Seen>, UnboundedReceiver<Seen>),
    statements: UnboundedReceiver<Seen>,
    tell: UnboundedSender<Seen>,
}

/// Executions of statements by the stores themselves, in connections that aren't the driver's own.
fn executes() -> Condition {
    Condition::not(Condition::ConnectionRegisteredAnyEvent)
        .and(Condition::RequestOpcode(RequestOpcode::Execute))
}

/// Scans alone bind tokens, which are eight bytes.
fn scans() -> Condition {
    executes().and(Condition::BodyContainsCaseSensitive(Box::new([0, 0, 0, 8])))
}

/// Reads of single rows bind their key: `v17` and its like, of two to four bytes.
fn point_reads() -> Condition {
    let key = |length: u8| Condition::BodyContainsCaseSensitive(Box::new([0, 0, 0, length, b'v']));
    executes().and(Condition::any((2..=4).map(key)))
}

impl Wire {
    /// A proxy in front of the bench's node. The plans written from now on name the proxy.
    async fn before(bench: &mut Bench) -> Self {
        let (proxy, address) = proxied(&bench.node).await;
        bench.node = address;
        let (tell, statements) = unbounded_channel();
        let mut wire = Wire {
            proxy,
            hit: unbounded_channel(),
            statements,
            tell,
        };
        wire.requests([]);
        wire
    }

    /// From now on the first requests that fit a condition are dealt with so, each for some times.
    fn requests(&mut self, faults: impl IntoIterator<Item = (Condition, usize, RequestReaction)>) {
        let rule = |(condition, times, reaction): (Condition, usize, RequestReaction)| {
            let condition = condition.and(Condition::TrueForLimitedTimes(times));
            RequestRule(
                condition,
                reaction.with_feedback_when_performed(self.hit.0.clone()),
            )
        };
        let mut rules: Vec<RequestRule> = faults.into_iter().map(rule).collect();
        let texts = [
            RequestOpcode::Prepare,
            RequestOpcode::Query,
            RequestOpcode::Batch,
        ];
        let texts = Condition::any(texts.map(Condition::RequestOpcode));
        let tell = RequestReaction::noop().with_feedback_when_performed(self.tell.clone());
        rules.push(RequestRule(texts, tell));
        self.proxy.running_nodes[0].change_request_rules(Some(rules));
    }

    /// How many requests were hit since the last call of this.
    fn hits(&mut self) -> usize {
        std::iter::from_fn(|| self.hit.1.try_recv().ok()).count()
    }

    /// Fails if anything but a read was sent so far.
    fn assert_reads_only(&mut self) {
        let mut count = 0;
        while let Ok((frame, _)) = self.statements.try_recv() {
            count += 1;
            assert_ne!(frame.opcode, RequestOpcode::Batch);
            let text = String::from_utf8_lossy(&frame.body).to_uppercase();
            let begins = |word: &str| text.chars().take(12).collect::<String>().contains(word);
            assert!(begins("SELECT") || begins("USE "), "{text}");
        }
        assert!(count > 0, "nothing came past the proxy");
    }
}

/// What a server may answer, each for some times.
fn errors(condition: &Condition, times: usize) -> Vec<(Condition, usize, RequestReaction)> {
    [
        db::read_timeout,
        db::unavailable,
        db::overloaded,
        db::write_timeout,
        db::server_error,
        db::read_failure,
    ]
    .into_iter()
    .map(|error| {
        (
            condition.clone(),
            times,
            RequestReaction::forge_with_error(error()),
        )
    })
    .collect()
}

async fn grow(bench: &Bench, round: usize) {
    let grown = (0..GROWN).map(|at| vote(bench, (at * 7 + round) % COUNTERS, 1 + at as i64));
    futures::future::join_all(grown).await;
}

async fn bench(name: &str) -> (Bench, Wire) {
    let mut bench = Bench::new(name).await;
    fill_votes(&bench, COUNTERS).await;
    let wire = Wire::before(&mut bench).await;
    bench.plan(VOTES_PLAN).init();
    (bench, wire)
}

#[track_caller]
fn assert_complete(counted: &Counted) {
    assert!(counted.read >= COUNTERS as u64, "{counted:?}");
    assert_eq!((counted.went_down, counted.failed), (0, 0), "{counted:?}");
}

/// Errors that a server sends, in place of pages, in place of rows, in the last pass too.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_server() {
    let (bench, mut wire) = bench("errors").await;
    wire.requests(errors(&scans(), 4));
    assert_complete(&copy(&bench, &[], 0));
    assert_eq!(wire.hits(), 6 * 4, "as many as were made to fail");
    VOTES.assert_equal(&bench).await;

    grow(&bench, 1).await;
    let mut both = errors(&point_reads(), 5);
    both.extend(errors(&scans(), 2));
    wire.requests(both);
    assert_complete(&copy(&bench, &[], 0));
    assert_eq!(wire.hits(), 6 * 5 + 6 * 2);
    VOTES.assert_equal(&bench).await;

    grow(&bench, 2).await;
    let mut both = errors(&point_reads(), 3);
    both.extend(errors(&scans(), 3));
    wire.requests(both);
    let last = copy(&bench, &["--offline", "--final"], 0);
    assert_complete(&last);
    assert!(last.settled >= COUNTERS as u64, "{last:?}");
    assert_eq!(wire.hits(), 6 * 3 + 6 * 3);
    assert_eq!(VOTES.assert_equal(&bench).await, COUNTERS);
    assert_eq!(bench.status()[0]["copied"], 1.0);
    wire.assert_reads_only();
    bench.done().await;
}

/// Connections that break: before a request arrives, and before its answer does.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut() {
    let (bench, mut wire) = bench("cut").await;
    let cut = |condition: Condition, times| (condition, times, RequestReaction::drop_connection());
    wire.requests([cut(scans(), 3)]);
    assert_complete(&copy(&bench, &[], 0));
    assert_eq!(wire.hits(), 3);
    VOTES.assert_equal(&bench).await;

    grow(&bench, 1).await;
    wire.requests([cut(point_reads(), 3), cut(scans(), 1)]);
    // Answers have no key of a request's: any one with a row of the table in it.
    let answer = Condition::not(Condition::ConnectionRegisteredAnyEvent)
        .and(Condition::ResponseOpcode(ResponseOpcode::Result))
        .and(Condition::BodyContainsCaseSensitive(Box::new([
            0, 0, 0, 3, b'v',
        ])))
        .and(Condition::TrueForLimitedTimes(3));
    let (told, mut heard) = unbounded_channel();
    let lost = ResponseReaction::drop_connection().with_feedback_when_performed(told);
    wire.proxy.running_nodes[0].change_response_rules(Some(vec![ResponseRule(answer, lost)]));
    assert_complete(&copy(&bench, &[], 0));
    assert_eq!(wire.hits(), 4);
    assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 3);
    VOTES.assert_equal(&bench).await;
    assert_complete(&copy(&bench, &["--offline", "--final"], 0));
    VOTES.assert_equal(&bench).await;
    wire.assert_reads_only();
    bench.done().await;
}

/// Answers that come late, and some that never come: the driver gives up on those after a while.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_late_or_never_come() {
    let (bench, mut wire) = bench("late").await;
    let late = |condition: Condition, times| (condition, times, RequestReaction::delay(DELAY));
    let never = |condition: Condition, times| (condition, times, RequestReaction::drop_frame());
    assert_complete(&copy(&bench, &[], 0));
    grow(&bench, 1).await;
    wire.requests([
        late(point_reads(), 5),
        never(point_reads(), 5),
        late(scans(), 5),
        never(scans(), 5),
    ]);
    assert_complete(&copy(&bench, &[], 0));
    assert_eq!(wire.hits(), 20);
    VOTES.assert_equal(&bench).await;

    grow(&bench, 2).await;
    wire.requests([late(scans(), 5)]);
    assert_complete(&copy(&bench, &["--offline", "--final"], 0));
    VOTES.assert_equal(&bench).await;
    wire.assert_reads_only();
    bench.done().await;
}
