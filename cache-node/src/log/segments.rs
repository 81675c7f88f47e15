//! The part of the log that is on disk, for readers that have fallen behind what the memory holds.
//!
//! A segment is a file without a name, of records one behind the other: what it is about (1 byte), slot (2), offset behind it (8), length
//! (4; all little endian), effects.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::pace::Disk;
use super::{Batch, Overrun, Record, Scope};
use crate::slot::SlotId;

/// Bytes of a segment, about.
const SEGMENT: u64 = 8 << 20;

/// Bytes before the effects.
const HEADER: usize = 15;

/// Segments, the oldest first, without a gap between them.
#[derive(Debug, Default)]
pub(super) struct Segments {
    folder: Option<PathBuf>,
    limit: u64,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    /// Position of the first record.
    first: u64,
    records: u64,
    /// Offset before the first record, and behind the last one.
    start: u64,
    end: u64,
    bytes: u64,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Position of the segment's first record.
    segment: u64,
    /// Position of the record that comes next, and of its first byte in the segment.
    next: u64,
    at: u64,
}

/// A piece of a segment that can be read without holding anybody up.
pub(super) struct Found {
    file: Arc<File>,
    reading: Reading,
    /// The record that is wanted.
    wanted: u64,
    /// Bytes of the segment.
    bytes: u64,
}

