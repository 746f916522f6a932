//! Where the models start: what both stores have, and who wants to do what.

use crossfade::model::{ItemState, Mark, Row};
use crossfade::protocol::Phase::{self, Bridge, Copy, Done, New, Offline, Old, Switch};
use crossfade::protocol::phase::Work;

use super::history::{History, Life, Meant, cells};
use super::machines::{Kind, OLD, row};
use super::stores::Stores;
use super::world::{BEFORE, EXPIRY, Operation, Progress, World};

/// The number in values that the new store has at the start.
const ITEM: u16 = 2;
/// The number of the first operation's values.
const FIRST: u16 = 3;

/// What both stores can have when participants of these phases meet.
pub fn stores(phases: &[Phase]) -> Vec<Stores> {
    let mut all = Vec::new();
    for old in [None, Some(row([OLD, OLD]))] {
        for new in items(old.as_ref()) {
            let is_allowed = |phase: &Phase| may_be(*phase, old.as_ref(), new.as_ref());
            if phases.iter().all(is_allowed) {
                all.push(Stores {
                    old: old.clone(),
                    new,
                    now: BEFORE,
                });
            }
        }
    }
    all
}

fn items(old: Option<&Row>) -> Vec<Option<Row>> {
    let item = |mark, numbers| Row {
        mark,
        ..row(numbers)
    };
    let partial = |decided: &[usize], numbers| Row {
        decided: decided.iter().copied().collect(),
        ..item(Some(Mark::Partial), numbers)
    };
    let mut items = vec![
        None,
        Some(item(Some(Mark::Application), [ITEM, ITEM])),
        Some(item(Some(Mark::Tombstone), [0, 0])),
        Some(partial(&[0], [ITEM, 0])),
        Some(partial(&[0], [0, 0])),
        Some(partial(&[0, 1], [ITEM, ITEM])),
        Some(item(None, [ITEM, ITEM])),
    ];
    if let Some(old) = old {
        items.extend([Mark::Copied, Mark::Resaved].map(|mark| {
            Some(Row {
                mark: Some(mark),
                ..old.clone()
            })
        }));
    }
    items
}

/// Whether an application in this phase can meet such an item over such an old row.
fn may_be(phase: Phase, old: Option<&Row>, new: Option<&Row>) -> bool {
    let is_unmarked = new.is_some_and(|item| item.mark.is_none());
    match (phase, ItemState::of(new, BEFORE)) {
        (Done, _) if is_unmarked => true,
        _ if is_unmarked => false,
        (Old, state) => state == ItemState::Absent,
        (Bridge | Switch | Copy, _) => true,
        (New | Done, ItemState::Absent | ItemState::Partial) => old.is_none(),
        (New | Done, ItemState::Row | ItemState::Tombstone | ItemState::Expired) => true,
        (Offline, _) => false,
    }
}

/// With one participant for each phase, and these operations: what, and by which of them.
pub fn world(stores: Stores, phases: &[Phase], operations: &[(Kind, usize)]) -> World {
    let row = match ItemState::of(stores.new.as_ref(), stores.now) {
        ItemState::Row => stores.new.clone(),
        ItemState::Tombstone | ItemState::Expired => None,
        ItemState::Absent => stores.old.clone(),
        ItemState::Partial => laid_over(stores.new.as_ref(), stores.old.as_ref()),
    };
    let start = row.map(|row| Life {
        expires: row.expires.is_some(),
        newer: [0, 1].map(|column| row.decided.contains(&column)),
        is_copy: matches!(row.mark, Some(Mark::Copied | Mark::Resaved)),
        ..Life::of(cells(&row))
    });
    let mut history = History::new(start);
    let numbered = (FIRST..).zip(operations);
    let operations = numbered.map(|(number, (kind, by))| {
        let meant = match (*kind, &stores.old) {
            (Kind::Repair, old) => Some(Meant::Mend(old.as_ref().map(cells))),
            (kind, _) => kind.meant(number),
        };
        let trace = match meant {
            Some(meant) => Some(history.add_write(meant)),
            None if kind.is_read() => Some(history.add_read()),
            None => None,
        };
        Operation {
            kind: *kind,
            number,
            by: *by,
            trace,
            progress: Progress::Waiting,
        }
    });
    let operations = operations.collect();
    World {
        stores,
        place: 0,
        participants: phases.to_vec(),
        operations,
        history,
        losses: 0,
        crashes: 0,
        late: None,
        broken: None,
        is_owned_broken: false,
    }
}

fn laid_over(partial: Option<&Row>, old: Option<&Row>) -> Option<Row> {
    let partial = partial?;
    let mut row = match old {
        Some(old) => old.clone(),
        None if partial.cells.iter().all(Option::is_none) => return None,
        None => row([0, 0]),
    };
    for cell in &partial.decided {
        row.cells[*cell] = partial.cells[*cell].clone();
    }
    row.decided = partial.decided.clone();
    Some(row)
}

