//! `migrate back`

use crossfade::error::Error;
use crossfade::protocol::phase::Transition;

use crate::Exit;
use crate::advance;
use crate::args;
use crate::progress::Screen;

pub async fn run(args: &args::Back, screen: &Screen) -> Result<Exit, Error> {
    advance::moved(Transition::Back, &args.moving, None, None, screen).await
}
