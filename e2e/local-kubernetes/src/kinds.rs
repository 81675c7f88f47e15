//! Built-in kinds: their defaults, what makes an object of them valid, and what may not change.

pub mod metadata;
pub mod names;
