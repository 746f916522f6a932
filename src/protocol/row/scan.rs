use crate::model::Key;

/// Where a scan goes on. It stays good in every phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// In the old store's table, behind this key.
    Old(Key),
    /// In the new store's table, behind this key or from its start.
    New {
        /// The key.
        after: Option<Key>,
        /// Which rows of the old store have been shown before.
        shown: Shown,
    },
}

/// Which of the old store's rows a scan has shown before it went over the new store's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// None: the new store has all there are.
    None,
    /// Those up to this key.
    UpTo(Key),
    /// All of them.
    All,
}
