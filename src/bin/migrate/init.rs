//! `migrate init`

use crossfade::error::{Error, Kind};
use crossfade::migration::{Init, InitOptions, Migration, Regain};
use crossfade::protocol::Phase;

use crate::Exit;
use crate::args;
use crate::consent::Name;
use crate::copy;
use crate::format;
use crate::progress::Screen;
use crate::stores::OpenStores;

pub async fn run(args: &args::InitArgs, screen: &Screen) -> Result<Exit, Error> {
    let mut stores = OpenStores::open_anew(&args.chosen.plan).await?;
    stores.note_patterns().await?;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    if let Some(target) = &args.adopt
        && !migrations
            .iter()
            .any(|migration| migration.spec.to == *target)
    {
        let targets: Vec<&str> = migrations.iter().map(|m| m.spec.to.as_str()).collect();
        return Err(Error::new(
            Kind::Config,
            format!("--adopt {target}: the plan has no such target"),
        )
        .with_help(format!("its targets are: {}", targets.join(", "))));
    }
    let mut exit = Exit::Done;
    for migration in &migrations {
        let spec = &migration.spec;
        let adopt = args.adopt.as_ref() == Some(&spec.to);
        let regain = match args.phase.filter(|_| adopt) {
            Some(phase) => Some(Regain {
                phase,
                lease: stores.plan.lease,
                never_done: args.never_done,
                done: phase == Phase::Done && may_be_done(args, migration, screen)?,
            }),
            None => None,
        };
        let options = InitOptions {
            allow_stream: args.allow_stream,
            adopt,
            regain,
        };
        let done = match migration.init(options).await {
            Ok(Init::Created) => "ready".to_owned(),
            Ok(Init::Repeated) => "was ready already".to_owned(),
            Ok(Init::Adopted(0)) => "taken over as it is".to_owned(),
            Ok(Init::Adopted(items)) => format!(
                "taken over as it is, with {} items; old rows with their keys aren't copied",
                format::count(items)
            ),
            Ok(Init::Regained(marks)) => format!("taken over: {}", marks.told()),
            // A plan's rules that don't fit a table are of that kind.
            Err(error) if copy::concerns_one_table(&error) || error.kind() == Kind::Config => {
                screen.error(&error);
                exit = Exit::Error;
                continue;
            }
            Err(error) => return Err(error),
        };
        format::print(&format!("{} -> {}: {done}", spec.name, spec.to));
    }
    stores.close().await;
    Ok(exit)
}

/// Asks for the table's name: from `done` there is no way back.
fn may_be_done(
    args: &args::InitArgs,
    migration: &Migration,
    screen: &Screen,
) -> Result<bool, Error> {
    let name = Name {
        name: &migration.spec.name,
        flag: "--yes-done",
        given: args.yes_done.as_deref(),
    };
    let what = format!(
        "{}: in `done` nothing reads the old table, and there is no way back",
        migration.spec.name
    );
    name.ask(screen, &what).map(|()| true)
}
