//! The way back out of `offline`.

use std::time::Duration;

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, says};
use crate::support::is_long;

const ROWS: usize = 3_000;
/// A look counts on the server that the reset works on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_table_can_be_emptied_and_copied_again() {
    let bench = Bench::new("reset").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let reset = || bench.migrate(&["reset", "--table", "messages", "--yes-reset", "messages"]);
    says(&reset().run().expect_code(2), &["phase `old`", "offline"]);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);

    let all = bench.about("messages").await;
    let mut running = reset().spawn();
    while bench.about("messages").await >= all * 3 / 4 {
        assert!(running.runs(), "it isn't over so soon");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    running.kill();
    assert!(bench.has_items("messages").await, "it was killed half-way");
    let copy = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&copy, &["a reset of this table has begun", "migrate reset"]);

    let outcome = reset().run().expect_code(0);
    assert!(outcome.stdout.contains("phase old"), "{outcome}");
    assert_eq!(bench.items("messages").await.len(), 0);
    let status = &bench.status()[0];
    assert_eq!(
        (&status["phase"], &status["copied"]),
        (&"old".into(), &0.0.into())
    );

    let again = bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    says(&again, &["the journal in", "aside-1"]);
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}

/// What someone else wrote isn't the copier's to delete; and what an application has changed with its mark on it only
/// if the operator says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_asks_and_leaves_what_others_wrote() {
    use aws_sdk_dynamodb::types::AttributeValue as A;
    let bench = Bench::new("foreign").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .fill(
            "INSERT INTO t (p, v) VALUES (?, ?)",
            (0..20).map(|p| (p, p)),
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench
        .put(
            "t",
            &[
                ("p", A::N("7".into())),
                ("v", A::N("70".into())),
                ("_m", A::S("a".into())),
            ],
        )
        .await;
    // An application that doesn't know of marks, after an offline move.
    let change = bench.dynamo.update_item().table_name(bench.target("t"));
    let change = change.key("p", A::N("8".into()));
    let change = change.update_expression("SET v = :v");
    let change = change.expression_attribute_values(":v", A::N("80".into()));
    change.send().await.expect("changed");

    let reset = |more: &[&str]| {
        bench
            .migrate(&[&["reset", "--table", "t"][..], more].concat())
            .run()
    };
    says(
        &reset(&[]).expect_code(2),
        &["can't be confirmed", "`--yes-reset t`"],
    );
    says(
        &reset(&["--yes-reset", "u"]).expect_code(2),
        &["`u` isn't the table's name"],
    );
    let words = [
        "deletes 19 copied items",
        "leaves 1 of others",
        "1 of the copied items aren't as their old rows are",
        "such as p=8",
    ];
    let dry = reset(&["--dry-run"]).expect_code(0).stdout;
    assert!(words.iter().all(|words| dry.contains(words)), "{dry}");
    let refused = reset(&["--yes-reset", "t"]).expect_code(2);
    says(&refused, &[&words[..], &["`--delete-changed`"]].concat());
    assert_eq!(bench.items("t").await.len(), 20);
    assert_eq!(bench.status()[0]["phase"], "offline");

    let outcome = reset(&["--yes-reset", "t", "--delete-changed"]).expect_code(0);
    assert!(
        outcome.stdout.contains("19 copied items deleted"),
        "{outcome}"
    );
    says(&outcome, &["1 items of", "not written by the copier"]);
    let left = bench.items("t").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["v"], A::N("70".into()));
    bench.done().await;
}

/// Others go on while it is suspended: it deletes nothing any more, and leaves the record as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_was_suspended_undoes_nothing() {
    let bench = Bench::new("suspended").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(&format!(
        "[lease]\nseconds = 2\nlanding_seconds = 5\n{PLAN}"
    ));
    bench.init();
    let run = |args: &[&str]| bench.migrate(args).run().expect_code(0);
    run(&["copy", "--offline"]);
    let reset = ["reset", "--table", "messages", "--yes-reset", "messages"];
    let all = bench.about("messages").await;
    let mut suspended = bench.migrate(&reset).spawn();
    while bench.about("messages").await >= all * 9 / 10 {
        assert!(suspended.runs(), "it isn't over so soon");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    suspended.signal("STOP");
    run(&reset);
    run(&["copy", "--offline"]);
    run(&["verify", "--table", "messages"]);
    run(&["advance", "--table", "messages", "--to", "new"]);
    suspended.signal("CONT");
    let outcome = suspended.wait().expect_code(2);
    says(&outcome, &["the control record was changed"]);
    assert_all_there(&bench, ROWS).await;
    assert_eq!(bench.status()[0]["phase"], "new");
    bench.done().await;
}

