//! The application process's side: makes exchanges of the requests that come from web workers, and sends their responses
//! back. For the applications it is what nginx is in a web worker.
//!
//! All of it runs on the event loop, at the end of a turn. A link is there as long as its web worker; when that ends, its
//! requests have lost their clients.

mod connection;
mod download;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use self::connection::{Connection, Place, has_begun, leave, make_ready};
use self::download::Download;
use self::stream::{Next, Stream};
use super::broken::Broken;
use super::frames::Number;
use super::link::ProcessLink;
use super::to_process::{Begin, ToProcess};
use super::to_worker::ToWorker;
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::config::LocationConfig;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::executor::Refusal;
use crate::bridge::id::{RequestId, Table};
use crate::bridge::log::{About, LogLine};
use crate::bridge::pipe::input::{Input, InputError};
use crate::bridge::pipe::messages::Socket;
use crate::bridge::pipe::output::parts::Batch;
use crate::bridge::sync::Arc;
use crate::bridge::tasks::Task;

#[derive(Debug)]
pub(crate) struct Front {
    worker: Arc<Worker>,
    /// Those of its applications, in the order of their numbers.
    locations: Vec<Arc<LocationConfig>>,
    links: Vec<Option<Connection>>,
    table: Table<Place>,
    batch: Batch,
    /// The process is replaced, and wants no more requests.
    leaving: bool,
    /// It has no request, and asks the web workers whether it may end: none of them may have sent one meanwhile.
    asking: bool,
    /// It starts Python when it has a request.
    dormant: bool,
    /// The code has changed then, which no web worker has answered yet.
    changed: Option<u64>,
    /// A web worker wants it to be replaced for code that has changed then.
    renew: Option<u64>,
    /// Requests that have begun since this was last asked for.
    begun: u64,
    lost: Vec<Lost>,
}

/// A link that is closed.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) link: usize,
    /// `None`: the process is replaced, and has answered all.
    pub(crate) why: Option<Broken>,
    /// How many requests of it were in flight.
    pub(crate) requests: usize,
}

impl Front {
    pub(crate) fn new(worker: &Arc<Worker>, locations: Vec<Arc<LocationConfig>>) -> Self {
        Self {
            worker: Arc::clone(worker),
            locations,
            links: Vec::new(),
            table: Table::new(),
            batch: Batch::default(),
            leaving: false,
            asking: false,
            dormant: false,
            changed: None,
            renew: None,
            begun: 0,
            lost: Vec::new(),
        }
    }

    /// A web worker has sent one end of a link. Gives its number.
    pub(crate) fn connect(&mut self, link: ProcessLink) -> usize {
        let mut connection = Connection {
            link,
            streams: HashMap::new(),
            ready: VecDeque::new(),
            says: VecDeque::new(),
            bye: false,
            owes_hello: false,
        };
        connection.say(ToWorker::Hello);
        if self.dormant {
            connection.say(ToWorker::Dormant(true));
        }
        if self.leaving {
            connection.say(ToWorker::Leaving);
        }
        if let Some(when) = self.changed {
            connection.say(ToWorker::Changed(when));
        }
        let free = self.links.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        if let Some(place) = self.links.get_mut(at) {
            *place = Some(connection);
        }
        at
    }

    /// Whether any web worker has a request here, or might send one.
    pub(crate) fn is_busy(&self) -> bool {
        self.links.iter().any(Option::is_some)
    }

    /// The process is replaced: it answers the requests that are on their way, and takes no more.
    pub(crate) fn leave(&mut self) {
        self.asking = false;
        if !std::mem::replace(&mut self.leaving, true) {
            for connection in self.links.iter_mut().flatten() {
                connection.say(ToWorker::Leaving);
            }
        }
    }

    /// The code has changed at that moment: one of the web workers looks whether it can be imported.
    pub(crate) fn say_changed(&mut self, when: u64) {
        self.changed = Some(when);
        for connection in self.links.iter_mut().flatten() {
            connection.say(ToWorker::Changed(when));
        }
    }

    /// A web worker has this process replaced for code that has changed at that moment.
    pub(crate) fn take_renewal(&mut self) -> Option<u64> {
        self.renew.take()
    }

    /// Whether any web worker has a request here.
    pub(crate) fn has_requests(&self) -> bool {
        self.links.iter().flatten().any(|connection| !connection.streams.is_empty())
    }

    /// Whether the web workers send no more requests, and of those that are here no others than `but` have begun: another
    /// process may have the rest.
    pub(crate) fn is_left_with(&self, but: &[Arc<Exchange>]) -> bool {
        self.links.iter().flatten().all(|connection| {
            // One that is still on its way has not begun.
            let mut exchanges = connection.streams.values().filter_map(Stream::exchange);
            connection.bye
                && exchanges
                    .all(|it| !has_begun(it) || but.iter().any(|other| Arc::ptr_eq(it, other)))
        })
    }

