//! Netlink attributes: writing and reading.

/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// Writes attributes to a buffer.
#[derive(Debug)]
pub(crate) struct Attrs<'a>(pub(crate) &'a mut Vec<u8>);

impl Attrs<'_> {
    /// Raw bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = (value.len() + 4) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(self.0);
    }

    /// A text with its final NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let len = (value.len() + 5) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        pad(self.0);
    }

    /// A number in network order.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A long number in network order.
    pub(crate) fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes in an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attrs)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(&mut Attrs(self.0));
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

fn pad(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// The attributes in some bytes: kind and content. Stops at what isn't one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let content = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut buffer = Vec::new();
        let mut attrs = Attrs(&mut buffer);
        attrs.text(1, "ab");
        attrs.nest(2, |a| a.u32(3, 7));
        let read: Vec<_> = attributes(&buffer).collect();
        assert_eq!(read[0], (1, &b"ab\0"[..]));
        assert_eq!(read[1].0, 2);
        assert_eq!(attributes(read[1].1).next(), Some((3, &7u32.to_be_bytes()[..])));
        assert_eq!(attributes(&[1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 9]).count(), 0);
    }
}
