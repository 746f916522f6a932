//! What a copy has made, held against what plain drivers say: the old table is read with statements of the test's
//! own, the new one by keys that it builds itself. What has to be there is written down by hand, from docs/items.md
//! and docs/keys.md; no code of the crate computes any of it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as A;
use scylla::value::CqlValue as C;
use uuid::Uuid;

use super::ttls::{copied, expiry, frozen_at, near, now};
use super::{Bench, Item};

fn n(number: i64) -> A {
    A::N(number.to_string())
}

fn s(text: &str) -> A {
    A::S(text.to_owned())
}

fn m(fields: &[(&str, A)]) -> A {
    let field = |(name, value): &(&str, A)| ((*name).to_owned(), value.clone());
    A::M(fields.iter().map(field).collect())
}

/// An item by its attributes, sets in one order.
fn item(attributes: &[(&str, A)]) -> Item {
    let attribute = |(name, value): &(&str, A)| ((*name).to_owned(), in_order(value.clone()));
    attributes.iter().map(attribute).collect()
}

fn in_order(value: A) -> A {
    match value {
        A::Ss(mut members) => {
            members.sort();
            A::Ss(members)
        }
        A::Ns(mut members) => {
            members.sort();
            A::Ns(members)
        }
        other => other,
    }
}

/// The item of a key, with its expiry apart.
async fn get(bench: &Bench, table: &str, key: &[(&str, A)]) -> (Item, Option<i64>) {
    let mut get = bench.dynamo.get_item().table_name(bench.target(table));
    for (name, value) in key {
        get = get.key(*name, value.clone());
    }
    let got = get.consistent_read(true).send().await.expect("an answer");
    let mut item = got
        .item
        .unwrap_or_else(|| panic!("{table}: nothing under {key:?}"));
    let end = expiry(&item);
    item.remove("expires_at");
    let item = item
        .into_iter()
        .map(|(name, value)| (name, in_order(value)));
    (item.collect(), end)
}

const MESSAGES: &str = "CREATE TABLE messages (room text, day int, at timestamp, id uuid, topic text static, \
    n tinyint, big bigint, v varint, price decimal, f double, ok boolean, raw blob, who uuid, ip inet, due date, \
    hour time, tags set<text>, nums set<int>, list list<int>, m map<text, int>, byn map<int, text>, \
    fs frozen<set<int>>, home place, work frozen<place>, pair frozen<tuple<int, text>>, \
    PRIMARY KEY ((room, day), at, id)) WITH CLUSTERING ORDER BY (at DESC, id ASC)";

/// `at` descending, so inverted: 02, then the bytes with the first bit flipped. `id` ascending: 02, its version, its
/// bytes.
fn sort_key(at: i64, id: Uuid) -> A {
    let mut key = vec![!0x02];
    let mut bytes = at.to_be_bytes();
    bytes[0] ^= 0x80;
    key.extend(bytes.map(|byte| !byte));
    key.extend([0x02, id.as_bytes()[6] >> 4]);
    key.extend(id.as_bytes());
    A::B(Blob::new(key))
}

