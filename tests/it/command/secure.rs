//! A server with passwords, permissions and TLS.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use super::{Bench, says};
use crate::support::{Secure, dynamodb_url, secure_cassandra, unique};

pub(super) async fn session(server: &Secure, username: &str, password: &str) -> Session {
    let mut roots = rustls::RootCertStore::empty();
    for found in CertificateDer::pem_file_iter(&server.ca).expect("a file") {
        roots.add(found.expect("a certificate")).expect("added");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    SessionBuilder::new()
        .known_node(&server.address)
        .user(username, password)
        .tls_context(Some(Arc::new(tls)))
        .fetch_schema_metadata(false)
        .build()
        .await
        .expect("a session")
}

/// A table `t` on the secure server.
pub(super) async fn bench(server: &Secure, name: &str) -> Bench {
    let session = session(server, "cassandra", "cassandra").await;
    let bench = Bench::with(name, server.address.clone(), dynamodb_url(), session).await;
    bench
        .cql("CREATE TABLE t (p int PRIMARY KEY, v text)")
        .await;
    bench
}

/// A plan for the secure server, as this user, and what else it says of the table `t`.
pub(super) fn plan(bench: &Bench, server: &Secure, username: &str, more: &str) {
    let login = format!(
        "username = \"{username}\"\npassword = \"${{CASSANDRA_PASSWORD}}\"\n[old.tls]\nca = \"{}\"\n[new]\n",
        server.ca.display()
    );
    let stores = bench.stores().replace("[new]\n", &login);
    bench.write(
        "plan.toml",
        &format!("{stores}[[table]]\nname = \"t\"\nto = \"@-t\"\n{more}"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_a_password_over_tls() {
    let server = secure_cassandra();
    let bench = bench(&server, "secure").await;
    bench
        .fill(
            "INSERT INTO t (p, v) VALUES (?, ?)",
            (0..100).map(|p| (p, "x")),
        )
        .await;
    let (secret, role) = ("s3cr3t-pass!", unique("reader"));
    bench
        .cql(&format!(
            "CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{secret}'"
        ))
        .await;
    plan(&bench, &server, &role, "");
    let run = |arguments: &[&str], password: &str| {
        let run = bench
            .migrate(arguments)
            .env("CASSANDRA_PASSWORD", password)
            .env("RUST_LOG", "trace");
        let outcome = run.run();
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(password), "the password is out: {outcome}");
        }
        outcome
    };

    let wrong = run(&["init"], "wr0ng-pass!").expect_code(2);
    says(&wrong, &["login", &server.address]);
    run(&["init"], secret).expect_code(0);
    let denied = run(&["copy", "--offline"], secret).expect_code(2);
    says(&denied, &["GRANT SELECT", &bench.keyspace]);
    let denied = run(&["check"], secret).expect_code(2);
    assert!(denied.stdout.contains("GRANT SELECT"), "{denied}");

    bench
        .cql(&format!("GRANT SELECT ON KEYSPACE @ TO {role}"))
        .await;
    run(&["check"], secret).expect_code(0);
    run(&["copy", "--offline"], secret).expect_code(0);
    assert_eq!(bench.items("t").await.len(), 100);

    let missing = bench.migrate(&["copy", "--offline"]).run().expect_code(2);
    says(&missing, &["plan.toml:", "CASSANDRA_PASSWORD"]);
    bench.cql(&format!("DROP ROLE {role}")).await;
    bench.done().await;
}
