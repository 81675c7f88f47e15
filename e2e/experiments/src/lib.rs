//! The experiments that the engine's design rests on, kept so that they can be run again on other machines.
//!
//! Each module is one question and prints Markdown. Nothing here is part of the cache, and nothing of the cache is
//! used here: a layout or a loop is written out in its smallest form so that only the question is measured.

pub mod allocators;
pub mod locks;
pub mod loops;
pub mod measure;
pub mod tables;
