//! `[telemetry]`: what the daemon tells about itself beside its log and `/metrics`.

use std::fmt;

use url::Url;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;

const SECTION: Section = Section::Named("telemetry");

const OTLP_ENDPOINT: Key = Key {
    section: SECTION,
    name: "otlp_endpoint",
    kind: KeyType::Text,
    default: "",
    doc: "Where an OpenTelemetry collector takes OTLP over HTTP, as `http://127.0.0.1:4318`: it is sent a trace per stored \
          segment, to `/v1/traces` behind this. Without one there are no traces. `https` is not spoken: run a collector \
          beside the daemon. The variables `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and \
          `OTEL_EXPORTER_OTLP_HEADERS` are honoured.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[OTLP_ENDPOINT];

/// What the protocol adds to an endpoint for traces.
const TRACES_PATH: &str = "/v1/traces";

/// Where a collector takes OTLP over HTTP: `http`, a host, and perhaps a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(String);

impl OtlpEndpoint {
    /// The URL that traces are posted to.
    pub fn traces_url(&self) -> String {
        format!("{}{TRACES_PATH}", self.0)
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Where traces go; `None`: there are none.
    pub otlp_endpoint: Option<OtlpEndpoint>,
}

impl Telemetry {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Telemetry { otlp_endpoint: reader.read_given(&OTLP_ENDPOINT, parse_endpoint).flatten() }
    }
}

/// An empty text is none, so that a variable can take back what the file says. Messages repeat a URL only where it cannot
/// hold credentials.
fn parse_endpoint(text: &str) -> Result<Option<OtlpEndpoint>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let example = "write \"http://\", a host and a port, as \"http://127.0.0.1:4318\"";
    let url = Url::parse(text).map_err(|_| example)?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err("https is not spoken: send to a collector beside the daemon, as \"http://127.0.0.1:4318\"");
        }
        _ => return Err(example),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no credentials: give them as OTEL_EXPORTER_OTLP_HEADERS in the environment");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path: leave out what begins with \"?\" or \"#\"");
    }
    let endpoint = url.as_str().trim_end_matches('/');
    if endpoint.ends_with(TRACES_PATH) {
        return Err("names /v1/traces, which is added to it: leave it out");
    }
    Ok(Some(OtlpEndpoint(endpoint.to_owned())))
}
