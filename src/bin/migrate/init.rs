//! `migrate init`

use crossfade::error::{Error, Kind};
use crossfade::migration::{Init, InitOptions};

use crate::Exit;
use crate::args;
use crate::stores::Stores;

pub async fn run(args: &args::Init) -> Result<Exit, Error> {
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
    for migration in &migrations {
        let spec = &migration.spec;
        let adopt = args.adopt.as_ref() == Some(&spec.to);
        let options = InitOptions {
            allow_stream: args.allow_stream,
            adopt,
        };
        let done = match migration.init(options).await? {
            Init::Created => "ready",
            Init::Repeated => "was ready already",
            Init::Adopted => "taken over as it is",
        };
        println!("{} -> {}: {done}", spec.name, spec.to);
    }
    stores.close().await;
    Ok(Exit::Done)
}
