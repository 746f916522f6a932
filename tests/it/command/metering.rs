//! What a command tells Prometheus, and what it keeps of each second.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value as Json;

use super::{Bench, says};
use crate::support::Running;

const ROWS: i32 = 2_000;

/// The answer to a request of the address that a command has told.
fn asked(running: &Running, request: &str) -> String {
    let line = running.wait_for("metrics at", |line| line.contains("metrics at http://"));
    let (_, rest) = line.split_once("http://").expect("an address");
    let (address, _) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("{request}\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_tells_prometheus_and_keeps_what_each_second_saw() {
    let bench = Bench::new("metrics").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..ROWS).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let slow = "[pace]\nwrite_units = 20\n";
    bench.plan(&format!("{slow}[[table]]\nname = \"t\"\nto = \"@-t\"\n"));
    bench.init();
    let open = bench.migrate(&["copy", "--offline", "--metrics", "0.0.0.0:0"]);
    says(
        &open.run().expect_code(2),
        &["--metrics 0.0.0.0:0", "[serve]"],
    );

    let copy = bench.migrate(&["copy", "--offline", "--json", "--metrics", "127.0.0.1:0"]);
    let mut running = copy.spawn();
    bench.until("t", 1, &mut running).await;
    let told = asked(&running, "GET / HTTP/1.1");
    assert!(told.starts_with("HTTP/1.1 404 "), "{told}");
    let target = bench.target("t");
    let wanted = [
        "crossfade_rows_read_total{table=\"t\",store=\"old\"} ".to_owned(),
        "crossfade_write_units_total{table=\"t\"} ".to_owned(),
        "crossfade_throttles_total{table=\"t\",store=\"new\",cause=\"partition\"} 0".to_owned(),
        "crossfade_pace_units{table=\"t\"} 20".to_owned(),
        "crossfade_store_seconds_bucket{table=\"t\",store=\"new\",call=\"put\",le=\"0.001\"} "
            .to_owned(),
        "crossfade_instances{table=\"t\",kind=\"copier\"} 1".to_owned(),
        format!("crossfade_phase{{target=\"{target}\",phase=\"offline\"}} 1"),
        format!("crossfade_lease_renewed_timestamp_seconds{{target=\"{target}\"}} "),
    ];
    loop {
        let told = asked(&running, "GET /metrics HTTP/1.1");
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        match wanted.iter().find(|line| !told.contains(line.as_str())) {
            None => break,
            Some(missing) => assert!(running.runs(), "no {missing}: {told}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    bench
        .migrate(&["pace", "--write-units", "100000"])
        .run()
        .expect_code(0);
    running.wait().expect_code(0);

    let file = bench.journal().join("t.copy.history");
    let text = std::fs::read_to_string(file).expect("a history");
    let seconds: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let sum = |field: &str| -> f64 { seconds.iter().filter_map(|one| one[field].as_f64()).sum() };
    assert_eq!(sum("old_rows"), f64::from(ROWS), "{text}");
    assert!(
        seconds.iter().any(|one| one["reason"] == "ceiling"),
        "{text}"
    );
    bench.done().await;
}
