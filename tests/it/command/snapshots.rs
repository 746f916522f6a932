//! What is said of broken plans and in failing environments, word for word: `tests/fixtures/messages/`.
//!
//! `CROSSFADE_BLESS=1` writes the files anew. Read them then as somebody who knows nothing of this: each has to name the
//! place and the next step.

use std::path::{Path, PathBuf};

use super::{Bench, credentials, secure};
use crate::scripted::{Reply, Scripted};
use crate::support::{Migrate, Outcome, folder, secure_cassandra, unique};

/// What differs from run to run, and what stands for it in the files.
type Names<'a> = Vec<(String, &'a str)>;

/// A text with these names, and without times.
fn named(text: &str, names: &Names<'_>) -> String {
    let mut text = text.to_owned();
    for (name, placeholder) in names {
        text = text.replace(name, placeholder);
    }
    // Those of other tests are there too.
    if let Some((before, rest)) = text.split_once("; it has ")
        && let Some((_, after)) = rest.split_once("; names are")
    {
        text = format!("{before}; it has KEYSPACES; names are{after}");
    }
    let timeless =
        |word: &str| match word.len() > 19 && word.as_bytes()[10] == b'T' && word.ends_with('Z') {
            true => "TIME".to_owned(),
            false => word.to_owned(),
        };
    let line = |line: &str| line.split(' ').map(timeless).collect::<Vec<_>>().join(" ");
    text.lines().map(|one| line(one) + "\n").collect()
}

