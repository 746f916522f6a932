//! `migrate capacity`, and what a copy does to the capacity of its target before and after.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crossfade::clock;
use crossfade::connect;
use crossfade::error::{Error, Kind};
use crossfade::forecast::{READ_UNIT_HOUR, WRITE_UNIT_HOUR};
use crossfade::layer::retry::Patience;
use crossfade::migration::Migration;
use crossfade::plan::{CapacityPlan, Plan, WarmPlan};
use crossfade::store::dynamodb::{CapacityStep, DynamoDb, TableBilling, TableCapacity, Throughput};

use crate::Exit;
use crate::args;
use crate::format::{self, moment};
use crate::progress::Screen;
use crate::signal;
use crate::stores::OpenStores;

/// How often a table that is being changed is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a copy waits for more capacity. What comes later it takes then.
const COPY_WAITS: Duration = Duration::from_secs(600);

pub async fn run(args: &args::CapacityArgs, screen: &Screen) -> Result<Exit, Error> {
    let stores = OpenStores::open_new(&args.plan).await?;
    let migrations = stores.migrations(Some(&args.table))?;
    let dynamo = connect::dynamodb(&stores.plan).await?;
    let stop = signal::stop_on_signal(screen);
    for migration in &migrations {
        let target = &migration.spec.to;
        if args.dry_run {
            let there = look(&dynamo, target).await?;
            let wanted = wanted(&there, args.write, args.read);
            format::print(&format!("{target}: {}", shown(&there)));
            let begins = args.at.map(time::OffsetDateTime::unix_timestamp);
            let begins = begins.unwrap_or(0).max(clock::unix_seconds());
            format::print(&would(target, &there, wanted, begins));
            continue;
        }
        if let Some(at) = args.at {
            let wait = at.unix_timestamp() - clock::unix_seconds();
            if wait > 0 {
                screen.say(&format!(
                    "{target}: waiting until {}",
                    moment(at.unix_timestamp())
                ));
                pause(Duration::from_secs(wait.unsigned_abs()), &stop).await?;
            }
        }
        let there = look(&dynamo, target).await?;
        let wanted = wanted(&there, args.write, args.read);
        let reached = reach(&dynamo, target, wanted, true, screen);
        unless_stopped(reached, &stop).await?;
        let now = look(&dynamo, target).await?;
        format::print(&format!("{target}: {}", shown(&now)));
    }
    stores.close().await;
    Ok(Exit::Done)
}

/// What the table is to take: the writes that are asked for, and the reads as they are unless they are named.
fn wanted(there: &TableCapacity, write: u64, read: Option<u64>) -> Throughput {
    let now = match there.billing {
        TableBilling::Provisioned { now, .. } => now,
        TableBilling::OnDemand { warm } => warm.unwrap_or_default(),
    };
    Throughput {
        write,
        read: read.unwrap_or(now.read),
    }
}

/// A table's capacity.
async fn look(dynamo: &DynamoDb, target: &str) -> Result<TableCapacity, Error> {
    let look = || dynamo.capacity(target);
    let there = Patience::LOOK.insist("dynamodb", look).await?;
    there.ok_or_else(|| {
        Error::new(Kind::Missing, "the target table is missing")
            .with_context("target", target)
            .with_help("run `migrate init`")
    })
}

