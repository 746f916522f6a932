//! What applications did and saw, and whether that can have been: written apart from the shim, knowing
//! neither stores nor phases.
//!
//! Rows are judged column by column, since that is what is promised: each column is a register. A value is
//! written once in a history, so a read tells which write it saw. A counter's total lies between what had
//! certainly been added when the read began, and what may have been by its end; and one that only grows is
//! never seen smaller than it was.

mod planted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value of a column; `None` is null, and what every column of a row has that isn't there.
pub type Cell = Option<u64>;

/// What an application meant to write.
#[derive(Clone, Debug)]
pub enum Meant {
    /// For each column what it is to become; `None` leaves it as it is.
    Cells(Vec<Option<Cell>>),
    /// To a counter.
    Add(i64),
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Written.
    Done,
    /// Certainly not written.
    Not,
}

#[derive(Clone, Debug)]
enum Saw {
    Cells(Vec<Cell>),
    Total(i64),
}

#[derive(Clone, Debug)]
struct Write {
    key: String,
    meant: Meant,
    begun: u64,
    /// When it was told, and what. Without it nobody knows: it may have been done, or may be yet.
    told: Option<(u64, Told)>,
    /// It was sent more than once, so that it may have been done more than once, and the earlier one may land late.
    repeated: bool,
}

#[derive(Clone, Debug)]
struct Read {
    key: String,
    begun: u64,
    ended: u64,
    saw: Saw,
}

/// Everything that applications did, in the order in which it began and ended.
#[derive(Default)]
pub struct History {
    moment: AtomicU64,
    value: AtomicU64,
    writes: Mutex<Vec<Write>>,
    reads: Mutex<Vec<Read>>,
}

/// A read that is under way.
pub struct Reading(u64);

/// How much there was to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub done: usize,
    pub unknown: usize,
    pub not: usize,
    pub reads: usize,
}

impl Judged {
    /// Both together.
    pub fn and(self, other: Judged) -> Judged {
        Judged {
            done: self.done + other.done,
            unknown: self.unknown + other.unknown,
            not: self.not + other.not,
            reads: self.reads + other.reads,
        }
    }
}

