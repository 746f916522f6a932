//! Stores that bear only so much, and copies that find out how much that is.
//!
//! What is written into the target is answered here, and goes nowhere: a server that shares the machine would be slower
//! than what is to be found out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use scylla_proxy::{Condition, Reaction, RequestOpcode, RequestReaction, RequestRule};

use super::killing::{PLAN, fill_messages};
use super::{Bench, number};
use crate::forwarding::{Fault, Forwarding};
use crate::scripted::Request;
use crate::support::{Migrate, Running, proxied};

const ROWS: usize = 16_000;
/// How long a copy is given to find out what the store bears, or that it bears something else now.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// How long it is watched from then on.
const WATCHED: Duration = Duration::from_secs(12);

/// What a table takes in a second, and what it was asked.
struct Throughput {
    each_second: AtomicU64,
    state: Mutex<(f64, Instant)>,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Throughput {
    fn new(each_second: u64) -> Arc<Self> {
        Arc::new(Throughput {
            each_second: AtomicU64::new(each_second),
            state: Mutex::new((0.0, Instant::now())),
            taken: AtomicU64::default(),
            refused: AtomicU64::default(),
        })
    }

    /// What becomes of a request: the first statements are done, as far as there is throughput for them.
    fn fault(&self, request: &Request, target: &str) -> Fault {
        let statements = request.body["Statements"].as_array();
        let is_ours = |text: &str| text.contains(&format!("\"{target}\""));
        let text = |statement: &serde_json::Value| statement["Statement"].as_str().map(is_ours);
        let Some(count) = statements
            .filter(|all| all.first().and_then(text) == Some(true))
            .map(Vec::len)
        else {
            return Fault::None;
        };
        let rate = self.each_second.load(Ordering::SeqCst) as f64;
        let mut state = self.state.lock().expect("no panic");
        let passed = state.1.elapsed().as_secs_f64();
        *state = ((state.0 + passed * rate).min(rate), Instant::now());
        let taken = (state.0 as usize).min(count);
        state.0 -= taken as f64;
        self.taken.fetch_add(taken as u64, Ordering::SeqCst);
        self.refused
            .fetch_add((count - taken) as u64, Ordering::SeqCst);
        let throttled =
            json!({"Error": {"Code": "ThrottlingError", "Message": "throttled on purpose"}});
        let answers = (0..count).map(|place| match place < taken {
            true => json!({"TableName": target}),
            false => throttled.clone(),
        });
        Fault::Answered(json!({
            "Responses": answers.collect::<Vec<_>>(),
            "ConsumedCapacity": [{"TableName": target, "CapacityUnits": taken}],
        }))
    }

    fn seen(&self) -> (f64, f64) {
        let get = |count: &AtomicU64| count.load(Ordering::SeqCst) as f64;
        (get(&self.taken), get(&self.refused))
    }

    /// From now on it takes this much, and the copies have to find that out.
    fn takes(&self, each_second: u64, running: &mut [Running]) {
        self.each_second.store(each_second, Ordering::SeqCst);
        while self.seen().0 == 0.0 {
            assert!(running.iter_mut().all(Running::runs), "it begins");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(FOUND_WITHIN);
        let (begun, (taken, refused)) = (Instant::now(), self.seen());
        std::thread::sleep(WATCHED);
        let (more, more_refused) = self.seen();
        assert!(running.iter_mut().all(Running::runs), "it is watched");
        let (taken, refused) = (more - taken, more_refused - refused);
        let rate = taken / begun.elapsed().as_secs_f64();
        let share = refused / (taken + refused);
        let near = each_second as f64 * 0.9..=each_second as f64 * 1.1;
        let seen = format!("of {each_second}: {rate:.0} a second, {share:.3} refused");
        assert!(near.contains(&rate) && share < 0.05, "{seen}");
    }
}

async fn bench(name: &str, throughput: &Arc<Throughput>) -> (Bench, Forwarding) {
    let mut bench = Bench::new(name).await;
    fill_messages(&bench, ROWS).await;
    let (throughput, target) = (throughput.clone(), bench.target("messages"));
    let forwarding = Forwarding::start(&bench.url, move |request| {
        throughput.fault(request, &target)
    });
    bench.url = forwarding.url.clone();
    bench.plan(PLAN).init();
    (bench, forwarding)
}

fn copy(bench: &Bench, arguments: &[&str]) -> Running {
    let arguments = [&["copy", "--offline", "--json"], arguments].concat();
    let copy: Migrate = bench.migrate(&arguments);
    copy.within(Duration::from_secs(600)).spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_what_the_new_store_gives_and_follows_it() {
    let throughput = Throughput::new(100);
    let (bench, _forwarding) = bench("throttled", &throughput).await;
    let mut running = [copy(&bench, &[])];
    for each_second in [100, 200, 100] {
        throughput.takes(each_second, &mut running);
    }
    let [copy] = running;
    let why = "\"reason\":\"throttled by the new store\"";
    copy.wait_for(why, |line| line.contains(why));
    let tool = &bench.status()[0]["tools"][0];
    assert_eq!(tool["reason"], "throttled by the new store", "{tool}");
    throughput.each_second.store(1_000_000, Ordering::SeqCst);
    let copied = copy.wait().expect_code(0).json();
    assert_eq!(number(&copied[0], "failed"), 0, "{}", copied[0]);
    assert_eq!(number(&copied[0], "written"), ROWS as u64, "{}", copied[0]);
    assert_eq!(bench.status()[0]["tools"].as_array().map(Vec::len), Some(0));
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_share_what_the_new_store_gives_and_a_ceiling() {
    let throughput = Throughput::new(200);
    let (bench, _forwarding) = bench("shared", &throughput).await;
    let shards = ["0/2", "1/2"];
    let mut running = shards.map(|shard| copy(&bench, &["--shard", shard]));
    throughput.takes(200, &mut running);
    // A ceiling is for both together, and nothing is throttled beneath it.
    let pace = bench.migrate(&["pace", "--write-units", "100"]);
    pace.run().expect_code(0);
    std::thread::sleep(FOUND_WITHIN);
    let (begun, (taken, refused)) = (Instant::now(), throughput.seen());
    std::thread::sleep(WATCHED);
    let (more, more_refused) = throughput.seen();
    // A message takes a unit, or a little more.
    let rate = (more - taken) / begun.elapsed().as_secs_f64();
    assert!((70.0..=105.0).contains(&rate), "{rate}");
    assert_eq!(more_refused, refused);
    for tool in bench.status()[0]["tools"].as_array().expect("tools") {
        assert_eq!(tool["write_units"], 50.0, "{tool}");
        assert_eq!(tool["reason"], "ceiling", "{tool}");
    }
    throughput.each_second.store(1_000_000, Ordering::SeqCst);
    let pace = bench.migrate(&["pace", "--as-planned"]);
    pace.run().expect_code(0);
    let mut written = 0;
    for shard in running {
        written += number(&shard.wait().expect_code(0).json()[0], "written");
    }
    assert_eq!(written, ROWS as u64);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_back_while_the_old_store_is_slow() {
    const SLOW: Duration = Duration::from_secs(2);
    let throughput = Throughput::new(1_000_000);
    let (mut bench, _forwarding) = bench("slow", &throughput).await;
    let (mut proxy, address) = proxied(&bench.node).await;
    bench.node = address;
    let pace = "[pace]\nold_p99_ms = 1000\nread_rows = 400\n";
    bench.plan(&format!("{pace}{PLAN}"));
    let mut running = copy(&bench, &[]);
    while throughput.seen().0 < ROWS as f64 / 50.0 {
        assert!(running.runs(), "it begins");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reads = [RequestOpcode::Execute, RequestOpcode::Query];
    let reads = Condition::any(reads.map(Condition::RequestOpcode));
    let slow = RequestRule(reads, RequestReaction::delay(SLOW));
    proxy.running_nodes[0].change_request_rules(Some(vec![slow]));
    let why = "old store slow: p99 ";
    let line = running.wait_for(why, |line| line.contains(why));
    assert!(line.contains(" over 1000"), "{line}");
    // Far below the ceiling.
    let backed_off = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let most = line["pace"]["most_old_rows"].as_f64();
        most.is_some_and(|most| most < 200.0)
    };
    running.wait_for("half of the ceiling", backed_off);
    // It is noted in the control table with the next renewal.
    let begun = Instant::now();
    loop {
        let tool = &bench.status()[0]["tools"][0];
        if tool["reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with(why))
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{tool}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    proxy.running_nodes[0].change_request_rules(Some(Vec::new()));
    let begun = Instant::now();
    loop {
        assert!(running.runs() && begun.elapsed() < Duration::from_secs(240));
        let tool = &bench.status()[0]["tools"][0];
        if tool["reason"] == "ceiling" && tool["read_rows"] == 400.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let pace = ["pace", "--read-rows", "1000000"];
    bench.migrate(&pace).run().expect_code(0);
    let copied = running.wait().expect_code(0).json();
    assert_eq!(number(&copied[0], "written"), ROWS as u64, "{}", copied[0]);
    bench.done().await;
}
