//! Stores, tables and records that don't fit: refused by name, with what to do, before a row moves.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue as A, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};

use super::{Bench, says};
use crate::support::free_address;

const PLAN: &str = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";

/// A table `t` of ten rows, and a plan for it.
async fn ten_rows(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    bench
        .fill(
            "INSERT INTO t (p, v) VALUES (?, ?)",
            (0..10).map(|p| (p, "x")),
        )
        .await;
    bench.plan(PLAN);
    bench
}

async fn count(bench: &Bench) -> usize {
    bench.items("t").await.len()
}

/// Nothing listens there.
fn nowhere() -> String {
    free_address().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_can_not_be_reached() {
    let bench = ten_rows("unreachable").await;
    bench.init();
    let (good, dead) = (bench.stores(), nowhere());
    let mut running = Vec::new();
    for (alive, command) in [
        (&bench.node, "init"),
        (&bench.url, "init"),
        (&bench.node, "copy"),
        (&bench.url, "copy"),
    ] {
        let wrong = if alive.starts_with("http") {
            format!("http://{dead}")
        } else {
            dead.clone()
        };
        let plan = format!("{}.toml", running.len());
        let text = format!("{}{PLAN}", good.replace(alive.as_str(), &wrong));
        bench.write(&plan, &text);
        let arguments = if command == "copy" {
            vec!["copy", "--offline"]
        } else {
            vec![command]
        };
        running.push(bench.migrate_by(&plan, &arguments).spawn());
    }
    // Looked for again for a while, and then given up.
    for command in running {
        says(&command.wait().expect_code(2), &["error: ", &dead]);
    }
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_or_a_table_that_is_not_there() {
    let bench = ten_rows("missing").await;
    bench
        .cql("CREATE TABLE user_votes (p int PRIMARY KEY, v text)")
        .await;
    let keyspace = format!("keyspace = \"{}", bench.keyspace);
    let wrong = bench.stores().replace(&keyspace, &format!("{keyspace}x"));
    bench.write("plan.toml", &format!("{wrong}{PLAN}"));
    let outcome = bench.migrate(&["init"]).run().expect_code(2);
    says(
        &outcome,
        &["no keyspace", &format!("{}x", bench.keyspace), "it has"],
    );

    bench.plan("[[table]]\nname = \"user_vote\"\nto = \"@-t\"\n");
    for command in [&["init"][..], &["copy", "--offline"]] {
        let outcome = bench.migrate(command).run().expect_code(2);
        says(&outcome, &["no such table", "user_vote", "user_votes"]);
    }
    let checked = bench.migrate(&["check"]).run().expect_code(2);
    assert!(checked.stdout.contains("user_votes"), "{checked}");
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_init_has_not_prepared() {
    let bench = ten_rows("unprepared").await;
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["no control record", "migrate init"]);
    assert_eq!(bench.status()[0]["phase"], serde_json::Value::Null);

    bench.init();
    let online = bench.migrate(&["copy"]).run().expect_code(2);
    says(&online, &["offline", "--offline"]);
    bench.delete("t").await;
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["the target table is missing", "migrate init"]);
    bench.done().await;
}

/// The target lost its record, or is another one than `init` saw.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_or_of_another_target() {
    let bench = ten_rows("records").await;
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.delete("t").await;
    let outcome = bench.migrate(&["init"]).run().expect_code(2);
    says(
        &outcome,
        &[
            "another target identity",
            "recorded",
            "now",
            "deleted and made again",
        ],
    );
    // `init` has made the target anew.
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["another target identity"]);
    assert_eq!(count(&bench).await, 0);

    let control = format!("{}-control", bench.keyspace);
    let key = [("target", bench.target("t")), ("item", "record".to_owned())];
    let delete = bench.dynamo.delete_item().table_name(control);
    let delete = key.into_iter().fold(delete, |delete, (name, value)| {
        delete.key(name, A::S(value))
    });
    let deleted = delete
        .return_values("ALL_OLD".into())
        .send()
        .await
        .expect("deleted");
    assert!(deleted.attributes.is_some(), "there was a record");
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["no control record", "migrate init"]);
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_eq!(
        count(&bench).await,
        10,
        "the old journal and progress count for nothing"
    );
    bench.done().await;
}

