//! Operations on items: conditions, updates, what is told, scans and transactions, in every phase.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use super::*;
use crate::error::Effect;
use crate::express::{ConditionExpression, Item, Placeholders, UpdateExpression};
use crate::item::Attr;
use crate::model::{Key, Returns};

fn placeholders(values: Json) -> Placeholders {
    let attr = |value: &Json| match value {
        Json::String(text) => Attr::S(text.clone()),
        Json::Number(number) => Attr::N(number.to_string()),
        Json::Array(texts) => {
            let texts = texts.iter().map(|text| text.as_str().unwrap().to_owned());
            Attr::Ss(texts.collect())
        }
        other => panic!("{other}"),
    };
    let values = values.as_object().unwrap().iter();
    let values = values.map(|(name, value)| (format!(":{name}"), attr(value)));
    let names = [("#name".to_owned(), "name".to_owned())];
    Placeholders::new(names.into(), values.collect()).unwrap()
}

fn condition(text: &str, values: Json) -> Option<ConditionExpression> {
    Some(ConditionExpression::parse(text, &placeholders(values)).unwrap())
}

fn update(text: &str, values: Json) -> UpdateExpression {
    UpdateExpression::parse(text, &placeholders(values)).unwrap()
}

async fn user(users: &Table, json: Json) -> (Row, Ttl) {
    let items = users.items().await.unwrap();
    let attr = |(name, value): (&String, &Json)| {
        let attr = match value {
            Json::String(text) => Attr::S(text.clone()),
            other => Attr::N(other.to_string()),
        };
        (name.clone(), attr)
    };
    let item: Item = json.as_object().unwrap().iter().map(attr).collect();
    items.row(&item).unwrap()
}

async fn put(users: &Table, json: Json, on: Option<ConditionExpression>) -> Returned {
    let (row, ttl) = user(users, json).await;
    let put = users.put_if(row, ttl, on, Returns::Nothing);
    put.await.unwrap()
}

async fn key(users: &Table, id: &str) -> Key {
    users.key_of(&json!({ "id": id })).await.unwrap()
}

/// A table with a user that the phase's own store has: from `bridge` on it has moved.
async fn with_user(phase: Phase) -> (Bench, Shim, Table) {
    let first = match phase {
        Phase::Bridge => Phase::Switch,
        phase => phase,
    };
    let bench = Bench::new(first).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let ann = json!({"id": "u1", "name": "Ann", "age": 7});
    users.put_as(&ann).await.unwrap();
    if phase == first {
        return (bench, shim, users);
    }
    shim.leave().await.unwrap();
    bench.set(phase).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    (bench, shim, users)
}

fn age(returned: &Returned) -> Option<i32> {
    let (Returned::Done(row) | Returned::Unmet(row)) = returned;
    row.as_ref().and_then(|row| match row.cells[0] {
        Some(Value::Int(age)) => Some(age),
        _ => None,
    })
}

