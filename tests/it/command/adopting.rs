//! `migrate init --adopt`: what was in the target before, through copies, verifications and moves.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue as A, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use serde_json::Value as Json;

use super::{Bench, Item, number, says};

const PLAN: &str = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";

fn n(number: i64) -> A {
    A::N(number.to_string())
}

fn s(text: &str) -> A {
    A::S(text.into())
}

/// The target, made before the tool has ever run.
async fn make_target(bench: &Bench) {
    let key = KeySchemaElement::builder()
        .attribute_name("p")
        .key_type(KeyType::Hash);
    let attribute = AttributeDefinition::builder()
        .attribute_name("p")
        .attribute_type(ScalarAttributeType::N);
    let create = bench.dynamo.create_table().table_name(bench.target("t"));
    create
        .key_schema(key.build().expect("key"))
        .attribute_definitions(attribute.build().expect("attribute"))
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .expect("created");
}

async fn rows() -> Bench {
    let bench = Bench::new("adopting").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    bench
        .fill(
            "INSERT INTO t (p, v) VALUES (?, ?)",
            (0..10).map(|p| (p, format!("old {p}"))),
        )
        .await;
    bench.plan(PLAN);
    make_target(&bench).await;
    bench
}

fn adopt(bench: &Bench) -> crate::support::Migrate {
    bench.migrate(&["init", "--adopt", &bench.target("t")])
}

fn verify(bench: &Bench, code: i32) -> Json {
    let verified = bench.migrate(&["verify", "--json", "-"]).run();
    verified.expect_code(code).json()[0][0].clone()
}

fn counts(line: &Json) -> (u64, u64) {
    (number(line, "adopted"), number(line, "foreign"))
}

async fn item(bench: &Bench, p: i64) -> Item {
    let items = bench.items("t").await;
    let mut items = items.into_iter().filter(|item| item["p"] == n(p));
    items.next().expect("there")
}

