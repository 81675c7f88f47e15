//! Frames on the bus's connections: length (4 bytes, big endian), message as the connection's [`Encoder`](crate::bus::Encoder) has it, and the
//! tag if there is a secret.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::seal::{Opener, Sealer, TAG_BYTES};

/// Longest frame that is accepted: a topology of thousands of shards, or as many log entries as Raft sends at once.
const MOST_BYTES: usize = 32 << 20;

/// Appends `message` as one frame.
pub(super) fn append(out: &mut Vec<u8>, message: &[u8], sealer: Option<&mut Sealer>) {
    let start = out.len();
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    if let Some(sealer) = sealer {
        let tag = sealer.seal(&out[start..]);
        out.extend_from_slice(&tag);
    }
}

/// Reads the next frame's message; `None` at the end of the stream.
///
/// # Errors
///
/// When the connection fails, or what comes is not a frame, or not one of whom the connection is with; the connection is of no use then.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    opener: Option<&mut Opener>,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    if !fill(from, &mut header).await? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(header) as usize;
    if length == 0 || length > MOST_BYTES {
        return Err(invalid(format!("a frame of {length} bytes")));
    }
    let mut bytes = Vec::new();
    // Grows with what comes, so that a length alone reserves nothing.
    let mut body = (&mut *from).take(length as u64);
    body.read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Ok(None);
    }
    if let Some(opener) = opener {
        let mut tag = [0; TAG_BYTES];
        if !fill(from, &mut tag).await? {
            return Ok(None);
        }
        opener
            .open(&[&header, &bytes], &tag)
            .map_err(|_| invalid("a frame that was not sealed for this place".to_owned()))?;
    }
    Ok(Some(bytes))
}

/// Reads so many bytes. False at the end of the stream.
async fn fill(from: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What cannot be used, as the connection's error.
pub(super) fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::hello::Hello;
    use super::super::seal::ConnectionKey;
    use super::super::secret::Secret;
    use super::*;
    use crate::bus::{Action, Bus, Config, Event, Message, Request};
    use crate::topology::Address;

    /// A message as the bus sends it.
    pub(in super::super) fn message() -> Message {
        let config = Config {
            address: Address {
                ip: "127.0.0.1".to_owned(),
                port: 1,
                bus_port: 2,
                hostname: String::new(),
            },
            node_timeout: 2_000,
        };
        let mut bus = Bus::new(config, None, 0, 7).unwrap();
        let request = Request::Meet {
            ip: "127.0.0.2".to_owned(),
            bus_port: 2,
        };
        let actions = bus.handle(Event::Request { token: 1, request }, 0);
        let sent = actions.into_iter().find_map(|action| match action {
            Action::Send { message, .. } => Some(*message),
            _ => None,
        });
        sent.unwrap()
    }

    fn key() -> ConnectionKey {
        let hello = Hello::new(true, [1; 32]);
        ConnectionKey::new(&Secret::new(b"secret"), &hello, &hello)
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"\0\0\0\0",
            b"\xff\0\0\x01x",
        ] {
            let error = read(&mut &bytes[..], None).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        assert!(read(&mut &b"\0\0"[..], None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn sealed_frames_are_read_in_their_order() {
        let (message, mut sealer, mut opener) =
            (message().encode(), key().sealer(), key().opener());
        let mut bytes = Vec::new();
        append(&mut bytes, &message, Some(&mut sealer));
        append(&mut bytes, &message, Some(&mut sealer));
        let mut from = bytes.as_slice();
        for _ in 0..2 {
            let read = read(&mut from, Some(&mut opener)).await.unwrap();
            assert_eq!(read.unwrap(), message);
        }
        assert!(read(&mut from, Some(&mut opener)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_without_its_tag_is_never_taken() {
        let mut sealed = Vec::new();
        append(&mut sealed, &message().encode(), Some(&mut key().sealer()));
        for length in 0..sealed.len() {
            let mut opener = key().opener();
            let read = read(&mut &sealed[..length], Some(&mut opener)).await;
            assert!(matches!(read, Ok(None)), "{length}");
        }
        let mut plain = Vec::new();
        append(&mut plain, &message().encode(), None);
        append(&mut plain, &message().encode(), None);
        let error = read(&mut plain.as_slice(), Some(&mut key().opener()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
}
