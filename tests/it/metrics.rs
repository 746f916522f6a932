//! The names of metrics: in the code, on their page, and on the dashboard.

use std::collections::BTreeSet;
use std::fs;

use crate::layers::sources;

const PREFIX: &str = "crossfade_";

/// The names of metrics in a text, as they stand in quotes or backquotes, or in an expression.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    text.match_indices(PREFIX)
        .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect())
        .collect()
}

fn page(name: &str) -> String {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).expect("a page")
}

#[test]
fn the_page_and_the_dashboard_have_the_metrics_of_the_code() {
    let quoted = |text: &str| -> BTreeSet<String> {
        let is_metric = |name: &String| name.starts_with(PREFIX);
        let pieces = text.split('"').map(str::to_owned);
        pieces.filter(is_metric).collect()
    };
    let code: BTreeSet<String> = sources()
        .iter()
        .flat_map(|file| quoted(&file.code))
        .collect();
    let code: BTreeSet<String> = code
        .into_iter()
        .filter(|name| names(name).contains(name))
        .collect();
    assert!(code.len() > 15, "{code:?}");
    let table: String = page("metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `crossfade_"))
        .collect();
    assert_eq!(names(&table), code, "docs/metrics.md");
    let json = page("grafana.json");
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    // A histogram is three series.
    let base = |name: String| {
        let parts = ["_bucket", "_count", "_sum"];
        let part = parts.iter().find_map(|part| name.strip_suffix(part));
        part.unwrap_or(&name).to_owned()
    };
    let shown: BTreeSet<String> = names(&json).into_iter().map(base).collect();
    assert_eq!(shown, code, "docs/grafana.json");
}
