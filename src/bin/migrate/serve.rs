//! `migrate serve`

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crossfade::error::{Error, Kind};
use crossfade::{connect, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Exit;
use crate::args;
use crate::copy;
use crate::format;
use crate::metrics;
use crate::pointed;
use crate::progress::Screen;
use crate::signal;

pub async fn run(args: &args::ServeArgs, screen: &Screen) -> Result<Exit, Error> {
    let plan = pointed::load(&args.plan)?;
    let listen = args.listen.unwrap_or(plan.serve.listen);
    if let Some(probe) = args.probe {
        return asked(listen, probe).await;
    }
    if !listen.ip().is_loopback() && plan.serve.key.is_none() {
        return Err(Error::new(
            Kind::Config,
            "anything that reaches this address would have the sidecar's rights",
        )
        .with_context("--listen", listen.to_string())
        .with_help("listen on 127.0.0.1, or give clients a key with `access_key` and `secret_key` in [serve]"));
    }
    metrics::serve(args.metrics, plan.serve.key.as_ref(), screen).await?;
    let name = format!("serve on {}", copy::copier_name());
    let (shim, settings) = connect::sidecar(&plan, name, &args.tables, listen).await?;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::new(Kind::Config, format!("it can't listen there: {error}"))
            .with_context("listen", listen.to_string())
            .with_help("choose another address with --listen, or [serve] listen in the plan")
    })?;
    let address = listener.local_addr().unwrap_or(listen);
    let tables: Vec<&str> = shim.tables().map(crossfade::Table::target).collect();
    format::print(&format!(
        "serving {} at http://{address}",
        tables.join(", ")
    ));
    let screen = screen.clone();
    let stop = async move {
        signal::wait().await;
        screen.say("stopping: what is under way is finished first; Ctrl-C again stops at once");
        tokio::spawn(async {
            signal::wait().await;
            std::process::exit(Exit::Stopped as i32);
        });
    };
    serve::serve(shim, settings, listener, stop).await?;
    Ok(Exit::Done)
}

/// How long a probe waits for its answer.
const PROBED_WITHIN: Duration = Duration::from_secs(5);

/// Asks the sidecar of this machine, as a probe of Kubernetes does that runs inside the container.
async fn asked(mut listen: SocketAddr, probe: args::Probe) -> Result<Exit, Error> {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let path = match probe {
        args::Probe::Alive => "/",
        args::Probe::Ready => "/ready",
    };
    let ask = async {
        let mut socket = TcpStream::connect(listen).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {listen}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.take(4_096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let unanswered = |why: String| {
        Error::new(
            Kind::Unreachable,
            format!("the sidecar doesn't answer: {why}"),
        )
        .with_context("address", listen.to_string())
    };
    let answer = tokio::time::timeout(PROBED_WITHIN, ask)
        .await
        .map_err(|_| unanswered(format!("nothing came within {} s", PROBED_WITHIN.as_secs())))?
        .map_err(|error| unanswered(error.to_string()))?;
    let status = answer.lines().next().unwrap_or_default();
    format::print(status);
    match status.split(' ').nth(1) {
        Some("200") => Ok(Exit::Done),
        Some(_) | None => Ok(Exit::Error),
    }
}
