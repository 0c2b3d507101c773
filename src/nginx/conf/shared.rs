//! Memory that a worker shares with the workers that replace it (`bridge/marks.rs`), and with all others
//! (`bridge/baton.rs`).
//!
//! The master maps it while it reads the configuration, before it forks workers. It belongs to that configuration: a
//! reload begins with empty memory.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bridge::baton::Word;
use crate::bridge::marks::{Memory, WORDS};

/// The most workers that nginx can have (`ngx_worker` is below).
const WORKERS: usize = nginx_sys::NGX_MAX_PROCESSES as usize;

const PROCESSES: usize = WORKERS + 1;

/// Words before those of the workers: a cache line. The first two are the baton.
const HEAD: usize = 16;

/// Words for all; then for each worker, and behind them for the process that checks the applications (`nginx/check`),
/// words for each application, and behind those for each module of `python_import`. Pages that nobody writes to take no
/// memory.
#[derive(Debug)]
pub(in crate::nginx) struct Shared {
    start: NonNull<AtomicU32>,
    /// Words for a worker.
    stride: usize,
}

// SAFETY: the words are atomic, and the mapping lives until this is dropped.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// The part of one process.
#[derive(Debug)]
struct Part {
    shared: Arc<Shared>,
    process: usize,
}

/// The word of all workers.
#[derive(Debug)]
struct Head(Arc<Shared>);

impl Shared {
    pub(in crate::nginx) fn new(imports: usize) -> io::Result<Arc<Self>> {
        let stride = imports * WORDS;
        // SAFETY: a new mapping, at an address that the system chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of_words(stride),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Arc::new(Self { start, stride }))
    }

    /// The words of the worker of that number (`ngx_worker`).
    pub(in crate::nginx) fn of_worker(self: &Arc<Self>, worker: usize) -> Option<Box<dyn Memory>> {
        (worker < WORKERS).then(|| self.part(worker))
    }

    /// The words of the process that checks the applications.
    pub(in crate::nginx) fn of_check(self: &Arc<Self>) -> Box<dyn Memory> {
        self.part(WORKERS)
    }

    fn part(self: &Arc<Self>, process: usize) -> Box<dyn Memory> {
        Box::new(Part { shared: Arc::clone(self), process })
    }

    /// The baton's word.
    pub(in crate::nginx) fn baton(self: &Arc<Self>) -> Box<dyn Word> {
        Box::new(Head(Arc::clone(self)))
    }
}

impl Memory for Part {
    fn words(&self) -> &[AtomicU32] {
        let Shared { start, stride } = *self.shared;
        let at = HEAD + self.process * stride;
        // SAFETY: the mapping has room for PROCESSES, of which this is one, and lives as long as `shared`. It begins
        // with zeros, which are valid words.
        unsafe { std::slice::from_raw_parts(start.as_ptr().add(at), stride) }
    }
}

impl Head {
    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins on a page, is longer than this word, lives as long as the Arc, and begins with
        // zeros. Nobody else uses these bytes as something else.
        unsafe { &*self.0.start.as_ptr().cast::<AtomicU64>() }
    }
}

impl Word for Head {
    fn load(&self) -> u64 {
        self.word().load(Ordering::SeqCst)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.word().compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: `new` has mapped it, and each part of it holds an Arc of this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size_of_words(self.stride)) };
    }
}

fn size_of_words(stride: usize) -> usize {
    (HEAD + PROCESSES * stride) * size_of::<AtomicU32>()
}
