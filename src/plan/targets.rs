//! Names of tables in both stores: each once, and as the new store takes them.

/// A name of a plan.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub value: &'a str,
    /// As messages may show it: what is written, never what a variable holds.
    pub shown: &'a str,
    pub line: usize,
}

/// A table's names.
#[derive(Clone, Copy)]
pub(super) struct NamedTarget<'a> {
    pub name: Word<'a>,
    pub to: Word<'a>,
}

/// Something that is wrong, as an error's parts.
pub(super) struct TargetFault {
    pub line: usize,
    pub message: String,
    pub hint: &'static str,
}

/// No table twice, no two tables to one target, none to the control table, and names that DynamoDB takes.
pub(super) fn faults(
    tables: &[NamedTarget<'_>],
    control: Word<'_>,
    is_dynamodb: bool,
) -> Vec<TargetFault> {
    let mut faults = Vec::new();
    let mut wrong = |line, message, hint| {
        faults.push(TargetFault {
            line,
            message,
            hint,
        })
    };
    for (place, table) in tables.iter().enumerate() {
        let earlier = &tables[..place];
        if let Some(first) = earlier.iter().find(|t| t.name.value == table.name.value) {
            let message = format!(
                "table `{}` is listed twice, first on line {}",
                table.name.shown, first.name.line
            );
            wrong(table.name.line, message, "leave one of them out");
        } else if let Some(first) = earlier.iter().find(|t| t.to.value == table.to.value) {
            let message = format!(
                "two tables move to `{}`, first in line {}",
                table.to.shown, first.to.line
            );
            let hint = "give each a target of its own with to = \"…\"";
            wrong(table.to.line, message, hint);
        }
    }
    if is_dynamodb {
        let names = tables
            .iter()
            .map(|table| (table.to, table.to.value == table.name.value));
        for (name, is_old) in names.chain([(control, false)]) {
            if !(3..=255).contains(&name.value.len()) || !name.value.chars().all(plain) {
                let message = format!("`{}` can't be the name of a table in DynamoDB", name.shown);
                let hint = match is_old {
                    true => "write to = \"…\", 3 to 255 of A-Z a-z 0-9 _ . -",
                    false => "write 3 to 255 of A-Z a-z 0-9 _ . -",
                };
                wrong(name.line, message, hint);
            }
        }
    }
    for table in tables.iter().filter(|t| t.to.value == control.value) {
        let message = format!("`{}` is the control table", table.to.shown);
        let hint = "write another to, or another control_table in [new]";
        wrong(table.to.line, message, hint);
    }
    faults
}

/// A character that names in DynamoDB, and of plans, may have.
pub(super) fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}
