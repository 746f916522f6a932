//! How much memory the command takes: large rows come after thousands of small ones, in each partition.

use std::time::Duration;

use super::Bench;
use crate::support::{OwnServers, is_long};

/// What docs/limits.md promises, in MB.
const MOST: u64 = 200;
const LARGE: usize = 250_000;

/// Partitions, and small and large rows in each.
fn size() -> (i32, i32, i32) {
    // The long one is for a release build: `cargo test --release`.
    match is_long() {
        true => (16, 4_000, 150),
        false => (6, 500, 50),
    }
}

/// The most memory that a process had so far, in MB; none once it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1_024)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn large_rows_after_small_ones_take_the_memory_that_is_promised() {
    let (partitions, small, large) = size();
    let servers = OwnServers::start(&["cassandra", "dynamodb"]);
    let bench = Bench::on(
        "memory",
        servers.cassandra_address(),
        servers.dynamodb_url(),
    )
    .await;
    bench
        .cql("CREATE TABLE t (p int, c int, v blob, PRIMARY KEY (p, c))")
        .await;
    let insert = "INSERT INTO t (p, c, v) VALUES (?, ?, ?)";
    let rows = |from, until, bytes| {
        let row = move |p| (from..until).map(move |c| (p, c, vec![7_u8; bytes]));
        (0..partitions).flat_map(row)
    };
    bench.fill(insert, rows(0, small, 20)).await;
    bench.fill(insert, rows(small, small + large, LARGE)).await;
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    let rows = (partitions * (small + large)) as u64;
    let megabytes = (partitions * large) as usize * LARGE / 1_000_000;
    for command in [
        &["copy", "--offline", "--json"][..],
        &["verify", "--json", "-"],
    ] {
        let mut running = bench.migrate(command).spawn();
        let mut most = 0;
        while running.runs() {
            most = most.max(peak(running.pid()).unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let outcome = running.wait().expect_code(0);
        println!(
            "{} of {rows} rows, {megabytes} MB of them large: {most} MB at most",
            command[0]
        );
        assert!(most > 0, "it was seen: {outcome}");
        assert!(most <= MOST, "{most} MB: {outcome}");
    }
    bench.done().await;
}
