//! The presentation language of TLS as RFC 9420 uses it (its section 2.1), read from the front, without copies.

/// Bytes that are not what was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Short> {
        let (taken, left) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, left) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = left;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    /// A vector's length: one, two or four bytes by the two highest bits of the first, in the shortest form.
    fn length(&mut self) -> Result<usize, Short> {
        let first = *self.0.first().ok_or(Short)?;
        let (length, least) = match first >> 6 {
            0 => (u32::from(self.u8()?), 0),
            1 => (u32::from(self.u16()? & 0x3fff), 1 << 6),
            2 => (self.u32()? & 0x3fff_ffff, 1 << 14),
            _ => return Err(Short),
        };
        // "A decoder MUST check that the value is not encoded with more bytes than needed" (RFC 9420, 2.1.2).
        if length < least {
            return Err(Short);
        }
        usize::try_from(length).map_err(|_| Short)
    }

    /// A vector of bytes: `opaque x<V>`, or any other vector as its bytes.
    pub(super) fn vector(&mut self) -> Result<&'b [u8], Short> {
        let length = self.length()?;
        self.take(length)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Short> {
        if self.0.is_empty() { Ok(()) } else { Err(Short) }
    }
}

/// The length of a vector as it stands before it; `None` for one that is too long for four bytes.
pub(super) fn length_prefix(length: usize) -> Option<([u8; 4], usize)> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 30)?;
    let [_, _, third, fourth] = length.to_be_bytes();
    Some(match length {
        0..0x40 => ([fourth, 0, 0, 0], 1),
        0x40..0x4000 => ([third | 0x40, fourth, 0, 0], 2),
        _ => ((length | 0x8000_0000).to_be_bytes(), 4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_form_and_is_never_believed() {
        for length in [0, 1, 63, 64, 300, 16_383, 16_384, 70_000] {
            let (prefix, size) = length_prefix(length).unwrap();
            let bytes = [&prefix[..size], &vec![7; length]].concat();
            let mut reader = Reader(&bytes);
            assert_eq!(reader.vector().map(<[u8]>::len), Ok(length));
            assert_eq!(reader.end(), Ok(()));
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).vector(), Err(Short));
        }
        assert_eq!(length_prefix(1 << 30), None);
        for longer in [&[0x40, 1, 9][..], &[0x80, 0, 0, 1, 9], &[0xc0, 0, 0, 0, 0, 0, 0, 0, 9], &[0x80, 0, 0x3f, 0xff]]
        {
            assert_eq!(Reader(longer).vector(), Err(Short), "{longer:?}");
        }
    }
}
