//! What is asked before something that can't be undone.

use std::io::{BufRead, IsTerminal};

use crossfade::error::{Error, Kind, Result};

use crate::progress::Screen;

/// A question whose answer is a name, or a flag that was given with it.
pub struct Name<'a> {
    /// What has to be typed: the table's.
    pub name: &'a str,
    /// The flag that answers it without a question.
    pub flag: &'static str,
    /// What came with the flag.
    pub given: Option<&'a str>,
}

impl Name<'_> {
    /// Refuses a flag with another name, and a question that can't be asked here: before anything is done.
    pub fn check(&self) -> Result<()> {
        match self.given {
            Some(given) if given == self.name => Ok(()),
            Some(given) => Err(another(given, Kind::Config).with_context("table", self.name)),
            None => check_terminal(&format!("{} {}", self.flag, self.name)),
        }
    }

    /// Says what is about to be done, and asks for the name; with the flag only says it.
    pub fn ask(&self, screen: &Screen, what: &str) -> Result<()> {
        self.check()?;
        screen.say(what);
        if self.given.is_some() {
            return Ok(());
        }
        let typed = answer(screen, &format!("Type `{}` to go on:", self.name))?;
        match typed == self.name {
            true => Ok(()),
            false => Err(another(&typed, Kind::Stopped).with_context("table", self.name)),
        }
    }
}

fn another(typed: &str, kind: Kind) -> Error {
    let message = format!("`{typed}` isn't the table's name, so nothing was done");
    Error::new(kind, message)
}

/// Says what is about to be done, and asks whether to. A no ends the command.
pub fn agreed(screen: &Screen, flag: &str, given: bool, what: &str) -> Result<()> {
    screen.say(what);
    if given {
        return Ok(());
    }
    check_terminal(flag)?;
    let answer = answer(screen, "Go on? [y/N]")?;
    match answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes") {
        true => Ok(()),
        false => Err(
            Error::new(Kind::Stopped, "the answer was no, so that wasn't done")
                .with_help("the same command asks again"),
        ),
    }
}

/// Refuses a question that can't be asked here.
pub fn check_terminal(flag: &str) -> Result<()> {
    match std::io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Config,
            "stdin is not a terminal, so this can't be confirmed",
        )
        .with_help(format!("add `{flag}` to go on without a question"))),
    }
}

/// A line of the one who sits at the terminal.
fn answer(screen: &Screen, question: &str) -> Result<String> {
    screen.say(question);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Error::new(Kind::Config, "the answer can't be read").with_source(error))?;
    Ok(line.trim().to_owned())
}
