use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Writes over the whole block, so that blocks that overlap are noticed.
fn fill(handle: Handle, byte: u8) {
    // SAFETY: the block is in use, and this test is its only user.
    unsafe { handle.pointer().write_bytes(byte, size_of_block(handle)) };
}

fn is_filled(handle: Handle, byte: u8) -> bool {
    // SAFETY: as above.
    let block =
        unsafe { std::slice::from_raw_parts(handle.pointer().as_ptr(), size_of_block(handle)) };
    block.iter().all(|found| *found == byte)
}

fn give_back(handle: Handle) {
    // SAFETY: each test frees what it has allocated, once.
    unsafe { free(handle) };
}

proptest! {
    #[test]
    fn blocks_in_use_never_overlap(steps in prop::collection::vec((any::<bool>(), 1..=MAX_BLOCK), 1..200)) {
        let mut held: BTreeMap<u64, (Handle, u8)> = BTreeMap::new();
        for (number, (take, size)) in steps.into_iter().enumerate() {
            let byte = number as u8;
            if take || held.is_empty() {
                let handle = allocate(size);
                prop_assert!(size_of_block(handle) >= size);
                fill(handle, byte);
                held.insert(handle.units(), (handle, byte));
            } else if let Some((_, (handle, byte))) = held.pop_first() {
                prop_assert!(is_filled(handle, byte));
                give_back(handle);
            }
        }
        for (handle, byte) in held.into_values() {
            prop_assert!(is_filled(handle, byte));
            give_back(handle);
        }
    }
}

#[test]
fn blocks_of_whole_cache_lines_are_aligned_to_them() {
    for size in (64..=MAX_BLOCK).step_by(64) {
        let handle = allocate(size);
        if size_of_block(handle).is_multiple_of(64) {
            assert_eq!(handle.pointer().as_ptr() as usize % 64, 0, "{size}");
        }
        give_back(handle);
    }
}

#[test]
fn blocks_may_be_freed_by_another_thread_and_pages_come_back() {
    let size = 4000;
    let handles: Vec<Handle> = (0..10_000).map(|_| allocate(size)).collect();
    let (used, most) = in_use();
    assert!(used >= 10_000 * size && used < most);
    std::thread::scope(|scope| {
        scope.spawn(move || handles.into_iter().for_each(give_back));
    });
    // Other tests run beside this one and hold a page of each class at most.
    assert!(in_use().0 + 5000 * size < used);
}

#[test]
fn threads_that_allocate_and_free_at_once_get_blocks_of_their_own() {
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                for number in 0..20_000_usize {
                    let handle = allocate(1 + number * 37 % 300);
                    fill(handle, thread);
                    held.push_back(handle);
                    if held.len() > 100 {
                        let handle = held.pop_front().unwrap();
                        assert!(is_filled(handle, thread));
                        give_back(handle);
                    }
                }
                held.into_iter().for_each(give_back);
            });
        }
    });
}