    /// The process ends: no application begins a request any more that has not begun, and another process may have it. False
    /// if one has begun by now that is none of `but`.
    pub(crate) fn take_back(&self, but: &[Arc<Exchange>]) -> bool {
        let is_other = |it: &&Arc<Exchange>| !but.iter().any(|other| Arc::ptr_eq(it, other));
        for exchange in self.exchanges().filter(is_other) {
            if exchange.expire() {
                self.worker.forget(exchange);
            } else if has_begun(exchange) {
                return false;
            }
        }
        true
    }

    /// The process begins to be dormant, or has started Python.
    pub(crate) fn set_dormant(&mut self, dormant: bool) {
        self.dormant = dormant;
        for connection in self.links.iter_mut().flatten() {
            connection.say(ToWorker::Dormant(dormant));
        }
    }

    /// The process has no request, and would end. [`may_end`](Self::may_end) says whether it may.
    pub(crate) fn ask_to_end(&mut self) {
        self.leave();
        self.asking = true;
    }

    /// Whether the process may end that has asked. `None`: some web workers have not answered. If one has sent a request
    /// before it heard the question the process stays, and has to ask again.
    pub(crate) fn may_end(&mut self) -> Option<bool> {
        let stays = self.has_requests();
        if !stays && !self.links.iter().flatten().all(|connection| connection.bye) {
            return None;
        }
        if stays {
            self.stay();
        }
        self.asking = false;
        Some(!stays)
    }

    /// The process has asked, and stays.
    pub(crate) fn stay(&mut self) {
        (self.leaving, self.asking) = (false, false);
        for connection in self.links.iter_mut().flatten() {
            if std::mem::take(&mut connection.bye) {
                connection.say(ToWorker::Hello);
            } else {
                connection.owes_hello = true;
            }
        }
    }

    /// The bell of a web worker has rung.
    pub(crate) fn rung(&mut self, link: usize) {
        let connection = self.links.get_mut(link).and_then(Option::as_mut);
        if let Some(Err(broken)) = connection.map(|connection| connection.link.hush()) {
            self.lose(link, Some(broken));
        }
    }

    /// A web worker has ended.
    pub(crate) fn ended(&mut self, link: usize) {
        self.lose(link, Some(Broken::Ended));
    }

    /// The response of a request has something to send.
    pub(crate) fn output(&mut self, id: RequestId) {
        self.make_ready(id, |_| ());
    }

    /// More of a request's body is wanted.
    pub(crate) fn wanted(&mut self, id: RequestId) {
        self.make_ready(id, Stream::set_wanted);
    }

    /// A WebSocket has frames, or room for parts of messages again.
    pub(crate) fn socket(&mut self, id: RequestId) {
        self.make_ready(id, Stream::look_at_socket);
    }

    fn make_ready(&mut self, id: RequestId, act: impl FnOnce(&mut Stream)) {
        let Some(Place { link, slot }) = self.table.get(id) else { return };
        let Some(connection) = self.links.get_mut(link).and_then(Option::as_mut) else { return };
        if let Some(stream) = connection.streams.get_mut(&slot) {
            act(stream);
            make_ready(&mut connection.ready, slot, stream);
        }
    }

    /// Takes what has come from the web workers.
    pub(crate) fn receive(&mut self) {
        for at in 0..self.links.len() {
            let Some(mut connection) = self.links.get_mut(at).and_then(Option::take) else {
                continue;
            };
            let received = self.receive_of(at, &mut connection);
            if let Some(place) = self.links.get_mut(at) {
                *place = Some(connection);
            }
            if let Err(broken) = received {
                self.lose(at, Some(broken));
            }
        }
    }

    /// Sends what there is for the web workers. They do not see it before [`flush`](Self::flush).
    pub(crate) fn send(&mut self) {
        for at in 0..self.links.len() {
            let Some(connection) = self.links.get_mut(at).and_then(Option::as_mut) else {
                continue;
            };
            if let Err(broken) = connection.send(&mut self.batch, &mut self.table) {
                self.lose(at, Some(broken));
            }
        }
    }

    /// Shows the web workers what has been sent, and wakes them. True if there is more to do by now.
    pub(crate) fn flush(&mut self) -> bool {
        let mut more = false;
        for at in 0..self.links.len() {
            let Some(connection) = self.links.get_mut(at).and_then(Option::as_mut) else {
                continue;
            };
            match connection.link.flush(connection.waits()) {
                Ok(_) if connection.bye && !self.asking && connection.is_idle() => {
                    self.lose(at, None)
                }
                Ok(again) => more |= again,
                Err(broken) => self.lose(at, Some(broken)),
            }
        }
        more
    }

    /// Whether a link has to be looked at again after a while.
    pub(crate) fn has_to_look_again(&self) -> bool {
        self.links.iter().flatten().any(|connection| connection.link.has_to_look_again())
    }

