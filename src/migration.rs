//! One table's way from an old store to a new one: what each command does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::{Control, DeadLetter, Progress, Record, Versioned, hex};
use crate::copier::{self, Copier, Live, Outcome};
use crate::error::{Error, Kind, Result};
use crate::intervals::Intervals;
use crate::journal::{Binding, Journal};
use crate::layer::Retry;
use crate::layer::retry::Patience;
use crate::mapping::transform::{ColumnRule, ExpiryRule, Transform};
use crate::model::{Mark, Row, Tokens};
use crate::protocol::Phase;
use crate::schema::{Layout, StoredTable};
use crate::store::{Cursor, Finding, Guard, Inspection, New, Old, Put, Range, Weight};

/// What a plan says of one table.
#[derive(Clone, Debug, Default)]
pub struct TableSpec {
    /// The plan's name.
    pub plan: String,
    /// The old table.
    pub name: String,
    /// The new table.
    pub to: String,
    /// What may be there and is not taken along: `indexes`, `views`, `triggers`, `stream`.
    pub ignore: BTreeSet<String>,
    /// How items lie in the new table.
    pub layout: Layout,
    /// What happens to single columns.
    pub columns: BTreeMap<String, ColumnRule>,
    /// What a row's expiry becomes.
    pub expiry: Option<ExpiryRule>,
    /// The key of `mask = "hmac"`.
    pub mask_key: Option<Vec<u8>>,
}

/// A table's migration.
pub struct Migration {
    /// What the plan says.
    pub spec: TableSpec,
    old: Old,
    new: New,
    control: Control,
}

/// The old table, and what becomes of it.
pub struct Survey {
    /// What the old store tells.
    pub old: Inspection,
    /// From the old table to the new one.
    pub transform: Arc<Transform>,
}

/// What `init` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// The target and its record are there now.
    Created,
    /// They were there already, and are this plan's.
    Repeated,
    /// The target, or another plan's record, was taken over.
    Adopted,
}

/// The typed ways round what `init` refuses.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitOptions {
    /// Take a target with a stream.
    pub allow_stream: bool,
    /// Take a target over that has items, or another plan's record.
    pub adopt: bool,
}

/// How a copy is to be run.
pub struct CopyOptions {
    /// Nobody writes to the table: no phases are wanted.
    pub offline: bool,
    /// Which shard of how many, from 0.
    pub shard: Option<(u32, u32)>,
    /// The plan's journal folder.
    pub journal: PathBuf,
    /// Machine and process, for people.
    pub copier: String,
    /// How the copier goes about its work; its share is set from `shard`.
    pub copy: copier::Options,
}

/// What a `reset` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Items deleted: those the copier wrote.
    pub emptied: u64,
    /// Items left, which somebody else wrote.
    pub left: u64,
}

/// Where a table's migration stands.
pub struct Status {
    /// The control record, if there is one.
    pub record: Option<Record>,
    /// Share of the ring that is copied, 0 to 1.
    pub share: f64,
    /// Every copier that worked under the current freeze.
    pub copiers: Vec<(String, Progress)>,
    /// Rows and ranges that could not be copied.
    pub failures: u64,
}

const SCAN_ROWS: usize = 500;

impl Migration {
    /// A table's migration between two stores.
    pub fn new(spec: TableSpec, old: Old, new: New, control: Control) -> Self {
        Migration {
            spec,
            old,
            new,
            control,
        }
    }

