//! Which permissions each command takes in both stores: what `docs/security.md` is printed from, and what a test
//! compares with the requests that each command is seen to send.

use std::collections::BTreeSet;
use std::fmt::Write;

/// What a command takes.
#[derive(Clone, Copy, Debug)]
pub struct Permissions {
    /// The command and the flag that makes the difference; `shim` and `serve` are applications' processes.
    pub command: &'static str,
    /// IAM actions on the tables that the plan names in `to`, without `dynamodb:`.
    pub targets: &'static [&'static str],
    /// Those that it takes there only at times, with the time.
    pub targets_at_times: &'static [(&'static str, &'static str)],
    /// IAM actions on the control table.
    pub control: &'static [&'static str],
    /// Those that it takes there only at times.
    pub control_at_times: &'static [(&'static str, &'static str)],
    /// CQL permissions on the old tables.
    pub old: &'static str,
}

/// What a tool does to the control table that registers and keeps dead letters or progress.
const REGISTERED: &[&str] = &[
    "BatchGetItem",
    "DeleteItem",
    "PartiQLInsert",
    "PutItem",
    "Query",
];
/// Why an action is needed only at times.
const WIDE: &str =
    "rows of more columns than a PartiQL statement holds, and endpoints without PartiQL";
const COUNTERS: &str = "counter tables";
const PARTIAL: &str = "items of some columns that applications wrote before their rows were copied";
const UNKNOWN: &str = "a target without a control record, which is looked through for items";
const LETTERS: &str = "dead letters";

/// Reads that `migrate check` makes to find out whether other commands may. Each may be refused, and then it says so.
pub const ASKED: &[&str] = &[
    "BatchGetItem",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "Query",
    "Scan",
];

