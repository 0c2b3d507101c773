//! The response of a request that has come from a web worker, on its way there.

use std::collections::VecDeque;
use std::fs::File;
use std::time::Duration;

use bytes::Bytes;

use super::super::frames::{DESCRIPTORS, FileRange, Number, Report};
use super::super::link::{ProcessLink, Unsent};
use super::super::to_process::Taken;
use super::super::to_worker::{Ended, ToWorker};
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::{Batch, Block, End, FilePart, SHARED_FROM};
use crate::bridge::sync::Arc;
use crate::bridge::trays;
use crate::http::field::Field;

/// What has been taken from the response's pipe, and the frames of a WebSocket, and has not been sent.
#[derive(Debug)]
pub(super) struct Download {
    /// What goes next, in order.
    next: VecDeque<Piece>,
    /// So many bytes may be sent before the client has taken any more.
    window: u64,
    /// The client takes nothing now.
    stalled: bool,
    /// The file that was sent last.
    file: Option<Arc<File>>,
    /// Files that have been sent, and that the web worker has not closed.
    descriptors: usize,
    /// The lengths of the frames that have been sent, and that the client has not taken; and of the first of them what it
    /// has taken.
    frames: VecDeque<u64>,
    taken: u64,
    /// The close frame of the application's has been taken.
    closes: bool,
    /// The end has been sent.
    has_ended: bool,
    /// For how long the web worker had the request before.
    waited: Duration,
}

#[derive(Debug)]
enum Piece {
    Message(ToWorker),
    Block(Block),
    End(End, Vec<Field>),
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// There is nothing to send now.
    All,
    /// All of it has been sent. Nothing follows.
    Ended,
}

impl Download {
    pub(super) fn new(window: u64, waited: Duration) -> Self {
        Self {
            next: VecDeque::new(),
            window,
            stalled: false,
            file: None,
            descriptors: 0,
            frames: VecDeque::new(),
            taken: 0,
            closes: false,
            has_ended: false,
            waited,
        }
    }

    /// Nobody wants more of it. True if blocks were dropped that are shared with their owner.
    pub(super) fn stop(&mut self) -> bool {
        let is_shared = |piece: &Piece| matches!(piece, Piece::Block(block) if block.is_shared());
        let shared = self.next.iter().any(is_shared);
        self.next.clear();
        shared
    }

    /// Of all that there is, only the end is sent: the response has failed. True as with [`stop`](Self::stop).
    pub(super) fn fail(&mut self) -> bool {
        let shared = self.stop();
        self.next.push_back(Piece::End(End::Failed, Vec::new()));
        shared
    }

    /// The client has taken so much.
    pub(super) fn taken(&mut self, exchange: &Arc<Exchange>, taken: Taken) {
        self.window = self.window.saturating_add(taken.memory);
        self.descriptors = self.descriptors.saturating_sub(taken.descriptors as usize);
        self.stalled = taken.stalled;
        if let Some(socket) = exchange.socket.as_deref().filter(|_| !self.frames.is_empty()) {
            self.taken = self.taken.saturating_add(taken.memory);
            let mut wakes = false;
            while let Some(frame) = self.frames.front().copied().filter(|it| *it <= self.taken) {
                self.taken -= frame;
                self.frames.pop_front();
                wakes |= socket.sent(usize::try_from(frame).unwrap_or(usize::MAX));
            }
            if wakes {
                exchange.resume();
            }
        }
        let memory = usize::try_from(taken.memory).unwrap_or(usize::MAX);
        let _file_is_sent = exchange.drained(memory, taken.file, taken.stalled);
        if taken.files > 0 {
            exchange.files_closed(taken.files as usize);
        }
    }

    /// Sends what there is, as far as there is room, and as far as the client takes it.
    pub(super) fn drive(
        &mut self,
        exchange: &Arc<Exchange>,
        number: Number,
        link: &mut ProcessLink,
        batch: &mut Batch,
    ) -> Result<Sent, Unsent> {
        loop {
            while let Some(piece) = self.next.pop_front() {
                match self.send(piece, exchange, number, link) {
                    Ok(Done::Sent) => {}
                    Ok(Done::Ended { follows }) => {
                        return Ok(if follows { Sent::All } else { Sent::Ended });
                    }
                    Ok(Done::Waits(piece)) => {
                        self.next.push_front(piece);
                        return Ok(Sent::All);
                    }
                    Err((piece, unsent)) => {
                        self.next.push_front(piece);
                        return Err(unsent);
                    }
                }
            }
            if self.has_ended || !self.take(exchange, batch) {
                return Ok(Sent::All);
            }
        }
    }

    /// Takes what the application has sent. False if there is nothing.
    fn take(&mut self, exchange: &Exchange, batch: &mut Batch) -> bool {
        exchange.output.take(batch);
        let hints = batch.hints.drain(..).map(ToWorker::Hints);
        self.next.extend(hints.map(Piece::Message));
        if let Some(mut head) = batch.head.take() {
            if batch.expects_trailers {
                head.expect_trailers();
            }
            self.next.push_back(Piece::Message(ToWorker::Head(Box::new(head))));
        }
        self.next.extend(batch.blocks.drain(..).map(Piece::Block));
        if let Some(end) = batch.end.take() {
            self.next.push_back(Piece::End(end, std::mem::take(&mut batch.trailers)));
        }
        let _shared = batch.clear();
        self.take_frames(exchange);
        !self.next.is_empty()
    }

