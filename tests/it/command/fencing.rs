//! The fence: the database itself refuses an application's writes while the old table is frozen.

use std::collections::BTreeSet;

use scylla::client::session::Session;
use scylla::value::Row;

use super::secure::{bench, plan, session};
use super::{Bench, says};
use crate::support::{Migrate, Outcome, Secure, secure_cassandra, unique};

const PASSWORD: &str = "s3cr3t-pass!";

/// A table that a role may write to, and another role that moves it.
struct Fenced {
    bench: Bench,
    /// As the application.
    application: Session,
    app: String,
    tool: String,
}

impl Fenced {
    async fn new(server: &Secure, name: &str) -> Self {
        let bench = bench(server, name).await;
        let (app, tool) = (unique("app"), unique("tool"));
        for role in [&app, &tool] {
            let login = format!("CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{PASSWORD}'");
            bench.cql(&login).await;
            bench
                .cql(&format!("GRANT SELECT ON TABLE @.t TO {role}"))
                .await;
        }
        bench
            .cql(&format!("GRANT MODIFY ON TABLE @.t TO {app}"))
            .await;
        plan(
            &bench,
            server,
            &tool,
            &format!("fence = {{ role = \"{app}\" }}\n"),
        );
        let application = session(server, &app, PASSWORD).await;
        Fenced {
            bench,
            application,
            app,
            tool,
        }
    }

    /// What the tool needs for a fence beside `SELECT` on the table.
    async fn permit(&self) {
        for permission in [
            "DESCRIBE ON ALL ROLES",
            "MODIFY ON TABLE @.t",
            "AUTHORIZE ON TABLE @.t",
            "SELECT ON TABLE system_views.settings",
        ] {
            self.bench
                .cql(&format!("GRANT {permission} TO {}", self.tool))
                .await;
        }
    }

    /// Its application doesn't use the shim.
    fn moves(&self, command: &str, to: &str, more: &[&str]) -> Migrate {
        let table = ["--table", "t", "--to", to];
        let none: &[&str] = match command {
            "advance" => &["--expect", "0"],
            _ => &[],
        };
        let arguments = [&[command][..], &table, none, more].concat();
        self.bench
            .migrate(&arguments)
            .env("CASSANDRA_PASSWORD", PASSWORD)
    }

    fn run(&self, command: &str, to: &str) -> Outcome {
        self.moves(command, to, &[]).run()
    }

    fn stands(&self) -> (String, usize) {
        let status = self.bench.migrate(&["status", "--json"]);
        let status = status.env("CASSANDRA_PASSWORD", PASSWORD).run();
        let line = &status.expect_code(0).json()[0];
        let fenced = line["fenced"].as_array().expect("roles").len();
        (line["phase"].as_str().expect("a phase").to_owned(), fenced)
    }

