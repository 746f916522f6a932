//! `migrate copy`

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crossfade::control::Counts;
use crossfade::copier;
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::{CopyOptions, Migration};
use crossfade::model::Tokens;

use crate::Exit;
use crate::args;
use crate::capacity::CopyCapacity;
use crate::dry;
use crate::format;
use crate::metrics::{self, Metered};
use crate::next;
use crate::progress::Screen;
use crate::rehearse;
use crate::signal;
use crate::stores::OpenStores;
use crate::verify::share;

/// How long an operator who has stopped a copy waits for the number of dead letters.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub async fn run(args: &args::Copy, screen: &Screen) -> Result<Exit, Error> {
    let shard = args.shard.as_deref().map(shard).transpose()?;
    let sample = args.sample.as_deref().map(share).transpose()?;
    let mut stores = OpenStores::open(&args.chosen.plan).await?;
    metrics::serve(args.metrics, stores.plan.serve.key.as_ref(), screen).await?;
    if let Some(suffix) = &args.to_suffix {
        rehearse::refuse("--offline", args.offline)?;
        rehearse::refuse("--shard", args.shard.is_some())?;
        stores.suffixed(suffix)?;
    }
    if args.dry_run {
        return dry::run(args, sample, &stores, screen).await;
    }
    if sample.is_some() && args.to_suffix.is_none() {
        let message =
            "--sample is for --dry-run and --to-suffix: what is copied in part is no copy";
        return Err(Error::new(Kind::Config, message)
            .with_help("add --dry-run, which writes nothing, or --to-suffix -rehearsal"));
    }
    let is_rehearsal = args.to_suffix.is_some();
    if is_rehearsal {
        for migration in stores.migrations(args.chosen.table.as_deref())? {
            migration.init_scratch().await?;
        }
    }
    let migrations = stores
        .unfinished(args.chosen.table.as_deref(), screen)
        .await?;
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    let (mut rows, mut counters) = (Vec::new(), Vec::new());
    for migration in &migrations {
        let options = CopyOptions {
            offline: args.offline || is_rehearsal,
            settle: args.settle,
            shard,
            journal: stores.plan.journal_dir.clone(),
            copier: copier_name(),
            lease: stores.plan.lease.lasts,
            copy: copier::CopySettings {
                share: sample.map_or(Tokens::ALL, part_of_ring),
                ..copier::CopySettings::default()
            },
        };
        let table = &migration.spec.name;
        let on = args.metrics.is_some();
        // A scratch table is on demand, and isn't the plan's to provision.
        let capacity = match is_rehearsal {
            true => None,
            false => CopyCapacity::raise(&stores.plan, migration, &stop, screen).await,
        };
        let copied = one(migration, options, on, &stop, screen).await;
        if let Some(capacity) = capacity {
            capacity.lower(migration, screen).await;
        }
        match copied {
            Ok(copied) => {
                exit = exit.max(copied.exit);
                if args.json {
                    format::print(&json(table, &copied));
                } else if copied.is_counter {
                    counters.push(counter_row(table, &copied));
                } else {
                    rows.push(row(table, &copied));
                }
                if copied.exit == Exit::Stopped {
                    break;
                }
            }
            Err(error) if error.kind() == Kind::Stopped && !stop.is_cancelled() => {
                screen.error(&error);
                exit = exit.max(Exit::Stopped);
            }
            // The other tables may well be ready.
            Err(error) if concerns_one_table(&error) => {
                screen.error(&error);
                exit = exit.max(Exit::Error);
            }
            Err(error) => return Err(error),
        }
    }
    if !args.json && !rows.is_empty() {
        let header = [
            "table",
            "",
            "read",
            "written",
            "present",
            "completed",
            "dead letters",
            "size",
            "time",
            "rows/s",
        ];
        format::print(&format::results(&header, rows).to_string());
    }
    if !counters.is_empty() {
        let header = [
            "counters",
            "",
            "read",
            "folded",
            "unchanged",
            "settled",
            "went down",
            "dead letters",
            "time",
            "rows/s",
        ];
        format::print(&format::results(&header, counters).to_string());
    }
    if exit == Exit::Stopped {
        screen.say("stopped; run the same command again to go on");
    } else if exit == Exit::Differences {
        let mut failures = next::command("failures", &args.chosen.plan, None);
        if let Some(suffix) = &args.to_suffix {
            failures += &format!(" --to-suffix {suffix}");
        }
        screen.say(&format!("some rows could not be copied: {failures}"));
    }
    stores.close().await;
    Ok(exit)
}

pub struct CopiedTable {
    pub counts: Counts,
    /// Dead letters of the table, of this run or an earlier one.
    pub failures: u64,
    pub is_counter: bool,
    pub exit: Exit,
}

/// Copies one table, showing it.
pub async fn one(
    migration: &Migration,
    options: CopyOptions,
    metrics: bool,
    stop: &CancellationToken,
    screen: &Screen,
) -> Result<CopiedTable> {
    let (mut shown, mut metered) = (None, None);
    let ready = |started: crossfade::migration::Started| {
        let live = started.live.clone();
        let progress = move || {
            let now = live.reading();
            (Some(now.share), Some(now.counts.failed))
        };
        metered = Some(Metered::new(metrics, migration, progress));
        shown = Some(screen.follow(
            &migration.spec.name,
            started.live,
            started.rows,
            migration.paces().clone(),
        ));
    };
    let outcome = migration.copy(options, stop, ready).await;
    drop((shown, metered));
    let outcome = outcome?;
    let failures = if outcome.complete {
        migration.failures().await?.len() as u64
    } else {
        // Stopped, perhaps while the new store doesn't answer: this run's count has to do then.
        let asked = tokio::time::timeout(ANSWER_WITHIN, migration.failures()).await;
        match asked {
            Ok(Ok(failures)) => failures.len() as u64,
            Ok(Err(_)) | Err(_) => outcome.counts.failed,
        }
    };
    let exit = match (outcome.complete, failures) {
        (false, _) => Exit::Stopped,
        (true, 0) => Exit::Done,
        (true, _) => Exit::Differences,
    };
    Ok(CopiedTable {
        counts: outcome.counts,
        failures,
        is_counter: outcome.is_counter,
        exit,
    })
}

