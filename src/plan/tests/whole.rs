//! Plans that hold.

use super::*;
use crate::plan::FinalRead;
use crate::transform::{ExpiryFrom, ExpiryRule, KeyOnly, Mask};

#[test]
fn what_is_left_out_has_its_default() {
    let plan = parsed(SMALL);
    assert_eq!(plan.name, "bgt");
    assert_eq!(plan.control_table, "migrate-control");
    assert_eq!(plan.journal_dir, PathBuf::from("journal/bgt"));
    assert_eq!(plan.file, PathBuf::from("cf.toml"));
    assert!(plan.mask_key.is_none());

    let old = cassandra(&plan);
    assert_eq!(old.nodes, ["127.0.0.1:9042"]);
    assert_eq!(old.consistency, Consistency::LocalQuorum);
    assert!(old.login.is_none() && old.tls.is_none() && old.datacenter.is_none());
    let new = dynamodb(&plan);
    assert!(new.endpoint.is_none() && new.partiql.is_none() && new.ca.is_none());

    let [table] = plan.tables.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!((table.name.as_str(), table.to.as_str()), ("users", "users"));
    assert_eq!(table.line, 9);
    assert_eq!(table.layout(), crate::schema::Layout::default());
}

#[test]
fn every_key_arrives() {
    let text = std::fs::read_to_string(plans().join("cassandra-to-dynamodb.toml")).unwrap();
    let plan = parsed(&text);
    let old = cassandra(&plan);
    assert_eq!(
        old.nodes,
        ["10.0.0.11:9042", "10.0.0.12:9042", "[2001:db8::13]:9042"]
    );
    assert_eq!(old.keyspace, "bgt");
    assert_eq!(old.datacenter.as_deref(), Some("dc1"));
    let login = old.login.as_ref().unwrap();
    assert_eq!(login.username, "migrate");
    // What a variable holds isn't looked at again.
    assert_eq!(login.password.expose(), "hunter2 ${HOST}");
    let tls = old.tls.as_ref().unwrap();
    assert_eq!(tls.ca, Some("certs/ca.pem".into()));
    let client = tls.client.as_ref().unwrap();
    assert_eq!(client.cert, PathBuf::from("certs/client.pem"));
    assert_eq!(client.key, PathBuf::from("certs/client.key"));
    assert_eq!(dynamodb(&plan).region, "us-east-1");
    assert_eq!(plan.journal_dir, PathBuf::from("journal/bgt"));
    assert_eq!(plan.mask_key.as_ref().unwrap().expose(), "hunter2 ${HOST}");

    let [votes, users, messages] = plan.tables.as_slice() else {
        panic!("{plan:?}")
    };
    assert!(!votes.decrements);
    assert_eq!(votes.final_read, FinalRead::All);
    assert_eq!(votes.fence.as_deref(), Some("app"));
    let other = text
        .replace("decrements = false", "decrements = true")
        .replace("final_read = \"all\"", "final_read = \"quorum\"");
    let votes = &parsed(&other).tables[0];
    assert!(votes.decrements);
    assert_eq!(votes.final_read, FinalRead::Quorum);
    assert_eq!(users.to, "bgt-users");
    assert!(
        ["indexes", "views", "triggers"]
            .iter()
            .all(|w| users.ignores(w))
    );
    assert!(!messages.ignores("indexes"));
    assert_eq!(
        users.expiry,
        Some(ExpiryRule {
            attribute: "expires_at".into(),
            from: ExpiryFrom::Max
        })
    );
    assert_eq!(users.key_only, Some(KeyOnly::Reject));
    assert_eq!(messages.key_only, None);
    let mail = &users.columns["mail"];
    assert_eq!(mail.rename.as_deref(), Some("contact"));
    assert_eq!(mail.mask, Some(Mask::Hmac));
    assert_eq!(users.columns["phone"].mask, Some(Mask::Redact));
    assert!(users.columns["password_hash"].drop);
    assert_eq!(
        users.columns["balance"].form,
        Some(crate::schema::Form::Text)
    );
    assert_eq!(users.columns.len(), 5);
    let layout = messages.layout();
    assert_eq!(layout.partition_attribute.as_deref(), Some("room_day"));
    assert_eq!(layout.sort_attribute.as_deref(), Some("sent"));
    assert_eq!(
        users.layout().expiry_attribute.as_deref(),
        Some("expires_at")
    );
}

