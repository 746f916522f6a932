//! What can be typed.

use std::path::PathBuf;

use crossfade::protocol::Phase;
use std::time::Duration;

use crate::rehearse::{SUFFIX, suffix};
use clap::{Args as ClapArgs, Parser, Subcommand};

/// Move tables from Apache Cassandra or ScyllaDB to Amazon DynamoDB.
#[derive(Parser)]
#[command(
    name = "migrate",
    version,
    after_help = "Exit codes: 0 done; 1 differences or dead letters; 2 error; 3 stopped, start again to go on."
)]
pub struct Args {
    /// Show no progress and log warnings alone; results, questions and errors stay
    #[arg(long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Show a whole migration on this machine, with no server: copy, stop half-way, resume, compare
    Demo(Demo),
    /// Make a plan from a keyspace, check one without servers, print the schema of plans for editors
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Look before anything moves: connections, schema, what each column becomes, limits, sizes
    Check(Check),
    /// Create the target tables and the control records; safe to repeat
    Init(InitArgs),
    /// Show the phase and progress of each table
    Status(StatusArgs),
    /// Write what is known of a migration into one HTML file: phases, work second by second, dead letters, verification
    Report(ReportArgs),
    /// Move a table on, phase by phase, with every application that uses it; waits until all follow
    Advance(Advance),
    /// Move a table back, phase by phase: to `bridge`, and to `old` while the new table holds nothing
    Back(Back),
    /// Copy rows and fold counters; start it again whenever it stopped, and it goes on where it was
    Copy(Copy),
    /// Compare both stores, row by row and in both directions; start it again whenever it stopped
    Verify(Verify),
    /// Say how much the tools may take of the stores, while they run; acts on all processes of a table
    Pace(PaceArgs),
    /// Change what a target takes in a second, in the steps that the service allows, and say what each costs
    Capacity(CapacityArgs),
    /// List the rows and ranges that could not be copied, with the reason
    Failures(Failures),
    /// End a table's migration: to `done`, and take away what is left of it in the new table
    Finish(Finish),
    /// Take away what a rehearsal (`copy --to-suffix`) has left
    #[command(subcommand)]
    Rehearse(Rehearse),
    /// Copy the rows of some partitions into scratch tables, masked as in rehearsals: test data
    Slice(SliceArgs),
    /// Leave `offline`: delete what the copier wrote and go back to `old`
    Reset(ResetArgs),
    /// Speak DynamoDB's protocol in front of a migration, for applications in any language; until it is stopped
    Serve(ServeArgs),
    /// Print what completes command lines in a shell: `source <(migrate completions bash)`
    Completions(Completions),
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man(Man),
}

#[derive(ClapArgs)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(ClapArgs)]
pub struct Man {
    /// The folder
    #[arg(long, value_name = "DIR", default_value = "docs/man")]
    pub dir: PathBuf,
}

#[derive(ClapArgs)]
pub struct Demo {
    /// How many rows to move, a fifth of them users and the rest votes
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub rows: u64,
}

#[derive(Subcommand)]
pub enum PlanCommand {
    /// Read a keyspace and print a plan for its tables, with what has to be decided in comments
    #[command(
        after_help = "Example: migrate plan new --nodes 10.0.0.11 --keyspace bgt > bgt.toml\n\
                      The password of --username is taken from the environment variable CASSANDRA_PASSWORD."
    )]
    New(PlanNew),
    /// Print the JSON Schema of plans, for editors
    Schema,
    /// Read a plan and say what is wrong with it, without asking any server
    Check(PlanCheck),
}

#[derive(ClapArgs)]
pub struct PlanNew {
    /// Some nodes of the old store, host or host:port; separated by commas, or repeated
    #[arg(long, value_name = "NODES", required = true, value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// The keyspace, as stored
    #[arg(long, value_name = "NAME")]
    pub keyspace: String,
    /// Only this table; may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub tables: Vec<String>,
    /// The datacenter to read from, where the cluster has several
    #[arg(long, value_name = "NAME")]
    pub datacenter: Option<String>,
    /// Who to log in as
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// Encrypt, and trust the authorities of this PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The region of the new store [default: $AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// A server with DynamoDB's protocol, rather than AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The plan's name [default: the keyspace's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(ClapArgs)]
pub struct PlanCheck {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
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
#[command(
    after_help = "Examples:\n  migrate check --plan bgt.toml\n  migrate check --plan bgt.toml --table users --sample 1%"
)]
pub struct Check {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Read this part of each table, in whole token ranges, rather than some rows: `1%`
    #[arg(long, value_name = "PERCENT", conflicts_with = "all")]
    pub sample: Option<String>,
    /// Read all rows of each table
    #[arg(long)]
    pub all: bool,
    /// One JSON object per table on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct InitArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Accept targets with a stream
    #[arg(long)]
    pub allow_stream: bool,
    /// Take over this target although it has items or another plan's record; type its name
    #[arg(long, value_name = "TARGET")]
    pub adopt: Option<String>,
    /// With --adopt: the target's control record is lost, and the table was in this phase. Looks whether what is in
    /// the target allows that
    #[arg(long, value_name = "PHASE", value_parser = phase, requires = "adopt")]
    pub phase: Option<Phase>,
    /// With --phase: the table never was in `done`, and items without a mark came from elsewhere
    #[arg(long, requires = "phase")]
    pub never_done: bool,
    /// With --phase done: the table's name (its old one), without a question
    #[arg(long, value_name = "NAME", requires = "phase")]
    pub yes_done: Option<String>,
    /// Show what would be made or taken over; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(ClapArgs)]
pub struct StatusArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Draw it again and again, until `q` is typed; for a terminal
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    /// One JSON object per table on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(
    after_help = "Example: migrate report --plan bgt.toml --html bgt.html\n\
        It asks the new store only, and reads the journal folder of this machine. The file needs no network. It may hold keys \
        and values of rows that differ."
)]
pub struct ReportArgs {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// Only this table of the plan (its old name); may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub tables: Vec<String>,
    /// Where to write it; a file that is there is replaced
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
}

