//! One request of a web worker, on its way to the process that runs its application, and back.

use std::fs::File;

use super::super::broken::Broken;
use super::super::frames::Number;
use super::super::link::{Unsent, WebLink};
use super::super::to_process::{Begin, Over, Taken, ToProcess};
use super::super::to_worker::ToWorker;
use super::download::Download;
use super::held::Held;
use super::upload::Upload;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::{Change, Refusal};
use crate::bridge::log::{About, LogLine};
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::{Block, End};
use crate::bridge::sync::Arc;
use crate::bridge::trays::Tray;
use crate::metrics::meters::Count;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) exchange: Arc<Exchange>,
    pub(super) number: Number,
    /// It has been tried with another process before.
    pub(super) tried: bool,
    /// It is among those that have something to send.
    pub(super) is_ready: bool,
    /// The process has been told of it.
    begun: bool,
    upload: Upload,
    control: Control,
    download: Download,
}

/// What the process has to hear of it.
#[derive(Debug, Default)]
struct Control {
    taken: Taken,
    /// What it has last heard of that.
    stalled: bool,
    asks: bool,
    drains: bool,
    is_gone: bool,
    is_closed: bool,
    is_over: bool,
    /// It has heard that.
    told_gone: bool,
    told_closed: bool,
}

/// What has come with a message, besides it.
#[derive(Debug)]
pub(super) enum Attached {
    None,
    File(File),
    Tray(Tray),
}

/// What becomes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Lives,
    /// Neither side needs it any more.
    Over,
}

/// Bytes of a response that a process may send before the client has taken them: what its own pipe holds, but at least and at most
/// these.
const LEAST_WINDOW: u64 = 64 * 1024;
const LARGEST_WINDOW: u64 = 1024 * 1024;

impl Stream {
    pub(super) fn new(exchange: Arc<Exchange>, number: Number, tried: bool) -> Self {
        let memory = exchange.location.buffering.memory as u64;
        let window = memory.clamp(LEAST_WINDOW, LARGEST_WINDOW);
        let (upload, _body) = Upload::of(&exchange);
        Self {
            exchange,
            number,
            tried,
            is_ready: false,
            begun: false,
            upload,
            control: Control::default(),
            download: Download::new(window),
        }
    }

    /// That has changed. True if it has something to send now.
    pub(super) fn change(&mut self, change: Change) -> bool {
        let control = &mut self.control;
        match change {
            Change::Input => {}
            Change::Taken { memory, file, files, stalled } => {
                let taken = &mut control.taken;
                taken.memory += memory as u64;
                taken.file += file;
                taken.files = taken.files.saturating_add(u32::try_from(files).unwrap_or(u32::MAX));
                taken.stalled = stalled;
                let closed = u32::try_from(self.download.closed_files()).unwrap_or(u32::MAX);
                taken.descriptors = taken.descriptors.saturating_add(closed);
                return self.owes_taken();
            }
            Change::Gone => control.is_gone = true,
            Change::Closed => control.is_closed = true,
            Change::Over => control.is_over = true,
            Change::Ask => control.asks = true,
            Change::Drain => control.drains = true,
        }
        true
    }

    /// Has the process to hear of what the client has taken? Not of each piece.
    fn owes_taken(&self) -> bool {
        let Taken { memory, file, files, descriptors, stalled } = self.control.taken;
        let much = match self.exchange.socket {
            // Its pipe may be smaller than any of these.
            Some(_) => 1,
            None => self.exchange.location.buffering.memory as u64 / 4,
        };
        !self.download.has_ended
            && (stalled != self.control.stalled
                || files > 0
                || descriptors > 0
                || memory.max(file) >= much.clamp(1, LEAST_WINDOW))
    }

    /// Sends what there is to send.
    pub(super) fn drive(&mut self, link: &mut WebLink) -> Result<State, Unsent> {
        if !self.begun && (self.control.is_closed || self.control.is_over) {
            return Ok(State::Over);
        }
        if !self.begun {
            self.begin(link)?;
        }
        self.pass_frames();
        if self.control.is_closed && self.exchange.socket.is_some() && !self.download.has_ended {
            // What the client has sent before is still received, and then how it has closed.
            self.send_gone(link)?;
            self.upload.drive(&self.exchange, self.number, link)?;
            if !self.upload.has_closed() {
                return Ok(State::Lives);
            }
        }
        self.send_control(link)?;
        if self.control.is_over {
            let report = &self.exchange.report;
            let over = Over { status: report.status(), sent: report.sent() };
            link.send(self.number, &ToProcess::Over(over))?;
            return Ok(State::Over);
        }
        if !self.control.is_closed {
            self.upload.drive(&self.exchange, self.number, link)?;
        }
        Ok(State::Lives)
    }

    fn begin(&mut self, link: &mut WebLink) -> Result<(), Unsent> {
        let exchange = &self.exchange;
        let (upload, body) = Upload::of(exchange);
        let begin = Begin {
            location: exchange.location.in_group,
            worker: std::process::id(),
            waited: exchange.timings.elapsed(),
            credit: self.download.window,
            body,
            head: exchange.head.clone(),
            handshake: exchange.socket.as_ref().map(|socket| socket.handshake.clone()),
        };
        link.send(self.number, &ToProcess::Begin(Box::new(begin)))?;
        self.upload = upload;
        if let Some(socket) = exchange.socket.as_deref() {
            self.upload.begin_messages(socket.limit());
            socket.set_elsewhere(true, || ());
        }
        self.begun = true;
        Ok(())
    }

