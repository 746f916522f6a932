//! Who may use whom. The directions are read from the sources, so that a shortcut between two parts
//! fails here and not in a review.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is to be cut in two.
const MOST_LINES: usize = 650;

/// What everything may use: the model.
const MODEL: &[&str] = &["codec", "error", "model", "schema", "visible"];

/// Beside the trait and the stores: what two stores share, and may not know either.
const SHARED_BY_STORES: &[&str] = &["store::ordered"];

/// Each part of the library, and what of the library it may use beside itself and [`MODEL`]. A name
/// means a module and all below it, but `store` alone means the trait and not the single stores.
const DIRECTIONS: &[(&str, &str)] = &[
    ("clock", ""),
    (
        "connect",
        "control layer plan serve shim spec store store::cassandra store::dynamodb store::embedded",
    ),
    ("control", "clock layer protocol store"),
    (
        "copier",
        "clock control display driver failpoints journal layer protocol store transform",
    ),
    ("disk", "failpoints"),
    ("driver", "protocol store transform"),
    ("express", "item"),
    ("forecast", ""),
    ("journal", "control disk"),
    ("json", ""),
    ("layer", "clock store"),
    ("item", ""),
    (
        "testing",
        "control express failpoints item protocol store store::memory",
    ),
    ("transform", "secret"),
    (
        "migration",
        "clock control copier display driver forecast item journal layer protocol spec store transform verifier",
    ),
    ("plan", "control forecast secret shim spec store transform"),
    ("permissions", ""),
    ("protocol", ""),
    ("secret", ""),
    (
        "serve",
        "clock express item protocol secret shim store::dynamodb",
    ),
    (
        "shim",
        "clock control display express item json protocol spec store transform",
    ),
    ("spec", "control secret transform"),
    ("display", "store"),
    ("store", "clock disk express item secret"),
    ("failpoints", ""),
    (
        "verifier",
        "clock control disk display driver layer protocol store transform",
    ),
];

/// What the parts of the model may use. They come before everything else, in this order.
const WITHIN_MODEL: &[(&str, &str)] = &[
    ("visible", ""),
    ("error", "visible"),
    ("model", "error"),
    ("schema", "error"),
    ("codec", "error model schema"),
];

/// Crates that belong to one part alone.
const OWNERS: &[(&str, &[&str])] = &[
    ("aws_config", &["store::dynamodb"]),
    ("aws_sdk_dynamodb", &["store::dynamodb"]),
    ("clap", &["bin"]),
    ("comfy_table", &["bin"]),
    ("indicatif", &["bin"]),
    ("metrics_exporter_prometheus", &["bin"]),
    ("scylla", &["store::cassandra"]),
    ("sled", &["disk", "journal", "store::embedded"]),
    ("toml", &["plan"]),
    ("tracing_subscriber", &["bin"]),
];

/// Parts that do no input or output and know no clock.
const PURE: &[&str] = &[
    "codec",
    "error",
    "express",
    "forecast",
    "item",
    "model",
    "protocol",
    "schema",
    "transform",
    "visible",
];

pub(crate) struct Source {
    pub path: PathBuf,
    /// `store::dynamodb::write`; files of the command start with `bin`, the root is empty.
    pub module: String,
    /// Without comments and unit tests.
    pub code: String,
    pub lines: usize,
}

impl Source {
    fn is_in(&self, part: &str) -> bool {
        lies_in(&self.module, part)
    }

    /// The module of a store without the file in its folder: `store::dynamodb`, `layer`, `plan`.
    fn part(&self) -> String {
        let names: Vec<&str> = self.module.split("::").collect();
        let depth = if names[0] == "store" { 2 } else { 1 };
        names[..names.len().min(depth)].join("::")
    }
}

