//! One table of a plan that is made from the old store: what has to be decided about it, with the choice made that
//! loses nothing.

use std::sync::Arc;

use crossfade::clock;
use crossfade::connect;
use crossfade::control::{Control, New};
use crossfade::error::{Kind, Result};
use crossfade::item::{Attr, ITEM_LIMIT, KeyAttribute, Mapping, item_size};
use crossfade::migration::{Migration, Survey};
use crossfade::model::{Mark, Row, Value};
use crossfade::plan::{Ignore, Plan, TablePlan};
use crossfade::schema::Form;
use crossfade::store::memory::Memory;
use crossfade::store::{Finding, Old, Weight};
use crossfade::transform::{ColumnRule, ExpiryFrom, ExpiryRule, KeyOnly};

use super::reserved;
use crate::format;

/// Places of the ring that rows are read from, and rows of each.
const PLACES: usize = 32;
const ROWS: usize = 100;

/// A table, as far as a plan can be written for it.
pub struct Draft {
    pub table: TablePlan,
    pub is_counter: bool,
    pub bytes: u64,
    /// What it is, for its first line.
    pub what: String,
    /// Good to know, each a comment of one line or more.
    pub notes: Vec<String>,
    /// What was decided, and what else could be: a comment, and the key with its value.
    pub decisions: Vec<(String, String)>,
    /// Why it can't be moved.
    pub refused: Vec<String>,
}

/// A table that is being drafted.
struct Drafting<'a> {
    plan: &'a Plan,
    old: &'a Old,
    draft: Draft,
}

