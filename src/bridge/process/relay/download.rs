//! What has come of a response from the process that runs its application: checked, and given to the exchange.

use std::collections::VecDeque;
use std::fs::File;

use bytes::Bytes;

use super::super::broken::Broken;
use super::super::frames::{DESCRIPTORS, FileRange};
use super::super::to_worker::Ended;
use super::held::{Files, Held};
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::messages::{Socket, cost};
use crate::bridge::pipe::output::parts::{Block, End, FilePart, SHARED_FROM};
use crate::bridge::sync::Arc;
use crate::bridge::trays::Tray;
use crate::http::response_head::ResponseHead;
use crate::http::websocket::close::Close;

/// What has come of the response.
#[derive(Debug)]
pub(super) struct Download {
    /// The process may send so many bytes that the client has not taken.
    pub(super) window: u64,
    /// It has sent so many.
    outstanding: u64,
    has_head: bool,
    /// The application has accepted the WebSocket.
    upgraded: bool,
    /// Bytes of the body that its length leaves.
    left: Option<u64>,
    file: Option<Arc<File>>,
    files: Files,
    pub(super) has_ended: bool,
    /// Frames of a WebSocket for which its pipe has no room, and what they cost.
    frames: VecDeque<Bytes>,
    waiting: usize,
    closing: Option<Close>,
}

const SWITCHING_PROTOCOLS: u16 = 101;

/// Parts of one file that wait, at most. Those that follow one another are one; nginx's filters may hold half as many one by
/// one (`nginx/request/output.rs`).
const PARTS: usize = 8192;

impl Download {
    pub(super) fn new(window: u64) -> Self {
        Self {
            window,
            outstanding: 0,
            has_head: false,
            upgraded: false,
            left: None,
            file: None,
            files: Files::default(),
            has_ended: false,
            frames: VecDeque::new(),
            waiting: 0,
            closing: None,
        }
    }

    /// The process has heard that the client has taken so many bytes.
    pub(super) fn told_taken(&mut self, bytes: u64) {
        self.outstanding = self.outstanding.saturating_sub(bytes);
    }

    /// How many files have been closed since this was last asked.
    pub(super) fn closed_files(&mut self) -> usize {
        self.files.remove_closed()
    }

    pub(super) fn receive_head(
        &mut self,
        exchange: &Exchange,
        head: ResponseHead,
    ) -> Result<(), Broken> {
        let upgrades = head.code() == SWITCHING_PROTOCOLS;
        if self.has_head || (upgrades && exchange.socket.is_none()) {
            return Err(Broken::Order);
        }
        self.has_head = true;
        self.upgraded = upgrades;
        self.left = head.content_length().filter(|_| !exchange.head.head_only);
        let trailers = head.expects_trailers();
        exchange.put(|put| put.head(head, trailers));
        Ok(())
    }

    pub(super) fn receive_bytes(
        &mut self,
        exchange: &Exchange,
        bytes: Bytes,
    ) -> Result<(), Broken> {
        self.receive_memory(exchange, bytes.len(), Block::Memory(bytes))
    }

    /// A process sends nothing in a tray that is too short to be a block of its own: it would cost more than the bytes that
    /// are counted.
    pub(super) fn receive_tray(&mut self, exchange: &Exchange, tray: Tray) -> Result<(), Broken> {
        if tray.len() < SHARED_FROM {
            return Err(Broken::Tray);
        }
        self.receive_memory(exchange, tray.len(), Block::Tray(tray))
    }

    /// A part of the body that waits in memory for the client.
    fn receive_memory(
        &mut self,
        exchange: &Exchange,
        length: usize,
        block: Block,
    ) -> Result<(), Broken> {
        let length = length as u64;
        self.outstanding += length;
        if self.outstanding > self.window {
            return Err(Broken::Credit);
        }
        self.receive_block(exchange, length, block)
    }

