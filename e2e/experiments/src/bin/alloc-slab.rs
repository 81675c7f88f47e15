//! The allocator experiment on the slab.

use experiments::allocators::slab::Slab;
use experiments::allocators::{Slabs, child};

fn main() -> anyhow::Result<()> {
    let slab = Slab::new()?;
    child([Slabs::new(&slab), Slabs::new(&slab)])
}
