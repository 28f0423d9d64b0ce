//! Writes AMF0 values. What is written is what [`super::Reader`] takes: deeper nesting becomes null.

use bytes::{BufMut, BytesMut};

use super::{
    BOOLEAN, DATE, ECMA_ARRAY, LONG_STRING, MAX_DEPTH, NULL, NUMBER, OBJECT, OBJECT_END, REFERENCE, STRICT_ARRAY,
    STRING, TYPED, UNDEFINED, Value, XML,
};

/// Appends one value. Property and class names are cut behind the last whole character within 65 535 bytes, the most that
/// their length field can say.
pub fn write(out: &mut BytesMut, value: &Value) {
    write_at(out, value, 0);
}

/// Appends all values, as a command's fields.
pub fn write_all(out: &mut BytesMut, values: &[Value]) {
    for value in values {
        write(out, value);
    }
}

fn write_at(out: &mut BytesMut, value: &Value, depth: usize) {
    match value {
        // The innermost level that the reader takes may hold no further object or array.
        Value::Object(_) | Value::Typed(..) | Value::EcmaArray(_) | Value::StrictArray(_) if depth >= MAX_DEPTH => {
            out.put_u8(NULL);
        }
        Value::Number(number) => {
            out.put_u8(NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(boolean) => out.put_slice(&[BOOLEAN, u8::from(*boolean)]),
        Value::String(text) if text.len() <= usize::from(u16::MAX) => {
            out.put_u8(STRING);
            write_name(out, text);
        }
        Value::String(text) => write_long(out, LONG_STRING, text),
        Value::Xml(text) => write_long(out, XML, text),
        Value::Object(properties) => {
            out.put_u8(OBJECT);
            write_properties(out, properties, depth);
        }
        Value::Typed(class, properties) => {
            out.put_u8(TYPED);
            write_name(out, class);
            write_properties(out, properties, depth);
        }
        Value::EcmaArray(properties) => {
            out.put_u8(ECMA_ARRAY);
            out.put_u32(count(properties.len()));
            write_properties(out, properties, depth);
        }
        Value::StrictArray(elements) => {
            out.put_u8(STRICT_ARRAY);
            out.put_u32(count(elements.len()));
            for element in elements {
                write_at(out, element, depth + 1);
            }
        }
        Value::Null => out.put_u8(NULL),
        Value::Undefined => out.put_u8(UNDEFINED),
        Value::Reference(index) => {
            out.put_u8(REFERENCE);
            out.put_u16(*index);
        }
        Value::Date(millis) => {
            out.put_u8(DATE);
            out.put_f64(*millis);
            out.put_u16(0);
        }
    }
}

fn write_properties(out: &mut BytesMut, properties: &[(String, Value)], depth: usize) {
    for (name, value) in properties {
        write_name(out, name);
        write_at(out, value, depth + 1);
    }
    out.put_slice(&[0, 0, OBJECT_END]);
}

fn write_name(out: &mut BytesMut, name: &str) {
    let cut = name.floor_char_boundary(usize::from(u16::MAX));
    out.put_u16(u16::try_from(cut).unwrap_or(u16::MAX));
    out.put_slice(&name.as_bytes()[..cut]);
}

fn write_long(out: &mut BytesMut, marker: u8, text: &str) {
    out.put_u8(marker);
    let length = count(text.len());
    out.put_u32(length);
    out.put_slice(&text.as_bytes()[..usize::try_from(length).unwrap_or(text.len())]);
}

/// Lengths here are those of values that we hold in memory; 4 GiB of them are not.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out, value);
        out.to_vec()
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        assert_eq!(written(&Value::Number(1.0)), b"\x00\x3f\xf0\x00\x00\x00\x00\x00\x00");
        assert_eq!(written(&Value::string("live")), b"\x02\x00\x04live");
        let object = Value::object([("a", Value::Boolean(true)), ("b", Value::Null)]);
        assert_eq!(written(&object), b"\x03\x00\x01a\x01\x01\x00\x01b\x05\x00\x00\x09");
        assert_eq!(written(&Value::StrictArray(vec![Value::Undefined])), b"\x0a\x00\x00\x00\x01\x06");
        assert_eq!(written(&Value::EcmaArray(vec![])), b"\x08\x00\x00\x00\x00\x00\x00\x09");
    }

    /// Text of strangers grows when it is read, because bytes that are not UTF-8 become three.
    #[test]
    fn a_name_is_cut_between_characters() {
        let name = "\u{fffd}".repeat(21_846); // 65 538 bytes
        let object = Value::Object(vec![(format!("x{name}"), Value::Null)]);
        let expected = Value::Object(vec![(format!("x{}", &name[..65_532]), Value::Null)]);
        assert_eq!(Reader::new(&written(&object)).read_all(), Ok(vec![expected]));
    }

    #[test]
    fn a_text_beyond_the_short_form_takes_the_long_one() {
        let text = Value::string("x".repeat(70_000));
        let bytes = written(&text);
        assert_eq!(bytes[..5], [LONG_STRING, 0, 1, 0x11, 0x70]);
        assert_eq!(Reader::new(&bytes).read_all(), Ok(vec![text]));
    }

    #[test]
    fn what_lies_too_deep_becomes_null_and_stays_readable() {
        let nested = |levels, inner| (0..levels).fold(inner, |inner, _| Value::StrictArray(vec![inner]));
        let bytes = written(&nested(40, Value::Boolean(true)));
        assert_eq!(Reader::new(&bytes).read_all(), Ok(vec![nested(MAX_DEPTH, Value::Null)]));
    }
}
