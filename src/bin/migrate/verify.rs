//! `migrate verify`

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crossfade::error::{Error, Kind, Result};
use crossfade::layer::retry::Patience;
use crossfade::migration::{Migration, VerifyOptions};
use crossfade::verifier::{self, Example, Found, Mended, VerifyOutcome};
use crossfade::visible::visible;

use crate::Exit;
use crate::args;
use crate::copy;
use crate::format;
use crate::metrics::{self, Metered};
use crate::next;
use crate::progress::Screen;
use crate::rehearse;
use crate::signal;
use crate::stores::{OpenStores, VerifyReads};

/// Examples that are shown to people.
const SHOWN: usize = 20;

pub async fn run(args: &args::Verify, screen: &Screen) -> Result<Exit, Error> {
    let sample = args.sample.as_deref().map(share).transpose()?;
    let reads = match args.consistency {
        Some(args::VerifyConsistency::All) => VerifyReads::All,
        None => VerifyReads::AsPlanned,
    };
    let mut stores = OpenStores::open(&args.chosen.plan).await?;
    metrics::serve(args.metrics, stores.plan.serve.key.as_ref(), screen).await?;
    if let Some(suffix) = &args.to_suffix {
        stores.suffixed(suffix)?;
        rehearse::refuse_parts(&stores, args.chosen.table.as_deref()).await?;
    }
    let migrations = stores
        .unfinished(args.chosen.table.as_deref(), screen)
        .await?;
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    let mut verified = Vec::new();
    for migration in &migrations {
        let (old, reading) = stores.verify_reads(reads);
        let options = VerifyOptions {
            journal: stores.plan.journal_dir.clone(),
            name: copy::copier_name(),
            lease: stores.plan.lease.lasts,
            repair: (args.repair && !args.dry_run).then_some(args.delete_extra),
            as_repair: args.dry_run,
            old,
            reading,
            patience: match reads {
                VerifyReads::All => Patience::ALL_REPLICAS,
                VerifyReads::AsPlanned => Patience::default(),
            },
            verify: verifier::VerifySettings {
                sample: sample.unwrap_or(1.0),
                max_differences: args.max_differences,
                ..verifier::VerifySettings::default()
            },
        };
        match one(migration, options, args.metrics.is_some(), &stop, screen).await {
            Ok(outcome) => {
                let stale = stale(migration, &outcome, sample);
                if !outcome.found.is_clean() {
                    exit = exit.max(Exit::Differences);
                } else if let Some(stale) = stale {
                    // It has found nothing, and that is no news of the tables as they are.
                    screen.error(&stale);
                    exit = exit.max(Exit::Error);
                }
                verified.push((migration.spec.name.clone(), outcome));
            }
            Err(error) if error.kind() == Kind::Stopped => {
                exit = Exit::Stopped;
                break;
            }
            // The other tables may well be ready.
            Err(error) if copy::concerns_one_table(&error) => {
                screen.error(&error);
                exit = exit.max(Exit::Error);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(file) = &args.json {
        write_json(file, &verified)?;
    }
    // Data go to stdout, and so do words where there is no other data.
    let is_data = args.json.as_deref() == Some(Path::new("-"));
    show(&verified, sample, args, |text| match is_data {
        true => screen.say(text),
        false => format::print(text),
    });
    if exit == Exit::Stopped {
        screen.say("stopped; run the same command again to go on");
    } else if exit == Exit::Differences && !args.repair && sample.is_none() {
        for (table, _) in verified
            .iter()
            .filter(|(_, outcome)| !outcome.found.is_clean())
        {
            let again = next::command("verify", &args.chosen.plan, Some(table));
            screen.say(&format!(
                "to repair what isn't the application's: {again} --repair"
            ));
        }
    }
    stores.close().await;
    Ok(exit)
}

/// Why what was found doesn't count any more.
fn stale(migration: &Migration, outcome: &VerifyOutcome, sample: Option<f64>) -> Option<Error> {
    if sample.is_some() {
        return None;
    }
    let refusal = migration.is_stale(Some(outcome.oldest_at))?;
    let error = Error::new(Kind::Mismatch, refusal.what);
    Some(
        error
            .with_context("table", migration.spec.name.as_str())
            .with_help(refusal.help),
    )
}

async fn one(
    migration: &Migration,
    options: VerifyOptions,
    metrics: bool,
    stop: &CancellationToken,
    screen: &Screen,
) -> Result<VerifyOutcome> {
    let (mut shown, mut metered) = (None, None);
    let ready = |live: Arc<verifier::VerifyProgress>| {
        let progress = live.clone();
        let progress = move || (Some(progress.share()), None);
        metered = Some(Metered::new(metrics, migration, progress));
        shown = Some(screen.follow_verify(&migration.spec.name, live, migration.paces().clone()));
    };
    let outcome = migration.verify(options, stop, ready).await;
    drop((shown, metered));
    outcome
}

/// What `--json` writes for each table.
#[derive(serde::Serialize)]
struct VerifiedTable<'a> {
    table: &'a str,
    old_rows: u64,
    new_rows: u64,
    missing: u64,
    extra: u64,
    different: u64,
    counters_wrong: u64,
    foreign: u64,
    adopted: u64,
    late_writes: u64,
    partial: u64,
    unreadable: u64,
    clean: bool,
    /// Whether everything was looked at.
    complete: bool,
    /// If not: in how many rows the stores seemed to differ at least.
    seem_different: u64,
    /// When the oldest part was read, seconds since 1970.
    oldest_at: i64,
    seconds: f64,
    expiring: u64,
    future: u64,
    late_but_same: u64,
    unseen: u64,
    expiry_bound: Option<u64>,
    repaired: Option<Mended>,
    examples: &'a [Example],
}

fn write_json(file: &Path, verified: &[(String, VerifyOutcome)]) -> Result<()> {
    let lines: Vec<VerifiedTable<'_>> = verified.iter().map(|(table, o)| line(table, o)).collect();
    let text = format::json(&lines) + "\n";
    if file == Path::new("-") {
        format::print(text.trim_end());
        return Ok(());
    }
    let written = std::fs::File::create(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let message = format!("can't write {}: {error}", file.display());
        Error::new(Kind::Config, message).with_help("name another file in --json")
    })
}

fn line<'a>(table: &'a str, outcome: &'a VerifyOutcome) -> VerifiedTable<'a> {
    let found = &outcome.found;
    VerifiedTable {
        table,
        old_rows: found.old_rows,
        new_rows: found.new_rows,
        missing: found.missing,
        extra: found.extra,
        different: found.different,
        counters_wrong: found.counters_wrong,
        foreign: found.foreign,
        adopted: found.adopted,
        late_writes: found.late_writes,
        partial: found.partial,
        unreadable: found.unreadable,
        clean: found.is_clean(),
        complete: !found.stopped_early,
        seem_different: found.seem_different,
        oldest_at: outcome.oldest_at,
        seconds: (outcome.seconds * 1e3).round() / 1e3,
        expiring: found.expiring,
        future: found.future,
        late_but_same: found.late_but_same,
        unseen: found.unseen,
        expiry_bound: found.expiry_bound,
        repaired: outcome.mended,
        examples: &found.examples,
    }
}

fn show(
    verified: &[(String, VerifyOutcome)],
    sample: Option<f64>,
    args: &args::Verify,
    print: impl Fn(&str),
) {
    if verified.is_empty() {
        return;
    }
    let header = [
        "table",
        "",
        "old",
        "new",
        "missing",
        "extra",
        "different",
        "counters",
        "foreign",
        "late",
        "time",
    ];
    let rows = verified.iter().map(|(table, outcome)| {
        let found = &outcome.found;
        let state = match found.is_clean() {
            true => "clean",
            false => "differs",
        };
        vec![
            table.clone(),
            state.to_owned(),
            format::count(found.old_rows),
            format::count(found.new_rows),
            format::count(found.missing),
            format::count(found.extra),
            format::count(found.different),
            format::count(found.counters_wrong),
            format::count(found.foreign),
            format::count(found.late_writes),
            format::time(outcome.seconds),
        ]
    });
    print(&format::results(&header, rows.collect()));
    for (table, outcome) in verified {
        for text in notes(&outcome.found) {
            print(&format!("{table}: {text}"));
        }
        if let Some(mended) = &outcome.mended {
            print(&format!("{table}: {}", mended_text(mended)));
        }
        if args.dry_run {
            print(&format!("{table}: {}", would_mend(&outcome.found, args)));
        }
        let examples = &outcome.found.examples;
        examples
            .iter()
            .take(SHOWN)
            .for_each(|example| print(&example_text(table, example)));
        if examples.len() > SHOWN {
            let more = outcome.found.differences() - SHOWN as u64;
            print(&format!(
                "{table}: and {} more; see --json",
                format::count(more)
            ));
        }
    }
    if let Some(share) = sample {
        print(&format!(
            "only {} % of the old rows were looked at, and the tool didn't look for items that the old store lacks",
            share * 100.0
        ));
    }
}

/// What else there is to say of a table.
fn notes(found: &Found) -> Vec<String> {
    let mut notes = Vec::new();
    if found.stopped_early {
        let seem = match found.seem_different {
            0 => String::new(),
            seem => format!(": {} rows or more seem to differ", format::count(seem)),
        };
        notes.push(format!(
            "stopped at {} differences, before everything was looked at{seem}. Remove the cause, or repair these \
             (--repair), and verify again; or raise --max-differences",
            format::count(found.differences())
        ));
    }
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            notes.push(format!("{} {what}", format::count(count)));
        }
    };
    note(
        found.adopted,
        "items were there when `init --adopt` took the target over (adopted), and are no differences",
    );
    note(
        found.unseen,
        "of these rows are of before the freeze, and the copy, which is through, didn't see them so: too few replicas \
         had them when it read, and a hint or a repair has brought them since (or the items were changed past the \
         shim). --repair copies them; before `new` repair the old table (`nodetool repair`) and verify with \
         --consistency all, since more may be on their way",
    );
    note(
        found.partial,
        "items have some columns of their rows only: --repair completes them",
    );
    note(
        found.unreadable,
        "items or ranges can't be read: --repair leaves those. If such an item was copied (`_m` is `c` or `r`), \
         delete it, and --repair copies it again",
    );
    note(
        found.expiring,
        "rows expired, or were about to, and weren't compared",
    );
    note(
        found.future,
        "old rows have a write time that hasn't come yet: the tool can't tell whether they came late",
    );
    note(
        found.late_but_same,
        "old rows were written after the freeze, and the new store has them: which client writes there without the shim?",
    );
    if let Some(bound) = found.expiry_bound {
        notes.push(format!(
            "an expiry that is wrong by {} or more would have been found",
            format::time(bound as f64)
        ));
    }
    if found.old_total != 0 || found.new_total != 0 {
        let apart = match found.old_total == found.new_total {
            true => "",
            false => ", which has what was added there too",
        };
        notes.push(format!(
            "the sum of all counters is {} in the old store, {} in the new one{apart}",
            found.old_total, found.new_total
        ));
    }
    notes
}

