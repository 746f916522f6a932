//! `migrate finish`

use crossfade::clock::Clock;
use crossfade::connect;
use crossfade::control::Gone;
use crossfade::error::{Kind, Result};
use crossfade::forecast::PRICES;
use crossfade::migration::{Event, Finished, Migration, MoveOptions};
use crossfade::protocol::Phase;
use crossfade::protocol::phase::Transition;

use crate::Exit;
use crate::advance::{EventPrinter, print_forecast};
use crate::args;
use crate::consent::{Name, agreed, check_terminal};
use crate::copy::copier_name;
use crate::format;
use crate::metrics::{self, Metered};
use crate::next;
use crate::progress::Screen;
use crate::signal;
use crate::stores::OpenStores;

pub async fn run(args: &args::Finish, screen: &Screen) -> Result<Exit> {
    let stores = OpenStores::open_new(&args.plan).await?;
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    metrics::serve(args.metrics, stores.plan.serve.key.as_ref(), screen).await?;
    for migration in stores.migrations(Some(&args.table))? {
        let _metered = Metered::new(args.metrics.is_some(), &migration, || (None, None));
        let questions = Questions::of(args, &migration);
        let options = MoveOptions {
            expect: None,
            gone: Gone::default(),
            clock: Clock::Machine,
            done: Some(migration.spec.name.clone()),
            open_old: &|| Box::pin(connect::old_patiently(&stores.plan)),
        };
        let phase = migration.record().await?.phase;
        if args.dry_run {
            exit = exit.max(forecast(args, &migration, &options, phase).await?);
            continue;
        }
        questions.check(args, phase)?;
        if phase != Phase::Done {
            let what = no_way_back(&migration).await?;
            questions.done.ask(screen, &what)?;
        }
        let again = next::command("advance", &args.plan, Some(&args.table)) + " --to done";
        let mut teller = EventPrinter::new(screen, &migration, again);
        let mut tell = |told: Event<'_>| teller.tell(told);
        migration.enter_done(&options, &stop, &mut tell).await?;
        let lease = stores.plan.lease;
        let purge = async |strip| migration.purge(strip, &copier_name(), lease, &stop).await;
        let mut found = purge(false).await?;
        said(screen, &migration, &found);
        if args.strip && found.marked > 0 {
            agreed(screen, "--yes-strip", args.yes_strip, &cost(&found))?;
            found = purge(true).await?;
            screen.say(&format!(
                "{}: marks and watermarks taken off {} items",
                migration.spec.name,
                format::count(found.stripped)
            ));
        }
        if found.left > 0 {
            screen.say(&kept(&migration, &found));
            exit = Exit::Differences;
            continue;
        }
        expire(screen, &migration).await?;
        screen.say(&format!(
            "{}: nothing of the migration is needed any more; the shim may be taken out of the applications",
            migration.spec.name
        ));
        if args.drop_old || args.yes_drop.is_some() {
            drop_old(&questions.drop, screen, &migration, &stores).await?;
        }
        format::print(&format!("{}: finished", migration.spec.name));
    }
    stores.close().await;
    Ok(exit)
}

/// What is asked on the way, each with the flag that answers it.
struct Questions<'a> {
    done: Name<'a>,
    drop: Name<'a>,
}

impl<'a> Questions<'a> {
    fn of(args: &'a args::Finish, migration: &'a Migration) -> Self {
        let name = |flag, given: &'a Option<String>| Name {
            name: &migration.spec.name,
            flag,
            given: given.as_deref(),
        };
        Questions {
            done: name("--yes-done", &args.yes_done),
            drop: name("--yes-drop", &args.yes_drop),
        }
    }

    /// Refuses what can't be answered later before anything is done. In `done` the first one isn't asked.
    fn check(&self, args: &args::Finish, phase: Phase) -> Result<()> {
        if phase != Phase::Done || self.done.given.is_some() {
            self.done.check()?;
        }
        if args.strip && !args.yes_strip {
            check_terminal("--yes-strip")?;
        }
        if args.drop_old || self.drop.given.is_some() {
            self.drop.check()?;
        }
        Ok(())
    }
}

