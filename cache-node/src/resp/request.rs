//! Writing commands: effects in the log are requests.

/// Length of `args` as a RESP array of bulk strings.
pub fn request_len<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
    let header = 3 + digits(args.len());
    args.fold(header, |sum, arg| sum + 5 + digits(arg.len()) + arg.len())
}

/// Appends `args` as a RESP array of bulk strings.
pub fn encode_request<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(number.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_encoding() {
        for size in [0, 1, 9, 10, 99, 100, 12_345] {
            let value = vec![b'x'; size];
            let args = [b"SET".as_slice(), b"key", &value];
            let mut out = Vec::new();
            encode_request(&mut out, args.into_iter());
            assert_eq!(out.len(), request_len(args.into_iter()));
        }
    }
}
