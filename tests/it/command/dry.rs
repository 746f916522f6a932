//! `--dry-run`: what would be done is said, nothing is, and a refusal is the same.

use super::reporting::moved;
use super::{Bench, says};

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_repaired_and_sent_again() {
    let bench = moved("dry").await;
    let before = bench.items("t").await.len();
    let run = |arguments: &[&str], code: i32| bench.migrate(arguments).run().expect_code(code);
    let told = run(
        &[
            "verify",
            "--table",
            "t",
            "--repair",
            "--delete-extra",
            "--dry-run",
        ],
        1,
    )
    .stdout;
    contains(
        &told,
        &[
            "t: would be repaired: 1 missing copied",
            "1 different rewritten",
            "1 extra deleted",
            "Nothing was repaired",
        ],
    );
    let told = run(&["verify", "--table", "t", "--repair", "--dry-run"], 1).stdout;
    contains(&told, &["0 extra deleted; 1 left as they are"]);
    let retry = ["failures", "--table", "t", "--retry"];
    let dry = [&retry[..], &["--dry-run"]].concat();
    says(
        &run(&dry, 1),
        &["t: 1 rows and 0 ranges would be sent again; nothing was"],
    );
    assert_eq!(bench.items("t").await.len(), before);
    let found = run(&["verify", "--table", "t"], 1).stdout;
    contains(&found, &["differs"]);

    // What is refused without it is refused with it, in the same words.
    let same = |arguments: &[&str]| {
        let dry = [arguments, &["--dry-run"]].concat();
        let (real, dry) = (run(arguments, 2), run(&dry, 2));
        assert_eq!(real.stderr, dry.stderr);
    };
    same(&["verify", "--table", "later", "--repair"]);
    let later = "[[table]]\nname = \"later\"\nto = \"@-nowhere\"\n";
    bench.write("other.toml", &format!("{}{later}", bench.stores()));
    let pace = |more: &[&str]| {
        let words = [&["pace", "--table", "later", "--write-units", "5"], more].concat();
        bench
            .migrate_by("other.toml", &words)
            .run()
            .expect_code(2)
            .stderr
    };
    assert_eq!(pace(&[]), pace(&["--dry-run"]));
    let capacity = |more: &[&str]| {
        let words = [&["capacity", "--table", "later", "--write", "5"], more].concat();
        bench
            .migrate_by("other.toml", &words)
            .run()
            .expect_code(2)
            .stderr
    };
    assert_eq!(capacity(&[]), capacity(&["--dry-run"]));

    // A verification was refused as a repair, and is possible as what it is.
    run(&["verify", "--table", "t", "--repair", "--delete-extra"], 1);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_taken_over() {
    let bench = Bench::new("dryadopt").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .plan("[lease]\nseconds = 2\nlanding_seconds = 1\n[[table]]\nname = \"t\"\nto = \"@-t\"\n")
        .init();
    for p in ["1", "2"] {
        let p = aws_sdk_dynamodb::types::AttributeValue::N(p.to_owned());
        bench.put("t", &[("p", p)]).await;
    }
    let target = bench.target("t");
    let adopt = ["init", "--adopt", &target];
    let dry = [&adopt[..], &["--dry-run"]].concat();
    let run = |arguments: &[&str]| bench.migrate(arguments).run().expect_code(0).stdout;
    contains(&run(&dry), &["would be taken over as it is, with 2 items"]);
    assert!(bench.status()[0]["adopted"].is_null(), "nothing was");
    contains(&run(&adopt), &["taken over as it is, with 2 items"]);
    contains(&run(&dry), &["with 2 items"]);
    assert_eq!(bench.status()[0]["adopted"], 2);

    // By another plan, once it is under way; and a target that no plan has.
    run(&["advance", "--table", "t", "--to", "bridge", "--expect", "0"]);
    let other = bench.stores().replacen(&bench.keyspace, "other", 1);
    bench.write(
        "other.toml",
        &format!("{other}[[table]]\nname = \"t\"\nto = \"@-t\"\n"),
    );
    for words in [&adopt[..], &["init", "--adopt", "nowhere"]] {
        let refused = |words: &[&str]| {
            bench
                .migrate_by("other.toml", words)
                .run()
                .expect_code(2)
                .stderr
        };
        assert_eq!(refused(words), refused(&[words, &["--dry-run"]].concat()));
    }
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_copied_offline_and_at_last() {
    let bench = Bench::new("drycopy").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench
        .cql("CREATE TABLE c (p int PRIMARY KEY, n counter)")
        .await;
    bench.cql("UPDATE c SET n = n + 3 WHERE p = 1").await;
    let rows = (0..20).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let tables = "[[table]]\nname = \"c\"\nto = \"@-c\"\n[[table]]\nname = \"t\"\nto = \"@-t\"\n";
    bench.plan(tables);
    let run = |arguments: &[&str], code: i32| bench.migrate(arguments).run().expect_code(code);
    let same = |arguments: &[&str]| {
        let dry = [arguments, &["--dry-run"]].concat();
        let (real, dry) = (run(arguments, 2), run(&dry, 2));
        assert_eq!(real.stderr, dry.stderr);
        assert!(!dry.stderr.is_empty());
    };
    // There is no control record.
    same(&["copy", "--offline"]);
    same(&["copy", "--final", "--table", "c"]);
    bench.init();
    same(&["copy", "--final"]);

    let offline = ["copy", "--offline", "--dry-run"];
    let told = run(&offline, 0).stdout;
    contains(
        &told,
        &[
            "t: would be copied in phase `offline`",
            "c: would be copied in phase `offline`",
            "nothing was written",
        ],
    );
    let told = run(&[&offline[..], &["--final", "--json"]].concat(), 0).json();
    let of = |table: &str| told.iter().find(|line| line["table"] == table).expect("it");
    assert_eq!(
        (&of("t")["would_write"], &of("c")["read"]),
        (&20.into(), &1.into())
    );
    assert_eq!(of("c")["phase"], "offline");
    for line in bench.status() {
        assert_eq!(line["phase"], "old", "{line}");
    }
    assert!(!bench.has_items("t").await && !bench.has_items("c").await);
    assert!(!super::exists(&bench.journal()), "no journal was begun");

    // Frozen, with no application: a final pass is lawful.
    for table in ["c", "t"] {
        run(
            &["advance", "--table", table, "--to", "copy", "--expect", "0"],
            0,
        );
    }
    let told = run(&["copy", "--final", "--dry-run"], 0).stdout;
    contains(&told, &["c: would be copied in phase `copy`"]);
    assert!(!bench.has_items("c").await);
    same(&["copy", "--offline", "--table", "t"]);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pace_and_capacity_would_be() {
    let bench = Bench::new("drypace").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    let run = |arguments: &[&str]| bench.migrate(arguments).run().expect_code(0).stdout;
    run(&["pace", "--read-rows", "700"]);
    let told = run(&["pace", "--write-units", "1234", "--pause", "--dry-run"]);
    contains(&told, &["1,234", "700", "paused", "nothing was changed"]);
    let shown = run(&["pace", "--show"]);
    contains(&shown, &["700"]);
    assert!(
        !shown.contains("1,234") && !shown.contains("paused"),
        "{shown}"
    );

    let look = || async {
        let described = bench.dynamo.describe_table().table_name(bench.target("t"));
        let table = described.send().await.expect("a table").table.expect("one");
        format!(
            "{:?} {:?}",
            table.provisioned_throughput, table.warm_throughput
        )
    };
    let before = look().await;
    let words = [
        "capacity",
        "--table",
        "t",
        "--write",
        "90000",
        "--at",
        "2999-01-01T00:00:00Z",
        "--dry-run",
    ];
    let told = run(&words);
    contains(
        &told,
        &[&bench.target("t"), "would be", "nothing was changed"],
    );
    assert_eq!(look().await, before);
    bench.done().await;
}
