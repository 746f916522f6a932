//! Conditions, updates, scans and transactions on the real servers, in every phase: what the shim does to items is
//! seen alike, whichever store has the row.

use std::collections::BTreeSet;

use crossfade::connect;
use crossfade::express::{ConditionExpression, Item, Placeholders, UpdateExpression};
use crossfade::item::Attr;
use crossfade::model::{Key, Returns};
use crossfade::plan::Plan;
use crossfade::shim::{
    Cancelled, Returned, Scan, ScanPart, Shim, Table, TransactWrite, Transacted, Writes,
};
use crossfade::{Effect, Kind};
use serde_json::{Value as Json, json};

use crate::command::Bench;

const PLAN: &str = "[lease]\nseconds = 4\noperation_seconds = 6\n[shim]\nresave = \"inline\"\ndeadline_seconds = 5\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\n";

const PHASES: [&str; 6] = ["old", "bridge", "switch", "copy", "new", "done"];
/// Rows of each phase that nobody has touched yet.
const ROWS: usize = 4;

async fn bench() -> Bench {
    let bench = Bench::new("items").await;
    bench
        .cql("CREATE TABLE users (id text PRIMARY KEY, age int, name text, tags set<text>, m map<text, int>, l list<int>)")
        .await;
    for phase in PHASES {
        for at in 0..ROWS {
            bench
                .cql(&format!(
                    "INSERT INTO users (id, age, name) VALUES ('{phase}-{at}', 7, 'Ann')"
                ))
                .await;
        }
    }
    bench.plan(PLAN);
    bench.migrate(&["init"]).run().expect_code(0);
    bench
}

fn attr(json: &Json) -> Attr {
    match json {
        Json::String(text) => Attr::S(text.clone()),
        Json::Number(number) => Attr::N(number.to_string()),
        Json::Array(values) if values.iter().all(Json::is_string) && !values.is_empty() => {
            let texts = values.iter().filter_map(Json::as_str);
            Attr::Ss(texts.map(str::to_owned).collect())
        }
        Json::Array(values) => Attr::L(values.iter().map(attr).collect()),
        other => panic!("{other}"),
    }
}

fn placeholders(values: &Json) -> Placeholders {
    let values = values.as_object().into_iter().flatten();
    let values = values.map(|(name, json)| (format!(":{name}"), attr(json)));
    let names = [("#name".to_owned(), "name".to_owned())];
    Placeholders::new(names.into(), values.collect()).expect("placeholders")
}

fn when(text: &str, values: Json) -> Option<ConditionExpression> {
    Some(ConditionExpression::parse(text, &placeholders(&values)).expect("a condition"))
}

fn update(text: &str, values: Json) -> UpdateExpression {
    UpdateExpression::parse(text, &placeholders(&values)).expect("an update")
}

struct Users {
    table: Table,
    /// What every name begins with.
    phase: &'static str,
    seen: Vec<(String, String)>,
}

impl Users {
    async fn key(&self, at: usize) -> Key {
        let id = format!("{}-{at}", self.phase);
        self.table
            .key_of(&json!({ "id": id }))
            .await
            .expect("a key")
    }

    /// What came of a write, without the phase's own names.
    async fn note(&mut self, what: &str, came: crossfade::Result<Returned>) {
        let items = self.table.items().await.expect("items");
        let shown = |row: &Option<crossfade::model::Row>| match row {
            Some(row) => format!("{:?}", items.item(row).expect("an item")),
            None => "nothing".into(),
        };
        let came = match came {
            Ok(Returned::Done(row)) => format!("done {}", shown(&row)),
            Ok(Returned::Unmet(row)) => format!("unmet {}", shown(&row)),
            Err(error) => format!("{:?} {}", error.kind(), error.message()),
        };
        self.seen.push((
            what.to_owned(),
            came.replace(&format!("{}-", self.phase), ""),
        ));
    }

    async fn update(
        &mut self,
        at: usize,
        text: &str,
        values: Json,
        on: Option<ConditionExpression>,
    ) {
        for returns in [Returns::New, Returns::Old] {
            let key = self.key(at).await;
            let update = update(text, values.clone());
            let came = self.table.update_item(&key, update, on.clone(), returns);
            let came = came.await;
            self.note(text, came).await;
        }
    }

