//! What applications write: how long it lives, at which consistency it is sent, and that it is sent once,
//! whatever becomes of the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossfade::error::{Effect, Error, Kind};
use crossfade::model::{Add, Edit, Mutation, Row, Update, Value};
use crossfade::schema::Table;
use crossfade::store::cassandra::{Cassandra, Consistency};
use crossfade::store::{Changed, Reads, Store};
use scylla_proxy::{
    Condition, Reaction, RequestFrame, RequestOpcode, RequestReaction, RequestRule, ResponseOpcode,
    ResponseReaction, ResponseRule, RunningProxy, example_db_errors as db,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Bench, config, key};
use crate::support::{cassandra_address, proxied};

fn now() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.expect("a clock after 1970").as_secs() as i64
}

fn row(k: i32, v: Option<i32>, w: Option<i32>, expires: Option<i64>) -> Row {
    let cells = vec![v.map(Value::Int), w.map(Value::Int)];
    let mut row = Row::new(key(&[Value::Int(k)], &[]), cells);
    row.expires = expires;
    row
}

impl Bench {
    async fn ttls(&self, k: i32) -> (Option<i32>, Option<i32>) {
        let cql = "SELECT TTL(v), TTL(w) FROM t WHERE k = ?";
        let answer = self.session.query_unpaged(cql, (k,)).await;
        let answer = answer.expect("an answer").into_rows_result().expect("rows");
        answer.single_row().expect("one row")
    }
}

#[tokio::test]
async fn writes_live_as_long_as_they_say_whatever_the_tables_default() {
    let bench = Bench::new("lives").await;
    bench
        .cql("CREATE TABLE t (k int PRIMARY KEY, v int, w int) WITH default_time_to_live = 5000")
        .await;
    let table = bench.table("t").await;
    let write = async |mutation: Mutation| {
        let changed = bench.store.apply(&table, &mutation).await;
        assert_eq!(changed.expect("a write"), Changed::Written, "{mutation:?}");
    };
    let soon = Some(now() + 600);
    let is_soon = |ttl: Option<i32>| ttl.is_some_and(|ttl| (598..=600).contains(&ttl));

    write(Mutation::Put(row(1, Some(1), Some(1), soon))).await;
    if bench.release < (3, 6) {
        return refuses_what_would_expire(bench, &table).await;
    }
    write(Mutation::Put(row(2, Some(1), Some(1), None))).await;
    write(Mutation::Insert(row(3, Some(1), Some(1), soon))).await;
    write(Mutation::Insert(row(4, Some(1), Some(1), None))).await;
    for (k, lives) in [(1, true), (2, false), (3, true), (4, false)] {
        let (v, w) = bench.ttls(k).await;
        assert!(
            if lives {
                is_soon(v) && is_soon(w)
            } else {
                (v, w) == (None, None)
            },
            "{k}: {v:?} {w:?}"
        );
    }

    let update = |k: i32, expires| Update {
        key: row(k, None, None, None).key,
        cells: vec![Some(Edit::Set(Value::Int(2))), None],
        expires,
    };
    write(Mutation::Update(update(2, soon))).await;
    let (v, w) = bench.ttls(2).await;
    assert!(
        is_soon(v) && w.is_none(),
        "the cells that are written: {v:?} {w:?}"
    );
    let update = Mutation::UpdateIf {
        update: update(1, None),
        expected: vec![(1, Some(Value::Int(1)))],
    };
    write(update).await;
    let (v, w) = bench.ttls(1).await;
    assert!(v.is_none() && is_soon(w), "{v:?} {w:?}");

    // What has expired already lives for a second: there is no shorter life.
    write(Mutation::Put(row(5, Some(1), None, Some(now() - 100)))).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let gone = bench
        .store
        .get(&table, &[row(5, None, None, None).key])
        .await;
    assert_eq!(gone.expect("an answer"), [None]);

    // Past the server's limit of 20 years it is refused, not cut short.
    let put = Mutation::Put(row(6, Some(1), None, Some(i64::MAX)));
    let error = bench.store.apply(&table, &put).await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.known_effect()),
        (Kind::Invalid, Effect::None),
        "{error}"
    );
    bench.done().await;
}

