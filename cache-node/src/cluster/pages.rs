//! One record on a disk, overwritten in place.
//!
//! Replacing a file is a commit of the file system's journal, and that waits for what everybody else has written. So the record is kept in
//! two copies that are overwritten in turn, and while nothing moves or grows one `fdatasync` of its few pages makes it durable.
//!
//! The newest copy that is whole counts. A write that was cut short leaves pages of two records, each of which is whole, since disks write
//! a page or do not; nobody was told of such a record. A page that is nobody's is damage, and may have been of a record that others
//! were told of.

/// Bytes that a disk writes wholly or not at all.
pub(super) const PAGE: usize = 512;
const HEAD: usize = 24;
const BODY: usize = PAGE - HEAD;

/// A page is not what was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page of it is not what was written there")]
pub(super) struct Damaged;

/// What all pages of a copy say of the record that they are part of.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Rises with each record; 0: none was ever written here.
    sequence: u64,
    /// Of the record, in bytes.
    length: u32,
    /// CRC-32 of the record. Tells records of one sequence apart, which there are when a write was cut short and a restart followed.
    sum: u32,
}

/// Pages of a copy of a record of so many bytes; at least one.
pub(super) fn pages(length: usize) -> usize {
    length.div_ceil(BODY).max(1)
}

/// The pages of record number `sequence` (at least 1).
pub(super) fn encode(sequence: u64, record: &[u8]) -> Vec<u8> {
    let head = Head {
        sequence,
        length: u32::try_from(record.len()).expect("a record is far smaller than 4 GiB"),
        sum: crc32fast::hash(record),
    };
    let bodies = (0..pages(record.len())).map(|place| {
        let end = record.len().min((place + 1) * BODY);
        page(head, place, &record[place * BODY..end])
    });
    bodies.flatten().collect()
}

/// So many pages in which no record was ever written.
pub(super) fn unwritten(count: usize) -> Vec<u8> {
    let head = Head {
        sequence: 0,
        length: 0,
        sum: 0,
    };
    (0..count)
        .flat_map(|place| page(head, place, &[]))
        .collect()
}

/// The record in a copy, and its number; none when the last write was cut short or there never was one.
pub(super) fn decode(copy: &[u8]) -> Result<Option<(u64, Vec<u8>)>, Damaged> {
    let (head, _) = read(copy, 0)?;
    if head.sequence == 0 {
        return Ok(None);
    }
    let length = head.length as usize;
    let mut record = Vec::with_capacity(length.min(copy.len()));
    for place in 0..pages(length) {
        let (of, body) = read(copy, place)?;
        if of != head {
            return Ok(None);
        }
        record.extend_from_slice(body);
    }
    record.truncate(length);
    if crc32fast::hash(&record) != head.sum {
        return Err(Damaged);
    }
    Ok(Some((head.sequence, record)))
}

fn page(head: Head, place: usize, body: &[u8]) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[4..12].copy_from_slice(&head.sequence.to_le_bytes());
    page[12..16].copy_from_slice(&head.length.to_le_bytes());
    page[16..20].copy_from_slice(&head.sum.to_le_bytes());
    page[20..24].copy_from_slice(&(place as u32).to_le_bytes());
    page[HEAD..HEAD + body.len()].copy_from_slice(body);
    let sum = crc32fast::hash(&page[4..]);
    page[..4].copy_from_slice(&sum.to_le_bytes());
    page
}

fn read(copy: &[u8], place: usize) -> Result<(Head, &[u8]), Damaged> {
    let start = place * PAGE;
    let page = copy.get(start..start + PAGE).ok_or(Damaged)?;
    let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
    if number(0) != crc32fast::hash(&page[4..]) || number(20) as usize != place {
        return Err(Damaged);
    }
    let head = Head {
        sequence: u64::from(number(4)) | u64::from(number(8)) << 32,
        length: number(12),
        sum: number(16),
    };
    Ok((head, &page[HEAD..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Overwrites those pages of a copy that a disk has got round to.
    fn overwrite(copy: &mut [u8], pages: &[u8], written: impl Fn(usize) -> bool) {
        for (place, page) in pages.chunks(PAGE).enumerate() {
            if written(place) {
                copy[place * PAGE..(place + 1) * PAGE].copy_from_slice(page);
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_back_or_was_cut_short(
            first in prop::collection::vec(any::<u8>(), 0..3_000),
            second in prop::collection::vec(any::<u8>(), 0..3_000),
            third in prop::collection::vec(any::<u8>(), 0..3_000),
            written in any::<(u8, u8)>(),
        ) {
            let mut copy = unwritten(8);
            prop_assert_eq!(decode(&copy), Ok(None));
            overwrite(&mut copy, &encode(1, &first), |_| true);
            prop_assert_eq!(decode(&copy), Ok(Some((1, first.clone()))));

            // Two writes of one number, as when the process was started again between them.
            let mut whole = vec![(1, first)];
            for (record, bits) in [(second, written.0), (third, written.1)] {
                overwrite(&mut copy, &encode(3, &record), |place| bits & (1 << place) != 0);
                whole.push((3, record));
            }
            if let Some(read) = decode(&copy).unwrap() {
                prop_assert!(whole.contains(&read));
            }
        }

        #[test]
        fn damage_is_found(
            record in prop::collection::vec(any::<u8>(), 0..3_000),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut copy = encode(7, &record);
            let at = at.index(copy.len());
            copy[at] ^= 1 << bit;
            prop_assert_eq!(decode(&copy), Err(Damaged));
        }

        #[test]
        fn a_lost_page_is_damage(
            record in prop::collection::vec(any::<u8>(), 0..3_000),
            place in any::<prop::sample::Index>(),
        ) {
            let mut copy = encode(7, &record);
            let place = place.index(copy.len() / PAGE);
            copy[place * PAGE..(place + 1) * PAGE].fill(0);
            prop_assert_eq!(decode(&copy), Err(Damaged));
        }
    }
}
