//! Append-only files and their manifests: any bytes end in commands, a torn end or damage, however they arrive, and what was read up to
//! there is whole.

#![no_main]

// The modules themselves, not the crate around them.
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../cache-node/src"]
mod node {
    pub mod resp;
}

#[allow(dead_code)]
#[path = "../../cache-node/src/persistence/aof"]
mod aof {
    mod annotation;
    mod manifest;
    mod reader;

    use std::io::{self, Read};

    use manifest::Manifest;
    use reader::{Next, Reader};

    /// Gives few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.1).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// What a file says.
    #[derive(Debug, PartialEq)]
    struct Read1 {
        commands: Vec<Vec<Vec<u8>>>,
        /// Where the last command ends.
        whole: u64,
        /// What the line behind it says, with a checksum.
        remark: Vec<u8>,
        end: Result<(Next, u64), (u64, String)>,
    }

    fn read(bytes: &[u8], step: usize) -> Read1 {
        let mut reader = Reader::new(Slow(bytes, step), 0);
        let (mut commands, mut whole) = (Vec::new(), 0);
        loop {
            let end = match reader.next() {
                Ok(Next::Command) => {
                    commands.push(reader.args().iter().map(<[u8]>::to_vec).collect());
                    whole = reader.end();
                    continue;
                }
                Ok(next) => Ok((next, reader.offset())),
                Err(damage) => Err((damage.offset, damage.reason)),
            };
            return Read1 {
                commands,
                whole,
                remark: reader.confirmed_remark().to_vec(),
                end,
            };
        }
    }

    pub fn check(bytes: &[u8], step: usize) {
        let all = read(bytes, usize::MAX);
        assert_eq!(read(bytes, step), all);
        if let Ok((_, at)) = &all.end {
            assert!(*at >= all.whole && *at <= bytes.len() as u64);
            // Cut there, it is whole.
            let cut = read(&bytes[..*at as usize], step);
            assert_eq!(cut.commands, all.commands);
            assert_eq!(cut.end, Ok((Next::End, *at)));
        }
    }

    pub fn check_manifest(text: &[u8]) {
        if let Ok(manifest) = Manifest::parse(text) {
            assert_eq!(Manifest::parse(manifest.text().as_bytes()), Ok(manifest));
        }
    }
}

use libfuzzer_sys::fuzz_target;
use node::resp;

fuzz_target!(|input: &[u8]| {
    match input {
        [0, text @ ..] => aof::check_manifest(text),
        [step, bytes @ ..] => aof::check(bytes, usize::from(*step)),
        [] => {}
    }
});
