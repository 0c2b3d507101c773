//! The web worker's side: carries its requests to the processes that run their applications, and the responses back.
//!
//! All of it runs on the event loop, at the end of a turn. What it is told waits in the executor
//! ([`Processes`](crate::bridge::executor::process::Processes)); what comes from a process goes into the exchanges'
//! pipes, by the calls that never wait.
//!
//! A request waits here as long as no process of its group has said that it is there. It goes to the process that has the
//! fewest of this worker's requests; among several to the one that was used last, whose caches are warm. A dormant process
//! (`start=lazy`) gets one if those that run have [`wakes_at`](crate::bridge::config::ProcessGroup::wakes_at) requests each.

mod connection;
mod download;
mod held;
mod stream;
mod streams;
pub(super) mod upload;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::connection::Connection;
use super::broken::Broken;
use super::link::WebLink;
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
    /// Descriptors that the processes may have open here, each group some.
    descriptors: usize,
    /// Since when no process is started again that has ended.
    ending: Option<Instant>,
}

/// The code of a group has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) group: usize,
    /// When, in milliseconds of the system's time.
    pub(crate) when: u64,
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

/// A process that has been started says within this time that it is there.
const COMES_WITHIN: Duration = Duration::from_secs(2);

/// Descriptors that one process may have open in a web worker, at least and at most. Beyond that nothing is read from it.
const LEAST_DESCRIPTORS: usize = 64;
const MOST_DESCRIPTORS: usize = 4096;

impl Relay {
    /// `descriptors`: so many files of one group may be open here, about.
    pub(crate) fn new(worker: &Worker, descriptors: usize) -> Self {
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
        Self { groups, processes, batch: Vec::new(), lost: Vec::new(), descriptors, ending: None }
    }

    /// A process has, or will get, the other end of that link.
    pub(crate) fn connect(&mut self, process: usize, link: WebLink) {
        let Some(process) = self.processes.get_mut(process) else { return };
        let group = self.groups.get(process.group);
        let share = self.descriptors / group.map_or(1, |it| it.executor.config.processes.max(1));
        let share = share.clamp(LEAST_DESCRIPTORS, MOST_DESCRIPTORS);
        process.connection = Some(Connection::new(link, share));
    }

    /// This worker was told to end: the master starts no process of its configuration again. One that has just been started
    /// will come.
    pub(crate) fn set_ending(&mut self) {
        self.ending.get_or_insert_with(Instant::now);
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

    /// What processes have said of changed code since this was last called.
    pub(crate) fn take_changed(&mut self) -> Vec<Changed> {
        let said = self.processes.iter_mut().filter_map(|process| {
            let when = process.connection.as_mut()?.changed.take()?;
            Some(Changed { group: process.group, when })
        });
        said.collect()
    }

    /// The processes of a group are replaced that had begun before its code changed.
    pub(crate) fn renew(&mut self, changed: Changed) {
        let own = self.processes.iter_mut().filter(|process| process.group == changed.group);
        for connection in own.filter_map(|process| process.connection.as_mut()) {
            connection.renew = connection.renew.max(Some(changed.when));
        }
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
            let Some(connection) = connection else { continue };
            match connection.flush() {
                Ok(again) => more |= again,
                Err(broken) => self.lose(at, broken),
            }
        }
        more
    }

    /// Whether a link has to be looked at again after a while.
    pub(crate) fn has_to_look_again(&self) -> bool {
        let mut connections = self.processes.iter().filter_map(|it| it.connection.as_ref());
        connections.any(|connection| connection.link.has_to_look_again())
            || (self.ending.is_some() && self.groups.iter().any(|group| !group.waiting.is_empty()))
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
        let Some(Place { process, slot }) = exchange.place() else {
            if change == Change::Closed {
                self.forget(exchange);
            }
            return;
        };
        let connection = self.processes.get_mut(process).and_then(|it| it.connection.as_mut());
        if let Some(connection) = connection {
            connection.change(slot, exchange, change);
        }
    }

    /// Nobody waits any more for a request that no process has: it does not count, wherever it is among the others.
    fn forget(&mut self, exchange: &Arc<Exchange>) {
        for group in &mut self.groups {
            let at = group.waiting.iter().position(|it| Arc::ptr_eq(&it.exchange, exchange));
            if at.and_then(|at| group.waiting.remove(at)).is_some() {
                group.executor.carried();
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
                return self.refuse_lost(group);
            };
            own.last = at;
            own.executor.carried();
            let connection = self.processes.get_mut(at).and_then(|it| it.connection.as_mut());
            if let Some(Err(broken)) =
                connection.map(|it| it.begin(at, waiting.exchange, waiting.tried))
            {
                self.lose(at, broken);
                return;
            }
        }
    }

    /// Refuses what waits for processes of a group of which none is there, and none will come.
    fn refuse_lost(&mut self, group: usize) {
        let is_late = self.ending.is_some_and(|since| since.elapsed() >= COMES_WITHIN);
        let Some(own) = self.groups.get_mut(group).filter(|_| is_late) else { return };
        let mut others = self.processes.iter().filter(|process| process.group == group);
        if others.any(|other| other.connection.as_ref().is_some_and(|it| it.met && !it.leaving)) {
            return;
        }
        for Waiting { exchange, .. } in own.waiting.drain(..) {
            own.executor.carried();
            let _due = exchange.done();
            exchange.put(|put| put.end(End::Refused, Vec::new()));
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
