//! The allocator experiment on the system's allocator.

use experiments::allocators::{Boxes, child};

#[global_allocator]
static GLOBAL: std::alloc::System = std::alloc::System;

fn main() -> anyhow::Result<()> {
    child([Boxes, Boxes])
}
