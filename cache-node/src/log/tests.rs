//! The log, read by fast and slow readers.

use std::time::Duration;

use super::*;

fn slot(number: u16) -> Scope {
    Scope::Slot(SlotId::new(number).unwrap())
}

fn texts(batch: &Batch) -> Vec<String> {
    batch
        .records
        .iter()
        .map(|record| String::from_utf8_lossy(&batch.bytes[record.range.clone()]).into_owned())
        .collect()
}

/// The next batches as one, of about `limit` bytes in all.
fn read(cursor: &mut Cursor, limit: usize) -> Result<Batch, Overrun> {
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    while bytes.len() < limit {
        let batch = cursor.try_next(limit - bytes.len())?;
        if batch.records.is_empty() {
            break;
        }
        let before = bytes.len();
        records.extend(batch.records.into_iter().map(|record| Record {
            range: before + record.range.start..before + record.range.end,
            ..record
        }));
        bytes.extend_from_slice(&batch.bytes);
    }
    let bytes = Bytes::from(bytes);
    Ok(Batch { bytes, records })
}

#[test]
fn the_offset_moves_whether_or_not_somebody_reads() {
    let log = Arc::new(Log::new(100));
    assert_eq!(log.append(slot(1), b"abc"), 3);
    assert_eq!(log.held().0, 0);
    log.skip(2);
    // What was not recorded lies between the offsets of before and those of now.
    let mut cursor = log.cursor();
    assert_eq!((cursor.offset(), log.end()), (6, 6));
    assert!(log.cursor_at(5).is_none());
    // Nor does an offset move by what was counted before somebody read.
    log.skip(100);
    assert_eq!(log.append(slot(1), b"de"), 8);
    assert_eq!(log.append(Scope::All, b"f"), 9);
    let batch = read(&mut cursor, 1000).unwrap();
    assert_eq!(texts(&batch), ["de", "f"]);
    assert_eq!(batch.records[0].end, 8);
    assert_eq!((cursor.offset(), log.end()), (9, 9));
}

#[test]
fn a_log_that_begins_anew_sends_its_readers_away() {
    let log = Arc::new(Log::new(100));
    let mut cursor = log.cursor();
    log.append(slot(1), b"abc");
    assert_eq!(texts(&cursor.try_next(99).unwrap()), ["abc"]);
    log.restart_at(50);
    assert_eq!(cursor.try_next(99), Err(Overrun));
    assert_eq!(log.append(slot(1), b"de"), 52);
    assert_eq!(cursor.try_next(99), Err(Overrun));
    let mut other = log.cursor_at(50).unwrap();
    assert_eq!(texts(&other.try_next(99).unwrap()), ["de"]);
}

#[test]
fn records_that_belong_together_stay_together() {
    let log = Arc::new(Log::new(1 << 20));
    let mut cursor = log.cursor();
    std::thread::scope(|scope| {
        for writer in [b'a', b'b'] {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..500 {
                    let text = [writer];
                    let records = [
                        (Scope::Other, &text[..]),
                        (slot(1), &text),
                        (slot(2), &text),
                    ];
                    log.append_all(records.into_iter());
                }
            });
        }
    });
    let batch = read(&mut cursor, 1 << 20).unwrap();
    assert_eq!(batch.bytes.len(), 3000);
    assert!(
        batch
            .bytes
            .chunks(3)
            .all(|three| three[0] == three[1] && three[1] == three[2])
    );
}

