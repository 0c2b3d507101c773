//! The attendant: a Python thread that runs no requests, so that it does at once what the event loop asks for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;

use super::guard;
use super::logging;
use super::reload;
use super::run::{dispatch, interrupt, threads};
use super::runtime::{Late, Runtime};
use super::signals::Ending;
use super::spawn::{STACK, spawn};
use super::stacks;
use crate::bridge::callbacks::Gone;
use crate::bridge::callers::{Enlisted, THREADS};
use crate::bridge::code::Code;
use crate::bridge::config::{ClientAbort, ExecutorId, PoolConfig};
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::inline::Suspended;
use crate::bridge::log::{About, LogLine};
use crate::bridge::replacement::Reason;
use crate::bridge::tasks::Task;
use crate::metrics::meters::Count;

/// Starts the attendant, which drops `ending` as it ends. `None` if that fails, which is logged.
pub(super) fn start(runtime: &Arc<Runtime>, ending: Ending) -> Option<JoinHandle<()>> {
    let own_runtime = Arc::clone(runtime);
    let attend = move || {
        let _ending = ending;
        serve(&own_runtime);
    };
    match spawn("pywsgi-attend", STACK, attend) {
        Ok(attendant) => Some(attendant),
        Err(error) => {
            let text = format!(
                "a thread for the event loop's requests cannot be started: {error}; they wait for the \
                 applications' imports"
            );
            runtime.worker.events.log(LogLine::new(Code::HelperNotStarted, About::Worker, &text));
            None
        }
    }
}

/// Does the event loop's tasks until the worker ends.
pub(super) fn serve(runtime: &Arc<Runtime>) {
    loop {
        let task = runtime.worker.tasks.next();
        if matches!(task, Task::Stop) {
            return;
        }
        let about =
            task.request().map_or(About::Worker, |exchange| About::Request(Arc::clone(exchange)));
        let _about = logging::begin(about);
        // A panic is in the log; the next task follows.
        let _panicked = guard::run(|| attend(runtime, task));
    }
}

fn attend(runtime: &Arc<Runtime>, task: Task<Exchange>) {
    match task {
        Task::LogStack(exchange) => overdue(runtime, &exchange),
        Task::LogSlow(exchange) => {
            Python::attach(|py| log_stack(py, runtime, &exchange, Late::Slow));
        }
        Task::Watch(exchange) => {
            if let Some(exchange) = exchange.upgrade() {
                watch(runtime, &exchange);
            }
        }
        Task::Interrupt(exchange) => {
            if let Some(exchange) = exchange.upgrade() {
                interrupt_overdue(runtime, &exchange);
            }
        }
        Task::WriteOff(exchange) => {
            if let Some(exchange) = exchange.upgrade() {
                write_off(runtime, &exchange);
            }
        }
        Task::Gone(exchange) => gone(runtime, &exchange),
        Task::LookAtLoops => look_at_loops(runtime),
        Task::ListImported => reload::list_imported(runtime),
        Task::Compare(question) => reload::compare(runtime, question),
        Task::LogThreads(what, done) => {
            logging::write_threads(&runtime.shim, Code::ApplicationsRunAtExit, &what);
            done.store(true, Ordering::Release);
        }
        Task::Answer(asked) => stacks::answer(runtime, &asked),
        Task::Grow(pool) => threads::spawn_again(runtime, &pool),
        Task::Resume(response) => finish(response),
        // As a thread attaches PyO3 frees the objects that were dropped by threads that were not attached.
        Task::Collect => Python::attach(|_| ()),
        Task::TakeGil => Python::attach(|_| runtime.worker.gil.answer()),
        Task::Stop => {}
    }
}

/// Ends a response whose pipe is closed.
fn finish(response: Box<dyn Suspended>) {
    let mut left = Some(response);
    while let Some(response) = left {
        left = response.resume();
    }
}

/// Looks whether the loops turn, and does so again in a while.
fn look_at_loops(runtime: &Runtime) {
    let worker = &runtime.worker;
    let limit = worker.config.stall_warning.unwrap_or(Duration::MAX);
    for (number, bridge) in worker.loops.iter().enumerate() {
        if let Some(waited) = bridge.stalled(worker.now(), limit) {
            let text = format!(
                "python_event_loop \"{}\" has not turned for {} ms (asgi_stall_warning): something blocks it, and \
                 all of its applications wait; its stack follows",
                bridge.config.name,
                waited.as_millis(),
            );
            worker.events.log(LogLine::new(Code::LoopStalled, About::Worker, &text));
            // Last: if what blocks the loop does not release the GIL, this does not come back before it does.
            Python::attach(|py| log_loop_stack(py, runtime, number));
        }
    }
    worker.tasks.look_at_loops(look_period(worker.config.stall_warning));
}

