//! The response's pipe, from one Python thread to the event loop.
//!
//! A block is in one of three places: it waits here (`queue`), the event loop has handed it to nginx
//! (`in flight`), or the client has it (`drained`). `memory` counts the first two, for blocks that lie
//! in memory; `file` counts them for those in the temporary file. The thread alone adds to both and
//! alone writes the file; the event loop alone takes off.
//!
//! With buffering on, memory up to its limit comes first. Then it matters why memory is full. If the
//! event loop has not taken it yet, the thread waits for that, which is short; if the client takes no
//! more (`stalled`), the block goes to the file. While the file holds anything, everything goes there, because
//! the blocks must stay in order. With buffering off, or beyond the file's limit, the thread waits for the
//! client.
//!
//! Small blocks for the file are gathered first, up to [`JOINED`](queue::JOINED) bytes beyond the limit of memory.
//! They are the last of the queue, so that the event loop may take them before they are written; otherwise the
//! next block that has no room is written together with them. Without that each would be a system call without the
//! GIL, and the threads of the pool would take the processors from the event loop.
//!
//! A block larger than the limit of memory is taken as it is if there is any room, and if the worker has not too
//! many of these ([`Loans`]).
//!
//! A place in a file is written once: sendfile(2) sends from the file's pages, and may still read them after
//! the kernel has said that the bytes are sent. When the client has all of a file, the next block begins a
//! new one. At most [`FILES`](state::FILES) of them are open at once; beyond that the thread waits.
//!
//! A file of the application's own (`wsgi.file_wrapper`) takes neither memory nor room on the disk, so it
//! waits for nothing.

pub(crate) mod hints;
pub(crate) mod parts;
mod queue;
mod state;

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

use self::hints::TooManyHints;
use self::parts::{Batch, Block, End, FilePart};
use self::state::{State, Way};
use super::loan::Loans;
use super::spill;
use crate::bridge::config::Buffering;
use crate::bridge::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;

/// The event loop takes no more of this response: the client is gone, or it has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Why something that was written inline was not taken.
#[derive(Debug)]
pub(crate) enum Overflow {
    Closed,
    /// There is no temporary file for it (`wsgi_buffering off`), or that is full.
    NoRoom,
    /// The temporary file cannot be written.
    File(io::Error),
}

/// What did not fit; for [`Output::push_waiting`], inline for [`Output::try_push_rest`], for a loop's task for
/// [`Output::poll_push`].
#[derive(Debug)]
pub(crate) struct Rest {
    block: Bytes,
    end: Option<End>,
    /// It is what is left of a block larger than the limit of memory.
    large: bool,
}

/// What is added by [`Output::put`].
pub(crate) struct Put<'s>(&'s mut State);

impl Put<'_> {
    pub(crate) fn hints(&mut self, fields: Vec<Field>) -> Result<(), TooManyHints> {
        let size = hints::size(&fields);
        self.0.hints.push(fields, size)
    }

    /// `trailers`: some were set before it.
    pub(crate) fn head(&mut self, head: ResponseHead, trailers: bool) {
        self.0.set_head(Some(head));
        self.0.expects_trailers = trailers;
    }

    pub(crate) fn block(&mut self, block: Block) {
        match block {
            Block::Memory(bytes) => self.0.add_memory(bytes),
            Block::Tray(tray) => {
                self.0.memory += tray.len();
                self.0.queue.push_tray(tray);
            }
            Block::File(part) => self.0.queue.push_file(part),
            Block::Spilled(part) => self.0.queue.push_spilled(part),
        }
    }

    pub(crate) fn end(&mut self, end: End, trailers: Vec<Field>) {
        self.0.trailers = trailers;
        self.0.end.get_or_insert(end);
    }
}

/// How far [`Output::poll_memory`] has come.
enum Step {
    Done,
    Waits(Rest),
    /// So many bytes go to the file.
    File(Rest, usize),
}

