//! `migrate pace`

use crossfade::clock;
use crossfade::control::{PaceReport, PaceWish};
use crossfade::error::Error;
use crossfade::migration::PaceStatus;

use crate::Exit;
use crate::args;
use crate::copy::copier_name;
use crate::format;
use crate::stores::OpenStores;

pub async fn run(args: &args::PaceArgs) -> Result<Exit, Error> {
    let stores = OpenStores::open_new(&args.chosen.plan).await?;
    let change = |wish: &mut PaceWish| {
        if args.as_planned {
            (wish.write_units, wish.read_rows) = (None, None);
        }
        wish.write_units = args.write_units.or(wish.write_units);
        wish.read_rows = args.read_rows.or(wish.read_rows);
        wish.paused = (wish.paused || args.pause) && !args.resume;
    };
    let (mut wishes, mut tools) = (Vec::new(), Vec::new());
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let table = &migration.spec.name;
        let is_change = !(args.show || args.dry_run);
        match is_change {
            true => drop(migration.change_pace(&copier_name(), change).await?),
            false => drop(migration.record().await?),
        }
        let PaceStatus {
            mut wish,
            tools: each,
        } = migration.pace_status().await?;
        if args.dry_run {
            change(wish.get_or_insert_default());
        }
        wishes.push(wish_row(table, &stores, wish));
        for (_, report) in each {
            tools.push(tool_row(table, &report));
        }
    }
    let header = ["table", "", "write units/s", "rows read/s", "said by"];
    format::print(&format::results(&header, wishes).to_string());
    if args.dry_run {
        format::print("\nthat is what would hold; nothing was changed");
    }
    if tools.is_empty() {
        format::print("\nno tool is at work; one that begins does as is said here");
    } else {
        format::print(&format!("\n{}", format::results(&TOOLS, tools)));
        if !args.show && !args.dry_run {
            let within = stores.plan.lease.lasts.as_secs_f64() / 3.0;
            format::print(&format!("\nthey follow within {}", format::time(within)));
        }
    }
    stores.close().await;
    Ok(Exit::Done)
}

/// What is shown of each process of the tools.
pub const TOOLS: [&str; 7] = [
    "table",
    "tool",
    "name",
    "units/s",
    "rows/s",
    "why not more",
    "seen",
];

/// A process of the tools, as it told of itself last.
pub fn tool_row(table: &str, report: &PaceReport) -> Vec<String> {
    let of = |rate: f64, most: Option<f64>| match most {
        Some(most) => format!(
            "{} of {}",
            format::count(rate.round() as u64),
            format::count(most.round() as u64)
        ),
        None => format::count(rate.round() as u64),
    };
    let ago = (clock::unix_seconds() - report.noted_at).max(0) as f64;
    vec![
        table.to_owned(),
        report.command.clone(),
        report.name.clone(),
        of(report.units, report.write_units),
        of(report.rows, report.read_rows),
        report.reason.clone().unwrap_or_default(),
        format!("{} ago", format::time(ago)),
    ]
}

fn wish_row(table: &str, stores: &OpenStores, wish: Option<PaceWish>) -> Vec<String> {
    let planned = stores.plan.pace;
    let wish = wish.unwrap_or_default();
    let ceiling = |said: Option<u32>, planned: Option<u32>| match (said, planned) {
        (Some(said), _) => format::count(said.into()),
        (None, Some(planned)) => format!("{} (plan)", format::count(planned.into())),
        (None, None) => "no ceiling".to_owned(),
    };
    let ago = |at: i64| format::time((clock::unix_seconds() - at).max(0) as f64);
    vec![
        table.to_owned(),
        if wish.paused { "paused" } else { "" }.to_owned(),
        ceiling(wish.write_units, planned.write_units),
        ceiling(wish.read_rows, planned.read_rows),
        match wish.by.is_empty() {
            true => String::new(),
            false => format!("{}, {} ago", wish.by, ago(wish.at)),
        },
    ]
}
