//! `migrate report`: what the page says of a real migration, and of one of which little is left.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Bench, says};
use crate::forwarding::{Fault, Forwarding};

/// A key that would be markup where it isn't text.
const HOSTILE: &str = "</td><script src=\"https://evil.example/x.js\">\u{202e}\u{7}";
const ESCAPED: &str =
    "&lt;/td&gt;&lt;script src=&quot;https://evil.example/x.js&quot;&gt;\\u{202e}\\u{7}";

/// A table in `copy` with a dead letter and differences, one of counters, and one that isn't begun.
pub(crate) async fn moved(name: &str) -> Bench {
    let bench = Bench::new(name).await;
    bench
        .cql("CREATE TABLE t (p text PRIMARY KEY, v text)")
        .await;
    bench
        .cql("CREATE TABLE n (p int PRIMARY KEY, c counter)")
        .await;
    bench.cql("CREATE TABLE later (p int PRIMARY KEY)").await;
    let rows = (0..200).map(|p| (format!("{p}"), "x".repeat(900)));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let hostile = [(HOSTILE.to_owned(), HOSTILE.to_owned())];
    bench
        .fill("INSERT INTO t (p, v) VALUES (?, ?)", hostile)
        .await;
    // Without an `expiry` this one is a dead letter.
    let ending = "INSERT INTO t (p, v) VALUES ('ending', 'x') USING TTL 86400";
    bench.cql(ending).await;
    bench.cql("UPDATE n SET c = c + 5 WHERE p = 1").await;
    let tables = ["t", "n", "later"]
        .map(|name| format!("[[table]]\nname = \"{name}\"\nto = \"@-{name}\"\n"));
    bench.plan(&format!(
        "[lease]\nseconds = 2\nlanding_seconds = 1\n{}",
        tables.concat()
    ));
    bench.init();
    for table in ["t", "n"] {
        let advance = ["advance", "--table", table, "--to", "copy", "--expect", "0"];
        bench.migrate(&advance).run().expect_code(0);
    }
    bench
        .migrate(&["copy", "--table", "t"])
        .run()
        .expect_code(1);
    let last_pass = ["copy", "--table", "n", "--final"];
    bench.migrate(&last_pass).run().expect_code(0);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let wrong = [
        ("p", text(HOSTILE)),
        ("v", text("other")),
        ("_m", text("c")),
    ];
    bench.put("t", &wrong).await;
    let extra = [("p", text("extra")), ("_m", text("c"))];
    bench.put("t", &extra).await;
    bench
        .migrate(&["verify", "--table", "t"])
        .run()
        .expect_code(1);
    bench
        .migrate(&["verify", "--table", "n"])
        .run()
        .expect_code(0);
    bench
}

impl Bench {
    /// The page of a report.
    pub(crate) fn report(&self, more: &[&str], code: i32) -> String {
        let words = [&["report", "--html", "report.html"], more].concat();
        let outcome = self.migrate(&words).run().expect_code(code);
        says(&outcome, &["written: report.html"]);
        std::fs::read_to_string(self.folder.path().join("report.html")).expect("a page")
    }
}

#[track_caller]
fn contains(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "no `{word}` in {page}");
    }
}

