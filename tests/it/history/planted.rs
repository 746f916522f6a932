//! The checker itself: what can't have been is found, what can is let be.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Cell, History, Meant, Reading, Told};

/// The key that all of it is about.
const KEY: &str = "k";

impl History {
    fn begin(&self, cells: &[Option<Cell>]) -> usize {
        self.begin_write(KEY, Meant::Cells(cells.to_vec()))
    }

    /// A write that is begun and acknowledged.
    fn wrote(&self, cells: &[Option<Cell>]) {
        let write = self.begin(cells);
        self.end_write(write, Told::Done);
    }

    /// A read that is begun and answered.
    fn read(&self, cells: &[Cell]) {
        self.saw_cells(&self.begin_read(), KEY, cells.to_vec());
    }

    fn added(&self, by: i64) {
        let add = self.begin_write(KEY, Meant::Add(by));
        self.end_write(add, Told::Done);
    }

    fn counted(&self, total: i64) {
        self.saw_total(&self.begin_read(), KEY, total);
    }
}

/// A whole row of two columns.
fn row(value: u64) -> [Option<Cell>; 2] {
    [Some(Some(value)), Some(Some(value + 1))]
}

const DELETE: [Option<Cell>; 2] = [Some(None); 2];

fn seen(value: u64) -> [Cell; 2] {
    [Some(value), Some(value + 1)]
}

/// Fails unless this is found, and no other key is named.
#[track_caller]
fn finds(what: &str, plant: impl FnOnce(&History)) {
    let history = History::default();
    // Beside it, something that is well.
    history.end_write(
        history.begin_write("well", Meant::Cells(row(90).to_vec())),
        Told::Done,
    );
    history.saw_cells(&history.begin_read(), "well", seen(90).to_vec());
    plant(&history);
    let wrongs = history.wrongs();
    assert_eq!(wrongs.len(), 1, "{wrongs:?}");
    assert!(wrongs[0].contains(what), "no `{what}`: {}", wrongs[0]);
    assert!(wrongs[0].starts_with("k: "), "{}", wrongs[0]);
}

#[track_caller]
fn lets_be(plant: impl FnOnce(&History)) {
    let history = History::default();
    plant(&history);
    assert_eq!(history.wrongs(), Vec::<String>::new());
}

#[test]
fn rows_that_cannot_have_been_are_found() {
    finds("null, seen at 8, had been overwritten", |history| {
        history.wrote(&row(1));
        history.read(&[None, None]);
    });
    finds("1, seen at 10, had been overwritten", |history| {
        history.wrote(&row(1));
        history.wrote(&row(3));
        history.read(&seen(1));
    });
    // A deleted row that comes back.
    finds("had been overwritten", |history| {
        history.wrote(&row(1));
        history.wrote(&DELETE);
        history.read(&seen(1));
    });
    finds("was seen on both sides of", |history| {
        history.wrote(&row(1));
        let other = history.begin(&row(3));
        history.read(&seen(3));
        history.read(&seen(1));
        history.end_write(other, Told::Done);
    });
    finds("was never written until then", |history| {
        history.read(&seen(1));
        history.wrote(&row(1));
    });
    finds("was never written until then", |history| {
        let refused = history.begin(&row(1));
        history.end_write(refused, Told::Not);
        history.read(&seen(1));
    });
    finds("the row seen at", |history| {
        let one = history.begin(&row(1));
        history.wrote(&row(3));
        history.read(&[Some(1), Some(4)]);
        history.end_write(one, Told::Done);
    });
    // An update of one column that takes the other one along.
    finds("column 1: null", |history| {
        history.wrote(&row(1));
        history.wrote(&[Some(Some(3)), None]);
        history.read(&[Some(3), None]);
    });
    // A write whose reply was lost, done twice.
    finds("was seen on both sides of", |history| {
        history.begin(&row(1));
        history.read(&seen(1));
        history.wrote(&row(3));
        history.read(&seen(3));
        history.read(&seen(1));
    });
    finds("was seen on both sides of null", |history| {
        history.wrote(&row(1));
        let deleting = history.begin(&DELETE);
        history.read(&seen(1));
        history.read(&[None, None]);
        history.read(&seen(1));
        history.end_write(deleting, Told::Done);
    });
}

#[test]
fn counters_that_cannot_have_been_are_found() {
    let unlike = |added: &'static [i64], total: i64| {
        finds("and not within", move |history| {
            added.iter().for_each(|by| history.added(*by));
            history.counted(total);
        });
    };
    unlike(&[2, 3], 4);
    unlike(&[2, 3], 7);
    unlike(&[2, -1], 2);
    finds("and not within 0..=0", |history| {
        let refused = history.begin_write(KEY, Meant::Add(1));
        history.end_write(refused, Told::Not);
        history.counted(1);
    });
    finds("is 2, and had been seen as 3", |history| {
        history.added(2);
        let adding = history.begin_write(KEY, Meant::Add(1));
        history.counted(3);
        history.counted(2);
        history.end_write(adding, Told::Done);
    });
}

