//! What a source tells of when its cells end and when they were written.

/// When something ends. Never is later than any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Seconds since 1970.
    At(i64),
    /// It stays.
    Never,
}

/// What is told of when the cells of one column end: a plain column has one cell, a collection or a
/// user-defined type that isn't frozen has one for each element or field that isn't null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ends {
    /// The column is null: there is nothing that could end.
    #[default]
    Null,
    /// It isn't null, and the source can't tell.
    Untold,
    /// The first and the last end of its cells.
    Told {
        /// That of the cell that ends first.
        first: End,
        /// That of the cell that ends last.
        last: End,
    },
}

impl Ends {
    /// Of cells that all stay.
    pub const NEVER: Ends = Ends::Told {
        first: End::Never,
        last: End::Never,
    };

    /// Of all these cells; [`Ends::Null`] if there is none.
    pub fn of(ends: impl IntoIterator<Item = End>) -> Ends {
        ends.into_iter().fold(Ends::Null, |all, end| match all {
            Ends::Told { first, last } => Ends::Told {
                first: first.min(end),
                last: last.max(end),
            },
            Ends::Null | Ends::Untold => Ends::Told {
                first: end,
                last: end,
            },
        })
    }
}

/// The times of one column of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CellTimes {
    /// When its cells end.
    pub ends: Ends,
    /// When the youngest of its cells was written, microseconds since 1970; `None` if that isn't told.
    pub written: Option<i64>,
}

/// What a source tells of the times of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Times {
    /// The row has one end, which is [`super::Row::expires`]: the source keeps no others; or no cell ends, in
    /// a table of which nothing more is to be told ([`crate::schema::Table::tells_times`]).
    #[default]
    OfRow,
    /// Each cell has its own: those of each of [`super::Row::cells`].
    OfCells(Vec<CellTimes>),
}

impl Times {
    /// When the youngest cell was written, as far as that is told.
    pub fn written(&self) -> Option<i64> {
        match self {
            Times::OfRow => None,
            Times::OfCells(cells) => cells.iter().filter_map(|cell| cell.written).max(),
        }
    }
}
