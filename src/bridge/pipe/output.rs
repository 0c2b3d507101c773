//! The response's pipe, from one Python thread to the event loop.
//!
//! A block is on one of three ways: it waits here (`queue`), the event loop has handed it to nginx
//! (`in flight`), or the client has it (`drained`). `memory` counts the first two, for blocks that lie
//! in memory; `file` counts them for those in the temporary file. The thread alone adds to both and
//! alone writes the file; the event loop alone takes off.
//!
//! With buffering on, memory up to its limit comes first. Then it matters why memory is full: when the
//! event loop has not come round yet, the thread waits for it, which is short; when the client takes no
//! more (`stalled`), the block goes to the file. While the file holds anything, all goes there: the
//! order of the blocks is the order of the response. With buffering off, or beyond the file's limit,
//! the thread waits for the client.
//!
//! Small blocks for the file are gathered first, up to [`JOINED`] bytes beyond the limit of memory. They are the last
//! of the queue, so that the event loop may have them before they are written; otherwise the next block that has
//! no room takes them along into the file. Without that each would be a system call without the GIL, and the
//! threads of the pool would take the processors from the event loop.
//!
//! A block larger than the limit of memory is taken as it is where there is room at all, as long as the worker
//! has not too many of these ([`Loans`]).
//!
//! A place in a file is written once: sendfile(2) sends from the file's pages, so what the client has
//! by the kernel's word may still be read from them. When the client has all of a file, the next block
//! begins a new one. At most [`FILES`] of them are open at once; beyond that the thread waits.
//!
//! A file of the application's own (`wsgi.file_wrapper`) takes neither memory nor room on the disk, so it
//! waits for nothing.

mod queue;

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

use self::queue::{JOINED, Queue};
use super::loan::{Loan, Loans};
use super::spill;
use crate::bridge::config::Buffering;
use crate::bridge::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};
use crate::http::header::{Field, field_size};
use crate::http::response_head::ResponseHead;

/// From this size on a block is shared with its owner; smaller ones are copied. Who drops a shared one
/// asks for [`Worker::collect`](crate::bridge::worker::Worker::collect).
pub(crate) const SHARED_FROM: usize = 16 * 1024;

/// A part of a response's body.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    Memory(Bytes),
    /// In the response's temporary file.
    Spilled(FilePart),
    /// In a file that the application has given.
    File(FilePart),
}

/// Bytes `start..end` of a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl FilePart {
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl Block {
    /// Does dropping it give back what somebody else owns?
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Block::Memory(bytes) if bytes.len() >= SHARED_FROM)
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// The client must see that it is not complete; a 500 where the head has not gone.
    Failed,
    /// No thread has taken it: 503.
    Refused,
}

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

/// The early hints of a request are longer than [`MAX_HINTS`] in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the early hints of this request are longer than {MAX_HINTS} bytes in all")]
pub(crate) struct TooManyHints;

/// Bytes of all early hints of a request ([`field_size`]). Until a client takes them they wait in memory, as no block does.
pub(crate) const MAX_HINTS: usize = 1 << 20;

/// What did not fit; for [`Output::push_waiting`], or inline for [`Output::try_push_rest`].
#[derive(Debug)]
pub(crate) struct Rest {
    block: Bytes,
    end: Option<End>,
}

/// What the event loop takes at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) head: Option<ResponseHead>,
    pub(crate) blocks: Vec<Block>,
    /// What is to go out before the head, each as a 103 (Early Hints).
    pub(crate) hints: Vec<Vec<Field>>,
    /// With the head: trailers were set before it.
    pub(crate) expects_trailers: bool,
    /// With the end: what follows the body.
    pub(crate) trailers: Vec<Field>,
    pub(crate) end: Option<End>,
}