    /// Looks at the old table and works out what becomes of it.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is no such table, [`Kind::Config`] if the plan's rules don't fit it.
    pub async fn survey(&self) -> Result<Survey> {
        let name = &self.spec.name;
        let old = self.old.0.inspect(name).await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the old store has no such table")
                .at("table", name.as_str())
                .at("store", self.old.0.name())
        })?;
        let table = old.table.clone().ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "this store doesn't know its tables' columns",
            )
            .at("store", self.old.0.name())
        })?;
        let spec = &self.spec;
        let transform = Transform::new(
            &table,
            &spec.columns,
            spec.expiry.as_ref(),
            spec.mask_key.as_deref(),
            &spec.to,
            spec.layout.clone(),
        )?;
        Ok(Survey {
            old,
            transform: Arc::new(transform),
        })
    }

    /// Looks at the target; `None` if there is none.
    ///
    /// # Errors
    /// The new store's.
    pub async fn inspect_target(&self) -> Result<Option<Inspection>> {
        self.new.0.inspect(&self.spec.to).await
    }

    /// What stands against moving this table, of what the stores found.
    pub fn refusals<'a>(&self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        let refused = |finding: &&Finding| match finding.weight {
            Weight::Note => false,
            Weight::Ignorable(word) => !self.spec.ignore.contains(word),
            Weight::Refused => true,
        };
        findings.iter().filter(refused).collect()
    }

    fn refuse(&self, findings: &[Finding]) -> Result<()> {
        let refusals = self.refusals(findings);
        if refusals.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = refusals
            .iter()
            .map(|f| format!("{}: {}; {}", f.code, f.message, f.advice))
            .collect();
        Err(Error::new(Kind::Unsupported, lines.join("\n  "))
            .at("table", self.spec.name.as_str())
            .help("`migrate check` shows all there is to know"))
    }

    /// Creates the target and its control record. Safe to repeat, and to kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the target has items, other keys, or another plan's record;
    /// [`Kind::Unsupported`] for what a table or a target may not have.
    pub async fn init(&self, options: InitOptions) -> Result<Init> {
        let survey = self.survey().await?;
        self.refuse(&survey.old.findings)?;
        self.refuse_counters(&survey)?;
        self.control.create().await?;
        self.new.0.create(survey.transform.target()).await?;
        let target = self.target().await?;
        let mut findings = target.findings.clone();
        findings.retain(|finding| !(options.allow_stream && finding.code == "stream"));
        self.refuse(&findings)?;
        let record = self.record(&survey, &target);
        match self.control.load(&self.spec.to).await? {
            Some(there) => self.repeat(there, record, options).await,
            None => self.begin(&survey, record, options).await,
        }
    }

    async fn begin(&self, survey: &Survey, record: Record, options: InitOptions) -> Result<Init> {
        let holds_items = self.holds_items(survey).await?;
        if holds_items && !options.adopt {
            return Err(Error::new(
                Kind::Mismatch,
                "the target has items already, but no control record of this plan",
            )
            .at("target", self.spec.to.as_str())
            .help(format!(
                "name an empty or new table in the plan's `to`, or take it over as it is with \
                 `migrate init --adopt {}`: items that are there stay, and old rows with their keys \
                 aren't copied",
                self.spec.to
            )));
        }
        let record = Record {
            adopted: holds_items,
            ..record
        };
        if self.control.add(&self.spec.to, &record).await? {
            return Ok(if holds_items {
                Init::Adopted
            } else {
                Init::Created
            });
        }
        // Another `init` was quicker; it must have been this plan's.
        let there = self.control.require(&self.spec.to).await?;
        self.repeat(
            there,
            record,
            InitOptions {
                adopt: false,
                ..options
            },
        )
        .await
    }

    async fn repeat(&self, there: Versioned, record: Record, options: InitOptions) -> Result<Init> {
        match self.same(&there.record, &record) {
            Ok(()) => Ok(Init::Repeated),
            Err(_) if options.adopt && there.record.phase == Phase::Old => {
                let record = Record {
                    adopted: true,
                    freeze: there.record.freeze,
                    ..record
                };
                match self.control.replace(&self.spec.to, &there, &record).await? {
                    true => Ok(Init::Adopted),
                    false => Err(self.overtaken()),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn record(&self, survey: &Survey, target: &Inspection) -> Record {
        Record {
            plan: self.spec.plan.clone(),
            phase: Phase::Old,
            freeze: 0,
            old_id: survey.old.id.clone(),
            target_id: target.id.clone(),
            mapping: hex(&survey.transform.fingerprint()),
            source: StoredTable::of(survey.transform.source()),
            target: StoredTable::of(survey.transform.target()),
            emptying: false,
            adopted: false,
        }
    }

    /// Whether a record is the one that this plan and these stores would write today.
    fn same(&self, there: &Record, here: &Record) -> Result<()> {
        let mismatch = |what: &str, there: &str, here: &str, help: &str| {
            Err(Error::new(
                Kind::Mismatch,
                format!("the control record has another {what}"),
            )
            .at("target", self.spec.to.as_str())
            .at("recorded", there)
            .at("now", here)
            .help(help))
        };
        if there.plan != here.plan {
            let help = "one target belongs to one plan: name another target in `to`, use that plan, \
                        or take it over with `migrate init --adopt`";
            return mismatch("plan name", &there.plan, &here.plan, help);
        }
        if there.target_id != here.target_id {
            let help = "the target was deleted and made again, or this is another account or region; \
                        delete the record if nothing of it is needed, and run `migrate init`";
            return mismatch("target identity", &there.target_id, &here.target_id, help);
        }
        if there.old_id != here.old_id {
            let help = "the old table was dropped and made again, or this is another cluster";
            return mismatch("old table", &there.old_id, &here.old_id, help);
        }
        if there.source != here.source {
            let help = "the old table's schema was changed since `migrate init`; undo the change, or \
                        begin anew: `migrate reset` if it is offline, then `migrate init --adopt`";
            let (was, is) = (columns(&there.source), columns(&here.source));
            return mismatch("source schema", &was, &is, help);
        }
        if there.mapping != here.mapping {
            let help = "the plan's columns, keys, expiry or mask changed since `migrate init`; undo \
                        that, or begin anew: `migrate reset` if it is offline, then \
                        `migrate init --adopt`";
            return mismatch("mapping", &there.mapping, &here.mapping, help);
        }
        Ok(())
    }

    fn overtaken(&self) -> Error {
        Error::new(
            Kind::Mismatch,
            "another command changed the control record at the same time",
        )
        .at("target", self.spec.to.as_str())
        .help("look at `migrate status`, then run the command again")
    }

    fn refuse_counters(&self, survey: &Survey) -> Result<()> {
        if !survey.transform.source().is_counter() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            "counter tables can't be moved by this version",
        )
        .at("table", self.spec.name.as_str())
        .help("leave the table out of the plan for now"))
    }

    async fn target(&self) -> Result<Inspection> {
        self.inspect_target().await?.ok_or_else(|| {
            Error::new(Kind::Missing, "the target table is missing")
                .at("target", self.spec.to.as_str())
                .at("store", self.new.0.name())
                .help("run `migrate init`")
        })
    }

    async fn holds_items(&self, survey: &Survey) -> Result<bool> {
        let target = survey.transform.target();
        for range in self.new.0.splits(target, 1).await? {
            let mut cursor = None;
            loop {
                match self.new.0.scan(target, &range, cursor.as_ref(), 1).await {
                    Ok(page) if !page.rows.is_empty() => return Ok(true),
                    Ok(page) => cursor = page.next,
                    // An item that can't be read is an item.
                    Err(error) if error.kind() == Kind::Corrupt => return Ok(true),
                    Err(error) => return Err(error),
                }
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// The control record, once it has been compared with the plan and both stores.
    async fn checked(&self, survey: &Survey) -> Result<Versioned> {
        let there = self.control.require(&self.spec.to).await?;
        let target = self.target().await?;
        self.same(&there.record, &self.record(survey, &target))?;
        if there.record.emptying {
            return Err(Error::new(
                Kind::Mismatch,
                "a reset of this table has begun and isn't over",
            )
            .at("target", self.spec.to.as_str())
            .help("run `migrate reset` again; it goes on where it was"));
        }
        Ok(there)
    }

    /// Sets the record to `offline` if it isn't yet, and gives the record under which to copy.
    async fn go_offline(&self, survey: &Survey) -> Result<Record> {
        let there = self.checked(survey).await?;
        if there.record.phase == Phase::Offline {
            return Ok(there.record);
        }
        let instances = self.control.instances(&self.spec.to).await?;
        if !instances.is_empty() {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "applications are registered for this table: {}",
                    instances.join(", ")
                ),
            )
            .at("target", self.spec.to.as_str())
            .help("`--offline` is for a table that nobody writes; stop them first"));
        }
        if !there.record.adopted && self.holds_items(survey).await? {
            return Err(
                Error::new(Kind::Mismatch, "the target got items after `migrate init`")
                    .at("target", self.spec.to.as_str())
                    .help(
                        "who writes to it? Delete them, or accept them with `migrate init --adopt`",
                    ),
            );
        }
        let freeze = there.record.freeze + 1;
        let record = Record {
            phase: Phase::Offline,
            freeze,
            ..there.record.clone()
        };
        if self.control.replace(&self.spec.to, &there, &record).await? {
            return Ok(record);
        }
        // Another copy did the same a moment ago, or something else is going on.
        let now = self.checked(survey).await?.record;
        if now.phase == Phase::Offline {
            Ok(now)
        } else {
            Err(self.overtaken())
        }
    }

    /// Copies what is left of the table. `ready` is told when the copy itself begins.
    ///
    /// # Errors
    /// See [`Copier::run`]; and [`Kind::Mismatch`], [`Kind::Missing`] if plan, stores and control
    /// record don't fit together.
    pub async fn copy(
        &self,
        options: CopyOptions,
        stop: &CancellationToken,
        ready: impl FnOnce(Started),
    ) -> Result<Outcome> {
        let survey = self.survey().await?;
        self.refuse_counters(&survey)?;
        if !options.offline {
            return Err(Error::new(
                Kind::Unsupported,
                "rows can only be copied offline by this version",
            )
            .at("table", self.spec.name.as_str())
            .help("stop every application that writes to the table, then add --offline"));
        }
        let record = self.go_offline(&survey).await?;
        let shard = options.shard;
        let name = shard.map_or_else(String::new, |(i, n)| format!("{i}/{n}"));
        let binding = Binding {
            plan: self.spec.plan.clone(),
            table: self.spec.name.clone(),
            old_id: record.old_id.clone(),
            target_id: record.target_id.clone(),
            mapping: record.mapping.clone(),
            freeze: record.freeze,
            shard: name,
        };
        let folder = options.journal.join(journal_folder(&self.spec.name, shard));
        let opened = Journal::open(&folder, &binding, survey.transform.source()).await?;
        if let Some(why) = &opened.set_aside {
            tracing::warn!("{why}");
        }
        let elsewhere = self.done_elsewhere(&record).await?;
        let old = Retry::new(self.old.0.clone(), Patience::default());
        let new = Retry::new(self.new.0.clone(), Patience::default());
        let live = Arc::new(Live::new(old.seen(), new.seen()));
        let mut copy = options.copy;
        if let Some((index, count)) = shard {
            copy.share = shard_tokens(index, count);
        }
        copy.splits = splits(&copy, survey.old.bytes);
        ready(Started {
            live: live.clone(),
            rows: survey.old.rows,
            share: copy.share,
        });
        let new = New(Arc::new(new));
        let copier = Copier {
            old: Old(Arc::new(old)),
            control: Control::new(new.clone(), self.control.name()),
            new,
            transform: survey.transform,
            freeze: record.freeze,
            mapping: record.mapping,
            copier: options.copier,
            options: copy,
        };
        copier
            .run(&opened.journal, opened.remembered, &elsewhere, &live, stop)
            .await
    }

    /// What every copier has done under this freeze and mapping.
    async fn done_elsewhere(&self, record: &Record) -> Result<Intervals> {
        let mut done = Intervals::default();
        for (_, progress) in self.control.progress(&self.spec.to).await? {
            if progress.freeze == record.freeze && progress.mapping == record.mapping {
                done.extend(&progress.intervals());
            }
        }
        Ok(done)
    }

    /// Where the migration stands. Asks the new store only.
    ///
    /// # Errors
    /// The new store's.
    pub async fn status(&self) -> Result<Status> {
        let Some(there) = self.control.load(&self.spec.to).await? else {
            return Ok(Status {
                record: None,
                share: 0.0,
                copiers: Vec::new(),
                failures: 0,
            });
        };
        let record = there.record;
        let share = self.done_elsewhere(&record).await?.share_of(Tokens::ALL);
        let mut copiers = self.control.progress(&self.spec.to).await?;
        copiers.retain(|(_, progress)| progress.freeze == record.freeze);
        let failures = self.control.failures(&self.spec.to).await?.len() as u64;
        Ok(Status {
            record: Some(record),
            share,
            copiers,
            failures,
        })
    }

    /// The table's dead letters.
    ///
    /// # Errors
    /// The new store's.
    pub async fn failures(&self) -> Result<Vec<DeadLetter>> {
        self.control.failures(&self.spec.to).await
    }

    /// Empties what the copier wrote, and sets the record back to `old`. Safe to repeat, and to kill.
    ///
    /// # Errors
    /// [`Kind::Mismatch`] if the table isn't offline, or a copy is running.
    pub async fn reset(&self, wait: Duration) -> Result<Reset> {
        let there = self.control.require(&self.spec.to).await?;
        if there.record.plan != self.spec.plan {
            return Err(
                Error::new(Kind::Mismatch, "the target belongs to another plan")
                    .at("target", self.spec.to.as_str())
                    .at("recorded", there.record.plan),
            );
        }
        if there.record.phase != Phase::Offline {
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "the table is in phase `{}`, and `reset` leads out of `offline` only",
                    there.record.phase
                ),
            )
            .at("target", self.spec.to.as_str()));
        }
        self.nobody_copies(&there.record, wait).await?;
        let emptying = Record {
            emptying: true,
            ..there.record.clone()
        };
        if !there.record.emptying
            && !self
                .control
                .replace(&self.spec.to, &there, &emptying)
                .await?
        {
            return Err(self.overtaken());
        }
        let reset = self.empty(&there.record).await?;
        self.control.clear(&self.spec.to).await?;
        let now = self.control.require(&self.spec.to).await?;
        let back = Record {
            phase: Phase::Old,
            emptying: false,
            ..now.record.clone()
        };
        if !self.control.replace(&self.spec.to, &now, &back).await? {
            return Err(self.overtaken());
        }
        Ok(reset)
    }

    /// Watches the heartbeats of copiers that haven't said goodbye.
    async fn nobody_copies(&self, record: &Record, wait: Duration) -> Result<()> {
        let open = |all: Vec<(String, Progress)>| -> BTreeMap<String, Progress> {
            all.into_iter()
                .filter(|(_, p)| p.freeze == record.freeze && !p.ended)
                .collect()
        };
        let before = open(self.control.progress(&self.spec.to).await?);
        if before.is_empty() {
            return Ok(());
        }
        tracing::info!(
            "a copy of {} ended without a word; watching whether it still runs",
            self.spec.to
        );
        tokio::time::sleep(wait).await;
        for (id, now) in open(self.control.progress(&self.spec.to).await?) {
            if before
                .get(&id)
                .is_none_or(|then| then.heartbeat != now.heartbeat)
            {
                return Err(Error::new(
                    Kind::Mismatch,
                    format!("a copy is running: {}", now.copier),
                )
                .at("target", self.spec.to.as_str())
                .help("stop it first"));
            }
        }
        Ok(())
    }

    async fn empty(&self, record: &Record) -> Result<Reset> {
        let target = record.target.read()?;
        let new = Retry::new(self.new.0.clone(), Patience::default());
        let new: &dyn crate::store::Store = &new;
        let mut reset = Reset::default();
        for range in new.splits(&target, 8).await? {
            let mut cursor: Option<Cursor> = None;
            loop {
                let page = new
                    .scan(&target, &range, cursor.as_ref(), SCAN_ROWS)
                    .await?;
                let copied = |row: &&Row| row.mark == Some(Mark::Copied);
                reset.left += page.rows.iter().filter(|row| !copied(row)).count() as u64;
                let keys = page
                    .rows
                    .iter()
                    .filter(copied)
                    .map(|row| row.key.clone())
                    .collect();
                for answer in new
                    .purge(&target, keys, &Guard::Marked(Mark::Copied))
                    .await
                    .rows
                {
                    match answer? {
                        Put::Written => reset.emptied += 1,
                        // Gone by an earlier try, or somebody wrote it meanwhile.
                        Put::Refused => {}
                    }
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(reset)
    }

    /// Reads some rows of the old table, spread over the ring.
    ///
    /// # Errors
    /// The old store's.
    pub async fn sample(&self, survey: &Survey, ranges: usize, rows: usize) -> Result<Vec<Row>> {
        let source = survey.transform.source();
        let mut sample = Vec::new();
        for range in self.old.0.splits(source, ranges).await? {
            let page = match self.old.0.scan(source, &range, None, rows).await {
                Err(error) if error.kind() == Kind::RangeTooCostly => continue,
                page => page?,
            };
            sample.extend(page.rows);
        }
        Ok(sample)
    }
}

/// A copy that has begun.
pub struct Started {
    /// What it counts.
    pub live: Arc<Live>,
    /// Rows of the whole table, roughly, where the old store tells.
    pub rows: Option<u64>,
    /// Which part of the ring it copies.
    pub share: Tokens,
}

fn columns(table: &StoredTable) -> String {
    match table.read() {
        Ok(table) => {
            let column = |c: &crate::schema::Column| format!("{} {}", c.name, c.cql_type());
            table
                .columns
                .iter()
                .map(column)
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(_) => "unreadable".into(),
    }
}

/// The part of the ring that belongs to shard `index` (from 0) of `count`.
pub fn shard_tokens(index: u32, count: u32) -> Tokens {
    let parts = Tokens::ALL.split(count.max(1) as usize);
    parts.get(index as usize).copied().unwrap_or(Tokens {
        after: i64::MAX,
        up_to: i64::MAX,
    })
}

fn journal_folder(table: &str, shard: Option<(u32, u32)>) -> String {
    match shard {
        Some((index, count)) => format!("{table}.{index}-of-{count}"),
        None => table.to_owned(),
    }
}

/// About one range for each 32 MB, within reason.
fn splits(options: &copier::Options, bytes: Option<u64>) -> usize {
    let wanted = bytes.map_or(options.splits, |bytes| (bytes >> 25) as usize);
    wanted.clamp(options.readers * 4, 16_384)
}

/// All ranges of a table as one list of pages, for commands that read a whole table.
pub async fn read_all(
    store: &dyn crate::store::Store,
    table: &crate::schema::Table,
    mut each: impl FnMut(Row),
) -> Result<()> {
    for range in store.splits(table, 8).await? {
        read_range(store, table, &range, &mut each).await?;
    }
    Ok(())
}

async fn read_range(
    store: &dyn crate::store::Store,
    table: &crate::schema::Table,
    range: &Range,
    each: &mut impl FnMut(Row),
) -> Result<()> {
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = store.scan(table, range, cursor.as_ref(), SCAN_ROWS).await?;
        page.rows.into_iter().for_each(&mut *each);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
