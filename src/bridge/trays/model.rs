use std::ops::Range;

use loom::thread;

use super::*;
use crate::bridge::fixture::check;
use crate::bridge::sync::AtomicU64;

/// One byte for each tray: what a model looks at.
#[derive(Debug)]
struct Bytes(Vec<AtomicU64>);

impl Area for Bytes {
    fn size(&self) -> usize {
        self.0.len() * SIZE
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        self.0[at / SIZE].store(bytes[0].into(), Ordering::Relaxed);
        true
    }

    fn read(&self, at: usize, _length: usize) -> Option<Vec<u8>> {
        Some(vec![self.0[at / SIZE].load(Ordering::Relaxed) as u8])
    }

    fn addresses(&self, _at: usize, _length: usize) -> Option<Range<*const u8>> {
        None
    }
}

fn both(count: usize) -> [Trays; 2] {
    let words = || (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let memory: Arc<Vec<_>> = Arc::new(words());
    let area: Arc<dyn Area> = Arc::new(Bytes(words()));
    std::array::from_fn(|_| Trays::new(Arc::clone(&memory) as _, 0, Arc::clone(&area)))
}

/// The ring: one word for each message.
fn told(ring: &AtomicU64) -> Option<Filled> {
    let word = ring.load(Ordering::Acquire);
    (word > 0).then(|| Filled { tray: word as u32 - 1, length: 1 })
}

fn tell(ring: &AtomicU64, filled: Filled) {
    ring.store(u64::from(filled.tray) + 1, Ordering::Release);
}

/// However often the process finds a tray free, the web worker sees in it what it was told of, to its last look.
fn pass(count: usize) {
    check(3, move || {
        let [web, process] = both(count);
        let ring: Arc<[AtomicU64; 2]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let thread = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut sent = 0;
                for number in [1, 2] {
                    if let Some(filled) = process.fill(&[number], false) {
                        tell(&ring[sent], filled);
                        sent += 1;
                    }
                }
                sent
            })
        };
        let mut seen = Vec::new();
        for message in &*ring {
            let Some(filled) = told(message) else { break };
            let tray = web.take(filled).unwrap();
            seen.push(tray.copy()[0]);
            assert_eq!(tray.copy(), seen[seen.len() - 1..]);
        }
        let sent = thread.join().unwrap();
        for message in ring.iter().skip(seen.len()).take(sent - seen.len()) {
            seen.push(web.take(told(message).unwrap()).unwrap().copy()[0]);
        }
        assert_eq!(seen, [1, 2][..sent]);
    });
}

#[test]
fn a_tray_is_filled_again_after_the_last_look() {
    pass(1);
}

#[test]
fn two_trays_are_filled_at_once() {
    pass(2);
}
