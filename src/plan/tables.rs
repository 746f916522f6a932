//! `[[table]]`.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{Section, Source, Text};
use super::{FinalRead, Ignore, KeyNames, ShimPlan, TablePlan};
use crate::shim::EXACTLY_ONCE_WITHIN;
use crate::transform::{ColumnRule, ExpiryFrom, ExpiryRule, KeyOnly, Mask};

/// A table, with what later checks need to name places.
pub(super) struct ReadTable {
    pub plan: TablePlan,
    pub name: Text,
    pub to: Text,
}

/// Reads every `[[table]]`. A table without a name is noted and left out.
pub(super) fn read(top: &mut Section<'_>, has_mask_key: bool, shim: &ShimPlan) -> Vec<ReadTable> {
    let sections = top.sections("table");
    if !top.has("table") || top.is_empty_array("table") {
        top.source.wrong(
            top.line_of("table"),
            "the plan names no table",
            "write [[table]] with name = \"…\"",
        );
    }
    sections
        .into_iter()
        .filter_map(|section| table(section, has_mask_key, shim))
        .collect()
}

fn table(mut table: Section<'_>, has_mask_key: bool, shim: &ShimPlan) -> Option<ReadTable> {
    let source = table.source;
    table.require(
        "name",
        "write name = \"…\", the table's name in the old store",
    );
    let name = table.text("name");
    let to = table.text("to");
    table.choice("oversize", &[("reject", ())]);
    let decrements = table.flag("decrements").unwrap_or(false);
    let exactly_once = table.flag("exactly_once").unwrap_or(false);
    if exactly_once && shim.deadline > EXACTLY_ONCE_WITHIN {
        source.wrong(
            table.line_of("exactly_once"),
            format!(
                "`exactly_once` with a `deadline_seconds` of {}: DynamoDB knows an add that was sent before for ten \
                 minutes alone",
                shim.deadline.as_secs()
            ),
            format!(
                "write {} at most in [shim] deadline_seconds, or leave `exactly_once` out",
                EXACTLY_ONCE_WITHIN.as_secs()
            ),
        );
    }
    let final_reads = [("all", FinalRead::All), ("quorum", FinalRead::Quorum)];
    let final_read = table.choice("final_read", &final_reads).unwrap_or_default();
    let ignore: BTreeSet<Ignore> = table.choices("ignore", Ignore::NAMES).into_iter().collect();
    let reserved_prefix = table.text("reserved_prefix");
    // What else there may be one day isn't built yet.
    table.choice("attributes", &[("columns", ())]);
    let fence = table.section("fence").and_then(fence);

    // Attributes that the plan names: no two may be the same.
    let mut attributes = Vec::new();
    let keys = table
        .section("keys")
        .map(|keys| key_names(keys, &mut attributes));
    let expiry = table
        .section("expiry")
        .and_then(|section| expiry(section, &mut attributes));
    let key_only = key_only(&mut table);
    let columns = table.section("columns").map(|columns| {
        let columns = columns.all().into_iter();
        columns
            .map(|(name, section)| {
                let plan = column(section, &name, has_mask_key, &mut attributes);
                (name, plan)
            })
            .collect::<BTreeMap<_, _>>()
    });
    distinct(source, &attributes);

    let line = table.line;
    table.finish();
    let name = name?;
    let to = to.unwrap_or_else(|| name.clone());
    let plan = TablePlan {
        name: name.value.clone(),
        to: to.value.clone(),
        line,
        ignore,
        reserved_prefix: reserved_prefix.map(|prefix| prefix.value),
        keys: keys.unwrap_or_default(),
        expiry,
        key_only,
        decrements,
        exactly_once,
        final_read,
        fence,
        columns: columns.unwrap_or_default(),
    };
    Some(ReadTable { plan, name, to })
}

/// The role whose permission to write is taken.
fn fence(mut fence: Section<'_>) -> Option<String> {
    fence.require(
        "role",
        "write role = \"…\", the role that the application logs in as",
    );
    let role = fence.text("role");
    fence.finish();
    role.map(|role| role.value)
}

