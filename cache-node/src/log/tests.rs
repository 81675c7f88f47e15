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

#[test]
fn the_offset_moves_whether_or_not_somebody_reads() {
    let log = Arc::new(Log::new(100));
    assert_eq!(log.append(slot(1), b"abc"), 3);
    assert_eq!(log.held().0, 0);
    let mut cursor = log.cursor();
    assert_eq!(log.append(slot(1), b"de"), 5);
    assert_eq!(log.append(Scope::All, b"f"), 6);
    let batch = cursor.try_next(1000).unwrap();
    assert_eq!(texts(&batch), ["de", "f"]);
    assert_eq!(batch.records[0].end, 5);
    assert_eq!((cursor.offset(), log.end()), (6, 6));
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
        assert_eq!(batch.bytes, [round; 4]);
    }
    assert_eq!(slow.try_next(100), Err(Overrun));
}

#[test]
fn reading_goes_on_at_an_offset_that_is_still_held() {
    let log = Arc::new(Log::new(10));
    assert!(log.cursor_at(0).is_none());
    drop(log.cursor());
    for text in ["aaaa", "bbbb", "cc"] {
        log.append(slot(1), text.as_bytes());
    }
    assert_eq!(
        texts(&log.cursor_at(4).unwrap().try_next(99).unwrap()),
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
    assert_eq!(batch.bytes, b"abc");
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
    let batch = pinning.try_next(40).expect("nothing is missing");
    assert_eq!(batch.records.len(), 5);
    log.append(Scope::All, b"12345678");
    assert_eq!(log.held().0, 48);
    assert_eq!(other.try_next(8), Err(Overrun));
    drop(pinning);
    assert_eq!(log.held().0, 16);
}
