//! `migrate reset`

use crossfade::connect;
use crossfade::error::{Error, Kind};
use crossfade::migration::{Emptying, Migration};

use crate::Exit;
use crate::args;
use crate::consent::Name;
use crate::copy::copier_name;
use crate::format;
use crate::progress::Screen;
use crate::stores::OpenStores;

pub async fn run(args: &args::ResetArgs, screen: &Screen) -> Result<Exit, Error> {
    let stores = OpenStores::open_new(&args.plan).await?;
    for migration in stores.migrations(Some(&args.table))? {
        let question = Name {
            name: &migration.spec.name,
            flag: "--yes-reset",
            given: args.yes_reset.as_deref(),
        };
        if !args.dry_run {
            question.check()?;
        }
        let open_old =
            || -> futures::future::BoxFuture<'_, _> { Box::pin(connect::old(&stores.plan)) };
        let found = migration.reset_forecast(&open_old).await?;
        let what = told(&migration, &found);
        if args.dry_run {
            format::print(&what);
            continue;
        }
        // Who sits at the terminal reads it before typing; a script has to say that it has been read.
        if found.changed > 0 && args.yes_reset.is_some() && !args.delete_changed {
            screen.say(&what);
            return Err(Error::new(
                Kind::Mismatch,
                format!(
                    "{} copied items aren't as their old rows are, so nothing was deleted",
                    format::count(found.changed)
                ),
            )
            .with_context("target", migration.spec.to.as_str())
            .with_help("look at them; add `--delete-changed` to delete them too"));
        }
        question.ask(screen, &what)?;
        let reset = migration
            .reset(&copier_name(), stores.plan.lease.lasts)
            .await?;
        let to = &migration.spec.to;
        format::print(&format!(
            "{to}: {} copied items deleted; phase old",
            format::count(reset.emptied)
        ));
        if reset.left > 0 {
            screen.say(&format!(
                "{} items of {to} were not written by the copier, and are still there",
                format::count(reset.left)
            ));
        }
    }
    stores.close().await;
    Ok(Exit::Done)
}

fn told(migration: &Migration, found: &Emptying) -> String {
    let (name, to) = (&migration.spec.name, &migration.spec.to);
    let mut text = format!(
        "{name} -> {to}: a reset deletes {} copied items, which can't be undone, and leaves {} of others.",
        format::count(found.copied),
        format::count(found.left)
    );
    if found.adopted > 0 {
        text.push_str(&format!(
            " {} of those were there when `init --adopt` took the target over.",
            format::count(found.adopted)
        ));
    }
    if found.changed > 0 {
        text.push_str(&format!(
            "\n  {} of the copied items aren't as their old rows are. They, or the old rows, were changed since \
             they were copied; what they hold would be lost, such as {}",
            format::count(found.changed),
            found.some.join("; ")
        ));
    }
    if let Some(why) = &found.not_compared {
        text.push_str(&format!(
            "\n  Whether copied items were changed can't be told: {why}"
        ));
    }
    text
}
