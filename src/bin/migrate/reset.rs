//! `migrate reset`

use crossfade::error::Error;

use crate::Exit;
use crate::args;
use crate::copy::copier_name;
use crate::stores::Stores;
use crate::words;

pub async fn run(args: &args::Reset) -> Result<Exit, Error> {
    let stores = Stores::open_new(&args.plan).await?;
    for migration in stores.migrations(Some(&args.table))? {
        let (name, lease) = (copier_name(), stores.plan.lease.lasts);
        let reset = migration.reset(&name, lease).await?;
        let to = &migration.spec.to;
        words::print(&format!(
            "{to}: {} copied items deleted; phase old",
            words::count(reset.emptied)
        ));
        if reset.left > 0 {
            eprintln!(
                "{} items of {to} were not written by the copier, and are still there",
                words::count(reset.left)
            );
        }
    }
    stores.close().await;
    Ok(Exit::Done)
}
