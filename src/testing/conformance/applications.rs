//! What applications do to single rows of an old store.

use super::get;
use crate::error::Kind;
use crate::model::{Add, Edit, Key, Mark, Mutation, Row, Times, Update, Value};
use crate::schema::{Column, Order, Role, Table, Type};
use crate::store::{Changed, Reading, Store};

pub(super) async fn run(store: &dyn Store, prefix: &str) {
    let table = notes(&format!("{prefix}_notes"));
    if !store.capabilities().write {
        let put = Mutation::Put(note("a", 1, Some("x")));
        let error = store.apply(&table, &put).await;
        let error = error.expect_err("what a store can't do it refuses");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        return;
    }
    store.create(&table).await.expect("a table can be created");
    let of = Notes { store, table };
    whole_rows(&of).await;
    partial_rows(&of).await;
    updates(&of).await;
    elements(&of).await;
    inserts(&of).await;
    conditions(&of).await;
    static_rows(&of).await;
    counters(store, &format!("{prefix}_added")).await;
}

/// `(id text, at int DESC; shared text static, body text, counts map<text, int>, log list<int>, n bigint,
/// tags set<text>)`.
fn notes(name: &str) -> Table {
    let text = || Box::new(Type::Text);
    let int = || Box::new(Type::Int);
    Table::new(
        name,
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Desc)),
            Column::new("shared", Type::Text, Role::Static),
            Column::new("body", Type::Text, Role::Regular),
            Column::new("counts", Type::Map(text(), int()), Role::Regular),
            Column::new("log", Type::List(int()), Role::Regular),
            Column::new("n", Type::BigInt, Role::Regular),
            Column::new("tags", Type::Set(text()), Role::Regular),
        ],
    )
}

const SHARED: usize = 0;
const BODY: usize = 1;
const COUNTS: usize = 2;
const LOG: usize = 3;
const N: usize = 4;
const TAGS: usize = 5;

struct Notes<'a> {
    store: &'a dyn Store,
    table: Table,
}

impl Notes<'_> {
    async fn write(&self, mutation: Mutation) -> Changed {
        let changed = self.store.apply(&self.table, &mutation).await;
        let changed = changed.unwrap_or_else(|error| panic!("{mutation:?}: {error:?}"));
        match changed {
            Changed::Written => Changed::Written,
            Changed::Told(row) => Changed::Told(row.map(plain)),
            Changed::Refused(met) => Changed::Refused(met.map(plain)),
        }
    }

    async fn written(&self, mutation: Mutation) {
        let said = format!("{mutation:?}");
        assert_eq!(self.write(mutation).await, Changed::Written, "{said}");
    }

    async fn read(&self, key: &Key) -> Option<Row> {
        let read = self.store.read(&self.table, key, Reading::Strong).await;
        let read = read.expect("a row can be read").map(plain);
        let got = get(self.store, &self.table, key).await.map(plain);
        assert_eq!(read, got, "both ways to read a row");
        read
    }

    async fn assert(&self, expected: &Row, why: &str) {
        assert_eq!(
            self.read(&expected.key).await.as_ref(),
            Some(expected),
            "{why}"
        );
    }
}

/// Sets and maps in one order, and no times: a store may keep them otherwise.
fn plain(mut row: Row) -> Row {
    for cell in row.cells.iter_mut().flatten() {
        match cell {
            Value::Set(set) => set.sort_by_key(|value| format!("{value:?}")),
            Value::Map(map) => map.sort_by_key(|(key, _)| format!("{key:?}")),
            _ => {}
        }
    }
    row.times = Times::OfRow;
    row
}

fn note(id: &str, at: i32, body: Option<&str>) -> Row {
    let key = Key::row(vec![Value::text(id)], vec![Value::Int(at)]);
    let mut row = Row::new(key, vec![None; 6]);
    row.cells[BODY] = body.map(Value::text);
    row
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().copied().map(Value::text).collect()
}

fn ints(ints: &[i32]) -> Vec<Value> {
    ints.iter().copied().map(Value::Int).collect()
}

fn entries(entries: &[(&str, i32)]) -> Vec<(Value, Value)> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (Value::text(*key), Value::Int(*value)))
        .collect()
}

fn update<const N: usize>(key: &Key, edits: [(usize, Edit); N]) -> Update {
    let mut cells = vec![None; 6];
    for (at, edit) in edits {
        cells[at] = Some(edit);
    }
    Update {
        key: key.clone(),
        cells,
        expires: None,
    }
}

