//! Everything that is printed.
//!
//! Standard output carries answers only, so that it can be piped; errors and hints go to standard error. Text is plain:
//! aligned columns, no colours, no control characters (what is printed was checked when it was stored).

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// Where answers and errors go.
pub struct Output {
    answers: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    /// The process's own.
    pub fn stdio() -> Self {
        Output::new(io::stdout(), io::stderr())
    }

    /// Any two writers: for tests.
    pub fn new(answers: impl Write + Send + 'static, errors: impl Write + Send + 'static) -> Self {
        Output { answers: Box::new(answers), errors: Box::new(errors) }
    }

    /// One line of text.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.answers, "{text}")
    }

    /// One line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(&text)
    }

    /// Names and values, one pair a line, the values aligned.
    pub(super) fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        fields.iter().try_for_each(|(name, value)| self.line(format!("{name:width$}  {value}").trim_end()))
    }

    /// A table with a line of headings, the columns aligned. Without rows, `empty` is said instead.
    pub(super) fn table<const N: usize>(
        &mut self,
        headings: [&str; N],
        rows: &[[String; N]],
        empty: &str,
    ) -> io::Result<()> {
        if rows.is_empty() {
            return self.line(empty);
        }
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
        });
        self.row(&widths, headings)?;
        rows.iter().try_for_each(|row| self.row(&widths, row.each_ref().map(String::as_str)))
    }

    fn row<const N: usize>(&mut self, widths: &[usize; N], cells: [&str; N]) -> io::Result<()> {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        self.line(padded.join("  ").trim_end())
    }

    /// An error with its causes, and what to try next. Where even this cannot be written, the exit code must do.
    pub fn failure(&mut self, error: &dyn Error, hint: Option<&str>) {
        let mut text = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let reason = error.to_string();
            // Some errors say their cause themselves.
            if !text.ends_with(&reason) {
                text.push_str(&format!("\n  because: {reason}"));
            }
            cause = error.source();
        }
        if let Some(hint) = hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        let _ = writeln!(self.errors, "{text}");
    }
}

/// A dash stands for what is not there.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(print: impl FnOnce(&mut Output) -> io::Result<()>) -> String {
        let (answers, errors) = (Shared::default(), Shared::default());
        print(&mut Output::new(answers.clone(), errors.clone())).expect("memory takes all");
        let text = |shared: Shared| String::from_utf8(shared.0.lock().expect("no panic").clone()).expect("UTF-8");
        format!("{}{}", text(answers), text(errors))
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [["1", "Zürich", "x"], ["22", "a", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(
            printed(|output| output.table(["ID", "NAME", "END"], &rows, "none")),
            "ID  NAME    END\n1   Zürich  x\n22  a\n"
        );
        assert_eq!(printed(|output| output.table(["ID"], &[], "none")), "none\n");
        let fields = [("id", "1".to_owned()), ("created", or_dash(None::<u8>))];
        assert_eq!(printed(|output| output.fields(&fields)), "id       1\ncreated  -\n");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let told = |error: &dyn Error, hint| {
            printed(|output| {
                output.failure(error, hint);
                Ok(())
            })
        };
        let source = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = crate::config::ConfigError::Unreadable { path: "x.toml".into(), source: source() };
        assert_eq!(
            told(&error, Some("look again")),
            "error: cannot read the configuration file x.toml: no such file\nhint: look again\n"
        );
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open x.db")]
        struct Outer(#[source] io::Error);
        assert_eq!(told(&Outer(source()), None), "error: cannot open x.db\n  because: no such file\n");
    }
}
