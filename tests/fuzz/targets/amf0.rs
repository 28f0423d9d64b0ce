//! AMF0: any bytes end in values or an error, within the caps; what is written is read back.

use bytes::BytesMut;
use millstream::wire::rtmp::amf0::{MAX_DEPTH, MAX_VALUES, Reader, Value, write_all};

use super::source::assert_tellable;

pub fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    let values = match reader.read_all() {
        Ok(values) => values,
        Err(error) => {
            assert!(reader.position() <= data.len());
            return assert_tellable(&error.to_string());
        }
    };
    assert_eq!(reader.position(), data.len());
    let count: usize = values.iter().map(|value| counted(value, 0)).sum();
    assert!(count <= MAX_VALUES, "{count} values");

    let written = write(&values);
    let again = Reader::new(&written).read_all().expect("what was written can be read");
    // Bytes and not values: NaN is not equal to itself.
    assert_eq!(write(&again), written);
    if values.iter().all(|value| depth(value) < MAX_DEPTH) {
        assert_eq!(format!("{again:?}"), format!("{values:?}"));
    }
}

fn write(values: &[Value]) -> BytesMut {
    let mut out = BytesMut::new();
    write_all(&mut out, values);
    out
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(properties) | Value::EcmaArray(properties) | Value::Typed(_, properties) => {
            properties.iter().map(|(_, value)| value).collect()
        }
        Value::StrictArray(elements) => elements.iter().collect(),
        _ => Vec::new(),
    }
}

/// Values in `value`, itself included; none lies deeper than the cap.
fn counted(value: &Value, at: usize) -> usize {
    assert!(at <= MAX_DEPTH, "a value at depth {at}");
    1 + children(value).into_iter().map(|child| counted(child, at + 1)).sum::<usize>()
}

/// Levels of values below `value`, an empty object or array counted as one.
fn depth(value: &Value) -> usize {
    let below = children(value).into_iter().map(depth).max();
    let holds = matches!(value, Value::Object(_) | Value::EcmaArray(_) | Value::Typed(..) | Value::StrictArray(_));
    below.map_or(usize::from(holds), |below| 1 + below)
}