/// The cells of the table's row that begins with this cell.
#[track_caller]
fn row<'a>(page: &'a str, first: &str) -> Vec<&'a str> {
    let begins = format!("<tr><td><bdi>{first}</bdi></td>");
    let (_, rest) = page
        .split_once(&begins)
        .unwrap_or_else(|| panic!("no row `{first}` in {page}"));
    let (row, _) = rest.split_once("</tr>").expect("an end");
    row.split("<bdi>")
        .skip(1)
        .map(|cell| cell.split("</bdi>").next().expect("a cell"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_each_table() {
    let bench = moved("report").await;
    let page = bench.report(&["--table", "t"], 0);
    assert!(!page.contains("<script"), "{page}");
    for phase in ["bridge", "switch", "copy"] {
        assert!(row(&page, phase)[0].ends_with('Z'), "{phase}");
    }
    // What was promised, and what a verification found.
    let missing = row(&page, "every row of the old table is in the new one");
    assert_eq!(
        (missing[0], missing[1].starts_with("1 missing")),
        ("no", true),
        "{missing:?}"
    );
    let same = row(&page, "what both have is the same");
    assert_eq!(
        (same[0], same[1].starts_with("1 different")),
        ("no", true),
        "{same:?}"
    );
    let late = row(
        &page,
        "nothing that was written to the old table after the freeze is lost",
    );
    assert_eq!(late[0], "yes");
    assert_eq!(row(&page, "left out: dead letters"), ["1"]);
    assert_eq!(row(&page, "written"), ["201"]);
    assert_eq!(row(&page, "compared: rows of the old table"), ["202"]);
    contains(&page, &[ESCAPED, "<bdi>extra</bdi>", "expiry"]);
    let different = row(&page, "different");
    assert!(
        different[0].contains(ESCAPED) && different[2].contains("other"),
        "{different:?}"
    );
    // Its seconds, and what they cost: 201 items of a unit each.
    contains(
        &page,
        &[
            "<h4>copy, ",
            "<h4>verify, ",
            "Rows read of the old store: at most",
            "Write units of the new store: at most",
            "slowest read of a second",
            "99 of 100 took at most (p99)",
        ],
    );
    assert_eq!(
        row(
            &page,
            "copy of this freeze, by the write units that the service has told"
        )[0],
        "201"
    );
    for calls in ["reads of the old store", "writes to the new store"] {
        let told = row(&page, calls);
        assert_ne!(told[0], "0", "{calls}: {told:?}");
        assert!(
            told[1].ends_with(" ms") && told[2].ends_with(" ms"),
            "{calls}: {told:?}"
        );
    }
    assert!(!page.contains("<h2>n "), "only one table");

    let both = bench.report(&["--table", "n", "--table", "later"], 0);
    assert_eq!(
        row(
            &both,
            "every counter holds the old total, and what was added since"
        )[0],
        "yes"
    );
    contains(
        &both,
        &["It is in `old`.", "There is no history of this table"],
    );
    let unknown = ["report", "--html", "x.html", "--table", "nowhere"];
    says(
        &bench.migrate(&unknown).run().expect_code(2),
        &["no table `nowhere`"],
    );
    let nowhere = ["report", "--html", "no/folder/x.html"];
    says(
        &bench.migrate(&nowhere).run().expect_code(2),
        &["no/folder/x.html", "--html"],
    );
    bench.done().await;
}

/// A moment in which the new store asked for less is drawn, and told with its second.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_of_throttling() {
    let mut bench = Bench::new("spike").await;
    bench.cql("CREATE TABLE t (p int PRIMARY KEY, v int)").await;
    let rows = (0..500).map(|p| (p, p));
    bench.fill("INSERT INTO t (p, v) VALUES (?, ?)", rows).await;
    let mut is_over = false;
    let forwarding = Forwarding::start(&bench.url, move |request| {
        let statements = request.body["Statements"].as_array();
        let rows = statements.is_some_and(|statements| statements.len() > 5);
        match rows && !std::mem::replace(&mut is_over, true) {
            true => Fault::StatementsThrottled((0..5).collect()),
            false => Fault::None,
        }
    });
    bench.url = forwarding.url.clone();
    bench.plan("[[table]]\nname = \"t\"\nto = \"@-t\"\n").init();
    bench.migrate(&["copy", "--offline"]).run().expect_code(0);
    let page = bench.report(&[], 0);
    contains(
        &page,
        &[
            "by the new one 5 times (0 of them for hot partitions)",
            "Throttled by the new store: at most 5 in a second",
            "the worst seconds",
        ],
    );
    let (_, worst) = page.split_once("the worst seconds").expect("a table");
    let (_, worst) = worst.split_once("<tbody>").expect("its rows");
    let (worst, _) = worst.split_once("</tbody>").expect("its end");
    assert_eq!(worst.matches("<tr>").count(), 1, "{worst}");
    assert!(worst.contains("<bdi>5</bdi>"), "{worst}");
    assert!(row(&page, "offline")[0].ends_with('Z'));
    bench.done().await;
}

/// What is gone is said to be, and the rest is there.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_old_store_the_journal_and_the_new_store() {
    let bench = moved("remains").await;
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        bench.report(&[], 0);
        let page = bench.folder.path().join("report.html");
        std::fs::metadata(page)
            .expect("a page")
            .permissions()
            .mode()
    };
    assert_eq!(mode & 0o777, 0o600, "it holds rows");
    let alive = bench.stores();
    let plan = std::fs::read_to_string(bench.folder.path().join("plan.toml")).expect("a plan");
    let tables = plan.strip_prefix(&alive).expect("the tables");
    bench.cql("DROP KEYSPACE @").await;
    let gone = alive.replace(
        &format!("nodes = [\"{}\"]", bench.node),
        "nodes = [\"127.0.0.1:1\"]",
    );
    bench.write("plan.toml", &format!("{gone}{tables}"));
    let page = bench.report(&["--table", "t"], 0);
    contains(&page, &[ESCAPED, "<h4>copy, "]);

    std::fs::rename(bench.journal(), bench.folder.path().join("elsewhere")).expect("moved");
    let page = bench.report(&["--table", "t"], 0);
    contains(
        &page,
        &[
            "There is no history of this table",
            "No verification has run from this machine",
            // Without the examples only how many there are is known.
            "differences of some kind",
        ],
    );
    assert_eq!(row(&page, "what both have is the same")[0], "not known");
    std::fs::rename(bench.folder.path().join("elsewhere"), bench.journal()).expect("back");

    let dead = gone.replace(&bench.url, "http://127.0.0.1:1");
    bench.write("plan.toml", &format!("{dead}{tables}"));
    let page = bench.report(&["--table", "t"], 2);
    contains(
        &page,
        &[
            "The control table could not be asked",
            "<h4>copy, ",
            "<h4>verify, ",
        ],
    );
}
