//! What the response's pipe holds, and where there is room for the next bytes.

use std::fs::File;

use bytes::Bytes;

use super::hints::Hints;
use super::parts::{End, FilePart};
use super::queue::{JOINED, Queue};
use crate::bridge::config::Buffering;
use crate::bridge::pipe::loan::{Loan, Loans};
use crate::bridge::sync::Arc;
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;

#[derive(Debug)]
pub(super) struct State {
    pub(super) buffering: Buffering,
    pub(super) hints: Hints,
    pub(super) head: Option<ResponseHead>,
    /// There has been a head.
    pub(super) started: bool,
    pub(super) queue: Queue,
    pub(super) expects_trailers: bool,
    pub(super) trailers: Vec<Field>,
    pub(super) end: Option<End>,
    pub(super) memory: usize,
    pub(super) file: Option<Arc<File>>,
    /// Bytes of the file that the client does not have yet.
    pub(super) file_pending: u64,
    pub(super) file_end: u64,
    /// Temporary files that the event loop has not closed.
    pub(super) files: usize,
    /// The thread is writing to the file.
    pub(super) spilling: bool,
    /// The event loop has been told and has not taken yet.
    pub(super) announced: bool,
    /// The event loop leaves what is here until the client takes more, or until there is so much.
    pub(super) held_back: Option<u64>,
    /// The client takes no more: what has no room in memory goes to the file.
    pub(super) stalled: bool,
    pub(super) closed: bool,
    /// The thread waits for room.
    pub(super) waiting: bool,
    /// A loop's task waits for room, for a block of so many bytes.
    pub(super) armed: Option<usize>,
    /// A loop's task waits until nothing more is taken.
    pub(super) awaits_close: bool,
}

/// All large blocks that wait in a worker are together no longer than so many times `wsgi_buffer_size`: no
/// longer than what as many connections as nginx has by default (`worker_connections`) may have waiting in
/// their pipes in any case.
const LARGE_BLOCKS: u64 = 512;

/// Temporary files of one response that are open at once. Each is closed when nothing can be sent from it any
/// more, which is later than when the client has it (`nginx/request/files.rs`).
pub(super) const FILES: usize = 8;

/// Bytes written to a file at once: between two pieces an abort is noticed.
pub(super) const PIECE: usize = 1 << 20;

/// Where the next bytes of a block go.
pub(super) enum Way {
    Memory(usize),
    File(usize),
    Wait,
}

impl State {
    pub(super) fn new(buffering: Buffering) -> Self {
        Self {
            buffering,
            hints: Hints::default(),
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
            armed: None,
            awaits_close: false,
        }
    }

    pub(super) fn has_room(&self, len: usize) -> bool {
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

    pub(super) fn way(&self, len: usize) -> Way {
        if self.has_room(len) {
            return Way::Memory(len);
        }
        if !self.buffering.enabled {
            return Way::Wait;
        }
        if self.file_pending == 0 {
            let room = self.buffering.memory.saturating_sub(self.memory);
            // Not in small pieces: each is a message.
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

    /// Bytes for which there is room in the file, besides those that have been gathered for it.
    fn file_room(&self) -> u64 {
        let used = if self.file_pending == 0 { 0 } else { self.file_end };
        self.buffering.file.saturating_sub(used + self.queue.joined() as u64)
    }

    /// May a block that has no room in memory wait there, as one of several that go to the file together?
    pub(super) fn gathers(&self, len: usize) -> bool {
        self.queue.joined() + len < JOINED
            && self.memory + len <= self.buffering.memory + JOINED
            && self.file_room() >= len as u64
            && matches!(self.way(len), Way::File(_))
    }

    /// Is the block, which has no room, sent in pieces?
    pub(super) fn is_large(&self, block: &Bytes) -> bool {
        self.buffering.enabled && block.len() > self.buffering.memory
    }

    /// May a block for which there is no room be taken as it is?
    pub(super) fn borrow(&self, block: &Bytes, loans: &Arc<Loans>) -> Option<Loan> {
        let Buffering { enabled, memory, .. } = self.buffering;
        let takes =
            enabled && block.len() > memory && self.memory < memory && self.file_pending == 0;
        let limit = (memory as u64).saturating_mul(LARGE_BLOCKS);
        takes.then(|| loans.take(block, limit)).flatten()
    }

    pub(super) fn set_head(&mut self, head: Option<ResponseHead>) {
        if head.is_some() {
            self.head = head;
            self.started = true;
            self.expects_trailers = !self.trailers.is_empty();
        }
    }

    pub(super) fn add_memory(&mut self, block: Bytes) {
        self.memory += block.len();
        self.queue.push(block);
    }

    /// These bytes of the file have been written. Must the event loop be told?
    pub(super) fn spilled(&mut self, file: Arc<File>, start: u64, end: u64) -> bool {
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

    /// Must a loop's task be woken? Once, and if it finds what it waits for.
    pub(super) fn wakes(&mut self) -> bool {
        let finds = |len| self.closed || !matches!(self.way(len), Way::Wait);
        let has_room = self.armed.is_some_and(finds);
        let ends = self.closed && self.awaits_close;
        if has_room {
            self.armed = None;
        }
        self.awaits_close &= !ends;
        has_room || ends
    }

    /// Must the event loop be told? Once per batch, and not of what it has held back.
    pub(super) fn announces(&mut self) -> bool {
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
