//! What both ends of a bus connection say first, and why one of them may not go on.

use std::io;

/// Version of the bus: of its connections and of the messages' encoding. Nodes of different versions do not talk.
pub(super) const VERSION: u8 = 6;
/// Bytes of a hello: magic (4), version (1), flags (1), random (32). What follows magic and version is that version's affair.
pub(super) const HELLO_BYTES: usize = 38;
/// Of these, what every version has.
pub(super) const COMMON_BYTES: usize = 5;

/// Cannot be the length of a frame, with which a connection began up to version 2.
const MAGIC: [u8; 4] = *b"EVKB";
/// In the flags: this end has a secret.
const HAS_SECRET: u8 = 1;

/// One end's hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Whether this end has a secret: then the other must prove that it has the same one.
    pub(super) has_secret: bool,
    random: [u8; 32],
}

impl Hello {
    /// A hello with these random bytes, which must never have been used.
    pub(super) fn new(has_secret: bool, random: [u8; 32]) -> Self {
        Self { has_secret, random }
    }

    pub(super) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = if self.has_secret { HAS_SECRET } else { 0 };
        bytes[6..].copy_from_slice(&self.random);
        bytes
    }

    /// Looks at what every version has.
    pub(super) fn check(common: &[u8; COMMON_BYTES]) -> Result<(), Refusal> {
        match common {
            [magic @ .., VERSION] if *magic == MAGIC => Ok(()),
            [magic @ .., version] if *magic == MAGIC => Err(Refusal::Version(*version)),
            _ => Err(Refusal::Stranger),
        }
    }

    /// Reads what follows it. Flags that are not known say something that this node cannot do.
    pub(super) fn decode(rest: &[u8; HELLO_BYTES - COMMON_BYTES]) -> Result<Self, Refusal> {
        let [flags, random @ ..] = rest;
        if *flags & !HAS_SECRET != 0 {
            return Err(Refusal::Stranger);
        }
        Ok(Self::new(*flags == HAS_SECRET, *random))
    }
}

/// Why a connection of the bus is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// What came is not how a connection of the bus begins.
    #[error(
        "no node of this bus is there, or one of version 2 or older, and this node's is {VERSION}"
    )]
    Stranger,
    /// The other side's version.
    #[error("the other side's bus is of version {0}, and this node's of {VERSION}")]
    Version(u8),
    /// Only this node has a secret.
    #[error("this node has a secret (cluster-secret), and the other side has none")]
    NoSecretThere,
    /// Only the other side has one.
    #[error("the other side has a secret, and this node has none (cluster-secret)")]
    NoSecretHere,
    /// Both have one; it is not the same, or the other side only says so.
    #[error("the other side has not proved that it has the same secret (cluster-secret)")]
    OtherSecret,
    /// Nothing, or not enough, was said in time.
    #[error("the other side did not say who it is in time")]
    Silent,
    /// The connection ended before that.
    #[error("the connection ended before the other side had said who it is: {0}")]
    Cut(io::Error),
    /// Too many others are about to say who they are, and this one has been at it for longest.
    #[error("too many connections are waiting for the other side to say who it is")]
    Crowded,
    /// As many connections as may be are there.
    #[error("there are as many connections of the cluster bus as may be")]
    Full,
}

impl Refusal {
    /// All values of [`Refusal::label`].
    pub(super) const LABELS: [&'static str; 7] = [
        "protocol", "version", "secret", "silent", "cut", "crowded", "full",
    ];

    /// The kind of refusal in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Stranger => "protocol",
            Self::Version(_) => "version",
            Self::NoSecretThere | Self::NoSecretHere | Self::OtherSecret => "secret",
            Self::Silent => "silent",
            Self::Cut(_) => "cut",
            Self::Crowded => "crowded",
            Self::Full => "full",
        }
    }

    /// Whether trying again is of no use before somebody has changed something.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.label(), "protocol" | "version" | "secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, String> {
        let (common, rest) = bytes.split_first_chunk().unwrap();
        let checked = Hello::check(common).and_then(|()| Hello::decode(rest.try_into().unwrap()));
        checked.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_hello_is_read_as_it_was_said() {
        for has_secret in [true, false] {
            let hello = Hello::new(has_secret, [7; 32]);
            assert_eq!(decode(&hello.encode()), Ok(hello));
        }
    }

    #[test]
    fn what_is_no_hello_of_this_version_is_told_by_its_first_bytes() {
        let mut later = Hello::new(true, [7; 32]).encode();
        later[4] = VERSION + 1;
        let told = decode(&later).unwrap_err();
        let version = format!("version {}", VERSION + 1);
        assert!(told.contains(&version), "{told}");
        let mut unknown = Hello::new(true, [7; 32]).encode();
        unknown[5] = 3;
        assert!(decode(&unknown).is_err());
        // A web browser, and a frame of version 2.
        for common in [b"GET /", b"\0\0\0\x50\x02"] {
            let told = Hello::check(common).unwrap_err();
            assert!(matches!(told, Refusal::Stranger), "{told}");
        }
    }

    #[test]
    fn every_label_is_listed() {
        let all = [
            Refusal::Stranger,
            Refusal::Version(1),
            Refusal::NoSecretThere,
            Refusal::NoSecretHere,
            Refusal::OtherSecret,
            Refusal::Silent,
            Refusal::Cut(io::ErrorKind::UnexpectedEof.into()),
            Refusal::Crowded,
            Refusal::Full,
        ];
        for refusal in all {
            assert!(Refusal::LABELS.contains(&refusal.label()), "{refusal}");
        }
    }
}
