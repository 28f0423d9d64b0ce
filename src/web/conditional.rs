//! If-None-Match (RFC 9110 section 13.1.2), If-Range (13.1.5) and Accept-Encoding (12.5.3).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, IF_NONE_MATCH, IF_RANGE};

use super::representation::Coding;

/// Whether the client has what `etag` (quoted, strong) names, so that 304 says it all.
pub fn is_not_modified(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| lists(list, etag))
}

/// Weak comparison against each member. Our own tags hold no comma, so splitting at commas finds them whatever else is listed.
fn lists(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether a Range header counts: it does without If-Range, and with one that names exactly this representation.
/// We send no Last-Modified, so a date never matches.
pub fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

/// The coding that the client likes best, and of equals the one that is smallest. What is compressed must be liked as much as
/// what is not; a client that refuses everything gets the plain bytes, as RFC 9110 allows.
pub fn preferred_coding(headers: &HeaderMap) -> Coding {
    let (mut brotli, mut gzip, mut identity, mut any) = (None, None, None, None);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for member in values.flat_map(|value| value.split(',')) {
        let (coding, parameters) = member.split_once(';').unwrap_or((member, ""));
        let quality = quality(parameters);
        match coding.trim().to_ascii_lowercase().as_str() {
            "br" => brotli = Some(quality),
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let [brotli, gzip] = [brotli, gzip].map(|quality| quality.or(any).unwrap_or(0));
    match brotli.max(gzip) {
        best if best == 0 || best < identity.unwrap_or(0) => Coding::Identity,
        best if best == brotli => Coding::Brotli,
        _ => Coding::Gzip,
    }
}

/// The q parameter in thousandths: 1000 when there is none, 0 when it is malformed.
fn quality(parameters: &str) -> u32 {
    let Some(value) = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    }) else {
        return 1_000;
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("1", true) => 1_000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_tag_is_found_in_a_list_weak_or_strong() {
        for (list, expected) in [
            ("\"x\"", true),
            ("W/\"x\"", true),
            ("*", true),
            ("\"a\", \"x\"", true),
            ("\"a,\" , W/\"x\"", true),
            ("\"X\"", false),
            ("x", false),
            ("\"x-gz\"", false),
            ("", false),
        ] {
            assert_eq!(is_not_modified(&with(IF_NONE_MATCH, list), "\"x\""), expected, "{list}");
        }
        assert!(!is_not_modified(&HeaderMap::new(), "\"x\""));
    }

    #[test]
    fn if_range_compares_strongly() {
        assert!(range_applies(&HeaderMap::new(), "\"x\""));
        for (value, expected) in [("\"x\"", true), ("W/\"x\"", false), ("Tue, 15 Nov 1994 12:45:26 GMT", false)] {
            assert_eq!(range_applies(&with(IF_RANGE, value), "\"x\""), expected, "{value}");
        }
    }

    #[test]
    fn the_coding_is_the_clients_choice() {
        let (brotli, gzip, identity) = (Coding::Brotli, Coding::Gzip, Coding::Identity);
        for (value, expected) in [
            ("gzip, deflate, br", brotli),
            ("gzip, deflate", gzip),
            ("br;q=0.8, gzip;q=0.9", gzip),
            ("br;q=0.9, gzip;q=0.8", brotli),
            ("BR;q=1.0, GZIP;q=0.8, *;q=0.1", brotli),
            ("GZIP;q=0.8, *;q=0.1", gzip),
            ("br;q=0, *", gzip),
            ("br;q=0, gzip;q=0, *", identity),
            ("x-gzip", gzip),
            ("*", brotli),
            ("br, gzip;q=0", brotli),
            ("gzip;q=0.001", gzip),
            ("gzip; q=0", identity),
            ("gzip;q=0.000", identity),
            ("gzip;q=2", identity),
            ("gzip;q=0.12345", identity),
            ("*;q=0", identity),
            ("gzip;q=0.5, identity", identity),
            ("br;q=0.5, gzip;q=0.7, identity;q=0.6", gzip),
            ("br;q=0.5, gzip;q=0.5, identity;q=0.6", identity),
            ("identity;q=0.5, gzip;q=0.5", gzip),
            ("deflate, zstd", identity),
            ("identity", identity),
            ("", identity),
        ] {
            assert_eq!(preferred_coding(&with(ACCEPT_ENCODING, value)), expected, "{value}");
        }
        assert_eq!(preferred_coding(&HeaderMap::new()), identity);
    }
}
