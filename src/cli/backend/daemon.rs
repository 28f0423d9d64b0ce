//! HTTP to a daemon's control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
pub(super) use hyper::Method;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use url::Url;

use crate::cli::CliError;

/// How long one answer may take. Changes are a few milliseconds of SQLite.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read: a list of some ten thousand streams.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The body of an error, as the API documents it.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    message: String,
}

/// A daemon that listens on its control socket.
pub(in crate::cli) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    pub(super) fn new(socket: PathBuf) -> Self {
        Daemon { socket }
    }

    /// Whether somebody listens. A socket that a killed daemon left refuses.
    pub(super) async fn listens(socket: &Path) -> bool {
        UnixStream::connect(socket).await.is_ok()
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CliError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// A list, narrowed down by a query.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: impl Iterator<Item = (&str, &str)>,
    ) -> Result<T, CliError> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.request(Method::GET, url, None::<&()>).await
    }

    /// One request. An answer without a body is read as `null`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        self.request(method, self.url(path)?, body).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, CliError> {
        let no_url = |reason: String| CliError::Unanswered { socket: self.socket.clone(), reason };
        let mut url = Url::parse("http://millstream/api/v1").map_err(|error| no_url(error.to_string()))?;
        // Percent-encodes: a stream's name may hold a slash.
        url.path_segments_mut().map_err(|()| no_url("no path".to_owned()))?.extend(path);
        Ok(url)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        let unanswered = |reason: String| CliError::Unanswered { socket: self.socket.clone(), reason };
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| unanswered(error.to_string()))?;
        let exchange = self.exchange(method, &url, body.unwrap_or_default());
        let (status, answer) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| unanswered(format!("nothing came for {} s", TIMEOUT.as_secs())))?
            .map_err(|error| unanswered(error.to_string()))?;
        if status.is_success() {
            let json = if answer.is_empty() { b"null".as_slice() } else { &answer };
            return serde_json::from_slice(json)
                .map_err(|error| unanswered(format!("its answer cannot be read (another version?): {error}")));
        }
        match serde_json::from_slice::<ErrorBody>(&answer) {
            Ok(ErrorBody { error }) => Err(CliError::Refused { code: error.code, message: error.message }),
            Err(_) => Err(unanswered(format!("it answered {status}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..])
            .header(header::HOST, "millstream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let stream = TokioIo::new(UnixStream::connect(&self.socket).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?;
            Ok((status, body.to_bytes()))
        };
        // The connection is driven beside the exchange and dropped with it; its own errors reach the exchange.
        tokio::select! {
            biased;
            done = exchange => done,
            Err(error) = connection => Err(error.into()),
        }
    }
}
