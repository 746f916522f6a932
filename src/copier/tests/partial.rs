//! Partial items that applications have left: the copy that meets them completes them.

use super::*;
use crate::model::Condition;
use crate::store::Store;

fn table() -> Table {
    let mut table = super::table();
    let note = Column::new("note", Type::Text, Role::Regular);
    table.columns.push(note);
    table
}

fn rows() -> Vec<Row> {
    let mut rows = super::rows();
    for row in &mut rows {
        row.cells.push(Some(Value::text("old note")));
    }
    rows
}

/// What an application left of a row in the new store: one column, or all of it.
fn left(row: &Row, mark: Mark) -> Row {
    let mut left = Row::new(
        row.key.clone(),
        vec![None, Some(Value::text("application"))],
    );
    left.mark = Some(mark);
    if mark == Mark::Partial {
        left.decided = [1].into();
    }
    left
}

async fn bench(faults: Faults) -> Bench {
    let mut bench = Bench::of(&table(), rows(), faults).await;
    bench.beside_applications = true;
    let every = |nth: usize, mark| {
        rows()
            .into_iter()
            .step_by(nth)
            .map(move |row| left(&row, mark))
    };
    for items in [every(7, Mark::Partial), every(50, Mark::Application)] {
        let items: Vec<Row> = items.collect();
        let target = bench.transform.target();
        let put = bench.rig.new.put(target, &items, &Condition::Always).await;
        assert!(put.rows.iter().all(Result::is_ok));
    }
    bench
}

/// How many rows the application has whole, and how many it had in part and are whole now.
async fn assert_whole(bench: &Bench) -> (usize, usize) {
    let items = content(&bench.rig.new, bench.transform.target()).await;
    let (mut owned, mut completed) = (0, 0);
    for row in rows() {
        let item = &items[&format!("{:?}", row.key)];
        assert!(item.decided.is_empty(), "{item:?}");
        match (item.mark, &item.cells[..]) {
            (Some(Mark::Copied), cells) => assert_eq!(cells, row.cells),
            (Some(Mark::Application), [None, Some(note)]) => {
                assert_eq!(*note, Value::text("application"));
                owned += 1;
            }
            (Some(Mark::Application), [body, Some(note)]) => {
                assert_eq!((body, note), (&row.cells[0], &Value::text("application")));
                completed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(items.len(), ROWS as usize);
    (owned, completed)
}

#[tokio::test]
async fn partial_items_get_what_they_lack_and_keep_what_they_decide() {
    let bench = bench(Faults::default()).await;
    let counts = bench.run(1, None).await.unwrap().counts;
    let (owned, completed) = assert_whole(&bench).await;
    assert_eq!((owned, completed), (14, 98));
    assert_eq!(
        (counts.present, counts.completed, counts.written),
        (14, 98, ROWS as u64 - 112)
    );
}

#[tokio::test]
async fn killed_at_any_turn_among_faults_each_is_completed_once() {
    let faults = Faults {
        unreachable: 0.1,
        reply_lost: 0.1,
        throttled: 0.05,
        ..Faults::default()
    };
    let mut chance = SmallRng::seed_from_u64(5);
    for seed in 0..8 {
        let bench = bench(faults).await;
        for attempt in 0.. {
            let polls = (attempt < 6).then(|| chance.random_range(1..40));
            if bench.run(seed * 100 + attempt, polls).await.is_some() {
                break;
            }
        }
        assert_eq!(assert_whole(&bench).await, (14, 98));
    }
}