/// What became of a [`Rest`] that must not wait.
#[derive(Debug)]
pub(crate) struct Polled {
    /// What has no room for now.
    pub(crate) rest: Option<Rest>,
    /// The temporary file cannot be written. This is for the log: the response continues without one.
    pub(crate) failure: Option<io::Error>,
}

impl From<Option<Rest>> for Polled {
    fn from(rest: Option<Rest>) -> Self {
        Self { rest, failure: None }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    state: Mutex<State>,
    loans: Arc<Loans>,
    /// For the thread: there is room, the client stalled, or the pipe is closed.
    changed: Condvar,
}

impl Output {
    pub(crate) fn new(buffering: Buffering, loans: Arc<Loans>) -> Self {
        Self { state: Mutex::new(State::new(buffering)), loans, changed: Condvar::new() }
    }

    /// Thread: overrides `wsgi_buffering` for this response (`X-Accel-Buffering`).
    pub(crate) fn set_buffering(&self, enabled: bool) {
        lock(&self.state).buffering.enabled = enabled;
    }

    /// Thread: adds a 103 (Early Hints). One that comes after the head is dropped.
    pub(crate) fn push_hints(
        &self,
        fields: Vec<Field>,
        announce: impl Fn(),
    ) -> Result<(), TooManyHints> {
        let size = hints::size(&fields);
        let news = {
            let mut state = lock(&self.state);
            if state.closed || state.started {
                return Ok(());
            }
            state.hints.push(fields, size)?;
            state.announces()
        };
        if news {
            announce();
        }
        Ok(())
    }

    /// Thread: sets what follows the body. It goes with the next part of the response, the end at last.
    pub(crate) fn set_trailers(&self, trailers: Vec<Field>) {
        lock(&self.state).trailers = trailers;
    }

    /// Thread: adds a part of the response, without waiting. `announce` is called if the event loop
    /// must be told. What has no room comes back.
    pub(crate) fn try_push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        announce: impl Fn(),
    ) -> Result<Option<Rest>, Closed> {
        let (rest, news) = {
            let mut state = self.open()?;
            let mut news = head.is_some();
            state.set_head(head);
            if state.has_room(block.len()) {
                news |= !block.is_empty() || end.is_some();
                state.add_memory(block);
                state.end = end.or(state.end);
                (None, news && state.announces())
            } else if let Some(loan) = state.borrow(&block, &self.loans) {
                state.memory += block.len();
                state.queue.push_whole(loan.of(block));
                state.end = end.or(state.end);
                (None, state.announces())
            } else {
                (Some(Rest { block, end, large: false }), news && state.announces())
            }
        };
        if news {
            announce();
        }
        Ok(rest)
    }

    /// Thread: keeps what [`try_push`](Self::try_push) gave back in memory, without waiting, if it is small and
    /// would go to the file. What is not taken comes back.
    pub(crate) fn try_gather(
        &self,
        rest: Rest,
        announce: impl Fn(),
    ) -> Result<Option<Rest>, Closed> {
        let mut state = self.open()?;
        if !state.gathers(rest.block.len()) {
            return Ok(Some(rest));
        }
        let Rest { block, end, .. } = rest;
        state.memory += block.len();
        state.queue.join(&block);
        state.end = end.or(state.end);
        let news = state.announces();
        drop(state);
        if news {
            announce();
        }
        Ok(None)
    }

    /// Thread: adds a part of a file of the application's. Never waits.
    pub(crate) fn push_file(
        &self,
        head: Option<ResponseHead>,
        part: FilePart,
        end: Option<End>,
        announce: impl Fn(),
    ) -> Result<(), Closed> {
        self.add(announce, |state| {
            state.set_head(head);
            state.queue.push_file(part);
            state.end = end.or(state.end);
        })
    }

