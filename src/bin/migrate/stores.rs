//! From a plan to open stores.

use std::path::Path;
use std::sync::Arc;

use crossfade::connect;
use crossfade::control::{Control, Expansion, New};
use crossfade::error::{Error, Kind, Result};
use crossfade::layer::Pace;
use crossfade::layer::retry::Patience;
use crossfade::migration::{Migration, OldReading, Paces};
use crossfade::plan::{FinalRead, Names, OldStorePlan, PatternPlan, Plan, TablePlan};
use crossfade::protocol::Phase;
use crossfade::store::cassandra::{Cassandra, ReadShare, RepairHistory};
use crossfade::store::memory::Memory;
use crossfade::store::{Consistency, Old};

use crate::copy::concerns_one_table;
use crate::progress::Screen;

/// What else to do where a settling pass misses a replica.
const QUORUM_IS_ENOUGH: &str = "or, if one is gone for good, accept a quorum: `final_read = \"quorum\"` for the table in the plan";
/// The same for a verification of every replica.
const AS_PLANNED_IS_ENOUGH: &str =
    "or leave `--consistency all` out, and as many replicas are read as the plan says";

/// A plan with its stores.
pub struct OpenStores {
    /// With tables in place of its patterns.
    pub plan: Plan,
    /// The plan's patterns, as written.
    pub patterns: Vec<PatternPlan>,
    pub old: Old,
    pub new: New,
    cassandra: Option<Arc<Cassandra>>,
    /// Where the old store is, for people.
    pub old_name: String,
    /// Where the new store is, for people.
    pub new_name: String,
    control: Control,
    /// What each table begins with.
    pace: Paces,
    /// What scratch tables are called after the targets, where this is a rehearsal.
    suffix: Option<String>,
}

/// Which tables a pattern of the plan stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patterns {
    /// Those that `migrate init` wrote down.
    Noted,
    /// Those that the old store has now.
    Anew,
}

impl OpenStores {
    /// Reads a plan and opens both stores.
    pub async fn open(file: &Path) -> Result<Self> {
        Self::both(file, Patterns::Noted).await
    }

    /// The same for commands that look at the old store anew, whatever was known of it.
    pub async fn open_anew(file: &Path) -> Result<Self> {
        Self::both(file, Patterns::Anew).await
    }

    async fn both(file: &Path, patterns: Patterns) -> Result<Self> {
        let plan = load(file)?;
        match &plan.old {
            OldStorePlan::Cassandra(cassandra) => {
                let cassandra = Arc::new(connect::open_cassandra(cassandra).await?);
                let old = Old(cassandra.clone());
                let mut stores = Self::with(plan, Some(old), patterns).await?;
                stores.cassandra = Some(cassandra);
                Ok(stores)
            }
            OldStorePlan::Embedded { .. } => {
                let old = connect::old(&plan).await?;
                Self::with(plan, Some(old), patterns).await
            }
        }
    }

    /// Reads a plan and opens the new store only, for commands that don't need the old one: it may
    /// be gone, or too ill to be asked.
    pub async fn open_new(file: &Path) -> Result<Self> {
        Self::with(load(file)?, None, Patterns::Noted).await
    }

    async fn with(plan: Plan, old: Option<Old>, patterns: Patterns) -> Result<Self> {
        let new = connect::new(&plan).await?;
        #[cfg(feature = "conformance")]
        let new = new.wrapped(crossfade::testing::stopping::if_asked);
        let control = Control::new(new.clone(), &plan.control_table);
        let written = plan.patterns.clone();
        let plan = match patterns {
            Patterns::Noted => connect::expanded(plan, &control, old.as_ref()).await?,
            Patterns::Anew => connect::expanded_anew(plan, old.as_ref()).await?,
        };
        let old_name = match &plan.old {
            OldStorePlan::Cassandra(cassandra) => {
                format!(
                    "cassandra {}, keyspace {}",
                    cassandra.nodes.join(", "),
                    cassandra.keyspace
                )
            }
            OldStorePlan::Embedded { path } => format!("embedded {}", path.display()),
        };
        let new_name = new.name().to_owned();
        let pace = Paces::new(
            Pace::new(plan.pace.read_rows, None).of_old(plan.pace.old_p99),
            Pace::new(plan.pace.read_rows, plan.pace.write_units),
        );
        Ok(OpenStores {
            plan,
            patterns: written,
            // Where it isn't open nothing asks it; it only fills the place.
            old: old.unwrap_or_else(|| Old(Arc::new(Memory::new()))),
            new,
            cassandra: None,
            old_name,
            new_name,
            control,
            pace,
            suffix: None,
        })
    }

    /// Writes down which tables the plan's patterns stand for, so that no later command needs the old store to know.
    /// Of those that were written down before and are gone from the old store, the ones that have a record stay.
    pub async fn note_patterns(&mut self) -> Result<()> {
        if self.patterns.is_empty() {
            return Ok(());
        }
        let name = self.plan.name.clone();
        let mut tables: Vec<String> = self.plan.tables.iter().map(|t| t.name.clone()).collect();
        for earlier in self
            .control
            .expansion(&name)
            .await?
            .unwrap_or_default()
            .tables
        {
            if tables.contains(&earlier) {
                continue;
            }
            let mut then = self.plan.clone();
            then.tables.clear();
            then.patterns.clone_from(&self.patterns);
            let then = then.expand(std::slice::from_ref(&earlier), Names::Noted)?;
            if let Some(table) = then.tables.first()
                && self.control.load(&table.to).await?.is_some()
            {
                tables.push(earlier);
            }
        }
        let patterns = self.patterns.iter().map(|p| p.pattern().to_owned());
        let expansion = Expansion {
            patterns: patterns.collect(),
            tables,
        };
        self.control.create().await?;
        self.control.note_expansion(&name, &expansion).await
    }

