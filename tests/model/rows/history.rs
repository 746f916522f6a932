//! What was written and what was read, and whether that fits one order of all writes.
//!
//! An order is made of every acknowledged write, and of any others that had begun. It respects real time:
//! what had ended before something else began comes before it.

use crossfade::model::{Row, Value};

/// A row's columns, 0 being null. The second one is a list: a hexadecimal digit for each element.
pub type Cells = [u16; 2];

/// The cells of a row that somebody was shown.
pub fn cells(row: &Row) -> Cells {
    let digit = |value: &Value| match value {
        Value::Int(digit @ 1..16) => *digit as u16,
        other => panic!("a value that nobody wrote: {other:?}"),
    };
    let [number, list] = row.cells.as_slice() else {
        panic!("a row of another table: {row:?}");
    };
    let list = match list {
        None => 0,
        Some(Value::List(elements)) => elements
            .iter()
            .fold(0, |list, element| list << 4 | digit(element)),
        Some(other) => panic!("a value that nobody wrote: {other:?}"),
    };
    [number.as_ref().map_or(0, digit), list]
}

/// A write, as the application meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meant {
    Put(Cells),
    Update([Meaning; 2]),
    Delete,
    Insert(Cells),
    /// Update the row if it is there and its first column has this value.
    UpdateIf([Meaning; 2], u16),
    /// Put the row if it is as it is wanted.
    PutIf(Cells, Wanted),
    /// Delete the row if it is as it is wanted.
    DeleteIf(Wanted),
    /// Set the second column to what the first one is, and this number.
    Compute(u16),
    /// A tool puts this in place of what was copied: where no application has written since.
    Mend(Option<Cells>),
    /// The time came at which rows expire.
    Expire,
}

/// What a row has to be like for a write on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It isn't there.
    Nothing,
    /// It is there.
    There,
    /// Its first column has this value.
    First(u16),
}

impl Wanted {
    pub fn is_met(self, row: Option<Cells>) -> bool {
        match self {
            Wanted::Nothing => row.is_none(),
            Wanted::There => row.is_some(),
            Wanted::First(value) => row.is_some_and(|cells| cells[0] == value),
        }
    }
}

/// What an update means for one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    Keep,
    Clear,
    Set(u16),
    Append(u16),
}

/// What a conditional write was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    Done,
    /// The condition wasn't met, by this row.
    Unmet(Option<Cells>),
}

/// A row as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    pub cells: Cells,
    /// Whether it expires.
    pub expires: bool,
    /// Columns written since. Whether they outlive the row is left open: in the old store each cell has
    /// its own time, in the new one the row has.
    pub newer: [bool; 2],
    /// Whether no application has written it since it was copied.
    pub is_copy: bool,
}

/// Whether a row may have been shown so. A row whose last column was taken away may be missing: in the old
/// store that depends on how it was made.
fn is_shown_as(row: Option<Life>, saw: Option<Cells>) -> bool {
    let cells = row.map(|row| row.cells);
    cells == saw || (cells == Some([0, 0]) && saw.is_none())
}

impl Life {
    pub fn of(cells: Cells) -> Self {
        Life {
            cells,
            expires: false,
            newer: [false; 2],
            is_copy: false,
        }
    }
}

impl Meant {
    /// What it may make of a row, given what its writer was told. Nothing, if that can't be.
    fn outcomes(self, row: Option<Life>, told: Option<Told>) -> Vec<Option<Life>> {
        match self {
            Meant::Put(cells) => vec![Some(Life::of(cells))],
            Meant::Update(update) => vec![updated(update, row)],
            Meant::Delete => vec![None],
            Meant::Insert(new) => {
                let mut outcomes = conditional(row, row.is_none(), Some(Life::of(new)), told);
                // Nobody can say whether it is there.
                if row.is_some_and(|row| row.cells == [0, 0]) {
                    outcomes.extend(conditional(None, true, Some(Life::of(new)), told));
                }
                outcomes
            }
            Meant::UpdateIf(update, expected) => {
                let is_met = row.is_some_and(|row| row.cells[0] == expected);
                conditional(row, is_met, updated(update, row), told)
            }
            Meant::PutIf(new, wanted) => {
                let is_met = wanted.is_met(row.map(|row| row.cells));
                conditional(row, is_met, Some(Life::of(new)), told)
            }
            Meant::DeleteIf(wanted) => {
                let is_met = wanted.is_met(row.map(|row| row.cells));
                conditional(row, is_met, None, told)
            }
            Meant::Compute(number) => {
                let first = row.map_or(0, |row| row.cells[0]);
                let second = Meaning::Set(first << 4 | number);
                vec![updated([Meaning::Keep, second], row)]
            }
            Meant::Mend(cells) if row.is_some_and(|row| row.is_copy) => vec![cells.map(Life::of)],
            Meant::Mend(_) => vec![row],
            Meant::Expire => expired(row),
        }
    }
}

fn updated(update: [Meaning; 2], row: Option<Life>) -> Option<Life> {
    let makes = |meaning| matches!(meaning, Meaning::Set(_) | Meaning::Append(_));
    if row.is_none() && !update.into_iter().any(makes) {
        return None;
    }
    let mut row = row.unwrap_or(Life::of([0, 0]));
    row.is_copy = false;
    for (column, meaning) in update.into_iter().enumerate() {
        let cell = &mut row.cells[column];
        match meaning {
            Meaning::Keep => continue,
            Meaning::Clear => *cell = 0,
            Meaning::Set(value) => *cell = value,
            Meaning::Append(element) => *cell = *cell << 4 | element,
        }
        row.newer[column] = true;
    }
    Some(row)
}

