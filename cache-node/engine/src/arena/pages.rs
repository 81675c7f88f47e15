//! Pages cut into blocks: which blocks of which page are free.
//!
//! Each class has a list of pages with free blocks, behind a lock of its own. Threads come here for many blocks at a time
//! ([`super::cache`]), so the locks are seldom fought over. A page whose last block comes back goes back to the region.

#![allow(unsafe_code)] // The ledger lies in the region, and free blocks hold the list of free blocks.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::class::{CLASSES, UNIT, block_size};
use super::region::{LEDGER_ENTRY, PAGE, Region, lock, region};
use super::{Handle, OutOfMemory};

/// Units of a page.
const UNITS: u64 = (PAGE / UNIT) as u64;

const NO_PAGE: u32 = 0;
const NO_BLOCK: u16 = u16::MAX;

/// What is known of a page that is cut into blocks.
struct Page {
    /// Its neighbours in the list of pages with free blocks; [`NO_PAGE`]: none.
    next: u32,
    previous: u32,
    /// The first free block, by its place in the page; the others hang on it.
    first: u16,
    /// Number of free blocks.
    free: u16,
    /// Blocks from this place on were never used: they are free, and hang nowhere.
    fresh: u16,
    /// Blocks in the page.
    blocks: u16,
}

/// The ledger has a byte for the class and this for each page.
const _: () = assert!(size_of::<Page>() < LEDGER_ENTRY && align_of::<Page>() <= 16);

/// The first page of a class with free blocks.
struct Partial(u32);

/// The pages of the process.
pub(super) struct Pages {
    region: &'static Region,
    /// The class of each page.
    classes: NonNull<AtomicU8>,
    /// What is known of each page; belongs to the holder of its class's lock.
    ledger: NonNull<Page>,
    partial: [Mutex<Partial>; CLASSES],
}

// SAFETY: `classes` is only used as atomics, and an entry of `ledger` only under the lock of its page's class.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

static PAGES: OnceLock<Pages> = OnceLock::new();

/// The pages of the process.
#[inline]
pub(super) fn pages() -> &'static Pages {
    PAGES.get_or_init(Pages::new)
}

impl Pages {
    fn new() -> Self {
        let region = region();
        let start = region.base();
        // SAFETY: the region begins with `LEDGER_ENTRY` bytes for each page, zeros at first, that it never hands out.
        let ledger = unsafe { start.add(region.pages().next_multiple_of(16)) };
        Self {
            region,
            classes: start.cast(),
            ledger: ledger.cast(),
            partial: std::array::from_fn(|_| Mutex::new(Partial(NO_PAGE))),
        }
    }

    /// Pages in use, and how many there can be.
    pub(super) fn in_use(&self) -> (usize, usize) {
        (self.region.in_use(), self.region.capacity())
    }

    /// The class of the block, which is in use.
    #[inline]
    pub(super) fn class(&self, handle: Handle) -> usize {
        usize::from(
            self.class_of_page((handle.units() / UNITS) as u32)
                .load(Relaxed),
        )
    }

    #[inline]
    fn class_of_page(&self, page: u32) -> &AtomicU8 {
        // SAFETY: the ledger has a byte for each page of the region.
        unsafe { self.classes.add(page as usize).as_ref() }
    }

    /// Appends up to `count` free blocks of a class to `out`, at least one.
    pub(super) fn take(
        &self,
        class: usize,
        count: usize,
        out: &mut impl FnMut(Handle),
    ) -> Result<(), OutOfMemory> {
        let mut cut = self.cut(class);
        for taken in 0..count {
            match cut.take_block() {
                Some(handle) => out(handle),
                None if taken > 0 => break,
                None => return Err(OutOfMemory),
            }
        }
        Ok(())
    }

    /// Takes blocks of a class back.
    pub(super) fn give(&self, class: usize, blocks: impl Iterator<Item = Handle>) {
        let mut cut = self.cut(class);
        blocks.for_each(|block| cut.give_block(block));
    }

    fn cut(&self, class: usize) -> Cut<'_> {
        Cut {
            pages: self,
            class,
            partial: lock(&self.partial[class]),
        }
    }
}

/// The pages of one class, locked.
struct Cut<'a> {
    pages: &'a Pages,
    class: usize,
    partial: MutexGuard<'a, Partial>,
}

impl Cut<'_> {
    /// The ledger's entry for a page of this class. The caller uses one at a time.
    fn page(&mut self, page: u32) -> &mut Page {
        // SAFETY: the ledger has an entry for each page, and this class's lock is held, which `&mut self` borrows.
        unsafe { self.pages.ledger.add(page as usize).as_mut() }
    }

    /// Where a block of this class lies.
    fn handle(&self, page: u32, block: u16) -> Handle {
        let offset = usize::from(block) * block_size(self.class) / UNIT;
        let handle = Handle::from_units(u64::from(page) * UNITS + offset as u64);
        handle.expect("the ledger lies at the region's start")
    }

    fn take_block(&mut self) -> Option<Handle> {
        if self.partial.0 == NO_PAGE {
            let page = self.pages.region.take_page()?;
            self.open(page);
        }
        let number = self.partial.0;
        let page = self.page(number);
        let block = page.first;
        let block = if block == NO_BLOCK {
            page.fresh += 1;
            page.fresh - 1
        } else {
            block
        };
        page.free -= 1;
        let full = page.free == 0;
        let from_list = page.first != NO_BLOCK;
        let handle = self.handle(number, block);
        if from_list {
            // SAFETY: a free block is big enough for the place of the next one, which `give_block` wrote.
            let next = unsafe { handle.pointer().cast::<u16>().read() };
            self.page(number).first = next;
        }
        if full {
            self.unlink(number);
        }
        Some(handle)
    }

    fn give_block(&mut self, handle: Handle) {
        let number = (handle.units() / UNITS) as u32;
        let offset = (handle.units() % UNITS) as usize * UNIT;
        let block = (offset / block_size(self.class)) as u16;
        let page = self.page(number);
        let next = std::mem::replace(&mut page.first, block);
        page.free += 1;
        let (free, blocks) = (page.free, page.blocks);
        // SAFETY: the block belongs to nobody now, and is big enough.
        unsafe { handle.pointer().cast::<u16>().write(next) };
        if free == blocks {
            if free > 1 {
                self.unlink(number);
            }
            self.pages.region.give_page(number);
        } else if free == 1 {
            self.link(number);
        }
    }

    /// Makes a page of this class out of one that nobody has.
    fn open(&mut self, number: u32) {
        let blocks = (PAGE / block_size(self.class)) as u16;
        self.pages
            .class_of_page(number)
            .store(self.class as u8, Relaxed);
        *self.page(number) = Page {
            next: NO_PAGE,
            previous: NO_PAGE,
            first: NO_BLOCK,
            free: blocks,
            fresh: 0,
            blocks,
        };
        self.link(number);
    }

    fn link(&mut self, number: u32) {
        let head = std::mem::replace(&mut self.partial.0, number);
        let page = self.page(number);
        page.next = head;
        page.previous = NO_PAGE;
        if head != NO_PAGE {
            self.page(head).previous = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let page = self.page(number);
        let (next, previous) = (page.next, page.previous);
        if next != NO_PAGE {
            self.page(next).previous = previous;
        }
        if previous == NO_PAGE {
            self.partial.0 = next;
        } else {
            self.page(previous).next = next;
        }
    }
}
