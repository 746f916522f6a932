//! `migrate finish` on the real servers: killed on the way, and with items in it that aren't the mapping's.

use aws_sdk_dynamodb::types::AttributeValue as A;

use super::{Bench, Item, says};

async fn verified(bench: &Bench) {
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..60).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    bench.migrate(&["verify"]).run().expect_code(0);
}

async fn marked(bench: &Bench) -> usize {
    let is_marked = |item: &&Item| item.keys().any(|name| name.starts_with('_'));
    bench.items("t").await.iter().filter(is_marked).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_is_killed_goes_on_and_says_when_the_shim_may_go() {
    let bench = Bench::new("finish").await;
    verified(&bench).await;
    let finish = ["finish", "--table", "t", "--strip", "--yes-strip"];
    let typo = bench.migrate(&[&finish[..], &["--yes-drop", "tt"]].concat());
    says(
        &typo.run().expect_code(2),
        &["`tt` isn't the table's name", "nothing was dropped"],
    );
    assert_eq!(
        bench.status()[0]["phase"],
        "offline",
        "and nothing was moved"
    );

    for point in ["6", "30"] {
        let killed = bench.migrate(&finish).env("CROSSFADE_STOP_AT", point).run();
        assert!(killed.stderr.contains("stopped at point"), "{killed}");
        assert!(!killed.stderr.contains("may be taken out"), "{killed}");
        assert!(marked(&bench).await > 0, "{killed}");
    }
    assert!(marked(&bench).await < 60, "the second was in the midst");

    // What an application without the shim wrote, and two tombstones; nobody can read the second's item.
    let p = |n: i32| ("p", A::N(n.to_string()));
    bench
        .put("t", &[p(100), ("v", A::S("a word".into()))])
        .await;
    bench.put("t", &[p(101), ("_m", A::S("t".into()))]).await;
    let odd = ("v", A::S("odd".into()));
    bench
        .put("t", &[p(102), odd, ("_m", A::S("t".into()))])
        .await;
    let left = bench.migrate(&finish).run().expect_code(1);
    says(
        &left,
        &[
            "p=102",
            "1 items couldn't be read",
            "The shim has to stay",
            "1 tombstones",
        ],
    );
    assert!(!left.stderr.contains("may be taken out"), "{left}");
    assert_eq!(
        (bench.items("t").await.len(), marked(&bench).await),
        (62, 1)
    );

    let delete = bench.dynamo.delete_item().table_name(bench.target("t"));
    let (name, value) = p(102);
    delete.key(name, value).send().await.expect("deleted");
    let finished = bench.migrate(&finish).run().expect_code(0);
    says(&finished, &["may be taken out"]);
    assert_eq!(
        (bench.items("t").await.len(), marked(&bench).await),
        (61, 0)
    );
    bench.done().await;
}
