//! HTTP/1.1: accepts connections, reads requests within limits, and ends.
//!
//! Everything has a bound. Connections beyond the limit wait in the kernel. Requests beyond it, and bodies for which
//! there is no room, are answered 503 at once, which every SDK tries again; nothing is queued here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::connection::{Stages, Timeouts, Watched};
use super::fault::Fault;

/// What the server takes on at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections; further ones wait to be accepted.
    pub connections: usize,
    /// Requests under way; further ones are answered 503.
    pub requests: usize,
    /// Bytes of one request's body.
    pub body: usize,
    /// Bytes of all bodies under way; a request for which there is no room is answered 503.
    pub bodies: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// How long a connection may stay open between two requests: longer than clients keep theirs.
    pub idle: Duration,
    /// How long a request may take to come in, once it has begun; the same for its body.
    pub reading: Duration,
    /// How long a client may take nothing of its answer.
    pub taking: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4_096,
            requests: 1_024,
            body: 16 << 20,
            bodies: 256 << 20,
            head: 64 << 10,
            idle: Duration::from_secs(600),
            reading: Duration::from_secs(20),
            taking: Duration::from_secs(30),
        }
    }
}

/// A whole request.
pub(super) struct Received {
    pub parts: Parts,
    pub body: Bytes,
    /// Its share of what may be under way; kept until it is over, which may be later than its client waits.
    pub hold: Arc<Hold>,
}

impl Received {
    /// A header's text; empty if there is none, or it isn't text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.parts.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// What a request takes of the limits.
pub(super) struct Hold {
    _request: OwnedSemaphorePermit,
    _body: Option<OwnedSemaphorePermit>,
}

/// An answer.
pub(super) struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpAnswer {
    /// An answer of the protocol.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/x-amz-json-1.0");
        headers.insert(CONTENT_TYPE, json);
        HttpAnswer {
            status,
            headers,
            body: body.into(),
        }
    }

    /// A line for people.
    pub fn text(status: u16, text: &str) -> Self {
        let mut headers = HeaderMap::new();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        HttpAnswer {
            status,
            headers,
            body: Bytes::from(format!("{text}\n")),
        }
    }
}

impl From<Fault> for HttpAnswer {
    fn from(fault: Fault) -> Self {
        let mut answer = HttpAnswer::json(fault.status, fault.body());
        // Most SDKs look here first. Java's takes what it finds for the code as it is, so it is the bare one.
        let code = HeaderValue::from_static(fault.code);
        answer.headers.insert("x-amzn-errortype", code);
        answer
    }
}

/// What answers requests.
pub(super) trait Service: Send + Sync + 'static {
    /// Answers one that came whole.
    fn answer(self: Arc<Self>, request: Received) -> impl Future<Output = HttpAnswer> + Send;
    /// Whether everything is there that it takes to answer; else why not.
    fn is_ready(&self) -> Result<(), String>;
    /// Is told of a request that is turned away before its body was read, and so did nothing; and with what. Its answer is
    /// what comes back.
    fn turned_away(&self, headers: &HeaderMap, fault: Fault) -> Fault;
    /// How long a request takes at most.
    fn longest(&self) -> Duration;
}

/// How much longer a request that was sent on may take.
const PASSING: Duration = Duration::from_secs(10);

struct Server<S> {
    service: Arc<S>,
    limits: Limits,
    requests: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    /// It is on its way out: not ready, and every answer closes its connection.
    leaving: AtomicBool,
}