#[test]
fn ceilings() {
    assert_eq!(parsed(SMALL).pace, PacePlan::default());
    let plan = parsed(&format!("{SMALL}[pace]\nwrite_units = 5_000\n"));
    let pace = PacePlan {
        write_units: Some(5_000),
        read_rows: None,
        old_p99: None,
    };
    assert_eq!(plan.pace, pace);
    let plan = parsed(&format!("{SMALL}[pace]\nold_p99_ms = 50\n"));
    assert_eq!(plan.pace.old_p99, Some(Duration::from_millis(50)));
}

#[test]
fn how_old_a_verification_may_be() {
    assert_eq!(parsed(SMALL).verify, VerifyPlan::default());
    for (fresh, seconds) in [
        ("45s", 45),
        ("90m", 5_400),
        ("12h", 43_200),
        ("2d", 172_800),
    ] {
        let plan = parsed(&format!("{SMALL}[verify]\nfresh = \"{fresh}\"\n"));
        assert_eq!(plan.verify.fresh, Duration::from_secs(seconds));
    }
}

#[test]
fn what_a_plan_says_of_applications() {
    let plan = parsed(SMALL);
    assert_eq!(
        (plan.lease, plan.shim),
        (Lease::default(), ShimPlan::default())
    );
    assert!(!plan.tables[0].exactly_once);

    let live = "[lease]\nseconds = 30\noperation_seconds = 8\n[shim]\nreads = \"eventual\"\n\
                resave = \"inline\"\ndeadline_seconds = 7\n";
    let plan = parsed(&format!("{SMALL}exactly_once = true\n{live}"));
    let seconds = Duration::from_secs;
    assert_eq!(plan.lease.lasts, seconds(30));
    assert_eq!(plan.lease.operation, seconds(8));
    for (endpoint, landing) in [
        ("", 300),
        ("endpoint = \"https://dynamodb.example.org\"\n", 300),
        ("endpoint = \"http://10.0.0.7:8000\"\n", 300),
        ("endpoint = \"http://127.0.0.1:8000\"\n", 10),
        ("endpoint = \"http://localhost:8000/\"\n", 10),
        ("endpoint = \"http://[::1]:8000\"\n", 10),
    ] {
        let plan = parsed(&SMALL.replace("[new]\n", &format!("[new]\n{endpoint}")));
        assert_eq!(plan.lease.landing, seconds(landing), "{endpoint}");
        let said = format!("{SMALL}[lease]\nlanding_seconds = 0\n");
        assert_eq!(parsed(&said).lease.landing, seconds(0));
    }
    let shim = ShimPlan {
        reads: Reading::Eventual,
        resave: ResaveMode::Inline,
        deadline: seconds(7),
    };
    assert_eq!(plan.shim, shim);
    assert!(plan.tables[0].exactly_once);

    // A deadline that is left out follows a shorter operation, and not a longer one.
    for (operation, deadline) in [(2, 2), (60, 5)] {
        let plan = parsed(&format!(
            "{SMALL}[lease]\noperation_seconds = {operation}\n"
        ));
        assert_eq!(plan.shim.deadline, seconds(deadline));
    }
}

