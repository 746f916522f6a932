//! Work at the pace that operators ask for, though they reach none of its processes: all of them read what is wanted
//! from the control table, and write there what they do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::history::{HistoryFile, reason};
use super::{Migration, Paces};
use crate::clock::{self, Clock};
use crate::control::{Control, PaceReport, PaceSharers, PaceWish};
use crate::error::{Effect, Error, Kind, Result};
use crate::layer::retry::Patience;
use crate::layer::{PaceOrders, PaceReason};

/// Renewals in the time of a lease, as of the lease itself.
const RENEWALS: u32 = 3;
/// A request of a renewal gets this part of the lease, and as long again each time one has hung.
const REQUEST_SHARE: u32 = 6;
const MOST_DOUBLINGS: u32 = 2;
/// How soon a renewal that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long a command that is over tries to take its report away.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A command that keeps a pace.
pub(super) struct PacedTool<'a> {
    /// `copy`.
    pub command: &'static str,
    /// Machine and process.
    pub name: &'a str,
    pub reads_old: bool,
    pub writes: bool,
    /// Within a third of it the command does what operators want.
    pub lease: Duration,
    /// The plan's journal folder, and what the table is called there: where the command's history goes.
    pub journal: Option<(&'a Path, String)>,
}

/// What operators want of a table's tools, and what these do.
#[derive(Clone, Debug, Default)]
pub struct PaceStatus {
    /// What operators want; `None` if none has said anything.
    pub wish: Option<PaceWish>,
    /// What each process of the tools does, by id.
    pub tools: Vec<(String, PaceReport)>,
}

/// One process's part in it.
struct PaceKeeper<'a> {
    control: Control,
    target: &'a str,
    tool: PacedTool<'a>,
    paces: &'a Paces,
    /// What the plan allows, rows and units.
    planned: (Option<f64>, Option<f64>),
    id: String,
    sharers: PaceSharers,
    heartbeat: u64,
    hung: u32,
}

impl Migration {
    /// Does work within the pace: that of the plan, what operators say meanwhile, and what is left to this process where
    /// several share it. Nothing is read or written before it is known what operators want.
    ///
    /// # Errors
    /// The work's; the new store's, before the work begins.
    pub(super) async fn at_pace<T>(
        &self,
        tool: PacedTool<'_>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (control, id) = (
            self.leases.clone(),
            format!("{:016x}", rand::random::<u64>()),
        );
        let mut history = tool
            .journal
            .as_ref()
            .map(|(journal, name)| HistoryFile::new(journal, name, tool.command));
        let planned = (self.pace.old.ceilings().0, self.pace.new.ceilings().1);
        let mut keeper = PaceKeeper {
            target: &self.spec.to,
            paces: &self.pace,
            planned,
            id,
            sharers: PaceSharers::new(Clock::Machine, tool.lease),
            control,
            tool,
            heartbeat: 0,
            hung: 0,
        };
        keeper.begin().await?;
        let worked = tokio::select! {
            worked = work => worked,
            () = keeper.keep() => Err(Error::new(Kind::Stopped, "the pace isn't kept any more")),
            () = keep(&mut history, &self.pace) => {
                Err(Error::new(Kind::Stopped, "the history isn't kept any more"))
            }
        };
        if let Some(history) = &mut history {
            history.note(&self.pace, true);
        }
        // Of one that can't say so, others see that it is silent.
        let _ = tokio::time::timeout(GOODBYE_WITHIN, keeper.leave()).await;
        worked
    }

    /// What operators want of the table's tools, and what these do. One that was killed may be among them still.
    ///
    /// # Errors
    /// The new store's.
    pub async fn pace_status(&self) -> Result<PaceStatus> {
        let target = &self.spec.to;
        Ok(PaceStatus {
            wish: self.control.pace_wish(target).await?,
            tools: self.control.pace_reports(target).await?,
        })
    }

    /// Changes what operators want; running tools do so within a third of their lease.
    ///
    /// # Errors
    /// [`Kind::Missing`] without a control record, [`Kind::Mismatch`] if it is another plan's; the new store's.
    pub async fn change_pace(&self, by: &str, change: impl Fn(&mut PaceWish)) -> Result<PaceWish> {
        self.record().await?;
        let signed = |wish: &mut PaceWish| {
            change(wish);
            wish.by = by.to_owned();
            wish.at = clock::unix_seconds();
        };
        self.control.change_pace_wish(&self.spec.to, signed).await
    }
}

/// What operators want holds for the work alone: what comes after it isn't kept waiting by orders that nobody renews.
impl Drop for PaceKeeper<'_> {
    fn drop(&mut self) {
        let order = |write_units| PaceOrders {
            read_rows: self.planned.0,
            write_units,
            ..PaceOrders::default()
        };
        self.paces.old.order(order(None));
        self.paces.new.order(order(self.planned.1));
    }
}

