//! The executor `inline`: the event loop's thread as a Python thread, for as long as an application runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::dispatch;
use super::threads::ident;
use crate::bridge::config::PythonConfig;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::inline::{self, Ran, Returned, Runner};
use crate::bridge::streak::Streak;
use crate::python::guard;
use crate::python::hooks::Hooks;
use crate::python::protocol::{Kit, Suspended};
use crate::python::runtime::Runtime;
use crate::python::{sys, thread_state};

/// How the event loop calls Python. It has a weak reference, because Python's main thread ends the runtime.
pub(in crate::python) struct EventLoop {
    runtime: Weak<Runtime>,
    own: Mutex<Own>,
}

/// What one call leaves for the next.
struct Own {
    kit: Kit,
    streak: Streak,
    hooks: Hooks,
    /// `threading.get_ident()`, once a request needs it.
    ident: Option<u64>,
}

impl EventLoop {
    pub(in crate::python) fn new(runtime: &Arc<Runtime>) -> Box<Self> {
        Box::new(Self {
            runtime: Arc::downgrade(runtime),
            own: Mutex::new(Own {
                kit: Kit::new(),
                streak: Streak::default(),
                hooks: Hooks::default(),
                ident: None,
            }),
        })
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLoop")
    }
}

impl EventLoop {
    /// Runs one request. Whatever happens, the others do not suffer from it.
    fn run_one(
        &self,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        exchange: &Arc<Exchange>,
        kit: &mut Kit,
        own_ident: &mut Option<u64>,
    ) -> Option<Box<dyn inline::Suspended>> {
        // It is not interrupted: its thread's identity is only for its stack.
        let ident = match exchange.watch_inline() {
            true => *own_ident.get_or_insert_with(|| ident(py, runtime)),
            false => 0,
        };
        let ran = guard::run(|| dispatch::run(py, runtime, exchange, ident, kit));
        let suspended = ran.unwrap_or_else(|_| {
            dispatch::fail(exchange);
            None
        });
        suspended.map(|suspended| Response::keep(&self.runtime, exchange, suspended))
    }
}

impl Runner<Arc<Exchange>> for EventLoop {
    fn run(
        &self,
        exchanges: &mut dyn Iterator<Item = Arc<Exchange>>,
        limit: Duration,
        ran: &mut Returned<Arc<Exchange>>,
    ) {
        let Some(runtime) = self.runtime.upgrade() else {
            ran.extend(exchanges.map(|exchange| {
                dispatch::fail(&exchange);
                Ran { job: exchange, suspended: None }
            }));
            return;
        };
        keep_thread_state(&runtime.worker.config.python);
        Python::attach(|py| {
            // There is one event loop, so that nobody else holds the lock.
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            let Own { kit, streak, hooks, ident } = &mut *own;
            hooks.take_on(py, &runtime.shim);
            let (mut since, mut left) = (Instant::now(), limit);
            for exchange in exchanges {
                let suspended = self.run_one(py, &runtime, &exchange, kit, ident);
                ran.push(Ran { job: exchange, suspended });
                let now = Instant::now();
                let took = now - since;
                streak.add(took);
                left = left.saturating_sub(took);
                if !streak.is_quick() || left.is_zero() {
                    break;
                }
                since = now;
            }
        });
    }
}

/// A response that is suspended, as the event loop keeps it.
struct Response {
    runtime: Weak<Runtime>,
    exchange: Arc<Exchange>,
    suspended: Suspended,
}

impl Response {
    fn keep(
        runtime: &Weak<Runtime>,
        exchange: &Arc<Exchange>,
        suspended: Suspended,
    ) -> Box<dyn inline::Suspended> {
        Box::new(Self { runtime: Weak::clone(runtime), exchange: Arc::clone(exchange), suspended })
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("id", &self.exchange.id).finish_non_exhaustive()
    }
}

impl inline::Suspended for Response {
    fn resume(self: Box<Self>) -> Option<Box<dyn inline::Suspended>> {
        Python::attach(|py| {
            let Self { runtime, exchange, suspended } = *self;
            // If Python has ended there is nothing left to end.
            let alive = runtime.upgrade()?;
            let suspended = dispatch::resume(py, &alive, &exchange, suspended);
            suspended.map(|suspended| Self::keep(&runtime, &exchange, suspended))
        })
    }
}

/// The event loop's thread has a Python thread state, from its first request on.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Does the event loop's thread count among Python's?
pub(in crate::python) fn has_thread_state() -> bool {
    KEPT.load(Ordering::Relaxed)
}

/// Event loop, once the interpreter has started: gives the thread a Python thread state that it keeps, and with it
/// what applications bind to their thread. And Python's umask, because nginx's own as a daemon is 0 (`ngx_daemon`):
/// what an application makes is not for everybody to write. To change the umask for each call alone would be two
/// system calls, and leave out the threads that an application starts. The same goes for `python_working_directory`;
/// nginx itself uses no relative path.
fn keep_thread_state(python: &PythonConfig) {
    if !KEPT.swap(true, Ordering::Relaxed) {
        sys::set_umask(python.umask);
        if let Some(directory) = &python.directory {
            // If it cannot be entered, Python's main thread has logged that.
            let _logged = std::env::set_current_dir(directory);
        }
        thread_state::keep();
    }
}
