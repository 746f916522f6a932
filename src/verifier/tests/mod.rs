//! Whole verifications between stores in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::model::{CellTimes, Condition, End, Ends, Key, Mark, Times};
use crate::schema::{Column, Layout, Order, Role, Table, Type};
use crate::store::memory::Memory;
use crate::store::{Reads, Store};
use crate::testing::rig::{Rig, put};
use crate::transform::{ColumnRule, ExpiryFrom, ExpiryRule, Mask};

mod adopting;
mod bounded;
mod resuming;
pub(crate) mod timed;
mod times;

use timed::Timed;

struct Bench {
    rig: Rig,
    transform: Arc<Transform>,
    frozen_at: Option<i64>,
    adopted: Adopted,
    sample: f64,
    folder: tempfile::TempDir,
}

fn people() -> Table {
    let clustering = Role::Clustering(Order::Asc);
    Table::new(
        "people",
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("at", Type::Int, clustering),
            Column::new("city", Type::Text, Role::Static),
            Column::new("name", Type::Text, Role::Regular),
            Column::new("tags", Type::Set(Box::new(Type::Int)), Role::Regular),
        ],
    )
}

fn votes() -> Table {
    Table::new(
        "votes",
        vec![
            Column::new("id", Type::Text, Role::Partition),
            Column::new("down", Type::Counter, Role::Regular),
            Column::new("up", Type::Counter, Role::Regular),
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

async fn purge(store: &Memory, table: &Table, key: Key) {
    let purged = store.purge(table, vec![key], &Condition::Always).await;
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
            Some(&crate::secret::Secret::new("a key")),
            "target",
            Layout::default(),
        );
        let transform = Arc::new(transform.unwrap());
        let rig = Rig::new().await;
        rig.create(&source, transform.target()).await;
        Bench {
            rig,
            transform,
            frozen_at: None,
            adopted: Adopted::default(),
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
        put(&self.rig.old, self.transform.source(), rows).await;
        let copied = rows.iter().cloned();
        let copied = copied.map(|row| marked(self.transform.apply(row).unwrap(), Mark::Copied));
        let copied: Vec<Row> = copied.collect();
        put(&self.rig.new, self.transform.target(), &copied).await;
    }

    async fn put_old(&self, rows: &[Row]) {
        put(&self.rig.old, self.transform.source(), rows).await;
    }

    async fn put_new(&self, rows: &[Row]) {
        put(&self.rig.new, self.transform.target(), rows).await;
    }

    fn verifier(&self, old: Arc<dyn Store>) -> Verifier {
        let is_counter = self.transform.source().is_counter();
        Verifier {
            old: Old(old),
            new: New::over(self.rig.new.clone()),
            transform: self.transform.clone(),
            counters: is_counter.then_some(Rules::default()),
            frozen_at: self.frozen_at,
            is_copied: true,
            adopted: self.adopted.clone(),
            options: VerifySettings {
                delay: Duration::ZERO,
                page_bytes: 700,
                sample: self.sample,
                round_rows: 3,
                most_rounds: 1_000,
                keep_every: Duration::from_millis(1),
                ..VerifySettings::default()
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
            incarnation: "once".into(),
            reading: "one".into(),
            copiers: BTreeMap::new(),
            adoption: None,
        };
        let tables = (
            self.transform.source().clone(),
            self.transform.target().clone(),
        );
        Checkpoint::open(folder, "people", belongs, tables).unwrap()
    }

    async fn run(&self, old: Arc<dyn Store>, repair: Option<bool>) -> Result<VerifyOutcome> {
        let verifier = self.verifier(old);
        let mut checkpoint = self.checkpoint(self.folder.path());
        let stop = CancellationToken::new();
        let live = VerifyProgress::default();
        let mending = repair.map(|delete_extra| Mending {
            new: Writer(self.rig.new.clone()),
            delete_extra,
        });
        let outcome = verifier.run(&mut checkpoint, mending, &live, &stop).await;
        checkpoint.remove();
        outcome
    }

    async fn verify(&self) -> Found {
        self.run(self.rig.old.clone(), None).await.unwrap().found
    }

    async fn repair(&self, delete_extra: bool) -> Mended {
        let outcome = self.run(self.rig.old.clone(), Some(delete_extra)).await;
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
    let timed = [bench.rig.old.clone(), bench.rig.new.clone()];
    let [old, new] = timed.map(|store| Arc::new(Timed::of(store, &[])));
    let verifier = Verifier {
        new: New::over(new.clone()),
        ..bench.verifier(old.clone())
    };
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
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
    purge(
        &bench.rig.new,
        bench.transform.target(),
        person(8, 2, "").key,
    )
    .await;
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
    let shown = found.examples.iter().find(|one| one.key == "id=p9, at=0");
    let name = &shown.unwrap().columns[0];
    assert_eq!(
        (name.old.as_deref(), name.new.as_deref()),
        (Some("someone"), Some("a stranger"))
    );

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
        purge(&bench.rig.new, bench.transform.target(), foreign.key).await;
    }
    assert_eq!(named(&bench.verify().await), ["missing id=p9, at=0"]);
    bench.repair(false).await;
    assert!(bench.verify().await.is_clean());
    // The application's own were not touched.
    let mine = bench
        .rig
        .new
        .get(bench.transform.target(), &[person(10, 0, "").key])
        .await
        .unwrap();
    assert_eq!(mine[0].as_ref().unwrap().mark, Some(Mark::Application));
}

/// Keys of the application's that don't fit into memory are left out part by part, and not in rounds, each of
/// which would read the whole new table.
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
        &bench.rig.new,
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
    let off = found.examples.iter().find(|one| one.key == "id=v2");
    let up = &off.unwrap().columns[1];
    assert_eq!(
        (up.old.as_deref(), up.new.as_deref()),
        (Some("7"), Some("8 (of it from the old store: 7)"))
    );
    // What is folded isn't all: a total that is off has to be looked at by an operator.
    let mended = bench.repair(false).await;
    assert_eq!((mended.folded, mended.left), (2, 1));
    let found = bench.verify().await;
    assert_eq!(
        named(&found),
        ["counters_wrong id=v2", "extra id=v300", "foreign id=v301"]
    );
    let item = bench
        .rig
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

#[tokio::test]
async fn a_row_whose_key_the_new_store_cant_have_is_missing_and_says_why() {
    let bench = Bench::people(5).await;
    bench
        .put_old(&[person(50, 0, "odd"), person(51, 0, "lost")])
        .await;
    let mut new = Timed::of(bench.rig.new.clone(), &[]);
    new.refuses = Some(person(50, 0, "").key);
    let verifier = Verifier {
        new: New::over(Arc::new(new)),
        ..bench.verifier(bench.rig.old.clone())
    };
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let outcome = verifier.run(&mut checkpoint, None, &live, &stop).await;
    let found = outcome.unwrap().found;
    assert_eq!(
        named(&found),
        ["missing id=p50, at=0", "missing id=p51, at=0"]
    );
    let note = |key: &str| {
        let example = found.examples.iter().find(|one| one.key.starts_with(key));
        example.unwrap().note.clone()
    };
    assert!(note("id=p51").is_some_and(|note| note.contains("though the copy is through")));
    assert!(note("id=p50").is_some_and(|note| note.contains("the key is empty")));
}

/// A total that isn't its watermark stays wrong when an application adds to it, though from then on that can't be seen.
#[tokio::test(start_paused = true)]
async fn a_counter_that_is_off_is_found_though_an_application_adds_before_the_second_look() {
    let bench = Bench::of(votes(), &BTreeMap::new(), None).await;
    for id in 0..20 {
        let old = [id as i64, 7];
        bench.put_old(&[vote(id, old, None, 0)]).await;
        let beyond = i64::from(id == 2 || id == 3);
        let item = vote(id, old, Some(Mark::Copied), beyond);
        bench.put_new(&[item]).await;
    }
    // The watermark of another is wrong too.
    bench.put_old(&[vote(3, [50, 7], None, 0)]).await;
    let mut verifier = bench.verifier(bench.rig.old.clone());
    verifier.options.delay = Duration::from_secs(60);
    let mut checkpoint = bench.checkpoint(bench.folder.path());
    let (stop, live) = (CancellationToken::new(), VerifyProgress::default());
    let adds = async {
        while live.share() < 1.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for id in [2, 3] {
            let added = vote(id, [id as i64, 7], Some(Mark::Application), 6);
            bench.put_new(&[added]).await;
        }
    };
    let work = verifier.run(&mut checkpoint, None, &live, &stop);
    let found = tokio::join!(work, adds).0.unwrap().found;
    assert_eq!(
        named(&found),
        ["counters_wrong id=v2", "counters_wrong id=v3"]
    );
    let v3 = found.examples.iter().find(|one| one.key == "id=v3");
    assert_eq!(
        v3.unwrap().note,
        None,
        "its watermark is what can be mended"
    );
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
