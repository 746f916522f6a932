//! An HTTP endpoint that answers as a test tells it to: what AWS documents, or what nobody wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `BatchExecuteStatement`.
    pub call: String,
    /// The JSON.
    pub body: Value,
    /// Bytes of the JSON.
    pub bytes: usize,
    /// What came before the JSON: the request's line and headers.
    pub head: String,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answer with this status and JSON.
    Json(u16, Value),
    /// Answer with this status and these bytes.
    Raw(u16, String),
    /// Close the connection in the middle of this answer.
    CutInside(u16, Value),
    /// Close the connection without an answer.
    Cut,
    /// Never answer, and keep the connection.
    Silence,
}

/// An error as DynamoDB sends it.
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
    Reply::Json(status, json!({"__type": kind, "message": message}))
}

/// The endpoint. It listens until the test's process ends.
pub struct Scripted {
    /// Where it is: `http://127.0.0.1:40001`.
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// An endpoint that answers with what `script` returns, called for each request in turn.
    pub fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        Self::listen("http", script, |stream| Box::new(stream))
    }

    /// The same with TLS.
    pub fn start_tls(
        tls: rustls::ServerConfig,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let tls = Arc::new(tls);
        Self::listen("https", script, move |stream| {
            let session = rustls::ServerConnection::new(tls.clone()).unwrap();
            Box::new(rustls::StreamOwned::new(session, stream))
        })
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests of a call came so far.
    pub fn count(&self, call: &str) -> usize {
        self.seen().iter().filter(|seen| seen.call == call).count()
    }

    fn listen(
        scheme: &str,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
        wrap: impl Fn(TcpStream) -> Box<dyn ReadWrite> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script));
        let log = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let raw = stream.try_clone().unwrap();
                let mut stream = BufReader::new(wrap(stream));
                let (script, log) = (script.clone(), log.clone());
                thread::spawn(move || {
                    while let Some(request) = read(&mut stream) {
                        log.lock().unwrap().push(request.clone());
                        let reply = (script.lock().unwrap())(&request);
                        if !answer(stream.get_mut().as_mut(), reply) {
                            break;
                        }
                    }
                    let _ = raw.shutdown(Shutdown::Both);
                });
            }
        });
        Scripted { url, seen }
    }
}

pub(crate) trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// Reads an answer: its head with the empty line behind it, and its body.
pub(crate) fn read_message(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (head, length) = read_head(stream)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The head of a message, and how long its body is.
fn read_head(stream: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let begin = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = &head[begin..];
        if line == "\r\n" {
            break;
        }
        if let Some(value) = header(line, "content-length") {
            length = value.parse().unwrap();
        }
    }
    Some((head, length))
}

/// The value of a header, if the line is that one.
fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| header(line, name))
    }
}

pub(crate) fn read<S: Read + Write>(stream: &mut BufReader<S>) -> Option<Request> {
    let (head, length) = read_head(stream)?;
    // Java's SDK asks before it sends a body.
    if head.lines().any(|line| header(line, "expect").is_some()) {
        let go_on = stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        go_on.ok()?;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let call = head.lines().find_map(|line| header(line, "x-amz-target"));
    let call = call.and_then(|target| target.rsplit('.').next());
    Some(Request {
        call: call.unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        bytes: body.len(),
        head,
    })
}

pub(crate) fn answer(stream: &mut dyn ReadWrite, reply: Reply) -> bool {
    let (status, body, cut) = match reply {
        Reply::Json(status, body) => (status, body.to_string(), false),
        Reply::Raw(status, body) => (status, body, false),
        Reply::CutInside(status, body) => (status, body.to_string(), true),
        Reply::Cut => return false,
        Reply::Silence => loop {
            thread::park();
        },
    };
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let body = match cut {
        true => &body[..body.len() / 2],
        false => &body,
    };
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .and_then(|()| stream.flush());
    sent.is_ok() && !cut
}