#[tokio::test]
async fn a_condition_is_a_test_on_the_item_in_every_phase() {
    for phase in ALL {
        let (_bench, _shim, users) = with_user(phase).await;
        let u1 = key(&users, "u1").await;
        let bea = json!({"id": "u1", "name": "Bea", "age": 8});
        let is_new = || condition("attribute_not_exists(id)", json!({}));
        let unmet = put(&users, bea.clone(), is_new()).await;
        assert!(
            matches!(unmet, Returned::Unmet(Some(_))),
            "{phase}: {unmet:?}"
        );
        assert_eq!(age(&unmet), Some(7), "{phase}");
        let older = condition(
            "age > :a AND begins_with(#name, :n)",
            json!({"a": 6, "n": "A"}),
        );
        assert_eq!(
            put(&users, bea, older).await,
            Returned::Done(None),
            "{phase}"
        );

        // Arithmetic, on a condition, and the row after it.
        let more = update("SET age = age + :one", json!({"one": 1}));
        let is_bea = condition("#name = :n", json!({"n": "Bea"}));
        let new = users.update_item(&u1, more.clone(), is_bea, Returns::New);
        let new = new.await.unwrap();
        assert_eq!(age(&new), Some(9), "{phase}");
        let is_ann = condition("#name = :n", json!({"n": "Ann"}));
        let unmet = users.update_item(&u1, more, is_ann, Returns::New);
        assert!(
            matches!(unmet.await.unwrap(), Returned::Unmet(Some(_))),
            "{phase}"
        );

        // Constants, and the row before them.
        let named = update(
            "SET #name = :n ADD tags :t",
            json!({"n": "Cid", "t": ["x"]}),
        );
        let old = users.update_item(&u1, named, None, Returns::Old).await;
        assert_eq!(age(&old.unwrap()), Some(9), "{phase}");
        let row = users.get_as::<Json>(&json!({"id": "u1"})).await.unwrap();
        let cid = json!({"id": "u1", "name": "Cid", "age": 9, "tags": ["x"]});
        assert_eq!(row, Some(cid), "{phase}");

        let is_there = || condition("attribute_exists(id)", json!({}));
        let gone = users
            .delete_if(&u1, is_there(), Returns::Old)
            .await
            .unwrap();
        assert_eq!(age(&gone), Some(9), "{phase}");
        if phase != Phase::Bridge {
            let again = users.delete_if(&u1, is_there(), Returns::Old).await;
            assert_eq!(again.unwrap(), Returned::Unmet(None), "{phase}");
        }
        let again = put(&users, json!({"id": "u1", "age": 1}), is_new()).await;
        assert_eq!(again, Returned::Done(None), "{phase}");
    }
}

/// What can't be done to an item has DynamoDB's words, and nothing is changed; a value has to fit its column.
#[tokio::test]
async fn an_update_that_cannot_be_made_is_refused_in_every_phase() {
    for phase in ALL {
        let (_bench, _shim, users) = with_user(phase).await;
        let u1 = key(&users, "u1").await;
        for (text, values) in [
            ("SET age = #name + :one", json!({"one": 1})),
            ("SET age = age + :much", json!({"much": 3_000_000_000_i64})),
            ("SET age = :text", json!({"text": "x"})),
            ("SET id = :text", json!({"text": "x"})),
            ("SET extra = :text", json!({"text": "x"})),
            ("SET age = tags", json!({})),
        ] {
            let update = users.update_item(&u1, update(text, values), None, Returns::Nothing);
            let error = update.await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{phase} {text}: {error}");
        }
        let row = users.get_as::<Json>(&json!({"id": "u1"})).await.unwrap();
        assert_eq!(
            row,
            Some(json!({"id": "u1", "name": "Ann", "age": 7})),
            "{phase}"
        );
    }
}

