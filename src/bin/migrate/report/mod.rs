//! `migrate report`: what is known of a migration, as one HTML file that needs no network.

mod busy;
mod chart;
mod html;
mod promises;
mod tables;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crossfade::clock;
use crossfade::control::DeadLetter;
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::findings::{self, LastVerification};
use crossfade::migration::history::{self, HistorySecond};
use crossfade::migration::{Migration, Status};
use crossfade::plan::NewStorePlan;

use crate::Exit;
use crate::args;
use crate::check;
use crate::format;
use crate::next;
use crate::progress::Screen;
use crate::stores::OpenStores;

use html::HtmlPage;

/// What is known of a table, and why the rest isn't.
struct ReportTable {
    name: String,
    to: String,
    is_rehearsal: bool,
    asked: Result<ControlAnswers>,
    last: std::io::Result<Option<LastVerification>>,
    histories: std::io::Result<BTreeMap<String, Vec<HistorySecond>>>,
    /// Columns that the plan leaves out of items.
    dropped: Vec<String>,
    /// What to do next, as `migrate status` says.
    next: Option<String>,
}

/// What the control table has.
struct ControlAnswers {
    status: Status,
    letters: Vec<DeadLetter>,
}

/// What the report as a whole says.
struct ReportHead {
    plan: String,
    old: String,
    new: String,
    control: String,
    journal: String,
    made_at: i64,
    prices: Option<(crossfade::forecast::Prices, String)>,
}

pub async fn run(args: &args::ReportArgs, screen: &Screen) -> Result<Exit> {
    let stores = OpenStores::open_new(&args.plan).await?;
    let mut migrations = Vec::new();
    match args.tables.is_empty() {
        true => migrations = stores.migrations(None)?,
        false => {
            for table in &args.tables {
                migrations.extend(stores.migrations(Some(table))?);
            }
        }
    }
    let mut exit = Exit::Done;
    let mut tables = Vec::new();
    for migration in &migrations {
        let table = gather(&stores, &args.plan, migration).await;
        if let Err(error) = &table.asked {
            screen.error(error);
            exit = Exit::Error;
        }
        tables.push(table);
    }
    let page = page(&head(&stores), &tables);
    write(&args.html, &page)?;
    screen.say(&format!("written: {}", args.html.display()));
    stores.close().await;
    Ok(exit)
}

fn head(stores: &OpenStores) -> ReportHead {
    let plan = &stores.plan;
    let prices = match &plan.new {
        NewStorePlan::DynamoDb(dynamodb) => Some((
            check::prices(stores),
            check::whose_prices(stores, &dynamodb.region),
        )),
        NewStorePlan::Embedded { .. } => None,
    };
    ReportHead {
        plan: plan.name.clone(),
        old: stores.old_name.clone(),
        new: stores.new_name.clone(),
        control: plan.control_table.clone(),
        journal: plan.journal_dir.display().to_string(),
        made_at: clock::unix_seconds(),
        prices,
    }
}

/// What is known of a table. What can't be asked or read is told in its place.
async fn gather(stores: &OpenStores, plan: &Path, migration: &Migration) -> ReportTable {
    let spec = &migration.spec;
    let journal = &stores.plan.journal_dir;
    let asked = asked(migration).await;
    let next = asked.as_ref().ok();
    let next = next.and_then(|asked| next::next(plan, migration, &asked.status));
    let dropped = spec.columns.iter().filter(|(_, rule)| rule.drop);
    ReportTable {
        name: spec.name.clone(),
        to: spec.to.clone(),
        is_rehearsal: spec.rehearsal,
        asked,
        last: findings::read(journal, &spec.name),
        histories: history::read(journal, &spec.name),
        dropped: dropped.map(|(column, _)| column.clone()).collect(),
        next,
    }
}

async fn asked(migration: &Migration) -> Result<ControlAnswers> {
    let status = migration.status().await?;
    let letters = match status.record {
        Some(_) => migration.failures().await?,
        None => Vec::new(),
    };
    Ok(ControlAnswers { status, letters })
}

/// The whole file.
fn page(head: &ReportHead, tables: &[ReportTable]) -> String {
    let mut page = HtmlPage::default();
    page.markup(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
    );
    page.text(&format!("Migration {}", head.plan));
    page.markup("</title>\n<style>\n");
    page.markup(include_str!("style.css"));
    page.markup("</style>\n</head>\n<body>\n<h1>");
    page.text(&format!("Migration {}", head.plan));
    page.markup("</h1>\n");
    page.paragraph(&format!("from {}; to {}", head.old, head.new));
    page.paragraph(&format!(
        "As of {}, by this machine's clock. Times are in UTC. The old store was not asked. Phases, counts, dead letters \
         and what was verified are from the control table {}; seconds and examples from the journal folder {} of this \
         machine.",
        format::moment(head.made_at),
        head.control,
        head.journal
    ));
    tables::overview(&mut page, tables);
    for table in tables {
        tables::table(&mut page, head, table);
    }
    page.markup("</body>\n</html>\n");
    page.finish()
}

/// Puts the file in its place as a whole. It may hold rows, so only its owner may read it.
fn write(path: &Path, page: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // One that is left from before may be readable by others, or lead somewhere else.
    let _ = std::fs::remove_file(&beside);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(page.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let message = format!("can't write {}: {error}", path.display());
        Error::new(Kind::Config, message).with_help("name another file in --html")
    })
}
