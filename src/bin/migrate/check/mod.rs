//! `migrate check`: what there is to know before anything moves, and what it will take.

mod ends;
mod gather;
mod json;
mod permits;
mod show;
mod sums;

use std::path::Path;

use crossfade::error::Error;
use crossfade::migration::Portion;

use crate::Exit;
use crate::args;
use crate::format;
use crate::next;
use crate::stores::OpenStores;
use crate::verify::share;

use gather::Checked;
pub use gather::prices;
use permits::PermitAsker;
pub use sums::{money, whose_prices};

pub async fn run(args: &args::Check) -> Result<Exit, Error> {
    let portion = match (&args.sample, args.all) {
        (_, true) => Portion::All,
        (Some(sample), false) => Portion::Share(share(sample)?),
        (None, false) => Portion::Glance,
    };
    let stores = OpenStores::open_anew(&args.chosen.plan).await?;
    let clocks = gather::clocks(&stores).await;
    if !args.json {
        format::print(&format!(
            "old: {}\nnew: {}",
            stores.old_name, stores.new_name
        ));
        stores.read_share().iter().for_each(show::read_share);
    }
    let mut all = Vec::new();
    let mut asker = PermitAsker::default();
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let mut checked = gather::table(&stores, migration, portion).await?;
        let (migration, survey) = (&checked.migration, checked.survey.as_ref());
        checked.permits = asker.table(&stores, migration, survey).await;
        match args.json {
            true => format::print(&json::line(
                &stores,
                &checked,
                asker.control.as_ref(),
                clocks,
            )),
            false => show::table(&stores, &checked),
        }
        all.push(checked);
    }
    let exit = all.iter().map(Checked::exit).max().unwrap_or(Exit::Done);
    if !args.json {
        sums::show(&stores, &all);
        show::clocks(clocks);
        show::permits(asker.control.as_ref(), &all);
        format::print(&verdict(&args.chosen.plan, &all));
    }
    stores.close().await;
    Ok(exit)
}

/// What all of it comes to.
fn verdict(plan: &Path, all: &[Checked]) -> String {
    let tables = all.len();
    let unready: Vec<&Checked> = all.iter().filter(|one| one.exit() != Exit::Done).collect();
    if unready.is_empty() {
        let tables = match tables {
            1 => "the table".to_owned(),
            tables => format!("all {tables} tables"),
        };
        let init = next::command("init", plan, None);
        return format!("\n{tables} can be moved: {init}");
    }
    let ready = tables - unready.len();
    let mut text =
        format!("\n{ready} of {tables} tables can be moved as the plan says; to be decided:");
    for one in unready {
        for decision in one.decisions() {
            text += &format!("\n  {}: {decision}", one.name());
        }
    }
    text
}
