//! `migrate plan new`: a plan for a keyspace, as it is now.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use crossfade::connect;
use crossfade::error::{Error, Kind, Result};
use crossfade::plan::{
    CassandraPlan, DEFAULT_LOCAL_REGION, DynamoDbPlan, Login, NewStorePlan, OldStorePlan, Plan,
    TablePlan, Tls,
};
use crossfade::secret::Secret;
use crossfade::store::{Old, Reads};

use super::draft::{self, Draft};
use crate::Exit;
use crate::args;
use crate::format;

/// Where the password of the old store is looked for, now and by the plan.
const PASSWORD: &str = "CASSANDRA_PASSWORD";
/// Columns of a comment.
const WIDTH: usize = 100;

pub async fn run(args: &args::PlanNew) -> Result<Exit> {
    let plan = plan(args)?;
    let OldStorePlan::Cassandra(cassandra) = &plan.old else {
        return Ok(Exit::Error);
    };
    let store = Arc::new(connect::open_cassandra(cassandra).await?);
    let there = store.tables().await?;
    for name in &args.tables {
        if !there.contains(name) {
            let message = format!("the keyspace has no table `{name}`");
            return Err(Error::new(Kind::Missing, message)
                .with_help(format!("its tables are: {}", there.join(", "))));
        }
    }
    let old = Old(store);
    let mut drafts = Vec::new();
    for name in there {
        if args.tables.is_empty() || args.tables.contains(&name) {
            let mut table = TablePlan::new(&name);
            table.to = format!("{}{name}", prefix(cassandra));
            drafts.push(draft::of(&plan, &old, table).await?);
        }
    }
    old.0.close().await;
    if drafts.is_empty() {
        return Err(Error::new(Kind::Missing, "the keyspace has no table")
            .with_context("keyspace", cassandra.keyspace.as_str()));
    }
    drafts.sort_by_key(|draft| (!draft.is_counter, draft.bytes));
    let text = text(args, &plan, cassandra, &drafts);
    // What is printed is read again first: no plan leaves here that the other commands refuse.
    if drafts.iter().any(|draft| draft.refused.is_empty()) {
        Plan::parse(&text, Path::new("the new plan"), &|name| {
            std::env::var(name).ok()
        })?;
    }
    format::print(text.trim_end());
    let refused = drafts
        .iter()
        .filter(|draft| !draft.refused.is_empty())
        .count();
    eprintln!(
        "{} tables, of which {refused} can't be moved; see the lines with `Decide`, then: migrate check --plan FILE",
        drafts.len()
    );
    Ok(Exit::Done)
}

fn prefix(cassandra: &CassandraPlan) -> String {
    format!("{}-", cassandra.keyspace)
}

/// The stores, without tables.
fn plan(args: &args::PlanNew) -> Result<Plan> {
    let mut cassandra = CassandraPlan::new(args.nodes.clone(), &args.keyspace);
    cassandra.datacenter.clone_from(&args.datacenter);
    cassandra.login = match &args.username {
        None => None,
        Some(username) => {
            let password = std::env::var(PASSWORD).map_err(|_| {
                Error::new(Kind::Config, "--username, but there is no password")
                    .with_help(format!("set the environment variable {PASSWORD}"))
            })?;
            Some(Login {
                username: username.clone(),
                password: Secret::new(password),
            })
        }
    };
    cassandra.tls = args.ca.clone().map(|ca| Tls {
        ca: Some(ca),
        client: None,
    });
    let new = match &args.endpoint {
        Some(endpoint) => DynamoDbPlan::at(endpoint),
        None => DynamoDbPlan::new(region(args)),
    };
    let name = args.name.clone().unwrap_or_else(|| args.keyspace.clone());
    Ok(Plan::new(
        name,
        OldStorePlan::Cassandra(cassandra),
        NewStorePlan::DynamoDb(new),
        Vec::new(),
    ))
}

fn region(args: &args::PlanNew) -> String {
    let region = args.region.clone();
    region
        .or_else(|| std::env::var("AWS_REGION").ok())
        .unwrap_or_else(|| DEFAULT_LOCAL_REGION.to_owned())
}

