//! Whole verifications between stores in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::mapping::transform::{ColumnRule, ExpiryFrom, ExpiryRule, Mask};
use crate::model::{CellTimes, Key, Mark};
use crate::schema::{Column, Layout, Order, Role, Table, Type};
use crate::store::memory::Memory;
use crate::store::{Guard, Put, Store};

struct Bench {
    old: Arc<Memory>,
    new: Arc<Memory>,
    transform: Arc<Transform>,
    frozen_at: Option<i64>,
    sample: f64,
    folder: tempfile::TempDir,
}

fn column(name: &str, ty: Type, role: Role) -> Column {
    Column {
        name: name.into(),
        ty,
        frozen: false,
        role,
    }
}

fn people() -> Table {
    let clustering = Role::Clustering(Order::Asc);
    Table::new(
        "people",
        vec![
            column("id", Type::Text, Role::Partition),
            column("at", Type::Int, clustering),
            column("city", Type::Text, Role::Static),
            column("name", Type::Text, Role::Regular),
            column("tags", Type::Set(Box::new(Type::Int)), Role::Regular),
        ],
    )
}

fn votes() -> Table {
    Table::new(
        "votes",
        vec![
            column("id", Type::Text, Role::Partition),
            column("down", Type::Counter, Role::Regular),
            column("up", Type::Counter, Role::Regular),
        ],
    )
}

/// A person's row: `city`, `name`, `tags`.
fn person(id: usize, at: i32, name: &str) -> Row {
    let key = Key::row(vec![Value::text(format!("p{id}"))], vec![Value::Int(at)]);
    let tags = Value::Set(vec![Value::Int(1), Value::Int(at)]);
    Row::new(key, vec![None, Some(Value::text(name)), Some(tags)])
}

fn vote(id: usize, old: [i64; 2], mark: Option<Mark>, beyond: i64) -> Row {
    let key = Key::row(vec![Value::text(format!("v{id}"))], vec![]);
    let cells = old.map(|total| Some(Value::BigInt(total + beyond)));
    let mut row = Row::new(key, cells.into());
    row.mark = mark;
    if mark.is_some() {
        row.watermarks = old.map(Some).into();
    }
    row
}

fn marked(mut row: Row, mark: Mark) -> Row {
    row.mark = Some(mark);
    row
}

async fn put(store: &Memory, table: &Table, rows: &[Row]) {
    let puts = store.put(table, rows, &Guard::Always).await;
    assert!(puts.rows.iter().all(|put| matches!(put, Ok(Put::Written))));
}

async fn purge(store: &Memory, table: &Table, key: Key) {
    let purged = store.purge(table, vec![key], &Guard::Always).await;
    assert!(purged.rows.iter().all(Result::is_ok));
}

