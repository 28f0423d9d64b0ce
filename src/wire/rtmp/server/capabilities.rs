//! What this server takes, in the words of enhanced RTMP v2 ("Enhancing NetConnection connect Command").
//!
//! A client that announces what it can is answered in the same properties with what we can; one that announces nothing (OBS) hears
//! nothing, and may send all of it just as well.

use crate::media::{AudioCodec, VideoCodec};
use crate::wire::flv::audio;
use crate::wire::rtmp::amf0::Value;

/// Bits of the FourCC maps: it can be decoded, and it can be passed on as it is.
const CAN_DECODE: f64 = 1.0;
const CAN_FORWARD: f64 = 4.0;
/// `capsEx`: headers with ModEx (4) and the nanoseconds in them (8) are understood. Not said are reconnect requests (1), which are
/// never sent, and multitrack (2): of several tracks one is taken.
const CAPS: f64 = 4.0 + 8.0;

/// The properties that answer those of `connect`'s command object.
pub(super) fn answers(announced: &Value) -> impl Iterator<Item = (String, Value)> {
    let video = || VideoCodec::ALL.into_iter().map(|codec| (codec.sample_entry(), CAN_DECODE + CAN_FORWARD));
    let audio = || {
        let can = |codec: AudioCodec| if codec.is_carried() { CAN_DECODE + CAN_FORWARD } else { CAN_DECODE };
        AudioCodec::ALL.into_iter().map(move |codec| (audio::four_cc(codec), can(codec)))
    };
    let list = || video().chain(audio()).map(|(four_cc, _)| Value::string(four_cc)).collect();
    let all = [
        ("fourCcList", Value::StrictArray(list())),
        ("videoFourCcInfoMap", map(video())),
        ("audioFourCcInfoMap", map(audio())),
        ("capsEx", Value::Number(CAPS)),
    ];
    all.into_iter().filter(|(name, _)| announced.get(name).is_some()).map(|(name, value)| (name.to_owned(), value))
}

fn map(codecs: impl Iterator<Item = (&'static str, f64)>) -> Value {
    Value::Object(codecs.map(|(four_cc, can)| (four_cc.to_owned(), Value::Number(can))).collect())
}
