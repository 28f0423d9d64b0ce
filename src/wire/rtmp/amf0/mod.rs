//! AMF0, the values of commands and metadata ("Action Message Format -- AMF 0", Adobe, 2007).
//!
//! [`Reader`] takes strangers' bytes: nesting and the count of values are capped, so neither the stack nor memory follows
//! what a peer claims. [`write()`] is its inverse. AMF3 is not read: RTMP senders that announce it still send AMF0.

mod reader;
mod writer;

pub use reader::{AmfError, Reader};
pub use writer::{write, write_all};

/// Deepest nesting of objects and arrays. Encoders nest 2 deep.
pub const MAX_DEPTH: usize = 16;
/// Most values in one message, nested ones included. Metadata has about 20; keyframe indexes of recorded files thousands.
pub const MAX_VALUES: usize = 16_384;

/// One AMF0 value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 0: an IEEE 754 double.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Markers 2 and 12. Bytes that are not UTF-8 were replaced by U+FFFD.
    String(String),
    /// Marker 3, in the order of sending.
    Object(Vec<(String, Value)>),
    /// Marker 5.
    Null,
    /// Marker 6, and 13 (unsupported).
    Undefined,
    /// Marker 7: index of an earlier object of the message; not followed.
    Reference(u16),
    /// Marker 8: an associative array. Its count is advisory and ignored.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 10.
    StrictArray(Vec<Value>),
    /// Marker 11: milliseconds since 1970 UTC; the time zone field is reserved.
    Date(f64),
    /// Marker 15.
    Xml(String),
    /// Marker 16: an object with the name of its class.
    Typed(String, Vec<(String, Value)>),
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<String>) -> Self {
        Value::String(text.into())
    }

    /// An object of string properties, as status messages are.
    pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Self {
        Value::Object(properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The first property called `name`, if this is an object or an associative array.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(properties) | Value::EcmaArray(properties) | Value::Typed(_, properties) => {
                properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const REFERENCE: u8 = 7;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
const UNSUPPORTED: u8 = 13;
const XML: u8 = 15;
const TYPED: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|n| Value::Number(f64::from(n))),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,12}".prop_map(Value::String),
            ".{0,12}".prop_map(Value::Xml),
            Just(Value::Null),
            Just(Value::Undefined),
            any::<u16>().prop_map(Value::Reference),
            any::<u32>().prop_map(|n| Value::Date(f64::from(n))),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let properties = prop::collection::vec((".{1,6}", inner.clone()), 0..6);
            prop_oneof![
                properties.clone().prop_map(Value::Object),
                properties.clone().prop_map(Value::EcmaArray),
                (".{0,6}", properties).prop_map(|(class, properties)| Value::Typed(class, properties)),
                prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in prop::collection::vec(values(), 0..5)) {
            let mut bytes = bytes::BytesMut::new();
            write_all(&mut bytes, &values);
            prop_assert_eq!(Reader::new(&bytes).read_all(), Ok(values));
        }

        #[test]
        fn any_bytes_end_in_values_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reader::new(&bytes).read_all();
        }

        #[test]
        fn a_cut_or_changed_byte_never_panics(
            values in prop::collection::vec(values(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = bytes::BytesMut::new();
            write_all(&mut bytes, &values);
            let at = at.index(bytes.len());
            let _ = Reader::new(&bytes[..at]).read_all();
            bytes[at] = byte;
            let _ = Reader::new(&bytes).read_all();
        }
    }

    #[test]
    fn properties_are_found_by_name() {
        let info = Value::object([("level", Value::string("error")), ("n", Value::Number(2.0))]);
        assert_eq!(info.get("level").and_then(Value::as_str), Some("error"));
        assert_eq!(info.get("n").and_then(Value::as_number), Some(2.0));
        assert_eq!((info.get("x"), Value::Null.get("x"), Value::Null.as_str()), (None, None, None));
    }
}
