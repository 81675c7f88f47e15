//! The allocator experiment on jemalloc.

use experiments::allocators::{Boxes, child};

#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    child([Boxes, Boxes])
}
