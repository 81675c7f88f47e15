//! A simple slab: 64 KiB pages of equal cells, found by a 32-bit handle in units of 8 bytes.
//!
//! Cells step by 8 bytes up to 512 and by a sixteenth of a power of two above, to 4 KiB. A page's state stands in its own first two
//! words and changes only under the lock of its size; each thread has some free cells of each size at hand.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::region::Region;

const PAGE: usize = 64 * 1024 / 8;
const HEADER: usize = 2;
/// Address space: what 32-bit handles reach.
const REACH: usize = 32 << 30;
/// The largest cell, in bytes.
pub const LARGEST: usize = 4096;
const CLASSES: usize = 64 + 3 * 16;
/// A thread's cells at hand, of one size; half of them move at once.
const AT_HAND: usize = 64;

/// Class of a length, and its cell's words.
///
/// # Panics
/// When the length is zero or above [`LARGEST`].
fn class(length: usize) -> (usize, usize) {
    assert!((1..=LARGEST).contains(&length), "no cell of {length} bytes");
    if length <= 512 {
        let words = length.div_ceil(8);
        return (words - 1, words);
    }
    let power = (length - 1).ilog2();
    let step = 1 << (power - 4);
    let part = (length - 1 - (1 << power)) / step;
    let bytes = (1 << power) + (part + 1) * step;
    (64 + (power as usize - 9) * 16 + part, bytes / 8)
}

/// Words of a class's cell.
fn words_of(class: usize) -> usize {
    match class.checked_sub(64) {
        None => class + 1,
        Some(above) => (64 << (above / 16)) / 16 * (16 + above % 16 + 1),
    }
}

/// A page's first word.
#[derive(Clone, Copy)]
struct State {
    used: u16,
    /// Cells from here on were never used.
    fresh: u16,
    /// One more than the index of the first free cell; 0 for none.
    free: u16,
    cells: u16,
}

impl State {
    fn load(word: &AtomicU64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.load(Relaxed).to_le_bytes();
        Self {
            used: u16::from_le_bytes([a, b]),
            fresh: u16::from_le_bytes([c, d]),
            free: u16::from_le_bytes([e, f]),
            cells: u16::from_le_bytes([g, h]),
        }
    }

    fn store(self, word: &AtomicU64) {
        let [a, b] = self.used.to_le_bytes();
        let [c, d] = self.fresh.to_le_bytes();
        let [e, f] = self.free.to_le_bytes();
        let [g, h] = self.cells.to_le_bytes();
        word.store(u64::from_le_bytes([a, b, c, d, e, f, g, h]), Relaxed);
    }
}

#[derive(Default)]
struct Pages {
    next: u32,
    free: Vec<u32>,
}

/// The memory of all threads.
pub struct Slab {
    region: Region,
    pages: Mutex<Pages>,
    /// For each class the pages with a free cell; each page knows its position there.
    partial: Vec<Mutex<Vec<u32>>>,
}

impl Slab {
    /// An empty slab.
    ///
    /// # Errors
    /// When the address space cannot be reserved.
    pub fn new() -> anyhow::Result<Self> {
        let reach = NonZeroUsize::MIN.saturating_add(REACH - 1);
        Ok(Self {
            region: Region::reserve(reach)?,
            pages: Mutex::default(),
            partial: (0..CLASSES).map(|_| Mutex::default()).collect(),
        })
    }

    /// Writes `byte` into all of a cell's payload.
    pub fn fill(&self, handle: u32, length: usize, byte: u8) {
        let start = handle as usize;
        let word = u64::from_ne_bytes([byte; 8]);
        for place in &self.region.words()[start..start + length.div_ceil(8)] {
            place.store(word, Relaxed);
        }
    }

    /// The first payload byte.
    pub fn first(&self, handle: u32) -> u8 {
        self.region.words()[handle as usize].load(Relaxed) as u8
    }

    fn words(&self, page: u32) -> &[AtomicU64] {
        &self.region.words()[page as usize * PAGE..][..PAGE]
    }

    fn take(&self, class: usize, words: usize, count: usize, into: &mut Vec<u32>) {
        let mut partial = self.partial[class].lock();
        for _ in 0..count {
            let page = partial
                .last()
                .copied()
                .unwrap_or_else(|| self.open(&mut partial, words));
            let place = self.words(page);
            let mut state = State::load(&place[0]);
            let cell = match state.free.checked_sub(1) {
                Some(cell) => {
                    state.free = place[HEADER + usize::from(cell) * words].load(Relaxed) as u16;
                    cell
                }
                None => {
                    state.fresh += 1;
                    state.fresh - 1
                }
            };
            state.used += 1;
            state.store(&place[0]);
            if state.used == state.cells {
                partial.pop();
            }
            into.push(page * PAGE as u32 + (HEADER + usize::from(cell) * words) as u32);
        }
    }

