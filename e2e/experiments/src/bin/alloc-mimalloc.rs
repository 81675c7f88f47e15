//! The allocator experiment on mimalloc.

use experiments::allocators::{Boxes, child};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    child([Boxes, Boxes])
}
