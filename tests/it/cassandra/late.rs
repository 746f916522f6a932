//! Times to live of rows whose request was long under way.

use std::time::Duration;

use crossfade::clock::unix_seconds;
use crossfade::model::{End, Ends, Row, Times, Tokens, Value};
use crossfade::store::cassandra::Cassandra;
use crossfade::store::{Range, Reads};
use scylla_proxy::{Condition, Reaction, RequestOpcode, RequestReaction, RequestRule};

use super::{Bench, config, key};
use crate::support::{cassandra_address, proxied};

/// Longer than a verification lets two expiries differ.
const LATE: Duration = Duration::from_secs(8);

/// The first request stands still on its way to the server, which counts what is left from when it has come.
#[tokio::test]
async fn an_end_is_right_whose_request_came_late() {
    let bench = Bench::new("late").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v int, w int)")
        .await;
    bench
        .cql("INSERT INTO t (p, v, w) VALUES (1, 1, 1) USING TTL 5000")
        .await;
    let written = unix_seconds();
    let table = bench.table("t").await;
    let (proxy, address) = proxied(&cassandra_address()).await;
    let mut proxy = proxy;
    let mut config = config(&bench.keyspace);
    config.nodes = vec![address];
    let store = Cassandra::connect(config).await.expect("a store");
    let range = Range::Tokens(Tokens::ALL);
    // What is prepared is prepared.
    store.scan(&table, &range, None, 10).await.expect("a page");
    let keys = [key(&[Value::Int(1)], &[])];
    store.get(&table, &keys).await.expect("a row");

    for scans in [true, false] {
        let first = Condition::RequestOpcode(RequestOpcode::Execute)
            .and(Condition::not(Condition::ConnectionRegisteredAnyEvent))
            .and(Condition::TrueForLimitedTimes(1));
        let rule = RequestRule(first, RequestReaction::delay(LATE));
        proxy.running_nodes[0].change_request_rules(Some(vec![rule]));
        let asked = unix_seconds();
        let row: Row = match scans {
            true => {
                let page = store.scan(&table, &range, None, 10).await;
                page.expect("a page").rows.remove(0)
            }
            false => {
                let rows = store.get(&table, &keys).await.expect("rows");
                rows.into_iter().next().flatten().expect("there")
            }
        };
        assert!(
            unix_seconds() - asked >= LATE.as_secs() as i64,
            "it was late"
        );
        let Times::OfCells(cells) = &row.times else {
            panic!("{row:?}");
        };
        for cell in cells {
            let Ends::Told {
                first: End::At(first),
                last: End::At(last),
            } = cell.ends
            else {
                panic!("{cell:?}");
            };
            let right = written + 5_000 - 3..=written + 5_000 + 3;
            assert!(
                first == last && right.contains(&first),
                "{} seconds off",
                first - written - 5_000
            );
        }
    }
    proxy.finish().await.expect("the proxy ends");
    bench.done().await;
}
