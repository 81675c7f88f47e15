//! Writing replies, in RESP2 or RESP3 as the connection asked.

use cache_engine::packed::Item;
use cache_engine::sorted_set::write_score;

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, until `HELLO 3`.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// Appends replies to a connection's output.
///
/// Once the output is longer than its limit, nothing more is appended; whoever sends it closes the connection instead.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
    most: usize,
}

impl<'a> Reply<'a> {
    /// Replies in `protocol`, appended to `out`.
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self {
            out,
            protocol,
            most: usize::MAX,
        }
    }

    /// The same, with a limit on the length of the output.
    pub fn limited(self, most: usize) -> Self {
        Self { most, ..self }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.out.len() > self.most
    }

    /// The protocol in use.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Switches protocol from the next reply on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes written so far, to come back to with [`Reply::truncate`].
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Forgets everything after `position`.
    pub fn truncate(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// The output, for a caller that writes a prepared reply.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        self.out
    }

    fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    fn header(&mut self, kind: u8, number: i64) {
        if self.is_full() {
            return;
        }
        self.out.push(kind);
        self.out
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        if self.is_full() {
            return;
        }
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; must not contain a line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: `text` begins with its code (`ERR`, `WRONGTYPE`, ...). Line breaks become blanks.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.out.extend(text.bytes().map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                byte
            }
        }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A number of things.
    pub fn count(&mut self, value: usize) {
        self.integer(value as i64);
    }

    /// The beginning of a bulk string of so many bytes, which the caller appends with the line's end.
    pub fn bulk_header(&mut self, len: usize) {
        self.header(b'$', len as i64);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        if self.is_full() {
            return;
        }
        self.out.reserve(value.len() + 32);
        match HEADERS.get(value.len()) {
            Some((header, length)) => {
                // Copying a fixed number of bytes and cutting the rest off again is faster than copying the right number.
                self.out.extend_from_slice(header);
                self.out.truncate(self.out.len() - 8 + usize::from(*length));
            }
            None => self.header(b'$', value.len() as i64),
        }
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string of `len` bytes in pieces.
    pub fn bulk_pieces<'p>(&mut self, len: usize, pieces: impl Iterator<Item = &'p [u8]>) {
        if self.is_full() {
            return;
        }
        self.header(b'$', len as i64);
        self.out.reserve(len + 2);
        pieces.for_each(|piece| self.out.extend_from_slice(piece));
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string with the text of a collection's item.
    pub fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(number) => self.bulk_integer(number),
            Item::Str(bytes) => self.bulk(bytes),
        }
    }

    /// A bulk string with the text of a collection's item, or null.
    pub fn item_or_null(&mut self, item: Option<Item<'_>>) {
        match item {
            Some(item) => self.item(item),
            None => self.null(),
        }
    }

    /// A bulk string that shows an integer.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Null where a bulk string could have been.
    pub fn null(&mut self) {
        self.out
            .extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Null where an array could have been.
    pub fn null_array(&mut self) {
        self.out
            .extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.null(),
        }
    }

    /// Begins an array; `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// Begins a map; `pairs` times two replies follow.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() {
            self.header(b'%', pairs as i64);
        } else {
            self.header(b'*', 2 * pairs as i64);
        }
    }

    /// Begins a set; `len` replies follow.
    pub fn set(&mut self, len: usize) {
        self.header(if self.resp3() { b'~' } else { b'*' }, len as i64);
    }

    /// Begins an out-of-band message; `len` replies follow.
    pub fn push(&mut self, len: usize) {
        self.header(if self.resp3() { b'>' } else { b'*' }, len as i64);
    }

    /// A truth value; 1 or 0 in RESP2.
    pub fn bool(&mut self, value: bool) {
        match (self.resp3(), value) {
            (true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (false, _) => self.integer(i64::from(value)),
        }
    }

    /// A floating point number; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::new();
        write_score(value, &mut text);
        if self.resp3() {
            self.line(b',', &text);
        } else {
            self.bulk(&text);
        }
    }

    /// Text for people; a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if self.resp3() {
            self.header(b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }
}

/// The header of a bulk string of each length below 1024, and how many of its eight bytes count.
static HEADERS: [([u8; 8], u8); 1024] = headers();

const fn headers() -> [([u8; 8], u8); 1024] {
    let mut headers = [([0; 8], 0); 1024];
    let mut length = 0;
    while length < 1024 {
        let digits = if length < 10 {
            1
        } else if length < 100 {
            2
        } else if length < 1000 {
            3
        } else {
            4
        };
        let mut header = [0; 8];
        header[0] = b'$';
        let (mut rest, mut at) = (length, digits);
        while at > 0 {
            header[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            at -= 1;
        }
        header[digits + 1] = b'\r';
        header[digits + 2] = b'\n';
        headers[length] = (header, digits as u8 + 3);
        length += 1;
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, protocol));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn each_protocol_has_its_own_null_map_and_double() {
        let write = |reply: &mut Reply<'_>| {
            reply.null();
            reply.map(1);
            reply.double(1.5);
            reply.bool(true);
            reply.verbatim("a");
        };
        assert_eq!(
            written(Protocol::Resp2, write),
            "$-1\r\n*2\r\n$3\r\n1.5\r\n:1\r\n$1\r\na\r\n"
        );
        assert_eq!(
            written(Protocol::Resp3, write),
            "_\r\n%1\r\n,1.5\r\n#t\r\n=5\r\ntxt:a\r\n"
        );
    }

    #[test]
    fn bulk_strings_of_every_length_have_the_right_header() {
        for length in (0..1100).chain([12_345]) {
            let value = vec![b'v'; length];
            let text = written(Protocol::Resp2, |reply| reply.bulk(&value));
            assert_eq!(text, format!("${length}\r\n{}\r\n", "v".repeat(length)));
        }
    }

    #[test]
    fn nothing_is_appended_beyond_the_limit() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Protocol::Resp2).limited(1000);
        for _ in 0..1000 {
            reply.bulk(&[b'x'; 100]);
            reply.bulk_pieces(3, [b"abc".as_slice()].into_iter());
            reply.double(1.5);
            reply.count(12);
            reply.simple("text");
        }
        assert!(out.len() > 1000 && out.len() < 1200);
    }

    #[test]
    fn an_error_stays_on_one_line() {
        assert_eq!(
            written(Protocol::Resp2, |reply| reply.error("ERR a\r\nb")),
            "-ERR a  b\r\n"
        );
    }
}
