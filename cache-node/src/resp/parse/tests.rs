//! Requests, whole and broken, in any pieces.

use proptest::prelude::*;

use super::*;
use crate::resp::encode_request;

fn parse_all(chunks: &[&[u8]]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut parser = Parser::default();
    let (mut buffer, mut commands) = (Vec::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let length = match parser.parse(&buffer, &Limits::default())? {
                Parsed::Incomplete { .. } => break,
                Parsed::Nothing { length } => length,
                Parsed::Command { length } => {
                    commands.push(parser.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                    length
                }
            };
            buffer.drain(..length);
        }
    }
    Ok(commands)
}

#[test]
fn inline_commands_are_split_and_unquoted() {
    let commands = parse_all(&[b"\r\nSET  k \"a b\\x41\\n\"\r\nGET 'it\\'s'\n"]);
    let expected = vec![
        vec![b"SET".to_vec(), b"k".to_vec(), b"a bA\n".to_vec()],
        vec![b"GET".to_vec(), b"it's".to_vec()],
    ];
    assert_eq!(commands, Ok(expected));
}

#[test]
fn broken_requests_are_named() {
    for (request, error) in [
        (b"*x\r\n".as_slice(), ProtocolError::Count),
        (b"*1048577\r\n", ProtocolError::Count),
        (b"*1\r\n:1\r\n", ProtocolError::NotBulk(b':')),
        (b"*1\r\n$-1\r\n", ProtocolError::Length),
        (b"*1\r\n$536870913\r\n", ProtocolError::Length),
        (b"GET \"a\r\n", ProtocolError::Quotes),
        (b"GET \"a\"b\r\n", ProtocolError::Quotes),
    ] {
        assert_eq!(parse_all(&[request]), Err(error));
    }
    let endless = vec![b'a'; MAX_LINE + 1];
    assert_eq!(parse_all(&[&endless]), Err(ProtocolError::LongInline));
    let endless = [b"*".as_slice(), &vec![b'1'; MAX_LINE]].concat();
    assert_eq!(parse_all(&[&endless]), Err(ProtocolError::LongCount));
    assert_eq!(
        ProtocolError::NotBulk(b'x').to_string(),
        "expected '$', got 'x'"
    );
}

#[test]
fn empty_and_negative_arrays_are_skipped() {
    let commands = parse_all(&[b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n"]);
    assert_eq!(commands, Ok(vec![vec![b"PING".to_vec()]]));
}

#[test]
fn before_authentication_requests_are_small() {
    let limits = Limits {
        unauthenticated: true,
        ..Limits::default()
    };
    let parsed = Parser::default().parse(b"*11\r\n", &limits);
    assert_eq!(parsed, Err(ProtocolError::UnauthenticatedCount));
    let parsed = Parser::default().parse(b"*1\r\n$16385\r\n", &limits);
    assert_eq!(parsed, Err(ProtocolError::UnauthenticatedLength));
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_commands(
        commands in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        for command in &commands {
            encode_request(&mut bytes, command.iter().map(Vec::as_slice));
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut start = 0;
        for cut in cuts {
            chunks.push(&bytes[start..cut]);
            start = cut;
        }
        chunks.push(&bytes[start..]);
        prop_assert_eq!(parse_all(&chunks), Ok(commands));
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_all(&[&bytes]);
    }
}
