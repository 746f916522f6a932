//! `migrate demo`: a whole migration on this machine, with no server.

mod counters;
mod data;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crossfade::control::{Control, Lease};
use crossfade::copier::{self, Live};
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::{CopyOptions, InitOptions, Migration, TableSpec, read_all};
use crossfade::model::Row;
use crossfade::schema::Table;
use crossfade::store::embedded::Embedded;
use crossfade::store::{Guard, New, Old, Put, Store};
use data::{ballot, ballots, user, users};

use crate::Exit;
use crate::args;
use crate::copy::{self, copier_name};
use crate::screen::Screen;
use crate::words;

const PUT_ROWS: usize = 5_000;

pub async fn run(args: &args::Demo, screen: &Screen) -> Result<Exit, Error> {
    let (user_rows, ballot_rows) = (args.rows / 5, args.rows - args.rows / 5);
    let counter_rows = args.rows / 10;
    let folder = Folder::new()?;
    let stores = Stores {
        old: Arc::new(Embedded::open(&folder.0.join("old"))?),
        new: Arc::new(Embedded::open(&folder.0.join("new"))?),
        folder: &folder.0,
        screen,
    };
    screen.say(&format!(
        "Filling the old store with {} counters of votes, {} users and {} ballots ...",
        words::count(counter_rows),
        words::count(user_rows),
        words::count(ballot_rows)
    ));
    let begun = Instant::now();
    let voting = counters::Voting::fill(&stores, counter_rows).await?;
    fill(&*stores.old, &users(), (0..user_rows).map(user)).await?;
    fill(&*stores.old, &ballots(), (0..ballot_rows).map(ballot)).await?;
    screen.say(&format!(
        "  done in {}",
        words::time(begun.elapsed().as_secs_f64())
    ));

    let mut lines = voting.move_table().await?;
    for table in [users(), ballots()] {
        let demo = Demo {
            stores: &stores,
            table,
        };
        lines.extend(demo.move_table().await?);
    }
    let kept = lines.iter().all(|line| line.promised == line.seen);
    let rows = lines.iter().map(|line| {
        let verdict = if line.promised == line.seen {
            "kept"
        } else {
            "BROKEN"
        };
        vec![
            line.what.clone(),
            words::count(line.promised),
            words::count(line.seen),
            verdict.into(),
        ]
    });
    words::print(&words::table(&["", "promised", "seen", ""], rows.collect()).to_string());
    Ok(if kept { Exit::Done } else { Exit::Differences })
}

/// Both stores, and where their journals lie.
struct Stores<'a> {
    old: Arc<dyn Store>,
    new: Arc<dyn Store>,
    folder: &'a std::path::Path,
    screen: &'a Screen,
}

/// How a copy is run.
#[derive(Clone, Copy, Default)]
struct Way {
    offline: bool,
    settle: bool,
    /// Stopped on purpose when half of the table is done.
    half: bool,
}

impl Stores<'_> {
    async fn migration(&self, table: &Table) -> Result<Migration> {
        let new = New(self.new.clone());
        let control = Control::new(new.clone(), "migrate-control");
        let spec = TableSpec {
            plan: "demo".into(),
            name: table.name.clone(),
            to: format!("demo-{}", table.name),
            ..TableSpec::default()
        };
        let migration = Migration::new(spec, Old(self.old.clone()), new, control);
        migration.init(InitOptions::default()).await?;
        Ok(migration)
    }

    async fn copy(&self, migration: &Migration, way: Way) -> Result<copy::Copied> {
        let stop = CancellationToken::new();
        let options = CopyOptions {
            offline: way.offline,
            settle: way.settle,
            shard: None,
            journal: self.folder.join("journal"),
            copier: copier_name(),
            lease: Lease::default().lasts,
            copy: copier::Options::default(),
        };
        let mut shown = None;
        let token = stop.clone();
        let ready = |started: crossfade::migration::Started| {
            if way.half {
                tokio::spawn(stop_half_way(started.live.clone(), token));
            }
            let table = &migration.spec.name;
            shown = Some(self.screen.follow(table, started.live, started.rows));
        };
        let outcome = migration.copy(options, &stop, ready).await?;
        drop(shown);
        let failures = migration.failures().await?.len() as u64;
        let exit = if outcome.complete {
            Exit::Done
        } else {
            Exit::Stopped
        };
        Ok(copy::Copied {
            is_counter: outcome.is_counter,
            counts: outcome.counts,
            failures,
            exit,
        })
    }

    fn say_first(&self, table: &str, first: &copy::Copied) {
        let how = match first.exit {
            Exit::Stopped => "stopped on purpose",
            Exit::Done | Exit::Differences | Exit::Error => "done before it could be stopped",
        };
        let rows = words::count(first.counts.read);
        self.screen
            .say(&format!("{table}: {how} after {rows} rows; starting again"));
    }
}

