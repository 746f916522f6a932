//! `migrate status`

use crossfade::clock;
use crossfade::control::{PaceReport, PaceWish, Progress};
use crossfade::error::Error;
use crossfade::migration::{Migration, Status};
use crossfade::protocol::Phase;

use crate::Exit;
use crate::args;
use crate::format;
use crate::next::{self, next};
use crate::pace;
use crate::stores::OpenStores;

pub async fn run(args: &args::StatusArgs) -> Result<Exit, Error> {
    let stores = OpenStores::open_new(&args.chosen.plan).await?;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    let mut rows = Vec::new();
    let mut unknown = Vec::new();
    let mut fences = Vec::new();
    let mut copiers = Vec::new();
    let mut instances = Vec::new();
    let mut steps = Vec::new();
    let (mut paused, mut tools) = (Vec::new(), Vec::new());
    for migration in &migrations {
        let spec = &migration.spec;
        let status = migration.status().await?;
        if args.json {
            format::print(&json(&stores, migration, &status));
            continue;
        }
        if status.record.is_none() {
            unknown.push(spec.to.clone());
        }
        rows.push(vec![
            spec.name.clone(),
            spec.to.clone(),
            phase(&status).to_owned(),
            freeze(&status),
            share(&status),
            format::count(status.failures),
            verified(migration, &status),
        ]);
        steps.extend(next(&args.chosen.plan, migration, &status));
        for role in fenced(&status) {
            fences.push(vec![spec.name.clone(), role.to_owned()]);
        }
        for (_, progress) in &status.copiers {
            copiers.push(vec![
                spec.name.clone(),
                progress.copier.clone(),
                work(progress),
                format::count(progress.counts.read),
                format::count(progress.counts.written + progress.counts.folded),
                format::time(progress.counts.seconds),
            ]);
        }
        if status.pace.wish.as_ref().is_some_and(|wish| wish.paused) {
            paused.push(spec.name.clone());
        }
        for (_, report) in &status.pace.tools {
            tools.push(pace::tool_row(&spec.name, report));
        }
        for (id, one) in &status.instances {
            instances.push(vec![
                spec.name.clone(),
                id.clone(),
                one.kind.name().to_owned(),
                one.name.clone(),
                one.phase.map_or("joining", Phase::name).to_owned(),
                last_seen(one.renewed_at),
            ]);
        }
    }
    if !args.json {
        format::print(&format!(
            "old: {}\nnew: {}, control table {}\n",
            stores.old_name, stores.new_name, stores.plan.control_table
        ));
        format::print(
            &format::results(
                &[
                    "table",
                    "to",
                    "phase",
                    "freeze",
                    "copied",
                    "dead letters",
                    "verified",
                ],
                rows,
            )
            .to_string(),
        );
        if !unknown.is_empty() {
            format::print(&format!(
                "\nthe control table {} has no record of {}: `migrate init` hasn't been run, or `control_table` in \
                 the plan is spelled differently now",
                stores.plan.control_table,
                unknown.join(", ")
            ));
        }
        if !fences.is_empty() {
            let header = ["table", "may not write to the old one"];
            format::print(&format!("\n{}", format::results(&header, fences)));
        }
        if !instances.is_empty() {
            let header = ["table", "instance", "", "name", "phase", "seen"];
            format::print(&format!("\n{}", format::results(&header, instances)));
        }
        if !copiers.is_empty() {
            let header = ["table", "copier", "", "read", "written", "time"];
            format::print(&format!("\n{}", format::results(&header, copiers)));
        }
        if !tools.is_empty() {
            format::print(&format!("\n{}", format::results(&pace::TOOLS, tools)));
        }
        if !paused.is_empty() {
            let resume = next::command("pace", &args.chosen.plan, None);
            format::print(&format!(
                "\npaused by an operator: {}; go on with {resume} --resume",
                paused.join(", ")
            ));
        }
        if !steps.is_empty() {
            format::print(&format!("\nnext:\n  {}", steps.join("\n  ")));
        }
    }
    stores.close().await;
    Ok(Exit::Done)
}

/// A copier tells how far it is every ten seconds.
const QUIET: i64 = 40;

fn work(progress: &Progress) -> String {
    let silent = progress.noted_at.map(|at| clock::unix_seconds() - at);
    match (progress.ended, silent) {
        (true, _) => "ended".to_owned(),
        (false, None) => "at work, or was killed".to_owned(),
        (false, Some(silent)) if silent < QUIET => "at work".to_owned(),
        (false, Some(silent)) => format!("silent for {}: killed?", format::time(silent as f64)),
    }
}

/// By the clocks of two machines, as far as they agree.
fn last_seen(at: Option<i64>) -> String {
    let ago = |at: i64| format::time((clock::unix_seconds() - at).max(0) as f64);
    at.map_or_else(String::new, |at| format!("{} ago", ago(at)))
}

fn phase(status: &Status) -> &str {
    status
        .record
        .as_ref()
        .map_or("not initialised", |record| record.phase.name())
}

fn fenced(status: &Status) -> Vec<&str> {
    let roles = status.record.iter().flat_map(|record| &record.fenced);
    roles.map(String::as_str).collect()
}

fn adopted(status: &Status) -> Option<u64> {
    let adoption = status.record.as_ref()?.adoption.as_ref()?;
    Some(adoption.items)
}