impl Bench {
    async fn of(
        source: Table,
        rules: &BTreeMap<String, ColumnRule>,
        expiry: Option<&ExpiryRule>,
    ) -> Self {
        let transform = Transform::new(
            &source,
            rules,
            expiry,
            Some(b"a key"),
            "target",
            Layout::default(),
        );
        let transform = Arc::new(transform.unwrap());
        let (old, new) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
        old.create(&source).await.unwrap();
        new.create(transform.target()).await.unwrap();
        Bench {
            old,
            new,
            transform,
            frozen_at: None,
            sample: 1.0,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// People, all of them copied: three rows and a static one in each partition.
    async fn people(count: usize) -> Self {
        let bench = Bench::of(people(), &BTreeMap::new(), None).await;
        bench.fill(count).await;
        bench
    }

    async fn fill(&self, count: usize) {
        for id in 0..count {
            let mut rows: Vec<Row> = (0..3).map(|at| person(id, at, "someone")).collect();
            let statics = Key::statics(rows[0].key.partition.clone());
            rows.push(Row::new(
                statics,
                vec![Some(Value::text("here")), None, None],
            ));
            self.both(&rows).await;
        }
    }

    /// Rows of the old table that were copied.
    async fn both(&self, rows: &[Row]) {
        put(&self.old, self.transform.source(), rows).await;
        let copied = rows.iter().cloned().map(|row| {
            let mut row = marked(self.transform.apply(row).unwrap(), Mark::Copied);
            row.times = Vec::new();
            row
        });
        let copied: Vec<Row> = copied.collect();
        put(&self.new, self.transform.target(), &copied).await;
    }

    async fn put_old(&self, rows: &[Row]) {
        put(&self.old, self.transform.source(), rows).await;
    }

    async fn put_new(&self, rows: &[Row]) {
        put(&self.new, self.transform.target(), rows).await;
    }

    fn verifier(&self, old: Arc<dyn Store>) -> Verifier {
        let is_counter = self.transform.source().is_counter();
        Verifier {
            old: Old(old),
            new: New(self.new.clone()),
            transform: self.transform.clone(),
            counters: is_counter.then_some(Rules::default()),
            frozen_at: self.frozen_at,
            options: Options {
                delay: Duration::ZERO,
                page_bytes: 700,
                sample: self.sample,
                round_rows: 3,
                keep_every: Duration::from_millis(1),
                ..Options::default()
            },
        }
    }

    fn checkpoint(&self, folder: &Path) -> Checkpoint {
        let belongs = Belongs {
            plan: "test".into(),
            old: ("people".into(), "1".into()),
            new: ("target".into(), "2".into()),
            mapping: "m".into(),
            freeze: 1,
            begun: "once".into(),
            reading: "one".into(),
        };
        let tables = (
            self.transform.source().clone(),
            self.transform.target().clone(),
        );
        Checkpoint::open(folder, "people", belongs, BTreeMap::new(), tables).unwrap()
    }

    async fn run(&self, old: Arc<dyn Store>, repair: Option<bool>) -> Result<Outcome> {
        let verifier = self.verifier(old);
        let mut checkpoint = self.checkpoint(self.folder.path());
        let stop = CancellationToken::new();
        let live = Live::default();
        let outcome = verifier.run(&mut checkpoint, repair, &live, &stop).await;
        checkpoint.remove();
        outcome
    }

    async fn verify(&self) -> Found {
        self.run(self.old.clone(), None).await.unwrap().found
    }

    async fn repair(&self, delete_extra: bool) -> Mended {
        let outcome = self.run(self.old.clone(), Some(delete_extra)).await;
        outcome.unwrap().mended.unwrap()
    }
}

/// What was found, by kind and key.
fn named(found: &Found) -> Vec<String> {
    let name = |example: &Example| format!("{} {}", example.kind, example.key);
    let mut names: Vec<String> = found.examples.iter().map(name).collect();
    names.sort();
    assert_eq!(names.len() as u64, found.differences());
    names
}

#[tokio::test]
async fn equal_tables_are_clean_and_no_row_is_read_alone() {
    let bench = Bench::people(200).await;
    let timed = [bench.old.clone(), bench.new.clone()];
    let [old, new] = timed.map(|store| Arc::new(Timed::of(store, &[])));
    let verifier = Verifier {
        new: New(new.clone()),
        ..bench.verifier(old.clone())
    };
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), Live::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let found = outcome.unwrap().found;
    assert_eq!(live.rows(), (800, 800));
    for store in [old, new] {
        assert_eq!(store.alone.load(Ordering::Relaxed), 0);
    }
    assert_eq!(
        found,
        Found {
            old_rows: 800,
            new_rows: 800,
            ..Found::default()
        }
    );
}

#[tokio::test]
async fn each_planted_difference_is_found_and_named_and_nothing_else() {
    let bench = Bench::people(120).await;
    bench
        .put_new(&[marked(person(7, 1, "somebody"), Mark::Copied)])
        .await;
    purge(&bench.new, bench.transform.target(), person(8, 2, "").key).await;
    bench
        .put_new(&[marked(person(500, 0, "nobody"), Mark::Copied)])
        .await;
    bench
        .put_new(&[person(501, 0, "a stranger"), person(9, 0, "a stranger")])
        .await;
    // What the application owns is none of it, and neither are the old rows of that.
    bench
        .put_new(&[marked(person(10, 0, "mine"), Mark::Application)])
        .await;
    bench
        .put_new(&[marked(person(502, 0, "mine"), Mark::Application)])
        .await;
    let mut tombstone = marked(person(11, 0, ""), Mark::Tombstone);
    tombstone.cells = vec![None; 3];
    bench.put_new(&[tombstone]).await;
    let mut partial = marked(person(12, 0, "first"), Mark::Partial);
    partial.decided = [1].into();
    let mut whole = partial.clone();
    whole.key = person(503, 0, "").key;
    bench.put_new(&[partial, whole]).await;
    let found = bench.verify().await;
    assert_eq!(
        named(&found),
        [
            "different id=p7, at=1",
            "extra id=p500, at=0",
            "foreign id=p501, at=0",
            "foreign id=p9, at=0",
            "missing id=p8, at=2",
            "partial id=p12, at=0",
        ]
    );
    let example = found.examples.iter().find(|one| one.kind == "different");
    let values = Values {
        column: "name".into(),
        old: Some("someone".into()),
        new: Some("somebody".into()),
    };
    assert_eq!(example.unwrap().columns, [values]);

    let mended = bench.repair(false).await;
    let expected = Mended {
        copied: 1,
        completed: 1,
        rewritten: 1,
        left: 1,
        ..Mended::default()
    };
    assert_eq!(mended, expected);
    assert_eq!(bench.repair(true).await.deleted, 1);
    for foreign in [person(501, 0, ""), person(9, 0, "")] {
        purge(&bench.new, bench.transform.target(), foreign.key).await;
    }
    assert_eq!(named(&bench.verify().await), ["missing id=p9, at=0"]);
    bench.repair(false).await;
    assert!(bench.verify().await.is_clean());
    // The application's own were not touched.
    let mine = bench
        .new
        .get(bench.transform.target(), &[person(10, 0, "").key])
        .await
        .unwrap();
    assert_eq!(mine[0].as_ref().unwrap().mark, Some(Mark::Application));
}

#[tokio::test]
async fn every_row_may_differ_and_each_is_counted_once() {
    let bench = Bench::of(people(), &BTreeMap::new(), None).await;
    let rows: Vec<Row> = (0..90).map(|id| person(id, 0, "someone")).collect();
    bench.put_old(&rows).await;
    // One partition has more rows than a round takes.
    let wide: Vec<Row> = (0..40).map(|at| person(1_000, at, "someone")).collect();
    bench.put_old(&wide).await;
    let found = bench.verify().await;
    assert_eq!((found.missing, found.differences()), (130, 130));
    let extra: Vec<Row> = (0..50)
        .map(|id| marked(person(2_000 + id, 0, "x"), Mark::Resaved))
        .collect();
    bench.put_new(&extra).await;
    let found = bench.verify().await;
    assert_eq!(
        (found.missing, found.extra, found.differences()),
        (130, 50, 180)
    );
    assert_eq!(bench.repair(true).await.rows(), 180);
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn masked_and_renamed_columns_are_compared_as_the_new_store_has_them() {
    let hmac = ColumnRule {
        mask: Some(Mask::Hmac),
        ..ColumnRule::default()
    };
    let renamed = ColumnRule {
        rename: Some("called".into()),
        ..ColumnRule::default()
    };
    let dropped = ColumnRule {
        drop: true,
        ..ColumnRule::default()
    };
    let rules = [("id", hmac), ("name", renamed), ("city", dropped)];
    let rules = rules.map(|(name, rule)| (name.to_owned(), rule)).into();
    let bench = Bench::of(people(), &rules, None).await;
    let rows: Vec<Row> = (0..60).map(|id| person(id, 0, "someone")).collect();
    bench.both(&rows).await;
    assert!(bench.verify().await.is_clean());

    bench
        .put_old(&[person(3, 0, "another"), person(77, 0, "missing")])
        .await;
    let mine = bench.transform.apply(person(4, 0, "mine")).unwrap();
    bench.put_new(&[marked(mine, Mark::Application)]).await;
    let found = bench.verify().await;
    assert_eq!(
        (found.different, found.missing, found.differences()),
        (1, 1, 2)
    );
    let text = format!("{:?}", found.examples);
    assert!(
        !text.contains("p3") && !text.contains("p77"),
        "keys stay masked: {text}"
    );
    assert!(text.contains("called"), "{text}");
    let mended = bench.repair(false).await;
    assert_eq!((mended.rewritten, mended.copied), (1, 1));
    assert!(bench.verify().await.is_clean());
}

#[tokio::test]
async fn counters_are_compared_by_their_watermarks() {
    let bench = Bench::of(votes(), &BTreeMap::new(), None).await;
    for id in 0..100 {
        bench.put_old(&[vote(id, [id as i64, 7], None, 0)]).await;
        // To half of them an application has added in the new store.
        let (mark, beyond) = match id % 2 {
            0 => (Mark::Copied, 0),
            _ => (Mark::Application, 5),
        };
        bench
            .put_new(&[vote(id, [id as i64, 7], Some(mark), beyond)])
            .await;
    }
    // One that only the application has, and one that was never counted.
    let mut own = vote(200, [3, 3], Some(Mark::Application), 0);
    own.watermarks = Vec::new();
    let never = Row::new(vote(201, [0, 0], None, 0).key, vec![None, None]);
    bench.put_new(&[own]).await;
    bench.put_old(&[never]).await;
    let found = bench.verify().await;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.old_total, (0..100).map(|id| id + 7).sum::<i128>());
    assert_eq!(found.new_total, found.old_total + 50 * 10 + 6);

    bench
        .put_new(&[vote(2, [2, 7], Some(Mark::Copied), 1)])
        .await;
    bench
        .put_new(&[vote(3, [2, 7], Some(Mark::Application), 9)])
        .await;
    purge(
        &bench.new,
        bench.transform.target(),
        vote(4, [0, 0], None, 0).key,
    )
    .await;
    bench
        .put_new(&[vote(300, [1, 1], Some(Mark::Copied), 0)])
        .await;
    bench.put_new(&[vote(301, [1, 1], None, 0)]).await;
    let found = bench.verify().await;
    assert_eq!(
        named(&found),
        [
            "counters_wrong id=v2",
            "counters_wrong id=v3",
            "extra id=v300",
            "foreign id=v301",
            "missing id=v4",
        ]
    );
    // What is folded isn't all: a total that is off has to be looked at by somebody.
    let mended = bench.repair(false).await;
    assert_eq!((mended.folded, mended.left), (2, 1));
    let found = bench.verify().await;
    assert_eq!(
        named(&found),
        ["counters_wrong id=v2", "extra id=v300", "foreign id=v301"]
    );
    let item = bench
        .new
        .get(bench.transform.target(), &[vote(3, [0, 0], None, 0).key])
        .await
        .unwrap();
    let cells: Vec<Option<Value>> = [12, 16].map(|total| Some(Value::BigInt(total))).into();
    assert_eq!(
        item[0].as_ref().unwrap().cells,
        cells,
        "the application's 9 are there"
    );
}

fn expiring(mut row: Row, at: i64, cells: &[usize]) -> Row {
    row.times = vec![CellTimes::default(); 3];
    for cell in cells {
        row.times[*cell].expires = vec![Some(at)];
    }
    row
}

/// A store in memory whose rows tell times, which the memory itself doesn't keep, and whose scans take
/// their time.
struct Timed {
    inner: Arc<Memory>,
    /// Rows that were read by their keys.
    alone: AtomicU64,
    times: BTreeMap<String, Vec<CellTimes>>,
}

impl Timed {
    fn of(inner: Arc<Memory>, rows: &[Row]) -> Self {
        let times = rows
            .iter()
            .map(|row| (format!("{:?}", row.key), row.times.clone()));
        Timed {
            inner,
            alone: AtomicU64::new(0),
            times: times.collect(),
        }
    }