/// Nobody else does anything meanwhile; its connections and its lease are long over.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_was_suspended_for_long_goes_on() {
    // Past all that waits for half a minute.
    let still = match is_long() {
        true => Duration::from_secs(45),
        false => Duration::from_secs(6),
    };
    let bench = Bench::new("standing").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(&format!(
        "[lease]\nseconds = 2\nlanding_seconds = 2\n{PLAN}"
    ));
    bench.init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let reset = ["reset", "--table", "messages", "--yes-reset", "messages"];
    let all = bench.about("messages").await;
    let mut suspended = bench.migrate(&reset).spawn();
    while bench.about("messages").await >= all * 9 / 10 {
        assert!(suspended.runs(), "it isn't over so soon");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    suspended.signal("STOP");
    tokio::time::sleep(still).await;
    assert!(bench.has_items("messages").await, "it stands half-way");
    suspended.signal("CONT");
    // Its record is as it was, so that it takes its lease up again before it goes on.
    let outcome = suspended.wait().expect_code(0);
    assert!(outcome.stdout.contains("phase old"), "{outcome}");
    assert_eq!(bench.items("messages").await.len(), 0);
    assert_eq!(bench.status()[0]["instances"], serde_json::json!([]));
    bench.done().await;
}

/// Version 0.1.0 put the CQL bytes of a collection into sort keys, as they were. What has such keys isn't found by
/// this version's, so that nothing may say that it was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_former_sort_keys_is_deleted_as_a_whole() {
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_sdk_dynamodb::types::AttributeValue as A;
    let bench = Bench::new("former").await;
    bench
        .cql("CREATE TABLE t (p int, c frozen<list<int>>, v int, PRIMARY KEY (p, c))")
        .await;
    bench
        .fill(
            "INSERT INTO t (p, c, v) VALUES (?, ?, ?)",
            (0..5).map(|p| (p, vec![p, 7], p)),
        )
        .await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    // As that version had them.
    for mut item in bench.items("t").await {
        let key = ["p", "sk"].map(|name| (name.to_owned(), item[name].clone()));
        let delete = bench.dynamo.delete_item().table_name(bench.target("t"));
        delete
            .set_key(Some(key.into()))
            .send()
            .await
            .expect("deleted");
        let member = |at: usize| -> i32 {
            let members = item["c"].as_l().expect("a list");
            members[at]
                .as_n()
                .expect("a number")
                .parse()
                .expect("an int")
        };
        let mut bytes = 2_i32.to_be_bytes().to_vec();
        for at in 0..2 {
            bytes.extend(4_i32.to_be_bytes());
            bytes.extend(member(at).to_be_bytes());
        }
        let escaped = bytes.into_iter().flat_map(|byte| match byte {
            0 => vec![0, 0xff],
            byte => vec![byte],
        });
        let mut key = vec![2];
        key.extend(escaped.chain([0, 1]));
        item.insert("sk".into(), A::B(Blob::new(key)));
        let put = bench.dynamo.put_item().table_name(bench.target("t"));
        put.set_item(Some(item)).send().await.expect("put");
    }
    let control = bench.named("@-control");
    let name = [
        ("target".to_owned(), A::S(bench.target("t"))),
        ("item".to_owned(), A::S("record".into())),
    ];
    let get = bench.dynamo.get_item().table_name(&control);
    let record = get.set_key(Some(name.into())).send().await.expect("read");
    let mut record = record.item.expect("a record");
    let doc = record["doc"].as_s().expect("a text");
    let mut doc: serde_json::Value = serde_json::from_str(doc).expect("json");
    doc["mapping"] = "00".repeat(32).into();
    record.insert("doc".into(), A::S(doc.to_string()));
    let put = bench.dynamo.put_item().table_name(&control);
    put.set_item(Some(record)).send().await.expect("put");

    let adopt = || {
        bench
            .migrate(&["init", "--adopt", &bench.target("t")])
            .run()
    };
    says(
        &bench.migrate(&["copy", "--offline"]).run().expect_code(2),
        &["another mapping", "migrate reset"],
    );
    says(&adopt().expect_code(2), &["migrate reset"]);
    let reset = |more: &[&str]| {
        bench
            .migrate(&[&["reset", "--table", "t"][..], more].concat())
            .run()
    };
    for more in [&["--dry-run"][..], &["--yes-reset", "t"]] {
        let refused = reset(more).expect_code(2);
        says(
            &refused,
            &["can't be emptied item by item", "version 0.1.0"],
        );
    }
    assert_eq!(bench.items("t").await.len(), 5);
    assert_eq!(bench.status()[0]["phase"], "offline");

    // What the message says.
    bench.delete("t").await;
    reset(&["--yes-reset", "t"]).expect_code(0);
    adopt().expect_code(0);
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
    assert_eq!(bench.items("t").await.len(), 5);
    bench.done().await;
}
