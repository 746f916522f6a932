//! The night the control table is lost: the record is deleted under a running application.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue as A;
use crossfade::connect;
use crossfade::plan::Plan;
use crossfade::shim::Table;
use serde_json::{Value as Json, json};

use super::{Bench, number, says};

const PLAN: &str = "[lease]\nseconds = 2\noperation_seconds = 2\n[shim]\nresave = \"inline\"\ndeadline_seconds = 2\n\
                    [[table]]\nname = \"t\"\nto = \"@-t\"\n";
const ROWS: i32 = 30;
/// For what hangs.
const LONG: Duration = Duration::from_secs(180);

async fn get(table: &Table, p: i32) -> Result<Option<Json>, String> {
    let got = table.get_as::<Json>(&json!({"p": p})).await;
    got.map_err(|error| error.to_string())
}

async fn until(what: &str, table: &Table, is_so: impl Fn(&Result<Option<Json>, String>) -> bool) {
    let begun = Instant::now();
    loop {
        let got = get(table, 1).await;
        if is_so(&got) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{what}: {got:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_control_record_is_made_anew_in_the_phase_that_fits() {
    let bench = Bench::new("lost").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    let rows = (0..ROWS).map(|p| (p, "old"));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench.plan(PLAN).init();
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let table = shim.table("t").expect("t");
    let moves = |to: &str| {
        let advance = ["advance", "--table", "t", "--to", to, "--expect", "1"];
        bench.migrate(&advance).run().expect_code(0);
    };
    moves("switch");
    table
        .put_as(&json!({"p": 1, "v": "new"}))
        .await
        .expect("put");
    moves("copy");
    // One is saved, one is deleted; the copy is through with none.
    assert!(get(&table, 2).await.expect("read").is_some());
    let three = table.key_of(&json!({"p": 3})).await.expect("a key");
    table.delete(&three).await.expect("deleted");

    let delete = bench
        .dynamo
        .delete_item()
        .table_name(bench.named("@-control"));
    let delete = delete.key("target", A::S(bench.target("t")));
    let delete = delete.key("item", A::S("record".into()));
    delete.send().await.expect("deleted");
    until("it fails closed", &table, Result::is_err).await;
    let target = bench.target("t");
    let adopt = |more: &[&str]| {
        let init = ["init", "--adopt", target.as_str()];
        bench.migrate(&[&init[..], more].concat()).run()
    };
    says(
        &adopt(&[]).expect_code(2),
        &["moved to before (3 items of applications", "--phase PHASE"],
    );
    for (phase, words) in [
        ("old", "nothing reads the new store"),
        ("bridge", "name `switch`"),
        ("new", "name `copy`"),
        ("offline", "3 items are an application's"),
        ("done", "can't be confirmed"),
    ] {
        let refused = adopt(&["--phase", phase]).expect_code(2);
        says(&refused, &[words]);
        // A dry run doesn't ask for the table's name.
        let dry = adopt(&["--phase", phase, "--dry-run"]);
        match phase {
            "done" => {
                let told = dry.expect_code(0).stdout;
                let words =
                    "would be taken over in `done`, once the table's name is typed: 3 items";
                assert!(told.contains(words), "{told}");
            }
            _ => assert_eq!(dry.expect_code(2).stderr, refused.stderr),
        }
    }
    let dry = adopt(&["--phase", "copy", "--dry-run"]).expect_code(0);
    assert!(
        dry.stdout
            .contains("would be taken over in `copy`: 3 items of applications, 0 copied"),
        "{dry}"
    );
    assert_eq!(bench.status()[0]["phase"], Json::Null, "nothing is made");
    let regained = adopt(&["--phase", "copy"]).expect_code(0);
    says(&regained, &["until every participant of the lost record"]);
    assert!(
        regained
            .stdout
            .contains("taken over: 3 items of applications, 0 copied"),
        "{regained}"
    );
    let again = adopt(&["--phase", "copy"]).expect_code(0);
    assert!(again.stdout.contains("was ready already"), "{again}");
    let again = adopt(&["--phase", "copy", "--dry-run"]).expect_code(0);
    assert!(again.stdout.contains("is ready already"), "{again}");
    for more in [&[][..], &["--dry-run"]] {
        let other = adopt(&[&["--phase", "switch"], more].concat());
        says(&other.expect_code(2), &["isn't lost"]);
    }

    // The application joins again by itself, and everything is as it was.
    until("it goes on", &table, Result::is_ok).await;
    assert_eq!(get(&table, 1).await, Ok(Some(json!({"p": 1, "v": "new"}))));
    assert_eq!(get(&table, 3).await, Ok(None), "deleted stays deleted");
    assert_eq!(get(&table, 4).await, Ok(Some(json!({"p": 4, "v": "old"}))));
    let copied = bench.migrate(&["copy", "--json"]).run().expect_code(0);
    let line = &copied.json()[0];
    assert_eq!(
        number(line, "written") + number(line, "present"),
        ROWS as u64
    );
    bench.migrate(&["verify"]).run().expect_code(0);
    moves("new");
    assert_eq!(get(&table, 1).await, Ok(Some(json!({"p": 1, "v": "new"}))));
    assert_eq!(get(&table, 3).await, Ok(None));
    shim.leave().await.expect("left");
    bench.done().await;
}
