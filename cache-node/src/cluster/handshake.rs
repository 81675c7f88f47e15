//! The beginning of a bus connection: both ends say hello and, when they have a secret, prove it. Bounded in time and bytes.
//!
//! Each end sends its hello at once. Then whoever accepted the connection proves that it knows the secret; only after that does
//! whoever opened it, and frames follow its proof. So a dialer shows a stranger nothing but random bytes. Without a secret at both ends there are no
//! proofs. When one end refuses, it ends the connection; as both have seen the hellos, both know why.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::hello::{COMMON_BYTES, HELLO_BYTES, Hello, Refusal};
use super::seal::{ConnectionKey, Opener, PROOF_BYTES, Sealer};
use super::secret::Secret;

/// How long it may take.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Opens a connection. The answer seals frames, if there is a secret.
///
/// # Errors
///
/// Why it cannot be used.
pub(super) async fn dial(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    secret: Option<&Secret>,
) -> Result<Option<Sealer>, Refusal> {
    in_time(async {
        let (ours, theirs) = exchange(stream, secret).await?;
        let Some(secret) = secret else {
            return Ok(None);
        };
        let key = ConnectionKey::new(secret, &ours, &theirs);
        let proof = read_proof(stream).await?;
        key.check_acceptor(&proof)
            .map_err(|_| Refusal::OtherSecret)?;
        let proved = stream.write_all(&key.dialer_proof()).await;
        proved.map_err(Refusal::Cut)?;
        Ok(Some(key.sealer()))
    })
    .await
}

/// Takes in a connection. The answer opens frames, if there is a secret.
///
/// # Errors
///
/// Why it is refused.
pub(super) async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    secret: Option<&Secret>,
) -> Result<Option<Opener>, Refusal> {
    in_time(async {
        let (ours, theirs) = exchange(stream, secret).await?;
        let Some(secret) = secret else {
            return Ok(None);
        };
        let key = ConnectionKey::new(secret, &theirs, &ours);
        let proved = stream.write_all(&key.acceptor_proof()).await;
        proved.map_err(Refusal::Cut)?;
        let proof = read_proof(stream).await?;
        key.check_dialer(&proof).map_err(|_| Refusal::OtherSecret)?;
        Ok(Some(key.opener()))
    })
    .await
}

async fn in_time<T>(handshake: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let done = timeout(HANDSHAKE, handshake).await;
    done.unwrap_or(Err(Refusal::Silent))
}

/// Says hello and hears it: this end's and the other's.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    secret: Option<&Secret>,
) -> Result<(Hello, Hello), Refusal> {
    let ours = Hello::new(secret.is_some(), rand::random());
    let said = stream.write_all(&ours.encode()).await;
    said.map_err(Refusal::Cut)?;
    let mut common = [0; COMMON_BYTES];
    read(stream, &mut common).await.map_err(Refusal::Cut)?;
    Hello::check(&common)?;
    let mut rest = [0; HELLO_BYTES - COMMON_BYTES];
    read(stream, &mut rest).await.map_err(Refusal::Cut)?;
    let theirs = Hello::decode(&rest)?;
    match (ours.has_secret, theirs.has_secret) {
        (true, false) => Err(Refusal::NoSecretThere),
        (false, true) => Err(Refusal::NoSecretHere),
        _ => Ok((ours, theirs)),
    }
}