/// Who meets in a pair of phases.
#[derive(Clone, Copy)]
pub struct Cast<'a> {
    /// Every two of them, and each twice, by any participant.
    pub writers: &'a [Kind],
    /// How many write at once.
    pub at_once: usize,
    /// Every one of them, by any participant.
    pub readers: &'a [Kind],
    /// How many read at once.
    pub reads: usize,
    /// Beside them, where a participant's phase allows it.
    pub tools: &'a [Kind],
    pub losses: u8,
}

impl<'a> Cast<'a> {
    /// Two writers and a reader, beside these tools.
    pub fn of(tools: &'a [Kind]) -> Self {
        Cast {
            writers: &[],
            at_once: 2,
            readers: &[Kind::Get],
            reads: 1,
            tools,
            losses: 0,
        }
    }
}

/// All that a cast can do when participants of two phases meet; or of one phase, given twice.
pub fn pair(one: Phase, other: Phase, cast: Cast) -> Vec<World> {
    let phases = if one == other {
        vec![one]
    } else {
        vec![one, other]
    };
    let by = |kinds: &[Kind]| -> Vec<(Kind, usize)> {
        let kinds = kinds.iter();
        let by_each = kinds.flat_map(|kind| (0..phases.len()).map(|by| (*kind, by)));
        by_each.collect()
    };
    let mut tools = vec![None];
    for tool in by(cast.tools) {
        let work = tool.0.work();
        if work.is_some_and(|work| phases[tool.1].allows(work)) {
            tools.push(Some(tool));
        }
    }
    let mut worlds = Vec::new();
    for writers in multisets(&by(cast.writers), cast.at_once) {
        for readers in multisets(&by(cast.readers), cast.reads) {
            for tool in &tools {
                let mut operations = writers.clone();
                operations.extend(&readers);
                operations.extend(*tool);
                let meet = |at| operations.iter().any(|(_, by)| *by == at);
                if !(0..phases.len()).all(meet) {
                    continue;
                }
                worlds.extend(stores(&phases).into_iter().map(|stores| World {
                    losses: cast.losses,
                    ..world(stores, &phases, &operations)
                }));
            }
        }
    }
    worlds
}

/// A copy that isn't as the old row is mended, while somebody writes and somebody reads.
pub fn repairs((one, other): (Phase, Phase), writers: &[Kind]) -> Vec<World> {
    let phases = [one, other];
    let repairer = usize::from(!one.allows(Work::Repair));
    let mut worlds = Vec::new();
    for old in [None, Some(row([OLD, OLD]))] {
        for mark in [Mark::Copied, Mark::Resaved] {
            let stores = Stores {
                old: old.clone(),
                new: Some(Row {
                    mark: Some(mark),
                    ..row([ITEM, ITEM])
                }),
                now: BEFORE,
            };
            for (writer, by) in writers.iter().flat_map(|kind| [(*kind, 0), (*kind, 1)]) {
                let operations = [
                    (Kind::Repair, repairer),
                    (writer, by),
                    (Kind::Get, 0),
                    (Kind::Get, 1),
                ];
                worlds.push(world(stores.clone(), &phases, &operations));
            }
        }
    }
    worlds
}

/// The same, with rows that expire: the old one, the new one, or both.
pub fn expiring(worlds: Vec<World>) -> Vec<World> {
    let mut all = Vec::new();
    for start in worlds {
        for (old, new) in [(true, false), (false, true), (true, true)] {
            let mut stores = start.stores.clone();
            let is_row = ItemState::of(stores.new.as_ref(), BEFORE) == ItemState::Row;
            if old && stores.old.is_none() || new && !is_row {
                continue;
            }
            if let (true, Some(row)) = (old, &mut stores.old) {
                row.expires = Some(EXPIRY);
            }
            if let (true, Some(item)) = (new, &mut stores.new) {
                item.expires = Some(EXPIRY);
            }
            let operations: Vec<(Kind, usize)> = start
                .operations
                .iter()
                .map(|operation| (operation.kind, operation.by))
                .collect();
            all.push(world(stores, &start.participants, &operations));
        }
    }
    all
}

/// Every choice of some of these, any of them more than once, in no order.
fn multisets<T: Clone>(of: &[T], size: usize) -> Vec<Vec<T>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut sets = Vec::new();
    for (at, first) in of.iter().enumerate() {
        for mut rest in multisets(&of[at..], size - 1) {
            rest.insert(0, first.clone());
            sets.push(rest);
        }
    }
    sets
}
