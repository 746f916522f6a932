//! A type's name means one thing: no two types of `src` have the same.

use std::collections::BTreeMap;

use crate::layers::{Source, sources};

/// Names that two types may have, and why.
const SHARED: &[(&str, &str)] = &[(
    "Table",
    "applications open a table of the shim as they would one of a driver; the schema's describes its columns",
)];

/// The types that a file defines at its outermost level, in the lines that aren't comments or unit tests.
fn types(source: &Source) -> impl Iterator<Item = &str> {
    source.code.lines().filter_map(|line| {
        let line = match line.strip_prefix("pub(") {
            Some(reach) => reach.split_once(") ")?.1,
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let (kind, rest) = line.split_once(' ')?;
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        matches!(kind, "struct" | "enum" | "trait" | "type").then_some(&rest[..end])
    })
}

fn shared(sources: &[Source]) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources {
        for name in types(source) {
            let path = source.path.display().to_string();
            found.entry(name).or_default().push(path);
        }
    }
    found.retain(|_, paths| paths.len() > 1);
    found
}

#[test]
fn no_two_types_share_a_name() {
    let sources = sources();
    let mut found = shared(&sources);
    for (name, why) in SHARED {
        assert!(
            found.remove(name).is_some(),
            "{name} is no longer shared ({why})"
        );
    }
    let lines = found.iter();
    let lines: Vec<String> = lines
        .map(|(name, paths)| format!("{name}: {}", paths.join(", ")))
        .collect();
    assert!(
        lines.is_empty(),
        "types that share a name:\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_shared_name_is_found() {
    let source = |path: &str, code: &str| Source {
        path: path.into(),
        module: path.into(),
        code: code.into(),
        lines: 1,
    };
    let sources = [
        source("a", "pub(super) struct One<'a>(&'a str);\nenum Two {}"),
        source("b", "    type One = ();\npub trait Two: Send {}"),
        source("c", "pub type Three = ();"),
    ];
    let found = shared(&sources);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("Two", vec!["a".to_owned(), "b".to_owned()])]
    );
}
