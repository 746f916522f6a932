//! What is in memory at once, whatever the rows.

use super::*;
use crate::schema::Order;
use crate::verifier::tests::timed::Timed;

const PARTITIONS: i32 = 16;
const SMALL: i32 = 1_000;
const LARGE: i32 = 40;
const LARGE_BYTES: usize = 100_000;

/// Many small rows and then some large ones, in each of some partitions.
async fn cliff() -> (Table, Arc<Memory>) {
    let table = Table::new(
        "users",
        vec![
            Column::new("id", Type::Int, Role::Partition),
            Column::new("at", Type::Int, Role::Clustering(Order::Asc)),
            Column::new("body", Type::Blob, Role::Regular),
        ],
    );
    let memory = Arc::new(Memory::new());
    memory.create(&table).await.unwrap();
    for id in 0..PARTITIONS {
        let row = |at: i32| {
            let bytes = if at < SMALL { 20 } else { LARGE_BYTES };
            let key = Key::row(vec![Value::Int(id)], vec![Value::Int(at)]);
            Row::new(key, vec![Some(Value::Blob(vec![1; bytes]))])
        };
        let rows: Vec<Row> = (0..SMALL + LARGE).map(row).collect();
        put(&memory, &table, &rows).await;
    }
    (table, memory)
}

#[tokio::test(start_paused = true)]
async fn large_rows_behind_small_ones_take_no_more_room_than_there_is() {
    let (source, memory) = cliff().await;
    let backing = memory.clone();
    let open = || {
        let mut old = Timed::of(backing.clone(), &[]);
        old.page = Duration::from_millis(5);
        old.megabyte = Duration::from_millis(200);
        Arc::new(old)
    };
    let rig = Rig {
        old: memory,
        new: Arc::new(Memory::new()),
    };
    let spec = TableSpec::new("test", TablePlan::new(&source.name).to("target"));
    let old = open();
    let new = New::over(rig.new.clone());
    let migration = Migration::new(spec, Old(old.clone()), new, rig.control());
    migration.init(InitOptions::default()).await.unwrap();
    let bench = Bench {
        migration,
        rig,
        clock: Arc::default(),
        told: Mutex::default(),
        folder: tempfile::tempdir().unwrap(),
    };
    let rows = (PARTITIONS * (SMALL + LARGE)) as u64;
    let most = |old: &Timed| old.most_on_the_way.swap(0, Ordering::Relaxed) as usize;

    let copied = bench.copy(true, false).await.unwrap();
    assert!(copied.complete);
    assert_eq!(copied.counts.read, rows);
    let room = crate::store::Room::BYTES;
    let held = most(&old);
    assert!(held <= room, "{held} bytes were on their way at once");

    let verified = bench.verify().await;
    assert_eq!(
        (verified.found.old_rows, verified.found.differences()),
        (rows, 0)
    );
    let held = most(&old);
    assert!(held <= room, "{held} bytes were on their way at once");
}
