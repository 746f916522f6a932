//! `migrate check`: what there is to know before anything moves.

use std::collections::BTreeMap;
use std::path::Path;

use crossfade::clock;
use crossfade::display;
use crossfade::error::{Error, Kind, Result};
use crossfade::item::{Mapping, item_size};
use crossfade::migration::{Migration, Survey};
use crossfade::model::{Mark, Row};
use crossfade::plan::{NewStorePlan, OldStorePlan};
use crossfade::store::{Finding, Weight};
use crossfade::transform::Mask;
use crossfade::transform::Transform;
use crossfade::visible::visible;

use crate::args;
use crate::format;
use crate::next;
use crate::stores::Stores;
use crate::{Exit, ends};

/// Places of the ring that rows are read from, and rows of each.
const PLACES: usize = 32;
const ROWS: usize = 100;
/// Examples of each kind of trouble.
const EXAMPLES: usize = 3;

pub async fn run(args: &args::Check) -> Result<Exit, Error> {
    let stores = Stores::open_anew(&args.chosen.plan).await?;
    format::print(&format!(
        "old: {}\nnew: {}",
        stores.old_name, stores.new_name
    ));
    let mut exit = Exit::Done;
    let mut tables = 0;
    let mut unready = Vec::new();
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        format::print(&format!(
            "\n{} -> {}",
            migration.spec.name, migration.spec.to
        ));
        let checked = match table(&stores, &migration).await {
            Ok(checked) => checked,
            Err(error) if is_about_the_table(&error) => {
                format::print(&format!("  refused: {error}"));
                Exit::Error
            }
            Err(error) => return Err(error),
        };
        exit = exit.max(checked);
        tables += 1;
        if checked != Exit::Done {
            let why = match checked {
                Exit::Differences => "some of its rows would become dead letters",
                Exit::Done | Exit::Error | Exit::Stopped => "refused",
            };
            unready.push(format!("{}: {why}, as said above", migration.spec.name));
        }
    }
    format::print(&verdict(&args.chosen.plan, tables, &unready));
    stores.close().await;
    Ok(exit)
}

/// What all of it comes to.
fn verdict(plan: &Path, tables: usize, unready: &[String]) -> String {
    if unready.is_empty() {
        let tables = match tables {
            1 => "the table".to_owned(),
            tables => format!("all {tables} tables"),
        };
        let init = next::command("init", plan, None);
        return format!("\n{tables} can be moved: {init}");
    }
    let ready = tables - unready.len();
    format!(
        "\n{ready} of {tables} tables can be moved as the plan says; to be decided:\n  {}",
        unready.join("\n  ")
    )
}

fn is_about_the_table(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Missing | Kind::Mismatch | Kind::Config | Kind::Unsupported | Kind::Denied
    )
}

async fn table(stores: &Stores, migration: &Migration) -> Result<Exit> {
    let survey = migration.survey().await?;
    let mut exit = Exit::Done;
    for finding in &survey.old.findings {
        exit = exit.max(tell(migration, finding));
    }
    match migration.check_target(&survey).await? {
        None => format::print("  target: not there yet; `migrate init` makes it"),
        Some(target) => {
            let rows = target.rows.map_or_else(String::new, |rows| {
                format!(", about {} items", format::count(rows))
            });
            format::print(&format!("  target: there{rows}"));
            for finding in &target.findings {
                exit = exit.max(tell(migration, finding));
            }
        }
    }
    size(&survey);
    ends::of_table(&survey, migration.spec.expiry.as_ref());
    if survey.transform.source().is_counter() {
        let may = match migration.spec.decrements {
            true => "may go down, as the plan says",
            false => "only grow; where they may go down, set `decrements = true` in the plan",
        };
        format::print(&format!(
            "  counters: folded by their watermarks; they {may}"
        ));
    }
    if let NewStorePlan::DynamoDb(_) = stores.plan.new {
        let mapping = Mapping::new(survey.transform.target())?;
        columns(&mapping);
        changes(migration);
        exit = exit.max(sample(stores, migration, &survey, &mapping).await?);
    }
    Ok(exit)
}

fn tell(migration: &Migration, finding: &Finding) -> Exit {
    let refused = !migration.refusals(std::slice::from_ref(finding)).is_empty();
    let word = match (refused, finding.weight) {
        (true, _) => "refused",
        (false, Weight::Ignorable(_)) => "ignored",
        (false, Weight::Note | Weight::Refused) => "note",
    };
    format::print(&format!(
        "  {word}: {}: {}; {}",
        finding.code,
        visible(&finding.message),
        visible(&finding.next_step(refused))
    ));
    if refused { Exit::Error } else { Exit::Done }
}

