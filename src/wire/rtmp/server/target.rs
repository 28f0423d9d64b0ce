//! Where the stream key stands: in the publish name, in a query, or at the end of the application path.
//!
//! | publisher's URL and key | app | name | key |
//! |---|---|---|---|
//! | `rtmp://h/live` + `K` | `live` | `K` | `K` |
//! | `rtmp://h/live` + `K?token=x` | `live` | `K?token=x` | `K` |
//! | `rtmp://h/live/show?key=K` | `live` | `show?key=K` | `K` |
//! | `rtmp://h/live?key=K` + `show` | `live?key=K` | `show` | `K` |
//! | `rtmp://h/live?x=y/K` | `live?x=y/K` | | `K` |
//! | `rtmp://h/live/K` in one field | `live/K` | | `K` |
//! | `rtmp://h/live/_definst_/K` | `live/_definst_` | `K` | `K` |

use secrecy::SecretString;

/// What a `connect` and a `publish` name together.
#[derive(Debug)]
pub(super) struct Target {
    /// First segment of the application path. What stands behind it may hold a key and is not told to anybody.
    pub(super) app: String,
    /// The key, percent-decoded; empty if none was given.
    pub(super) key: SecretString,
}

/// The query parameter that holds a key.
const KEY_PARAMETER: &str = "key";
/// Longest application name that is told: it goes into logs.
const MAX_APP_CHARS: usize = 64;

impl Target {
    /// Resolves `connect`'s `app` and `tcUrl`, and `publish`'s name.
    pub(super) fn resolve(app: &str, tc_url: &str, name: &str) -> Self {
        let (app_path, app_query) = split(app, '?');
        let (app_query, behind_query) = split(app_query, '/');
        let (name_path, name_query) = split(name, '?');
        let mut app_segments = segments(app_path);
        let mut name_segments = segments(if name_path.is_empty() { behind_query } else { name_path });
        if name_segments.is_empty() && app_segments.len() > 1 {
            name_segments.extend(app_segments.pop());
        }
        let queries = [name_query, app_query, split(split(tc_url, '?').1, '/').0];
        let key = queries.into_iter().find_map(key_in).unwrap_or_else(|| name_segments.join("/"));
        let app = app_segments.into_iter().next().filter(|app| *app != key).unwrap_or_default();
        Target { app: printable(&app, MAX_APP_CHARS), key: SecretString::from(key) }
    }
}

/// The text before and behind the first `at`; nothing behind if there is none.
fn split(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

/// The segments of a path, decoded, without empty ones and without Flash's name of the default instance.
fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty() && *segment != "_definst_").map(percent_decode).collect()
}

fn key_in(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(KEY_PARAMETER)?.strip_prefix('='))?;
    (!value.is_empty()).then(|| percent_decode(value))
}

/// RFC 3986 section 2.1. A `%` without two hexadecimal digits stands for itself, bytes that are not UTF-8 become U+FFFD.
fn percent_decode(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low).to_le_bytes()[0]);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// At most `max` characters of `text`, without control characters: fit for a log.
pub(super) fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_key_is_found_wherever_encoders_put_it() {
        for (app, tc_url, name, expected_app, expected_key) in [
            ("live", "rtmp://h/live", "K", "live", "K"),
            ("live/", "", "/K/", "live", "K"),
            ("live", "", "K?token=x&y=z", "live", "K"),
            ("live", "", "show?key=K", "live", "K"),
            ("live", "", "show?a=b&key=K&c", "live", "K"),
            ("live", "", "show?key=&x=1", "live", "show"),
            ("live", "", "?key=K", "live", "K"),
            ("live?key=K", "", "show", "live", "K"),
            ("live?x=y/K", "", "", "live", "K"),
            ("live", "rtmp://h/live?key=K", "show", "live", "K"),
            ("live?key=A", "rtmp://h/live?key=B", "show?key=C", "live", "C"),
            ("live/K", "", "", "live", "K"),
            ("live/K?x=y", "", "", "live", "K"),
            ("live/_definst_", "", "K", "live", "K"),
            ("live/_definst_/K", "", "", "live", "K"),
            ("live/show/K", "", "", "live", "K"),
            ("live", "", "a%2Bb%20%C3%A4", "live", "a+b ä"),
            ("live", "", "show?key=%6b%", "live", "k%"),
            ("live", "", "a/b", "live", "a/b"),
            ("live", "", "../../etc", "live", "../../etc"),
            ("", "", "K", "", "K"),
            ("K", "", "K", "", "K"),
            ("live", "", "", "live", ""),
            ("", "", "", "", ""),
            ("li\nve", "", "K", "live", "K"),
        ] {
            let target = Target::resolve(app, tc_url, name);
            let found = (target.app.as_str(), target.key.expose_secret());
            assert_eq!(found, (expected_app, expected_key), "{app} {tc_url} {name}");
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert!(!format!("{:?}", Target::resolve("live/secret-key", "", "")).contains("secret-key"));
    }
}
