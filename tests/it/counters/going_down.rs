//! Counters that went down or were deleted: reported, never guessed.

use super::{Counters, VOTES, VOTES_PLAN, copy, fill_votes, number_of, vote};
use crate::command::{Bench, number, says};

const GAMES: Counters = Counters {
    table: "games",
    keys: &["id"],
    columns: &["lost", "won"],
};

/// The dead letters: key and reason.
fn letters(bench: &Bench, code: i32) -> Vec<(String, String)> {
    let listed = bench
        .migrate(&["failures", "--json"])
        .run()
        .expect_code(code);
    let text =
        |line: &serde_json::Value, field: &str| line[field].as_str().expect("a text").to_owned();
    let lines = listed.json();
    lines
        .iter()
        .map(|line| (text(line, "what"), text(line, "reason")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_went_down_is_listed_until_it_is_in_order() {
    let bench = Bench::new("down").await;
    fill_votes(&bench, 30).await;
    bench.plan(VOTES_PLAN).init();
    copy(&bench, &[], 0);
    vote(&bench, 9, -4).await;
    vote(&bench, 10, 4).await;
    let down = copy(&bench, &[], 1);
    assert_eq!((down.folded, down.went_down, down.failed), (1, 1, 1));
    assert_eq!(letters(&bench, 1).len(), 1);
    let (what, reason) = &letters(&bench, 1)[0];
    assert_eq!(what, "id=v9");
    for word in ["n is 5", "below the 9", "decrements = true"] {
        assert!(reason.contains(word), "no `{word}` in: {reason}");
    }
    assert_eq!(number(&bench.status()[0], "dead_letters"), 1);
    let item = VOTES.item(&bench, "v9").await.expect("an item");
    assert_eq!(number_of(&item, "n"), Some(9), "nothing was guessed");

    // Seen again by every pass, and no reason to call the table settled.
    assert_eq!(copy(&bench, &[], 1).went_down, 1);
    let last = copy(&bench, &["--offline", "--final"], 1);
    assert_eq!((last.settled, last.went_down, last.failed), (29, 1, 1));
    let text = bench.migrate(&["copy", "--final"]).run().expect_code(1);
    says(&text, &["migrate failures"]);
    let copied = bench.status()[0]["copied"].as_f64().expect("a share");
    assert!(copied < 1.0, "{copied}");

    // It grew past what the new store has: in order again. A final pass looks at all of them anew.
    vote(&bench, 9, 10).await;
    let mended = copy(&bench, &["--final"], 0);
    assert_eq!((mended.folded, mended.settled, mended.failed), (1, 30, 0));
    assert_eq!(letters(&bench, 0), []);
    assert_eq!(bench.status()[0]["copied"], 1.0);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_decrements_it_is_folded_like_any_other() {
    let bench = Bench::new("decrements").await;
    fill_votes(&bench, 30).await;
    bench.plan(VOTES_PLAN).init();
    copy(&bench, &[], 0);
    vote(&bench, 9, -4).await;
    assert_eq!(copy(&bench, &[], 1).went_down, 1);
    bench.plan(&format!("{VOTES_PLAN}decrements = true\n"));
    vote(&bench, 10, -40).await;
    let folded = copy(&bench, &[], 0);
    assert_eq!((folded.folded, folded.went_down, folded.failed), (2, 0, 0));
    assert_eq!(letters(&bench, 0), []);
    VOTES.assert_equal(&bench).await;
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_counter_is_reported_and_left_as_it_is() {
    let bench = Bench::new("deleted").await;
    bench
        .cql("CREATE TABLE games (id text PRIMARY KEY, lost counter, won counter)")
        .await;
    for n in 0..12 {
        bench
            .cql(&format!(
                "UPDATE games SET lost = lost + 2, won = won + {n} WHERE id = 'g{n}'"
            ))
            .await;
    }
    bench
        .plan("[[table]]\nname = \"games\"\nto = \"@-games\"\n")
        .init();
    assert_eq!(copy(&bench, &[], 0).folded, 12);
    bench.cql("DELETE won FROM games WHERE id = 'g5'").await;
    bench
        .cql("UPDATE games SET lost = lost + 1 WHERE id = 'g5'")
        .await;
    bench.cql("DELETE FROM games WHERE id = 'g6'").await;

    let only_a_column = |letters: &[(String, String)]| {
        assert_eq!(letters[0].0, "id=g5", "{letters:?}");
        for word in ["won was deleted", "has 5 of it", "by hand"] {
            assert!(letters[0].1.contains(word), "no `{word}` in: {letters:?}");
        }
    };
    let counted = copy(&bench, &[], 1);
    assert_eq!((counted.folded, counted.went_down), (0, 1));
    let found = letters(&bench, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    only_a_column(&found);

    // A row that is gone as a whole is seen by the last pass, and not forgotten by a further one.
    for (arguments, went_down) in [
        (&["--offline", "--final"][..], 2),
        (&[], 1),
        (&["--final"], 2),
    ] {
        let counted = copy(&bench, arguments, 1);
        assert_eq!((counted.folded, counted.went_down), (0, went_down));
        let mut found = letters(&bench, 1);
        found.sort();
        assert_eq!(found.len(), 2, "{found:?}");
        only_a_column(&found);
        assert_eq!(found[1].0, "id=g6");
        assert!(
            found[1].1.contains("the counter row was deleted"),
            "{found:?}"
        );
    }
    // Neither is touched.
    for (id, won) in [("g5", 5), ("g6", 6)] {
        let item = GAMES.item(&bench, id).await.expect("an item");
        let numbers = ["lost", "_w_lost", "won", "_w_won"].map(|name| number_of(&item, name));
        assert_eq!(numbers, [2, 2, won, won].map(Some), "{id}");
    }
    bench.done().await;
}
