//! A migration that version 0.1.0 began goes on with this one: its journals, control records, items and the state
//! of its verification are in `tests/fixtures/begun-0.1.0.tar.gz`, between two embedded stores.
//!
//! The fixture is never made again: it is what people have on their disks. `CROSSFADE_SAVE_BEGUN=FILE` keeps what
//! the current version begins, for the fixture of a later format.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crossfade::model::{Condition, Key, Row, Value};
use crossfade::schema::{Column, Role, Table, Type, Udt};
use crossfade::store::embedded::Embedded;
use crossfade::store::{Reads, Store};
use serde_json::{Value as Json, json};

use crate::command::number;
use crate::driving::drive;
use crate::support::{Migrate, Outcome, folder};

const USERS: u64 = 1_200;
const ACTS: u64 = 300;

const PLAN: &str = r#"name = "begun"
[old]
kind = "embedded"
path = "old"
[new]
kind = "embedded"
path = "new"
[lease]
seconds = 1
operation_seconds = 1
[shim]
deadline_seconds = 1
[[table]]
name = "votes"
to = "new-votes"
[[table]]
name = "users"
to = "new-users"
[table.columns]
note = { rename = "remark" }
secret = { drop = true }
"#;

fn column(name: &str, ty: Type, role: Role) -> Column {
    Column {
        name: name.into(),
        frozen: matches!(ty, Type::Udt(_)),
        ty,
        role,
    }
}

fn users() -> Table {
    let home = Udt {
        name: "address".into(),
        fields: vec![("street".into(), Type::Text), ("zip".into(), Type::Text)],
    };
    Table::new(
        "users",
        vec![
            column("id", Type::Text, Role::Partition),
            column("born", Type::Date, Role::Regular),
            column("credit", Type::Decimal, Role::Regular),
            column("home", Type::Udt(Arc::new(home)), Role::Regular),
            column("note", Type::Text, Role::Regular),
            column("secret", Type::Text, Role::Regular),
            column("tags", Type::Set(Box::new(Type::Text)), Role::Regular),
        ],
    )
}

fn votes() -> Table {
    Table::new(
        "votes",
        vec![
            column("act", Type::Text, Role::Partition),
            column("n", Type::Counter, Role::Regular),
        ],
    )
}

fn user(number: u64) -> Row {
    let home = Value::Udt(vec![
        Some(Value::Text(format!("{number} High Street"))),
        None,
    ]);
    let credit = Value::Decimal {
        unscaled: (number as i16).to_be_bytes().to_vec(),
        scale: 2,
    };
    Row::new(
        Key::row(vec![Value::Text(format!("u{number}"))], vec![]),
        vec![
            Some(Value::Date((1 << 31) + number as u32)),
            Some(credit),
            (!number.is_multiple_of(3)).then_some(home),
            Some(Value::Text(format!("note {number}"))),
            Some(Value::text("s")),
            number
                .is_multiple_of(2)
                .then(|| Value::Set(vec![Value::text("a"), Value::text("b")])),
        ],
    )
}

fn act(number: u64) -> Row {
    Row::new(
        Key::row(vec![Value::Text(format!("a{number}"))], vec![]),
        vec![Some(Value::BigInt(number as i64 + 1))],
    )
}

fn migrate(folder: &Path, arguments: &[&str]) -> Migrate {
    Migrate::new(arguments)
        .arg("--plan")
        .arg("cf.toml")
        .in_folder(folder)
}