    /// Event loop: adds what has come from the application's process, whatever room there is. That process keeps to what
    /// this one has told it of the client.
    pub(crate) fn put(&self, add: impl FnOnce(&mut Put<'_>), announce: impl Fn()) {
        let _closed = self.add(announce, |state| add(&mut Put(state)));
    }

    /// Thread, detached: adds what [`try_push`](Self::try_push) gave back, to memory, to the file, or after waiting
    /// for room. An error of the file is returned for the log; the response continued without one.
    pub(crate) fn push_waiting(
        &self,
        rest: Rest,
        announce: impl Fn(),
    ) -> Result<Option<io::Error>, Closed> {
        let Rest { mut block, end, .. } = rest;
        let mut failure = None;
        let large = lock(&self.state).is_large(&block);
        while !block.is_empty() {
            let way = self.open()?.way(block.len());
            match way {
                // Room only grows meanwhile: this thread alone takes it.
                Way::Memory(size) => {
                    let piece = piece(&mut block, size, large);
                    self.add(&announce, |state| state.add_memory(piece))?;
                }
                Way::File(size) => {
                    let piece = block.slice(..size);
                    match self.spill(&piece, &announce) {
                        Ok(()) => drop(block.split_to(size)),
                        Err(error) => {
                            lock(&self.state).buffering.file = 0;
                            failure = Some(error);
                        }
                    }
                }
                Way::Wait => self.wait_for_change(block.len())?,
            }
        }
        if end.is_some() {
            self.add(&announce, |state| state.end = end)?;
        }
        Ok(failure)
    }

    /// Loop's thread: adds what [`try_push`](Self::try_push) gave back to memory, and by `detached` to the file, without
    /// waiting for the client. What has no room comes back. The event loop then calls `wake` once, as soon as there is
    /// room for some of it, or the pipe is closed.
    pub(crate) fn poll_push(
        &self,
        rest: Rest,
        announce: impl Fn() + Sync,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        match self.poll_memory(rest, &announce)? {
            Step::Done => Ok(Polled::from(None)),
            Step::Waits(rest) => Ok(Polled::from(Some(rest))),
            Step::File(rest, size) => {
                let (mut rest, mut result) = (Some(rest), Err(Closed));
                detached(&mut || {
                    if let Some(rest) = rest.take() {
                        result = self.poll_file(rest, size, &announce);
                    }
                });
                result
            }
        }
    }

    /// Adds what there is room for in memory.
    fn poll_memory(&self, rest: Rest, announce: impl Fn()) -> Result<Step, Closed> {
        let Rest { mut block, end, large } = rest;
        let mut state = self.open()?;
        let large = large || state.is_large(&block);
        let mut news = false;
        let step = loop {
            if block.is_empty() {
                news |= end.is_some();
                state.end = end.or(state.end);
                break Step::Done;
            }
            match state.way(block.len()) {
                Way::Memory(size) => {
                    state.add_memory(piece(&mut block, size, large));
                    news = true;
                }
                Way::File(size) => break Step::File(Rest { block, end, large }, size),
                Way::Wait => {
                    state.armed = Some(block.len());
                    break Step::Waits(Rest { block, end, large });
                }
            }
        };
        let news = news && state.announces();
        drop(state);
        if news {
            announce();
        }
        Ok(step)
    }

    /// Adds what has no room in memory to the file, beginning with `size` bytes.
    fn poll_file(
        &self,
        mut rest: Rest,
        mut size: usize,
        announce: impl Fn(),
    ) -> Result<Polled, Closed> {
        let mut failure = None;
        loop {
            match self.spill(&rest.block.slice(..size), &announce) {
                Ok(()) => drop(rest.block.split_to(size)),
                Err(error) => {
                    lock(&self.state).buffering.file = 0;
                    failure = Some(error);
                }
            }
            match self.poll_memory(rest, &announce)? {
                Step::Done => return Ok(Polled { rest: None, failure }),
                Step::Waits(rest) => return Ok(Polled { rest: Some(rest), failure }),
                Step::File(left, next) => (rest, size) = (left, next),
            }
        }
    }

    /// The event loop, inline: adds as much of what [`try_push`](Self::try_push) gave back as there is room for in
    /// memory; the rest comes back. Nothing is copied: the application's block lives on in the rest.
    pub(crate) fn try_push_rest(&self, rest: Rest) -> Result<Option<Rest>, Closed> {
        let Rest { mut block, end, large } = rest;
        let mut state = self.open()?;
        while !block.is_empty() {
            match state.way(block.len()) {
                Way::Memory(size) => state.add_memory(block.split_to(size)),
                Way::File(_) | Way::Wait => return Ok(Some(Rest { block, end, large })),
            }
        }
        state.end = end.or(state.end);
        Ok(None)
    }

    /// The event loop, inline: adds what [`try_push`](Self::try_push) gave back, to memory and to the file.
    pub(crate) fn push_spilling(&self, rest: Rest) -> Result<(), Overflow> {
        // The client takes nothing while the event loop is here.
        lock(&self.state).stalled = true;
        let Rest { mut block, end, .. } = rest;
        while !block.is_empty() {
            let way = self.open().map_err(|Closed| Overflow::Closed)?.way(block.len());
            match way {
                Way::Memory(size) => lock(&self.state).add_memory(block.split_to(size)),
                Way::File(size) => {
                    self.spill(&block.slice(..size), || ()).map_err(Overflow::File)?;
                    drop(block.split_to(size));
                }
                Way::Wait => return Err(Overflow::NoRoom),
            }
        }
        if end.is_some() {
            lock(&self.state).end = end;
        }
        Ok(())
    }

    /// The event loop, inline: would [`try_push_rest`](Self::try_push_rest) take something of whatever comes?
    pub(crate) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        let limit = state.buffering.memory;
        let least = if state.buffering.enabled { limit / 4 } else { 1 };
        state.closed || (state.file_pending == 0 && state.memory + least <= limit)
    }