impl PaceKeeper<'_> {
    async fn begin(&mut self) -> Result<()> {
        // As long as a lease is registered: whoever looks on knows why nothing happens.
        let whom = self.control.name().to_owned();
        let begun = tokio::time::Instant::now();
        loop {
            match self.renew().await {
                Ok(()) => return Ok(()),
                Err(error)
                    if error.kind().is_transient() && begun.elapsed() < Patience::LOOK.give_up =>
                {
                    tracing::debug!("waiting for {whom}: {error}");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Renews for ever. While it can't, what was wanted last holds until the end of a lease, and nothing is done
    /// after that.
    async fn keep(&mut self) {
        let every = self.tool.lease / RENEWALS;
        let mut pause = every;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew().await {
                Ok(()) => every,
                Err(error) => {
                    tracing::debug!("the pace of {} isn't known anew: {error}", self.target);
                    AGAIN_AFTER.min(every)
                }
            };
        }
    }

    /// Reads what is wanted and who else is at work, and writes what this process does.
    async fn renew(&mut self) -> Result<()> {
        let since = Clock::Machine.now();
        let control = self.control.clone();
        let wish = self.soon(control.pace_wish(self.target)).await?;
        let reports = self.soon(control.pace_reports(self.target)).await?;
        let silent: Vec<String> = {
            let silent = self.sharers.silent(&reports);
            let others = reports.iter().filter(|(id, _)| *id != self.id);
            let others = others.filter(|(id, _)| !silent.contains(&id.as_str()));
            let others: Vec<&PaceReport> = others.map(|(_, one)| one).collect();
            self.order(&wish.unwrap_or_default(), &others, since + self.tool.lease);
            let silent = silent.into_iter().filter(|id| *id != self.id);
            silent.map(str::to_owned).collect()
        };
        self.heartbeat += 1;
        let report = self.report();
        let (target, id) = (self.target, self.id.clone());
        self.soon(control.note_pace(target, &id, &report)).await?;
        for id in silent {
            self.soon(control.forget_pace(target, &id)).await?;
        }
        Ok(())
    }

    fn order(&self, wish: &PaceWish, others: &[&PaceReport], until: Duration) {
        let wished = |wish: Option<u32>, planned: Option<f64>| wish.map(f64::from).or(planned);
        let share = |all: Option<f64>, with: &dyn Fn(&PaceReport) -> bool| {
            let sharers = 1 + others.iter().filter(|one| with(one)).count();
            all.map(|all| all / sharers as f64)
        };
        let rows = wished(wish.read_rows, self.planned.0);
        let units = wished(wish.write_units, self.planned.1);
        let order = |read_rows, write_units| PaceOrders {
            read_rows,
            write_units,
            is_paused: wish.paused,
            valid_until: Some(until),
        };
        let (old, new) = (&self.paces.old, &self.paces.new);
        old.order(order(share(rows, &|one| one.reads_old), None));
        new.order(order(
            share(rows, &|_| true),
            share(units, &|one| one.writes),
        ));
    }

    fn report(&self) -> PaceReport {
        let (old, new) = (self.paces.old.now(), self.paces.new.now());
        let read_rows = match self.tool.reads_old {
            true => old.read_rows,
            false => new.read_rows,
        };
        PaceReport {
            command: self.tool.command.to_owned(),
            name: self.tool.name.to_owned(),
            reads_old: self.tool.reads_old,
            writes: self.tool.writes,
            heartbeat: self.heartbeat,
            noted_at: clock::unix_seconds(),
            write_units: new.write_units.filter(|_| self.tool.writes),
            read_rows,
            units: new.units,
            rows: old.rows + new.rows,
            reason: reason(&old, &new).map(|reason| reason.to_string()),
        }
    }

    async fn leave(&self) -> Result<()> {
        self.control.forget_pace(self.target, &self.id).await
    }

    /// One request of a renewal, within a part of the lease: one that hangs is tried anew, with more time.
    async fn soon<T>(&mut self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.tool.lease / REQUEST_SHARE * (1 << self.hung.min(MOST_DOUBLINGS));
        if let Ok(answer) = tokio::time::timeout(limit, request).await {
            self.hung = 0;
            return answer;
        }
        self.hung += 1;
        Err(
            Error::new(Kind::Timeout, "the control table didn't answer in time")
                .with_context("target", self.target)
                .with_effect(Effect::Unknown),
        )
    }
}

async fn keep(history: &mut Option<HistoryFile>, paces: &Paces) {
    match history {
        Some(history) => history.keep(paces).await,
        None => std::future::pending().await,
    }
}

impl Paces {
    /// The same ceilings and the same room, for another table.
    #[must_use]
    pub fn anew(&self, table: &str) -> Self {
        Paces {
            old: Arc::new(self.old.anew(table)),
            new: Arc::new(self.new.anew(table)),
        }
    }

    /// Why it isn't faster; none where nothing holds it back.
    pub fn reason(&self) -> Option<PaceReason> {
        reason(&self.old.now(), &self.new.now())
    }
}
