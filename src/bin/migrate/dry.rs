//! `migrate copy --dry-run`: reads, works out every item, and writes none.

use crossfade::error::Result;
use crossfade::migration::{Measured, Portion};

use crate::Exit;
use crate::args;
use crate::format;
use crate::stores::OpenStores;

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
}

pub async fn run(args: &args::Copy, sample: Option<f64>, stores: &OpenStores) -> Result<Exit> {
    let portion = sample.map_or(Portion::All, Portion::Share);
    let mut exit = Exit::Done;
    let mut rows = Vec::new();
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let survey = migration.survey().await?;
        let found = migration.measure(&survey, portion).await?;
        let table = &migration.spec.name;
        if !found.troubles.is_empty() {
            exit = Exit::Differences;
        }
        match args.json {
            true => format::print(&json(table, &found)),
            false => rows.push((table.clone(), found)),
        }
    }
    if !args.json {
        show(&rows);
    }
    stores.close().await;
    Ok(exit)
}

fn json(table: &str, found: &Measured) -> String {
    format::json(&DryCopyLine {
        table,
        dry_run: true,
        read: found.rows,
        share: found.share,
        would_write: found.fine(),
        would_fail: found.rows - found.fine(),
        bytes: found.bytes,
        units: found.write_units,
        largest: found.largest.as_ref().map(|(bytes, _)| *bytes),
    })
}

fn show(rows: &[(String, Measured)]) {
    let row = |(table, found): &(String, Measured)| {
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
    format::print(&format::results(&header, rows.iter().map(row).collect()));
    for (table, found) in rows {
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
