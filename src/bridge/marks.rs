//! What a worker leaves to the one that takes its place: which applications it was importing as it died.
//!
//! nginx's master starts a worker again as soon as it has died. An application whose import kills the worker (a C
//! extension that crashes, `os._exit`) would make it start many times a second, and the worker's other
//! applications would never serve a request. So a worker marks an import as it begins, and takes the mark back when
//! that ends, in memory that it shares with its successors. A successor that finds a mark knows how the other
//! ended, counts, and puts that import off; for longer each time.
//!
//! For each application, and each module of `python_import`, there are two words: a count of such deaths with
//! [`IMPORTING`], and the process that marked it. One process writes them at a time, each application's by the one
//! thread that imports it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::memory::Memory;

/// How many words each import has.
pub(crate) const WORDS: usize = 2;

/// An import runs.
const IMPORTING: u32 = 1 << 31;

const LONGEST_PAUSE: u64 = 60;

/// The marks of one worker.
#[derive(Debug)]
pub(crate) struct Marks {
    memory: Option<Box<dyn Memory>>,
    process: u32,
}

/// Workers have died while they imported the application, the last of them being `process`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Died {
    /// How many in a row, none of which came to the import's end.
    pub(crate) times: u32,
    pub(crate) process: u32,
    /// How long its next import should wait.
    pub(crate) pause: Duration,
}

impl Marks {
    /// The marks of another process, which may still run.
    pub(crate) fn of_another(memory: Option<Box<dyn Memory>>) -> Self {
        Self { memory, process: 0 }
    }

    /// The marks of a worker that starts, which is this `process`; `None`: they are not kept.
    pub(crate) fn take_over(memory: Option<Box<dyn Memory>>, process: u32) -> Self {
        let marks = Self { memory, process };
        for (state, _) in marks.all() {
            let found = state.load(Ordering::Acquire);
            if found & IMPORTING != 0 {
                let deaths = (found & !IMPORTING).saturating_add(1).min(IMPORTING - 1);
                state.store(deaths, Ordering::Release);
            }
        }
        marks
    }

    /// What became of the workers before, if they died importing that application.
    pub(crate) fn died(&self, app: usize) -> Option<Died> {
        let (state, process) = self.all().nth(app)?;
        let times = state.load(Ordering::Acquire) & !IMPORTING;
        let doublings = times.checked_sub(1)?;
        let seconds = 1_u64.checked_shl(doublings.min(63)).unwrap_or(LONGEST_PAUSE);
        Some(Died {
            times,
            process: process.load(Ordering::Acquire),
            pause: Duration::from_secs(seconds.min(LONGEST_PAUSE)),
        })
    }

    /// Who imports: it begins.
    pub(crate) fn begin(&self, app: usize) {
        if let Some((state, process)) = self.all().nth(app) {
            process.store(self.process, Ordering::Release);
            state.fetch_or(IMPORTING, Ordering::AcqRel);
        }
    }

    /// Who imports: it has ended, one way or another.
    pub(crate) fn end(&self, app: usize) {
        if let Some((state, _)) = self.all().nth(app) {
            state.store(0, Ordering::Release);
        }
    }

    /// The applications that are being imported.
    pub(crate) fn importing(&self) -> Vec<usize> {
        let marked = |(state, _): &(&AtomicU32, _)| state.load(Ordering::Acquire) & IMPORTING != 0;
        self.all().enumerate().filter(|(_, pair)| marked(pair)).map(|(app, _)| app).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&AtomicU32, &AtomicU32)> {
        let words = self.memory.as_ref().map_or(&[][..], |memory| memory.words());
        words.chunks_exact(WORDS).filter_map(|pair| match pair {
            [state, process] => Some((state, process)),
            _ => None,
        })
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn memory(apps: usize) -> Arc<Vec<AtomicU32>> {
        Arc::new((0..apps * WORDS).map(|_| AtomicU32::new(0)).collect())
    }

    fn worker(memory: &Arc<Vec<AtomicU32>>, process: u32) -> Marks {
        Marks::take_over(Some(Box::new(Arc::clone(memory))), process)
    }

    #[test]
    fn a_worker_that_dies_importing_leaves_a_mark() {
        let memory = memory(3);
        let first = worker(&memory, 10);
        assert!((0..4).all(|app| first.died(app).is_none()));
        first.begin(0);
        first.end(0);
        first.begin(1);
        first.begin(9);
        let second = worker(&memory, 11);
        assert_eq!(second.died(0), None);
        let pause = Duration::from_secs(1);
        assert_eq!(second.died(1), Some(Died { times: 1, process: 10, pause }));
        assert_eq!(second.died(2), None);
        // It dies of something else: the import still waits.
        assert_eq!(worker(&memory, 12).died(1), second.died(1));
    }

    #[test]
    fn the_pause_grows_to_a_minute_until_an_import_ends() {
        let memory = memory(1);
        let mut pauses = Vec::new();
        for process in 1..70 {
            let marks = worker(&memory, process);
            pauses.extend(marks.died(0).map(|died| died.pause.as_secs()));
            marks.begin(0);
        }
        assert_eq!(pauses.get(..8), Some(&[1, 2, 4, 8, 16, 32, 60, 60][..]));
        assert!(pauses.iter().skip(8).all(|pause| *pause == 60));
        let last = worker(&memory, 70);
        last.begin(0);
        last.end(0);
        assert_eq!(worker(&memory, 71).died(0), None);
    }

    #[test]
    fn what_another_process_imports() {
        let memory = memory(3);
        let worker = worker(&memory, 10);
        let seen = Marks::of_another(Some(Box::new(Arc::clone(&memory))));
        assert!(seen.importing().is_empty());
        worker.begin(0);
        worker.begin(2);
        assert_eq!(seen.importing(), [0, 2]);
        worker.end(0);
        assert_eq!(seen.importing(), [2]);
        assert_eq!(seen.died(2), None, "it has not ended");
    }

    #[test]
    fn without_memory_nothing_is_known() {
        let marks = Marks::take_over(None, 1);
        marks.begin(0);
        marks.end(0);
        assert_eq!(marks.died(0), None);
    }
}