fn key_names(mut keys: Section<'_>, attributes: &mut Vec<Text>) -> KeyNames {
    let partition = keys.text("partition");
    let sort = keys.text("sort");
    let partition_hash = keys.flag("partition_hash").unwrap_or(false);
    attributes.extend(partition.iter().chain(&sort).cloned());
    keys.finish();
    KeyNames {
        partition: partition.map(|name| name.value),
        sort: sort.map(|name| name.value),
        partition_hash,
    }
}

fn expiry(mut expiry: Section<'_>, attributes: &mut Vec<Text>) -> Option<ExpiryRule> {
    expiry.require("attribute", "write attribute = \"expires_at\"");
    let attribute = expiry.text("attribute");
    attributes.extend(attribute.clone());
    expiry.require("from", "write from = \"max\", \"min\" or \"reject\"");
    let from = expiry.choice(
        "from",
        &[
            ("max", ExpiryFrom::Max),
            ("min", ExpiryFrom::Min),
            ("reject", ExpiryFrom::Reject),
        ],
    );
    expiry.finish();
    Some(ExpiryRule {
        attribute: attribute?.value,
        from: from?,
    })
}

/// What becomes of rows whose end isn't known.
fn key_only(table: &mut Section<'_>) -> Option<KeyOnly> {
    let key_only = table.choice(
        "key_only",
        &[
            ("reject", KeyOnly::Reject),
            ("cells", KeyOnly::Cells),
            ("default_ttl", KeyOnly::DefaultTtl),
            ("keep", KeyOnly::Keep),
        ],
    );
    let lets_end = matches!(key_only, Some(KeyOnly::Cells | KeyOnly::DefaultTtl));
    if lets_end && !table.has("expiry") {
        table.source.wrong(
            table.line_of("key_only"),
            "`key_only` lets rows end, but the table has no `expiry`",
            "add expiry = { attribute = \"expires_at\", from = \"max\" }, or write key_only = \"keep\"",
        );
    }
    key_only
}

fn column(
    mut column: Section<'_>,
    name: &str,
    has_mask_key: bool,
    attributes: &mut Vec<Text>,
) -> ColumnRule {
    let source = column.source;
    let rename = column.text("rename");
    attributes.extend(rename.clone());
    let drop = column.flag("drop").unwrap_or(false);
    let masks = [("hmac", Mask::Hmac), ("redact", Mask::Redact)];
    let mask = column.choice("mask", &masks);

    if drop && (column.has("rename") || column.has("mask")) {
        source.wrong(
            column.line,
            format!("column `{name}` is dropped, and renamed or masked too"),
            "keep drop = true alone, or leave it out",
        );
    }
    if mask == Some(Mask::Hmac) && !has_mask_key {
        source.wrong(
            column.line_of("mask"),
            format!("column `{name}` has mask = \"hmac\", but the plan has no key for it"),
            "write [mask] with key = \"${MASK_KEY}\", or mask = \"redact\"",
        );
    }
    if !["rename", "drop", "mask"].iter().any(|key| column.has(key)) {
        source.wrong(
            column.line,
            format!("column `{name}` has nothing to do"),
            "write rename, drop or mask; columns that stay as they are aren't named",
        );
    }
    column.finish();
    ColumnRule {
        rename: rename.map(|rename| rename.value),
        drop,
        mask,
    }
}

fn distinct(source: &Source<'_>, attributes: &[Text]) {
    for (place, attribute) in attributes.iter().enumerate() {
        let first = attributes[..place]
            .iter()
            .find(|earlier| earlier.value == attribute.value);
        if let Some(first) = first {
            source.wrong(
                attribute.line,
                format!(
                    "two attributes of one table are named `{}`, here and in line {}",
                    attribute.shown, first.line
                ),
                "give each a name of its own",
            );
        }
    }
}
