//! Changes of every kind, at random: a store answers as [`Change::of`] and [`Condition::holds`] say, and has
//! afterwards what they say.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::codec::ordered::compare;
use crate::express::{Comparison, ConditionExpression, ItemRule, Operand, Path};
use crate::item::{Attr, Mapping};
use crate::model::{Change, Condition, Edit, ItemState, Key, Mark, Returns, Row, Rule, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Changed, Reading, Store};

const NOW: i64 = 1_000;
/// Changes of each table.
const STEPS: usize = 80;

pub(super) async fn changes(store: &dyn Store, name: &str) {
    if !store.capabilities().change {
        return;
    }
    let mut seen = SeenNames::new();
    for (at, (columns, keys)) in shapes().into_iter().enumerate() {
        let table = table(&format!("{name}_{at}"), columns);
        store.create(&table).await.expect("a table can be created");
        let mut dice = Dice(at as u64 + 1);
        for _ in 0..STEPS {
            let key = &keys[dice.below(keys.len())];
            step(store, &table, key, &mut dice, &mut seen).await;
        }
    }
    let ifs = ["In", "Cells", "Judged", "Decides", "Marked", "Same"];
    let changes = [
        "Put",
        "Bury",
        "Remove",
        "Keep",
        "Strip",
        "Edit",
        "Edit of elements",
    ];
    for what in ifs.into_iter().chain(changes) {
        for held in [true, false] {
            assert!(seen.contains(&(what, held)), "{what} {held} never came up");
        }
    }
}

/// Tables by their keys, with some keys of each.
fn shapes() -> Vec<(Vec<Column>, Vec<Key>)> {
    let id = |ty| Column::new("id", ty, Role::Partition);
    let asc = |name: &str, ty| Column::new(name, ty, Role::Clustering(Order::Asc));
    let desc = |name: &str, ty| Column::new(name, ty, Role::Clustering(Order::Desc));
    let (a, b) = (|| Value::text("a"), || Value::text("#"));
    let (one, two) = (|| Value::Int(1), || Value::Int(-2));
    vec![
        (
            vec![id(Type::Text)],
            vec![Key::row(vec![a()], vec![]), Key::row(vec![b()], vec![])],
        ),
        (
            vec![id(Type::Int), asc("at", Type::Int)],
            vec![
                Key::row(vec![one()], vec![two()]),
                Key::row(vec![one()], vec![one()]),
            ],
        ),
        (
            vec![id(Type::Int), asc("at", Type::Text)],
            vec![
                Key::row(vec![one()], vec![a()]),
                Key::row(vec![two()], vec![a()]),
            ],
        ),
        (
            vec![
                id(Type::Text),
                Column::new("of", Type::Int, Role::Partition),
                desc("at", Type::Int),
                Column::new("shared", Type::Text, Role::Static),
            ],
            vec![
                Key::row(vec![a(), one()], vec![two()]),
                Key::statics(vec![a(), one()]),
                Key::statics(vec![b(), one()]),
            ],
        ),
    ]
}

fn table(name: &str, mut columns: Vec<Column>) -> Table {
    let cell = |name: &str, ty| Column::new(name, ty, Role::Regular);
    columns.extend([
        cell("body", Type::Text),
        cell("list", Type::List(Box::new(Type::Double))),
        cell("map", Type::Map(Box::new(Type::Text), Box::new(Type::Int))),
        cell("n", Type::Int),
        cell("names", Type::Set(Box::new(Type::Text))),
        cell("numbers", Type::Set(Box::new(Type::BigInt))),
        cell(
            "pairs",
            Type::Map(Box::new(Type::Double), Box::new(Type::Int)),
        ),
        cell("uuids", Type::Set(Box::new(Type::Uuid))),
    ]);
    let mut table = Table::new(name, columns);
    table.layout.expiry_attribute = Some("expires_at".into());
    table
}