/// Compares what a command said with the file of this name.
fn compare(name: &str, command: &str, outcome: &Outcome, names: &Names<'_>) -> Option<String> {
    let code = outcome
        .code
        .map_or("none".to_owned(), |code| code.to_string());
    let said = format!(
        "$ migrate {command}\n{}{}exit code {code}\n",
        named(&outcome.stdout, names),
        named(&outcome.stderr, names)
    );
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/messages")
        .join(format!("{name}.txt"));
    if std::env::var_os("CROSSFADE_BLESS").is_some() {
        std::fs::write(&file, said).expect("written");
        return None;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    (there != said).then(|| format!("--- {}\n{there}+++ now\n{said}", file.display()))
}

#[track_caller]
fn all_the_same(differences: Vec<Option<String>>) {
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    assert!(
        differences.is_empty(),
        "{}\nIf that is better, CROSSFADE_BLESS=1 writes it down.",
        differences.join("\n")
    );
}

const GOOD: &str = r#"name = "bgt"
[old]
kind = "cassandra"
nodes = ["10.0.0.11"]
keyspace = "bgt"
[new]
kind = "dynamodb"
region = "us-east-1"
[[table]]
name = "votes"
to = "bgt-votes"
[[table]]
name = "users"
to = "bgt-users"
"#;

/// No server is asked for these.
#[test]
fn broken_plans() {
    let broken: [(&str, String); 12] = [
        (
            "plan-not-toml",
            GOOD.replace("[[table]]\nname = \"users\"", "[[table]\nname = \"users\""),
        ),
        ("plan-misspelled-key", GOOD.replace("keyspace", "keyspce")),
        (
            "plan-no-tables",
            GOOD[..GOOD.find("[[table]]").expect("tables")].to_owned(),
        ),
        (
            "plan-unknown-kind",
            GOOD.replace("\"cassandra\"", "\"casandra\""),
        ),
        ("plan-table-twice", GOOD.replace("\"users\"", "\"votes\"")),
        (
            "plan-target-twice",
            GOOD.replace("\"bgt-users\"", "\"bgt-votes\""),
        ),
        ("plan-region", GOOD.replace("us-east-1", "us east")),
        (
            "plan-variable",
            GOOD.replace(
                "keyspace =",
                "username = \"app\"\npassword = \"${NOT_SET_ANYWHERE}\"\nkeyspace =",
            ),
        ),
        ("plan-target-name", GOOD.replace("bgt-users", "b/users")),
        (
            "plan-mask-without-key",
            format!("{GOOD}[table.columns]\nemail = {{ mask = \"hmac\" }}\n"),
        ),
        ("plan-pace", format!("{GOOD}[pace]\nwrite_units = 0\n")),
        (
            "plan-several",
            GOOD.replace("\"bgt-votes\"", "7")
                .replace("region", "regin")
                + "oversize = \"shrink\"\n",
        ),
    ];
    let folder = folder();
    let mut differences = Vec::new();
    let mut check = |name: &str, file: &str| {
        let command = ["plan", "check", "--plan", file];
        let outcome = Migrate::new(command).in_folder(folder.path()).run();
        let outcome = outcome.expect_code(2);
        differences.push(compare(name, &command.join(" "), &outcome, &Vec::new()));
    };
    for (name, text) in broken {
        std::fs::write(folder.path().join("bgt.toml"), text).expect("written");
        check(name, "bgt.toml");
    }
    check("plan-missing", "nowhere.toml");
    all_the_same(differences);
}

/// A plan on the real servers, and what stands for their names in the files.
struct Scene {
    bench: Bench,
    /// The plan's tables.
    tables: &'static str,
}

const T: &str = "[[table]]\nname = \"t\"\nto = \"@-t\"\n";

impl Scene {
    async fn new(name: &str) -> Self {
        let bench = Bench::new(name).await;
        bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
        bench.cql("INSERT INTO t (p, v) VALUES (1, 1)").await;
        Scene { bench, tables: T }
    }

    fn names(&self) -> Names<'static> {
        let folder = self.bench.folder.path().display().to_string();
        vec![
            (folder, "FOLDER"),
            (self.bench.url.clone(), "http://DYNAMODB"),
            (self.bench.url.replace("http://", ""), "DYNAMODB"),
            (self.bench.node.clone(), "NODE"),
            (self.bench.keyspace.clone(), "bgt"),
        ]
    }

    /// Runs a command on the stores as they are after these replacements.
    fn run(
        &self,
        name: &str,
        command: &str,
        wrong: &[(String, String)],
        more: &Names<'static>,
    ) -> Option<String> {
        let mut stores = self.bench.stores();
        for (right, wrong) in wrong {
            assert!(stores.contains(right), "{right}");
            stores = stores.replace(right, wrong);
        }
        let plan = format!("{name}.toml");
        self.bench.write(&plan, &format!("{stores}{}", self.tables));
        let words: Vec<&str> = command.split(' ').collect();
        let outcome = self.bench.migrate_by(&plan, &words).run();
        let mut names = more.clone();
        names.extend(self.names());
        compare(
            name,
            &format!("{command} --plan {plan}"),
            &outcome.expect_code(2),
            &names,
        )
    }
}

fn instead(right: impl Into<String>, wrong: impl Into<String>) -> [(String, String); 1] {
    [(right.into(), wrong.into())]
}

