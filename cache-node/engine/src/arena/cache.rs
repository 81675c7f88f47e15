//! Each thread's own stock of free blocks, so that most allocations take no lock.
//!
//! A stock is filled and emptied by half of what it may hold; a thread that only frees what another allocates hands the blocks back in
//! such batches. When a thread ends, its stock goes back.

use std::cell::RefCell;

use super::class::{CLASSES, block_size};
use super::pages::pages;
use super::{Handle, OutOfMemory};

/// Most blocks of a stock.
const MOST: usize = 64;

/// A stock holds about so many bytes.
const STOCK_BYTES: usize = 16 * 1024;

struct Stocks([Vec<Handle>; CLASSES]);

thread_local! {
    static STOCKS: RefCell<Stocks> = RefCell::new(Stocks(std::array::from_fn(|_| Vec::new())));
}

/// Most blocks that a thread keeps of a class.
fn most(class: usize) -> usize {
    (STOCK_BYTES / block_size(class)).clamp(4, MOST)
}

/// A block of this class.
#[inline]
pub(super) fn take(class: usize) -> Result<Handle, OutOfMemory> {
    let taken = STOCKS.try_with(|stocks| {
        let stock = &mut stocks.borrow_mut().0[class];
        match stock.pop() {
            Some(handle) => Ok(handle),
            None => refill(class, stock),
        }
    });
    // The thread is ending, and its stocks are gone.
    taken.unwrap_or_else(|_| take_directly(class))
}

#[cold]
fn refill(class: usize, stock: &mut Vec<Handle>) -> Result<Handle, OutOfMemory> {
    if stock.capacity() == 0 {
        stock.reserve_exact(most(class));
    }
    pages().take(class, most(class) / 2, &mut |handle| stock.push(handle))?;
    stock.pop().ok_or(OutOfMemory)
}

#[cold]
fn take_directly(class: usize) -> Result<Handle, OutOfMemory> {
    let mut taken = None;
    pages().take(class, 1, &mut |handle| taken = Some(handle))?;
    taken.ok_or(OutOfMemory)
}

/// Takes a block of this class back.
#[inline]
pub(super) fn give(class: usize, handle: Handle) {
    let kept = STOCKS.try_with(|stocks| {
        let stock = &mut stocks.borrow_mut().0[class];
        if stock.len() >= most(class) {
            let half = stock.len() / 2;
            pages().give(class, stock.drain(..half));
        }
        stock.push(handle);
    });
    if kept.is_err() {
        pages().give(class, std::iter::once(handle));
    }
}

impl Drop for Stocks {
    fn drop(&mut self) {
        for (class, stock) in self.0.iter_mut().enumerate() {
            if !stock.is_empty() {
                pages().give(class, stock.drain(..));
            }
        }
    }
}
