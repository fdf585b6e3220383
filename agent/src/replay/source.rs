//! Bytes with their offset, read once from start to end.

use std::io::{BufReader, Read};

use super::fault::Flaw;

/// A capture file or pipe.
pub(super) struct Source<R> {
    inner: BufReader<R>,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner: BufReader::with_capacity(1 << 18, inner), offset: 0 }
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `N` bytes; `None` if the source ends exactly here.
    pub(super) fn record<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Flaw> {
        let mut bytes = [0; N];
        match self.fill(&mut bytes)? {
            0 if N > 0 => Ok(None),
            got if got < N => Err(Flaw::Cut { wanted: N as u64, got: got as u64 }),
            _ => Ok(Some(bytes)),
        }
    }

    /// The next `N` bytes, which must be there.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        self.record()?.ok_or(Flaw::Cut { wanted: N as u64, got: 0 })
    }

    /// Replaces `into` by the next `length` bytes. The caller has bounded `length`.
    pub(super) fn bytes(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), Flaw> {
        into.clear();
        into.resize(length, 0);
        let got = self.fill(into)?;
        into.truncate(got);
        if got < length { Err(Flaw::Cut { wanted: length as u64, got: got as u64 }) } else { Ok(()) }
    }

    /// Passes over `length` bytes without keeping them.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Flaw> {
        let got = std::io::copy(&mut self.inner.by_ref().take(length), &mut std::io::sink()).map_err(Flaw::from)?;
        self.offset += got;
        if got < length { Err(Flaw::Cut { wanted: length, got }) } else { Ok(()) }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<usize, Flaw> {
        let mut got = 0;
        while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Flaw::from(error)),
            }
        }
        self.offset += got as u64;
        Ok(got)
    }
}