/// What came up: the names of conditions and of changes, and whether the condition held.
type SeenNames = BTreeSet<(&'static str, bool)>;

async fn step(store: &dyn Store, table: &Table, key: &Key, dice: &mut Dice, seen: &mut SeenNames) {
    let read = async || {
        let row = store.read(table, key, Reading::Strong).await;
        row.expect("a key can be read")
    };
    let there = read().await;
    let change = change(table, key, dice);
    let on = condition(there.as_ref(), table, dice);
    let held = on.holds(there.as_ref());
    seen.extend([(name_of_if(&on), held), (name_of_change(&change), held)]);
    let returns = match dice.below(3) {
        0 => Returns::Nothing,
        1 => Returns::Old,
        _ => Returns::New,
    };
    let answer = match returns {
        Returns::Nothing => store.update_item(table, key, &change, &on).await,
        Returns::Old | Returns::New => {
            let told = store.update_item_and_return(table, key, &change, &on, returns);
            told.await
        }
    };
    let answer = answer.unwrap_or_else(|error| panic!("{change:?} {on:?}: {error:?}"));
    let (expected, after) = match held {
        true => {
            let width = table.cells().len();
            let after = change
                .of(key, width, there.clone())
                .expect("a lawful change");
            let answer = match returns {
                Returns::Nothing => Changed::Written,
                Returns::Old => Changed::Told(there.clone()),
                Returns::New => Changed::Told(after.clone()),
            };
            (answer, after)
        }
        false => (Changed::Refused(there.clone()), there.clone()),
    };
    let told = |answer: Changed| match answer {
        Changed::Told(row) => Changed::Told(row.map(|row| in_order(table, row))),
        answer @ (Changed::Written | Changed::Refused(_)) => answer,
    };
    let (answer, expected) = (told(answer), told(expected));
    assert_eq!(answer, expected, "{change:?} {on:?} where {there:?} is");
    let is = read().await.map(|row| in_order(table, row));
    let wanted = after.map(|row| in_order(table, row));
    assert_eq!(is, wanted, "after {change:?} {on:?} where {there:?} was");
}

/// That it is a row of which a condition on its item holds, or in some other state.
fn judged(there: Option<&Row>, table: &Table, is_met: bool, dice: &mut Dice) -> Condition {
    let n = || Operand::Path(Path::attribute("n"));
    let number = |number: i64| Operand::Value(Attr::N(number.to_string()));
    let has = table.cell("n").and_then(|at| there?.cells.get(at)?.clone());
    let mut condition = match has {
        Some(Value::Int(there)) => match dice.below(3) {
            0 => ConditionExpression::Compare(n(), Comparison::Equal, number(there.into())),
            1 => ConditionExpression::Compare(n(), Comparison::Less, number(i64::from(there) + 1)),
            _ => ConditionExpression::Or(vec![
                ConditionExpression::NotExists(Path::attribute("body")),
                ConditionExpression::Exists(Path::attribute("n")),
            ]),
        },
        Some(_) | None => ConditionExpression::NotExists(Path::attribute("n")),
    };
    if !is_met {
        condition = ConditionExpression::Not(Box::new(condition));
    }
    let mapping = Arc::new(Mapping::new(table).expect("a table that items can hold"));
    let rule = ItemRule::new(mapping, false, Some(condition), None);
    let others = ItemState::ALL
        .into_iter()
        .filter(|state| *state != ItemState::Row);
    Condition::Judged {
        rule: Rule::new(rule.expect("a condition on columns")),
        or: others.filter(|_| dice.one_in(3)).collect(),
        now: NOW,
    }
}

/// The same row with sets and maps in the order of their type: inside them order means nothing.
fn in_order(table: &Table, mut row: Row) -> Row {
    for (column, cell) in table.cells().iter().zip(&mut row.cells) {
        match (&column.ty, cell) {
            (Type::Set(ty), Some(Value::Set(values))) => {
                values.sort_by(|a, b| compare(ty, a, b));
                values.dedup();
            }
            (Type::Map(ty, _), Some(Value::Map(pairs))) => {
                pairs.sort_by(|(a, _), (b, _)| compare(ty, a, b));
            }
            _ => {}
        }
    }
    row
}

fn name_of_if(on: &Condition) -> &'static str {
    match on {
        Condition::Always => "Always",
        Condition::In { .. } => "In",
        Condition::Cells { .. } => "Cells",
        Condition::Judged { .. } => "Judged",
        Condition::Decides(_) => "Decides",
        Condition::Marked(_) => "Marked",
        Condition::Same(_) => "Same",
    }
}

fn name_of_change(change: &Change) -> &'static str {
    match change {
        Change::Put(_) => "Put",
        Change::Bury => "Bury",
        Change::Remove => "Remove",
        Change::Keep => "Keep",
        Change::Strip => "Strip",
        Change::Edit { cells, .. } if cells.iter().flatten().any(Edit::needs_old) => {
            "Edit of elements"
        }
        Change::Edit { .. } => "Edit",
    }
}

