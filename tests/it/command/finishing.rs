//! `migrate finish` on the real servers: killed on the way, and with items in it that aren't the mapping's.

use aws_sdk_dynamodb::types::AttributeValue as A;

use std::sync::mpsc;

use super::{Bench, Item, says};
use crate::forwarding::{Fault, Forwarding};

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
    let strip = ["finish", "--table", "t", "--strip", "--yes-strip"];
    let refused = |more: &[&str], words: &[&str]| {
        let refused = bench.migrate(&[&strip[..], more].concat());
        says(&refused.run().expect_code(2), words);
    };
    refused(
        &[],
        &[
            "stdin is not a terminal, so this can't be confirmed",
            "`--yes-done t`",
        ],
    );
    refused(&["--yes-done", "tt"], &["`tt` isn't the table's name"]);
    let yes = ["--yes-done", "t"];
    let finish = [&strip[..], &yes].concat();
    let typo = [&yes[..], &["--yes-drop", "tt"]].concat();
    refused(&typo, &["`tt` isn't the table's name", "nothing was done"]);
    let unasked = [&yes[..], &["--drop-old"]].concat();
    refused(
        &unasked,
        &[
            "stdin is not a terminal, so this can't be confirmed",
            "`--yes-drop t`",
        ],
    );
    let dry = bench.migrate(&[&strip[..], &["--dry-run"]].concat());
    let dry = dry.run().expect_code(0).stdout;
    for words in [
        "t: offline -> done",
        "about 60 items",
        "there is no way back",
        "--yes-done t",
        "60 items carry marks",
        "Taking the marks off 60 items",
    ] {
        assert!(dry.contains(words), "no `{words}`: {dry}");
    }
    assert_eq!(
        bench.status()[0]["phase"],
        "offline",
        "and nothing was moved"
    );

    // Several changes are under way at once, so that the second is told by what has come back.
    let changed = format!("20 after a change in {}", bench.target("t"));
    for point in ["6", changed.as_str()] {
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
    // What holds somebody's data isn't to be deleted on anybody's advice.
    assert!(!left.stderr.contains("delete them"), "{left}");
    assert_eq!(
        (bench.items("t").await.len(), marked(&bench).await),
        (62, 1)
    );

    let delete = bench.dynamo.delete_item().table_name(bench.target("t"));
    let (name, value) = p(102);
    delete.key(name, value).send().await.expect("deleted");
    // It is in `done`, so nothing is asked any more.
    let finished = bench.migrate(&strip).run().expect_code(0);
    says(&finished, &["may be taken out"]);
    assert_eq!(
        (bench.items("t").await.len(), marked(&bench).await),
        (61, 0)
    );
    bench.done().await;
}

/// An application writes an item anew between the look at it and the write that takes its marks off.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_change_while_they_are_stripped_are_no_trouble() {
    let bench = Bench::new("strip").await;
    verified(&bench).await;
    let (ask, asked) = mpsc::channel::<(Item, mpsc::Sender<()>)>();
    let (dynamo, target) = (bench.dynamo.clone(), bench.target("t"));
    let runtime = tokio::runtime::Handle::current();
    let writing = std::thread::spawn(move || {
        let mut raced = 0;
        for (key, written) in asked {
            let put = dynamo.put_item().table_name(&target);
            let put = put.set_item(Some(key)).item("v", A::N("-1".into()));
            runtime.block_on(put.send()).expect("put");
            raced += 1;
            written.send(()).expect("waited for");
        }
        raced
    });
    let race = move |p: &str| {
        let key = [("p".to_owned(), A::N(p.to_owned()))].into();
        let (written, wait) = mpsc::channel();
        ask.send((key, written)).expect("it writes");
        wait.recv().expect("written");
    };
    let forwarding = Forwarding::start(&bench.url, move |request| {
        let is_strip = request.call == "UpdateItem";
        if let Some(p) = request.body["Key"]["p"]["N"].as_str().filter(|_| is_strip)
            && p.ends_with('7')
        {
            race(p);
        }
        Fault::None
    });
    let stores = bench.stores().replace(&bench.url, &forwarding.url);
    let table = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";
    bench.write("raced.toml", &format!("{stores}{table}"));
    let finish = [
        "finish",
        "--table",
        "t",
        "--yes-done",
        "t",
        "--strip",
        "--yes-strip",
    ];
    let finished = bench.migrate_by("raced.toml", &finish).run().expect_code(0);
    says(&finished, &["may be taken out", "off 54 items"]);
    drop(forwarding);
    let items = bench.items("t").await;
    let changed = items.iter().filter(|item| item["v"] == A::N("-1".into()));
    assert_eq!((items.len(), changed.count()), (60, 6));
    assert_eq!(marked(&bench).await, 0);
    drop(writing);
    bench.done().await;
}
