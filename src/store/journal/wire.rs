//! Little-endian fields of record bodies: a writer that appends, and a reader that never leaves its slice.

use bytes::Bytes;

use super::record::Malformed;
use crate::media::{Span, Timestamp, WallTime};

/// Appends fields.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }
    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
    fn span(&mut self, value: Span) {
        self.i64(value.flicks());
    }
    fn timestamp(&mut self, value: Timestamp) {
        self.i64(value.flicks());
    }
    fn wall(&mut self, value: WallTime) {
        self.i64(value.unix_nanos());
    }
    /// Length u32, then the bytes. Bodies are held to `MAX_BODY_BYTES`, so the length fits.
    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.put(value);
    }
    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
    fn fraction(&mut self, value: Option<(u32, u32)>) {
        self.bool(value.is_some());
        let (numerator, denominator) = value.unwrap_or((0, 0));
        self.u32(numerator);
        self.u32(denominator);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes fields from the front.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    pub fn span(&mut self) -> Result<Span, Malformed> {
        Ok(Span::from_flicks(self.i64()?))
    }
    /// A span that is not negative.
    pub fn duration(&mut self) -> Result<Span, Malformed> {
        Some(self.span()?).filter(|span| *span >= Span::ZERO).ok_or(Malformed)
    }
    pub fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        Ok(Timestamp::from_flicks(self.i64()?))
    }
    pub fn wall(&mut self) -> Result<WallTime, Malformed> {
        Ok(WallTime::from_unix_nanos(self.i64()?))
    }
    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u32()? as usize;
        Ok(Bytes::copy_from_slice(self.take(len)?))
    }
    pub fn text(&mut self) -> Result<String, Malformed> {
        let len = self.u32()? as usize;
        String::from_utf8(self.take(len)?.to_vec()).map_err(|_| Malformed)
    }
    pub fn fraction(&mut self) -> Result<Option<(u32, u32)>, Malformed> {
        let present = self.bool()?;
        let fraction = (self.u32()?, self.u32()?);
        Ok(present.then_some(fraction))
    }

    /// All bytes must have been taken: a longer body is not what it says to be.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