/// The control items of the table whose names begin so.
async fn control_items(bench: &Bench, prefix: &str) -> Vec<Item> {
    let query = bench.dynamo.query().table_name(bench.named("@-control"));
    let query = query
        .key_condition_expression("target = :t AND begins_with(#i, :p)")
        .expression_attribute_names("#i", "item")
        .expression_attribute_values(":t", A::S(bench.target("t")))
        .expression_attribute_values(":p", s(prefix));
    match query.send().await {
        Ok(found) => found.items.unwrap_or_default(),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|e| e.is_resource_not_found_exception()) =>
        {
            Vec::new()
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_items_are_no_differences_and_later_ones_are() {
    let bench = rows().await;
    bench.put("t", &[("p", n(3)), ("v", s("before"))]).await;
    bench.put("t", &[("p", n(50)), ("v", s("before"))]).await;
    // No row of this table.
    bench.put("t", &[("p", n(60)), ("v", n(1))]).await;
    let adopted = adopt(&bench).run().expect_code(0);
    assert!(
        adopted.stdout.contains("taken over as it is, with 3 items"),
        "{adopted}"
    );
    let again = adopt(&bench).run().expect_code(0);
    assert!(again.stdout.contains("was ready already"), "{again}");
    assert_eq!(number(&bench.status()[0], "adopted"), 3);

    // What comes after that isn't on the list.
    bench.put("t", &[("p", n(70)), ("v", s("later"))]).await;
    let offline = ["copy", "--offline"];
    let refused = bench.migrate(&offline).run().expect_code(2);
    says(&refused, &["got items after", "p=70", "init --adopt"]);
    let advance = ["advance", "--table", "t", "--to", "copy", "--expect", "0"];
    let refused = bench.migrate(&advance).run().expect_code(2);
    says(&refused, &["since it was taken over", "p=70"]);
    adopt(&bench).run().expect_code(0);
    assert_eq!(number(&bench.status()[0], "adopted"), 4);
    let moved = bench.migrate(&advance).run().expect_code(0);
    says(&moved, &["see the 4 items"]);

    bench.migrate(&["copy"]).run().expect_code(0);
    let line = verify(&bench, 0);
    assert_eq!(counts(&line), (4, 0));
    assert_eq!(item(&bench, 3).await["v"], s("before"), "it stays");
    let shown = bench.migrate(&["verify"]).run().expect_code(0);
    assert!(shown.stdout.contains("4 items were there when"), "{shown}");

    // Strangers' writes: a new item, a changed one, and a changed one that isn't a row.
    bench.put("t", &[("p", n(80)), ("v", s("later"))]).await;
    bench.put("t", &[("p", n(50)), ("v", s("changed"))]).await;
    bench.put("t", &[("p", n(60)), ("v", n(2))]).await;
    assert_eq!(counts(&verify(&bench, 1)), (2, 3));
    let new = ["advance", "--table", "t", "--to", "new"];
    says(
        &bench.migrate(&new).run().expect_code(2),
        &["3 differences"],
    );
    bench.put("t", &[("p", n(50)), ("v", s("before"))]).await;
    bench.put("t", &[("p", n(60)), ("v", n(1))]).await;
    let delete = bench.dynamo.delete_item().table_name(bench.target("t"));
    delete.key("p", n(80)).send().await.expect("deleted");
    assert_eq!(counts(&verify(&bench, 0)), (4, 0));
    bench.migrate(&new).run().expect_code(0);
    assert_eq!(counts(&verify(&bench, 0)), (4, 0));

    let finish = [
        "finish",
        "--table",
        "t",
        "--yes-done",
        "t",
        "--strip",
        "--yes-strip",
    ];
    bench.migrate(&finish).run().expect_code(0);
    assert_eq!(bench.items("t").await.len(), 13);
    assert!(
        control_items(&bench, "adopted ").await.is_empty(),
        "the list has served"
    );
    bench.done().await;
}

/// An old row's key has an item that was taken over and is no row: that row alone waits for somebody to decide.
#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_item_that_is_no_row_keeps_one_row_from_being_copied() {
    for counters in [false, true] {
        let bench = Bench::new("adoptodd").await;
        let column = if counters { "counter" } else { "text" };
        bench
            .cql(&format!("CREATE TABLE t (p int PRIMARY KEY, v {column})"))
            .await;
        for p in 0..20 {
            let write = match counters {
                true => format!("UPDATE t SET v = v + 5 WHERE p = {p}"),
                false => format!("INSERT INTO t (p, v) VALUES ({p}, 'old')"),
            };
            bench.cql(&write).await;
        }
        bench.plan(PLAN);
        make_target(&bench).await;
        let odd = if counters { s("five") } else { n(5) };
        bench.put("t", &[("p", n(5)), ("v", odd)]).await;
        adopt(&bench).run().expect_code(0);
        let advance = ["advance", "--table", "t", "--to", "copy", "--expect", "0"];
        bench.migrate(&advance).run().expect_code(0);

        let copied = bench.migrate(&["copy", "--json"]).run().expect_code(1);
        assert_eq!(number(&copied.json()[0], "failed"), 1, "{copied}");
        assert_eq!(bench.items("t").await.len(), 20, "all others are there");
        let failures = bench.migrate(&["failures"]).run().expect_code(1);
        assert!(failures.stdout.contains("p=5"), "{failures}");
        assert!(
            failures.stdout.contains("can't be read as a row"),
            "{failures}"
        );
        let delete = bench.dynamo.delete_item().table_name(bench.target("t"));
        delete.key("p", n(5)).send().await.expect("deleted");
        match counters {
            true => bench.migrate(&["copy", "--final"]).run().expect_code(0),
            false => bench.migrate(&["failures", "--retry"]).run().expect_code(0),
        };
        let expected = if counters { n(5) } else { s("old") };
        assert_eq!(item(&bench, 5).await["v"], expected);
        verify(&bench, 0);
        bench.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_killed_anywhere_is_begun_again() {
    let bench = rows().await;
    for p in 40..45 {
        bench.put("t", &[("p", n(p)), ("v", s("before"))]).await;
    }
    for point in 1.. {
        let killed = adopt(&bench)
            .env("CROSSFADE_STOP_AT", point.to_string())
            .run();
        if killed.code == Some(0) {
            assert!(point > 4, "it has written a list and a record: {killed}");
            break;
        }
        assert!(killed.stderr.contains("stopped at point"), "{killed}");
        // A record names a whole list, or there is none.
        let record = control_items(&bench, "record").await;
        if !record.is_empty() {
            assert_eq!(number(&bench.status()[0], "adopted"), 5);
        }
    }
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_eq!(counts(&verify(&bench, 0)), (5, 0));

    // A list of which a piece is lost isn't used, and can be made again.
    let piece = control_items(&bench, "adopted ").await.remove(0);
    let delete = bench
        .dynamo
        .delete_item()
        .table_name(bench.named("@-control"));
    let delete = delete.key("target", piece["target"].clone());
    let delete = delete.key("item", piece["item"].clone());
    delete.send().await.expect("deleted");
    says(
        &bench.migrate(&["verify"]).run().expect_code(2),
        &["list of adopted items isn't whole", "init --adopt"],
    );
    adopt(&bench).run().expect_code(0);
    assert_eq!(counts(&verify(&bench, 0)), (5, 0));

    // One of a version that kept no lists.
    let record = control_items(&bench, "record").await.remove(0);
    let doc = record["doc"].as_s().expect("a text");
    let mut doc: Json = serde_json::from_str(doc).expect("json");
    doc.as_object_mut()
        .expect("an object")
        .remove("adoption")
        .expect("there");
    let put = bench.dynamo.put_item().table_name(bench.named("@-control"));
    let mut record = record.clone();
    record.insert("doc".into(), A::S(doc.to_string()));
    put.set_item(Some(record)).send().await.expect("put");
    let found = bench.migrate(&["verify"]).run().expect_code(1);
    says(&found, &["kept no list", "init --adopt"]);
    let listed = adopt(&bench).run().expect_code(0);
    assert!(listed.stdout.contains("with 5 items"), "{listed}");
    assert_eq!(counts(&verify(&bench, 0)), (5, 0));
    // From `offline` on there is one list.
    bench.put("t", &[("p", n(80)), ("v", s("later"))]).await;
    let again = adopt(&bench).run().expect_code(0);
    assert!(again.stdout.contains("was ready already"), "{again}");
    assert_eq!(counts(&verify(&bench, 1)), (5, 1));
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_counter_keeps_what_it_had() {
    let bench = Bench::new("adoptcount").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, c counter)")
        .await;
    for p in 0..6 {
        bench
            .cql(&format!("UPDATE t SET c = c + {} WHERE p = {p}", 10 + p))
            .await;
    }
    bench.plan(PLAN);
    make_target(&bench).await;
    bench.put("t", &[("p", n(3)), ("c", n(1_000))]).await;
    bench.put("t", &[("p", n(50)), ("c", n(1_000))]).await;
    adopt(&bench).run().expect_code(0);
    let copy = ["copy", "--offline", "--final"];
    bench.migrate(&copy).run().expect_code(0);
    assert_eq!(item(&bench, 3).await["c"], n(1_013));
    assert_eq!(counts(&verify(&bench, 0)), (2, 0));

    let reset = ["reset", "--table", "t", "--yes-reset", "t"];
    let dry = bench
        .migrate(&["reset", "--table", "t", "--dry-run"])
        .run()
        .expect_code(0);
    for words in [
        "deletes 5 copied items",
        "leaves 2 of others",
        "2 of those were there",
    ] {
        assert!(dry.stdout.contains(words), "no `{words}`: {dry}");
    }
    bench.migrate(&reset).run().expect_code(0);
    assert_eq!(bench.items("t").await.len(), 2);
    assert_eq!(
        item(&bench, 3).await["c"],
        n(1_013),
        "folds go on from its watermark"
    );
    // Begun anew, which makes the list again: a counter that folds have marked is on it still.
    bench.cql("UPDATE t SET c = c + 1 WHERE p = 3").await;
    adopt(&bench).run().expect_code(0);
    assert_eq!(number(&bench.status()[0], "adopted"), 2);
    bench.migrate(&copy).run().expect_code(0);
    assert_eq!(item(&bench, 3).await["c"], n(1_014));
    assert_eq!(counts(&verify(&bench, 0)), (2, 0));
    bench
        .migrate(&["advance", "--table", "t", "--to", "new"])
        .run()
        .expect_code(0);
    bench.done().await;
}
