//! One end of what a web worker and a process share: two rings, a bell for each, a socket for descriptors, the words
//! by which the process marks what has begun, and trays.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::broken::Broken;
use super::channel::{Receiver, Sender};
use super::descriptors::{self, Received};
use super::frames::{FileRange, Message, Number, SendError};
use super::ring::{self, Consumer, Producer};
use super::to_process::ToProcess;
use super::to_worker::ToWorker;
use crate::bridge::begun::Mark;
use crate::bridge::bell::Bell;
use crate::bridge::memory::{Area, Longs};
use crate::bridge::sync::Arc;
use crate::bridge::trays::{self, Filled, Tray, Trays};

/// Requests of one link, at most. Memory that no request has used takes no room.
pub(crate) const SLOTS: usize = 1 << 16;

/// Messages that are received before others have their turn.
pub(super) const BATCH: usize = 512;

/// Words of memory for a link with rings for so many bytes.
pub(crate) const fn words(ring: usize) -> usize {
    2 * ring::words(ring) + SLOTS + trays::count(ring)
}

/// Bytes of its trays.
pub(crate) const fn area(ring: usize) -> usize {
    trays::count(ring) * trays::SIZE
}

/// What a link is made of.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) memory: Arc<dyn Longs>,
    pub(crate) area: Arc<dyn Area>,
    /// Bytes of each ring.
    pub(crate) ring: usize,
    /// The end of a pipe that wakes this process, and that of another one by which the other is woken.
    pub(crate) own_bell: OwnedFd,
    pub(crate) other_bell: OwnedFd,
    pub(crate) socket: OwnedFd,
}

/// An end that sends `S` and receives `R`.
#[derive(Debug)]
pub(crate) struct Link<S, R> {
    sender: Sender<S>,
    receiver: Receiver<R>,
    own_bell: Bell,
    other_bell: Bell,
    socket: OwnedFd,
    memory: Arc<dyn Longs>,
    /// The first word of the marks.
    marks: usize,
    /// The socket has had no room for a descriptor. Nobody is told when it has.
    stuck: bool,
    /// Nothing is received for now, whatever there is.
    paused: bool,
    trays: Trays,
}

pub(crate) type WebLink = Link<ToProcess, ToWorker>;
pub(crate) type ProcessLink = Link<ToWorker, ToProcess>;

/// Why a message has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// There is no room now.
    Full,
    /// It can never be sent. That is about its request alone.
    TooLarge,
    Broken(Broken),
}

impl From<Broken> for Unsent {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<SendError> for Unsent {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Corrupt(corrupt) => Self::Broken(corrupt.into()),
            SendError::TooLarge(_) => Self::TooLarge,
        }
    }
}

impl WebLink {
    pub(crate) fn of_worker(ends: Ends) -> Self {
        Self::new(ends, 0, 1)
    }
}

impl ProcessLink {
    pub(crate) fn of_process(ends: Ends) -> Self {
        Self::new(ends, 1, 0)
    }
}

impl<S: Message, R: Message> Link<S, R> {
    fn new(ends: Ends, sends: usize, receives: usize) -> Self {
        let Ends { memory, area, ring, own_bell, other_bell, socket } = ends;
        let first = |number| number * ring::words(ring);
        let producer = Producer::new(Arc::clone(&memory), first(sends), ring);
        let consumer = Consumer::new(Arc::clone(&memory), first(receives), ring);
        Self {
            sender: Sender::new(producer),
            receiver: Receiver::new(consumer),
            own_bell: Bell::of(own_bell),
            other_bell: Bell::of(other_bell),
            socket,
            marks: first(2),
            stuck: false,
            paused: false,
            trays: Trays::new(Arc::clone(&memory), first(2) + SLOTS, area),
            memory,
        }
    }

    /// The descriptors that this process watches: its bell, and the socket, for its end.
    pub(crate) fn watched(&self) -> [RawFd; 2] {
        [self.own_bell.fd(), self.socket.as_raw_fd()]
    }

    /// The mark of a request's beginning.
    pub(crate) fn mark(&self, number: Number) -> Result<Mark, Broken> {
        let slot = number.slot as usize;
        if slot >= SLOTS {
            return Err(Broken::Order);
        }
        Ok(Mark::new(Arc::clone(&self.memory), self.marks + slot, number.generation))
    }

