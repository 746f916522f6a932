//! Everything that is wrong with a plan, at once.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Kind};

/// One thing that is wrong with a plan. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The plan's file.
    pub file: PathBuf,
    /// The line, from 1; `None` if the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a plan, by line. At least one.
///
/// `Display` is one line each: `file:line: what is wrong (what to write instead)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

impl From<PlanErrors> for Error {
    /// One error whose message keeps all the lines.
    fn from(errors: PlanErrors) -> Self {
        let mut lines = errors.0.iter().map(PlanError::to_string);
        let first = Error::new(Kind::Config, lines.next().unwrap_or_default());
        lines.fold(first, Error::with_line)
    }
}
