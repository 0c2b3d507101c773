//! The request's body, as an exchange passes it on: who waits for it is told by its executor, and its deadline stands
//! still meanwhile.

use bytes::Bytes;

use super::Exchange;
use super::deadline::FOR_BODY;
use crate::bridge::clock::nanoseconds;
use crate::bridge::events::Event;
use crate::bridge::pipe::input::{InputError, Read};
use crate::bridge::sync::Arc;

impl Exchange {
    /// Event loop: adds a part ([`Input::push`](super::Input::push)).
    pub(crate) fn push_input(self: &Arc<Self>, bytes: Bytes) -> bool {
        self.input.push(bytes, || self.resume())
    }

    /// Event loop: the client has sent no more for now.
    pub(crate) fn notify_input(self: &Arc<Self>) {
        self.input.notify(|| self.resume());
    }

    /// Event loop: the body is complete.
    pub(crate) fn end_input(self: &Arc<Self>) {
        self.input.end(|| self.resume());
    }

    /// Event loop: the rest will not come.
    pub(crate) fn fail_input(self: &Arc<Self>, why: InputError) {
        self.input.fail(why, || self.resume());
    }

    /// Thread: up to `max` bytes. `detached` runs what may wait, detached from Python.
    pub(crate) fn read_waiting(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        let ask = || self.ask_for_body();
        match self.input.try_read(max, ask)? {
            Read::Wait => {}
            read => return Ok(read),
        }
        let mut result = Ok(Read::End);
        detached(&mut || {
            let since = nanoseconds();
            result = self.waiting(|| self.input.read_waiting(max, ask, &self.worker.buffers));
            // A buffered body comes from a file.
            if self.input.length().is_none() {
                self.timings.add_input(since);
            }
        });
        result
    }

    /// Thread: the same, but [`Read::Wait`] instead of waiting for the client. A buffered body is read from its file
    /// by `detached`.
    pub(crate) fn try_read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        match self.input.length() {
            Some(_) => self.read_waiting(max, detached),
            None => self.input.try_read(max, || self.ask_for_body()),
        }
    }

    /// Loop's thread: the same. After [`Read::Wait`] the loop is told when this has to be called again; until then the
    /// application's deadline stands still.
    pub(crate) fn poll_read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        if self.input.length().is_some() {
            return self.read_waiting(max, detached);
        }
        let read = self.input.poll_read(max, || self.ask_for_body());
        self.set_waiting(FOR_BODY, matches!(read, Ok(Read::Wait)));
        read
    }

    /// Relay: up to `max` bytes of a streamed body. After [`Read::Wait`] it is told when this has to be called again.
    pub(crate) fn poll_input(&self, max: usize) -> Result<Read, InputError> {
        self.input.poll_read(max, || self.ask_for_body())
    }

    /// Loop's thread: nobody waits for the body any more.
    pub(crate) fn stop_reading(&self) {
        self.set_waiting(FOR_BODY, false);
    }

    /// Has the event loop read on.
    fn ask_for_body(&self) {
        self.worker.events.push(Event::ReadBody(self.id));
    }
}
