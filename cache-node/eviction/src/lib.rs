//! Eviction policies as pure state machines.
