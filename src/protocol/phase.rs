use std::fmt;

/// Where a table's migration stands. Kept in the table's control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Everything happens in the old store.
    Old,
    /// No application writes at all: the copier alone may.
    Offline,
}

impl Phase {
    /// Its name, as people and the control record write it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Old => "old",
            Phase::Offline => "offline",
        }
    }

    /// The phase of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Phase::Old, Phase::Offline]
            .into_iter()
            .find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
