//! The HTTP client beneath the SDK. The SDK's own doesn't let its sockets be configured, and a request must
//! not outlive the one that sent it: what a closed or killed socket has left unsent, a kernel goes on sending
//! for minutes.
//!
//! - Closing a connection discards what is unsent (`SO_LINGER` 0).
//! - What the other side doesn't acknowledge within the time of a call is given up by the kernel
//!   (`TCP_USER_TIMEOUT`, on Linux), also when the process was killed or is stopped.
//!
//! Both are set when a connection is made. HTTP/1.1 alone is spoken, as DynamoDB does: a call that is given up
//! closes its connection, and the next one takes another.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::socket::{PermittedBody, Socket, Ticket};
use crate::store::Permit;

/// Connections kept open between calls.
const IDLE_CONNECTIONS: usize = 256;

/// The authorities that the system trusts. Reading them takes a moment.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("certificates of this system can't be read: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            "this system trusts no authority (Debian: ca-certificates), so nothing behind https can be reached"
        );
    }
    Arc::new(roots)
});

/// Whether the system trusts any authority.
pub(super) fn system_trusts_any() -> bool {
    !SYSTEM.is_empty()
}

/// A client with connections of its own, whose calls take no longer than this.
///
/// # Errors
/// No encryption can be had with these authorities.
pub(super) fn client(
    roots: Option<RootCertStore>,
    connect: Duration,
    call: Duration,
) -> Result<Http, rustls::Error> {
    let roots = roots.map_or_else(|| SYSTEM.clone(), Arc::new);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Sockets::new(call));
    let timed = Timed {
        inner: https,
        within: connect,
    };
    Ok(Http(
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(timed),
    ))
}

/// The client; clones share its connections.
#[derive(Clone)]
pub(super) struct Http(Client<Timed, PermittedBody>);

impl Http {
    /// Sends a request, with the permit that is among its extensions.
    ///
    /// # Errors
    /// It wasn't answered, or not allowed.
    pub(super) async fn send(
        &self,
        mut request: Request<SdkBody>,
    ) -> Result<Response<Incoming>, ConnectorError> {
        let ticket = request.extensions_mut().remove::<Permit>().map(Ticket::new);
        let connection = capture_connection(&mut request);
        let sending = self.0.request(request.map(|body| PermittedBody {
            body,
            ticket: ticket.clone(),
            connection,
        }));
        sending.await.map_err(
            |error| match ticket.as_ref().and_then(|ticket| ticket.refused()) {
                Some(refused) => ConnectorError::user(refused.clone().into()),
                None => ConnectorError::io(error.into()),
            },
        )
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let answer = http.send(request).await?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes sockets from which nothing is sent any more once they are closed or given up.
#[derive(Clone)]
struct Sockets(Tcp);

impl Sockets {
    fn new(call: Duration) -> Self {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(call));
        #[cfg(not(target_os = "linux"))]
        let _ = call;
        Sockets(tcp)
    }
}

impl Service<Uri> for Sockets {
    type Response = Socket;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let socket = connecting.await?;
            socket.inner().set_zero_linger()?;
            Ok(Socket::new(socket))
        })
    }
}

/// Connects within a time, encryption included.
#[derive(Clone)]
pub(super) struct Timed {
    inner: HttpsConnector<Sockets>,
    within: Duration,
}

impl Service<Uri> for Timed {
    type Response = MaybeHttpsStream<Socket>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.within, self.inner.call(to));
        Box::pin(async move { connecting.await? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A server that reads nothing gets nothing more of a connection that was given up, but what its own
    /// machine has taken in by then.
    #[tokio::test]
    async fn what_is_unsent_goes_with_its_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to: Uri = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let mut sockets = Sockets::new(Duration::from_secs(10));
        let connected = sockets.call(to).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut socket = TokioIo::new(connected);
        // Until neither side's buffers take any more.
        let flood = vec![7; 1 << 20];
        let mut sent = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(300), socket.write(&flood)).await
        {
            sent += written.unwrap();
        }
        drop(socket);
        tokio::task::spawn_blocking(move || {
            let mut got = 0;
            let mut part = vec![0; 1 << 16];
            let ended = loop {
                match server.read(&mut part) {
                    Ok(0) => break Ok(()),
                    Ok(read) => got += read,
                    Err(error) => break Err(error.kind()),
                }
            };
            assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
            assert!(got < sent, "{got} of {sent} bytes arrived");
        })
        .await
        .unwrap();
    }
}
