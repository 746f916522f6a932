//! `migrate plan`: makes and checks plans.

mod draft;
mod new;
mod reserved;

use std::path::Path;

use crossfade::error::Error;
use crossfade::plan::schema;

use crate::Exit;
use crate::args;
use crate::format;
use crate::next;
use crate::pointed;

pub async fn run(args: &args::PlanCommand) -> Result<Exit, Error> {
    match args {
        args::PlanCommand::New(args) => new::run(args).await,
        args::PlanCommand::Check(args) => check(&args.plan),
        args::PlanCommand::Schema => {
            let schema = schema::json_schema();
            // Nothing in it has keys that aren't text, the one thing JSON can't have.
            format::print(&serde_json::to_string_pretty(&schema).unwrap_or_default());
            Ok(Exit::Done)
        }
    }
}

/// Reads a plan and asks no store.
fn check(file: &Path) -> Result<Exit, Error> {
    let plan = pointed::load(file)?;
    let shown = file.display();
    let mut parts = Vec::new();
    match plan.tables.len() {
        0 => {}
        1 => parts.push("1 table".to_owned()),
        tables => parts.push(format!("{tables} tables")),
    }
    parts.extend(
        plan.patterns
            .iter()
            .map(|pattern| format!("all that match `{}`", pattern.pattern())),
    );
    format::print(&format!(
        "{shown}: no mistake in it: {}. Whether it fits the stores: {}",
        parts.join(", "),
        next::command("check", file, None)
    ));
    Ok(Exit::Done)
}
