//! The stream of a redis-server that a node copies: the same comes of it however its bytes arrive, and however often the connection breaks.

#![no_main]

use cache_node::fuzzed::psync::follow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| follow(input));