fn freeze(status: &Status) -> String {
    let record = status.record.as_ref();
    record.map_or_else(String::new, |record| format::count(record.freeze))
}

fn share(status: &Status) -> String {
    let percent = floor(status.share) * 100.0;
    match status.is_counter {
        true => format!("{percent:.1} % settled"),
        false => format!("{percent:.1} %"),
    }
}

fn verified(migration: &Migration, status: &Status) -> String {
    let Some(verified) = &status.verified else {
        return "no".to_owned();
    };
    let now = clock::unix_seconds();
    let ago = |at: i64| format::time((now - at).max(0) as f64);
    let read = verified.oldest_at.map(ago);
    let ago = ago(verified.ended_at);
    match verified.clean {
        true if migration.is_stale(verified.oldest_at).is_some() => format!(
            "clean, {ago} ago, but too old to count: read {} ago",
            read.unwrap_or_else(|| "some time".into())
        ),
        true => format!("clean, {} ago", read.unwrap_or(ago)),
        false => format!(
            "{} differences, {ago} ago",
            format::count(verified.differences)
        ),
    }
}

/// Rounded down, so that 100 % means all.
fn floor(share: f64) -> f64 {
    (share * 1e3).floor() / 1e3
}

/// What `--json` prints for each table.
#[derive(serde::Serialize)]
struct StatusLine<'a> {
    table: &'a str,
    to: &'a str,
    phase: Option<&'static str>,
    freeze: Option<u64>,
    /// Share of the table, 0 to 1. Of counters: what a final pass has settled.
    copied: f64,
    /// Roles that may not write to the old table while it is frozen.
    fenced: Vec<&'a str>,
    dead_letters: u64,
    /// Items that `init --adopt` took over; null where it took none over, or an earlier version didn't count them.
    adopted: Option<u64>,
    /// What the last whole verification of this freeze found.
    verified: Option<VerifiedLine>,
    copiers: Vec<CopierLine<'a>>,
    /// What operators want of the tools' pace; null if none has said anything.
    pace: Option<&'a PaceWish>,
    /// What each process of the tools does, as it told last.
    tools: Vec<ToolLine<'a>>,
    instances: Vec<Instance<'a>>,
    old: &'a str,
    new: &'a str,
    control_table: &'a str,
}

#[derive(serde::Serialize)]
struct VerifiedLine {
    clean: bool,
    differences: u64,
    old_rows: u64,
    /// Seconds since 1970.
    ended_at: i64,
    /// When the oldest part was read, seconds since 1970; null where an earlier version has noted it.
    oldest_at: Option<i64>,
    /// Whether that isn't longer ago than the plan's `[verify] fresh`.
    fresh: bool,
}

#[derive(serde::Serialize)]
struct CopierLine<'a> {
    id: &'a str,
    copier: &'a str,
    ended: bool,
    heartbeat: u64,
    /// When it told of itself last by its own clock, seconds since 1970; null where an earlier version did.
    noted_at: Option<i64>,
    #[serde(flatten)]
    counts: &'a crossfade::control::Counts,
}

#[derive(serde::Serialize)]
struct ToolLine<'a> {
    id: &'a str,
    #[serde(flatten)]
    report: &'a PaceReport,
}

#[derive(serde::Serialize)]
struct Instance<'a> {
    id: &'a str,
    kind: &'static str,
    name: &'a str,
    /// Null while it joins.
    phase: Option<&'static str>,
    heartbeat: u64,
    /// When it renewed last by its own clock, seconds since 1970; null where an earlier version did.
    renewed_at: Option<i64>,
    lease_seconds: u64,
    operation_seconds: u64,
}

fn json(stores: &OpenStores, migration: &Migration, status: &Status) -> String {
    let (table, to) = (migration.spec.name.as_str(), migration.spec.to.as_str());
    let copiers = status.copiers.iter().map(|(id, progress)| CopierLine {
        id,
        copier: &progress.copier,
        ended: progress.ended,
        heartbeat: progress.heartbeat,
        noted_at: progress.noted_at,
        counts: &progress.counts,
    });
    let tools = status.pace.tools.iter();
    let tools = tools.map(|(id, report)| ToolLine { id, report });
    let instances = status.instances.iter().map(|(id, one)| Instance {
        id,
        kind: one.kind.name(),
        name: &one.name,
        phase: one.phase.map(Phase::name),
        heartbeat: one.heartbeat,
        renewed_at: one.renewed_at,
        lease_seconds: one.lease_seconds,
        operation_seconds: one.operation_seconds,
    });
    format::json(&StatusLine {
        table,
        to,
        phase: status.record.as_ref().map(|record| record.phase.name()),
        freeze: status.record.as_ref().map(|record| record.freeze),
        copied: status.share,
        fenced: fenced(status),
        dead_letters: status.failures,
        adopted: adopted(status),
        verified: status.verified.as_ref().map(|verified| VerifiedLine {
            clean: verified.clean,
            differences: verified.differences,
            old_rows: verified.old_rows,
            ended_at: verified.ended_at,
            oldest_at: verified.oldest_at,
            fresh: migration.is_stale(verified.oldest_at).is_none(),
        }),
        copiers: copiers.collect(),
        pace: status.pace.wish.as_ref(),
        tools: tools.collect(),
        instances: instances.collect(),
        old: &stores.old_name,
        new: &stores.new_name,
        control_table: &stores.plan.control_table,
    })
}
