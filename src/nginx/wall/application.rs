//! The part of a process of a `python_process`: a link with each web worker.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nginx_sys::{ngx_event_t, ngx_msec_t};

use super::cycle_log::CycleLog;
use super::meeting::{self, Arrival};
use super::watched::{Kind, Listener, Target, Watched};
use super::web::{LOOK, is_closed, look_again};
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::config::LocationConfig;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::id::RequestId;
use crate::bridge::pipe::input::InputError;
use crate::bridge::process::broken::Broken;
use crate::bridge::process::descriptors;
use crate::bridge::process::front::{Front, Lost};
use crate::bridge::process::link::ProcessLink;
use crate::bridge::process::question::{Answer, Question};
use crate::nginx::log::say;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop::EventLoop;
use crate::nginx::request::lines;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};

pub(in crate::nginx) struct Application {
    front: RefCell<Front>,
    meeting: OwnedFd,
    watches_meeting: RefCell<Option<Watched>>,
    /// By the number of the link.
    links: RefCell<Vec<Option<Link>>>,
    /// Fires when an application may be slow by then.
    slow: OwnEvent,
    /// Fires when a link has to be looked at again.
    look: OwnEvent,
    /// A web worker has sent a request.
    used: Cell<bool>,
    /// The master has asked.
    question: Cell<Option<Question>>,
    least: RawFd,
}

struct Link {
    _watched: [Watched; 2],
    socket: RawFd,
}

/// What has happened to a request that another process has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum News {
    Output,
    ReadBody,
    Socket,
}

static CURRENT: OfEventThread<Option<&'static Application>> = OfEventThread::new(None);

/// Milliseconds before a slow application is looked for again, at least.
const LEAST: ngx_msec_t = 20;

impl Application {
    pub(super) fn new(
        worker: &Arc<Worker>,
        meeting: OwnedFd,
        locations: Vec<Arc<LocationConfig>>,
        least: RawFd,
    ) -> Self {
        Self {
            front: RefCell::new(Front::new(worker, locations)),
            meeting,
            watches_meeting: RefCell::new(None),
            links: RefCell::default(),
            slow: OwnEvent::new(look_for_slow).cancelable(),
            look: OwnEvent::new(look_again),
            used: Cell::new(false),
            question: Cell::new(None),
            least,
        }
    }

    pub(super) fn begin(&'static self, token: EventThread) {
        CURRENT.set(token, Some(self));
        let target = Target { kind: Kind::Meeting, number: 0 };
        let watched = Watched::new::<Self>(token, self.meeting.as_raw_fd(), target);
        if watched.is_none() {
            say!(
                &CycleLog,
                Code::LinkNotMade,
                "nginx has no connection left for the sockets of python_process (worker_connections); this process \
                 serves nobody",
            );
        }
        *self.watches_meeting.borrow_mut() = watched;
        // Those that came before this process.
        self.accept(token);
    }

    pub(super) fn turn(&self, token: EventThread, event_loop: &EventLoop) {
        let begun = {
            let mut front = self.front.borrow_mut();
            front.receive();
            front.take_begun()
        };
        if begun > 0 {
            self.used.set(true);
            event_loop.count_requests(begun);
            if !self.slow.is_started() {
                self.look_for_slow(token);
            }
        }
        self.drop_lost(event_loop);
    }

    pub(super) fn flush(&self, token: EventThread, event_loop: &EventLoop) -> bool {
        self.front.borrow_mut().send();
        // Who sees a response's end finds the lines in the log.
        lines::write_waiting(token);
        let (more, looks_again) = {
            let mut front = self.front.borrow_mut();
            (front.flush(), front.has_to_look_again())
        };
        if looks_again && !self.look.is_started() {
            self.look.start(token, &CycleLog, LOOK);
        }
        self.drop_lost(event_loop);
        more
    }

    pub(super) fn tell(&self, id: RequestId, news: News) {
        let mut front = self.front.borrow_mut();
        match news {
            News::Output => front.output(id),
            News::ReadBody => front.wanted(id),
            News::Socket => front.socket(id),
        }
    }

    pub(super) fn leave(&self) {
        // Whoever comes now is the next process's.
        *self.watches_meeting.borrow_mut() = None;
        self.front.borrow_mut().leave();
    }

