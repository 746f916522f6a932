//! How a connection comes about, or doesn't: endpoints, credentials, TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::{Duration, Instant};

use crossfade::error::{Effect, Kind};
use crossfade::model::Condition;
use crossfade::store::dynamodb::{DynamoDb, DynamoDbConfig, EndpointTls};
use crossfade::store::{Reads, Store};

use super::faults::{all_written, errors};
use super::{config, connect, notes, some_notes};
use crate::scripted::{Reply, Scripted, error};
use crate::support::free_address;

#[tokio::test]
async fn no_secret_is_shown_even_if_the_server_quotes_it() {
    let endpoint = Scripted::start(|_| {
        let quoted =
            "The Canonical String should have been x-amz-security-token:a-token-to-be-kept";
        error(400, "InvalidSignatureException", quoted)
    });
    let store = connect(&endpoint.url).await;
    let failed = errors(
        store
            .put(&notes("t"), &some_notes(1), &Condition::absent())
            .await,
    );
    assert_eq!(failed[0].kind(), Kind::Denied);
    let shown = format!(
        "{store:?} {} {:?} {:?}",
        failed[0],
        failed[0],
        config(&endpoint.url)
    );
    for secret in ["AKIDCROSSFADE", "to-be-kept"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("clock"), "{shown}");
}

#[tokio::test]
async fn an_unreachable_endpoint_is_reported_soon_with_its_name() {
    let url = format!("http://{}", free_address());
    let store = connect(&url).await;
    // Soon is: without the half hour that a copy waits.
    let begun = Instant::now();
    let error = store.inspect("t").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(
        error.to_string().contains(&url) && error.next_step().is_some(),
        "{error}"
    );
    let puts = store
        .put(&notes("t"), &some_notes(1), &Condition::absent())
        .await;
    let refused = errors(puts);
    assert_eq!(
        (refused[0].kind(), refused[0].known_effect()),
        (Kind::Unreachable, Effect::None)
    );

    let mute = Scripted::start(|_| Reply::Silence);
    let error = connect(&mute.url).await.inspect("t").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

fn authority() -> (rustls::ServerConfig, String) {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let server = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())
        .unwrap();
    (server, signed.cert.pem())
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_works_and_without_it_is_refused() {
    let (server, pem) = authority();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let endpoint = Scripted::start_tls(server, all_written);
    let trusting = DynamoDbConfig {
        tls: Some(EndpointTls { ca: ca.clone() }),
        ..config(&endpoint.url)
    };
    let store = DynamoDb::connect(trusting.clone()).await.unwrap();
    let puts = store
        .put(&notes("t"), &some_notes(3), &Condition::absent())
        .await;
    assert!(errors(puts).is_empty());

    let store = connect(&endpoint.url).await;
    let puts = store
        .put(&notes("t"), &some_notes(1), &Condition::absent())
        .await;
    let found = errors(puts);
    assert_eq!(
        (found[0].kind(), found[0].known_effect()),
        (Kind::Config, Effect::None)
    );
    assert!(
        found[0].next_step().unwrap().contains("[new.tls]"),
        "{}",
        found[0]
    );
    assert_eq!(endpoint.seen().len(), 1);

    for damaged in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&ca, damaged).unwrap();
        let error = DynamoDb::connect(trusting.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for endpoint in ["127.0.0.1:8000", "http://", "dynamodb", "http://a b"] {
        let error = DynamoDb::connect(config(endpoint)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{endpoint}");
        assert!(error.to_string().contains(endpoint), "{error}");
    }
}

#[tokio::test]
async fn a_password_in_the_url_is_refused_and_not_shown() {
    let error = DynamoDb::connect(config("http://user:hush@127.0.0.1:8000")).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(!format!("{error} {error:?}").contains("hush"));
}

/// Runs this very test again in a process whose environment is set as given; there, `true`.
fn in_environment(test: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os("CROSSFADE_INSIDE").is_some() {
        return true;
    }
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env_clear()
        .env("CROSSFADE_INSIDE", "yes")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout).into_owned();
    assert!(
        inside.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
    false
}

#[tokio::test]
async fn without_credentials_or_region_it_says_what_to_set() {
    let test = "dynamodb::connection::without_credentials_or_region_it_says_what_to_set";
    if !in_environment(test, &[]) {
        return;
    }
    let nothing = || DynamoDbConfig {
        credentials: None,
        ..config("http://127.0.0.1:9")
    };
    let error = DynamoDb::connect(nothing()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(
        error.next_step().unwrap().contains("AWS_ACCESS_KEY_ID"),
        "{error}"
    );
    let nowhere = DynamoDbConfig {
        region: None,
        endpoint: None,
        ..nothing()
    };
    let error = DynamoDb::connect(nowhere).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.next_step().unwrap().contains("AWS_REGION"), "{error}");
}

#[tokio::test]
async fn the_endpoint_of_the_environment_is_the_one_that_is_shown() {
    let test = "dynamodb::connection::the_endpoint_of_the_environment_is_the_one_that_is_shown";
    let url = "http://127.0.0.1:9";
    if !in_environment(test, &[("AWS_ENDPOINT_URL_DYNAMODB", url)]) {
        return;
    }
    let config = |endpoint: Option<&str>| DynamoDbConfig {
        endpoint: endpoint.map(str::to_owned),
        ..config("")
    };
    let store = DynamoDb::connect(config(None)).await.unwrap();
    assert_eq!(store.endpoint(), url);
    assert_eq!(store.name(), format!("dynamodb {url}"));
    let store = DynamoDb::connect(config(Some("http://127.0.0.1:10")))
        .await
        .unwrap();
    assert_eq!(store.endpoint(), "http://127.0.0.1:10");
}
