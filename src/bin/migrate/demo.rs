//! `migrate demo`: a whole migration on this machine, with no server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crossfade::control::Control;
use crossfade::copier::{self, Live};
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::{CopyOptions, InitOptions, Migration, TableSpec, read_all};
use crossfade::model::{Key, Row, Value};
use crossfade::schema::{Column, Order, Role, Table, Type, Udt};
use crossfade::store::embedded::Embedded;
use crossfade::store::{Guard, New, Old, Put, Store};

use crate::Exit;
use crate::args;
use crate::copy::{self, copier_name};
use crate::screen::Screen;
use crate::words;

const PUT_ROWS: usize = 5_000;

pub async fn run(args: &args::Demo, screen: &Screen) -> Result<Exit, Error> {
    let (user_rows, vote_rows) = (args.rows / 5, args.rows - args.rows / 5);
    let folder = Folder::new()?;
    let old: Arc<dyn Store> = Arc::new(Embedded::open(&folder.0.join("old"))?);
    let new: Arc<dyn Store> = Arc::new(Embedded::open(&folder.0.join("new"))?);
    screen.say(&format!(
        "Filling the old store with {} users and {} votes ...",
        words::count(user_rows),
        words::count(vote_rows)
    ));
    let begun = Instant::now();
    fill(&*old, &users(), (0..user_rows).map(user)).await?;
    fill(&*old, &votes(), (0..vote_rows).map(vote)).await?;
    screen.say(&format!(
        "  done in {}",
        words::time(begun.elapsed().as_secs_f64())
    ));

    let mut lines = Vec::new();
    for table in [users(), votes()] {
        let demo = Demo {
            old: old.clone(),
            new: new.clone(),
            table,
            folder: &folder.0,
            screen,
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
    old: Arc<dyn Store>,
    new: Arc<dyn Store>,
    table: Table,
    folder: &'a std::path::Path,
    screen: &'a Screen,
}

impl Demo<'_> {
    async fn move_table(&self) -> Result<Vec<Line>> {
        let name = &self.table.name;
        let new = New(self.new.clone());
        let control = Control::new(new.clone(), "migrate-control");
        let spec = TableSpec {
            plan: "demo".into(),
            name: name.clone(),
            to: format!("demo-{name}"),
            ..TableSpec::default()
        };
        let migration = Migration::new(spec, Old(self.old.clone()), new, control);
        migration.init(InitOptions::default()).await?;

        let stop = CancellationToken::new();
        let first = self.copy(&migration, &stop, true).await?;
        let how = match first.exit {
            Exit::Stopped => "stopped on purpose",
            Exit::Done | Exit::Differences | Exit::Error => "done before it could be stopped",
        };
        let rows = words::count(first.counts.read);
        self.screen
            .say(&format!("{name}: {how} after {rows} rows; starting again"));
        let second = self
            .copy(&migration, &CancellationToken::new(), false)
            .await?;
        self.screen.say(&format!(
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

    /// Copies; with `half`, stops when half of the table is done.
    async fn copy(
        &self,
        migration: &Migration,
        stop: &CancellationToken,
        half: bool,
    ) -> Result<copy::Copied> {
        let options = CopyOptions {
            offline: true,
            settle: false,
            shard: None,
            journal: self.folder.join("journal"),
            copier: copier_name(),
            copy: copier::Options::default(),
        };
        let mut shown = None;
        let token = stop.clone();
        let ready = |started: crossfade::migration::Started| {
            if half {
                tokio::spawn(stop_half_way(started.live.clone(), token));
            }
            shown = Some(
                self.screen
                    .follow(&self.table.name, started.live, started.rows),
            );
        };
        let outcome = migration.copy(options, stop, ready).await?;
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

    /// Reads both tables whole, by themselves, and compares every row.
    async fn compare(&self, migration: &Migration) -> Result<Compared> {
        let survey = migration.survey().await?;
        let (source, target) = (survey.transform.source(), survey.transform.target());
        let mut olds = BTreeMap::new();
        read_all(&*self.old, source, |row| {
            drop(olds.insert(format!("{:?}", row.key), row.cells))
        })
        .await?;
        let mut compared = Compared {
            old: olds.len() as u64,
            ..Compared::default()
        };
        read_all(&*self.new, target, |row| {
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

fn column(name: &str, ty: Type, role: Role) -> Column {
    let frozen = matches!(ty, Type::Udt(_));
    Column {
        name: name.into(),
        ty,
        frozen,
        role,
    }
}

/// What `CREATE TABLE users (id uuid PRIMARY KEY, …)` would make.
fn users() -> Table {
    let address = Udt {
        name: "address".into(),
        fields: vec![("street".into(), Type::Text), ("zip".into(), Type::Text)],
    };
    let shows = Type::Map(Box::new(Type::Text), Box::new(Type::Timestamp));
    Table::new(
        "users",
        vec![
            column("id", Type::Uuid, Role::Partition),
            column("name", Type::Text, Role::Regular),
            column("email", Type::Text, Role::Regular),
            column("born", Type::Date, Role::Regular),
            column("home", Type::Udt(Arc::new(address)), Role::Regular),
            column("phones", Type::Set(Box::new(Type::Text)), Role::Regular),
            column("seen", shows, Role::Regular),
            column("credit", Type::Decimal, Role::Regular),
        ],
    )
}

/// What `CREATE TABLE votes (…, PRIMARY KEY ((show, round), voter, nth)) WITH CLUSTERING ORDER BY
/// (voter ASC, nth DESC)` would make, with a static column beside.
fn votes() -> Table {
    Table::new(
        "votes",
        vec![
            column("show", Type::Text, Role::Partition),
            column("round", Type::Int, Role::Partition),
            column("voter", Type::Uuid, Role::Clustering(Order::Asc)),
            column("nth", Type::SmallInt, Role::Clustering(Order::Desc)),
            column("host", Type::Text, Role::Static),
            column("choice", Type::Text, Role::Regular),
            column("paid", Type::Decimal, Role::Regular),
        ],
    )
}

/// Well mixed bits of a number, so that the data looks like data and is the same in every demo.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn uuid(number: u64) -> Value {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed(number).to_be_bytes());
    bytes[8..].copy_from_slice(&mixed(!number).to_be_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Value::Uuid(bytes)
}

fn pick<'a>(from: &[&'a str], bits: u64) -> &'a str {
    from[(bits % from.len() as u64) as usize]
}

const FIRST: &[&str] = &[
    "Ada",
    "Björn",
    "Chidi",
    "Dolores",
    "Emre",
    "Françoise",
    "Gita",
    "Hiro",
];
const LAST: &[&str] = &[
    "Alvarez",
    "Brand",
    "Cho",
    "Dąbrowski",
    "Eze",
    "Fitzgerald",
    "Grønn",
];
const STREETS: &[&str] = &["High Street", "Rue de la Paix", "Hauptstraße", "Via Roma"];
const SHOWS: &[&str] = &["the-big-night", "song-contest", "cook-off", "dance-finals"];

fn user(number: u64) -> Row {
    let bits = mixed(number);
    let (first, last) = (pick(FIRST, bits), pick(LAST, bits >> 8));
    let phones =
        (0..bits % 3).map(|n| Value::Text(format!("+44 20 {:08}", (bits >> n) % 100_000_000)));
    let seen = SHOWS.iter().take((bits >> 4) as usize % 4).map(|show| {
        (
            Value::text(*show),
            Value::Timestamp(1_700_000_000_000 + (bits % 31_536_000_000) as i64),
        )
    });
    let (phones, seen): (Vec<Value>, Vec<(Value, Value)>) = (phones.collect(), seen.collect());
    let home = Value::Udt(vec![
        Some(Value::Text(format!(
            "{} {}",
            bits % 200,
            pick(STREETS, bits >> 16)
        ))),
        (!bits.is_multiple_of(5)).then(|| Value::Text(format!("{:05}", bits % 99_999))),
    ]);
    let cells = vec![
        Some(Value::Date((1 << 31) + (bits % 20_000) as u32)),
        Some(Value::Decimal {
            unscaled: (bits as i16).to_be_bytes().to_vec(),
            scale: 2,
        }),
        Some(Value::Text(format!(
            "{}.{number}@example.org",
            first.to_lowercase()
        ))),
        (!bits.is_multiple_of(3)).then_some(home),
        Some(Value::Text(format!("{first} {last}"))),
        (!phones.is_empty()).then_some(Value::Set(phones)),
        (!seen.is_empty()).then_some(Value::Map(seen)),
    ];
    Row::new(Key::row(vec![uuid(number)], vec![]), cells)
}

fn vote(number: u64) -> Row {
    let bits = mixed(number ^ 0x5eed);
    let rounds = 50 * SHOWS.len() as u64;
    let of = if number < rounds {
        number
    } else {
        bits % rounds
    };
    let show = vec![
        Value::text(pick(SHOWS, of)),
        Value::Int((of / SHOWS.len() as u64) as i32),
    ];
    // The first ones say who hosted each round.
    if number < rounds {
        return Row::new(
            Key::statics(show),
            vec![Some(Value::text(pick(FIRST, bits))), None, None],
        );
    }
    let key = Key::row(show, vec![uuid(number), Value::SmallInt((bits % 3) as i16)]);
    let paid = bits.is_multiple_of(4).then(|| Value::Decimal {
        unscaled: vec![0x32],
        scale: 2,
    });
    Row::new(
        key,
        vec![None, Some(Value::Text(format!("act {}", bits % 12))), paid],
    )
}
