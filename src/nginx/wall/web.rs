//! The web worker's part: a link with each process of each `python_process`.

use std::cell::RefCell;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

use nginx_sys::{ngx_event_t, ngx_msec_t};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cycle_log::CycleLog;
use super::meeting;
use super::watched::{Kind, Listener, Target, Watched};
use crate::bridge::code::Code;
use crate::bridge::config::ProcessGroup;
use crate::bridge::exchange::Worker;
use crate::bridge::process::broken::Broken;
use crate::bridge::process::link::WebLink;
use crate::bridge::process::relay::{Changed, Lost, Relay};
use crate::nginx::children;
use crate::nginx::log::say;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};

pub(in crate::nginx) struct Web {
    relay: RefCell<Relay>,
    /// By the number of the process.
    places: RefCell<Vec<Place>>,
    /// Fires when links have to be made that could not be made before, or not yet.
    again: OwnEvent,
    /// Fires when a link has to be looked at again.
    look: OwnEvent,
    least: RawFd,
}

/// What there is of a process.
struct Place {
    group: ProcessGroup,
    slot: usize,
    meeting: OwnedFd,
    watched: Option<[Watched; 2]>,
    /// The socket of the link, to look whether the other end is closed.
    socket: RawFd,
}

static CURRENT: OfEventThread<Option<&'static Web>> = OfEventThread::new(None);

/// Milliseconds before a link is made again with a process that has broken one, or that could not be made.
const PAUSE: ngx_msec_t = 1000;

/// Milliseconds before a link is looked at again for which nobody rings.
pub(super) const LOOK: ngx_msec_t = 20;

/// One in so many of this process's descriptors may be files of one group. nginx may open each a second time (`directio`).
const SHARE: usize = 4;

impl Web {
    pub(super) fn new(worker: &Arc<Worker>, ends: Vec<Vec<OwnedFd>>, least: RawFd) -> Self {
        let groups = worker.config.groups.iter().zip(ends);
        let places = groups.flat_map(|(group, ends)| {
            ends.into_iter().enumerate().map(|(slot, meeting)| Place {
                group: group.clone(),
                slot,
                meeting,
                watched: None,
                socket: -1,
            })
        });
        Self {
            relay: RefCell::new(Relay::new(worker, children::descriptors() / SHARE)),
            places: RefCell::new(places.collect()),
            again: OwnEvent::new(connect_again).cancelable(),
            look: OwnEvent::new(look_again),
            least,
        }
    }

    pub(super) fn begin(&'static self, token: EventThread) {
        CURRENT.set(token, Some(self));
        self.connect(token);
    }

    pub(super) fn turn(&self, token: EventThread) {
        self.relay.borrow_mut().turn();
        self.replace_lost(token);
    }

    pub(super) fn flush(&self, token: EventThread) -> bool {
        let more = {
            let mut relay = self.relay.borrow_mut();
            relay.turn();
            let more = relay.flush() || relay.has_news();
            if relay.has_to_look_again() && !self.look.is_started() {
                self.look.start(token, &CycleLog, LOOK);
            }
            more
        };
        self.replace_lost(token);
        more
    }

    pub(super) fn set_ending(&self) {
        self.relay.borrow_mut().set_ending();
    }

    pub(super) fn take_changed(&self) -> Vec<Changed> {
        self.relay.borrow_mut().take_changed()
    }

    pub(super) fn renew(&self, changed: Changed) {
        self.relay.borrow_mut().renew(changed);
    }

    fn readable(&self, target: Target) {
        let number = target.number;
        match target.kind {
            Kind::Bell => self.relay.borrow_mut().rung(number),
            Kind::Socket => {
                let socket = self.places.borrow().get(number).map_or(-1, |place| place.socket);
                if is_closed(socket) {
                    self.relay.borrow_mut().ended(number);
                }
            }
            Kind::Meeting => {}
        }
    }

    /// Makes a link with each process that has none.
    fn connect(&self, token: EventThread) {
        let mut places = self.places.borrow_mut();
        let mut is_complete = true;
        for (number, place) in places.iter_mut().enumerate() {
            if place.watched.is_none() {
                is_complete &= self.connect_one(token, number, place);
            }
        }
        if !is_complete && !self.again.is_started() {
            self.again.start(token, &CycleLog, PAUSE);
        }
    }

