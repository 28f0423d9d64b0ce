//! What callers write into the stream id: a plain key, the access-control syntax, and the dialects of other servers.
//!
//! | form | key |
//! |---|---|
//! | `KEY`, `live/KEY` | the last segment |
//! | `#!::m=publish,r=STREAM,u=KEY` | `u`, or else `s`, or else the last segment of `r` |
//! | `#!:{m=publish,r=STREAM,u=KEY}` | the same |
//! | `publish:PATH`, `publish:PATH:QUERY` | the last segment of the path |
//! | `publish:PATH:USER:PASSWORD`, with or without `:QUERY` | the user, or else the password |
//!
//! All of them may be percent-encoded, and a stray `#...` at the end is left away. Without `m` a caller publishes: the
//! syntax has `request` as its default, but encoders leave it out.
//!
//! Source: Haivision/srt `docs/features/access-control.md`.

use std::fmt;

use secrecy::SecretString;

use super::reject::{Reject, Rejection};

/// Most bytes of a stream id.
pub const MAX_STREAM_ID_BYTES: usize = 512;

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To send a stream.
    Publish,
    /// To receive one.
    Request,
    /// Both.
    Bidirectional,
}

/// A stream id that was understood.
#[derive(Clone)]
pub struct StreamId {
    /// What the caller wants.
    pub mode: Mode,
    /// The key, not empty. Secret from here on.
    pub key: SecretString,
    /// The resource (`r`, or a path), where it is not itself the key.
    pub resource: Option<String>,
}

impl fmt::Debug for StreamId {
    /// Without the key, and without the resource, into which some write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamId").field("mode", &self.mode).finish_non_exhaustive()
    }
}

const NOT_TEXT: Rejection = Rejection::new(Reject::BadRequest, "the stream id is not printable UTF-8");
const TOO_LONG: Rejection = Rejection::new(Reject::BadRequest, "the stream id is longer than 512 bytes");
const SYNTAX: Rejection =
    Rejection::new(Reject::BadRequest, "the stream id's syntax is wrong: use KEY or #!::m=publish,r=STREAM,u=KEY");
const TWICE: Rejection = Rejection::new(Reject::BadRequest, "the stream id has the same key twice");
const NO_KEY: Rejection =
    Rejection::new(Reject::Unauthorized, "no stream key was given: set the encoder's stream id to the stream key");
const MEDIA: Rejection = Rejection::new(Reject::NotSupportedMedia, "the stream id asks for a type other than t=stream");
const MODE: Rejection = Rejection::new(Reject::BadMode, "the stream id has a mode that does not exist: use m=publish");

impl StreamId {
    /// Reads a stream id.
    ///
    /// # Errors
    /// It cannot be understood, holds no key, or asks for what is no stream.
    pub fn parse(id: &[u8]) -> Result<StreamId, Rejection> {
        if id.len() > MAX_STREAM_ID_BYTES {
            return Err(TOO_LONG);
        }
        let decoded = percent_decoded(id)?;
        let text = std::str::from_utf8(&decoded).map_err(|_| NOT_TEXT)?;
        if text.chars().any(char::is_control) {
            return Err(NOT_TEXT);
        }
        let text = text.trim();
        let fields = match text.strip_prefix("#!") {
            Some(list) => Fields::of_access_control(without_tail(list))?,
            None => Fields::of_free_form(without_tail(text)),
        };
        fields.into_stream_id()
    }
}

fn without_tail(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before)
}

/// Decodes `%XX`. Bytes below 128 that need no encoding are what they are.
fn percent_decoded(id: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut decoded = Vec::with_capacity(id.len());
    let mut rest = id;
    while let [first, behind @ ..] = rest {
        if *first != b'%' {
            decoded.push(*first);
            rest = behind;
            continue;
        }
        let [high, low, behind @ ..] = behind else { return Err(SYNTAX) };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(SYNTAX) };
        decoded.push((high * 16 + low) as u8);
        rest = behind;
    }
    Ok(decoded)
}