/// Serves until told to end, and then until everything under way has ended.
///
/// At the end it first says that it isn't ready, and closes each connection with the answer to its next request,
/// for as long as the longest request takes: clients without retries see no broken connection. Then it accepts no
/// more, and waits as long again for what is left.
pub(super) async fn serve<S: Service>(
    service: Arc<S>,
    limits: Limits,
    listener: TcpListener,
    ending: impl Future<Output = ()>,
) {
    let server = Arc::new(Server {
        service,
        requests: Arc::new(Semaphore::new(limits.requests)),
        bodies: Arc::new(Semaphore::new(limits.bodies)),
        leaving: AtomicBool::new(false),
        limits,
    });
    let connections = Arc::new(Semaphore::new(limits.connections));
    let (closing, closes) = watch::channel(false);
    let longest = server.service.longest();
    let accepting = async {
        loop {
            let Ok(place) = connections.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let connection = server.clone().connection(socket, peer, closes.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                // Too many open files, say: it passes.
                Err(error) => {
                    tracing::warn!("a connection couldn't be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    let ended = async {
        ending.await;
        server.leaving.store(true, Ordering::Release);
        tokio::time::sleep(longest).await;
    };
    tokio::select! {
        () = accepting => {}
        () = ended => {}
    }
    drop(listener);
    closing.send_replace(true);
    let all = u32::try_from(limits.requests).unwrap_or(u32::MAX);
    let over = server.requests.acquire_many(all);
    if tokio::time::timeout(longest + PASSING, over).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

impl<S: Service> Server<S> {
    async fn connection(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        mut closes: watch::Receiver<bool>,
    ) {
        let _ = socket.set_nodelay(true);
        let stages = Stages::new(Timeouts {
            idle: self.limits.idle,
            head: self.limits.reading,
            taking: self.limits.taking,
        });
        let watched = Watched {
            socket,
            stages: stages.clone(),
        };
        let service = service_fn(|request| {
            let (server, stages) = (self.clone(), stages.clone());
            async move {
                stages.busy();
                let answer = server.answered(request).await;
                stages.sending();
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_header_size(self.limits.head)
            .max_buf_size(self.limits.head.max(64 << 10))
            .half_close(false);
        let connection = builder.serve_connection(TokioIo::new(watched), service);
        let mut connection = std::pin::pin!(connection);
        let close = async {
            let _ = closes.wait_for(|closes| *closes).await.map(drop);
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stages.overdue() => None,
            () = close => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => Some(ended),
                    () = stages.overdue() => None,
                }
            }
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!("connection of {peer}: {error}"),
            None => tracing::debug!("connection of {peer} was silent for too long"),
        }
    }

    async fn answered(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_head = request.method() == Method::HEAD;
        let answer = self.answer(request).await;
        let mut response = Response::new(Full::new(match is_head {
            true => Bytes::new(),
            false => answer.body,
        }));
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = answer.headers;
        let id = format!("{:032X}", rand::random::<u128>());
        let headers = response.headers_mut();
        if !headers.contains_key("x-amzn-requestid")
            && let Ok(id) = HeaderValue::from_str(&id)
        {
            headers.insert("x-amzn-requestid", id);
        }
        if self.leaving.load(Ordering::Acquire) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> HttpAnswer {
        let (parts, body) = request.into_parts();
        match (&parts.method, parts.uri.path()) {
            (&Method::POST, "/") => {}
            (&Method::GET | &Method::HEAD, "/") => return HttpAnswer::text(200, "alive"),
            (&Method::GET | &Method::HEAD, "/ready") => return self.ready(),
            (_, "/" | "/ready") => {
                return closing(HttpAnswer::text(405, "DynamoDB's requests are POST /"));
            }
            (_, _) => {
                return closing(HttpAnswer::text(
                    404,
                    "there are /, /ready, and requests as POST /",
                ));
            }
        }
        let Ok(request) = self.requests.clone().try_acquire_owned() else {
            let message = format!(
                "{} requests are under way, which is as many as this sidecar takes: try again",
                self.limits.requests
            );
            let fault = Fault::unavailable(message);
            return closing(self.service.turned_away(&parts.headers, fault).into());
        };
        let deadline = Instant::now() + self.limits.reading;
        let reading = self.body(&parts.headers, body);
        match tokio::time::timeout_at(deadline, reading).await {
            Ok(Ok((body, room))) => {
                let hold = Arc::new(Hold {
                    _request: request,
                    _body: room,
                });
                let received = Received { parts, body, hold };
                self.service.clone().answer(received).await
            }
            Ok(Err(fault)) => closing(self.service.turned_away(&parts.headers, fault).into()),
            Err(_) => {
                let message = format!("the body didn't come within {:?}", self.limits.reading);
                let fault = Fault::new(408, "RequestTimeout", message);
                closing(self.service.turned_away(&parts.headers, fault).into())
            }
        }
    }

    fn ready(&self) -> HttpAnswer {
        if self.leaving.load(Ordering::Acquire) {
            return HttpAnswer::text(503, "not ready: it is ending");
        }
        match self.service.is_ready() {
            Ok(()) => HttpAnswer::text(200, "ready"),
            Err(why) => HttpAnswer::text(503, &format!("not ready: {why}")),
        }
    }

    /// Reads a body. Room for it is taken as it comes in, so that what is only announced takes none.
    async fn body(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Fault> {
        let too_large = || {
            let message = format!(
                "the request is larger than {} bytes, DynamoDB's limit",
                self.limits.body
            );
            Fault::new(413, "RequestEntityTooLarge", message)
        };
        let announced = headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.body as u64) {
            return Err(too_large());
        }
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut whole = Whole::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Fault::new(
                    400,
                    "SerializationException",
                    format!("the body broke off: {error}"),
                )
            })?;
            let Ok(part) = frame.into_data() else {
                continue;
            };
            if whole.len() + part.len() > self.limits.body {
                return Err(too_large());
            }
            let more = u32::try_from(part.len()).unwrap_or(u32::MAX);
            let Ok(more) = self.bodies.clone().try_acquire_many_owned(more) else {
                return Err(Fault::unavailable(
                    "there is no room for another request's body: try again",
                ));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            whole.add(part);
        }
        Ok((whole.all(), room))
    }
}

/// A body that comes in parts; the usual one in a single part, which needn't be copied.
#[derive(Default)]
struct Whole {
    first: Bytes,
    all: BytesMut,
}

impl Whole {
    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn add(&mut self, part: Bytes) {
        if self.len() == 0 {
            self.first = part;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&part);
    }

    fn all(self) -> Bytes {
        match self.all.is_empty() {
            true => self.first,
            false => self.all.freeze(),
        }
    }
}

/// The rest of the request isn't read.
fn closing(mut answer: HttpAnswer) -> HttpAnswer {
    let close = HeaderValue::from_static("close");
    answer.headers.insert(CONNECTION, close);
    answer
}
