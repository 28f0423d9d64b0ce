//! What is wrong with a configuration, and where it was written.

use std::fmt;
use std::path::PathBuf;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An environment variable of ours is not text.
    #[error("{name}: not valid UTF-8")]
    NotUtf8 {
        /// The variable, as far as it can be shown.
        name: String,
    },
    /// One or more values are wrong; one line each.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Env(String),
    /// A line of the file, counted from 1.
    File {
        /// The file as it was named.
        path: String,
        /// The line.
        line: usize,
    },
    /// Nothing was given.
    Default,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was written.
    pub origin: Origin,
    /// The key's path; `None` when the problem is no known key's.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `place: key: message`; a flag and a variable name their key already.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.key) {
            (Origin::Flag(name), _) => write!(f, "{name}: {}", self.message),
            (Origin::Env(name), _) => write!(f, "{name}: {}", self.message),
            (Origin::File { path, line }, Some(key)) => write!(f, "{path}:{line}: {key}: {}", self.message),
            (Origin::File { path, line }, None) => write!(f, "{path}:{line}: {}", self.message),
            (Origin::Default, Some(key)) => write!(f, "{key}: {}", self.message),
            (Origin::Default, None) => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_it_was_written() {
        let says = |origin, key: Option<&str>| {
            Problem { origin, key: key.map(str::to_owned), message: "is wrong".to_owned() }.to_string()
        };
        let line = Origin::File { path: "a.toml".to_owned(), line: 3 };
        assert_eq!(says(line.clone(), Some("hls.part")), "a.toml:3: hls.part: is wrong");
        assert_eq!(says(line, None), "a.toml:3: is wrong");
        assert_eq!(says(Origin::Env("MILLSTREAM_X".to_owned()), Some("x")), "MILLSTREAM_X: is wrong");
        assert_eq!(says(Origin::Flag("--data-dir"), Some("data_dir")), "--data-dir: is wrong");
        assert_eq!(says(Origin::Default, Some("hls.part")), "hls.part: is wrong");
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = ConfigError::Unreadable { path: "x.toml".into(), source };
        assert_eq!(error.to_string(), "cannot read the configuration file x.toml: no such file");
        assert_eq!(ConfigError::NotUtf8 { name: "MILLSTREAM_X".into() }.to_string(), "MILLSTREAM_X: not valid UTF-8");
    }
}
