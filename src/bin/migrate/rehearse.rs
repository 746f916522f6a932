//! `migrate rehearse`: what a rehearsal has left.

use crossfade::error::{Error, Kind, Result};
use crossfade::migration::Dropped;

use crate::Exit;
use crate::args;
use crate::copy::concerns_one_table;
use crate::format;
use crate::progress::Screen;
use crate::stores::OpenStores;

/// What scratch tables are called after the target's own name, where nothing is said.
pub const SUFFIX: &str = "-rehearsal";

/// A suffix has to make another name that the new store takes.
pub fn suffix(text: &str) -> std::result::Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match !text.is_empty() && text.len() <= 32 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 32 of A-Z a-z 0-9 _ . -, such as -rehearsal".to_owned()),
    }
}

pub async fn run(args: &args::Rehearse, screen: &Screen) -> Result<Exit> {
    let args::Rehearse::Drop(args) = args;
    let mut stores = OpenStores::open_new(&args.chosen.plan).await?;
    stores.suffixed(&args.to_suffix)?;
    let mut exit = Exit::Done;
    for migration in stores.migrations(args.chosen.table.as_deref())? {
        let target = &migration.spec.to;
        let mut dropped = "dropped";
        let done = if args.dry_run {
            dropped = "would be dropped";
            migration.scratch().await
        } else {
            migration.drop_scratch().await
        };
        match done {
            Ok(Dropped::Dropped) => format::print(&format!("{target}: {dropped}")),
            Ok(Dropped::Nothing) => format::print(&format!("{target}: isn't there")),
            Err(error) if concerns_one_table(&error) => {
                screen.error(&error);
                exit = Exit::Error;
            }
            Err(error) => return Err(error),
        }
    }
    stores.close().await;
    Ok(exit)
}

/// Beside a rehearsal, flags that mean the migration itself.
pub fn refuse(flag: &str, given: bool) -> Result<()> {
    match given {
        true => Err(Error::new(
            Kind::Config,
            format!("{flag} has no place beside --to-suffix: a rehearsal is always offline, and no part of the migration"),
        )
        .with_help(format!("leave {flag} out"))),
        false => Ok(()),
    }
}

/// Refuses to compare scratch tables that hold a part of their old tables alone.
pub async fn refuse_parts(stores: &OpenStores, table: Option<&str>) -> Result<()> {
    for migration in stores.migrations(table)? {
        let status = migration.status().await?;
        if status.record.is_some() && !status.is_counter && status.share < 1.0 {
            let message = format!(
                "{:.1} % of the table were rehearsed, and a verification would call the rest missing",
                status.share * 100.0
            );
            return Err(Error::new(Kind::Config, message)
                .with_context("table", migration.spec.name.as_str())
                .with_help("run the same `migrate copy --to-suffix` without --sample first"));
        }
    }
    Ok(())
}
