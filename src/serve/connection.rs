//! One connection: how long it may be silent, at which point.
//!
//! A client may keep an open connection for minutes between two requests, as pools do. Once it has begun a request
//! it must send it within seconds, and once an answer is there it must take it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionStage {
    /// Between two requests.
    Idle,
    /// A request's head is coming in.
    Head,
    /// A request is being read, or worked on: these have deadlines of their own.
    Busy,
    /// An answer goes out.
    Sending,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub idle: Duration,
    pub head: Duration,
    /// Without taking anything of an answer.
    pub taking: Duration,
}

/// What a connection's clock says; shared by its socket, its requests and its watch.
#[derive(Clone)]
pub(super) struct Stages {
    now: Arc<Mutex<(ConnectionStage, Option<Instant>)>>,
    times: Timeouts,
}

impl Stages {
    pub fn new(times: Timeouts) -> Self {
        let stages = Stages {
            now: Arc::new(Mutex::new((ConnectionStage::Idle, None))),
            times,
        };
        stages.enter(ConnectionStage::Idle);
        stages
    }

    /// A request has its head.
    pub fn busy(&self) {
        self.enter(ConnectionStage::Busy);
    }

    /// A request has its answer.
    pub fn sending(&self) {
        self.enter(ConnectionStage::Sending);
    }

    /// Ends when the client has taken too long.
    pub async fn overdue(&self) {
        loop {
            let until = self.state().1;
            match until {
                Some(until) if until <= Instant::now() => return,
                Some(until) => tokio::time::sleep_until(until).await,
                // A stage of its own deadline ends in one that has one here.
                None => tokio::time::sleep(self.times.head).await,
            }
        }
    }

    fn state(&self) -> (ConnectionStage, Option<Instant>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stage: ConnectionStage) {
        let within = match stage {
            ConnectionStage::Idle => Some(self.times.idle),
            ConnectionStage::Head => Some(self.times.head),
            ConnectionStage::Busy => None,
            ConnectionStage::Sending => Some(self.times.taking),
        };
        let until = within.map(|within| Instant::now() + within);
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (stage, until);
    }

    fn was_read(&self) {
        if self.state().0 == ConnectionStage::Idle {
            self.enter(ConnectionStage::Head);
        }
    }

    fn was_written(&self) {
        if self.state().0 == ConnectionStage::Sending {
            self.enter(ConnectionStage::Sending);
        }
    }

    fn was_flushed(&self) {
        if self.state().0 == ConnectionStage::Sending {
            self.enter(ConnectionStage::Idle);
        }
    }
}

/// A socket that moves its connection's clock.
pub(super) struct Watched {
    pub socket: TcpStream,
    pub stages: Stages,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.stages.was_read();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        if polled.is_ready() {
            self.stages.was_written();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        if polled.is_ready() {
            self.stages.was_written();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        if polled.is_ready() {
            self.stages.was_flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