fn text(args: &args::PlanNew, plan: &Plan, cassandra: &CassandraPlan, drafts: &[Draft]) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let quoted = |value: &str| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    line(&comment(
        "",
        "Made by `migrate plan new` from the keyspace as it was then. It is valid as it is and loses nothing; \
         lines with `Decide` show where you may want something else. docs/plan.md describes every key.",
    ));
    line(&format!("name = {}", quoted(&plan.name)));
    line("");
    line("[old]");
    line("kind = \"cassandra\"");
    let nodes: Vec<String> = cassandra.nodes.iter().map(|node| quoted(node)).collect();
    line(&format!("nodes = [{}]", nodes.join(", ")));
    line(&format!("keyspace = {}", quoted(&cassandra.keyspace)));
    line(&comment(
        "",
        "Decide: where the application writes below a quorum, repair first, or read at \"all\".",
    ));
    line("consistency = \"local_quorum\"");
    if let Some(datacenter) = &cassandra.datacenter {
        line(&format!("datacenter = {}", quoted(datacenter)));
    }
    if let Some(login) = &cassandra.login {
        line(&format!("username = {}", quoted(&login.username)));
        line(&format!("password = \"${{{PASSWORD}}}\""));
    }
    if let Some(ca) = &args.ca {
        line("");
        line("[old.tls]");
        line(&format!("ca = {}", quoted(&ca.to_string_lossy())));
    }
    line("");
    line("[new]");
    line("kind = \"dynamodb\"");
    if args.region.is_none() {
        line("# Decide: the region.");
    }
    line(&format!("region = {}", quoted(&region(args))));
    match &args.endpoint {
        Some(endpoint) => line(&format!("endpoint = {}", quoted(endpoint))),
        None => line("# endpoint = \"http://127.0.0.1:8000\"    # another server than AWS"),
    }
    line("");
    line("# Ceilings, for each process of the tools. Left out = what the stores give.");
    line("# [pace]");
    line("# write_units = 5_000");
    line("# read_rows = 50_000");
    line("");
    line("[defaults]");
    line("# What targets are called before the table's own name.");
    line(&format!("to_prefix = {}", quoted(&prefix(cassandra))));
    line("");
    line("# Tables move in this order: counters first, then the smallest first.");
    for draft in drafts {
        line("");
        line(&table(draft));
    }
    text
}

fn table(draft: &Draft) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(text, "[[table]]");
    let _ = writeln!(text, "name = \"{}\"    # {}", draft.table.name, draft.what);
    for note in &draft.notes {
        let _ = writeln!(text, "{}", comment("", note));
    }
    for (why, key) in &draft.decisions {
        let _ = writeln!(text, "{}\n{key}", comment("", why));
    }
    let text = text.trim_end();
    if draft.refused.is_empty() {
        return text.to_owned();
    }
    let reasons = draft.refused.iter();
    let mut lines = vec![comment("", "Can't be moved, and is left out:")];
    lines.extend(reasons.map(|reason| comment("  ", reason)));
    lines.extend(text.lines().map(|line| match line.starts_with('#') {
        true => line.to_owned(),
        false => format!("# {line}"),
    }));
    lines.join("\n")
}

/// A comment, cut into lines.
fn comment(indent: &str, text: &str) -> String {
    let mut lines = Vec::new();
    let mut line = format!("#{indent}");
    for word in words(text) {
        let is_begun = line.len() > indent.len() + 1;
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, format!("#{indent}")));
        }
        line.push(' ');
        line.push_str(&word);
    }
    lines.push(line);
    lines.join("\n")
}

/// Words, of which what is between backticks is one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => {
                last.push(' ');
                last.push_str(word);
            }
            Some(_) | None => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_cut_between_words() {
        let text = "word ".repeat(40);
        let comment = comment("  ", &text);
        let lines: Vec<&str> = comment.lines().collect();
        assert!(lines.len() == 3, "{comment}");
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= WIDTH && line.starts_with("#   word"))
        );
        assert_eq!(super::comment("", ""), "#");
        assert_eq!(words("a `b = c` d"), ["a", "`b = c`", "d"]);
    }
}
