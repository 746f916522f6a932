//! What the sidecar costs beside the same request sent straight to the endpoint, and beside a plain HTTP reverse proxy,
//! in one run, turn about. It needs no server: the endpoint is one of its own (`benches/common/endpoint`).
//!
//! ```text
//! cargo bench --bench serve
//! cargo bench --bench serve -- latency           or throughput, memory, adds: one part alone
//! ```
//!
//! Endpoint, sidecar and proxy are processes of their own, whose processor time can be told apart; this one is the client,
//! which sends requests that were prepared. "A second and core" is what a core of that process would do in a second if it
//! did nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::process::{self, Part};
use common::wire::{Asker, request};
use common::{at, config, endpoint, line, median};
use crossfade::control::{Control, New, Record};
use crossfade::migration::{InitOptions, Migration};
use crossfade::protocol::Phase;
use crossfade::schema::{Column, Order, Role, Table, Type};
use crossfade::serve::{self, SidecarSettings};
use crossfade::shim::{OldStore, Settings, Shim};
use crossfade::spec::{TablePlan, TableSpec};
use crossfade::store::dynamodb::{DynamoDb, Raw};
use crossfade::store::memory::Memory;
use crossfade::store::{Old, Store};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns of a comparison.
const TURNS: usize = 5;
/// Requests a second where latency is measured, and of one turn.
const RATE: u64 = 1_000;
const LATENCIES: u64 = 1_500;
/// Connections of a client that sends as fast as it gets answers, and requests of one turn.
const CLIENTS: usize = 16;
const REQUESTS: usize = 8_000;
/// Connections that are held open at once.
const CONNECTIONS: usize = 1_000;
const KEYS: usize = 3;
const ADDS_A_SECOND: u64 = 10_000;
const ADD_SECONDS: u64 = 4;

const PHASES: [Phase; 3] = [Phase::Copy, Phase::New, Phase::Done];

