//! What becomes of a row, case by case of the times to live of its marker and its cells.

use std::collections::{BTreeMap, BTreeSet};

use super::ttls::{copied, expiry, near, now};
use super::{Bench, Item, says};

/// What becomes of a row: the item never expires, expires so many seconds after it was written, or there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Becomes {
    Stays,
    Ends(i64),
    Letter,
}

/// How rows of one table came about, and what becomes of each with `reject`, `cells`, `default_ttl`, `keep`.
struct Case {
    id: &'static str,
    statements: &'static [&'static str],
    becomes: [Becomes; 4],
}

const RULES: [&str; 4] = ["reject", "cells", "default_ttl", "keep"];

fn cases(default_ttl: bool) -> Vec<Case> {
    use Becomes::{Ends, Letter, Stays};
    let case = |id, statements, becomes| Case {
        id,
        statements,
        becomes,
    };
    let always = |becomes| [becomes; 4];
    let mut cases = vec![
        case(
            "whole",
            &["INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 7000"],
            always(Ends(7000)),
        ),
        case(
            "sparse",
            &["INSERT INTO t (id, a) VALUES (@, 1) USING TTL 7000"],
            always(Ends(7000)),
        ),
        case(
            "no end",
            &["INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 0"],
            always(Stays),
        ),
        case(
            "one cell ends",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 0",
                "UPDATE t USING TTL 7000 SET a = 3 WHERE id = @",
            ],
            always(Stays),
        ),
        case(
            "one cell stays",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 7000",
                "UPDATE t USING TTL 0 SET a = 3 WHERE id = @",
            ],
            always(Stays),
        ),
        case(
            "dropped column stays",
            &[
                "INSERT INTO t (id, a) VALUES (@, 1) USING TTL 7000",
                "UPDATE t USING TTL 0 SET gone = 1 WHERE id = @",
            ],
            always(Stays),
        ),
        case(
            "the whole row again",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 7000",
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 9000",
            ],
            always(Ends(9000)),
        ),
        case(
            "collections end",
            &["INSERT INTO t (id, a, u, m) VALUES (@, 1, {x: 1}, {1: 2, 3: 4}) USING TTL 7000"],
            always(Ends(7000)),
        ),
        case(
            "an element stays",
            &[
                "INSERT INTO t (id, a, m) VALUES (@, 1, {1: 2}) USING TTL 7000",
                "UPDATE t USING TTL 0 SET m[3] = 4 WHERE id = @",
            ],
            always(Stays),
        ),
        case(
            "a field stays",
            &[
                "INSERT INTO t (id, a, u) VALUES (@, 1, {x: 1}) USING TTL 7000",
                "UPDATE t USING TTL 0 SET u.y = 4 WHERE id = @",
            ],
            always(Stays),
        ),
    ];
    let of_default = |end, letter| match default_ttl {
        true => end,
        false => letter,
    };
    cases.extend([
        // Written in two goes; the marker's end may be either, or another one.
        case(
            "two goes",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 7000",
                "UPDATE t USING TTL 8000 SET b = 3 WHERE id = @",
            ],
            [Letter, Ends(8000), Ends(50_000), Stays],
        ),
        case(
            "two cells in one second",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 0",
                "UPDATE t USING TTL 7000 SET a = 3 WHERE id = @",
                "UPDATE t USING TTL 7000 SET b = 3 WHERE id = @",
            ],
            [Letter, Ends(7000), Ends(50_000), Stays],
        ),
        case(
            "key alone",
            &["INSERT INTO t (id) VALUES (@) USING TTL 7000"],
            [Letter, Letter, Ends(50_000), Stays],
        ),
        case(
            "its cell was deleted",
            &[
                "INSERT INTO t (id, a) VALUES (@, 1) USING TTL 0",
                "DELETE a FROM t WHERE id = @",
            ],
            [Letter, Letter, Ends(50_000), Stays],
        ),
        case(
            "longer than the default",
            &[
                "INSERT INTO t (id, a, b) VALUES (@, 1, 2) USING TTL 60000",
                "UPDATE t USING TTL 70000 SET b = 3 WHERE id = @",
            ],
            [
                of_default(Ends(70_000), Letter),
                Ends(70_000),
                Ends(70_000),
                of_default(Ends(70_000), Stays),
            ],
        ),
    ]);
    if default_ttl {
        cases.extend([
            case(
                "by default",
                &["INSERT INTO t (id, a, b) VALUES (@, 1, 2)"],
                always(Ends(50_000)),
            ),
            case(
                "updated by default",
                &[
                    "INSERT INTO t (id, a, b) VALUES (@, 1, 2)",
                    "UPDATE t SET b = 3 WHERE id = @",
                ],
                always(Ends(50_000)),
            ),
            case(
                "made by an update",
                &["UPDATE t SET b = 3 WHERE id = @"],
                always(Ends(50_000)),
            ),
            case(
                "by default, and shorter",
                &[
                    "INSERT INTO t (id, a, b) VALUES (@, 1, 2)",
                    "UPDATE t USING TTL 7000 SET a = 3, b = 3 WHERE id = @",
                    "UPDATE t USING TTL 7000 SET b = 4 WHERE id = @",
                ],
                [Letter, Ends(7000), Ends(50_000), Stays],
            ),
        ]);
    }
    cases
}

