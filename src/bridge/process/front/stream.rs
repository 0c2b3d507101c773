//! One request that has come from a web worker.

use std::collections::VecDeque;
use std::fs::File;

use super::super::broken::Broken;
use super::super::frames::Number;
use super::super::link::{ProcessLink, Unsent};
use super::super::relay::upload::WINDOW;
use super::super::to_process::{Begin, Body, Over, ToProcess};
use super::super::to_worker::ToWorker;
use super::download::{Download, Sent};
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::bridge::log::{About, LogLine};
use crate::bridge::pipe::input::{Input, Segment};
use crate::bridge::pipe::messages::{Part, Socket, cost};
use crate::bridge::pipe::output::parts::Batch;
use crate::bridge::sync::Arc;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: Number,
    /// It is among those that have something to send.
    pub(super) is_ready: bool,
    stage: Stage,
    file: Option<Arc<File>>,
}

const NOT_CARRIED: &str = "not carried to nginx's worker: a message of a WebSocket may have 64 MiB on its way from a process";

#[derive(Debug)]
enum Stage {
    /// Its body is on its way.
    Arriving {
        begin: Box<Begin>,
        segments: VecDeque<Segment>,
    },
    InFlight(Box<InFlight>),
    /// Nobody wants it any more.
    Dropped,
}

#[derive(Debug)]
struct InFlight {
    exchange: Arc<Exchange>,
    download: Download,
    /// Bytes of the body, or of a WebSocket's messages, that have come, and of which the web worker has not heard that
    /// they have been taken.
    owed: u64,
    /// The pipe is full: they have not been taken yet.
    paused: bool,
    asked: bool,
    /// Parts of messages that have come, and how many there were when the web worker last heard that the task only waits.
    parts: u64,
    idle_at: Option<u64>,
}

/// What becomes of a request after a message about it.
#[derive(Debug)]
pub(super) enum Next {
    Waits,
    /// It has something to send.
    Ready,
    /// It has come completely, or streams its body: its exchange can be made.
    Complete(Box<Begin>, Input),
    /// It is over.
    Over,
}

impl Stream {
    /// A request that has come; and its exchange, if there is nothing to wait for.
    pub(super) fn new(number: Number, begin: Box<Begin>) -> (Self, Next) {
        let (stage, next) = match begin.body {
            Body::Buffered => (Stage::Arriving { begin, segments: VecDeque::new() }, Next::Waits),
            Body::Streamed => (Stage::Dropped, Next::Complete(begin, Input::streamed(false))),
            Body::Idle => (Stage::Dropped, Next::Complete(begin, Input::streamed(true))),
        };
        (Self { number, is_ready: false, stage, file: None }, next)
    }

    /// Its exchange has been made and submitted.
    pub(super) fn set_exchange(&mut self, exchange: Arc<Exchange>, download: Download, body: Body) {
        let is_idle = body == Body::Idle;
        self.stage = Stage::InFlight(Box::new(InFlight {
            exchange,
            download,
            // The web worker begins to send as soon as the application asks.
            owed: if is_idle { WINDOW } else { 0 },
            paused: is_idle,
            asked: false,
            parts: 0,
            idle_at: None,
        }));
    }

    pub(super) fn exchange(&self) -> Option<&Arc<Exchange>> {
        match &self.stage {
            Stage::InFlight(in_flight) => Some(&in_flight.exchange),
            Stage::Arriving { .. } | Stage::Dropped => None,
        }
    }

    /// The web worker has sent this.
    pub(super) fn receive(
        &mut self,
        message: ToProcess,
        file: Option<File>,
    ) -> Result<Next, Broken> {
        if let Some(file) = file {
            self.file = Some(Arc::new(file));
        }
        match &mut self.stage {
            Stage::Arriving { segments, .. } => match message {
                ToProcess::Body(bytes) => segments.push_back(Segment::Memory(bytes)),
                ToProcess::BodyFile(range) => {
                    let file = self.file.clone().ok_or(Broken::NoFile)?;
                    segments.push_back(Segment::File { file, start: range.start, end: range.end });
                }
                ToProcess::BodyEnd => {
                    if let Stage::Arriving { begin, segments } =
                        std::mem::replace(&mut self.stage, Stage::Dropped)
                    {
                        return Ok(Next::Complete(begin, Input::buffered(segments)));
                    }
                }
                ToProcess::Close(_) => self.stage = Stage::Dropped,
                ToProcess::Over(_) => return Ok(Next::Over),
                ToProcess::Gone(_) | ToProcess::Ask => {}
                _ => return Err(Broken::Order),
            },
            Stage::InFlight(in_flight) => return in_flight.receive(message),
            Stage::Dropped => {
                if let ToProcess::Over(_) = message {
                    return Ok(Next::Over);
                }
            }
        }
        Ok(Next::Waits)
    }