    /// Event loop: moves what is here into `batch`.
    pub(crate) fn take(&self, batch: &mut Batch) {
        let mut state = lock(&self.state);
        state.announced = false;
        state.held_back = None;
        state.hints.take(&mut batch.hints);
        if let Some(head) = state.head.take() {
            batch.head = Some(head);
            batch.expects_trailers = state.expects_trailers;
        }
        state.queue.take(&mut batch.blocks);
        if let Some(end) = state.end.take() {
            batch.end = Some(end);
            batch.trailers = std::mem::take(&mut state.trailers);
        }
    }

    /// Event loop: the client takes nothing now, so nginx's filters get nothing more: each call of them takes
    /// memory that nginx frees only with the request. What is here stays until the next [`take`](Self::take), and
    /// nothing is announced before there are `least` bytes or the response ends. False if that is so already.
    pub(crate) fn hold_back(&self, least: u64, wake: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        if state.end.is_some() || state.queue.bytes() >= least {
            return false;
        }
        state.held_back = Some(least);
        state.stalled = true;
        state.queue.empty_trays();
        self.wake(state, wake);
        true
    }

    /// Event loop: nginx has sent `memory` and `file` bytes; the client can take no more now
    /// (`stalled`). True if nothing will be added to the last temporary file. `wake` wakes a loop's task that waits
    /// for room and finds some now ([`poll_push`](Self::poll_push)).
    pub(crate) fn drained(
        &self,
        memory: usize,
        file: u64,
        stalled: bool,
        wake: impl FnOnce(),
    ) -> bool {
        let mut state = lock(&self.state);
        state.memory = state.memory.saturating_sub(memory);
        state.file_pending = state.file_pending.saturating_sub(file);
        state.stalled = stalled;
        let all = state.file_pending == 0 && !state.spilling;
        self.wake(state, wake);
        all
    }

    /// Event loop: has closed so many temporary files.
    pub(crate) fn files_closed(&self, count: usize, wake: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.files = state.files.saturating_sub(count);
        self.wake(state, wake);
    }

