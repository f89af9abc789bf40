//! Walks a parsed TOML document, collecting every mistake with its line instead of stopping at the first.
//! A reading function returns a value even when a field is wrong (its default), because the mistakes decide
//! in the end whether anybody sees it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Mistake;

pub(crate) struct Reader<'t> {
    text: &'t str,
    folder: &'t Path,
    table: Option<Spanned<DeTable<'t>>>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str, folder: &'t Path) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let reader = Self { text, folder, table: None, mistakes: RefCell::default() };
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.mistake_at(at, error.message().to_owned());
        }
        Self { table: errors.is_empty().then_some(table), ..reader }
    }

    /// The document's top table, or nothing if it is not TOML.
    pub(crate) fn root(&mut self) -> Option<Section<'_>> {
        let table = self.table.as_ref()?;
        Some(Section {
            reader: self,
            name: String::new(),
            at: 0,
            table: Some(table.get_ref()),
            seen: BTreeSet::new(),
        })
    }

    pub(crate) fn mistake_at(&self, byte: usize, message: String) {
        let line = self.text.as_bytes().iter().take(byte).filter(|b| **b == b'\n').count() + 1;
        self.mistakes.borrow_mut().push(Mistake { line, message });
    }

    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        mistakes
    }
}

/// One table of the document, and what has been asked of it.
pub(crate) struct Section<'r> {
    reader: &'r Reader<'r>,
    name: String,
    at: usize,
    table: Option<&'r DeTable<'r>>,
    seen: BTreeSet<&'static str>,
}