/// What entering `done` means.
pub async fn no_way_back(migration: &Migration) -> Result<String> {
    let target = migration.inspect_target().await?;
    let items = target.and_then(|target| target.rows);
    let items = items.map_or_else(
        || "an unknown number of items".to_owned(),
        |items| format!("about {} items", format::count(items)),
    );
    Ok(format!(
        "{name} -> {to}: {items}. From `done` there is no way back: nothing reads the old table any more, deleted \
         items leave no trace, and what applications write from then on is in {to} alone.",
        name = migration.spec.name,
        to = migration.spec.to
    ))
}

async fn forecast(
    args: &args::Finish,
    migration: &Migration,
    options: &MoveOptions<'_>,
    phase: Phase,
) -> Result<Exit> {
    let mut exit = Exit::Done;
    let name = &migration.spec.name;
    if phase != Phase::Done {
        let steps = migration
            .forecast(Transition::Forward, Phase::Done, options)
            .await?;
        exit = print_forecast(migration, Phase::Done, &steps);
        format::print(&no_way_back(migration).await?);
        format::print(&format!(
            "{name}: would ask for the table's name: --yes-done {name}"
        ));
    }
    let found = migration.purge_forecast(false).await?;
    format::print(&format!(
        "{name}: {} items looked at; would delete {} tombstones and expired rows; {} items carry marks of the migration",
        format::count(found.items),
        format::count(found.deleted),
        format::count(found.marked)
    ));
    if args.strip && found.marked > 0 {
        format::print(&format!("{name}: {}", cost(&found)));
    }
    if found.left > 0 {
        format::print(&kept(migration, &found));
    }
    if args.drop_old || args.yes_drop.is_some() {
        format::print(&format!(
            "{name}: would drop the old table, if nothing is left"
        ));
    }
    Ok(exit)
}

/// Which items are left, and why.
fn kept(migration: &Migration, found: &Finished) -> String {
    let name = &migration.spec.name;
    let mut text = format!(
        "{name}: {} items couldn't be read or changed:",
        format::count(found.left)
    );
    for one in &found.kept {
        text.push_str(&format!("\n  {}: {}", one.key, one.reason));
    }
    let more = found.left.saturating_sub(found.kept.len() as u64);
    if more > 0 {
        text.push_str(&format!("\n  and {} more", format::count(more)));
    }
    text.push_str(
        "\n  The shim has to stay until they are in order: correct the attributes that are named, then run the same \
         command again",
    );
    text
}

fn said(screen: &Screen, migration: &Migration, found: &Finished) {
    screen.say(&format!(
        "{}: {} items looked at; {} tombstones and expired rows deleted; {} items still carry marks of the \
         migration",
        migration.spec.name,
        format::count(found.items),
        format::count(found.deleted),
        format::count(found.marked)
    ));
}

fn cost(found: &Finished) -> String {
    format!(
        "Taking the marks off {} items writes {} units: about {:.2} dollars on demand in us-east-1",
        format::count(found.marked),
        format::count(found.units),
        found.units as f64 / 1e6 * PRICES.write_units_million
    )
}

async fn expire(screen: &Screen, migration: &Migration) -> Result<()> {
    match migration.switch_expiry_on().await {
        Ok(true) => screen.say(&format!(
            "{}: the new store deletes expired rows by itself from now on",
            migration.spec.name
        )),
        Ok(false) => {}
        Err(error) if error.kind() == Kind::Unsupported => screen.error(&error),
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn drop_old(
    question: &Name<'_>,
    screen: &Screen,
    migration: &Migration,
    stores: &OpenStores,
) -> Result<()> {
    let name = migration.spec.name.as_str();
    let what = format!(
        "{name}: that table in {} is about to be dropped",
        stores.old_name
    );
    question.ask(screen, &what)?;
    let old = connect::old_patiently(&stores.plan).await?;
    let dropped = migration.drop_old(&old).await;
    old.0.close().await;
    dropped?;
    screen.say(&format!("{name}: the old table is dropped"));
    Ok(())
}
