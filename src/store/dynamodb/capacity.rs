//! What a table may take in a second, and changing that within the rules of the service.
//!
//! | billing | what is changed | rules |
//! |---|---|---|
//! | provisioned | `ProvisionedThroughput` | up at any time; down four times in a day (UTC), and beyond that once an hour after the last time |
//! | on demand | `WarmThroughput` | up at any time, paid once; never down |
//!
//! A table changes one thing at a time: while its status is `UPDATING` nothing else is asked of it.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    BillingMode, ProvisionedThroughput, TableDescription, TableStatus, WarmThroughput,
};

use super::DynamoDb;
use crate::error::{Effect, Error, Kind, Result};

/// Decreases that a table takes in a day whenever one likes.
const FREE_DECREASES: u64 = 4;
/// Seconds after the last decrease from which on one more is allowed in any case.
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// Units in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Write units.
    pub write: u64,
    /// Read units.
    pub read: u64,
}

/// What a table may take, and how that is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableBilling {
    /// So much in a second, paid by the hour.
    Provisioned {
        /// What it may take.
        now: Throughput,
        /// How often it was lowered today (UTC).
        lowered_today: u64,
        /// When it was lowered last, seconds since 1970.
        lowered_at: Option<i64>,
    },
    /// What is taken is paid; what it can take at once without a ramp, where the server tells.
    OnDemand {
        /// That, which grows with use and with money.
        warm: Option<Throughput>,
    },
}

/// A table's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableCapacity {
    /// What it may take.
    pub billing: TableBilling,
    /// Whether a change is under way, so that no other one can begin.
    pub is_changing: bool,
}

/// What is to be asked of the service next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacityStep {
    /// It is as it is wanted.
    Done,
    /// A change is under way.
    Changing,
    /// This is to be asked for now.
    Provision(Throughput),
    /// This too.
    Warm(Throughput),
    /// It may not be lowered before then, seconds since 1970.
    LowerAt(i64),
}

impl TableCapacity {
    /// What is to be done for a table to take this much, at a time of day (seconds since 1970). What is warm already
    /// stays so.
    pub fn step(&self, wanted: Throughput, at: i64) -> CapacityStep {
        if self.is_changing {
            return CapacityStep::Changing;
        }
        match self.billing {
            TableBilling::Provisioned { now, .. } if now == wanted => CapacityStep::Done,
            TableBilling::Provisioned {
                now,
                lowered_today,
                lowered_at,
            } => {
                let lowers = wanted.write < now.write || wanted.read < now.read;
                let next = lowered_at.map_or(at, |last| last + HOUR);
                if !lowers || lowered_today < FREE_DECREASES || at >= next {
                    return CapacityStep::Provision(wanted);
                }
                let midnight = (at / DAY + 1) * DAY;
                // What is raised needn't wait for what is lowered.
                let raised = Throughput {
                    write: wanted.write.max(now.write),
                    read: wanted.read.max(now.read),
                };
                match raised == now {
                    true => CapacityStep::LowerAt(next.min(midnight)),
                    false => CapacityStep::Provision(raised),
                }
            }
            TableBilling::OnDemand { warm } => {
                let warm = warm.unwrap_or_default();
                let wanted = Throughput {
                    write: wanted.write.max(warm.write),
                    read: wanted.read.max(warm.read),
                };
                match wanted == warm {
                    true => CapacityStep::Done,
                    false => CapacityStep::Warm(wanted),
                }
            }
        }
    }

    /// Write units that it takes at once; none where the server doesn't tell.
    pub fn writes_at_once(&self) -> Option<u64> {
        match self.billing {
            TableBilling::Provisioned { now, .. } => Some(now.write),
            TableBilling::OnDemand { warm } => warm.map(|warm| warm.write),
        }
    }
}

impl DynamoDb {
    /// What a table may take in a second; `None` if there is no such table.
    ///
    /// # Errors
    /// The service's.
    pub async fn capacity(&self, table: &str) -> Result<Option<TableCapacity>> {
        Ok(self.describe(table).await?.as_ref().map(capacity_of))
    }

    /// Asks for this much, paid by the hour. It holds once the table isn't changing any more.
    ///
    /// # Errors
    /// The service's: [`Kind::Throttled`] beyond the quota of the account or the decreases of a day,
    /// [`Kind::Transient`] while another change is under way.
    pub async fn provision(&self, table: &str, wanted: Throughput) -> Result<()> {
        let throughput = ProvisionedThroughput::builder()
            .write_capacity_units(signed(wanted.write))
            .read_capacity_units(signed(wanted.read))
            .build()
            .map_err(|error| unbuilt(&error))?;
        let update = self.client.update_table().table_name(table);
        let update = update.provisioned_throughput(throughput);
        self.updated(table, update.send().await)
    }

