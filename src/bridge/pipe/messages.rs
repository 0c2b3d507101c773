//! The message pipes of a WebSocket: from the event loop to the task of the application, and back.
//!
//! What a client sends crosses as parts of messages, still compressed; what the application sends, as frames. Both
//! directions are bounded by `asgi_websocket_queue`, in bytes that count what each part and frame costs besides its
//! payload, so that many small ones are bounded as well:
//!
//! - The event loop stops reading (`paused`) when the parts that wait have reached the limit, and TCP slows the client
//!   down. The loop asks it to read on when the task has taken half. A message that is larger than the limit flows
//!   part by part.
//! - A frame is taken if there is room for it, or if nothing else waits for the client: one message may be larger than
//!   the limit. Otherwise the task waits (`wanted`), and is woken when there is room for that frame.
//!
//! Each side tells the other once: the event loop is announced what it has not looked at (`announced`); the task is
//! woken if it has said that it waits (`receiving`, `wanted`). What wakes it is the caller's: the functions of the
//! event loop say whether it has to.
//!
//! The end has two steps. `closing` is set by the task: its close frame is the last frame, and no frame comes after it.
//! `closed` is set by the event loop when nothing more comes from the client; the task is told after the last part.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::bridge::sync::{Mutex, MutexGuard, lock};
use crate::http::websocket::close::Close;
use crate::http::websocket::frame::{self, Kind, Opcode};
use crate::http::websocket::handshake::Handshake;

/// What a part or a frame costs besides its payload, about: its place in a queue and its allocation.
const OVERHEAD: usize = 96;

/// A part of a message of the client's. It is empty only if it is the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// The message's payload is compressed.
    pub(crate) compressed: bool,
    pub(crate) last: bool,
    pub(crate) payload: Bytes,
}

/// What the task gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Part(Part),
    /// Nothing more comes.
    Closed(Close),
    /// There is nothing now. The task is woken when there is.
    Wait,
}

/// The client takes no more frames: the connection has ended, or a close frame was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// What the event loop has to do after a [`push`](Socket::push).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Pushed {
    /// Stop reading until it is asked.
    pub(crate) pauses: bool,
    /// Wake the task.
    pub(crate) wakes: bool,
}

/// What a WebSocket's connection shares with the application's task.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) handshake: Handshake,
    /// `asgi_websocket_queue`
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Part>,
    /// What the parts cost.
    waiting: usize,
    paused: bool,
    receiving: bool,
    frames: VecDeque<Bytes>,
    /// What the frames cost that the client has not taken, also those that the event loop has.
    held: usize,
    /// The cost of the frame that the task waits with.
    wanted: Option<usize>,
    announced: bool,
    closing: Option<Close>,
    closed: Option<Close>,
    /// The worker exits: the event loop is told when the task only waits for a message.
    draining: bool,
    /// The task runs in another process, and does not only wait for a message there.
    busy_elsewhere: bool,
}

impl Socket {
    pub(crate) fn new(handshake: Handshake, limit: usize) -> Self {
        Self { handshake, limit, state: Mutex::default() }
    }

    /// Bytes that wait in each direction.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Event loop: adds a part.
    pub(crate) fn push(&self, part: Part) -> Pushed {
        let mut state = self.lock();
        if state.closing.is_some() || state.closed.is_some() {
            // The task wants nothing more.
            return Pushed { pauses: false, wakes: false };
        }
        state.waiting += cost(&part.payload);
        state.parts.push_back(part);
        state.paused = state.waiting >= self.limit;
        Pushed { pauses: state.paused, wakes: std::mem::take(&mut state.receiving) }
    }

    /// Event loop: nothing more comes from the client, for this reason. True if the task has to be woken.
    #[must_use]
    pub(crate) fn end(&self, close: Close) -> bool {
        let (frames, wakes) = {
            let mut state = self.lock();
            state.closed.get_or_insert(close);
            state.paused = false;
            let waited = state.receiving || state.wanted.is_some();
            state.receiving = false;
            state.wanted = None;
            (std::mem::take(&mut state.frames), waited)
        };
        // Outside the lock: a frame's owner may be foreign.
        drop(frames);
        wakes
    }

    /// Event loop: moves the frames to the end of `frames`. Gives the reason if the application closes: its close frame
    /// is the last one.
    pub(crate) fn take(&self, frames: &mut VecDeque<Bytes>) -> Option<Close> {
        let mut state = self.lock();
        state.announced = false;
        frames.append(&mut state.frames);
        state.closing.clone()
    }

