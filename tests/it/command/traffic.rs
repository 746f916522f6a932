//! `migrate verify` beside an application: whatever that does to rows while both tables are read, nothing is called
//! a difference that isn't one, and what is one is found and mended.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue as A;
use crossfade::connect;
use crossfade::error::Result;
use crossfade::json;
use crossfade::model::{ClusteringRange, Edit, Update, Value};
use crossfade::plan::Plan;
use crossfade::shim::{Shim, Table, Ttl};
use scylla::value::Counter;
use scylla_proxy::{
    Condition, Reaction, RequestOpcode, RequestReaction, RequestRule, RunningProxy,
};
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, block_in_place};

use super::verifying::{found, named};
use super::{Bench, number};
use crate::forwarding::{Fault, Forwarding};
use crate::support::{is_long, proxied};

const PLAN: &str = "[lease]\nseconds = 6\noperation_seconds = 10\n[shim]\ndeadline_seconds = 10\n\
                    [[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
                    [[table]]\nname = \"users\"\nto = \"@-users\"\n\
                    expiry = { attribute = \"expires_at\", from = \"max\" }\n";

/// Rows of a team.
const SIZE: usize = 8;
/// Rows that one verification finds only in the old store, so that the application brings them over meanwhile.
const FRESH: usize = 30;
/// Calls that the application has to have made since the new table's first page before more than these come through,
/// and how long others are held before they are refused.
const CALLS: usize = 150;
const FIRST_PAGES: usize = 6;
const HELD_FOR: Duration = Duration::from_millis(200);
/// How long each page of a verification takes at least, of the new table and of the old one.
const PAGE_TAKES: Duration = Duration::from_millis(40);
const RANGE_TAKES: Duration = Duration::from_millis(60);

/// How large it is.
struct Size {
    teams: usize,
    /// Verifications in `copy`, and as many in `new`.
    runs: usize,
    /// Between two calls of the application.
    tick: Duration,
    /// Within so many seconds rows of the old table expire, and others come near to that.
    lives: usize,
}

impl Size {
    fn new() -> Self {
        match is_long() {
            true => Size {
                teams: 2_500,
                runs: 5,
                tick: Duration::from_millis(3),
                lives: 200,
            },
            false => Size {
                teams: 400,
                runs: 1,
                tick: Duration::from_millis(15),
                lives: 60,
            },
        }
    }

    /// All verifications, with the first, which mends.
    fn all(&self) -> usize {
        1 + 2 * self.runs
    }
}

/// The first id of a team. Neither it nor a team's name has what scans are told by, the bytes 0, 0, 0, 8.
const FIRST: usize = 100;

fn team_name(team: usize) -> String {
    format!("team {team:06}")
}

async fn fill(bench: &Bench, size: &Size) {
    bench
        .cql("CREATE TABLE users (team text, id int, name text, tags set<text>, PRIMARY KEY (team, id))")
        .await;
    bench
        .cql("CREATE TABLE votes (id text PRIMARY KEY, up counter)")
        .await;
    let votes = (0..size.teams).map(|n| (Counter(n as i64 % 7 + 1), format!("poll {n}")));
    bench
        .fill("UPDATE votes SET up = up + ? WHERE id = ?", votes)
        .await;
    let row = |team: String, id: usize, ttl: usize| {
        let tags: Vec<String> = (0..id % 4).map(|tag| format!("tag {tag}")).collect();
        (
            team.clone(),
            id as i32,
            format!("{team}'s {id}"),
            tags,
            ttl as i32,
        )
    };
    let fresh = (0..=size.runs)
        .flat_map(|run| (0..FRESH).map(move |id| row(format!("fresh {run}"), id, 0)));
    let calm = (0..4).map(|id| row("calm".to_owned(), id, 0));
    let rows = (0..size.teams * SIZE).map(|n| {
        let (team, at) = (n / SIZE, n % SIZE);
        // Rows that expire some day, soon, and so that they are about to.
        let ttl = match at {
            5 => 100_000,
            6 if team % 2 == 0 => 20 + team % size.lives,
            7 if team % 2 == 0 => 320 + team % size.lives,
            _ => 0,
        };
        row(team_name(team), FIRST + at, ttl)
    });
    let insert = "INSERT INTO users (team, id, name, tags) VALUES (?, ?, ?, ?) USING TTL ?";
    bench.fill(insert, rows.chain(fresh).chain(calm)).await;
}

