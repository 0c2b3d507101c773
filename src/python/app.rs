//! The applications of a worker: each is imported once, and again only after a failure.
//!
//! The next request tries a failed import again if one of the files concerned has changed. It also does so after a
//! pause, because the cause may lie elsewhere, such as in a database that did not answer. [`imports`](super::imports)
//! runs the attempt on another thread than the request's, one at a time for each application. The request that begins
//! the attempt waits for it at the [gate](crate::bridge::gate). After a change the other requests wait, too, because
//! the old failure may no longer be true; after a pause they are answered 500 at once.
//!
//! An import that has killed the worker ([`crate::bridge::marks`]) is put off in the next worker, as if it had failed
//! there. After one such death the other requests wait, too, as at a worker's start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;

use super::attached::Attached;
use super::attempts::{Attempts, Happened};
use super::logging;
use super::once::Once;
use super::registration::Registration;
use super::shim::{self, Shim};
use crate::bridge::code::Code;
use crate::bridge::config::{AppConfig, Purpose};
use crate::bridge::exchange::Exchange;
use crate::bridge::log::About;
use crate::bridge::marks::Died;
use crate::http::response_head::Dropped;

pub(super) struct App {
    pub(super) target: String,
    /// What is imported, if links have led from the target to it.
    resolved: Option<String>,
    /// Its place among the applications.
    pub(super) at: usize,
    /// `pywsgi._loader.Application`
    loader: Py<PyAny>,
    purpose: Purpose,
    /// What is called, if it is imported, and has not failed to start.
    callable: Attached<Option<Py<PyAny>>>,
    failure: Mutex<Failure>,
    hop_by_hop_said: Once,
    repeated_said: Once,
    /// That a path is not below the application's.
    pub(super) not_mounted_said: Once,
}

/// What is known of the imports that have failed.
#[derive(Default)]
struct Failure {
    /// The traceback of the last one.
    report: String,
    /// The traceback that is in the log.
    said: String,
    attempts: Attempts,
    /// Another attempt has begun, for this reason.
    running: Option<Why>,
    /// The import has killed one worker, and only one, so the cause may have been another.
    died_once: bool,
}

/// Why a failed import is tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// A file that it concerns has changed.
    Changed,
    /// The pause is over.
    Due,
    /// The pause after the death of one worker is over.
    Restart,
}

/// What becomes of a request at its application.
pub(super) enum Admission {
    Ready(Py<PyAny>),
    /// The application is imported once more; the request is run again after that.
    Waits,
    /// The same, but the caller must start the import.
    Begins,
    /// The application could not be imported.
    Refused,
}

impl App {
    pub(super) fn new(
        py: Python<'_>,
        at: usize,
        config: &AppConfig,
        has_home: bool,
        purpose: Purpose,
    ) -> PyResult<Self> {
        let loader = shim::function(py, "pywsgi._loader", "Application")?.call1((
            &config.target,
            &config.callables,
            has_home,
            config.protocol.to_string(),
            &config.resolved,
        ))?;
        Ok(Self {
            target: config.target.clone(),
            resolved: (config.resolved != config.target).then(|| config.resolved.clone()),
            at,
            loader: loader.unbind(),
            purpose,
            callable: Attached::default(),
            failure: Mutex::default(),
            hop_by_hop_said: Once::default(),
            repeated_said: Once::default(),
            not_mounted_said: Once::default(),
        })
    }

    /// Imports it, and logs a failure. One thread at a time calls this, and opens the gate afterwards.
    pub(super) fn load(&self, py: Python<'_>, shim: &Shim) {
        let began = Instant::now();
        let _importing = logging::begin(About::App(self.at));
        let registration = Registration::begin(py, shim, self.purpose);
        match self.loader.call_method0(py, "load") {
            Ok(callable) => {
                // Before its first request.
                registration.take_effect();
                *self.callable.borrow(py) = Some(callable);
                self.say_imported(py, began);
            }
            Err(error) => self.fail(py, shim, began, &error),
        }
        self.failure().running = None;
    }

