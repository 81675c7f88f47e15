//! Copies and migrations as their receiver has them: whatever comes, nothing is in slots that were not begun, and the log is where it should be.

#![no_main]

use cache_node::fuzzed::stream::receive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| receive(input));
