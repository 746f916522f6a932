//! The shim for scripts, and for tests in any language: one JSON command a line on stdin, one JSON answer a
//! line on stdout, matched by `id`; commands run side by side.
//!
//! ```text
//! cargo run --release --example drive -- --plan cf.toml
//! {"id":1,"op":"put","table":"users","row":{"id":"u1","name":"Ann"}}
//! {"id":1,"ok":true}
//! {"id":2,"op":"get","table":"users","key":{"id":"u1"}}
//! {"id":2,"ok":{"id":"u1","name":"Ann"}}
//! ```
//!
//! Its commands are those of [`crossfade::shim::Shim::answer`]. Those sent before it has joined wait; once the input is over, half a
//! minute at most.
//!
//! It ends when the input is over, or on SIGTERM or Ctrl-C: it reads no more, answers what it has begun, and leaves, so
//! that no move waits for it. As any application should.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use crossfade::connect;
use crossfade::error::Result;
use crossfade::plan::Plan;
use crossfade::shim::Shim;
use futures::FutureExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long what was sent before it has joined still waits once the input is over.
const LAST_WAIT: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Args {
    /// The plan.
    #[arg(long)]
    plan: PathBuf,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let code = match run(args).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("drive: {error}");
            2
        }
    };
    // A thread that waits for a line that doesn't come must not keep it.
    std::process::exit(code);
}

/// Waits for Ctrl-C or, where there is such a thing, SIGTERM: what Kubernetes sends to a pod that has to go.
async fn stop_signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

async fn run(args: Args) -> Result<()> {
    let plan = Plan::load(&args.plan)?;
    let name = format!("drive, process {}", std::process::id());
    let shim = Arc::new(connect::shim(&plan, name).await?);
    let of = shim.clone();
    let joined = async move { join(&of).await }.boxed().shared();
    let ended = CancellationToken::new();
    let (answers, printed) = mpsc::unbounded_channel();
    let printer = tokio::task::spawn_blocking(move || print(printed));
    // As bytes: a line that isn't UTF-8 is a wrong command like any other, not the end.
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let mut commands = JoinSet::new();
    let stopped = CancellationToken::new();
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        let line = tokio::select! {
            line = lines.next_segment() => line,
            () = &mut stop => {
                stopped.cancel();
                break;
            }
        };
        let Ok(Some(line)) = line else { break };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (shim, answers) = (shim.clone(), answers.clone());
        let (joined, ended, stopped) = (joined.clone(), ended.clone(), stopped.clone());
        commands.spawn(async move {
            tokio::select! {
                () = joined => {}
                // Whatever stands in the way is the answer then.
                () = ended.cancelled().then(|()| tokio::time::sleep(LAST_WAIT)) => {}
                () = stopped.cancelled() => {}
            }
            // Nothing reads any more: then nothing waits either.
            let _ = answers.send(shim.answer(&line).await);
        });
        while commands.try_join_next().is_some() {}
    }
    ended.cancel();
    while commands.join_next().await.is_some() {}
    drop((answers, joined));
    let _ = printer.await;
    match Arc::into_inner(shim) {
        Some(shim) => shim.leave().await,
        None => Ok(()),
    }
}

/// Waits until every table has been joined, or can't be.
async fn join(shim: &Shim) {
    for table in shim.tables() {
        while let Err(error) = table.phase().await {
            eprintln!("drive: {}: {error}", table.name());
            if !error.kind().is_transient() {
                break;
            }
        }
    }
}

fn print(mut answers: mpsc::UnboundedReceiver<Value>) {
    let mut out = std::io::stdout().lock();
    while let Some(answer) = answers.blocking_recv() {
        if writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}
