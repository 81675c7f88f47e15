//! Messages as the bytes of one connection: what a message shares with the one before it is left out.
//!
//! Nearly all that nodes say to each other is heartbeats, and nearly all of a heartbeat is what the last one said: who speaks, where it is, and
//! to whom. So each message is sent as the difference from the last one of its kind on the same connection: how many bytes are equal at
//! the beginning and at the end, and what stands between. Both ends keep that last message, which is why a connection needs an encoder and
//! a decoder of its own, and why nothing may be lost between them.

use super::message::{KINDS, Message, MessageError};

/// Longer messages are not kept: they are rare, and there are two thousand connections. In bytes.
const MOST_KEPT: usize = 16 << 10;

/// The last message of each kind, as bytes.
#[derive(Clone, Debug, Default)]
struct Kept([Vec<u8>; KINDS]);

impl Kept {
    fn keep(&mut self, kind: usize, bytes: Vec<u8>) {
        if bytes.len() <= MOST_KEPT {
            self.0[kind] = bytes;
        }
    }
}

/// The sending end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Encoder(Kept);

/// The receiving end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Decoder(Kept);

impl Encoder {
    /// The bytes of the connection's next message: its kind, the numbers of bytes at its beginning and its end that are those of the last one
    /// of this kind, and the others.
    pub fn encode(&mut self, message: &Message) -> Vec<u8> {
        let bytes = message.encode();
        let kind = message.kind();
        let last = &self.0.0[kind];
        let prefix = equal(last.iter(), bytes.iter());
        let suffix = equal(last[prefix..].iter().rev(), bytes[prefix..].iter().rev());
        let head = (kind as u8, prefix as u32, suffix as u32);
        let mut out = postcard::to_stdvec(&head).expect("plain data is always encoded");
        out.extend_from_slice(&bytes[prefix..bytes.len() - suffix]);
        self.0.keep(kind, bytes);
        out
    }
}

impl Decoder {
    /// The connection's next message.
    ///
    /// # Errors
    ///
    /// When the bytes are something else. The connection is of no use then.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Message, MessageError> {
        let ((kind, prefix, suffix), middle) =
            postcard::take_from_bytes::<(u8, u32, u32)>(bytes).map_err(|_| MessageError)?;
        let (kind, prefix, suffix) = (usize::from(kind), prefix as usize, suffix as usize);
        let last = self.0.0.get(kind).ok_or(MessageError)?;
        if prefix.saturating_add(suffix) > last.len() {
            return Err(MessageError);
        }
        let whole = [&last[..prefix], middle, &last[last.len() - suffix..]].concat();
        let message = Message::decode(&whole)?;
        if message.kind() != kind {
            return Err(MessageError);
        }
        self.0.keep(kind, whole);
        Ok(message)
    }
}

fn equal<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::message::{Body, Heartbeat, Sender};
    use crate::bus::request::LocalStatus;
    use crate::topology::{Address, NodeId};

    fn message(body: Body) -> Message {
        let node = NodeId::new([7; 20]);
        Message {
            to: Some(NodeId::new([8; 20])),
            sender: Sender {
                node,
                incarnation: 1 << 31,
                address: Address {
                    ip: "10.1.2.3".to_owned(),
                    port: 6379,
                    bus_port: 16379,
                    hostname: "cache-s12-1.cache-nodes.default.svc.cluster.local".to_owned(),
                },
                cluster: u64::MAX / 3,
                generation: 1,
                founder: node,
            },
            body,
            index: 4711,
        }
    }

    fn heartbeat(offset: u64, suspects: &[u8]) -> Message {
        let suspects = suspects.iter().map(|byte| NodeId::new([*byte; 20]));
        message(Body::Heartbeat(Heartbeat {
            status: LocalStatus {
                offset,
                ..LocalStatus::default()
            },
            suspects: suspects.collect(),
            ..Heartbeat::default()
        }))
    }

    #[test]
    fn a_heartbeat_like_the_last_one_takes_a_few_bytes() {
        let mut encoder = Encoder::default();
        assert!(encoder.encode(&heartbeat(1 << 40, &[])).len() > 100);
        encoder.encode(&message(Body::AskLease { stamp: 5 }));
        let mut next = heartbeat((1 << 40) + 5, &[]);
        next.index += 1;
        let next = encoder.encode(&next);
        assert!(next.len() <= 12, "{next:?}");
    }

    #[test]
    fn bytes_that_refer_to_what_was_never_said_are_refused() {
        for bytes in [&[0, 1, 0][..], &[0, 0, 1], &[KINDS as u8, 0, 0], &[0], &[]] {
            assert_eq!(Decoder::default().decode(bytes), Err(MessageError));
        }
        let mut encoder = Encoder::default();
        encoder.encode(&heartbeat(1, &[]));
        let second = encoder.encode(&heartbeat(2, &[]));
        assert_eq!(Decoder::default().decode(&second), Err(MessageError));
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            (any::<u64>(), prop::collection::vec(0_u8..4, 0..6))
                .prop_map(|(offset, suspects)| heartbeat(offset, &suspects)),
            (0_usize..40_000).prop_map(|length| message(Body::Raft(vec![1; length]))),
            any::<u64>().prop_map(|stamp| message(Body::AskLease { stamp })),
            Just(message(Body::WantTopology)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(messages in prop::collection::vec(any_message(), 0..20)) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            for message in messages {
                let bytes = encoder.encode(&message);
                prop_assert_eq!(decoder.decode(&bytes), Ok(message));
            }
        }
    }
}
