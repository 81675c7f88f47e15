//! How the two ends of a bus connection prove that they know the cluster's secret, and how each frame does. Pure.
//!
//! A connection has one key: HKDF-SHA256 (RFC 5869) of the secret, salted with both hellos, of which each carries random bytes. So what was
//! sealed for one connection is worth nothing in another. All that is sent is under HMAC-SHA256 with that key: a byte that says what it is, then for
//! a frame its number in the connection and its bytes. A frame that was changed, repeated, left out or sent in another place does not fit.
//! Nothing is encrypted.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::hello::Hello;
use super::secret::Secret;

/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;
/// Bytes of a frame's tag: half of HMAC-SHA256, as RFC 2104 allows.
pub(super) const TAG_BYTES: usize = 16;

/// What keys of this protocol are derived for; no other use of the secret gives the same.
const PURPOSE: &[u8] = b"evenkeel cluster bus, key of a connection";

type Code = Hmac<Sha256>;

/// Who proves something, or that it is a frame: no code for one stands for another.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Acceptor = 1,
    Dialer = 2,
    Frame = 3,
}

/// The key of one connection.
pub(super) struct ConnectionKey(Code);

/// What came is not from somebody who knows the secret, or not in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forged;

impl ConnectionKey {
    /// The key of the connection in which these were said.
    pub(super) fn new(secret: &Secret, dialer: &Hello, acceptor: &Hello) -> Self {
        let salt = [dialer.encode(), acceptor.encode()].concat();
        let mut key = hmac::digest::Key::<Code>::default();
        let derived = Hkdf::<Sha256>::new(Some(&salt), secret.bytes()).expand(PURPOSE, &mut key);
        derived.expect("a key has fewer bytes than 255 hashes");
        Self(Code::new(&key))
    }

    /// How the one who accepted the connection shows that it knows the secret.
    pub(super) fn acceptor_proof(&self) -> [u8; PROOF_BYTES] {
        self.code(Kind::Acceptor).finalize().into_bytes().into()
    }

    /// How the one who opened the connection does.
    pub(super) fn dialer_proof(&self) -> [u8; PROOF_BYTES] {
        self.code(Kind::Dialer).finalize().into_bytes().into()
    }

    /// Whether the one who accepted the connection knows the secret. Takes as long for a wrong proof as for the right one.
    pub(super) fn check_acceptor(&self, proof: &[u8; PROOF_BYTES]) -> Result<(), Forged> {
        let code = self.code(Kind::Acceptor);
        code.verify_slice(proof).map_err(|_| Forged)
    }

    /// Whether the one who opened the connection does.
    pub(super) fn check_dialer(&self, proof: &[u8; PROOF_BYTES]) -> Result<(), Forged> {
        let code = self.code(Kind::Dialer);
        code.verify_slice(proof).map_err(|_| Forged)
    }

    /// For the end that sends frames.
    pub(super) fn sealer(self) -> Sealer {
        Sealer(Frames::new(&self))
    }

    /// For the end that receives them.
    pub(super) fn opener(self) -> Opener {
        Opener(Frames::new(&self))
    }

    fn code(&self, kind: Kind) -> Code {
        self.0.clone().chain_update([kind as u8])
    }
}

/// Makes the tags of the frames that are sent.
pub(super) struct Sealer(Frames);

impl Sealer {
    /// The tag of the next frame, which is this one.
    pub(super) fn seal(&mut self, frame: &[u8]) -> [u8; TAG_BYTES] {
        let code: [u8; 32] = self.0.next(&[frame]).finalize().into_bytes().into();
        let (tag, _) = code.split_at(TAG_BYTES);
        tag.try_into().expect("split there")
    }
}

/// Checks the tags of the frames that are received.
pub(super) struct Opener(Frames);

impl Opener {
    /// Whether the next frame is this one, in parts. After one that was not, nothing in the connection can be relied on.
    pub(super) fn open(&mut self, frame: &[&[u8]], tag: &[u8; TAG_BYTES]) -> Result<(), Forged> {
        let code = self.0.next(frame);
        code.verify_truncated_left(tag).map_err(|_| Forged)
    }
}

/// Numbers the frames of a connection.
struct Frames {
    /// Has taken in the key and that it is for frames.
    code: Code,
    count: u64,
}

impl Frames {
    fn new(key: &ConnectionKey) -> Self {
        Self {
            code: key.code(Kind::Frame),
            count: 0,
        }
    }

