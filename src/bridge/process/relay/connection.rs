//! What a web worker has of one process: the link, and the requests that have gone by it.

use std::collections::VecDeque;

use super::super::broken::Broken;
use super::super::frames::Number;
use super::super::link::{BATCH, SLOTS, Unsent, WebLink};
use super::super::to_process::ToProcess;
use super::super::to_worker::ToWorker;
use super::held::Held;
use super::stream::{Attached, State, Stream};
use super::streams::Streams;
use crate::bridge::carriage::Place;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::Change;
use crate::bridge::sync::Arc;

/// What there is with a process that lives, or will be started.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) link: WebLink,
    /// The process has said that it is there.
    pub(super) met: bool,
    /// It ends, and takes no more.
    pub(super) leaving: bool,
    /// It runs no Python before it has a request.
    dormant: bool,
    /// It has been answered that it leaves.
    bye: bool,
    /// It has said that the code has changed then.
    pub(super) changed: Option<u64>,
    /// It has to be told that it is replaced for that.
    pub(super) renew: Option<u64>,
    pub(super) streams: Streams,
    held: Held,
    /// The places of those that have something to send.
    ready: VecDeque<u32>,
}

impl Connection {
    /// `most_files`: so many descriptors of the process may be open here.
    pub(super) fn new(link: WebLink, most_files: usize) -> Self {
        Self {
            link,
            met: false,
            leaving: false,
            dormant: false,
            bye: false,
            changed: None,
            renew: None,
            streams: Streams::default(),
            held: Held::new(most_files),
            ready: VecDeque::new(),
        }
    }

    /// Does it take further requests?
    pub(super) fn is_able(&self) -> bool {
        self.met && !self.leaving && self.streams.len() < SLOTS
    }

    /// Those of a lower rank have requests first.
    pub(super) fn rank(&self, wakes_at: Option<usize>) -> u8 {
        match wakes_at {
            None => 0,
            Some(_) if self.dormant => 1,
            Some(busy) if self.streams.len() >= busy => 2,
            Some(_) => 0,
        }
    }

    /// Takes a request.
    pub(super) fn begin(
        &mut self,
        process: usize,
        exchange: Arc<Exchange>,
        tried: bool,
    ) -> Result<(), Broken> {
        let number = self.streams.free_place();
        let mark = self.link.mark(number)?;
        self.dormant = false;
        exchange.set_sent(Place { process, slot: number.slot }, mark);
        let stream = self.streams.insert(number, Stream::new(exchange, number, tried));
        if let Some(stream) = stream {
            make_ready(&mut self.ready, number.slot, stream);
        }
        Ok(())
    }

    /// Something has changed for the request of that place.
    pub(super) fn change(&mut self, slot: u32, exchange: &Arc<Exchange>, change: Change) {
        let Self { streams, ready, .. } = self;
        let stream = streams.at(slot).filter(|stream| Arc::ptr_eq(&stream.exchange, exchange));
        if let Some(stream) = stream {
            if stream.change(change) {
                make_ready(ready, slot, stream);
            }
        }
    }

    /// Shows the process what has been sent, and wakes it. True if there is more to do by now.
    pub(super) fn flush(&mut self) -> Result<bool, Broken> {
        self.link.flush(!self.ready.is_empty())
    }

    pub(super) fn receive(&mut self) -> Result<(), Broken> {
        // If there is more than one turn should take, `flush` says so.
        for _ in 0..BATCH {
            let is_full = self.held.is_full();
            self.link.pause(is_full);
            if is_full {
                break;
            }
            let Some((number, message)) = self.link.next()? else { break };
            self.act(number, message)?;
        }
        Ok(())
    }

    fn act(&mut self, number: Number, message: ToWorker) -> Result<(), Broken> {
        let attached = match message {
            ToWorker::Hello => {
                self.met = true;
                (self.leaving, self.bye) = (false, false);
                return Ok(());
            }
            ToWorker::Dormant(is_dormant) => {
                self.dormant = is_dormant;
                return Ok(());
            }
            ToWorker::Changed(when) => {
                self.changed = self.changed.max(Some(when));
                return Ok(());
            }
            ToWorker::Leaving => {
                self.leaving = true;
                return Ok(());
            }
            ToWorker::File(range) | ToWorker::Spilled(range) if !range.again => {
                Attached::File(self.link.take_file(range.end)?)
            }
            ToWorker::Tray(filled) => Attached::Tray(self.link.take_tray(filled)?),
            _ => Attached::None,
        };
        // What is about a request that is over here is dropped.
        let Some(stream) = self.streams.of(number) else { return Ok(()) };
        match stream.receive(message, attached, &mut self.held)? {
            State::Lives => make_ready(&mut self.ready, number.slot, stream),
            State::Over => self.streams.remove(number.slot),
        }
        Ok(())
    }

    pub(super) fn send(&mut self) -> Result<(), Broken> {
        if self.leaving && !self.bye {
            match self.link.send(Number::NONE, &ToProcess::Bye) {
                Ok(()) => self.bye = true,
                Err(Unsent::Broken(broken)) => return Err(broken),
                Err(Unsent::Full | Unsent::TooLarge) => {}
            }
        }
        if let Some(when) = self.renew {
            match self.link.send(Number::NONE, &ToProcess::Renew(when)) {
                Ok(()) => self.renew = None,
                Err(Unsent::Broken(broken)) => return Err(broken),
                Err(Unsent::Full | Unsent::TooLarge) => {}
            }
        }
        while let Some(slot) = self.ready.pop_front() {
            let Some(stream) = self.streams.at(slot) else { continue };
            stream.is_ready = false;
            match stream.drive(&mut self.link) {
                Ok(State::Lives) => {}
                Ok(State::Over) => self.streams.remove(slot),
                Err(Unsent::Full) => {
                    stream.is_ready = true;
                    self.ready.push_front(slot);
                    return Ok(());
                }
                Err(Unsent::TooLarge) => {
                    stream.fail();
                    self.streams.remove(slot);
                }
                Err(Unsent::Broken(broken)) => return Err(broken),
            }
        }
        Ok(())
    }
}

fn make_ready(ready: &mut VecDeque<u32>, slot: u32, stream: &mut Stream) {
    if !std::mem::replace(&mut stream.is_ready, true) {
        ready.push_back(slot);
    }
}
