//! Protobuf's wire format.

use super::Error;

/// The wire types that Kubernetes' messages use.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(number: u32, wire_type: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire_type), out);
}

/// Writes a field of bytes, a text or a message.
pub fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// How long such a field is with this many bytes.
pub fn bytes_len(number: u32, length: usize) -> usize {
    let varint = |value: usize| value.checked_ilog2().unwrap_or_default() as usize / 7 + 1;
    varint((number as usize) << 3) + varint(length) + length
}

/// The field of bytes that a message begins with, tag and all, if it is the one of this number.
pub fn leading(data: &[u8], number: u32) -> Option<&[u8]> {
    let mut rest = data;
    if varint(&mut rest).ok()? != u64::from(number) << 3 | u64::from(BYTES) {
        return None;
    }
    let length = usize::try_from(varint(&mut rest).ok()?).ok()?;
    data.get(..(data.len() - rest.len()).checked_add(length)?)
}

/// Writes a nested message. Its length stands before it but is known after it: one byte is kept free, and the
/// message moves if that is too little.
pub(super) fn put_message(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(number, BYTES, out);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    put_varint(length as u64, &mut prefix);
    out.splice(at..=at, prefix);
}

/// A field of a message.
pub(super) struct Wire<'a> {
    pub(super) number: u32,
    pub(super) wire_type: u8,
    pub(super) value: Number<'a>,
}

/// The value of a field.
pub(super) enum Number<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
}

/// Reads the fields of a message.
pub(super) struct Reader<'a, 'n> {
    data: &'a [u8],
    name: &'n str,
}

impl<'a, 'n> Reader<'a, 'n> {
    pub(super) fn new(data: &'a [u8], name: &'n str) -> Self {
        Reader { data, name }
    }

    /// The next field, or `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<Wire<'a>>, Error> {
        loop {
            if self.data.is_empty() {
                return Ok(None);
            }
            let tag = varint(&mut self.data)?;
            let (number, wire_type) = ((tag >> 3) as i32, (tag & 7) as u8);
            if wire_type == 4 {
                return Err(Error::EndGroup(self.name.to_owned()));
            }
            let Some(number) = u32::try_from(number).ok().filter(|number| *number > 0) else {
                return Err(Error::Tag { message: self.name.to_owned(), number, wire: tag });
            };
            let value = match wire_type {
                VARINT => Number::Integer(varint(&mut self.data)?),
                FIXED64 => Number::Integer(self.fixed(8)?),
                5 => Number::Integer(self.fixed(4)?),
                BYTES => {
                    let length = varint(&mut self.data)?;
                    let length = usize::try_from(length).map_err(|_| Error::Eof)?;
                    Number::Bytes(self.take(length)?)
                }
                3 => {
                    self.skip_group()?;
                    continue;
                }
                _ => {
                    return Err(Error::Tag {
                        message: self.name.to_owned(),
                        number: number as i32,
                        wire: tag,
                    });
                }
            };
            return Ok(Some(Wire { number, wire_type, value }));
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.data.split_at_checked(length).ok_or(Error::Eof)?;
        self.data = rest;
        Ok(bytes)
    }

    fn fixed(&mut self, width: usize) -> Result<u64, Error> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn skip_group(&mut self) -> Result<(), Error> {
        let mut depth = 1usize;
        while depth > 0 {
            let tag = varint(&mut self.data)?;
            match (tag & 7) as u8 {
                VARINT => drop(varint(&mut self.data)?),
                FIXED64 => drop(self.take(8)?),
                5 => drop(self.take(4)?),
                BYTES => {
                    let length = varint(&mut self.data)?;
                    self.take(usize::try_from(length).map_err(|_| Error::Eof)?)?;
                }
                3 => depth += 1,
                4 => depth -= 1,
                _ => {
                    return Err(Error::Tag {
                        message: self.name.to_owned(),
                        number: (tag >> 3) as i32,
                        wire: tag,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Takes a varint from the front.
pub(super) fn varint(data: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = data.split_first().ok_or(Error::Eof)?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::Overflow)
}