    /// Event loop: takes no more. The thread's next push says [`Closed`]. True if blocks were dropped
    /// that are shared with their owner.
    pub(crate) fn close(&self, wake: impl FnOnce()) -> bool {
        let (head, queue) = {
            let mut state = lock(&self.state);
            state.closed = true;
            let dropped = (state.head.take(), std::mem::take(&mut state.queue));
            self.wake(state, wake);
            dropped
        };
        // Outside the lock: a block's owner may be foreign.
        let shared = queue.is_shared();
        drop((head, queue));
        shared
    }

    /// Thread: is it [`close`](Self::close)d?
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Loop's thread: the same. If it is not, the event loop calls `wake` once, as soon as it is.
    pub(crate) fn poll_closed(&self) -> bool {
        let mut state = lock(&self.state);
        state.awaits_close = !state.closed;
        state.closed
    }

    /// Wakes who waits. `wake` is for a loop's task, and called outside the lock.
    fn wake(&self, mut state: MutexGuard<'_, State>, wake: impl FnOnce()) {
        if state.waiting {
            self.changed.notify_one();
        }
        if state.wakes() {
            drop(state);
            wake();
        }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Closed> {
        let state = lock(&self.state);
        if state.closed { Err(Closed) } else { Ok(state) }
    }

    /// Adds something by `act`, and tells the event loop if it must know.
    fn add(&self, announce: impl Fn(), act: impl FnOnce(&mut State)) -> Result<(), Closed> {
        let news = {
            let mut state = self.open()?;
            act(&mut state);
            state.announces()
        };
        if news {
            announce();
        }
        Ok(())
    }

    fn wait_for_change(&self, len: usize) -> Result<(), Closed> {
        let mut state = self.open()?;
        while matches!(state.way(len), Way::Wait) {
            state.waiting = true;
            state = wait(&self.changed, state);
            state.waiting = false;
            if state.closed {
                return Err(Closed);
            }
        }
        Ok(())
    }

    /// Writes what has been gathered and `piece` to the file, outside the lock: only this thread opens and writes
    /// files, and the event loop knows nothing of the place before it is announced.
    fn spill(&self, piece: &Bytes, announce: impl Fn()) -> io::Result<()> {
        let (gathered, file, start, directory, unneeded) = {
            let mut state = lock(&self.state);
            let gathered = state.queue.take_joined();
            let mut unneeded = None;
            if state.file_pending == 0 {
                unneeded = state.file.take();
                state.file_end = 0;
            }
            state.spilling = true;
            let directory = state.buffering.directory.clone();
            (gathered, state.file.clone(), state.file_end, directory, unneeded)
        };
        // Outside the lock: the last close of a large file without a name takes long.
        drop(unneeded);
        let written = write(file, &gathered, piece, start, &directory);
        let news = {
            let mut state = lock(&self.state);
            state.spilling = false;
            match written {
                Ok(file) => {
                    state.memory = state.memory.saturating_sub(gathered.len());
                    let len = (gathered.len() + piece.len()) as u64;
                    state.spilled(file, start, start + len)
                }
                Err(error) => {
                    state.queue.join(&gathered);
                    return Err(error);
                }
            }
        };
        if news {
            announce();
        }
        Ok(())
    }
}

/// The next `size` bytes of a block. A piece of a `large` one is copied: a slice would keep the whole block alive for as
/// long as the client needs for the piece.
fn piece(block: &mut Bytes, size: usize, large: bool) -> Bytes {
    let piece = block.split_to(size);
    if large { Bytes::copy_from_slice(&piece) } else { piece }
}

/// Writes `gathered` and `piece` at `start` of the file, or of a new one.
fn write(
    file: Option<Arc<File>>,
    gathered: &[u8],
    piece: &[u8],
    start: u64,
    directory: &Path,
) -> io::Result<Arc<File>> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(spill::open(directory)?),
    };
    spill::write(&file, gathered, start)?;
    spill::write(&file, piece, start + gathered.len() as u64)?;
    Ok(file)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
