//! Plans that don't hold, and what is said of them.

use super::*;

/// The example of the design, every key of it.
const DESIGN: &str = r#"name = "bgt"
[old]
kind = "cassandra"            # cassandra | dynamodb | embedded
nodes = ["127.0.0.1:9042"]
keyspace = "bgt"
consistency = "local_quorum"  # reads of the old store; write_consistency for the shim
datacenter = "dc1"            # required when the cluster has more than one
username = "app"
password = "${CASSANDRA_PASSWORD}"   # ${ENV} or file:path; never printed; [old.tls] ca, cert, key
[new]
kind = "dynamodb"
region = "us-east-1"
endpoint = "http://127.0.0.1:8000"   # left out = AWS; credentials come from the usual AWS chain
control_table = "migrate-control"   # the default
partiql = true                # left out = found out
[journal]
dir = "journal/bgt"
[pace]                        # ceilings; within them the pace adapts
write_units = 5000
read_rows = 50000
old_p99_ms = 50               # slow down when the old store suffers
[lease]
seconds = 10
operation_seconds = 5         # longest operation, its retries and re-save included
[shim]
reads = "strong"              # | "eventual"
resave = "background"         # | "inline"
deadline_seconds = 5
[mask]
key = "${MASK_KEY}"           # for mask = "hmac"
[[table]]                     # in the order they are to be moved; counters first
name = "votes"
to = "bgt-votes"
decrements = false            # counters that may go down
exactly_once = false
final_read = "all"            # | "quorum"
fence = { role = "app" }
[[table]]
name = "users"
to = "bgt-users"
oversize = "compress"
where = "tenant = 'itv'"      # optional subset
expiry = { attribute = "expires_at", from = "max" }   # max | min | reject: what a row's TTL becomes
key_only = "reject"           # | "default_ttl" | "keep": rows of key columns alone in a table with TTLs
ignore = ["indexes", "views", "triggers"]
reserved_prefix = "_"
[table.columns]
email = { mask = "hmac" }     # rename = "…", drop = true, mask = "hmac"|"redact"
"#;

#[test]
fn of_the_design_what_isnt_built_is_refused_by_name_and_the_rest_is_read() {
    let expected = "\
cf.toml:41: oversize = \"compress\" isn't built yet (write \"reject\": a row over the item limit is a dead letter)
cf.toml:42: `table.where` isn't built yet (leave it out: tables are moved whole)";
    assert_eq!(errors(DESIGN), expected);

    // Without exactly these lines it holds.
    let refused = [41..=42];
    let rest: Vec<&str> = DESIGN
        .lines()
        .enumerate()
        .filter(|(place, _)| !refused.iter().any(|lines| lines.contains(&(place + 1))))
        .map(|(_, line)| line)
        .collect();
    let plan = parsed(&rest.join("\n"));
    assert_eq!(plan.tables.len(), 2);
    assert_eq!(plan.tables[0].fence.as_deref(), Some("app"));
    assert_eq!(dynamodb(&plan).partiql, Some(true));
}

#[test]
fn every_unbuilt_key_and_value_is_refused() {
    for unbuilt in unbuilt::UNBUILT {
        let (section, key) = unbuilt.key.split_once('.').unwrap_or(("", unbuilt.key));
        let values = match unbuilt.values {
            [] => &["x"],
            values => values,
        };
        for value in values {
            let line = format!("{key} = \"{value}\"\n");
            let text = match (section, key) {
                ("", _) => line + SMALL,
                ("old", "kind") => with("kind = \"cassandra\"\n", &line),
                ("new", "kind") => with("kind = \"dynamodb\"\n", &line),
                ("old", _) => with("[old]\n", &format!("[old]\n{line}")),
                ("pace", _) => format!("{SMALL}[pace]\n{line}"),
                ("table", _) => with("[[table]]\n", &format!("[[table]]\n{line}")),
                _ => panic!("where does `{}` stand?", unbuilt.key),
            };
            let errors = errors(&text);
            assert!(
                errors.contains(&format!(" isn't built yet ({})", unbuilt.instead)),
                "{errors}"
            );
        }
    }
}

