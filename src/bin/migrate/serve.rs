//! `migrate serve`

use crossfade::error::{Error, Kind};
use crossfade::{Plan, connect, serve};
use tokio::net::TcpListener;

use crate::Exit;
use crate::args;
use crate::copy;
use crate::format;
use crate::progress::Screen;

pub async fn run(args: &args::Serve, screen: &Screen) -> Result<Exit, Error> {
    let plan = Plan::load(&args.plan)?;
    let listen = args.listen.unwrap_or(plan.serve.listen);
    if !listen.ip().is_loopback() && plan.serve.key.is_none() {
        return Err(Error::new(
            Kind::Config,
            "anything that reaches this address would have the sidecar's rights",
        )
        .at("--listen", listen.to_string())
        .help("listen on 127.0.0.1, or give clients a key with `access_key` and `secret_key` in [serve]"));
    }
    let name = format!("serve on {}", copy::copier_name());
    let (shim, settings) = connect::sidecar(&plan, name, &args.tables, listen).await?;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::new(Kind::Config, format!("it can't listen there: {error}"))
            .at("listen", listen.to_string())
            .help("choose another address with --listen, or [serve] listen in the plan")
    })?;
    let address = listener.local_addr().unwrap_or(listen);
    let tables: Vec<&str> = shim.tables().map(crossfade::Table::target).collect();
    format::print(&format!(
        "serving {} at http://{address}",
        tables.join(", ")
    ));
    let screen = screen.clone();
    let stop = async move {
        copy::signal().await;
        screen.say("stopping: what is under way is finished first; Ctrl-C again stops at once");
        tokio::spawn(async {
            copy::signal().await;
            std::process::exit(Exit::Stopped as i32);
        });
    };
    serve::serve(shim, settings, listener, stop).await?;
    Ok(Exit::Done)
}