impl History {
    fn writes(&self) -> MutexGuard<'_, Vec<Write>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads(&self) -> MutexGuard<'_, Vec<Read>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 0 is before everything.
    fn now(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How far it has got.
    pub fn moment(&self) -> u64 {
        self.moment.load(Ordering::SeqCst)
    }

    /// A value that nothing else has.
    pub fn value(&self) -> u64 {
        self.value.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A write is about to be sent.
    pub fn begin_write(&self, key: &str, meant: Meant) -> usize {
        let mut writes = self.writes();
        writes.push(Write {
            key: key.into(),
            meant,
            begun: self.now(),
            told: None,
            repeated: false,
        });
        writes.len() - 1
    }

    /// It has been answered.
    pub fn end_write(&self, write: usize, told: Told) {
        self.writes()[write].told = Some((self.now(), told));
    }

    /// It was sent more than once, as SDKs do it of themselves.
    pub fn repeated(&self, write: usize) {
        self.writes()[write].repeated = true;
    }

    /// A read is about to be sent.
    pub fn begin_read(&self) -> Reading {
        Reading(self.now())
    }

    /// It has been answered with a row.
    pub fn saw_cells(&self, reading: &Reading, key: &str, cells: Vec<Cell>) {
        self.saw(reading, key, Saw::Cells(cells));
    }

    /// It has been answered with a counter's total.
    pub fn saw_total(&self, reading: &Reading, key: &str, total: i64) {
        self.saw(reading, key, Saw::Total(total));
    }

    fn saw(&self, reading: &Reading, key: &str, saw: Saw) {
        let ended = self.now();
        self.reads().push(Read {
            key: key.into(),
            begun: reading.0,
            ended,
            saw,
        });
    }

    /// How much there was.
    pub fn judged(&self) -> Judged {
        let writes = self.writes();
        let count = |told: Option<Told>| {
            let told = |write: &&Write| write.told.map(|(_, told)| told) == told;
            writes.iter().filter(told).count()
        };
        Judged {
            done: count(Some(Told::Done)),
            unknown: count(None),
            not: count(Some(Told::Not)),
            reads: self.reads().len(),
        }
    }

    /// All that was found wrong, with what had to do with it.
    pub fn wrongs(&self) -> Vec<String> {
        let (writes, reads) = (self.writes(), self.reads());
        let mut keys: BTreeMap<&str, (Vec<&Write>, Vec<&Read>)> = BTreeMap::new();
        for write in writes.iter() {
            keys.entry(&write.key).or_default().0.push(write);
        }
        for read in reads.iter() {
            keys.entry(&read.key).or_default().1.push(read);
        }
        let wrong = |(key, (writes, reads)): (&str, (Vec<&Write>, Vec<&Read>))| {
            let mut found = totals(&writes, &reads);
            for column in 0..width(&writes, &reads) {
                let register = Register::of(&writes, &reads, column);
                let wrongs = register.wrongs().into_iter();
                found.extend(wrongs.map(|wrong| format!("column {column}: {wrong}")));
            }
            found.extend(torn(&writes, &reads));
            (!found.is_empty()).then(|| told(key, &found, &writes, &reads))
        };
        keys.into_iter().filter_map(wrong).collect()
    }
}

fn width(writes: &[&Write], reads: &[&Read]) -> usize {
    let written = writes.iter().map(|write| match &write.meant {
        Meant::Cells(cells) => cells.len(),
        Meant::Add(_) => 0,
    });
    let seen = reads.iter().map(|read| match &read.saw {
        Saw::Cells(cells) => cells.len(),
        Saw::Total(_) => 0,
    });
    written.chain(seen).max().unwrap_or(0)
}

/// What happened to a key, in order, after what was wrong with it.
fn told(key: &str, found: &[String], writes: &[&Write], reads: &[&Read]) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for write in writes {
        let told = match write.told {
            Some((at, told)) => format!("{told:?} at {at}"),
            None => "nobody knows".into(),
        };
        lines.push((
            write.begun,
            format!("{}: {:?}, {told}", write.begun, write.meant),
        ));
    }
    for read in reads {
        let (begun, ended) = (read.begun, read.ended);
        lines.push((begun, format!("{begun}: saw {:?} at {ended}", read.saw)));
    }
    lines.sort();
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    format!("{key}: {}\n    {}", found.join("; "), lines.join("\n    "))
}

/// Reads of a counter that saw too much or too little.
fn totals(writes: &[&Write], reads: &[&Read]) -> Vec<String> {
    let mut wrong = Vec::new();
    let grows = |write: &&Write| !matches!(write.meant, Meant::Add(by) if by < 0);
    let only_grows = writes.iter().all(grows);
    for read in reads {
        let Saw::Total(total) = read.saw else {
            continue;
        };
        let before = reads.iter().filter(|before| before.ended < read.begun);
        let totals = before.filter_map(|before| match before.saw {
            Saw::Total(total) => Some(total),
            Saw::Cells(_) => None,
        });
        if let Some(seen) = totals.max().filter(|seen| only_grows && *seen > total) {
            let ended = read.ended;
            wrong.push(format!(
                "the total seen at {ended} is {total}, and had been seen as {seen}"
            ));
        }
        let (mut least, mut most) = (0, 0);
        for write in writes {
            let Meant::Add(by) = write.meant else {
                continue;
            };
            let (surely, perhaps) = match write.told {
                Some((_, Told::Not)) => (false, false),
                Some((ended, Told::Done)) => (ended < read.begun, write.begun < read.ended),
                None => (false, write.begun < read.ended),
            };
            // What goes down may be in the least though it needn't be.
            least += if by < 0 && perhaps || surely { by } else { 0 };
            most += if by > 0 && perhaps || surely { by } else { 0 };
        }
        if !(least..=most).contains(&total) {
            wrong.push(format!(
                "the total seen at {} is {total}, and not within {least}..={most}",
                read.ended
            ));
        }
    }
    wrong
}

/// Reads that show one column of one whole row and another of another one.
fn torn(writes: &[&Write], reads: &[&Read]) -> Vec<String> {
    let mut by = BTreeMap::new();
    for (at, write) in writes.iter().enumerate() {
        if let Meant::Cells(cells) = &write.meant {
            by.extend(cells.iter().flatten().flatten().map(|value| (*value, at)));
        }
    }
    let writes_to = |at: usize, column: usize| match &writes[at].meant {
        Meant::Cells(cells) => cells.get(column).is_some_and(Option::is_some),
        Meant::Add(_) => false,
    };
    let mut wrong = Vec::new();
    for read in reads {
        let Saw::Cells(cells) = &read.saw else {
            continue;
        };
        let seen = cells.iter().enumerate();
        let seen = seen.filter_map(|(column, cell)| Some((column, *by.get(&(*cell)?)?)));
        let seen: Vec<(usize, usize)> = seen.collect();
        let is_torn = seen.iter().any(|(one, first)| {
            let mut others = seen.iter();
            others.any(|(other, second)| {
                first != second && writes_to(*first, *other) && writes_to(*second, *one)
            })
        });
        if is_torn {
            wrong.push(format!("the row seen at {} is torn", read.ended));
        }
    }
    wrong
}

/// When something took effect: in between, as far as anybody can tell.
#[derive(Clone, Copy, Debug)]
struct Effect {
    begun: u64,
    /// It certainly had by then: it was acknowledged, or seen.
    by: u64,
}

const NEVER: u64 = u64::MAX;

/// A value, from the write that brought it to the last read that saw it.
struct Life {
    value: u64,
    effect: Effect,
    /// When the last read of it began, if that was behind its write.
    last_begun: u64,
}

/// One column of one row.
struct Register {
    lives: Vec<Life>,
    /// Writes of null; the first is what there was before everything.
    nulls: Vec<Effect>,
    /// Reads that saw null.
    saw_null: Vec<(u64, u64)>,
    /// Reads that saw a value: which, when begun and ended.
    saw: Vec<(u64, u64, u64)>,
}

impl Register {
    fn of(writes: &[&Write], reads: &[&Read], column: usize) -> Self {
        let mut register = Register {
            lives: Vec::new(),
            nulls: vec![Effect { begun: 0, by: 0 }],
            saw_null: Vec::new(),
            saw: Vec::new(),
        };
        for read in reads {
            let Saw::Cells(cells) = &read.saw else {
                continue;
            };
            match cells.get(column).copied().flatten() {
                Some(value) => register.saw.push((value, read.begun, read.ended)),
                None => register.saw_null.push((read.begun, read.ended)),
            }
        }
        for write in writes {
            let Meant::Cells(cells) = &write.meant else {
                continue;
            };
            let by = match write.told {
                Some((_, Told::Not)) => continue,
                Some((_, Told::Done)) if write.repeated => NEVER,
                Some((ended, Told::Done)) => ended,
                None => NEVER,
            };
            let begun = write.begun;
            match cells.get(column).copied().flatten() {
                Some(Some(value)) => register.live(value, Effect { begun, by }, write.repeated),
                Some(None) => register.nulls.push(Effect { begun, by }),
                None => {}
            }
        }
        register
    }