/// How often the loops are looked at: a stall is said at one and a half of its limit (`asgi_stall_warning`) at the
/// latest, and everybody sees the lag of a loop (`python_status`).
pub(super) fn look_period(limit: Option<Duration>) -> Duration {
    let longest = Duration::from_secs(1);
    limit.map_or(longest, |limit| (limit / 2).clamp(Duration::from_millis(10), longest))
}

fn log_loop_stack(py: Python<'_>, runtime: &Runtime, number: usize) {
    let Some(owner) = runtime.loops.get().and_then(|loops| loops.get(number)) else { return };
    match owner.place(py) {
        Ok((exchange, stack)) => {
            let about = exchange.map_or(About::Worker, About::Request);
            let text = format!("the loop is at:\n{stack}");
            logging::write_about(py, Code::LoopStalled, &about, &text);
        }
        Err(error) => drop(logging::exception(
            py,
            &runtime.shim,
            Code::LoopFault,
            "no stack of a loop",
            &error,
        )),
    }
}

/// The client has left, or the event loop itself runs the application. Logs the application's stack if it is slow, and if
/// its `…_timeout` is over.
fn watch(runtime: &Runtime, exchange: &Arc<Exchange>) {
    if exchange.begin_slow() {
        slow(runtime, exchange);
    }
    if exchange.is_inline() || exchange.time_left() != Some(Duration::ZERO) {
        exchange.watch();
        return;
    }
    let Some(executor) = exchange.executor() else { return };
    let text = format!(
        "application \"{}\" still runs after {} ms ({}_timeout) for a client that has left; {}",
        runtime.worker.target(exchange.location.app),
        exchange.location.timeout.unwrap_or_default().as_millis(),
        exchange.location.protocol,
        executor.after_deadline(),
    );
    let about = About::Request(Arc::clone(exchange));
    runtime.worker.events.log(LogLine::new(Code::RunsForNobody, about, &text));
    exchange.interrupt_later();
    overdue(runtime, exchange);
}

/// Says that the application is slow, and where it is.
fn slow(runtime: &Runtime, exchange: &Arc<Exchange>) {
    let text = exchange.slow_text();
    let about = About::Request(Arc::clone(exchange));
    logging::write_at_once(Code::Slow, &about, &text);
    Python::attach(|py| log_stack(py, runtime, exchange, Late::Slow));
}

/// The application is beyond its `…_timeout`. Logs its stack, and whether its pool has a free thread left.
fn overdue(runtime: &Runtime, exchange: &Arc<Exchange>) {
    if let Some(PoolConfig { name, threads, .. }) = exchange.set_overdue() {
        let text = format!(
            "all threads of python_thread_pool \"{name}\" ({threads}) are in requests beyond their wsgi_timeout: \
             until one of these ends, or is replaced (wsgi_interrupt_timeout), further requests for it are \
             answered 503 (wsgi_queue_timeout)"
        );
        let about = About::App(exchange.location.app);
        runtime.worker.events.log(LogLine::new(Code::PoolStuck, about, &text));
    }
    // Last: if the application does not release the GIL, this does not come back.
    Python::attach(|py| log_stack(py, runtime, exchange, Late::Overdue));
}

/// The application still runs, long after its deadline: raises `pywsgi.RequestTimeout` in its thread.
fn interrupt_overdue(runtime: &Runtime, exchange: &Arc<Exchange>) {
    let after = exchange.location.interrupt.unwrap_or_default();
    Python::attach(|py| {
        if interrupt::interrupt(py, exchange, &runtime.shim.timed_out) {
            let text = format!(
                "application \"{}\" still runs {} ms after its wsgi_timeout: pywsgi.RequestTimeout is raised in \
                 its thread (wsgi_interrupt_timeout)",
                runtime.worker.target(exchange.location.app),
                after.as_millis(),
            );
            let about = About::Request(Arc::clone(exchange));
            logging::write_about(py, Code::Interrupting, &about, &text);
        }
    });
    // Only now: this thread may have waited for the GIL, and the application has had no chance to be interrupted before.
    runtime.worker.tasks.write_off(exchange, after);
}

