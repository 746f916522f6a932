//! Whether the new store takes at once what applications write, before they are moved to it.

use std::path::Path;
use std::sync::Arc;

use crossfade::connect;
use crossfade::error::Error;
use crossfade::forecast::NEW_TABLE_WRITE_UNITS;
use crossfade::migration::Migration;
use crossfade::plan::{NewStorePlan, OldStorePlan, Plan};
use crossfade::protocol::Phase;
use crossfade::store::cassandra::{Cassandra, WriteRate};
use crossfade::store::dynamodb::{TableBilling, TableCapacity};
use crossfade::store::{Old, Reads};

use crate::format;
use crate::next;
use crate::progress::Screen;

/// What is recommended, as a multiple of what was measured: a mean hides its peaks.
const FOR_PEAKS: f64 = 1.5;
/// It is rounded up to these.
const ROUND_UNITS: f64 = 100.0;

/// What applications write, and what the target takes.
struct Demand {
    rate: WriteRate,
    /// Write units of a row, on average.
    units_each: f64,
    capacity: TableCapacity,
}

/// Says if applications write more than the target takes at once, where a move brings their writes to it. It is a warning:
/// looking may fail, and the move go on.
pub async fn tell((plan, path): (&Plan, &Path), migration: &Migration, to: Phase, screen: &Screen) {
    // What is wrong with the record the move says itself.
    let Ok(record) = migration.record().await else {
        return;
    };
    let is_before = |phase| matches!(phase, Phase::Old | Phase::Bridge);
    if !is_before(record.phase) || is_before(to) {
        return;
    }
    let table = &migration.spec.name;
    match look(plan, migration).await {
        Ok(demand) => {
            let capacity = next::command("capacity", path, Some(table));
            let warning = demand.and_then(|demand| demand.warning(&migration.spec.to, &capacity));
            warning
                .iter()
                .for_each(|warning| screen.say(&format!("{table}: warning: {warning}")));
        }
        Err(error) => screen.say(&format!(
            "{table}: the tool couldn't find out whether the new store takes what applications write: {error}"
        )),
    }
}

/// `None` where a store has no such numbers, or nothing is written.
async fn look(plan: &Plan, migration: &Migration) -> Result<Option<Demand>, Error> {
    let (OldStorePlan::Cassandra(old), NewStorePlan::DynamoDb(_)) = (&plan.old, &plan.new) else {
        return Ok(None);
    };
    let old = connect::open_cassandra(old).await?;
    let demand = demand(&old, plan, migration).await;
    old.close().await;
    demand
}

async fn demand(
    old: &Cassandra,
    plan: &Plan,
    migration: &Migration,
) -> Result<Option<Demand>, Error> {
    let rate = old.write_rate(&migration.spec.name).await?;
    let Some(rate) = rate.filter(|rate| rate.per_second > 0.0) else {
        return Ok(None);
    };
    let dynamo = connect::dynamodb(plan).await?;
    let Some(capacity) = dynamo.capacity(&migration.spec.to).await? else {
        return Ok(None);
    };
    let units_each = migration
        .mean_write_units(&Old(Arc::new(old.clone())))
        .await?;
    Ok(Some(Demand {
        rate,
        units_each,
        capacity,
    }))
}

impl Demand {
    /// What to say if it is too much. `capacity` is the command that changes the target's capacity.
    fn warning(&self, target: &str, capacity: &str) -> Option<String> {
        let units = self.rate.per_second * self.units_each;
        let takes = self.capacity.writes_at_once();
        let (takes, as_what) = match (self.capacity.billing, takes) {
            (TableBilling::Provisioned { .. }, Some(takes)) => (takes as f64, ""),
            (TableBilling::OnDemand { .. }, Some(takes)) => {
                (takes as f64, " without a ramp, on demand")
            }
            (TableBilling::Provisioned { .. } | TableBilling::OnDemand { .. }, None) => {
                (NEW_TABLE_WRITE_UNITS, ", as a new table on demand does")
            }
        };
        if units <= takes {
            return None;
        }
        let wanted = (units * FOR_PEAKS / ROUND_UNITS).ceil() * ROUND_UNITS;
        let silent = match self.rate.silent {
            0 => String::new(),
            silent => format!(", {silent} of them left out, which didn't tell"),
        };
        let nodes = match self.rate.nodes + self.rate.silent {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        };
        Some(format!(
            "applications make {} writes a second or more to the old table (a mean of five minutes, of {nodes}{silent}), \
             which are about {} write units; {target} takes {} at once{as_what}. From `switch` on these writes go there, and what \
             is too much is throttled. Before that, with room for peaks: {capacity} --write {}",
            format::count(self.rate.per_second.ceil() as u64),
            format::count(units.ceil() as u64),
            format::count(takes as u64),
            wanted as u64,
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crossfade::store::dynamodb::Throughput;

    fn demand(per_second: f64, units_each: f64, billing: TableBilling) -> Demand {
        Demand {
            rate: WriteRate {
                per_second,
                nodes: 3,
                silent: 0,
            },
            units_each,
            capacity: TableCapacity {
                billing,
                is_changing: false,
            },
        }
    }

    fn warning(demand: &Demand) -> Option<String> {
        demand.warning("users", "migrate capacity")
    }

    #[test]
    fn what_the_target_takes_is_what_was_provisioned_or_is_warm_or_a_new_tables() {
        let units = |write| Throughput { write, read: 10 };
        let provisioned = TableBilling::Provisioned {
            now: units(500),
            lowered_today: 0,
            lowered_at: None,
        };
        assert_eq!(warning(&demand(500.0, 1.0, provisioned)), None);
        let told = warning(&demand(420.0, 1.5, provisioned)).unwrap();
        for part in [
            "420 writes a second",
            "of 3 nodes)",
            "about 630 write units",
            "takes 500 at once.",
            "migrate capacity --write 1000",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let warm = TableBilling::OnDemand {
            warm: Some(units(12_000)),
        };
        assert_eq!(warning(&demand(12_000.0, 1.0, warm)), None);
        let told = warning(&demand(12_001.0, 1.0, warm)).unwrap();
        assert!(told.contains("takes 12,000 at once without"), "{told}");
        let untold = TableBilling::OnDemand { warm: None };
        assert_eq!(warning(&demand(4_000.0, 1.0, untold)), None);
        let told = warning(&demand(4_001.0, 1.0, untold)).unwrap();
        assert!(
            told.contains("takes 4,000 at once, as a new table"),
            "{told}"
        );
    }

    #[test]
    fn nodes_that_did_not_tell_are_named() {
        let untold = TableBilling::OnDemand { warm: None };
        let mut demand = demand(9_000.0, 1.0, untold);
        demand.rate.silent = 2;
        let told = warning(&demand).unwrap();
        assert!(told.contains("of 5 nodes, 2 of them left out"), "{told}");
    }
}
