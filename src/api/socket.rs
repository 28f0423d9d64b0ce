//! The API on `data_dir/control.sock`, for the command line. Whoever may open the socket may do everything, so only its
//! owner may: mode 0600 from its first moment on.

use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Folder that the socket is bound in before it gets its place. Short: a socket's path has at most 107 bytes.
const NURSERY: &str = ".sock";

/// How long requests that are under way may take when the daemon stops. A client that sends half a request must not hold it.
const DRAIN: Duration = Duration::from_secs(2);

/// The control socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the control socket {}: {source}", path.display())]
pub struct SocketError {
    /// The socket.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Serves `router` on `path` until `shutdown` completes; requests under way are finished if they take no longer than two
/// seconds. A socket that a killed daemon
/// left there is replaced: the caller holds the lock of the data folder, so that nobody else listens. The socket is
/// removed at the end.
///
/// # Errors
/// The socket cannot be made; the usual reason is a path beyond 107 bytes.
pub async fn serve_control_socket(
    router: Router,
    path: &Path,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SocketError> {
    let failed = |source| SocketError { path: path.to_owned(), source };
    let listener = bind(path).map_err(failed)?;
    let stopping = CancellationToken::new();
    let signal = {
        let stopping = stopping.clone();
        async move {
            shutdown.await;
            stopping.cancel();
        }
    };
    let served = tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(signal) => served,
        () = async { stopping.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    };
    // Gone already is as good.
    let _ = fs::remove_file(path);
    served.map_err(failed)
}

/// Binds where nobody else can look, restricts the socket, then moves it to its place. Between `bind` and `chmod` a socket
/// has the mode of the umask; in a folder of mode 0700 that harms nobody.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let nursery = path.with_file_name(NURSERY);
    match fs::remove_dir_all(&nursery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&nursery)?;
    let newborn = nursery.join("s");
    let listener = UnixListener::bind(&newborn)?;
    fs::set_permissions(&newborn, Permissions::from_mode(0o600))?;
    fs::rename(&newborn, path)?;
    fs::remove_dir(&nursery)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    async fn ask(path: &Path) -> String {
        // The server's task has run until its first wait when the socket is there.
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let mut stream = UnixStream::connect(path).await.expect("somebody listens");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn it_is_private_and_replaces_what_a_killed_daemon_left() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
        let stop = CancellationToken::new();
        let listener = bind(&path).expect("bound");
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        assert!(!dir.path().join(NURSERY).exists());
        drop(listener);
        let served = tokio::spawn({
            let (path, stop) = (path.clone(), stop.clone());
            fs::remove_file(&path).expect("so that the new one can be waited for");
            async move {
                let router = Router::new().route("/", get(|| async { "hello" }));
                serve_control_socket(router, &path, stop.cancelled_owned()).await
            }
        });
        assert!(ask(&path).await.ends_with("hello"));
        stop.cancel();
        served.await.expect("no panic").expect("served");
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_does_not_hold_the_end() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("control.sock");
        let stop = CancellationToken::new();
        let served = tokio::spawn({
            let (path, stop) = (path.clone(), stop.clone());
            async move { serve_control_socket(Router::new(), &path, stop.cancelled_owned()).await }
        });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let mut stream = UnixStream::connect(&path).await.expect("somebody listens");
        stream.write_all(b"GET / HT").await.expect("sent");
        stop.cancel();
        served.await.expect("no panic").expect("served");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let long = dir.path().join("x".repeat(120));
        fs::create_dir(&long).expect("a folder");
        let path = long.join("control.sock");
        let error = serve_control_socket(Router::new(), &path, std::future::pending()).await.expect_err("too long");
        let expected = format!("cannot serve the control socket {}: path must be shorter than SUN_LEN", path.display());
        assert_eq!(error.to_string(), expected);
    }
}
