//! What connections may take and do take: limits, counts, and which connections go when it is too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::clock::Millis;
use crate::config::Settings;

use super::{Client, Clients};

/// What a connection that does nothing takes: its task, its registration with the runtime, its [`Client`]. Measured with 19,000.
const IDLE: usize = 1800;

/// Limits, where every connection looks in every turn.
#[derive(Debug)]
pub(super) struct Limits {
    /// `proto-max-bulk-len`.
    argument: AtomicUsize,
    /// Longest output of one connection.
    output: AtomicUsize,
    /// All connections together.
    memory: AtomicUsize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            argument: AtomicUsize::new(usize::MAX),
            output: AtomicUsize::new(usize::MAX),
            memory: AtomicUsize::new(usize::MAX),
        }
    }
}

/// Connections closed because of what they held.
#[derive(Debug, Default)]
pub struct Closed {
    /// Their unfinished or queued commands exceeded `client-query-buffer-limit`.
    pub query: AtomicU64,
    /// Their replies exceeded `client-output-buffer-limit`.
    pub output: AtomicU64,
    /// They were the biggest when all together exceeded `maxmemory-clients`.
    pub evicted: AtomicU64,
}

impl Client {
    /// Bytes held for the connection, beside what an idle one takes.
    pub fn held(&self) -> usize {
        let counts = [
            &self.query_buffer,
            &self.output_buffer,
            &self.queued_bytes,
            &self.label_bytes,
        ];
        counts.into_iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All bytes of the connection.
    pub fn bytes(&self) -> usize {
        IDLE + self.held()
    }
}

impl Clients {
    /// Takes over what the settings say about connections.
    pub fn adopt(&self, settings: &Settings) {
        let memory = settings.maxmemory_clients.bytes(settings.maxmemory);
        let hard = match settings.client_output_buffer_limit.hard {
            0 => usize::MAX,
            hard => hard,
        };
        self.limits
            .argument
            .store(settings.proto_max_bulk_len, Relaxed);
        // A reply that alone exceeds the memory of all is not built to its end.
        self.limits.output.store(hard.min(memory), Relaxed);
        self.limits.memory.store(memory, Relaxed);
    }

    /// Longest argument of a command.
    #[inline]
    pub fn argument_limit(&self) -> usize {
        self.limits.argument.load(Relaxed)
    }

    /// Longest output of a connection.
    #[inline]
    pub fn output_limit(&self) -> usize {
        self.limits.output.load(Relaxed)
    }

    /// Bytes of all connections.
    pub fn bytes(&self) -> usize {
        self.held.load(Relaxed) + self.count() * IDLE
    }

    /// Brings the sum up to date after a connection's counts have changed, and closes the biggest if it is too much.
    #[inline]
    pub fn account(&self, client: &Client) {
        let held = client.held();
        let before = client.accounted.load(Relaxed);
        if held != before {
            self.change(client, before, held);
        }
    }

    fn change(&self, client: &Client, before: usize, held: usize) {
        client.accounted.store(held, Relaxed);
        if held < before {
            self.held.fetch_sub(before - held, Relaxed);
            return;
        }
        let sum = self.held.fetch_add(held - before, Relaxed) + held - before;
        let limit = self.limits.memory.load(Relaxed);
        if sum > limit {
            self.close_biggest(limit);
        }
    }

    /// Nothing is held for a connection any more.
    pub(super) fn forget(&self, client: &Client) {
        let held = client.accounted.swap(0, Relaxed);
        self.held.fetch_sub(held, Relaxed);
    }

    /// Closes the biggest connections until the others hold no more than `limit`, except those that said `CLIENT NO-EVICT`.
    #[cold]
    fn close_biggest(&self, limit: usize) {
        let all = self.all();
        let mut clients: Vec<(usize, &Arc<Client>)> = all
            .iter()
            .filter(|client| !client.is_killed())
            .map(|client| (client.accounted.load(Relaxed), client))
            .collect();
        let mut sum: usize = clients.iter().map(|(held, _)| held).sum();
        clients.retain(|(held, client)| *held > 0 && !client.no_evict.load(Relaxed));
        clients.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        for (held, client) in clients {
            if sum <= limit {
                break;
            }
            tracing::warn!(
                client = client.id,
                bytes = held,
                "closing a client, because all together exceed maxmemory-clients"
            );
            self.closed.evicted.fetch_add(1, Relaxed);
            client.kill();
            sum -= held;
        }
    }

