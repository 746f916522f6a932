//! Names that stand for several tables: `name = "*"`.
//!
//! Which tables those are only the old store knows, so that a plan with patterns is read without asking it, and
//! expanded later ([`Plan::expand`]) by the caller that has the names.

use super::targets::{self, NamedTarget, Word};
use super::{NewStorePlan, Plan, PlanError, PlanErrors, TablePlan};

/// A `[[table]]` whose name is a pattern: `*` stands for any characters, none included. Tables that the plan names
/// elsewhere are none of it, and of two patterns the first takes a table.
#[derive(Clone, Debug)]
pub struct PatternPlan {
    /// How many of the plan's named tables come before it.
    pub after: usize,
    /// Where its name is in the plan's file, from 1.
    pub line: usize,
    /// Names and patterns that aren't meant.
    pub except: Vec<Except>,
    /// What targets are called before the table's own name.
    pub to_prefix: String,
    /// What holds for each of its tables. Its name is the pattern.
    pub table: TablePlan,
}

/// A name, or a pattern, that a pattern leaves out.
#[derive(Clone, Debug)]
pub struct Except {
    /// The name.
    pub name: String,
    /// Where it is in the plan's file, from 1.
    pub line: usize,
}

/// Where the names came from that a plan is expanded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The old store has just told them: a pattern without any table, or an exception from nothing, is a mistake.
    OfStore,
    /// They were written down when the plan was expanded before. What is left out isn't among them.
    Noted,
}

#[cfg(feature = "plan")]
impl From<super::reader::Text> for Except {
    fn from(text: super::reader::Text) -> Self {
        Except {
            name: text.value,
            line: text.line,
        }
    }
}

impl PatternPlan {
    /// Its pattern, as written.
    pub fn pattern(&self) -> &str {
        &self.table.name
    }

    fn takes(&self, name: &str) -> bool {
        let is_left_out = |except: &Except| matches(&except.name, name);
        matches(self.pattern(), name) && !self.except.iter().any(is_left_out)
    }

    fn table_of(&self, name: &str) -> TablePlan {
        TablePlan {
            name: name.to_owned(),
            to: format!("{}{name}", self.to_prefix),
            ..self.table.clone()
        }
    }
}

impl Plan {
    /// The plan with tables in place of its patterns: those of `names` that match, in that order.
    ///
    /// # Errors
    /// Everything that is wrong with these tables, by line.
    pub fn expand(mut self, names: &[String], from: Names) -> Result<Plan, PlanErrors> {
        let patterns = std::mem::take(&mut self.patterns);
        let named: Vec<String> = self.tables.iter().map(|t| t.name.clone()).collect();
        let mut taken: Vec<&str> = named.iter().map(String::as_str).collect();
        let mut errors = Vec::new();
        let mut tables = Vec::new();
        let mut rest = std::mem::take(&mut self.tables).into_iter();
        let mut placed = 0;
        for pattern in &patterns {
            tables.extend(rest.by_ref().take(pattern.after - placed));
            placed = pattern.after;
            let free = |name: &&String| !taken.contains(&name.as_str()) && pattern.takes(name);
            let own: Vec<&String> = names.iter().filter(free).collect();
            if from == Names::OfStore {
                errors.extend(pattern.mistakes(names, own.is_empty()));
            }
            tables.extend(own.iter().map(|name| pattern.table_of(name)));
            taken.extend(own.iter().map(|name| name.as_str()));
        }
        tables.extend(rest);
        self.tables = tables;
        let mut errors = self.at_lines(errors);
        errors.extend(self.target_errors());
        match errors.is_empty() {
            true => Ok(self),
            false => Err(PlanErrors(errors)),
        }
    }

    fn at_lines(&self, faults: Vec<(usize, String, String)>) -> Vec<PlanError> {
        let error = |(line, message, hint)| PlanError {
            file: self.file.clone(),
            line: Some(line),
            message,
            hint,
        };
        faults.into_iter().map(error).collect()
    }

    /// What is wrong with the names of the tables that the plan has by now.
    fn target_errors(&self) -> Vec<PlanError> {
        let named = |table: &'_ TablePlan| -> (String, String, usize) {
            (table.name.clone(), table.to.clone(), table.line)
        };
        let names: Vec<_> = self.tables.iter().map(named).collect();
        let word = |value| {
            move |line| Word {
                value,
                shown: value,
                line,
            }
        };
        let named: Vec<NamedTarget<'_>> = names
            .iter()
            .map(|(name, to, line)| NamedTarget {
                name: word(name.as_str())(*line),
                to: word(to.as_str())(*line),
            })
            .collect();
        let is_dynamodb = match self.new {
            NewStorePlan::DynamoDb(_) => true,
            NewStorePlan::Embedded { .. } => false,
        };
        let control = word(self.control_table.as_str())(0);
        let faults = targets::faults(&named, control, is_dynamodb).into_iter();
        self.at_lines(
            faults
                .map(|fault| (fault.line, fault.message, fault.hint.to_owned()))
                .collect(),
        )
    }
}

impl PatternPlan {
    /// What is meant and isn't there.
    fn mistakes(&self, names: &[String], has_none: bool) -> Vec<(usize, String, String)> {
        let mut mistakes = Vec::new();
        let shown = self.pattern();
        let known = match names {
            [] => "the old store has no table".to_owned(),
            names => format!("the old store has {}", some(names)),
        };
        if has_none {
            let mut taken = names.iter().filter(|name| matches(shown, name));
            let (message, hint) = match taken.next() {
                None => (format!("no table is called `{shown}`"), known.clone()),
                Some(_) => (
                    format!("no table is left for `{shown}`"),
                    "all of them are named, taken by a pattern before it, or left out: leave this one out".into(),
                ),
            };
            mistakes.push((self.line, message, hint));
        }
        for except in &self.except {
            if !names.iter().any(|name| matches(&except.name, name)) {
                let message = format!("no table is called `{}`", except.name);
                mistakes.push((except.line, message, known.clone()));
            }
        }
        mistakes
    }
}

/// Some names, and how many more there are.
fn some(names: &[String]) -> String {
    const MOST: usize = 12;
    let shown = names.get(..MOST).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a name is one that a pattern stands for. `*` is any characters, none included.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_characters() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "votes"),
            ("ts_*", "ts_"),
            ("ts_*", "ts_kv"),
            ("*_log", "a_log"),
            ("a*b*c", "abc"),
            ("a*b*c", "a1b2b3c"),
            ("**", "x"),
            ("votes", "votes"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("ts_*", "xts_"),
            ("*_log", "a_logs"),
            ("a*a", "a"),
            ("a*b*c", "ab"),
            ("a*bc*bc", "abc"),
            ("votes", "votes2"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
