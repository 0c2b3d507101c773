//! The threads of a pool.

use std::io;
use std::sync::Arc;

use pyo3::prelude::*;

use super::dispatch;
use crate::bridge::clock;
use crate::bridge::code::Code;
use crate::bridge::config::ExecutorId;
use crate::bridge::exchange::{Exchange, Pool};
use crate::bridge::executor::pool::{Next, Seat, Turn};
use crate::bridge::log::{About, LogLine};
use crate::bridge::tasks::Tasks;
use crate::python::hooks::Hooks;
use crate::python::logging;
use crate::python::protocol::Kit;
use crate::python::runtime::Runtime;
use crate::python::spawn::{self, STACK};

/// Starts a thread that [`Pool::grow`] or [`Pool::take`] has counted. The caller blocks all signals, so that the
/// thread does.
pub(in crate::python) fn spawn(runtime: &Arc<Runtime>, pool: &Arc<Pool>) {
    let (code, text) = match start(runtime, pool) {
        Ok(()) => {
            if !pool.started() {
                return;
            }
            let text = format!(
                "a thread of python_thread_pool \"{}\" has been started again",
                pool.config.name
            );
            (Code::ThreadStarted, text)
        }
        Err(error) => {
            let failed = pool.cannot_start();
            if failed.none_left {
                runtime.worker.tasks.grow_later(Arc::clone(pool));
            }
            if !failed.first {
                return;
            }
            let what = if failed.none_left {
                "it has none, and its requests wait (wsgi_queue_timeout)"
            } else {
                "its requests share those that it has"
            };
            let text = format!(
                "a thread of python_thread_pool \"{}\" cannot be started: {error}; {what}; this is tried \
                 again after a second (is there a limit of processes or threads?)",
                pool.config.name,
            );
            (Code::ThreadNotStarted, text)
        }
    };
    // Without waiting: the caller may be attached.
    let _full = runtime.worker.events.try_log(LogLine::new(code, About::Worker, &text));
}

/// Attendant: tries again to start the first thread of a pool.
pub(in crate::python) fn spawn_again(runtime: &Arc<Runtime>, pool: &Arc<Pool>) {
    if pool.grow() {
        spawn(runtime, pool);
    }
}

fn start(runtime: &Arc<Runtime>, pool: &Arc<Pool>) -> io::Result<()> {
    let (own_runtime, own_pool) = (Arc::clone(runtime), Arc::clone(pool));
    let name = format!("py-{}", pool.config.name);
    let stack = pool.config.stack.unwrap_or(STACK);
    spawn::spawn(&name, stack, move || run(own_runtime, &own_pool)).map(drop)
}

/// If the thread unwinds, takes it off its pool, and ends the request that it ran.
struct Membership<'p> {
    pool: &'p Arc<Pool>,
    tasks: &'p Tasks<Exchange>,
    turn: Turn,
    exchange: Option<Arc<Exchange>>,
    ended: bool,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(exchange) = self.exchange.take() {
            dispatch::fail(&exchange);
            if exchange.is_written_off() {
                return return_late(&exchange);
            }
        }
        if self.pool.shrink(&self.turn) {
            self.tasks.grow_later(Arc::clone(self.pool));
        }
    }
}

fn run(runtime: Arc<Runtime>, pool: &Arc<Pool>) {
    let worker = Arc::clone(&runtime.worker);
    let tasks = &worker.tasks;
    let mut membership =
        Membership { pool, tasks, turn: Turn::default(), exchange: None, ended: false };
    Python::attach(|py| {
        let seat = Seat::new();
        // Attached once: the thread keeps its Python thread state until it ends, and with it what the application
        // has bound to it (threading.local).
        let ident = ident(py, &runtime);
        let mut kit = Kit::new();
        let mut checked = 0;
        // When the thread was woken and had the GIL, if it has taken no job since.
        let mut woken = None;
        let mut hooks = Hooks::of(format!("py-{}", pool.config.name));
        loop {
            match pool.take(&mut membership.turn) {
                Next::Run { job: exchange, grow } => {
                    if grow {
                        spawn(&runtime, pool);
                    }
                    let exchange = membership.exchange.insert(exchange);
                    if let Some((since, until)) = woken.take() {
                        exchange.timings.add_gil_wait(since, until);
                    }
                    hooks.take_on(py, &runtime.shim);
                    let suspended = dispatch::run(py, &runtime, exchange, ident, &mut kit);
                    debug_assert!(suspended.is_none(), "only inline a response is suspended");
                    // The application may have closed descriptors of nginx's. The check is a system call, so it is
                    // made at most once for each tick of the worker's clock.
                    if std::mem::replace(&mut checked, exchange.started()) != exchange.started() {
                        worker.check_bells();
                    }
                    if exchange.is_written_off() {
                        // The pool has another thread in the place of this one.
                        membership.ended = true;
                        return_late(exchange);
                        break;
                    }
                    // Frees the exchange before the thread rests.
                    membership.exchange = None;
                }
                Next::Sleep => {
                    let turn = &mut membership.turn;
                    let since = py.detach(|| {
                        pool.sleep(&seat, turn);
                        clock::nanoseconds()
                    });
                    woken = Some((since, clock::nanoseconds()));
                }
                Next::End => {
                    membership.ended = true;
                    break;
                }
            }
        }
        // Before the interpreter ends.
        drop((runtime, kit));
    });
}

/// A thread that was written off has left the application after all.
fn return_late(exchange: &Arc<Exchange>) {
    let worker = &exchange.worker;
    worker.end_stuck();
    if let ExecutorId::Pool(at) = exchange.location.executor {
        worker.meters.pool(at).stuck(false);
    }
    let text = format!(
        "a thread that was written off has left application \"{}\" and ends",
        worker.target(exchange.location.app)
    );
    let about = About::Request(Arc::clone(exchange));
    // Without waiting: it is attached.
    let _full = worker.events.try_log(LogLine::new(Code::WrittenOffLeft, about, &text));
}

/// The calling thread's `threading.get_ident()`.
pub(super) fn ident(py: Python<'_>, runtime: &Runtime) -> u64 {
    match runtime.shim.thread_ident.call0(py).and_then(|ident| ident.extract(py)) {
        Ok(ident) => ident,
        Err(error) => {
            let what = "a thread has no identity";
            logging::exception(py, &runtime.shim, Code::ThreadUnknown, what, &error);
            0
        }
    }
}