    /// The import has panicked, or there is no thread for it.
    pub(super) fn lose(&self, what: &str) {
        let now = Instant::now();
        let mut failure = self.failure();
        what.clone_into(&mut failure.report);
        what.clone_into(&mut failure.said);
        failure.attempts.fail(now, now, true);
        failure.attempts.say(now);
        failure.running = None;
    }

    /// Its startup (`asgi_lifespan`) has failed, as `report` says. It is as one that cannot be imported, until one of its
    /// files changes.
    pub(super) fn fail_startup(&self, py: Python<'_>, shim: &Shim, report: &str) {
        let callable = self.callable.borrow(py).take();
        // Outside of the borrow: freeing it may run Python.
        drop(callable);
        // A change of its files is then seen.
        if let Err(error) = self.loader.call_method0(py, "fail_startup") {
            self.say_not_watched(py, shim, &error);
        }
        let now = Instant::now();
        let mut failure = self.failure();
        report.clone_into(&mut failure.report);
        report.clone_into(&mut failure.said);
        failure.attempts.fail(now, now, false);
        failure.attempts.say(now);
    }

    /// The last worker died while it imported the application. This counts as a failed attempt of this worker.
    pub(super) fn put_off(&self, py: Python<'_>, shim: &Shim, died: Died) {
        let Died { times, process, pause } = died;
        let is_first = times == 1;
        let times = match times {
            1 => String::new(),
            _ => format!(", as {} before it", times - 1),
        };
        let text = format!(
            "worker process {process} died while it imported application \"{}\"{times}; its locations answer 500, \
             and the next request after {} s, or after a change of its file, tries again. nginx's main log says how \
             process {process} exited",
            self.target,
            pause.as_secs(),
        );
        // A change of its files is then seen.
        if let Err(error) = self.loader.call_method0(py, "put_off") {
            self.say_not_watched(py, shim, &error);
        }
        {
            let now = Instant::now();
            let mut failure = self.failure();
            failure.report.clone_from(&text);
            failure.said.clone_from(&text);
            failure.attempts.put_off(now + pause);
            failure.died_once = is_first;
            failure.attempts.say(now);
        }
        logging::write_about(py, Code::ImportKilledWorker, &About::App(self.at), &text);
    }

    fn say_not_watched(&self, py: Python<'_>, shim: &Shim, error: &PyErr) {
        let what = format!("application \"{}\": its files cannot be watched", self.target);
        logging::exception(py, shim, Code::FilesNotWatched, &what, error);
    }

    fn say_imported(&self, py: Python<'_>, began: Instant) {
        let seconds = seconds(began);
        let (failed, refused) = {
            let failure = self.failure();
            (failure.attempts.failed(), failure.attempts.refused())
        };
        let mut text = format!("application \"{}\" imported in {seconds} s", self.target);
        if failed > 0 {
            text.push_str(&format!(
                ", after {failed} failed attempts and {refused} requests that were answered 500"
            ));
        }
        if let Some(resolved) = &self.resolved {
            text.push_str(&format!(", from \"{resolved}\""));
        }
        logging::write(py, Code::Imported, &text);
    }

    fn fail(&self, py: Python<'_>, shim: &Shim, began: Instant, error: &PyErr) {
        let report = logging::traceback(py, shim, error);
        // If the loader itself fails, too many attempts are better than none.
        let passing = self.loader.getattr(py, "may_pass").and_then(|passing| passing.is_truthy(py));
        let passing = passing.unwrap_or(true);
        let first = {
            let now = Instant::now();
            let mut failure = self.failure();
            failure.report.clone_from(&report);
            if failure.running == Some(Why::Changed) {
                failure.attempts.renew();
            }
            failure.attempts.fail(began, now, passing);
            // `refuse` logs further attempts after a pause, once a minute.
            let first = failure.running != Some(Why::Due);
            failure.died_once = false;
            if first {
                failure.said.clone_from(&report);
                failure.attempts.say(now);
            }
            first
        };
        if first && self.purpose == Purpose::Serve {
            let pause = if passing { ", or after a pause of some seconds" } else { "" };
            let what = format!(
                "application \"{}\" cannot be imported; its locations answer 500, and the next request after \
                 one of the files concerned has changed{pause} tries again",
                self.target
            );
            logging::report(py, Code::ImportFailed, &About::App(self.at), &what, &report);
        }
    }

