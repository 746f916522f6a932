//! What an operator does next with a table, as a line to type.

use std::path::Path;

use crossfade::control::ParticipantKind;
use crossfade::migration::{Migration, Status};
use crossfade::protocol::Phase;

/// The next command of a table, and why. None once nothing is left to do.
pub fn next(plan: &Path, migration: &Migration, status: &Status) -> Option<String> {
    let verified = match &status.verified {
        None => VerifiedSoFar::No,
        Some(verified) if !verified.clean => VerifiedSoFar::Differs,
        Some(verified) if migration.is_stale(verified.oldest_at).is_some() => VerifiedSoFar::TooOld,
        Some(_) => VerifiedSoFar::Clean,
    };
    let place = Situation {
        phase: status.record.as_ref().map(|record| record.phase),
        is_counter: status.is_counter,
        is_copied: status.share >= 1.0,
        failures: status.failures,
        verified,
    };
    let step = place.step()?;
    let table = migration.spec.name.as_str();
    let (name, more) = step.command;
    let line = match name {
        "init" => command(name, plan, None),
        // Who is registered is who was started with the shim: whether those are all only an operator knows.
        "advance" => {
            let applications = status.instances.iter();
            let applications = applications.filter(|(_, one)| one.kind == ParticipantKind::Shim);
            let expected = applications.count();
            let line = command(name, plan, Some(table));
            format!("{line}{more} --expect {expected}")
        }
        name => command(name, plan, Some(table)) + more,
    };
    Some(format!("{line}    # {}", step.why))
}

/// A command line to paste, on a plan and perhaps on one of its tables.
pub fn command(name: &str, plan: &Path, table: Option<&str>) -> String {
    let plan = quoted(&plan.to_string_lossy());
    match table {
        Some(table) => format!("migrate {name} --plan {plan} --table {}", quoted(table)),
        None => format!("migrate {name} --plan {plan}"),
    }
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum VerifiedSoFar {
    No,
    Clean,
    TooOld,
    Differs,
}

/// What decides it.
struct Situation {
    phase: Option<Phase>,
    is_counter: bool,
    is_copied: bool,
    failures: u64,
    verified: VerifiedSoFar,
}

struct NextStep {
    /// The command, and what follows `--table NAME`.
    command: (&'static str, &'static str),
    why: &'static str,
}

fn step(command: &'static str, more: &'static str, why: &'static str) -> Option<NextStep> {
    Some(NextStep {
        command: (command, more),
        why,
    })
}

impl Situation {
    fn step(&self) -> Option<NextStep> {
        match self.phase {
            None => step("init", "", "makes the table and its control record"),
            Some(Phase::Old) => step(
                "advance",
                " --to copy",
                "applications follow, phase by phase; or `copy --offline` while they are stopped",
            ),
            Some(Phase::Bridge | Phase::Switch) => {
                step("advance", " --to copy", "then the rest can be copied")
            }
            Some(Phase::Copy) => self.of_a_copy("", "new"),
            Some(Phase::Offline) => self.of_a_copy(" --offline", "done"),
            Some(Phase::New) => step("finish", "", "no way back from there: it asks first"),
            Some(Phase::Done) => None,
        }
    }

    fn of_a_copy(&self, offline: &'static str, to: &'static str) -> Option<NextStep> {
        if !self.is_copied {
            return match (self.is_counter, offline.is_empty()) {
                (true, true) => step("copy", " --final", "nothing adds to the old counters"),
                (true, false) => step("copy", " --offline --final", "settles the counters"),
                (false, true) => step("copy", "", "goes on where it was"),
                (false, false) => step("copy", " --offline", "goes on where it was"),
            };
        }
        if self.failures > 0 {
            return step("failures", "", "rows that could not be copied, and why");
        }
        match self.verified {
            VerifiedSoFar::No => step("verify", "", "compares every row, both ways"),
            VerifiedSoFar::TooOld => step("verify", "", "the last one is too old to count"),
            VerifiedSoFar::Differs => step("verify", " --repair", "mends what differs"),
            VerifiedSoFar::Clean if to == "new" => {
                step("advance", " --to new", "everything is there")
            }
            VerifiedSoFar::Clean => {
                step("advance", " --to done", "no way back from there: it asks")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn place(phase: Phase) -> Situation {
        Situation {
            phase: Some(phase),
            is_counter: false,
            is_copied: true,
            failures: 0,
            verified: VerifiedSoFar::Clean,
        }
    }

    #[test]
    fn every_place_has_its_next_command() {
        let command = |place: Situation| place.step().map(|step| step.command);
        assert_eq!(command(place(Phase::Old)), Some(("advance", " --to copy")));
        assert_eq!(command(place(Phase::Copy)), Some(("advance", " --to new")));
        assert_eq!(
            command(place(Phase::Offline)),
            Some(("advance", " --to done"))
        );
        assert_eq!(command(place(Phase::New)), Some(("finish", "")));
        assert_eq!(command(place(Phase::Done)), None);
        let counters = Situation {
            is_counter: true,
            is_copied: false,
            ..place(Phase::Copy)
        };
        assert_eq!(command(counters), Some(("copy", " --final")));
        let letters = Situation {
            failures: 1,
            ..place(Phase::Copy)
        };
        assert_eq!(command(letters), Some(("failures", "")));
        for (verified, wanted) in [
            (VerifiedSoFar::No, ("verify", "")),
            (VerifiedSoFar::TooOld, ("verify", "")),
            (VerifiedSoFar::Differs, ("verify", " --repair")),
        ] {
            let place = Situation {
                verified,
                ..place(Phase::Copy)
            };
            assert_eq!(command(place), Some(wanted));
        }
    }

    #[test]
    fn names_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("plans/cf.toml"), "plans/cf.toml");
        assert_eq!(quoted("Mixed Case's"), r"'Mixed Case'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
