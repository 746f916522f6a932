//! A plan's text, read as a whole: what is where, then whether it fits together.

use std::time::Duration;

use std::path::Path;

use toml::de::DeTable;

use super::defaults;
use super::names::PlanFolder;
use super::reader::{Section, Source};
use super::{
    PacePlan, Plan, PlanError, PlanErrors, Prices, VerifyPlan, check, live, names, stores, tables,
};
use crate::forecast::PRICES;

impl Plan {
    /// Reads and checks the plan in a file, with the process's environment.
    ///
    /// # Errors
    /// The file can't be read, or everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Plan, PlanErrors> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            PlanErrors(vec![PlanError {
                file: path.to_owned(),
                line: None,
                message: format!("the plan can't be read: {error}"),
                hint: "--plan takes the path of a TOML file".into(),
            }])
        })?;
        Plan::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads and checks a plan. `path` is for messages; `env` tells what an environment variable
    /// holds. Files that passwords and keys refer to are read.
    ///
    /// # Errors
    /// Everything that is wrong, by line. Where the text isn't TOML, that alone.
    pub fn parse(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Plan, PlanErrors> {
        let source = Source::new(path, text, env);
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            source.not_toml(fault);
        }
        // What was saved from a text that isn't TOML lacks keys that are there: nothing more can
        // be said about it.
        let plan = match source.is_clean() {
            true => read(Section::top(&source, document.get_ref())),
            false => None,
        };
        source.finish(plan)
    }
}

/// Reads the plan. `None` only if an error was noted.
pub(super) fn read(mut top: Section<'_>) -> Option<Plan> {
    let source = top.source;
    top.require("name", "write name = \"…\"");
    let name = top
        .text("name")
        .filter(|name| names::plan_name(source, name));

    top.require(
        "old",
        "write [old] with kind = \"cassandra\" or \"embedded\"",
    );
    let old = top.section("old").map(stores::old);
    top.require(
        "new",
        "write [new] with kind = \"dynamodb\" or \"embedded\"",
    );
    let new = top.section("new").map(stores::new);

    let lease = live::lease(&mut top, new.as_ref().and_then(|new| new.store.as_ref()));
    let shim = live::shim(&mut top, &lease);
    let pace = top.section("pace").map(pace).unwrap_or_default();
    let verify = top.section("verify").map(verify).unwrap_or_default();
    let serve = top.section("serve").map(live::serve).unwrap_or_default();
    let prices = top.section("prices").map(prices);
    let journal_dir = top.section("journal").and_then(journal);
    let mask = top.section("mask").map(|mut mask| {
        mask.require("key", "write key = \"${MASK_KEY}\"");
        let key = mask.secret("key");
        mask.finish();
        key
    });
    let tables::All { tables, patterns } = tables::read(&mut top, mask.is_some(), &shim);
    top.finish();

    if let Some(old) = &old {
        check::old_names(source, old, &tables);
    }
    check::targets(source, new.as_ref(), &tables);
    let old_folder = old.as_ref().and_then(|old| old.folder.as_ref());
    let new_folder = new.as_ref().and_then(|new| new.folder.as_ref());
    check::folders(source, [old_folder, new_folder, journal_dir.as_ref()]);

    let name = name?.value;
    let new = new?;
    Some(Plan {
        old: old?.store?,
        new: new.store?,
        control_table: new.control_table.value,
        journal_dir: journal_dir.map_or_else(|| defaults::journal_dir(&name), |dir| dir.path),
        pace,
        lease,
        shim,
        verify,
        serve,
        prices,
        mask_key: mask.flatten(),
        tables: tables.into_iter().map(|table| table.plan).collect(),
        patterns,
        file: source.file.to_owned(),
        name,
    })
}

/// What isn't there is what is known here.
fn prices(mut prices: Section<'_>) -> Prices {
    let mut price = |key: &'static str, known: f64| prices.amount(key).unwrap_or(known);
    let read = Prices {
        write_units_million: price("write_units_million", PRICES.write_units_million),
        read_units_million: price("read_units_million", PRICES.read_units_million),
        storage_gb_month: price("storage_gb_month", PRICES.storage_gb_month),
    };
    prices.finish();
    read
}

/// The most that the reads of an old store may be said to take, in milliseconds: a minute.
const SLOWEST_READ: u32 = 60_000;

fn pace(mut pace: Section<'_>) -> PacePlan {
    let write_units = pace.whole("write_units", 1..=u32::MAX, "units a second");
    let read_rows = pace.whole("read_rows", 1..=u32::MAX, "rows a second");
    let old_p99 = pace.whole("old_p99_ms", 1..=SLOWEST_READ, "milliseconds");
    pace.finish();
    PacePlan {
        write_units,
        read_rows,
        old_p99: old_p99.map(|millis| Duration::from_millis(millis.into())),
    }
}

/// Seconds after which a verification may be too old at the earliest and at the latest.
const FRESH: std::ops::RangeInclusive<u64> = 1..=30 * 86_400;

fn verify(mut verify: Section<'_>) -> VerifyPlan {
    let fresh = verify.time("fresh", FRESH);
    verify.finish();
    VerifyPlan {
        fresh: fresh.unwrap_or(VerifyPlan::default().fresh),
    }
}

fn journal(mut journal: Section<'_>) -> Option<PlanFolder> {
    journal.require("dir", "write dir = \"journal/…\", or leave [journal] out");
    let dir = journal.text("dir").map(PlanFolder::from);
    journal.finish();
    dir
}
