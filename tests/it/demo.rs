//! `migrate demo`, which needs no server.

use crate::support::Migrate;

#[test]
fn the_demo_keeps_its_promises() {
    let outcome = Migrate::new(["demo", "--rows", "20000"])
        .run()
        .expect_code(0);
    for table in ["votes", "users", "ballots"] {
        for said in [
            "the copier was killed after",
            "every participant is in `bridge`",
            "every participant is in `copy`",
            "every participant is in `new`",
        ] {
            let said = format!("{table}: {said}");
            assert!(outcome.stderr.contains(&said), "{said}: {outcome}");
        }
    }
    let line = |what: &str| {
        let mut lines = outcome.stdout.lines();
        let line = lines.find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no line of {what}: {outcome}"))
    };
    for what in [
        "acknowledged writes lost",
        "deleted rows seen again",
        "votes cast, and counted",
        "differences found",
        "items with marks of the migration",
    ] {
        assert!(line(what).trim_end().ends_with("kept"), "{outcome}");
    }
    assert!(line("users: rows that nobody touched").contains("2,000"));
    assert!(line("ballots: rows that nobody touched").contains("16,000"));
}
