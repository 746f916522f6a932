//! What can be said of a single name, address or folder without asking a store.

use std::path::PathBuf;

use super::DEFAULT_CASSANDRA_PORT;
use super::reader::{Source, Text};
use super::targets::plain;

/// A folder of the plan, with its line.
pub(super) struct PlanFolder {
    pub path: PathBuf,
    pub line: usize,
}

impl From<Text> for PlanFolder {
    fn from(text: Text) -> Self {
        PlanFolder {
            path: text.value.into(),
            line: text.line,
        }
    }
}

/// The plan's name: part of keys and of the journal's default folder.
pub(super) fn plan_name(source: &Source<'_>, name: &Text) -> bool {
    let valid = (1..=64).contains(&name.value.len())
        && name.value.chars().all(plain)
        && !matches!(name.value.as_str(), "." | "..");
    if !valid {
        source.wrong(
            name.line,
            format!("`{}` can't be the name of a plan", name.shown),
            "write 1 to 64 of A-Z a-z 0-9 _ . -",
        );
    }
    valid
}

/// A keyspace or table of Cassandra.
pub(super) fn cassandra_name(source: &Source<'_>, what: &str, name: &Text) -> bool {
    let valid = name
        .value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        source.wrong(
            name.line,
            format!(
                "`{}` can't be the name of a {what} in Cassandra",
                name.shown
            ),
            "write it as stored, of A-Z a-z 0-9 _, without quotes or a keyspace before it",
        );
    }
    valid
}

/// A contact point, as `host:port`.
pub(super) fn node(source: &Source<'_>, node: &Text) -> Option<String> {
    if node.value.contains('@') {
        source.wrong(
            node.line,
            "a node has no credentials in it",
            "write host:port; username and password are keys of [old]",
        );
        return None;
    }
    let address = address(&node.value);
    if address.is_none() {
        source.wrong(
            node.line,
            format!("`{}` isn't the address of a node", node.shown),
            "write host, host:9042 or [::1]:9042",
        );
    }
    address
}

fn address(node: &str) -> Option<String> {
    let (host, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match tail {
                "" => None,
                _ => Some(tail.strip_prefix(':')?),
            };
            (format!("[{host}]"), port)
        }
        None => {
            let (host, port) = match node.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (node, None),
            };
            if host.is_empty() || !host.chars().all(plain) {
                return None;
            }
            (host.to_owned(), port)
        }
    };
    let port = match port {
        None => DEFAULT_CASSANDRA_PORT,
        Some(port) if port.chars().all(|c| c.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
    };
    (port > 0).then(|| format!("{host}:{port}"))
}

/// A region's name, AWS's own or that of another server. Which ones there are only AWS knows.
pub(super) fn region(source: &Source<'_>, region: &Text) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if region.value.is_empty() || !region.value.chars().all(plain) {
        source.wrong(
            region.line,
            format!("`{}` can't be a region", region.shown),
            "write its name, such as region = \"eu-central-1\"",
        );
    }
}

/// The address of a server that speaks DynamoDB's protocol. It isn't shown: people write
/// credentials into such addresses.
pub(super) fn endpoint(source: &Source<'_>, endpoint: &Text) {
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint.value.strip_prefix(scheme))
        .map(|rest| rest.split('/').next().unwrap_or_default());
    if host.is_some_and(|host| host.contains('@')) {
        source.wrong(
            endpoint.line,
            "`endpoint` has credentials in it",
            "leave them out: they come from the usual AWS chain",
        );
    } else if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        source.wrong(
            endpoint.line,
            "`endpoint` isn't the address of a server",
            "write http://host:port or https://host",
        );
    }
}

/// A plan without an endpoint means AWS. The SDK would follow these variables all the same, and
/// the copy would land in another store than the plan says.
pub(super) fn no_other_endpoint(source: &Source<'_>, line: usize) {
    let ignored = (source.env)("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true")) {
        return;
    }
    for name in ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"] {
        if (source.env)(name).is_some_and(|value| !value.is_empty()) {
            source.wrong(
                line,
                format!(
                    "the plan means AWS, but the environment variable {name} names another endpoint"
                ),
                format!("write endpoint = \"${{{name}}}\" in [new], or unset it"),
            );
            return;
        }
    }
}