/// Waits, since another thread does it.
fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_slow_reader_reads_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::new(64 << 10));
    log.spill_into(folder.path(), 1 << 30).unwrap();
    let (mut slow, mut fast) = (log.cursor().named("slow"), log.cursor());
    let mut appended: Vec<u8> = Vec::new();
    let mut middle = 0;
    for round in 0_u32..4000 {
        let text = round.to_be_bytes().repeat(1 + (round % 100) as usize);
        appended.extend(&text);
        let end = log.append(slot((round % 7) as u16), &text);
        if round == 1000 {
            middle = end;
        }
        // Never faster than the disk: that is another test.
        eventually("it is written", || {
            log.lags()[0].bytes < 48 << 10 || log.segments.lock().end() + (48 << 10) > log.end()
        });
        fast.try_next(1 << 20).unwrap();
    }
    assert!(log.held().0 <= 64 << 10);
    assert!(log.held_on_disk() > 500 << 10);
    assert_eq!(log.lags()[0].name, "slow");
    // Somebody else can go on from there, too.
    let mut resumed = log.cursor_at(middle).unwrap();
    let first = resumed.try_next(1).unwrap();
    assert_eq!(first.bytes[..4], 1001_u32.to_be_bytes());
    drop(resumed);
    let mut read = Vec::new();
    while read.len() < appended.len() {
        let batch = slow.try_next(10_000).unwrap();
        assert!(!batch.records.is_empty());
        read.extend(batch.bytes);
    }
    assert_eq!(read, appended);
    assert_eq!(slow.offset(), log.end());
    eventually("the disk is free again", || log.held_on_disk() == 0);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn what_is_on_disk_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::new(64 << 10));
    log.spill_into(folder.path(), 20 << 20).unwrap();
    let mut slow = log.cursor();
    let text = [b'x'; 4096];
    for _ in 0..10_000 {
        log.append(slot(1), &text);
        eventually("it is written", || {
            let ring = log.ring.lock();
            !ring.spilling || log.segments.lock().end() + (32 << 10) > log.end()
        });
    }
    assert!(log.held_on_disk() <= 20 << 20);
    assert_eq!(slow.try_next(100), Err(Overrun));
}

#[test]
fn a_batch_is_limited_but_never_empty_while_there_is_something() {
    let log = Arc::new(Log::new(1000));
    let mut cursor = log.cursor();
    for text in ["aaaa", "bb", "cc", "dddddddddd"] {
        log.append(slot(1), text.as_bytes());
    }
    assert_eq!(texts(&cursor.try_next(4).unwrap()), ["aaaa"]);
    assert_eq!(texts(&cursor.try_next(5).unwrap()), ["bb", "cc"]);
    assert_eq!(texts(&cursor.try_next(5).unwrap()), ["dddddddddd"]);
    assert!(cursor.try_next(5).unwrap().records.is_empty());
}

#[test]
fn a_reader_that_falls_behind_is_told() {
    let log = Arc::new(Log::new(10));
    let (mut slow, mut fast) = (log.cursor(), log.cursor());
    for round in 0..100_u8 {
        log.append(slot(1), &[round; 4]);
        let batch = fast.try_next(100).unwrap();
        assert_eq!(batch.bytes[..], [round; 4]);
    }
    assert_eq!(slow.try_next(100), Err(Overrun));
}

#[test]
fn reading_goes_on_at_an_offset_that_is_still_held() {
    let log = Arc::new(Log::new(10));
    assert!(log.cursor_at(0).is_none());
    log.restart_at(0);
    for text in ["aaaa", "bbbb", "cc"] {
        log.append(slot(1), text.as_bytes());
    }
    assert_eq!(
        texts(&read(&mut log.cursor_at(4).unwrap(), 99).unwrap()),
        ["bbbb", "cc"]
    );
    assert!(log.cursor_at(5).is_none());
    assert!(log.cursor_at(11).is_none());
    log.append(slot(1), b"d");
    assert!(log.cursor_at(0).is_none());
    assert_eq!(log.cursor_at(11).unwrap().offset(), 11);
    log.release();
    assert!(log.cursor_at(11).is_none());
    log.restart_at(500);
    assert_eq!(log.append(slot(1), b"x"), 501);
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let log = Arc::new(Log::new(100));
    let mut cursor = log.cursor();
    let reader = tokio::spawn(async move { cursor.next(100).await });
    tokio::task::yield_now().await;
    log.append(slot(1), b"abc");
    let batch = tokio::time::timeout(Duration::from_secs(5), reader)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(batch.bytes[..], *b"abc");
}

