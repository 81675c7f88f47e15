//! Frames on the bus's connections: length (4 bytes, big endian), protocol version (1 byte), message
//! as the connection's [`Encoder`] has it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bus::{Decoder, Encoder, Message};

/// Version of the messages' encoding. Nodes of different versions do not talk.
const VERSION: u8 = 3;
/// Longest frame that is accepted: a topology of thousands of shards, or as many log entries as Raft sends at once.
const MOST_BYTES: usize = 32 << 20;

/// Appends `message` as one frame.
pub(super) fn append(out: &mut Vec<u8>, encoder: &mut Encoder, message: &Message) {
    let bytes = encoder.encode(message);
    out.extend_from_slice(&(bytes.len() as u32 + 1).to_be_bytes());
    out.push(VERSION);
    out.extend_from_slice(&bytes);
}

/// Reads the next message; `None` at the end of the stream.
///
/// # Errors
///
/// When the connection fails, or what comes is not a frame of this version; the connection is of no use then.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
) -> io::Result<Option<Message>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MOST_BYTES {
        return Err(invalid(format!("a frame of {length} bytes")));
    }
    let mut bytes = Vec::new();
    // Grows with what comes, so that a length alone reserves nothing.
    from.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Ok(None);
    }
    if bytes[0] != VERSION {
        let theirs = bytes[0];
        return Err(invalid(format!("protocol version {theirs}, not {VERSION}")));
    }
    decoder
        .decode(&bytes[1..])
        .map(Some)
        .map_err(|error| invalid(error.to_string()))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strangers_are_told_by_their_first_bytes() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"\0\0\0\0",
            b"\0\0\0\x02\x07x",
            b"\0\0\0\x02\x01x",
        ] {
            let error = read(&mut &bytes[..], &mut Decoder::default())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        assert!(
            read(&mut &b"\0\0"[..], &mut Decoder::default())
                .await
                .unwrap()
                .is_none()
        );
    }
}