    /// False if that has to be tried again.
    fn connect_one(&self, token: EventThread, number: usize, place: &mut Place) -> bool {
        let ends = match meeting::offer(&place.meeting, place.group.ring, self.least) {
            Ok(Some(ends)) => ends,
            Ok(None) => return false,
            Err(error) => {
                say!(
                    &CycleLog,
                    Code::LinkNotMade,
                    "python_process \"{}\": what this worker shares with process {} cannot be made: {error}; this is \
                     tried again after a second",
                    place.group.name,
                    place.slot,
                );
                return false;
            }
        };
        let link = WebLink::of_worker(ends);
        let [bell, socket] = link.watched();
        let bell = Watched::new::<Self>(token, bell, Target { kind: Kind::Bell, number });
        let watched = Watched::new::<Self>(token, socket, Target { kind: Kind::Socket, number });
        let Some(watched) = bell.zip(watched) else {
            say!(
                &CycleLog,
                Code::LinkNotMade,
                "python_process \"{}\": nginx has no connection left for process {} (worker_connections); this is \
                 tried again after a second",
                place.group.name,
                place.slot,
            );
            return false;
        };
        place.watched = Some(watched.into());
        place.socket = socket;
        self.relay.borrow_mut().connect(number, link);
        true
    }

    /// Makes new links in the place of those that are of no use any more.
    fn replace_lost(&self, token: EventThread) {
        let lost = self.relay.borrow_mut().take_lost();
        if lost.is_empty() {
            return;
        }
        let mut at_once = false;
        for lost in lost {
            let mut places = self.places.borrow_mut();
            let Some(place) = places.get_mut(lost.process) else { continue };
            place.watched = None;
            place.socket = -1;
            at_once |= lost.why == Broken::Ended;
            say_lost(&place.group, &lost);
        }
        if at_once {
            self.connect(token);
        } else if !self.again.is_started() {
            self.again.start(token, &CycleLog, PAUSE);
        }
    }
}

impl Listener for Web {
    fn readable(token: EventThread, target: Target) {
        if let Some(web) = CURRENT.get(token) {
            web.readable(target);
        }
    }
}

fn say_lost(group: &ProcessGroup, lost: &Lost) {
    let Lost { slot, why, failed, refused, tried, .. } = lost;
    let requests = failed + refused + tried;
    let code = match why {
        Broken::Ended if requests == 0 => Code::ProcessEnded,
        Broken::Ended => Code::ProcessLost,
        _ => Code::ProcessBroken,
    };
    say!(
        &CycleLog,
        code,
        "python_process \"{}\": process {slot}: {why}; of this worker's requests there {failed} are answered 502 or cut, \
         {refused} are answered 503, and {tried} are tried with another process",
        group.name,
    );
}

/// Whether the other end of a socket is closed.
pub(super) fn is_closed(socket: RawFd) -> bool {
    if socket < 0 {
        return false;
    }
    // SAFETY: the descriptor is that of a link, which is open as long as it is watched.
    let socket = unsafe { rustix::fd::BorrowedFd::borrow_raw(socket) };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    poll(&mut polled, Some(&now)).is_ok()
        && polled.first().is_some_and(|it| it.revents().intersects(ended))
}

/// # Safety
///
/// nginx calls it with an event that has a log.
unsafe extern "C" fn connect_again(event: *mut ngx_event_t) {
    // SAFETY: nginx calls this on its thread, with one of the module's own events.
    unsafe {
        let log = if event.is_null() { ptr::null_mut() } else { (*event).log };
        guard(
            log,
            || (),
            |token| {
                if let Some(web) = CURRENT.get(token) {
                    web.connect(token);
                }
            },
        );
    }
}

/// The turn of the event loop that ends now looks at all links.
///
/// # Safety
///
/// nginx calls it with an event that has a log.
pub(super) unsafe extern "C" fn look_again(event: *mut ngx_event_t) {
    // SAFETY: nginx calls this on its thread, with one of the module's own events.
    unsafe {
        let log = if event.is_null() { ptr::null_mut() } else { (*event).log };
        guard(
            log,
            || (),
            |token| {
                if let Some(event_loop) = event_loop::current(token) {
                    event_loop.end_turn_later(token);
                }
            },
        );
    }
}
