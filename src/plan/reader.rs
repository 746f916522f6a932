//! Walks a parsed TOML document, keeps the line of everything, and notes what is wrong instead of
//! stopping at it.
//!
//! Every key that is asked for becomes a known one; [`Section::finish`] reports the rest. No value
//! is ever part of a message unless it was written in the plan itself, and none of a secret is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{PlanError, PlanErrors, reference, unbuilt};
use crate::secret::Secret;

/// The file that is read, and what is wrong with it so far.
pub(super) struct Source<'a> {
    pub file: &'a Path,
    text: &'a str,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    errors: RefCell<Vec<PlanError>>,
    asked: RefCell<BTreeMap<String, What>>,
    required: RefCell<BTreeSet<String>>,
}

/// What a key that was asked for may hold.
#[derive(Clone, Debug)]
pub(super) enum What {
    Text,
    Texts,
    Flag,
    Time,
    Whole(RangeInclusive<u32>),
    Amount,
    Choice(Vec<String>),
    Choices(Vec<String>),
    Section,
    /// A section, or `false`.
    SectionOrNone,
    Sections,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a Path, text: &'a str, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Source {
            file,
            text,
            env,
            errors: RefCell::default(),
            asked: RefCell::default(),
            required: RefCell::default(),
        }
    }

    /// Every key that was asked for, by its place, and those that have to be there.
    pub fn asked(self) -> (BTreeMap<String, What>, BTreeSet<String>) {
        (self.asked.into_inner(), self.required.into_inner())
    }

    /// Notes an error.
    pub fn wrong(&self, line: usize, message: impl Into<String>, hint: impl Into<String>) {
        self.errors.borrow_mut().push(PlanError {
            file: self.file.to_owned(),
            line: Some(line),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Notes that the text isn't TOML.
    pub fn not_toml(&self, fault: &toml::de::Error) {
        let line = fault.span().map_or(1, |span| self.line(&span));
        self.wrong(
            line,
            format!("this isn't valid TOML: {}", fault.message()),
            "",
        );
    }

    /// What was read, unless something was wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, PlanErrors> {
        let mut errors = self.errors.into_inner();
        match read {
            Some(read) if errors.is_empty() => Ok(read),
            Some(_) | None => {
                errors.sort_by_key(|error| error.line);
                Err(PlanErrors(errors))
            }
        }
    }

    pub fn is_clean(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// A string of the plan, its references followed.
#[derive(Clone)]
pub(super) struct Text {
    pub value: String,
    /// As messages may show it: what is written, never what a variable holds.
    pub shown: String,
    pub line: usize,
}

/// A table of the plan.
pub(super) struct Section<'a> {
    pub source: &'a Source<'a>,
    pub line: usize,
    /// `old.tls`; empty for the plan itself.
    path: String,
    /// The same, but with `*` in place of a name that is free.
    place: String,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The plan itself.
    pub fn top(source: &'a Source<'a>, entries: &'a DeTable<'a>) -> Self {
        Section {
            source,
            line: 1,
            path: String::new(),
            place: String::new(),
            entries,
            known: Vec::new(),
        }
    }

    /// Notes an error if the key isn't there.
    pub fn require(&self, key: &str, hint: &str) {
        let place = join(&self.place, key);
        self.source.required.borrow_mut().insert(place);
        if !self.has(key) {
            let message = match self.path.as_str() {
                "" => format!("`{key}` is missing"),
                _ => format!("`{key}` is missing in {}", self.title()),
            };
            self.source.wrong(self.line, message, hint);
        }
    }

    /// Whether the key is there, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether anything but `false` is there.
    pub fn has_table(&self, key: &str) -> bool {
        let value = self.entries.get(key);
        value.is_some_and(|value| value.get_ref().as_bool() != Some(false))
    }

    /// Whether an array without elements is there.
    pub fn is_empty_array(&self, key: &str) -> bool {
        let array = self.entries.get(key).and_then(|v| v.get_ref().as_array());
        array.is_some_and(|array| array.is_empty())
    }

    /// The line of a key; the section's own if it isn't there.
    pub fn line_of(&self, key: &str) -> usize {
        self.entries
            .get_key_value(key)
            .map_or(self.line, |(key, _)| self.source.line(&key.span()))
    }

    /// A string. An empty one is an error.
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        self.note(key, What::Text);
        let (line, written) = self.string(key)?;
        self.expanded(key, line, written)
    }

    /// An array of strings; those of them that are.
    pub fn texts(&mut self, key: &'static str) -> Vec<Text> {
        self.note(key, What::Texts);
        let Some(value) = self.entry(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(key, "an array of strings", value);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for element in array.iter() {
            match element.get_ref().as_str() {
                Some(written) => {
                    let line = self.source.line(&element.span());
                    texts.extend(self.expanded(key, line, written));
                }
                None => self.mistyped(key, "an array of strings", element),
            }
        }
        texts
    }

    /// A boolean.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.note(key, What::Flag);
        let value = self.entry(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mistyped(key, "true or false", value);
        }
        flag
    }

    /// A whole number of seconds within these bounds.
    pub fn seconds(&mut self, key: &'static str, within: RangeInclusive<u32>) -> Option<Duration> {
        let seconds = self.whole(key, within, "seconds")?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// A time with its unit, such as `"90s"` or `"1h"`, of so many seconds.
    pub fn time(&mut self, key: &'static str, within: RangeInclusive<u64>) -> Option<Duration> {
        let text = self.text(key);
        self.note(key, What::Time);
        let text = text?;
        let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
        let seconds = units.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.value.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        });
        let seconds = seconds.filter(|seconds| within.contains(seconds));
        if seconds.is_none() {
            let (least, most) = (within.start(), within.end() / 86_400);
            self.source.wrong(
                text.line,
                format!("`{key}` can't be `{}`", text.shown),
                format!("write a number and s, m, h or d, such as \"90m\": {least}s to {most}d"),
            );
        }
        seconds.map(Duration::from_secs)
    }

    /// A whole number of something within these bounds.
    pub fn whole(
        &mut self,
        key: &'static str,
        within: RangeInclusive<u32>,
        of: &str,
    ) -> Option<u32> {
        self.note(key, What::Whole(within.clone()));
        let value = self.entry(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.mistyped(key, &format!("a whole number of {of}"), value);
            return None;
        };
        // What is too large for a number is outside of all bounds too.
        let whole = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let whole = whole.filter(|whole| within.contains(whole));
        if whole.is_none() {
            self.source.wrong(
                self.source.line(&value.span()),
                format!("`{key}` can't be {number}"),
                format!("write {} to {} {of}", within.start(), within.end()),
            );
        }
        whole
    }

    /// An amount, 0 or more, with or without a point.
    pub fn amount(&mut self, key: &'static str) -> Option<f64> {
        self.note(key, What::Amount);
        let value = self.entry(key)?;
        let amount = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(whole) => i64::from_str_radix(whole.as_str(), whole.radix())
                .ok()
                .map(|whole| whole as f64),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.mistyped(key, "an amount, such as 0.625", value);
                return None;
            }
        };
        let amount = amount.filter(|amount| amount.is_finite() && *amount >= 0.0);
        if amount.is_none() {
            let line = self.source.line(&value.span());
            let message = format!("`{key}` can't be that");
            self.source
                .wrong(line, message, "write an amount of 0 or more, such as 0.625");
        }
        amount
    }

    /// A string out of a few, in any case.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key);
        self.note(key, What::Choice(names_of(choices)));
        self.choose(key, &text?, choices)
    }

    /// Strings out of a few, in any case.
    pub fn choices<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Vec<T> {
        let texts = self.texts(key);
        self.note(key, What::Choices(names_of(choices)));
        texts
            .iter()
            .filter_map(|text| self.choose(key, text, choices))
            .collect()
    }

    /// A password or key: written, from the environment, or `file:path`.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.note(key, What::Text);
        let (line, written) = self.string(key)?;
        let value = match reference::path(written) {
            None => self.expanded(key, line, written)?.value,
            Some(path) => {
                let path = self.expanded(key, line, path)?;
                let file = reference::contents(&path.value).map_err(|error| {
                    self.source.wrong(
                        line,
                        format!("`{key}`: the file {} can't be read: {error}", path.shown),
                        "file: is followed by a path, seen from the working directory",
                    );
                });
                file.ok()?
            }
        };
        if value.is_empty() {
            self.empty(key, line);
            return None;
        }
        Some(Secret::new(value))
    }

    /// A table inside this one.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.note(key, What::Section);
        let value = self.entry(key)?;
        self.inner(key, self.line_of(key), value)
    }

    /// A table inside this one, or `false`, which says that there is none.
    pub fn section_or_none(&mut self, key: &'static str) -> Option<Option<Section<'a>>> {
        self.note(key, What::SectionOrNone);
        let value = self.entry(key)?;
        match value.get_ref().as_bool() {
            Some(false) => Some(None),
            Some(true) | None => Some(Some(self.inner(key, self.line_of(key), value)?)),
        }
    }

    /// An array of tables.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.note(key, What::Sections);
        let Some(value) = self.entry(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.source.wrong(
                self.line_of(key),
                format!("`{key}` must be an array of tables, found {}", kind(value)),
                format!("write [[{key}]] above each"),
            );
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|element| self.inner(key, self.source.line(&element.span()), element))
            .collect()
    }

    /// The tables inside this one, whatever their names.
    pub fn all(&self) -> Vec<(String, Section<'a>)> {
        self.entries
            .iter()
            .filter_map(|(key, value)| {
                let line = self.source.line(&key.span());
                let name = key.get_ref().to_string();
                let mut inner = self.inner(key.get_ref(), line, value)?;
                inner.place = join(&self.place, "*");
                self.note("*", What::Section);
                Some((name, inner))
            })
            .collect()
    }

    /// Reports every key that nothing asked for.
    pub fn finish(self) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let line = self.source.line(&key.span());
            let path = self.path_of(name);
            if let Some(unbuilt) = unbuilt::key(&path) {
                let message = format!("`{path}` isn't built yet");
                self.source.wrong(line, message, unbuilt.instead);
                continue;
            }
            let message = match self.path.as_str() {
                "" => format!("unknown key `{name}`"),
                _ => format!("unknown key `{name}` in {}", self.title()),
            };
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.source.wrong(line, message, hint);
        }
    }

    /// One of a few, out of a string that was read already.
    pub fn choose<T: Copy>(&self, key: &str, text: &Text, choices: &[(&str, T)]) -> Option<T> {
        let value = text.value.to_ascii_lowercase();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value) {
            return Some(*choice);
        }
        if let Some(unbuilt) = unbuilt::value(&self.path_of(key), &value) {
            let message = format!("{key} = \"{value}\" isn't built yet");
            self.source.wrong(text.line, message, unbuilt.instead);
            return None;
        }
        let names = choices.iter().map(|(name, _)| *name);
        let hint = match nearest(&value, names.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
                format!("write {}", quoted.join(", or "))
            }
        };
        let message = format!("`{key}` can't be \"{}\"", text.shown);
        self.source.wrong(text.line, message, hint);
        None
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    fn string(&mut self, key: &'static str) -> Option<(usize, &'a str)> {
        let value = self.entry(key)?;
        let written = value.get_ref().as_str();
        if written.is_none() {
            self.mistyped(key, "a string", value);
        }
        Some((self.source.line(&value.span()), written?))
    }

    fn expanded(&self, key: &str, line: usize, written: &str) -> Option<Text> {
        match reference::expand(written, self.source.env) {
            Ok((value, referred)) if !value.is_empty() => Some(Text {
                shown: match referred {
                    true => written.to_owned(),
                    false => value.clone(),
                },
                value,
                line,
            }),
            Ok(_) => {
                self.empty(key, line);
                None
            }
            Err(broken) => {
                let message = format!("`{key}`: {}", broken.message);
                self.source.wrong(line, message, broken.hint);
                None
            }
        }
    }

    fn inner(
        &self,
        key: &str,
        line: usize,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Section<'a>> {
        let Some(entries) = value.get_ref().as_table() else {
            self.mistyped(key, "a table", value);
            return None;
        };
        Some(Section {
            source: self.source,
            line,
            path: self.path_of(key),
            place: join(&self.place, key),
            entries,
            known: Vec::new(),
        })
    }

    fn empty(&self, key: &str, line: usize) {
        self.source
            .wrong(line, format!("`{key}` is empty"), "give it a value");
    }

    fn mistyped(&self, key: &str, expected: &str, found: &Spanned<DeValue<'_>>) {
        self.source.wrong(
            self.source.line(&found.span()),
            format!("`{key}` has the wrong type"),
            format!("expected {expected}, found {}", kind(found)),
        );
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Notes what was asked for.
    fn note(&self, key: &str, what: What) {
        let place = join(&self.place, key);
        self.source.asked.borrow_mut().insert(place, what);
    }

    fn title(&self) -> String {
        match self.path.as_str() {
            "table" => "[[table]]".to_owned(),
            path => format!("[{path}]"),
        }
    }
}

fn names_of<T>(choices: &[(&str, T)]) -> Vec<String> {
    choices.iter().map(|(name, _)| (*name).to_owned()).collect()
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The known word that was probably meant: at most a third of the letters differ.
fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .min()
        .filter(|(distance, _)| *distance <= (word.chars().count() / 3).max(1))
        .map(|(_, name)| name)
}