    /// How many requests have begun since this was last asked.
    pub(crate) fn take_begun(&mut self) -> u64 {
        std::mem::take(&mut self.begun)
    }

    /// The links that have been closed.
    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// The exchanges in flight.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Arc<Exchange>> {
        let streams = self.links.iter().flatten().flat_map(|it| it.streams.values());
        streams.filter_map(Stream::exchange)
    }

    /// Has those applications said to be slow that are (`…_slow_request`). Gives the time after which this has to be done
    /// again, if there is any.
    pub(crate) fn look_for_slow(&self) -> Option<Duration> {
        let mut next = None;
        for exchange in self.exchanges().filter(|exchange| exchange.location.slow.is_some()) {
            if exchange.begin_slow() {
                let about = About::Request(Arc::clone(exchange));
                let line = LogLine::new(Code::Slow, about, &exchange.slow_text());
                let _full = self.worker.events.try_log(line);
                self.worker.tasks.push(Task::LogSlow(Arc::clone(exchange)));
            }
            next = [next, exchange.slow_in_at_least()].into_iter().flatten().min();
        }
        next
    }

    fn receive_of(&mut self, at: usize, connection: &mut Connection) -> Result<(), Broken> {
        let leaving = self.leaving;
        let mut renewal = None;
        let Connection { link, streams, ready, says, bye, owes_hello } = connection;
        let _more = link.receive(|link, number, message| {
            let file = match &message {
                ToProcess::BodyFile(range) if !range.again => Some(link.take_file(range.end)?),
                _ => None,
            };
            let next = match message {
                ToProcess::Bye => {
                    if std::mem::take(owes_hello) && !leaving {
                        says.push_back((Number::NONE, ToWorker::Hello));
                    } else {
                        *bye = true;
                    }
                    return Ok(());
                }
                ToProcess::Renew(when) => {
                    renewal = renewal.max(Some(when));
                    return Ok(());
                }
                ToProcess::Begin(begin) => {
                    let (stream, next) = Stream::new(number, begin);
                    streams.insert(number.slot, stream);
                    next
                }
                message => match streams.get_mut(&number.slot) {
                    Some(stream) if stream.number == number => stream.receive(message, file)?,
                    // It is over here.
                    _ => return Ok(()),
                },
            };
            let Some(stream) = streams.get_mut(&number.slot) else { return Ok(()) };
            match next {
                Next::Waits => {}
                Next::Ready => make_ready(ready, number.slot, stream),
                Next::Complete(begin, input) => {
                    if let Err(refusal) = self.begin(at, link, stream, *begin, input)? {
                        streams.remove(&number.slot);
                        says.push_back((number, ToWorker::Refused(refusal)));
                    }
                }
                Next::Over => {
                    if let Some(exchange) = stream.exchange() {
                        leave(&mut self.table, exchange);
                    }
                    streams.remove(&number.slot);
                }
            }
            Ok(())
        })?;
        if renewal.is_some() {
            self.changed = self.changed.filter(|changed| renewal < Some(*changed));
            self.renew = self.renew.max(renewal);
        }
        Ok(())
    }

    /// Makes the exchange of a request, and submits it.
    fn begin(
        &mut self,
        at: usize,
        link: &ProcessLink,
        stream: &mut Stream,
        begin: Begin,
        input: Input,
    ) -> Result<Result<(), Refusal>, Broken> {
        let Begin { location, worker, waited, credit, body, head, handshake } = begin;
        let location = self.locations.get(location).cloned().ok_or(Broken::Order)?;
        let number = stream.number;
        let id = self.table.insert(Place { link: at, slot: number.slot });
        let queue = location.websocket.as_ref().map(|config| config.queue);
        let mut exchange = Exchange::new(id, location, Arc::clone(&self.worker), input);
        if let Some(exchange) = Arc::get_mut(&mut exchange) {
            exchange.head = head;
            let socket = handshake.zip(queue);
            exchange.socket = socket.map(|(it, queue)| Box::new(Socket::new(it, queue)));
        }
        exchange.set_origin(worker, link.mark(number)?);
        exchange.meter().take();
        self.begun += 1;
        stream.set_exchange(Arc::clone(&exchange), Download::new(credit, waited), body);
        let submitted = self.worker.submit(Arc::clone(&exchange));
        if submitted.is_err() {
            leave(&mut self.table, &exchange);
        }
        Ok(submitted.map(drop))
    }

    /// A link is closed: the clients of its requests are gone.
    fn lose(&mut self, at: usize, why: Option<Broken>) {
        let Some(connection) = self.links.get_mut(at).and_then(Option::take) else { return };
        let mut requests = 0;
        for stream in connection.streams.into_values() {
            requests += 1;
            if let Some(exchange) = stream.exchange() {
                leave(&mut self.table, exchange);
                exchange.set_gone(Gone::Client);
                exchange.close(InputError::ClientGone);
                exchange.over();
            }
        }
        self.lost.push(Lost { link: at, why, requests });
    }
}
