//! `migrate failures`

use crossfade::error::Error;
use crossfade::visible::visible;

use crate::Exit;
use crate::args;
use crate::copy;
use crate::format;
use crate::progress::Screen;
use crate::signal;
use crate::stores::OpenStores;

/// What `--json` prints for each dead letter.
#[derive(serde::Serialize)]
struct LetterLine<'a> {
    table: &'a str,
    kind: &'static str,
    what: &'a str,
    reason: &'a str,
    key: Option<&'a crossfade::control::StoredKey>,
}

pub async fn run(args: &args::Failures, screen: &Screen) -> Result<Exit, Error> {
    // Only sending them again takes the old store.
    let mut stores = match args.retry {
        true => OpenStores::open(&args.chosen.plan).await?,
        false => OpenStores::open_new(&args.chosen.plan).await?,
    };
    if let Some(suffix) = &args.to_suffix {
        stores.suffixed(suffix)?;
    }
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let table = &migration.spec.name;
        if args.dry_run && !migration.failures().await?.is_empty() {
            let (rows, ranges) = migration.would_retry().await?;
            screen.say(&format!(
                "{table}: {} rows and {} ranges would be sent again; nothing was",
                format::count(rows),
                format::count(ranges)
            ));
        } else if args.retry && !migration.failures().await?.is_empty() {
            let (name, lease) = (copy::copier_name(), stores.plan.lease.lasts);
            let retried = migration.retry(&name, lease, &stop).await?;
            let (mended, left) = (format::count(retried.mended), format::count(retried.left));
            screen.say(&format!(
                "{table}: retried: {mended} copied, {left} still fail"
            ));
        }
        for letter in migration.failures().await? {
            exit = Exit::Differences;
            if args.json {
                let line = LetterLine {
                    table,
                    kind: if letter.key.is_some() { "row" } else { "range" },
                    what: &letter.what,
                    reason: &letter.reason,
                    key: letter.key.as_ref(),
                };
                format::print(&format::json(&line));
            } else {
                // Those that an earlier version noted aren't escaped.
                let (what, reason) = (visible(&letter.what), visible(&letter.reason));
                format::print(&format!("{table}: {what}\n  {reason}"));
            }
        }
    }
    if exit == Exit::Done && !args.json {
        let control = &stores.plan.control_table;
        format::print(&format!("no dead letters in the control table {control}"));
    }
    stores.close().await;
    Ok(exit)
}
