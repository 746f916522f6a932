//! One node that is away while tables are copied and verified.

use scylla::value::Counter;

use super::{Cluster, QUORUM, make, plan_at};
use crate::command::killing::{CREATE_MESSAGES, PLAN, add_messages, assert_all_there};
use crate::command::says;

const ROWS: usize = 6_000;
const COUNTERS: usize = 100;

const VOTES: &str = "[[table]]\nname = \"votes\"\nto = \"@-votes\"\n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: CROSSFADE_CLUSTER=1 tests/run"]
async fn a_node_that_dies_holds_up_only_what_asks_all_replicas() {
    let cluster = Cluster::new();
    let bench = cluster.bench("killed").await;
    make(&bench, "messages", CREATE_MESSAGES).await;
    add_messages(&bench, ROWS).await;
    let create = "CREATE TABLE votes (id text PRIMARY KEY, n counter)";
    make(&bench, "votes", create).await;
    let votes = (0..COUNTERS).map(|n| (Counter(n as i64), format!("v{n}")));
    let add = "UPDATE votes SET n = n + ? WHERE id = ?";
    bench.fill(add, votes).await;
    plan_at(&bench, QUORUM, &format!("{VOTES}{PLAN}"));
    bench.init();

    let copy = ["copy", "--offline", "--table", "messages"];
    let mut running = bench.migrate(&copy).spawn();
    bench.until("messages", ROWS / 4, &mut running).await;
    cluster.control(&[3], "kill");
    let copied = running.wait().expect_code(0);
    // What a dead node doesn't answer says nothing of the range.
    assert!(!copied.stderr.contains("cutting the range"), "{copied}");
    assert_all_there(&bench, ROWS).await;
    let verify = ["verify", "--table", "messages"];
    bench.migrate(&verify).run().expect_code(0);

    // A fold asks for a quorum, the last one all replicas: a total that one alone has would be lost.
    let fold = ["copy", "--offline", "--table", "votes"];
    bench.migrate(&fold).run().expect_code(0);
    let last = ["copy", "--offline", "--final", "--table", "votes"];
    let refused = bench.migrate(&last).run().expect_code(2);
    says(
        &refused,
        &["127.0.0.3", "bring nodes back", "final_read = \"quorum\""],
    );
    let all = ["verify", "--consistency", "all", "--table", "messages"];
    let refused = bench.migrate(&all).run().expect_code(2);
    says(&refused, &["127.0.0.3", "nodetool status"]);

    // The one way out.
    cluster.control(&[3], "start");
    cluster.settle(&bench).await;
    bench.migrate(&last).run().expect_code(0);
    bench.migrate(&all).run().expect_code(0);
    // The other, for a node that is gone for good.
    cluster.control(&[3], "kill");
    plan_at(
        &bench,
        QUORUM,
        &format!("{VOTES}final_read = \"quorum\"\n{PLAN}"),
    );
    bench.migrate(&last).run().expect_code(0);
    bench.done().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: CROSSFADE_CLUSTER=1 tests/run"]
async fn check_names_levels_that_may_miss_each_other() {
    let cluster = Cluster::new();
    let bench = cluster.bench("levels").await;
    bench.cql("CREATE TABLE t (k int PRIMARY KEY, v int)").await;
    for (reads, writes, meets) in [
        ("local_quorum", "local_quorum", true),
        ("one", "all", true),
        ("all", "one", true),
        ("one", "one", false),
        ("one", "local_quorum", false),
        ("local_quorum", "one", false),
    ] {
        let levels = format!("consistency = \"{reads}\"\nwrite_consistency = \"{writes}\"");
        plan_at(&bench, &levels, "[[table]]\nname = \"t\"\nto = \"@-t\"\n");
        let check = bench.migrate(&["check"]).run().expect_code(0);
        let told = check.stdout.contains("reads-may-miss-writes");
        assert_eq!(told, !meets, "{reads} and {writes}: {check}");
    }
    bench.done().await;
}
