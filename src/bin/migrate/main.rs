//! `migrate`: moves tables from one data store to another.

mod advance;
mod args;
mod back;
mod capacity;
mod check;
mod consent;
mod copy;
mod demand;
mod demo;
mod dry;
mod failures;
mod finish;
mod format;
mod init;
mod manual;
mod metrics;
mod next;
mod pace;
mod plan;
mod pointed;
mod progress;
mod rehearse;
mod report;
mod reset;
mod serve;
mod signal;
mod slice;
mod status;
mod stores;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use crossfade::error::{Error, Kind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    Done = 0,
    /// Differences; dead letters, or rows that would become some.
    Differences = 1,
    Error = 2,
    /// Starting again goes on from here.
    Stopped = 3,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let screen = progress::Screen::new(args.quiet);
    screen.log();
    // One thread: a copy is one flow of pages, and handing each answer from thread to thread took a
    // tenth of its time. More cores are used by `--shard`.
    let mut builder = match &args.command {
        // A sidecar has many clients at once.
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start: {error}");
            return ExitCode::from(Exit::Error as u8);
        }
    };
    let outcome = runtime.block_on(run(args.command, &screen));
    let exit = outcome.unwrap_or_else(|error| {
        screen.error(&error);
        exit_of(&error)
    });
    // A store that doesn't answer must not keep a finished command.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ExitCode::from(exit as u8)
}

async fn run(command: Command, screen: &progress::Screen) -> Result<Exit, Error> {
    match command {
        Command::Demo(args) => demo::run(&args, screen).await,
        Command::Plan(args) => plan::run(&args).await,
        Command::Check(args) => check::run(&args).await,
        Command::Init(args) => init::run(&args, screen).await,
        Command::Status(args) if args.watch => watch::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Report(args) => report::run(&args, screen).await,
        Command::Advance(args) => advance::run(&args, screen).await,
        Command::Back(args) => back::run(&args, screen).await,
        Command::Copy(args) => copy::run(&args, screen).await,
        Command::Verify(args) => verify::run(&args, screen).await,
        Command::Pace(args) => pace::run(&args).await,
        Command::Capacity(args) => capacity::run(&args, screen).await,
        Command::Failures(args) => failures::run(&args, screen).await,
        Command::Finish(args) => finish::run(&args, screen).await,
        Command::Rehearse(args) => rehearse::run(&args, screen).await,
        Command::Slice(args) => slice::run(&args, screen).await,
        Command::Reset(args) => reset::run(&args, screen).await,
        Command::Serve(args) => serve::run(&args, screen).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
    }
}

fn exit_of(error: &Error) -> Exit {
    match error.kind() {
        Kind::Stopped => Exit::Stopped,
        Kind::Unreachable
        | Kind::Timeout
        | Kind::Throttled
        | Kind::Transient
        | Kind::RangeTooCostly
        | Kind::Invalid
        | Kind::Denied
        | Kind::Missing
        | Kind::Mismatch
        | Kind::Unsupported
        | Kind::Config
        | Kind::Corrupt
        | Kind::Unknown => Exit::Error,
        // A kind of a later version of the library.
        _ => Exit::Error,
    }
}
