//! A ring of words with one writer and one reader.
//!
//! Invariants: only the writer moves `tail`, only the reader moves `head`; words between them are published.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const WORDS: u64 = 1 << 14;

/// A counter on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// The ring.
pub(super) struct Ring {
    words: Vec<AtomicU64>,
    head: Counter,
    tail: Counter,
}

impl Ring {
    /// An empty ring; it is large enough for all that the connections of a worker can have under way.
    pub(super) fn new() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            head: Counter::default(),
            tail: Counter::default(),
        }
    }

    /// Starts a message.
    pub(super) fn write(&self) -> Writer<'_> {
        Writer {
            ring: self,
            tail: self.tail.0.load(Relaxed),
        }
    }

    /// Reads what is published.
    pub(super) fn read(&self) -> Reader<'_> {
        Reader {
            ring: self,
            head: self.head.0.load(Relaxed),
            tail: self.tail.0.load(Acquire),
        }
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        self.read().is_done()
    }
}

/// Words not yet published; [`Writer::publish`] publishes them.
pub(super) struct Writer<'ring> {
    ring: &'ring Ring,
    tail: u64,
}

impl Writer<'_> {
    /// Adds a word.
    pub(super) fn put(&mut self, word: u64) {
        self.ring.words[(self.tail % WORDS) as usize].store(word, Relaxed);
        self.tail += 1;
    }

    /// Lets the reader see what was added.
    pub(super) fn publish(self) {
        let full = self.tail - self.ring.head.0.load(Acquire) > WORDS;
        assert!(
            !full,
            "closed-loop connections cannot have more under way than fits"
        );
        self.ring.tail.0.store(self.tail, Release);
    }
}

/// Words that were published.
pub(super) struct Reader<'ring> {
    ring: &'ring Ring,
    head: u64,
    tail: u64,
}

impl Reader<'_> {
    /// Whether all are taken.
    pub(super) fn is_done(&self) -> bool {
        self.head == self.tail
    }

    /// Takes a word.
    pub(super) fn take(&mut self) -> u64 {
        let word = self.ring.words[(self.head % WORDS) as usize].load(Relaxed);
        self.head += 1;
        word
    }

    /// Gives the room of what was taken back to the writer.
    pub(super) fn release(self) {
        self.ring.head.0.store(self.head, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_reads_every_word_in_order() {
        let ring = Ring::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..100_000 {
                    while ring.tail.0.load(Relaxed) - ring.head.0.load(Acquire) >= WORDS {
                        std::thread::yield_now();
                    }
                    let mut writer = ring.write();
                    writer.put(number);
                    writer.publish();
                }
            });
            let mut next = 0;
            while next < 100_000 {
                let mut reader = ring.read();
                while !reader.is_done() {
                    assert_eq!(reader.take(), next);
                    next += 1;
                }
                reader.release();
                std::thread::yield_now();
            }
        });
    }
}