async fn make_target(bench: &Bench, key: &str, ty: ScalarAttributeType) {
    let attribute = AttributeDefinition::builder()
        .attribute_name(key)
        .attribute_type(ty);
    let element = KeySchemaElement::builder()
        .attribute_name(key)
        .key_type(KeyType::Hash);
    let create = bench.dynamo.create_table().table_name(bench.target("t"));
    create
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.build().expect("an attribute"))
        .key_schema(element.build().expect("a key"))
        .send()
        .await
        .expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_other_keys() {
    let bench = ten_rows("otherkeys").await;
    make_target(&bench, "id", ScalarAttributeType::S).await;
    let outcome = bench.migrate(&["init"]).run().expect_code(2);
    says(&outcome, &["other keys", "id", "`p`"]);
    says(
        &bench.migrate(&["copy", "--offline"]).run().expect_code(2),
        &["no control record"],
    );
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_items_is_adopted_by_its_typed_name_only() {
    let bench = ten_rows("adopted").await;
    make_target(&bench, "p", ScalarAttributeType::N).await;
    bench
        .put(
            "t",
            &[
                ("p", A::N("3".into())),
                ("v", A::S("of the application".into())),
            ],
        )
        .await;
    let target = bench.target("t");
    let refused = bench.migrate(&["init"]).run().expect_code(2);
    says(
        &refused,
        &["has items already", &format!("--adopt {target}")],
    );
    let mistyped = bench
        .migrate(&["init", "--adopt", "t"])
        .run()
        .expect_code(2);
    says(&mistyped, &["--adopt t", "no such target", &target]);
    assert_eq!(
        bench.status()[0]["phase"],
        serde_json::Value::Null,
        "nothing has begun"
    );

    bench
        .migrate(&["init", "--adopt", &target])
        .run()
        .expect_code(0);
    let copied = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    let line = &copied.json()[0];
    assert_eq!(
        (
            super::number(line, "written"),
            super::number(line, "present")
        ),
        (9, 1)
    );
    let items = bench.items("t").await;
    assert_eq!(items.len(), 10);
    let kept = items
        .iter()
        .find(|item| item["p"] == A::N("3".into()))
        .expect("there");
    assert_eq!(
        kept["v"],
        A::S("of the application".into()),
        "what was there stays"
    );
    bench.done().await;
}

/// Items that came between `init` and the first copy are nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_came_after_init() {
    let bench = ten_rows("later").await;
    bench.init();
    bench.put("t", &[("p", A::N("3".into()))]).await;
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    let target = bench.target("t");
    says(&outcome, &["got items after", "migrate init --adopt"]);
    assert_eq!(count(&bench).await, 1);
    bench
        .migrate(&["init", "--adopt", &target])
        .run()
        .expect_code(0);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_eq!(count(&bench).await, 10);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_target_belongs_to_one_plan_and_one_mapping() {
    let bench = ten_rows("plans").await;
    bench.init();
    let stores = bench.stores();
    let renamed = stores.replacen(
        &format!("name = \"{}\"", bench.keyspace),
        "name = \"other\"",
        1,
    );
    bench.write("other.toml", &format!("{renamed}{PLAN}"));
    bench.write(
        "dropped.toml",
        &format!("{stores}{PLAN}[table.columns]\nv = {{ drop = true }}\n"),
    );
    for command in [&["init"][..], &["copy", "--offline"]] {
        let outcome = bench.migrate_by("other.toml", command).run().expect_code(2);
        says(
            &outcome,
            &[
                "another plan name",
                "recorded",
                &bench.keyspace,
                "now other",
            ],
        );
        let outcome = bench
            .migrate_by("dropped.toml", command)
            .run()
            .expect_code(2);
        says(&outcome, &["another mapping", "recorded", "now"]);
    }
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let reset = ["reset", "--table", "t", "--yes-reset", "t"];
    says(
        &bench.migrate_by("other.toml", &reset).run().expect_code(2),
        &["another plan"],
    );
    assert_eq!(count(&bench).await, 10);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_table_that_is_no_longer_the_same() {
    let bench = ten_rows("changed").await;
    bench.init();
    bench.cql("ALTER TABLE t ADD added int").await;
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(
        &outcome,
        &["another source schema", "added int", "changed since"],
    );
    bench.cql("ALTER TABLE t DROP added").await;
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);

    bench.cql("DROP TABLE t").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["another old table", "dropped and made again"]);
    assert_eq!(count(&bench).await, 10);
    bench.done().await;
}

