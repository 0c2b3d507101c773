//! The end of a worker process: ends Python within `python_finalize`'s timeout.

use std::time::{Duration, Instant};

use nginx_sys::{ngx_close_connection, ngx_terminate};

use super::killing;
use super::state::{self, Process};
use super::turn;
use crate::bridge::code::Code;
use crate::bridge::exchange::Progress;
use crate::bridge::worker::Stopped;
use crate::metrics::zone::State;
use crate::nginx::log::say;
use crate::nginx::request::event_loop;
use crate::nginx::request::finalize::{self, Ending};
use crate::nginx::trampoline::EventThread;

/// Ends Python in a worker, within the timeout of `python_finalize`.
///
/// # Safety
///
/// Called in nginx's `exit_process`.
pub(in crate::nginx) unsafe fn stop(token: EventThread) {
    let Some(process) = state::current(token) else { return };
    let event_loop = process.event_loop;
    let worker = event_loop.worker();
    worker.set_stopping();
    // SAFETY: nginx's signal handler sets it, and this only reads it.
    if unsafe { ngx_terminate } != 0 {
        worker.set_fast();
    }
    say_cut_tasks(token, process);
    // nginx no longer serves these requests; the threads notice it.
    for request in event_loop.ids().into_iter().filter_map(|id| event_loop::find(token, id)) {
        finalize::end(request, Ending::Exiting);
    }
    process.wall.cut();
    // Deferred responses (`Event::Resume`) are passed to the attendant before it is told to end.
    turn::deal(token, process);
    if killing::kills(process) {
        turn::deal(token, process);
        worker.meters.set_state(State::Ended);
        exit_now();
    }
    let undone = worker.follow_ups();
    if undone > 0 {
        let who = match undone {
            1 => "1 request has asked for after its response".to_owned(),
            _ => format!("{undone} requests have asked for after their responses"),
        };
        say!(
            process,
            Code::CallbacksCutAtExit,
            "the worker exits before what {who} (after_response) has been done"
        );
    }
    worker.stop();
    if worker.is_missing() {
        // No thread exists that could report it.
        worker.set_stopped(Stopped::ThreadsLeft);
    } else if !worker.config.runs_python() || process.dormancy.is_dormant() {
        worker.set_stopped(Stopped::Finalized);
    }
    let limit = match worker.is_fast() {
        true => worker.config.python.finalize_timeout,
        false => worker.config.python.finalize_timeout + worker.longest_shutdown(),
    };
    let stopped = wait(token, process, limit);
    if stopped.is_none() {
        say!(
            process,
            Code::ExitTooLong,
            "Python did not end within {} ms (python_finalize timeout); the worker exits \
             without it",
            limit.as_millis()
        );
    }
    worker.meters.set_state(State::Ended);
    if let Some(member) = process.standing.member.as_ref().filter(|_| process.is_web()) {
        member.end();
    }
    if stopped != Some(Stopped::Finalized) {
        leave_python();
    }
    // SAFETY: the connection is this module's own. Its descriptor is too, and is closed with it.
    unsafe {
        let connection = process.connection.replace(std::ptr::null_mut());
        if !connection.is_null() {
            ngx_close_connection(connection);
        }
    }
}

/// Logs how many tasks run on after their responses. They are cancelled now.
fn say_cut_tasks(token: EventThread, process: &Process) {
    let event_loop = process.event_loop;
    let worker = event_loop.worker();
    let requests = event_loop.ids().into_iter().filter_map(|id| event_loop::find(token, id));
    let mut with_request = vec![0; worker.config.apps.len()];
    for request in requests {
        let exchange = request.exchange();
        let running = exchange.filter(|it| matches!(it.progress(), Progress::Running(_)));
        if let Some(count) = running.and_then(|it| with_request.get_mut(it.location.app)) {
            *count += 1;
        }
    }
    for (app, with_request) in with_request.into_iter().enumerate() {
        let tasks = match worker.running_of(app).saturating_sub(with_request) {
            0 => continue,
            1 => "1 task".to_owned(),
            count => format!("{count} tasks"),
        };
        say!(
            process,
            Code::TasksCutAtExit,
            "the worker exits and cancels {tasks} of application \"{}\" still running after \
             the response (python_drain_timeout)",
            worker.target(app)
        );
    }
}

/// Waits until Python has ended. Meanwhile, writes Python's last lines to the log.
fn wait(token: EventThread, process: &Process, limit: Duration) -> Option<Stopped> {
    const SLICE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = process.event_loop.worker().wait_stopped(left.min(SLICE));
        turn::deal(token, process);
        if stopped.is_some() || left.is_zero() {
            process.event_loop.worker().events.close();
            return stopped;
        }
    }
}

/// Makes the process exit without running destructors. Called if Python's threads are still running when the process
/// exits.
pub(in crate::nginx) fn leave_python() {
    // SAFETY: this only registers a function. nginx's exit() runs it before the destructors of libraries that
    // Python's threads still use.
    unsafe { libc::atexit(exit_now) };
}

extern "C" fn exit_now() {
    // SAFETY: _exit() takes no pointer and does not return. Its code is the one that nginx's workers exit with, 0.
    unsafe { libc::_exit(0) };
}
