//! What Cassandra takes for equal is equal in every phase: keys, their order, and values. The same things are
//! done to the same rows in each phase, on the real servers, and have to be seen alike.

use std::ops::Bound;

use crossfade::connect;
use crossfade::json;
use crossfade::model::{ClusteringRange, Edit, Key, Query, Update, Value};
use crossfade::plan::Plan;
use crossfade::shim::{Table, Ttl, Written};
use serde_json::{Value as Json, json};

use crate::command::Bench;

const PLAN: &str = "[lease]\nseconds = 2\noperation_seconds = 5\n[shim]\nresave = \"inline\"\ndeadline_seconds = 5\n\
                    [[table]]\nname = \"visits\"\nto = \"@-visits\"\n";

const PHASES: [&str; 5] = ["old", "bridge", "switch", "copy", "new"];

/// One partition for each phase, with the same rows. By bytes `aa` comes after `b`, and a place written
/// before its type had a `zip` is none with a null.
async fn bench() -> Bench {
    let bench = Bench::new("equal").await;
    bench.cql("CREATE TYPE place (street text)").await;
    bench
        .cql(
            "CREATE TABLE visits (p text, c frozen<tuple<text, int>>, at frozen<place>, s frozen<set<text>>, \
             v text, w frozen<set<text>>, tags set<decimal>, names map<text, int>, PRIMARY KEY (p, c, at, s)) \
             WITH CLUSTERING ORDER BY (c DESC, at ASC, s ASC)",
        )
        .await;
    let insert = async |row: &str| {
        for phase in PHASES {
            bench
                .cql(&format!(
                    "INSERT INTO visits (p, c, at, s, v) VALUES ('{phase}', {row})"
                ))
                .await;
        }
    };
    insert("('b', 1), {street: 'x'}, {'a', 'b'}, 'first'").await;
    insert("('aa', 2), {street: 'x'}, {'a', 'b'}, 'second'").await;
    insert("('a', 3), {street: 'x'}, {}, 'third'").await;
    bench.cql("ALTER TYPE place ADD zip int").await;
    insert("('a', 3), {street: 'x', zip: 1}, {'z'}, 'fourth'").await;
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    bench
}

/// One phase's partition.
struct Visits<'t> {
    table: &'t Table,
    partition: &'t str,
    seen: Vec<(&'static str, Json)>,
}

