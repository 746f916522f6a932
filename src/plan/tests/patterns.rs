//! `[defaults]`, and names that stand for several tables.

use super::*;
use crate::transform::{ExpiryFrom, KeyOnly};

const MANY: &str = r#"name = "bgt"
[old]
kind = "cassandra"
nodes = ["127.0.0.1"]
keyspace = "bgt"
[new]
kind = "dynamodb"
region = "us-east-1"
[defaults]
to_prefix = "bgt-"
expiry = { attribute = "expires_at", from = "max" }
key_only = "cells"
ignore = ["indexes", "views"]
fence = { role = "app" }
[[table]]
name = "votes"
expiry = false
key_only = "reject"
fence = false
final_read = "quorum"
[[table]]
name = "*"
except = ["schema_*", "jobs"]
[[table]]
name = "users"
to = "people"
ignore = []
"#;

fn names(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn expanded(text: &str, words: &[&str]) -> Plan {
    parsed(text)
        .expand(&names(words), Names::OfStore)
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn mistakes(text: &str, words: &[&str]) -> String {
    match parsed(text).expand(&names(words), Names::OfStore) {
        Ok(plan) => panic!("this must not hold: {plan:?}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_pattern_stands_for_what_isnt_named_in_its_place() {
    let plan = parsed(MANY);
    assert_eq!((plan.tables.len(), plan.patterns.len()), (2, 1));
    let store = [
        "visits",
        "jobs",
        "schema_log",
        "users",
        "users_by_mail",
        "votes",
    ];
    let plan = expanded(MANY, &store);
    let targets: Vec<(&str, &str, usize)> = plan
        .tables
        .iter()
        .map(|table| (table.name.as_str(), table.to.as_str(), table.line))
        .collect();
    assert_eq!(
        targets,
        [
            ("votes", "bgt-votes", 15),
            ("visits", "bgt-visits", 21),
            ("users_by_mail", "bgt-users_by_mail", 21),
            ("users", "people", 24),
        ]
    );
    assert!(plan.patterns.is_empty());
    // Names that were written down may lack what is left out, and a table of each pattern.
    let noted = parsed(MANY).expand(&names(&["visits"]), Names::Noted);
    assert_eq!(noted.unwrap().tables.len(), 3);
    let noted = parsed(MANY).expand(&[], Names::Noted);
    assert_eq!(noted.unwrap().tables.len(), 2);
}

#[test]
fn a_table_has_the_defaults_unless_it_says_otherwise() {
    let plan = expanded(MANY, &["visits", "jobs", "schema_log"]);
    let [votes, visits, users] = plan.tables.as_slice() else {
        panic!("{plan:?}")
    };
    for table in [visits, users] {
        let expiry = table.expiry.as_ref().unwrap();
        assert_eq!(
            (expiry.attribute.as_str(), expiry.from),
            ("expires_at", ExpiryFrom::Max)
        );
        assert_eq!(table.key_only, Some(KeyOnly::Cells));
        assert_eq!(table.fence.as_deref(), Some("app"));
        assert_eq!(table.final_read, FinalRead::All);
    }
    assert!(votes.expiry.is_none() && votes.fence.is_none());
    assert_eq!(votes.key_only, Some(KeyOnly::Reject));
    assert_eq!(votes.final_read, FinalRead::Quorum);
    assert_eq!(visits.ignore, [Ignore::Indexes, Ignore::Views].into());
    assert!(users.ignore.is_empty());
}

#[test]
fn of_two_patterns_the_first_takes_a_table() {
    let text = with(
        "name = \"users\"",
        "name = \"ts_*\"\nto_prefix = \"a-\"\n[[table]]\nname = \"*\"\nto_prefix = \"b-\"",
    );
    let plan = expanded(&text, &["users", "ts_kv", "ts_log"]);
    let targets: Vec<&str> = plan.tables.iter().map(|t| t.to.as_str()).collect();
    assert_eq!(targets, ["a-ts_kv", "a-ts_log", "b-users"]);
}

#[test]
fn what_a_pattern_cant_say_is_pointed_at() {
    let text = with(
        "name = \"users\"",
        "name = \"ts_*\"\nto = \"people\"\nexcept = [\"users\"]\ncolumns = { a = { drop = true } }\n\
         [[table]]\nname = \"users\"\nexcept = [\"x\"]\nto = \"people\"\nto_prefix = \"p-\"",
    );
    let text = text.replace(
        "[[table]]\nname = \"ts_*\"",
        "[defaults]\nkey_only = \"cells\"\nwhere = 5\nto = \"x\"\n[[table]]\nname = \"ts_*\"",
    );
    assert_eq!(
        errors(&text),
        "cf.toml:10: `key_only` lets rows end, but the table has no `expiry` (add expiry = { attribute = \"expires_at\", from = \"max\" }, or write key_only = \"keep\")
cf.toml:11: `defaults.where` isn't built yet (leave it out: tables are moved whole)
cf.toml:12: unknown key `to` in [defaults] (known here: oversize, attributes, ignore, key_only, to_prefix, expiry, decrements, exactly_once, final_read, reserved_prefix, fence, capacity, warm)
cf.toml:15: `ts_*` is many tables, which can't all move to one (write to_prefix = \"…\", or leave it out)
cf.toml:16: `users` is none of `ts_*` anyway (leave it out)
cf.toml:17: `ts_*` is many tables, and columns are those of one (write a [[table]] with its name for each table whose columns change)
cf.toml:20: `except` goes with a name that is a pattern (write name = \"*\", or leave it out)
cf.toml:22: the table has both `to` and `to_prefix` (keep one of them)"
    );
}

#[test]
fn a_pattern_of_nothing_is_pointed_at() {
    assert_eq!(
        mistakes(MANY, &["votes", "users", "job"]),
        "cf.toml:23: no table is called `schema_*` (the old store has votes, users, job)\n\
         cf.toml:23: no table is called `jobs` (the old store has votes, users, job)"
    );
    let text = with("name = \"users\"", "name = \"ts_*\"");
    assert_eq!(
        mistakes(&text, &[]),
        "cf.toml:10: no table is called `ts_*` (the old store has no table)"
    );
    let both = with(
        "name = \"users\"",
        "name = \"*\"\n[[table]]\nname = \"ts_*\"",
    );
    assert_eq!(
        mistakes(&both, &["ts_kv"]),
        "cf.toml:12: no table is left for `ts_*` (all of them are named, taken by a pattern before it, or left out: \
         leave this one out)"
    );
}

#[test]
fn targets_of_a_pattern_are_looked_at_like_others() {
    let text = with("name = \"users\"", "name = \"*\"")
        .replace("region", "control_table = \"control\"\nregion");
    assert_eq!(
        mistakes(&text, &["ab", "control"]),
        "cf.toml:10: `ab` can't be the name of a table in DynamoDB (write to = \"…\", 3 to 255 of A-Z a-z 0-9 _ . -)\n\
         cf.toml:10: `control` is the control table (write another to, or another control_table in [new])"
    );
    let text = with(
        "name = \"users\"",
        "name = \"users\"\nto = \"bgt-mail\"\n[[table]]\nname = \"*\"\nto_prefix = \"bgt-\"",
    );
    assert!(
        mistakes(&text, &["mail"])
            .contains("cf.toml:12: two tables move to `bgt-mail`, first in line 9"),
        "{}",
        mistakes(&text, &["mail"])
    );
}
