use super::*;
use crate::bridge::sync::AtomicU64;

const COUNT: usize = 4;

/// The words begin here.
const FIRST: usize = 3;

struct Both {
    words: Arc<Vec<AtomicU64>>,
    web: Trays,
    process: Trays,
}

fn both() -> Both {
    let words: Arc<Vec<_>> = Arc::new((0..FIRST + COUNT).map(|_| AtomicU64::new(0)).collect());
    let bytes = (0..COUNT * SIZE).map(|_| std::sync::atomic::AtomicU8::new(0));
    let area: Arc<dyn Area> = Arc::new(bytes.collect::<Vec<_>>());
    let side = || Trays::new(Arc::clone(&words) as _, FIRST, Arc::clone(&area));
    Both { web: side(), process: side(), words }
}

#[test]
fn a_block_crosses() {
    let Both { words, web, process } = both();
    for length in [1, 100, SIZE] {
        let filled = process.fill(&vec![7; length], false).unwrap();
        let tray = web.take(filled).unwrap();
        assert_eq!((tray.len(), tray.copy()), (length, vec![7; length]));
        let Range { start, end } = tray.addresses().unwrap();
        assert_eq!(end.addr() - start.addr(), length);
        drop(tray);
    }
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn what_is_no_block_for_a_tray_is_not_taken() {
    let Both { process, .. } = both();
    assert_eq!(process.fill(b"", false), None);
    assert_eq!(process.fill(&vec![7; SIZE + 1], false), None);
}

#[test]
fn trays_come_back_in_any_order_and_nobody_waits_for_them() {
    let Both { web, process, .. } = both();
    let filled: Vec<_> =
        (0..COUNT).map(|number| process.fill(&[number as u8; 9], false).unwrap()).collect();
    assert_eq!(process.fill(b"one more", false), None);
    let mut trays: Vec<_> = filled.iter().map(|filled| web.take(*filled).unwrap()).collect();
    drop(trays.remove(2));
    let again = process.fill(b"again", false).unwrap();
    assert_eq!(again.tray, 2, "the one that is free");
    assert_eq!(process.fill(b"one more", false), None);
    let bytes: Vec<_> = trays.iter().map(|tray| tray.copy()[0]).collect();
    assert_eq!(bytes, [0, 1, 3], "the others' are as they were");
    trays.clear();
    assert_eq!(web.take(again).unwrap().copy(), b"again");
    assert_eq!(process.fill(b"the warmest", false).unwrap().tray, 0);
}

#[test]
fn one_that_was_not_sent_is_free() {
    let Both { process, .. } = both();
    for _ in 0..2 * COUNT {
        process.forget(process.fill(b"block", false).unwrap());
    }
}

#[test]
fn slow_clients_get_the_first_half_of_them() {
    let Both { web, process, .. } = both();
    let filled: Vec<_> = (0..COUNT / 2).map(|_| process.fill(b"slow", true).unwrap()).collect();
    assert_eq!(process.fill(b"slow", true), None);
    let other = process.fill(b"fast", false).unwrap();
    let slow: Vec<_> = filled.iter().map(|filled| web.take(*filled).unwrap()).collect();
    assert!(slow.iter().all(Tray::may_wait) && !web.take(other).unwrap().may_wait());
    drop(slow);
    assert!(web.take(process.fill(b"fast", false).unwrap()).unwrap().may_wait());
}

/// What a process may name that is in the hands of an attacker.
#[test]
fn what_cannot_have_been_filled_is_not_taken() {
    let Both { web, process, .. } = both();
    let good = process.fill(b"block", false).unwrap();
    for (tray, length) in [
        (COUNT as u32, 1),
        (u32::MAX, 1),
        (0, 0),
        (0, SIZE as u32 + 1),
        (0, u32::MAX),
        (COUNT as u32 - 1, SIZE as u32 + 1),
    ] {
        assert!(web.take(Filled { tray, length }).is_none(), "{tray} {length}");
    }
    let tray = web.take(good).unwrap();
    assert!(web.take(good).is_none(), "twice");
    assert_eq!(tray.copy(), b"block");
}

/// It fills a tray again that nginx sends from.
#[test]
fn a_tray_that_is_held_is_not_taken_again_whatever_its_word_says() {
    let Both { words, web, process } = both();
    let tray = web.take(process.fill(b"first", false).unwrap()).unwrap();
    words[FIRST].store(FREE, Ordering::Relaxed);
    let again = process.fill(b"other", false).unwrap();
    assert_eq!(again.tray, 0);
    assert!(web.take(again).is_none());
    // Its own response is spoilt, and that is all.
    assert_eq!(tray.copy(), b"other");
    drop(tray);
    assert!(web.take(again).is_some());
    // Any word but 0 is one that is not free.
    words[FIRST].store(u64::MAX, Ordering::Relaxed);
    assert_eq!(process.fill(b"block", false).unwrap().tray, 1);
}

/// The memory is smaller than was said: nothing is found there.
#[test]
fn words_that_are_not_there_are_no_trays() {
    let words: Arc<Vec<_>> = Arc::new(vec![AtomicU64::new(0)]);
    let area: Arc<dyn Area> = Arc::new(Vec::<std::sync::atomic::AtomicU8>::new());
    let trays = Trays::new(words, 5, area);
    assert_eq!(trays.fill(b"block", false), None);
    assert!(trays.take(Filled { tray: 0, length: 1 }).is_none());
}

#[test]
fn there_are_some_for_each_ring() {
    assert_eq!(count(64 * 1024), 16);
    assert_eq!(count(256 * 1024), 64);
    assert_eq!(count(1 << 30), MOST);
}
