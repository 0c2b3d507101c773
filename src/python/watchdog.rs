//! `python_deadlock_timeout`: the watchdog, a thread that never takes the GIL, looks whether others get it.
//!
//! If they do not, it has the stacks of Python's threads written, which faulthandler does without the GIL, in the handler
//! of a signal ([`dump_signal`]) that the watchdog sends to itself, and has the worker replaced.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::spawn::{STACK, spawn};
use super::{exit, logging, sys};
use crate::bridge::code::Code;
use crate::bridge::events::Event;
use crate::bridge::exchange::Worker;
use crate::bridge::gil::{Found, Patience};
use crate::bridge::log::{About, LogLine};
use crate::bridge::replacement::Reason;
use crate::bridge::tasks::Task;

/// Starts the watchdog. There must be an attendant, which it asks.
pub(super) fn start(worker: &Arc<Worker>, limit: Duration) {
    let own = Arc::clone(worker);
    if let Err(error) = spawn("pywsgi-watchdog", STACK, move || watch(&own, limit)) {
        let text = format!(
            "python_deadlock_timeout is not applied: its thread cannot be started: {error}"
        );
        worker.events.log(LogLine::new(Code::HelperNotStarted, About::Worker, &text));
    }
}

fn watch(worker: &Arc<Worker>, limit: Duration) {
    let mut patience = Patience::new(limit);
    loop {
        thread::sleep(patience.period());
        if worker.is_stopping() {
            // The attendant ends, and the exit has limits of its own.
            return;
        }
        match patience.look(&worker.gil) {
            Found::Answered => worker.tasks.push(Task::TakeGil),
            Found::AnsweredLate => {
                worker.tasks.push(Task::TakeGil);
                let text = "the GIL can be taken again";
                logging::write_at_once(Code::DeadlockOver, &About::Worker, text);
            }
            Found::Waits => {}
            Found::Deadlock => {
                let text = format!(
                    "no thread of Python's could take the GIL for {} s (python_deadlock_timeout): one holds it and \
                     does not run Python; no application of this worker answers any more; where the threads are \
                     follows",
                    limit.as_secs_f64(),
                );
                logging::write_at_once(Code::Deadlock, &About::Worker, &text);
                sys::signal_own_thread(dump_signal());
                worker.events.push(Event::Replace(Reason::Deadlock(limit)));
            }
            // Inline, the event loop itself waits for the GIL, and will not hear of that.
            Found::StillDeadlock if worker.events.is_busy() => exit::event_loop_lost(),
            Found::StillDeadlock => {}
        }
    }
}

/// The signal at which faulthandler writes the stacks. The shim keeps applications from handling it.
pub(super) fn dump_signal() -> i32 {
    libc::SIGRTMAX() - 1
}
