//! What `migrate check` says of one table.

use crossfade::item::{KeyAttribute, Mapping};
use crossfade::migration::{Measured, Migration, Survey};
use crossfade::plan::OldStorePlan;
use crossfade::store::cassandra::{READS_OF_NODE, ReadShare, RepairHistory};
use crossfade::store::{Finding, Weight};
use crossfade::transform::Mask;
use crossfade::visible::visible;

use super::ends;
use super::gather::{Checked, Clocks};
use super::permits::{Permits, not_asked};
use crate::format;
use crate::stores::OpenStores;

pub fn table(stores: &OpenStores, checked: &Checked) {
    let spec = &checked.migration.spec;
    format::print(&format!("\n{} -> {}", spec.name, spec.to));
    if let Some(survey) = &checked.survey {
        for finding in &survey.old.findings {
            tell(checked, finding);
        }
    }
    match &checked.target {
        None => {}
        Some(None) => format::print("  target: not there yet; `migrate init` makes it"),
        Some(Some(target)) => {
            let rows = target.rows.map_or_else(String::new, |rows| {
                format!(", about {} items", format::count(rows))
            });
            format::print(&format!("  target: there{rows}"));
            for finding in &target.findings {
                tell(checked, finding);
            }
        }
    }
    if let (Some(survey), Some(_)) = (&checked.survey, &checked.target) {
        size(survey);
        ends::of_table(survey, spec.expiry.as_ref());
        if survey.transform.source().is_counter() {
            let may = match spec.decrements {
                true => "may go down, as the plan says",
                false => "only grow; where they may go down, set `decrements = true` in the plan",
            };
            format::print(&format!(
                "  counters: folded by their watermarks; they {may}"
            ));
        }
        checked.repaired.iter().for_each(repaired);
        checked.mapping.iter().for_each(columns);
        changes(&checked.migration);
        if let Some(found) = &checked.measured {
            if let OldStorePlan::Cassandra(_) = stores.plan.old {
                ends::of_sample(survey, found.key_only, found.rows);
            }
            sample(found);
        }
    }
    if let Some(error) = &checked.error {
        format::print(&format!("  refused: {error}"));
    }
    told(&checked.permits);
}

/// What a copy takes of the cluster while it reads.
pub fn read_share(share: &ReadShare) {
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let ranges = many(share.readers, "range");
    let cluster = format!(
        "{}, each read of {}",
        many(share.nodes, "node"),
        many(share.replicas, "replica")
    );
    let why = match share.is_planned {
        true => "`readers` of the plan".to_owned(),
        false => format!("at most {READS_OF_NODE} for each node"),
    };
    format::print(&format!("reads: {ranges} at once ({cluster}; {why})"));
}

fn tell(checked: &Checked, finding: &Finding) {
    let refused = checked.is_refused(finding);
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

/// Rows that replicas don't agree on are missed below ALL, and what was deleted longer ago than gc_grace may be back.
fn repaired(repaired: &RepairHistory) {
    let grace = format::time(f64::from(repaired.gc_grace_seconds));
    let told = match repaired.seconds_ago {
        Some(ago) if ago <= i64::from(repaired.gc_grace_seconds) => {
            format!(
                "{} ago, within gc_grace ({grace})",
                format::time(ago as f64)
            )
        }
        Some(ago) => format!(
            "{} ago, longer than gc_grace ({grace}): what was deleted may be back on a replica; repair first",
            format::time(ago as f64)
        ),
        None => format!(
            "not as far as the server has written down; gc_grace is {grace}. Where replicas may differ, repair first"
        ),
    };
    format::print(&format!("  repaired: {told}"));
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
    let key = |key: &KeyAttribute| format!("{} ({:?})", key.name, key.ty);
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
            Mask::Email | Mask::Phone | Mask::Digits => format!("masked as {}", mask.name()),
        }));
        let constant = rule.constant.as_ref();
        changes.extend(constant.map(|text| format!("always {text:?} where it isn't null")));
        changes.extend(rule.convert.map(|to| format!("converted to {}", to.name())));
        changes.extend(rule.form.map(|form| format!("kept as a {}", form.name())));
        let rehearsed = migration.spec.rehearsal_masks.get(column);
        changes.extend(rehearsed.map(|mask| format!("in rehearsals masked as {}", mask.name())));
        format::print(&format!("  plan: {column}: {}", changes.join(", ")));
    }
}

/// What would become of the rows that were read, and how large they are.
fn sample(found: &Measured) {
    if found.rows == 0 {
        format::print("  sample: the table seems to be empty");
        return;
    }
    if let (Some((largest, key)), fine @ 1..) = (&found.largest, found.fine()) {
        let ending = match found.ending {
            0 => String::new(),
            ending => format!("; {} of them end some day", format::count(ending)),
        };
        format::print(&format!(
            "  sample: {} rows, {} each on average, the largest {} ({key}){ending}",
            format::count(found.rows),
            format::bytes(found.bytes / fine),
            format::bytes(*largest)
        ));
    }
    for (reason, trouble) in &found.troubles {
        format::print(&format!(
            "  dead letters: {} of {} sampled rows: {reason}\n    {}",
            format::count(trouble.rows),
            format::count(found.rows),
            trouble.examples.join("\n    ")
        ));
    }
}

fn told(permits: &Permits) {
    for one in &permits.missing {
        format::print(&format!("  permission missing: {}", one.told()));
    }
    for why in &permits.untold {
        format::print(&format!("  permission not known: {why}"));
    }
}

/// Permissions on the control table, and which nobody can tell.
pub fn permits(control: Option<&Permits>, all: &[Checked]) {
    let Some(control) = control else { return };
    let of_tables = all.iter().map(|one| &one.permits);
    let mut everywhere = of_tables.chain([control]);
    if everywhere.all(|permits| permits.missing.is_empty() && permits.untold.is_empty()) {
        format::print("permissions: none is missing of those that reading can tell");
    } else {
        format::print("permissions on the control table:");
        match control.missing.is_empty() && control.untold.is_empty() {
            true => format::print("  none is missing of those that reading can tell"),
            false => told(control),
        }
    }
    format::print(&format!(
        "  not asked, since asking would change something: {}; policies for each command are in docs/security.md",
        not_asked().join(", ")
    ));
}

/// Further apart than this is told.
const APART_SECONDS: f64 = 1.0;

/// Expiries and the moment of a freeze are compared across these clocks.
pub fn clocks(clocks: Clocks) {
    let told = |which: &str, ahead: Option<f64>| {
        if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > APART_SECONDS) {
            let way = if ahead > 0.0 { "before" } else { "after" };
            format::print(&format!(
                "note: the clock of the {which} store is {:.1} s {way} this machine's; let NTP set them right",
                ahead.abs()
            ));
        }
    };
    told("old", clocks.old);
    told("new", clocks.new);
}