    /// A part of a file: of the application's, or of the response's temporary one.
    pub(super) fn receive_part(
        &mut self,
        exchange: &Exchange,
        range: FileRange,
        file: Option<File>,
        held: &mut Held,
        block: fn(FilePart) -> Block,
    ) -> Result<(), Broken> {
        if let Some(file) = file {
            let file = held.add_file(file);
            self.files.add(&file);
            self.file = Some(file);
        }
        let file = self.file.clone().ok_or(Broken::NoFile)?;
        if self.files.len() > DESCRIPTORS || Arc::strong_count(&file) > PARTS {
            return Err(Broken::Credit);
        }
        let part = FilePart { file, start: range.start, end: range.end };
        self.receive_block(exchange, part.len(), block(part))
    }

    /// A part of the body: what is longer than its length has said would be taken for another response.
    fn receive_block(
        &mut self,
        exchange: &Exchange,
        length: u64,
        block: Block,
    ) -> Result<(), Broken> {
        if !self.has_head || self.upgraded {
            return Err(Broken::Order);
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(length).ok_or(Broken::Order)?;
        }
        if length > 0 {
            exchange.put(|put| put.block(block));
        }
        Ok(())
    }

    /// A frame is alone, or what waits is no more than the queue takes: as in the process ([`Socket::poll_send`]).
    pub(super) fn receive_frame(
        &mut self,
        exchange: &Exchange,
        frame: Bytes,
        held: &Held,
    ) -> Result<(), Broken> {
        let socket = self.socket(exchange)?;
        let cost = cost(&frame);
        if self.waiting > 0 && self.waiting + cost > socket.limit() {
            return Err(Broken::Credit);
        }
        self.waiting += cost;
        let is_large = cost > socket.limit();
        self.frames.push_back(if is_large { held.add_frame(frame) } else { frame });
        Ok(())
    }

    pub(super) fn receive_closing(
        &mut self,
        exchange: &Exchange,
        close: Close,
    ) -> Result<(), Broken> {
        let _socket = self.socket(exchange)?;
        self.closing = Some(close);
        Ok(())
    }

    /// The WebSocket, if the application has accepted it.
    fn socket<'a>(&self, exchange: &'a Exchange) -> Result<&'a Socket, Broken> {
        exchange.socket.as_deref().filter(|_| self.upgraded).ok_or(Broken::Order)
    }

    /// Passes the frames on for which the WebSocket's pipe has room. Gives their bytes.
    pub(super) fn pass_frames(&mut self, exchange: &Exchange) -> u64 {
        let Some(socket) = exchange.socket.as_deref() else { return 0 };
        let mut taken = 0;
        while let Some(frame) = self.frames.front() {
            match socket.poll_send(frame.clone(), || exchange.announce_socket()) {
                Ok(Some(_waits)) => return taken,
                Ok(None) => taken += frame.len() as u64,
                // It takes none any more.
                Err(_closed) => {}
            }
            self.waiting = self.waiting.saturating_sub(cost(frame));
            self.frames.pop_front();
        }
        if let Some(close) = self.closing.take() {
            let _closed = socket.close(close, || exchange.announce_socket());
        }
        taken
    }

    pub(super) fn receive_end(&mut self, exchange: &Exchange, ended: Ended) {
        let Ended { end, trailers, report, follows: _ } = ended;
        self.has_ended = true;
        let is_short = self.left.is_some_and(|left| left > 0);
        let end = match end {
            End::Complete if is_short => End::Failed,
            End::Complete if !self.has_head && exchange.socket.is_none() => End::Failed,
            // Another answer cannot follow a head.
            End::Refused if self.has_head => End::Failed,
            end => end,
        };
        exchange.adopt(report.measured, report.thread, report.exception);
        let _due = exchange.done();
        exchange.put(|put| put.end(end, trailers));
    }

    /// The process does not take the request. It cannot say so of one that it has answered.
    pub(super) fn may_be_refused(&self) -> bool {
        !self.has_head
    }
}
