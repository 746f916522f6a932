//! `migrate demo`, which needs no server.

use crate::support::Migrate;

#[test]
fn the_demo_keeps_its_promises() {
    let outcome = Migrate::new(["demo", "--rows", "20000"])
        .run()
        .expect_code(0);
    assert!(
        outcome.stderr.contains("users: stopped on purpose"),
        "{}",
        outcome.stderr
    );
    for said in [
        "ballots: resumed and finished",
        "votes: stopped on purpose",
        "votes: pass 2 while people vote",
        "votes: the lines are closed",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    let lines: Vec<&str> = outcome
        .stdout
        .lines()
        .filter(|line| line.contains(": "))
        .collect();
    assert_eq!(lines.len(), 15, "{}", outcome.stdout);
    assert!(
        lines.iter().all(|line| line.trim_end().ends_with("kept")),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("2,000"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("4,000"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("16,000"), "{}", outcome.stdout);
}
