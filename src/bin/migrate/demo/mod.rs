//! `migrate demo`: a whole migration on this machine, with no server, while applications go on working.

mod data;
mod ledger;
mod moving;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade::control::{Control, Lease, New};
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::{InitOptions, Migration};
use crossfade::model::{Condition, Row, Value};
use crossfade::schema::Table;
use crossfade::shim::{OldStore, Settings, Shim};
use crossfade::spec::{TablePlan, TableSpec};
use crossfade::store::embedded::Embedded;
use crossfade::store::{Old, Store, WriteOutcome};
use data::{ballot, ballots, mixed, user, users, vote_key, votes};

use self::ledger::{Ledger, LedgerTotals};
use self::traffic::Traffic;
use crate::Exit;
use crate::args;
use crate::format;
use crate::progress::Screen;

const PUT_ROWS: usize = 5_000;
/// Applications.
const INSTANCES: usize = 3;
/// Short, so that a person who watches doesn't wait long for a phase.
const LEASE: Lease = Lease {
    lasts: Duration::from_secs(3),
    operation: Duration::from_secs(3),
    // Both stores are in this process.
    landing: Duration::ZERO,
};
/// A move waits for a copier that was killed for all of this.
const TOOL_LEASE: Lease = Lease {
    lasts: Duration::from_secs(2),
    operation: Duration::from_secs(1),
    ..LEASE
};
const CONTROL_TABLE: &str = "migrate-control";

pub async fn run(args: &args::Demo, screen: &Screen) -> Result<Exit, Error> {
    let folder = DemoFolder::new()?;
    let stores = DemoStores {
        old: Arc::new(Embedded::open(&folder.0.join("old"))?),
        new: Arc::new(Embedded::open(&folder.0.join("new"))?),
        folder: &folder.0,
        screen,
    };
    let sizes = DemoSizes::of(args.rows);
    let cast = fill_all(&stores, sizes).await?;
    let tables = [votes(), users(), ballots()];
    for table in &tables {
        stores.migration(table).init(InitOptions::default()).await?;
    }

    let ledger = Arc::new(Ledger::new(sizes.users, cast));
    let shims: Vec<Shim> = (1..=INSTANCES)
        .map(|number| stores.shim(number))
        .collect::<Result<_>>()?;
    screen.say(&format!(
        "{INSTANCES} applications begin to sign people up, to change and to delete them, and to vote ..."
    ));
    let traffic = Traffic::begin(&shims, &ledger);
    let mut lines = Vec::new();
    for table in &tables {
        lines.extend(stores.move_table(table).await?);
    }
    traffic.end().await?;
    screen.say(&ledger.tally.said());
    lines.extend(ledger.check(&shims[0]).await?);
    for table in &tables {
        stores.finish(table).await?;
    }
    lines.extend(stores.compare(&ledger).await?);
    for shim in shims {
        shim.leave().await?;
    }
    Ok(print(&lines))
}

fn print(lines: &[ClosingLine]) -> Exit {
    let row = |line: &ClosingLine| {
        let verdict = if line.kept() { "kept" } else { "BROKEN" };
        let (promised, seen) = (format::count(line.promised), format::count(line.seen));
        vec![line.what.clone(), promised, seen, verdict.into()]
    };
    let rows = lines.iter().map(row).collect();
    format::print(&format::table(&["", "promised", "seen", ""], rows).to_string());
    match lines.iter().all(ClosingLine::kept) {
        true => Exit::Done,
        false => Exit::Differences,
    }
}

/// Rows of each table.
#[derive(Clone, Copy)]
struct DemoSizes {
    counters: u64,
    users: u64,
    ballots: u64,
}

impl DemoSizes {
    fn of(rows: u64) -> Self {
        DemoSizes {
            counters: rows / 10,
            users: rows / 5,
            ballots: rows - rows / 5,
        }
    }
}