impl Batch {
    /// Makes it empty, for the next one. True where that has given back what somebody else owns.
    pub(crate) fn clear(&mut self) -> bool {
        let shared = self.blocks.iter().any(Block::is_shared);
        self.head = None;
        self.blocks.clear();
        self.hints.clear();
        self.expects_trailers = false;
        self.trailers.clear();
        self.end = None;
        shared
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    state: Mutex<State>,
    loans: Arc<Loans>,
    /// For the thread: there is room, the client stalled, or the pipe is closed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    buffering: Buffering,
    hints: Vec<Vec<Field>>,
    /// Bytes of all hints, of those that the event loop has taken as well.
    hints_size: usize,
    head: Option<ResponseHead>,
    /// There has been a head.
    started: bool,
    queue: Queue,
    expects_trailers: bool,
    trailers: Vec<Field>,
    end: Option<End>,
    memory: usize,
    file: Option<Arc<File>>,
    /// Bytes of the file that the client does not have yet.
    file_pending: u64,
    file_end: u64,
    /// Temporary files that the event loop has not closed.
    files: usize,
    /// The thread is writing to the file.
    spilling: bool,
    /// The event loop has been told and has not taken yet.
    announced: bool,
    /// The event loop leaves what is here until the client takes more, or until there is so much.
    held_back: Option<u64>,
    /// The client takes no more: what has no room in memory goes to the file.
    stalled: bool,
    closed: bool,
    waiting: bool,
}

impl Output {
    pub(crate) fn new(buffering: Buffering, loans: Arc<Loans>) -> Self {
        let state = State {
            buffering,
            hints: Vec::new(),
            hints_size: 0,
            head: None,
            started: false,
            queue: Queue::default(),
            expects_trailers: false,
            trailers: Vec::new(),
            end: None,
            memory: 0,
            file: None,
            file_pending: 0,
            file_end: 0,
            files: 0,
            spilling: false,
            announced: false,
            held_back: None,
            stalled: false,
            closed: false,
            waiting: false,
        };
        Self { state: Mutex::new(state), loans, changed: Condvar::new() }
    }

    /// Thread: overrides `wsgi_buffering` for this response (`X-Accel-Buffering`).
    pub(crate) fn set_buffering(&self, enabled: bool) {
        lock(&self.state).buffering.enabled = enabled;
    }

    /// Thread: adds a 103 (Early Hints). One that comes after the head is nobody's any more.
    pub(crate) fn push_hints(
        &self,
        fields: Vec<Field>,
        announce: impl Fn(),
    ) -> Result<(), TooManyHints> {
        let size: usize = fields.iter().map(|(name, value)| field_size(name, value)).sum();
        let news = {
            let mut state = lock(&self.state);
            if state.closed || state.started {
                return Ok(());
            }
            if size > MAX_HINTS - state.hints_size {
                return Err(TooManyHints);
            }
            state.hints_size += size;
            state.hints.push(fields);
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

    /// Thread: adds a part of the response, without waiting. `announce` is called where the event loop
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
                (Some(Rest { block, end }), news && state.announces())
            }
        };
        if news {
            announce();
        }
        Ok(rest)
    }

    /// Thread: keeps what [`try_push`](Self::try_push) gave back in memory, without waiting, if it is small and would go
    /// to the file. What is not taken comes back.
    pub(crate) fn try_gather(
        &self,
        rest: Rest,
        announce: impl Fn(),
    ) -> Result<Option<Rest>, Closed> {
        let Rest { block, end } = rest;
        let mut state = self.open()?;
        if !state.gathers(block.len()) {
            return Ok(Some(Rest { block, end }));
        }
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
        let news = {
            let mut state = self.open()?;
            state.set_head(head);
            state.queue.push_file(part);
            state.end = end.or(state.end);
            state.announces()
        };
        if news {
            announce();
        }
        Ok(())
    }

