//! Fields of ssh's messages (RFC 4251, section 5), read from bytes that nobody vouches for.
//!
//! A crate for the agent's protocol decodes a message and encodes it again; what is judged here has
//! to be the very bytes that are passed on, and six fields are read.

/// A reader of fields. Nothing is copied, and a length beyond the end is no field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn of(bytes: &'b [u8]) -> Fields<'b> {
        Fields(bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Reads a string: its length, then so many bytes.
    pub(super) fn string(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// Reads a positive number of many bytes, without its leading zeros.
    pub(super) fn positive(&mut self) -> Option<&'b [u8]> {
        let bytes = self.string()?;
        let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        (!is_negative && zeros < bytes.len()).then_some(&bytes[zeros..])
    }

    /// Says that nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Writes a string.
#[cfg(test)]
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
