//! What a process has of one web worker: the link, and the requests that have come by it.

use std::collections::{HashMap, VecDeque};

use super::super::broken::Broken;
use super::super::frames::Number;
use super::super::link::{ProcessLink, Unsent};
use super::super::to_worker::ToWorker;
use super::stream::Stream;
use crate::bridge::exchange::{Exchange, Progress};
use crate::bridge::id::Table;
use crate::bridge::pipe::output::parts::Batch;

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) link: usize,
    pub(super) slot: u32,
}

/// What there is with a web worker.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) link: ProcessLink,
    pub(super) streams: HashMap<u32, Stream>,
    /// The places of those that have something to send.
    pub(super) ready: VecDeque<u32>,
    /// What has to be said to the web worker itself, or about a request that there is not here.
    pub(super) says: VecDeque<(Number, ToWorker)>,
    /// It sends no more requests.
    pub(super) bye: bool,
    /// When it says so it has to hear that the process stays.
    pub(super) owes_hello: bool,
}

impl Connection {
    pub(super) fn send(
        &mut self,
        batch: &mut Batch,
        table: &mut Table<Place>,
    ) -> Result<(), Broken> {
        match self.try_send(batch, table) {
            // Of the latter there is none for what is said here.
            Ok(()) | Err(Unsent::Full | Unsent::TooLarge) => Ok(()),
            Err(Unsent::Broken(broken)) => Err(broken),
        }
    }

    fn try_send(&mut self, batch: &mut Batch, table: &mut Table<Place>) -> Result<(), Unsent> {
        while let Some((number, message)) = self.says.front() {
            self.link.send(*number, message)?;
            self.says.pop_front();
        }
        while let Some(slot) = self.ready.front().copied() {
            let Some(stream) = self.streams.get_mut(&slot) else {
                self.ready.pop_front();
                continue;
            };
            let is_over = match stream.drive(&mut self.link, batch) {
                Ok(is_over) => is_over,
                Err(Unsent::TooLarge) => {
                    stream.fail();
                    continue;
                }
                Err(unsent) => return Err(unsent),
            };
            self.ready.pop_front();
            stream.is_ready = false;
            if is_over {
                if let Some(exchange) = stream.exchange() {
                    leave(table, exchange);
                }
                self.streams.remove(&slot);
            }
        }
        Ok(())
    }

    /// Says that to the web worker, when there is room.
    pub(super) fn say(&mut self, message: ToWorker) {
        self.says.push_back((Number::NONE, message));
    }

    /// Is there something that has no room?
    pub(super) fn waits(&self) -> bool {
        !self.ready.is_empty() || !self.says.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty() && !self.waits()
    }
}

/// Has an application begun it?
pub(super) fn has_begun(exchange: &Exchange) -> bool {
    exchange.progress() != Progress::Waiting && !exchange.has_expired()
}

/// A request is over here.
pub(super) fn leave(table: &mut Table<Place>, exchange: &Exchange) {
    table.remove(exchange.id);
    exchange.meter().leave();
}

pub(super) fn make_ready(ready: &mut VecDeque<u32>, slot: u32, stream: &mut Stream) {
    if !std::mem::replace(&mut stream.is_ready, true) {
        ready.push_back(slot);
    }
}
