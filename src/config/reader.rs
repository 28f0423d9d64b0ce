//! Layers file, environment and flags into one table of texts, and hands out typed values.
//!
//! A layer added later beats an earlier one. Whatever is wrong is noted and the default goes on in its place, so that all
//! problems of a configuration are told at once; [`Reader::finish`] fails if there was any.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, Origin, Problem};
use super::key::{ENV_NOT_KEYS, ENV_PREFIX, Key, KeyType, Section, known_section, nearest, reference, section_names};

#[derive(Clone, Debug)]
struct Given {
    text: String,
    origin: Origin,
}

/// The values given so far, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    given: BTreeMap<String, Given>,
    problems: Vec<Problem>,
}

impl Reader {
    /// Adds the keys of a TOML file; `path` is for messages.
    pub fn add_file(&mut self, path: &str, text: &str) {
        let at = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(text, offset) };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let origin = at(error.span().map_or(0, |span| span.start));
                return self.note(origin, None, format!("not valid TOML: {}", error.message()));
            }
        };
        for (name, value) in table.get_ref() {
            let origin = at(name.span().start);
            match value.get_ref() {
                DeValue::Table(section) => self.add_section(name.get_ref(), section, origin, &at),
                plain => self.add_file_value(Section::Top, name.get_ref(), plain, origin),
            }
        }
    }

    fn add_section(&mut self, name: &str, table: &DeTable<'_>, origin: Origin, at: &impl Fn(usize) -> Origin) {
        let Some(section) = known_section(name) else {
            return self.note(origin, None, unknown_section(name));
        };
        for (key, value) in table {
            self.add_file_value(Section::Named(section), key.get_ref(), value.get_ref(), at(key.span().start));
        }
    }

    fn add_file_value(&mut self, section: Section, name: &str, value: &DeValue<'_>, origin: Origin) {
        let Some(key) = reference().find(|key| key.section == section && key.name == name) else {
            return self.note(origin, None, unknown_file_key(section, name));
        };
        match text_of(key, value) {
            Ok(text) => self.add(key, text, origin),
            Err(message) => self.note(origin, Some(key), message),
        }
    }

    /// Adds the variables that begin with [`ENV_PREFIX`].
    pub fn add_env(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in env {
            if !name.starts_with(ENV_PREFIX) || ENV_NOT_KEYS.contains(&name.as_str()) {
                continue;
            }
            match reference().find(|key| key.env() == name) {
                Some(key) => self.add(key, value, Origin::Env(name)),
                None => {
                    let known = nearest(&name, reference().map(Key::env)).unwrap_or_default();
                    self.note(Origin::Env(name), None, format!("no such key; did you mean {known}?"));
                }
            }
        }
    }

    /// Adds the value of a flag.
    pub fn add_flag(&mut self, key: &Key, flag: &'static str, value: &str) {
        self.add(key, value.to_owned(), Origin::Flag(flag));
    }

    fn add(&mut self, key: &Key, text: String, origin: Origin) {
        self.given.insert(key.path(), Given { text, origin });
    }

    /// The key's value, or its default.
    pub fn read<T, E: ToString>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, E>) -> T {
        self.read_given(key, &parse).unwrap_or_else(|| match parse(key.default) {
            Ok(value) => value,
            Err(error) => unreachable!("the default of {} is tested to parse: {}", key.path(), error.to_string()),
        })
    }

    /// The key's value if one was given and is right. For keys without a default, or with one that depends on others.
    pub fn read_given<T, E: ToString>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let given = self.given.get(&key.path())?.clone();
        match parse(&given.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(given.origin, Some(key), error.to_string());
                None
            }
        }
    }

    /// Notes that the value of `key`, wherever it came from, cannot be used.
    pub fn refuse(&mut self, key: &Key, message: String) {
        let origin = self.given.get(&key.path()).map_or(Origin::Default, |given| given.origin.clone());
        self.note(origin, Some(key), message);
    }

    fn note(&mut self, origin: Origin, key: Option<&Key>, message: String) {
        self.problems.push(Problem { origin, key: key.map(Key::path), message });
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Everything that was wrong, in the order in which it was found.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.problems)) }
    }
}