/// What an application does, one command after the other, and its answers by their `id`.
fn application(folder: &Path, commands: &[Json]) -> Vec<Json> {
    let mut child = Command::new(drive())
        .args(["--plan", "cf.toml"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("drive");
    let mut input = child.stdin.take().expect("stdin");
    for (id, command) in commands.iter().enumerate() {
        let mut command = command.clone();
        command["id"] = json!(id);
        writeln!(input, "{command}").expect("sent");
    }
    drop(input);
    let output = child.wait_with_output().expect("drive ends");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut answers: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers.len(), commands.len(), "{text}");
    answers
}

fn get(id: &str) -> Json {
    json!({"op": "get", "table": "users", "key": {"id": id}})
}

fn count(act: &str) -> Json {
    json!({"op": "count", "table": "votes", "key": {"act": act}})
}

/// What the application wrote while the tables were in `switch`: a whole row, some columns of another one, a
/// delete, and two adds.
fn written() -> Vec<Json> {
    vec![
        json!({"op": "put", "table": "users", "row": {"id": "u10", "remark": "put in switch"}}),
        json!({"op": "update", "table": "users", "key": {"id": "u11"}, "set": {"remark": "set in switch"}}),
        json!({"op": "delete", "table": "users", "key": {"id": "u12"}}),
        json!({"op": "add", "table": "votes", "key": {"act": "a10"}, "column": "n", "by": 5}),
        json!({"op": "add", "table": "votes", "key": {"act": "new act"}, "column": "n", "by": 7}),
    ]
}

/// Begins a migration in a folder and stops in the middle: a copier that was killed in each table.
async fn begin(folder: &Path) {
    std::fs::write(folder.join("cf.toml"), PLAN).expect("written");
    {
        let old = Embedded::open(&folder.join("old")).expect("made");
        for (table, rows) in [
            (votes(), (0..ACTS).map(act).collect::<Vec<Row>>()),
            (users(), (0..USERS).map(user).collect()),
        ] {
            old.create(&table).await.expect("created");
            let puts = old.put(&table, &rows, &Condition::Always).await;
            assert!(puts.rows.iter().all(Result::is_ok), "{:?}", puts.rows);
        }
        old.close().await;
    }
    migrate(folder, &["init"]).run().expect_code(0);
    advance(folder, "switch");
    for answer in application(folder, &written()) {
        assert_eq!(answer["ok"], json!(true), "{answer}");
    }
    advance(folder, "copy");
    for table in ["votes", "users"] {
        let outcome = migrate(folder, &["copy", "--table", table])
            .env("CROSSFADE_STOP_AT", "45")
            .run();
        assert!(outcome.stderr.contains("stopped at point"), "{outcome}");
    }
}

fn advance(folder: &Path, to: &str) {
    for table in ["votes", "users"] {
        let arguments = ["advance", "--table", table, "--to", to, "--expect", "0"];
        migrate(folder, &arguments).run().expect_code(0);
    }
}

/// Goes on to `done`, and looks at what has become of everything.
fn goes_on(folder: &Path) -> Outcome {
    let copy = migrate(folder, &["copy", "--final", "--json"])
        .run()
        .expect_code(0);
    migrate(folder, &["verify"]).run().expect_code(0);
    advance(folder, "new");
    let looks = [
        get("u10"),
        get("u11"),
        get("u12"),
        get("u13"),
        count("a10"),
        count("a11"),
        count("new act"),
    ];
    let seen: Vec<Json> = application(folder, &looks)
        .into_iter()
        .map(|answer| answer["ok"].clone())
        .collect();
    let expected = [
        json!({"id": "u10", "remark": "put in switch"}),
        json!({"id": "u11", "remark": "set in switch", "born": "1970-01-12", "credit": "11E-2",
               "home": {"street": "11 High Street"}}),
        Json::Null,
        json!({"id": "u13", "remark": "note 13", "born": "1970-01-14", "credit": "13E-2",
               "home": {"street": "13 High Street"}}),
        json!({"n": 16}),
        json!({"n": 12}),
        json!({"n": 7}),
    ];
    assert_eq!(seen, expected);
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_this_version_began_goes_on() {
    let folder = folder();
    begin(folder.path()).await;
    if let Some(file) = std::env::var_os("CROSSFADE_SAVE_BEGUN") {
        let status = Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "-czf"])
            .arg(file)
            .arg("-C")
            .arg(folder.path())
            .arg(".")
            .status();
        assert!(status.expect("tar").success());
    }
    goes_on(folder.path());
}

#[test]
fn a_migration_that_version_0_1_0_began_goes_on() {
    let folder = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/begun-0.1.0.tar.gz");
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(&fixture)
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(status.expect("tar").success(), "{}", fixture.display());
    let copy = goes_on(folder.path());
    let users = &copy.json()[1];
    assert!(
        number(users, "present") > 0,
        "what the killed copier wrote is there: {copy}"
    );
    assert!(
        !copy.stderr.contains("set aside"),
        "a journal of 0.1.0 is gone on with: {copy}"
    );
}