    fn open(&self, partial: &mut Vec<u32>, words: usize) -> u32 {
        let mut pages = self.pages.lock();
        let page = pages.free.pop().unwrap_or_else(|| {
            pages.next += 1;
            pages.next - 1
        });
        let cells = ((PAGE - HEADER) / words) as u16;
        State {
            used: 0,
            fresh: 0,
            free: 0,
            cells,
        }
        .store(&self.words(page)[0]);
        self.list(partial, page);
        page
    }

    fn list(&self, partial: &mut Vec<u32>, page: u32) {
        self.words(page)[1].store(partial.len() as u64, Relaxed);
        partial.push(page);
    }

    fn give(&self, class: usize, words: usize, cells: impl Iterator<Item = u32>) {
        let mut partial = self.partial[class].lock();
        for handle in cells {
            let page = handle / PAGE as u32;
            let place = self.words(page);
            let mut state = State::load(&place[0]);
            let within = handle as usize % PAGE;
            place[within].store(u64::from(state.free), Relaxed);
            state.free = ((within - HEADER) / words) as u16 + 1;
            state.used -= 1;
            state.store(&place[0]);
            if state.used + 1 == state.cells {
                self.list(&mut partial, page);
            }
            // One empty page a class stays, so that a single cell that comes and goes costs no system call.
            if state.used == 0 && partial.len() > 1 {
                self.close(&mut partial, page);
            }
        }
    }

    fn close(&self, partial: &mut Vec<u32>, page: u32) {
        let position = self.words(page)[1].load(Relaxed) as usize;
        partial.swap_remove(position);
        if let Some(&moved) = partial.get(position) {
            self.words(moved)[1].store(position as u64, Relaxed);
        }
        self.region
            .give_back(page as usize * PAGE..(page as usize + 1) * PAGE);
        self.pages.lock().free.push(page);
    }
}

/// A thread's cells at hand.
pub struct Cache<'slab> {
    slab: &'slab Slab,
    at_hand: Vec<Vec<u32>>,
}

impl<'slab> Cache<'slab> {
    /// Nothing at hand yet.
    pub fn new(slab: &'slab Slab) -> Self {
        Self {
            slab,
            at_hand: vec![Vec::new(); CLASSES],
        }
    }

    /// The memory behind it.
    pub fn slab(&self) -> &'slab Slab {
        self.slab
    }

    /// A cell for `length` bytes, 1 to [`LARGEST`].
    pub fn allocate(&mut self, length: usize) -> u32 {
        let (class, words) = class(length);
        let at_hand = &mut self.at_hand[class];
        loop {
            if let Some(handle) = at_hand.pop() {
                return handle;
            }
            self.slab.take(class, words, AT_HAND / 2, at_hand);
        }
    }

    /// Gives back all cells at hand: each keeps a page from being returned.
    pub fn flush(&mut self) {
        for (class, at_hand) in self.at_hand.iter_mut().enumerate() {
            let words = words_of(class);
            self.slab.give(class, words, at_hand.drain(..));
        }
    }

    /// Takes a cell back that some thread allocated with this length.
    pub fn free(&mut self, handle: u32, length: usize) {
        let (class, words) = class(length);
        let at_hand = &mut self.at_hand[class];
        at_hand.push(handle);
        if at_hand.len() >= AT_HAND {
            self.slab.give(class, words, at_hand.drain(..AT_HAND / 2));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cell_is_never_smaller_than_asked_and_little_larger() {
        for length in 1..=LARGEST {
            let bytes = class(length).1 * 8;
            assert_eq!(words_of(class(length).0), class(length).1);
            assert!(
                bytes >= length && bytes - length < (length / 16).max(8),
                "{length}: {bytes}"
            );
        }
        assert_eq!(class(LARGEST).0, CLASSES - 1);
    }

    proptest! {
        #[test]
        fn live_cells_never_overlap(steps in proptest::collection::vec((0..3_usize, 1..LARGEST), 1..3000)) {
            let slab = Slab::new().unwrap();
            let mut caches = [Cache::new(&slab), Cache::new(&slab)];
            let mut live: Vec<(u32, usize, u8)> = Vec::new();
            for (number, (step, length)) in steps.into_iter().enumerate() {
                if step < 2 {
                    let handle = caches[step].allocate(length);
                    slab.fill(handle, length, number as u8);
                    live.push((handle, length, number as u8));
                } else if !live.is_empty() {
                    let (handle, length, byte) = live.swap_remove(length % live.len());
                    prop_assert_eq!(slab.first(handle), byte);
                    caches[number % 2].free(handle, length);
                }
            }
            live.sort_unstable();
            for pair in live.windows(2) {
                prop_assert!(pair[0].0 as usize + pair[0].1.div_ceil(8) <= pair[1].0 as usize);
            }
        }
    }
}
