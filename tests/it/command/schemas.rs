//! Whole keyspaces in the manner of well-known products: `plan new` writes a plan, nothing of it is edited but the names of
//! the test's own tables, and every row moves by it. `CROSSFADE_SCHEMAS` names a folder with more of them, one keyspace in
//! each file, that are tried in the same way.

use std::collections::BTreeMap;
use std::path::Path;

use super::planning::new;
use super::{Bench, says};

/// Rows of each table.
const ROWS: u32 = 6;
/// 2^256 - 1: over the 38 digits of an N.
const LONG: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

/// Fields of each user-defined type, with their types.
type Fields = BTreeMap<String, Vec<(String, String)>>;

/// A table's columns, and whether each is of the key.
type Columns = Vec<(String, String, bool)>;

/// Statements of a file, without comments.
fn statements(text: &str) -> Vec<String> {
    let plain = |line: &str| {
        let ends = ["--", "//"]
            .into_iter()
            .filter_map(|begin| line.find(begin));
        line[..ends.min().unwrap_or(line.len())].to_owned()
    };
    let text: Vec<String> = text.lines().map(plain).collect();
    let text = text.join("\n");
    let statements = text.split(';').map(str::trim);
    statements
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A type's name and what is in its angle brackets.
fn parts(ty: &str) -> (&str, Vec<&str>) {
    let Some((name, inside)) = ty.split_once('<') else {
        return (ty, Vec::new());
    };
    let inside = inside.strip_suffix('>').expect("a bracket");
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(inside[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(inside[from..].trim());
    (name, parts)
}

/// The `n`th value of a type, as CQL writes it.
fn literal(ty: &str, n: u32, types: &Fields) -> String {
    let (name, inside) = parts(ty);
    let of = |ty: &str, n: u32| literal(ty, n, types);
    match name {
        "frozen" => of(inside[0], n),
        "ascii" | "text" | "varchar" => format!("'text {n}'"),
        "tinyint" | "smallint" | "int" | "bigint" | "counter" => n.to_string(),
        "timestamp" => (1_700_000_000_000_u64 + u64::from(n)).to_string(),
        "varint" if n == 1 => LONG.to_owned(),
        "varint" => format!("-{n}"),
        "decimal" | "float" | "double" => format!("{n}.50"),
        "boolean" => n.is_multiple_of(2).to_string(),
        "blob" => format!("0x00{n:02x}"),
        "uuid" => format!("{n:08x}-0000-4000-8000-000000000000"),
        "timeuuid" => format!("{n:08x}-0000-1000-8000-000000000000"),
        "inet" => format!("'10.0.0.{n}'"),
        "date" => format!("'2026-11-{:02}'", n + 1),
        "time" => format!("'00:00:{n:02}'"),
        "duration" => format!("{n}h"),
        "list" | "vector" => format!("[{}]", of(inside[0], n)),
        "set" => format!("{{{}, {}}}", of(inside[0], n), of(inside[0], n + 1)),
        "map" => format!("{{{}: {}}}", of(inside[0], n), of(inside[1], n)),
        "tuple" => {
            let fields: Vec<String> = inside.iter().map(|ty| of(ty, n)).collect();
            format!("({})", fields.join(", "))
        }
        name => {
            let fields = &types[name.trim_matches('"')];
            let fields: Vec<String> = fields
                .iter()
                .map(|(field, ty)| format!("\"{field}\": {}", of(ty, n)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// Rows with all columns, with some, and of nothing but their key.
fn inserts(table: &str, columns: &Columns, types: &Fields) -> Vec<String> {
    let is_counter = columns.iter().any(|(_, ty, _)| ty == "counter");
    let row = |n: u32| {
        let kept = columns
            .iter()
            .enumerate()
            .filter(|(at, (_, _, is_key))| match n {
                4 => *is_key,
                5 => *is_key || at % 2 == 0,
                _ => true,
            });
        let kept: Vec<_> = kept
            .map(|(_, (name, ty, is_key))| (format!("\"{name}\""), literal(ty, n, types), *is_key))
            .collect();
        let joined = |parts: Vec<String>, by: &str| parts.join(by);
        if is_counter {
            let keys = kept.iter().filter(|(_, _, is_key)| *is_key);
            let keys = keys.map(|(name, value, _)| format!("{name} = {value}"));
            let adds = kept.iter().filter(|(_, _, is_key)| !*is_key);
            let adds = adds.map(|(name, value, _)| format!("{name} = {name} + {value}"));
            let (adds, keys) = (
                joined(adds.collect(), ", "),
                joined(keys.collect(), " AND "),
            );
            return format!("UPDATE \"{table}\" SET {adds} WHERE {keys}");
        }
        let names = kept.iter().map(|(name, _, _)| name.clone());
        let values = kept.iter().map(|(_, value, _)| value.clone());
        let (names, values) = (
            joined(names.collect(), ", "),
            joined(values.collect(), ", "),
        );
        format!("INSERT INTO \"{table}\" ({names}) VALUES ({values})")
    };
    (0..ROWS)
        .filter(|n| !is_counter || *n < 4)
        .map(row)
        .collect()
}

async fn tables(bench: &Bench) -> BTreeMap<String, Columns> {
    let select = "SELECT table_name, column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ?";
    let found = bench
        .session
        .query_unpaged(select, (&bench.keyspace,))
        .await;
    let found = found.expect("columns").into_rows_result().expect("rows");
    let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
    let rows = found.rows::<(String, String, String, String)>();
    for row in rows.expect("texts") {
        let (table, column, ty, kind) = row.expect("a row");
        let is_key = kind == "partition_key" || kind == "clustering";
        tables.entry(table).or_default().push((column, ty, is_key));
    }
    tables
}

async fn types(bench: &Bench) -> Fields {
    let select = "SELECT type_name, field_names, field_types FROM system_schema.types WHERE keyspace_name = ?";
    let found = bench
        .session
        .query_unpaged(select, (&bench.keyspace,))
        .await;
    let found = found.expect("types").into_rows_result().expect("rows");
    let rows = found.rows::<(String, Vec<String>, Vec<String>)>();
    rows.expect("texts")
        .map(|row| {
            let (name, names, types) = row.expect("a row");
            (name, names.into_iter().zip(types).collect())
        })
        .collect()
}

async fn moves(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a schema");
    let bench = Bench::new("schema").await;
    for statement in statements(&text) {
        bench.cql(&statement).await;
    }
    let (tables, types) = (tables(&bench).await, types(&bench).await);
    for (table, columns) in &tables {
        for insert in inserts(table, columns, &types) {
            bench.cql(&insert).await;
        }
    }
    let count = tables.len();
    assert!(count >= 3, "{}", path.display());

    let made = new(&bench, &[]).run().expect_code(0);
    says(
        &made,
        &[&format!("{count} tables, of which 0 can't be moved")],
    );
    let control = bench.named("[new]\ncontrol_table = \"@-control\"\n");
    bench.write("plan.toml", &made.stdout.replace("[new]\n", &control));
    let read = bench.migrate(&["plan", "check"]).run().expect_code(0);
    let said = format!("no mistake in it: {count} tables");
    assert!(read.stdout.contains(&said), "{read}");
    let check = bench.migrate(&["check"]).run().expect_code(0);
    let said = format!("all {count} tables can be moved");
    assert!(check.stdout.contains(&said), "{check}");
    bench.init();
    let copied = bench.migrate(&["copy", "--offline", "--json"]).run();
    assert_eq!(copied.expect_code(0).json().len(), count);
    bench.migrate(&["verify"]).run().expect_code(0);
    for (table, columns) in &tables {
        let items = bench.items(table).await;
        let is_counter = columns.iter().any(|(_, ty, _)| ty == "counter");
        let rows = if is_counter { 4 } else { ROWS as usize };
        // Static columns have an item of their own.
        assert!(items.len() >= rows, "{table}: {}", items.len());
    }
    bench.done().await;
}

fn fixture(name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/schemas").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_traces_moves_as_its_plan_is_printed() {
    moves(&fixture("traces.cql")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_measurements_moves_as_its_plan_is_printed() {
    moves(&fixture("telemetry.cql")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_workflows_moves_as_its_plan_is_printed() {
    moves(&fixture("workflows.cql")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a folder of schemas: CROSSFADE_SCHEMAS=/path tests/run"]
async fn other_schemas_move_as_their_plans_are_printed() {
    let folder = std::env::var_os("CROSSFADE_SCHEMAS").expect("CROSSFADE_SCHEMAS is set");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("CROSSFADE_SCHEMAS is a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "CROSSFADE_SCHEMAS is empty");
    for path in paths {
        eprintln!("{}", path.display());
        moves(&path).await;
    }
}
