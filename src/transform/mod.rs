//! What a plan does to rows on their way: columns renamed, dropped or masked, and one expiry for an
//! item where Cassandra has one for each cell.

use std::collections::BTreeMap;
use std::fmt;

use crate::codec::canonical;
use crate::error::{Error, Kind, Result};
use crate::model::{Row, Times};
use crate::schema::{Column, Form, Layout, Role, Table};
use crate::secret::Secret;

mod fingerprint;
mod lifetime;
mod mask;
#[cfg(test)]
mod tests;

use fingerprint::fingerprint;
use lifetime::Lifetime;
use mask::ValueStep;
pub use mask::{Convert, Mask};

/// What becomes of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnRule {
    /// Its name in the new table.
    pub rename: Option<String>,
    /// Whether it isn't moved.
    pub drop: bool,
    /// How its values are made unreadable.
    pub mask: Option<Mask>,
    /// What stands in place of each of its values, as the plan writes it. Null stays null.
    pub constant: Option<String>,
    /// The type or unit that its values get.
    pub convert: Option<Convert>,
    /// The form of its attribute, where it isn't the usual one of its type.
    pub form: Option<Form>,
}

impl ColumnRule {
    /// What it does to values, each with its name in a plan and for people.
    fn on_values(&self) -> impl Iterator<Item = String> {
        let mask = self.mask.map(|mask| format!("mask = \"{}\"", mask.name()));
        let constant = self
            .constant
            .as_ref()
            .map(|text| format!("constant = {text:?}"));
        let convert = self
            .convert
            .map(|to| format!("convert = \"{}\"", to.name()));
        mask.into_iter().chain(constant).chain(convert)
    }
}

/// What becomes of the expiries of a row's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryRule {
    /// The attribute that gets the item's expiry in epoch seconds.
    pub attribute: String,
    /// Which of the cells' it is.
    pub from: ExpiryFrom,
}

/// Which of its cells' expiries a row gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryFrom {
    /// The latest; none if any cell never expires.
    Max,
    /// The earliest of those there are.
    Min,
    /// The one that all cells share; rows whose cells differ are refused.
    Reject,
}

/// What becomes of rows of which Cassandra doesn't tell when they end, in a table whose rows may: those of
/// nothing but their key, and those whose cells were written at different times and all end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOnly {
    /// They are refused.
    #[default]
    Reject,
    /// They end with the last of their cells; without any cell they are refused.
    Cells,
    /// They end as if they had been written with the table's default TTL: beside their youngest cell, or as
    /// late as the freeze.
    DefaultTtl,
    /// They stay.
    Keep,
}

/// Turns rows of the old table into rows of the new one.
#[derive(Clone)]
pub struct Transform {
    source: Table,
    target: Table,
    key: Vec<KeyStep>,
    cells: Vec<CellStep>,
    /// Of each cell of the old table, whether it is moved.
    moves: Vec<bool>,
    moves_nothing: bool,
    /// Whether a value may have nulls at its end.
    may_be_trimmed: bool,
    lifetime: Lifetime,
    fingerprint: [u8; 32],
    /// What is done to values, by column.
    changes: Vec<(String, String)>,
}

/// What is done to the values of one key column, in key order.
type KeyStep = Option<ValueStep>;