    fn next(&mut self, frame: &[&[u8]]) -> Code {
        let mut code = self.code.clone();
        code.update(&self.count.to_be_bytes());
        self.count += 1;
        for part in frame {
            code.update(part);
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(secret: &str, dialer: u8, acceptor: u8) -> ConnectionKey {
        let hello = |random| Hello::new(true, [random; 32]);
        let secret = Secret::new(secret.as_bytes());
        ConnectionKey::new(&secret, &hello(dialer), &hello(acceptor))
    }

    fn pair() -> (Sealer, Opener) {
        (key("secret", 1, 2).sealer(), key("secret", 1, 2).opener())
    }

    #[test]
    fn each_end_proves_its_own_part_in_this_connection_with_this_secret() {
        let here = key("secret", 1, 2);
        assert_eq!(here.check_acceptor(&here.acceptor_proof()), Ok(()));
        assert_eq!(here.check_dialer(&here.dialer_proof()), Ok(()));
        // What one end has shown is no proof of the other's.
        assert_eq!(here.check_dialer(&here.acceptor_proof()), Err(Forged));
        assert_eq!(here.check_acceptor(&here.dialer_proof()), Err(Forged));
        for other in [
            key("Secret", 1, 2),
            key("secret", 3, 2),
            key("secret", 1, 3),
        ] {
            assert_eq!(here.check_acceptor(&other.acceptor_proof()), Err(Forged));
            assert_eq!(here.check_dialer(&other.dialer_proof()), Err(Forged));
        }
    }

    #[test]
    fn flags_and_version_of_the_hellos_are_part_of_the_key() {
        let secret = Secret::new(b"secret");
        let (plain, wanting) = (Hello::new(false, [1; 32]), Hello::new(true, [1; 32]));
        let proof = |dialer| ConnectionKey::new(&secret, dialer, &wanting).dialer_proof();
        assert_ne!(proof(&plain), proof(&wanting));
    }

    #[test]
    fn a_frame_is_taken_once_and_in_its_place() {
        let (mut sealer, mut opener) = pair();
        let (first, second) = (sealer.seal(b"a"), sealer.seal(b"a"));
        assert_ne!(first, second);
        assert_eq!(opener.open(&[b"a"], &first), Ok(()));
        assert_eq!(opener.open(&[b"a"], &first), Err(Forged), "repeated");
        let (_, mut opener) = pair();
        assert_eq!(opener.open(&[b"a"], &second), Err(Forged), "out of order");
    }

    #[test]
    fn a_frame_of_another_connection_is_not_taken() {
        let (mut sealer, _) = pair();
        let tag = sealer.seal(b"a");
        let taken = |key: ConnectionKey| key.opener().open(&[b"a"], &tag);
        assert_eq!(taken(key("secret", 1, 2)), Ok(()));
        assert_eq!(taken(key("secret", 2, 1)), Err(Forged));
        assert_eq!(taken(key("secret", 1, 3)), Err(Forged));
        assert_eq!(taken(key("other", 1, 2)), Err(Forged));
    }

    proptest! {
        #[test]
        fn frames_pass_as_they_were_and_in_no_other_way(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6),
            which in any::<prop::sample::Index>(),
            position in any::<prop::sample::Index>(),
            bit in 0..8_u32,
            cut in any::<bool>(),
        ) {
            let (mut sealer, mut opener) = pair();
            let mut sealed: Vec<_> = frames.iter().map(|frame| {
                let mut bytes = frame.clone();
                bytes.extend(sealer.seal(frame));
                bytes
            }).collect();
            let split = |bytes: &[u8]| {
                let (frame, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
                (frame.to_vec(), <[u8; TAG_BYTES]>::try_from(tag).unwrap())
            };
            for bytes in &sealed {
                let (frame, tag) = split(bytes);
                prop_assert_eq!(opener.open(&[&frame], &tag), Ok(()));
            }
            let changed = which.index(sealed.len());
            let bytes = &mut sealed[changed];
            if cut && bytes.len() > TAG_BYTES {
                bytes.remove(position.index(bytes.len()));
            } else {
                let at = position.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let differs = split(bytes);
            // A byte that is taken out of a run of equal ones leaves the frame another length, and so another tag.
            let (_, mut opener) = pair();
            for (index, bytes) in sealed.iter().enumerate().take(changed + 1) {
                let (frame, tag) = split(bytes);
                let expected = if index == changed { Err(Forged) } else { Ok(()) };
                prop_assert_eq!(opener.open(&[&frame], &tag), expected, "{:?}", differs);
            }
        }
    }
}