    /// Bytes of a body that go well into one message.
    pub(crate) fn largest(&self) -> usize {
        self.sender.largest()
    }

    /// Sends a message, which the other process sees after [`flush`](Self::flush).
    pub(crate) fn send(&mut self, number: Number, message: &S) -> Result<(), Unsent> {
        if self.sender.send(number, message)? { Ok(()) } else { Err(Unsent::Full) }
    }

    /// Sends a message about a part of `file`.
    pub(crate) fn send_file(
        &mut self,
        number: Number,
        file: &File,
        range: FileRange,
        message: impl FnOnce(FileRange) -> S,
    ) -> Result<(), Unsent> {
        if !self.sender.has_room().map_err(Broken::from)? {
            return Err(Unsent::Full);
        }
        if !range.again {
            let sent = descriptors::send(&self.socket, b"f", &[file.as_fd()]);
            // The other takes them as it receives the messages that they belong to.
            self.stuck = sent == Ok(false);
            match sent {
                Ok(true) => {}
                Ok(false) => return Err(Unsent::Full),
                Err(_) => return Err(Broken::Ended.into()),
            }
        }
        self.send(number, &message(range))
    }

    /// Copies a block into a tray, and sends a message about it. False if no tray is free. `stalled`: the client takes
    /// nothing now.
    pub(crate) fn send_tray(
        &mut self,
        number: Number,
        block: &[u8],
        stalled: bool,
        message: impl FnOnce(Filled) -> S,
    ) -> Result<bool, Unsent> {
        if !self.sender.has_room().map_err(Broken::from)? {
            return Err(Unsent::Full);
        }
        let Some(filled) = self.trays.fill(block, stalled) else { return Ok(false) };
        let sent = self.send(number, &message(filled));
        if sent.is_err() {
            self.trays.forget(filled);
        }
        sent.map(|()| true)
    }

    /// Receives the messages that there are, some at most, each by `act`. True if there may be more.
    pub(crate) fn receive(
        &mut self,
        mut act: impl FnMut(&mut Self, Number, R) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        for _ in 0..BATCH {
            let Some((number, message)) = self.next()? else { return Ok(false) };
            act(self, number, message)?;
        }
        Ok(true)
    }

    /// Receives a message.
    pub(crate) fn next(&mut self) -> Result<Option<(Number, R)>, Broken> {
        Ok(self.receiver.receive()?)
    }

    /// Whether there is nothing to receive for now, whatever the other process has sent.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether something has to be looked at again after a while, because nobody rings when it has changed: the socket has had no
    /// room for a descriptor, or nothing is received.
    pub(crate) fn has_to_look_again(&self) -> bool {
        self.stuck || self.paused
    }

    /// The file that belongs to a message that has been received.
    pub(crate) fn take_file(&mut self, end: u64) -> Result<File, Broken> {
        match descriptors::receive(&self.socket, &mut [0; 1]) {
            Ok(Received::Message(_, mut received)) => {
                let descriptor = received.pop().filter(|_| received.is_empty());
                descriptors::regular(descriptor.ok_or(Broken::NoFile)?, end)
            }
            Ok(Received::Nothing | Received::Ended) | Err(_) => Err(Broken::NoFile),
        }
    }

    /// The tray that a message is about that has been received.
    pub(crate) fn take_tray(&self, filled: Filled) -> Result<Tray, Broken> {
        self.trays.take(filled).ok_or(Broken::Tray)
    }

    /// Shows the other process what has been sent, gives it room for what has been received, and wakes it if it sleeps
    /// or waits for that. `waits`: there is something that has no room. True if there is something to do by now;
    /// otherwise this process may sleep.
    pub(crate) fn flush(&mut self, waits: bool) -> Result<bool, Broken> {
        let waits = !self.sender.resume()? || (waits && !self.stuck);
        let sleeps = self.sender.publish()?;
        let waited = self.receiver.release()?;
        if sleeps || waited {
            self.other_bell.ring().map_err(|_| Broken::Lost)?;
        }
        let has_room = waits && self.sender.wait()?;
        Ok((!self.paused && self.receiver.rest()?) || has_room)
    }

    /// The bell has rung.
    pub(crate) fn hush(&mut self) -> Result<(), Broken> {
        self.own_bell.hush().map_err(|_| Broken::Lost)?;
        Ok(self.receiver.wake()?)
    }
}