async fn whole_rows(of: &Notes<'_>) {
    let mut full = note("whole", 1, Some("x"));
    full.cells[COUNTS] = Some(Value::Map(entries(&[("a", 1), ("b", 2)])));
    full.cells[LOG] = Some(Value::List(ints(&[3, 1, 3])));
    full.cells[N] = Some(Value::BigInt(i64::MIN));
    full.cells[TAGS] = Some(Value::Set(texts(&["", "p", "q"])));
    of.written(Mutation::Put(full.clone())).await;
    of.assert(&full, "a put row reads back").await;
    let mut other = note("whole", 1, None);
    other.cells[LOG] = Some(Value::List(ints(&[9])));
    other.cells[TAGS] = Some(Value::Set(texts(&["r"])));
    of.written(Mutation::Put(other.clone())).await;
    of.assert(&other, "a put replaces the whole row").await;
    let bare = note("whole", 1, None);
    of.written(Mutation::Put(bare.clone())).await;
    of.assert(&bare, "a row of nulls is a row").await;

    let neighbour = note("whole", 2, Some("stays"));
    of.written(Mutation::Put(neighbour.clone())).await;
    of.written(Mutation::Delete(bare.key.clone())).await;
    assert_eq!(of.read(&bare.key).await, None, "a deleted row is gone");
    of.written(Mutation::Delete(bare.key)).await;
    of.assert(&neighbour, "its neighbour stays").await;
}

/// As an `INSERT` that names some columns only: the row is there afterwards, whatever they are.
async fn partial_rows(of: &Notes<'_>) {
    let partial = |body: Option<&str>| {
        let mut row = note("p", 1, body);
        row.mark = Some(Mark::Partial);
        row.decided = [BODY, COUNTS].into();
        row
    };
    of.written(Mutation::Put(partial(None))).await;
    of.assert(&note("p", 1, None), "a row of nothing but its key")
        .await;
    let mut whole = note("p", 1, Some("x"));
    whole.cells[COUNTS] = Some(Value::Map(entries(&[("a", 1)])));
    whole.cells[N] = Some(Value::BigInt(7));
    of.written(Mutation::Put(whole.clone())).await;
    of.written(Mutation::Put(partial(Some("y")))).await;
    whole.cells[BODY] = Some(Value::text("y"));
    whole.cells[COUNTS] = None;
    of.assert(&whole, "what isn't decided stays").await;
}

async fn updates(of: &Notes<'_>) {
    let mut row = note("updates", 1, Some("new"));
    let body = |text: &str| (BODY, Edit::Set(Value::text(text)));
    of.written(Mutation::Update(update(&row.key, [body("new")])))
        .await;
    of.assert(&row, "an update makes its row").await;
    row.cells[N] = Some(Value::BigInt(5));
    let n = (N, Edit::Set(Value::BigInt(5)));
    of.written(Mutation::Update(update(&row.key, [n]))).await;
    of.assert(&row, "the other columns stay").await;
    row.cells[BODY] = None;
    of.written(Mutation::Update(update(&row.key, [(BODY, Edit::Clear)])))
        .await;
    of.assert(&row, "a column can be cleared").await;
    of.written(Mutation::Update(update(&row.key, []))).await;
    of.assert(&row, "an update of nothing changes nothing")
        .await;

    let nowhere = note("updates", 2, None).key;
    let nothing = [
        update(&nowhere, []),
        update(&nowhere, [(BODY, Edit::Clear)]),
        update(&nowhere, [(TAGS, Edit::RemoveFromSet(texts(&["x"])))]),
        update(&nowhere, [(COUNTS, Edit::RemoveFromMap(texts(&["x"])))]),
        update(
            &nowhere,
            [(LOG, Edit::Append(vec![])), (TAGS, Edit::AddToSet(vec![]))],
        ),
    ];
    for update in nothing {
        of.written(Mutation::Update(update)).await;
        assert_eq!(of.read(&nowhere).await, None, "it gives no column a value");
    }
}

