//! `migrate init`

use crossfade::error::{Error, Kind};
use crossfade::migration::{Init, InitOptions, Migration, Regain};
use crossfade::protocol::Phase;
use crossfade::store::Finding;

use crate::Exit;
use crate::args;
use crate::consent::Name;
use crate::copy;
use crate::format;
use crate::progress::Screen;
use crate::stores::OpenStores;

pub async fn run(args: &args::InitArgs, screen: &Screen) -> Result<Exit, Error> {
    let mut stores = OpenStores::open_anew(&args.chosen.plan).await?;
    if args.dry_run {
        let exit = dry(&stores, args, screen).await;
        stores.close().await;
        return exit;
    }
    stores.note_patterns().await?;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    adoptable(args, &migrations)?;
    let mut exit = Exit::Done;
    for migration in &migrations {
        let spec = &migration.spec;
        let mut options = options(args, &stores, migration);
        if let Some(regain) = &mut options.regain
            && regain.phase == Phase::Done
        {
            regain.done = may_be_done(args, migration, screen)?;
        }
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

/// What the arguments say of one table. That `done` is meant is for its name to say.
fn options(args: &args::InitArgs, stores: &OpenStores, migration: &Migration) -> InitOptions {
    let adopt = args.adopt.as_ref() == Some(&migration.spec.to);
    let regain = args.phase.filter(|_| adopt).map(|phase| Regain {
        phase,
        lease: stores.plan.lease,
        never_done: args.never_done,
        done: false,
    });
    InitOptions {
        allow_stream: args.allow_stream,
        adopt,
        regain,
    }
}

/// Refuses a target that isn't the plan's.
fn adoptable(args: &args::InitArgs, migrations: &[Migration]) -> Result<(), Error> {
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
    Ok(())
}

/// Says what would be made, and what is against it.
async fn dry(stores: &OpenStores, args: &args::InitArgs, screen: &Screen) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    let migrations = stores.migrations(args.chosen.table.as_deref())?;
    adoptable(args, &migrations)?;
    for migration in &migrations {
        let spec = &migration.spec;
        let would = match args.adopt.as_ref() == Some(&spec.to) {
            true => would_adopt(migration, options(args, stores, migration)).await,
            false => would_make(migration).await.map(str::to_owned),
        };
        let what = match would {
            Ok(what) => what,
            Err(error) if copy::concerns_one_table(&error) || error.kind() == Kind::Config => {
                screen.error(&error);
                exit = Exit::Error;
                continue;
            }
            Err(error) => return Err(error),
        };
        format::print(&format!("{} -> {}: {what}", spec.name, spec.to));
    }
    Ok(exit)
}

async fn would_adopt(migration: &Migration, mut options: InitOptions) -> Result<String, Error> {
    let mut asks = "";
    if let Some(regain) = &mut options.regain
        && regain.phase == Phase::Done
    {
        regain.done = true;
        asks = ", once the table's name is typed";
    }
    let phase = options.regain.map_or(Phase::Old, |regain| regain.phase);
    Ok(match migration.would_adopt(options).await? {
        Init::Created => "would be made, with its control record".to_owned(),
        Init::Repeated => "is ready already".to_owned(),
        Init::Adopted(0) => "would be taken over as it is".to_owned(),
        Init::Adopted(items) => format!(
            "would be taken over as it is, with {} items; old rows with their keys wouldn't be copied",
            format::count(items)
        ),
        Init::Regained(marks) => {
            format!("would be taken over in `{phase}`{asks}: {}", marks.told())
        }
    })
}

async fn would_make(migration: &Migration) -> Result<&'static str, Error> {
    let survey = migration.survey().await?;
    let target = migration.check_target(&survey).await?;
    let refused = |findings: &[Finding]| {
        let refusals = migration.refusals(findings);
        refusals.first().map(|finding| {
            Error::new(Kind::Unsupported, finding.message.clone())
                .with_context("table", migration.spec.name.as_str())
                .with_help(finding.next_step(true))
        })
    };
    if let Some(error) = refused(&survey.old.findings) {
        return Err(error);
    }
    match (&target, migration.phase().await?) {
        (None, _) => Ok("would be made, with its control record"),
        (Some(target), phase) => match (refused(&target.findings), phase) {
            (Some(error), _) => Err(error),
            (None, Some(_)) => Ok("is ready already"),
            (None, None) => Ok("is there; its control record would be made"),
        },
    }
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