#[test]
fn what_a_pinning_cursor_has_not_read_is_kept_beyond_the_capacity() {
    let log = Arc::new(Log::new(16));
    let mut pinning = log.cursor();
    pinning.pin();
    let mut other = log.cursor();
    for _ in 0..10 {
        log.append(Scope::All, b"12345678");
    }
    assert_eq!(log.held().0, 80);
    let batch = read(&mut pinning, 40).expect("nothing is missing");
    assert_eq!(batch.records.len(), 5);
    log.append(Scope::All, b"12345678");
    assert_eq!(log.held().0, 48);
    assert_eq!(other.try_next(8), Err(Overrun));
    drop(pinning);
    assert_eq!(log.held().0, 16);
}

/// Writers that wait when they are told to can write as fast as they like: nothing is thrown out that the disk has not taken.
#[tokio::test]
async fn writers_wait_for_the_disk_rather_than_lose_a_slow_reader() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::new(64 << 10));
    log.spill_into(folder.path(), 1 << 30).unwrap();
    let mut slow = log.cursor();
    let text = [7; 1000];
    let mut waited = 0;
    for _ in 0..20_000 {
        while log.is_crowded() {
            log.has_room().await;
            waited += 1;
        }
        log.append(slot(1), &text);
    }
    assert!(waited > 0, "the memory is faster than any disk");
    let mut read = 0;
    while read < 20_000 {
        read += slow.try_next(1 << 20).unwrap().records.len();
    }
    eventually("nobody is held up any more", || {
        log.room.load(Ordering::Relaxed) == u64::MAX
    });
}

/// A disk that refuses everything holds writers up for a moment only.
#[tokio::test]
async fn a_disk_that_fails_holds_nobody_up() {
    let log = Arc::new(Log::new(64 << 10));
    log.spill_into(Path::new("/proc"), 1 << 30).unwrap();
    let mut slow = log.cursor();
    for _ in 0..20_000 {
        while log.is_crowded() {
            log.has_room().await;
        }
        log.append(slot(1), &[7; 1000]);
    }
    assert_eq!(slow.try_next(1), Err(Overrun));
}

/// What stays in memory for a reader is not written to the disk for it.
#[tokio::test]
async fn a_pinning_cursor_causes_no_segments() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::new(64 << 10));
    log.spill_into(folder.path(), 1 << 30).unwrap();
    let mut slow = log.cursor();
    slow.pin();
    for _ in 0..1000 {
        assert!(!log.is_crowded());
        log.append(slot(1), &[7; 1000]);
    }
    assert!(!log.ring.lock().spilling);
    assert_eq!(read(&mut slow, 2 << 20).unwrap().records.len(), 1000);
}

/// What comes out is what went in, whatever the sizes, wherever readers begin and however much they take.
#[test]
fn readers_see_the_same_wherever_blocks_end() {
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let log = Arc::new(Log::new(20_000));
    log.restart_at(100);
    let mut readers = vec![(log.cursor(), 100_usize)];
    let (mut all, mut ends) = (vec![0; 100], vec![100_u64]);
    for round in 0..20_000_u64 {
        let text = vec![round as u8; 1 + next(if round % 50 == 0 { 3000 } else { 60 }) as usize];
        all.extend_from_slice(&text);
        ends.push(log.append(slot(3), &text));
        if next(20) == 0 {
            let offset = ends[ends.len() - 1 - next(5) as usize % ends.len()];
            let cursor = log.cursor_at(offset).expect("it is held");
            readers.insert(0, (cursor, offset as usize));
            readers.truncate(4);
        }
        for (cursor, place) in &mut readers {
            let batch = read(cursor, 500 + next(4000) as usize).expect("it keeps up");
            assert_eq!(batch.bytes[..], all[*place..*place + batch.bytes.len()]);
            *place += batch.bytes.len();
            assert_eq!(cursor.offset(), *place as u64);
        }
        assert!(log.cursor_at(log.end() + 1).is_none());
    }
    let (held, start) = log.held();
    assert!(held <= 20_000 && held > 15_000, "{held}");
    assert_eq!(start + held as u64, log.end());
}
