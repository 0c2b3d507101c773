//! The response of one request, in any protocol: the head that the application has set, and how much has been sent.
//!
//! Several threads may hold it, because any thread can call `write()`. Its state is not borrowed while Python runs or a
//! thread waits for the client; `sending` says that one of them waits.

use std::cell::RefMut;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;

use super::attached::Attached;
use super::detached::detached;
use super::{fork, logging};
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::config::ClientAbort;
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::output::parts::{End, FilePart};
use crate::bridge::pipe::output::{Closed, Overflow, Polled, Rest};
use crate::http::field::{self, Field, HeaderError};
use crate::http::framing::{self, Framing, ShortBody};
use crate::http::header::{self, HeaderKind};
use crate::http::response_head::{Dropped, ResponseHead};
use crate::http::trailer;

/// Bytes of a response's reason phrase and headers, or of its trailers, in all ([`field::field_size`]). No client takes as
/// much, and HTTP/2 cannot send a field of 2 MB: nginx says that at its level `crit`
/// (`ngx_http_v2_header_filter`).
pub(super) const MAX_HEAD: usize = 1 << 20;

pub(super) struct Response {
    exchange: Arc<Exchange>,
    state: Attached<State>,
}

/// What the application has given as its head (`start_response`, `http.response.start`).
pub(super) struct Start {
    pub(super) head: ResponseHead,
    /// `X-Accel-Buffering`
    pub(super) buffering: Option<bool>,
    /// `Trailer`
    pub(super) trailers: bool,
    /// The first header that is not sent.
    pub(super) dropped: Option<Dropped>,
}

#[derive(Default)]
struct State {
    /// Held back until the first block that is not empty.
    start: Option<Start>,
    /// `None` until the head has been sent.
    framing: Option<Framing>,
    called: bool,
    /// The response's end has been put into the pipe.
    ended: bool,
    /// A thread sends, and may wait for the client.
    sending: bool,
    dropped: Option<Dropped>,
    /// Inline: what the pipe had no room for.
    rest: Option<Rest>,
    /// Inline: a part of a block is lost, so that the response cannot be completed.
    broken: bool,
    /// Trailers may be set after the last byte: the response ends when the application says so, and not before.
    trailers: bool,
    /// A part of the body has been given.
    begun: bool,
    /// The fields that follow the body, as far as they are known.
    trailer_fields: Vec<Field>,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// More may follow.
    More,
    /// It is complete: further blocks are not sent.
    Complete,
    /// The block went beyond Content-Length and was cut.
    Cut,
}

/// A block on its way.
struct Step {
    head: Option<ResponseHead>,
    /// How many of its bytes go.
    size: usize,
    end: Option<End>,
    sent: Sent,
}

/// Why a block was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The client is gone, or has been answered.
    Gone,
    /// Another thread sends at this moment; inline, what was sent before has no room yet.
    Busy,
    /// `start_response` has not been called.
    NotStarted,
    /// Something of the body is missing already ([`Response::spill`]).
    Broken,
}

impl Start {
    pub(super) fn new(head: ResponseHead) -> Self {
        Self { head, buffering: None, trailers: false, dropped: None }
    }

    /// Adds a field, by the rules of HTTP. Some are not sent ([`Dropped`]).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        let kind = header::checked_kind(name)?;
        field::check_value(name, value)?;
        let value = field::trim(value);
        match kind {
            HeaderKind::ContentLength => return self.head.add_content_length(value),
            HeaderKind::HopByHop => {
                self.dropped.get_or_insert_with(|| Dropped::hop_by_hop(name));
                return Ok(());
            }
            _ => {}
        }
        if !self.head.push(kind, name, value) {
            self.dropped.get_or_insert_with(|| Dropped::repeated(name));
            return Ok(());
        }
        match (kind, value) {
            (HeaderKind::Trailer, _) => self.trailers = true,
            // The location decides whether it has an effect, and whether the client gets it.
            (HeaderKind::AccelBuffering, b"no") => self.buffering = Some(false),
            (HeaderKind::AccelBuffering, b"yes") => self.buffering = Some(true),
            _ => {}
        }
        Ok(())
    }
}

impl From<Closed> for Unsent {
    fn from(_: Closed) -> Self {
        Self::Gone
    }
}

