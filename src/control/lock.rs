//! One process per data folder: an advisory lock on `<data_dir>/lock`, taken by the daemon and by offline commands.
//!
//! `flock` is given back by the kernel however the process ends, so that a killed daemon never leaves a stale lock. The
//! file holds the holder's process id, for people only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Name of the lock file in the data folder.
const FILE_NAME: &str = "lock";

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}; stop it first, or use another data_dir", data_dir.display(), holder_text(*.pid))]
    Held {
        /// The data folder.
        data_dir: PathBuf,
        /// The process, when its id could be read.
        pid: Option<u32>,
    },
    /// The folder or the lock file cannot be used.
    #[error("cannot use the data folder {}: {source}", data_dir.display())]
    Io {
        /// The data folder.
        data_dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn holder_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of `data_dir`, which is made with mode 0700 when it is missing. Does not wait.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be used.
    pub fn acquire(data_dir: &Path) -> Result<DataDirLock, LockError> {
        let io = |source| LockError::Io { data_dir: data_dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(io)?;
        let path = data_dir.join(FILE_NAME);
        let mut options = OpenOptions::new();
        // Not truncated on opening: the holder's id must stay readable.
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { data_dir: data_dir.to_owned(), pid: read_pid(&path) });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(DataDirLock { _file: file })
    }

    /// Whether some process has the lock of `data_dir` now: for `check`, which changes nothing.
    pub fn holder(data_dir: &Path) -> Option<LockError> {
        let path = data_dir.join(FILE_NAME);
        let file = File::open(&path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Some(LockError::Held { data_dir: data_dir.to_owned(), pid: read_pid(&path) }),
            _ => None,
        }
    }
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_second_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data_dir = dir.path().join("data");
        assert!(DataDirLock::holder(&data_dir).is_none());
        let first = DataDirLock::acquire(&data_dir).expect("the lock is free");
        let expected = format!(
            "{} is in use by process {}; stop it first, or use another data_dir",
            data_dir.display(),
            std::process::id()
        );
        let second = DataDirLock::acquire(&data_dir).expect_err("the lock is held");
        assert_eq!(second.to_string(), expected);
        assert_eq!(DataDirLock::holder(&data_dir).map(|held| held.to_string()), Some(expected));
        drop(first);
        assert!(DataDirLock::holder(&data_dir).is_none());
        DataDirLock::acquire(&data_dir).expect("the lock is free again");
    }

    #[test]
    fn the_folder_is_private() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data_dir = dir.path().join("a/b");
        let _lock = DataDirLock::acquire(&data_dir).expect("the lock is free");
        let mode = |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&data_dir.join(FILE_NAME))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let error = DataDirLock::acquire(&file.join("data")).expect_err("a file is no folder");
        assert_eq!(
            error.to_string(),
            format!("cannot use the data folder {}: Not a directory (os error 20)", file.join("data").display())
        );
    }
}