impl Segments {
    /// Where segments are to be, and how much of them; answers whether this is the first time.
    pub(super) fn configure(&mut self, folder: &Path, limit: u64) -> bool {
        self.limit = limit;
        self.folder.replace(folder.to_owned()).is_none()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// How much there is, and may be.
    pub(super) fn disk(&self) -> Disk {
        Disk {
            bytes: self.bytes(),
            limit: self.limit,
        }
    }

    /// The offset up to which everything is there; 0 when there is nothing.
    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.end)
    }

    pub(super) fn clear(&mut self) {
        self.segments.clear();
    }

    /// Appends records, of which the first is at position `first`, behind what there is. The oldest segments go when it is too much.
    pub(super) fn append(&mut self, first: u64, start: u64, batch: &Batch) -> io::Result<()> {
        if self
            .segments
            .back()
            .is_none_or(|last| last.bytes >= SEGMENT)
        {
            let folder = self.folder.as_deref().unwrap_or(Path::new("."));
            self.segments.push_back(Segment {
                file: Arc::new(tempfile::tempfile_in(folder)?),
                first,
                records: 0,
                start,
                end: start,
                bytes: 0,
            });
        }
        let mut text = Vec::with_capacity(batch.bytes.len() + batch.records.len() * HEADER);
        for record in &batch.records {
            let effects = &batch.bytes[record.range.clone()];
            text.extend_from_slice(&header(record.scope, record.end, effects.len()));
            text.extend_from_slice(effects);
        }
        if let Some(last) = self.segments.back_mut() {
            last.file.write_all_at(&text, last.bytes)?;
            last.bytes += text.len() as u64;
            last.records += batch.records.len() as u64;
            last.end = batch.records.last().map_or(last.end, |record| record.end);
        }
        while self.bytes() > self.limit && self.segments.len() > 1 {
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Frees segments that nobody reads who is at `next` or further.
    pub(super) fn free_before(&mut self, next: u64) {
        while let Some(oldest) = self.segments.front()
            && oldest.first + oldest.records <= next
        {
            self.segments.pop_front();
        }
    }

    /// The position of the record behind `offset`.
    pub(super) fn position_behind(&self, offset: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .find(|segment| (segment.start..segment.end).contains(&offset))?;
        let (mut at, mut position, mut previous) = (0, segment.first, segment.start);
        while previous < offset {
            let (_, end, length) = header_at(&segment.file, at).ok()?;
            at += HEADER as u64 + length;
            position += 1;
            previous = end;
        }
        (previous == offset).then_some(position)
    }

    /// Where the record at position `next` is, for a reader that was `reading` before.
    pub(super) fn find(&self, next: u64, reading: Option<Reading>) -> Option<Found> {
        let segment = self
            .segments
            .iter()
            .find(|segment| (segment.first..segment.first + segment.records).contains(&next))?;
        let reading = reading
            .filter(|reading| reading.segment == segment.first && reading.next <= next)
            .unwrap_or(Reading {
                segment: segment.first,
                next: segment.first,
                at: 0,
            });
        Some(Found {
            file: Arc::clone(&segment.file),
            reading,
            wanted: next,
            bytes: segment.bytes,
        })
    }
}

impl Found {
    /// Reads records: one at least, more while they fit into `limit` bytes; answers where it goes on.
    pub(super) fn read(self, limit: usize) -> Result<(Batch, Reading), Overrun> {
        self.try_read(limit).map_err(|error| {
            tracing::error!(%error, "a segment of the log cannot be read");
            Overrun
        })
    }

    fn try_read(self, limit: usize) -> io::Result<(Batch, Reading)> {
        let Self {
            file, mut reading, ..
        } = self;
        while reading.next < self.wanted {
            let (_, _, length) = header_at(&file, reading.at)?;
            reading.at += HEADER as u64 + length;
            reading.next += 1;
        }
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        let text = read_records(&file, reading.at..self.bytes, limit)?;
        let mut rest = &text[..];
        while let Some((header, effects)) = rest.split_first_chunk() {
            let (scope, end, length) = read_header(header)?;
            let length = length as usize;
            if effects.len() < length || (!records.is_empty() && bytes.len() + length > limit) {
                break;
            }
            let before = bytes.len();
            bytes.extend_from_slice(&effects[..length]);
            records.push(Record {
                scope,
                end,
                range: before..before + length,
            });
            rest = &effects[length..];
            reading.at += (HEADER + length) as u64;
            reading.next += 1;
        }
        let bytes = Bytes::from(bytes);
        Ok((Batch { bytes, records }, reading))
    }
}

/// Reads about `limit` bytes of that part of a segment, and the first record whole.
fn read_records(file: &File, part: Range<u64>, limit: usize) -> io::Result<Vec<u8>> {
    let most = part.end.saturating_sub(part.start) as usize;
    let mut text = vec![0; most.min(limit + HEADER)];
    file.read_exact_at(&mut text, part.start)?;
    if let Some(header) = text.first_chunk() {
        let (_, _, length) = read_header(header)?;
        let whole = HEADER + length as usize;
        let there = text.len();
        if whole > there {
            text.resize(whole.min(most), 0);
            file.read_exact_at(&mut text[there..], part.start + there as u64)?;
        }
    }
    Ok(text)
}

fn header(scope: Scope, end: u64, length: usize) -> [u8; HEADER] {
    let (kind, slot) = match scope {
        Scope::Slot(slot) => (0, slot.number()),
        Scope::Emptied(slot) => (1, slot.number()),
        Scope::All => (2, 0),
        Scope::Other => (3, 0),
    };
    let mut header = [0; HEADER];
    header[0] = kind;
    header[1..3].copy_from_slice(&slot.to_le_bytes());
    header[3..11].copy_from_slice(&end.to_le_bytes());
    header[11..].copy_from_slice(&(length as u32).to_le_bytes());
    header
}

fn header_at(file: &File, at: u64) -> io::Result<(Scope, u64, u64)> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at)?;
    read_header(&header)
}

/// What a record is about, the offset behind it, and how many bytes of effects it has.
fn read_header(header: &[u8; HEADER]) -> io::Result<(Scope, u64, u64)> {
    let [kind, s0, s1, e0, e1, e2, e3, e4, e5, e6, e7, l0, l1, l2, l3] = *header;
    let slot = SlotId::new(u16::from_le_bytes([s0, s1]));
    let scope = match (kind, slot) {
        (0, Some(slot)) => Scope::Slot(slot),
        (1, Some(slot)) => Scope::Emptied(slot),
        (2, _) => Scope::All,
        (3, _) => Scope::Other,
        _ => return Err(io::Error::other("no such record")),
    };
    let end = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    Ok((scope, end, u64::from(length)))
}
