//! `migrate check --json`: an object for each table.

use std::collections::BTreeMap;

use crossfade::forecast::{PRICES_AS_OF, PRICES_REGION};
use crossfade::item::KeyAttribute;

use super::gather::{Checked, Clocks};
use super::permits::Permits;
use crate::Exit;
use crate::format;
use crate::stores::OpenStores;

#[derive(serde::Serialize)]
struct Line<'a> {
    table: &'a str,
    to: &'a str,
    /// `ready`, `dead_letters` or `refused`.
    verdict: &'static str,
    /// What has to be decided first.
    decide: Vec<String>,
    findings: Vec<Told<'a>>,
    /// Why the rest isn't known; null if it is.
    error: Option<String>,
    /// Whether the new store has the table; null if that isn't known.
    target_exists: Option<bool>,
    keys: Option<Keys>,
    columns: Vec<ColumnJson>,
    /// What the old store estimates.
    estimated: Estimated,
    read: Option<Read<'a>>,
    forecast: Option<ForecastJson<'a>>,
    /// Seconds that a row lives where its writer didn't say; 0 for ever.
    default_ttl: Option<u32>,
    repaired_seconds_ago: Option<i64>,
    gc_grace_seconds: Option<u32>,
    /// Permissions that are missing on the old table, the target and the control table.
    missing_permissions: Vec<MissingJson<'a>>,
    /// What can't be told of permissions, and why.
    untold_permissions: Vec<&'a str>,
    /// Seconds that each clock is before this machine's; null where it doesn't tell.
    clocks: ClocksTold,
}

#[derive(serde::Serialize)]
struct Told<'a> {
    code: &'a str,
    message: &'a str,
    advice: &'a str,
    refused: bool,
}

#[derive(serde::Serialize)]
struct Keys {
    partition: String,
    sort: Option<String>,
}

#[derive(serde::Serialize)]
struct ColumnJson {
    column: String,
    cql_type: String,
    attribute: String,
    form: String,
    note: String,
}

#[derive(serde::Serialize)]
struct Estimated {
    rows: Option<u64>,
    bytes: Option<u64>,
}

#[derive(serde::Serialize)]
struct Read<'a> {
    rows: u64,
    /// Of the ring, 0 to 1; 0 where it isn't known.
    share: f64,
    bytes: u64,
    write_units: u64,
    largest: Option<u64>,
    largest_key: Option<&'a str>,
    ending: u64,
    key_only: u64,
    /// Rows that would become dead letters, by the reason.
    dead_letters: BTreeMap<&'a str, u64>,
}

#[derive(serde::Serialize)]
struct ForecastJson<'a> {
    rows: u64,
    bytes: u64,
    write_units: u64,
    read_units: u64,
    copy_seconds: f64,
    write_units_per_second: f64,
    /// Dollars.
    copy: f64,
    verify: f64,
    month: f64,
    /// Where the prices hold; null for those of the plan.
    prices_region: Option<&'a str>,
    prices_as_of: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct MissingJson<'a> {
    permission: &'a str,
    on: &'a str,
    /// Commands that take it.
    commands: &'a [&'static str],
}

#[derive(serde::Serialize)]
struct ClocksTold {
    old: Option<f64>,
    new: Option<f64>,
}

pub fn line(
    stores: &OpenStores,
    checked: &Checked,
    control: Option<&Permits>,
    clocks: Clocks,
) -> String {
    let permits = || [&checked.permits].into_iter().chain(control);
    let missing = permits().flat_map(|one| &one.missing);
    let untold = permits().flat_map(|one| &one.untold);
    let told = checked.findings().map(|finding| Told {
        code: finding.code,
        message: &finding.message,
        advice: &finding.advice,
        refused: checked.is_refused(finding),
    });
    let columns = checked
        .mapping
        .iter()
        .flat_map(|mapping| mapping.describe());
    let columns = columns.map(|one| ColumnJson {
        column: one.column,
        cql_type: one.cql_type,
        attribute: one.attribute,
        form: one.form,
        note: one.note,
    });
    let key = |key: &KeyAttribute| key.name.clone();
    let is_of_plan = stores.plan.prices.is_some();
    format::json(&Line {
        table: checked.name(),
        to: &checked.migration.spec.to,
        verdict: match checked.exit() {
            Exit::Done => "ready",
            Exit::Differences => "dead_letters",
            Exit::Error | Exit::Stopped => "refused",
        },
        decide: checked.decisions(),
        findings: told.collect(),
        error: checked.error.as_ref().map(ToString::to_string),
        target_exists: checked.target.as_ref().map(Option::is_some),
        keys: checked.mapping.as_ref().map(|mapping| Keys {
            partition: key(mapping.partition()),
            sort: mapping.sort().map(key),
        }),
        columns: columns.collect(),
        estimated: Estimated {
            rows: checked.survey.as_ref().and_then(|survey| survey.old.rows),
            bytes: checked.survey.as_ref().and_then(|survey| survey.old.bytes),
        },
        read: checked.measured.as_ref().map(|found| Read {
            rows: found.rows,
            share: found.share,
            bytes: found.bytes,
            write_units: found.write_units,
            largest: found.largest.as_ref().map(|(bytes, _)| *bytes),
            largest_key: found.largest.as_ref().map(|(_, key)| key.as_str()),
            ending: found.ending,
            key_only: found.key_only,
            dead_letters: found
                .troubles
                .iter()
                .map(|(reason, trouble)| (reason.as_str(), trouble.rows))
                .collect(),
        }),
        forecast: checked.forecast.as_ref().map(|told| ForecastJson {
            rows: told.size.rows.round() as u64,
            bytes: told.size.bytes as u64,
            write_units: told.size.write_units as u64,
            read_units: told.read_units as u64,
            copy_seconds: told.copy_seconds,
            write_units_per_second: told.write_units_per_second,
            copy: told.copy,
            verify: told.verify,
            month: told.month,
            prices_region: (!is_of_plan).then_some(PRICES_REGION),
            prices_as_of: (!is_of_plan).then_some(PRICES_AS_OF),
        }),
        default_ttl: checked.survey.as_ref().map(|survey| survey.old.default_ttl),
        repaired_seconds_ago: checked.repaired.and_then(|one| one.seconds_ago),
        gc_grace_seconds: checked.repaired.map(|one| one.gc_grace_seconds),
        missing_permissions: missing
            .map(|one| MissingJson {
                permission: &one.permission,
                on: &one.on,
                commands: &one.commands,
            })
            .collect(),
        untold_permissions: untold.map(String::as_str).collect(),
        clocks: ClocksTold {
            old: clocks.old,
            new: clocks.new,
        },
    })
}