#[test]
fn everything_is_said_at_once_by_line() {
    let text = r#"nmae = "bgt"
[old]
kind = "cassandra"
nodes = ["127.0.0.1:0",
  "127.0.0.1:x",
  9042]
keyspaces = "bgt"
password = "${NOT_SET}"
[new]
kind = "dynamodb"
partiql = "yes"
[[table]]
name = "users"
oversize = 1
[[table]]
to = "x"
"#;
    let expected = "\
cf.toml:1: `name` is missing (write name = \"…\")
cf.toml:1: unknown key `nmae` (did you mean `name`?)
cf.toml:2: `keyspace` is missing in [old] (write keyspace = \"…\")
cf.toml:4: `127.0.0.1:0` isn't the address of a node (write host, host:9042 or [::1]:9042)
cf.toml:5: `127.0.0.1:x` isn't the address of a node (write host, host:9042 or [::1]:9042)
cf.toml:6: `nodes` has the wrong type (expected an array of strings, found an integer)
cf.toml:7: unknown key `keyspaces` in [old] (did you mean `keyspace`?)
cf.toml:8: `password`: the environment variable NOT_SET isn't set (set it, or write $${ for the characters themselves)
cf.toml:8: `password` is set but `username` is not (write username = \"…\")
cf.toml:9: `region` is missing in [new] (write region = \"us-east-1\", or endpoint = \"http://127.0.0.1:8000\" for a server of your own)
cf.toml:11: `partiql` has the wrong type (expected true or false, found a string)
cf.toml:14: `oversize` has the wrong type (expected a string, found an integer)
cf.toml:15: `name` is missing in [[table]] (write name = \"…\", the table's name in the old store)";
    assert_eq!(errors(text), expected);

    let error = crate::error::Error::from(parse(text).unwrap_err());
    assert_eq!(error.kind(), crate::error::Kind::Config);
    assert_eq!(error.to_string(), expected);
}

/// Each: the line of `SMALL` that is replaced, by what, and what is said.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        r#"name = "bgt""#,
        r#"name = "bgt/1""#,
        "cf.toml:1: `bgt/1` can't be the name of a plan (write 1 to 64 of A-Z a-z 0-9 _ . -)",
    ),
    (
        r#"name = "bgt""#,
        r#"name = "..""#,
        "cf.toml:1: `..` can't be the name of a plan (write 1 to 64 of A-Z a-z 0-9 _ . -)",
    ),
    (
        r#"name = "bgt""#,
        r#"name = """#,
        "cf.toml:1: `name` is empty (give it a value)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\njournal = {}",
        "cf.toml:2: `dir` is missing in [journal] (write dir = \"journal/…\", or leave [journal] out)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nold_store = 1",
        "cf.toml:2: unknown key `old_store` (known here: name, old, new, lease, shim, pace, verify, serve, prices, journal, mask, defaults, table)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nlease = { seconds = 0, operation_seconds = 3601 }",
        "cf.toml:2: `seconds` can't be 0 (write 1 to 3600 seconds)\n\
         cf.toml:2: `operation_seconds` can't be 3601 (write 1 to 3600 seconds)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nlease = { seconds = 1.5, operation_seconds = -1 }",
        "cf.toml:2: `seconds` has the wrong type (expected a whole number of seconds, found a float)\n\
         cf.toml:2: `operation_seconds` can't be -1 (write 1 to 3600 seconds)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\npace = { write_units = 0, read_rows = \"many\" }",
        "cf.toml:2: `write_units` can't be 0 (write 1 to 4294967295 units a second)\n\
         cf.toml:2: `read_rows` has the wrong type (expected a whole number of rows a second, found a string)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nverify = { fresh = \"1 hour\" }",
        "cf.toml:2: `fresh` can't be `1 hour` (write a number and s, m, h or d, such as \"90m\": 1s to 30d)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nverify = { fresh = \"31d\" }",
        "cf.toml:2: `fresh` can't be `31d` (write a number and s, m, h or d, such as \"90m\": 1s to 30d)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nverify = { fresh = 3600 }",
        "cf.toml:2: `fresh` has the wrong type (expected a string, found an integer)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nshim = { deadline_seconds = 6 }",
        "cf.toml:2: `deadline_seconds` is 6, above the 5 seconds of the longest operation (write less, or more in [lease] operation_seconds)",
    ),
    (
        r#"name = "bgt""#,
        "name = \"bgt\"\nshim = { reads = \"stong\", resave = \"never\" }",
        "cf.toml:2: `reads` can't be \"stong\" (did you mean \"strong\"?)\n\
         cf.toml:2: `resave` can't be \"never\" (write \"background\", or \"inline\")",
    ),
    (
        r#"kind = "cassandra""#,
        r#"kind = "casandra""#,
        "cf.toml:3: `kind` can't be \"casandra\" (did you mean \"cassandra\"?)",
    ),
    (
        r#"kind = "cassandra""#,
        r#"kind = "mysql""#,
        "cf.toml:3: `kind` can't be \"mysql\" (write \"cassandra\", or \"embedded\")",
    ),
    (
        r#"kind = "cassandra""#,
        "",
        "cf.toml:2: `kind` is missing in [old] (write kind = \"cassandra\" or \"embedded\")",
    ),
    (
        r#"nodes = ["127.0.0.1"]"#,
        "nodes = []",
        "cf.toml:4: `nodes` is empty (write nodes = [\"host:9042\"])",
    ),
    (
        r#"nodes = ["127.0.0.1"]"#,
        r#"nodes = "127.0.0.1""#,
        "cf.toml:4: `nodes` has the wrong type (expected an array of strings, found a string)",
    ),
    (
        r#"nodes = ["127.0.0.1"]"#,
        r#"nodes = ["::1"]"#,
        "cf.toml:4: `::1` isn't the address of a node (write host, host:9042 or [::1]:9042)",
    ),
    (
        r#"nodes = ["127.0.0.1"]"#,
        r#"nodes = ["${HOST}:65536"]"#,
        "cf.toml:4: `${HOST}:65536` isn't the address of a node (write host, host:9042 or [::1]:9042)",
    ),
    (
        r#"nodes = ["127.0.0.1"]"#,
        r#"nodes = ["app:s3cret@host"]"#,
        "cf.toml:4: a node has no credentials in it (write host:port; username and password are keys of [old])",
    ),
    (
        r#"keyspace = "bgt""#,
        r#"keyspace = "\"bgt\"""#,
        "cf.toml:5: `\"bgt\"` can't be the name of a keyspace in Cassandra (write it as stored, of A-Z a-z 0-9 _, without quotes or a keyspace before it)",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\nconsistency = \"local_quorom\"",
        "cf.toml:6: `consistency` can't be \"local_quorom\" (did you mean \"local_quorum\"?)",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\nconsistency = \"SERIAL\"",
        "cf.toml:6: `consistency` can't be \"serial\": it reads one partition at a time, never a range (write \"local_quorum\", or \"all\" where the application wrote below quorum)",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\nwrite_consistency = \"any\"",
        "cf.toml:6: `write_consistency` can't be \"any\": a write that no replica has can't be read back (write the level that the application writes at)",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\nusername = \"app\"",
        "cf.toml:6: `username` is set but `password` is not (write password = \"${CASSANDRA_PASSWORD}\")",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\ntls = { cert = \"c.pem\" }",
        "cf.toml:6: `cert` is set but `key` is not (write key = \"…\", the certificate's private key)",
    ),
    (
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\n[old.tls]\nca_file = \"c.pem\"",
        "cf.toml:7: unknown key `ca_file` in [old.tls] (known here: ca, cert, key)",
    ),
    (
        r#"region = "us-east-1""#,
        "region = \"us-east-1\"\nendpoint = \"127.0.0.1:8000\"",
        "cf.toml:9: `endpoint` isn't the address of a server (write http://host:port or https://host)",
    ),
    (
        r#"region = "us-east-1""#,
        "region = \"us-east-1\"\nendpoint = \"http://a:s3cret@127.0.0.1:8000\"",
        "cf.toml:9: `endpoint` has credentials in it (leave them out: they come from the usual AWS chain)",
    ),
    (
        r#"region = "us-east-1""#,
        r#"endpoint = "https://dynamodb.eu-west-1.amazonaws.com""#,
        "cf.toml:6: `region` is missing in [new] (write region = \"us-east-1\", or endpoint = \"http://127.0.0.1:8000\" for a server of your own)",
    ),
    (
        r#"region = "us-east-1""#,
        "region = \"us-east-1\"\ncontrol_table = \"c\"",
        "cf.toml:9: `c` can't be the name of a table in DynamoDB (write 3 to 255 of A-Z a-z 0-9 _ . -)",
    ),
    (
        r#"region = "us-east-1""#,
        "region = \"us-east-1\"\ncontrol_table = \"users\"",
        "cf.toml:11: `users` is the control table (write another to, or another control_table in [new])",
    ),
    (
        "[[table]]",
        "[table]",
        "cf.toml:9: `table` must be an array of tables, found a table (write [[table]] above each)",
    ),
    (
        "[[table]]\nname = \"users\"\n",
        "",
        "cf.toml:1: the plan names no table (write [[table]] with name = \"…\", or name = \"*\" for all of the keyspace)",
    ),
    (
        "[[table]]",
        "[[tables]]",
        "cf.toml:1: the plan names no table (write [[table]] with name = \"…\", or name = \"*\" for all of the keyspace)\n\
         cf.toml:9: unknown key `tables` (did you mean `table`?)",
    ),
    (
        r#"name = "users""#,
        r#"name = "bgt.users""#,
        "cf.toml:10: `bgt.users` can't be the name of a table in Cassandra (write it as stored, of A-Z a-z 0-9 _, without quotes or a keyspace before it)",
    ),
    (
        r#"name = "users""#,
        "name = \"us\"",
        "cf.toml:10: `us` can't be the name of a table in DynamoDB (write to = \"…\", 3 to 255 of A-Z a-z 0-9 _ . -)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nto = \"b:users\"",
        "cf.toml:11: `b:users` can't be the name of a table in DynamoDB (write 3 to 255 of A-Z a-z 0-9 _ . -)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[[table]]\nname = \"users\"\nto = \"other\"",
        "cf.toml:12: table `users` is listed twice, first on line 10 (leave one of them out)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[[table]]\nname = \"people\"\nto = \"users\"",
        "cf.toml:13: two tables move to `users`, first in line 10 (give each a target of its own with to = \"…\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nignore = [\"index\", \"triggers\"]",
        "cf.toml:11: `ignore` can't be \"index\" (write \"indexes\", or \"views\", or \"triggers\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nreserved_prefix = \"${EMPTY}\"",
        "cf.toml:11: `reserved_prefix` is empty (give it a value)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nexpiry = { attribute = \"ends\", from = \"sum\" }",
        "cf.toml:11: `from` can't be \"sum\" (write \"max\", or \"min\", or \"reject\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nkey_only = \"drop\"",
        "cf.toml:11: `key_only` can't be \"drop\" (write \"reject\", or \"cells\", or \"default_ttl\", or \"keep\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nkey_only = \"default_ttl\"",
        "cf.toml:11: `key_only` lets rows end, but the table has no `expiry` (add expiry = { attribute = \"expires_at\", \
         from = \"max\" }, or write key_only = \"keep\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nexpiry = { attribute = \"ends\" }",
        "cf.toml:11: `from` is missing in [table.expiry] (write from = \"max\", \"min\" or \"reject\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[table.columns]\nemail = { mask = \"hmac\" }",
        "cf.toml:12: column `email` has mask = \"hmac\", but the plan has no key for it (write [mask] with key = \"${MASK_KEY}\", or mask = \"redact\")",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[table.columns]\nemail = { drop = true, mask = \"redact\" }",
        "cf.toml:12: column `email` is dropped, and renamed, masked or changed too (keep drop = true alone, or leave it out)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[table.columns]\nage = { form = \"txt\" }",
        "cf.toml:12: `form` can't be \"txt\" (did you mean \"text\"?)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[table.columns]\nage = { convert = \"text\", form = \"text\" }",
        "cf.toml:12: column `age` has both `convert` and `form` (keep one of them)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\n[table.columns]\nemail = {}\nphone = \"redact\"",
        "cf.toml:12: column `email` has nothing to do (write rename, drop, mask, constant, convert or form; columns that stay as they are aren't named)\n\
         cf.toml:13: `phone` has the wrong type (expected a table, found a string)",
    ),
    (
        r#"name = "users""#,
        "name = \"users\"\nkeys = { sort = \"a\" }\n[table.columns]\nx = { rename = \"a\" }",
        "cf.toml:13: two attributes of one table are named `a`, here and in line 11 (give each a name of its own)",
    ),
];

#[test]
fn each_mistake_has_its_message() {
    for (line, by, expected) in BROKEN {
        let text = with(line, by);
        assert_eq!(errors(&text), *expected, "{text}");
    }
}

#[test]
fn what_isnt_toml_is_said_with_its_line() {
    let errors = errors(&with(r#"keyspace = "bgt""#, "keyspace = \"bgt\nusers"));
    assert!(
        errors.starts_with("cf.toml:5: this isn't valid TOML: "),
        "{errors}"
    );
    assert!(!errors.contains("is missing"), "{errors}");
}

#[test]
fn an_empty_plan_is_told_what_it_needs() {
    let expected = "\
cf.toml:1: `name` is missing (write name = \"…\")
cf.toml:1: `old` is missing (write [old] with kind = \"cassandra\" or \"embedded\")
cf.toml:1: `new` is missing (write [new] with kind = \"dynamodb\" or \"embedded\")
cf.toml:1: the plan names no table (write [[table]] with name = \"…\", or name = \"*\" for all of the keyspace)";
    assert_eq!(errors(""), expected);
}

#[test]
fn embedded_stores_and_the_journal_share_no_folder() {
    let text = "name = \"d\"
[old]
kind = \"embedded\"
path = \"demo/a\"
[new]
kind = \"embedded\"
path = \"./demo/x/../a/\"
[journal]
dir = \"demo/a\"
[[table]]
name = \"users\"
";
    let hint = "(give each store, and the journal, a folder of its own)";
    let expected = format!(
        "cf.toml:7: this folder is already that of line 4 {hint}\n\
         cf.toml:9: this folder is already that of line 4 {hint}"
    );
    assert_eq!(errors(text), expected);
    let apart = text
        .replace("x/../a/", "b")
        .replace("dir = \"demo/a\"", "dir = \"demo/j\"");
    parsed(&apart);
    let of_another_kind = apart.replace("path = \"demo/a\"", "path = \"demo/a\"\nnodes = []");
    assert_eq!(
        errors(&of_another_kind),
        "cf.toml:5: unknown key `nodes` in [old] (known here: kind, path)"
    );
}

#[test]
fn another_endpoint_in_the_environment_is_refused_where_the_plan_means_aws() {
    let parse = |text: &str, ignored: Option<&str>| {
        let env = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:8000".to_owned()),
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" => ignored.map(str::to_owned),
            _ => None,
        };
        Plan::parse(text, Path::new("cf.toml"), &env)
    };
    assert_eq!(
        parse(SMALL, None).unwrap_err().to_string(),
        "cf.toml:6: the plan means AWS, but the environment variable AWS_ENDPOINT_URL names another endpoint (write endpoint = \"${AWS_ENDPOINT_URL}\" in [new], or unset it)"
    );
    parse(SMALL, Some("true")).unwrap();
    let followed = with("[new]", "[new]\nendpoint = \"${AWS_ENDPOINT_URL}\"");
    let plan = parse(&followed, None).unwrap();
    assert_eq!(
        dynamodb(&plan).endpoint.as_deref(),
        Some("http://127.0.0.1:8000")
    );
}

#[test]
fn exactly_once_has_no_longer_deadline_than_a_token_lasts() {
    let of = |seconds: u32| {
        format!(
            "{SMALL}exactly_once = true\n[lease]\noperation_seconds = 3600\n[shim]\ndeadline_seconds = {seconds}\n"
        )
    };
    parsed(&of(480));
    parsed(&of(481).replace("exactly_once = true", "exactly_once = false"));
    let errors = errors(&of(481));
    assert!(
        errors.contains("`exactly_once` with a `deadline_seconds` of 481"),
        "{errors}"
    );
    assert!(
        errors.contains("write 480 at most in [shim] deadline_seconds"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn at_least_one_range_is_read() {
    let of = |ranges: &str| {
        with(
            r#"keyspace = "bgt""#,
            &format!("keyspace = \"bgt\"\nreaders = {ranges}"),
        )
    };
    let plan = parsed(&of("4"));
    let crate::plan::OldStorePlan::Cassandra(old) = &plan.old else {
        panic!("{:?}", plan.old)
    };
    assert_eq!(old.readers, Some(4));
    for ranges in ["0", "65"] {
        let errors = errors(&of(ranges));
        assert!(errors.contains("write 1 to 64 ranges"), "{errors}");
    }
}

#[test]
fn a_page_has_at_least_a_row() {
    let of = |rows: &str| {
        with(
            r#"keyspace = "bgt""#,
            &format!("keyspace = \"bgt\"\npage_rows = {rows}"),
        )
    };
    let plan = parsed(&of("50"));
    let crate::plan::OldStorePlan::Cassandra(old) = &plan.old else {
        panic!("{:?}", plan.old)
    };
    assert_eq!(old.page_rows, Some(50));
    for rows in ["0", "5001"] {
        let errors = errors(&of(rows));
        assert!(errors.contains("write 1 to 5000 rows"), "{errors}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.display().to_string()
    };
    let empty = file("empty", b"\n");
    let binary = file("binary", b"s3cret\xff");
    let missing = folder.path().join("missing").display().to_string();
    for (password, said) in [
        ("\"s3cret${\"", "a `${` isn't closed"),
        (
            "\"${s3cret!}\"",
            "isn't the name of an environment variable",
        ),
        (
            "\"${A:-s3cret}\"",
            "isn't the name of an environment variable",
        ),
        (
            "\"${NOT_SET}s3cret\"",
            "the environment variable NOT_SET isn't set",
        ),
        ("[\"s3cret\"]", "expected a string, found an array"),
        ("\"${EMPTY}\"", "`password` is empty"),
        ("s3cret", "this isn't valid TOML"),
        ("\"s3cret", "this isn't valid TOML"),
        (&format!("'file:{empty}'"), "`password` is empty"),
        (&format!("'file:{binary}'"), "binary can't be read: "),
        (&format!("'file:{missing}'"), "missing can't be read: "),
    ] {
        let text = with(
            r#"keyspace = "bgt""#,
            &format!("keyspace = \"bgt\"\nusername = \"app\"\npassword = {password}"),
        );
        let errors = errors(&text);
        assert!(errors.starts_with("cf.toml:7: "), "{errors}");
        assert!(errors.contains(said), "{errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn what_a_variable_holds_is_never_in_an_error() {
    let text = with(r#"keyspace = "bgt""#, r#"keyspace = "${PASSWORD}""#);
    let errors = errors(&text);
    assert!(
        errors.contains("`${PASSWORD}` can't be the name of a keyspace"),
        "{errors}"
    );
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn a_plan_that_isnt_there_is_one_error_without_a_line() {
    let errors = Plan::load(Path::new("no/such/plan.toml")).unwrap_err();
    let text = errors.to_string();
    assert!(
        text.starts_with("no/such/plan.toml: the plan can't be read: "),
        "{text}"
    );
    assert_eq!(errors.0.len(), 1);
}