/// What a stream id says, in the words of the access-control syntax.
#[derive(Default)]
struct Fields<'a> {
    resource: Option<&'a str>,
    mode: Option<&'a str>,
    user: Option<&'a str>,
    session: Option<&'a str>,
    kind: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// `::key=value,...` or `:{key=value,...}`, behind `#!`.
    fn of_access_control(list: &'a str) -> Result<Self, Rejection> {
        let list = match list.strip_prefix("::") {
            Some(flat) => flat,
            None => list.strip_prefix(":{").and_then(|block| block.strip_suffix('}')).ok_or(SYNTAX)?,
        };
        if list.contains(['{', '}']) {
            return Err(SYNTAX); // blocks in blocks: no key that we know has one
        }
        let mut fields = Fields::default();
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(SYNTAX)?;
            let field = match name.trim() {
                "r" => &mut fields.resource,
                "m" => &mut fields.mode,
                "u" => &mut fields.user,
                "s" => &mut fields.session,
                "t" => &mut fields.kind,
                "" => return Err(SYNTAX),
                _ => continue, // host names, and what vendors say about themselves
            };
            if field.replace(value.trim()).is_some() {
                return Err(TWICE);
            }
        }
        Ok(fields)
    }

    /// A plain key, or `publish:...` and `read:...`.
    fn of_free_form(text: &'a str) -> Self {
        let mut parts = text.split(':');
        let mode = match parts.next() {
            Some("publish") if text.contains(':') => Some("publish"),
            Some("read") if text.contains(':') => Some("request"),
            _ => return Fields { resource: Some(text), ..Fields::default() },
        };
        let (resource, user, session) = (parts.next(), parts.next(), parts.next());
        // One part alone behind the path is a query.
        let user = if session.is_some() { user } else { None };
        Fields { resource, mode, user, session, kind: None }
    }

    fn into_stream_id(self) -> Result<StreamId, Rejection> {
        let mode = match self.mode {
            None | Some("" | "publish") => Mode::Publish,
            Some("request") => Mode::Request,
            Some("bidirectional") => Mode::Bidirectional,
            Some(_) => return Err(MODE),
        };
        if !matches!(self.kind, None | Some("" | "stream")) {
            return Err(MEDIA);
        }
        fn given(field: Option<&str>) -> Option<&str> {
            field.filter(|value| !value.is_empty())
        }
        let (key, resource) = match given(self.user).or(given(self.session)) {
            Some(key) => (Some(key), given(self.resource)),
            None => (given(self.resource.and_then(|path| path.rsplit('/').next())), None),
        };
        let key = key.ok_or(NO_KEY)?;
        Ok(StreamId { mode, key: SecretString::from(key), resource: resource.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    /// Mode, key and resource of an id that is understood.
    fn read(id: &str) -> Result<(Mode, String, Option<String>), Reject> {
        let id = StreamId::parse(id.as_bytes()).map_err(|rejection| rejection.code)?;
        Ok((id.mode, id.key.expose_secret().to_owned(), id.resource))
    }

    fn publish(key: &str, resource: Option<&str>) -> Result<(Mode, String, Option<String>), Reject> {
        Ok((Mode::Publish, key.to_owned(), resource.map(str::to_owned)))
    }

    #[test]
    fn keys_are_found_in_all_dialects() {
        for (id, resource) in [
            ("KEY", None),
            ("live/KEY", None),
            (" KEY ", None),
            ("KEY#tail", None),
            ("#!::m=publish,r=demo,u=KEY", Some("demo")),
            ("#!::r=demo,u=KEY", Some("demo")),
            ("#!:{m=publish,r=demo,u=KEY}", Some("demo")),
            ("#!::u=KEY", None),
            ("#!::h=host.example,r=live/KEY,m=publish", None),
            ("#!::r=live/KEY,m=publish#tail", None),
            ("#!::m=publish,r=live/demo,s=KEY", Some("live/demo")),
            ("#!::m=publish,r=demo,u=,s=KEY", Some("demo")),
            ("#!::bmd_uuid=1,bmd_name=a b,u=KEY,t=stream,", None),
            ("%23!::m=publish,r=demo,u=KEY", Some("demo")),
            ("%23%21%3A%3Am%3Dpublish%2Cr%3Ddemo%2Cu%3DKEY", Some("demo")),
            ("publish:KEY", None),
            ("publish:live/KEY", None),
            ("publish:live/KEY:a=b", None),
            ("publish:demo:KEY:password", Some("demo")),
            ("publish:demo::KEY", Some("demo")),
            ("publish:demo:KEY:password:a=b#tail", Some("demo")),
        ] {
            assert_eq!(read(id), publish("KEY", resource), "{id}");
        }
    }

    #[test]
    fn what_is_no_publish_says_so() {
        assert_eq!(read("#!::m=request,r=demo,u=K").map(|read| read.0), Ok(Mode::Request));
        assert_eq!(read("read:demo").map(|read| read.0), Ok(Mode::Request));
        assert_eq!(read("#!::m=bidirectional,r=demo").map(|read| read.0), Ok(Mode::Bidirectional));
        for (id, code) in [
            ("", Reject::Unauthorized),
            ("#tail", Reject::Unauthorized),
            ("#!::", Reject::Unauthorized),
            ("#!::m=publish,r=live/", Reject::Unauthorized),
            ("publish:", Reject::Unauthorized),
            ("#!::m=watch,r=demo", Reject::BadMode),
            ("#!::r=demo,t=file", Reject::NotSupportedMedia),
            ("#!::r=demo,t=auth", Reject::NotSupportedMedia),
            ("#!::r", Reject::BadRequest),
            ("#!::=x", Reject::BadRequest),
            ("#!r=demo", Reject::BadRequest),
            ("#!:{r=demo", Reject::BadRequest),
            ("#!:{r={a=b}}", Reject::BadRequest),
            ("#!::u=a,u=b", Reject::BadRequest),
            ("KEY%2", Reject::BadRequest),
            ("KEY%zz", Reject::BadRequest),
            ("KEY%ff", Reject::BadRequest),
            ("KEY\n", Reject::BadRequest),
        ] {
            assert_eq!(read(id), Err(code), "{id}");
        }
        assert_eq!(StreamId::parse(&[b'a'; 513]).map_err(|no| no.code).err(), Some(Reject::BadRequest));
    }

    #[test]
    fn no_key_is_shown() {
        let id = StreamId::parse(b"#!::r=live/topsecret,u=topsecret").unwrap();
        assert!(!format!("{id:?}").contains("topsecret"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_and_a_key_is_never_empty(id in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(id) = StreamId::parse(&id) {
                prop_assert!(!id.key.expose_secret().is_empty());
                prop_assert!(id.key.expose_secret().len() <= MAX_STREAM_ID_BYTES);
            }
        }

        #[test]
        fn any_key_is_found_encoded_and_raw(key in "[A-Za-z0-9_.~-]{1,64}", stream in "[a-z0-9-]{1,32}") {
            let raw = format!("#!::m=publish,r={stream},u={key}");
            let encoded: String = raw.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(read(&raw), publish(&key, Some(&stream)));
            prop_assert_eq!(read(&encoded), publish(&key, Some(&stream)));
            prop_assert_eq!(read(&key), publish(&key, None));
        }

        #[test]
        fn lists_of_anything_never_panic(list in "(#!::|#!:\\{|publish:|read:)?([a-z]?=?[a-z%#,:{}/]{0,6}){0,20}") {
            let _ = StreamId::parse(list.as_bytes());
        }
    }
}
