//! `[defaults]` and `[[table]]`.

use std::collections::{BTreeMap, BTreeSet};

use super::patterns::{Except, PatternPlan, matches};
use super::reader::{Section, Source, Text};
use super::{CapacityPlan, FinalRead, Ignore, KeyNames, ShimPlan, TablePlan, WarmPlan};
use crate::schema::Form;
use crate::shim::EXACTLY_ONCE_WITHIN;
use crate::transform::{ColumnRule, Convert, ExpiryFrom, ExpiryRule, KeyOnly, Mask};

/// A table, with what later checks need to name places.
pub(super) struct ReadTable {
    pub plan: TablePlan,
    pub name: Text,
    pub to: Text,
}

/// Every `[[table]]`: tables by their names, and patterns.
#[derive(Default)]
pub(super) struct All {
    pub tables: Vec<ReadTable>,
    pub patterns: Vec<PatternPlan>,
}

/// What `[defaults]` and a `[[table]]` may both say. What one leaves out is `None`.
#[derive(Clone, Default)]
struct TableRules {
    to_prefix: Option<Text>,
    ignore: Option<BTreeSet<Ignore>>,
    /// `Some(None)` says that there is none.
    expiry: Option<Option<(Text, ExpiryFrom)>>,
    key_only: Option<Option<KeyOnly>>,
    decrements: Option<bool>,
    exactly_once: Option<bool>,
    final_read: Option<FinalRead>,
    reserved_prefix: Option<Text>,
    fence: Option<Option<String>>,
    capacity: Option<Option<CapacityPlan>>,
    warm: Option<Option<WarmPlan>>,
}

impl TableRules {
    /// These, and those of the defaults that they leave out.
    fn or(self, defaults: &TableRules) -> TableRules {
        let defaults = defaults.clone();
        TableRules {
            to_prefix: self.to_prefix.or(defaults.to_prefix),
            ignore: self.ignore.or(defaults.ignore),
            expiry: self.expiry.or(defaults.expiry),
            key_only: self.key_only.or(defaults.key_only),
            decrements: self.decrements.or(defaults.decrements),
            exactly_once: self.exactly_once.or(defaults.exactly_once),
            final_read: self.final_read.or(defaults.final_read),
            reserved_prefix: self.reserved_prefix.or(defaults.reserved_prefix),
            fence: self.fence.or(defaults.fence),
            capacity: self.capacity.or(defaults.capacity),
            warm: self.warm.or(defaults.warm),
        }
    }
}

/// Reads `[defaults]` and every `[[table]]`. A table without a name is noted and left out.
pub(super) fn read(top: &mut Section<'_>, has_mask_key: bool, shim: &ShimPlan) -> All {
    let defaults = match top.section("defaults") {
        Some(mut section) => {
            let defaults = rules(&mut section, shim);
            ends_by_expiry(&section, &defaults);
            section.finish();
            defaults
        }
        None => TableRules::default(),
    };
    let sections = top.sections("table");
    if !top.has("table") || top.is_empty_array("table") {
        top.source.wrong(
            top.line_of("table"),
            "the plan names no table",
            "write [[table]] with name = \"…\", or name = \"*\" for all of the keyspace",
        );
    }
    let mut all = All::default();
    for section in sections {
        table(section, has_mask_key, shim, &defaults, &mut all);
    }
    all
}