/// Whoever has seen a proof that does not fit ends the connection in place of its own.
async fn read_proof(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; PROOF_BYTES], Refusal> {
    let mut proof = [0; PROOF_BYTES];
    let proved = read(stream, &mut proof).await;
    proved.map_err(|_| Refusal::OtherSecret)?;
    Ok(proof)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> io::Result<()> {
    stream.read_exact(bytes).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        (!text.is_empty()).then(|| Secret::new(text.as_bytes()))
    }

    /// What both ends of a connection come to with these secrets, the dialer's first. An end that refuses ends it.
    async fn meet(dialer: &str, acceptor: &str) -> (Result<bool, String>, Result<bool, String>) {
        let (mut near, mut far) = duplex(64);
        let (dialer, acceptor) = (secret(dialer), secret(acceptor));
        let shown = |refusal: Refusal| refusal.to_string();
        tokio::join!(
            async move {
                let dialed = dial(&mut near, dialer.as_ref()).await;
                dialed.map(|sealer| sealer.is_some()).map_err(shown)
            },
            async move {
                let answered = answer(&mut far, acceptor.as_ref()).await;
                answered.map(|opener| opener.is_some()).map_err(shown)
            },
        )
    }

    #[tokio::test]
    async fn those_who_share_a_secret_or_have_none_go_on() {
        assert_eq!(meet("a", "a").await, (Ok(true), Ok(true)));
        assert_eq!(meet("", "").await, (Ok(false), Ok(false)));
    }

    #[tokio::test]
    async fn others_do_not_and_both_know_why() {
        let refused = |refusal: Refusal| Err(refusal.to_string());
        let other = || refused(Refusal::OtherSecret);
        assert_eq!(meet("a", "b").await, (other(), other()));
        let (here, there) = (Refusal::NoSecretHere, Refusal::NoSecretThere);
        assert_eq!(meet("", "b").await, (refused(here), refused(there)));
        let (here, there) = (Refusal::NoSecretHere, Refusal::NoSecretThere);
        assert_eq!(meet("a", "").await, (refused(there), refused(here)));
    }

    /// What a dialer comes to with somebody who says just this, and then ends or stays; and all that it has shown him.
    async fn stranger(says: &[u8], ends: bool) -> (Refusal, Vec<u8>) {
        let (mut near, mut far) = duplex(4096);
        far.write_all(says).await.unwrap();
        if ends {
            far.shutdown().await.unwrap();
        }
        let refusal = dial(&mut near, secret("a").as_ref()).await.err().unwrap();
        drop(near);
        let mut shown = Vec::new();
        far.read_to_end(&mut shown).await.unwrap();
        (refusal, shown)
    }

    #[tokio::test]
    async fn a_dialer_shows_a_stranger_nothing_but_its_hello() {
        let mut says = Hello::new(true, [0; 32]).encode().to_vec();
        says.extend([0; PROOF_BYTES]);
        let (refusal, shown) = stranger(&says, true).await;
        assert!(matches!(refusal, Refusal::OtherSecret), "{refusal}");
        assert_eq!(shown.len(), HELLO_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_too_little_is_refused_when_the_time_is_over_or_it_ends() {
        let mut all = Hello::new(true, [0; 32]).encode().to_vec();
        all.extend([0; PROOF_BYTES]);
        for length in 0..all.len() {
            let (refusal, _) = stranger(&all[..length], false).await;
            assert!(matches!(refusal, Refusal::Silent), "{length}: {refusal}");
            let (refusal, _) = stranger(&all[..length], true).await;
            let expected = if length < HELLO_BYTES {
                "cut"
            } else {
                "secret"
            };
            assert_eq!(refusal.label(), expected, "{length}: {refusal}");
        }
    }

    #[tokio::test]
    async fn what_was_recorded_of_one_connection_opens_no_other() {
        let (mut near, mut far) = duplex(4096);
        let secret = secret("a");
        let (dialed, recorded) = tokio::join!(dial(&mut near, secret.as_ref()), async {
            // The acceptor's side, by hand, so that all that the dialer says is kept.
            let mut said = vec![0; HELLO_BYTES];
            far.read_exact(&mut said).await.unwrap();
            let ours = Hello::new(true, [0; 32]);
            far.write_all(&ours.encode()).await.unwrap();
            let theirs = Hello::decode(said[COMMON_BYTES..].try_into().unwrap()).unwrap();
            let key = ConnectionKey::new(secret.as_ref().unwrap(), &theirs, &ours);
            far.write_all(&key.acceptor_proof()).await.unwrap();
            let proof = read_proof(&mut far).await.unwrap();
            said.extend(proof);
            said
        });
        assert!(dialed.is_ok());
        let (mut near, mut far) = duplex(4096);
        near.write_all(&recorded).await.unwrap();
        let refusal = answer(&mut far, secret.as_ref()).await.err().unwrap();
        assert!(matches!(refusal, Refusal::OtherSecret), "{refusal}");
    }
}