#[test]
fn the_plans_that_come_along_hold() {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(plans()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(errors) = Plan::parse(&text, &path, &env) {
            panic!("{errors}");
        }
        seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    for name in ["cassandra-to-dynamodb.toml", "demo.toml", "local.toml"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
}

#[test]
fn tables_keep_their_order_and_lines() {
    let plan = parsed(&format!(
        "{SMALL}\n[[table]]\nname = \"b\"\nto = \"bgt-b\"\n# x\n[[table]]\nto = \"bgt-a\"\nname = \"a\"\n"
    ));
    let tables: Vec<_> = plan
        .tables
        .iter()
        .map(|t| (t.name.as_str(), t.line))
        .collect();
    assert_eq!(tables, [("users", 9), ("b", 12), ("a", 16)]);
}

#[test]
fn environment_variables_stand_anywhere_in_a_string() {
    let text = with(
        r#"nodes = ["127.0.0.1"]"#,
        r#"nodes = ["${HOST}:${PORT}", "a-${HOST}", "[::1]", "[::1]:1"]
consistency = "LOCAL_ONE"
username = "a$$b$c"
password = "p$${HOST}$${x""#,
    );
    let plan = parsed(&text);
    let old = cassandra(&plan);
    assert_eq!(
        old.nodes,
        [
            "db.example:9999",
            "a-db.example:9042",
            "[::1]:9042",
            "[::1]:1"
        ]
    );
    assert_eq!(old.consistency, Consistency::LocalOne);
    let login = old.login.as_ref().unwrap();
    assert_eq!(login.username, "a$$b$c");
    assert_eq!(login.password.expose(), "p${HOST}${x");
}

#[test]
fn every_consistency_of_a_range_read_can_be_written() {
    let with_keys = |keys: String| {
        let text = with(
            r#"keyspace = "bgt""#,
            &format!("keyspace = \"bgt\"\n{keys}"),
        );
        let old = cassandra(&parsed(&text)).clone();
        (old.consistency, old.write_consistency)
    };
    for (name, level) in Consistency::NAMES {
        let both = with_keys(format!("consistency = \"{name}\""));
        assert_eq!(both, (*level, *level), "writes follow reads");
        let writes = with_keys(format!("write_consistency = \"{name}\""));
        assert_eq!(writes, (Consistency::LocalQuorum, *level));
    }
}

#[test]
fn a_server_of_ones_own_needs_no_region() {
    let text = with(
        r#"region = "us-east-1""#,
        r#"endpoint = "http://dynamo.internal:8000"
partiql = false
control_table = "bgt-control"
tls = { ca = "ca.pem" }"#,
    );
    let plan = parsed(&text);
    let new = dynamodb(&plan);
    assert_eq!(new.region, DEFAULT_LOCAL_REGION);
    assert_eq!(new.endpoint.as_deref(), Some("http://dynamo.internal:8000"));
    assert_eq!(new.partiql, Some(false));
    assert_eq!(new.ca, Some("ca.pem".into()));
    assert_eq!(plan.control_table, "bgt-control");
}

#[test]
fn a_secret_in_a_file_loses_only_the_newline_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    for (contents, password) in [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s3 cret \n\n", " s3 cret \n"),
        ("${HOST}", "${HOST}"),
    ] {
        std::fs::write(&file, contents).unwrap();
        let text = with(
            r#"keyspace = "bgt""#,
            &format!(
                "keyspace = \"bgt\"\nusername = \"app\"\npassword = 'file:{}'",
                file.display()
            ),
        );
        let plan = parsed(&text);
        let login = cassandra(&plan).login.as_ref().unwrap();
        assert_eq!(login.password.expose(), password);
    }
}

#[test]
fn secrets_dont_show() {
    let text = format!("{SMALL}[mask]\nkey = \"quite-secret\"\n",).replace(
        r#"keyspace = "bgt""#,
        "keyspace = \"bgt\"\nusername = \"app\"\npassword = \"${PASSWORD}\"",
    );
    let plan = parsed(&text);
    let debug = format!("{plan:?} {plan:#?}");
    assert!(debug.contains("redacted"), "{debug}");
    assert!(
        !debug.contains("hunter2") && !debug.contains("quite-secret"),
        "{debug}"
    );
    let secret = plan.mask_key.unwrap();
    assert_eq!(format!("{secret} {secret:?}"), "redacted Secret(redacted)");
}

fn plans() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans")
}

#[test]
fn how_the_sidecar_listens() {
    let plan = parsed(SMALL);
    assert_eq!(plan.serve.listen, crate::plan::DEFAULT_LISTEN);
    assert!(plan.serve.key.is_none() && !plan.serve.refuses_unknown);
    let text = "[serve]\nlisten = \"0.0.0.0:9000\"\naccess_key = \"AKID\"\nsecret_key = \"${PASSWORD}\"\nunknown = \"refuse\"\n";
    let plan = parsed(&format!("{SMALL}attributes = \"columns\"\n{text}"));
    assert_eq!(plan.serve.listen.to_string(), "0.0.0.0:9000");
    assert!(plan.serve.refuses_unknown);
    let (id, secret) = plan.serve.key.clone().unwrap();
    assert_eq!((id.as_str(), secret.expose()), ("AKID", "hunter2 ${HOST}"));
    assert!(!format!("{plan:?}").contains("hunter2"));

    for (serve, said) in [
        (
            "listen = \"localhost:8000\"",
            "`localhost:8000` isn't an address to listen on (write an IP address and a port, such as 127.0.0.1:8000)",
        ),
        (
            "listen = \"0.0.0.0:8000\"",
            "anything that reaches 0.0.0.0:8000 would have the sidecar's rights (write access_key",
        ),
        (
            "access_key = \"AKID\"",
            "there is `access_key` without `secret_key` (write both",
        ),
        ("unknown = \"drop\"", "`unknown` can't be \"drop\""),
    ] {
        let errors = errors(&format!("{SMALL}[serve]\n{serve}\n"));
        assert!(errors.contains(said), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let errors = errors(&format!("{SMALL}attributes = \"any\"\n"));
    assert!(errors.contains("attributes"), "{errors}");
}