fn rules(section: &mut Section<'_>, shim: &ShimPlan) -> TableRules {
    section.choice("oversize", &[("reject", ())]);
    // What else there may be one day isn't built yet.
    section.choice("attributes", &[("columns", ())]);
    let final_reads = [("all", FinalRead::All), ("quorum", FinalRead::Quorum)];
    let ignore = section.choices("ignore", Ignore::NAMES);
    let key_only = key_only(section);
    let rules = TableRules {
        to_prefix: section.text("to_prefix"),
        ignore: section.has("ignore").then(|| ignore.into_iter().collect()),
        expiry: section
            .section_or_none("expiry")
            .map(|e| e.and_then(expiry)),
        key_only: section.has("key_only").then_some(key_only),
        decrements: section.flag("decrements"),
        exactly_once: section.flag("exactly_once"),
        final_read: section.choice("final_read", &final_reads),
        reserved_prefix: section.text("reserved_prefix"),
        fence: section.section_or_none("fence").map(|f| f.and_then(fence)),
        capacity: section
            .section_or_none("capacity")
            .map(|c| c.and_then(capacity)),
        warm: section.section_or_none("warm").map(|w| w.and_then(warm)),
    };
    if rules.exactly_once == Some(true) && shim.deadline > EXACTLY_ONCE_WITHIN {
        section.source.wrong(
            section.line_of("exactly_once"),
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
    rules
}

fn table(
    mut table: Section<'_>,
    has_mask_key: bool,
    shim: &ShimPlan,
    defaults: &TableRules,
    all: &mut All,
) {
    let source = table.source;
    table.require(
        "name",
        "write name = \"…\", the table's name in the old store",
    );
    let name = table.text("name");
    let pattern = name
        .as_ref()
        .filter(|name| name.value.contains('*'))
        .cloned();
    let to = table.text("to");
    let except = table.texts("except");
    let rules = rules(&mut table, shim).or(defaults);
    ends_by_expiry(&table, &rules);

    // Attributes that the plan names: no two may be the same.
    let mut attributes = Vec::new();
    let keys = table
        .section("keys")
        .map(|keys| key_names(keys, &mut attributes));
    let expiry = rules.expiry.flatten().map(|(attribute, from)| {
        attributes.push(attribute.clone());
        ExpiryRule {
            attribute: attribute.value,
            from,
        }
    });
    let mut rehearsal_masks = BTreeMap::new();
    let columns = table.section("columns").map(|columns| {
        let columns = columns.all().into_iter();
        columns
            .map(|(name, section)| {
                let (plan, masked) = column(section, &name, has_mask_key, &mut attributes);
                rehearsal_masks.extend(masked.map(|mask| (name.clone(), mask)));
                (name, plan)
            })
            .collect::<BTreeMap<_, _>>()
    });
    distinct(source, &attributes);
    names_fit(&table, pattern.as_ref(), &except);

    let line = table.line;
    table.finish();
    let Some(name) = name else { return };
    let plan = TablePlan {
        name: name.value.clone(),
        to: match (&to, &rules.to_prefix) {
            (Some(to), _) => to.value.clone(),
            (None, Some(prefix)) => format!("{}{}", prefix.value, name.value),
            (None, None) => name.value.clone(),
        },
        line,
        ignore: rules.ignore.unwrap_or_default(),
        reserved_prefix: rules.reserved_prefix.map(|prefix| prefix.value),
        keys: keys.unwrap_or_default(),
        expiry,
        key_only: rules.key_only.flatten(),
        decrements: rules.decrements.unwrap_or(false),
        exactly_once: rules.exactly_once.unwrap_or(false),
        final_read: rules.final_read.unwrap_or_default(),
        fence: rules.fence.flatten(),
        capacity: rules.capacity.flatten(),
        warm: rules.warm.flatten(),
        columns: columns.unwrap_or_default(),
        rehearsal_masks,
    };
    if pattern.is_some() {
        all.patterns.push(PatternPlan {
            after: all.tables.len(),
            line: name.line,
            except: except.into_iter().map(Except::from).collect(),
            to_prefix: rules.to_prefix.map_or_else(String::new, |p| p.value),
            table: plan,
        });
        return;
    }
    let to = match (to, rules.to_prefix) {
        (Some(to), _) => to,
        (None, Some(prefix)) => Text {
            value: plan.to.clone(),
            shown: format!("{}{}", prefix.shown, name.shown),
            line: name.line,
        },
        (None, None) => name.clone(),
    };
    all.tables.push(ReadTable { plan, name, to });
}

/// What a pattern can't say, and a table can't.
fn names_fit(table: &Section<'_>, pattern: Option<&Text>, except: &[Text]) {
    let wrong = |key: &str, message: String, hint: &str| {
        table.source.wrong(table.line_of(key), message, hint);
    };
    let Some(pattern) = pattern else {
        if table.has("except") {
            let message = "`except` goes with a name that is a pattern".to_owned();
            wrong("except", message, "write name = \"*\", or leave it out");
        }
        if table.has("to") && table.has("to_prefix") {
            let message = "the table has both `to` and `to_prefix`".to_owned();
            wrong("to_prefix", message, "keep one of them");
        }
        return;
    };
    let shown = &pattern.shown;
    if table.has("to") {
        let message = format!("`{shown}` is many tables, which can't all move to one");
        wrong("to", message, "write to_prefix = \"…\", or leave it out");
    }
    if table.has("columns") {
        let message = format!("`{shown}` is many tables, and columns are those of one");
        let hint = "write a [[table]] with its name for each table whose columns change";
        wrong("columns", message, hint);
    }
    for name in except {
        if !name.value.contains('*') && !matches(&pattern.value, &name.value) {
            table.source.wrong(
                name.line,
                format!("`{}` is none of `{shown}` anyway", name.shown),
                "leave it out",
            );
        }
    }
}

/// Rows can end by `expiry` alone.
fn ends_by_expiry(table: &Section<'_>, rules: &TableRules) {
    let lets_end = matches!(
        rules.key_only,
        Some(Some(KeyOnly::Cells | KeyOnly::DefaultTtl))
    );
    let ends = matches!(rules.expiry, Some(Some(_)));
    // What the defaults say is told where they say it, and what is wrong with an `expiry` by itself.
    let is_told = !table.has("key_only") && !table.has("expiry");
    if lets_end && !ends && !is_told && !table.has_table("expiry") {
        table.source.wrong(
            table.line_of("key_only"),
            "`key_only` lets rows end, but the table has no `expiry`",
            "add expiry = { attribute = \"expires_at\", from = \"max\" }, or write key_only = \"keep\"",
        );
    }
}

/// The role whose permission to write is taken.
fn capacity(mut capacity: Section<'_>) -> Option<CapacityPlan> {
    const UNITS: &str = "write units a second";
    capacity.require(
        "during_copy",
        "write capacity = { during_copy = 10_000, after = 500 }",
    );
    capacity.require(
        "after",
        "write capacity = { during_copy = 10_000, after = 500 }",
    );
    let during_copy = capacity.whole("during_copy", 1..=u32::MAX, UNITS);
    let after = capacity.whole("after", 1..=u32::MAX, UNITS);
    capacity.finish();
    Some(CapacityPlan {
        during_copy: during_copy?,
        after: after?,
    })
}

fn warm(mut warm: Section<'_>) -> Option<WarmPlan> {
    warm.require("write", "write warm = { write = 12_000 }");
    let write = warm.whole("write", 1..=u32::MAX, "write units a second");
    let read = warm.whole("read", 1..=u32::MAX, "read units a second");
    warm.finish();
    Some(WarmPlan {
        write: write?,
        read,
    })
}

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

fn expiry(mut expiry: Section<'_>) -> Option<(Text, ExpiryFrom)> {
    expiry.require("attribute", "write attribute = \"expires_at\"");
    let attribute = expiry.text("attribute");
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
    Some((attribute?, from?))
}

/// What becomes of rows whose end isn't known.
fn key_only(table: &mut Section<'_>) -> Option<KeyOnly> {
    table.choice(
        "key_only",
        &[
            ("reject", KeyOnly::Reject),
            ("cells", KeyOnly::Cells),
            ("default_ttl", KeyOnly::DefaultTtl),
            ("keep", KeyOnly::Keep),
        ],
    )
}

/// What becomes of a column, and how it is masked in rehearsals.
fn column(
    mut column: Section<'_>,
    name: &str,
    has_mask_key: bool,
    attributes: &mut Vec<Text>,
) -> (ColumnRule, Option<Mask>) {
    let source = column.source;
    let rename = column.text("rename");
    attributes.extend(rename.clone());
    let drop = column.flag("drop").unwrap_or(false);
    let mask = column.choice("mask", Mask::NAMES);
    let rehearsal_mask = column.choice("rehearsal_mask", Mask::NAMES);
    let constant = column.text("constant");
    let convert = column.choice("convert", Convert::NAMES);
    let form = column.choice("form", Form::NAMES);

    let one_of = ["mask", "constant", "convert", "form"];
    let changed: Vec<&str> = one_of.into_iter().filter(|key| column.has(key)).collect();
    if drop && (column.has("rename") || column.has("rehearsal_mask") || !changed.is_empty()) {
        source.wrong(
            column.line,
            format!("column `{name}` is dropped, and renamed, masked or changed too"),
            "keep drop = true alone, or leave it out",
        );
    }
    if let [first, second, ..] = changed.as_slice() {
        source.wrong(
            column.line_of(second),
            format!("column `{name}` has both `{first}` and `{second}`"),
            "keep one of them",
        );
    }
    for (key, mask) in [("mask", mask), ("rehearsal_mask", rehearsal_mask)] {
        if let Some(mask) = mask.filter(|mask| mask.is_keyed() && !has_mask_key) {
            let of = mask.name();
            source.wrong(
                column.line_of(key),
                format!("column `{name}` has {key} = \"{of}\", but the plan has no key for it"),
                format!("write [mask] with key = \"${{MASK_KEY}}\", or {key} = \"redact\""),
            );
        }
    }
    let keys = ["rename", "drop", "rehearsal_mask"];
    if changed.is_empty() && !keys.iter().any(|key| column.has(key)) {
        source.wrong(
            column.line,
            format!("column `{name}` has nothing to do"),
            "write rename, drop, mask, constant, convert or form; columns that stay as they are aren't named",
        );
    }
    column.finish();
    let rule = ColumnRule {
        rename: rename.map(|rename| rename.value),
        drop,
        mask,
        constant: constant.map(|constant| constant.value),
        convert,
        form,
    };
    (rule, rehearsal_mask)
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
