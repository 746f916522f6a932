//! `migrate copy --dry-run`: reads, works out every item, and writes none.

use crossfade::error::Result;
use crossfade::migration::{Measured, Migration, Portion};
use crossfade::protocol::Phase;

use crate::Exit;
use crate::args;
use crate::copy::concerns_one_table;
use crate::format;
use crate::progress::Screen;
use crate::stores::OpenStores;

/// What a copy of one table would do.
struct DryCopied {
    table: String,
    found: Measured,
    /// The phase it would begin in; `None` where no more was asked than what there is to copy.
    phase: Option<Phase>,
    /// The scratch table that it would be copied into.
    into: Option<String>,
}

/// What `--json` prints for each table.
#[derive(serde::Serialize)]
struct DryCopyLine<'a> {
    table: &'a str,
    dry_run: bool,
    read: u64,
    /// Of the ring, 0 to 1.
    share: f64,
    would_write: u64,
    would_fail: u64,
    bytes: u64,
    units: u64,
    largest: Option<u64>,
    /// The phase that the copy would begin in.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
}

pub async fn run(
    args: &args::Copy,
    sample: Option<f64>,
    stores: &OpenStores,
    screen: &Screen,
) -> Result<Exit> {
    let portion = sample.map_or(Portion::All, Portion::Share);
    let chosen = args.chosen.table.as_deref();
    let migrations = match is_refused_as_a_copy(args) {
        true => stores.unfinished(chosen, screen).await?,
        false => stores.migrations(chosen)?,
    };
    if args.to_suffix.is_some() {
        for migration in &migrations {
            migration.would_rehearse().await?;
        }
    }
    let mut exit = Exit::Done;
    let mut tables = Vec::new();
    for migration in migrations {
        let copied = match one(args, portion, &migration).await {
            Ok(copied) => copied,
            // As a copy itself goes on with the others.
            Err(error) if is_refused_as_a_copy(args) && concerns_one_table(&error) => {
                screen.error(&error);
                exit = exit.max(Exit::Error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if !copied.found.troubles.is_empty() {
            exit = exit.max(Exit::Differences);
        }
        match args.json {
            true => format::print(&json(&copied)),
            false => tables.push(copied),
        }
    }
    if !args.json && !tables.is_empty() {
        show(&tables);
    }
    stores.close().await;
    Ok(exit)
}

/// Whether more is asked than what there is to copy. A rehearsal is refused as a whole.
fn is_refused_as_a_copy(args: &args::Copy) -> bool {
    (args.offline || args.settle) && args.to_suffix.is_none()
}

async fn one(args: &args::Copy, portion: Portion, migration: &Migration) -> Result<DryCopied> {
    let survey = migration.survey().await?;
    let phase = match is_refused_as_a_copy(args) {
        true => {
            let would = migration.would_copy(&survey, args.offline, args.settle);
            Some(would.await?)
        }
        false => None,
    };
    Ok(DryCopied {
        table: migration.spec.name.clone(),
        found: migration.measure(&survey, portion).await?,
        phase,
        into: args.to_suffix.as_ref().map(|_| migration.spec.to.clone()),
    })
}

fn json(copied: &DryCopied) -> String {
    let found = &copied.found;
    format::json(&DryCopyLine {
        table: &copied.table,
        dry_run: true,
        read: found.rows,
        share: found.share,
        would_write: found.fine(),
        would_fail: found.rows - found.fine(),
        bytes: found.bytes,
        units: found.write_units,
        largest: found.largest.as_ref().map(|(bytes, _)| *bytes),
        phase: copied.phase.map(Phase::name),
    })
}

fn show(tables: &[DryCopied]) {
    let row = |DryCopied { table, found, .. }: &DryCopied| {
        vec![
            table.clone(),
            format!("{:.1} %", found.share * 100.0),
            format::count(found.rows),
            format::count(found.fine()),
            format::count(found.rows - found.fine()),
            format::bytes(found.bytes),
            format::count(found.write_units),
        ]
    };
    let header = [
        "table",
        "of it",
        "read",
        "would write",
        "dead letters",
        "size",
        "units",
    ];
    format::print(&format::results(&header, tables.iter().map(row).collect()));
    for copied in tables {
        let DryCopied { table, found, .. } = copied;
        if let Some(phase) = copied.phase {
            format::print(&format!("{table}: would be copied in phase `{phase}`"));
        }
        if let Some(into) = &copied.into {
            format::print(&format!("{table}: would be copied into {into}"));
        }
        for (reason, trouble) in &found.troubles {
            format::print(&format!(
                "{table}: {} rows would become dead letters: {reason}\n  {}",
                format::count(trouble.rows),
                trouble.examples.join("\n  ")
            ));
        }
    }
    format::print("nothing was written");
}