    /// What the server says to a write of the application; a read has to be let through.
    async fn write(&self) -> Result<(), String> {
        let keyspace = &self.bench.keyspace;
        let read = format!("SELECT * FROM {keyspace}.t");
        let read = self.application.query_unpaged(read, ()).await;
        read.expect("a read");
        let write = format!("INSERT INTO {keyspace}.t (p, v) VALUES (1, 'x')");
        let written = self.application.query_unpaged(write, ()).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    async fn assert_refused(&self) {
        let refused = self.write().await.expect_err("a refusal");
        assert!(refused.contains("has no MODIFY permission"), "{refused}");
    }

    /// Every grant of the application, as the server lists them.
    async fn grants(&self) -> BTreeSet<String> {
        let list = format!("LIST ALL PERMISSIONS OF {}", self.app);
        let answer = self.bench.session.query_unpaged(list, ()).await;
        let rows = answer.expect("a list").into_rows_result().expect("rows");
        let rows = rows.rows::<Row>().expect("rows");
        rows.map(|row| format!("{:?}", row.expect("a row").columns))
            .collect()
    }

    async fn done(self) {
        for role in [&self.app, &self.tool] {
            self.bench.cql(&format!("DROP ROLE {role}")).await;
        }
        self.bench.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_old_table_is_frozen_the_server_refuses_the_application() {
    let server = secure_cassandra();
    let fenced = Fenced::new(&server, "fence").await;
    let before = fenced.grants().await;
    fenced
        .bench
        .migrate(&["init"])
        .env("CASSANDRA_PASSWORD", PASSWORD)
        .run()
        .expect_code(0);
    let moved = fenced.run("advance", "switch").expect_code(0);
    let rate = "GRANT SELECT ON TABLE system_views.coordinator_write_latency TO";
    says(&moved, &[rate, &fenced.tool]);
    let denied = fenced.run("advance", "copy").expect_code(2);
    says(&denied, &["GRANT DESCRIBE ON ALL ROLES TO", &fenced.tool]);
    fenced.permit().await;
    let dry = fenced.moves("advance", "copy", &["--dry-run"]).run();
    let dry = dry.expect_code(0).stdout;
    assert!(
        dry.contains(&format!("would revoke `{}`", fenced.app)),
        "{dry}"
    );
    assert!(!dry.contains("refused"), "{dry}");
    fenced.write().await.expect("it writes so far");

    // Killed when it has noted what it will take, and hasn't taken it.
    let killed = fenced.moves("advance", "copy", &[]);
    let killed = killed.env("CROSSFADE_STOP_AT", "2").run();
    says(&killed, &["stopped at point 2: after a put"]);
    assert_eq!(killed.code, None, "{killed}");
    assert_eq!(fenced.stands(), ("switch".into(), 1));
    fenced.write().await.expect("nothing is taken yet");
    let moved = fenced.run("advance", "copy").expect_code(0);
    says(
        &moved,
        &["may not write to the old table any more; waiting"],
    );
    assert_eq!(fenced.stands(), ("copy".into(), 1));
    fenced.assert_refused().await;
    fenced.run("advance", "copy").expect_code(0);
    fenced.assert_refused().await;

    // Killed when it has given it back, and hasn't noted that.
    let dry = fenced.moves("back", "switch", &["--dry-run"]).run();
    let dry = dry.expect_code(0).stdout;
    assert!(
        dry.contains(&format!("would grant `{}`", fenced.app)),
        "{dry}"
    );
    let killed = fenced.moves("back", "switch", &[]);
    let killed = killed.env("CROSSFADE_STOP_AT", "5").run();
    says(
        &killed,
        &[
            "may write to the old table again",
            "stopped at point 5: before a put",
        ],
    );
    assert_eq!(fenced.stands(), ("switch".into(), 1));
    fenced.run("back", "switch").expect_code(0);
    assert_eq!(fenced.stands(), ("switch".into(), 0));
    fenced.write().await.expect("it writes again");
    assert_eq!(fenced.grants().await, before);
    fenced.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_reaches_further_than_the_table_is_named_and_left() {
    let server = secure_cassandra();
    let fenced = Fenced::new(&server, "wide").await;
    fenced
        .bench
        .migrate(&["init"])
        .env("CASSANDRA_PASSWORD", PASSWORD)
        .run()
        .expect_code(0);
    let (app, tool) = (fenced.app.clone(), fenced.tool.clone());
    fenced.permit().await;
    let parent = unique("parent");
    for statement in [
        format!("REVOKE AUTHORIZE ON TABLE @.t FROM {tool}"),
        format!("REVOKE SELECT ON TABLE system_views.settings FROM {tool}"),
        format!("GRANT MODIFY ON KEYSPACE @ TO {app}"),
        format!("CREATE ROLE {parent}"),
        format!("GRANT MODIFY ON TABLE @.t TO {parent}"),
        format!("GRANT {parent} TO {app}"),
    ] {
        fenced.bench.cql(&statement).await;
    }
    let keyspace = &fenced.bench.keyspace;
    let named = [
        format!("`{app}` has MODIFY on <keyspace {keyspace}>"),
        format!("`{parent}`, from which `{app}` inherits, has MODIFY on <table {keyspace}.t>"),
        format!("GRANT AUTHORIZE ON TABLE \"{keyspace}\".\"t\" TO {tool}"),
        format!("GRANT SELECT ON TABLE system_views.settings TO {tool}"),
    ];
    // Known before the first step is made, as well as before the one that takes it.
    for phase in ["old", "switch"] {
        let dry = fenced.moves("advance", "copy", &["--dry-run"]).run();
        let dry = dry.expect_code(2).stdout;
        let refused = fenced.run("advance", "copy").expect_code(2);
        for named in &named {
            assert!(dry.contains(named), "no `{named}`: {dry}");
            says(&refused, &[named]);
        }
        assert_eq!(fenced.stands(), (phase.into(), 0));
        fenced.run("advance", "switch").expect_code(0);
    }
    fenced.bench.cql(&format!("DROP ROLE {parent}")).await;
    fenced.write().await.expect("nothing was taken");

    // A superuser, the tool's own role, one that isn't there.
    fenced
        .bench
        .cql(&format!("ALTER ROLE {app} WITH SUPERUSER = true"))
        .await;
    says(
        &fenced.run("advance", "copy").expect_code(2),
        &[&format!("`{app}` is a superuser")],
    );
    let other = |role: &str| {
        plan(
            &fenced.bench,
            &server,
            &tool,
            &format!("fence = {{ role = \"{role}\" }}\n"),
        )
    };
    other(&tool);
    says(
        &fenced.run("advance", "copy").expect_code(2),
        &["log in as another role than the application's"],
    );
    other("nobody");
    says(
        &fenced.run("advance", "copy").expect_code(2),
        &["no such role", "nobody"],
    );
    assert_eq!(fenced.stands(), ("switch".into(), 0));
    fenced.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_permissions_has_no_fence() {
    let bench = Bench::new("open").await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    bench
        .plan("[[table]]\nname = \"t\"\nto = \"@-t\"\nfence = { role = \"app\" }\n")
        .init();
    let refused = bench.migrate(&["advance", "--table", "t", "--to", "copy"]);
    says(
        &refused.run().expect_code(2),
        &[
            "the cluster has no permissions",
            "authorizer: CassandraAuthorizer",
        ],
    );
    assert_eq!(bench.status()[0]["phase"], "old");
    bench.done().await;
}