async fn elements(of: &Notes<'_>) {
    // It has something else, too: a row without any value is gone where only updates made it.
    let mut row = note("elements", 1, Some("x"));
    of.written(Mutation::Put(row.clone())).await;
    let map = |pairs| Some(Value::Map(entries(pairs)));
    let steps = [
        (
            TAGS,
            Edit::AddToSet(texts(&["b", "a"])),
            Some(Value::Set(texts(&["a", "b"]))),
        ),
        (
            TAGS,
            Edit::AddToSet(texts(&["b", "c"])),
            Some(Value::Set(texts(&["a", "b", "c"]))),
        ),
        (
            TAGS,
            Edit::RemoveFromSet(texts(&["a", "z"])),
            Some(Value::Set(texts(&["b", "c"]))),
        ),
        (TAGS, Edit::RemoveFromSet(texts(&["b", "c"])), None),
        (LOG, Edit::Append(ints(&[2])), Some(Value::List(ints(&[2])))),
        (
            LOG,
            Edit::Append(ints(&[1, 2])),
            Some(Value::List(ints(&[2, 1, 2]))),
        ),
        (
            LOG,
            Edit::Append(vec![]),
            Some(Value::List(ints(&[2, 1, 2]))),
        ),
        (LOG, Edit::Clear, None),
        (
            COUNTS,
            Edit::PutInMap(entries(&[("a", 1), ("b", 2)])),
            map(&[("a", 1), ("b", 2)]),
        ),
        (
            COUNTS,
            Edit::PutInMap(entries(&[("b", 3)])),
            map(&[("a", 1), ("b", 3)]),
        ),
        (
            COUNTS,
            Edit::RemoveFromMap(texts(&["a", "z"])),
            map(&[("b", 3)]),
        ),
        (
            COUNTS,
            Edit::Set(Value::Map(entries(&[("c", 4)]))),
            map(&[("c", 4)]),
        ),
        (COUNTS, Edit::RemoveFromMap(texts(&["c"])), None),
    ];
    for (at, edit, expected) in steps {
        let said = format!("{edit:?}");
        of.written(Mutation::Update(update(&row.key, [(at, edit)])))
            .await;
        row.cells[at] = expected;
        of.assert(&row, &said).await;
    }
    let wrong = Mutation::Update(update(&row.key, [(BODY, Edit::Append(ints(&[1])))]));
    let error = of.store.apply(&of.table, &wrong).await;
    let error = error.expect_err("a text has no elements");
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    of.assert(&row, "what is refused changes nothing").await;
}

async fn inserts(of: &Notes<'_>) {
    let mut first = note("inserts", 1, Some("first"));
    first.cells[TAGS] = Some(Value::Set(texts(&["a"])));
    let second = note("inserts", 1, Some("second"));
    of.written(Mutation::Insert(first.clone())).await;
    let refused = of.write(Mutation::Insert(second)).await;
    assert_eq!(
        refused,
        Changed::Refused(Some(first.clone())),
        "it says what is there"
    );
    of.assert(&first, "what is there stays").await;
    let bare = note("inserts", 2, None);
    of.written(Mutation::Insert(bare.clone())).await;
    let refused = of
        .write(Mutation::Insert(note("inserts", 2, Some("x"))))
        .await;
    assert_eq!(
        refused,
        Changed::Refused(Some(bare)),
        "a row of nulls is in the way"
    );
}

