//! Stands between the command and a DynamoDB, passes on what comes, and does to it what a network, a load
//! balancer or a busy server does: as a test tells it to, request by request.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scripted::{Reply, Request, answer, error, read, read_message};

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is done, and the connection is closed without an answer.
    ReplyLost,
    /// It is done, and the connection is closed in the middle of the answer.
    CutInside,
    /// It is done, and no answer ever comes.
    ReplyWithheld,
    /// The server fails before it has done anything.
    FailsBefore,
    /// The server fails when it is done.
    FailsBehind,
    /// The server asks for less, and does nothing.
    Throttled,
    /// It is answered with this, and the server isn't asked.
    Answered(Value),
    /// The server asks for less of these statements of a batch, and does the others.
    StatementsThrottled(Vec<usize>),
}

/// A request, what happened to it, and what the server said, if it was asked.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: Request,
    pub fault: Fault,
    /// Status and JSON.
    pub answer: Option<(u16, Value)>,
}

/// The endpoint. It listens until the test's process ends.
pub struct Forwarding {
    pub url: String,
    seen: Arc<Mutex<Vec<Exchange>>>,
    held: Arc<Mutex<Option<Held>>>,
}

/// Whether the answer to a request is held back.
type Held = Box<dyn Fn(&Request) -> bool + Send>;

impl Forwarding {
    /// An endpoint in front of another, plain HTTP both. `script` is asked for each request in turn.
    pub fn start(to: &str, script: impl FnMut(&Request) -> Fault + Send + 'static) -> Self {
        let to = to.strip_prefix("http://").expect("plain HTTP").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(Mutex::new(script)), seen.clone());
        let held = Arc::new(Mutex::new(None::<Held>));
        let holds = held.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (to, script, log) = (to.clone(), script.clone(), log.clone());
                let holds = holds.clone();
                thread::spawn(move || {
                    let mut stream = BufReader::new(client.try_clone().expect("a stream"));
                    while let Some(request) = read(&mut stream) {
                        let fault = (script.lock().expect("no panic"))(&request);
                        // A server closes connections that it takes for idle.
                        let server = TcpStream::connect(&to).expect("the server");
                        let mut server = BufReader::new(server);
                        let (answered, reply) = carry_out(&mut server, &request, &fault);
                        // In the order in which the server has done them, as far as one can tell.
                        log.lock().expect("no panic").push(Exchange {
                            request: request.clone(),
                            fault,
                            answer: answered,
                        });
                        let is_held = || {
                            let holds = holds.lock().expect("no panic");
                            holds.as_ref().is_some_and(|holds| holds(&request))
                        };
                        while is_held() {
                            thread::sleep(Duration::from_millis(10));
                        }
                        if !answer(stream.get_mut(), reply) {
                            break;
                        }
                    }
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Forwarding { url, seen, held }
    }

    /// Holds back the answers to such requests from now on. What they ask for is done.
    pub fn hold(&self, held: impl Fn(&Request) -> bool + Send + 'static) {
        *self.held.lock().expect("no panic") = Some(Box::new(held));
    }

    /// Holds no answer back any more.
    pub fn let_go(&self) {
        *self.held.lock().expect("no panic") = None;
    }

    /// The requests that were answered, or not answered, since the last call of this.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

/// Does with a request what the fault says: what the server answered, and what the client hears.
fn carry_out(
    server: &mut BufReader<TcpStream>,
    request: &Request,
    fault: &Fault,
) -> (Option<(u16, Value)>, Reply) {
    let failure = || error(500, "InternalServerError", "made to fail on purpose");
    match fault {
        Fault::FailsBefore => (None, failure()),
        Fault::Throttled => {
            let code = "ProvisionedThroughputExceededException";
            (None, error(400, code, "throttled on purpose"))
        }
        Fault::Answered(body) => (Some((200, body.clone())), Reply::Json(200, body.clone())),
        Fault::StatementsThrottled(places) => {
            let (status, body) = without(server, request, places);
            (Some((status, body.clone())), Reply::Json(status, body))
        }
        Fault::None
        | Fault::ReplyLost
        | Fault::CutInside
        | Fault::ReplyWithheld
        | Fault::FailsBehind => {
            let Some((status, body)) = forward(server, &request.head, &request.body) else {
                return (None, Reply::Cut);
            };
            let reply = match fault {
                Fault::ReplyLost => Reply::Cut,
                Fault::CutInside => Reply::CutInside(status, body.clone()),
                Fault::ReplyWithheld => Reply::Silence,
                Fault::FailsBehind => failure(),
                _ => Reply::Json(status, body.clone()),
            };
            (Some((status, body)), reply)
        }
    }
}

/// What the server answers; nothing if it has closed the connection, as it does with one that is idle.
fn forward(server: &mut BufReader<TcpStream>, head: &str, body: &Value) -> Option<(u16, Value)> {
    let body = serde_json::to_vec(body).expect("JSON");
    let is_kept = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("content-length:") && !line.starts_with("expect:")
    };
    let head: String = head.split_inclusive("\r\n").filter(is_kept).collect();
    // Behind the headers stands an empty line.
    let head = head.strip_suffix("\r\n").expect("a whole head");
    let head = format!("{head}content-length: {}\r\n\r\n", body.len());
    let stream = server.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    let (head, body) = read_message(server)?;
    let status = head.split(' ').nth(1).expect("a status");
    let body = serde_json::from_slice(&body).expect("JSON");
    Some((status.parse().expect("a number"), body))
}

/// A batch of which some statements are throttled, the others done.
fn without(server: &mut BufReader<TcpStream>, request: &Request, places: &[usize]) -> (u16, Value) {
    let all = request.body["Statements"].as_array().expect("statements");
    let held = |place: usize| places.contains(&place);
    let sent: Vec<&Value> = all
        .iter()
        .enumerate()
        .filter(|(place, _)| !held(*place))
        .map(|(_, statement)| statement)
        .collect();
    let throttled =
        json!({"Error": {"Code": "ThrottlingError", "Message": "throttled on purpose"}});
    if sent.is_empty() {
        return (200, json!({"Responses": vec![throttled; all.len()]}));
    }
    let mut body = request.body.clone();
    body["Statements"] = json!(sent);
    let answered = forward(server, &request.head, &body);
    let (status, mut answer) = answered.expect("the server answers");
    assert_eq!(status, 200, "{answer}");
    let answers = answer["Responses"].as_array().expect("responses").clone();
    let mut answers = answers.into_iter();
    answer["Responses"] = (0..all.len())
        .map(|place| match held(place) {
            true => throttled.clone(),
            false => answers.next().expect("an answer to each"),
        })
        .collect();
    (status, answer)
}
