//! The HTTP client of the exporter: one connection per request, with a deadline, over what the daemon has already.
//!
//! A request a second needs no pool, and a connection that is made anew finds a collector that has come back.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::TcpStream;
use tracing::warn;

use crate::clock::SharedClock;
use crate::telemetry::gate::SharedGate;

/// From looking up the name to the last byte of the answer: a collector is near, and spans wait in a queue meanwhile.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer that is read: it is a few bytes, or a sentence of what is wrong.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// The port of OTLP over HTTP is 4318 and stands in the URL; one without is HTTP's own.
const DEFAULT_PORT: u16 = 80;

/// Sends requests, and tells about those that fail.
#[derive(Debug)]
pub(super) struct Client {
    clock: SharedClock,
    failures: SharedGate,
}

impl Client {
    pub(super) fn new(clock: SharedClock) -> Self {
        Client { clock, failures: SharedGate::default() }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let sent = tokio::time::timeout(REQUEST_DEADLINE, exchange(request)).await;
        let answer = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", REQUEST_DEADLINE.as_secs()).into()));
        let problem = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(refusal(answer.status())),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = problem
            && let Some(requests) = self.failures.pass(self.clock.monotonic())
        {
            warn!(
                url,
                requests,
                error,
                "the collector does not take traces; broadcasts go on without them. Check telemetry.otlp_endpoint and the collector"
            );
        }
        answer
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'r>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'r>>
    where
        'a: 'r,
        Self: 'r,
    {
        Box::pin(self.send(request))
    }
}

fn refusal(status: StatusCode) -> String {
    format!("it answers {status}")
}

/// One request on a connection of its own.
async fn exchange(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.host().ok_or("the URL names no host")?;
    let address = (host.trim_matches(['[', ']']), head.uri.port_u16().unwrap_or(DEFAULT_PORT));
    let stream = TcpStream::connect(address).await?;
    let authority = head.uri.authority().ok_or("the URL names no host")?;
    head.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    // A server wants the path alone.
    head.uri = head.uri.path_and_query().map_or_else(|| Ok(Uri::default()), |path| path.as_str().parse())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection is driven beside the exchange and dropped with it; its own errors reach the exchange.
    tokio::select! {
        biased;
        done = exchange => done,
        Err(error) = connection => Err(error.into()),
    }
}