/// Asks for what is wanted, step by step, and says what each costs. `waits` until it may be lowered, if it has to.
async fn reach(
    dynamo: &DynamoDb,
    target: &str,
    wanted: Throughput,
    waits: bool,
    screen: &Screen,
) -> Result<(), Error> {
    loop {
        let there = look(dynamo, target).await?;
        let asked = match there.step(wanted, clock::unix_seconds()) {
            CapacityStep::Done => return Ok(()),
            CapacityStep::Changing => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            CapacityStep::LowerAt(at) if waits => {
                screen.say(&format!(
                    "{target}: the service lets it be lowered at {}; waiting until then",
                    moment(at)
                ));
                let wait = (at - clock::unix_seconds()).max(1).unsigned_abs();
                tokio::time::sleep(Duration::from_secs(wait)).await;
                continue;
            }
            CapacityStep::LowerAt(at) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!(
                        "the service doesn't let it be lowered before {}",
                        moment(at)
                    ),
                )
                .with_context("target", target)
                .with_help(format!(
                    "until then it costs {}; lower it with `migrate capacity --write {} --at {}`",
                    dollars_an_hour(&there),
                    wanted.write,
                    moment(at)
                )));
            }
            CapacityStep::Provision(units) => {
                let then = provisioned(&there, units);
                screen.say(&format!("{target}: {} -> {}", shown(&there), shown(&then)));
                dynamo.provision(target, units).await
            }
            CapacityStep::Warm(units) => {
                screen.say(&format!("{target}: {}", warmed(&there, units)));
                dynamo.warm(target, units).await
            }
        };
        match asked {
            Ok(()) => {}
            // Another change has begun, or the answer was lost: what is there tells.
            Err(error)
                if matches!(
                    error.kind(),
                    Kind::Transient | Kind::Unreachable | Kind::Timeout
                ) =>
            {
                tracing::debug!("{target}: {error}");
            }
            Err(error) if error.kind() == Kind::Throttled => {
                return Err(error.with_help(
                    "the account's quota, or how often a table may be changed in a day: ask for less, or raise the \
                     quota in the console of Service Quotas",
                ));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What would be asked for first, at a time of day (seconds since 1970).
fn would(target: &str, there: &TableCapacity, wanted: Throughput, at: i64) -> String {
    let what = match there.step(wanted, at) {
        CapacityStep::Done => "it is as it is wanted".to_owned(),
        CapacityStep::Changing => {
            "another change is under way, which would be waited for first".to_owned()
        }
        CapacityStep::LowerAt(at) => format!(
            "the service would let it be lowered at {}, which would be waited for",
            moment(at)
        ),
        CapacityStep::Provision(units) => {
            let then = provisioned(there, units);
            format!("would be changed: {} -> {}", shown(there), shown(&then))
        }
        CapacityStep::Warm(units) => format!("would be {}", warmed(there, units)),
    };
    format!("{target}: {what}; nothing was changed")
}

/// The same table with other units.
fn provisioned(there: &TableCapacity, units: Throughput) -> TableCapacity {
    TableCapacity {
        billing: TableBilling::Provisioned {
            now: units,
            lowered_today: 0,
            lowered_at: None,
        },
        ..*there
    }
}

/// What it costs to be warm for so many.
fn warmed(there: &TableCapacity, units: Throughput) -> String {
    let warm = match there.billing {
        TableBilling::OnDemand { warm } => warm.unwrap_or_default(),
        TableBilling::Provisioned { now, .. } => now,
    };
    let more = Throughput {
        write: units.write.saturating_sub(warm.write),
        read: units.read.saturating_sub(warm.read),
    };
    format!(
        "warm for {} -> {} write and {} -> {} read units a second, for ${:.2} once",
        format::count(warm.write),
        format::count(units.write),
        format::count(warm.read),
        format::count(units.read),
        dollars(more)
    )
}

/// What a table takes, and what that costs.
fn shown(there: &TableCapacity) -> String {
    match there.billing {
        TableBilling::Provisioned { now, .. } => format!(
            "{} write and {} read units a second ({})",
            format::count(now.write),
            format::count(now.read),
            dollars_an_hour(there)
        ),
        TableBilling::OnDemand { warm: Some(warm) } => format!(
            "on demand, warm for {} write and {} read units a second",
            format::count(warm.write),
            format::count(warm.read)
        ),
        TableBilling::OnDemand { warm: None } => {
            "on demand; the server doesn't tell what it is warm for".to_owned()
        }
    }
}

fn dollars_an_hour(there: &TableCapacity) -> String {
    match there.billing {
        TableBilling::Provisioned { now, .. } => format!("${:.2} an hour", dollars(now)),
        TableBilling::OnDemand { .. } => "what is taken".to_owned(),
    }
}

/// What so many units cost in an hour; to be warm for as many more costs that once.
fn dollars(units: Throughput) -> f64 {
    units.write as f64 * WRITE_UNIT_HOUR + units.read as f64 * READ_UNIT_HOUR
}

async fn pause(wait: Duration, stop: &CancellationToken) -> Result<(), Error> {
    let wait = async {
        tokio::time::sleep(wait).await;
        Ok(())
    };
    unless_stopped(wait, stop).await
}

async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, Error>>,
    stop: &CancellationToken,
) -> Result<T, Error> {
    tokio::select! {
        worked = work => worked,
        () = stop.cancelled() => Err(Error::new(Kind::Stopped, "stopped; start again to go on")),
    }
}

/// The capacity of a copy's target: more of it before, less of it after.
pub struct CopyCapacity {
    dynamo: DynamoDb,
    target: String,
    after: Option<u64>,
}

impl CopyCapacity {
    /// Asks for what the plan wants of this table while it is copied; `None` where it wants nothing. A copy begins though it
    /// can't be had: its pace is that of what there is.
    pub async fn raise(
        plan: &Plan,
        migration: &Migration,
        stop: &CancellationToken,
        screen: &Screen,
    ) -> Option<CopyCapacity> {
        let spec = &migration.spec;
        let planned = plan.tables.iter().find(|table| table.name == spec.name)?;
        if planned.capacity.is_none() && planned.warm.is_none() {
            return None;
        }
        let target = spec.to.clone();
        let dynamo = match connect::dynamodb(plan).await {
            Ok(dynamo) => dynamo,
            Err(error) => {
                screen.say(&format!("{target}: its capacity stays as it is: {error}"));
                return None;
            }
        };
        let capacity = CopyCapacity {
            dynamo,
            target,
            after: planned.capacity.map(|capacity| capacity.after.into()),
        };
        let raised = capacity.up(planned.capacity, planned.warm, screen);
        let raised = unless_stopped(raised, stop);
        match tokio::time::timeout(COPY_WAITS, raised).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == Kind::Stopped => {}
            Ok(Err(error)) => screen.say(&format!("the copy takes what there is: {error}")),
            Err(_) => screen.say(&format!(
                "{}: the capacity isn't there after {} s; the copy takes what there is",
                capacity.target,
                COPY_WAITS.as_secs()
            )),
        }
        Some(capacity)
    }

    async fn up(
        &self,
        capacity: Option<CapacityPlan>,
        warm: Option<WarmPlan>,
        screen: &Screen,
    ) -> Result<(), Error> {
        let (dynamo, target) = (&self.dynamo, &self.target);
        let there = look(dynamo, target).await?;
        let now = wanted(&there, 0, None);
        let at_least = match (there.billing, capacity, warm) {
            (TableBilling::Provisioned { now, .. }, Some(capacity), _) => Throughput {
                write: now.write.max(capacity.during_copy.into()),
                ..now
            },
            (TableBilling::OnDemand { .. }, _, Some(warm)) => Throughput {
                write: warm.write.into(),
                read: warm.read.map_or(now.read, u64::from),
            },
            (TableBilling::Provisioned { .. }, None, _) => {
                screen.say(&format!(
                    "{target}: `warm` is for tables on demand, and this one is provisioned"
                ));
                return Ok(());
            }
            (TableBilling::OnDemand { .. }, _, None) => {
                screen.say(&format!(
                    "{target}: `capacity` is for provisioned tables, and this one is on demand"
                ));
                return Ok(());
            }
        };
        reach(dynamo, target, at_least, false, screen).await
    }

    /// Goes down to what the plan wants afterwards, however the copy has ended; unless others copy the table still.
    pub async fn lower(self, migration: &Migration, screen: &Screen) {
        let Some(after) = self.after else { return };
        let (dynamo, target) = (&self.dynamo, &self.target);
        let others = match migration.pace_status().await {
            Ok(status) => status
                .tools
                .iter()
                .filter(|(_, tool)| tool.command == "copy")
                .count(),
            Err(_) => 0,
        };
        if others > 0 {
            screen.say(&format!(
                "{target}: its capacity stays, since others copy it still"
            ));
            return;
        }
        let down = async {
            let there = look(dynamo, target).await?;
            match there.billing {
                TableBilling::Provisioned { now, .. } if now.write > after => {
                    let wanted = wanted(&there, after, None);
                    reach(dynamo, target, wanted, false, screen).await
                }
                TableBilling::Provisioned { .. } | TableBilling::OnDemand { .. } => Ok(()),
            }
        };
        if let Err(error) = down.await {
            screen.error(&error);
        }
    }
}
