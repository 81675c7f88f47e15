//! The cache-node binary.
fn main() {}
