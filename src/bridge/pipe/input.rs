//! The request body's pipe, from the event loop to one Python thread.
//!
//! A buffered body is all here before the thread starts, and stays until the request is over: the thread may read
//! it again ([`Input::seek`]). A streamed one is read once, and bounded: at [`LIMIT`] bytes
//! the event loop stops reading (`idle`), so that the client is slowed down by TCP; when the thread has
//! taken half, it asks for more. A body that nobody reads is never asked for: it begins `idle` if the
//! client waits for `100 Continue`.
//!
//! Whoever reads finds that there is nothing, and begins to wait, under one lock: nothing comes in between. A thread
//! waits on a condition variable (`waiting`). A loop's task must not wait: it leaves word (`armed`), and the event loop,
//! which finds that as it adds something, calls the loop.

use std::collections::VecDeque;
use std::fs::File;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use thiserror::Error;

use super::buffers::{BLOCK, Buffers};
use crate::bridge::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};

/// Bytes of a streamed body that wait for the thread.
pub(crate) const LIMIT: usize = 128 * 1024;

/// A part of the request's body.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Memory(Bytes),
    /// Bytes `start..end` of nginx's temporary file.
    File {
        file: Arc<File>,
        start: u64,
        end: u64,
    },
}

/// Why the rest of a body will never come.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum InputError {
    #[error("the client closed the connection before the request body was complete")]
    ClientGone,
    #[error("the client sent no more of the request body within client_body_timeout")]
    TimedOut,
    #[error("the request body is malformed or larger than client_max_body_size")]
    Refused,
    #[error("the client is gone, or its request has been answered already")]
    Answered,
    #[error("the temporary file of the request body cannot be read")]
    File,
    #[error(
        "the request body was read as it arrived, for another location (its request_buffering is off); \
         no second one can have it"
    )]
    Taken,
}

/// What a read gives.
#[derive(Debug)]
pub(crate) enum Read {
    Data(Bytes),
    End,
    /// There is nothing now, or it has to be read from a file: [`Input::read_waiting`] gives it.
    Wait,
}

#[derive(Debug)]
pub(crate) struct Input {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of a buffered body; None if it is streamed.
    length: Option<u64>,
}

#[derive(Debug)]
struct State {
    /// A buffered body's stay; a streamed one's go as they are read.
    segments: VecDeque<Segment>,
    /// Where a buffered body is read next; None if it is streamed.
    place: Option<Place>,
    held: usize,
    end: Option<Result<(), InputError>>,
    /// The event loop does not read until it is asked.
    idle: bool,
    /// The thread waits.
    waiting: bool,
    /// A loop's task waits: `wake` is called once for it.
    armed: bool,
}

/// A place in a buffered body: bytes of a segment that come before it. Behind the last one is the body's end.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    segment: usize,
    offset: u64,
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { start, end, .. } => end.saturating_sub(*start),
        }
    }
}

impl Input {
    /// A body that is all here.
    pub(crate) fn buffered(segments: VecDeque<Segment>) -> Self {
        let length = segments.iter().map(Segment::len).sum();
        Self::new(segments, Some(length), Some(Ok(())), false)
    }

    /// A body that will come; `idle` if the event loop waits to be asked for it.
    pub(crate) fn streamed(idle: bool) -> Self {
        Self::new(VecDeque::new(), None, None, idle)
    }

    /// A body that will never come.
    pub(crate) fn failed(why: InputError) -> Self {
        Self::new(VecDeque::new(), None, Some(Err(why)), false)
    }

