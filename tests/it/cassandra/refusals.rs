//! What can be wrong, and what is said then.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crossfade::error::{Error, Kind};
use crossfade::model::{Tokens, Value};
use crossfade::schema::Table;
use crossfade::secret::Secret;
use crossfade::store::cassandra::{Cassandra, CassandraConfig, Login, Tls};
use crossfade::store::{Range, Reads, Store};

use super::{Bench, config, key};
use crate::support::{OwnServers, cassandra_address, free_address, secure_cassandra, unique};

async fn refused(config: CassandraConfig) -> Error {
    let started = Instant::now();
    let error = Cassandra::connect(config).await.expect_err("it is refused");
    assert!(started.elapsed() < Duration::from_secs(60), "{error}");
    error
}

fn mentions(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` in: {text}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_listen() {
    let free = free_address();
    let error = refused(CassandraConfig::new([free.to_string()], "ks")).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    mentions(&error, &[&free.to_string(), "check"]);
    let error = refused(CassandraConfig::new(Vec::<String>::new(), "ks")).await;
    assert_eq!(error.kind(), Kind::Config);
}

#[tokio::test]
async fn a_node_that_accepts_and_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = CassandraConfig::new([silent.local_addr().unwrap().to_string()], "ks");
    config.connect_timeout = Duration::from_secs(1);
    let error = refused(config).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_taken_for_a_costly_range() {
    let servers = OwnServers::start(&["cassandra"]);
    let mut config = CassandraConfig::new([servers.cassandra_address()], "system");
    config.request_timeout = Duration::from_secs(2);
    let store = Cassandra::connect(config).await.expect("a store");
    let table = store
        .inspect("local")
        .await
        .unwrap()
        .unwrap()
        .table
        .unwrap();
    servers.control("cassandra", "pause");
    let all = Range::Tokens(Tokens::ALL);
    let error = store.scan(&table, &all, None, 1).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    servers.control("cassandra", "resume");
    // A broken connection is opened anew by the driver, in its own time.
    for attempt in 0.. {
        match store.scan(&table, &all, None, 1).await {
            Ok(page) => {
                assert_eq!(page.rows.len(), 1);
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unreachable, "{error}");
                assert!(attempt < 60, "{error}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// A server that answers every first request with these bytes.
fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 9];
            if stream.read_exact(&mut request).is_ok() {
                let _ = stream.write_all(answer);
            }
        }
    });
    address
}

#[tokio::test]
async fn a_server_of_an_older_protocol() {
    // An ERROR frame of version 3, code 10: as Cassandra 2.1 answers.
    let answer = b"\x83\0\0\0\0\0\0\0\x1d\0\0\0\x0a\0\x17unsupported version (4)";
    let error = refused(CassandraConfig::new([impostor(answer)], "ks")).await;
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    mentions(&error, &["too old", "3"]);
}

#[tokio::test]
async fn something_else_on_the_port() {
    let error = refused(CassandraConfig::new(
        [impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
        "ks",
    ))
    .await;
    assert_ne!(error.kind(), Kind::Unknown, "{error}");
}

#[tokio::test]
async fn a_keyspace_that_is_not_there() {
    let bench = Bench::new("here").await;
    let error = refused(config(&unique("nowhere"))).await;
    assert_eq!(error.kind(), Kind::Missing);
    mentions(&error, &[&bench.keyspace, &cassandra_address()]);
    bench.done().await;
}

#[tokio::test]
async fn a_datacenter_that_is_not_there() {
    let mut config = config("system");
    config.datacenter = Some("atlantis".into());
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), Kind::Config, "{error}");
    mentions(&error, &["atlantis", "datacenter1"]);
    config.datacenter = Some("datacenter1".into());
    Cassandra::connect(config)
        .await
        .expect("its own datacenter");
}

#[tokio::test]
async fn a_table_or_column_that_is_gone() {
    let bench = Bench::new("gone").await;
    bench
        .cql("CREATE TABLE users (p int PRIMARY KEY, v int)")
        .await;
    let table = bench.table("users").await;
    let missing = Table::new("user", table.columns.clone());
    let all = Range::Tokens(Tokens::ALL);
    let error = bench.store.scan(&missing, &all, None, 1).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing, "{error}");
    mentions(&error, &["users", &bench.keyspace]);
    bench
        .store
        .scan(&table, &all, None, 1)
        .await
        .expect("a page");
    bench.cql("ALTER TABLE users DROP v").await;
    let error = bench.store.scan(&table, &all, None, 1).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
    bench.cql("DROP TABLE users").await;
    let error = bench
        .store
        .get(&table, &[key(&[Value::Int(1)], &[])])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Missing, "{error}");
    bench.done().await;
}

#[tokio::test]
async fn a_value_the_server_does_not_take() {
    let bench = Bench::new("invalid").await;
    bench
        .cql("CREATE TABLE t (p text PRIMARY KEY, v time)")
        .await;
    let table = bench.table("t").await;
    let long = crossfade::model::Row::new(key(&[Value::text("k".repeat(70_000))], &[]), vec![None]);
    let fine = crossfade::model::Row::new(key(&[Value::text("k")], &[]), vec![None]);
    let puts = bench
        .store
        .put(&table, &[long, fine], &crossfade::model::Condition::Always)
        .await;
    assert_eq!(puts.rows[0].as_ref().unwrap_err().kind(), Kind::Invalid);
    assert!(puts.rows[1].is_ok());
    bench.done().await;
}

fn secure(username: &str, password: &str) -> CassandraConfig {
    let server = secure_cassandra();
    let mut config = CassandraConfig::new([server.address], "system");
    config.consistency = crossfade::store::cassandra::Consistency::One;
    config.tls = Some(Tls {
        ca: Some(server.ca),
        client: None,
    });
    config.login = Some(Login {
        username: username.into(),
        password: Secret::new(password),
    });
    config
}

#[tokio::test]
async fn logins_and_encryption() {
    let store = Cassandra::connect(secure("cassandra", "cassandra"))
        .await
        .expect("a session over TLS");
    assert!(store.inspect("local").await.unwrap().is_some());

    let error = refused(secure("cassandra", "hunter2")).await;
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(!format!("{:?}", secure("cassandra", "hunter2")).contains("hunter2"));

    let mut nobody = secure("", "");
    nobody.login = None;
    assert_eq!(refused(nobody).await.kind(), Kind::Denied);

    let mut plain = secure("cassandra", "cassandra");
    plain.tls = None;
    let error = refused(plain).await;
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    mentions(&error, &["TLS"]);

    let mut stranger = secure("cassandra", "cassandra");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    let folder = crate::support::folder();
    let ca = folder.path().join("other.pem");
    std::fs::write(&ca, other.cert.pem()).unwrap();
    stranger.tls = Some(Tls {
        ca: Some(ca),
        client: None,
    });
    let error = refused(stranger.clone()).await;
    assert_eq!(error.kind(), Kind::Config, "{error}");
    mentions(&error, &["certificate", "`ca`"]);

    stranger.nodes = vec![cassandra_address()];
    assert_eq!(refused(stranger.clone()).await.kind(), Kind::Config);
    stranger.tls = Some(Tls {
        ca: Some(folder.path().join("missing.pem")),
        client: None,
    });
    mentions(&refused(stranger).await, &["missing.pem"]);
}

#[tokio::test]
async fn a_role_without_permission_is_told_which() {
    let admin = Cassandra::connect(secure("cassandra", "cassandra"))
        .await
        .expect("a session");
    let (role, keyspace) = (unique("reader"), unique("vault"));
    let session = admin_session().await;
    for cql in [
        format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ),
        format!("CREATE TABLE {keyspace}.t (p int PRIMARY KEY)"),
        format!("CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = 'pw'"),
    ] {
        session.query_unpaged(cql, ()).await.expect("prepared");
    }
    let mut config = secure(&role, "pw");
    config.keyspace = keyspace.clone();
    let store = Cassandra::connect(config).await.expect("a session");
    let table = store.inspect("t").await.unwrap().unwrap().table.unwrap();
    let error = store
        .scan(&table, &Range::Tokens(Tokens::ALL), None, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    mentions(&error, &[&format!("GRANT SELECT ON TABLE {keyspace}.t")]);
    let row = crossfade::model::Row::new(key(&[Value::Int(1)], &[]), vec![]);
    let puts = store
        .put(&table, &[row], &crossfade::model::Condition::Always)
        .await;
    mentions(puts.rows[0].as_ref().unwrap_err(), &["GRANT MODIFY"]);
    for cql in [
        format!("DROP KEYSPACE {keyspace}"),
        format!("DROP ROLE {role}"),
    ] {
        session.query_unpaged(cql, ()).await.expect("dropped");
    }
    drop(admin);
}

async fn admin_session() -> scylla::client::session::Session {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let server = secure_cassandra();
    let mut roots = rustls::RootCertStore::empty();
    for found in CertificateDer::pem_file_iter(&server.ca).unwrap() {
        roots.add(found.unwrap()).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    scylla::client::session_builder::SessionBuilder::new()
        .known_node(server.address)
        .user("cassandra", "cassandra")
        .tls_context(Some(std::sync::Arc::new(tls)))
        .build()
        .await
        .expect("a session")
}
