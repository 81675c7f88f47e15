use super::*;
use proptest::prelude::*;

fn check(text: &Text, model: &[u8]) {
    assert_eq!(text.len(), model.len());
    assert_eq!(text.get_range(0..usize::MAX), model);
    assert_eq!(text.chunks().len(), model.len().div_ceil(CHUNK_BYTES));
    let whole = text.chunks().len().saturating_sub(1);
    assert!(
        text.chunks()
            .take(whole)
            .all(|chunk| chunk.len() == CHUNK_BYTES)
    );
    let chunks: usize = text.chunks().map(|chunk| chunk.capacity() + 40).sum();
    assert_eq!(text.bytes(), chunks + text.chunks.capacity() * 8);
}

proptest! {
    #[test]
    fn a_text_is_its_bytes(
        start in prop::collection::vec(any::<u8>(), 0..80),
        edits in prop::collection::vec((0..4_u8, prop::collection::vec(any::<u8>(), 0..60), 0..160_usize, 0..160_usize), 0..30),
    ) {
        let mut model = start;
        let mut text = Text::from(&model[..]);
        let mut snapshots = Vec::new();
        for (what, bytes, offset, end) in edits {
            match what {
                0 => {
                    text.append(&bytes);
                    model.extend(bytes);
                }
                1 => {
                    text.set_range(offset, &bytes);
                    if !bytes.is_empty() {
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                }
                2 => {
                    text.fill(end);
                    model.resize(model.len().max(end), 0);
                }
                _ => {
                    let start = offset.min(end);
                    let expected = &model[start.min(model.len())..end.min(model.len())];
                    prop_assert_eq!(text.get_range(start..end), expected);
                    prop_assert_eq!(text.byte(offset), model.get(offset).copied());
                    snapshots.push((text.clone(), model.clone()));
                }
            }
            check(&text, &model);
        }
        for (snapshot, model) in snapshots {
            check(&snapshot, &model);
        }
    }
}

#[test]
fn a_write_copies_only_the_chunk_that_a_reader_holds() {
    let mut text = Text::from(&[b'x'; 10 * CHUNK_BYTES][..]);
    let reader: Vec<_> = text.chunks().cloned().collect();
    text.set_range(3 * CHUNK_BYTES + 1, b"y");
    assert!(
        reader
            .iter()
            .flat_map(|chunk| chunk.iter())
            .all(|byte| *byte == b'x')
    );
    let shared = text
        .chunks()
        .zip(&reader)
        .filter(|(a, b)| Arc::ptr_eq(a, b));
    assert_eq!(shared.count(), 9);
}
