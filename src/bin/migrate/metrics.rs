//! `--metrics`: what a command does, for Prometheus.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crossfade::error::{Error, Kind};
use crossfade::layer::{Pace, PaceTotals};
use crossfade::migration::{Migration, Paces};
use crossfade::secret::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::progress::Screen;

/// Bounds of the times that calls take, in seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
/// Connections at once. A scraper has one.
const CONNECTIONS: usize = 16;
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How often counts are brought up to date, and who is registered.
const EVERY: Duration = Duration::from_secs(1);
const WHO_EVERY: Duration = Duration::from_secs(15);

/// Serves the process's metrics at this address until the process ends.
///
/// Whoever reaches the port reads the names of tables and how busy they are. So it listens on loopback; elsewhere only
/// with the plan's `[serve]` key, which is asked for as user and password then.
pub async fn serve(
    listen: Option<SocketAddr>,
    key: Option<&(String, Secret)>,
    screen: &Screen,
) -> Result<(), Error> {
    let Some(listen) = listen else { return Ok(()) };
    if !listen.ip().is_loopback() && key.is_none() {
        return Err(Error::new(
            Kind::Config,
            "anything that reaches this address would read the names of tables and how busy they are",
        )
        .with_context("--metrics", listen.to_string())
        .with_help(
            "listen on 127.0.0.1, or write `access_key` and `secret_key` in [serve]: they are asked for as user and \
             password then",
        ));
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::new(Kind::Config, format!("it can't listen there: {error}"))
            .with_context("--metrics", listen.to_string())
            .with_help("choose another port")
    })?;
    let started = |error: &dyn std::fmt::Display| {
        Error::new(Kind::Config, format!("metrics can't be kept: {error}"))
    };
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(|error| started(&error))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| started(&error))?;
    describe();
    let address = listener.local_addr().unwrap_or(listen);
    screen.say(&format!("metrics at http://{address}/metrics"));
    let password = key
        .filter(|_| !listen.ip().is_loopback())
        .map(|key| format!("{}:{}", key.0, key.1.expose()));
    tokio::spawn(accept(listener, handle, password.map(Arc::from)));
    Ok(())
}

async fn accept(listener: TcpListener, handle: PrometheusHandle, password: Option<Arc<str>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many files are open, say.
            tokio::time::sleep(HEAD_WITHIN).await;
            continue;
        };
        let (handle, password) = (handle.clone(), password.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &handle, password.as_deref());
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            let server = server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN);
            // Of a scraper that goes away nobody need know.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    handle: &PrometheusHandle,
    password: Option<&str>,
) -> Response<Full<Bytes>> {
    let with = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    let given = request.headers().get(AUTHORIZATION);
    if password.is_some_and(|password| !is_given(password, given.map(|value| value.as_bytes()))) {
        let mut response = with(StatusCode::UNAUTHORIZED, "the plan's [serve] key\n".into());
        let basic = http::HeaderValue::from_static("Basic realm=\"metrics\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            handle.run_upkeep();
            let mut response = with(StatusCode::OK, handle.render());
            let text = http::HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, text);
            response
        }
        _ => with(StatusCode::NOT_FOUND, "metrics are at /metrics\n".into()),
    }
}

/// Compared as a whole, so that the time it takes tells nothing.
fn is_given(password: &str, given: Option<&[u8]>) -> bool {
    let wanted = format!("Basic {}", STANDARD.encode(password));
    let given = given.unwrap_or_default();
    let differs = wanted
        .as_bytes()
        .iter()
        .zip(given.iter().chain(std::iter::repeat(&0)))
        .fold(0, |differs, (one, other)| differs | (one ^ other));
    differs == 0 && given.len() == wanted.len()
}