/// Items are what the protocol stores, without its marks; keys are read exactly.
#[tokio::test]
async fn rows_are_items_and_items_are_rows() {
    let (_bench, _shim, users) = with_user(Phase::New).await;
    let items = users.items().await.unwrap();
    let row = users.get(&key(&users, "u1").await).await.unwrap().unwrap();
    let item = items.item(&row).unwrap();
    let names: Vec<&str> = item.keys().map(String::as_str).collect();
    assert_eq!(names, ["age", "id", "name"]);
    assert_eq!(items.row(&item).unwrap().0, row);
    let key_item = Item::from([("id".to_owned(), Attr::S("u1".into()))]);
    assert_eq!(items.key(&key_item).unwrap(), row.key);
    let with = |name: &str, attr| {
        let mut item = item.clone();
        item.insert(name.into(), attr);
        items.row(&item)
    };
    assert!(with("tags", Attr::Null).is_ok());
    for (name, attr) in [
        ("_m", Attr::S("t".into())),
        ("other", Attr::S("x".into())),
        ("age", Attr::N("1.5".into())),
        ("age", Attr::N("99999999999".into())),
    ] {
        let error = with(name, attr.clone()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{name} {attr:?}");
    }
    let (row, ttl) = with("expires_at", Attr::N("4000000000".into())).unwrap();
    assert_eq!(
        (row.expires, ttl),
        (Some(4_000_000_000), Ttl::At(4_000_000_000))
    );
}

async fn scanned(users: &Table, limit: usize, part: Option<ScanPart>) -> Vec<String> {
    let mut ids = Vec::new();
    let mut position = None;
    loop {
        let page = users.scan(Scan {
            position,
            limit,
            part,
        });
        let page = page.await.unwrap();
        assert!(page.rows.len() <= limit);
        ids.extend(page.rows.iter().map(id));
        match page.next {
            Some(next) => position = Some(next),
            None => return ids,
        }
    }
}

fn id(row: &Row) -> String {
    let [Value::Text(id)] = row.key.partition.as_slice() else {
        panic!("{row:?}");
    };
    let name = match &row.cells[1] {
        Some(Value::Text(name)) => name.as_str(),
        _ => "",
    };
    format!("{id}{name}")
}

#[tokio::test]
async fn a_scan_shows_every_row_once_in_every_phase() {
    let bench = Bench::new(Phase::Old).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let mut wanted = BTreeSet::new();
    for number in 0..40 {
        let name = format!("u{number:02}");
        users
            .put_as(&json!({"id": name, "name": "o", "age": number}))
            .await
            .unwrap();
        wanted.insert(format!("{name}o"));
    }
    assert_eq!(
        scanned(&users, 7, None)
            .await
            .into_iter()
            .collect::<BTreeSet<_>>(),
        wanted
    );
    shim.leave().await.unwrap();
    bench.set(Phase::Switch).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    for number in 0..10 {
        // Written anew, changed in part, deleted, and new ones.
        let (put, part) = (format!("u{number:02}"), format!("u1{number}"));
        users
            .put_as(&json!({"id": put, "name": "p"}))
            .await
            .unwrap();
        let part_key = json!({ "id": part });
        users
            .update_as(&part_key, &json!({"name": "k"}), &[])
            .await
            .unwrap();
        let gone = key(&users, &format!("u2{number}")).await;
        users.delete(&gone).await.unwrap();
        let new = format!("n{number}");
        users
            .put_as(&json!({"id": new, "name": "n"}))
            .await
            .unwrap();
        wanted.remove(&format!("{put}o"));
        wanted.remove(&format!("{part}o"));
        wanted.remove(&format!("u2{number}o"));
        wanted.extend([format!("{put}p"), format!("{part}k"), format!("{new}n")]);
    }
    shim.leave().await.unwrap();
    for phase in [Phase::Switch, Phase::Bridge, Phase::Copy] {
        bench.set(phase).await;
        let shim = bench.shim();
        let users = shim.table("users").unwrap();
        for limit in [1, 7, 1_000] {
            let seen = scanned(&users, limit, None).await;
            assert_eq!(seen.len(), wanted.len(), "{phase} {limit}: {seen:?}");
            assert_eq!(
                seen.into_iter().collect::<BTreeSet<_>>(),
                wanted,
                "{phase} {limit}"
            );
        }
        let mut parts = Vec::new();
        for index in 0..3 {
            parts.extend(scanned(&users, 7, Some(ScanPart { index, total: 3 })).await);
        }
        assert_eq!(parts.len(), wanted.len(), "{phase}");
        shim.leave().await.unwrap();
    }
    // A scan that begins in `copy` goes on in `new`, once everything has been copied.
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let first = users.scan(Scan {
        position: None,
        limit: 9,
        part: None,
    });
    let first = first.await.unwrap();
    for name in &wanted {
        let read = users.get(&key(&users, &name[..name.len() - 1]).await).await;
        assert!(read.unwrap().is_some());
    }
    shim.leave().await.unwrap();
    bench.set(Phase::New).await;
    let shim = bench.shim();
    let users = shim.table("users").unwrap();
    let seen = scanned(&users, 7, None).await;
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
    let mut seen: BTreeSet<String> = first.rows.iter().map(id).collect();
    let mut position = first.next;
    while let Some(at) = position {
        let page = users.scan(Scan {
            position: Some(at),
            limit: 7,
            part: None,
        });
        let page = page.await.unwrap();
        seen.extend(page.rows.iter().map(id));
        position = page.next;
    }
    assert_eq!(seen, wanted);
}

fn transact(writes: Writes, on: Option<ConditionExpression>) -> TransactWrite {
    TransactWrite {
        table: "users".into(),
        writes,
        on,
    }
}

#[tokio::test]
async fn a_transaction_writes_all_or_nothing() {
    for phase in ALL {
        let (_bench, shim, users) = with_user(phase).await;
        let (u1, u2) = (key(&users, "u1").await, key(&users, "u2").await);
        let (bea, ttl) = user(&users, json!({"id": "u2", "name": "Bea"})).await;
        let more = update("SET age = age + :one", json!({"one": 1}));
        let writes = |age: i64| {
            let is_so = condition("age = :a", json!({ "a": age }));
            vec![
                transact(Writes::Update(u1.clone(), more.clone()), is_so),
                transact(Writes::Put(bea.clone(), ttl), None),
            ]
        };
        if phase == Phase::Bridge {
            // The second key isn't in the new store, and the shim waits until it gives up.
            continue;
        }
        let refused = shim.transact(writes(8)).await;
        if phase == Phase::Old {
            assert_eq!(refused.unwrap_err().kind(), Kind::Unsupported);
            let read = shim.transact_get(vec![("users".into(), u1.clone())]).await;
            assert_eq!(read.unwrap_err().kind(), Kind::Unsupported);
            continue;
        }
        let Transacted::Cancelled(causes) = refused.unwrap() else {
            panic!("{phase}: its condition isn't met");
        };
        assert!(
            matches!(causes[0], Cancelled::Unmet(Some(_))),
            "{phase}: {causes:?}"
        );
        assert_eq!(causes[1], Cancelled::No, "{phase}");
        assert_eq!(users.get(&u2).await.unwrap(), None, "{phase}");
        assert_eq!(
            shim.transact(writes(7)).await.unwrap(),
            Transacted::Done,
            "{phase}"
        );
        let row = users.get_as::<Json>(&json!({"id": "u1"})).await.unwrap();
        assert_eq!(row.unwrap()["age"], 8, "{phase}");
        let is_there = condition("attribute_exists(id)", json!({}));
        let writes = vec![
            transact(Writes::Check(u1.clone()), is_there),
            transact(Writes::Delete(u2.clone()), None),
        ];
        assert_eq!(
            shim.transact(writes).await.unwrap(),
            Transacted::Done,
            "{phase}"
        );
        let keys = vec![
            ("users".to_owned(), u1.clone()),
            ("users".to_owned(), u2.clone()),
        ];
        let rows = shim.transact_get(keys).await.unwrap();
        assert!(rows[0].is_some() && rows[1].is_none(), "{phase}: {rows:?}");
        let twice = vec![
            transact(Writes::Delete(u1.clone()), None),
            transact(Writes::Delete(u1.clone()), None),
        ];
        assert_eq!(
            shim.transact(twice).await.unwrap_err().kind(),
            Kind::Invalid
        );
    }
}

/// Keys that haven't moved: brought over in `copy`, waited for in `switch`.
#[tokio::test]
async fn a_transaction_brings_over_what_it_needs() {
    let (bench, shim, _) = with_user(Phase::Old).await;
    shim.leave().await.unwrap();
    for phase in [Phase::Switch, Phase::Copy] {
        bench.set(phase).await;
        let settings = Settings {
            deadline: Duration::from_millis(300),
            ..Settings::new("test")
        };
        let shim = bench.shim_of(
            settings,
            bench.rig.old.clone(),
            bench.rig.new.clone(),
            false,
        );
        let users = shim.table("users").unwrap();
        let (u1, u3) = (key(&users, "u1").await, key(&users, "u3").await);
        let more = update("SET age = age + :one", json!({"one": 1}));
        let writes = vec![transact(Writes::Update(u1.clone(), more), None)];
        let keys = vec![("users".to_owned(), u1), ("users".to_owned(), u3)];
        let (written, read) = (shim.transact(writes).await, shim.transact_get(keys).await);
        if phase == Phase::Switch {
            assert_eq!(written.unwrap_err().kind(), Kind::Transient);
            assert_eq!(read.unwrap_err().kind(), Kind::Transient);
        } else {
            assert_eq!(written.unwrap(), Transacted::Done);
            let rows = read.unwrap();
            assert_eq!(rows[0].as_ref().unwrap().cells[0], Some(Value::Int(8)));
            assert_eq!(rows[1], None);
        }
        shim.leave().await.unwrap();
    }
}

/// Each add is told its own total, though they went together.
#[tokio::test]
async fn adds_are_told_their_totals_in_every_phase() {
    for phase in ALL {
        let bench = Bench::new(phase).await;
        let shim = bench.shim();
        let votes = shim.table("votes").unwrap();
        let act = votes.key_of(&json!({"act": "a1"})).await.unwrap();
        votes.add(&act, "n", 10).await.unwrap();
        let adds = (0..50).map(|_| votes.add_and_count(&act, vec![Some(1)], Returns::New));
        let told = futures::future::join_all(adds).await;
        let told: BTreeSet<Option<i64>> = told.into_iter().map(|told| told.unwrap()[0]).collect();
        let wanted: BTreeSet<Option<i64>> = (11..=60).map(Some).collect();
        assert_eq!(told, wanted, "{phase}");
        let before = votes.add_and_count(&act, vec![Some(5)], Returns::Old).await;
        assert_eq!(before.unwrap(), [Some(60)], "{phase}");
        assert_eq!(votes.count(&act).await.unwrap(), [Some(65)], "{phase}");
    }
}

/// What waits for `copy` is looked for and not sent again, so that where the deadline cuts it off, it is known that nothing
/// was changed.
#[tokio::test(start_paused = true)]
async fn what_waits_for_copy_is_cut_off_without_effect() {
    for phase in [Phase::Bridge, Phase::Switch] {
        for together in [false, true] {
            let bench = Bench::new(phase).await;
            let new = Arc::new(Faulty::new(bench.rig.new.clone(), Faults::default(), 1));
            let settings = Settings::new("test");
            let deadline = settings.deadline;
            let shim = bench.shim_of(settings, bench.rig.old.clone(), new.clone(), false);
            let users = shim.table("users").unwrap();
            let (row, ttl) = user(&users, json!({"id": "u1", "name": "Ann"})).await;
            let is_new = condition("attribute_not_exists(id)", json!({}));
            let put = async {
                match together {
                    false => {
                        let put = users.put_if(row, ttl, is_new, Returns::Nothing);
                        put.await.map(drop)
                    }
                    true => {
                        let put = transact(Writes::Put(row, ttl), is_new);
                        shim.transact(vec![put]).await.map(drop)
                    }
                }
            };
            // It has been told by then that the key hasn't moved; from now on the new store says nothing.
            let silence = async {
                tokio::time::sleep(deadline / 2).await;
                new.take(deadline * 10);
            };
            let error = tokio::join!(put, silence).0.unwrap_err();
            let what = format!("{phase}, together {together}: {error}");
            assert_eq!(error.known_effect(), Effect::None, "{what}");
            assert_eq!(error.kind(), Kind::Transient, "{what}");
            assert!(error.to_string().contains("from `copy` on"), "{what}");
        }
    }
}
