//! Counter tables through the real command, on the real servers. Totals are read with the plain
//! Cassandra driver and the plain AWS SDK: nothing here that judges a fold is code of the copier.

mod crowd;
mod endpoint;
mod folding;
mod going_down;
mod last_pass;
mod resetting;
mod stopping;
mod waiting;
mod wire;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue as A;
use scylla::value::CqlValue;
use serde_json::Value as Json;

use crate::command::items::attribute;
use crate::command::{Bench, Item, Row, number};
use crate::support::Outcome;

/// A counter table: its key columns and its counters.
struct Counters {
    table: &'static str,
    keys: &'static [&'static str],
    columns: &'static [&'static str],
}

/// One counter to a key of text.
const VOTES: Counters = Counters {
    table: "votes",
    keys: &["id"],
    columns: &["n"],
};

const VOTES_PLAN: &str = "[[table]]\nname = \"votes\"\nto = \"@-votes\"\n";

/// Totals by key, one for each column; `None` where there is none.
type Totals = BTreeMap<String, Vec<Option<i64>>>;

/// What a copy counted of counters.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    read: u64,
    folded: u64,
    unchanged: u64,
    settled: u64,
    went_down: u64,
    failed: u64,
}

impl Counted {
    /// Of the line of the only table.
    #[track_caller]
    fn of(outcome: &Outcome) -> Self {
        let lines: Vec<Json> = outcome.json();
        assert_eq!(lines.len(), 1, "{outcome}");
        let field = |name: &str| number(&lines[0], name);
        Counted {
            read: field("read"),
            folded: field("folded"),
            unchanged: field("unchanged"),
            settled: field("settled"),
            went_down: field("went_down"),
            failed: field("failed"),
        }
    }
}

/// Runs `copy --json` with further arguments, to an exit code.
#[track_caller]
fn copy(bench: &Bench, arguments: &[&str], code: i32) -> Counted {
    let arguments: Vec<&str> = ["copy", "--json"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    Counted::of(&bench.migrate(&arguments).run().expect_code(code))
}

/// Makes the table of [`VOTES`], with so many counters: `v0` has 0, `v1` has 1, and so on.
async fn fill_votes(bench: &Bench, counters: usize) {
    bench
        .cql("CREATE TABLE votes (id text PRIMARY KEY, n counter)")
        .await;
    let rows = (0..counters).map(|n| (scylla::value::Counter(n as i64), format!("v{n}")));
    bench
        .fill("UPDATE votes SET n = n + ? WHERE id = ?", rows)
        .await;
}

/// Adds to one of [`VOTES`].
async fn vote(bench: &Bench, n: usize, by: i64) {
    let change = format!("UPDATE votes SET n = n + {by} WHERE id = 'v{n}'");
    bench.cql(&change).await;
}

impl Counters {
    fn key_of_row(&self, row: &Row) -> String {
        let part = |name: &&str| attribute(row[*name].as_ref().expect("a key column"));
        format!("{:?}", self.keys.iter().map(part).collect::<Vec<_>>())
    }

    fn key_of_item(&self, item: &Item) -> String {
        let part = |name: &&str| {
            item.get(*name)
                .unwrap_or_else(|| panic!("no {name}: {item:?}"))
        };
        format!("{:?}", self.keys.iter().map(part).collect::<Vec<_>>())
    }

    /// What Cassandra has, rows without any total left out.
    async fn in_cassandra(&self, bench: &Bench) -> Totals {
        let mut totals = Totals::new();
        for row in bench.rows(self.table).await {
            let total = |name: &&str| match &row[*name] {
                Some(CqlValue::Counter(total)) => Some(total.0),
                None => None,
                other => panic!("{name} isn't a counter: {other:?}"),
            };
            let all: Vec<Option<i64>> = self.columns.iter().map(total).collect();
            if all.iter().any(Option::is_some) {
                totals.insert(self.key_of_row(&row), all);
            }
        }
        totals
    }

    /// What items have, by the attributes with this prefix: none for values, `_w_` for watermarks.
    fn in_items(&self, items: &[Item], prefix: &str) -> Totals {
        let mut totals = Totals::new();
        for item in items {
            let total = |name: &&str| number_of(item, &format!("{prefix}{name}"));
            let all = self.columns.iter().map(total).collect();
            let twice = totals.insert(self.key_of_item(item), all);
            assert!(twice.is_none(), "one key twice: {item:?}");
        }
        totals
    }

    /// Fails unless every total, and every watermark, is Cassandra's, and gives their number.
    async fn assert_equal(&self, bench: &Bench) -> usize {
        let (old, items) = (
            self.in_cassandra(bench).await,
            bench.items(self.table).await,
        );
        assert_same(&old, &self.in_items(&items, ""), "total");
        assert_same(&old, &self.in_items(&items, "_w_"), "watermark");
        old.len()
    }

    /// The item with this value of its first key column.
    async fn item(&self, bench: &Bench, id: &str) -> Option<Item> {
        let id = A::S(id.to_owned());
        let mut items = bench.items(self.table).await;
        let at = items.iter().position(|item| item[self.keys[0]] == id)?;
        Some(items.swap_remove(at))
    }
}

#[track_caller]
fn assert_same(old: &Totals, new: &Totals, what: &str) {
    let wrong: Vec<String> = old
        .keys()
        .chain(new.keys())
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| format!("{key}: {:?} became {:?}", old.get(key), new.get(key)))
        .collect();
    let few = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        wrong.is_empty(),
        "{} with a wrong {what}:\n{few}",
        wrong.len()
    );
}

/// A number of an item.
fn number_of(item: &Item, attribute: &str) -> Option<i64> {
    let value = item.get(attribute)?;
    Some(value.as_n().expect("an N").parse().expect("an integer"))
}

/// What an application does that counts in the new store already.
async fn add_in_new(bench: &Bench, counters: &Counters, id: &str, column: &str, by: i64) {
    bench
        .dynamo
        .update_item()
        .table_name(bench.target(counters.table))
        .key(counters.keys[0], A::S(id.to_owned()))
        .update_expression("ADD #c :by SET #m = :a")
        .expression_attribute_names("#c", column)
        .expression_attribute_names("#m", "_m")
        .expression_attribute_values(":by", A::N(by.to_string()))
        .expression_attribute_values(":a", A::S("a".into()))
        .send()
        .await
        .expect("added");
}
