//! A plan's mistakes, with the words of the plan that are meant.

use std::path::Path;

use crossfade::Plan;
use crossfade::error::{Error, Kind, Result};
use crossfade::plan::{PlanError, PlanErrors};

/// Reads a plan. What is wrong with it is shown where it stands.
pub fn load(file: &Path) -> Result<Plan> {
    Plan::load(file).map_err(|errors| pointing(errors, file))
}

/// The same as one error, each line of the plan below what is said of it.
pub fn pointing(errors: PlanErrors, file: &Path) -> Error {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = Vec::new();
    for error in &errors.0 {
        shown.push(error.to_string());
        let line = error.line.and_then(|line| lines.get(line - 1));
        shown.extend(
            line.into_iter()
                .flat_map(|line| excerpt(error, line).into_iter().flatten()),
        );
    }
    let mut shown = shown.into_iter();
    let first = Error::new(Kind::Config, shown.next().unwrap_or_default());
    shown.fold(first, Error::with_line)
}

/// The line, and a mark below the word that is meant; nothing of a secret.
fn excerpt(error: &PlanError, line: &str) -> Option<[String; 2]> {
    let number = error.line?.to_string();
    let line = line.trim_end();
    if line.trim().is_empty() {
        return None;
    }
    let shown = without_value(error, line);
    let begins = shown.len() - shown.trim_start().len();
    let (at, length) = meant(error, &shown).unwrap_or((begins, shown.trim_start().len()));
    let before = shown.get(..at)?.chars().count();
    let length = shown.get(at..at + length)?.chars().count();
    let margin = " ".repeat(number.len());
    Some([
        format!("  {number} | {shown}"),
        format!(
            "  {margin} | {}{}",
            " ".repeat(before),
            "^".repeat(length.max(1))
        ),
    ])
}

/// The words that the message has between quotes or backticks. A value is nearer to what is wrong than its key.
fn words(error: &PlanError) -> impl Iterator<Item = &str> {
    let quoted = |mark: char| error.message.split(mark).skip(1).step_by(2);
    let keys: Vec<&str> = quoted('`').collect();
    let words = quoted('"').chain(keys.into_iter().rev());
    words.filter(|word| !word.is_empty())
}

/// Where the first of them stands that is in the line too.
fn meant(error: &PlanError, line: &str) -> Option<(usize, usize)> {
    words(error).find_map(|word| line.find(word).map(|at| (at, word.len())))
}

/// The line, with dots in place of a value that the message doesn't show itself: it may be a secret, under its own key
/// or a misspelt one.
fn without_value(error: &PlanError, line: &str) -> String {
    let header = line.trim_start();
    if header.starts_with('[') && !header.contains('=') {
        return line.to_owned();
    }
    match line.split_once('=') {
        Some((key, value)) => {
            match words(error).any(|word| value.trim().trim_matches(['"', '\'']) == word) {
                true => line.to_owned(),
                false => format!("{key}= …"),
            }
        }
        // A part of a value that goes over several lines.
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: usize, message: &str, text: &str) -> String {
        let error = PlanError {
            file: "cf.toml".into(),
            line: Some(line),
            message: message.into(),
            hint: String::new(),
        };
        excerpt(&error, text).map_or_else(String::new, |lines| lines.join("\n"))
    }

    #[test]
    fn the_word_that_is_meant_is_marked() {
        assert_eq!(
            shown(8, "unknown key `regoin` in [new]", "regoin = \"us-east-1\""),
            "  8 | regoin = …\n    | ^^^^^^"
        );
        assert_eq!(
            shown(12, "`kind` can't be \"casandra\"", "  kind = \"casandra\""),
            "  12 |   kind = \"casandra\"\n     |           ^^^^^^^^"
        );
        assert_eq!(
            shown(3, "`keyspace` is missing in [old]", "[old]"),
            "  3 | [old]\n    | ^^^^^"
        );
        assert_eq!(shown(1, "anything", ""), "");
    }

    #[test]
    fn no_secret_is_shown() {
        let messages = [
            "`password`: a `${` isn't closed",
            "unknown key `pasword`",
            "this isn't valid TOML: `]`",
        ];
        for line in [
            "password = \"hunter2\"",
            "  secret_key=\"hunter2\"",
            "key = 'hunter2'",
            "old = { username = \"a\", password = \"hunter2\" }",
            "mask.key = \"hunter2\"",
            "hunter2\"\"\"",
            "pasword = hunter2",
            "nodes = [\"app:hunter2@host\"]",
            "\"password\" = \"hunter2\"",
        ] {
            for message in messages {
                let shown = shown(4, message, line);
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
    }
}