/// Every command that asks a store anything.
pub const COMMANDS: &[Permissions] = &[
    Permissions {
        command: "check",
        targets: &["DescribeTable", "DescribeTimeToLive"],
        targets_at_times: &[("Scan", UNKNOWN)],
        control: &["BatchGetItem"],
        control_at_times: &[],
        old: "SELECT",
    },
    Permissions {
        command: "init",
        targets: &["CreateTable", "DescribeTable", "DescribeTimeToLive", "Scan"],
        targets_at_times: &[],
        control: &[
            "BatchGetItem",
            "CreateTable",
            "DescribeTable",
            "PartiQLInsert",
        ],
        control_at_times: &[
            (
                "PutItem",
                "`--adopt`, plans with patterns, and endpoints without PartiQL",
            ),
            ("Query", "a control record that is made anew"),
            ("DeleteItem", "a control record that is made anew"),
        ],
        old: "SELECT",
    },
    Permissions {
        command: "status",
        targets: &[],
        targets_at_times: &[],
        control: &["BatchGetItem", "Query"],
        control_at_times: &[],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "report",
        targets: &[],
        targets_at_times: &[],
        control: &["BatchGetItem", "Query"],
        control_at_times: &[],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "pace",
        targets: &[],
        targets_at_times: &[],
        control: &["BatchGetItem", "Query"],
        control_at_times: &[
            ("PartiQLInsert", "what is said first of a table"),
            (
                "PutItem",
                "what is said later, and endpoints without PartiQL",
            ),
        ],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "capacity",
        targets: &["DescribeTable"],
        targets_at_times: &[(
            "UpdateTable",
            "a table that takes something else than is wanted",
        )],
        control: &[],
        control_at_times: &[("BatchGetItem", "plans with patterns")],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "failures",
        targets: &[],
        targets_at_times: &[],
        control: &["BatchGetItem", "Query"],
        control_at_times: &[],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "failures --retry",
        targets: &["DescribeTable", "DescribeTimeToLive"],
        targets_at_times: &[
            ("PutItem", LETTERS),
            ("UpdateItem", LETTERS),
            ("BatchGetItem", COUNTERS),
        ],
        control: REGISTERED,
        control_at_times: &[],
        old: "SELECT",
    },
    Permissions {
        command: "advance",
        targets: &["DescribeTable", "DescribeTimeToLive"],
        targets_at_times: &[("Scan", "`old` to `bridge`"), ("BatchGetItem", COUNTERS)],
        control: &["BatchGetItem", "PutItem", "Query"],
        control_at_times: &[("DeleteItem", "`--gone`, `--gone-silent`")],
        old: "SELECT; with a fence see above",
    },
    Permissions {
        command: "back",
        targets: &["DescribeTable", "DescribeTimeToLive"],
        targets_at_times: &[("Scan", "`bridge` to `old`")],
        control: &["BatchGetItem", "PutItem", "Query"],
        control_at_times: &[(
            "DeleteItem",
            "`--gone`, `--gone-silent`, and what was noted of the copy",
        )],
        old: "none; with a fence see above",
    },
    Permissions {
        command: "copy",
        targets: &["DescribeTable", "DescribeTimeToLive", "PartiQLInsert"],
        targets_at_times: &[
            ("PutItem", WIDE),
            ("Scan", "`--offline`, before the first item"),
            (
                "BatchGetItem",
                "rows whose keys are taken, and counter tables",
            ),
            ("GetItem", PARTIAL),
            ("UpdateItem", COUNTERS),
            ("UpdateTable", "`capacity` and `warm` in the plan"),
        ],
        control: REGISTERED,
        control_at_times: &[],
        old: "SELECT",
    },
    Permissions {
        command: "copy --to-suffix",
        targets: &[
            "CreateTable",
            "DescribeTable",
            "DescribeTimeToLive",
            "PartiQLInsert",
            "Scan",
        ],
        targets_at_times: &[
            ("PutItem", WIDE),
            ("BatchGetItem", COUNTERS),
            ("UpdateItem", COUNTERS),
        ],
        control: &[
            "BatchGetItem",
            "DeleteItem",
            "DescribeTable",
            "PartiQLInsert",
            "PutItem",
            "Query",
        ],
        control_at_times: &[("CreateTable", "the first command of all")],
        old: "SELECT",
    },
    Permissions {
        command: "rehearse drop",
        targets: &[
            "DeleteTable",
            "DescribeTable",
            "DescribeTimeToLive",
            "UpdateTable",
        ],
        targets_at_times: &[],
        control: &["BatchGetItem", "DeleteItem", "Query"],
        control_at_times: &[],
        old: "none: it doesn't connect",
    },
    Permissions {
        command: "verify",
        targets: &["DescribeTable", "DescribeTimeToLive", "Scan"],
        targets_at_times: &[("BatchGetItem", "rows that seem to differ")],
        control: &["BatchGetItem", "DeleteItem", "PutItem", "Query"],
        control_at_times: &[],
        old: "SELECT",
    },
    Permissions {
        command: "verify --repair",
        targets: &["DescribeTable", "DescribeTimeToLive", "Scan"],
        targets_at_times: &[
            ("BatchGetItem", "rows that seem to differ"),
            ("GetItem", "rows that differ"),
            ("PutItem", "rows that differ"),
            ("UpdateItem", "items of some columns, and counter tables"),
            ("DeleteItem", "`--delete-extra`"),
        ],
        control: REGISTERED,
        control_at_times: &[],
        old: "SELECT",
    },
    Permissions {
        command: "finish",
        targets: &["DescribeTable", "DescribeTimeToLive", "Scan"],
        targets_at_times: &[
            ("UpdateItem", "`--strip`"),
            ("DeleteItem", "tombstones and rows that have expired"),
            ("PutItem", "`--strip`"),
            ("UpdateTimeToLive", "tables with an `expiry`"),
        ],
        control: REGISTERED,
        control_at_times: &[],
        old: "SELECT; DROP with `--drop-old`",
    },
    Permissions {
        command: "reset",
        targets: &["DeleteItem", "DescribeTable", "DescribeTimeToLive", "Scan"],
        targets_at_times: &[],
        control: REGISTERED,
        control_at_times: &[],
        old: "SELECT; without it nothing is compared",
    },
    Permissions {
        command: "shim, serve",
        targets: &[
            "DeleteItem",
            "DescribeTable",
            "DescribeTimeToLive",
            "GetItem",
            "PutItem",
            "Query",
            "UpdateItem",
        ],
        targets_at_times: &[
            ("BatchGetItem", "`BatchGetItem` of applications"),
            (
                "ConditionCheckItem",
                "transactions of applications, and `exactly_once`",
            ),
            ("Scan", "`Scan` of applications"),
        ],
        control: &["BatchGetItem", "DeleteItem", "PartiQLInsert", "PutItem"],
        control_at_times: &[],
        old: "SELECT, MODIFY",
    },
];

