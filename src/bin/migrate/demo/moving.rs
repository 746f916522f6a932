//! Moving the demo's tables: phase by phase, with a copier that is killed on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crossfade::clock::Clock;
use crossfade::codec::canonical;
use crossfade::control::Gone;
use crossfade::copier;
use crossfade::error::Result;
use crossfade::migration::{
    CopyOptions, Event, Migration, MoveOptions, Started, VerifyOptions, read_all,
};
use crossfade::protocol::Phase;
use crossfade::protocol::phase::Transition;
use crossfade::schema::Table;
use crossfade::verifier;

use super::data::{ballots, users};
use super::ledger::{BUSY, Ledger, user_key};
use super::{ClosingLine, DemoStores, TOOL_LEASE};
use crate::copy::copier_name;
use crate::format;

impl DemoStores<'_> {
    /// Moves a table from `old` to `new`.
    pub async fn move_table(&self, table: &Table) -> Result<Vec<ClosingLine>> {
        let name = &table.name;
        let migration = self.migration(table);
        if table.is_counter() {
            self.copy(&migration, false, true).await?;
            let counts = self.copy(&migration, false, false).await?;
            self.screen.say(&format!(
                "{name}: folded while people vote: {} counters had grown, {} had not",
                format::count(counts.folded),
                format::count(counts.unchanged)
            ));
        }
        self.advance(&migration, Phase::Copy).await?;
        if !table.is_counter() {
            self.copy(&migration, false, true).await?;
        }
        let last = self.copy(&migration, true, false).await?;
        let done = match table.is_counter() {
            true => format!("{} counters settled", format::count(last.settled)),
            false => format!(
                "{} rows copied, {} were there already",
                format::count(last.written),
                format::count(last.present)
            ),
        };
        self.screen.say(&format!("{name}: {done}"));
        let differences = self.verify(&migration).await?;
        self.advance(&migration, Phase::New).await?;
        let failures = migration.failures().await?.len() as u64;
        Ok(vec![
            ClosingLine::new(format!("{name}: dead letters"), 0, failures),
            ClosingLine::new(format!("{name}: differences found"), 0, differences),
        ])
    }

    /// Compares both stores while the applications go on.
    async fn verify(&self, migration: &Migration) -> Result<u64> {
        let options = VerifyOptions {
            journal: self.folder.join("journal"),
            name: copier_name(),
            lease: TOOL_LEASE.lasts,
            repair: None,
            as_repair: false,
            old: None,
            reading: "as it is".into(),
            patience: crossfade::layer::retry::Patience::default(),
            verify: verifier::VerifySettings::default(),
        };
        let name = &migration.spec.name;
        let mut shown = None;
        let ready = |live| {
            shown = Some(
                self.screen
                    .follow_verify(name, live, migration.paces().clone()),
            )
        };
        let stop = CancellationToken::new();
        let found = migration.verify(options, &stop, ready).await?.found;
        drop(shown);
        self.screen.say(&format!(
            "{name}: verified, {} old rows, {} new ones",
            format::count(found.old_rows),
            format::count(found.new_rows)
        ));
        Ok(found.differences())
    }

    /// Takes away what the migration has left in the new table.
    pub async fn finish(&self, table: &Table) -> Result<()> {
        let migration = self.migration(table);
        self.advance(&migration, Phase::Done).await?;
        let stop = CancellationToken::new();
        let finished = migration
            .purge(true, &copier_name(), TOOL_LEASE, &stop)
            .await?;
        self.screen.say(&format!(
            "{}: {} tombstones deleted, marks taken off {} items",
            table.name,
            format::count(finished.deleted),
            format::count(finished.stripped)
        ));
        Ok(())
    }

    async fn advance(&self, migration: &Migration, to: Phase) -> Result<()> {
        let name = migration.spec.name.clone();
        let options = MoveOptions {
            expect: Some(super::INSTANCES),
            gone: Gone::default(),
            clock: Clock::Machine,
            done: Some(name.clone()),
            open_old: &|| {
                let old = crossfade::store::Old(self.old.clone());
                async move { Ok(old) }.boxed()
            },
        };
        let mut tell = |told: Event<'_>| match told {
            Event::Reached(phase) => self
                .screen
                .say(&format!("{name}: every participant is in `{phase}`")),
            Event::Applications(_)
            | Event::Step { .. }
            | Event::Waiting { .. }
            | Event::Fencing { .. }
            | Event::Unfenced { .. } => {}
        };
        let stop = CancellationToken::new();
        migration
            .advance(Transition::Forward, to, &options, &stop, &mut tell)
            .await
    }

    /// Copies, or folds. `killed`: dropped in the midst of its work, like a process that is killed.
    async fn copy(
        &self,
        migration: &Migration,
        settle: bool,
        killed: bool,
    ) -> Result<crossfade::control::Counts> {
        let name = &migration.spec.name;
        let options = CopyOptions {
            offline: false,
            settle,
            shard: None,
            journal: self.folder.join("journal"),
            copier: copier_name(),
            lease: TOOL_LEASE.lasts,
            copy: copier::CopySettings::default(),
        };
        let (begun, half) = tokio::sync::oneshot::channel();
        let mut shown = None;
        let ready = |started: Started| {
            let live = started.live.clone();
            shown = Some(self.screen.follow(
                name,
                started.live,
                started.rows,
                migration.paces().clone(),
            ));
            drop(begun.send(live));
        };
        let stop = CancellationToken::new();
        let copying = migration.copy(options, &stop, ready);
        let outcome = tokio::select! {
            outcome = copying => Some(outcome?),
            read = async {
                let Ok(live) = half.await else { return std::future::pending().await };
                while !killed || live.reading().share < 0.5 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                live.reading().counts.read
            } => {
                self.screen.say(&format!("{name}: the copier was killed after {} rows", format::count(read)));
                None
            }
        };
        drop(shown);
        Ok(outcome.map(|outcome| outcome.counts).unwrap_or_default())
    }

    /// Reads both stores whole, by themselves: whatever no application touched has to be the same.
    pub async fn compare(&self, ledger: &Ledger) -> Result<Vec<ClosingLine>> {
        let mut lines = Vec::new();
        for table in [users(), ballots()] {
            let migration = self.migration(&table);
            let survey = migration.survey().await?;
            let (source, target) = (survey.transform.source(), survey.transform.target());
            let mut olds = BTreeMap::new();
            read_all(&*self.old, source, |row| {
                // Equal values have one form.
                let row = canonical::stored(source, row);
                drop(olds.insert(format!("{:?}", row.key), row.cells));
            })
            .await?;
            if table == users() {
                for number in 0..ledger.users().min(BUSY) {
                    olds.remove(&format!("{:?}", user_key(number)));
                }
            }
            let (untouched, mut same, mut marked) = (olds.len() as u64, 0, 0);
            read_all(&*self.new, target, |row| {
                marked += u64::from(row.mark.is_some());
                let old = olds.get(&format!("{:?}", row.key));
                same += u64::from(old == Some(&row.cells));
            })
            .await?;
            let what = format!(
                "{}: rows that nothing touched, the same in the new store",
                table.name
            );
            lines.push(ClosingLine::new(what, untouched, same));
            let what = format!("{}: items with marks of the migration", table.name);
            lines.push(ClosingLine::new(what, 0, marked));
        }
        Ok(lines)
    }
}