    /// Asks for a table to be ready for this much at once, paid now.
    ///
    /// # Errors
    /// As of [`DynamoDb::provision`].
    pub async fn warm(&self, table: &str, wanted: Throughput) -> Result<()> {
        let warm = WarmThroughput::builder()
            .write_units_per_second(signed(wanted.write))
            .read_units_per_second(signed(wanted.read))
            .build();
        let update = self.client.update_table().table_name(table);
        self.updated(table, update.warm_throughput(warm).send().await)
    }

    fn updated<T, E>(
        &self,
        table: &str,
        answer: Result<
            T,
            aws_sdk_dynamodb::error::SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>,
        >,
    ) -> Result<()>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match answer {
            Ok(_) => Ok(()),
            // The same once more, after a lost answer, asks for what is so already.
            Err(error) => Err(self
                .reading("dynamodb:UpdateTable", table)
                .failed(error)
                .with_effect(Effect::Unknown)),
        }
    }
}

fn capacity_of(table: &TableDescription) -> TableCapacity {
    let provisioned = table.provisioned_throughput();
    let is_on_demand = match table
        .billing_mode_summary()
        .and_then(|summary| summary.billing_mode())
    {
        Some(mode) => *mode == BillingMode::PayPerRequest,
        // A table that has always been provisioned has no summary.
        None => provisioned.is_none_or(|units| units.write_capacity_units() == Some(0)),
    };
    let warm = table.warm_throughput();
    let billing = match (is_on_demand, provisioned) {
        (false, Some(units)) => TableBilling::Provisioned {
            now: Throughput {
                write: unsigned(units.write_capacity_units()),
                read: unsigned(units.read_capacity_units()),
            },
            lowered_today: unsigned(units.number_of_decreases_today()),
            lowered_at: units.last_decrease_date_time().map(|time| time.secs()),
        },
        (true, _) | (false, None) => TableBilling::OnDemand {
            warm: warm.map(|warm| Throughput {
                write: unsigned(warm.write_units_per_second()),
                read: unsigned(warm.read_units_per_second()),
            }),
        },
    };
    let is_warming = warm.and_then(|warm| warm.status()).map(TableStatus::as_str);
    TableCapacity {
        billing,
        is_changing: table.table_status() != Some(&TableStatus::Active)
            || is_warming == Some("UPDATING"),
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

fn unsigned(units: Option<i64>) -> u64 {
    units
        .and_then(|units| u64::try_from(units).ok())
        .unwrap_or(0)
}

fn unbuilt(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, format!("the request can't be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_800_000_000 / DAY * DAY + DAY / 2;

    fn throughput(write: u64, read: u64) -> Throughput {
        Throughput { write, read }
    }

    fn provisioned(lowered_today: u64, lowered_at: Option<i64>) -> TableCapacity {
        TableCapacity {
            billing: TableBilling::Provisioned {
                now: throughput(1_000, 1_000),
                lowered_today,
                lowered_at,
            },
            is_changing: false,
        }
    }

    #[test]
    fn raising_is_done_at_once_and_lowering_as_often_as_the_service_allows() {
        let up = throughput(10_000, 1_000);
        let down = throughput(500, 1_000);
        let used_up = provisioned(4, Some(NOON - 600));
        assert_eq!(used_up.step(up, NOON), CapacityStep::Provision(up));
        let free = provisioned(3, Some(NOON - 600));
        assert_eq!(free.step(down, NOON), CapacityStep::Provision(down));
        assert_eq!(
            used_up.step(down, NOON),
            CapacityStep::LowerAt(NOON + 3_000)
        );
        assert_eq!(
            used_up.step(down, NOON + 3_000),
            CapacityStep::Provision(down)
        );
        // A new day begins before the hour is over.
        let late = provisioned(9, Some(NOON + DAY / 2 - 60));
        let before = NOON + DAY / 2 - 1;
        assert_eq!(
            late.step(down, before),
            CapacityStep::LowerAt(NOON + DAY / 2)
        );
        let both = throughput(10_000, 10);
        let raised = throughput(10_000, 1_000);
        assert_eq!(used_up.step(both, NOON), CapacityStep::Provision(raised));
        let same = throughput(1_000, 1_000);
        assert_eq!(used_up.step(same, NOON), CapacityStep::Done);
        let changing = TableCapacity {
            is_changing: true,
            ..free
        };
        assert_eq!(changing.step(same, NOON), CapacityStep::Changing);
    }

    #[test]
    fn what_is_warm_stays_so() {
        let warm = TableCapacity {
            billing: TableBilling::OnDemand {
                warm: Some(throughput(4_000, 12_000)),
            },
            is_changing: false,
        };
        let more = throughput(12_000, 0);
        let asked = throughput(12_000, 12_000);
        assert_eq!(warm.step(more, NOON), CapacityStep::Warm(asked));
        assert_eq!(warm.step(throughput(100, 100), NOON), CapacityStep::Done);
        assert_eq!(warm.writes_at_once(), Some(4_000));
    }
}
