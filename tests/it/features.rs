//! What the crate brings into the applications that use it.

use std::collections::BTreeSet;
use std::process::Command;

/// The packages that end up in a build, as `name version`: without dev-dependencies and macros.
fn packages(features: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree",
            "--frozen",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--no-default-features", "--features"])
        .arg(features.join(","))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree failed: {errors}");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            let version = rest.split_whitespace().next()?;
            Some(format!("{name} {version}"))
        })
        .filter(|package| !package.starts_with("crossfade "))
        .collect()
}

/// The versions in which a package is there.
fn versions<'a>(packages: &'a BTreeSet<String>, name: &str) -> Vec<&'a str> {
    packages
        .iter()
        .filter_map(|package| package.split_once(' '))
        .filter(|(found, _)| *found == name)
        .map(|(_, version)| version)
        .collect()
}

fn assert_absent(packages: &BTreeSet<String>, names: &[&str]) {
    for name in names {
        let found = versions(packages, name);
        assert!(found.is_empty(), "{name} {found:?} is in the tree");
    }
}

#[test]
fn an_application_gets_no_part_of_the_command() {
    let packages = packages(&["cassandra", "dynamodb"]);
    assert_absent(
        &packages,
        &[
            "clap",
            "clap_builder",
            "comfy-table",
            "indicatif",
            "sled",
            "strsim",
            "toml",
            "tracing-subscriber",
        ],
    );
    for name in ["scylla", "aws-sdk-dynamodb"] {
        assert_eq!(versions(&packages, name).len(), 1, "{name} must be there");
    }
}

#[test]
fn an_application_can_read_plans_without_the_command() {
    let packages = packages(&["cassandra", "dynamodb", "plan"]);
    assert_absent(&packages, &["clap", "comfy-table", "indicatif", "sled"]);
    assert_eq!(versions(&packages, "toml").len(), 1);
}

#[test]
fn one_store_does_not_bring_the_driver_of_another() {
    assert_absent(&packages(&["cassandra"]), &["aws-sdk-dynamodb", "sled"]);
    assert_absent(&packages(&["dynamodb"]), &["scylla", "sled"]);
    assert_absent(
        &packages(&["embedded"]),
        &["aws-sdk-dynamodb", "scylla", "rustls"],
    );
}

#[test]
fn keys_alone_have_no_dependency() {
    assert_eq!(packages(&["keys"]), BTreeSet::new());
}

#[test]
fn everything_shares_one_tls_stack() {
    let packages = packages(&["cli", "conformance"]);
    for name in ["aws-lc-rs", "h2", "hyper", "rustls"] {
        let found = versions(&packages, name);
        assert_eq!(found.len(), 1, "{name} {found:?}");
    }
    assert_eq!(versions(&packages, "hyper")[0].split('.').next(), Some("1"));
    assert_absent(
        &packages,
        &[
            "native-tls",
            "openssl",
            "openssl-sys",
            "ring",
            "rustls-graviola",
            "s2n-tls",
        ],
    );
}
