//! An object store in memory that fails and waits by script, and watches that no playlist ever names what is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;

use super::listed;

/// Whether the request that puts or deletes this key fails.
type Script = Box<dyn FnMut(&str) -> bool + Send>;

pub struct ScriptedObjects {
    inner: InMemory,
    script: Mutex<Option<Script>>,
    /// Puts of media pass only with a permit while this is set.
    held: AtomicBool,
    permits: Semaphore,
    /// Time that each put takes.
    latency: Mutex<Duration>,
    playlists: Mutex<BTreeMap<String, String>>,
    violations: Mutex<Vec<String>>,
    pub attempts: AtomicU64,
    /// Keys whose put reached the store, in order.
    pub order: Mutex<Vec<String>>,
}

impl Default for ScriptedObjects {
    fn default() -> Self {
        ScriptedObjects {
            inner: InMemory::new(),
            script: Mutex::default(),
            held: AtomicBool::new(false),
            permits: Semaphore::new(0),
            latency: Mutex::default(),
            playlists: Mutex::default(),
            violations: Mutex::default(),
            attempts: AtomicU64::new(0),
            order: Mutex::default(),
        }
    }
}

impl ScriptedObjects {
    /// Requests whose key `fails` says yes to fail from now on.
    pub fn fail(&self, fails: impl FnMut(&str) -> bool + Send + 'static) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fails));
    }

    pub fn succeed(&self) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Puts of segments and inits wait from now on.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Lets `puts` of them pass.
    pub fn release(&self, puts: usize) {
        self.permits.add_permits(puts);
    }

    pub fn slow(&self, latency: Duration) {
        *self.latency.lock().expect("no panic") = latency;
    }

    /// Keys of all objects, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let listing: Vec<_> = self.inner.list(None).collect().await;
        let mut keys: Vec<_> = listing.into_iter().map(|meta| meta.expect("listed").location.to_string()).collect();
        keys.sort();
        keys
    }

    pub async fn bytes(&self, key: &str) -> Bytes {
        self.inner.get(&Path::from(key)).await.expect("is there").bytes().await.expect("read")
    }

    /// The moments at which a stored playlist named something absent.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().expect("no panic").clone()
    }

    fn attempt(&self, key: &str) -> Result<()> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        // A script may panic, to see what becomes of whoever asked.
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = script.as_mut().is_some_and(|script| script(key));
        drop(script);
        if fails { Err(Error::Generic { store: "scripted", source: "scripted failure".into() }) } else { Ok(()) }
    }

    /// Looks at every stored playlist, as a viewer might at this moment.
    async fn audit(&self, after: &str) {
        let playlists = self.playlists.lock().expect("no panic").clone();
        for (key, text) in playlists {
            let folder = key.trim_end_matches("index.m3u8");
            for name in listed(&text) {
                let path = Path::from(format!("{folder}{name}"));
                if self.inner.head(&path).await.is_err() {
                    self.violations.lock().expect("no panic").push(format!("after {after}: {key} names {name}"));
                }
            }
        }
    }
}

impl fmt::Debug for ScriptedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedObjects")
    }
}

impl fmt::Display for ScriptedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

impl ObjectStore for ScriptedObjects {
    fn put_opts<'a, 'b, 'f>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let key = location.to_string();
            let latency = *self.latency.lock().expect("no panic");
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            if self.held.load(Ordering::SeqCst) && !key.ends_with(".m3u8") {
                self.permits.acquire().await.expect("open").forget();
            }
            self.attempt(&key)?;
            let text: Vec<u8> = payload.iter().flatten().copied().collect();
            let put = self.inner.put_opts(location, payload, options).await?;
            self.order.lock().expect("no panic").push(key.clone());
            if key.ends_with(".m3u8") {
                let text = String::from_utf8(text).expect("text");
                self.playlists.lock().expect("no panic").insert(key.clone(), text);
            }
            self.audit(&key).await;
            Ok(put)
        })
    }

    fn put_multipart_opts<'a, 'b, 'f>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'f>(&'a self, location: &'b Path, options: GetOptions) -> BoxFuture<'f, Result<GetResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.get_opts(location, options)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // The trait wants a stream without borrows; deletions of one key at a time are all that the store asks for.
        let locations: Vec<_> = futures_util::FutureExt::now_or_never(locations.collect::<Vec<_>>()).expect("ready");
        let allowed = locations.into_iter().map(|location| {
            let location = location?;
            self.attempt(location.as_ref())?;
            self.playlists.lock().expect("no panic").remove(location.as_ref());
            Ok(location)
        });
        let allowed: Vec<_> = allowed.collect();
        let deleted = self.inner.delete_stream(futures_util::stream::iter(allowed).boxed());
        let deleted: Vec<_> = futures_util::FutureExt::now_or_never(deleted.collect::<Vec<_>>()).expect("in memory");
        for location in deleted.iter().flatten() {
            let audit = self.audit(location.as_ref());
            futures_util::FutureExt::now_or_never(audit).expect("in memory");
        }
        futures_util::stream::iter(deleted).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'f>(&'a self, prefix: Option<&'b Path>) -> BoxFuture<'f, Result<ListResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'c, 'f>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        self.inner.copy_opts(from, to, options)
    }
}