    async fn put(
        &mut self,
        at: usize,
        name: &str,
        on: Option<ConditionExpression>,
        returns: Returns,
    ) {
        let id = Attr::S(format!("{}-{at}", self.phase));
        let item = Item::from([
            ("id".to_owned(), id),
            ("name".to_owned(), Attr::S(name.into())),
        ]);
        let items = self.table.items().await.expect("items");
        let (row, ttl) = items.row(&item).expect("a row");
        let came = self.table.put_if(row, ttl, on, returns).await;
        self.note(&format!("put {name}"), came).await;
    }

    async fn delete(&mut self, at: usize, on: Option<ConditionExpression>) {
        let key = self.key(at).await;
        let came = self.table.delete_if(&key, on, Returns::Old).await;
        self.note("delete", came).await;
    }

    /// Everything that is done to the rows of one phase.
    async fn whole_story(&mut self) {
        let is = |name: &str| when("#name = :n", json!({ "n": name }));
        self.put(0, "Bea", is("Cid"), Returns::Old).await;
        self.put(0, "Bea", is("Ann"), Returns::Old).await;
        self.put(
            0,
            "Cid",
            when("attribute_not_exists(id)", json!({})),
            Returns::Nothing,
        )
        .await;
        self.update(
            0,
            "SET age = if_not_exists(age, :zero) + :two",
            json!({"zero": 1, "two": 2}),
            None,
        )
        .await;
        self.update(
            0,
            "ADD tags :t SET l = list_append(if_not_exists(l, :none), :l)",
            json!({"t": ["x", "y"], "none": [], "l": [1, 2]}),
            is("Bea"),
        )
        .await;
        self.update(0, "DELETE tags :t REMOVE age", json!({"t": ["x"]}), None)
            .await;
        self.update(0, "SET l[0] = :n", json!({"n": 9}), None).await;
        self.update(0, "SET age = #name + :n", json!({"n": 9}), None)
            .await;
        self.update(0, "SET age = age + :n", json!({"n": 9}), None)
            .await;
        self.update(0, "SET age = :n", json!({"n": "nine"}), None)
            .await;
        let in_range = when(
            "age BETWEEN :a AND :b AND size(#name) = :three AND NOT contains(tags, :x)",
            json!({"a": 1, "b": 9, "three": 3, "x": "x"}),
        );
        self.update(
            1,
            "SET #name = :n, age = :a",
            json!({"n": "Dan", "a": 8}),
            in_range.clone(),
        )
        .await;
        self.delete(1, is("Ann")).await;
        self.delete(1, when("attribute_exists(id)", json!({})))
            .await;
        self.delete(1, when("attribute_exists(id)", json!({})))
            .await;
        self.put(
            1,
            "Eve",
            when("attribute_not_exists(id)", json!({})),
            Returns::Old,
        )
        .await;
        self.put(
            1,
            "Eve",
            when("attribute_not_exists(id)", json!({})),
            Returns::Old,
        )
        .await;
    }
}

