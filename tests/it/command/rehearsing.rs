//! Rehearsals: nothing is written by a dry run; scratch tables are copied, compared and dropped beside a migration that
//! goes on.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Bench, number, says};

/// In rehearsals alone, but for the telephone numbers.
const MASKED: &str = "[mask]\nkey = \"a key of some length\"\n[[table]]\nname = \"votes\"\nto = \"@-votes\"\n\
    [[table]]\nname = \"users\"\nto = \"@-users\"\n[table.columns]\nemail = { rehearsal_mask = \"email\" }\n\
    phone = { mask = \"phone\" }\nname = { constant = \"nobody\" }\nage = { convert = \"text\" }\n";
const ROWS: usize = 400;

async fn filled(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE users (id int PRIMARY KEY, age int, email text, name text, phone text)")
        .await;
    bench
        .cql("CREATE TABLE votes (id int PRIMARY KEY, n counter)")
        .await;
    let rows = (0..ROWS as i32).map(|id| {
        let address = format!("user{id}@itv.test");
        let phone = format!("+44 20 {id:04} 0{:03}", id % 1_000);
        (id, id, address, "Ann", phone)
    });
    bench
        .fill(
            "INSERT INTO users (id, age, email, name, phone) VALUES (?, ?, ?, ?, ?)",
            rows,
        )
        .await;
    for id in 0..5 {
        bench
            .cql(&format!("UPDATE votes SET n = n + {id} WHERE id = {id}"))
            .await;
    }
    bench.plan(MASKED);
    bench
}

async fn tables(bench: &Bench) -> Vec<String> {
    let named = |name: &String| name.starts_with(&bench.keyspace);
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let page = bench
            .dynamo
            .list_tables()
            .set_exclusive_start_table_name(from)
            .send()
            .await
            .expect("tables");
        all.extend(
            page.table_names()
                .iter()
                .filter(|name| named(name))
                .cloned(),
        );
        from = page.last_evaluated_table_name().map(str::to_owned);
        if from.is_none() {
            return all;
        }
    }
}

/// It says what a copy then does, and leaves no table.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing() {
    let bench = filled("dry").await;
    let dry = bench
        .migrate(&["copy", "--dry-run", "--json"])
        .run()
        .expect_code(0)
        .json();
    let users: &Json = dry
        .iter()
        .find(|line| line["table"] == "users")
        .expect("users");
    assert_eq!(number(users, "read"), ROWS as u64);
    assert_eq!(number(users, "would_write"), ROWS as u64);
    assert_eq!(users["share"], 1.0);
    assert_eq!(tables(&bench).await, [""; 0]);
    let part = bench.migrate(&["copy", "--dry-run", "--sample", "10%", "--table", "users"]);
    let part = part.run().expect_code(0).stdout;
    assert!(
        part.contains("10.0 %") && part.contains("nothing was written"),
        "{part}"
    );

    let init = bench.migrate(&["init", "--dry-run"]).run().expect_code(0);
    assert!(init.stdout.contains("-users: would be made"), "{init}");
    assert_eq!(tables(&bench).await, [""; 0]);
    bench.init();
    let init = bench.migrate(&["init", "--dry-run"]).run().expect_code(0);
    assert!(init.stdout.contains("-users: is ready already"), "{init}");
    let copied = bench
        .migrate(&["copy", "--offline", "--json", "--quiet"])
        .run()
        .expect_code(0)
        .json();
    let copied = copied
        .iter()
        .find(|line| line["table"] == "users")
        .expect("users");
    assert_eq!(number(copied, "bytes"), number(users, "bytes"));
    bench.done().await;
}

