//! The page of `migrate report` in a real browser, without a window.
//!
//! `CROSSFADE_KEEP=DIR` keeps the page, its pictures and its print to be looked at. `tests/run` runs this where there is a Chromium (`chromium` on PATH, or `CROSSFADE_CHROMIUM`), and says at its end
//! where there is none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::reporting::moved;
use crate::support::folder;

/// For hanging only.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a paper of A4 has between the page's margins, in CSS pixels.
const PAPER: u32 = 687;

/// Tells of the page as it is laid out: the width it would like, the widest of its parts, and its colours.
const MEASURE: &str = "<script>
const told = {
  window: document.documentElement.clientWidth,
  wide: document.documentElement.scrollWidth,
  parts: [...document.querySelectorAll('table,figure,svg,h1,h2,p')]
    .filter(part => part.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).length,
  drawn: [...document.querySelectorAll('svg path.all')].filter(path => path.getBBox().height > 0).length,
  dark: matchMedia('(prefers-color-scheme: dark)').matches,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
};
document.body.setAttribute('data-told', JSON.stringify(told));
</script>";

struct Browser {
    program: PathBuf,
    profile: tempfile::TempDir,
}

impl Browser {
    fn new() -> Self {
        let program =
            std::env::var_os("CROSSFADE_CHROMIUM").map_or_else(|| "chromium".into(), PathBuf::from);
        Browser {
            program,
            profile: folder(),
        }
    }

    /// What it prints for a page.
    fn run(&self, arguments: &[String], page: &Path) -> String {
        let mut child = Command::new(&self.program)
            // As root, in a container, it has no sandbox; the page is our own.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-extensions",
            ])
            .arg(format!("--user-data-dir={}", self.profile.path().display()))
            .args(arguments)
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a Chromium: CROSSFADE_CHROMIUM");
        let mut stdout = child.stdout.take().expect("a pipe");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
            text
        });
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().expect("killed");
                panic!("the browser hangs: {arguments:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "{arguments:?}: {status}");
        reader.join().expect("text")
    }

    /// What [`MEASURE`] tells of a page in a window of this width.
    fn measured(&self, page: &Path, width: u32, scheme: Scheme) -> serde_json::Value {
        let size = format!("--window-size={width},900");
        let dom = self.run(&["--dump-dom".into(), size, scheme.flag()], page);
        let (_, rest) = dom
            .split_once("data-told=\"")
            .unwrap_or_else(|| panic!("nothing told: {dom}"));
        let (told, _) = rest.split_once('"').expect("an end");
        serde_json::from_str(&told.replace("&quot;", "\"")).expect("JSON")
    }
}

#[derive(Clone, Copy)]
enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    fn flag(self) -> String {
        let number = match self {
            Scheme::Dark => 0,
            Scheme::Light => 1,
        };
        format!("--blink-settings=preferredColorScheme={number}")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a Chromium"]
async fn the_report_on_a_screen_and_on_paper() {
    let bench = moved("browser").await;
    let html = bench.report(&[], 0);
    let browser = Browser::new();
    let path = |name: &str| bench.folder.path().join(name);
    let report = path("report.html");

    // As it is: the whole page is there, and none of its text has become markup.
    let dom = browser.run(&["--dump-dom".into()], &report);
    for tag in ["<h2>", "<h3>", "<table>", "<svg", "<tr>"] {
        let count = |text: &str| text.matches(tag).count();
        assert_eq!(count(&dom), count(&html), "{tag}");
    }
    assert!(!dom.contains("<script") && !dom.contains("<img"), "{dom}");

    // The same, with a script that measures it; the page's own policy lets none run.
    let (before, rest) = html.split_once("<meta http-equiv").expect("a policy");
    let (_, after) = rest.split_once(">\n").expect("its end");
    let measured = format!("{before}{after}").replace("</body>", &format!("{MEASURE}</body>"));
    let screen = path("measured.html");
    std::fs::write(&screen, &measured).expect("written");
    for width in [1_200, 800, 600] {
        let told = browser.measured(&screen, width, Scheme::Light);
        assert_eq!(
            (&told["wide"], &told["parts"]),
            (&told["window"], &0.into()),
            "{told}"
        );
        assert!(told["drawn"].as_u64() > Some(3), "{told}");
    }
    let light = browser.measured(&screen, 800, Scheme::Light);
    let dark = browser.measured(&screen, 800, Scheme::Dark);
    assert_eq!(
        (&light["dark"], &dark["dark"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&light["paper"], &light["ink"]),
        (&"rgb(255, 255, 255)".into(), &"rgb(28, 32, 36)".into())
    );
    assert_eq!(
        (&dark["paper"], &dark["ink"]),
        (&"rgb(20, 23, 26)".into(), &"rgb(228, 232, 236)".into())
    );

    // On paper no table is wider than the page, with the rules for paper in force.
    let paper = path("paper.html");
    let on_paper = measured.replace("@media print", "@media all");
    std::fs::write(&paper, on_paper).expect("written");
    let told = browser.measured(&paper, PAPER, Scheme::Light);
    assert_eq!(
        (&told["wide"], &told["parts"]),
        (&told["window"], &0.into()),
        "{told}"
    );
    let pdf = path("report.pdf");
    browser.run(
        &[
            format!("--print-to-pdf={}", pdf.display()),
            Scheme::Dark.flag(),
        ],
        &report,
    );
    let printed = std::fs::read(&pdf).expect("a PDF");
    let text = String::from_utf8_lossy(&printed);
    assert!(text.starts_with("%PDF-"));
    let sheets = text.matches("/Type /Page\n").count();
    assert!(sheets >= 2, "{sheets} sheets");

    let mut pictures = Vec::new();
    for (name, scheme) in [("light.png", Scheme::Light), ("dark.png", Scheme::Dark)] {
        let shot = format!("--screenshot={}", path(name).display());
        browser.run(
            &[shot, "--window-size=1000,2400".into(), scheme.flag()],
            &report,
        );
        let picture = std::fs::read(path(name)).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        pictures.push(picture);
    }
    assert_ne!(pictures[0], pictures[1]);
    if let Some(kept) = std::env::var_os("CROSSFADE_KEEP") {
        for name in ["light.png", "dark.png", "report.pdf", "report.html"] {
            std::fs::copy(path(name), Path::new(&kept).join(name)).expect("kept");
        }
    }
    bench.done().await;
}
