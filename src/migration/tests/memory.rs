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
    let column = |name: &str, ty, role| Column {
        name: name.into(),
        ty,
        frozen: false,
        role,
    };
    let table = Table::new(
        "users",
        vec![
            column("id", Type::Int, Role::Partition),
            column("at", Type::Int, Role::Clustering(Order::Asc)),
            column("body", Type::Blob, Role::Regular),
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
    let open = || {
        let mut old = Timed::of(memory.clone(), &[]);
        old.page = Duration::from_millis(5);
        old.megabyte = Duration::from_millis(200);
        Arc::new(old)
    };
    let new = Arc::new(Memory::new());
    let spec = TableSpec::new("test", TablePlan::new(&source.name).to("target"));
    let old = open();
    let control = Control::new(New::over(new.clone()), "control");
    let migration = Migration::new(spec, Old(old.clone()), New::over(new.clone()), control);
    migration.init(InitOptions::default()).await.unwrap();
    let bench = Bench {
        migration,
        old: memory.clone(),
        new,
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