/// The masked copy holds no address, is clean, and its end leaves the migration as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_beside_a_migration() {
    let bench = filled("rehearsed").await;
    bench.init();
    let to = [
        "advance", "--table", "votes", "--to", "bridge", "--expect", "0",
    ];
    bench.migrate(&to).run().expect_code(0);
    let before = bench.status();
    let dry = || {
        let copy = ["copy", "--to-suffix", "-rehearsal", "--dry-run"];
        let told = bench.migrate(&copy).run().expect_code(0).stdout;
        for words in [
            &bench.named("users: would be copied into @-users-rehearsal"),
            "nothing was written",
        ] {
            assert!(told.contains(words), "no `{words}`: {told}");
        }
    };
    dry();
    let scratch = |name: &String| name.ends_with("-rehearsal");
    assert!(!tables(&bench).await.iter().any(scratch));
    bench
        .migrate(&["copy", "--to-suffix", "-rehearsal"])
        .run()
        .expect_code(0);
    let items = bench.items("users-rehearsal").await;
    assert_eq!(items.len(), ROWS);
    for item in &items {
        let text = format!("{item:?}");
        assert!(
            !text.contains("itv.test") && !text.contains("Ann"),
            "{text}"
        );
        let address = item["email"].as_s().expect("an S");
        assert!(address.ends_with("@example.com"), "{address}");
        let phone = item["phone"].as_s().expect("an S");
        assert!(
            phone.starts_with("+44 ") && phone.len() == "+44 20 0000 0000".len(),
            "{phone}"
        );
        assert_eq!(item["age"].as_s(), Ok(item["id"].as_n().expect("an N")));
        assert_eq!(item["name"].as_s().map(String::as_str), Ok("nobody"));
    }
    let phones: BTreeSet<_> = items
        .iter()
        .map(|item| format!("{:?}", item["phone"]))
        .collect();
    assert_eq!(phones.len(), ROWS, "different ones stay different");
    assert_eq!(bench.items("votes-rehearsal").await.len(), 5);
    let verified = bench
        .migrate(&["verify", "--to-suffix", "-rehearsal"])
        .run();
    verified.expect_code(0);
    dry();
    // What nobody has made for a rehearsal isn't one's.
    let refused = |more: &[&str]| {
        let copy = [
            &["copy", "--table", "users", "--to-suffix", "-control"],
            more,
        ]
        .concat();
        bench
            .migrate_by("strange.toml", &copy)
            .run()
            .expect_code(2)
            .stderr
    };
    let strange = MASKED.replace("to = \"@-users\"", "to = \"@\"");
    bench.write("strange.toml", &format!("{}{strange}", bench.stores()));
    assert_eq!(refused(&[]), refused(&["--dry-run"]));
    // Again is no error: what is there is there.
    bench
        .migrate(&["copy", "--to-suffix", "-rehearsal"])
        .run()
        .expect_code(0);
    let silent = |mut all: Vec<Json>| {
        for one in &mut all {
            one["instances"] = Json::Null;
        }
        all
    };
    assert_eq!(silent(bench.status()), silent(before.clone()));
    assert_eq!(bench.items("users").await.len(), 0);

    let dry = bench
        .migrate(&["rehearse", "drop", "--dry-run"])
        .run()
        .expect_code(0);
    assert!(
        dry.stdout.contains("-users-rehearsal: would be dropped"),
        "{dry}"
    );
    bench.migrate(&["rehearse", "drop"]).run().expect_code(0);
    let left = tables(&bench).await;
    assert!(
        left.iter().all(|name| !name.ends_with("-rehearsal")),
        "{left:?}"
    );
    let control = bench.dynamo.scan().table_name(bench.named("@-control"));
    let control = control
        .send()
        .await
        .expect("items")
        .items
        .unwrap_or_default();
    assert!(
        !control
            .iter()
            .any(|item| format!("{item:?}").contains("rehearsal")),
        "{control:?}"
    );
    assert_eq!(silent(bench.status()), silent(before));
    let again = bench.migrate(&["rehearse", "drop"]).run().expect_code(0);
    assert!(
        again.stdout.contains("-users-rehearsal: isn't there"),
        "{again}"
    );
    bench.done().await;
}