    fn live(&mut self, value: u64, mut effect: Effect, repeated: bool) {
        let mut last_begun = effect.begun;
        for (_, begun, ended) in self.saw.iter().filter(|(seen, ..)| *seen == value) {
            // What may be done again isn't over with the first time that it is seen.
            if !repeated {
                effect.by = effect.by.min(*ended);
            }
            last_begun = last_begun.max(*begun);
        }
        self.lives.push(Life {
            value,
            effect,
            last_begun,
        });
    }

    fn wrongs(&self) -> Vec<String> {
        let mut wrong = self.out_of_nothing();
        wrong.extend(self.overtaken());
        wrong.extend(self.interrupted());
        wrong
    }

    /// Values that were seen, and nobody had begun to write.
    fn out_of_nothing(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (value, _, ended) in &self.saw {
            let life = self.lives.iter().find(|life| life.value == *value);
            if life.is_none_or(|life| life.effect.begun > *ended) {
                wrong.push(format!(
                    "{value}, seen at {ended}, was never written until then"
                ));
            }
        }
        wrong
    }

    fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.nulls
            .iter()
            .chain(self.lives.iter().map(|life| &life.effect))
    }

    /// Whether something was written wholly between an effect and a read that began then.
    fn is_overtaken(&self, effect: &Effect, begun: u64) -> bool {
        self.effects()
            .any(|other| effect.by < other.begun && other.by < begun)
    }

    /// Reads of what had been overwritten for sure.
    fn overtaken(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (value, begun, ended) in &self.saw {
            let life = self.lives.iter().find(|life| life.value == *value);
            if life.is_some_and(|life| self.is_overtaken(&life.effect, *begun)) {
                wrong.push(format!("{value}, seen at {ended}, had been overwritten"));
            }
        }
        for (begun, ended) in &self.saw_null {
            let may_be = |null: &&Effect| null.begun < *ended && !self.is_overtaken(null, *begun);
            if !self.nulls.iter().any(|null| may_be(&null)) {
                wrong.push(format!(
                    "null, seen at {ended}, had been overwritten, or was never written"
                ));
            }
        }
        wrong
    }

    /// From its first effect to the last read of it a value is there without a break: nothing else may have
    /// its whole time within, and no two such stretches may overlap. (Gibbons and Korach, for registers whose
    /// values are written once.)
    fn interrupted(&self) -> Vec<String> {
        let stretch = |life: &Life| (life.effect.by, life.last_begun);
        let mut wrong = BTreeSet::new();
        for life in &self.lives {
            let (from, until) = stretch(life);
            if from >= until {
                continue;
            }
            let value = life.value;
            for other in &self.lives {
                let (by, last_begun) = stretch(other);
                if other.value != value && from < last_begun && by < until {
                    wrong.insert((value, other.value.to_string()));
                }
            }
            let nulls = self.nulls.iter().map(|null| (null.begun, null.by));
            for (begun, ended) in nulls.chain(self.saw_null.iter().copied()) {
                if from < begun && ended < until {
                    wrong.insert((value, "null".into()));
                }
            }
        }
        let between =
            |(value, other): (u64, String)| format!("{value} was seen on both sides of {other}");
        wrong.into_iter().map(between).collect()
    }
}
