//! `migrate slice`: the rows of some partitions, masked as in rehearsals, in scratch tables: test data.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;

use crossfade::codec::cql;
use crossfade::copier::CopySettings;
use crossfade::error::{Error, Kind, Result};
use crossfade::json;
use crossfade::migration::{CopyOptions, Migration};
use crossfade::model::Tokens;

use crate::Exit;
use crate::args;
use crate::copy;
use crate::format;
use crate::progress::Screen;
use crate::signal;
use crate::stores::OpenStores;

/// Values of a partition key, by column.
type PartitionValues = Map<String, Json>;

/// A table, and what is copied of it.
struct TableSlice {
    migration: Migration,
    /// Tokens of the partitions that are named.
    tokens: BTreeSet<i64>,
}

pub async fn run(args: &args::SliceArgs, screen: &Screen) -> Result<Exit> {
    let named = match (&args.keys, &args.condition) {
        (Some(file), _) => keys(file)?,
        (None, Some(text)) => vec![condition(text)?],
        (None, None) => Vec::new(),
    };
    let mut stores = OpenStores::open(&args.plan).await?;
    stores.suffixed(&args.to_suffix)?;
    let slices = slices(&stores, &named, screen).await?;
    if args.dry_run {
        for slice in &slices {
            format::print(&format!(
                "{} -> {}: {} partitions would be copied",
                slice.migration.spec.name,
                slice.migration.spec.to,
                format::count(slice.tokens.len() as u64)
            ));
        }
        stores.close().await;
        return Ok(Exit::Done);
    }
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    for slice in &slices {
        slice.migration.init_scratch().await?;
        let copied = copy_slice(&stores, slice, &stop, screen).await?;
        exit = exit.max(copied.exit);
        if copied.exit == Exit::Stopped {
            screen.say("stopped; run the same command again to go on");
            break;
        }
        format::print(&format!(
            "{} -> {}: {} partitions, {} rows, {} dead letters",
            slice.migration.spec.name,
            slice.migration.spec.to,
            format::count(slice.tokens.len() as u64),
            format::count(copied.rows),
            format::count(copied.failures)
        ));
    }
    stores.close().await;
    Ok(exit)
}

/// The tables whose partition key the keys name, the others told of.
async fn slices(
    stores: &OpenStores,
    named: &[PartitionValues],
    screen: &Screen,
) -> Result<Vec<TableSlice>> {
    let mut slices = Vec::new();
    let mut others = Vec::new();
    for migration in stores.migrations(None)? {
        let survey = migration.survey().await?;
        let source = survey.transform.source();
        let columns = source.partition();
        let mut tokens = BTreeSet::new();
        for one in named {
            let is_whole = one.len() == columns.len()
                && columns.iter().all(|column| one.contains_key(&column.name));
            if is_whole {
                let values = json::key_part(source, columns, one)?;
                tokens.insert(cql::token(columns, &values));
            }
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        match tokens.is_empty() {
            false => slices.push(TableSlice { migration, tokens }),
            true => others.push(format!("{} ({})", migration.spec.name, names.join(", "))),
        }
    }
    let others = others.join(", ");
    if slices.is_empty() {
        let message = "no table of the plan has this partition key";
        return Err(Error::new(Kind::Config, message)
            .with_context("tables, with their partition keys", others)
            .with_help("name every column of a table's partition key, and no other"));
    }
    if !others.is_empty() {
        screen.say(&format!("left out, with other partition keys: {others}"));
    }
    Ok(slices)
}

/// What became of a slice.
struct CopiedSlice {
    rows: u64,
    failures: u64,
    exit: Exit,
}

async fn copy_slice(
    stores: &OpenStores,
    slice: &TableSlice,
    stop: &CancellationToken,
    screen: &Screen,
) -> Result<CopiedSlice> {
    let mut copied = CopiedSlice {
        rows: 0,
        failures: 0,
        exit: Exit::Done,
    };
    for token in &slice.tokens {
        let options = CopyOptions {
            offline: true,
            settle: false,
            shard: None,
            journal: stores.plan.journal_dir.clone(),
            copier: copy::copier_name(),
            lease: stores.plan.lease.lasts,
            copy: CopySettings {
                share: Tokens {
                    after: token.saturating_sub(1),
                    up_to: *token,
                },
                ..CopySettings::default()
            },
        };
        let one = copy::one(&slice.migration, options, false, stop, screen).await?;
        copied.rows += one.counts.read;
        copied.failures = one.failures;
        copied.exit = copied.exit.max(one.exit);
        if one.exit == Exit::Stopped {
            break;
        }
    }
    Ok(copied)
}

/// A JSON object in each line.
fn keys(file: &Path) -> Result<Vec<PartitionValues>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("can't read {}: {error}", file.display());
        Error::new(Kind::Config, message).with_help("name a file with a JSON object in each line")
    })?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let key = |(at, line): (usize, &str)| {
        serde_json::from_str::<PartitionValues>(line).map_err(|error| {
            let message = format!("{}:{}: not a JSON object: {error}", file.display(), at + 1);
            Error::new(Kind::Config, message).with_help(r#"write {"account": "itv"}"#)
        })
    };
    lines.map(key).collect()
}