    fn tell(&self, row: &mut Row) {
        if let Some(times) = self.times.get(&format!("{:?}", row.key)) {
            row.times = times.clone();
        }
    }
}

mod resuming;
mod timed;

#[tokio::test]
async fn expiries_are_compared_within_the_clocks_bound() {
    let rule = ExpiryRule {
        attribute: "gone_at".into(),
        from: ExpiryFrom::Max,
    };
    let bench = Bench::of(people(), &BTreeMap::new(), Some(&rule)).await;
    let later = now() + 10_000;
    let rows: Vec<Row> = (0..20)
        .map(|id| expiring(person(id, 0, "x"), later, &[1, 2]))
        .collect();
    let soon = expiring(person(50, 0, "x"), now() + 20, &[1, 2]);
    let mut all = rows.clone();
    all.push(soon.clone());
    bench.both(&all).await;
    let timed: Arc<dyn Store> = Arc::new(Timed::of(bench.old.clone(), &all));
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.expiring, 1);

    // Two seconds off, a minute off, and none at all.
    for (id, at) in [(1, Some(later + 2)), (2, Some(later + 600)), (3, None)] {
        let mut item = marked(person(id, 0, "x"), Mark::Copied);
        item.expires = at;
        bench.put_new(&[item]).await;
    }
    // A row that is gone from the old store because it has expired.
    let mut gone = marked(person(60, 0, "x"), Mark::Copied);
    gone.expires = Some(now() - 5);
    bench.put_new(&[gone]).await;
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert_eq!(
        named(&found),
        ["different id=p2, at=0", "different id=p3, at=0"]
    );
    let mended = bench
        .run(timed.clone(), Some(false))
        .await
        .unwrap()
        .mended
        .unwrap();
    assert_eq!(mended.rewritten, 2);
    assert!(bench.run(timed, None).await.unwrap().found.is_clean());
}