    /// Thread, detached: adds what [`try_push`](Self::try_push) gave back, by way of memory, file, or waiting.
    /// An error of the file is returned for the log; the response went on without one.
    pub(crate) fn push_waiting(
        &self,
        rest: Rest,
        announce: impl Fn(),
    ) -> Result<Option<io::Error>, Closed> {
        let Rest { mut block, end } = rest;
        let mut failure = None;
        let (limit, buffering) = {
            let state = lock(&self.state);
            (state.buffering.memory, state.buffering.enabled)
        };
        // A piece of a large block is copied: a slice would keep the whole block alive for as long as
        // the client needs for the piece.
        let copy = buffering && block.len() > limit;
        while !block.is_empty() {
            let way = self.open()?.way(block.len());
            match way {
                // Room only grows meanwhile: this thread alone takes it.
                Way::Memory(size) => {
                    let piece = block.split_to(size);
                    let piece = if copy { Bytes::copy_from_slice(&piece) } else { piece };
                    let mut state = self.open()?;
                    state.add_memory(piece);
                    let news = state.announces();
                    drop(state);
                    if news {
                        announce();
                    }
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
            let mut state = self.open()?;
            state.end = end;
            let news = state.announces();
            drop(state);
            if news {
                announce();
            }
        }
        Ok(failure)
    }

    /// The event loop, inline: adds as much of what [`try_push`](Self::try_push) gave back as there is room for in
    /// memory; the rest comes back. Nothing is copied: the application's block lives on in the rest.
    pub(crate) fn try_push_rest(&self, rest: Rest) -> Result<Option<Rest>, Closed> {
        let Rest { mut block, end } = rest;
        let mut state = self.open()?;
        while !block.is_empty() {
            match state.way(block.len()) {
                Way::Memory(size) => state.add_memory(block.split_to(size)),
                Way::File(_) | Way::Wait => return Ok(Some(Rest { block, end })),
            }
        }
        state.end = end.or(state.end);
        Ok(None)
    }

    /// The event loop, inline: adds what [`try_push`](Self::try_push) gave back, by way of memory and file.
    pub(crate) fn push_spilling(&self, rest: Rest) -> Result<(), Overflow> {
        // The client takes nothing while the event loop is here.
        lock(&self.state).stalled = true;
        let Rest { mut block, end } = rest;
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
        batch.hints.append(&mut state.hints);
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

    /// Event loop: the client takes nothing now, so nginx's filters get nothing more, each call of which costs
    /// memory of the request's that nginx frees at its end alone. Leaves what is here until the next
    /// [`take`](Self::take), and nobody announces anything before there are `least` bytes or the response
    /// ends. False if that is so already.
    pub(crate) fn hold_back(&self, least: u64) -> bool {
        let mut state = lock(&self.state);
        if state.end.is_some() || state.queue.bytes() >= least {
            return false;
        }
        state.held_back = Some(least);
        state.stalled = true;
        if state.waiting {
            self.changed.notify_one();
        }
        true
    }

    /// Event loop: `memory` and `file` bytes are not nginx's any more; the client can take no more now
    /// (`stalled`). True if nothing will be added to the last temporary file.
    pub(crate) fn drained(&self, memory: usize, file: u64, stalled: bool) -> bool {
        let mut state = lock(&self.state);
        state.memory = state.memory.saturating_sub(memory);
        state.file_pending = state.file_pending.saturating_sub(file);
        state.stalled = stalled;
        if state.waiting {
            self.changed.notify_one();
        }
        state.file_pending == 0 && !state.spilling
    }

    /// Event loop: has closed so many temporary files.
    pub(crate) fn files_closed(&self, count: usize) {
        let mut state = lock(&self.state);
        state.files = state.files.saturating_sub(count);
        if state.waiting {
            self.changed.notify_one();
        }
    }

    /// Event loop: takes no more. The thread's next push says [`Closed`]. True where blocks were dropped
    /// that are shared with their owner.
    pub(crate) fn close(&self) -> bool {
        let (head, queue) = {
            let mut state = lock(&self.state);
            state.closed = true;
            if state.waiting {
                self.changed.notify_one();
            }
            (state.head.take(), std::mem::take(&mut state.queue))
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

    fn open(&self) -> Result<MutexGuard<'_, State>, Closed> {
        let state = lock(&self.state);
        if state.closed { Err(Closed) } else { Ok(state) }
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
        // Outside the lock: the last close of a large file without a name takes its time.
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

/// All large blocks that wait in a worker are together no longer than so many times `wsgi_buffer_size`: no
/// longer than what as many connections as nginx has by default (`worker_connections`) may have waiting in
/// their pipes in any case.
const LARGE_BLOCKS: u64 = 512;

/// Temporary files of one response that are open at once. Each is closed when nothing can be sent from it any
/// more, which takes longer than for the client to have it (`nginx/files.rs`).
const FILES: usize = 8;

/// Bytes written to a file at once: between two pieces an abort is noticed.
const PIECE: usize = 1 << 20;

/// Where the next bytes of a block go.
enum Way {
    Memory(usize),
    File(usize),
    Wait,
}

impl State {
    fn has_room(&self, len: usize) -> bool {
        if len == 0 {
            return true;
        }
        if self.file_pending > 0 {
            return false;
        }
        if self.buffering.enabled {
            self.memory + len <= self.buffering.memory
        } else {
            self.memory < self.buffering.memory
        }
    }

    fn way(&self, len: usize) -> Way {
        if self.has_room(len) {
            return Way::Memory(len);
        }
        if !self.buffering.enabled {
            return Way::Wait;
        }
        if self.file_pending == 0 {
            let room = self.buffering.memory.saturating_sub(self.memory);
            // Not in crumbs: each piece is a message.
            if room >= len.min(self.buffering.memory / 4).max(1) {
                return Way::Memory(len.min(room));
            }
            if !self.stalled || self.files == FILES {
                return Way::Wait;
            }
        }
        match self.file_room() {
            0 => Way::Wait,
            room => Way::File(len.min(PIECE).min(usize::try_from(room).unwrap_or(PIECE))),
        }
    }

    /// Bytes for which there is room in the file, beside those that go there first.
    fn file_room(&self) -> u64 {
        let used = if self.file_pending == 0 { 0 } else { self.file_end };
        self.buffering.file.saturating_sub(used + self.queue.joined() as u64)
    }

    /// May a block that has no room in memory wait there, as one of several that go to the file together?
    fn gathers(&self, len: usize) -> bool {
        self.queue.joined() + len < JOINED
            && self.memory + len <= self.buffering.memory + JOINED
            && self.file_room() >= len as u64
            && matches!(self.way(len), Way::File(_))
    }

    /// May a block, for which there is no room, be taken as it is?
    fn borrow(&self, block: &Bytes, loans: &Arc<Loans>) -> Option<Loan> {
        let Buffering { enabled, memory, .. } = self.buffering;
        let takes =
            enabled && block.len() > memory && self.memory < memory && self.file_pending == 0;
        let limit = (memory as u64).saturating_mul(LARGE_BLOCKS);
        takes.then(|| loans.take(block, limit)).flatten()
    }

    fn set_head(&mut self, head: Option<ResponseHead>) {
        if head.is_some() {
            self.head = head;
            self.started = true;
            self.expects_trailers = !self.trailers.is_empty();
        }
    }

    fn add_memory(&mut self, block: Bytes) {
        self.memory += block.len();
        self.queue.push(block);
    }

    /// So much of the file has been written; is the event loop to be told?
    fn spilled(&mut self, file: Arc<File>, start: u64, end: u64) -> bool {
        self.file = Some(Arc::clone(&file));
        self.file_end = end;
        if self.closed {
            return false;
        }
        self.files += usize::from(start == 0);
        self.file_pending += end - start;
        self.queue.push_spilled(FilePart { file, start, end });
        self.announces()
    }

    /// Is the event loop to be told? Once per batch, and not of what it has held back.
    fn announces(&mut self) -> bool {
        if let Some(least) = self.held_back {
            let told = self.end.is_some() || self.queue.bytes() >= least;
            if told {
                self.held_back = None;
                self.announced = true;
            }
            return told;
        }
        !std::mem::replace(&mut self.announced, true)
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
