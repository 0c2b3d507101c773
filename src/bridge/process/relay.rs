//! The web worker's side: carries its requests to the processes that run their applications, and the responses back.
//!
//! All of it runs on the event loop, at the end of a turn. What it is told waits in the executor
//! ([`Processes`](crate::bridge::executor::process::Processes)); what comes from a process goes into the exchanges'
//! pipes, by the calls that never wait.
//!
//! A request waits here as long as no process of its group has said that it is there. It goes to the process that has the
//! fewest of this worker's requests; among several to the one that was used last, whose caches are warm. A dormant process
//! (`start=lazy`) gets one if those that run have [`wakes_at`](crate::bridge::config::ProcessGroup::wakes_at) requests each.

mod stream;
pub(super) mod upload;

use std::collections::VecDeque;

use self::stream::{State, Stream};
use super::broken::Broken;
use super::frames::Number;
use super::link::{SLOTS, Unsent, WebLink};
use super::to_process::ToProcess;
use super::to_worker::ToWorker;
use crate::bridge::carriage::Place;
use crate::bridge::clock;
use crate::bridge::exchange::{Exchange, Processes, Progress, Worker};
use crate::bridge::executor::Change;
use crate::bridge::executor::process::Message;
use crate::bridge::pipe::output::parts::End;
use crate::bridge::sync::Arc;

#[derive(Debug)]
pub(crate) struct Relay {
    groups: Vec<Group>,
    /// Those of all groups, one behind the other.
    processes: Vec<Process>,
    batch: Vec<Message<Arc<Exchange>>>,
    lost: Vec<Lost>,
}

/// The processes of a `python_process`.
#[derive(Debug)]
struct Group {
    executor: Arc<Processes>,
    /// The number of its first process.
    first: usize,
    waiting: VecDeque<Waiting>,
    /// The process that was used last.
    last: usize,
}

/// A request that no process has.
#[derive(Debug)]
struct Waiting {
    exchange: Arc<Exchange>,
    tried: bool,
}

#[derive(Debug)]
struct Process {
    group: usize,
    slot: usize,
    connection: Option<Connection>,
}

/// What there is with a process that lives, or will be started.
#[derive(Debug)]
struct Connection {
    link: WebLink,
    /// The process has said that it is there.
    met: bool,
    /// It ends, and takes no more.
    leaving: bool,
    /// It runs no Python before it has a request.
    dormant: bool,
    /// It has been answered that it leaves.
    bye: bool,
    streams: Streams,
    /// The places of those that have something to send.
    ready: VecDeque<u32>,
}

/// The requests of a connection, by their places.
#[derive(Debug, Default)]
struct Streams {
    places: Vec<(u32, Option<Box<Stream>>)>,
    free: Vec<u32>,
}

/// A process whose link is closed. It needs another one.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) process: usize,
    pub(crate) slot: usize,
    pub(crate) why: Broken,
    /// How many requests are answered 502, or are cut; are answered 503; are tried with another process.
    pub(crate) failed: usize,
    pub(crate) refused: usize,
    pub(crate) tried: usize,
}

impl Relay {
    pub(crate) fn new(worker: &Worker) -> Self {
        let (mut groups, mut processes) = (Vec::new(), Vec::new());
        for (group, executor) in worker.processes.iter().enumerate() {
            let first = processes.len();
            groups.push(Group {
                executor: Arc::clone(executor),
                first,
                waiting: VecDeque::new(),
                last: first,
            });
            let slots = 0..executor.config.processes;
            processes.extend(slots.map(|slot| Process { group, slot, connection: None }));
        }
        Self { groups, processes, batch: Vec::new(), lost: Vec::new() }
    }

    /// A process has, or will get, the other end of that link.
    pub(crate) fn connect(&mut self, process: usize, link: WebLink) {
        let Some(process) = self.processes.get_mut(process) else { return };
        process.connection = Some(Connection {
            link,
            met: false,
            leaving: false,
            dormant: false,
            bye: false,
            streams: Streams::default(),
            ready: VecDeque::new(),
        });
    }

    /// The bell of a process has rung.
    pub(crate) fn rung(&mut self, process: usize) {
        let connection = self.processes.get_mut(process).and_then(|it| it.connection.as_mut());
        if let Some(Err(broken)) = connection.map(|connection| connection.link.hush()) {
            self.lose(process, broken);
        }
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, process: usize) {
        self.lose(process, Broken::Ended);
    }