/// Nothing is waited for in these: what is wrong won't change.
#[tokio::test(flavor = "multi_thread")]
async fn failing_environments() {
    let scene = Scene::new("scenes").await;
    let bench = &scene.bench;
    let none = Vec::new();
    let node = format!("nodes = [\"{}\"]", bench.node);
    let keyspace = |name: &str| format!("keyspace = \"{name}\"");
    let mut differences = vec![
        scene.run(
            "old-unreachable",
            "check",
            &instead(&node, "nodes = [\"127.0.0.1:1\"]"),
            &none,
        ),
        scene.run(
            "old-unknown-host",
            "check",
            &instead(&node, "nodes = [\"no-such-host.invalid\"]"),
            &none,
        ),
        scene.run(
            "old-keyspace-missing",
            "check",
            &instead(keyspace(&bench.keyspace), keyspace("nowhere")),
            &none,
        ),
        scene.run(
            "new-endpoint-no-url",
            "status",
            &instead("endpoint = \"http", "endpoint = \"htp"),
            &none,
        ),
        scene.run("control-record-missing", "copy --offline", &[], &none),
        scene.run("table-unknown", "copy --table users", &[], &none),
    ];

    // What answers isn't DynamoDB.
    let web = Scripted::start(|_| Reply::Raw(404, "<html>Not found</html>".to_owned()));
    let address = (web.url.replace("http://", ""), "WEB");
    differences.push(scene.run(
        "new-not-dynamodb",
        "status",
        &instead(&bench.url, &web.url),
        &vec![address],
    ));

    bench.plan(T).init();
    let other = Scene {
        tables: "[[table]]\nname = \"t\"\nto = \"@-t\"\nreserved_prefix = \"x_\"\n",
        bench: scene.bench,
    };
    differences.push(other.run("mapping-changed", "copy --offline", &[], &none));
    let scene = Scene { tables: T, ..other };
    let bench = &scene.bench;
    let name = |name: &str| format!("name = \"{name}\"");
    let renamed = instead(
        format!("{}\n[old]", name(&bench.keyspace)),
        format!("{}\n[old]", name("other")),
    );
    differences.push(scene.run("record-of-another-plan", "status", &renamed, &none));
    differences.push(scene.run("phase-not-ready", "verify", &[], &none));
    let journal = bench.journal().display().to_string();
    std::fs::write(bench.folder.path().join("file"), "x").expect("written");
    let blocked = journal.replace("/journal", "/file/journal");
    differences.push(scene.run(
        "journal-not-writable",
        "copy --offline",
        &instead(journal, blocked),
        &none,
    ));

    // A target with other keys, and a table that the old store hasn't.
    let keys = "[[table]]\nname = \"t\"\nto = \"@-n\"\n[[table]]\nname = \"tt\"\nto = \"@-tt\"\n";
    bench
        .cql("CREATE TABLE n (q text, r text, PRIMARY KEY (q, r))")
        .await;
    let n = "[[table]]\nname = \"n\"\nto = \"@-n\"\n";
    bench.plan(n).init();
    let scene = Scene {
        tables: keys,
        ..scene
    };
    differences.push(scene.run("target-of-other-keys", "init", &[], &none));
    scene.bench.done().await;
    all_the_same(differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_logins() {
    let server = secure_cassandra();
    let bench = secure::bench(&server, "logins").await;
    let role = unique("operator");
    bench
        .cql(&format!(
            "CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = 'right'"
        ))
        .await;
    let scene = Scene { bench, tables: T };
    let bench = &scene.bench;
    let ca = |path: &Path| format!("[old.tls]\nca = \"{}\"\n[new]\n", path.display());
    let login = format!(
        "username = \"{role}\"\npassword = \"wrong\"\n{}",
        ca(&server.ca)
    );
    let right = login.replace("wrong", "right");
    let missing = right.replace(&server.ca.display().to_string(), "/nowhere/ca.pem");
    let names = vec![
        (server.ca.display().to_string(), "CA"),
        (role.clone(), "operator"),
    ];
    let mut differences = vec![
        scene.run("old-password", "check", &instead("[new]\n", &login), &names),
        scene.run(
            "old-ca-missing",
            "check",
            &instead("[new]\n", missing),
            &names,
        ),
        scene.run(
            "old-permission",
            "check",
            &instead("[new]\n", &right),
            &names,
        ),
    ];

    // Nothing of the environment that has credentials.
    let home = folder();
    let plan = bench.write(
        "none.toml",
        &format!("{}{T}", bench.stores().replace("[new]\n", &right)),
    );
    let bare = || {
        let names = credentials().map(|(name, _)| name);
        let mut command = Migrate::new(["status", "--plan"])
            .arg(&plan)
            .in_folder(bench.folder.path());
        for name in names
            .into_iter()
            .chain(["AWS_PROFILE", "AWS_SESSION_TOKEN"])
        {
            command = command.without(name);
        }
        command
            .env("HOME", home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
    };
    let outcome = bare().run().expect_code(2);
    differences.push(compare(
        "new-no-credentials",
        "status --plan none.toml",
        &outcome,
        &scene.names(),
    ));
    scene.bench.cql(&format!("DROP ROLE {role}")).await;
    scene.bench.done().await;
    all_the_same(differences);
}