    fn take_frames(&mut self, exchange: &Exchange) {
        let Some(socket) = exchange.socket.as_deref() else { return };
        let mut frames = VecDeque::new();
        let closing = socket.take(&mut frames);
        if let Some(close) = closing.filter(|_| !self.closes) {
            self.closes = true;
            // The web worker makes the close frame itself.
            let _close_frame = frames.pop_back();
            self.push_frames(frames);
            self.next.push_back(Piece::Message(ToWorker::Closing(close)));
        } else {
            self.push_frames(frames);
        }
    }

    fn push_frames(&mut self, frames: VecDeque<Bytes>) {
        for frame in frames {
            self.frames.push_back(frame.len() as u64);
            self.next.push_back(Piece::Message(ToWorker::Frame(frame)));
        }
    }

    /// Sends a piece. One for which there is no room comes back.
    fn send(
        &mut self,
        piece: Piece,
        exchange: &Arc<Exchange>,
        number: Number,
        link: &mut ProcessLink,
    ) -> Result<Done, (Piece, Unsent)> {
        match piece {
            Piece::Message(message) => match link.send(number, &message) {
                Ok(()) => Ok(Done::Sent),
                Err(unsent) => Err((Piece::Message(message), unsent)),
            },
            Piece::Block(Block::Memory(bytes)) => self.send_bytes(bytes, exchange, number, link),
            // Those are the web worker's alone.
            Piece::Block(Block::Tray(tray)) => {
                let bytes = tray.copy().into();
                self.send_bytes(bytes, exchange, number, link)
            }
            Piece::Block(Block::File(part)) => {
                let block = Block::File(part.clone());
                self.send_part(part, block, number, link, ToWorker::File)
            }
            Piece::Block(Block::Spilled(part)) => {
                let block = Block::Spilled(part.clone());
                self.send_part(part, block, number, link, ToWorker::Spilled)
            }
            Piece::End(end, trailers) => self.send_end(end, trailers, exchange, number, link),
        }
    }

    /// Sends a part of a file, if the web worker takes another file.
    fn send_part(
        &mut self,
        part: FilePart,
        block: Block,
        number: Number,
        link: &mut ProcessLink,
        message: fn(FileRange) -> ToWorker,
    ) -> Result<Done, (Piece, Unsent)> {
        let FilePart { file, start, end } = part;
        let again = self.file.as_ref().is_some_and(|last| Arc::ptr_eq(last, &file));
        if !again && self.descriptors >= DESCRIPTORS {
            return Ok(Done::Waits(Piece::Block(block)));
        }
        if let Err(unsent) = link.send_file(number, &file, FileRange { start, end, again }, message)
        {
            return Err((Piece::Block(block), unsent));
        }
        self.descriptors += usize::from(!again);
        self.file = Some(file);
        Ok(Done::Sent)
    }

    /// Sends a block as far as the client's side has room.
    fn send_bytes(
        &mut self,
        mut bytes: Bytes,
        exchange: &Exchange,
        number: Number,
        link: &mut ProcessLink,
    ) -> Result<Done, (Piece, Unsent)> {
        let is_shared = Block::Memory(bytes.clone()).is_shared();
        while !bytes.is_empty() {
            let window = usize::try_from(self.window).unwrap_or(usize::MAX);
            if window == 0 {
                return Ok(Done::Waits(Piece::Block(Block::Memory(bytes))));
            }
            match self.send_first(&bytes, window, number, link) {
                Ok(size) => {
                    self.window -= size as u64;
                    drop(bytes.split_to(size));
                }
                Err(unsent) => return Err((Piece::Block(Block::Memory(bytes)), unsent)),
            }
        }
        if is_shared {
            exchange.worker.collect();
        }
        Ok(Done::Sent)
    }

    /// Sends the first of these bytes, at most so many. Gives how many.
    fn send_first(
        &self,
        bytes: &Bytes,
        most: usize,
        number: Number,
        link: &mut ProcessLink,
    ) -> Result<usize, Unsent> {
        let most = most.min(bytes.len());
        if most >= SHARED_FROM {
            let size = most.min(trays::SIZE);
            let block = bytes.get(..size).unwrap_or_default();
            if link.send_tray(number, block, self.stalled, ToWorker::Tray)? {
                return Ok(size);
            }
        }
        let first = bytes.slice(..most.min(link.largest()));
        let size = first.len();
        link.send(number, &ToWorker::Block(first))?;
        Ok(size)
    }

    fn send_end(
        &mut self,
        end: End,
        trailers: Vec<Field>,
        exchange: &Arc<Exchange>,
        number: Number,
        link: &mut ProcessLink,
    ) -> Result<Done, (Piece, Unsent)> {
        let follows = exchange.has_sequel();
        let report = Report::of(exchange, self.waited);
        let ended = Box::new(Ended { end, trailers, report, follows });
        let message = ToWorker::End(ended);
        if let Err(unsent) = link.send(number, &message) {
            let trailers = match message {
                ToWorker::End(ended) => ended.trailers,
                _ => Vec::new(),
            };
            return Err((Piece::End(end, trailers), unsent));
        }
        self.has_ended = true;
        exchange.close(InputError::Answered);
        Ok(Done::Ended { follows })
    }
}

enum Done {
    Sent,
    /// The client has to take something first.
    Waits(Piece),
    Ended {
        follows: bool,
    },
}
