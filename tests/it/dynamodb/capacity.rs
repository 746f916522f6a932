//! What a table takes in a second, at an endpoint that changes it as the service does: DynamoDB Local changes at once,
//! and has no limits.

use std::sync::{Arc, Mutex};

use crossfade::error::{Effect, Kind};
use crossfade::store::dynamodb::{CapacityStep, TableBilling, Throughput};
use serde_json::{Value, json};

use super::connect;
use crate::scripted::{Reply, Request, Scripted, error};

const NOON: i64 = 1_796_040_000;

/// A table as the service keeps it.
struct ScriptedTable {
    on_demand: bool,
    write: i64,
    read: i64,
    warm: [i64; 2],
    lowered_today: i64,
    /// How often it is still described as being changed.
    changing: usize,
}

impl ScriptedTable {
    fn describe(&mut self) -> Value {
        let is_changing = self.changing > 0;
        self.changing = self.changing.saturating_sub(1);
        let status = if is_changing { "UPDATING" } else { "ACTIVE" };
        let mode = if self.on_demand {
            "PAY_PER_REQUEST"
        } else {
            "PROVISIONED"
        };
        json!({"Table": {
            "TableName": "users",
            "TableStatus": status,
            "BillingModeSummary": {"BillingMode": mode},
            "ProvisionedThroughput": {
                "ReadCapacityUnits": self.read,
                "WriteCapacityUnits": self.write,
                "NumberOfDecreasesToday": self.lowered_today,
                "LastDecreaseDateTime": NOON,
            },
            "WarmThroughput": {
                "WriteUnitsPerSecond": self.warm[0],
                "ReadUnitsPerSecond": self.warm[1],
                "Status": status,
            },
        }})
    }

    fn update(&mut self, request: &Request) -> Reply {
        if self.changing > 0 {
            return error(400, "ResourceInUseException", "it is being updated");
        }
        if let Some(units) = request.body.get("ProvisionedThroughput") {
            let unit = |name: &str| units[name].as_i64().expect("units");
            let (write, read) = (unit("WriteCapacityUnits"), unit("ReadCapacityUnits"));
            if write > 40_000 {
                return error(400, "LimitExceededException", "the quota of the account");
            }
            if write < self.write || read < self.read {
                self.lowered_today += 1;
            }
            (self.write, self.read) = (write, read);
        }
        if let Some(warm) = request.body.get("WarmThroughput") {
            let unit = |name: &str| warm[name].as_i64().expect("units");
            self.warm = [unit("WriteUnitsPerSecond"), unit("ReadUnitsPerSecond")];
        }
        self.changing = 2;
        Reply::Json(200, json!({"TableDescription": {"TableName": "users"}}))
    }
}

fn start(table: ScriptedTable) -> (Scripted, Arc<Mutex<ScriptedTable>>) {
    let table = Arc::new(Mutex::new(table));
    let kept = table.clone();
    let endpoint = Scripted::start(move |request| {
        let mut table = kept.lock().unwrap();
        match request.call.as_str() {
            "DescribeTable" => Reply::Json(200, table.describe()),
            "UpdateTable" => table.update(request),
            other => panic!("{other}"),
        }
    });
    (endpoint, table)
}

fn provisioned(lowered_today: i64) -> ScriptedTable {
    ScriptedTable {
        on_demand: false,
        write: 500,
        read: 100,
        warm: [0, 0],
        lowered_today,
        changing: 0,
    }
}

#[tokio::test]
async fn a_provisioned_table_is_raised_and_lowered_as_the_service_allows() {
    let (endpoint, table) = start(provisioned(3));
    let store = connect(&endpoint.url).await;
    let look = async || store.capacity("users").await.unwrap().unwrap();
    let more = Throughput {
        write: 10_000,
        read: 100,
    };
    let less = Throughput {
        write: 500,
        read: 100,
    };
    assert_eq!(look().await.step(more, NOON), CapacityStep::Provision(more));
    store.provision("users", more).await.unwrap();
    // What is asked for meanwhile can be asked for later.
    let busy = store.provision("users", less).await.unwrap_err();
    assert_eq!(
        (busy.kind(), busy.known_effect()),
        (Kind::Transient, Effect::Unknown)
    );
    assert_eq!(look().await.step(less, NOON), CapacityStep::Changing);
    assert_eq!(look().await.step(less, NOON), CapacityStep::Changing);
    assert_eq!(look().await.writes_at_once(), Some(10_000));
    assert_eq!(look().await.step(less, NOON), CapacityStep::Provision(less));
    store.provision("users", less).await.unwrap();
    while look().await.is_changing {}
    // Four times today: one more an hour after the last.
    let lower = Throughput {
        write: 100,
        read: 100,
    };
    let at = NOON + 60;
    assert_eq!(
        look().await.step(lower, at),
        CapacityStep::LowerAt(NOON + 3_600)
    );
    let quota = Throughput {
        write: 50_000,
        read: 100,
    };
    let refused = store.provision("users", quota).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Throttled);
    assert_eq!(table.lock().unwrap().write, 500);
    assert_eq!(endpoint.count("UpdateTable"), 4);
}

#[tokio::test]
async fn a_table_on_demand_is_made_warm_and_stays_so() {
    let (endpoint, table) = start(ScriptedTable {
        on_demand: true,
        write: 0,
        read: 0,
        warm: [4_000, 12_000],
        lowered_today: 0,
        changing: 0,
    });
    let store = connect(&endpoint.url).await;
    let look = async || store.capacity("users").await.unwrap().unwrap();
    let now = look().await;
    let warm = Throughput {
        write: 4_000,
        read: 12_000,
    };
    assert_eq!(now.billing, TableBilling::OnDemand { warm: Some(warm) });
    assert_eq!(now.writes_at_once(), Some(4_000));
    let wanted = Throughput {
        write: 12_000,
        read: 0,
    };
    let CapacityStep::Warm(asked) = now.step(wanted, NOON) else {
        panic!("{:?}", now.step(wanted, NOON));
    };
    store.warm("users", asked).await.unwrap();
    while look().await.is_changing {}
    assert_eq!(table.lock().unwrap().warm, [12_000, 12_000]);
    assert_eq!(look().await.step(wanted, NOON), CapacityStep::Done);
    assert_eq!(endpoint.seen().last().unwrap().call, "DescribeTable");
}
