//! What the benches share: a fast endpoint, processes of their own for what is measured, and small tools.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod endpoint;
pub mod process;
pub mod raw;
pub mod wire;

use std::time::Duration;

use crossfade::store::dynamodb::{Credentials, DynamoDbConfig};

/// A configuration for an endpoint that takes any key.
pub fn config(url: &str) -> DynamoDbConfig {
    DynamoDbConfig {
        region: Some("us-east-1".into()),
        endpoint: Some(url.into()),
        credentials: Some(Credentials {
            access_key_id: "crossfade".into(),
            secret_access_key: "crossfade".into(),
            session_token: None,
        }),
        ..DynamoDbConfig::default()
    }
}

/// The value below which a share of these lie.
pub fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// The middle one.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A line of the table: what, ours, beside what, and how many times as much that is.
pub fn line(what: &str, ours: &str, beside: &str, ratio: Option<f64>) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!("| {what} | {ours} | {beside} | {ratio} |");
}