/// One line of the closing table.
struct Line {
    what: String,
    promised: u64,
    seen: u64,
}

/// A folder that is gone when the demo is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("crossfade-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::new(
                Kind::Config,
                format!("can't make a folder for the demo: {error}"),
            )
            .at("folder", path.display().to_string())
        })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Demo<'a> {
    stores: &'a Stores<'a>,
    table: Table,
}

impl Demo<'_> {
    async fn move_table(&self) -> Result<Vec<Line>> {
        let name = &self.table.name;
        let migration = self.stores.migration(&self.table).await?;
        let way = |half| Way {
            offline: true,
            half,
            ..Way::default()
        };
        let first = self.stores.copy(&migration, way(true)).await?;
        self.stores.say_first(name, &first);
        let second = self.stores.copy(&migration, way(false)).await?;
        self.stores.screen.say(&format!(
            "{name}: resumed and finished: {} more rows, {} rows/s",
            words::count(second.counts.read),
            words::count((second.counts.read as f64 / second.counts.seconds.max(0.001)) as u64)
        ));
        let compared = self.compare(&migration).await?;
        let line = |what: &str, promised, seen| Line {
            what: format!("{name}: {what}"),
            promised,
            seen,
        };
        Ok(vec![
            line("rows in the new store", compared.old, compared.new),
            line(
                "rows written, over both runs",
                compared.old,
                first.counts.written + second.counts.written,
            ),
            line("rows missing", 0, compared.missing),
            line("rows that differ", 0, compared.different),
            line("dead letters", 0, second.failures),
        ])
    }

    /// Reads both tables whole, by themselves, and compares every row.
    async fn compare(&self, migration: &Migration) -> Result<Compared> {
        let survey = migration.survey().await?;
        let (source, target) = (survey.transform.source(), survey.transform.target());
        let mut olds = BTreeMap::new();
        read_all(&*self.stores.old, source, |row| {
            drop(olds.insert(format!("{:?}", row.key), row.cells))
        })
        .await?;
        let mut compared = Compared {
            old: olds.len() as u64,
            ..Compared::default()
        };
        read_all(&*self.stores.new, target, |row| {
            compared.new += 1;
            match olds.remove(&format!("{:?}", row.key)) {
                Some(cells) if cells == row.cells => {}
                Some(_) | None => compared.different += 1,
            }
        })
        .await?;
        compared.missing = olds.len() as u64;
        Ok(compared)
    }
}

#[derive(Default)]
struct Compared {
    old: u64,
    new: u64,
    missing: u64,
    different: u64,
}

async fn stop_half_way(live: Arc<Live>, stop: CancellationToken) {
    while live.reading().share < 0.5 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.cancel();
}

async fn fill(store: &dyn Store, table: &Table, rows: impl Iterator<Item = Row>) -> Result<()> {
    store.create(table).await?;
    let mut batch = Vec::with_capacity(PUT_ROWS);
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        batch.push(row);
        if batch.len() == PUT_ROWS || rows.peek().is_none() {
            let puts = store
                .put(table, &std::mem::take(&mut batch), &Guard::Always)
                .await;
            puts.rows.into_iter().collect::<Result<Vec<Put>>>()?;
        }
    }
    Ok(())
}