/// Where a cell of the new row comes from.
#[derive(Clone)]
struct CellStep {
    from: usize,
    step: Option<ValueStep>,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform")
            .field("source", &self.source.name)
            .field("target", &self.target)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Transform {
    /// What `rules` (by column name) and the expiry rule make of a table, which is called `target_name`
    /// in the new store and is laid out there by `layout`. The expiry rule's attribute goes into the layout.
    ///
    /// # Errors
    /// [`Kind::Config`] with everything that is wrong at once: unknown columns; a key column dropped or
    /// redacted, since rows would fall together; a mask, constant or conversion that doesn't fit its column, or a mask
    /// without a key; new names that clash; an attribute of the expiry without a name.
    pub fn new(
        old: &Table,
        rules: &BTreeMap<String, ColumnRule>,
        expiry: Option<&ExpiryRule>,
        mask_key: Option<&Secret>,
        target_name: &str,
        layout: Layout,
    ) -> Result<Transform> {
        let wrong = wrong_with(old, rules, expiry, mask_key);
        if !wrong.is_empty() {
            return Err(Error::new(Kind::Config, wrong.join("; ")).with_context("table", &old.name));
        }
        let none = ColumnRule::default();
        let rule = |column: &Column| rules.get(&column.name).unwrap_or(&none);
        let renamed = |column: &Column| Column {
            name: rule(column).rename.clone().unwrap_or(column.name.clone()),
            ty: rule(column)
                .convert
                .and_then(|to| to.of(&column.ty))
                .unwrap_or(column.ty.clone()),
            ..column.clone()
        };
        let kept = old.columns.iter().filter(|column| !rule(column).drop);
        let mut target = Table::new(target_name, kept.map(renamed).collect());
        target.layout = layout;
        if let Some(expiry) = expiry {
            target.layout.expiry_attribute = Some(expiry.attribute.clone());
        }
        let kept = old.columns.iter().filter(|column| !rule(column).drop);
        let formed = kept.filter_map(|column| Some((renamed(column).name, rule(column).form?)));
        target.layout.forms.extend(formed);
        let step = |column: &Column| step(column, rule(column), mask_key);
        let key_columns = old.partition().iter().chain(old.clustering());
        let key = key_columns.map(step).collect::<Result<Vec<_>>>()?;
        let mut cells = Vec::with_capacity(target.cells().len());
        for column in target.cells() {
            let mut olds = old.cells().iter().enumerate();
            let came_from =
                |(_, old): &(usize, &Column)| !rule(old).drop && renamed(old).name == column.name;
            if let Some((from, old)) = olds.find(came_from) {
                let step = step(old)?;
                cells.push(CellStep { from, step });
            }
        }
        let may_be_trimmed = |column: &Column| canonical::may_be_trimmed(&column.ty);
        let mut moves = vec![false; old.cells().len()];
        cells.iter().for_each(|step| moves[step.from] = true);
        let in_place = |(at, step): (usize, &CellStep)| step.from == at && step.step.is_none();
        Ok(Transform {
            changes: changes(old, rules),
            fingerprint: fingerprint(old, rules, expiry, mask_key, &target)?,
            source: old.clone(),
            moves,
            moves_nothing: key.iter().all(Option::is_none)
                && cells.len() == old.cells().len()
                && cells.iter().enumerate().all(in_place),
            may_be_trimmed: target.columns.iter().any(may_be_trimmed),
            target,
            key,
            cells,
            lifetime: Lifetime::default(),
        }
        .limited(Lifetime {
            expiry: expiry.map(|rule| rule.from),
            ..Lifetime::default()
        }))
    }

    /// The same, for a table whose rows live `default_ttl` seconds where their writer didn't say (0 is for
    /// good), and with what the plan says of rows whose end isn't known.
    ///
    /// # Errors
    /// [`Kind::Config`] if they are to go by a default TTL that the table hasn't got, or by an expiry that
    /// the plan doesn't keep.
    pub fn living(self, key_only: Option<KeyOnly>, default_ttl: u32) -> Result<Transform> {
        let lifetime = Lifetime {
            key_only,
            default_ttl,
            ..self.lifetime
        };
        let wrong = match (key_only, default_ttl, lifetime.expiry) {
            (Some(KeyOnly::DefaultTtl), 0, _) => Some((
                "`key_only = \"default_ttl\"`, but the old table has no default_time_to_live",
                "write \"cells\" or \"keep\"; or tell the TTL that the application gives its rows: ALTER TABLE … WITH \
                 default_time_to_live = …, which changes none that are there",
            )),
            (Some(KeyOnly::DefaultTtl | KeyOnly::Cells), _, None) => Some((
                "`key_only` lets rows end, but the table has no `expiry` in the plan",
                "add `expiry = { attribute = \"expires_at\", from = \"max\" }`",
            )),
            (None | Some(_), _, _) => None,
        };
        match wrong {
            None => Ok(self.limited(lifetime)),
            Some((what, help)) => Err(Error::new(Kind::Config, what)
                .with_context("table", self.source.name.as_str())
                .with_help(help)),
        }
    }

    /// The same for a table that was frozen at this moment, microseconds since 1970: no row was written later.
    #[must_use]
    pub fn frozen(&self, at: Option<i64>) -> Transform {
        let lifetime = Lifetime {
            frozen_at: at,
            ..self.lifetime
        };
        self.clone().limited(lifetime)
    }

    fn limited(mut self, lifetime: Lifetime) -> Transform {
        self.source.tells_times = lifetime.is_limited() && !self.source.is_counter();
        self.lifetime = lifetime;
        self
    }

    /// The old table.
    pub fn source(&self) -> &Table {
        &self.source
    }

    /// The new table: its columns as they are after the rules, and its layout.
    pub fn target(&self) -> &Table {
        &self.target
    }

    /// Whether a key of the new table is the old one's, rather than masked.
    pub fn keeps_keys(&self) -> bool {
        self.key.iter().all(Option::is_none)
    }

    /// What is done to values on the way, so that there is no way back: the old columns' names, each with the plan's
    /// words for it.
    pub fn changes(&self) -> &[(String, String)] {
        &self.changes
    }

    /// Whether an item is gone once the first of its row's cells is.
    pub fn expires_with_the_first_cell(&self) -> bool {
        self.lifetime.expiry == Some(ExpiryFrom::Min)
    }

    /// Which of the old table's cells a cell of the new one is.
    pub fn source_cell(&self, cell: usize) -> Option<usize> {
        self.cells.get(cell).map(|step| step.from)
    }

    /// A digest of everything that decides which item a row becomes: the old table's columns with their
    /// types, the layout, the rules, and of the mask key a digest under that key. Names of tables are
    /// no part of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Whether an item may still be there rightly though its row in the old store has ended: its end was
    /// never known, and the plan has let it live longer.
    pub fn may_outlive(&self, item: &Row) -> bool {
        let lives_on = match self.lifetime.key_only {
            Some(KeyOnly::DefaultTtl) => item.expires.is_some(),
            Some(KeyOnly::Keep) => self.lifetime.default_ttl > 0,
            Some(KeyOnly::Reject | KeyOnly::Cells) | None => false,
        };
        lives_on && item.cells.iter().all(Option::is_none)
    }

    /// Whether a row of the old table has nothing but its key.
    pub fn is_key_only(&self, row: &Row) -> bool {
        let has_marker = !row.key.is_static() && !self.source.is_counter();
        has_marker && row.cells.iter().all(Option::is_none)
    }

    /// Whether anything says that rows of the table may end: its default TTL, or the plan.
    pub fn rows_may_end(&self) -> bool {
        self.lifetime.is_limited()
    }

    /// What the plan says of rows whose end isn't known.
    pub fn key_only(&self) -> KeyOnly {
        self.lifetime.key_only.unwrap_or_default()
    }

    /// A row of the old table as a row of the new one, its values in the form that they have in both
    /// ([`canonical::stored`]).
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the plan doesn't say when it ends, or refuses it: it has cells that expire and
    /// there is no rule for that, the rule is [`ExpiryFrom::Reject`] and its cells differ, or its end isn't
    /// known and the rule is [`KeyOnly::Reject`]; if a value to be masked isn't text or a blob.
    pub fn apply(&self, row: Row) -> Result<Row> {
        let (row, kept) = self.look(row)?;
        kept.map(|()| row)
    }

    /// The same for the one that only shows it. With the row comes why it can't be kept in the new store, if
    /// it can't: it isn't known when it has to expire there. In the old store that doesn't matter.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a value to be masked isn't text or a blob.
    pub fn look(&self, row: Row) -> Result<(Row, Result<()>)> {
        self.look_at(row, self.lifetime.frozen_at)
    }

    /// The same for a table that was frozen at this moment, microseconds since 1970.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if a value to be masked isn't text or a blob.
    pub fn look_at(&self, mut row: Row, frozen: Option<i64>) -> Result<(Row, Result<()>)> {
        // A row lives as long as any of its columns, be it one that isn't moved.
        let end = match self.source.is_counter() {
            true => Ok(None),
            false => self.end(&row, frozen),
        };
        if !self.moves_nothing {
            let key = row.key.partition.iter_mut();
            let key = key.chain(row.key.clustering.iter_mut().flatten());
            for (value, step) in key.zip(&self.key) {
                if let Some(step) = step {
                    step.apply(value)?;
                }
            }
            let mut cells = Vec::with_capacity(self.cells.len());
            for step in &self.cells {
                let mut value = row.cells.get_mut(step.from).and_then(Option::take);
                if let (Some(value), Some(step)) = (&mut value, &step.step) {
                    step.apply(value)?;
                }
                cells.push(value);
            }
            row.cells = cells;
        }
        if self.may_be_trimmed {
            row = canonical::stored(&self.target, row);
        }
        row.times = Times::OfRow;
        let kept = end.map(|end| row.expires = end);
        Ok((row, kept))
    }

    fn end(&self, row: &Row, frozen: Option<i64>) -> Result<Option<i64>> {
        let moves = |at: usize| self.moves.get(at).copied().unwrap_or(false);
        match frozen == self.lifetime.frozen_at {
            true => self.lifetime.end(row, moves),
            false => {
                let lifetime = Lifetime {
                    frozen_at: frozen,
                    ..self.lifetime
                };
                lifetime.end(row, moves)
            }
        }
    }
}

fn step(column: &Column, rule: &ColumnRule, key: Option<&Secret>) -> Result<Option<ValueStep>> {
    if let Some(mask) = rule.mask {
        return ValueStep::masking(mask, key).map(Some);
    }
    // What doesn't fit was refused with the rest.
    let constant = rule.constant.as_ref();
    let constant = constant.and_then(|text| mask::constant(text, &column.ty));
    let convert = rule.convert.map(ValueStep::Convert);
    Ok(constant.map(ValueStep::Constant).or(convert))
}

fn changes(old: &Table, rules: &BTreeMap<String, ColumnRule>) -> Vec<(String, String)> {
    let of = |column: &Column| {
        let words = rules.get(&column.name)?.on_values().next()?;
        Some((column.name.clone(), words))
    };
    old.columns.iter().filter_map(of).collect()
}

fn wrong_with(
    old: &Table,
    rules: &BTreeMap<String, ColumnRule>,
    expiry: Option<&ExpiryRule>,
    mask_key: Option<&Secret>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, rule) in rules {
        match old.columns.iter().find(|column| column.name == *name) {
            Some(column) => wrong.extend(wrong_with_rule(column, rule)),
            None => {
                let names: Vec<&str> = old.columns.iter().map(|c| c.name.as_str()).collect();
                wrong.push(format!(
                    "there is no column {name}, only {}",
                    names.join(", ")
                ));
            }
        }
    }
    let keyed = rules
        .values()
        .filter_map(|rule| rule.mask)
        .find(|mask| mask.is_keyed());
    if let Some(mask) = keyed
        && mask_key.is_none_or(|key| key.expose().is_empty())
    {
        wrong.push(format!(
            "mask = \"{}\" needs a key: add `[mask] key = \"${{MASK_KEY}}\"`",
            mask.name()
        ));
    }
    if expiry.is_some_and(|rule| rule.attribute.is_empty()) {
        wrong.push("the expiry's attribute has no name".into());
    }
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for column in &old.columns {
        let rule = rules.get(&column.name);
        if rule.is_some_and(|rule| rule.drop) {
            continue;
        }
        let name = rule
            .and_then(|rule| rule.rename.as_ref())
            .unwrap_or(&column.name);
        if let Some(first) = names.insert(name, &column.name) {
            wrong.push(format!(
                "the columns {first} and {} would both be called {name}",
                column.name
            ));
        }
    }
    wrong
}

