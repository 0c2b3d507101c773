//! Memory that a worker shares with the workers beside it and with those that replace it (`bridge/marks.rs`,
//! `bridge/baton.rs`).
//!
//! The master maps it while it reads the configuration, before it forks workers. It belongs to that configuration: a
//! reload begins with empty memory. If the processes of a group are kept over a reload (`keep=on`) their baton is that of the
//! configuration before, which they know.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::bridge::baton::Word;
use crate::bridge::marks::WORDS;
use crate::bridge::memory::Memory;
use crate::nginx::shared_words::SharedWords;

/// The most workers that nginx can have (`ngx_worker` is below).
const WORKERS: usize = nginx_sys::NGX_MAX_PROCESSES as usize;

/// Words for each worker, and behind them for each process that checks applications (`nginx/check`),
/// words for each application, and behind those for each module of `python_import`.
#[derive(Debug)]
pub(in crate::nginx) struct Shared {
    all: SharedWords,
    /// One for the web workers, and one for the processes of each group.
    batons: Arc<SharedWords>,
    /// By the group, those of another configuration that count instead.
    taken_over: OnceLock<Vec<Option<BatonMemory>>>,
    /// Words for a process.
    stride: usize,
}

/// The part of one process.
#[derive(Debug)]
struct Part {
    shared: Arc<Shared>,
    process: usize,
}

/// The word of the web workers, or of the processes of a group. It lives as long as anybody knows it.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct BatonMemory {
    words: Arc<SharedWords>,
    at: usize,
}

impl Shared {
    pub(in crate::nginx) fn new(
        imports: usize,
        checks: usize,
        groups: usize,
    ) -> io::Result<Arc<Self>> {
        let stride = imports * WORDS;
        let all = SharedWords::new((WORKERS + checks) * stride)?;
        let batons = Arc::new(SharedWords::new((1 + groups) * LINE)?);
        Ok(Arc::new(Self { all, batons, taken_over: OnceLock::new(), stride }))
    }

    /// The words of the worker of that number (`ngx_worker`).
    pub(in crate::nginx) fn of_worker(self: &Arc<Self>, worker: usize) -> Option<Box<dyn Memory>> {
        (worker < WORKERS).then(|| self.part(worker))
    }

    /// The words of the process of that number that checks applications.
    pub(in crate::nginx) fn of_check(self: &Arc<Self>, check: usize) -> Box<dyn Memory> {
        self.part(WORKERS + check)
    }

    fn part(self: &Arc<Self>, process: usize) -> Box<dyn Memory> {
        Box::new(Part { shared: Arc::clone(self), process })
    }

    /// The word of the baton of the web workers, or of the processes of a group.
    pub(in crate::nginx) fn baton(&self, group: Option<usize>) -> BatonMemory {
        let others = self.taken_over.get().zip(group).and_then(|(all, group)| all.get(group));
        others.cloned().flatten().unwrap_or_else(|| {
            let at = group.map_or(0, |group| 1 + group) * LINE / 2;
            BatonMemory { words: Arc::clone(&self.batons), at }
        })
    }

    /// The batons of these groups are those, before anybody has asked for one.
    pub(in crate::nginx) fn take_over(&self, batons: Vec<Option<BatonMemory>>) {
        // A configuration is taken over once.
        let _again = self.taken_over.set(batons);
    }
}

impl Memory for Part {
    fn words(&self) -> &[AtomicU32] {
        let Shared { all, stride, .. } = &*self.shared;
        let at = self.process * stride;
        all.words().get(at..at + stride).unwrap_or_default()
    }
}

impl Word for BatonMemory {
    fn load(&self) -> u64 {
        self.words.longs().get(self.at).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let word = self.words.longs().get(self.at);
        word.is_some_and(|word| {
            word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        })
    }
}

/// Words of a cache line. Each baton has one.
const LINE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_kept_has_the_baton_that_its_processes_know() {
        let [before, shared] = [(); 2].map(|()| Shared::new(1, 1, 2).unwrap());
        shared.take_over(vec![None, Some(before.baton(Some(0)))]);
        assert!(before.baton(Some(0)).replace(0, 7));
        let has = |group| shared.baton(group).load();
        assert_eq!([has(None), has(Some(0)), has(Some(1))], [0, 0, 7]);
    }
}
