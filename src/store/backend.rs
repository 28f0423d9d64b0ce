//! Where objects go: `storage.url` becomes an `object_store`, and keys become paths.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutOptions, PutPayload};

use super::StoreError;
use super::files::{Files, Filesystem, OsFiles};

/// An object store and what it can do.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The store. Its own retries should be few: the uploads repeat until they succeed.
    pub objects: Arc<dyn ObjectStore>,
    /// Whether it takes attributes (Content-Type, Cache-Control). A plain folder refuses them.
    pub attributes: bool,
    /// What has to be synced before an object that was put is durable. `None` for a store that answers when it is.
    pub filesystem: Option<Arc<dyn Filesystem>>,
}

impl Backend {
    /// The backend of `url`: `memory:`, `file:PATH` (relative or absolute) or `file:///PATH`. The path is taken as it
    /// stands, without percent-decoding, and is made if it is not there.
    ///
    /// # Errors
    /// The URL is of another kind, or the folder cannot be made.
    pub fn from_url(url: &str) -> Result<Backend, StoreError> {
        let refuse = |reason| StoreError::Url { url: url.to_owned(), reason };
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(refuse("a URL is needed: file:PATH or memory:"));
        };
        match scheme {
            "memory" if rest.is_empty() => Ok(Backend::remote(Arc::new(InMemory::new()))),
            "memory" => Err(refuse("memory: takes nothing behind the colon")),
            "file" => {
                let path = match rest.strip_prefix("//") {
                    Some(path) if path.starts_with('/') => path,
                    Some(_) => return Err(refuse("a file: URL names no host: file:PATH or file:///PATH")),
                    None => rest,
                };
                if path.is_empty() {
                    return Err(refuse("a path is missing behind file:"));
                }
                Backend::folder(PathBuf::from(path))
            }
            _ => Err(refuse("only file: and memory: are known here")),
        }
    }

    /// A store that takes attributes and answers when an object is durable.
    pub fn remote(objects: Arc<dyn ObjectStore>) -> Backend {
        Backend { objects, attributes: true, filesystem: None }
    }

    /// Objects as files below `root`. They are synced together ([`super::settle`]), or each by itself where the system
    /// cannot do that.
    fn folder(root: PathBuf) -> Result<Backend, StoreError> {
        fs::create_dir_all(&root).map_err(StoreError::disk("make the folder", &root))?;
        let local = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| StoreError::Object { key: root.display().to_string(), source })?;
        let filesystem = OsFiles.filesystem(&root);
        let local = local.with_fsync(filesystem.is_none()).with_automatic_cleanup(true);
        Ok(Backend { objects: Arc::new(local), attributes: false, filesystem })
    }

    /// Writes, reads and deletes an object of no meaning, as `millstream check` does before anything depends on it. Answers
    /// with what was done, for people.
    ///
    /// # Errors
    /// Whichever step failed.
    pub async fn probe(&self) -> Result<String, StoreError> {
        const KEY: &str = "millstream-probe";
        const TEXT: &[u8] = b"written by millstream check";
        let failed = |source| StoreError::Object { key: KEY.to_owned(), source };
        self.put(KEY, Bytes::from_static(TEXT), "text/plain").await.map_err(failed)?;
        let read = self.get(KEY, None).await?;
        self.delete(KEY).await.map_err(failed)?;
        if read.as_deref() == Some(TEXT) {
            Ok("one object written, read and deleted".to_owned())
        } else {
            Err(failed(object_store::Error::Generic {
                store: "probe",
                source: "what was read is not what was written".into(),
            }))
        }
    }

    /// Puts a whole object, over any earlier one of this key.
    pub(crate) async fn put(
        &self,
        key: &str,
        payload: impl Into<PutPayload>,
        content_type: &'static str,
    ) -> object_store::Result<()> {
        let mut options = PutOptions::default();
        if self.attributes {
            options.attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        }
        self.objects.put_opts(&Path::from(key), payload.into(), options).await.map(|_| ())
    }

    /// The object, or these bytes of it; `None` when it is not there.
    pub(crate) async fn get(
        &self,
        key: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Option<Bytes>, StoreError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let got = match self.objects.get_opts(&Path::from(key), options).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(StoreError::Object { key: key.to_owned(), source }),
        }
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> object_store::Result<()> {
        match self.objects.delete(&Path::from(key)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_url() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b c");
        for url in [format!("file:{}", path.display()), format!("file://{}", path.display())] {
            let backend = Backend::from_url(&url).expect("usable");
            assert!(!backend.attributes && path.is_dir(), "{url}");
        }
        assert!(Backend::from_url("memory:").expect("usable").attributes);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let reason = |url: &str| Backend::from_url(url).expect_err("refused").to_string();
        assert_eq!(reason("objects"), "storage.url `objects`: a URL is needed: file:PATH or memory:");
        assert_eq!(reason("file:"), "storage.url `file:`: a path is missing behind file:");
        assert_eq!(
            reason("file://host/x"),
            "storage.url `file://host/x`: a file: URL names no host: file:PATH or file:///PATH"
        );
        assert_eq!(reason("memory:x"), "storage.url `memory:x`: memory: takes nothing behind the colon");
        assert_eq!(reason("s3://bucket"), "storage.url `s3://bucket`: only file: and memory: are known here");
        assert!(reason("file:/proc/none").starts_with("cannot make the folder `/proc/none`: "));
    }

    #[tokio::test]
    async fn absent_objects_are_none_and_deleted_already() {
        let folder = tempfile::tempdir().expect("a folder");
        for url in ["memory:".to_owned(), format!("file:{}", folder.path().display())] {
            let backend = Backend::from_url(&url).expect("usable");
            assert_eq!(backend.get("live/a/b", None).await.expect("no error"), None);
            backend.delete("live/a/b").await.expect("no error");
            backend.put("live/a/b", Bytes::from_static(b"012345"), "text/plain").await.expect("put");
            assert_eq!(backend.get("live/a/b", None).await.expect("got"), Some(Bytes::from_static(b"012345")));
            assert_eq!(backend.get("live/a/b", Some(2..4)).await.expect("got"), Some(Bytes::from_static(b"23")));
            backend.delete("live/a/b").await.expect("deleted");
            assert_eq!(backend.get("live/a/b", None).await.expect("no error"), None);
        }
    }
}