/// Before Cassandra 3.6 `USING TTL 0` is the table's default: what shall stay is refused, not cut short.
async fn refuses_what_would_expire(bench: Bench, table: &Table) {
    let update = Update {
        key: row(1, None, None, None).key,
        cells: vec![Some(Edit::Set(Value::Int(2))), None],
        expires: None,
    };
    for mutation in [
        Mutation::Put(row(2, Some(1), Some(1), None)),
        Mutation::Insert(row(2, Some(1), Some(1), None)),
        Mutation::Update(update),
    ] {
        let error = bench
            .store
            .apply(table, &mutation)
            .await
            .expect_err("refused");
        let found = (error.kind(), error.known_effect());
        assert_eq!(found, (Kind::Unsupported, Effect::None), "{error}");
        assert!(error.to_string().contains("5000 s"), "{error}");
    }
    let found = bench
        .store
        .inspect("t")
        .await
        .expect("an answer")
        .expect("it is there");
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == "default-ttl-always")
    );
    bench
        .cql("ALTER TABLE t WITH default_time_to_live = 0")
        .await;
    let put = Mutation::Put(row(2, Some(1), Some(1), None));
    bench.store.apply(table, &put).await.expect("a write");
    assert_eq!(bench.ttls(2).await, (None, None));
    bench.done().await;
}

#[tokio::test]
async fn what_cannot_be_said_in_cql_is_refused_before_it_is_sent() {
    let bench = Bench::new("unsaid").await;
    bench
        .cql("CREATE TABLE t (k int PRIMARY KEY, v int, w int)")
        .await;
    bench
        .cql("CREATE TABLE s (k int, c int, v int, w int STATIC, PRIMARY KEY (k, c))")
        .await;
    bench
        .cql("CREATE TABLE n (k int PRIMARY KEY, n counter)")
        .await;
    let refused = async |table: &Table, mutation: Mutation, kind: Kind| {
        let error = bench
            .store
            .apply(table, &mutation)
            .await
            .expect_err("refused");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (kind, Effect::None),
            "{error}"
        );
    };
    let (plain, with_static) = (bench.table("t").await, bench.table("s").await);
    // Without clustering columns this would be the deletion of a whole partition.
    let statics = crossfade::model::Key::statics(vec![Value::Int(1)]);
    refused(&plain, Mutation::Delete(statics), Kind::Invalid).await;
    // `w` is static here, and comes before `v`.
    let mut both = row(1, Some(1), Some(1), None);
    both.key = key(&[Value::Int(1)], &[Value::Int(1)]);
    refused(&with_static, Mutation::Put(both), Kind::Invalid).await;
    let mut mistyped = row(1, None, None, None);
    mistyped.cells[0] = Some(Value::text("four"));
    refused(&plain, Mutation::Put(mistyped), Kind::Invalid).await;
    let half = Mutation::Delete(key(&[Value::Int(1)], &[]));
    refused(&with_static, half, Kind::Invalid).await;

    let counters = bench.table("n").await;
    let put = Row::new(key(&[Value::Int(1)], &[]), vec![Some(Value::BigInt(1))]);
    refused(&counters, Mutation::Put(put), Kind::Unsupported).await;
    let mut add = add(1);
    add.token = Some("once".into());
    let error = bench.store.add(&counters, &add).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    bench.done().await;
}

#[tokio::test]
async fn levels_whose_replicas_need_not_meet_are_told() {
    let bench = Bench::new("levels").await;
    bench.cql("CREATE TABLE t (k int PRIMARY KEY, v int)").await;
    let told = async |writes| {
        let mut config = config(&bench.keyspace);
        config.consistency = Consistency::Quorum;
        config.write_consistency = Some(writes);
        let store = Cassandra::connect(config).await.expect("a store");
        let found = store.inspect("t").await.expect("an answer").expect("it");
        let mut findings = found.findings.into_iter();
        findings.find(|finding| finding.code == "reads-may-miss-writes")
    };
    assert_eq!(told(Consistency::One).await, None, "there is one replica");
    let keyspace = &bench.keyspace;
    bench
        .cql(&format!(
            "ALTER KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}}"
        ))
        .await;
    let found = told(Consistency::One).await.expect("one of three");
    assert!(
        found.message.contains("quorum and writes at one"),
        "{}",
        found.message
    );
    assert_eq!(told(Consistency::Quorum).await, None);
    bench.done().await;
}

