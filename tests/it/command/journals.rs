//! A journal that is lost, damaged, another's, or can't be made: it costs time, never a row.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::killing::{PLAN, assert_all_there, fill_messages};
use super::{Bench, exists, number, says};
use crate::support::Outcome;

const ROWS: usize = 4_000;

/// A copy that was interrupted after a good part of the table.
async fn half_done(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    stop_half_way(&bench).await;
    bench
}

async fn stop_half_way(bench: &Bench) {
    let mut running = bench.migrate(&["copy", "--offline"]).spawn();
    bench.until("messages", ROWS / 3, &mut running).await;
    running.interrupt();
    running.wait().expect_code(3);
}

/// Finishes the copy, and checks that all is there and the rows that were done weren't read again.
async fn finishes(bench: &Bench) -> Outcome {
    let outcome = bench
        .migrate(&["copy", "--offline", "--json"])
        .run()
        .expect_code(0);
    let read = number(&outcome.json()[0], "read");
    assert!(
        read < ROWS as u64 * 9 / 10,
        "the control table knows what is done: {outcome}"
    );
    assert_all_there(bench, ROWS).await;
    outcome
}

fn folder(bench: &Bench) -> std::path::PathBuf {
    bench.journal().join("messages")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_may_look_into_it() {
    let bench = half_done("mode").await;
    for path in [bench.journal(), folder(&bench)] {
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_deleted() {
    let bench = half_done("deleted").await;
    fs::remove_dir_all(bench.journal()).expect("deleted");
    finishes(&bench).await;
    bench.done().await;
}

/// Writes garbage over part of a file.
fn scribble(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a file");
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.write_all(bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_overwritten_with_garbage() {
    let bench = half_done("garbage").await;
    let size = fs::metadata(folder(&bench).join("db"))
        .expect("there")
        .len();
    scribble(&folder(&bench).join("db"), 0, &vec![0xA5; size as usize]);
    let outcome = finishes(&bench).await;
    // Whatever the database makes of it, it is said if something was set aside.
    let aside = exists(&bench.journal().join("messages.aside-1"));
    assert_eq!(
        outcome.stderr.contains("messages.aside-1"),
        aside,
        "{outcome}"
    );
    bench.done().await;
}

/// A header that is no header: this can't be taken for an empty journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_with_damaged_settings() {
    let bench = half_done("settings").await;
    fs::write(folder(&bench).join("conf"), b"not a configuration").expect("written");
    let outcome = finishes(&bench).await;
    says(
        &outcome,
        &["the journal in", "messages.aside-1", "a new one is begun"],
    );
    assert!(
        exists(&bench.journal().join("messages.aside-1").join("db")),
        "nothing is deleted"
    );
    bench.done().await;
}

/// Whatever is broken, one kind of damage after the other, the copy finishes and all is right.
#[tokio::test(flavor = "multi_thread")]
async fn journals_with_damage_of_any_kind() {
    let bench = half_done("damage").await;
    let db = folder(&bench).join("db");
    for round in 0..4 {
        let size = fs::metadata(&db).expect("there").len();
        match round {
            0 => (0..40).for_each(|_| {
                scribble(
                    &db,
                    rand::random_range(0..size),
                    &rand::random::<[u8; 64]>(),
                )
            }),
            1 => {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(&db)
                    .expect("a file");
                file.set_len(size / 3).expect("truncated");
            }
            2 => fs::write(
                folder(&bench).join("snap.0000000000FFFFFF"),
                b"of another time",
            )
            .expect("written"),
            _ => fs::write(&db, b"").expect("emptied"),
        }
        let outcome = bench.migrate(&["copy", "--offline", "--json"]).run();
        assert_eq!(outcome.code, Some(0), "round {round}: {outcome}");
        let read = number(&outcome.json()[0], "read");
        assert!(read < ROWS as u64 * 9 / 10, "round {round}: {outcome}");
    }
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_plan() {
    let bench = half_done("ours").await;
    let other = Bench::new("theirs").await;
    fill_messages(&other, 50).await;
    other.plan(PLAN).init();
    other.migrate(&["copy", "--offline"]).run().expect_code(0);
    fs::remove_dir_all(bench.journal()).expect("deleted");
    fs::rename(other.journal(), bench.journal()).expect("moved");
    let outcome = finishes(&bench).await;
    says(
        &outcome,
        &[
            "the journal in",
            "belongs to another plan",
            "messages.aside-1",
        ],
    );
    bench.done().await;
    other.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_not_be_made() {
    let bench = Bench::new("nofolder").await;
    fill_messages(&bench, 50).await;
    bench.plan(PLAN).init();
    // Below a file, which not even root can make folders in.
    fs::write(bench.journal(), b"a file").expect("written");
    let outcome = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&outcome, &["can't make the folder", "journal/messages"]);
    assert_eq!(
        bench.items("messages").await.len(),
        0,
        "not a row without a journal"
    );
    fs::remove_file(bench.journal()).expect("removed");
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_all_there(&bench, 50).await;
    bench.done().await;
}

/// Nothing is taken for done that the journal can't hold, and with more room the copy goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    let bench = Bench::new("full").await;
    fill_messages(&bench, ROWS).await;
    bench.plan(PLAN).init();
    for kilobytes in [0, 1, 16] {
        let copy = bench.migrate(&["copy", "--offline"]);
        let outcome = copy.files_up_to(kilobytes).run().expect_code(2);
        says(
            &outcome,
            &[
                "the folder: ",
                "free some space and start again",
                "journal/messages",
            ],
        );
    }
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    assert_all_there(&bench, ROWS).await;
    bench.done().await;
}
