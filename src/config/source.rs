//! The only IO of configuration: reads the file and the environment, then hands both to [`Config::parse`].

use std::ffi::OsString;
use std::path::Path;

use super::key::ENV_PREFIX;
use super::{Config, ConfigError, Overrides};

impl Config {
    /// Reads `file` (if any) and this process's environment.
    ///
    /// # Errors
    /// The file cannot be read, or [`Config::parse`] refuses what was found.
    pub fn load(file: Option<&Path>, flags: &Overrides) -> Result<Config, ConfigError> {
        let env = our_variables(std::env::vars_os())?;
        let Some(path) = file else { return Config::parse(flags, env, None) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Config::parse(flags, env, Some((&path.to_string_lossy(), &text)))
    }
}

/// Those with our prefix. Others may hold any bytes and are no business of ours.
fn our_variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    all.filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .map(|(name, value)| match (name.to_str(), value.into_string()) {
            (Some(text), Ok(value)) => Ok((text.to_owned(), value)),
            _ => Err(ConfigError::NotUtf8 { name: name.to_string_lossy().into_owned() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn only_our_variables_are_looked_at() {
        let garbage = OsString::from_vec(vec![0xff]);
        let ours = || OsString::from("MILLSTREAM_DATA_DIR");
        let read = our_variables([("PATH".into(), garbage.clone()), (ours(), "x".into())].into_iter());
        assert_eq!(read.ok(), Some(vec![("MILLSTREAM_DATA_DIR".to_owned(), "x".to_owned())]));
        let error = our_variables([(ours(), garbage)].into_iter()).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("MILLSTREAM_DATA_DIR: not valid UTF-8"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("no/such/file.toml")), &Overrides::default());
        assert_eq!(
            error.err().map(|error| error.to_string()).as_deref(),
            Some("cannot read the configuration file no/such/file.toml: No such file or directory (os error 2)")
        );
    }
}