/// The application still runs, long after it was interrupted: its pool gets another thread. If there are more of these
/// than `python_max_stuck_threads`, the worker is replaced.
fn write_off(runtime: &Arc<Runtime>, exchange: &Arc<Exchange>) {
    let worker = &runtime.worker;
    let ExecutorId::Pool(at) = exchange.location.executor else { return };
    let Some(pool) = worker.pools.get(at) else { return };
    // Counted first: the thread may come back at any moment.
    let stuck = worker.begin_stuck();
    if !exchange.write_off() {
        worker.end_stuck();
        return;
    }
    exchange.end_overdue();
    exchange.meter().count(Count::WrittenOff);
    if pool.write_off() {
        threads::spawn(runtime, pool);
    }
    let limit = worker.config.max_stuck_threads;
    let text = format!(
        "application \"{}\" still runs {} ms after it was interrupted: its thread is written off, and python_thread_pool \
         \"{}\" has another in its place; that makes {stuck} in this worker (python_max_stuck_threads {limit})",
        worker.target(exchange.location.app),
        exchange.location.interrupt.unwrap_or_default().as_millis(),
        pool.config.name,
    );
    let about = About::Request(Arc::clone(exchange));
    worker.events.log(LogLine::new(Code::WrittenOff, about, &text));
    if stuck > limit {
        worker.events.push(Event::Replace(Reason::StuckThreads { stuck, limit }));
    }
}

fn log_stack(py: Python<'_>, runtime: &Runtime, exchange: &Arc<Exchange>, late: Late) {
    if runtime.log_task_stack(py, exchange, late) {
        return;
    }
    let head = &exchange.head;
    let request = format!(
        "\"{} {}\"",
        head.get(head.method).escape_ascii(),
        head.get(head.target).escape_ascii()
    );
    let stack = exchange.thread().map(|thread| runtime.shim.format_stack.call1(py, (thread,)));
    let text = match stack {
        Some(Ok(stack)) if stack.to_string().is_empty() => {
            format!("the application of {request} is not running at this moment")
        }
        Some(Ok(stack)) => format!("the thread of {request} is at:\n{stack}"),
        Some(Err(error)) => format!("no stack of {request}: {error}"),
        None => format!("the thread of {request} has ended meanwhile"),
    };
    let about = About::Request(Arc::clone(exchange));
    if exchange.is_inline() {
        logging::write_at_once(late.stack_code(), &about, &text);
    } else {
        logging::write_about(py, late.stack_code(), &about, &text);
    }
}

/// Nobody waits for the response any more. Has the `on_disconnect` callbacks called, and interrupts the application if
/// `wsgi_client_abort` is `cancel`.
fn gone(runtime: &Arc<Runtime>, exchange: &Arc<Exchange>) {
    if exchange.location.client_abort == ClientAbort::Cancel
        && exchange.gone() == Some(Gone::Client)
    {
        Python::attach(|py| interrupt::interrupt(py, exchange, &runtime.shim.disconnected));
    }
    if !exchange.awaits_gone() {
        return;
    }
    let (code, text) = match runtime.worker.callers.push(exchange) {
        Enlisted::Taken => return,
        Enlisted::Busy => (
            Code::CallersBusy,
            format!(
                "{THREADS} threads are in on_disconnect's callbacks, and none has ended: further callbacks wait \
             for one of these threads, or for the end of their request's application"
            ),
        ),
        Enlisted::Start => {
            let own_runtime = Arc::clone(runtime);
            match spawn("pywsgi-gone", STACK, move || call(&own_runtime)) {
                Ok(_) => return,
                Err(error) => {
                    runtime.worker.callers.cannot_start();
                    let text = format!(
                        "a thread for on_disconnect's callbacks cannot be started: {error}; they are called \
                         when their request's application ends"
                    );
                    (Code::CallerNotStarted, text)
                }
            }
        }
    };
    let about = About::Request(Arc::clone(exchange));
    runtime.worker.events.log(LogLine::new(code, about, &text));
}

/// Calls the `on_disconnect` callbacks of requests whose client has left, until there are none.
fn call(runtime: &Arc<Runtime>) {
    while let Some(exchange) = runtime.worker.callers.next() {
        let calls = move || {
            Python::attach(move |py| {
                logging::enter(&exchange);
                dispatch::call_back(py, &runtime.shim, exchange.take_on_gone());
                logging::leave(py, &runtime.shim);
                drop(exchange);
            });
        };
        // A panic is in the log. The thread goes on, because `Callers` counts it.
        let _panicked = guard::run(calls);
    }
}