/// The way that the help of these refusals shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_can_be_begun_anew() {
    let bench = ten_rows("anew").await;
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.cql("ALTER TABLE t ADD added int").await;
    bench.cql("UPDATE t SET added = 5 WHERE p = 3").await;
    let target = bench.target("t");
    let adopt = ["init", "--adopt", target.as_str()];
    let refused = bench.migrate(&adopt).run().expect_code(2);
    says(&refused, &["migrate reset"]);
    bench
        .migrate(&["reset", "--table", "t", "--yes-reset", "t"])
        .run()
        .expect_code(0);
    bench.migrate(&adopt).run().expect_code(0);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let items = bench.items("t").await;
    assert_eq!(items.len(), 10);
    let added: Vec<_> = items.iter().filter_map(|item| item.get("added")).collect();
    assert_eq!(added, [&A::N("5".into())]);
    bench.done().await;
}

/// What can't come along is refused until the plan says that this is known.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_and_views_until_the_plan_ignores_them() {
    let bench = ten_rows("indexed").await;
    bench.cql("CREATE INDEX by_v ON t (v)").await;
    let refused = bench.migrate(&["init"]).run().expect_code(2);
    says(&refused, &["index", "by_v", "migrate check"]);
    let checked = bench.migrate(&["check"]).run().expect_code(2);
    assert!(
        checked.stdout.contains("refused: ") && checked.stdout.contains("by_v"),
        "{checked}"
    );

    bench.plan(&format!("{PLAN}ignore = [\"indexes\"]\n"));
    let checked = bench.migrate(&["check"]).run().expect_code(0);
    assert!(checked.stdout.contains("ignored: "), "{checked}");
    bench.init();
    bench.cql("CREATE MATERIALIZED VIEW seen AS SELECT * FROM t WHERE p IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, p)").await;
    says(
        &bench.migrate(&["init"]).run().expect_code(2),
        &["materialized view", "seen"],
    );
    bench
        .plan(&format!("{PLAN}ignore = [\"indexes\", \"views\"]\n"))
        .init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_eq!(count(&bench).await, 10);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_kind_that_can_not_be_moved() {
    let bench = Bench::new("kinds").await;
    bench
        .cql("CREATE TABLE compact (p int, c int, v int, PRIMARY KEY (p, c)) WITH COMPACT STORAGE")
        .await;
    bench.plan("[[table]]\nname = \"compact\"\nto = \"@-compact\"\n");
    let words = "COMPACT STORAGE";
    says(
        &bench.migrate(&["init"]).run().expect_code(2),
        &[words, "compact"],
    );
    let checked = bench.migrate(&["check"]).run().expect_code(2);
    assert!(checked.stdout.contains(words), "{checked}");
    let made = bench.dynamo.list_tables().into_paginator().items().send();
    let made: Vec<String> = made.collect::<Result<_, _>>().await.expect("tables");
    assert!(
        !made.contains(&bench.target("compact")),
        "nothing is made for what is refused"
    );
    bench.done().await;
}

/// One table that isn't ready doesn't keep the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_table_among_others() {
    let bench = ten_rows("among").await;
    bench.cql("CREATE TABLE first (p int PRIMARY KEY)").await;
    bench.init();
    bench.plan(&format!(
        "[[table]]\nname = \"first\"\nto = \"@-first\"\n{PLAN}"
    ));
    let outcome = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(2);
    says(&outcome, &["no control record", &bench.target("first")]);
    assert_eq!(outcome.json().len(), 1, "{outcome}");
    assert_eq!(count(&bench).await, 10);
    bench.done().await;
}