impl Visits<'_> {
    async fn key(&self, c: Json, at: Json, s: Json) -> Key {
        let key = json!({"p": self.partition, "c": c, "at": at, "s": s});
        self.table.key_of(&key).await.expect("a key")
    }

    fn range(&self) -> ClusteringRange {
        ClusteringRange::whole(vec![Value::text(self.partition)])
    }

    async fn query(&self, query: Query) -> (Vec<Json>, Option<Key>) {
        let schema = self.table.schema().await.expect("a schema");
        let page = self.table.query(query).await.expect("a page");
        let json = |row| {
            let mut row = json::of_row(&schema, row);
            row.remove("p");
            Json::Object(row)
        };
        (page.rows.iter().map(json).collect(), page.next)
    }

    async fn look(
        &mut self,
        what: &'static str,
        range: ClusteringRange,
        reverse: bool,
        limit: usize,
    ) {
        let query = Query {
            range,
            reverse,
            after: None,
            limit,
        };
        let (rows, _) = self.query(query).await;
        self.seen.push((what, rows.into()));
    }

    async fn all(&mut self, what: &'static str) {
        self.look(what, self.range(), false, 100).await;
    }

    /// One row a page, each after the last one's key.
    async fn by_pages(&mut self, reverse: bool) {
        let mut query = Query {
            range: self.range(),
            reverse,
            after: None,
            limit: 1,
        };
        loop {
            let (rows, next) = self.query(query.clone()).await;
            self.seen.push(("a page of one", rows.into()));
            match next {
                Some(next) => query.after = Some(next),
                None => return,
            }
        }
    }

    async fn whole_story(&mut self, compares: bool) {
        let short = json!({"street": "x"});
        let schema = self.table.schema().await.expect("a schema");
        self.all("as they were written").await;
        self.by_pages(false).await;
        self.by_pages(true).await;

        let first = self
            .key(json!(["b", 1]), short.clone(), json!(["b", "a"]))
            .await;
        let row = self.table.get(&first).await.expect("a read");
        let value = row.map(|row| json::of_row(&schema, &row)["v"].clone());
        self.seen.push(("by a set in another order", json!(value)));

        let put = json!({
            "p": self.partition, "c": ["aa", 2], "at": {"street": "x", "zip": null}, "s": ["b", "a", "a"],
            "v": "again", "w": ["B", "A", "A"], "tags": ["2", "1.0", "1.00"], "names": {"b": 1, "a": 2},
        });
        self.table.put_as(&put).await.expect("a put");
        self.all("one is overwritten").await;
        self.table.delete(&first).await.expect("a delete");
        self.all("one is deleted").await;
        self.look("the first two", self.range(), false, 2).await;
        self.look("the last two", self.range(), true, 2).await;

        let second = self.key(json!(["aa", 2]), short, json!(["a", "b"])).await;
        // Anything of `a` is after it, since `c` descends.
        let c = second
            .clustering
            .iter()
            .flatten()
            .take(1)
            .cloned()
            .collect();
        let behind = ClusteringRange {
            from: Bound::Excluded(c),
            ..self.range()
        };
        self.look("behind the second", behind.clone(), false, 100)
            .await;
        self.table.delete_range(behind).await.expect("deleted");
        self.all("what was behind it is deleted").await;
        if compares {
            self.compare(second, &schema).await;
        }
    }

    /// Writes that look at values first: these are compared as Cassandra does.
    async fn compare(&mut self, key: Key, schema: &crossfade::schema::Table) {
        let cell = |name: &str| schema.cell(name).expect("a column");
        let decimal = |unscaled: u8, scale| Value::Decimal {
            unscaled: vec![unscaled],
            scale,
        };
        let edit = |name: &str, edit: Edit| {
            let mut cells = vec![None; schema.cells().len()];
            cells[cell(name)] = Some(edit);
            Update {
                key: key.clone(),
                cells,
                expires: None,
            }
        };
        let texts =
            |texts: &[&str]| Value::Set(texts.iter().map(|text| Value::text(*text)).collect());
        let two_tags = Value::Set(vec![decimal(1, 0), decimal(20, 1)]);
        let expected = [(cell("w"), texts(&["B", "A"])), (cell("tags"), two_tags)];
        for expected in expected.map(|(at, value)| vec![(at, Some(value))]) {
            let update = edit("v", Edit::Set(Value::text("compared")));
            let found = self.table.update_if(update, expected, Ttl::Default).await;
            let found = format!("{:?}", found.map(|written| written == Written::Done));
            self.seen.push(("compared", found.into()));
        }
        for update in [
            edit(
                "tags",
                Edit::AddToSet(vec![decimal(3, 0), decimal(30, 1), decimal(0, 0)]),
            ),
            edit("tags", Edit::RemoveFromSet(vec![decimal(20, 1)])),
        ] {
            let updated = self.table.update(update, Ttl::Default).await;
            self.seen.push(("edited", format!("{updated:?}").into()));
        }
        let row = self.table.get(&key).await.expect("a read");
        let row = row.map(|row| json::of_row(schema, &row));
        let row = row.map(|row| [row["v"].clone(), row["w"].clone(), row["tags"].clone()]);
        self.seen.push(("edited", json!(row)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_equal_in_cassandra_is_equal_in_every_phase() {
    let bench = bench().await;
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let table = shim.table("visits").expect("visits");
    let mut in_old: Vec<(&str, Json)> = Vec::new();
    for phase in PHASES {
        if phase == "new" {
            bench.migrate(&["copy"]).run().expect_code(0);
            bench.migrate(&["verify"]).run().expect_code(0);
        }
        let advance = ["advance", "--table", "visits", "--to", phase];
        bench.migrate(&advance).run().expect_code(0);
        let mut visits = Visits {
            table: &table,
            partition: phase,
            seen: Vec::new(),
        };
        // What looks at the value that is there has to wait for `switch`.
        visits.whole_story(phase != "bridge").await;
        let is_compared =
            |(what, _): &&(&str, Json)| phase != "bridge" || !["compared", "edited"].contains(what);
        if phase == "old" {
            in_old = visits.seen;
            continue;
        }
        let wanted: Vec<_> = in_old.iter().filter(is_compared).collect();
        let differing: Vec<String> = (visits.seen.iter().zip(wanted))
            .filter(|(seen, wanted)| seen != wanted)
            .map(|((what, seen), (_, wanted))| format!("{what}:\n  {seen}\n  {wanted} in old"))
            .collect();
        assert!(differing.is_empty(), "in {phase}: {}", differing.join("\n"));
    }
    shim.leave().await.expect("left");
    bench.done().await;
}