fn main() {
    match process::role() {
        Some(role) => match role[0].as_str() {
            "endpoint" => endpoint::run(&role[1..]),
            "sidecar" => block_on(sidecar(&role[1])),
            "proxy" => block_on(proxy(role[1].clone())),
            other => panic!("no role {other}"),
        },
        None => block_on(bench()),
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

async fn bench() {
    let parts = ["latency", "throughput", "memory", "adds"];
    let said: Vec<String> = std::env::args().collect();
    let said: Vec<&str> = parts
        .into_iter()
        .filter(|part| said.iter().any(|word| word == part))
        .collect();
    let wants = |part| said.is_empty() || said.contains(&part);
    println!("{}", process::machine());
    let endpoint = Part::start(&["endpoint"]);
    let sidecar = Part::start(&["sidecar", &endpoint.address]);
    let proxy = Part::start(&["proxy", &endpoint.address]);
    fill(&sidecar).await;
    println!("| what | ours | beside | ratio |\n|---|---|---|---|");
    // Before the others: an allocator keeps what they have had.
    if wants("memory") {
        connections(&sidecar).await;
    }
    if wants("latency") {
        for phase in PHASES {
            latencies(phase, &endpoint, &sidecar).await;
        }
    }
    if wants("throughput") {
        for request in requests() {
            throughput(&request, &endpoint, &sidecar, &proxy).await;
        }
    }
    if wants("adds") {
        adds(&endpoint, &sidecar).await;
    }
}

/// A request of a kind.
struct Asked {
    name: &'static str,
    operation: &'static str,
    body: String,
}

impl Asked {
    /// Whether SDKs send an id of the call with it, by which the sidecar knows its retries.
    fn is_write(&self) -> bool {
        matches!(self.operation, "PutItem" | "UpdateItem")
    }
}

fn users(phase: Phase) -> String {
    format!("bench-users-{phase}")
}

fn body_of_user() -> String {
    format!(
        r#""name":{{"S":"Ann"}},"age":{{"N":"41"}},"body":{{"S":"{}"}}"#,
        "x".repeat(400)
    )
}

fn get(phase: Phase) -> String {
    format!(
        r#"{{"TableName":"{}","Key":{{"id":{{"S":"u1"}}}},"ConsistentRead":true}}"#,
        users(phase)
    )
}

/// What the throughput is measured with.
fn requests() -> [Asked; 7] {
    let put = format!(
        r#"{{"TableName":"{}","Item":{{"id":{{"S":"u2"}},{}}}}}"#,
        users(Phase::New),
        body_of_user()
    );
    let update = format!(
        r##"{{"TableName":"{}","Key":{{"id":{{"S":"u1"}}}},"UpdateExpression":"SET #a = :a","ExpressionAttributeNames":{{"#a":"age"}},"ExpressionAttributeValues":{{":a":{{"N":"42"}}}}}}"##,
        users(Phase::New)
    );
    let query = r#"{"TableName":"bench-events","KeyConditionExpression":"team = :t","ExpressionAttributeValues":{":t":{"S":"t1"}},"Limit":50}"#.to_owned();
    let passed = r#"{"TableName":"bench-other","Key":{"id":{"S":"o1"}}}"#.to_owned();
    [
        ("GetItem in copy", "GetItem", get(Phase::Copy)),
        ("GetItem in new", "GetItem", get(Phase::New)),
        ("GetItem in done", "GetItem", get(Phase::Done)),
        ("PutItem in new", "PutItem", put),
        ("UpdateItem in new", "UpdateItem", update),
        ("Query of 50 in new", "Query", query),
        ("GetItem of another table", "GetItem", passed),
    ]
    .map(|(name, operation, body)| Asked {
        name,
        operation,
        body,
    })
}

async fn fill(sidecar: &Part) {
    let mut asker = Asker::connect(&sidecar.address).await.unwrap();
    let mut puts = Vec::new();
    for phase in PHASES {
        let put = format!(
            r#"{{"TableName":"{}","Item":{{"id":{{"S":"u1"}},{}}}}}"#,
            users(phase),
            body_of_user()
        );
        puts.push(put);
    }
    for n in 0..50 {
        puts.push(format!(
            r#"{{"TableName":"bench-events","Item":{{"team":{{"S":"t1"}},"n":{{"N":"{n}"}},{}}}}}"#,
            body_of_user()
        ));
    }
    puts.push(
        r#"{"TableName":"bench-other","Item":{"id":{"S":"o1"},"name":{"S":"Ann"}}}"#.to_owned(),
    );
    for put in puts {
        let status = asker.ask(&request("PutItem", &put, None)).await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(asker.answer()));
    }
}

/// Turn about: the same request straight to the endpoint and through the sidecar, at a steady rate.
async fn latencies(phase: Phase, endpoint: &Part, sidecar: &Part) {
    let request: Arc<[u8]> = request("GetItem", &get(phase), None).into();
    let (mut straight, mut through) = (Vec::new(), Vec::new());
    let mut upstream = 0;
    for turn in 0..=TURNS {
        let one = at_rate(&endpoint.address, &request).await;
        let before = requests_of(endpoint).await;
        let other = at_rate(&sidecar.address, &request).await;
        upstream += requests_of(endpoint).await - before - 1;
        // The first turn warms both up.
        if turn > 0 {
            straight.extend(one);
            through.extend(other);
        }
    }
    let hits = LATENCIES * (TURNS as u64 + 1);
    let each = upstream as f64 / hits as f64;
    for (name, share, promised) in [("median", 0.5, "200 us"), ("p99", 0.99, "1000 us")] {
        let (straight, through) = (at(&mut straight, share), at(&mut through, share));
        let added = through.as_secs_f64() - straight.as_secs_f64();
        line(
            &format!("GetItem in {phase}, {RATE} a second: {name} (promised: {promised} more)"),
            &format!("{} us, {:+.0} us", through.as_micros(), added * 1e6),
            &format!("straight: {} us", straight.as_micros()),
            Some(through.as_secs_f64() / straight.as_secs_f64()),
        );
    }
    line(
        &format!("GetItem in {phase}: requests upstream (promised: 1, beside those for leases)"),
        &format!("{each:.3} each"),
        "",
        None,
    );
}

/// How many requests an endpoint has had.
async fn requests_of(endpoint: &Part) -> u64 {
    let mut asker = Asker::connect(&endpoint.address).await.unwrap();
    asker
        .ask(&request("CountRequests", "{}", None))
        .await
        .unwrap();
    asker.json()["Requests"].as_u64().unwrap()
}

async fn at_rate(address: &str, request: &Arc<[u8]>) -> Vec<Duration> {
    const SENDERS: u64 = 8;
    let begun = tokio::time::Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let (address, request) = (address.to_owned(), request.clone());
        tokio::spawn(async move {
            let mut asker = Asker::connect(&address).await.unwrap();
            let mut took = Vec::new();
            for number in (sender..LATENCIES).step_by(SENDERS as usize) {
                tokio::time::sleep_until(begun + Duration::from_micros(number * 1_000_000 / RATE))
                    .await;
                let sent = Instant::now();
                assert_eq!(asker.ask(&request).await.unwrap(), 200);
                took.push(sent.elapsed());
            }
            took
        })
    });
    let mut all = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        all.extend(sender.await.unwrap());
    }
    all
}