    fn send_control(&mut self, link: &mut WebLink) -> Result<(), Unsent> {
        let number = self.number;
        if self.owes_taken() {
            let taken = self.control.taken;
            link.send(number, &ToProcess::Taken(taken))?;
            self.download.told_taken(taken.memory);
            self.control.stalled = taken.stalled;
            self.control.taken = Taken { stalled: taken.stalled, ..Taken::default() };
        }
        let control = &mut self.control;
        if control.asks {
            link.send(number, &ToProcess::Ask)?;
            control.asks = false;
        }
        if control.drains {
            link.send(number, &ToProcess::Drain)?;
            control.drains = false;
        }
        self.send_gone(link)?;
        let control = &mut self.control;
        if control.is_closed && !control.told_closed && !self.download.has_ended {
            let why = self.exchange.input.failure().unwrap_or(InputError::Answered);
            link.send(number, &ToProcess::Close(why))?;
            control.told_closed = true;
            self.upload.stop();
        }
        Ok(())
    }

    fn send_gone(&mut self, link: &mut WebLink) -> Result<(), Unsent> {
        if self.control.is_gone && !self.control.told_gone {
            if let Some(why) = self.exchange.gone() {
                link.send(self.number, &ToProcess::Gone(why))?;
            }
            self.control.told_gone = true;
        }
        Ok(())
    }

    /// Passes the frames on for which the WebSocket's pipe has room.
    fn pass_frames(&mut self) {
        self.control.taken.memory += self.download.pass_frames(&self.exchange);
    }

    /// The process has sent this.
    pub(super) fn receive(
        &mut self,
        message: ToWorker,
        attached: Attached,
        held: &mut Held,
    ) -> Result<State, Broken> {
        if self.download.has_ended {
            // What was asked before.
            return match message {
                ToWorker::Elapsed(_) | ToWorker::Credit(_) | ToWorker::Idle(_) => Ok(State::Lives),
                _ => Err(Broken::Order),
            };
        }
        let Self { exchange, download, upload, .. } = self;
        match message {
            ToWorker::Hello | ToWorker::Leaving | ToWorker::Dormant(_) | ToWorker::Changed(_) => {
                return Err(Broken::Order);
            }
            ToWorker::Refused(why) if download.may_be_refused() => {
                self.refuse(why);
                return Ok(State::Over);
            }
            ToWorker::Refused(_) => return Err(Broken::Order),
            ToWorker::Credit(bytes) => upload.add_credit(bytes),
            ToWorker::Idle(parts) => {
                let socket = exchange.socket.as_deref().ok_or(Broken::Order)?;
                if parts == upload.parts() {
                    socket.set_elsewhere(false, || exchange.announce_socket());
                }
            }
            ToWorker::Elapsed(time) => exchange.set_elapsed(time),
            ToWorker::Hints(fields) => {
                let mut result = Ok(());
                exchange.put(|put| result = put.hints(fields));
                result.map_err(|_too_many| Broken::Credit)?;
            }
            ToWorker::Head(head) => download.receive_head(exchange, *head)?,
            ToWorker::Block(bytes) => download.receive_bytes(exchange, bytes)?,
            ToWorker::Tray(_) => {
                let Attached::Tray(tray) = attached else { return Err(Broken::Order) };
                download.receive_tray(exchange, tray)?;
            }
            ToWorker::File(range) => {
                let file = attached.into_file();
                download.receive_part(exchange, range, file, held, Block::File)?;
            }
            ToWorker::Spilled(range) => {
                let file = attached.into_file();
                download.receive_part(exchange, range, file, held, Block::Spilled)?;
            }
            ToWorker::Frame(bytes) => {
                download.receive_frame(exchange, bytes, held)?;
                self.pass_frames();
            }
            ToWorker::Closing(close) => {
                download.receive_closing(exchange, close)?;
                self.pass_frames();
            }
            ToWorker::End(ended) => {
                let follows = ended.follows;
                download.receive_end(exchange, *ended);
                return Ok(if follows { State::Lives } else { State::Over });
            }
        }
        Ok(State::Lives)
    }

    /// The process does not take it.
    fn refuse(&mut self, why: Refusal) {
        self.exchange.meter().count(Count::Refused);
        self.log(Code::Refused, &why.to_string());
        // As in a worker of its own.
        let failed = matches!(why, Refusal::Broken | Refusal::LoopEnded);
        let _ends = self.end_early(if failed { End::Failed } else { End::Refused });
    }

    /// It is too large for the process, which has not heard of it.
    pub(super) fn fail(&mut self) {
        self.log(Code::NotCarried, "not carried to its process: its head may have 4 MiB");
        let _ends = self.end_early(End::Failed);
    }

    fn log(&self, code: Code, text: &str) {
        let about = About::Request(Arc::clone(&self.exchange));
        let _full = self.exchange.worker.events.try_log(LogLine::new(code, about, text));
    }

    /// Whether it can be tried with another process: its own has ended, and its application has not begun it.
    pub(super) fn can_be_tried(&self, reads_only: bool) -> bool {
        !self.download.has_ended
            && !self.tried
            && !self.has_begun()
            && !self.control.is_closed
            && reads_only
            && !self.upload.is_consumed()
    }

    /// Has its application begun it?
    pub(super) fn has_begun(&self) -> bool {
        use crate::bridge::exchange::Progress;

        self.exchange.progress() != Progress::Waiting
    }

    /// Nobody else will end its response. False if it has ended.
    pub(super) fn end_early(&mut self, end: End) -> bool {
        if self.download.has_ended || self.control.is_closed {
            return false;
        }
        self.download.has_ended = true;
        let _due = self.exchange.done();
        self.exchange.put(|put| put.end(end, Vec::new()));
        true
    }
}

impl Attached {
    fn into_file(self) -> Option<File> {
        match self {
            Self::File(file) => Some(file),
            Self::None | Self::Tray(_) => None,
        }
    }
}
