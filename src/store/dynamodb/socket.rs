//! Sockets that ask for a permit at every write of a request that needs one.
//!
//! Between the moment a request is made and the moment it is written lie a queue, perhaps a new connection with
//! its handshake, and buffers that are full; a process may be suspended in each of them and go on a day later.
//! So the last question is asked where the bytes leave the process. What the kernel has taken by then it
//! delivers: that is what the wait for late calls is for (`landing_seconds`). A process that is suspended
//! between the answer and the system call, some nanoseconds, isn't covered by anything in here.
//!
//! A request carries its permit to its connection in its body: the body learns which connection it was given and
//! leaves the permit there before its first byte is written.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::Error;
use crate::store::Permit;

/// The permit of one request, and what became of it.
pub(super) struct Ticket {
    permit: Permit,
    /// The body has given its last byte, which may still be in a buffer.
    ended: AtomicBool,
    refused: OnceLock<Error>,
}

impl Ticket {
    pub(super) fn new(permit: Permit) -> Arc<Self> {
        Arc::new(Ticket {
            permit,
            ended: AtomicBool::new(false),
            refused: OnceLock::new(),
        })
    }

    /// Why the request wasn't written to its end, if that is what happened: it has no effect then.
    pub(super) fn refused(&self) -> Option<&Error> {
        self.refused.get()
    }

    fn ask(&self) -> io::Result<()> {
        self.permit.ask().map_err(|error| {
            let words = error.to_string();
            let _ = self.refused.set(error);
            io::Error::new(io::ErrorKind::PermissionDenied, words)
        })
    }
}

/// The request that a connection is writing, if that one needs a permit.
#[derive(Clone, Default)]
struct PermittedRequest(Arc<Mutex<Option<Arc<Ticket>>>>);

impl PermittedRequest {
    fn ticket(&self) -> MutexGuard<'_, Option<Arc<Ticket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> io::Result<()> {
        self.ticket().as_ref().map_or(Ok(()), |ticket| ticket.ask())
    }

    /// Everything before this is written: what comes after the end of a request isn't part of it.
    fn written(&self) {
        let mut ticket = self.ticket();
        if ticket
            .as_ref()
            .is_some_and(|ticket| ticket.ended.load(Ordering::Acquire))
        {
            *ticket = None;
        }
    }
}

/// A body that leaves its request's permit with the connection that is to write it.
pub(super) struct PermittedBody {
    pub(super) body: SdkBody,
    pub(super) ticket: Option<Arc<Ticket>>,
    pub(super) connection: CaptureConnection,
}

impl PermittedBody {
    /// Whether the connection is known by now.
    fn leave_ticket(&self) -> bool {
        let metadata = self.connection.connection_metadata();
        let mut extras = http::Extensions::new();
        if let Some(connected) = metadata.as_ref() {
            connected.get_extras(&mut extras);
        }
        let writing = extras.get::<PermittedRequest>();
        if let Some(writing) = writing {
            writing.ticket().clone_from(&self.ticket);
        }
        writing.is_some()
    }

    fn ended(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.ended.store(true, Ordering::Release);
        }
    }
}

impl Body for PermittedBody {
    type Data = <SdkBody as Body>::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        if !self.leave_ticket() {
            return Poll::Ready(Some(Err("the request has no connection".into())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if self.body.is_end_stream() || matches!(frame, Poll::Ready(None)) {
            self.ended();
        }
        frame
    }

    /// Asked before a head is written, of an empty body too.
    fn is_end_stream(&self) -> bool {
        let ends = self.body.is_end_stream();
        if ends && self.leave_ticket() {
            self.ended();
        }
        ends
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

/// One connection.
pub(super) struct Socket {
    socket: TokioIo<TcpStream>,
    writing: PermittedRequest,
}

impl Socket {
    pub(super) fn new(socket: TokioIo<TcpStream>) -> Self {
        Socket {
            socket,
            writing: PermittedRequest::default(),
        }
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        self.socket.connected().extra(self.writing.clone())
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writing.ask()?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing.ask()?;
        Pin::new(&mut self.socket).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.writing.written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