/// Fills the old store, and tells the votes of earlier days.
async fn fill_all(stores: &DemoStores<'_>, sizes: DemoSizes) -> Result<Vec<LedgerTotals>> {
    stores.screen.say(&format!(
        "Filling the old store with {} counters of votes, {} users and {} ballots ...",
        format::count(sizes.counters),
        format::count(sizes.users),
        format::count(sizes.ballots)
    ));
    let begun = Instant::now();
    let earlier = |n| [(mixed(n) % 900) as i64, (mixed(!n) % 5_000) as i64];
    let cast: Vec<LedgerTotals> = (0..sizes.counters).map(earlier).collect();
    let rows = (0..).zip(&cast).map(|(number, totals)| {
        let cells = totals.map(|total| Some(Value::BigInt(total)));
        Row::new(vote_key(number), cells.into())
    });
    fill(&*stores.old, &votes(), rows).await?;
    fill(&*stores.old, &users(), (0..sizes.users).map(user)).await?;
    fill(&*stores.old, &ballots(), (0..sizes.ballots).map(ballot)).await?;
    let took = format::time(begun.elapsed().as_secs_f64());
    stores.screen.say(&format!("  done in {took}"));
    Ok(cast)
}

async fn fill(store: &dyn Store, table: &Table, rows: impl Iterator<Item = Row>) -> Result<()> {
    store.create(table).await?;
    let mut batch = Vec::with_capacity(PUT_ROWS);
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        batch.push(row);
        if batch.len() == PUT_ROWS || rows.peek().is_none() {
            let rows = std::mem::take(&mut batch);
            let puts = store.put(table, &rows, &Condition::Always).await;
            puts.rows
                .into_iter()
                .collect::<Result<Vec<WriteOutcome>>>()?;
        }
    }
    Ok(())
}

/// Both stores, and where their journals lie.
struct DemoStores<'a> {
    old: Arc<dyn Store>,
    new: Arc<dyn Store>,
    folder: &'a Path,
    screen: &'a Screen,
}

fn spec(table: &Table) -> TableSpec {
    let to = format!("demo-{}", table.name);
    TableSpec::new("demo", TablePlan::new(&table.name).to(to))
}

impl DemoStores<'_> {
    fn migration(&self, table: &Table) -> Migration {
        let new = New::over(self.new.clone());
        let control = Control::new(new.clone(), CONTROL_TABLE);
        Migration::new(spec(table), Old(self.old.clone()), new, control)
            .operation(TOOL_LEASE.operation)
            .landing(TOOL_LEASE.landing)
    }

    /// An application's access to all tables.
    fn shim(&self, number: usize) -> Result<Shim> {
        let settings = Settings {
            id: format!("app-{number}"),
            lease: LEASE,
            deadline: LEASE.operation,
            ..Settings::new(format!("application {number} of the demo"))
        };
        let new = New::over(self.new.clone());
        let control = Control::new(new.clone(), CONTROL_TABLE);
        let tables = [votes(), users(), ballots()].map(|table| spec(&table));
        let old = OldStore::Open(Old(self.old.clone()));
        Shim::start(settings, old, new, control, tables)
    }
}

/// One line of the closing table.
struct ClosingLine {
    what: String,
    promised: u64,
    seen: u64,
    /// How much more may be seen: what has an unknown outcome.
    in_doubt: u64,
}

impl ClosingLine {
    fn new(what: impl Into<String>, promised: u64, seen: u64) -> Self {
        let what = what.into();
        ClosingLine {
            what,
            promised,
            seen,
            in_doubt: 0,
        }
    }

    fn in_doubt(self, in_doubt: u64) -> Self {
        ClosingLine { in_doubt, ..self }
    }

    fn kept(&self) -> bool {
        (self.promised..=self.promised + self.in_doubt).contains(&self.seen)
    }
}

/// A folder that is gone when the demo is over.
struct DemoFolder(PathBuf);

impl DemoFolder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("crossfade-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::new(
                Kind::Config,
                format!("can't make a folder for the demo: {error}"),
            )
            .with_context("folder", path.display().to_string())
        })?;
        Ok(DemoFolder(path))
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