fn lies_in(module: &str, part: &str) -> bool {
    module == part || module.starts_with(&format!("{part}::"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub(crate) fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources: Vec<Source> = rust_files(&src)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let inside = path
                .strip_prefix(&src)
                .expect("below src")
                .with_extension("");
            let mut names: Vec<&str> = inside.iter().filter_map(|name| name.to_str()).collect();
            if matches!(names.last(), Some(&"mod" | &"lib")) {
                names.pop();
            }
            // Unit tests in a file of their own may use what they like, as those at a file's end do.
            let is_test = names.contains(&"tests");
            Source {
                module: names.join("::"),
                code: if is_test { String::new() } else { code(&text) },
                lines: text.lines().count(),
                path,
            }
        })
        .collect();
    assert!(sources.len() > 10, "the sources were not found");
    sources
}

/// The lines without comments, up to the unit tests at the end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules of this crate that a file names, as full paths: from `crate::…` and `super::…`.
fn imports(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in source.code.match_indices("crate::") {
        if !continues_a_word(&source.code[..start]) {
            expand("", &source.code[start + "crate::".len()..], &mut found);
        }
    }
    let mut rest = source.code.as_str();
    while let Some(start) = rest.find("super::") {
        let whole_word = !continues_a_word(&rest[..start]);
        rest = &rest[start..];
        let mut place: Vec<&str> = source.module.split("::").collect();
        while let Some(after) = rest.strip_prefix("super::") {
            place.pop();
            rest = after;
        }
        // From a module within the file, `super` is the file itself, and what it names are items.
        let within = place.is_empty() && rest.starts_with(char::is_uppercase);
        if whole_word && !within {
            expand(&place.join("::"), rest, &mut found);
        }
    }
    found
}

fn continues_a_word(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == ':')
}

/// Adds the paths that are at the start of `text`, a brace group's included.
fn expand(prefix: &str, text: &str, found: &mut BTreeSet<String>) {
    let join = |name: &str| match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}::{name}"),
    };
    if let Some(group) = text.strip_prefix('{') {
        for item in items(group) {
            expand(prefix, item.trim(), found);
        }
        return;
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let path = join(&text[..end]);
    match text[end..].strip_prefix("::") {
        Some(rest) => expand(&path, rest, found),
        None => {
            found.insert(path);
        }
    }
}

/// The parts of a brace group, up to its end.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Whether a path such as `store::dynamodb::Config` may be used by a part.
fn may_use(part: &str, path: &str, stores: &BTreeSet<String>) -> bool {
    let top = path.split("::").next().unwrap_or(path);
    if let Some((_, allowed)) = WITHIN_MODEL.iter().find(|(name, _)| *name == part) {
        return top == part || words(allowed).contains(&top);
    }
    let own = part.split("::").next().unwrap_or(part);
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == own) else {
        return false;
    };
    let allowed = words(allowed);
    match stores.iter().find(|store| lies_in(path, store)) {
        Some(store) => store == part || allowed.contains(&store.as_str()),
        None => top == own || MODEL.contains(&top) || allowed.contains(&top),
    }
}

