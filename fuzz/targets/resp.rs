//! Requests: however the bytes arrive, the same commands come of them, and both parsers agree.

#![no_main]

// The module itself, not the crate around it: its inner parser is looked at too, and nothing else has to be built.
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../cache-node/src"]
mod node {
    pub mod resp;
}

use libfuzzer_sys::fuzz_target;
use node::resp::{Args, Limits, Parsed, Parser, ProtocolError, encode_request, whole_command};

/// Commands in order, and what broke the protocol, if anything did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    commands: Vec<Vec<Vec<u8>>>,
    broken: Option<ProtocolError>,
}

/// How a connection's bytes are read.
struct Reader {
    limits: Limits,
    quick: bool,
    parser: Parser,
    pending: Vec<u8>,
    heard: Heard,
}

impl Reader {
    fn new(limits: Limits, quick: bool) -> Self {
        Self {
            limits,
            quick,
            parser: Parser::default(),
            pending: Vec::new(),
            heard: Heard::default(),
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        while self.heard.broken.is_none() {
            let mut spans = Vec::new();
            if self.quick
                && !self.parser.is_midway()
                && let Some(end) = whole_command(&self.pending, used, &self.limits, &mut spans)
            {
                let args = Args::new(&self.pending, &spans);
                self.heard
                    .commands
                    .push(args.iter().map(<[u8]>::to_vec).collect());
                used = end;
                continue;
            }
            assert!(spans.is_empty());
            let rest = &self.pending[used..];
            match self.parser.parse(rest, &self.limits) {
                Ok(Parsed::Incomplete { .. }) => break,
                Ok(Parsed::Nothing { length }) => {
                    assert!(length > 0 && length <= rest.len());
                    used += length;
                }
                Ok(Parsed::Command { length }) => {
                    assert!(length > 0 && length <= rest.len());
                    let args = self.parser.args(rest);
                    assert!(!args.is_empty());
                    self.heard
                        .commands
                        .push(args.iter().map(<[u8]>::to_vec).collect());
                    used += length;
                }
                Err(error) => self.heard.broken = Some(error),
            }
            self.parser.shrink();
        }
        self.pending.drain(..used);
    }
}

fuzz_target!(|input: &[u8]| {
    let [form, step, data @ ..] = input else {
        return;
    };
    let limits = Limits {
        unauthenticated: form & 1 != 0,
        bulk: if form & 2 == 0 { 512 << 20 } else { 100 },
        ..Limits::default()
    };
    let mut whole = Reader::new(limits, false);
    whole.read(data);
    let mut quick = Reader::new(limits, true);
    quick.read(data);
    assert_eq!(whole.heard, quick.heard);
    let mut pieces = Reader::new(limits, form & 4 != 0);
    for piece in data.chunks(usize::from(*step).max(1)) {
        pieces.read(piece);
    }
    assert_eq!(whole.heard, pieces.heard);
    if !limits.unauthenticated && limits.bulk > data.len() {
        check_encoding(&whole.heard, &limits);
    }
});

/// What was understood, written and read again, is the same.
fn check_encoding(heard: &Heard, limits: &Limits) {
    let mut written = Vec::new();
    for args in &heard.commands {
        encode_request(&mut written, args.iter().map(Vec::as_slice));
    }
    let mut again = Reader::new(*limits, true);
    again.read(&written);
    assert_eq!(again.heard.commands, heard.commands);
    assert_eq!(again.heard.broken, None);
}