/// The value's text if TOML's type fits the key's.
fn text_of(key: &Key, value: &DeValue<'_>) -> Result<String, String> {
    match (key.kind, value) {
        (KeyType::Count, DeValue::Integer(integer)) if integer.radix() == 10 => Ok(integer.as_str().to_owned()),
        (KeyType::Count, other) => Err(format!("expected a whole number, found {}", described(other))),
        (KeyType::Switch, DeValue::Boolean(on)) => Ok(on.to_string()),
        (KeyType::Switch, other) => Err(format!("expected true or false, found {}", described(other))),
        (KeyType::List, DeValue::Array(items)) => list_of(items),
        (KeyType::List, other) => {
            Err(format!("expected a list of texts, as [\"a\", \"b\"], found {}", described(other)))
        }
        (_, DeValue::String(text)) => Ok(text.to_string()),
        (_, other) => {
            let example = match key.kind {
                KeyType::Address => "an address in quotes, as \"0.0.0.0:8080\"",
                KeyType::Duration => "a duration in quotes, as \"2s\"",
                KeyType::Bitrate => "a bitrate in quotes, as \"50M\"",
                KeyType::Size => "a size in quotes, as \"10GiB\"",
                _ => "a text in quotes",
            };
            Err(format!("expected {example}, found {}", described(other)))
        }
    }
}

/// As the environment writes it.
fn list_of(items: &DeArray<'_>) -> Result<String, String> {
    let texts = items.iter().map(|item| match item.get_ref() {
        DeValue::String(text) if text.contains(',') => {
            Err(format!("\"{text}\" holds a comma: write one text for each"))
        }
        DeValue::String(text) => Ok(text.as_ref()),
        other => Err(format!("expected texts in the list, found {}", described(other))),
    });
    texts.collect::<Result<Vec<_>, _>>().map(|texts| texts.join(","))
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown_section(name: &str) -> String {
    let known = nearest(name, section_names().map(str::to_owned)).unwrap_or_default();
    format!("unknown section [{name}]; did you mean [{known}]?")
}

fn unknown_file_key(section: Section, name: &str) -> String {
    let siblings = reference().filter(|key| key.section == section);
    match section {
        Section::Named(section) => {
            let known = nearest(name, siblings.map(|key| key.name.to_owned())).unwrap_or_default();
            format!("unknown key {section}.{name}; did you mean {section}.{known}?")
        }
        Section::Top => {
            // A plain value above all sections may also be a key whose section header was forgotten.
            let full = |key: &Key| key.path();
            let known = reference().find(|key| key.name == name).map(full);
            let known = known.or_else(|| nearest(name, siblings.map(full))).unwrap_or_default();
            format!("unknown key {name}; did you mean {known}?")
        }
    }
}

/// The line, counted from 1, that holds byte `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(["", "a", "\n", "a\nb\n"].map(|text| line_of(text, text.len())), [1, 1, 2, 3]);
        assert_eq!(line_of("a\nb", 1), 1);
    }

    #[test]
    fn later_layers_win_and_are_blamed() {
        let mut reader = Reader::default();
        reader.add_file("a.toml", "data_dir = 'file'");
        reader.add_env([("MILLSTREAM_DATA_DIR".to_owned(), "env".to_owned())]);
        assert_eq!(reader.read(&super::super::DATA_DIR, |text| Ok::<_, String>(text.to_owned())), "env");
        reader.add_flag(&super::super::DATA_DIR, "--data-dir", "flag");
        assert_eq!(reader.read(&super::super::DATA_DIR, |text| Ok::<_, String>(text.to_owned())), "flag");
        reader.refuse(&super::super::DATA_DIR, "no".to_owned());
        assert_eq!(reader.finish().map_err(|error| error.to_string()), Err("--data-dir: no".to_owned()));
    }
}
