//! Connections that break inside an answer: the store can't be reached, and that is all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossfade::error::{Effect, Kind, Result};
use crossfade::model::{Mutation, Row, Tokens, Value};
use crossfade::store::cassandra::Cassandra;
use crossfade::store::{Range, Reading, Reads, Store};

use super::{Bench, config, key};
use crate::support::cassandra_address;

/// Bytes of a frame before its body.
const HEADER: usize = 9;
/// The opcode of an answer with rows, or of a write that was done.
const RESULT: u8 = 8;
/// No answer is cut.
const NEVER: usize = usize::MAX;

/// Passes bytes on between a driver and a node, and breaks the connection inside an answer.
struct Cutting {
    address: String,
    /// Bytes of the next answer that still get through.
    after: Arc<AtomicUsize>,
}

impl Cutting {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let after = Arc::new(AtomicUsize::new(NEVER));
        let shared = after.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                let node = TcpStream::connect(cassandra_address()).expect("the node");
                let (mut from, mut to) = (
                    client.try_clone().expect("it"),
                    node.try_clone().expect("it"),
                );
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let after = shared.clone();
                std::thread::spawn(move || {
                    answers(&node, &client, &after);
                    let _ = (
                        node.shutdown(Shutdown::Both),
                        client.shutdown(Shutdown::Both),
                    );
                });
            }
        });
        Cutting { address, after }
    }

    fn was_cut(&self) -> bool {
        self.after.load(Ordering::SeqCst) == NEVER
    }
}

/// Passes answers on, frame by frame, until one is cut or a side has closed.
fn answers(mut node: &TcpStream, mut client: &TcpStream, after: &AtomicUsize) {
    let mut header = [0; HEADER];
    while node.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut frame = header.to_vec();
        frame.resize(HEADER + length as usize, 0);
        if node.read_exact(&mut frame[HEADER..]).is_err() {
            return;
        }
        let most = match header[4] {
            RESULT => after.swap(NEVER, Ordering::SeqCst),
            _ => NEVER,
        };
        let sent = client.write_all(&frame[..most.min(frame.len())]);
        if sent.is_err() || most < frame.len() {
            return;
        }
    }
}

/// Asks until a connection has been opened anew.
async fn at_last<T>(ask: impl AsyncFn() -> Result<T>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.kind(), Kind::Unreachable, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_inside_an_answer() {
    let bench = Bench::new("cutting").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    let table = bench.table("t").await;
    let row = |p: i32| {
        Row::new(
            key(&[Value::Int(p)], &[]),
            vec![Some(Value::text("x".repeat(500)))],
        )
    };
    let cutting = Cutting::start();
    let mut config = config(&bench.keyspace);
    config.nodes = vec![cutting.address.clone()];
    let store = Cassandra::connect(config).await.expect("a store");
    let all = Range::Tokens(Tokens::ALL);
    // What is prepared once needn't be prepared again.
    let put = Mutation::Put(row(1));
    store.apply(&table, &put).await.expect("written");
    store.scan(&table, &all, None, 10).await.expect("a page");
    store
        .read(&table, &row(1).key, Reading::Strong)
        .await
        .expect("a row");

    // In the header, after it, and in the midst of the body.
    for after in [3, HEADER, HEADER + 200] {
        cutting.after.store(after, Ordering::SeqCst);
        let error = store
            .scan(&table, &all, None, 10)
            .await
            .expect_err("it is cut");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None),
            "{error:?}"
        );
        assert!(cutting.was_cut());
        at_last(async || store.scan(&table, &all, None, 10).await).await;

        cutting.after.store(after, Ordering::SeqCst);
        let read = store.read(&table, &row(1).key, Reading::Strong).await;
        let error = read.expect_err("it is cut");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None),
            "{error:?}"
        );
        at_last(async || store.read(&table, &row(1).key, Reading::Strong).await).await;
    }
    // The answer to a write has a header and four bytes.
    for (p, after) in [(2, 3), (3, HEADER + 2)] {
        cutting.after.store(after, Ordering::SeqCst);
        let error = store
            .apply(&table, &Mutation::Put(row(p)))
            .await
            .expect_err("it is cut");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::Unknown),
            "{error:?}"
        );
        let there = at_last(async || store.read(&table, &row(p).key, Reading::Strong).await).await;
        assert!(there.is_some(), "it was made all the same");
    }
    bench.done().await;
}