/// As fast as answers come: requests a second of one core of the sidecar and of the proxy, turn about.
async fn throughput(asked: &Asked, endpoint: &Part, sidecar: &Part, proxy: &Part) {
    let (mut ratios, mut ours, mut theirs) = (vec![], vec![], vec![]);
    let before = endpoint.busy();
    for turn in 0..=TURNS {
        let of_sidecar = saturated(sidecar, asked).await.as_secs_f64();
        let of_proxy = saturated(proxy, asked).await.as_secs_f64();
        if turn > 0 {
            ratios.push(of_proxy / of_sidecar);
            ours.push(of_sidecar * 1e6);
            theirs.push(of_proxy * 1e6);
        }
    }
    let upstream = (endpoint.busy() - before) / (2 * REQUESTS * (TURNS + 1)) as u32;
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    // What the endpoint itself takes for one is told beside both.
    line(
        &format!("{}, a second and core (promised: 0.5)", asked.name),
        &format!("{:.0} ({ours:.0} us each)", 1e6 / ours),
        &format!(
            "proxy: {:.0} ({theirs:.0} us); endpoint: {} us",
            1e6 / theirs,
            upstream.as_micros()
        ),
        Some(median(&mut ratios)),
    );
}

/// Processor time that a request takes of a process.
async fn saturated(part: &Part, asked: &Asked) -> Duration {
    let before = part.busy();
    let clients = (0..CLIENTS).map(|_| {
        let address = part.address.clone();
        let sent = |_| {
            let id = asked.is_write().then(rand::random::<u64>);
            request(asked.operation, &asked.body, id)
        };
        let different = if asked.is_write() {
            REQUESTS / CLIENTS
        } else {
            1
        };
        let requests: Vec<_> = (0..different).map(sent).collect();
        tokio::spawn(async move {
            let mut asker = Asker::connect(&address).await.unwrap();
            for number in 0..REQUESTS / CLIENTS {
                let status = asker.ask(&requests[number % requests.len()]).await.unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(asker.answer()));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    (part.busy() - before) / REQUESTS as u32
}

/// Memory with many connections, each of which has sent a request.
async fn connections(sidecar: &Part) {
    let before = sidecar.resident().0;
    let request = request("GetItem", &get(Phase::New), None);
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(Asker::connect(&sidecar.address).await.unwrap());
    }
    for _ in 0..3 {
        let asked = open.iter_mut().map(|asker| asker.ask(&request));
        for status in futures::future::join_all(asked).await {
            assert_eq!(status.unwrap(), 200);
        }
    }
    let (now, peak) = sidecar.resident();
    line(
        &format!("memory with {CONNECTIONS} connections (promised: 100 MB)"),
        &format!("{now:.0} MB, at most {peak:.0} MB"),
        &format!("before: {before:.0} MB"),
        None,
    );
}

/// Adds to few keys, at a steady rate: how many writes they become.
async fn adds(endpoint: &Part, sidecar: &Part) {
    const SENDERS: u64 = 512;
    let total =
        |key: usize| format!(r#"{{"TableName":"bench-votes","Key":{{"act":{{"S":"a{key}"}}}}}}"#);
    let busy = sidecar.busy();
    let upstream = requests_of(endpoint).await;
    let begun = tokio::time::Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let address = sidecar.address.clone();
        tokio::spawn(async move {
            let mut asker = Asker::connect(&address).await.unwrap();
            for number in (sender..ADDS_A_SECOND * ADD_SECONDS).step_by(SENDERS as usize) {
                let body = format!(
                    r#"{{"TableName":"bench-votes","Key":{{"act":{{"S":"a{}"}}}},"UpdateExpression":"ADD n :o","ExpressionAttributeValues":{{":o":{{"N":"1"}}}}}}"#,
                    number as usize % KEYS
                );
                tokio::time::sleep_until(begun + Duration::from_micros(number * 1_000_000 / ADDS_A_SECOND)).await;
                let status = asker.ask(&request("UpdateItem", &body, Some(number))).await.unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(asker.answer()));
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let busy = sidecar.busy() - busy;
    let upstream = requests_of(endpoint).await - upstream - 1;
    let mut asker = Asker::connect(&sidecar.address).await.unwrap();
    let mut counted = 0;
    for key in 0..KEYS {
        asker
            .ask(&request("GetItem", &total(key), None))
            .await
            .unwrap();
        let json = asker.json();
        counted += json["Item"]["n"]["N"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap();
    }
    let all = ADDS_A_SECOND * ADD_SECONDS;
    assert_eq!(counted, all);
    line(
        &format!("ADDs on {KEYS} keys, a second (promised: {ADDS_A_SECOND})"),
        &format!(
            "{:.0} ({:.0} us each)",
            all as f64 / seconds,
            busy.as_secs_f64() * 1e6 / all as f64
        ),
        &format!("sent: {ADDS_A_SECOND}"),
        None,
    );
    line(
        "requests upstream for each ADD",
        &format!("{:.3}", upstream as f64 / all as f64),
        "",
        None,
    );
}

/// Each table, and the phase that it is in.
fn tables() -> Vec<(Table, String, Phase)> {
    let rest = || {
        vec![
            Column::new("name", Type::Text, Role::Regular),
            Column::new("age", Type::Int, Role::Regular),
            Column::new("body", Type::Text, Role::Regular),
        ]
    };
    let mut all = Vec::new();
    for phase in PHASES {
        let columns = [vec![Column::new("id", Type::Text, Role::Partition)], rest()].concat();
        all.push((
            Table::new(format!("users_{phase}"), columns),
            users(phase),
            phase,
        ));
    }
    let keys = vec![
        Column::new("team", Type::Text, Role::Partition),
        Column::new("n", Type::Int, Role::Clustering(Order::Asc)),
    ];
    let events = Table::new("events", [keys, rest()].concat());
    all.push((events, "bench-events".into(), Phase::New));
    let votes = vec![
        Column::new("act", Type::Text, Role::Partition),
        Column::new("n", Type::Counter, Role::Regular),
    ];
    all.push((
        Table::new("votes", votes),
        "bench-votes".into(),
        Phase::Copy,
    ));
    all
}

/// A sidecar whose old store is empty and in memory.
async fn sidecar(upstream: &str) {
    let config = config(&format!("http://{upstream}"));
    let raw = Raw::connect(&config).await.unwrap();
    let dynamodb: Arc<dyn Store> = Arc::new(DynamoDb::connect(config).await.unwrap());
    let old = Old(Arc::new(Memory::new()));
    let control = Control::new(New::over(dynamodb.clone()), "bench-control");
    let mut specs = Vec::new();
    for (table, to, phase) in tables() {
        old.0.create(&table).await.unwrap();
        let spec = TableSpec::new("bench", TablePlan::new(&table.name).to(to));
        let new = New::over(dynamodb.clone());
        let migration = Migration::new(spec.clone(), old.clone(), new, control.clone());
        migration.init(InitOptions::default()).await.unwrap();
        // The record goes step by step.
        for phase in Phase::ALL
            .into_iter()
            .filter(|step| (Phase::Bridge..=phase).contains(step))
        {
            let there = control.require(&spec.to).await.unwrap();
            let record = Record {
                phase,
                ..there.record.clone()
            };
            control.replace(&spec.to, &there, &record).await.unwrap();
        }
        specs.push(spec);
    }
    other_table(&raw).await;
    let settings = Settings::new("bench");
    let shim = Shim::start(
        settings,
        OldStore::Open(old),
        New::over(dynamodb),
        control,
        specs,
    )
    .unwrap();
    for table in shim.tables() {
        table.phase().await.unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    process::listening(listener.local_addr().unwrap());
    let settings = SidecarSettings {
        upstream: Some(Arc::new(raw)),
        ..SidecarSettings::default()
    };
    serve::serve(shim, settings, listener, std::future::pending())
        .await
        .unwrap();
}

/// A table that no plan names.
async fn other_table(raw: &Raw) {
    let body = r#"{"TableName":"bench-other","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}"#;
    let created = raw.send(
        "DynamoDB_20120810.CreateTable",
        "application/x-amz-json-1.0",
        Bytes::from_static(body.as_bytes()),
    );
    assert_eq!(created.await.unwrap().status, 200);
}

/// The least that a program of hyper can do: every request is sent on, and its answer given back.
async fn proxy(upstream: String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    process::listening(listener.local_addr().unwrap());
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let (client, uri) = (client.clone(), format!("http://{upstream}/"));
            async move {
                let (mut parts, body) = request.into_parts();
                parts.uri = uri.parse().unwrap();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = client.request(http::Request::from_parts(parts, Full::new(body)));
                Ok::<_, Infallible>(answer.await.unwrap())
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection);
    }
}