    pub(super) fn set_dormant(&self, dormant: bool) {
        self.front.borrow_mut().set_dormant(dormant);
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    pub(super) fn say_changed(&self, when: u64) {
        self.front.borrow_mut().say_changed(when);
    }

    pub(super) fn take_renewal(&self) -> Option<u64> {
        self.front.borrow_mut().take_renewal()
    }

    pub(super) fn take_question(&self) -> Option<Question> {
        self.question.take()
    }

    pub(super) fn answer(&self, answer: &Answer) {
        // A master that cannot be answered does without.
        let _unsaid = descriptors::send(&self.meeting, &answer.to_bytes(), &[]);
    }

    pub(super) fn has_requests(&self) -> bool {
        self.front.borrow().has_requests()
    }

    pub(super) fn ask_to_end(&self) {
        self.front.borrow_mut().ask_to_end();
    }

    pub(super) fn may_end(&self) -> Option<bool> {
        self.front.borrow_mut().may_end()
    }

    pub(super) fn is_left_with(&self, but: &[Arc<Exchange>]) -> bool {
        self.front.borrow().is_left_with(but)
    }

    pub(super) fn take_back(&self, but: &[Arc<Exchange>]) -> bool {
        self.front.borrow().take_back(but)
    }

    pub(super) fn stay(&self) {
        self.front.borrow_mut().stay();
    }

    pub(super) fn cut(&self) {
        for exchange in self.exchanges() {
            exchange.set_gone(Gone::Answered);
            exchange.close(InputError::Answered);
        }
    }

    pub(super) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.front.borrow().exchanges().cloned().collect()
    }

    fn readable(&self, token: EventThread, target: Target) {
        let number = target.number;
        match target.kind {
            Kind::Meeting => self.accept(token),
            Kind::Bell => self.front.borrow_mut().rung(number),
            Kind::Socket => {
                let links = self.links.borrow();
                let socket = links.get(number).and_then(Option::as_ref).map_or(-1, |it| it.socket);
                drop(links);
                if is_closed(socket) {
                    self.front.borrow_mut().ended(number);
                }
            }
        }
    }

    /// Takes the links that web workers have sent.
    fn accept(&self, token: EventThread) {
        loop {
            match meeting::accept(&self.meeting, self.least) {
                Ok(Some(Arrival::Link(ends))) => self.connect(token, ProcessLink::of_process(ends)),
                Ok(Some(Arrival::Question(question))) => self.question.set(Some(question)),
                Ok(None) => return,
                Err(error) => say!(
                    &CycleLog,
                    Code::LinkNotMade,
                    "what a web worker shares with this process cannot be used: {error}",
                ),
            }
        }
    }

    fn connect(&self, token: EventThread, link: ProcessLink) {
        let [bell, socket] = link.watched();
        if is_closed(socket) {
            // That web worker has ended meanwhile.
            return;
        }
        let number = self.front.borrow_mut().connect(link);
        let bell = Watched::new::<Self>(token, bell, Target { kind: Kind::Bell, number });
        let watched = Watched::new::<Self>(token, socket, Target { kind: Kind::Socket, number });
        let Some(watched) = bell.zip(watched) else {
            say!(
                &CycleLog,
                Code::LinkNotMade,
                "nginx has no connection left for a web worker (worker_connections); its requests wait",
            );
            return self.front.borrow_mut().ended(number);
        };
        let mut links = self.links.borrow_mut();
        if links.len() <= number {
            links.resize_with(number + 1, || None);
        }
        if let Some(place) = links.get_mut(number) {
            *place = Some(Link { _watched: watched.into(), socket });
        }
    }

    fn drop_lost(&self, event_loop: &EventLoop) {
        let (lost, is_busy) = {
            let mut front = self.front.borrow_mut();
            (front.take_lost(), front.is_busy())
        };
        event_loop.set_guests(is_busy);
        for Lost { link, why, requests } in lost {
            if let Some(place) = self.links.borrow_mut().get_mut(link) {
                *place = None;
            }
            let code = match why {
                None => continue,
                Some(Broken::Ended) if requests == 0 => continue,
                Some(Broken::Ended) => Code::WebWorkerLost,
                Some(_) => Code::WebWorkerBroken,
            };
            let why = why.map(|why| why.to_string()).unwrap_or_default();
            say!(&CycleLog, code, "a web worker: {why}; {requests} of its requests are dropped");
        }
    }

    fn look_for_slow(&self, token: EventThread) {
        let next = self.front.borrow().look_for_slow();
        if let Some(next) = next {
            let next = ngx_msec_t::try_from(next.as_millis()).unwrap_or(ngx_msec_t::MAX / 2);
            self.slow.start(token, &CycleLog, next.max(LEAST));
        }
    }
}

impl Listener for Application {
    fn readable(token: EventThread, target: Target) {
        if let Some(application) = CURRENT.get(token) {
            application.readable(token, target);
        }
    }
}

/// # Safety
///
/// nginx calls it with an event that has a log.
unsafe extern "C" fn look_for_slow(event: *mut ngx_event_t) {
    // SAFETY: nginx calls this on its thread, with one of the module's own events, which has a log.
    unsafe {
        guard(
            (*event).log,
            || (),
            |token| {
                if let Some(application) = CURRENT.get(token) {
                    application.look_for_slow(token);
                }
            },
        );
    }
}