async fn conditions(of: &Notes<'_>) {
    let mut row = note("conditions", 1, Some("x"));
    row.cells[TAGS] = Some(Value::Set(texts(&["a"])));
    let nowhere = note("conditions", 2, None).key;
    let change = |key: &Key, n: i64, expected: &[(usize, Option<Value>)]| Mutation::UpdateIf {
        update: update(key, [(N, Edit::Set(Value::BigInt(n)))]),
        expected: expected.to_vec(),
    };
    let absent = [
        vec![],
        vec![(BODY, None)],
        vec![(BODY, Some(Value::text("x")))],
        vec![(BODY, None), (N, Some(Value::BigInt(1)))],
    ];
    for expected in absent {
        let refused = of.write(change(&nowhere, 1, &expected)).await;
        assert_eq!(
            refused,
            Changed::Refused(None),
            "{expected:?} of a row that isn't there"
        );
        assert_eq!(of.read(&nowhere).await, None);
    }
    of.written(Mutation::Put(row.clone())).await;
    let tags = row.cells[TAGS].clone();
    let body = row.cells[BODY].clone();
    let steps = [
        (vec![(BODY, Some(Value::text("y")))], false),
        (
            vec![(BODY, body.clone()), (N, Some(Value::BigInt(7)))],
            false,
        ),
        (vec![(BODY, None)], false),
        (vec![(N, None), (LOG, None)], true),
        (vec![(N, None)], false),
        (vec![], true),
        (vec![(BODY, body.clone())], true),
        (vec![(TAGS, tags), (BODY, body), (COUNTS, None)], true),
    ];
    for (n, (expected, holds)) in steps.into_iter().enumerate() {
        let changed = of.write(change(&row.key, n as i64, &expected)).await;
        if holds {
            assert_eq!(changed, Changed::Written, "{expected:?}");
            row.cells[N] = Some(Value::BigInt(n as i64));
        } else {
            assert_eq!(changed, Changed::Refused(Some(row.clone())), "{expected:?}");
        }
        of.assert(&row, "written or not, whole").await;
    }
    let check = |expected| Mutation::UpdateIf {
        update: update(&row.key, []),
        expected,
    };
    of.written(check(vec![(BODY, Some(Value::text("x")))]))
        .await;
    let refused = of.write(check(vec![(BODY, None)])).await;
    assert_eq!(
        refused,
        Changed::Refused(Some(row.clone())),
        "a condition without a change"
    );
}

async fn static_rows(of: &Notes<'_>) {
    let key = Key::statics(vec![Value::text("statics")]);
    let shared = |text: &str| {
        let mut row = Row::new(key.clone(), vec![None; 6]);
        row.cells[SHARED] = Some(Value::text(text));
        row
    };
    let row = note("statics", 1, Some("x"));
    of.written(Mutation::Insert(shared("first"))).await;
    let refused = of.write(Mutation::Insert(shared("second"))).await;
    assert_eq!(refused, Changed::Refused(Some(shared("first"))));
    of.written(Mutation::Put(row.clone())).await;
    of.assert(&shared("first"), "a row leaves the static columns alone")
        .await;
    let set = |text: &str| update(&key, [(SHARED, Edit::Set(Value::text(text)))]);
    of.written(Mutation::Update(set("second"))).await;
    of.assert(&shared("second"), "an update of static columns")
        .await;
    let update = |expected: &str, text| Mutation::UpdateIf {
        update: set(text),
        expected: vec![(SHARED, Some(Value::text(expected)))],
    };
    let refused = of.write(update("first", "third")).await;
    assert_eq!(refused, Changed::Refused(Some(shared("second"))));
    of.written(update("second", "third")).await;
    let exists = |key: &Key| Mutation::UpdateIf {
        update: Update {
            key: key.clone(),
            ..set("fourth")
        },
        expected: vec![],
    };
    of.written(exists(&key)).await;
    let other = Key::statics(vec![Value::text("no statics")]);
    assert_eq!(of.write(exists(&other)).await, Changed::Refused(None));
    of.written(Mutation::Delete(row.key.clone())).await;
    of.assert(&shared("fourth"), "its rows gone, the static row stays")
        .await;
    of.written(Mutation::Put(row.clone())).await;
    of.written(Mutation::Delete(key.clone())).await;
    assert_eq!(of.read(&key).await, None, "a deleted static row is gone");
    of.assert(&row, "and its rows stay").await;
    of.written(Mutation::Put(shared("again"))).await;
    of.assert(&shared("again"), "static columns can be put")
        .await;
}

async fn counters(store: &dyn Store, name: &str) {
    let table = super::counters::counters(name);
    store.create(&table).await.expect("a table can be created");
    let key = super::counters::counted("c", [None; 2], [None; 2]).key;
    let add = async |by: [Option<i64>; 2]| {
        let add = Add {
            key: key.clone(),
            by: by.into(),
            mark: None,
            token: None,
        };
        store
            .add(&table, &add)
            .await
            .expect("counters can be added to");
        let row = get(store, &table, &key).await;
        row.map(|row| row.cells)
    };
    let totals = |down: Option<i64>, up: Option<i64>| {
        Some(vec![down.map(Value::BigInt), up.map(Value::BigInt)])
    };
    assert_eq!(
        add([None, Some(5)]).await,
        totals(None, Some(5)),
        "an add makes its row"
    );
    assert_eq!(add([Some(-3), Some(1)]).await, totals(Some(-3), Some(6)));
    assert_eq!(add([None, Some(0)]).await, totals(Some(-3), Some(6)));
}