    /// The application has taken what there was of the body.
    pub(super) fn set_wanted(&mut self) {
        if let Stage::InFlight(in_flight) = &mut self.stage {
            in_flight.paused = false;
        }
    }

    /// Something has changed for the WebSocket: is there room again?
    pub(super) fn look_at_socket(&mut self) {
        if let Stage::InFlight(in_flight) = &mut self.stage {
            let socket = in_flight.exchange.socket.as_deref();
            if socket.is_some_and(|socket| !socket.is_paused()) {
                in_flight.paused = false;
            }
        }
    }

    /// A part of its response is too large for the web worker. Its end, as one that has failed, is what is sent next.
    pub(super) fn fail(&mut self) {
        let Stage::InFlight(in_flight) = &mut self.stage else { return };
        let InFlight { exchange, download, .. } = &mut **in_flight;
        let about = About::Request(Arc::clone(exchange));
        let line = LogLine::new(Code::NotCarried, about, NOT_CARRIED);
        let _full = exchange.worker.events.try_log(line);
        if download.fail() {
            exchange.worker.collect();
        }
    }

    /// Sends what there is to send. True if the request is over.
    pub(super) fn drive(
        &mut self,
        link: &mut ProcessLink,
        batch: &mut Batch,
    ) -> Result<bool, Unsent> {
        let Stage::InFlight(in_flight) = &mut self.stage else { return Ok(false) };
        in_flight.drive(self.number, link, batch)
    }
}

impl InFlight {
    fn receive(&mut self, message: ToProcess) -> Result<Next, Broken> {
        let exchange = &self.exchange;
        match message {
            ToProcess::Body(bytes) if exchange.input.length().is_none() => {
                self.owed += bytes.len() as u64;
                if self.owed > 2 * WINDOW {
                    return Err(Broken::Credit);
                }
                // A part that comes while the pipe is full, and finds room again, is not asked for any more.
                self.paused = !exchange.push_input(bytes);
                if !self.paused {
                    exchange.notify_input();
                }
            }
            ToProcess::BodyEnd => {
                self.owed = 0;
                exchange.end_input();
            }
            ToProcess::BodyFailed(why) => {
                self.owed = 0;
                exchange.fail_input(why);
            }
            ToProcess::Taken(taken) => self.download.taken(exchange, taken),
            ToProcess::Gone(why) => exchange.set_gone(why),
            ToProcess::Close(why) => {
                self.owed = 0;
                if self.download.stop() {
                    exchange.worker.collect();
                }
                exchange.close(why);
            }
            ToProcess::Over(over) => {
                self.over(over);
                return Ok(Next::Over);
            }
            ToProcess::Ask => self.asked = true,
            ToProcess::Drain => {
                let socket = exchange.socket.as_deref().ok_or(Broken::Order)?;
                let _idle = socket.drain();
            }
            ToProcess::Part(part) => self.receive_part(part)?,
            ToProcess::Closed(close) => exchange.end_socket(close),
            ToProcess::Begin(_)
            | ToProcess::Body(_)
            | ToProcess::BodyFile(_)
            | ToProcess::Bye
            | ToProcess::Renew(_) => {
                return Err(Broken::Order);
            }
        }
        Ok(Next::Ready)
    }

    fn receive_part(&mut self, part: Part) -> Result<(), Broken> {
        let socket = self.exchange.socket.as_deref().ok_or(Broken::Order)?;
        self.owed += cost(&part.payload) as u64;
        self.parts += 1;
        let pushed = socket.push(part);
        self.paused = pushed.pauses;
        if pushed.wakes {
            self.exchange.resume();
        }
        Ok(())
    }

    fn over(&self, over: Over) {
        let report = &self.exchange.report;
        report.set_status(over.status);
        report.set_sent(over.sent);
        self.exchange.over();
    }

    fn drive(
        &mut self,
        number: Number,
        link: &mut ProcessLink,
        batch: &mut Batch,
    ) -> Result<bool, Unsent> {
        if self.asked {
            link.send(number, &ToWorker::Elapsed(self.exchange.elapsed()))?;
            self.asked = false;
        }
        if !self.paused && self.owed >= self.least() {
            link.send(number, &ToWorker::Credit(self.owed))?;
            self.owed = 0;
        }
        let may_go = self.exchange.socket.as_deref().is_some_and(Socket::may_go);
        if may_go && self.idle_at != Some(self.parts) {
            link.send(number, &ToWorker::Idle(self.parts))?;
            self.idle_at = Some(self.parts);
        }
        let sent = self.download.drive(&self.exchange, number, link, batch)?;
        if sent == Sent::Ended {
            self.exchange.over();
        }
        Ok(sent == Sent::Ended)
    }

    /// The web worker hears of so many bytes at once, so that it does not hear of each piece.
    fn least(&self) -> u64 {
        let queue = self.exchange.socket.as_deref().map(Socket::limit);
        queue.map_or(WINDOW, |queue| queue as u64).min(WINDOW) / 4
    }
}