#[tokio::test]
async fn late_writes_are_told_from_others() {
    const FROZEN: i64 = 1_000_000;
    let mut bench = Bench::people(30).await;
    bench.frozen_at = Some(FROZEN);
    let late = |id: usize, name: &str, at: i64| {
        let mut row = person(id, 0, name);
        row.times = vec![CellTimes::default(); 3];
        row.times[1].written = vec![Some(at)];
        row
    };
    let rows = [
        late(100, "a new row", FROZEN + 5),
        late(1, "another value", FROZEN + 5),
        late(2, "someone", FROZEN + 5),
        late(3, "mine is younger", FROZEN + 5),
        late(4, "someone", FROZEN - 1),
        late(5, "someone", i64::MAX / 2),
    ];
    bench.put_old(&rows).await;
    bench
        .put_new(&[marked(person(3, 0, "mine"), Mark::Application)])
        .await;
    let timed: Arc<dyn Store> = Arc::new(Timed::of(bench.old.clone(), &rows));
    let found = bench.run(timed.clone(), None).await.unwrap().found;
    assert_eq!(
        named(&found),
        [
            "late_writes id=p1, at=0",
            "late_writes id=p100, at=0",
            "late_writes id=p3, at=0",
        ]
    );
    assert_eq!((found.late_but_same, found.future), (1, 1));
    let mended = bench
        .run(timed.clone(), Some(false))
        .await
        .unwrap()
        .mended
        .unwrap();
    assert_eq!((mended.copied, mended.rewritten, mended.left), (1, 1, 1));
    let found = bench.run(timed, None).await.unwrap().found;
    assert_eq!(named(&found), ["late_writes id=p3, at=0"]);
}

#[tokio::test]
async fn a_sample_looks_at_a_part_and_finds_what_differs_there() {
    let mut bench = Bench::people(500).await;
    let rows: Vec<Row> = (0..500)
        .map(|id| marked(person(id, 1, "other"), Mark::Copied))
        .collect();
    bench.put_new(&rows).await;
    bench.sample = 0.25;
    let found = bench.verify().await;
    assert!((100..900).contains(&found.old_rows), "{found:?}");
    assert!(found.different * 3 < found.old_rows && found.different * 5 > found.old_rows);
    assert_eq!(found.different, found.differences());
}