/// A key whose bytes stand in no other frame.
const K: i32 = 0x7f13_0b77;

fn add(by: i64) -> Add {
    Add {
        key: key(&[Value::Int(K)], &[]),
        by: vec![Some(by)],
        mark: None,
        token: None,
    }
}

/// A store behind a proxy, and every execution of a write that it sends.
struct Wire {
    proxy: RunningProxy,
    store: Cassandra,
    sent: UnboundedReceiver<(RequestFrame, Option<u16>)>,
    tell: tokio::sync::mpsc::UnboundedSender<(RequestFrame, Option<u16>)>,
}

impl Wire {
    async fn new(bench: &Bench) -> Self {
        let (proxy, address) = proxied(&cassandra_address()).await;
        let mut config = config(&bench.keyspace);
        config.nodes = vec![address];
        config.write_consistency = Some(Consistency::Quorum);
        let store = Cassandra::connect(config).await.expect("a store");
        let (tell, sent) = unbounded_channel();
        Wire {
            proxy,
            store,
            sent,
            tell,
        }
    }

    /// From now on what becomes of writes by this key, and of the next answers.
    fn rules(&mut self, reaction: RequestReaction, answers: Option<ResponseReaction>) {
        let writes = Condition::RequestOpcode(RequestOpcode::Execute).and(
            Condition::BodyContainsCaseSensitive(Box::new(K.to_be_bytes())),
        );
        let told = reaction.with_feedback_when_performed(self.tell.clone());
        let node = &mut self.proxy.running_nodes[0];
        node.change_request_rules(Some(vec![RequestRule(writes, told)]));
        let results = Condition::not(Condition::ConnectionRegisteredAnyEvent)
            .and(Condition::ResponseOpcode(ResponseOpcode::Result))
            .and(Condition::TrueForLimitedTimes(1));
        let rule = |reaction| vec![ResponseRule(results, reaction)];
        node.change_response_rules(answers.map(rule));
    }

    fn sent(&mut self) -> Vec<RequestFrame> {
        std::iter::from_fn(|| self.sent.try_recv().ok())
            .map(|(frame, _)| frame)
            .collect()
    }
}

/// The consistency and the serial consistency that an execution asks for, as the protocol numbers them.
fn levels(frame: &RequestFrame) -> (u16, Option<u16>) {
    let short = |at: usize| u16::from_be_bytes([frame.body[at], frame.body[at + 1]]);
    let parameters = 2 + usize::from(short(0));
    let has_serial = frame.body[parameters + 2] & 0x10 != 0;
    (
        short(parameters),
        has_serial.then(|| short(frame.body.len() - 2)),
    )
}

const QUORUM: u16 = 4;
const SERIAL: u16 = 8;

/// Every kind of write that is sent as one statement of its own.
fn writes() -> Vec<(&'static str, Mutation)> {
    let row = || row(K, Some(1), None, None);
    let update = || Update {
        key: row().key,
        cells: vec![Some(Edit::Set(Value::Int(7))), None],
        expires: None,
    };
    let expected = vec![(0, Some(Value::Int(7)))];
    vec![
        ("insert", Mutation::Insert(row())),
        ("put", Mutation::Put(row())),
        ("update", Mutation::Update(update())),
        (
            "update if",
            Mutation::UpdateIf {
                update: update(),
                expected,
            },
        ),
        ("delete", Mutation::Delete(row().key)),
    ]
}

fn is_conditional(mutation: &Mutation) -> bool {
    match mutation {
        Mutation::Insert(_) | Mutation::UpdateIf { .. } | Mutation::DeleteIf { .. } => true,
        Mutation::Put(_) | Mutation::Update(_) | Mutation::Delete(_) => false,
    }
}