    /// Is there something to carry that the turn has added?
    pub(crate) fn has_news(&self) -> bool {
        self.groups.iter().any(|group| !group.executor.is_empty())
    }

    /// Carries what there is, both ways.
    pub(crate) fn turn(&mut self) {
        for process in 0..self.processes.len() {
            self.receive(process);
        }
        for group in 0..self.groups.len() {
            self.take(group);
            self.distribute(group);
            self.show(group);
        }
        for process in 0..self.processes.len() {
            self.send(process);
        }
    }

    /// Shows the processes what has been sent, and wakes them. True if there is more to do by now.
    pub(crate) fn flush(&mut self) -> bool {
        let mut more = false;
        for at in 0..self.processes.len() {
            let connection = self.processes.get_mut(at).and_then(|it| it.connection.as_mut());
            let Some(Connection { link, ready, .. }) = connection else { continue };
            match link.flush(!ready.is_empty()) {
                Ok(again) => more |= again,
                Err(broken) => self.lose(at, broken),
            }
        }
        more
    }

    /// The processes that need another link.
    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Takes what the group's executor was told.
    fn take(&mut self, group: usize) {
        let mut batch = std::mem::take(&mut self.batch);
        if let Some(group) = self.groups.get(group) {
            group.executor.take(&mut batch);
        }
        for message in batch.drain(..) {
            match message {
                Message::Start(exchange) => {
                    if let Some(group) = self.groups.get_mut(group) {
                        group.waiting.push_back(Waiting { exchange, tried: false });
                    }
                }
                Message::Changed(exchange, change) => self.change(&exchange, change),
            }
        }
        self.batch = batch;
    }

    fn change(&mut self, exchange: &Arc<Exchange>, change: Change) {
        let Some(Place { process, slot }) = exchange.place() else { return };
        let connection = self.processes.get_mut(process).and_then(|it| it.connection.as_mut());
        let Some(Connection { streams, ready, .. }) = connection else { return };
        let stream = streams.at(slot).filter(|stream| Arc::ptr_eq(&stream.exchange, exchange));
        if let Some(stream) = stream {
            if stream.change(change) {
                make_ready(ready, slot, stream);
            }
        }
    }

    /// Gives the requests that wait to processes.
    fn distribute(&mut self, group: usize) {
        let Some(own) = self.groups.get_mut(group) else { return };
        while let Some(waiting) = own.waiting.pop_front() {
            if waiting.exchange.progress() != Progress::Waiting {
                own.executor.carried();
                continue;
            }
            let processes = self.processes.iter().enumerate().skip(own.first);
            let processes = processes.take(own.executor.config.processes);
            let able = processes.filter_map(|(at, process)| {
                let connection = process.connection.as_ref()?;
                let rank = connection.rank(own.executor.config.wakes_at);
                connection.is_able().then_some((rank, connection.streams.len(), at != own.last, at))
            });
            let Some((_, _, _, at)) = able.min() else {
                own.waiting.push_front(waiting);
                return;
            };
            own.last = at;
            own.executor.carried();
            let connection = self.processes.get_mut(at).and_then(|it| it.connection.as_mut());
            if let Some(Err(broken)) = connection.map(|connection| connection.begin(at, waiting)) {
                self.lose(at, broken);
                return;
            }
        }
    }

    /// Shows what waits, for `python_status`.
    fn show(&self, group: usize) {
        let Some(Group { executor, waiting, .. }) = self.groups.get(group) else { return };
        let since = waiting.front().map_or(0, |first| {
            let waited = first.exchange.timings.elapsed().as_millis();
            clock::milliseconds().saturating_sub(u64::try_from(waited).unwrap_or(0)).max(1)
        });
        executor.meter.show(waiting.len(), since);
    }

    fn receive(&mut self, at: usize) {
        let Some(process) = self.processes.get_mut(at) else { return };
        let Some(connection) = &mut process.connection else { return };
        if let Err(broken) = connection.receive() {
            self.lose(at, broken);
        }
    }

    fn send(&mut self, at: usize) {
        let Some(process) = self.processes.get_mut(at) else { return };
        let Some(connection) = &mut process.connection else { return };
        if let Err(broken) = connection.send() {
            self.lose(at, broken);
        }
    }

