//! Ctrl-C and SIGTERM.

use tokio_util::sync::CancellationToken;

use crate::Exit;
use crate::progress::Screen;

/// The first Ctrl-C (or SIGTERM) stops cleanly, the second at once.
pub fn stop_on_signal(screen: &Screen) -> CancellationToken {
    let stop = CancellationToken::new();
    let (token, screen) = (stop.clone(), screen.clone());
    tokio::spawn(async move {
        wait().await;
        screen.say("stopping: what is under way is finished first; Ctrl-C again stops at once");
        token.cancel();
        wait().await;
        std::process::exit(Exit::Stopped as i32);
    });
    stop
}

/// Ends with the first Ctrl-C or SIGTERM from now on.
pub async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