/// Reads `account = 'itv' and year = 2026`, as CQL writes it.
fn condition(text: &str) -> Result<PartitionValues> {
    let wrong = |why: &str| {
        Error::new(Kind::Config, format!("--where {text:?}: {why}")).with_help(
            "write a value for each column of the partition key: account = 'itv' and year = 2026",
        )
    };
    let mut named = PartitionValues::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, after) = quoted
                    .split_once('"')
                    .ok_or_else(|| wrong("a `\"` is missing"))?;
                (name.to_owned(), after)
            }
            None => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                // As CQL reads it: without quotes, case says nothing.
                (name.to_lowercase(), after)
            }
        };
        if name.is_empty() {
            return Err(wrong("a column's name is missing"));
        }
        let after = after.trim_start().strip_prefix('=');
        let after = after.ok_or_else(|| wrong("only `=` is known"))?;
        let (value, after) =
            value(after.trim_start()).ok_or_else(|| wrong("a value is missing"))?;
        if named.insert(name, value).is_some() {
            return Err(wrong("a column is named twice"));
        }
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(named);
        }
        let and = rest
            .get(..4)
            .filter(|word| word.eq_ignore_ascii_case("and "));
        if and.is_none() {
            return Err(wrong("`and` is missing"));
        }
        rest = rest.get(4..).unwrap_or_default().trim_start();
    }
}

/// A value at the text's beginning, and what follows it.
fn value(text: &str) -> Option<(Json, &str)> {
    let Some(mut quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let value = match word {
            "" => return None,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            word => match word.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => word.into(),
            },
        };
        return Some((value, rest));
    };
    // A quote inside is written twice.
    let mut made = String::new();
    loop {
        let (part, rest) = quoted.split_once('\'')?;
        made += part;
        match rest.strip_prefix('\'') {
            Some(rest) => {
                made.push('\'');
                quoted = rest;
            }
            None => return Some((made.into(), rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_read_as_cql_writes_them() {
        let read = |text: &str| Json::Object(condition(text).unwrap());
        assert_eq!(read("account = 'itv'"), json!({"account": "itv"}));
        assert_eq!(
            read("Account='it''s' AND \"Year\" = 2026"),
            json!({"account": "it's", "Year": 2026})
        );
        assert_eq!(
            read("id = 1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
            json!({"id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427"})
        );
        for wrong in [
            "",
            "a",
            "a =",
            "a > 1",
            "a = 'x",
            "a = 1 b = 2",
            "a = 1 and a = 2",
        ] {
            let error = condition(wrong).unwrap_err();
            assert!(error.to_string().contains("--where"), "{error}");
        }
    }
}