impl<'r> Section<'r> {
    /// Reads a sub-table; an absent one is read as empty, so that its defaults and required fields apply.
    pub(crate) fn section<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let found = self.value(name);
        let (at, table) = match found {
            Some((at, DeValue::Table(table))) => (at, Some(table)),
            Some((at, other)) => {
                self.reader.mistake_at(
                    at,
                    format!("{}: must be a table, not {}", self.path(name), other.type_str()),
                );
                (at, None)
            }
            None => (self.at, None),
        };
        let mut section =
            Section { reader: self.reader, name: self.path(name), at, table, seen: BTreeSet::new() };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Reads an array of tables, each with the byte it begins at.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&mut Section<'_>) -> T,
    ) -> Vec<(usize, T)> {
        let Some((at, value)) = self.value(name) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            self.reader.mistake_at(
                at,
                format!("{0}: must be [[{0}]] tables, not {1}", self.path(name), value.type_str()),
            );
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items.iter() {
            let at = item.span().start;
            let DeValue::Table(table) = item.get_ref() else {
                self.reader.mistake_at(
                    at,
                    format!("{}: must be a table, not {}", self.path(name), item.get_ref().type_str()),
                );
                continue;
            };
            let mut section = Section {
                reader: self.reader,
                name: self.path(name),
                at,
                table: Some(table),
                seen: BTreeSet::new(),
            };
            list.push((at, read(&mut section)));
            section.finish();
        }
        list
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(&mut self) {
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            if !self.seen.contains(key.get_ref().as_ref()) {
                let path = self.path(key.get_ref());
                self.reader.mistake_at(key.span().start, format!("{path}: unknown field"));
            }
        }
    }

    fn path(&self, field: &str) -> String {
        if self.name.is_empty() { field.to_owned() } else { format!("{}.{field}", self.name) }
    }

    fn value(&mut self, name: &'static str) -> Option<(usize, &'r DeValue<'r>)> {
        self.seen.insert(name);
        let found = self.table?.get(name)?;
        Some((found.span().start, found.get_ref()))
    }

    /// Whether a field is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.get(name).is_some())
    }

    pub(crate) fn mistake(&self, field: &str, message: &str) {
        let at = self.table.and_then(|table| table.get(field)).map_or(self.at, |value| value.span().start);
        self.reader.mistake_at(at, format!("{}: {message}", self.path(field)));
    }

    /// A mistake in a table further down, which begins at `at`.
    pub(crate) fn mistake_at(&self, at: usize, field: &str, message: &str) {
        self.reader.mistake_at(at, format!("{}: {message}", self.path(field)));
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'r str> {
        let (_, value) = self.value(name)?;
        if value.as_str().is_none() {
            self.mistake(name, &format!("must be a string, not {}", value.type_str()));
        }
        value.as_str()
    }

    pub(crate) fn required_text(&mut self, name: &'static str) -> String {
        let missing = self.table.is_none_or(|table| table.get(name).is_none());
        if missing {
            self.seen.insert(name);
            self.mistake(name, "is required");
        }
        self.text(name).unwrap_or_default().to_owned()
    }

    /// A required text that a parser accepts; nothing when it is absent or refused (a mistake is noted).
    pub(crate) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let before = self.reader.mistakes.borrow().len();
        let text = self.required_text(name);
        if self.reader.mistakes.borrow().len() > before {
            return None;
        }
        parse(&text).map_err(|error| self.mistake(name, &error.to_string())).ok()
    }

    pub(crate) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        match self.value(name) {
            None => default,
            Some((_, DeValue::Boolean(value))) => *value,
            Some((_, other)) => {
                self.mistake(name, &format!("must be true or false, not {}", other.type_str()));
                default
            }
        }
    }

    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some((_, value)) = self.value(name) else { return default };
        let number = value.as_integer().and_then(|integer| {
            u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        });
        match number {
            Some(number) if range.contains(&number) => number,
            _ => {
                self.mistake(
                    name,
                    &format!("must be a whole number from {} to {}", range.start(), range.end()),
                );
                default
            }
        }
    }

    /// A number of things.
    pub(crate) fn count(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> usize {
        usize::try_from(self.integer(name, default, range)).unwrap_or(usize::MAX)
    }

    pub(crate) fn milliseconds(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.integer(name, default, range))
    }

    pub(crate) fn address(&mut self, name: &'static str) -> Option<SocketAddr> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| self.mistake(name, "must be an address and port such as 127.0.0.1:8080"))
            .ok()
    }

    pub(crate) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(|text| self.reader.folder.join(text))
    }

    pub(crate) fn required_file(&mut self, name: &'static str) -> PathBuf {
        let text = self.required_text(name);
        self.reader.folder.join(text)
    }

    pub(crate) fn files(&mut self, name: &'static str) -> Vec<PathBuf> {
        let names = self.strings(name, "file names");
        names.into_iter().map(|name| self.reader.folder.join(name)).collect()
    }

    /// A list of texts; `what` says in the plural what they are.
    pub(crate) fn strings(&mut self, name: &'static str, what: &str) -> Vec<String> {
        let Some((_, value)) = self.value(name) else { return Vec::new() };
        let texts = value.as_array().map(|items| items.iter().map(|item| item.get_ref().as_str()));
        match texts.and_then(|texts| texts.collect::<Option<Vec<_>>>()) {
            Some(texts) => texts.into_iter().map(str::to_owned).collect(),
            None => {
                self.mistake(name, &format!("must be a list of {what}"));
                Vec::new()
            }
        }
    }

    /// A list of networks, such as `["10.20.0.0/16"]`.
    pub(crate) fn networks(&mut self, name: &'static str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in self.strings(name, "networks") {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(_) => {
                    self.mistake(name, &format!("{text:?} is no network; it must be such as 10.20.0.0/16"));
                }
            }
        }
        networks
    }

    /// A table of texts, such as `env = { NAME = "value" }`.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<(String, String)> {
        let Some((_, value)) = self.value(name) else { return Vec::new() };
        let pairs = value.as_table().map(|table| {
            table
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), value.get_ref().as_str()?.to_owned())))
        });
        match pairs.and_then(|pairs| pairs.collect::<Option<Vec<_>>>()) {
            Some(pairs) => pairs,
            None => {
                self.mistake(name, "must be a table of strings");
                Vec::new()
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(name) else { return default };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.mistake(name, &format!("must be one of: {}", words.join(", ")));
        default
    }

    pub(crate) fn folder(&self) -> &Path {
        self.reader.folder
    }
}
