//! What can be typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Move tables from Apache Cassandra or ScyllaDB to Amazon DynamoDB.
#[derive(Parser)]
#[command(
    name = "migrate",
    version,
    after_help = "Exit codes: 0 done; 1 dead letters; 2 error; 3 stopped, start again to go on."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Show a whole migration on this machine, with no server: copy, stop half-way, resume, compare
    Demo(Demo),
    /// Look before anything moves: connections, schema, what each column becomes, limits, sizes
    Check(Check),
    /// Create the target tables and the control records; safe to repeat
    Init(Init),
    /// Show where each table stands
    Status(Status),
    /// Copy rows and fold counters; start it again whenever it stopped, and it goes on where it was
    Copy(Copy),
    /// List the rows and ranges that could not be copied, with the reason
    Failures(Failures),
    /// Leave `offline`: delete what the copier wrote and go back to `old`
    Reset(Reset),
}

#[derive(ClapArgs)]
pub struct Demo {
    /// How many rows to move, a fifth of them users and the rest votes
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub rows: u64,
}

/// Which plan, and which of its tables.
#[derive(ClapArgs, Clone)]
pub struct Chosen {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// Only this table of the plan (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
}

#[derive(ClapArgs)]
pub struct Check {
    #[command(flatten)]
    pub chosen: Chosen,
}

#[derive(ClapArgs)]
pub struct Init {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Accept targets with a stream
    #[arg(long)]
    pub allow_stream: bool,
    /// Take over this target although it has items or another plan's record; type its name
    #[arg(long, value_name = "TARGET")]
    pub adopt: Option<String>,
}

#[derive(ClapArgs)]
pub struct Status {
    #[command(flatten)]
    pub chosen: Chosen,
    /// One JSON object per table on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Copy {
    #[command(flatten)]
    pub chosen: Chosen,
    /// The application is stopped: nobody writes to the old table
    #[arg(long)]
    pub offline: bool,
    /// Counters: the last pass, once nobody adds to the old ones any more. Reads every replica of
    /// the old store (or a quorum, where the plan accepts it). Changes nothing for tables of rows
    #[arg(long = "final")]
    pub settle: bool,
    /// Copy one of n parts, counted from 0: `2/8`. `auto/8` takes the index of a Kubernetes
    /// Indexed Job or an AWS Batch array
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// One JSON object per table on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Failures {
    #[command(flatten)]
    pub chosen: Chosen,
    /// One JSON object per dead letter on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct Reset {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The table (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: String,
}
