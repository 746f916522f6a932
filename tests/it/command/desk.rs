//! What an operator is told: where each table is, and what to type next.

use super::{Bench, says};

impl Bench {
    /// The lines that `migrate status` says to type next, without the command's name and the plan.
    fn told(&self) -> Vec<Vec<String>> {
        let status = self.migrate(&["status"]).run().expect_code(0).stdout;
        let Some((_, lines)) = status.split_once("\nnext:\n") else {
            return Vec::new();
        };
        let words = |line: &str| {
            let (command, _why) = line.split_once('#').expect("a reason");
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!((&*words[0], &*words[2]), ("migrate", "--plan"), "{line}");
            [&words[1..2], &words[4..]].concat()
        };
        lines.lines().map(words).collect()
    }
}

/// Nothing is typed but what is printed, and a table's name where it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_by_what_status_says() {
    let bench = Bench::new("desk").await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, v text)")
        .await;
    bench
        .cql("CREATE TABLE votes (id int PRIMARY KEY, n counter)")
        .await;
    for id in 0..10 {
        bench
            .cql(&format!("INSERT INTO users (id, v) VALUES ({id}, 'x')"))
            .await;
        bench
            .cql(&format!("UPDATE votes SET n = n + {id} WHERE id = {id}"))
            .await;
    }
    let tables = "[lease]\nseconds = 2\nlanding_seconds = 1\n\
        [[table]]\nname = \"votes\"\nto = \"@-votes\"\n[[table]]\nname = \"users\"\nto = \"@-users\"\n";
    bench.plan(tables);
    let check = bench.migrate(&["check"]).run().expect_code(0).stdout;
    assert!(
        check.contains("all 2 tables can be moved: migrate init --plan"),
        "{check}"
    );

    let mut typed = Vec::new();
    loop {
        let told = bench.told();
        let Some(mut words) = told.into_iter().next() else {
            break;
        };
        if words[0] == "finish" {
            words.extend(["--yes-done".into(), words[2].clone()]);
        }
        assert!(typed.len() < 20, "{typed:?}");
        let line: Vec<&str> = words.iter().map(String::as_str).collect();
        bench.migrate(&line).run().expect_code(0);
        typed.push(words.join(" "));
    }
    let wanted = [
        "init",
        "advance --table votes --to copy --expect 0",
        "copy --table votes --final",
        "verify --table votes",
        "advance --table votes --to new --expect 0",
        "finish --table votes --yes-done votes",
        "advance --table users --to copy --expect 0",
        "copy --table users",
        "verify --table users",
        "advance --table users --to new --expect 0",
        "finish --table users --yes-done users",
    ];
    assert_eq!(typed, wanted);
    // A plan keeps its tables until the last of them is finished.
    let copy = bench.migrate(&["copy"]).run().expect_code(0);
    says(
        &copy,
        &["votes: finished, left out", "users: finished, left out"],
    );
    bench.migrate(&["verify"]).run().expect_code(0);
    let named = ["verify", "--table", "users"];
    says(
        &bench.migrate(&named).run().expect_code(2),
        &["a table in this phase can't be compared"],
    );
    bench.done().await;
}

/// What was copied and verified under a freeze that was left counts for nothing any more, and isn't shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_forgets_what_was_copied() {
    let bench = Bench::new("forgets").await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, v text)")
        .await;
    bench.cql("INSERT INTO users (id, v) VALUES (1, 'x')").await;
    bench
        .plan("[lease]\nseconds = 2\nlanding_seconds = 1\n[[table]]\nname = \"users\"\nto = \"@-users\"\n")
        .init();
    let run = |args: &[&str]| bench.migrate(args).run().expect_code(0);
    let to = |command: &'static str, to: &'static str| {
        let mut words = vec![command, "--table", "users", "--to", to];
        if command == "advance" {
            words.extend(["--expect", "0"]);
        }
        words
    };
    run(&to("advance", "copy"));
    run(&["copy"]);
    run(&["verify"]);
    let status = &bench.status()[0];
    assert_eq!(status["copied"], 1.0);
    assert_eq!(status["verified"]["clean"], true);
    assert!(status["copiers"][0]["noted_at"].as_i64() > Some(1_700_000_000));
    run(&to("back", "switch"));
    let status = &bench.status()[0];
    assert_eq!(
        (&status["phase"], &status["copied"]),
        (&"switch".into(), &0.0.into())
    );
    assert!(status["verified"].is_null(), "{status}");
    bench.done().await;
}