    fn new(
        segments: VecDeque<Segment>,
        length: Option<u64>,
        end: Option<Result<(), InputError>>,
        idle: bool,
    ) -> Self {
        let place = length.map(|_| Place::default());
        let state = State { segments, place, held: 0, end, idle, waiting: false, armed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), length }
    }

    /// Bytes of the body, if it is buffered: such a one never waits for the client, and can be read again.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The parts of a buffered body.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        lock(&self.state).segments.iter().cloned().collect()
    }

    /// Does the event loop wait to be asked for more of the body?
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.state).idle
    }

    /// Why the rest of the body will never come, if that is so.
    pub(crate) fn failure(&self) -> Option<InputError> {
        lock(&self.state).end.and_then(Result::err)
    }

    /// Thread: has all of the body been read, and was it complete?
    pub(crate) fn is_read(&self) -> bool {
        let state = lock(&self.state);
        let next = state.place.map_or(0, |place| place.segment);
        state.end == Some(Ok(())) && next >= state.segments.len()
    }

    /// Thread: the next read begins at `position` of a buffered body; beyond its end there is nothing to read.
    pub(crate) fn seek(&self, position: u64) {
        let mut state = lock(&self.state);
        if state.place.is_none() {
            return;
        }
        let mut place = Place { segment: 0, offset: position };
        for segment in &state.segments {
            if place.offset < segment.len() {
                break;
            }
            place = Place { segment: place.segment + 1, offset: place.offset - segment.len() };
        }
        state.place = Some(place);
    }

    /// Thread: up to `max` bytes, at least one, without waiting for the client or the disk. `ask` is called if the
    /// event loop has to read on.
    pub(crate) fn try_read(&self, max: usize, ask: impl Fn()) -> Result<Read, InputError> {
        let (read, asks) = {
            let mut state = lock(&self.state);
            (state.next(max.max(1)), state.asks())
        };
        if asks {
            ask();
        }
        read
    }

    /// Loop's thread: the same for a body that is streamed. After [`Read::Wait`] the event loop calls `wake` once, as
    /// soon as there is something to read or the body has ended.
    pub(crate) fn poll_read(&self, max: usize, ask: impl Fn()) -> Result<Read, InputError> {
        let (read, asks) = {
            let mut state = lock(&self.state);
            let read = state.next(max.max(1));
            state.armed = state.is_dry() && matches!(read, Ok(Read::Wait));
            (read, state.asks())
        };
        if asks {
            ask();
        }
        read
    }

    /// Thread, detached: the same, but it waits; never [`Read::Wait`].
    pub(crate) fn read_waiting(
        &self,
        max: usize,
        ask: impl Fn(),
        buffers: &Buffers,
    ) -> Result<Read, InputError> {
        loop {
            match self.try_read(max, &ask) {
                Ok(Read::Wait) => {}
                read => return read,
            }
            let mut state = lock(&self.state);
            if let Some((file, offset, left)) = state.file() {
                // As much as the buffer has room for.
                let buffer = if max < BLOCK {
                    Vec::with_capacity(left.min(max.max(1) as u64) as usize)
                } else {
                    buffers.take(BLOCK)
                };
                let size = left.min(buffer.capacity() as u64);
                state.pass(size);
                drop(state);
                return self.read_file(&file, offset, size as usize, buffer);
            }
            // What has come since `try_read` has woken nobody.
            if state.is_dry() {
                state.waiting = true;
                wait(&self.changed, state).waiting = false;
            }
        }
    }

    /// Event loop: adds a part; false if it has to stop reading until it is asked again. Otherwise the thread is
    /// woken by [`notify`](Self::notify) alone. `wake` wakes a loop's task that waits ([`poll_read`](Self::poll_read)).
    pub(crate) fn push(&self, bytes: Bytes, wake: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        if bytes.is_empty() {
            return !state.idle;
        }
        state.held += bytes.len();
        state.segments.push_back(Segment::Memory(bytes));
        state.idle = state.held >= LIMIT;
        let reads_on = !state.idle;
        if !reads_on {
            self.wake(state, wake);
        }
        reads_on
    }

    /// Event loop: the client has no more for now. The thread gets all that has come, and is not woken for
    /// each part of it.
    pub(crate) fn notify(&self, wake: impl FnOnce()) {
        self.wake(lock(&self.state), wake);
    }

    /// Event loop: the body is complete.
    pub(crate) fn end(&self, wake: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(Ok(()));
        self.wake(state, wake);
    }

    /// Event loop: no more will come. What is here already can still be read, unless the body was
    /// complete.
    pub(crate) fn fail(&self, error: InputError, wake: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(Err(error));
        self.wake(state, wake);
    }

    /// nginx wrote this file. If it is short the disk is at fault, and what follows must not be taken for the body.
    fn read_file(
        &self,
        file: &File,
        offset: u64,
        size: usize,
        mut bytes: Vec<u8>,
    ) -> Result<Read, InputError> {
        while bytes.len() < size {
            let at = offset + bytes.len() as u64;
            // If it is less than the buffer has room for, it is the last of the file.
            match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
                Ok(1..) => {}
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    let mut state = lock(&self.state);
                    state.segments.clear();
                    state.end = Some(Err(InputError::File));
                    return Err(InputError::File);
                }
            }
        }
        bytes.truncate(size);
        Ok(Read::Data(Bytes::from(bytes)))
    }

    /// Wakes who waits, if there is something for it. `wake` is called outside the lock.
    fn wake(&self, mut state: MutexGuard<'_, State>, wake: impl FnOnce()) {
        if state.waiting {
            self.changed.notify_one();
        }
        if state.armed && !state.is_dry() {
            state.armed = false;
            drop(state);
            wake();
        }
    }
}

impl State {
    fn next(&mut self, max: usize) -> Result<Read, InputError> {
        if let Some(place) = self.place {
            return Ok(match self.segments.get(place.segment) {
                Some(Segment::Memory(bytes)) => {
                    let start = place.offset as usize;
                    let part = bytes.slice(start..bytes.len().min(start.saturating_add(max)));
                    self.pass(part.len() as u64);
                    Read::Data(part)
                }
                Some(Segment::File { .. }) => Read::Wait,
                None => self.ended()?,
            });
        }
        Ok(match self.segments.pop_front() {
            Some(Segment::Memory(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(max));
                if !rest.is_empty() {
                    self.segments.push_front(Segment::Memory(rest));
                }
                self.held = self.held.saturating_sub(bytes.len());
                Read::Data(bytes)
            }
            // A streamed body has no file.
            Some(Segment::File { .. }) | None => self.ended()?,
        })
    }

    /// Is there nothing to read, and is something still to come?
    fn is_dry(&self) -> bool {
        self.segments.is_empty() && self.end.is_none()
    }

    /// What a read gives behind the last segment.
    fn ended(&self) -> Result<Read, InputError> {
        match self.end {
            Some(Ok(())) => Ok(Read::End),
            Some(Err(error)) => Err(error),
            None => Ok(Read::Wait),
        }
    }

    /// The file that a buffered body is read from next, where in it, and how much of it is left.
    fn file(&self) -> Option<(Arc<File>, u64, u64)> {
        let place = self.place?;
        match self.segments.get(place.segment)? {
            Segment::Memory(_) => None,
            Segment::File { file, start, end } => {
                let offset = start + place.offset;
                Some((Arc::clone(file), offset, end - offset))
            }
        }
    }

    /// `size` bytes of the segment at the place have been read.
    fn pass(&mut self, size: u64) {
        let Some(place) = &mut self.place else { return };
        place.offset += size;
        if self.segments.get(place.segment).is_some_and(|segment| place.offset >= segment.len()) {
            *place = Place { segment: place.segment + 1, offset: 0 };
        }
    }

    /// Must the event loop read on?
    fn asks(&mut self) -> bool {
        let asks = self.idle && self.end.is_none() && self.held <= LIMIT / 2;
        self.idle &= !asks;
        asks
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