#[test]
fn what_can_have_been_is_let_be() {
    // A write of which nobody knows may be done late, or never.
    lets_be(|history| {
        history.wrote(&row(1));
        history.begin(&row(3));
        history.read(&seen(1));
        history.wrote(&row(5));
        history.read(&seen(5));
        history.read(&seen(3));
        history.wrote(&row(7));
        history.read(&seen(7));
    });
    lets_be(|history| {
        let one = history.begin(&row(1));
        let other = history.begin(&row(3));
        history.read(&seen(3));
        history.read(&seen(1));
        history.end_write(other, Told::Done);
        history.end_write(one, Told::Done);
    });
    lets_be(|history| {
        history.wrote(&row(1));
        history.wrote(&[None, Some(None)]);
        history.read(&[Some(1), None]);
        history.wrote(&DELETE);
        history.read(&[None, None]);
    });
    lets_be(|history| {
        history.added(2);
        history.begin_write(KEY, Meant::Add(5));
        history.counted(2);
        history.counted(7);
        history.added(-1);
        history.counted(6);
    });
}

/// What somebody does to a register of one column, from when to when.
#[derive(Clone, Copy, Debug)]
struct Did {
    begun: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Write(u64),
    /// Of which nobody knows.
    Lost(u64),
    Read(Cell),
}

impl Did {
    fn is_lost(&self) -> bool {
        matches!(self.what, What::Lost(_))
    }
}

/// Whether the rest can come after one another, each at some moment of its time; what is lost need not.
fn fits(rest: &mut Vec<Did>, now: Cell) -> bool {
    if rest.iter().all(Did::is_lost) {
        return true;
    }
    (0..rest.len()).any(|at| {
        let next = rest[at];
        let mut others = rest.iter();
        if others.any(|other| !other.is_lost() && other.ended < next.begun) {
            return false;
        }
        let then = match next.what {
            What::Read(saw) if saw != now => return false,
            What::Read(saw) => saw,
            What::Write(value) | What::Lost(value) => Some(value),
        };
        rest.remove(at);
        let fit = fits(rest, then);
        rest.insert(at, next);
        fit
    })
}

/// A few operations at random, their values too.
fn few(chance: &mut SmallRng) -> Vec<Did> {
    let count = chance.random_range(2..=6_usize);
    let mut moments: Vec<u64> = (0..2 * count as u64).collect();
    for at in (1..moments.len()).rev() {
        // Mostly short ones: else nearly everything is possible.
        let other = chance.random_range(at.saturating_sub(3)..=at);
        moments.swap(at, other);
    }
    let mut written = 0;
    let mut all: Vec<Did> = Vec::new();
    for pair in moments.chunks(2) {
        let what = match chance.random_range(0..10) {
            0..4 => {
                written += 1;
                What::Write(written)
            }
            4 => {
                written += 1;
                What::Lost(written)
            }
            _ => What::Read(Some(chance.random_range(0..=3)).filter(|value| *value > 0)),
        };
        let (begun, ended) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        all.push(Did { begun, ended, what });
    }
    all
}

/// The same to the checker.
fn told(all: &[Did]) -> History {
    let history = History::default();
    let mut under_way: Vec<(Option<usize>, Option<Reading>)> = Vec::new();
    under_way.resize_with(all.len(), || (None, None));
    for moment in 0..2 * all.len() as u64 {
        let at = all.iter().position(|did| did.begun == moment);
        if let Some(at) = at {
            under_way[at] = match all[at].what {
                What::Write(value) | What::Lost(value) => {
                    (Some(history.begin(&[Some(Some(value))])), None)
                }
                What::Read(_) => (None, Some(history.begin_read())),
            };
        }
        let Some(at) = all.iter().position(|did| did.ended == moment) else {
            continue;
        };
        match (all[at].what, &under_way[at]) {
            (What::Write(_), (Some(write), _)) => history.end_write(*write, Told::Done),
            (What::Read(saw), (_, Some(reading))) => {
                history.saw_cells(reading, KEY, vec![saw]);
            }
            (_, _) => {}
        }
    }
    history
}

/// Something is found just where no order of all that was done fits.
#[test]
fn a_register_is_judged_as_trying_every_order_does() {
    let mut chance = SmallRng::seed_from_u64(1);
    let mut counts = [0; 2];
    for _ in 0..20_000 {
        let all = few(&mut chance);
        let can_be = fits(&mut all.clone(), None);
        let wrongs = told(&all).wrongs();
        assert_eq!(can_be, wrongs.is_empty(), "{all:?}\n{wrongs:?}");
        counts[usize::from(can_be)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 2_000), "{counts:?}");
}

/// What a client sends again may take effect twice, the second time over another's write.
#[test]
fn what_was_sent_again_may_come_back() {
    let wrongs = |repeated: bool| {
        let history = History::default();
        let put = |value: u64| history.begin_write(KEY, Meant::Cells(vec![Some(Some(value))]));
        let sees = |value: u64| {
            let reading = history.begin_read();
            history.saw_cells(&reading, KEY, vec![Some(value)]);
        };
        let first = put(1);
        history.end_write(first, Told::Done);
        if repeated {
            history.repeated(first);
        }
        let second = put(2);
        history.end_write(second, Told::Done);
        sees(2);
        sees(1);
        history.wrongs().len()
    };
    assert_eq!((wrongs(true), wrongs(false)), (0, 1));
}