impl Response {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self { exchange: Arc::clone(exchange), state: Attached::default() }
    }

    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(super) fn is_called(&self, py: Python<'_>) -> bool {
        self.state(py).called
    }

    pub(super) fn head_sent(&self, py: Python<'_>) -> bool {
        self.state(py).framing.is_some()
    }

    /// Sets the head, or replaces one that has not gone.
    pub(super) fn start(&self, py: Python<'_>, start: Start) {
        let mut state = self.state(py);
        state.called = true;
        state.start = Some(start);
    }

    /// The first header that is not sent.
    pub(super) fn take_dropped(&self, py: Python<'_>) -> Option<Dropped> {
        let mut state = self.state(py);
        let held_back = state.start.as_mut().and_then(|start| start.dropped.take());
        state.dropped.take().or(held_back)
    }

    /// Has a part of the body been given that is not empty?
    pub(super) fn body_begun(&self, py: Python<'_>) -> bool {
        self.state(py).begun
    }

    /// Adds fields that follow the body. They are sent if the client takes any.
    pub(super) fn add_trailers(&self, py: Python<'_>, fields: Vec<Field>) {
        self.state(py).trailer_fields.extend(fields);
    }

    /// Is only the head sent, whatever the application yields?
    pub(super) fn sends_no_body(&self, py: Python<'_>) -> bool {
        let state = self.state(py);
        match (&state.framing, &state.start) {
            (Some(framing), _) => matches!(framing, Framing::NoBody),
            (None, Some(start)) => {
                let framing = framing::new(self.exchange.head.head_only, start.head.code(), None);
                matches!(framing, Framing::NoBody)
            }
            (None, None) => false,
        }
    }

    /// Sends a block. `total` is the body's length, if it is known; it becomes Content-Length if the application has set
    /// none. `last`: no further block follows.
    pub(super) fn send(
        &self,
        py: Python<'_>,
        block: Bytes,
        total: Option<u64>,
        last: bool,
    ) -> Result<Sent, Unsent> {
        let Step { head, size, end, sent: outcome } =
            match self.step(py, block.len(), total, last, false)? {
                Some(step) => step,
                None => return Ok(self.nothing_more(py, block.len())),
            };
        let block = if size < block.len() { block.slice(..size) } else { block };
        let sent = self.exchange.push(head, block, end, |wait| detached(py, &self.exchange, wait));
        let mut state = self.state(py);
        state.sending = false;
        let Polled { rest, failure } = match sent {
            Err(Closed) if self.is_ignored() => return Ok(outcome),
            sent => sent?,
        };
        state.rest = rest;
        drop(state);
        self.say_failure(py, failure);
        Ok(outcome)
    }

    /// Is there something for which the pipe had no room, and for which nobody may wait (inline, and in a loop)?
    #[inline]
    pub(super) fn has_rest(&self, py: Python<'_>) -> bool {
        self.state(py).rest.is_some()
    }

    /// Sends what the pipe had no room for. False if it still has none.
    pub(super) fn send_rest(&self, py: Python<'_>) -> Result<bool, Unsent> {
        let Some(rest) = self.state(py).rest.take() else { return Ok(true) };
        match self.exchange.push_rest(rest, |wait| detached(py, &self.exchange, wait)) {
            Ok(Polled { rest, failure }) => {
                let sent = rest.is_none();
                self.state(py).rest = rest;
                self.say_failure(py, failure);
                Ok(sent)
            }
            Err(Closed) if self.is_ignored() => Ok(true),
            Err(Closed) => Err(Unsent::Gone),
        }
    }

    /// Logs that the temporary file cannot be written.
    fn say_failure(&self, py: Python<'_>, failure: Option<io::Error>) {
        let Some(error) = failure else { return };
        let text = format!(
            "a temporary file for the response cannot be written in \"{}\" ({}_temp_path): {error}; the \
             application waits for the client instead",
            self.exchange.location.buffering.directory.display(),
            self.exchange.location.protocol,
        );
        logging::write(py, Code::TempFileUnwritable, &text);
    }

    /// Inline: puts what the pipe had no room for into the temporary file. If that fails the response cannot be
    /// completed, whatever the application does.
    pub(super) fn spill(&self, py: Python<'_>) -> Result<(), Overflow> {
        let rest = self.state(py).rest.take();
        let spilled = rest.map_or(Ok(()), |rest| self.exchange.push_spilling(rest));
        match spilled {
            Err(Overflow::Closed) if self.is_ignored() => return Ok(()),
            Err(Overflow::NoRoom | Overflow::File(_)) => {
                let mut state = self.state(py);
                state.broken = true;
                // The end would have come with the block.
                state.ended = false;
            }
            Err(Overflow::Closed) | Ok(()) => {}
        }
        spilled
    }

    /// Sends a part of a file; `last`: as the rest of the body. Never waits.
    pub(super) fn send_file(
        &self,
        py: Python<'_>,
        part: FilePart,
        last: bool,
    ) -> Result<Sent, Unsent> {
        let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
        let total = last.then_some(part.len());
        let Some(Step { head, size, end, sent }) = self.step(py, len, total, last, last)? else {
            return Ok(self.nothing_more(py, len));
        };
        let part = FilePart { end: part.start + size as u64, ..part };
        let pushed = match (part.len(), end) {
            // Only the head is wanted.
            (0, Some(end)) => self.exchange.end(head, end),
            _ => self.exchange.push_file(head, part, end),
        };
        self.state(py).sending = false;
        match pushed {
            Err(Closed) if !self.is_ignored() => Err(Unsent::Gone),
            _ => Ok(sent),
        }
    }

    /// Accounts for a block of `len` bytes. The caller sends it, and then resets `sending`. `None` if the response is
    /// complete already.
    fn step(
        &self,
        py: Python<'_>,
        len: usize,
        total: Option<u64>,
        last: bool,
        file: bool,
    ) -> Result<Option<Step>, Unsent> {
        if fork::is_child() {
            return Err(Unsent::Gone);
        }
        let mut state = self.state(py);
        if state.ended {
            return Ok(None);
        }
        if state.broken {
            return Err(Unsent::Broken);
        }
        if state.sending || state.rest.is_some() {
            return Err(Unsent::Busy);
        }
        let mut head = self.take_head(&mut state, total);
        // A file that is shorter than Content-Length is not the whole body: nginx must not look for several ranges in
        // it (`ngx_http_range_test_overlapped`).
        let whole = |head: &&mut ResponseHead| {
            head.content_length().is_none_or(|length| length <= len as u64)
        };
        if let Some(head) = head.as_mut().filter(|_| file).filter(whole) {
            head.set_file();
        }
        state.begun |= len > 0;
        let trailers = state.trailers;
        let Some(framing) = &mut state.framing else { return Err(Unsent::NotStarted) };
        let size = framing.take(len);
        let cut = size < len && !matches!(framing, Framing::NoBody);
        let complete = framing.complete() || (last && framing.finish().is_ok());
        let ends = complete && (last || !trailers || matches!(framing, Framing::NoBody));
        state.ended = ends;
        state.sending = true;
        let sent = match (cut, complete) {
            (true, _) => Sent::Cut,
            (false, true) => Sent::Complete,
            (false, false) => Sent::More,
        };
        Ok(Some(Step { head, size, end: ends.then_some(End::Complete), sent }))
    }

    /// What becomes of a block when the response has ended.
    fn nothing_more(&self, py: Python<'_>, len: usize) -> Sent {
        let cut = len > 0 && !matches!(self.state(py).framing, Some(Framing::NoBody));
        if cut { Sent::Cut } else { Sent::Complete }
    }

    /// Does the client take fields behind the body?
    fn takes_trailers(&self) -> bool {
        trailer::are_taken(&self.exchange.head)
    }

    /// Does nobody wait for the rest of the response?
    pub(super) fn is_abandoned(&self, py: Python<'_>) -> bool {
        self.exchange.output.is_closed() && !self.is_ignored() && !self.state(py).ended
    }

    /// Has the client left, and must the application not notice (`wsgi_client_abort ignore`)?
    pub(super) fn is_ignored(&self) -> bool {
        self.exchange.location.client_abort == ClientAbort::Ignore
            && self.exchange.gone() == Some(Gone::Client)
            // Inline, there is no time for that at the worker's exit.
            && !(self.exchange.is_inline() && self.exchange.worker.is_stopping())
    }

    /// The application has yielded all of its blocks. The inner error says by how much the body is short.
    pub(super) fn finish(&self, py: Python<'_>) -> Result<Result<(), ShortBody>, Unsent> {
        let mut state = self.state(py);
        if state.ended {
            return Ok(Ok(()));
        }
        if state.broken {
            return Err(Unsent::Broken);
        }
        if state.sending || state.rest.is_some() {
            return Err(Unsent::Busy);
        }
        // If the head has not been sent, the body is empty.
        let head = self.take_head(&mut state, Some(0));
        if state.framing.is_none() {
            return Err(Unsent::NotStarted);
        }
        state.ended = true;
        let trailers = std::mem::take(&mut state.trailer_fields);
        let short = state.framing.as_ref().map_or(Ok(()), Framing::finish);
        drop(state);
        let end = if short.is_ok() { End::Complete } else { End::Failed };
        // If the body is short and nothing has been sent, the client gets a 500 instead.
        let head = head.filter(|_| short.is_ok());
        if !trailers.is_empty() && self.takes_trailers() {
            self.exchange.output.set_trailers(trailers);
        }
        self.exchange.end(head, end)?;
        Ok(short)
    }

    /// The response ends as one that failed.
    pub(super) fn fail(&self, py: Python<'_>) {
        let (ended, rest) = {
            let mut state = self.state(py);
            match state.ended {
                // It may still wait for room.
                true => (true, None),
                false => (std::mem::replace(&mut state.ended, true), state.rest.take()),
            }
        };
        drop(rest);
        if !ended {
            // A request that has ended meanwhile wants no answer.
            let _gone = self.exchange.end(None, End::Failed);
        }
    }

    fn take_head(&self, state: &mut State, total: Option<u64>) -> Option<ResponseHead> {
        let Start { mut head, buffering, trailers, dropped } = state.start.take()?;
        state.dropped = dropped;
        state.trailers = trailers;
        let head_only = self.exchange.head.head_only;
        if head.content_length().is_none() {
            if let Some(total) = total {
                head.set_content_length(framing::deduced_length(head_only, head.code(), total));
            }
        }
        state.framing = Some(framing::new(head_only, head.code(), head.content_length()));
        if trailers && self.takes_trailers() {
            head.expect_trailers();
        }
        if let Some(buffering) = buffering.filter(|_| self.exchange.location.accel_buffering) {
            self.exchange.output.set_buffering(buffering);
        }
        Some(head)
    }

    fn state<'a>(&'a self, py: Python<'a>) -> RefMut<'a, State> {
        self.state.borrow(py)
    }
}
