//! `migrate failures`

use crossfade::error::Error;

use crate::Exit;
use crate::args;
use crate::stores::Stores;
use crate::words;

/// What `--json` prints for each dead letter.
#[derive(serde::Serialize)]
struct Line<'a> {
    table: &'a str,
    kind: &'static str,
    what: &'a str,
    reason: &'a str,
    key: Option<&'a crossfade::control::StoredKey>,
}

pub async fn run(args: &args::Failures) -> Result<Exit, Error> {
    let stores = Stores::open_new(&args.chosen.plan).await?;
    let mut exit = Exit::Done;
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let table = &migration.spec.name;
        for letter in migration.failures().await? {
            exit = Exit::Differences;
            if args.json {
                let line = Line {
                    table,
                    kind: if letter.key.is_some() { "row" } else { "range" },
                    what: &letter.what,
                    reason: &letter.reason,
                    key: letter.key.as_ref(),
                };
                words::print(&words::json(&line));
            } else {
                words::print(&format!("{table}: {}\n  {}", letter.what, letter.reason));
            }
        }
    }
    if exit == Exit::Done && !args.json {
        words::print("no dead letters");
    }
    stores.close().await;
    Ok(exit)
}
