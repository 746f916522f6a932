//! `migrate finish`

use std::io::{BufRead, IsTerminal};

use crossfade::connect;
use crossfade::control::{Clock, Gone};
use crossfade::error::{Error, Kind, Result};
use crossfade::migration::{Finished, Migration, MoveOptions, Told};

use crate::Exit;
use crate::advance::Teller;
use crate::args;
use crate::copy::{self, copier_name};
use crate::screen::Screen;
use crate::stores::Stores;
use crate::words;

/// Dollars for a million write units on demand, in us-east-1.
const MILLION_UNITS: f64 = 0.625;

pub async fn run(args: &args::Finish, screen: &Screen) -> Result<Exit, Error> {
    let stores = Stores::open_new(&args.plan).await?;
    let stop = copy::stop_on_signal(screen);
    let mut exit = Exit::Done;
    for migration in stores.migrations(Some(&args.table))? {
        if let Some(typed) = &args.yes_drop {
            same_name(&migration.spec.name, typed)?;
        }
        let options = MoveOptions {
            expect: None,
            gone: Gone::default(),
            clock: Clock::Machine,
            open_old: &|| Box::pin(connect::old(&stores.plan)),
        };
        let mut teller = Teller::new(screen, &migration);
        let mut tell = |told: Told<'_>| teller.tell(told);
        migration.enter_done(&options, &stop, &mut tell).await?;
        let lease = stores.plan.lease;
        let purge = async |strip| migration.purge(strip, &copier_name(), lease, &stop).await;
        let found = purge(false).await?;
        said(screen, &migration, &found);
        let mut left = found.left;
        if args.strip && found.marked > 0 && may_strip(args, screen, &found)? {
            let stripped = purge(true).await?;
            screen.say(&format!(
                "{}: marks and watermarks taken off {} items",
                migration.spec.name,
                words::count(stripped.stripped)
            ));
            left = stripped.left + stripped.marked;
        }
        if left > 0 {
            screen.say(&format!(
                "{}: {} items couldn't be read or changed. The shim has to stay: mend or delete them, then run \
                 the same command again",
                migration.spec.name,
                words::count(left)
            ));
            exit = Exit::Differences;
            continue;
        }
        expire(screen, &migration).await?;
        screen.say(&format!(
            "{}: nothing of the migration is needed any more; the shim may be taken out of the applications",
            migration.spec.name
        ));
        drop_old(args, screen, &migration, &stores).await?;
        words::print(&format!("{}: finished", migration.spec.name));
    }
    stores.close().await;
    Ok(exit)
}

fn said(screen: &Screen, migration: &Migration, found: &Finished) {
    screen.say(&format!(
        "{}: {} items looked at; {} tombstones and expired rows deleted; {} items still carry marks of the \
         migration",
        migration.spec.name,
        words::count(found.items),
        words::count(found.deleted),
        words::count(found.marked)
    ));
}

/// Says what stripping costs, and asks.
fn may_strip(args: &args::Finish, screen: &Screen, found: &Finished) -> Result<bool> {
    screen.say(&format!(
        "Taking the marks off {} items writes {} units: about {:.2} dollars on demand in us-east-1",
        words::count(found.marked),
        words::count(found.units),
        found.units as f64 / 1e6 * MILLION_UNITS
    ));
    if args.yes_strip {
        return Ok(true);
    }
    let answer = ask(screen, "Go on? [y/N]", "--yes-strip")?;
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
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
    args: &args::Finish,
    screen: &Screen,
    migration: &Migration,
    stores: &Stores,
) -> Result<()> {
    let name = migration.spec.name.as_str();
    let typed = match &args.yes_drop {
        Some(typed) => typed.clone(),
        None if !args.drop_old => return Ok(()),
        None => {
            let question = format!("Type `{name}` to drop that table in {}:", stores.old_name);
            ask(screen, &question, "--yes-drop NAME")?
        }
    };
    same_name(name, &typed)?;
    let old = connect::old(&stores.plan).await?;
    let dropped = migration.drop_old(&old).await;
    old.0.close().await;
    dropped?;
    screen.say(&format!("{name}: the old table is dropped"));
    Ok(())
}

fn same_name(name: &str, typed: &str) -> Result<()> {
    if typed == name {
        return Ok(());
    }
    let message = format!("`{typed}` isn't the table's name, so nothing was dropped");
    Err(Error::new(Kind::Config, message).at("table", name))
}

/// A line of the one who sits at the terminal.
fn ask(screen: &Screen, question: &str, flag: &str) -> Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::new(Kind::Config, "there is nobody to ask")
            .help(format!("add {flag} to go on without a question")));
    }
    screen.say(question);
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    read.map_err(|error| Error::new(Kind::Config, "the answer can't be read").source_of(error))?;
    Ok(line.trim().to_owned())
}
