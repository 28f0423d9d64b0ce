//! A blocking face of an HTTP client that is not ours. Bodies stay as they were sent: nothing is decompressed.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::redirect::Policy;
use tokio::runtime::{Builder, Runtime};

/// Longest wait for one answer: more than the 10 s that a request for a stream that starts may be held.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at something that only changes when the daemon changes it.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// A client with connections kept open. It follows no redirect.
pub struct Client {
    runtime: Runtime,
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body as sent.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }
}

impl Default for Client {
    fn default() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client =
            reqwest::Client::builder().timeout(ANSWER_LIMIT).redirect(Policy::none()).build().expect("a client");
        Client { runtime, client }
    }
}

impl Client {
    /// Sends a request and reads the whole answer.
    pub fn request(&self, method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = match self.try_request(method, url, headers) {
            // A server may close a connection that is idle in the moment in which it is used again (RFC 9112 9.5).
            Err(error) if method == "GET" && error.is_request() && !error.is_timeout() => {
                self.try_request(method, url, headers)
            }
            answer => answer,
        };
        answer.unwrap_or_else(|error| panic!("{method} {url}: {error:?}"))
    }

    fn try_request(&self, method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = headers.iter().fold(self.client.request(method, url), |request, (k, v)| request.header(*k, *v));
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = response.headers().iter().map(|(k, v)| (k.to_string(), text(v.as_bytes()))).collect();
            Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
        })
    }

    /// GET, whatever the answer.
    pub fn get(&self, url: &str) -> Answer {
        self.request("GET", url, &[])
    }

    /// GET that must answer 200.
    pub fn fetch(&self, url: &str) -> Answer {
        let answer = self.get(url);
        assert_eq!(answer.status, 200, "GET {url}: {}", String::from_utf8_lossy(&answer.body));
        answer
    }

    /// Looks at `url` again and again until `find` finds something in the answer.
    pub fn poll<T>(&self, url: &str, limit: Duration, mut find: impl FnMut(&Answer) -> Option<T>) -> T {
        until(limit, &format!("GET {url}"), || find(&self.get(url)))
    }
}

/// Asks `look` until it finds something. For what sends no event: a plain playlist, a file, a gauge.
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: nothing within {limit:?}");
        std::thread::sleep(POLL_EVERY);
    }
}