fn describe() {
    describe_counter!(
        "crossfade_rows_read_total",
        "rows that tools have read, by table and store"
    );
    describe_counter!(
        "crossfade_write_units_total",
        "write units that tools have taken, by table"
    );
    describe_counter!(
        "crossfade_throttles_total",
        "rows and reads that a store asked to send later, by table, store and what it is short of"
    );
    describe_counter!(
        "crossfade_failed_reads_total",
        "reads that timed out, or found too few replicas or no server, by table and store"
    );
    describe_gauge!(
        "crossfade_in_flight",
        "calls of tools under way, by table and store"
    );
    describe_gauge!(
        "crossfade_pace_rows",
        "the most rows that a tool reads in a second now; infinite without a limit"
    );
    describe_gauge!(
        "crossfade_pace_units",
        "the most units that a tool writes in a second now; infinite without a limit"
    );
    describe_gauge!(
        "crossfade_paused",
        "1 while an operator has paused the tool"
    );
    describe_gauge!(
        "crossfade_dead_letters",
        "dead letters of this run, by table"
    );
    describe_gauge!(
        "crossfade_copied_ratio",
        "share of the table, or of the shard, that is copied: 0 to 1"
    );
    describe_gauge!(
        "crossfade_instances",
        "participants that are registered, by table and kind"
    );
    describe_gauge!(
        "crossfade_phase",
        "1 for the phase that a target is in, by target and phase"
    );
    describe_gauge!(
        "crossfade_lease_renewed_timestamp_seconds",
        "when this process's lease on a target was renewed last, seconds since 1970"
    );
    describe_histogram!(
        "crossfade_store_seconds",
        "how long calls of a store took, by table, store and call"
    );
    describe_histogram!(
        "crossfade_request_seconds",
        "how long requests of applications took in the sidecar"
    );
    describe_counter!(
        "crossfade_requests_total",
        "requests of applications to the sidecar, by operation and outcome"
    );
    describe_counter!(
        "crossfade_new_reads_total",
        "reads of the new store, by whether it had the row"
    );
    describe_counter!(
        "crossfade_fallbacks_total",
        "reads that went on to the old store"
    );
    describe_counter!(
        "crossfade_resaves_total",
        "rows saved in the new store because a read found them in the old one"
    );
    describe_counter!(
        "crossfade_adds_coalesced_total",
        "adds that went together with others as one write"
    );
}

/// What a command has of its table: the share that is done, and dead letters.
type ShownProgress = (Option<f64>, Option<u64>);

/// A command's work on one table, whose metrics are kept up to date until this is dropped.
pub struct Metered(Vec<tokio::task::JoinHandle<()>>);

impl Metered {
    /// From now on. Nothing is done where nobody asks for metrics.
    pub fn new(
        on: bool,
        migration: &Migration,
        progress: impl Fn() -> ShownProgress + Send + 'static,
    ) -> Self {
        if !on {
            return Metered(Vec::new());
        }
        let (paces, table) = (migration.paces().clone(), migration.spec.name.clone());
        let counts = tokio::spawn(async move {
            loop {
                show(&table, &paces);
                let (share, letters) = progress();
                if let Some(share) = share {
                    gauge!("crossfade_copied_ratio", "table" => table.clone()).set(share);
                }
                if let Some(letters) = letters {
                    gauge!("crossfade_dead_letters", "table" => table.clone()).set(letters as f64);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        let migration = migration.clone();
        let who = tokio::spawn(async move {
            loop {
                // What can't be told now is told later.
                if let Ok(kinds) = migration.registered().await {
                    for (kind, count) in kinds {
                        let table = migration.spec.name.clone();
                        gauge!("crossfade_instances", "table" => table, "kind" => kind)
                            .set(count as f64);
                    }
                }
                tokio::time::sleep(WHO_EVERY).await;
            }
        });
        Metered(vec![counts, who])
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

fn show(table: &str, paces: &Paces) {
    let is_paused = paces.reason() == Some(crossfade::layer::PaceReason::Paused);
    gauge!("crossfade_paused", "table" => table.to_owned()).set(f64::from(u8::from(is_paused)));
    for (store, pace) in [("old", &paces.old), ("new", &paces.new)] {
        show_store(table, store, pace);
    }
    let units = paces.new.totals().units;
    // Units are whole in a counter, and a part of one is counted later.
    counter!("crossfade_write_units_total", "table" => table.to_owned()).absolute(units as u64);
    let most = paces.new.now().write_units.unwrap_or(f64::INFINITY);
    gauge!("crossfade_pace_units", "table" => table.to_owned()).set(most);
}

fn show_store(table: &str, store: &'static str, pace: &Pace) {
    let PaceTotals {
        rows,
        throttled,
        failed,
        ..
    } = pace.totals();
    let labels = [("table", table.to_owned()), ("store", store.to_owned())];
    counter!("crossfade_rows_read_total", &labels).absolute(rows);
    counter!("crossfade_failed_reads_total", &labels).absolute(failed);
    gauge!("crossfade_in_flight", &labels).set(pace.in_flight() as f64);
    for (cause, count) in throttled {
        let labels = [
            ("table", table.to_owned()),
            ("store", store.to_owned()),
            ("cause", cause.to_owned()),
        ];
        counter!("crossfade_throttles_total", &labels).absolute(count);
    }
    let most = pace.now().read_rows.unwrap_or(f64::INFINITY);
    gauge!("crossfade_pace_rows", &labels).set(most);
}