/// Drafts a table of the old store.
pub async fn of(plan: &Plan, old: &Old, table: TablePlan) -> Result<Draft> {
    let draft = Draft {
        table,
        is_counter: false,
        bytes: 0,
        what: String::new(),
        notes: Vec::new(),
        decisions: Vec::new(),
        refused: Vec::new(),
    };
    let mut drafting = Drafting { plan, old, draft };
    match drafting.run().await {
        Ok(()) => {}
        Err(error) if is_about_the_table(error.kind()) => {
            drafting.draft.refused.push(error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(drafting.draft)
}

fn is_about_the_table(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Missing
            | Kind::Mismatch
            | Kind::Config
            | Kind::Unsupported
            | Kind::Denied
            | Kind::Invalid
    )
}

impl Drafting<'_> {
    fn migration(&self) -> Migration {
        // The target is asked nothing: it isn't known yet whether there is one.
        let new = New::over(Arc::new(Memory::new()));
        let control = Control::new(new.clone(), &self.plan.control_table);
        let spec = connect::spec(self.plan, &self.draft.table);
        Migration::new(spec, self.old.clone(), new, control)
    }

    async fn run(&mut self) -> Result<()> {
        let survey = self.migration().survey().await?;
        self.sizes(&survey);
        self.findings(&survey.old.findings);
        if !self.draft.refused.is_empty() {
            return Ok(());
        }
        self.names(&survey)?;
        self.ends(&survey).await?;
        let survey = self.migration().survey().await?;
        let rows = self.rows(&survey).await?;
        self.keys(&survey, &rows).await?;
        let survey = self.migration().survey().await?;
        self.forms(&survey, &rows)?;
        let survey = self.migration().survey().await?;
        let mapping = Mapping::new(survey.transform.target())?;
        self.attributes(&mapping);
        self.items(&survey, &mapping, rows);
        Ok(())
    }

    async fn rows(&self, survey: &Survey) -> Result<Vec<Row>> {
        let source = survey.transform.source();
        self.migration().sample(source, PLACES, ROWS).await
    }

    fn sizes(&mut self, survey: &Survey) {
        self.draft.is_counter = survey.transform.source().is_counter();
        self.draft.bytes = survey.old.bytes.unwrap_or(0);
        let kind = match self.draft.is_counter {
            true => "counters",
            false => "rows",
        };
        let rows = match survey.old.rows {
            Some(rows) => format!("about {} {kind}", format::count(rows)),
            None => kind.to_owned(),
        };
        self.draft.what = match survey.old.bytes {
            Some(bytes) => format!("{rows}, about {}", format::bytes(bytes)),
            None => format!("{rows}; the old store has no estimate of how many"),
        };
        if self.draft.is_counter {
            self.draft.notes.push(
                "Counters that may go down want `decrements = true`; adds that may be sent twice `exactly_once = true`."
                    .to_owned(),
            );
        }
    }

    /// What the new table won't have, and what forbids to move it.
    fn findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            let text = format!("{}; {}", finding.message, finding.advice);
            match finding.weight {
                Weight::Note => self.draft.notes.push(text),
                Weight::Refused => self.draft.refused.push(format!("{}: {text}", finding.code)),
                Weight::Ignorable(word) => {
                    let word = Ignore::NAMES.iter().find(|(name, _)| *name == word);
                    self.draft
                        .table
                        .ignore
                        .extend(word.map(|(_, ignore)| *ignore));
                    self.draft.notes.push(text);
                }
            }
        }
        if !self.draft.table.ignore.is_empty() {
            let words: Vec<String> = self
                .draft
                .table
                .ignore
                .iter()
                .map(|w| format!("{:?}", w.name()))
                .collect();
            self.decided(
                "No row is lost by that, but what reads them has to find another way.",
                format!("ignore = [{}]", words.join(", ")),
            );
        }
    }

    fn decided(&mut self, why: impl Into<String>, line: String) {
        self.draft.decisions.push((why.into(), line));
    }

    /// Attributes that can't be called as they would be by default, since columns are.
    fn names(&mut self, survey: &Survey) -> Result<()> {
        let Err(clash) = Mapping::new(survey.transform.target()) else {
            return Ok(());
        };
        let columns = &survey.transform.source().columns;
        let is_column = |name: &str| columns.iter().any(|column| column.name == name);
        if columns.iter().any(|column| column.name.starts_with('_')) {
            let mut prefix = "_cf_".to_owned();
            while columns
                .iter()
                .any(|column| column.name.starts_with(&prefix))
            {
                prefix.insert(0, '_');
            }
            self.decided(
                "A column has the name of one of the tool's own attributes, so those get this prefix.",
                format!("reserved_prefix = \"{prefix}\""),
            );
            self.draft.table.reserved_prefix = Some(prefix);
        }
        if Mapping::new(&target_of(&self.migration(), survey)?).is_ok() {
            return Ok(());
        }
        let free = |name: &str| {
            let mut name = name.to_owned();
            while is_column(&name) {
                name.push('_');
            }
            name
        };
        if is_column("pk") {
            self.draft.table.keys.partition = Some(free("pk"));
        }
        if is_column("sk") && !survey.transform.source().clustering().is_empty() {
            self.draft.table.keys.sort = Some(free("sk"));
        }
        let again = target_of(&self.migration(), survey)?;
        Mapping::new(&again).map(drop).map_err(|_| clash)
    }

    /// What a row's time to live becomes.
    async fn ends(&mut self, survey: &Survey) -> Result<()> {
        let rows = self.rows(survey).await?;
        let ends = rows.iter().filter(|row| fails(survey, row)).count();
        let ttl = survey.old.default_ttl;
        if (ttl == 0 && ends == 0) || self.draft.is_counter {
            return Ok(());
        }
        let mut attribute = "expires_at".to_owned();
        let columns = &survey.transform.source().columns;
        while columns.iter().any(|column| column.name == attribute) {
            attribute.push('_');
        }
        let why = match ttl {
            0 => format!("{ends} of {} sampled rows have a time to live", rows.len()),
            ttl => format!("rows live {} by default", format::time(f64::from(ttl))),
        };
        self.decided(
            format!(
                "Decide: {why}. DynamoDB has one end for an item, Cassandra one for each cell: \"max\" is the latest \
                 of them and loses nothing, \"min\" the earliest, \"reject\" makes rows whose cells differ dead letters."
            ),
            format!("expiry = {{ attribute = \"{attribute}\", from = \"max\" }}"),
        );
        self.draft.table.expiry = Some(ExpiryRule {
            attribute,
            from: ExpiryFrom::Max,
        });
        let survey = self.migration().survey().await?;
        let rows = self.rows(&survey).await?;
        let unknown = rows.iter().filter(|row| fails(&survey, row)).count();
        if unknown > 0 {
            self.draft.table.key_only = Some(KeyOnly::Keep);
            self.decided(
                format!(
                    "Decide: Cassandra doesn't tell when {unknown} of {} sampled rows end. \"keep\" keeps them for \
                     good and loses nothing; \"cells\" and \"default_ttl\" let them end, \"reject\" makes them dead letters.",
                    rows.len()
                ),
                "key_only = \"keep\"".to_owned(),
            );
        }
        Ok(())
    }

    /// Keys that the new store can't hold as they are by default.
    async fn keys(&mut self, survey: &Survey, rows: &[Row]) -> Result<()> {
        let unkept = |survey: &Survey| -> Result<usize> {
            let mapping = Mapping::new(survey.transform.target())?;
            let fails = |row: &&Row| match survey.transform.look((*row).clone()) {
                Ok((row, _)) => mapping.key(&row.key).is_err(),
                Err(_) => true,
            };
            Ok(rows.iter().filter(fails).count())
        };
        let mut left = unkept(survey)?;
        let clusters = !survey.transform.source().clustering().is_empty();
        for step in ["sort", "partition_hash"] {
            if left == 0 {
                break;
            }
            let before = self.draft.table.keys.clone();
            match step {
                "sort" if clusters && before.sort.is_none() => {
                    self.draft.table.keys.sort = Some("sk".to_owned());
                }
                "partition_hash" => self.draft.table.keys.partition_hash = true,
                _ => continue,
            }
            let now = match self.migration().survey().await {
                Ok(survey) => unkept(&survey).unwrap_or(left),
                Err(_) => left,
            };
            match now < left {
                true => left = now,
                false => self.draft.table.keys = before,
            }
        }
        if left > 0 {
            self.draft.notes.push(format!(
                "Decide: {left} of {} sampled rows have keys that DynamoDB can't hold, and become dead letters.",
                rows.len()
            ));
        }
        let keys = &self.draft.table.keys;
        let mut parts = Vec::new();
        parts.extend(
            keys.partition
                .as_ref()
                .map(|name| format!("partition = \"{name}\"")),
        );
        parts.extend(keys.sort.as_ref().map(|name| format!("sort = \"{name}\"")));
        if keys.partition_hash {
            parts.push("partition_hash = true".to_owned());
        }
        if !parts.is_empty() {
            self.decided(
                "Keys have to be made under these names: with the columns alone, some rows couldn't be stored.",
                format!("keys = {{ {} }}", parts.join(", ")),
            );
        }
        Ok(())
    }

    /// Columns with numbers that no N holds.
    fn forms(&mut self, survey: &Survey, rows: &[Row]) -> Result<()> {
        let mapping = Mapping::new(survey.transform.target())?;
        let mut formed = Vec::new();
        for (cell, column) in mapping.table().cells().iter().enumerate() {
            // A plan that is new leaves each column where it is.
            let is_beyond = |row: &&Row| {
                let value = row.cells.get(cell).and_then(Option::as_ref);
                matches!(value, Some(Value::Varint(_)))
                    && matches!(mapping.cell(cell, value), Ok(Some(Attr::M(_))))
            };
            let beyond = rows.iter().filter(is_beyond).count();
            if beyond > 0 {
                let rule = ColumnRule {
                    form: Some(Form::Text),
                    ..ColumnRule::default()
                };
                self.draft.table.columns.insert(column.name.clone(), rule);
                formed.push((column.name.clone(), beyond));
            }
        }
        if formed.is_empty() {
            return Ok(());
        }
        let named = formed
            .iter()
            .map(|(name, beyond)| format!("{beyond} in `{name}`"));
        let keys = formed
            .iter()
            .map(|(name, _)| format!("{} = {{ form = \"text\" }}", toml_key(name)));
        self.decided(
            format!(
                "Decide: of {} sampled rows some have numbers of over 38 digits ({}). As text all of a column are strings of \
                 digits; without this line those alone are kept in another form than the rest (docs/items.md). Neither \
                 loses anything.",
                rows.len(),
                named.collect::<Vec<_>>().join(", ")
            ),
            format!("columns = {{ {} }}", keys.collect::<Vec<_>>().join(", ")),
        );
        Ok(())
    }

    /// What attributes are called, and what becomes of columns that aren't kept in a form of their own.
    fn attributes(&mut self, mapping: &Mapping) {
        let key = |key: &KeyAttribute| {
            let made = if key.made { ", made" } else { "" };
            format!("`{}` ({:?}{made})", key.name, key.ty)
        };
        let sort = mapping.sort().map_or_else(|| "none".to_owned(), key);
        let keys = format!("Key: partition {}, sort {sort}.", key(mapping.partition()));
        self.draft.notes.push(keys);
        let columns = mapping.describe();
        for column in columns.iter().filter(|column| !column.note.is_empty()) {
            let note = format!(
                "`{}` ({}): {}.",
                column.column, column.cql_type, column.note
            );
            self.draft.notes.push(note);
        }
        let names = |wanted: fn(&str) -> bool| -> String {
            let found = columns.iter().filter(|column| wanted(&column.attribute));
            let found: Vec<String> = found
                .map(|column| format!("`{}`", column.attribute))
                .collect();
            found.join(", ")
        };
        let reserved = names(reserved::is_reserved);
        if !reserved.is_empty() {
            self.draft.notes.push(format!(
                "Reserved words of DynamoDB, which its expressions have to write as placeholders (`#name`): {reserved}."
            ));
        }
        let mixed = names(|name| name.chars().any(char::is_uppercase));
        if !mixed.is_empty() {
            self.draft
                .notes
                .push(format!("Attributes keep their case, as stored: {mixed}."));
        }
    }

    /// Rows that make no item.
    fn items(&mut self, survey: &Survey, mapping: &Mapping, rows: Vec<Row>) {
        let transform = survey.transform.frozen(Some(clock::unix_micros()));
        let (sampled, mut oversize, mut largest) = (rows.len(), 0, 0);
        for row in rows {
            let item = transform.apply(row).and_then(|mut row| {
                row.mark = Some(Mark::Copied);
                mapping.item(&row)
            });
            if let Ok(item) = item {
                largest = largest.max(item_size(&item));
                oversize += usize::from(item_size(&item) > ITEM_LIMIT);
            }
        }
        if oversize > 0 {
            self.draft.notes.push(format!(
                "Decide: {oversize} of {sampled} sampled rows are over the 400 KB of an item, and become dead letters. \
                 The largest has {}.",
                format::bytes(largest as u64)
            ));
        }
    }
}

/// A name as a key of TOML.
fn toml_key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

/// Whether the plan, as it is, doesn't say when a row ends.
fn fails(survey: &Survey, row: &Row) -> bool {
    let transform = survey.transform.frozen(Some(clock::unix_micros()));
    match transform.look(row.clone()) {
        Ok((_, kept)) => kept.is_err(),
        Err(_) => true,
    }
}

/// The new table as the plan makes it now.
fn target_of(migration: &Migration, survey: &Survey) -> Result<crossfade::schema::Table> {
    let transform = migration
        .spec
        .transform(survey.transform.source(), survey.old.default_ttl)?;
    Ok(transform.target().clone())
}