/// The policies that are printed: what people do with them, and which commands.
const POLICIES: &[(&str, &str, &[&str])] = &[
    (
        "Look",
        "Look only: `check`, `status`, `report`, `failures`.",
        &["check", "status", "report", "failures"],
    ),
    (
        "SetUp",
        "Set up and undo: `init`, `reset`.",
        &["init", "reset"],
    ),
    (
        "Move",
        "Copy, verify and move: `copy`, `pace`, `verify` with and without `--repair`, `failures --retry`, `capacity`, `advance`, `back`.",
        &[
            "capacity",
            "copy",
            "pace",
            "verify",
            "verify --repair",
            "failures --retry",
            "advance",
            "back",
        ],
    ),
    (
        "Rehearse",
        "Rehearse: `copy --to-suffix`, `slice`, `rehearse drop`. The scratch tables alone need this.",
        &["copy --to-suffix", "rehearse drop"],
    ),
    ("Finish", "`finish`.", &["finish"]),
    (
        "Application",
        "The application with the shim, or the sidecar, while its tables move.",
        &["shim, serve"],
    ),
];

/// The part of `docs/security.md` that is about DynamoDB's actions.
pub fn page() -> String {
    let mut page = String::from(
        "| command | on targets | on the control table | on the old tables |\n|---|---|---|---|\n",
    );
    for one in COMMANDS {
        let targets = cell(one.targets, one.targets_at_times);
        let control = cell(one.control, one.control_at_times);
        // Writing to a String can't fail.
        let _ = writeln!(
            page,
            "| `{}` | {targets} | {control} | {} |",
            one.command, one.old
        );
    }
    for (name, what, commands) in POLICIES {
        let union = |at: fn(&Permissions) -> Vec<&'static str>| -> BTreeSet<&'static str> {
            let chosen = COMMANDS
                .iter()
                .filter(|one| commands.contains(&one.command));
            chosen.flat_map(at).collect()
        };
        let targets = union(Permissions::all_on_targets);
        let control = union(Permissions::all_on_control);
        let _ = write!(
            page,
            "\n{what}\n\n```json\n{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{},\n{}\n  ]\n}}\n```\n",
            statement(&format!("{name}Targets"), &targets, "bgt-*"),
            statement(&format!("{name}Control"), &control, "migrate-control"),
        );
    }
    page
}

impl Permissions {
    /// Every action that it may take on targets.
    pub fn all_on_targets(&self) -> Vec<&'static str> {
        all(self.targets, self.targets_at_times)
    }

    /// Permissions that it may take on old tables: `SELECT`.
    pub fn all_on_old(&self) -> Vec<&'static str> {
        let words = self.old.split(|c: char| !c.is_ascii_alphabetic());
        words
            .filter(|word| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase()))
            .collect()
    }

    /// Every action that it may take on the control table.
    pub fn all_on_control(&self) -> Vec<&'static str> {
        all(self.control, self.control_at_times)
    }
}

fn all(always: &[&'static str], at_times: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let at_times = at_times.iter().map(|(action, _)| *action);
    always.iter().copied().chain(at_times).collect()
}

fn cell(always: &[&str], at_times: &[(&str, &str)]) -> String {
    let always = always.iter().map(|action| format!("`{action}`"));
    let at_times = at_times
        .iter()
        .map(|(action, when)| format!("`{action}` ({when})"));
    let actions: Vec<String> = always.chain(at_times).collect();
    match actions.is_empty() {
        true => "none".to_owned(),
        false => actions.join(", "),
    }
}

fn statement(name: &str, actions: &BTreeSet<&str>, table: &str) -> String {
    let actions: Vec<String> = actions
        .iter()
        .map(|action| format!("\"dynamodb:{action}\""))
        .collect();
    let actions = match actions.is_empty() {
        true => "\"dynamodb:DescribeTable\"".to_owned(),
        false => actions.join(", "),
    };
    format!(
        "    {{\n      \"Sid\": \"{name}\",\n      \"Effect\": \"Allow\",\n      \"Action\": [{actions}],\n      \
         \"Resource\": \"arn:aws:dynamodb:us-east-1:111122223333:table/{table}\"\n    }}"
    )
}