async fn case_by_case(name: &str, default_ttl: bool) {
    let bench = Bench::new(name).await;
    bench.cql("CREATE TYPE pair (x int, y int)").await;
    let options = match default_ttl {
        true => " WITH default_time_to_live = 50000",
        false => "",
    };
    bench
        .cql(&format!(
            "CREATE TABLE t (id text PRIMARY KEY, a int, b int, gone int, u pair, m map<int, int>){options}"
        ))
        .await;
    let cases = cases(default_ttl);
    for case in &cases {
        for statement in case.statements {
            let statement = statement.replace('@', &format!("'{}'", case.id));
            bench
                .session
                .query_unpaged(statement, ())
                .await
                .expect("written");
        }
    }
    let written = now();
    for (at, rule) in RULES.iter().enumerate() {
        let table = |rule: &str| {
            format!(
                "[[table]]\nname = \"t\"\nto = \"@-{rule}\"\nkey_only = \"{rule}\"\n\
                 expiry = {{ attribute = \"expires_at\", from = \"max\" }}\n[table.columns]\ngone = {{ drop = true }}\n"
            )
        };
        bench.plan(&table(rule));
        if *rule == "default_ttl" && !default_ttl {
            let refused = bench.migrate(&["init"]).run().expect_code(2);
            says(&refused, &["default_time_to_live", "key_only"]);
            continue;
        }
        bench.init();
        let letters: BTreeSet<&str> = cases
            .iter()
            .filter(|case| case.becomes[at] == Becomes::Letter)
            .map(|case| case.id)
            .collect();
        let code = i32::from(!letters.is_empty());
        let line = copied(&bench, code)["t"];
        assert_eq!(
            line,
            ((cases.len() - letters.len()) as u64, letters.len() as u64),
            "{rule}"
        );
        let items = bench.items(rule).await;
        let items: BTreeMap<&str, &Item> = items
            .iter()
            .map(|item| (item["id"].as_s().expect("an S").as_str(), item))
            .collect();
        for case in &cases {
            let what = format!("{} with {rule}", case.id);
            let item = items.get(case.id);
            match case.becomes[at] {
                Becomes::Letter => assert!(item.is_none(), "{what}: it was copied"),
                Becomes::Stays => assert_eq!(expiry(item.expect(&what)), None, "{what}"),
                Becomes::Ends(seconds) => {
                    let at = expiry(item.expect(&what))
                        .unwrap_or_else(|| panic!("{what}: it never expires"));
                    near(at, written + seconds, &what);
                }
            }
        }
        bench.migrate(&["verify"]).run().expect_code(code);
    }
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_row_becomes_case_by_case_without_a_default() {
    case_by_case("cases", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_row_becomes_case_by_case_with_a_default() {
    case_by_case("defaults", true).await;
}