#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  migrate pace --plan bgt.toml --table users --write-units 2000\n  migrate pace --plan bgt.toml --pause\n\
                  Running copies, verifications, folds and finishes follow within a third of `[lease] seconds`."
)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct PaceArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// The most write units of the new store in a second, for all processes of a table together
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
    pub write_units: Option<u32>,
    /// The most rows read in a second, of either store
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
    pub read_rows: Option<u32>,
    /// Go back to the ceilings of the plan
    #[arg(long, group = "what", conflicts_with_all = ["write_units", "read_rows"])]
    pub as_planned: bool,
    /// Stand still until --resume; what is under way is finished
    #[arg(long, group = "what", conflicts_with = "resume")]
    pub pause: bool,
    /// Go on
    #[arg(long, group = "what")]
    pub resume: bool,
    /// Only show what holds, and what each process does
    #[arg(long, group = "what", conflicts_with_all = ["write_units", "read_rows", "as_planned", "pause", "resume"])]
    pub show: bool,
    /// Show what would hold; change nothing
    #[arg(long, conflicts_with = "show")]
    pub dry_run: bool,
}

#[derive(ClapArgs)]
pub struct CapacityArgs {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The table (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Write units a second: of a provisioned table; what one on demand is to be ready for at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub write: u64,
    /// Read units a second [default: as they are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub read: Option<u64>,
    /// Wait until then first: 2026-12-05T19:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<time::OffsetDateTime>,
    /// Show what would be asked for, and what it costs; change nothing, and don't wait
    #[arg(long)]
    pub dry_run: bool,
}

fn moment(text: &str) -> Result<time::OffsetDateTime, String> {
    use time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a moment such as 2026-12-05T19:00:00Z".to_owned())
}

#[derive(ClapArgs)]
pub struct Finish {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The table (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Enter `done` without asking: the table's name. From there there is no way back
    #[arg(long, value_name = "NAME")]
    pub yes_done: Option<String>,
    /// Show what would be done, item by item counted; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take the marks and watermarks off live items too; says what that costs, and asks
    #[arg(long)]
    pub strip: bool,
    /// Don't ask before stripping
    #[arg(long, requires = "strip")]
    pub yes_strip: bool,
    /// Drop the old table at the end; asks for its name
    #[arg(long)]
    pub drop_old: bool,
    /// Drop the old table without asking: its name
    #[arg(long, value_name = "NAME")]
    pub yes_drop: Option<String>,
    /// Serve metrics for Prometheus at this address: an IP address and a port
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,
}

#[derive(ClapArgs)]
pub struct Advance {
    #[command(flatten)]
    pub moving: Moving,
    /// Refuse unless so many applications are registered; 0 says that none uses the table
    #[arg(long, value_name = "N")]
    pub expect: Option<usize>,
    /// To `done`: don't ask; the table's name. From there there is no way back
    #[arg(long, value_name = "NAME")]
    pub yes_done: Option<String>,
}

#[derive(ClapArgs)]
pub struct Back {
    #[command(flatten)]
    pub moving: Moving,
}

/// A table's way to another phase.
#[derive(ClapArgs)]
pub struct Moving {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The table (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Where to: old, bridge, switch, copy, new or done
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    pub to: Phase,
    /// This one is gone for good, so don't wait for it; an id as `migrate status` shows it. May be repeated
    #[arg(long, value_name = "ID")]
    pub gone: Vec<String>,
    /// Participants silent for this long are gone for good: 15m, 90s; at least a lease and the longest operation
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub gone_silent: Option<Duration>,
    /// Show the steps, which participants each waits for and what would refuse it; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn phase(text: &str) -> Result<Phase, String> {
    Phase::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.name()).collect();
        format!("the phases are {}", names.join(", "))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and s, m or h: 90s, 15m, 1h".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[derive(ClapArgs)]
pub struct Copy {
    #[command(flatten)]
    pub chosen: Chosen,
    /// The application is stopped: nothing writes to the old table
    #[arg(long)]
    pub offline: bool,
    /// Counters: the last pass, once nothing adds to the old ones any more. Reads every replica of
    /// the old store (or a quorum, where the plan accepts it). Changes nothing for tables of rows
    #[arg(long = "final")]
    pub settle: bool,
    /// Copy one of n parts, counted from 0: `2/8`. `auto/8` takes the index of a Kubernetes
    /// Indexed Job or an AWS Batch array
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// Read and work out all that would be copied, and write nothing. With --offline, --final or --to-suffix:
    /// look too whether it would be refused
    #[arg(long, conflicts_with = "shard")]
    pub dry_run: bool,
    /// With --dry-run or --to-suffix: this part of each table, in whole token ranges: `1%`
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<String>,
    /// Rehearse: copy into scratch tables, which are called as the targets with this suffix, and touch nothing of the
    /// migration itself
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub to_suffix: Option<String>,
    /// One JSON object per table on stdout
    #[arg(long)]
    pub json: bool,
    /// Serve metrics for Prometheus at this address: an IP address and a port
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,
}

#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  migrate slice --plan bgt.toml --where \"account = 'itv'\" --to-suffix -test\n  \
                  migrate slice --plan bgt.toml --keys keys.jsonl --to-suffix -test"
)]
#[group(skip)]
pub struct SliceArgs {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The partitions, a JSON object of their key columns in each line: {"account": "itv"}
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "condition",
        conflicts_with = "condition"
    )]
    pub keys: Option<PathBuf>,
    /// The partition with these values, as CQL writes them: account = 'itv' and year = 2026
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// What the scratch tables are called after the targets' own names
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub to_suffix: String,
    /// Show which tables have such partitions; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Subcommand)]