fn size(survey: &Survey) {
    match (survey.old.rows, survey.old.bytes) {
        (None, None) => format::print("  size: the old store has no estimate (yet)"),
        (rows, bytes) => {
            let rows = rows.map(|rows| format!("about {} rows", format::count(rows)));
            let bytes = bytes.map(|bytes| format!("about {}", format::bytes(bytes)));
            let parts: Vec<String> = [rows, bytes].into_iter().flatten().collect();
            format::print(&format!("  size: {}", parts.join(", ")));
        }
    }
}

fn columns(mapping: &Mapping) {
    let row = |report: crossfade::item::ColumnReport| {
        vec![
            report.column,
            report.cql_type,
            report.attribute,
            report.form,
            report.note,
        ]
    };
    let rows = mapping.describe().into_iter().map(row).collect();
    let header = ["column", "CQL type", "attribute", "form", "note"];
    for line in format::table(&header, rows).lines() {
        format::print(&format!("  {line}"));
    }
    let key = |key: &crossfade::item::KeyAttribute| format!("{} ({:?})", key.name, key.ty);
    let sort = mapping.sort().map_or_else(|| "none".to_owned(), key);
    format::print(&format!(
        "  keys: partition {}, sort {sort}",
        key(mapping.partition())
    ));
}

/// What the plan does to single columns.
fn changes(migration: &Migration) {
    for (column, rule) in &migration.spec.columns {
        let mut changes = Vec::new();
        if rule.drop {
            changes.push("dropped".to_owned());
        }
        changes.extend(
            rule.rename
                .as_ref()
                .map(|name| format!("renamed to {name}")),
        );
        changes.extend(rule.mask.map(|mask| match mask {
            Mask::Hmac => "masked by HMAC".to_owned(),
            Mask::Redact => "redacted".to_owned(),
        }));
        format::print(&format!("  plan: {column}: {}", changes.join(", ")));
    }
}

/// What would become of some rows, and how large they are.
async fn sample(
    stores: &Stores,
    migration: &Migration,
    survey: &Survey,
    mapping: &Mapping,
) -> Result<Exit> {
    let rows = migration
        .sample(survey.transform.source(), PLACES, ROWS)
        .await?;
    if let OldStorePlan::Cassandra(_) = stores.plan.old {
        ends::of_sample(survey, &rows);
    }
    if rows.is_empty() {
        format::print("  sample: the table seems to be empty");
        return Ok(Exit::Done);
    }
    let count = rows.len();
    let (mut bytes, mut largest, mut largest_key) = (0_u64, 0, String::new());
    let mut troubles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // As if it were frozen now: rows' ends are counted from there.
    let transform = survey.transform.frozen(Some(clock::unix_micros()));
    for row in rows {
        let key = display::key(survey.transform.source(), &row.key);
        match item_bytes(&transform, mapping, row) {
            Ok(size) => {
                bytes += size as u64;
                if size > largest {
                    (largest, largest_key) = (size, key);
                }
            }
            Err(error) => {
                let places = error.places();
                let example = match places.is_empty() {
                    true => key,
                    false => format!("{key} ({places})"),
                };
                troubles.entry(error.cause()).or_default().push(example);
            }
        }
    }
    let fine = count - troubles.values().map(Vec::len).sum::<usize>();
    if fine > 0 {
        format::print(&format!(
            "  sample: {} rows, {} each on average, the largest {} ({largest_key})",
            format::count(count as u64),
            format::bytes(bytes / fine as u64),
            format::bytes(largest as u64)
        ));
    }
    for (reason, keys) in &troubles {
        format::print(&format!(
            "  dead letters: {} of {} sampled rows: {reason}\n    {}",
            format::count(keys.len() as u64),
            format::count(count as u64),
            keys.iter()
                .take(EXAMPLES)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n    ")
        ));
    }
    Ok(if troubles.is_empty() {
        Exit::Done
    } else {
        Exit::Differences
    })
}

fn item_bytes(transform: &Transform, mapping: &Mapping, row: Row) -> Result<usize> {
    let mut row = transform.apply(row)?;
    row.mark = Some(Mark::Copied);
    let item = mapping.item(&row)?;
    Ok(item_size(&item))
}
