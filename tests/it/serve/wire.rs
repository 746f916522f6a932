//! The sidecar's wire, without any table: limits, hostile clients, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossfade::control::{Control, New};
use crossfade::error::Result;
use crossfade::secret::Secret;
use crossfade::serve::{self, Access, Limits, Passed, Unknown, Upstream};
use crossfade::shim::{OldStore, Settings, Shim};
use crossfade::store::Old;
use crossfade::store::dynamodb::{Credentials, DynamoDbConfig, Raw};
use crossfade::store::memory::Memory;
use futures::future::BoxFuture;
use http::HeaderMap;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// Bytes of a long answer.
const LONG: usize = 128 << 20;

/// An upstream that answers what it was asked, once it may.
struct Echo(Arc<Semaphore>);

impl Upstream for Echo {
    fn send<'a>(
        &'a self,
        target: &'a str,
        _: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Passed>> {
        Box::pin(async move {
            self.0.acquire().await.expect("never closed").forget();
            let mut headers = HeaderMap::new();
            headers.insert("x-amzn-requestid", "FROM-UPSTREAM".parse().expect("text"));
            headers.insert("connection", "close".parse().expect("text"));
            let operation = target.rsplit('.').next().unwrap_or_default();
            let body = match operation {
                "Length" => Bytes::from(body.len().to_string()),
                // More than the kernel's buffers take.
                "Long" => Bytes::from(vec![b'x'; LONG]),
                _ => body,
            };
            Ok(Passed {
                status: 200,
                headers,
                body,
            })
        })
    }
}

struct Sidecar {
    address: SocketAddr,
    /// What the upstream may answer yet.
    answers: Arc<Semaphore>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<()>>,
}

async fn sidecar(change: impl FnOnce(&mut serve::SidecarSettings)) -> Sidecar {
    let memory = Arc::new(Memory::new());
    let new = New::over(memory.clone());
    let control = Control::new(new.clone(), "control");
    let mut own = Settings::new("test");
    own.deadline = Duration::from_millis(300);
    let shim = Shim::start(own, OldStore::Open(Old(memory)), new, control, []).expect("a shim");
    let answers = Arc::new(Semaphore::new(1_000));
    let mut settings = serve::SidecarSettings {
        upstream: Some(Arc::new(Echo(answers.clone()))),
        withheld: ["control".to_owned()].into(),
        ..serve::SidecarSettings::default()
    };
    change(&mut settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel();
    let ending = async move {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve::serve(shim, settings, listener, ending));
    Sidecar {
        address,
        answers,
        stop: Some(stop),
        served,
    }
}

impl Sidecar {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    async fn ask(&self, request: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request).await.expect("sent");
        answer(&mut socket).await
    }
}

fn post(operation: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: DynamoDB_20120810.{operation}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads one answer.
async fn answer(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut part = vec![0; 1 << 16];
    loop {
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a number"));
            if body.len() >= length {
                return text.into_owned();
            }
        }
        match socket.read(&mut part).await {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&all).into_owned(),
            Ok(read) => all.extend_from_slice(&part[..read]),
        }
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("no answer")
}

