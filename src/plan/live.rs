//! `[lease]`, `[shim]` and `[serve]`: what a plan says of applications that go on while their tables move.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::reader::Section;
use super::{Lease, NewStorePlan, ResaveMode, Serve, ShimPlan};
use crate::store::Reading;

/// Seconds that a lease, or an operation, may take.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;
/// Seconds that a call may be under way.
const LANDING_SECONDS: std::ops::RangeInclusive<u32> = 0..=3600;
/// The same to an endpoint on this machine.
const LANDING_HERE: Duration = Duration::from_secs(10);

/// How long what was sent may still land, where the plan doesn't say.
///
/// AWS takes a signed request for five minutes, wherever it was in between. To an endpoint on this machine there
/// is no network that could hold one: only this machine's kernel, for as long as a call is waited for. A proxy
/// there has to be said with `landing_seconds`. What is embedded ends with its process.
fn landing(new: &NewStorePlan) -> Duration {
    match new {
        NewStorePlan::Embedded { .. } => Duration::ZERO,
        NewStorePlan::DynamoDb(dynamodb) => match dynamodb.endpoint.as_deref().is_some_and(is_here)
        {
            true => LANDING_HERE,
            false => Lease::default().landing,
        },
    }
}

/// Whether an endpoint is on this machine.
fn is_here(endpoint: &str) -> bool {
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, host)| host);
    let host = host.split('/').next().unwrap_or(host);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(six),
        None => host.split(':').next().unwrap_or(host),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Reads `[lease]`; what isn't there has its default.
pub(super) fn lease(top: &mut Section<'_>, new: Option<&NewStorePlan>) -> Lease {
    let default = Lease {
        landing: new.map_or(Lease::default().landing, landing),
        ..Lease::default()
    };
    let Some(mut lease) = top.section("lease") else {
        return default;
    };
    let lasts = lease.seconds("seconds", SECONDS);
    let operation = lease.seconds("operation_seconds", SECONDS);
    let landing = lease.seconds("landing_seconds", LANDING_SECONDS);
    lease.finish();
    Lease {
        landing: landing.unwrap_or(default.landing),
        lasts: lasts.unwrap_or(default.lasts),
        operation: operation.unwrap_or(default.operation),
    }
}

/// Reads `[shim]`; what isn't there has its default.
///
/// A deadline that is left out is never above the longest operation, and one that is written is refused
/// if it is: the barrier takes an operation that is older than that for over.
pub(super) fn shim(top: &mut Section<'_>, lease: &Lease) -> ShimPlan {
    let default = ShimPlan {
        deadline: ShimPlan::default().deadline.min(lease.operation),
        ..ShimPlan::default()
    };
    let Some(mut shim) = top.section("shim") else {
        return default;
    };
    let readings = [("strong", Reading::Strong), ("eventual", Reading::Eventual)];
    let reads = shim.choice("reads", &readings);
    let resaves = [
        ("background", ResaveMode::Background),
        ("inline", ResaveMode::Inline),
    ];
    let resave = shim.choice("resave", &resaves);
    let deadline = shim.seconds("deadline_seconds", SECONDS);
    if let Some(deadline) = deadline.filter(|deadline| *deadline > lease.operation) {
        shim.source.wrong(
            shim.line_of("deadline_seconds"),
            format!(
                "`deadline_seconds` is {}, above the {} seconds of the longest operation",
                deadline.as_secs(),
                lease.operation.as_secs()
            ),
            "write less, or more in [lease] operation_seconds",
        );
    }
    shim.finish();
    ShimPlan {
        reads: reads.unwrap_or(default.reads),
        resave: resave.unwrap_or(default.resave),
        deadline: deadline.unwrap_or(default.deadline),
    }
}

/// Reads `[serve]`. Every client that reaches the sidecar has its rights, so it listens beyond this machine only to those who
/// have a key.
pub(super) fn serve(mut serve: Section<'_>) -> Serve {
    let default = Serve::default();
    let listen = serve.text("listen").and_then(|text| {
        let address = text.value.parse::<SocketAddr>();
        if address.is_err() {
            serve.source.wrong(
                text.line,
                format!("`{}` isn't an address to listen on", text.shown),
                "write an IP address and a port, such as 127.0.0.1:8000",
            );
        }
        address.ok()
    });
    let access_key = serve.text("access_key");
    let secret_key = serve.secret("secret_key");
    for (there, missing) in [("access_key", "secret_key"), ("secret_key", "access_key")] {
        if serve.has(there) && !serve.has(missing) {
            serve.source.wrong(
                serve.line_of(there),
                format!("there is `{there}` without `{missing}`"),
                "write both, or none to listen on this machine alone",
            );
        }
    }
    let listen = listen.unwrap_or(default.listen);
    if !listen.ip().is_loopback() && !serve.has("access_key") {
        serve.source.wrong(
            serve.line_of("listen"),
            format!("anything that reaches {listen} would have the sidecar's rights"),
            "write access_key = \"…\" and secret_key = \"${…}\", with which clients have to sign; or listen on 127.0.0.1",
        );
    }
    let unknown = serve.choice("unknown", &[("pass", false), ("refuse", true)]);
    serve.finish();
    Serve {
        listen,
        key: access_key.map(|id| id.value).zip(secret_key),
        refuses_unknown: unknown.unwrap_or(default.refuses_unknown),
    }
}