/// Composite keys in mixed order, static columns, collections, user-defined types and tuples.
#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_collections_and_types() {
    const AT: i64 = 1_700_000_000_123;
    let bench = Bench::new("plainly").await;
    bench.cql("CREATE TYPE place (street text, zip int)").await;
    bench.cql(MESSAGES).await;
    let (one, two) = (
        Uuid::from_u128(0x1234_5678_9abc_4def_8012_3456_789a_bcde),
        Uuid::from_u128(0xfedc_ba98_7654_4321_9012_3456_789a_bcde),
    );
    let key = |id| format!("'a#b\\', -7, {AT}, {id}");
    bench
        .cql(&format!(
            "INSERT INTO messages (room, day, at, id, topic, n, big, v, price, f, ok, raw, who, ip, due, hour, tags, \
             nums, list, m, byn, fs, home, work, pair) VALUES ({}, 'news', -128, 9223372036854775807, \
             12345678901234567890123, 1.10, -1.5, true, 0x00ff, {two}, '10.0.0.9', '1969-12-31', '00:00:01.5', \
             {{'b', 'a'}}, {{3, -1}}, [2, 1, 2], {{'k': 1, 'l': 2}}, {{5: 'five', -6: 'six'}}, {{9, 8}}, \
             {{street: 'x', zip: 1}}, {{street: 'y'}}, (4, null)) USING TTL 200000",
            key(one)
        ))
        .await;
    let written = now();
    bench
        .cql(&format!(
            "INSERT INTO messages (room, day, at, id, f, tags) VALUES ({}, 3, {{}}) USING TTL 100000",
            key(two)
        ))
        .await;
    // Earlier, so after; and in another partition, without statics.
    bench
        .cql(&format!(
            "INSERT INTO messages (room, day, at, id, n) VALUES ('a#b\\', -7, {}, {one}, 1)",
            AT - 1
        ))
        .await;
    bench
        .cql(&format!(
            "INSERT INTO messages (room, day, at, id, n) VALUES ('', 0, -1, {one}, 2)"
        ))
        .await;
    bench.plan(
        "[[table]]\nname = \"messages\"\nto = \"@-messages\"\nexpiry = { attribute = \"expires_at\", from = \"max\" }\n",
    );
    bench.init();
    assert_eq!(copied(&bench, 0)["messages"], (5, 0));

    // Each `#` and `\` of a part is escaped, and the parts are joined with `#`.
    let pk = || s("a\\#b\\\\#-7");
    let common = |at: i64, id: Uuid| {
        vec![
            ("_m", s("c")),
            ("pk", pk()),
            ("sk", sort_key(at, id)),
            ("room", s("a#b\\")),
            ("day", n(-7)),
            ("at", n(at)),
            ("id", s(&id.to_string())),
        ]
    };
    let by_key = |at, id| [("pk", pk()), ("sk", sort_key(at, id))];
    let (whole, end) = get(&bench, "messages", &by_key(AT, one)).await;
    let mut wanted = common(AT, one);
    wanted.extend([
        ("n", n(-128)),
        ("big", n(i64::MAX)),
        ("v", A::N("12345678901234567890123".into())),
        ("price", s("110E-2")),
        ("f", A::N("-1.5".into())),
        ("ok", A::Bool(true)),
        ("raw", A::B(Blob::new([0x00, 0xff]))),
        ("who", s(&two.to_string())),
        ("ip", s("10.0.0.9")),
        ("due", n(-1)),
        ("hour", n(1_500_000_000)),
        ("tags", A::Ss(vec!["a".into(), "b".into()])),
        ("nums", A::Ns(vec!["-1".into(), "3".into()])),
        ("list", A::L(vec![n(2), n(1), n(2)])),
        ("m", m(&[("k", n(1)), ("l", n(2))])),
        ("byn", m(&[("5", s("five")), ("-6", s("six"))])),
        ("fs", A::L(vec![n(8), n(9)])),
        ("home", m(&[("street", s("x")), ("zip", n(1))])),
        ("work", m(&[("street", s("y"))])),
        ("pair", A::L(vec![n(4), A::Null(true)])),
    ]);
    assert_eq!(whole, item(&wanted));
    near(end.expect("it expires"), written + 200_000, "the whole row");

    let (sparse, end) = get(&bench, "messages", &by_key(AT, two)).await;
    let mut wanted = common(AT, two);
    wanted.push(("f", n(3)));
    assert_eq!(sparse, item(&wanted), "an empty set is none");
    near(
        end.expect("it expires"),
        written + 100_000,
        "the sparse row",
    );

    let (before, end) = get(&bench, "messages", &by_key(AT - 1, one)).await;
    let mut wanted = common(AT - 1, one);
    wanted.push(("n", n(1)));
    assert_eq!((before, end), (item(&wanted), None));

    let statics = [("pk", pk()), ("sk", A::B(Blob::new([0])))];
    let (topic, end) = get(&bench, "messages", &statics).await;
    let wanted = [
        ("_m", s("c")),
        ("pk", pk()),
        ("sk", A::B(Blob::new([0]))),
        ("room", s("a#b\\")),
        ("day", n(-7)),
        ("topic", s("news")),
    ];
    assert_eq!(topic, item(&wanted));
    near(
        end.expect("it expires"),
        written + 200_000,
        "the static row",
    );

    // Its order is the old table's.
    let query = bench.dynamo.query().table_name(bench.target("messages"));
    let query = query
        .key_condition_expression("pk = :pk AND sk > :statics")
        .expression_attribute_values(":pk", pk())
        .expression_attribute_values(":statics", A::B(Blob::new([0])));
    let listed = query.send().await.expect("an answer").items.expect("items");
    let listed: Vec<(A, A)> = listed
        .iter()
        .map(|item| (item["at"].clone(), item["id"].clone()))
        .collect();
    let select = format!(
        "SELECT at, id FROM {}.messages WHERE room = 'a#b\\' AND day = -7",
        bench.keyspace
    );
    let rows = plain(&bench, &select).await;
    let rows: Vec<(A, A)> = rows
        .into_iter()
        .map(|row| match &row[..] {
            [Some(C::Timestamp(at)), Some(C::Uuid(id))] => (n(at.0), s(&id.to_string())),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(listed, rows);
    assert_eq!(bench.items("messages").await.len(), 5);
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}

/// The rows of a statement, by the plain driver.
async fn plain(bench: &Bench, statement: &str) -> Vec<Vec<Option<C>>> {
    let answer = bench.session.query_unpaged(statement, ()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let rows = answer.into_rows_result().expect("rows");
    let rows = rows.rows::<scylla::value::Row>().expect("rows");
    rows.map(|row| row.expect("a row").columns).collect()
}

/// What `TTL(…)` of a column that isn't null says of its cells: none of one that stays.
fn ttls(told: Option<C>) -> Vec<Option<i64>> {
    match told {
        None => vec![None],
        Some(C::Int(left)) => vec![Some(i64::from(left))],
        Some(C::List(elements)) => elements
            .into_iter()
            .map(|left| match left {
                C::Int(left) => Some(i64::from(left)),
                C::Empty => None,
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Each row ends with the last of its cells, as the server tells them one by one.
#[tokio::test(flavor = "multi_thread")]
async fn rows_end_with_the_last_of_their_cells() {
    let bench = Bench::new("plainttl").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, a int, b text, c frozen<list<int>>)")
        .await;
    // How a row came about, and the TTL that it is left with; none where it stays.
    let rows: [(&[&str], Option<i64>); 7] = [
        (&["INSERT INTO t (p, a, b) VALUES (@, 1, 'x')"], None),
        (
            &["INSERT INTO t (p, a, b, c) VALUES (@, 1, 'x', [1]) USING TTL 100000"],
            Some(100_000),
        ),
        (
            &[
                "INSERT INTO t (p, a) VALUES (@, 1) USING TTL 100000",
                "UPDATE t USING TTL 300000 SET b = 'x' WHERE p = @",
            ],
            Some(300_000),
        ),
        (
            &[
                "INSERT INTO t (p, a, b) VALUES (@, 1, 'x') USING TTL 300000",
                "UPDATE t USING TTL 100000 SET b = 'y' WHERE p = @",
            ],
            Some(300_000),
        ),
        (
            &[
                "INSERT INTO t (p, a, b) VALUES (@, 1, 'x') USING TTL 100000",
                "UPDATE t USING TTL 0 SET a = 2 WHERE p = @",
            ],
            None,
        ),
        (
            &[
                "INSERT INTO t (p, a, b) VALUES (@, 1, 'x') USING TTL 300000",
                "DELETE b FROM t WHERE p = @",
            ],
            Some(300_000),
        ),
        (
            &["UPDATE t USING TTL 200000 SET c = [1, 2] WHERE p = @"],
            Some(200_000),
        ),
    ];
    let written = now();
    for (p, (statements, _)) in rows.iter().enumerate() {
        for statement in *statements {
            bench.cql(&statement.replace('@', &p.to_string())).await;
        }
    }
    bench.plan(
        "[[table]]\nname = \"t\"\nto = \"@-t\"\nkey_only = \"cells\"\n\
         expiry = { attribute = \"expires_at\", from = \"max\" }\n",
    );
    bench.init();
    assert_eq!(copied(&bench, 0)["t"], (rows.len() as u64, 0));

    let select = format!(
        "SELECT p, a, TTL(a), b, TTL(b), c, TTL(c), WRITETIME(a), WRITETIME(c) FROM {}.t",
        bench.keyspace
    );
    let asked = now();
    for row in plain(&bench, &select).await {
        let [p, a, of_a, b, of_b, c, of_c, at_a, at_c] = <[_; 9]>::try_from(row).expect("nine");
        let Some(C::Int(p)) = p else { panic!("{p:?}") };
        let (got, end) = get(&bench, "t", &[("p", n(i64::from(p)))]).await;
        let cells = [(&a, of_a), (&b, of_b), (&c, of_c)];
        let left: Vec<Option<i64>> = cells
            .into_iter()
            .filter(|(value, _)| value.is_some())
            .flat_map(|(_, told)| ttls(told))
            .collect();
        let is_for_good = left.iter().any(Option::is_none);
        let told = left.into_iter().flatten().max().filter(|_| !is_for_good);
        let (_, meant) = rows[p as usize];
        assert_eq!(told.is_some(), meant.is_some(), "row {p}");
        match (end, told, meant) {
            (None, None, None) => {}
            (Some(end), Some(told), Some(meant)) => {
                near(end, asked + told, &format!("row {p}, by TTL"));
                near(end, written + meant, &format!("row {p}, as it was written"));
                // The moment of its writing is one that the server tells.
                let at = at_a.or(at_c);
                let Some(C::BigInt(at)) = at else {
                    panic!("{at:?}")
                };
                near(
                    end,
                    at / 1_000_000 + meant,
                    &format!("row {p}, by WRITETIME"),
                );
            }
            other => panic!("row {p}: {other:?}"),
        }
        let mut wanted = vec![("_m", s("c")), ("p", n(i64::from(p)))];
        match &a {
            Some(C::Int(a)) => wanted.push(("a", n(i64::from(*a)))),
            None => {}
            other => panic!("{other:?}"),
        }
        match &b {
            Some(C::Text(b)) => wanted.push(("b", s(b))),
            None => {}
            other => panic!("{other:?}"),
        }
        match &c {
            Some(C::List(members)) => {
                let member = |member: &C| match member {
                    C::Int(member) => n(i64::from(*member)),
                    other => panic!("{other:?}"),
                };
                wanted.push(("c", A::L(members.iter().map(member).collect())));
            }
            None => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(got, item(&wanted), "row {p}");
    }
    assert_eq!(bench.items("t").await.len(), rows.len());
    bench.migrate(&["verify"]).run().expect_code(0);

    // An expiry that is wrong is a difference, whoever computes it.
    let change = bench.dynamo.update_item().table_name(bench.target("t"));
    let change = change
        .key("p", n(1))
        .update_expression("SET expires_at = :at");
    let change = change.expression_attribute_values(":at", n(asked + 100_000 - 3_600));
    change.send().await.expect("changed");
    let found = bench.migrate(&["verify"]).run().expect_code(1);
    assert!(found.stdout.contains("different: p=1"), "{found}");
    bench.done().await;
}

/// Rows of nothing but their key, of which Cassandra tells no TTL: the table's own, from the freeze on.
#[tokio::test(flavor = "multi_thread")]
async fn followers_end_with_the_tables_own_time_to_live() {
    let bench = Bench::new("plainkeys").await;
    bench
        .cql("CREATE TABLE f (a int, b int, PRIMARY KEY (a, b)) WITH default_time_to_live = 172800")
        .await;
    let keys: Vec<(i32, i32)> = (0..30).map(|n| (n % 3, n - 15)).collect();
    bench
        .fill("INSERT INTO f (a, b) VALUES (?, ?)", keys.clone())
        .await;
    bench.plan(
        "[[table]]\nname = \"f\"\nto = \"@-f\"\nkey_only = \"default_ttl\"\n\
         expiry = { attribute = \"expires_at\", from = \"max\" }\n",
    );
    bench.init();
    assert_eq!(copied(&bench, 0)["f"], (30, 0));
    let frozen = frozen_at(&bench, "f").await;
    near(frozen, now(), "the freeze");
    for (a, b) in keys {
        let key = [("a", n(a.into())), ("b", n(b.into()))];
        let (got, end) = get(&bench, "f", &key).await;
        let wanted = [("_m", s("c")), key[0].clone(), key[1].clone()];
        assert_eq!(got, item(&wanted));
        // Rounded up to a whole second.
        let end = end.expect("it expires");
        assert!(
            (frozen + 172_800..=frozen + 172_801).contains(&end),
            "{end}"
        );
    }
    assert_eq!(bench.items("f").await.len(), 30);
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}

/// Totals and watermarks, through two folds.
#[tokio::test(flavor = "multi_thread")]
async fn counters_hold_what_the_old_store_says() {
    let bench = Bench::new("plaincount").await;
    bench
        .cql("CREATE TABLE c (act text, day int, up counter, down counter, PRIMARY KEY (act, day))")
        .await;
    let add = |act: &str, day: i32, up: i64, down: i64| {
        format!(
            "UPDATE c SET up = up + {up}, down = down + {down} WHERE act = '{act}' AND day = {day}"
        )
    };
    for day in 0..4 {
        bench.cql(&add("a#", day, 10 + i64::from(day), 5)).await;
    }
    bench.plan("[[table]]\nname = \"c\"\nto = \"@-c\"\n");
    bench.init();
    bench.migrate(&["copy"]).run().expect_code(0);
    bench.cql(&add("a#", 2, 1_000, 1)).await;
    bench
        .migrate(&["copy", "--offline", "--final"])
        .run()
        .expect_code(0);
    let select = format!("SELECT act, day, up, down FROM {}.c", bench.keyspace);
    let mut totals = BTreeMap::new();
    for row in plain(&bench, &select).await {
        let [
            Some(C::Text(act)),
            Some(C::Int(day)),
            Some(C::Counter(up)),
            Some(C::Counter(down)),
        ] = &row[..]
        else {
            panic!("{row:?}")
        };
        assert_eq!(act, "a#");
        totals.insert(*day, (up.0, down.0));
    }
    let meant = [(0, (10, 5)), (1, (11, 5)), (2, (1_012, 6)), (3, (13, 5))];
    assert_eq!(totals, meant.into());
    for (day, (up, down)) in totals {
        let key = [("act", s("a#")), ("day", n(day.into()))];
        let (got, _) = get(&bench, "c", &key).await;
        let wanted = [
            ("_m", s("c")),
            key[0].clone(),
            key[1].clone(),
            ("up", n(up)),
            ("down", n(down)),
            ("_w_up", n(up)),
            ("_w_down", n(down)),
        ];
        assert_eq!(got, item(&wanted));
    }
    assert_eq!(bench.items("c").await.len(), 4);
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.done().await;
}
