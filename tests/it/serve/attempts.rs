//! A new store that loses replies, fails, throttles and is slow: what each SDK is told, and how often it asks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::languages::Language;
use super::lost::{ask, in_copy};
use crate::command::credentials;
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;
use crate::support::{dynamodb_url, unique};

/// The sidecar gives up a request after three seconds (`in_copy`): a fault of this length outlasts it once.
const LONG: Duration = Duration::from_secs(4);

/// How often a case is tried.
const TRIES: u32 = 5;

/// What befalls the next requests of an operation, until when; the first one alone, if it isn't said.
#[derive(Clone)]
struct Planned {
    operation: &'static str,
    fault: Fault,
    for_time: Option<Duration>,
    begun: Option<Instant>,
}

impl Planned {
    fn next(&mut self, request: &Request) -> Fault {
        let table = request.body["TableName"].as_str().unwrap_or_default();
        if request.call != self.operation || table.ends_with("-control") {
            return Fault::None;
        }
        let is_first = self.begun.is_none();
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let is_over = match self.for_time {
            Some(time) => begun.elapsed() > time,
            None => !is_first,
        };
        match is_over {
            true => Fault::None,
            false => self.fault.clone(),
        }
    }
}

/// An application that does what it is told, one thing at a time.
struct Client {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .envs(credentials())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Client {
            orders: child.stdin.take().expect("piped"),
            said: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn does(&mut self, what: &str) -> String {
        writeln!(self.orders, "{what}").expect("told");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("what came of it");
        line.trim().to_owned()
    }

    fn end(mut self) {
        drop(self.orders);
        assert!(self.child.wait().expect("its end").success());
    }
}

/// What is asked, what befalls it at the new store, what the application is told, and whether its SDK asks again.
struct Case {
    asked: &'static str,
    fault: Fault,
    for_time: Option<Duration>,
    told: &'static str,
    asks_again: bool,
    /// How much was added.
    adds: i64,
}

const AMBIGUOUS: &str = "AmbiguousWriteFailureException";

fn cases() -> Vec<Case> {
    let case = |asked, fault, for_time, told, asks_again, adds| Case {
        asked,
        fault,
        for_time,
        told,
        asks_again,
        adds,
    };
    vec![
        case("add", Fault::None, None, "ok", false, 1),
        // It was made, and nobody knows.
        case("add", Fault::ReplyLost, None, AMBIGUOUS, false, 1),
        case("add", Fault::CutInside, None, AMBIGUOUS, false, 1),
        case("add", Fault::FailsBehind, None, AMBIGUOUS, false, 1),
        // It wasn't made, and nobody knows that either.
        case("add", Fault::FailsBefore, None, AMBIGUOUS, false, 0),
        // The answer comes later than the sidecar waits.
        case("add", Fault::ReplyWithheld, None, AMBIGUOUS, false, 1),
        case("add", Fault::Throttled, Some(LONG), "ok", true, 1),
        case("put", Fault::ReplyLost, None, "ok", true, 0),
        case("put", Fault::FailsBehind, None, "ok", true, 0),
        case("put", Fault::ReplyWithheld, None, "ok", true, 0),
        // Nothing was done: the sidecar tries again itself.
        case("get", Fault::ReplyLost, None, "ok", false, 0),
        case("get", Fault::FailsBefore, None, "ok", false, 0),
        case("get", Fault::FailsBefore, Some(LONG), "ok", true, 0),
    ]
}

#[tokio::test]
async fn each_sdk_is_told_what_it_may_do_again() {
    let planned: Arc<Mutex<Option<Planned>>> = Arc::default();
    let next = planned.clone();
    let store = Forwarding::start(&dynamodb_url(), move |request: &Request| {
        let mut planned = next.lock().expect("no panic");
        planned
            .as_mut()
            .map_or(Fault::None, |planned| planned.next(request))
    });
    let (bench, sidecar) = in_copy(&store.url).await;
    let front = Forwarding::start(&sidecar.url, |_| Fault::None);
    let python = |mode: &str| {
        let mut command = Language::Python.program("attempts");
        command.args([&front.url, &bench.keyspace, mode]);
        (format!("boto3, {mode}"), command)
    };
    let other = |language: Language| {
        let mut command = language.program("attempts");
        command.args([&front.url, &bench.keyspace]);
        (format!("{language:?}"), command)
    };
    let clients = [
        python("legacy"),
        python("standard"),
        other(Language::JavaScript),
        other(Language::Java),
    ];
    let get = json!({"TableName": bench.target("votes"), "Key": {"act": {"S": "a"}}});
    let total = || -> i64 {
        let (_, item) = ask(&sidecar.url, "GetItem", &get, &unique("call"), 1);
        let total = item["Item"]["n"]["N"].as_str().expect("a total");
        total.parse().expect("a number")
    };
    for (name, command) in clients {
        let mut client = Client::start(command);
        // Connections are opened, on whatever machine.
        while client.does("get") != "ok" {}
        for case in cases() {
            // On a busy machine an answer may come too late for the sidecar: then it is asked anew.
            let mut left = TRIES;
            loop {
                let before = total();
                let operation = match case.asked {
                    "add" => "UpdateItem",
                    "put" => "PutItem",
                    _ => "GetItem",
                };
                *planned.lock().expect("no panic") = Some(Planned {
                    operation,
                    fault: case.fault.clone(),
                    for_time: case.for_time,
                    begun: None,
                });
                front.take();
                let told = client.does(case.asked);
                *planned.lock().expect("no panic") = None;
                let attempts = front.take().len();
                let added = total() - before;
                let what = format!(
                    "{name}: {} of {:?} for {:?} is told {told} after {attempts} attempts, and added {added}",
                    case.asked, case.fault, case.for_time
                );
                println!("{what}");
                // Whatever the machine does, nothing counts twice, and what is acknowledged counts.
                let most = i64::from(case.asked == "add");
                let least = if told == "ok" { most } else { 0 };
                assert!((least..=most).contains(&added), "{what}");
                let is_expected =
                    told == case.told && (attempts > 1) == case.asks_again && added == case.adds;
                left -= 1;
                match (is_expected, left) {
                    (true, _) => break,
                    (false, 0) => panic!("{what}"),
                    (false, _) => {}
                }
            }
        }
        client.end();
    }
    sidecar.running.signal("TERM");
    sidecar.running.wait().expect_code(0);
    bench.done().await;
}