fn conditional(
    before: Option<Life>,
    is_met: bool,
    after: Option<Life>,
    told: Option<Told>,
) -> Vec<Option<Life>> {
    match told {
        None => vec![if is_met { after } else { before }],
        Some(Told::Done) if is_met => vec![after],
        Some(Told::Unmet(by)) if !is_met && by == before.map(|row| row.cells) => vec![before],
        Some(Told::Done | Told::Unmet(_)) => vec![],
    }
}

fn expired(row: Option<Life>) -> Vec<Option<Life>> {
    let Some(row) = row.filter(|row| row.expires) else {
        return vec![row];
    };
    let mut left = Life::of([0, 0]);
    for column in 0..2 {
        if row.newer[column] {
            left.cells[column] = row.cells[column];
        }
    }
    match left.cells {
        [0, 0] => vec![None],
        _ => vec![None, Some(left)],
    }
}

/// What had ended before something began, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Before {
    writes: u8,
    reads: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    meant: Meant,
    begun: Option<Before>,
    is_acknowledged: bool,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Read {
    begun: Option<Before>,
    saw: Option<Option<Cells>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    start: Option<Life>,
    writes: Vec<Write>,
    reads: Vec<Read>,
}

impl History {
    pub fn new(start: Option<Life>) -> Self {
        History {
            start,
            writes: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// A write that is yet to begin.
    pub fn add_write(&mut self, meant: Meant) -> usize {
        self.writes.push(Write {
            meant,
            begun: None,
            is_acknowledged: false,
            told: None,
        });
        self.writes.len() - 1
    }

    /// A read that is yet to begin.
    pub fn add_read(&mut self) -> usize {
        self.reads.push(Read::default());
        self.reads.len() - 1
    }

    fn ended(&self) -> Before {
        let mut ended = Before::default();
        for (at, write) in self.writes.iter().enumerate() {
            ended.writes |= u8::from(write.is_acknowledged) << at;
        }
        for (at, read) in self.reads.iter().enumerate() {
            ended.reads |= u8::from(read.saw.is_some()) << at;
        }
        ended
    }

    /// A write begins; if it has before, this is another try of the same.
    pub fn begin_write(&mut self, write: usize) {
        let ended = self.ended();
        self.writes[write].begun.get_or_insert(ended);
    }

    pub fn end_write(&mut self, write: usize, told: Option<Told>) {
        self.writes[write].is_acknowledged = true;
        self.writes[write].told = told;
    }

    /// The write turned out to change nothing, and its writer knows.
    pub fn take_back(&mut self, write: usize) {
        self.writes[write].begun = None;
    }

    pub fn begin_read(&mut self, read: usize) {
        self.reads[read].begun = Some(self.ended());
    }

    pub fn end_read(&mut self, read: usize, saw: Option<Cells>) {
        self.reads[read].saw = Some(saw);
    }

    /// Whether there is an order in which every conditional write was told the truth; and one for each read
    /// that has ended, too.
    pub fn told_fits(&self) -> bool {
        let ended = self.ended().reads;
        let reads = (0..self.reads.len()).filter(|read| ended & (1 << read) != 0);
        self.fit(0, is_shown_as) && reads.into_iter().all(|read| self.read_fits(read))
    }

    /// Whether there is an order in which this read saw what it saw.
    pub fn read_fits(&self, read: usize) -> bool {
        self.fit(1 << read, is_shown_as)
    }

    /// Whether there is one order for all reads that have ended.
    pub fn reads_fit(&self) -> bool {
        self.fit(self.ended().reads, is_shown_as)
    }

    /// Whether there is, for each column, one order for all reads that have ended.
    pub fn columns_fit(&self) -> bool {
        (0..2).all(|column| {
            let cell = |cells: Cells| cells[column];
            self.fit(self.ended().reads, |row, saw| {
                row.map_or(0, |row| cell(row.cells)) == saw.map_or(0, cell)
            })
        })
    }

    fn fit(&self, reads: u8, shows: impl Fn(Option<Life>, Option<Cells>) -> bool) -> bool {
        let all = Before {
            writes: self.ended().writes,
            reads,
        };
        self.place(all, &shows, Before::default(), self.start)
    }

    /// Whether what is left of `all` can be placed after what is `placed`, which left this row. Writes
    /// that aren't among them may be placed too.
    fn place(
        &self,
        all: Before,
        shows: &impl Fn(Option<Life>, Option<Cells>) -> bool,
        placed: Before,
        row: Option<Life>,
    ) -> bool {
        let Before { writes, reads } = placed;
        let follows =
            |begun: Before| begun.writes & !writes == 0 && begun.reads & all.reads & !reads == 0;
        // A read changes nothing, so it may be placed as soon as it fits.
        for (at, read) in self.reads.iter().enumerate() {
            let bit = 1 << at;
            if let (true, Some(begun), Some(saw)) =
                (all.reads & !reads & bit != 0, read.begun, read.saw)
                && follows(begun)
                && shows(row, saw)
            {
                let reads = reads | bit;
                return self.place(all, shows, Before { writes, reads }, row);
            }
        }
        if reads == all.reads && all.writes & !writes == 0 {
            return true;
        }
        self.writes.iter().enumerate().any(|(at, write)| {
            let bit = 1 << at;
            let writes = writes | bit;
            placed.writes & bit == 0
                && write.begun.is_some_and(follows)
                && write
                    .meant
                    .outcomes(row, write.told)
                    .into_iter()
                    .any(|row| self.place(all, shows, Before { writes, reads }, row))
        })
    }
}