async fn scanned(users: &Table, part: Option<ScanPart>) -> Vec<String> {
    let items = users.items().await.expect("items");
    let (mut ids, mut position) = (Vec::new(), None);
    loop {
        let page = users.scan(Scan {
            position,
            limit: 5,
            part,
        });
        let page = page.await.expect("a page");
        for row in &page.rows {
            ids.push(format!("{:?}", items.item(row).expect("an item")["id"]));
        }
        match page.next {
            Some(next) => position = Some(next),
            None => return ids,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_changed_alike_in_every_phase() {
    let bench = bench().await;
    let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
    let shim = connect::shim(&plan, "a test").await.expect("a shim");
    let table = shim.table("users").expect("users");
    let mut in_old: Vec<(String, String)> = Vec::new();
    for phase in PHASES {
        if phase == "new" {
            bench.migrate(&["copy"]).run().expect_code(0);
            bench.migrate(&["verify"]).run().expect_code(0);
        }
        let advance = ["advance", "--table", "users", "--to", phase];
        let done = ["--yes-done", "users"];
        let extra = if phase == "done" { &done[..] } else { &[] };
        let advance = [&advance[..], extra].concat();
        bench.migrate(&advance).run().expect_code(0);
        let table = table.clone();
        let mut users = Users {
            table,
            phase,
            seen: Vec::new(),
        };
        let waits = ["bridge", "switch"].contains(&phase);
        if waits {
            users
                .delete(0, when("attribute_exists(id)", json!({})))
                .await;
            let (_, came) = users.seen.remove(0);
            assert!(came.starts_with("Transient"), "{phase}: {came}");
        }
        if phase == "switch" {
            // From here on the new store has them.
            for at in 0..2 {
                let row = json!({"id": format!("switch-{at}"), "name": "Ann", "age": 7});
                users.table.put_as(&row).await.expect("a put");
            }
        }
        if phase != "bridge" {
            users.whole_story().await;
        }
        let seen = scanned(&users.table, None).await;
        let once: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(once.len(), seen.len(), "{phase}: {seen:?}");
        assert_eq!(seen.len(), PHASES.len() * ROWS, "{phase}: {seen:?}");
        let mut parts = Vec::new();
        for index in 0..3 {
            parts.extend(scanned(&users.table, Some(ScanPart { index, total: 3 })).await);
        }
        assert_eq!(parts.len(), seen.len(), "{phase}: {parts:?}");
        transactions(&shim, &users.table, phase).await;
        if phase == "old" {
            in_old = users.seen;
            continue;
        }
        let differing: Vec<String> = (users.seen.iter().zip(&in_old))
            .filter(|(seen, wanted)| seen != wanted)
            .map(|((what, seen), (_, wanted))| format!("{what}:\n  {seen}\n  {wanted} in old"))
            .collect();
        assert!(differing.is_empty(), "in {phase}: {}", differing.join("\n"));
        assert!(phase == "bridge" || users.seen.len() == in_old.len());
    }
    shim.leave().await.expect("left");
    bench.done().await;
}

async fn transactions(shim: &Shim, users: &Table, phase: &str) {
    let key = async |at: usize| {
        let id = format!("{phase}-{at}");
        users.key_of(&json!({ "id": id })).await.expect("a key")
    };
    let (two, three) = (key(2).await, key(3).await);
    let one = |writes, on| TransactWrite {
        table: "users".into(),
        writes,
        on,
    };
    let is = |name: &str| when("#name = :n", json!({ "n": name }));
    let rename = |name: &str| update("SET #name = :n", json!({ "n": name }));
    let writes = |from: &str| {
        vec![
            one(Writes::Update(two.clone(), rename("Tom")), is(from)),
            one(Writes::Check(three.clone()), is("Ann")),
        ]
    };
    let keys = vec![
        ("users".to_owned(), two.clone()),
        ("users".to_owned(), three.clone()),
    ];
    let unmet = shim.transact(writes("Una")).await;
    let read = shim.transact_get(keys.clone()).await;
    match phase {
        "old" => {
            for error in [unmet.expect_err("refused"), read.expect_err("refused")] {
                assert_eq!(error.kind(), Kind::Unsupported, "{error}");
            }
        }
        "bridge" | "switch" => {
            for error in [unmet.expect_err("later"), read.expect_err("later")] {
                assert_eq!(error.kind(), Kind::Transient, "{error}");
                assert_eq!(error.known_effect(), Effect::None);
            }
        }
        _ => {
            let Transacted::Cancelled(causes) = unmet.expect("an answer") else {
                panic!("{phase}: the condition isn't met");
            };
            assert!(
                matches!(causes[0], Cancelled::Unmet(Some(_))),
                "{phase}: {causes:?}"
            );
            assert_eq!(causes[1], Cancelled::No, "{phase}");
            let done = shim.transact(writes("Ann")).await;
            assert_eq!(done.expect("an answer"), Transacted::Done, "{phase}");
            let rows = shim.transact_get(keys).await.expect("rows");
            let items = users.items().await.expect("items");
            let name = |at: usize| {
                let row = rows[at].as_ref().expect("a row");
                items.item(row).expect("an item")["name"].clone()
            };
            assert_eq!(
                [name(0), name(1)],
                [Attr::S("Tom".into()), Attr::S("Ann".into())]
            );
        }
    }
}