    /// From now on, the plan's tables move to scratch tables with this suffix, as a plan of its own.
    pub fn suffixed(&mut self, suffix: &str) -> Result<()> {
        let mut plan = self.plan.clone();
        let targets: Vec<String> = plan.tables.iter().map(|table| table.to.clone()).collect();
        plan.name += suffix;
        plan.journal_dir.as_mut_os_string().push(suffix);
        for table in &mut plan.tables {
            *table = table.clone().rehearsed(suffix);
            if targets.contains(&table.to) {
                let message = format!("`{}` is a target of the plan itself", table.to);
                return Err(Error::new(Kind::Config, message).with_help("write another suffix"));
            }
        }
        self.plan = plan.expand(&[], Names::Noted)?;
        self.suffix = Some(suffix.to_owned());
        Ok(())
    }

    /// What [`OpenStores::migrations`] gives but for tables that are finished, unless one is named: a plan keeps its
    /// tables until the last of them is.
    pub async fn unfinished(&self, table: Option<&str>, screen: &Screen) -> Result<Vec<Migration>> {
        let chosen = self.migrations(table)?;
        if table.is_some() {
            return Ok(chosen);
        }
        let mut migrations = Vec::new();
        for migration in chosen {
            match migration.phase().await {
                Ok(Some(Phase::Done)) => {
                    screen.say(&format!("{}: finished, left out", migration.spec.name));
                }
                Ok(_) => migrations.push(migration),
                // What is wrong with one record is told by what is done with its table.
                Err(error) if concerns_one_table(&error) => migrations.push(migration),
                Err(error) => return Err(error),
            }
        }
        Ok(migrations)
    }

    /// The plan's migrations, in its order: all of them, or that of one table.
    pub fn migrations(&self, table: Option<&str>) -> Result<Vec<Migration>> {
        let chosen: Vec<&TablePlan> = self
            .plan
            .tables
            .iter()
            .filter(|planned| table.is_none_or(|name| planned.name == name))
            .collect();
        if chosen.is_empty() {
            let name = table.unwrap_or_default();
            let tables: Vec<&str> = self.plan.tables.iter().map(|t| t.name.as_str()).collect();
            let mut help = format!("its tables are: {}", tables.join(", "));
            if let Some(pattern) = self.patterns.first() {
                help += &format!(
                    "; what `{}` stands for was settled by `migrate init`, which takes new tables in when it is run \
                     again",
                    pattern.pattern()
                );
            }
            return Err(
                Error::new(Kind::Config, format!("the plan has no table `{name}`"))
                    .with_context("plan", self.plan.file.display().to_string())
                    .with_help(help),
            );
        }
        let migration = |table: &TablePlan| {
            let mut spec = connect::spec(&self.plan, table);
            spec.rehearsal = self.suffix.is_some();
            let (old, new) = (self.old.clone(), self.new.clone());
            let migration = Migration::new(spec, old, new, self.control.clone());
            let migration = migration
                .paced(self.pace.anew(&table.name))
                .landing(self.plan.lease.landing);
            let migration = migration.fresh(self.plan.verify.fresh);
            match &self.cassandra {
                Some(cassandra) => {
                    let (settling, patience) = match table.final_read {
                        FinalRead::All => {
                            let all = cassandra.reading_at(Consistency::All);
                            (all.with_way_out(QUORUM_IS_ENOUGH), Patience::ALL_REPLICAS)
                        }
                        // There is one; a node that has just died holds it up for a moment.
                        FinalRead::Quorum => {
                            let quorum = cassandra.reading_at(Consistency::Quorum);
                            (quorum, Patience::default())
                        }
                    };
                    migration.settling(Old(Arc::new(settling)), patience)
                }
                None => migration,
            }
        };
        Ok(chosen.into_iter().map(migration).collect())
    }

    /// When an old table was last repaired, where that can be told.
    pub async fn repaired(&self, table: &str) -> Option<RepairHistory> {
        // It is a hint: a server that doesn't give its history is no reason not to look at the rest.
        self.cassandra
            .as_ref()?
            .repaired(table)
            .await
            .ok()
            .flatten()
    }

    /// What a copy takes of the old store, where that is a cluster.
    pub fn read_share(&self) -> Option<ReadShare> {
        let cassandra = self.cassandra.as_ref()?;
        Some(cassandra.read_share())
    }

    /// The old store as a verification reads it, and a name for that.
    pub fn verify_reads(&self, reads: VerifyReads) -> (Option<OldReading>, String) {
        let (Some(cassandra), OldStorePlan::Cassandra(planned)) = (&self.cassandra, &self.plan.old)
        else {
            return (None, "as it is".to_owned());
        };
        let consistency = match reads {
            VerifyReads::AsPlanned => planned.consistency,
            VerifyReads::All => Consistency::All,
        };
        let cassandra = cassandra.clone();
        let open: OldReading = Arc::new(move |frozen_at| {
            let store = cassandra.reading_at(consistency);
            let store = match reads {
                VerifyReads::AsPlanned => store,
                VerifyReads::All => store.with_way_out(AS_PLANNED_IS_ENOUGH),
            };
            Old(Arc::new(match frozen_at {
                Some(moment) => store.telling_writes_since(moment),
                None => store,
            }))
        });
        (Some(open), format!("{consistency:?}"))
    }

    pub async fn close(&self) {
        self.old.0.close().await;
        self.new.close().await;
    }
}

/// How many replicas of the old store a verification reads.
#[derive(Clone, Copy, Debug)]
pub enum VerifyReads {
    /// As many as the plan says.
    AsPlanned,
    /// All of them.
    All,
}

fn load(file: &Path) -> Result<Plan> {
    crate::pointed::load(file)
}
