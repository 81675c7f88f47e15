//! Counts complete RESP commands in what was read and holds the replies; the same work for every shape of server.

/// `+OK` as often as one read can ask for it.
pub(crate) struct Replies(Vec<u8>);

impl Replies {
    const ONE: &[u8] = b"+OK\r\n";
    /// No more commands fit into one read of [`SCRATCH`] bytes.
    const MOST: usize = SCRATCH / 4;

    /// The replies, written out once.
    pub(crate) fn new() -> Self {
        Self(Self::ONE.repeat(Self::MOST))
    }

    /// Replies to `count` commands.
    pub(crate) fn to(&self, count: usize) -> &[u8] {
        &self.0[..count * Self::ONE.len()]
    }
}

/// Bytes of the buffer that a read goes into.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// Complete commands in `input`, and the bytes that they take. An inline command counts as one.
pub(crate) fn commands(input: &[u8]) -> (usize, usize) {
    let mut count = 0;
    let mut consumed = 0;
    while let Some(length) = command(&input[consumed..]) {
        consumed += length;
        count += 1;
    }
    (count, consumed)
}

/// Length of the first command, if it is complete.
fn command(input: &[u8]) -> Option<usize> {
    if input.first()? != &b'*' {
        return input
            .iter()
            .position(|&byte| byte == b'\n')
            .map(|end| end + 1);
    }
    let (arguments, mut position) = number(input, 1)?;
    for _ in 0..arguments {
        let (length, start) = number(input, position + 1)?;
        position = start + length + 2;
    }
    (position <= input.len()).then_some(position)
}

/// The number that starts at `position`, and the position after its line.
fn number(input: &[u8], mut position: usize) -> Option<(usize, usize)> {
    let mut number = 0_usize;
    loop {
        match input.get(position)? {
            digit @ b'0'..=b'9' => number = number * 10 + usize::from(digit - b'0'),
            b'\r' => return (position + 1 < input.len()).then_some((number, position + 2)),
            _ => return None,
        }
        position += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_commands_are_counted() {
        let one = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let three = one.repeat(3);
        for end in 0..=three.len() {
            let whole = end / one.len();
            assert_eq!(commands(&three[..end]), (whole, whole * one.len()), "{end}");
        }
    }
}