    /// The link with a process is of no use any more: its requests end, or are tried with another one.
    fn lose(&mut self, at: usize, why: Broken) {
        let Some(process) = self.processes.get_mut(at) else { return };
        let Some(mut connection) = process.connection.take() else { return };
        if why == Broken::Ended {
            // What it has sent before it ended counts.
            let _broken = connection.receive();
        }
        let mut lost =
            Lost { process: at, slot: process.slot, why, failed: 0, refused: 0, tried: 0 };
        let Some(group) = self.groups.get_mut(process.group) else { return };
        for mut stream in connection.streams.into_all() {
            let head = &stream.exchange.head;
            let reads_only = matches!(head.get(head.method), b"GET" | b"HEAD");
            if stream.can_be_tried(reads_only || connection.leaving) {
                lost.tried += 1;
                stream.exchange.set_unsent();
                group.executor.waits_again();
                group.waiting.push_back(Waiting { exchange: stream.exchange, tried: true });
            } else if stream.has_begun() {
                lost.failed += usize::from(stream.end_early(End::Lost));
            } else {
                lost.refused += usize::from(stream.end_early(End::Refused));
            }
        }
        self.lost.push(lost);
    }
}

impl Connection {
    /// Does it take further requests?
    fn is_able(&self) -> bool {
        self.met && !self.leaving && self.streams.len() < SLOTS
    }

    /// Those of a lower rank have requests first.
    fn rank(&self, wakes_at: Option<usize>) -> u8 {
        match wakes_at {
            None => 0,
            Some(_) if self.dormant => 1,
            Some(busy) if self.streams.len() >= busy => 2,
            Some(_) => 0,
        }
    }

    /// Takes a request.
    fn begin(&mut self, process: usize, waiting: Waiting) -> Result<(), Broken> {
        let Waiting { exchange, tried } = waiting;
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

    fn receive(&mut self) -> Result<(), Broken> {
        let Self { link, met, leaving, dormant, bye, streams, ready } = self;
        // If there is more than one turn should take, `flush` says so.
        let _more = link.receive(|link, number, message| {
            let file = match message {
                ToWorker::Hello => {
                    *met = true;
                    (*leaving, *bye) = (false, false);
                    return Ok(());
                }
                ToWorker::Dormant(is_dormant) => {
                    *dormant = is_dormant;
                    return Ok(());
                }
                ToWorker::Leaving => {
                    *leaving = true;
                    return Ok(());
                }
                ToWorker::File(range) | ToWorker::Spilled(range) if !range.again => {
                    Some(link.take_file(range.end)?)
                }
                _ => None,
            };
            // What is about a request that is over here is dropped.
            let Some(stream) = streams.of(number) else { return Ok(()) };
            match stream.receive(message, file)? {
                State::Lives => make_ready(ready, number.slot, stream),
                State::Over => streams.remove(number.slot),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn send(&mut self) -> Result<(), Broken> {
        if self.leaving && !self.bye {
            match self.link.send(Number::NONE, &ToProcess::Bye) {
                Ok(()) => self.bye = true,
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

impl Streams {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn at(&mut self, slot: u32) -> Option<&mut Stream> {
        self.places.get_mut(slot as usize)?.1.as_deref_mut()
    }

    fn of(&mut self, number: Number) -> Option<&mut Stream> {
        self.at(number.slot).filter(|stream| stream.number == number)
    }

    /// The number of the next request.
    fn free_place(&mut self) -> Number {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let place = self.places.get_mut(slot as usize);
        let generation = place.map_or(0, |(generation, _)| {
            *generation = generation.wrapping_add(1);
            *generation
        });
        Number { slot, generation }
    }

    fn insert(&mut self, number: Number, stream: Stream) -> Option<&mut Stream> {
        let place = self.places.get_mut(number.slot as usize)?;
        Some(place.1.insert(Box::new(stream)))
    }

    fn remove(&mut self, slot: u32) {
        let place = self.places.get_mut(slot as usize);
        if place.and_then(|place| place.1.take()).is_some() {
            self.free.push(slot);
        }
    }

    fn into_all(self) -> impl Iterator<Item = Stream> {
        self.places.into_iter().filter_map(|(_, stream)| stream.map(|stream| *stream))
    }
}
