//! The address range that all blocks lie in, and its pages.
//!
//! One range is reserved at the first use and never given back, so that a block is named by its distance from the range's start, and so
//! that reading any page that was ever handed out cannot fault. Pages that are not needed are given back to the system one by one.

#![allow(unsafe_code)] // Mapping memory, and pointers into it.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

/// Bytes of a page.
pub(super) const PAGE: usize = 64 * 1024;

/// How much is reserved: what 34 bits of 8-byte units reach. It is address space, not memory.
const RESERVED: usize = 1 << 37;

/// The least that is accepted where address space is limited (`ulimit -v`, strict overcommit).
const RESERVED_LEAST: usize = 1 << 28;

/// Free pages that are kept for the next who needs one; the rest goes back to the system.
const KEPT: usize = 32;

/// Bytes at the start of the region, a page of it, that [`super::pages`] keeps its books in: they are zero at first, and take no memory
/// until they are used. So no block begins at the region's start, either.
pub(super) const LEDGER_ENTRY: usize = 24;

fn ledger_pages(pages: usize) -> usize {
    (pages * LEDGER_ENTRY).div_ceil(PAGE)
}

pub(super) struct Region {
    base: NonNull<u8>,
    pages: usize,
    free: Mutex<Free>,
    in_use: AtomicUsize,
}

/// Pages that nobody has.
#[derive(Default)]
struct Free {
    /// The first page that was never used.
    fresh: usize,
    /// Pages that still hold memory.
    resident: Vec<u32>,
    /// Pages whose memory was given back.
    returned: Vec<u32>,
}

// SAFETY: `base` is the start of a mapping that lives as long as the process; what lies behind it is handed out by page under a lock.
unsafe impl Send for Region {}
// SAFETY: as above; all other fields are `Sync` themselves.
unsafe impl Sync for Region {}

static REGION: OnceLock<Region> = OnceLock::new();

/// The region, reserved at the first call.
#[inline]
pub(super) fn region() -> &'static Region {
    REGION.get_or_init(Region::reserve)
}

impl Region {
    fn reserve() -> Self {
        let mut bytes = RESERVED;
        let base = loop {
            match map(bytes) {
                Some(base) => {
                    prefer_huge_pages(base, bytes);
                    break base;
                }
                None if bytes > RESERVED_LEAST => bytes /= 2,
                None => panic!("cannot reserve {bytes} bytes of address space for the data set"),
            }
        };
        Self {
            base,
            pages: bytes / PAGE,
            free: Mutex::new(Free {
                fresh: ledger_pages(bytes / PAGE),
                ..Free::default()
            }),
            in_use: AtomicUsize::new(0),
        }
    }

    /// Where the region begins; a multiple of [`PAGE`].
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Number of pages, those of the ledger included.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Pages handed out.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// Pages that can be handed out in all.
    pub(super) fn capacity(&self) -> usize {
        self.pages - ledger_pages(self.pages)
    }

    /// A page that nobody else has, with any content; `None` when the region is used up.
    pub(super) fn take_page(&self) -> Option<u32> {
        let mut free = lock(&self.free);
        let page = free
            .resident
            .pop()
            .or_else(|| free.returned.pop())
            .or_else(|| {
                let fresh = free.fresh;
                (fresh < self.pages).then(|| {
                    free.fresh += 1;
                    fresh as u32
                })
            })?;
        self.in_use.fetch_add(1, Relaxed);
        Some(page)
    }

    /// Takes a page back that nobody refers to any more.
    pub(super) fn give_page(&self, page: u32) {
        self.in_use.fetch_sub(1, Relaxed);
        let mut free = lock(&self.free);
        if free.resident.len() < KEPT {
            free.resident.push(page);
            return;
        }
        // SAFETY: the page lies in the mapping, and nobody has a block in it.
        let start = unsafe { self.base.add(page as usize * PAGE) };
        // SAFETY: as above; afterwards the page reads as zeros. When it fails, the memory merely stays.
        let _ = unsafe { madvise(start.cast(), PAGE, MmapAdvise::MADV_DONTNEED) };
        free.returned.push(page);
    }
}

/// Maps `bytes` of address space, aligned to [`PAGE`].
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let length = NonZeroUsize::new(bytes + PAGE)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new private anonymous mapping at an address of the system's choice overlaps nothing.
    let start = unsafe { mmap_anonymous(None, length, access, flags) }.ok()?;
    let misaligned = start.as_ptr() as usize % PAGE;
    let skip = if misaligned == 0 {
        0
    } else {
        PAGE - misaligned
    };
    // SAFETY: the mapping is one page longer than what is used of it.
    Some(unsafe { start.cast::<u8>().add(skip) })
}

/// Asks for huge pages behind the ledger: keys are found all over the region, and each would miss the processor's page cache otherwise.
/// There is no fork that would make them costly. Where the system does not give them, nothing is lost.
fn prefer_huge_pages(base: NonNull<u8>, bytes: usize) {
    let ledger = ledger_pages(bytes / PAGE) * PAGE;
    // SAFETY: the range lies in the mapping, which is not used yet.
    let start = unsafe { base.add(ledger) };
    // SAFETY: as above; advice changes no content.
    let _ = unsafe { madvise(start.cast(), bytes - ledger, MmapAdvise::MADV_HUGEPAGE) };
}

/// A lock whose holders do not panic half-way: the state is right even if one did.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
