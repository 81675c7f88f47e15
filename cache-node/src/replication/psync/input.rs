//! Where a data set ends that comes from a server of another kind, which does not say before how long it is.

use std::io::{self, Read};

/// Reads until bytes have come that are a mark, behind which nothing comes for a while.
pub(super) struct UntilMark<R> {
    input: R,
    mark: Vec<u8>,
    /// What was read and not passed on: the mark may be in it.
    held: Vec<u8>,
}

impl<R: Read> UntilMark<R> {
    pub(super) fn new(input: R, mark: &[u8]) -> Self {
        Self {
            input,
            mark: mark.to_vec(),
            held: Vec::new(),
        }
    }
}

impl<R: Read> Read for UntilMark<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.held.len() <= self.mark.len() && self.held != self.mark {
            let mut piece = [0; 16 << 10];
            let read = self.input.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.held.extend_from_slice(&piece[..read]);
        }
        let ready = (self.held.len() - self.mark.len()).min(buffer.len());
        buffer[..ready].copy_from_slice(&self.held[..ready]);
        self.held.drain(..ready);
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_before_the_mark_is_read_however_it_comes() {
        let content: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
        let mark = [b'm'; 40];
        let mut whole = content.clone();
        whole.extend_from_slice(&mark);
        let mut read = Vec::new();
        UntilMark::new(whole.as_slice(), &mark)
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == content);
        let cut = &whole[..whole.len() - 1];
        let error = UntilMark::new(cut, &mark).read_to_end(&mut read);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
