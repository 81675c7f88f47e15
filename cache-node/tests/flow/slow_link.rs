//! A connection between two nodes that passes so many bytes a second and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How often bytes are passed on.
const TICK: Duration = Duration::from_millis(10);

/// A port that leads to another one, slowly towards the one who connects.
pub(crate) struct SlowLink {
    pub(crate) port: u16,
    rate: Arc<AtomicU64>,
}

impl SlowLink {
    /// Leads to `target` on this machine with so many bytes a second.
    pub(crate) async fn to(target: u16, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let rate = Arc::new(AtomicU64::new(rate));
        let shared = Arc::clone(&rate);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                    continue;
                };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let slow = Arc::clone(&shared);
                tokio::spawn(async move { pass(far_read, near_write, &slow).await });
                tokio::spawn(async move { pass(near_read, far_write, &u64::MAX.into()).await });
            }
        });
        Self { port, rate }
    }

    /// From now on so many bytes a second.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Relaxed);
    }
}

/// Passes bytes on until one side has ended.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    rate: &AtomicU64,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let rate = rate.load(Relaxed);
        let most = (rate / 100).clamp(1, buffer.len() as u64) as usize;
        match from.read(&mut buffer[..most]).await {
            Ok(read) if read > 0 => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
        if rate < u64::MAX {
            tokio::time::sleep(TICK).await;
        }
    }
}
