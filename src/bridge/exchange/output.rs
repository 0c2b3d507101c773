//! The response, as an exchange passes it on: the event loop is told of it; who waits for room is told by its executor,
//! and its deadline stands still meanwhile.

use bytes::Bytes;

use super::deadline::FOR_ROOM;
use super::{Exchange, RUNNING};
use crate::bridge::events::Event;
use crate::bridge::executor::{Change, Waiter};
use crate::bridge::pipe::output::hints::TooManyHints;
use crate::bridge::pipe::output::parts::{End, FilePart};
use crate::bridge::pipe::output::{Closed, Overflow, Polled, Put, Rest};
use crate::bridge::sync::{Arc, Ordering};
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;

impl Exchange {
    /// Sends a part of the response, as the application's executor allows: a thread waits until all of it has room, a
    /// loop and the event loop do not wait, and get back what has none. `detached` runs what may wait, or takes long,
    /// detached from Python.
    pub(crate) fn push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        self.note_end(end);
        match self.waiter()? {
            Waiter::Thread => self.push_waiting(head, block, end, detached),
            Waiter::EventLoop => self.try_push(head, block, end),
            Waiter::Task => self.poll_push(head, block, end, detached),
        }
    }

    /// Sends what came back, as far as there is room by now.
    pub(crate) fn push_rest(
        &self,
        rest: Rest,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        match self.waiter()? {
            Waiter::Task => self.poll_push_rest(rest, detached),
            Waiter::Thread | Waiter::EventLoop => self.output.try_push_rest(rest).map(Polled::from),
        }
    }

    /// The event loop, inline: puts what has no room in memory into the temporary file.
    pub(crate) fn push_spilling(&self, rest: Rest) -> Result<(), Overflow> {
        self.output.push_spilling(rest)
    }

    /// Thread: sends a part of a file. Never waits.
    pub(crate) fn push_file(
        &self,
        head: Option<ResponseHead>,
        part: FilePart,
        end: Option<End>,
    ) -> Result<(), Closed> {
        self.note_end(end);
        self.output.push_file(head, part, end, || self.announce())
    }

    /// Relay: adds what has come from the application's process.
    pub(crate) fn put(&self, add: impl FnOnce(&mut Put<'_>)) {
        self.output.put(add, || self.announce());
    }

    /// Thread: sends a 103 (Early Hints).
    pub(crate) fn push_hints(&self, fields: Vec<Field>) -> Result<(), TooManyHints> {
        self.output.push_hints(fields, || self.announce())
    }

    /// Thread: the response has ended. Never waits.
    pub(crate) fn end(&self, head: Option<ResponseHead>, end: End) -> Result<(), Closed> {
        self.note_end(Some(end));
        self.output.try_push(head, Bytes::new(), Some(end), || self.announce()).map(drop)
    }

    /// Loop's thread: nobody waits for room any more.
    pub(crate) fn stop_pushing(&self) {
        self.set_waiting(FOR_ROOM, false);
    }

    /// The event loop, inline: the application's iteration is suspended until the client has taken more, or is
    /// resumed.
    pub(crate) fn set_suspended(&self, suspended: bool) {
        self.set_waiting(FOR_ROOM, suspended);
    }

    /// Loop's thread: is the response no longer taken, because it is complete, answered by nginx, or without a client?
    /// If not, the loop is told when it is.
    pub(crate) fn poll_closed(&self) -> bool {
        self.output.poll_closed()
    }

    /// Event loop: the client takes nothing now ([`Output::hold_back`](super::Output::hold_back)).
    pub(crate) fn hold_back(self: &Arc<Self>, least: u64) -> bool {
        if self.is_relayed() {
            self.tell(Change::Taken { memory: 0, file: 0, files: 0, stalled: true });
        }
        self.output.hold_back(least, || self.resume())
    }

    /// Event loop: nginx has sent so much ([`Output::drained`](super::Output::drained)).
    pub(crate) fn drained(self: &Arc<Self>, memory: usize, file: u64, stalled: bool) -> bool {
        let all = self.output.drained(memory, file, stalled, || self.resume());
        if self.is_relayed() {
            self.tell(Change::Taken { memory, file, files: 0, stalled });
            // Its process may add to that file.
            return false;
        }
        all
    }

    /// Event loop: has closed so many temporary files.
    pub(crate) fn files_closed(self: &Arc<Self>, count: usize) {
        if self.is_relayed() {
            self.tell(Change::Taken { memory: 0, file: 0, files: count, stalled: false });
        }
        self.output.files_closed(count, || self.resume());
    }

    /// If the response ends with this: its request may be in nginx's log in a moment.
    fn note_end(&self, end: Option<End>) {
        if end.is_some() {
            self.timings.note_cpu();
        }
    }

    /// Who waits for room. An exchange whose executor does not exist is never run.
    fn waiter(&self) -> Result<Waiter, Closed> {
        self.executor().map(|executor| executor.waiter()).ok_or(Closed)
    }

    /// Thread: waits until all of it has room. If the temporary file cannot be written, the response continues without
    /// one.
    fn push_waiting(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        let mut rest = self.push_now(head, block, end)?;
        let mut result = Ok(None);
        if rest.is_some() {
            detached(&mut || {
                if let Some(rest) = rest.take() {
                    result = self.waiting(|| self.output.push_waiting(rest, || self.announce()));
                }
            });
        }
        result.map(|failure| Polled { rest: None, failure })
    }

    /// Loop's thread: does not wait for the client. What has no room comes back, for
    /// [`push_rest`](Self::push_rest); the loop is told when that has to be called
    /// ([`Executor::resume`](super::Executor::resume)). Until then the application's deadline stands still. `detached`
    /// writes the temporary file.
    fn poll_push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        match self.push_now(head, block, end)? {
            Some(rest) => self.poll_push_rest(rest, detached),
            None => Ok(Polled::from(None)),
        }
    }

    /// Loop's thread: sends what came back, as far as there is room by now.
    fn poll_push_rest(
        &self,
        rest: Rest,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        let polled = self.output.poll_push(rest, || self.announce(), detached);
        self.set_waiting(FOR_ROOM, matches!(polled, Ok(Polled { rest: Some(_), .. })));
        polled
    }

    /// Sends what has room in memory, or is gathered there. The rest comes back.
    fn push_now(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
    ) -> Result<Option<Rest>, Closed> {
        let announce = || self.announce();
        match self.output.try_push(head, block, end, announce)? {
            Some(rest) => self.output.try_gather(rest, announce),
            None => Ok(None),
        }
    }

    /// The event loop, inline: sends what there is room for; the rest comes back, for
    /// [`push_rest`](Self::push_rest) or [`push_spilling`](Self::push_spilling).
    fn try_push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
    ) -> Result<Polled, Closed> {
        let rest = match self.output.try_push(head, block, end, || ())? {
            Some(rest) => self.output.try_push_rest(rest)?,
            None => None,
        };
        Ok(Polled::from(rest))
    }

    /// Tells the event loop that there is something to take. If it runs the application itself it looks afterwards
    /// anyway.
    fn announce(&self) {
        if !self.is_inline() || self.phase.load(Ordering::Relaxed) != RUNNING {
            self.worker.events.push(Event::Output(self.id));
        }
    }
}