/// What the application does, in turn.
const KINDS: usize = 14;

/// An application of two processes.
struct Application {
    shims: Vec<Shim>,
    /// Which verification is under way: it goes for rows that it has left alone before.
    turn: AtomicUsize,
    turns: usize,
    teams: usize,
    begun: AtomicUsize,
    done: Arc<AtomicUsize>,
    errors: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Application {
    async fn start(bench: &Bench, size: &Size) -> Arc<Self> {
        let plan = Plan::load(&bench.folder.path().join("plan.toml")).expect("a plan");
        let mut shims = Vec::new();
        for name in ["one", "another"] {
            shims.push(connect::shim(&plan, name).await.expect("a shim"));
        }
        Arc::new(Application {
            shims,
            turn: AtomicUsize::new(0),
            turns: size.all(),
            teams: size.teams,
            begun: AtomicUsize::new(0),
            done: Arc::default(),
            errors: Mutex::default(),
            is_over: AtomicBool::new(false),
        })
    }

    fn table(&self, process: usize, name: &str) -> Table {
        let shim = &self.shims[process % self.shims.len()];
        shim.table(name).expect("a table of the plan")
    }

    /// Calls on until it is over, a call every `tick` and some at once.
    async fn work(self: Arc<Self>, tick: Duration) {
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let at_once = Arc::new(Semaphore::new(32));
        while !self.is_over.load(Relaxed) {
            ticks.tick().await;
            let permit = at_once.clone().acquire_owned().await.expect("open");
            let this = self.clone();
            tokio::spawn(async move {
                this.call().await;
                drop(permit);
            });
        }
        // The calls under way too.
        let _all = at_once.acquire_many(32).await.expect("open");
    }

    async fn call(&self) {
        let call = self.begun.fetch_add(1, Relaxed);
        // Mostly rows that were left alone so far, among them such as were never there; and others of before.
        let (turn, turns) = (self.turn.load(Relaxed), self.turns);
        let teams = self.teams * 5 / 4 / turns;
        let turn = match call % 10 {
            0 => rand::random_range(0..=turn),
            _ => turn,
        };
        let team = rand::random_range(0..teams) * turns + turn;
        match self.one(call, team).await {
            Ok(()) => drop(self.done.fetch_add(1, Relaxed)),
            Err(error) => {
                let error = format!("call {} on team {team}: {error}", call % KINDS);
                self.errors.lock().expect("no panic").push(error);
            }
        }
    }

    async fn one(&self, call: usize, team: usize) -> Result<()> {
        let (users, votes) = (
            &self.table(call / 3, "users"),
            self.table(call / 3, "votes"),
        );
        let id = FIRST + rand::random_range(0..SIZE + 1);
        let key = json!({"team": team_name(team), "id": id});
        let row =
            json!({"team": key["team"], "id": id, "name": format!("name {call}"), "tags": ["new"]});
        let poll = json!({"id": format!("poll {team}")});
        match call % KINDS {
            0 => users.get_as::<Json>(&key).await.map(drop),
            1 => users.put_as(&row).await,
            2 => {
                let set = json!({"name": format!("update {call}")});
                users.update_as(&key, &set, &[]).await
            }
            3 => users.update_as(&key, &json!({}), &["tags"]).await,
            4 => users.delete(&users.key_of(&key).await?).await,
            5 => {
                let partition = json!({"team": key["team"]});
                users
                    .query_as::<Json>(&partition, call.is_multiple_of(2), None)
                    .await
                    .map(drop)
            }
            6 => {
                let row = json::row(&users.schema().await?, row.as_object().expect("one"))?;
                users.insert(row, Ttl::Default).await.map(drop)
            }
            7 => {
                let edit = Edit::Set(Value::text(format!("if {call}")));
                let update = update(users, &key, "name", edit).await?;
                users
                    .update_if(update, vec![], Ttl::Default)
                    .await
                    .map(drop)
            }
            8 => {
                let edit = Edit::AddToSet(vec![Value::text("more")]);
                users
                    .update(update(users, &key, "tags", edit).await?, Ttl::Default)
                    .await
            }
            9 => users.put_as_for(&row, Ttl::Seconds(10)).await,
            10 => {
                let from = std::ops::Bound::Included(vec![Value::Int(id as i32)]);
                let range = ClusteringRange::whole(vec![Value::text(team_name(team))]);
                users.delete_range(ClusteringRange { from, ..range }).await
            }
            11 => votes.add(&votes.key_of(&poll).await?, "up", 1).await,
            12 => {
                let key = json!({"id": format!("new poll {team}")});
                votes.add(&votes.key_of(&key).await?, "up", 1).await
            }
            _ => votes.count_as(&poll).await.map(drop),
        }
    }

    /// Uses rows that only the old store has, one after the other, until the new store has all of them whole.
    async fn bring_over(&self, bench: &Bench, run: usize) {
        let users = &self.table(run, "users");
        let team = format!("fresh {run}");
        for id in 0..FRESH {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let key = json!({"team": team, "id": id});
            let used = async || match id % 6 {
                0 => {
                    let row = users.get_as::<Json>(&key).await;
                    row.map(|row| assert!(row.is_some(), "{key} is in the old store"))
                }
                1 => {
                    users
                        .update_as(&key, &json!({"name": "in part"}), &[])
                        .await
                }
                2 => {
                    users
                        .delete(&users.key_of(&key).await.expect("a key"))
                        .await
                }
                3 => {
                    let row = json!({"team": team, "id": id, "name": "put"});
                    users.put_as(&row).await
                }
                4 => {
                    let edit = Edit::AddToSet(vec![Value::text("more")]);
                    let update = update(users, &key, "tags", edit).await.expect("an update");
                    users.update(update, Ttl::Default).await
                }
                _ => {
                    let rows = users
                        .query_as::<Json>(&json!({"team": team}), false, None)
                        .await;
                    rows.map(|rows| assert!(rows.len() >= FRESH * 5 / 6, "{rows:?}"))
                }
            };
            while let Err(error) = used().await {
                assert!(error.kind().is_transient(), "{key}: {error}");
            }
        }
        loop {
            let whole = whole(bench, &team).await;
            if whole.len() == FRESH {
                return;
            }
            for id in (0..FRESH as i32).filter(|id| !whole.contains(id)) {
                // One that fails is seen, and tried again, by the look at the whole.
                let _ = users.get_as::<Json>(&json!({"team": team, "id": id})).await;
            }
        }
    }

    async fn end(self: Arc<Self>, working: JoinHandle<()>) {
        self.is_over.store(true, Relaxed);
        working.await.expect("no panic");
        let errors = std::mem::take(&mut *self.errors.lock().expect("no panic"));
        // On a machine that stalls a server may be late, and a lease run out.
        let calls = self.begun.load(Relaxed);
        assert!(errors.len() * 5 < calls, "of {calls} calls: {errors:?}");
        let this = Arc::into_inner(self).expect("nobody else has it");
        for shim in this.shims {
            shim.leave().await.expect("left");
        }
    }
}

async fn update(users: &Table, key: &Json, column: &str, edit: Edit) -> Result<Update> {
    let schema = users.schema().await?;
    let mut cells = vec![None; schema.cells().len()];
    let place = schema.cells().iter().position(|one| one.name == column);
    cells[place.expect("a column")] = Some(edit);
    Ok(Update {
        key: users.key_of(key).await?,
        cells,
        expires: None,
    })
}

/// The items of a team that nobody has to complete.
async fn whole(bench: &Bench, team: &str) -> Vec<i32> {
    let query = bench.dynamo.query().table_name(bench.target("users"));
    let query = query
        .key_condition_expression("team = :team")
        .expression_attribute_values(":team", A::S(team.to_owned()))
        .consistent_read(true);
    let items = query.send().await.expect("items").items.unwrap_or_default();
    let whole = items.iter().filter(|item| item["_m"] != A::S("k".into()));
    let id = |item: &super::Item| item["id"].as_n().expect("a number").parse();
    whole.map(|item| id(item).expect("an int")).collect()
}

async fn delete(bench: &Bench, team: &str, id: usize) {
    let delete = bench.dynamo.delete_item().table_name(bench.target("users"));
    let delete = delete
        .key("team", A::S(team.to_owned()))
        .key("id", A::N(id.to_string()));
    delete.send().await.expect("deleted");
}

/// What a verification reads through: slowly, and to the new table's end only when the application has done its
/// part. It notes how much that has done by the first and the last page of each table.
struct Slowly {
    /// Where the pages of the new table come through.
    _new: Forwarding,
    /// And those of the old one.
    _old: RunningProxy,
    may_end: Arc<AtomicBool>,
    seen: [Seen; 2],
}

/// How many calls the application had made by a table's first page, and by its last so far.
type Seen = Arc<Mutex<Option<(usize, usize)>>>;

impl Slowly {
    async fn before(bench: &Bench, application: &Application) -> Self {
        let [old_seen, new_seen]: [Seen; 2] = Default::default();
        let note = |seen: &Mutex<Option<(usize, usize)>>, done: usize| {
            let mut seen = seen.lock().expect("no panic");
            *seen = Some((seen.map_or(done, |(first, _)| first), done));
        };
        let may_end = Arc::new(AtomicBool::new(false));
        let (target, gate) = (Json::String(bench.target("users")), may_end.clone());
        let (seen, done, mut pages) = (new_seen.clone(), application.done.clone(), 0);
        let new = Forwarding::start(&bench.url, move |request| {
            if request.call != "Scan" || request.body["TableName"] != target {
                return Fault::None;
            }
            std::thread::sleep(PAGE_TAKES);
            note(&seen, done.load(Relaxed));
            if pages >= FIRST_PAGES && !gate.load(Relaxed) {
                std::thread::sleep(HELD_FOR);
            }
            if pages >= FIRST_PAGES && !gate.load(Relaxed) {
                return Fault::Throttled;
            }
            pages += 1;
            Fault::None
        });
        let (mut old, node) = proxied(&bench.node).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let scans = Condition::not(Condition::ConnectionRegisteredAnyEvent)
            .and(Condition::RequestOpcode(RequestOpcode::Execute))
            // Scans alone bind tokens, which are eight bytes.
            .and(Condition::BodyContainsCaseSensitive(Box::new([0, 0, 0, 8])));
        let slowly =
            <RequestReaction as Reaction>::delay(RANGE_TAKES).with_feedback_when_performed(tell);
        old.running_nodes[0].change_request_rules(Some(vec![RequestRule(scans, slowly)]));
        let (seen, done) = (old_seen.clone(), application.done.clone());
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                note(&seen, done.load(Relaxed));
            }
        });
        let stores = bench.stores().replace(&bench.url, &new.url);
        let stores = stores.replace(&bench.node, &node);
        bench.write("slowly.toml", &format!("{stores}{PLAN}"));
        Slowly {
            _new: new,
            _old: old,
            may_end,
            seen: [old_seen, new_seen],
        }
    }
}

