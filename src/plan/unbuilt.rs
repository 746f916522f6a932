//! What a plan may say one day, and is refused until then.

/// A key, or some values of one, whose feature isn't built yet.
pub(super) struct Unbuilt {
    /// Where it is: `pace`, `table.where`.
    pub key: &'static str,
    /// The values that are meant; none = the key, whatever its value.
    pub values: &'static [&'static str],
    /// What holds instead, and what to write.
    pub instead: &'static str,
}

/// All of them. A feature that lands takes its line away, and reads its key.
pub(super) const UNBUILT: &[Unbuilt] = &[
    Unbuilt {
        key: "old.kind",
        values: &["dynamodb"],
        instead: "tables are read from \"cassandra\" or \"embedded\"",
    },
    Unbuilt {
        key: "new.kind",
        values: &["cassandra"],
        instead: "tables are moved to \"dynamodb\" or \"embedded\"",
    },
    Unbuilt {
        key: "table.oversize",
        values: &["compress", "split"],
        instead: "write \"reject\": a row over the item limit is a dead letter",
    },
    Unbuilt {
        key: "table.attributes",
        values: &["any"],
        instead: "write \"columns\": the sidecar refuses items with an attribute that is no column",
    },
    Unbuilt {
        key: "table.where",
        values: &[],
        instead: "leave it out: tables are moved whole",
    },
];

/// The entry of a key as a whole.
pub(super) fn key(path: &str) -> Option<&'static Unbuilt> {
    UNBUILT
        .iter()
        .find(|unbuilt| is_at(unbuilt.key, path) && unbuilt.values.is_empty())
}

/// The entry of one value of a key.
pub(super) fn value(path: &str, value: &str) -> Option<&'static Unbuilt> {
    UNBUILT
        .iter()
        .find(|unbuilt| is_at(unbuilt.key, path) && unbuilt.values.contains(&value))
}

/// Whether a key is there: what isn't built of a table isn't built as a default either.
fn is_at(key: &str, path: &str) -> bool {
    key == path
        || path
            .strip_prefix("defaults.")
            .is_some_and(|name| key.strip_prefix("table.") == Some(name))
}
