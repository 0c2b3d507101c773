//! What a client sends to an application in another process: the body of its request, or the messages of its WebSocket.

use std::collections::VecDeque;
use std::fs::File;

use super::super::frames::{FileRange, Number};
use super::super::link::{Unsent, WebLink};
use super::super::to_process::{Body, ToProcess};
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::input::{Read, Segment};
use crate::bridge::pipe::messages::{Part, Received, Socket, cost};
use crate::bridge::sync::Arc;

/// Bytes of a streamed body that may be on their way, and in the pipe of the other process.
pub(in crate::bridge::process) const WINDOW: u64 = 128 * 1024;

/// What has not been sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// What goes next, in order.
    next: VecDeque<Piece>,
    /// So many more bytes are wanted.
    credit: u64,
    /// Parts of messages that have been read.
    parts: u64,
    /// The other process has the end of the body, and how the client has closed its WebSocket.
    ended: bool,
    closed: bool,
    /// The file that was sent last.
    file: Option<Arc<File>>,
    /// Some of a streamed body has been read, and is not here any more.
    consumed: bool,
}

#[derive(Debug)]
enum Piece {
    Message(ToProcess),
    File { file: Arc<File>, start: u64, end: u64 },
}

impl Upload {
    /// Also says how the body comes.
    pub(super) fn of(exchange: &Exchange) -> (Self, Body) {
        let mut next = VecDeque::new();
        let (body, credit) = if exchange.input.length().is_some() {
            next.extend(exchange.input.segments().into_iter().map(Piece::of));
            next.push_back(Piece::Message(ToProcess::BodyEnd));
            (Body::Buffered, 0)
        } else if exchange.input.is_idle() {
            (Body::Idle, 0)
        } else {
            (Body::Streamed, WINDOW)
        };
        let ended = body == Body::Buffered;
        (Self { next, credit, parts: 0, ended, closed: false, file: None, consumed: false }, body)
    }

    /// The messages of a WebSocket follow its handshake, which has no body.
    pub(super) fn begin_messages(&mut self, limit: usize) {
        self.credit = limit as u64;
    }

    /// The other process wants so many more bytes.
    pub(super) fn add_credit(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// The parts of messages that have been sent.
    pub(super) fn parts(&self) -> u64 {
        self.parts
    }

    /// Has the other process heard that nothing more comes from the client of a WebSocket?
    pub(super) fn has_closed(&self) -> bool {
        self.closed && self.next.is_empty()
    }

    /// Nothing more has to be sent.
    pub(super) fn stop(&mut self) {
        self.next.clear();
        self.credit = 0;
        self.ended = true;
        self.closed = true;
    }

    /// Has a part of the client's body been sent that cannot be had again?
    pub(super) fn is_consumed(&self) -> bool {
        self.consumed
    }

    /// Sends what there is.
    pub(super) fn drive(
        &mut self,
        exchange: &Exchange,
        number: Number,
        link: &mut WebLink,
    ) -> Result<(), Unsent> {
        loop {
            self.send(number, link)?;
            if !self.read(exchange, link.largest()) {
                return Ok(());
            }
        }
    }

    /// Sends what has been read.
    fn send(&mut self, number: Number, link: &mut WebLink) -> Result<(), Unsent> {
        while let Some(piece) = self.next.front_mut() {
            match piece {
                Piece::Message(ToProcess::Body(bytes)) if bytes.len() > link.largest() => {
                    let first = bytes.slice(..link.largest());
                    link.send(number, &ToProcess::Body(first))?;
                    drop(bytes.split_to(link.largest()));
                    continue;
                }
                Piece::Message(message) => link.send(number, message)?,
                Piece::File { file, start, end } => {
                    let again = self.file.as_ref().is_some_and(|last| Arc::ptr_eq(last, file));
                    let range = FileRange { start: *start, end: *end, again };
                    link.send_file(number, file, range, ToProcess::BodyFile)?;
                    self.file = Some(Arc::clone(file));
                }
            }
            self.next.pop_front();
        }
        Ok(())
    }

    /// Reads what there is, as far as it is wanted. False if there is nothing.
    fn read(&mut self, exchange: &Exchange, largest: usize) -> bool {
        match exchange.socket.as_deref() {
            Some(socket) if self.credit > 0 && self.ended => {
                self.read_messages(exchange, socket, largest)
            }
            _ => self.read_body(exchange, largest),
        }
    }

    fn read_body(&mut self, exchange: &Exchange, largest: usize) -> bool {
        if self.ended || self.credit == 0 {
            return false;
        }
        let max = largest.min(usize::try_from(self.credit).unwrap_or(largest));
        let message = match exchange.poll_input(max) {
            Ok(Read::Wait) => return false,
            Ok(Read::Data(bytes)) => {
                self.credit = self.credit.saturating_sub(bytes.len() as u64);
                ToProcess::Body(bytes)
            }
            Ok(Read::End) => {
                self.ended = true;
                ToProcess::BodyEnd
            }
            Err(error) => {
                self.ended = true;
                ToProcess::BodyFailed(error)
            }
        };
        self.consumed = true;
        self.next.push_back(Piece::Message(message));
        true
    }

    fn read_messages(&mut self, exchange: &Exchange, socket: &Socket, largest: usize) -> bool {
        match socket.poll_receive(|| exchange.announce_socket()) {
            Received::Wait => return false,
            Received::Closed(close) => {
                self.credit = 0;
                self.closed = true;
                self.next.push_back(Piece::Message(ToProcess::Closed(close)));
            }
            Received::Part(part) => {
                socket.set_elsewhere(true, || ());
                let Part { kind, compressed, last, mut payload } = part;
                loop {
                    let piece = payload.split_to(payload.len().min(largest));
                    self.credit = self.credit.saturating_sub(cost(&piece) as u64);
                    self.parts += 1;
                    let last = last && payload.is_empty();
                    let part = Part { kind, compressed, last, payload: piece };
                    self.next.push_back(Piece::Message(ToProcess::Part(part)));
                    if payload.is_empty() {
                        break;
                    }
                }
            }
        }
        true
    }
}

impl Piece {
    fn of(segment: Segment) -> Self {
        match segment {
            Segment::Memory(bytes) => Self::Message(ToProcess::Body(bytes)),
            Segment::File { file, start, end } => Self::File { file, start, end },
        }
    }
}
