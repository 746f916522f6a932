//! A permit is asked before every request, and what hangs doesn't cost a lease.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossfade::clock::Clock;
use crossfade::control::{Control, Lease, Member, MemberRole, New, ParticipantKind, Record};
use crossfade::error::{Effect, Error, Kind};
use crossfade::model::{Add, Change, Condition, Fold, Key, Move, Value};
use crossfade::protocol::Phase;
use crossfade::schema::{Role, Table, Type};
use crossfade::store::dynamodb::{DynamoDb, DynamoDbConfig};
use crossfade::store::{Permit, Store};
use crossfade::testing::rig;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{column, config, connect, key, note, notes, some_notes};
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::{Reply, Scripted};

fn over() -> Error {
    Error::new(Kind::Unreachable, "the lease is over")
}

/// One that holds when it is asked so many times, and no more.
fn permit_of(times: u64) -> Permit {
    let asked = AtomicU64::new(0);
    Permit::new(move || match asked.fetch_add(1, Ordering::SeqCst) < times {
        true => Ok(()),
        false => Err(over()),
    })
}

#[tokio::test]
async fn a_put_of_many_requests_stops_in_its_middle() {
    let endpoint = Arc::new(Scripted::start(|_| Reply::Json(200, json!({}))));
    let single = DynamoDbConfig {
        partiql: Some(false),
        ..config(&endpoint.url)
    };
    let sent = endpoint.clone();
    let permit = Permit::new(move || match sent.count("PutItem") < 3 {
        true => Ok(()),
        false => Err(over()),
    });
    let store = Arc::new(DynamoDb::connect(single).await.unwrap()).permitted(permit);
    let puts = store
        .put(&notes("t"), &some_notes(40), &Condition::absent())
        .await;
    let sent = endpoint.count("PutItem");
    // Those that were under way when the third arrived.
    assert!((3..30).contains(&sent), "{sent}");
    let (written, refused): (Vec<_>, Vec<_>) = puts.rows.into_iter().partition(Result::is_ok);
    assert_eq!((written.len(), refused.len()), (sent, 40 - sent));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_without_a_permit() {
    sends_nothing(0).await;
}

/// A process may be suspended between the two.
#[tokio::test]
async fn nothing_is_sent_with_a_permit_that_ended_before_the_first_byte() {
    sends_nothing(1).await;
}

/// Each kind of write, with a permit that holds when it is asked so many times.
async fn sends_nothing(holds: u64) {
    let endpoint = Scripted::start(|_| Reply::Json(200, json!({})));
    let connected = Arc::new(connect(&endpoint.url).await);
    let store = || connected.clone().permitted(permit_of(holds));
    let table = notes("t");
    let refused = |error: Option<Error>| {
        let error = error.expect("refused");
        assert_eq!(
            (error.kind(), error.known_effect()),
            (Kind::Unreachable, Effect::None),
            "{error}"
        );
        assert!(error.to_string().contains("the lease is over"), "{error}");
    };
    for on in [Condition::absent(), Condition::Always] {
        let puts = store().put(&table, &some_notes(30), &on).await;
        puts.rows.into_iter().for_each(|row| refused(row.err()));
    }
    let purged = store()
        .purge(&table, vec![key("a", 1)], &Condition::Always)
        .await;
    purged.rows.into_iter().for_each(|row| refused(row.err()));
    let put = Change::Put(note("a", 1, "b"));
    let changed = store()
        .update_item(&table, &key("a", 1), &put, &Condition::Always)
        .await;
    refused(changed.err());
    let counters = Table::new(
        "c",
        vec![
            column("id", Type::Text, Role::Partition),
            column("n", Type::Counter, Role::Regular),
        ],
    );
    let counter = Key::row(vec![Value::text("a")], vec![]);
    let fold = Fold {
        key: counter.clone(),
        moves: vec![Some(Move { from: None, to: 5 })],
    };
    let folded = store().fold(&counters, vec![fold]).await;
    folded.rows.into_iter().for_each(|row| refused(row.err()));
    for token in [None, Some("once".to_owned())] {
        let add = Add {
            key: counter.clone(),
            by: vec![Some(1)],
            mark: None,
            token,
        };
        refused(store().add(&counters, &add).await.err());
    }
    assert_eq!(endpoint.seen().len(), 0);
}

/// A server that reads slowly leaves a part of a large request in the process: it stays there.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_written_to_its_end_without_a_permit() {
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.set_recv_buffer_size(1 << 16).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let holds = Arc::new(AtomicBool::new(true));
    let asked = holds.clone();
    let permit = Permit::new(move || match asked.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(over()),
    });
    let store = Arc::new(connect(&url).await).permitted(permit);
    let rows: Vec<_> = (0..10)
        .map(|n| note("a", n, &"x".repeat(390 << 10)))
        .collect();
    let putting =
        tokio::spawn(async move { store.put(&notes("t"), &rows, &Condition::absent()).await });
    let (mut server, _) = listener.accept().await.unwrap();
    // Long enough to fill what lies between them; if it isn't, less was sent.
    tokio::time::sleep(Duration::from_millis(300)).await;
    holds.store(false, Ordering::SeqCst);
    let (mut got, mut part) = (0, vec![0; 1 << 16]);
    while let Ok(read @ 1..) = server.read(&mut part).await {
        got += read;
    }
    assert!(got < 10 * (390 << 10), "all of it arrived");
    for row in putting.await.unwrap().rows {
        let error = row.unwrap_err();
        assert_eq!(error.known_effect(), Effect::None, "{error}");
        assert!(error.to_string().contains("the lease is over"), "{error}");
    }
}

/// One connection that never answers again, in the middle of a renewal.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_hangs_is_made_again_within_the_lease() {
    let real = crate::support::dynamodb_url();
    let hangs = Arc::new(AtomicU64::new(0));
    let left = hangs.clone();
    let proxy = Forwarding::start(&real, move |_| {
        let hung = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        match hung {
            Ok(_) => Fault::ReplyWithheld,
            Err(_) => Fault::None,
        }
    });
    let name = format!("renewing-{:016x}", rand::random::<u64>());
    let store = Arc::new(connect(&proxy.url).await);
    let control = Control::new(New::over(store.clone()), &name);
    control.create().await.unwrap();
    let table = notes("t");
    let record = Record {
        freeze: 0,
        ..rig::record(Phase::Switch, &table, &table)
    };
    assert!(control.add("t", &record).await.unwrap());
    let lease = Lease {
        lasts: Duration::from_secs(6),
        ..Lease::default()
    };
    let role = MemberRole {
        id: "one".into(),
        kind: ParticipantKind::Shim,
        name: "one".into(),
        lease,
        clock: Clock::Machine,
    };
    let member = Member::join(control.clone(), "t", role, Box::new(|_| Ok(())));
    let member = member.await.unwrap();
    let keeping = member.clone();
    let keeper = tokio::spawn(async move { keeping.keep().await });
    // Whatever it asks next.
    hangs.store(1, Ordering::SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        member.guard().expect("the lease goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hangs.load(Ordering::SeqCst), 0, "one has hung");
    keeper.abort();
    store.drop_table(&name).await.ok();
}
