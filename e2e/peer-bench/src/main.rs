//! `peer-bench`: cache-node side by side with its peers.

fn main() {}