fn wrong_with_rule(column: &Column, rule: &ColumnRule) -> Vec<String> {
    let name = &column.name;
    let in_key = matches!(column.role, Role::Partition | Role::Clustering(_));
    let mut wrong = Vec::new();
    if rule.drop && in_key {
        wrong.push(format!(
            "the key column {name} can't be dropped: rows would fall together"
        ));
    }
    let form = rule.form.map(|form| format!("form = \"{}\"", form.name()));
    let said: Vec<String> = rule.on_values().chain(form).collect();
    if rule.drop && (rule.rename.is_some() || !said.is_empty()) {
        wrong.push(format!(
            "the column {name} is dropped, so it can't be renamed, masked or converted too"
        ));
    }
    if let [first, second, ..] = said.as_slice() {
        wrong.push(format!(
            "the column {name} has {first} and {second}: keep one of them"
        ));
    }
    if rule.rename.as_ref().is_some_and(String::is_empty) {
        wrong.push(format!("the column {name} is renamed to nothing"));
    }
    if rule.mask == Some(Mask::Redact) && in_key {
        wrong.push(format!(
            "the key column {name} can't be redacted: rows would fall together; mask = \"hmac\" keeps them apart"
        ));
    }
    if rule.constant.is_some() && in_key {
        wrong.push(format!(
            "the key column {name} can't be a constant: rows would fall together"
        ));
    }
    if rule.convert.is_some() && in_key {
        wrong.push(format!(
            "the key column {name} can't be converted: rows may fall together, or their order change"
        ));
    }
    let ty = column.cql_type();
    if let Some(mask) = rule.mask.filter(|mask| !mask.fits(&column.ty)) {
        wrong.push(match mask {
            Mask::Hmac | Mask::Redact => format!(
                "the column {name} is of type {ty}; only text, ascii and blob can be masked"
            ),
            Mask::Email | Mask::Phone | Mask::Digits => format!(
                "the column {name} is of type {ty}; mask = \"{}\" is for text and ascii",
                mask.name()
            ),
        });
    }
    let unfit = |text: &&String| mask::constant(text, &column.ty).is_none();
    if let Some(text) = rule.constant.as_ref().filter(unfit) {
        wrong.push(format!(
            "the column {name} is of type {ty}, which has no constant {text:?}; there are constants of text, ascii, \
             boolean and whole numbers up to bigint"
        ));
    }
    if let Some(to) = rule.convert.filter(|to| to.of(&column.ty).is_none()) {
        let from = match to {
            Convert::Text => "whole numbers up to bigint",
            Convert::Number => "text and ascii",
            Convert::Milliseconds | Convert::Seconds => "int, bigint and timestamp",
        };
        wrong.push(format!(
            "the column {name} is of type {ty}; convert = \"{}\" is for {from}",
            to.name()
        ));
    }
    wrong.extend(wrong_with_form(column, rule.form, in_key));
    wrong
}

fn wrong_with_form(column: &Column, form: Option<Form>, in_key: bool) -> Option<String> {
    let (name, ty) = (&column.name, column.cql_type());
    let form = form?;
    if in_key {
        return Some(format!(
            "the key column {name} can't have a form: keys are built from it as docs/keys.md says"
        ));
    }
    let of = match form {
        Form::Text => "varint, decimal and whole numbers up to bigint",
        Form::Number => "decimal; what else is a number is an N without it",
    };
    (!form.fits(&column.ty)).then(|| {
        format!(
            "the column {name} is of type {ty}; form = \"{}\" is for {of}",
            form.name()
        )
    })
}
