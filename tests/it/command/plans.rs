//! Plans that are wrong, through the command.

use std::path::PathBuf;

use super::says;
use crate::support::{Migrate, folder};

/// Runs `check` on a plan's text; nothing it names is ever asked.
fn check(text: &str) -> (tempfile::TempDir, crate::support::Outcome) {
    let folder = folder();
    std::fs::write(folder.path().join("cf.toml"), text).expect("written");
    let outcome = Migrate::new(["check", "--plan", "cf.toml"])
        .in_folder(folder.path())
        .run();
    (folder, outcome)
}

const GOOD: &str = r#"name = "bgt"
[old]
kind = "embedded"
path = "old"
[new]
kind = "embedded"
path = "new"
[[table]]
name = "users"
"#;

#[test]
fn all_errors_at_once_with_their_lines() {
    let wrong = GOOD.replace("path = \"old\"", "pth = \"old\"").replace(
        "name = \"users\"",
        "name = \"users\"\nexpiry = 5\noversize = \"shrink\"",
    );
    let (_folder, outcome) = check(&wrong);
    let outcome = outcome.expect_code(2);
    says(
        &outcome,
        &[
            "cf.toml:4: ",
            "pth",
            "did you mean",
            "path",
            "cf.toml:10: ",
            "expiry",
            "cf.toml:11: ",
            "shrink",
        ],
    );
    assert_eq!(outcome.stdout, "");
}

#[test]
fn what_is_not_built_yet_is_said_to_be_so() {
    let (_folder, outcome) = check(&format!("{GOOD}where = \"a = 1\"\n"));
    says(
        &outcome.expect_code(2),
        &["cf.toml:10", "`table.where` isn't built yet"],
    );
}

#[test]
fn a_variable_that_is_not_set() {
    let wrong = GOOD.replace("path = \"old\"", "path = \"${CROSSFADE_SURELY_NOT_SET}\"");
    let (_folder, outcome) = check(&wrong);
    says(
        &outcome.expect_code(2),
        &["cf.toml:4: ", "CROSSFADE_SURELY_NOT_SET"],
    );
}

#[test]
fn a_file_that_is_no_toml_and_one_that_is_missing() {
    let (_folder, outcome) = check("name = \"bgt\n");
    says(&outcome.expect_code(2), &["cf.toml:1"]);
    let outcome = Migrate::new(["check", "--plan", "nowhere.toml"])
        .run()
        .expect_code(2);
    says(&outcome, &["nowhere.toml"]);
}

#[test]
fn a_table_that_the_plan_has_not() {
    let folder = folder();
    let (old, plan) = (folder.path().join("old"), folder.path().join("cf.toml"));
    std::fs::create_dir(&old).expect("made");
    std::fs::write(&plan, GOOD).expect("written");
    let outcome = Migrate::new(["copy", "--offline", "--table", "user", "--plan", "cf.toml"])
        .in_folder(folder.path())
        .run()
        .expect_code(2);
    says(&outcome, &["no table `user`", "users"]);
}

#[test]
fn wrong_arguments_end_as_every_error_does() {
    for wrong in [
        &["copy"][..],
        &["cpoy"],
        &["copy", "--plan", "x", "--offlin"],
    ] {
        let outcome = Migrate::new(wrong).run().expect_code(2);
        assert_eq!(outcome.stdout, "");
        says(&outcome, &["Usage"]);
    }
}

/// The plans that are shipped are read by the command itself.
#[test]
fn every_shipped_plan_is_a_good_one() {
    let plans = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut count = 0;
    for plan in std::fs::read_dir(plans).expect("a folder") {
        let path = plan.expect("a plan").path();
        let outcome = Migrate::new(["failures", "--table", "surely no table", "--plan"])
            .arg(&path)
            .in_folder(folder().path())
            .env("CASSANDRA_PASSWORD", "x")
            .env("MASK_KEY", "x")
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .run()
            .expect_code(2);
        // It came past the plan.
        says(&outcome, &["no table `surely no table`"]);
        count += 1;
    }
    assert!(count >= 3);
}