/// Verifies while the application works, and gives the objects of votes and users.
async fn verify(
    bench: &Bench,
    application: &Application,
    fresh: Option<usize>,
    arguments: &[&str],
    code: i32,
) -> Vec<Json> {
    if let Some(run) = fresh {
        for id in 0..FRESH {
            delete(bench, &format!("fresh {run}"), id).await;
        }
    }
    let slowly = Slowly::before(bench, application).await;
    let file = bench.folder.path().join("found.json");
    let arguments = [
        &["verify", "--json", file.to_str().expect("UTF-8")],
        arguments,
    ]
    .concat();
    let verify = bench.migrate_by("slowly.toml", &arguments);
    let before = application.done.load(Relaxed);
    let begun = std::time::Instant::now();
    let mut running = verify.spawn();
    while slowly.seen[1].lock().expect("no panic").is_none() {
        assert!(running.runs(), "it reads the table");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = application.done.load(Relaxed);
    if let Some(run) = fresh {
        application.bring_over(bench, run).await;
    }
    while application.done.load(Relaxed) < first + CALLS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    slowly.may_end.store(true, Relaxed);
    block_in_place(|| running.wait()).expect_code(code);
    let mut during = slowly.seen.iter().map(|seen| {
        let seen = seen.lock().expect("no panic");
        let (first, last) = seen.expect("a page");
        last - first
    });
    let (old, new) = (during.next().expect("two"), during.next().expect("two"));
    let took = begun.elapsed();
    let all = application.done.load(Relaxed) - before;
    let rate = all as f64 / took.as_secs_f64();
    eprintln!(
        "{took:.1?}: {rate:.0} calls a second; the application made {old} calls while the old table was read, {new} while the new one was"
    );
    assert!(old > 0 && new >= CALLS);
    let text = std::fs::read_to_string(file).expect("a file");
    serde_json::from_str(&text).expect("an array")
}

/// Moves both tables at once.
fn advance(bench: &Bench, to: &str) {
    let moves = ["votes", "users"].map(|table| {
        let advance = ["advance", "--table", table, "--to", to];
        bench.migrate(&advance).spawn()
    });
    for advance in moves {
        block_in_place(|| advance.wait()).expect_code(0);
    }
}

fn assert_clean(tables: &[Json]) {
    for table in tables {
        assert_eq!(found(table), [], "{table}");
        assert_eq!(table["clean"], true, "{table}");
    }
}

/// In rows that the application leaves alone.
async fn plant(bench: &Bench) {
    delete(bench, "calm", 1).await;
    let wrong = bench.dynamo.update_item().table_name(bench.target("users"));
    let wrong = wrong
        .key("team", A::S("calm".into()))
        .key("id", A::N("2".into()))
        .update_expression("REMOVE tags");
    wrong.send().await.expect("updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_works_on_makes_no_differences() {
    let size = Size::new();
    let bench = Bench::new("traffic").await;
    fill(&bench, &size).await;
    bench.plan(PLAN).init();
    let application = Application::start(&bench, &size).await;
    let migrate = |arguments: &[&str]| {
        block_in_place(|| bench.migrate(arguments).run().expect_code(0));
    };
    advance(&bench, "copy");
    migrate(&["copy"]);
    migrate(&["copy", "--final", "--table", "votes"]);
    let working = tokio::spawn(application.clone().work(size.tick));

    plant(&bench).await;
    let tables = verify(&bench, &application, Some(0), &["--repair"], 1).await;
    assert_eq!(found(&tables[0]), [], "{}", tables[0]);
    let users = &tables[1];
    assert_eq!(found(users), [("missing", 1), ("different", 1)], "{users}");
    assert_eq!(named(users, "missing"), "team=calm, id=1");
    assert_eq!(named(users, "different"), "team=calm, id=2");
    let mended = &users["repaired"];
    assert_eq!(
        (number(mended, "copied"), number(mended, "rewritten")),
        (1, 1)
    );
    for run in 1..=size.runs {
        application.turn.fetch_add(1, Relaxed);
        let tables = verify(&bench, &application, Some(run), &[], 0).await;
        assert_clean(&tables);
    }
    advance(&bench, "new");
    for _ in 0..size.runs {
        application.turn.fetch_add(1, Relaxed);
        let tables = verify(&bench, &application, None, &[], 0).await;
        assert_clean(&tables);
        assert!(number(&tables[1], "expiring") > 0, "{}", tables[1]);
    }
    application.end(working).await;
    bench.done().await;
}
