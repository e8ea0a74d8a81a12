//! The little of ASN.1 DER that certificates and keys need to be written.

/// Tags of DER values.
pub mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
}

/// A value with its tag and length.
pub fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = contents.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|b| **b == 0).count();
        out.push(0x80 | (bytes.len() - skip) as u8);
        out.extend(&bytes[skip..]);
    }
    out.extend(contents);
    out
}

/// A sequence of values.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(tag::SEQUENCE, &parts.concat())
}

/// A bit string of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(tag::BIT_STRING, &[&[0], bytes].concat())
}

/// A positive integer, from its big-endian bytes.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let skip = bytes.iter().take_while(|b| **b == 0).count();
    let bytes = &bytes[skip..];
    let pad: &[u8] = if bytes.first().is_none_or(|b| *b >= 0x80) { &[0] } else { &[] };
    value(tag::INTEGER, &[pad, bytes].concat())
}

/// An object identifier, from its numbers.
pub fn oid(numbers: &[u32]) -> Vec<u8> {
    let first = numbers.first().copied().unwrap_or(0) * 40 + numbers.get(1).copied().unwrap_or(0);
    let mut out = Vec::new();
    for number in std::iter::once(first).chain(numbers.iter().skip(2).copied()) {
        let groups = (0..5).rev().map(|i| ((number >> (7 * i)) & 0x7f) as u8);
        let mut groups: Vec<u8> = groups.skip_while(|g| *g == 0).collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        out.extend(groups.iter().enumerate().map(|(i, g)| if i < last { g | 0x80 } else { *g }));
    }
    value(tag::OID, &out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        assert_eq!(oid(&[1, 2, 840, 113549]), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(oid(&[2, 5, 29, 17]), [6, 3, 0x55, 0x1d, 0x11]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(value(4, &[7; 200])[..3], [4, 0x81, 200]);
    }
}