/// What `--repair` would do about it, as far as the application doesn't do it first.
fn would_mend(found: &Found, args: &args::Verify) -> String {
    let (deleted, left) = match args.delete_extra {
        true => (found.extra, 0),
        false => (0, found.extra),
    };
    format!(
        "would be repaired: {} missing copied, {} partial completed, {} different rewritten, {} counters folded, {} late writes \
         copied or rewritten, {} extra deleted; {} left as they are, and whatever an application owns or the new store \
         can't hold. Nothing was repaired",
        format::count(found.missing),
        format::count(found.partial),
        format::count(found.different),
        format::count(found.counters_wrong),
        format::count(found.late_writes),
        format::count(deleted),
        format::count(left + found.foreign + found.unreadable)
    )
}

fn mended_text(mended: &Mended) -> String {
    let Mended {
        copied,
        completed,
        rewritten,
        folded,
        deleted,
        left,
    } = mended;
    format!(
        "repaired: {copied} copied, {completed} completed, {rewritten} rewritten, {folded} folded, {deleted} \
         deleted; {left} left as they are. Verify again to see that it is clean"
    )
}

fn example_text(table: &str, example: &Example) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let mut text = format!("{table}: {}: {}", example.kind, example.key);
    for values in &example.columns {
        text.push_str(&format!(
            "\n  {}: old {}, new {}",
            visible(&values.column),
            shown(&values.old),
            shown(&values.new)
        ));
    }
    if let Some(note) = &example.note {
        text.push_str(&format!("\n  {note}"));
    }
    text
}

/// Reads `1%` or `0.5 %`.
pub fn share(text: &str) -> Result<f64> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    let percent = number.and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        Some(_) | None => Err(Error::new(
            Kind::Config,
            format!("--sample {text}: not a part of the table"),
        )
        .with_help("write a percentage above 0 and below 100, such as --sample 1%")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sample_is_a_percentage() {
        assert!((share("1%").unwrap() - 0.01).abs() < 1e-9);
        assert!((share("0.5 %").unwrap() - 0.005).abs() < 1e-9);
        for wrong in ["0%", "100%", "1", "x%", "-3%", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
