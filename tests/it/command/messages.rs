//! What is said where something is in the way: what it is, where, and what helps.

use super::{Bench, says};

const PLAN: &str = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_table_that_is_spelled_differently() {
    let bench = Bench::new("misspelt").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench.cql("INSERT INTO t (p, v) VALUES (1, 1)").await;
    bench.plan(PLAN).init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let control = format!("{}-control", bench.keyspace);
    let other = format!("{}-kontrol", bench.keyspace);
    bench.write(
        "other.toml",
        &(bench.stores().replace(&control, &other) + PLAN),
    );
    let run = |command: &str| bench.migrate_by("other.toml", &[command]).run();

    let status = run("status").expect_code(0);
    contains(
        &status.stdout,
        &["not initialised", &other, "spelled differently"],
    );
    let failures = run("failures").expect_code(2);
    says(
        &failures,
        &["no control record", &other, "spelled differently"],
    );
    assert!(!failures.stdout.contains("no dead letters"), "{failures}");
    for command in ["check", "init"] {
        let refused = run(command).expect_code(2);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        contains(
            &said,
            &[
                "carries the marks of a migration",
                &other,
                "spelled as it was",
            ],
        );
        // Alone it would begin at `old`; with the phase it looks whether that can be.
        let advised = said.matches("--adopt").count();
        assert_eq!(advised, said.matches("--phase PHASE").count(), "{said}");
    }
    bench.migrate(&["verify"]).run().expect_code(0);
    let failures = bench.migrate(&["failures"]).run().expect_code(0);
    contains(&failures.stdout, &["no dead letters", &control]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_indexes_say_how_they_are_accepted() {
    let bench = Bench::new("indexes").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text, tags set<text>, f vector<float, 2>)")
        .await;
    bench.cql("CREATE INDEX by_v ON t (v) USING 'sai'").await;
    bench
        .cql("CREATE INDEX by_tag ON t (values(tags)) USING 'sai'")
        .await;
    bench.cql("CREATE INDEX by_f ON t (f) USING 'sai'").await;
    bench.plan(PLAN);
    let check = bench.migrate(&["check"]).run().expect_code(2);
    let lines: Vec<&str> = check
        .stdout
        .lines()
        .filter(|line| line.contains("sai-index"))
        .collect();
    assert_eq!(lines.len(), 3, "{check}");
    for line in lines {
        contains(line, &["refused", "ignore = [\"indexes\"]"]);
        let may_be = line.contains("global secondary index");
        assert_eq!(may_be, line.contains("by_v"), "{line}");
    }
    let init = bench.migrate(&["init"]).run().expect_code(2);
    says(&init, &["by_v", "by_tag", "by_f", "ignore = [\"indexes\"]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clash_of_one_table_leaves_the_others_alone() {
    let bench = Bench::new("clash").await;
    bench
        .cql("CREATE TABLE a (p int PRIMARY KEY, expires_at int)")
        .await;
    bench.cql("CREATE TABLE b (p int PRIMARY KEY, v int)").await;
    bench.plan(
        "[[table]]\nname = \"a\"\nto = \"@-a\"\nexpiry = { attribute = \"expires_at\", from = \"max\" }\n\
         [[table]]\nname = \"b\"\nto = \"@-b\"\n",
    );
    let init = bench.migrate(&["init"]).run().expect_code(2);
    says(&init, &["expires_at", "another name", "row_expires_at"]);
    contains(&init.stdout, &["b -> ", ": ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_for_each_cause() {
    let bench = Bench::new("causes").await;
    bench
        .cql("CREATE TABLE t (p text PRIMARY KEY, v blob)")
        .await;
    let large = |size: usize| vec![7_u8; size];
    let rows = [
        ("f".repeat(2_050), large(1)),
        ("g".repeat(2_100), large(1)),
        ("h".to_owned(), large(410_000)),
        ("i".to_owned(), large(420_000)),
    ];
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    bench.plan(PLAN);
    let check = bench.migrate(&["check"]).run().expect_code(1);
    let causes: Vec<&str> = check
        .stdout
        .lines()
        .filter(|line| line.contains("dead letters:"))
        .collect();
    assert_eq!(causes.len(), 2, "{check}");
    contains(
        &check.stdout,
        &["partition_hash = true", "2050", "2100", "biggest column v"],
    );
}

/// A slim image has none: what isn't encrypted works, and what is says why it doesn't.
#[tokio::test(flavor = "multi_thread")]
async fn a_system_without_certificates() {
    let bench = Bench::new("untrusting").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n");
    let folder = bench.folder.path().join("none");
    std::fs::create_dir(&folder).expect("a folder");
    let file = bench.write("none.pem", "");
    let check = bench.migrate(&["check"]);
    let check = check.env("SSL_CERT_FILE", file.display().to_string());
    let check = check.env("SSL_CERT_DIR", folder.display().to_string());
    let told = check.run().expect_code(0);
    says(
        &told,
        &["this system trusts no authority (Debian: ca-certificates)"],
    );
    bench.done().await;
}
