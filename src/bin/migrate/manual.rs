//! `migrate completions` and `migrate man`: from the definitions of the arguments, so that they never say otherwise.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use crossfade::error::{Error, Kind, Result};

use crate::Exit;
use crate::args::{self, Args};

/// What completes command lines in a shell.
pub fn completions(args: &args::Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "migrate", &mut script);
    // A reader that has gone away (`| head`) has seen enough.
    let _ = std::io::stdout().write_all(&script);
    Ok(Exit::Done)
}

/// Manual pages, one for each command.
pub fn pages(args: &args::Man) -> Result<Exit> {
    for (name, page) in all(Args::command())? {
        let path = args.dir.join(&name);
        std::fs::write(&path, page).map_err(|error| unwritable(&path, &error))?;
    }
    Ok(Exit::Done)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("can't write {}: {error}", path.display());
    Error::new(Kind::Config, message).with_help("name a folder that is there in --dir")
}

/// The pages' file names, and what is in them.
fn all(command: clap::Command) -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, "migrate", &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let titled = command.clone().display_name(name.to_owned());
    // Neither a date nor a version: they would change pages that say the same.
    let man = clap_mangen::Man::new(titled)
        .date("")
        .source("crossfade")
        .manual("crossfade");
    let mut page = Vec::new();
    man.render(&mut page).map_err(|error| {
        Error::new(Kind::Config, "a manual page can't be made").with_source(error)
    })?;
    pages.push((format!("{name}.1"), page));
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        add(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `CROSSFADE_WRITE_DOCS=1` writes them anew.
    #[test]
    fn the_pages_are_those_of_the_definitions() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
        let pages = all(Args::command()).unwrap();
        if std::env::var_os("CROSSFADE_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            for (name, page) in &pages {
                std::fs::write(folder.join(name), page).unwrap();
            }
        }
        let mut there: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        assert_eq!(
            there, names,
            "CROSSFADE_WRITE_DOCS=1 cargo test --all-features --bin migrate the_pages"
        );
        for (name, page) in pages {
            let written = std::fs::read(folder.join(&name)).unwrap();
            assert!(
                written == page,
                "docs/man/{name} isn't what the arguments say: CROSSFADE_WRITE_DOCS=1"
            );
        }
    }

    #[test]
    fn every_shell_has_completions() {
        for shell in [
            clap_complete::Shell::Bash,
            clap_complete::Shell::Zsh,
            clap_complete::Shell::Fish,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "migrate", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("gone-silent"), "{shell}");
        }
    }
}