async fn tables(bench: &Bench) -> (Table, Table) {
    bench
        .cql("CREATE TABLE t (k int PRIMARY KEY, v int, w int)")
        .await;
    bench
        .cql("CREATE TABLE n (k int PRIMARY KEY, n counter)")
        .await;
    (bench.table("t").await, bench.table("n").await)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_sent_once_and_may_have_been_made() {
    let bench = Bench::new("lost").await;
    let (rows, counters) = tables(&bench).await;
    let mut wire = Wire::new(&bench).await;
    let cut = || Some(ResponseReaction::drop_connection());
    let assert_unknown = |error: Error, what: &str| {
        let found = (error.kind(), error.known_effect());
        assert_eq!(
            found,
            (Kind::Unreachable, Effect::Unknown),
            "{what}: {error}"
        );
    };

    wire.rules(RequestReaction::noop(), None);
    wire.store.add(&counters, &add(5)).await.expect("an add");
    for (what, mutation) in writes() {
        let changed = wire.store.apply(&rows, &mutation).await;
        assert_eq!(changed.expect(what), Changed::Written, "{what}");
        let frames = wire.sent();
        let serial = is_conditional(&mutation).then_some(SERIAL);
        let frame = frames.last().expect("it was sent");
        let (level, told) = levels(frame);
        assert_eq!(level, QUORUM, "{what}");
        assert!(serial.is_none() || told == serial, "{what}: {told:?}");
    }

    wire.rules(RequestReaction::noop(), cut());
    let error = wire
        .store
        .add(&counters, &add(7))
        .await
        .expect_err("no answer");
    assert_unknown(error, "add");
    let frames = wire.sent();
    assert_eq!(frames.len(), 1, "an add is sent once");
    assert_eq!(levels(&frames[0]).0, QUORUM);
    let there = bench
        .store
        .get(&counters, &[add(0).key])
        .await
        .expect("a read");
    let total = there[0].as_ref().and_then(|row| row.cells[0].clone());
    assert_eq!(total, Some(Value::BigInt(12)), "and has been made");

    for (what, mutation) in writes() {
        // The connection that was cut is opened again first.
        wire.rules(RequestReaction::noop(), None);
        settle(&wire.store, &rows).await;
        wire.sent();
        wire.rules(RequestReaction::noop(), cut());
        let error = wire.store.apply(&rows, &mutation).await;
        assert_unknown(error.expect_err("no answer"), what);
        assert_eq!(wire.sent().len(), 1, "{what} is sent once");
    }
    bench.done().await;
}

/// Waits until a read comes through.
async fn settle(store: &Cassandra, table: &Table) {
    for _ in 0..100 {
        if store
            .get(table, &[key(&[Value::Int(1)], &[])])
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store's connections don't come back");
}

#[tokio::test]
async fn what_a_coordinator_says_tells_whether_a_write_may_have_been_made() {
    let bench = Bench::new("told").await;
    let (rows, counters) = tables(&bench).await;
    let mut wire = Wire::new(&bench).await;
    // The first of each is prepared, and the rows are as the conditions want them.
    wire.rules(RequestReaction::noop(), None);
    wire.store.add(&counters, &add(1)).await.expect("an add");
    for (what, mutation) in writes() {
        wire.store.apply(&rows, &mutation).await.expect(what);
    }
    let (none, unknown) = (Effect::None, Effect::Unknown);
    // An error, and what it means for a plain write or an add, and for one on a condition: replicas may
    // have agreed on that before too few of them were found.
    let answers = [
        (db::unavailable(), Kind::Unreachable, none, unknown),
        (db::overloaded(), Kind::Throttled, unknown, unknown),
        (db::write_timeout(), Kind::Timeout, unknown, unknown),
        (db::write_failure(), Kind::Transient, unknown, unknown),
        (db::server_error(), Kind::Transient, unknown, unknown),
        (db::invalid(), Kind::Invalid, none, none),
        (db::unauthorized(), Kind::Denied, none, none),
    ];
    for (answer, kind, plainly, on_condition) in answers {
        wire.rules(RequestReaction::forge_with_error(answer.clone()), None);
        wire.sent();
        let error = wire
            .store
            .add(&counters, &add(1))
            .await
            .expect_err("an error");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (kind, plainly),
            "add: {error}"
        );
        assert_eq!(wire.sent().len(), 1, "an add is sent once");
        for (what, mutation) in writes() {
            let effect = match is_conditional(&mutation) {
                true => on_condition,
                false => plainly,
            };
            let error = wire
                .store
                .apply(&rows, &mutation)
                .await
                .expect_err("an error");
            assert_eq!(
                (error.kind(), error.known_effect()),
                (kind, effect),
                "{what}: {error}"
            );
            assert_eq!(wire.sent().len(), 1, "{what} is sent once");
        }
    }
    bench.done().await;
}