/// Numbers without a pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn mark(&mut self) -> Option<Mark> {
        let marks = [
            None,
            Some(Mark::Copied),
            Some(Mark::Resaved),
            Some(Mark::Application),
            Some(Mark::Tombstone),
            Some(Mark::Partial),
            Some(Mark::Partial),
        ];
        marks[self.below(marks.len())]
    }

    fn expires(&mut self) -> Option<i64> {
        [None, None, Some(NOW), Some(NOW + 1)][self.below(4)]
    }

    /// A value of a type: of few, so that they meet.
    fn value(&mut self, ty: &Type) -> Value {
        let number = self.below(4);
        match ty {
            Type::Int => Value::Int(number as i32 - 1),
            Type::BigInt => Value::BigInt(number as i64 - 1),
            Type::Double => Value::Double([0.5, -0.0, f64::NAN, 3.0][number].into()),
            Type::Uuid => Value::Uuid([0x40 | number as u8; 16]),
            Type::List(element) => Value::List(self.values(element)),
            Type::Set(element) => Value::Set(self.values(element)),
            Type::Map(key, element) => Value::Map(self.pairs(key, element)),
            _ => Value::text(["", "x", "é", "long long"][number]),
        }
    }

    /// Different values, in the order of their type.
    fn values(&mut self, ty: &Type) -> Vec<Value> {
        let count = 1 + self.below(3);
        let mut values: Vec<Value> = (0..count).map(|_| self.value(ty)).collect();
        values.sort_by(|a, b| compare(ty, a, b));
        values.dedup();
        values
    }

    fn pairs(&mut self, key: &Type, ty: &Type) -> Vec<(Value, Value)> {
        let keys = self.values(key);
        keys.into_iter().map(|key| (key, self.value(ty))).collect()
    }

    fn edit(&mut self, ty: &Type) -> Edit {
        match (ty, self.below(4)) {
            (_, 0) => Edit::Clear,
            (Type::List(element), 1 | 2) => Edit::Append(self.values(element)),
            (Type::Set(element), 1) => Edit::AddToSet(self.values(element)),
            (Type::Set(element), 2) => Edit::RemoveFromSet(self.values(element)),
            (Type::Map(key, element), 1) => Edit::PutInMap(self.pairs(key, element)),
            (Type::Map(key, _), 2) => Edit::RemoveFromMap(self.values(key)),
            _ => Edit::Set(self.value(ty)),
        }
    }
}

fn change(table: &Table, key: &Key, dice: &mut Dice) -> Change {
    let kind = dice.below(9);
    if kind == 0 {
        return match dice.below(2) {
            0 => Change::Remove,
            _ => Change::Keep,
        };
    }
    if kind == 1 {
        return match dice.below(2) {
            0 => Change::Bury,
            _ => Change::Strip,
        };
    }
    let has = |column: &Column| (column.role == Role::Static) == key.is_static();
    let columns = table.cells().iter();
    if kind > 3 {
        return Change::Edit {
            cells: columns
                .map(|column| (has(column) && dice.one_in(3)).then(|| dice.edit(&column.ty)))
                .collect(),
            mark: dice.mark(),
            expires: dice.expires(),
        };
    }
    let cells =
        columns.map(|column| (has(column) && !dice.one_in(3)).then(|| dice.value(&column.ty)));
    let mut row = Row::new(key.clone(), cells.collect());
    row.mark = dice.mark();
    row.expires = dice.expires();
    if row.mark == Some(Mark::Partial) {
        row.decided = (0..row.cells.len()).filter(|_| dice.one_in(2)).collect();
    }
    Change::Put(row)
}

/// A condition, often one that holds.
fn condition(there: Option<&Row>, table: &Table, dice: &mut Dice) -> Condition {
    let is_met = !dice.one_in(3);
    let wrong = Some(Value::Int(99));
    match dice.below(10) {
        0 => Condition::Always,
        8 | 9 => judged(there, table, is_met, dice),
        1 | 2 => {
            let state = ItemState::of(there, NOW);
            let others = ItemState::ALL.into_iter().filter(|other| *other != state);
            let mut states: Vec<ItemState> = others.filter(|_| dice.one_in(2)).collect();
            states.extend(is_met.then_some(state));
            Condition::In { states, now: NOW }
        }
        3 | 4 => {
            let cells = there.map_or(&[][..], |row| &row.cells);
            let mut expected: Vec<_> = cells.iter().cloned().enumerate().collect();
            expected.retain(|_| dice.one_in(2));
            if !is_met {
                expected.extend(table.cell("n").map(|at| (at, wrong)));
            }
            Condition::Cells { expected, now: NOW }
        }
        5 => {
            let decided = there.map(|row| row.decided.clone()).unwrap_or_default();
            Condition::Decides(if is_met { decided } else { BTreeSet::from([0]) })
        }
        6 => Condition::Marked(match there.and_then(|row| row.mark).filter(|_| is_met) {
            Some(mark) => mark,
            None => Mark::Resaved,
        }),
        _ => {
            let mut row = match there {
                Some(row) => row.clone(),
                None => Row::new(Key::statics(vec![]), vec![None; table.cells().len()]),
            };
            match dice.below(4) {
                _ if is_met => {}
                0 => row.mark = Some(Mark::Resaved),
                1 => row.expires = Some(NOW + 2),
                2 => row.decided.extend([0]),
                _ => {
                    let at = table.cell("n").unwrap_or(0);
                    row.cells[at] = wrong;
                    // A partial item has nothing that it doesn't decide.
                    row.decided
                        .extend((row.mark == Some(Mark::Partial)).then_some(at));
                }
            }
            Condition::Same(row.into())
        }
    }
}