#[tokio::test]
async fn other_tables_pass_byte_for_byte() {
    let sidecar = sidecar(|_| {}).await;
    let body = br#"{ "TableName" : "other", "Key": {"id":{"S":"\u00e9"}}, "New": 1 }"#;
    let answer = sidecar.ask(&post("GetItem", body)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("x-amzn-requestid: FROM-UPSTREAM"),
        "{answer}"
    );
    assert!(!answer.contains("connection: close"), "{answer}");
    assert!(
        answer.ends_with(std::str::from_utf8(body).expect("text")),
        "{answer}"
    );
    let control = sidecar
        .ask(&post("GetItem", br#"{"TableName":"control"}"#))
        .await;
    assert!(control.contains("AccessDeniedException"), "{control}");
    let arn = br#"{"TableName":"arn:aws:dynamodb:us-east-1:1:table/control"}"#;
    for operation in ["GetItem", "DescribeTable", "DeleteTable", "PutItem"] {
        let control = sidecar.ask(&post(operation, arn)).await;
        assert!(control.contains("AccessDeniedException"), "{control}");
    }
    let batch = br#"{"RequestItems":{"control":{"Keys":[]},"other":{"Keys":[]}}}"#;
    assert!(
        sidecar
            .ask(&post("BatchGetItem", batch))
            .await
            .contains("AccessDenied")
    );
    let partiql = br#"{"Statement":"SELECT * FROM \"control\""}"#;
    assert!(
        sidecar
            .ask(&post("ExecuteStatement", partiql))
            .await
            .contains("PartiQL on")
    );
    let endpoints = sidecar.ask(&post("DescribeEndpoints", b"{}")).await;
    assert!(endpoints.contains(r#""Address":"x""#), "{endpoints}");
}

#[tokio::test]
async fn a_plan_may_refuse_other_tables() {
    let sidecar = sidecar(|settings| settings.unknown = Unknown::Refuse).await;
    let answer = sidecar
        .ask(&post("GetItem", br#"{"TableName":"other"}"#))
        .await;
    assert!(answer.contains("AccessDeniedException"), "{answer}");
}

#[tokio::test]
async fn it_says_whether_it_is_alive_and_ready() {
    let sidecar = sidecar(|_| {}).await;
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "200"),
        ("GET /ready HTTP/1.1\r\nhost: x\r\n\r\n", "200"),
        ("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", "200"),
        ("PUT / HTTP/1.1\r\nhost: x\r\n\r\n", "405"),
        ("GET /other HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("rubbish\r\n\r\n", "400"),
    ] {
        assert_eq!(
            status(&sidecar.ask(request.as_bytes()).await),
            expected,
            "{request}"
        );
    }
    let none = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    let none = sidecar.ask(none).await;
    assert!(
        none.contains("x-amzn-errortype: UnknownOperationException\r\n"),
        "{none}"
    );
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let sidecar = sidecar(|_| {}).await;
    let large = vec![b' '; 16 << 20];
    assert_eq!(
        status(&sidecar.ask(&post("Length", &large)).await),
        "400",
        "no JSON"
    );
    let mut passes = br#"{"A":""#.to_vec();
    passes.resize((16 << 20) - 2, b'x');
    passes.extend(br#""}"#);
    let answer = sidecar.ask(&post("Length", &passes)).await;
    assert!(answer.ends_with(&(16 << 20).to_string()), "{answer}");
    let announced = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 16777217\r\n\r\n";
    assert_eq!(status(&sidecar.ask(announced).await), "413");
    // Its length isn't announced.
    let mut socket = sidecar.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head).await.expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    for _ in 0..17 {
        if socket.write_all(&chunk).await.is_err() {
            break;
        }
    }
    assert!(matches!(
        status(&answer_of(&mut socket).await),
        "413" | "no answer"
    ));
    let head = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    assert!(matches!(
        status(&sidecar.ask(head.as_bytes()).await),
        "431" | "no answer"
    ));
}

async fn answer_of(socket: &mut TcpStream) -> String {
    answer(socket).await
}

#[tokio::test]
async fn more_than_it_takes_on_is_a_503() {
    let limits = Limits {
        requests: 2,
        bodies: 1_000,
        ..Limits::default()
    };
    let sidecar = sidecar(|settings| settings.limits = limits).await;
    let large = post(
        "Length",
        &[b"{\"A\":\"".as_slice(), &[b'x'; 2_000], b"\"}"].concat(),
    );
    let answer = sidecar.ask(&large).await;
    assert!(
        answer.contains("no room") && status(&answer) == "503",
        "{answer}"
    );
    sidecar.answers.forget_permits(1_000);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut socket = sidecar.connect().await;
        socket
            .write_all(&post("Length", b"{}"))
            .await
            .expect("sent");
        waiting.push(socket);
    }
    let busy = loop {
        let answer = sidecar
            .ask(&post("ListTables", b"not json, so never sent on"))
            .await;
        if status(&answer) == "503" {
            break answer;
        }
    };
    assert!(busy.contains("2 requests are under way"), "{busy}");
    assert!(
        busy.contains("com.amazon.coral.service#ServiceUnavailable"),
        "{busy}"
    );
    sidecar.answers.add_permits(2);
    for socket in &mut waiting {
        assert_eq!(status(&answer_of(socket).await), "200");
    }
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let soon = Duration::from_millis(200);
    let limits = Limits {
        idle: soon,
        reading: soon,
        taking: soon,
        ..Limits::default()
    };
    let sidecar = sidecar(|settings| settings.limits = limits).await;
    for part in [
        "",
        "POST / HT",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{",
    ] {
        let mut socket = sidecar.connect().await;
        socket.write_all(part.as_bytes()).await.expect("sent");
        let answer = answer(&mut socket).await;
        assert!(
            matches!(status(&answer), "408" | "no answer"),
            "{part:?}: {answer}"
        );
    }
    // Between two requests, too.
    let mut socket = sidecar.connect().await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(status(&answer(&mut socket).await), "200");
    assert_eq!(answer(&mut socket).await, "");
    // And one that takes nothing of a long answer.
    let mut socket = sidecar.connect().await;
    socket.write_all(&post("Long", b"{}")).await.expect("sent");
    tokio::time::sleep(soon * 5).await;
    let taken = answer(&mut socket).await.len();
    assert!(taken < LONG, "{taken}");
}

#[tokio::test]
async fn clients_sign_where_there_is_a_key() {
    let access = Access {
        access_key: "AKID".into(),
        secret_key: Secret::new("secret"),
    };
    let sidecar = sidecar(|settings| settings.access = Some(access)).await;
    let answer = sidecar
        .ask(&post("GetItem", br#"{"TableName":"other"}"#))
        .await;
    assert!(
        answer.contains("MissingAuthenticationTokenException"),
        "{answer}"
    );
    assert_eq!(
        status(&sidecar.ask(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await),
        "200"
    );
}

/// The signature that requests are sent on with, by the AWS SDK's own code, against the one that is verified here.
#[tokio::test]
async fn what_is_sent_on_is_signed() {
    let access = Access {
        access_key: "AKID".into(),
        secret_key: Secret::new("secret"),
    };
    let sidecar = sidecar(|settings| settings.access = Some(access)).await;
    for (secret, token) in [
        ("secret", None),
        ("secret", Some("a-token")),
        ("other", Some("a-token")),
    ] {
        let config = DynamoDbConfig {
            region: Some("us-east-1".into()),
            endpoint: Some(format!("http://{}", sidecar.address)),
            credentials: Some(Credentials {
                access_key_id: "AKID".into(),
                secret_access_key: secret.into(),
                session_token: token.map(str::to_owned),
            }),
            ..DynamoDbConfig::default()
        };
        let raw = Raw::connect(&config).await.expect("a client");
        let body = Bytes::from_static(b"{\"A\": 1}");
        let target = "DynamoDB_20120810.Length";
        let answer = raw.send(target, "application/x-amz-json-1.0", body).await;
        if secret == "secret" {
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            continue;
        }
        // The server's own text may quote what was signed.
        let refused = answer.expect_err("another secret");
        assert_eq!(refused.kind(), crossfade::error::Kind::Denied, "{refused}");
        assert!(!refused.to_string().contains("a-token"), "{refused}");
    }
}

#[tokio::test]
async fn it_never_listens_beyond_the_machine_without_a_key() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let memory = Arc::new(Memory::new());
    let new = New::over(memory.clone());
    let control = Control::new(new.clone(), "control");
    let old = OldStore::Open(Old(memory));
    let shim = Shim::start(Settings::new("test"), old, new, control, []).expect("a shim");
    let refused = serve::run(shim, listener, std::future::pending()).await;
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("would have the sidecar's rights"), "{text}");
}

#[tokio::test]
async fn at_the_end_it_is_not_ready_and_breaks_nothing_off() {
    let mut sidecar = sidecar(|_| {}).await;
    let mut socket = sidecar.connect().await;
    sidecar.answers.forget_permits(1_000);
    let mut waiting = sidecar.connect().await;
    waiting
        .write_all(&post("Length", b"{}"))
        .await
        .expect("sent");
    sidecar
        .stop
        .take()
        .expect("once")
        .send(())
        .expect("it runs");
    let ready = loop {
        let answer = sidecar.ask(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if status(&answer) != "200" {
            break answer;
        }
    };
    assert!(ready.contains("not ready: it is ending"), "{ready}");
    // A connection that was open gets its answer, and is told to take another one.
    socket
        .write_all(&post("DescribeEndpoints", b"{}"))
        .await
        .expect("sent");
    let last = answer(&mut socket).await;
    assert!(
        last.starts_with("HTTP/1.1 200") && last.contains("connection: close"),
        "{last}"
    );
    sidecar.answers.add_permits(1);
    assert_eq!(status(&answer(&mut waiting).await), "200");
    sidecar.served.await.expect("no panic").expect("it leaves");
    assert!(TcpStream::connect(sidecar.address).await.is_err());
}

/// Whatever is sent, there is an answer or the connection is closed; and the next client finds it well.
#[test]
fn whatever_is_sent_it_goes_on() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let limits = Limits {
        idle: Duration::from_millis(100),
        reading: Duration::from_millis(100),
        ..Limits::default()
    };
    let sidecar = runtime.block_on(sidecar(|settings| settings.limits = limits));
    let operation = prop_oneof![
        Just("GetItem"),
        Just("PutItem"),
        Just("Query"),
        Just("Scan"),
        Just("BatchGetItem"),
        Just("BatchWriteItem"),
        Just("TransactWriteItems"),
        Just("TransactGetItems"),
        Just("ExecuteStatement"),
        Just("DescribeTable"),
        Just("ListTables"),
        Just("CreateTable"),
        Just(""),
    ];
    let json = "[\\[\\]{}\":,a-z0-9.-]{0,80}";
    let deep = (0_usize..20_000).prop_map(|levels| "{\"L\":[".repeat(levels));
    let named = prop_oneof![json.prop_map(|text| text), deep]
        .prop_map(|rest| format!("{{\"TableName\":\"other\",\"Key\":{rest}"));
    let body = prop_oneof![
        any::<Vec<u8>>(),
        json.prop_map(String::into_bytes),
        named.prop_map(String::into_bytes),
    ];
    let request = prop_oneof![
        any::<Vec<u8>>(),
        (operation, body).prop_map(|(operation, body)| post(operation, &body)),
    ];
    let mut runner = TestRunner::new(Cases::with_cases(200));
    let run = runner.run(&request, |bytes| {
        runtime.block_on(async {
            let mut socket = sidecar.connect().await;
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            let patience = Duration::from_secs(60);
            let answered = tokio::time::timeout(patience, answer(&mut socket)).await;
            prop_assert!(answered.is_ok(), "it hangs");
            Ok(())
        })
    });
    run.expect("no client is left waiting");
    let alive = runtime.block_on(sidecar.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert_eq!(status(&alive), "200");
}
