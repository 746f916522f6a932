//! What a table's owner should know.

use crossfade::store::{Reads, Weight};

use super::Bench;

#[tokio::test]
async fn what_is_not_moved_is_named() {
    let bench = Bench::new("findings").await;
    bench.cql("CREATE TABLE t (p int, c int, a text, b text, m map<text, int>, PRIMARY KEY (p, c)) WITH default_time_to_live = 77").await;
    // Kinds of indexes have names from 5.0 on.
    let kinds = bench.release >= (5, 0);
    let [legacy, sai] = match kinds {
        true => ["USING 'legacy_local_table'", "USING 'sai'"],
        false => ["", ""],
    };
    let second = if kinds {
        "sai-index"
    } else {
        "secondary-index"
    };
    bench
        .cql(&format!("CREATE INDEX by_a ON t (a) {legacy}"))
        .await;
    bench
        .cql(&format!("CREATE INDEX by_b ON t (b) {sai}"))
        .await;
    bench.cql("CREATE MATERIALIZED VIEW seen AS SELECT * FROM t WHERE p IS NOT NULL AND c IS NOT NULL AND a IS NOT NULL PRIMARY KEY (a, p, c)").await;
    let found = bench.store.inspect("t").await.unwrap().unwrap();
    assert_eq!(found.default_ttl, 77);
    assert_eq!(found.id.len(), 36);
    // What is said of any table on an older server.
    let always = ["collection-ttl", "default-ttl-always"];
    let findings = found.findings.iter();
    let findings: Vec<_> = findings
        .filter(|finding| !always.contains(&finding.code))
        .collect();
    let mut named: Vec<_> = findings
        .iter()
        .map(|finding| (finding.code, finding.weight))
        .collect();
    named.sort_by_key(|(code, _)| *code);
    assert_eq!(
        named,
        [
            ("materialized-view", Weight::Ignorable("views")),
            (second, Weight::Ignorable("indexes")),
            ("secondary-index", Weight::Ignorable("indexes")),
        ]
    );
    for (finding, name) in findings.iter().zip(["`by_a`", "`by_b`", "`seen`"]) {
        assert!(finding.message.contains(name), "{finding:?}");
        assert!(!finding.advice.is_empty());
    }
    assert_eq!(
        (found.rows, found.bytes),
        (None, None),
        "nothing was flushed yet"
    );
    bench.done().await;
}

#[tokio::test]
async fn counters_custom_types_and_compact_tables_are_named() {
    let bench = Bench::new("odd").await;
    bench
        .cql("CREATE TABLE votes (p int PRIMARY KEY, n counter)")
        .await;
    bench.cql("CREATE TABLE odd (p int PRIMARY KEY, v 'org.apache.cassandra.db.marshal.DynamicCompositeType(a=>org.apache.cassandra.db.marshal.BytesType)')").await;
    bench
        .cql("CREATE TABLE compact (p int, c int, v int, PRIMARY KEY (p, c)) WITH COMPACT STORAGE")
        .await;
    for (table, code, weight) in [
        ("odd", "custom-type", bench.custom_types()),
        ("compact", "dense-table", Weight::Refused),
    ] {
        let found = bench.store.inspect(table).await.unwrap().unwrap();
        let named: Vec<_> = found.findings.iter().map(|f| (f.code, f.weight)).collect();
        assert_eq!(named, [(code, weight)], "{table}");
    }
    let votes = bench.store.inspect("votes").await.unwrap().unwrap();
    assert_eq!(
        votes.findings,
        [],
        "whether counters can be moved is the new store's affair"
    );
    assert!(votes.table.unwrap().is_counter());
    assert!(bench.store.inspect("nowhere").await.unwrap().is_none());
    assert_eq!(
        bench.store.tables().await.unwrap(),
        ["votes", "compact", "odd"],
        "counters first"
    );
    bench.done().await;
}

#[tokio::test]
async fn a_table_made_again_has_another_id() {
    let bench = Bench::new("identity").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        bench.cql("CREATE TABLE t (p int PRIMARY KEY)").await;
        ids.push(bench.store.inspect("t").await.unwrap().unwrap().id);
        bench.cql("DROP TABLE t").await;
    }
    assert_ne!(ids[0], ids[1]);
    bench.done().await;
}
