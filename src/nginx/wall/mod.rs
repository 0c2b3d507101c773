//! How the event loop takes part in carrying requests to other processes (`python_process`), and from web workers: the
//! memory and the descriptors of each link, and nginx's events for them. `bridge/process` has what crosses.

mod application;
mod cycle_log;
mod meeting;
mod memory;
mod watched;
mod web;

use std::os::fd::RawFd;
use std::sync::Arc;

use self::application::Application;
pub(in crate::nginx) use self::application::News;
use self::web::Web;
use crate::bridge::config::{LocationConfig, Role};
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::id::RequestId;
use crate::bridge::process::question::{Answer, Question};
use crate::bridge::process::relay::Changed;
use crate::nginx::meetings::Ends;
use crate::nginx::request::event_loop::EventLoop;
use crate::nginx::trampoline::EventThread;

/// A process's part in it.
pub(in crate::nginx) enum Wall {
    /// There is no other process to carry requests to.
    None,
    Web(Box<Web>),
    Application(Box<Application>),
}

impl Wall {
    /// The part of this process. `locations`: those of its own applications, in the order of their numbers, if it is an
    /// application process. `least`: its descriptors have no lower numbers.
    pub(in crate::nginx) fn new(
        worker: &Arc<Worker>,
        meetings: Ends,
        locations: Vec<Arc<LocationConfig>>,
        least: RawFd,
    ) -> Self {
        match (worker.config.role, meetings) {
            (Role::Web, _) if worker.config.groups.is_empty() => Self::None,
            (Role::Web, Ends::Web(ends)) => Self::Web(Box::new(Web::new(worker, ends, least))),
            (Role::Application { .. }, Ends::Application(end)) => {
                Self::Application(Box::new(Application::new(worker, end, locations, least)))
            }
            // The sockets could not be made, which the master has logged.
            (_, _) => Self::None,
        }
    }

    /// Begins to listen to the others, once.
    pub(in crate::nginx) fn begin(&'static self, token: EventThread) {
        match self {
            Self::None => {}
            Self::Web(web) => web.begin(token),
            Self::Application(application) => application.begin(token),
        }
    }

    /// Takes what has come from the others, and carries what this turn has added.
    pub(in crate::nginx) fn turn(&self, token: EventThread, event_loop: &EventLoop) {
        match self {
            Self::None => {}
            Self::Web(web) => web.turn(token),
            Self::Application(application) => application.turn(token, event_loop),
        }
    }

    /// Shows the others what there is for them, and wakes them. True if there is more to do by now.
    pub(in crate::nginx) fn flush(&self, token: EventThread, event_loop: &EventLoop) -> bool {
        match self {
            Self::None => false,
            Self::Web(web) => web.flush(token),
            Self::Application(application) => application.flush(token, event_loop),
        }
    }

    /// That has happened to a request that has come from a web worker.
    pub(in crate::nginx) fn tell(&self, id: RequestId, news: News) {
        if let Self::Application(application) = self {
            application.tell(id, news);
        }
    }

    /// The process is dormant, or no more: the web workers are told.
    pub(in crate::nginx) fn set_dormant(&self, dormant: bool) {
        if let Self::Application(application) = self {
            application.set_dormant(dormant);
        }
    }

    /// Whether a web worker has sent a request.
    pub(in crate::nginx) fn is_used(&self) -> bool {
        matches!(self, Self::Application(application) if application.is_used())
    }

    /// Tells the web workers that the code of this process's group has changed at that moment.
    pub(in crate::nginx) fn say_changed(&self, when: u64) {
        if let Self::Application(application) = self {
            application.say_changed(when);
        }
    }

    /// What processes have said of changed code since this was last called.
    pub(in crate::nginx) fn take_changed(&self) -> Vec<Changed> {
        match self {
            Self::Web(web) => web.take_changed(),
            Self::None | Self::Application(_) => Vec::new(),
        }
    }

    /// Has the processes of a group replaced that had begun before its code changed.
    pub(in crate::nginx) fn renew(&self, changed: Changed) {
        if let Self::Web(web) = self {
            web.renew(changed);
        }
    }

    /// A web worker has this process replaced for code that has changed at that moment.
    pub(in crate::nginx) fn take_renewal(&self) -> Option<u64> {
        match self {
            Self::Application(application) => application.take_renewal(),
            Self::None | Self::Web(_) => None,
        }
    }

    /// What the master has asked since this was last called.
    pub(in crate::nginx) fn take_question(&self) -> Option<Question> {
        match self {
            Self::Application(application) => application.take_question(),
            Self::None | Self::Web(_) => None,
        }
    }

    /// Answers the master.
    pub(in crate::nginx) fn answer(&self, answer: &Answer) {
        if let Self::Application(application) = self {
            application.answer(answer);
        }
    }

    /// Whether a web worker has a request here.
    pub(in crate::nginx) fn has_requests(&self) -> bool {
        matches!(self, Self::Application(application) if application.has_requests())
    }

    /// Asks the web workers whether the process may end, which has no request.
    pub(in crate::nginx) fn ask_to_end(&self) {
        if let Self::Application(application) = self {
            application.ask_to_end();
        }
    }

    /// Their answer. `None`: some have not answered. If it may not end they have been told that it stays.
    pub(in crate::nginx) fn may_end(&self) -> Option<bool> {
        match self {
            Self::Application(application) => application.may_end(),
            Self::None | Self::Web(_) => Some(false),
        }
    }

    /// Whether they send no more requests, and no others than these have begun.
    pub(in crate::nginx) fn is_left_with(&self, but: &[Arc<Exchange>]) -> bool {
        match self {
            Self::Application(application) => application.is_left_with(but),
            Self::None | Self::Web(_) => true,
        }
    }

    /// No request begins any more that has not begun. False if one has by now that is none of these.
    pub(in crate::nginx) fn take_back(&self, but: &[Arc<Exchange>]) -> bool {
        match self {
            Self::Application(application) => application.take_back(but),
            Self::None | Self::Web(_) => true,
        }
    }

    /// Tells them that the process stays, which has asked.
    pub(in crate::nginx) fn stay(&self) {
        if let Self::Application(application) = self {
            application.stay();
        }
    }

    /// This web worker was told to end: a process of its configuration that has ended by then is not started again.
    pub(in crate::nginx) fn set_ending(&self) {
        if let Self::Web(web) = self {
            web.set_ending();
        }
    }

    /// This process exits: an application process answers what is on its way, and wants no more.
    pub(in crate::nginx) fn leave(&self, token: EventThread, event_loop: &EventLoop) {
        if let Self::Application(application) = self {
            application.leave();
            event_loop.end_turn_later(token);
        }
    }

    /// The process ends at once: nobody answers the requests that have come from web workers.
    pub(in crate::nginx) fn cut(&self) {
        if let Self::Application(application) = self {
            application.cut();
        }
    }

    /// The requests that have come from web workers.
    pub(in crate::nginx) fn exchanges(&self) -> Vec<Arc<Exchange>> {
        match self {
            Self::Application(application) => application.exchanges(),
            Self::None | Self::Web(_) => Vec::new(),
        }
    }
}
