//! Reads AMF0 values out of a byte slice, within [`MAX_DEPTH`] and [`MAX_VALUES`].

use super::{
    BOOLEAN, DATE, ECMA_ARRAY, LONG_STRING, MAX_DEPTH, MAX_VALUES, NULL, NUMBER, OBJECT, OBJECT_END, REFERENCE,
    STRICT_ARRAY, STRING, TYPED, UNDEFINED, UNSUPPORTED, Value, XML,
};

/// Bytes that are not AMF0, or more of it than we take. Offsets count from the start of the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    /// A value goes beyond the end.
    #[error("AMF0 value at byte {offset} goes beyond the end")]
    Truncated {
        /// Where the missing bytes would be.
        offset: usize,
    },
    /// A marker that AMF0 reserves, or the switch to AMF3.
    #[error("AMF0 marker {marker} at byte {offset} is not supported")]
    Marker {
        /// The marker.
        marker: u8,
        /// Where it is.
        offset: usize,
    },
    /// Objects and arrays nest deeper than [`MAX_DEPTH`].
    #[error("AMF0 values nest deeper than {MAX_DEPTH} at byte {offset}")]
    TooDeep {
        /// Where the limit was passed.
        offset: usize,
    },
    /// More than [`MAX_VALUES`] values.
    #[error("more than {MAX_VALUES} AMF0 values in one message, at byte {offset}")]
    TooMany {
        /// Where the limit was passed.
        offset: usize,
    },
}

impl AmfError {
    /// Whether the sender passed a cap that no honest message comes near.
    pub const fn is_bomb(self) -> bool {
        matches!(self, AmfError::TooDeep { .. } | AmfError::TooMany { .. })
    }
}

/// Reads one value after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, values: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// The bytes are not AMF0, or pass a cap.
    pub fn read(&mut self) -> Result<Option<Value>, AmfError> {
        if self.at == self.bytes.len() { Ok(None) } else { self.value(0).map(Some) }
    }

    /// All values to the end.
    ///
    /// # Errors
    /// The bytes are not AMF0, or pass a cap.
    pub fn read_all(&mut self) -> Result<Vec<Value>, AmfError> {
        let mut values = Vec::new();
        while let Some(value) = self.read()? {
            values.push(value);
        }
        Ok(values)
    }

    /// `depth` objects and arrays are open around this value: the recursion ends at [`MAX_DEPTH`].
    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        let offset = self.at;
        if depth > MAX_DEPTH {
            return Err(AmfError::TooDeep { offset });
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(AmfError::TooMany { offset });
        }
        let marker = self.array::<1>()?[0];
        Ok(match marker {
            NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            BOOLEAN => Value::Boolean(self.array::<1>()?[0] != 0),
            STRING => Value::String(self.short_text()?),
            LONG_STRING => Value::String(self.long_text()?),
            XML => Value::Xml(self.long_text()?),
            OBJECT => Value::Object(self.properties(depth, false)?),
            TYPED => Value::Typed(self.short_text()?, self.properties(depth, false)?),
            ECMA_ARRAY => {
                self.array::<4>()?; // the count, which senders get wrong
                Value::EcmaArray(self.properties(depth, true)?)
            }
            STRICT_ARRAY => Value::StrictArray(self.elements(depth)?),
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            REFERENCE => Value::Reference(u16::from_be_bytes(self.array()?)),
            DATE => {
                let millis = f64::from_be_bytes(self.array()?);
                self.array::<2>()?; // the reserved time zone
                Value::Date(millis)
            }
            marker => return Err(AmfError::Marker { marker, offset }),
        })
    }

    /// Names and values up to the end marker. Some senders leave it out at the end of an associative array that is the
    /// message's last value, so there `may_end` with the bytes.
    fn properties(&mut self, depth: usize, may_end: bool) -> Result<Vec<(String, Value)>, AmfError> {
        let mut properties = Vec::new();
        loop {
            if may_end && self.at == self.bytes.len() {
                return Ok(properties);
            }
            let name = self.short_text()?;
            if name.is_empty() && self.bytes.get(self.at) == Some(&OBJECT_END) {
                self.at += 1;
                return Ok(properties);
            }
            let value = self.value(depth + 1)?;
            properties.push((name, value));
        }
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Value>, AmfError> {
        let count = u32::from_be_bytes(self.array()?);
        let mut elements = Vec::new(); // grows with what is there, not with what is claimed
        for _ in 0..count {
            elements.push(self.value(depth + 1)?);
        }
        Ok(elements)
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.array()?);
        self.text(usize::from(length))
    }

    fn long_text(&mut self) -> Result<String, AmfError> {
        let length = u32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| AmfError::Truncated { offset: self.at })?;
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<String, AmfError> {
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let offset = self.at;
        self.take(N)?.try_into().map_err(|_| AmfError::Truncated { offset })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], AmfError> {
        let truncated = AmfError::Truncated { offset: self.at };
        let end = self.at.checked_add(length).ok_or(truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
        Reader::new(bytes).read_all()
    }

    #[test]
    fn ten_thousand_levels_are_refused_without_following_them() {
        let objects = b"\x03\x00\x01a".repeat(10_000);
        assert_eq!(read(&objects), Err(AmfError::TooDeep { offset: 17 * 4 }));
        let arrays = b"\x0a\x00\x00\x00\x01".repeat(10_000);
        assert_eq!(read(&arrays), Err(AmfError::TooDeep { offset: 17 * 5 }));
        assert!(read(&arrays).is_err_and(AmfError::is_bomb));
    }

    #[test]
    fn sixteen_levels_are_read() {
        let mut bytes = b"\x0a\x00\x00\x00\x01".repeat(MAX_DEPTH);
        bytes.push(NULL);
        let expected = (0..MAX_DEPTH).fold(Value::Null, |inner, _| Value::StrictArray(vec![inner]));
        assert_eq!(read(&bytes), Ok(vec![expected]));
    }

    #[test]
    fn a_claimed_count_costs_nothing_and_a_real_one_is_capped() {
        assert_eq!(read(b"\x0a\xff\xff\xff\xff\x05"), Err(AmfError::Truncated { offset: 6 }));
        let flood = vec![NULL; MAX_VALUES + 1];
        assert_eq!(read(&flood), Err(AmfError::TooMany { offset: MAX_VALUES }));
    }

    #[test]
    fn a_long_text_cannot_reach_beyond_the_end() {
        assert_eq!(read(b"\x0c\xff\xff\xff\xffab"), Err(AmfError::Truncated { offset: 5 }));
        assert_eq!(read(b"\x02\x00\x05ab"), Err(AmfError::Truncated { offset: 3 }));
    }

    #[test]
    fn odd_but_harmless_forms_are_read() {
        let no_end_marker = b"\x08\x00\x00\x00\x07\x00\x01a\x01\x01";
        assert_eq!(read(no_end_marker), Ok(vec![Value::EcmaArray(vec![("a".to_owned(), Value::Boolean(true))])]));
        assert_eq!(read(b"\x02\x00\x02\xff!"), Ok(vec![Value::string("\u{fffd}!")]));
        assert_eq!(read(b"\x0d"), Ok(vec![Value::Undefined]));
    }

    #[test]
    fn amf3_and_reserved_markers_are_named() {
        for marker in [4, 9, 14, 17, 200] {
            assert_eq!(read(&[NULL, marker]), Err(AmfError::Marker { marker, offset: 1 }));
        }
    }
}
