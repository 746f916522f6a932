//! `migrate init`

use crossfade::error::{Error, Kind};
use crossfade::migration::{Init, InitOptions};

use crate::Exit;
use crate::args;
use crate::copy;
use crate::screen::Screen;
use crate::stores::Stores;
use crate::words;

pub async fn run(args: &args::Init, screen: &Screen) -> Result<Exit, Error> {
    let stores = Stores::open(&args.chosen.plan).await?;
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
        .help(format!("its targets are: {}", targets.join(", "))));
    }
    let mut exit = Exit::Done;
    for migration in &migrations {
        let spec = &migration.spec;
        let adopt = args.adopt.as_ref() == Some(&spec.to);
        let options = InitOptions {
            allow_stream: args.allow_stream,
            adopt,
        };
        let done = match migration.init(options).await {
            Ok(Init::Created) => "ready",
            Ok(Init::Repeated) => "was ready already",
            Ok(Init::Adopted) => "taken over as it is",
            // A plan's rules that don't fit a table are of that kind.
            Err(error) if copy::concerns_one_table(&error) || error.kind() == Kind::Config => {
                screen.error(&error);
                exit = Exit::Error;
                continue;
            }
            Err(error) => return Err(error),
        };
        words::print(&format!("{} -> {}: {done}", spec.name, spec.to));
    }
    stores.close().await;
    Ok(exit)
}
