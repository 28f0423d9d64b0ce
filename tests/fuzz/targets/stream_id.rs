//! SRT stream ids: any bytes end in a key or in words; no key is shown; an id is the same one percent-encoded.

use millstream::wire::srt::StreamId;
use millstream::wire::srt::stream_id::MAX_STREAM_ID_BYTES;
use secrecy::ExposeSecret;

use super::source::assert_tellable;

pub fn run(data: &[u8]) {
    let read = StreamId::parse(data);
    let id = match &read {
        Ok(id) => id,
        Err(rejection) => return assert_tellable(rejection.words),
    };
    let key = id.key.expose_secret();
    assert!(!key.is_empty() && key.len() <= MAX_STREAM_ID_BYTES, "{} bytes of key", key.len());
    // All that is shown is the mode, whatever the key is: one may also read like what is shown.
    assert_eq!(format!("{id:?}"), format!("StreamId {{ mode: {:?}, .. }}", id.mode));
    assert!(id.resource.as_ref().is_none_or(|resource| !resource.is_empty()));

    let encoded: String = data.iter().map(|byte| format!("%{byte:02x}")).collect();
    if !data.contains(&b'%') && encoded.len() <= MAX_STREAM_ID_BYTES {
        let again = StreamId::parse(encoded.as_bytes()).expect("the same id");
        assert_eq!((again.key.expose_secret(), again.mode, &again.resource), (key, id.mode, &id.resource));
    }
}
