//! The layer between the journal and the file system.
//!
//! Everything that the spool asks of a disk goes through [`Files`], so that a double can fail by script, or drop writes
//! that were never synced as a power cut does. Objects do not go through here.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What the spool needs of a file system. All calls may block. What has a body is the operating system's: a double says only
/// what it does otherwise.
pub trait Files: Send + Sync + Debug {
    /// Makes a file that must not exist yet, for appending, with the folders above it.
    ///
    /// # Errors
    /// The file exists, or the file system fails.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        File::open(path)?.read_exact_at(buffer, offset)
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// There is no such file, or the file system fails.
    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    /// Names of the entries of a folder, sorted; empty when there is no folder of this name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The file system fails.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// The file system fails.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_file(path))
    }

    /// Removes a folder if it is empty. One that is not there is no error.
    ///
    /// # Errors
    /// The file system fails.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match absent_is_fine(fs::remove_dir(path)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            result => result,
        }
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// There is no such folder, or the disk fails.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Makes a file durable that an earlier process may have written.
    ///
    /// # Errors
    /// There is no such file, or the disk fails.
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_data()
    }

    /// The file system that a folder lies on, if it can be synced in one call. `None` here, because that call would go past
    /// a double's own [`AppendFile::sync`].
    fn filesystem(&self, folder: &Path) -> Option<Arc<dyn Filesystem>> {
        let _ = folder;
        None
    }

    /// Takes the lock at `path` for as long as the returned value lives. The inner error is what the holder wrote there.
    ///
    /// # Errors
    /// The file cannot be made or locked for another reason than a holder.
    fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "process {}", std::process::id())?;
                Ok(Ok(Box::new(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let holder = io::read_to_string(&file).unwrap_or_default();
                let holder = holder.trim();
                Ok(Err(if holder.is_empty() { "unknown process".to_owned() } else { holder.to_owned() }))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Something that stays the same until the machine starts anew: as long as it does, no write was lost.
    fn boot_id(&self) -> String {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    }
}

/// A file that only grows.
pub trait AppendFile: Send + Sync + Debug {
    /// Appends all slices behind each other, in one call to the system where it takes them whole.
    ///
    /// # Errors
    /// The disk is full or fails; any number of the bytes may have been written.
    fn append(&self, slices: &[&[u8]]) -> io::Result<()>;

    /// Makes everything appended before this call durable.
    ///
    /// # Errors
    /// The disk fails: what was appended since the last call may be lost.
    fn sync(&self) -> io::Result<()>;
}

/// A whole file system. Keep it for as long as its answers matter: it knows of the failures since it was opened.
pub trait Filesystem: Send + Sync + Debug {
    /// Makes everything that was written to the file system before this call durable, by whomever.
    ///
    /// # Errors
    /// Something that was written since this value was made may be lost.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

/// Most slices of one append: a record's head and its payload.
const MAX_SLICES: usize = 4;

impl Files for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn filesystem(&self, folder: &Path) -> Option<Arc<dyn Filesystem>> {
        let opened = File::open(folder).ok()?;
        Some(Arc::new(OsFilesystem(opened)))
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[derive(Debug)]
struct OsFile(File);

impl AppendFile for OsFile {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        let mut vectors = [IoSlice::new(&[]); MAX_SLICES];
        for chunk in slices.chunks(MAX_SLICES) {
            for (vector, slice) in vectors.iter_mut().zip(chunk) {
                *vector = IoSlice::new(slice);
            }
            write_all_vectored(&self.0, &mut vectors[..chunk.len()])?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[derive(Debug)]
struct OsFilesystem(File);

impl Filesystem for OsFilesystem {
    fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.0).map_err(io::Error::from)
    }
}

fn write_all_vectored(mut file: &File, mut vectors: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut vectors, 0); // drops empty slices in front, which would read as a write of nothing
    while !vectors.is_empty() {
        match file.write_vectored(vectors) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut vectors, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_land_behind_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/1.journal");
        let file = OsFiles.create(&path).expect("created");
        file.append(&[b"one", b"", b"two"]).expect("written");
        file.append(&[b"a", b"b", b"c", b"d", b"e"]).expect("written");
        file.sync().expect("synced");
        assert_eq!(fs::read(&path).expect("read"), b"onetwoabcde");
        let mut buffer = [0; 3];
        OsFiles.read_exact_at(&path, &mut buffer, 3).expect("read");
        assert_eq!(&buffer, b"two");
        let end = OsFiles.read_exact_at(&path, &mut buffer, 9).expect_err("past the end");
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(OsFiles.create(&path).expect_err("is there").kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn absent_things_list_as_nothing_and_are_removed_already() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        assert_eq!(OsFiles.list(&absent).expect("listed"), Vec::<String>::new());
        OsFiles.remove_file(&absent).expect("no error");
        OsFiles.remove_folder(&absent).expect("no error");
        fs::write(folder.path().join("x"), "x").expect("written");
        OsFiles.remove_folder(folder.path()).expect("left alone");
        assert_eq!(OsFiles.list(folder.path()).expect("listed"), ["x"]);
    }

    #[test]
    fn the_second_lock_learns_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool/lock");
        let Ok(first) = OsFiles.lock(&path).expect("no disk error") else { panic!("free") };
        let Err(holder) = OsFiles.lock(&path).expect("no disk error") else { panic!("taken") };
        assert_eq!(holder, format!("process {}", std::process::id()));
        drop(first);
        assert!(OsFiles.lock(&path).expect("no disk error").is_ok());
    }
}