/// Whether the plan's other tables may still be fine.
pub fn concerns_one_table(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Mismatch | Kind::Missing | Kind::Unsupported
    )
}

fn rate(counts: &Counts) -> f64 {
    if counts.seconds > 0.0 {
        counts.read as f64 / counts.seconds
    } else {
        0.0
    }
}

/// What `--json` prints for each table.
#[derive(serde::Serialize)]
struct CopyLine<'a> {
    table: &'a str,
    read: u64,
    written: u64,
    present: u64,
    completed: u64,
    failed: u64,
    bytes: u64,
    units: f64,
    seconds: f64,
    rows_per_second: f64,
    folded: u64,
    unchanged: u64,
    settled: u64,
    went_down: u64,
}

fn json(table: &str, copied: &CopiedTable) -> String {
    let counts = &copied.counts;
    format::json(&CopyLine {
        table,
        read: counts.read,
        written: counts.written,
        present: counts.present,
        completed: counts.completed,
        failed: copied.failures,
        bytes: counts.bytes,
        units: counts.units,
        seconds: (counts.seconds * 1e3).round() / 1e3,
        rows_per_second: rate(counts).round(),
        folded: counts.folded,
        unchanged: counts.unchanged,
        settled: counts.settled,
        went_down: counts.went_down,
    })
}

fn row(table: &str, copied: &CopiedTable) -> Vec<String> {
    let counts = &copied.counts;
    let state = match copied.exit {
        Exit::Stopped => "stopped",
        Exit::Done | Exit::Differences | Exit::Error => "copied",
    };
    vec![
        table.to_owned(),
        state.to_owned(),
        format::count(counts.read),
        format::count(counts.written),
        format::count(counts.present),
        format::count(counts.completed),
        format::count(copied.failures),
        format::bytes(counts.bytes),
        format::time(counts.seconds),
        format::count(rate(counts) as u64),
    ]
}

fn counter_row(table: &str, copied: &CopiedTable) -> Vec<String> {
    let counts = &copied.counts;
    let state = match copied.exit {
        Exit::Stopped => "stopped",
        Exit::Done | Exit::Differences | Exit::Error => "folded",
    };
    vec![
        table.to_owned(),
        state.to_owned(),
        format::count(counts.read),
        format::count(counts.folded),
        format::count(counts.unchanged),
        format::count(counts.settled),
        format::count(counts.went_down),
        format::count(copied.failures),
        format::time(counts.seconds),
        format::count(rate(counts) as u64),
    ]
}

/// Machine and process, for people who look at `migrate status`.
pub fn copier_name() -> String {
    let host = std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned()))
        .unwrap_or_else(|_| "unknown host".to_owned());
    format!("{host} process {}", std::process::id())
}

/// So much of the ring, from its beginning: the tokens of rows are spread evenly.
fn part_of_ring(share: f64) -> Tokens {
    let width = (share * u64::MAX as f64) as u64;
    Tokens {
        up_to: Tokens::ALL.after.saturating_add_unsigned(width.max(1)),
        ..Tokens::ALL
    }
}

/// Reads `2/8` or `auto/8`: which part, counted from 0, of how many.
fn shard(text: &str) -> Result<(u32, u32)> {
    let wrong = |why: String| {
        Error::new(Kind::Config, format!("--shard {text}: {why}"))
            .with_help("write I/N with I from 0 to N-1, such as --shard 0/4, or auto/N")
    };
    let (index, count) = text
        .split_once('/')
        .ok_or_else(|| wrong("`/` is missing".into()))?;
    let count: u32 = count
        .parse()
        .map_err(|_| wrong(format!("`{count}` is not a number")))?;
    let index: u32 = if index == "auto" {
        let variables = ["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"];
        let set = variables
            .iter()
            .find_map(|name| Some((name, std::env::var(name).ok()?)));
        let (name, value) =
            set.ok_or_else(|| wrong(format!("none of {} is set", variables.join(", "))))?;
        value
            .parse()
            .map_err(|_| wrong(format!("{name} is `{value}`, not a number")))?
    } else {
        index
            .parse()
            .map_err(|_| wrong(format!("`{index}` is not a number")))?
    };
    if index >= count {
        return Err(wrong(format!(
            "{count} parts are counted from 0 to {}",
            count.saturating_sub(1)
        )));
    }
    Ok((index, count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shards_are_counted_from_0() {
        assert_eq!(shard("0/1").unwrap(), (0, 1));
        assert_eq!(shard("7/8").unwrap(), (7, 8));
        for wrong in ["8/8", "1", "x/2", "1/x", "0/0", "-1/2", ""] {
            let error = shard(wrong).unwrap_err();
            assert!(
                error.to_string().contains(&format!("--shard {wrong}")),
                "{error}"
            );
        }
    }
}
