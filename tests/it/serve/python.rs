//! A Python for the tests, with the clients that applications use.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is tried.
const PACKAGES: [&str; 2] = ["boto3==1.43.0", "pynamodb==6.1.0"];

/// A Python that has boto3 and PynamoDB: that of `CROSSFADE_PYTHON`, or one that is made once, in `target/python`.
pub fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("CROSSFADE_PYTHON") {
        let python = PathBuf::from(python);
        assert!(
            has_clients(&python),
            "CROSSFADE_PYTHON={}: `import boto3, pynamodb` fails there; pip install {}",
            python.display(),
            PACKAGES.join(" ")
        );
        return python;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python");
    let python = folder.join("bin/python");
    if !has_clients(&python) {
        let advice = format!(
            "these tests need Python 3 with its venv module, and PyPI; or set CROSSFADE_PYTHON to a Python that has {}",
            PACKAGES.join(" and ")
        );
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            &advice,
        );
        run(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(PACKAGES),
            &advice,
        );
    }
    python
}

fn has_clients(python: &Path) -> bool {
    let check = Command::new(python)
        .args(["-c", "import boto3, pynamodb"])
        .output();
    check.is_ok_and(|check| check.status.success())
}

/// Runs what fetches something, or fails with what to install.
pub fn run(command: &mut Command, advice: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed; {advice}\n{stderr}"
    );
}
