//! What went wrong, where, what to do next, and whether it may have happened all the same.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::visible::visible;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the one who has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The store can't be reached, or a connection broke. Waiting helps.
    Unreachable,
    /// The store didn't answer in time. Waiting may help.
    Timeout,
    /// The store asks for less. Waiting helps.
    Throttled,
    /// The store is busy with a change of the same item, or failed inside. Trying again helps.
    Transient,
    /// This range can't be read as a whole (tombstones, too much data, a timeout of the
    /// replicas): a smaller one may be.
    RangeTooCostly,
    /// The store refused these very data, and always will.
    Invalid,
    /// Permission is missing, or the credentials are wrong.
    Denied,
    /// A table, keyspace or item that has to be there isn't.
    Missing,
    /// Something is there, but belongs to another plan, mapping, table or schema.
    Mismatch,
    /// The store can't do this, or the server is one this crate doesn't work with.
    Unsupported,
    /// The plan, a flag or an environment variable is wrong.
    Config,
    /// Bytes read back aren't what was written.
    Corrupt,
    /// Stopped on request; starting again goes on from here.
    Stopped,
    /// Anything that wasn't recognised.
    Unknown,
}

impl Kind {
    /// Whether the same call may succeed later, unchanged.
    pub fn is_transient(self) -> bool {
        match self {
            Kind::Unreachable | Kind::Timeout | Kind::Throttled | Kind::Transient => true,
            Kind::RangeTooCostly
            | Kind::Invalid
            | Kind::Denied
            | Kind::Missing
            | Kind::Mismatch
            | Kind::Unsupported
            | Kind::Config
            | Kind::Corrupt
            | Kind::Stopped
            | Kind::Unknown => false,
        }
    }
}

/// Whether a call that failed may have changed the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It certainly changed nothing.
    None,
    /// It can't be told from here.
    Unknown,
}

/// What a store that asks for less is short of, where it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThrottleCause {
    /// The throughput of the table, or of an index, as provisioned or as set as the most.
    Table,
    /// The quota of the account for one table.
    Account,
    /// What one partition bears: others may have room.
    Partition,
}

impl ThrottleCause {
    /// Its name in metrics and histories.
    pub fn name(self) -> &'static str {
        match self {
            ThrottleCause::Table => "table",
            ThrottleCause::Account => "account",
            ThrottleCause::Partition => "partition",
        }
    }
}

/// An error: what happened, where, what to do next.
///
/// `Display` is one line for people, or one for each of [`Error::with_line`]; what others wrote is escaped in it.
/// The source chain is kept for logs. It never holds a secret.
#[derive(Clone)]
pub struct Error(Box<ErrorInner>);

#[derive(Clone)]
struct ErrorInner {
    kind: Kind,
    effect: Effect,
    message: String,
    lines: Vec<String>,
    context: Vec<(&'static str, String)>,
    help: Option<String>,
    throttled_by: Option<ThrottleCause>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that changed nothing.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(ErrorInner {
            kind,
            effect: Effect::None,
            message: message.into(),
            lines: Vec::new(),
            context: Vec::new(),
            help: None,
            throttled_by: None,
            source: None,
        }))
    }

    /// The same error, with what is known of its effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        self
    }

    /// The same error, with a place: `("table", "users")`, `("key", "id=u1")`, `("plan", "cf.toml:12")`.
    #[must_use]
    pub fn with_context(mut self, what: &'static str, which: impl Into<String>) -> Self {
        self.0.context.push((what, which.into()));
        self
    }

    /// The same error, with one more line for people.
    #[must_use]
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.0.lines.push(line.into());
        self
    }

    /// The same error, with what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// The same error, with the error it came from.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The same error, with what the store is short of.
    #[must_use]
    pub fn with_throttle_cause(mut self, cause: ThrottleCause) -> Self {
        self.0.throttled_by = Some(cause);
        self
    }

    /// What the store is short of, of a throttled call; none where it doesn't tell.
    pub fn throttled_by(&self) -> Option<ThrottleCause> {
        self.0.throttled_by
    }

    /// What it means.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the call may have changed the store.
    pub fn known_effect(&self) -> Effect {
        self.0.effect
    }

    /// What happened, without place and help.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What happened and what to do next, without the place: the same for all that has one cause.
    pub fn cause(&self) -> String {
        let mut cause = visible(&self.0.message).into_owned();
        if let Some(help) = &self.0.help {
            cause = format!("{cause}; {}", visible(help));
        }
        cause
    }

    /// The places: `table users, key id=u1`; empty if there are none.
    pub fn places(&self) -> String {
        let place = |(what, which): &(&str, String)| format!("{what} {}", visible(which));
        self.0
            .context
            .iter()
            .map(place)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// What to do next.
    pub fn next_step(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.0.message))?;
        for line in &self.0.lines {
            write!(f, "\n{}", visible(line))?;
        }
        if !self.0.context.is_empty() {
            write!(f, " ({})", self.places())?;
        }
        if let Some(help) = &self.0.help {
            write!(f, "; {}", visible(help))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, effect {:?}: {self}", self.0.kind, self.0.effect)?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, "\n  because: {}", visible(&error.to_string()))?;
            source = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