#[test]
fn imports_follow_the_directions() {
    let sources = sources();
    let stores: BTreeSet<String> = sources
        .iter()
        .map(Source::part)
        .filter(|part| part.starts_with("store::") && !SHARED_BY_STORES.contains(&part.as_str()))
        .collect();
    let mut broken = Vec::new();
    for source in &sources {
        let part = source.part();
        // The root lists its modules, the command uses whatever is public.
        if part.is_empty() || part == "bin" {
            continue;
        }
        for path in imports(source) {
            if !may_use(&part, &path, &stores) {
                broken.push(format!("{} uses {path}", source.path.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "against the directions at the top of {}:\n{}",
        file!(),
        broken.join("\n")
    );
}

/// What a module gives out under its own name and has from elsewhere: `pub use`, whatever its reach.
fn given_on(source: &Source) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    for (start, _) in source.code.match_indices("use ") {
        let line = source.code[..start].rsplit('\n').next().unwrap_or_default();
        if !line.trim_start().starts_with("pub") || !line.ends_with(' ') {
            continue;
        }
        let text = source.code[start + "use ".len()..]
            .split(';')
            .next()
            .unwrap_or_default();
        let mut place: Vec<&str> = source.module.split("::").collect();
        let mut rest = text.strip_prefix("self::").unwrap_or(text);
        if let Some(from_root) = rest.strip_prefix("crate::") {
            (place, rest) = (Vec::new(), from_root);
        }
        while let Some(after) = rest.strip_prefix("super::") {
            place.pop();
            rest = after;
        }
        let mut paths = BTreeSet::new();
        expand(&place.join("::"), rest, &mut paths);
        given.extend(paths.into_iter().filter_map(|path| {
            let name = path.rsplit("::").next()?.to_owned();
            Some((name, path))
        }));
    }
    given
}

/// The module that a path leads to, through what other modules give on.
fn home(path: &str, given: &BTreeMap<&str, BTreeMap<String, String>>) -> String {
    let mut path = path.to_owned();
    // A chain of names given on is never long; one that goes round has no home.
    'chain: for _ in 0..8 {
        let names: Vec<&str> = path.split("::").collect();
        for length in (0..=names.len()).rev() {
            let module = names[..length].join("::");
            let Some(gives) = given.get(module.as_str()) else {
                continue;
            };
            let next = names.get(length).and_then(|name| gives.get(*name));
            match next.filter(|next| **next != path) {
                Some(next) => {
                    path = [&[next.as_str()], &names[length + 1..]].concat().join("::");
                    continue 'chain;
                }
                None => return module,
            }
        }
    }
    path
}

/// Who uses whom among the parts of one folder, for every folder: what a file of a subfolder uses counts for the
/// subfolder.
fn neighbours(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let given = sources
        .iter()
        .map(|source| (source.module.as_str(), given_on(source)));
    let given: BTreeMap<&str, BTreeMap<String, String>> = given.collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_in("bin")) {
        let own: Vec<&str> = source.module.split("::").collect();
        for path in imports(source) {
            let other = home(&path, &given);
            let other: Vec<&str> = other.split("::").collect();
            let common = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
            // A folder's own file and what is in the folder are one thing to all others.
            if common < own.len() && common < other.len() {
                let (from, to) = (&own[..=common], &other[..=common]);
                uses.entry(from.join("::"))
                    .or_default()
                    .insert(to.join("::"));
            }
        }
    }
    uses
}

/// A way through what is used that ends where it began.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        uses: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = way.iter().position(|passed| passed == at) {
            way.drain(..start);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.to_owned());
        for next in uses.get(at).into_iter().flatten() {
            if walk(next, uses, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(at.to_owned());
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let found = uses.keys().any(|at| walk(at, uses, &mut way, &mut done));
    found.then_some(way)
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    let found = circle(&neighbours(&sources()));
    assert_eq!(found, None, "move what both need into a file of its own");
}

#[test]
fn the_search_for_circles_finds_one() {
    let source = |module: &str, code: &str| Source {
        path: PathBuf::new(),
        module: module.into(),
        code: code.into(),
        lines: 1,
    };
    let mut sources = vec![
        source(
            "a",
            "mod b; mod c;\npub use b::{Name, Other};\npub(crate) use c::d::Deep;",
        ),
        source("a::b", "use super::c::d;"),
        source("a::c", "mod d;"),
        source("a::c::d", "use super::super::x;"),
    ];
    assert_eq!(circle(&neighbours(&sources)), None);
    sources.push(source("a::c::e", "use crate::a::Name;"));
    let names = ["a::b", "a::c"].map(String::from);
    assert_eq!(circle(&neighbours(&sources)), Some(names.into()));
    sources.pop();
    sources.push(source("f", "use super::a::Deep;"));
    assert_eq!(circle(&neighbours(&sources)), None);
}

#[test]
fn every_permission_is_used() {
    let sources = sources();
    let mut unused = Vec::new();
    let named = |part: &str, allowed: &str, others: &[&str]| {
        let files = sources.iter().filter(|source| source.is_in(part));
        files.flat_map(imports).any(|path| {
            let narrower = others
                .iter()
                .any(|other| lies_in(other, allowed) && *other != allowed && lies_in(&path, other));
            lies_in(&path, allowed) && !narrower
        })
    };
    for (part, allowed) in DIRECTIONS.iter().chain(WITHIN_MODEL) {
        if !sources.iter().any(|source| source.is_in(part)) {
            unused.push(format!("{part} isn't there"));
        }
        let allowed = words(allowed);
        for name in &allowed {
            if !named(part, name, &allowed) {
                unused.push(format!("{part} doesn't use {name}"));
            }
        }
    }
    for part in PURE.iter().chain(MODEL).chain(SHARED_BY_STORES) {
        if !sources.iter().any(|source| source.is_in(part)) {
            unused.push(format!("{part} isn't there"));
        }
    }
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn crates_stay_with_their_owners() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, owners) in OWNERS {
            let named = source
                .code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| !continues_a_word(&source.code[..at]));
            if named && !owners.iter().any(|owner| source.is_in(owner)) {
                broken.push(format!("{} uses {name}", source.path.display()));
            }
        }
        if PURE.iter().any(|part| source.is_in(part)) {
            for name in [
                "tokio",
                "std::fs",
                "std::net::TcpStream",
                "std::env",
                "std::time::Instant",
                "SystemTime",
            ] {
                if source.code.contains(name) {
                    broken.push(format!("{} uses {name} but is pure", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A wrapper that leaves a method with a body out changes what the store does.
#[test]
fn wrappers_forward_every_method() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "benches", "examples"].map(|folder| root.join(folder));
    let mut count = 0;
    let mut broken = Vec::new();
    for file in folders.iter().flat_map(|folder| rust_files(folder)) {
        if file.starts_with(root.join("src/store")) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            if !line.starts_with("impl Store for ") && !line.starts_with("impl Reads for ") {
                continue;
            }
            count += 1;
            if lines[place - 1] != "#[deny(clippy::missing_trait_methods)]" {
                broken.push(format!("{}:{}: {line}", file.display(), place + 1));
            }
        }
    }
    assert!(count > 5, "the wrappers were not found");
    assert!(
        broken.is_empty(),
        "without #[deny(clippy::missing_trait_methods)]:\n{}",
        broken.join("\n")
    );
}

#[test]
fn files_stay_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long: Vec<String> = Vec::new();
    for file in rust_files(&root.join("tests")) {
        let lines = fs::read_to_string(&file).expect("UTF-8").lines().count();
        if lines > MOST_LINES {
            long.push(format!("{}: {lines}", file.display()));
        }
    }
    for source in sources() {
        if source.lines > MOST_LINES {
            long.push(format!("{}: {}", source.path.display(), source.lines));
        }
    }
    assert!(
        long.is_empty(),
        "over {MOST_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn the_reader_of_imports_reads_them_all() {
    let source = Source {
        path: PathBuf::new(),
        module: "store::dynamodb::write".into(),
        code: "use crate::error::{Error, Kind};\nuse crate::{model, store::{cassandra, Store}};\n\
               use super::super::memory;\nfn a() { crate::plan::read() }\nuse $crate::no;\nuse super::item::Item;"
            .into(),
        lines: 1,
    };
    let expected = [
        "error::Error",
        "error::Kind",
        "model",
        "plan::read",
        "store::Store",
        "store::cassandra",
        "store::dynamodb::item::Item",
        "store::memory",
    ];
    assert_eq!(imports(&source), expected.map(String::from).into());
    let stores = ["store::cassandra", "store::dynamodb", "store::memory"]
        .map(String::from)
        .into();
    for (path, expected) in [
        ("error::Kind", true),
        ("item::keys", true),
        ("plan::read", false),
        ("store::Store", true),
        ("store::cassandra", false),
        ("store::dynamodb::item::Item", true),
    ] {
        assert_eq!(
            may_use("store::dynamodb", path, &stores),
            expected,
            "{path}"
        );
    }
    assert!(!may_use("protocol", "store::Store", &stores));
    assert!(!may_use("layer", "store::memory", &stores));
    assert!(!may_use("store", "store::memory::Memory", &stores));
    assert!(!may_use("shim", "journal", &stores));
    assert!(!may_use("error", "model::Key", &stores));
    assert!(!may_use("unheard_of", "store::Store", &stores));
}