    /// What is called, if it is imported.
    pub(super) fn callable(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.callable.borrow(py).as_ref().map(|callable| callable.clone_ref(py))
    }

    /// Why it could not be imported.
    pub(super) fn report(&self) -> String {
        self.failure().report.clone()
    }

    /// What becomes of `exchange` at the application.
    pub(super) fn admit(&self, py: Python<'_>, exchange: &Arc<Exchange>) -> Admission {
        match self.callable(py) {
            Some(callable) => Admission::Ready(callable),
            None => self.try_again(py, exchange),
        }
    }

    #[cold]
    fn try_again(&self, py: Python<'_>, exchange: &Arc<Exchange>) -> Admission {
        let (running, died_once) = {
            let failure = self.failure();
            (failure.running, failure.died_once)
        };
        let why = match running {
            Some(Why::Due) => None,
            Some(Why::Changed | Why::Restart) => running,
            None if exchange.has_waited() => None,
            None if self.has_changed(py) => Some(Why::Changed),
            None if self.failure().attempts.is_due(Instant::now()) => {
                Some(if died_once { Why::Restart } else { Why::Due })
            }
            None => None,
        };
        let Some(why) = why else { return self.refuse(py) };
        let begins = {
            let mut failure = self.failure();
            // Under the lock: the importing thread resets `running` before it opens the gate.
            match failure.running {
                // The attempt has ended meanwhile.
                None if running.is_some() || self.callable(py).is_some() => false,
                None => {
                    failure.running = Some(why);
                    exchange.worker.close_gate(self.at, exchange, why != Why::Due);
                    true
                }
                Some(_) if exchange.worker.wait_at_gate(self.at, exchange) => {
                    return Admission::Waits;
                }
                Some(_) => false,
            }
        };
        if begins {
            return Admission::Begins;
        }
        match self.callable(py) {
            Some(callable) => Admission::Ready(callable),
            None => self.refuse(py),
        }
    }

    fn has_changed(&self, py: Python<'_>) -> bool {
        self.loader
            .call_method0(py, "changed")
            .and_then(|changed| changed.is_truthy(py))
            .unwrap_or(true)
    }

    /// A request is answered 500. Logs that once a minute.
    fn refuse(&self, py: Python<'_>) -> Admission {
        let (happened, report, said_before) = {
            let mut failure = self.failure();
            let Some(happened) = failure.attempts.refuse(Instant::now()) else {
                return Admission::Refused;
            };
            let report = failure.report.clone();
            let said_before = std::mem::replace(&mut failure.said, report.clone()) == report;
            (happened, report, said_before)
        };
        let Happened { requests, attempts, seconds } = happened;
        let text = format!(
            "application \"{}\" still cannot be imported: in the last {seconds} s {requests} requests were \
             answered 500, and {attempts} further attempts have failed; the last one with: {}",
            self.target,
            report.lines().last().unwrap_or_default(),
        );
        let about = About::App(self.at);
        if said_before {
            logging::write_about(py, Code::ImportStillFails, &about, &text);
        } else {
            logging::report(py, Code::ImportStillFails, &about, &text, &report);
        }
        Admission::Refused
    }

    fn failure(&self) -> MutexGuard<'_, Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs, once for each reason, that a header is not sent.
    pub(super) fn say_dropped(&self, py: Python<'_>, dropped: &Dropped) {
        let said = match dropped {
            Dropped::HopByHop(_) => &self.hop_by_hop_said,
            Dropped::Repeated(_) => &self.repeated_said,
        };
        if said.first() {
            let text = format!("application \"{}\" {dropped}, and this is said once", self.target);
            logging::write(py, Code::HeaderDropped, &text);
        }
    }
}

/// The seconds since then, with one or two decimals.
fn seconds(began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64();
    if seconds < 1.0 { format!("{seconds:.2}") } else { format!("{seconds:.1}") }
}
