//! `migrate status`

use crossfade::error::Error;
use crossfade::migration::Status;

use crate::Exit;
use crate::args;
use crate::stores::Stores;
use crate::words;

pub async fn run(args: &args::Status) -> Result<Exit, Error> {
    let stores = Stores::open_new(&args.chosen.plan).await?;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    let mut rows = Vec::new();
    let mut copiers = Vec::new();
    for migration in &migrations {
        let spec = &migration.spec;
        let status = migration.status().await?;
        if args.json {
            words::print(&json(&stores, &spec.name, &spec.to, &status));
            continue;
        }
        rows.push(vec![
            spec.name.clone(),
            spec.to.clone(),
            phase(&status).to_owned(),
            share(&status),
            words::count(status.failures),
        ]);
        for (_, progress) in &status.copiers {
            copiers.push(vec![
                spec.name.clone(),
                progress.copier.clone(),
                if progress.ended {
                    "ended"
                } else {
                    "at work, or was killed"
                }
                .to_owned(),
                words::count(progress.counts.read),
                words::count(progress.counts.written + progress.counts.folded),
                words::time(progress.counts.seconds),
            ]);
        }
    }
    if !args.json {
        words::print(&format!(
            "old: {}\nnew: {}, control table {}\n",
            stores.old_name, stores.new_name, stores.plan.control_table
        ));
        words::print(
            &words::table(&["table", "to", "phase", "copied", "dead letters"], rows).to_string(),
        );
        if !copiers.is_empty() {
            let header = ["table", "copier", "", "read", "written", "time"];
            words::print(&format!("\n{}", words::table(&header, copiers)));
        }
    }
    stores.close().await;
    Ok(Exit::Done)
}

fn phase(status: &Status) -> &str {
    status
        .record
        .as_ref()
        .map_or("not initialised", |record| record.phase.name())
}

fn share(status: &Status) -> String {
    let percent = floor(status.share) * 100.0;
    match status.is_counter {
        true => format!("{percent:.1} % settled"),
        false => format!("{percent:.1} %"),
    }
}

/// Rounded down, so that 100 % means all.
fn floor(share: f64) -> f64 {
    (share * 1e3).floor() / 1e3
}

/// What `--json` prints for each table.
#[derive(serde::Serialize)]
struct Line<'a> {
    table: &'a str,
    to: &'a str,
    phase: Option<&'static str>,
    freeze: Option<u64>,
    /// Share of the table, 0 to 1. Of counters: what a final pass has settled.
    copied: f64,
    dead_letters: u64,
    copiers: Vec<Copier<'a>>,
    old: &'a str,
    new: &'a str,
    control_table: &'a str,
}

#[derive(serde::Serialize)]
struct Copier<'a> {
    id: &'a str,
    copier: &'a str,
    ended: bool,
    heartbeat: u64,
    #[serde(flatten)]
    counts: &'a crossfade::control::Counts,
}

fn json(stores: &Stores, table: &str, to: &str, status: &Status) -> String {
    let copiers = status.copiers.iter().map(|(id, progress)| Copier {
        id,
        copier: &progress.copier,
        ended: progress.ended,
        heartbeat: progress.heartbeat,
        counts: &progress.counts,
    });
    words::json(&Line {
        table,
        to,
        phase: status.record.as_ref().map(|record| record.phase.name()),
        freeze: status.record.as_ref().map(|record| record.freeze),
        copied: status.share,
        dead_letters: status.failures,
        copiers: copiers.collect(),
        old: &stores.old_name,
        new: &stores.new_name,
        control_table: &stores.plan.control_table,
    })
}