    /// Closes connections that have been silent or have not taken their replies for too long.
    pub fn keep(&self, settings: &Settings, now: Millis) {
        let output = settings.client_output_buffer_limit;
        if settings.timeout == 0 && output.soft == 0 {
            return;
        }
        for client in self.all() {
            if settings.timeout > 0 && client.is_idle(now.saturating_sub(settings.timeout * 1000)) {
                client.kill();
            }
            if client.is_stuck(output.soft, output.seconds * 1000, now) {
                tracing::warn!(
                    client = client.id,
                    "closing a client that does not take its replies"
                );
                self.closed.output.fetch_add(1, Relaxed);
                client.kill();
            }
        }
    }
}

impl Client {
    /// Whether it has neither sent nor taken anything since `limit`. One that waits in a command is not idle.
    fn is_idle(&self, limit: Millis) -> bool {
        self.last_heard.load(Relaxed) < limit && !self.blocked.load(Relaxed)
    }

    /// Whether its output has been longer than `soft` for so many milliseconds.
    fn is_stuck(&self, soft: usize, long: u64, now: Millis) -> bool {
        if soft == 0 || self.output_buffer.load(Relaxed) <= soft {
            self.stuck_since.store(0, Relaxed);
            return false;
        }
        match self.stuck_since.load(Relaxed) {
            0 => {
                self.stuck_since.store(now, Relaxed);
                long == 0
            }
            since => now.saturating_sub(since) >= long,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientsMemory, OutputLimits};

    fn clients(limit: usize) -> Clients {
        let clients = Clients::default();
        clients.adopt(&Settings {
            maxmemory_clients: ClientsMemory::Bytes(limit),
            ..Settings::default()
        });
        clients
    }

    fn grow(clients: &Clients, client: &Client, bytes: usize) {
        client.query_buffer.store(bytes, Relaxed);
        clients.account(client);
    }

    #[test]
    fn the_sum_follows_the_connections() {
        let clients = clients(0);
        let (one, two) = (clients.register(None), clients.register(None));
        grow(&clients, &one, 1000);
        grow(&clients, &two, 500);
        one.output_buffer.store(100, Relaxed);
        clients.account(&one);
        assert_eq!(clients.bytes(), 1600 + 2 * IDLE);
        grow(&clients, &one, 0);
        assert_eq!(clients.bytes(), 600 + 2 * IDLE);
        clients.remove(two.id);
        clients.remove(one.id);
        assert_eq!(clients.bytes(), 0);
    }

    #[test]
    fn the_biggest_that_may_be_closed_are() {
        let clients = clients(1000);
        let all: Vec<_> = (0..4).map(|_| clients.register(None)).collect();
        all[0].no_evict.store(true, Relaxed);
        grow(&clients, &all[0], 500);
        grow(&clients, &all[1], 300);
        grow(&clients, &all[2], 100);
        assert!(all.iter().all(|client| !client.is_killed()));
        grow(&clients, &all[3], 200);
        let killed: Vec<bool> = all.iter().map(|client| client.is_killed()).collect();
        assert_eq!(killed, [false, true, false, false]);
        // One that is on its way out does not count any more.
        grow(&clients, &all[2], 290);
        assert!(!all[2].is_killed() && !all[3].is_killed());
        assert_eq!(clients.closed.evicted.load(Relaxed), 1);
    }

    #[test]
    fn one_that_does_not_take_its_replies_is_closed_after_a_while() {
        let clients = clients(0);
        let client = clients.register(None);
        let settings = Settings {
            client_output_buffer_limit: OutputLimits {
                hard: 0,
                soft: 1000,
                seconds: 10,
            },
            ..Settings::default()
        };
        let set = |bytes| client.output_buffer.store(bytes, Relaxed);
        set(2000);
        clients.keep(&settings, 50_000);
        set(500);
        clients.keep(&settings, 55_000);
        set(2000);
        clients.keep(&settings, 61_000);
        clients.keep(&settings, 70_999);
        assert!(!client.is_killed());
        clients.keep(&settings, 71_000);
        assert!(client.is_killed());
    }

    #[test]
    fn silence_ends_a_connection_unless_it_waits() {
        let clients = clients(0);
        let (silent, waiting) = (clients.register(None), clients.register(None));
        waiting.blocked.store(true, Relaxed);
        let settings = Settings {
            timeout: 10,
            ..Settings::default()
        };
        let heard = silent.last_heard.load(Relaxed);
        clients.keep(&settings, heard + 10_000);
        assert!(!silent.is_killed());
        clients.keep(&settings, heard + 10_001);
        assert!(silent.is_killed() && !waiting.is_killed());
    }
}
