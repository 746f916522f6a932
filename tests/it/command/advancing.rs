//! From phase to phase with the real command, on the real servers.

use aws_sdk_dynamodb::types::AttributeValue as A;

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, number, says};

const ROWS: usize = 200;
/// These tables have no application.
const NONE: [&str; 2] = ["--expect", "0"];

impl Bench {
    fn moves(&self, command: &str, to: &str, more: &[&str]) -> crate::support::Migrate {
        let table = ["--table", "messages", "--to", to];
        self.migrate(&[&[command][..], &table, more].concat())
    }

    /// Somebody who is registered and does nothing.
    async fn register(&self, kind: &str, phase: &str) {
        let ghost = format!(
            r#"{{"kind":"{kind}","name":"a ghost","phase":"{phase}","heartbeat":3,"lease_seconds":2,"operation_seconds":1}}"#
        );
        let put = self
            .dynamo
            .put_item()
            .table_name(self.named("@-control"))
            .item("target", A::S(self.target("messages")))
            .item("item", A::S("instance ghost".into()))
            .item("doc", A::S(ghost))
            .item("v", A::N("4".into()));
        put.send().await.expect("put");
    }

    fn stands(&self) -> (String, u64) {
        let status = &self.status()[0];
        let phase = status["phase"].as_str().expect("a phase");
        (phase.to_owned(), number(status, "freeze"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_the_whole_way_and_back() {
    let bench = Bench::new("way").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    let early = bench.migrate(&["copy"]).run().expect_code(2);
    says(&early, &["migrate advance --to copy", "phase old"]);

    let dry = bench.moves("advance", "copy", &["--dry-run"]);
    let dry = dry.run().expect_code(2).stdout;
    let refusal = "refused as it is: no application is registered for this table";
    assert_eq!(dry.matches(refusal).count(), 3, "{dry}");
    let unasked = bench.moves("advance", "copy", &[]).run().expect_code(2);
    says(&unasked, &["no application is registered", "`--expect 0`"]);
    assert_eq!(bench.stands(), ("old".into(), 0));
    let moved = bench.moves("advance", "copy", &NONE).run().expect_code(0);
    says(
        &moved,
        &[
            "no application is registered for this table, as expected",
            "old -> bridge",
            "bridge -> switch",
            "switch -> copy",
            "every participant is in `copy`",
        ],
    );
    assert!(moved.stdout.contains("phase copy"), "{moved}");
    let early = bench.moves("advance", "new", &[]).run().expect_code(2);
    says(&early, &["0.0 %", "`migrate copy --table messages`"]);
    let copied = bench.migrate(&["copy", "--json"]).run().expect_code(0);
    assert_eq!(number(&copied.json()[0], "written"), ROWS as u64);
    assert_all_there(&bench, ROWS).await;
    let unverified = bench.moves("advance", "new", &[]).run().expect_code(2);
    says(
        &unverified,
        &["nothing was verified", "`migrate verify --table messages`"],
    );
    bench.migrate(&["verify"]).run().expect_code(0);
    bench.moves("advance", "new", &[]).run().expect_code(0);
    assert_eq!(bench.stands(), ("new".into(), 1));
    says(
        &bench.migrate(&["copy"]).run().expect_code(2),
        &["nothing left"],
    );

    bench.moves("back", "bridge", &[]).run().expect_code(0);
    bench.moves("advance", "copy", &NONE).run().expect_code(0);
    assert_eq!(bench.stands(), ("copy".into(), 2));
    says(
        &bench.moves("advance", "new", &[]).run().expect_code(2),
        &["freeze 2"],
    );
    let copied = bench.migrate(&["copy", "--json"]).run().expect_code(0);
    assert_eq!(number(&copied.json()[0], "present"), ROWS as u64);
    bench.migrate(&["verify"]).run().expect_code(0);
    let dry = bench.moves("advance", "done", &["--dry-run"]).run();
    let dry = dry.expect_code(0).stdout;
    assert!(
        dry.contains("would ask for the table's name: --yes-done messages"),
        "{dry}"
    );
    let unasked = bench.moves("advance", "done", &[]).run().expect_code(2);
    says(&unasked, &["can't be confirmed", "--yes-done messages"]);
    assert_eq!(bench.stands(), ("copy".into(), 2));
    let sure = ["--yes-done", "messages"];
    let over = bench.moves("advance", "done", &sure).run().expect_code(0);
    says(&over, &["no way back", "about 200 items"]);
    bench.moves("advance", "done", &[]).run().expect_code(0);
    says(
        &bench.moves("back", "new", &[]).run().expect_code(2),
        &["no way back"],
    );
    bench.done().await;
}

/// An application has updated some columns before the copier came.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_completes_the_partial_items_of_applications() {
    let bench = Bench::new("partial").await;
    bench
        .cql("CREATE TABLE messages (p int PRIMARY KEY, a text, b text)")
        .await;
    bench
        .fill(
            "INSERT INTO messages (p, a, b) VALUES (?, 'old a', 'old b')",
            (0..30).map(|p| (p,)),
        )
        .await;
    bench.plan(PLAN).init();
    bench.moves("advance", "copy", &NONE).run().expect_code(0);
    let text = |text: &str| A::S(text.into());
    let decided = || ("_d", A::Ss(vec!["a".into()]));
    for p in ["3", "4", "77"] {
        let item = [("p", A::N(p.into())), ("a", text("new a")), decided()];
        bench
            .put("messages", &[&item[..], &[("_m", text("k"))]].concat())
            .await;
    }
    let copied = bench.migrate(&["copy", "--json"]).run().expect_code(0);
    let line = &copied.json()[0];
    let counts = ["written", "present", "completed", "failed"].map(|field| number(line, field));
    assert_eq!(counts, [28, 0, 2, 0], "{line}");
    let items = bench.items("messages").await;
    let item = |p: &str| {
        let found = items.iter().find(|item| item["p"] == A::N(p.into()));
        found.expect("an item").clone()
    };
    for p in ["3", "4"] {
        let item = item(p);
        let wanted = [("a", "new a"), ("b", "old b"), ("_m", "a")];
        assert!(
            wanted
                .iter()
                .all(|(name, value)| item[*name] == text(value)),
            "{item:?}"
        );
        assert!(!item.contains_key("_d"), "{item:?}");
    }
    // There is nothing in the old table that 77 could lack.
    assert_eq!(item("77")["_m"], text("k"));
    let late = [("p", A::N("5".into())), ("a", text("new a")), decided()];
    bench
        .put("messages", &[&late[..], &[("_m", text("k"))]].concat())
        .await;
    says(
        &bench.moves("advance", "new", &[]).run().expect_code(2),
        &["1 items have some columns of their rows only", "p=5"],
    );
    bench.done().await;
}

/// The record is changed, and the one who did it is killed before anybody has followed.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_does_not_follow_is_waited_for_until_it_is_said_to_be_gone() {
    let bench = Bench::new("ghost").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    bench.register("shim", "old").await;
    let wrong = bench.moves("advance", "bridge", &["--expect", "2"]);
    says(
        &wrong.run().expect_code(2),
        &["1 application is registered (a ghost), and 2 are expected"],
    );
    let dry = bench.moves("advance", "new", &["--dry-run"]);
    let dry = dry.run().expect_code(2);
    for line in [
        "messages: old -> bridge",
        "would wait for shim ghost (a ghost, old)",
        "refused as it is: since the old table was frozen",
    ] {
        assert!(dry.stdout.contains(line), "no `{line}`: {dry}");
    }
    assert_eq!(bench.stands(), ("old".into(), 0));

    let running = bench.moves("advance", "switch", &["--expect", "1"]).spawn();
    running.wait_for("the wait", |text| text.contains("waiting for 1"));
    running.kill();
    assert_eq!(bench.stands(), ("bridge".into(), 0));
    let again = bench.moves("advance", "switch", &[]).spawn();
    again.wait_for("the hint", |text| text.contains("--to switch --gone ghost"));
    again.interrupt();
    let again = again.wait().expect_code(3);
    says(
        &again,
        &[
            "waiting for 1 to be in `bridge`",
            "shim ghost (a ghost, old)",
        ],
    );
    assert_eq!(bench.stands(), ("bridge".into(), 0), "nobody is passed");

    let told = bench.migrate(&["status"]).run().expect_code(0);
    assert!(told.stdout.contains("ghost"), "{told}");
    let misspelt = bench.moves("advance", "switch", &["--gone", "gost"]);
    let misspelt = misspelt.run().expect_code(2);
    says(&misspelt, &["`gost` isn't registered", "ghost (a ghost)"]);
    let hasty = bench.moves("advance", "switch", &["--gone-silent", "14s"]);
    let hasty = hasty.run().expect_code(2);
    says(&hasty, &["14 s are too short", "for 15 s"]);
    let more = [&NONE[..], &["--gone", "ghost"]].concat();
    bench.moves("advance", "switch", &more).run().expect_code(0);
    assert_eq!(bench.stands(), ("switch".into(), 0));
    assert_eq!(bench.status()[0]["instances"], serde_json::json!([]));
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_begins_when_everybody_has_left_the_old_table() {
    let bench = Bench::new("lag").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    bench.moves("advance", "copy", &NONE).run().expect_code(0);
    bench.register("shim", "switch").await;
    let begun = std::time::Instant::now();
    let copied = bench.migrate(&["copy", "--json"]).run().expect_code(0);
    says(
        &copied,
        &["waiting until what was begun before `copy` is over: a ghost"],
    );
    // Its lease and its longest operation.
    assert!(begun.elapsed().as_secs() >= 3, "{copied}");
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}

/// The way back to `old` is open until a row is written to the new store.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_back_to_old_while_the_new_one_holds_nothing() {
    let bench = Bench::new("return").await;
    bench
        .cql("CREATE TABLE messages (p int PRIMARY KEY, a text)")
        .await;
    bench.plan(PLAN).init();
    bench.moves("advance", "switch", &NONE).run().expect_code(0);
    bench.moves("back", "old", &[]).run().expect_code(0);
    assert_eq!(bench.stands(), ("old".into(), 0));
    bench.moves("advance", "bridge", &NONE).run().expect_code(0);
    let deleted = [("p", A::N("7".into())), ("_m", A::S("t".into()))];
    bench.put("messages", &deleted).await;
    let dry = bench.moves("back", "old", &["--dry-run"]).run();
    let dry = dry.expect_code(2).stdout;
    assert!(
        dry.contains("refused as it is: the new store has rows"),
        "{dry}"
    );
    let refused = bench.moves("back", "old", &[]).run().expect_code(2);
    says(&refused, &["the new store has rows", "p=7", "as far back"]);
    assert_eq!(bench.stands(), ("bridge".into(), 0));
    bench.done().await;
}