pub enum Rehearse {
    /// Drop the scratch tables, and what the control table has of them; nothing of the migration itself
    Drop(RehearseDrop),
}

#[derive(ClapArgs)]
pub struct RehearseDrop {
    #[command(flatten)]
    pub chosen: Chosen,
    /// What the scratch tables are called after the targets' own names
    #[arg(long, value_name = "SUFFIX", default_value = SUFFIX, value_parser = suffix, allow_hyphen_values = true)]
    pub to_suffix: String,
    /// Show what would be dropped; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(ClapArgs)]
pub struct Verify {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Mend what differs and isn't the application's: copy what is missing, write again what was copied
    /// wrong, fold counters. Verify once more afterwards
    #[arg(long)]
    pub repair: bool,
    /// With --repair: delete items that were copied and whose rows the old store lacks
    #[arg(long, requires = "repair")]
    pub delete_extra: bool,
    /// With --repair: compare, and show what would be mended; mend nothing
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// Compare the scratch tables of a rehearsal with this suffix
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub to_suffix: Option<String>,
    /// Look at a part of the old table only, and not for items that the old store lacks: `1%`
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<String>,
    /// Stop once so many differences are found
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_differences: u64,
    /// Read every replica of the old store, rather than as many as the plan says
    #[arg(long, value_name = "LEVEL")]
    pub consistency: Option<VerifyConsistency>,
    /// Write a JSON array with an object for each table to this file; `-` is stdout
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Serve metrics for Prometheus at this address: an IP address and a port
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum VerifyConsistency {
    All,
}

#[derive(ClapArgs)]
pub struct Failures {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Send them again first: what is in the new store then is forgotten, the rest stays with its newest
    /// reason
    #[arg(long)]
    pub retry: bool,
    /// With --retry: show how many would be sent again; send none
    #[arg(long, requires = "retry")]
    pub dry_run: bool,
    /// Those of a rehearsal with this suffix
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, conflicts_with = "retry", allow_hyphen_values = true)]
    pub to_suffix: Option<String>,
    /// One JSON object per dead letter on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct ResetArgs {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// The table (its old name)
    #[arg(long, value_name = "NAME")]
    pub table: String,
    /// Don't ask: the table's name. What the copier wrote is deleted
    #[arg(long, value_name = "NAME")]
    pub yes_reset: Option<String>,
    /// With --yes-reset: delete copied items too that aren't as their old rows are
    #[arg(long)]
    pub delete_changed: bool,
    /// Show what would be deleted, compared with the old table; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(ClapArgs)]
pub struct ServeArgs {
    /// The plan's TOML file
    #[arg(long, value_name = "FILE")]
    pub plan: PathBuf,
    /// Where to listen, instead of `[serve] listen` in the plan: an IP address and a port
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// Only this table of the plan (its old name); may be repeated. The others are refused
    #[arg(long = "table", value_name = "NAME")]
    pub tables: Vec<String>,
    /// Don't serve: ask the sidecar that listens there whether it runs, or whether it is ready. For probes
    #[arg(long, value_name = "WHAT", conflicts_with = "tables")]
    pub probe: Option<Probe>,
    /// Serve metrics for Prometheus at this address: an IP address and a port
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Probe {
    /// It runs.
    Alive,
    /// It takes requests.
    Ready,
}