    /// Event loop: may it read on?
    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Event loop: the client has taken a frame of the task's of so many bytes. True if the task has to be woken.
    #[must_use]
    pub(crate) fn sent(&self, frame: usize) -> bool {
        let mut state = self.lock();
        state.held = state.held.saturating_sub(frame + OVERHEAD);
        let has_room = state.wanted.is_some_and(|wanted| state.has_room(wanted, self.limit));
        if has_room {
            state.wanted = None;
        }
        has_room
    }

    /// Event loop: the worker exits. From now on it is announced when the task only waits for a message. True if that
    /// is so already.
    pub(crate) fn drain(&self) -> bool {
        let mut state = self.lock();
        state.draining = true;
        state.is_idle()
    }

    /// Event loop: the worker exits, and the task only waits for a message, with nothing on its way to the client.
    pub(crate) fn may_go(&self) -> bool {
        let state = self.lock();
        state.draining && state.is_idle()
    }

    /// Event loop: the task runs in another process, where it only waits for a message, or does not. `announce` is called
    /// if that lets the connection go.
    pub(crate) fn set_elsewhere(&self, busy: bool, announce: impl FnOnce()) {
        let mut state = self.lock();
        state.busy_elsewhere = busy;
        let news = state.draining && state.is_idle() && state.announces();
        drop(state);
        if news {
            announce();
        }
    }

    /// Loop: the next part of a message. `announce` is called if the event loop has to read on. After
    /// [`Received::Wait`] the task is woken once.
    pub(crate) fn poll_receive(&self, announce: impl FnOnce()) -> Received {
        let mut state = self.lock();
        let received = match state.parts.pop_front() {
            Some(part) => {
                state.waiting = state.waiting.saturating_sub(cost(&part.payload));
                Received::Part(part)
            }
            None => match &state.closed {
                Some(close) => Received::Closed(close.clone()),
                None => {
                    state.receiving = true;
                    Received::Wait
                }
            },
        };
        let reads_on = state.paused && state.waiting <= self.limit / 2;
        state.paused &= !reads_on;
        let goes = state.draining && state.is_idle();
        let news = (reads_on || goes) && state.announces();
        drop(state);
        if news {
            announce();
        }
        received
    }

    /// Loop: nobody waits for a message any more.
    pub(crate) fn stop_receiving(&self) {
        self.lock().receiving = false;
    }

    /// Loop: adds a frame. One for which there is no room comes back, and the task is woken once, when there is.
    /// `announce` is called if the event loop must be told.
    pub(crate) fn poll_send(
        &self,
        frame: Bytes,
        announce: impl FnOnce(),
    ) -> Result<Option<Bytes>, Closed> {
        let mut state = self.lock();
        if state.closing.is_some() || state.closed.is_some() {
            return Err(Closed);
        }
        let cost = cost(&frame);
        if !state.has_room(cost, self.limit) {
            state.wanted = Some(cost);
            return Ok(Some(frame));
        }
        state.wanted = None;
        state.held += cost;
        state.frames.push_back(frame);
        let news = state.announces();
        drop(state);
        if news {
            announce();
        }
        Ok(None)
    }

    /// Loop: nobody waits for room any more.
    pub(crate) fn stop_sending(&self) {
        self.lock().wanted = None;
    }

    /// Loop: adds a close frame, whether there is room or not. Parts that wait are dropped, and so is what still comes.
    pub(crate) fn close(&self, close: Close, announce: impl FnOnce()) -> Result<(), Closed> {
        let (parts, news) = {
            let mut state = self.lock();
            if state.closing.is_some() || state.closed.is_some() {
                return Err(Closed);
            }
            let frame = Bytes::from(frame::encode(Opcode::Close, false, &close.payload()));
            state.held += cost(&frame);
            state.frames.push_back(frame);
            state.closing = Some(close);
            state.waiting = 0;
            state.paused = false;
            (std::mem::take(&mut state.parts), state.announces())
        };
        drop(parts);
        if news {
            announce();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn has_room(&self, cost: usize, limit: usize) -> bool {
        self.held == 0 || self.held + cost <= limit
    }

    /// Does the task only wait for a message?
    fn is_idle(&self) -> bool {
        self.receiving && self.parts.is_empty() && self.held == 0 && !self.busy_elsewhere
    }

    /// Must the event loop be told?
    fn announces(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }
}

/// What a part or a frame counts for.
pub(crate) fn cost(payload: &Bytes) -> usize {
    payload.len() + OVERHEAD
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