/// What isn't a rehearsal's isn't dropped, whatever it is called.
#[tokio::test(flavor = "multi_thread")]
async fn what_isnt_a_rehearsals_stays() {
    let bench = filled("stays").await;
    bench.write(
        "other.toml",
        &(bench.stores() + "[[table]]\nname = \"users\"\nto = \"@-users-rehearsal\"\n"),
    );
    bench
        .migrate_by("other.toml", &["init"])
        .run()
        .expect_code(0);
    let refused = bench
        .migrate(&["rehearse", "drop", "--table", "users"])
        .run()
        .expect_code(2);
    says(
        &refused,
        &["is the target of a migration, and no scratch table"],
    );
    let copy = bench
        .migrate(&["copy", "--table", "users", "--to-suffix", "-rehearsal"])
        .run();
    says(
        &copy.expect_code(2),
        &["is the target of a migration, and no scratch table"],
    );
    assert!(
        tables(&bench)
            .await
            .contains(&bench.target("users-rehearsal"))
    );
    // A table that some other program has made, empty or not.
    let other = aws_sdk_dynamodb::types::AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(aws_sdk_dynamodb::types::ScalarAttributeType::N)
        .build()
        .expect("an attribute");
    let key = aws_sdk_dynamodb::types::KeySchemaElement::builder()
        .attribute_name("id")
        .key_type(aws_sdk_dynamodb::types::KeyType::Hash)
        .build()
        .expect("a key");
    let create = bench
        .dynamo
        .create_table()
        .table_name(bench.target("users-taken"));
    let create = create.attribute_definitions(other).key_schema(key);
    let create = create.billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest);
    create.send().await.expect("made");
    for arguments in [
        ["copy", "--table", "users", "--to-suffix", "-taken"].as_slice(),
        &[
            "rehearse",
            "drop",
            "--table",
            "users",
            "--to-suffix",
            "-taken",
        ],
    ] {
        let refused = bench.migrate(arguments).run().expect_code(2);
        says(&refused, &["users-taken"]);
    }
    assert!(tables(&bench).await.contains(&bench.target("users-taken")));
    bench.delete("users-taken").await;
    let sample = bench
        .migrate(&["copy", "--sample", "1%"])
        .run()
        .expect_code(2);
    says(&sample, &["--sample is for --dry-run and --to-suffix"]);
    let offline = bench
        .migrate(&["copy", "--offline", "--to-suffix", "-x"])
        .run()
        .expect_code(2);
    says(&offline, &["--offline has no place beside --to-suffix"]);
    bench.done().await;
}

/// A part of the ring is enough for test data.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_table_as_test_data() {
    let bench = filled("part").await;
    let copy = ["copy", "--to-suffix", "-test", "--sample", "25%", "--json"];
    let copied = bench.migrate(&copy).run().expect_code(0).json();
    let users = copied
        .iter()
        .find(|line| line["table"] == "users")
        .expect("users");
    let read = number(users, "read");
    assert!((20..250).contains(&read), "{users}");
    assert_eq!(bench.items("users-test").await.len() as u64, read);
    let verify = bench
        .migrate(&["verify", "--table", "users", "--to-suffix", "-test"])
        .run();
    says(
        &verify.expect_code(2),
        &["of the table were rehearsed", "without --sample"],
    );
    bench
        .migrate(&["rehearse", "drop", "--to-suffix", "-test"])
        .run()
        .expect_code(0);
    bench.done().await;
}

/// The partitions that are named, of every table with such a key, masked as in rehearsals.
#[tokio::test(flavor = "multi_thread")]
async fn slices_are_masked_test_data() {
    let bench = filled("slices").await;
    bench
        .cql("CREATE TABLE by_year (id int, year int, n int, PRIMARY KEY ((id, year)))")
        .await;
    bench.plan(&format!(
        "{MASKED}[[table]]\nname = \"by_year\"\nto = \"@-by_year\"\n"
    ));
    let slice = ["slice", "--to-suffix", "-test", "--where", "id = 3"];
    let dry = bench.migrate(&slice).arg("--dry-run").run().expect_code(0);
    assert!(dry.stdout.contains("1 partitions would be copied"), "{dry}");
    assert_eq!(tables(&bench).await, [""; 0]);
    let made = bench.migrate(&slice).run().expect_code(0);
    says(&made, &["by_year (id, year)"]);
    let keys = bench.write("keys.jsonl", "{\"id\": 4}\n\n{\"id\": 5}\n{\"id\": -1}\n");
    let by_keys = bench.migrate(&["slice", "--to-suffix", "-test"]);
    by_keys.arg("--keys").arg(&keys).run().expect_code(0);
    let mut ids: Vec<String> = Vec::new();
    for item in bench.items("users-test").await {
        assert!(!format!("{item:?}").contains("itv.test"), "{item:?}");
        ids.push(item["id"].as_n().expect("an N").clone());
    }
    ids.sort();
    assert_eq!(ids, ["3", "4", "5"]);
    assert_eq!(bench.items("votes-test").await.len(), 2);
    let none = ["slice", "--to-suffix", "-test", "--where", "email = 'x'"];
    says(
        &bench.migrate(&none).run().expect_code(2),
        &["no table of the plan", "users (id)"],
    );
    bench
        .migrate(&["rehearse", "drop", "--to-suffix", "-test"])
        .run()
        .expect_code(0);
    assert!(
        tables(&bench)
            .await
            .iter()
            .all(|name| name.ends_with("-control"))
    );
    bench.done().await;
}
