//! Typed reading of a preset's TOML tables: each error knows its file and the whole path of its key.

use std::ops::RangeInclusive;

use toml::Value;

use super::PresetError;

/// The candidate that `word` is most like.
pub(super) fn nearest(word: &str, candidates: &[&str]) -> String {
    let scored = candidates.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, best)| best.to_owned()).unwrap_or_default()
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Table {
    file: String,
    /// `""` for the root, else e.g. `rung[0].x264`.
    path: String,
    values: toml::Table,
}

impl Table {
    pub(super) fn root(file: &str, values: toml::Table) -> Self {
        Table { file: file.to_owned(), path: String::new(), values }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn invalid(&self, key: &str, reason: impl Into<String>) -> PresetError {
        PresetError::Invalid { file: self.file.clone(), key: self.key(key), reason: reason.into() }
    }

    pub(super) fn missing(&self, key: &str, reason: &str) -> PresetError {
        PresetError::Missing { file: self.file.clone(), key: self.key(key), reason: reason.to_owned() }
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &Value) -> PresetError {
        self.invalid(key, format!("expected {expected}, found {}", found.type_str()))
    }

    /// Refuses every key that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), PresetError> {
        match self.values.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(PresetError::UnknownKey {
                file: self.file.clone(),
                key: self.key(key),
                nearest: nearest(key, known),
            }),
        }
    }

    /// Refuses keys that are known but have no place here.
    pub(super) fn forbid(&self, keys: &[&str], reason: &str) -> Result<(), PresetError> {
        match keys.iter().find(|key| self.values.contains_key(**key)) {
            None => Ok(()),
            Some(key) => Err(self.invalid(key, reason)),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, PresetError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong_type(key, "a string", other)),
        }
    }

    pub(super) fn choice(&self, key: &str, allowed: &[&str]) -> Result<Option<String>, PresetError> {
        let text = self.text(key)?;
        match &text {
            Some(word) if !allowed.contains(&word.as_str()) => {
                Err(self.invalid(key, format!("`{word}` is not one of {}", allowed.join(", "))))
            }
            _ => Ok(text),
        }
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, PresetError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) => match u64::try_from(*value) {
                Ok(value) if range.contains(&value) => Ok(Some(value)),
                _ => Err(self.out_of_range(key, &value.to_string(), &range)),
            },
            Some(other) => Err(self.wrong_type(key, "an integer", other)),
        }
    }

    /// Bits or bits per second: an integer, or a string with `k` (1000) or `M` (1000000) behind it.
    pub(super) fn bits(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, PresetError> {
        const FORM: &str = "bits as an integer or as a string like \"3000k\" or \"3M\"";
        let text = match self.values.get(key) {
            None => return Ok(None),
            Some(Value::Integer(_)) => return self.integer(key, range),
            Some(Value::String(text)) => text,
            Some(other) => return Err(self.wrong_type(key, FORM, other)),
        };
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            _ => (text.as_str(), 1),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain {
            return Err(self.invalid(key, format!("`{text}` is not {FORM}")));
        }
        match digits.parse::<u64>().ok().and_then(|value| value.checked_mul(factor)) {
            Some(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(self.out_of_range(key, text, &range)),
        }
    }

    fn out_of_range(&self, key: &str, value: &str, range: &RangeInclusive<u64>) -> PresetError {
        self.invalid(key, format!("{value} is outside of {} to {}", range.start(), range.end()))
    }

    /// A table that must be there.
    pub(super) fn table(&self, key: &str, reason: &str) -> Result<Table, PresetError> {
        match self.values.get(key) {
            None => Err(self.missing(key, reason)),
            Some(Value::Table(values)) => {
                Ok(Table { file: self.file.clone(), path: self.key(key), values: values.clone() })
            }
            Some(other) => Err(self.wrong_type(key, "a table", other)),
        }
    }

    /// An array of 1 to `most` tables that must be there.
    pub(super) fn tables(&self, key: &str, most: usize) -> Result<Vec<Table>, PresetError> {
        let values = match self.values.get(key) {
            None => return Err(self.missing(key, &format!("write at least one [[{key}]]"))),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(self.wrong_type(key, &format!("an array of tables, [[{key}]]"), other)),
        };
        if values.is_empty() || values.len() > most {
            return Err(self.invalid(key, format!("{} of them; 1 to {most} are allowed", values.len())));
        }
        let table = |(index, value): (usize, &Value)| match value {
            Value::Table(values) => {
                let path = format!("{}[{index}]", self.key(key));
                Ok(Table { file: self.file.clone(), path, values: values.clone() })
            }
            other => Err(self.wrong_type(key, &format!("an array of tables, [[{key}]]"), other)),
        };
        values.iter().enumerate().map(table).collect()
    }
}
