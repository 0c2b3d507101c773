//! The loops of a worker: makes each of them on its thread.

use std::sync::{Arc, mpsc};

use pyo3::prelude::*;

use super::asyncio::LoopThread;
use crate::bridge::code::Code;
use crate::bridge::log::{About, LogLine};
use crate::python::runtime::{self, Runtime};
use crate::python::spawn::{self, STACK};

/// Makes the loops, on the main thread: the first one is its own; each of the others has a thread, which makes it and
/// runs it.
pub(in crate::python) fn start(runtime: &Arc<Runtime>) -> Option<Arc<LoopThread>> {
    let threads: Vec<Arc<LoopThread>> =
        runtime.worker.loops.iter().map(|bridge| LoopThread::new(runtime, bridge)).collect();
    let known = threads.iter().map(|thread| Arc::clone(thread) as Arc<dyn runtime::Loop>).collect();
    // A process has one main thread, which does this once.
    let _first = runtime.loops.set(known);
    let mut threads = threads.into_iter();
    let main = threads.next().filter(|main| Python::attach(|py| main.prepare(py)));
    for thread in threads {
        spawn(runtime, &thread);
    }
    main
}

/// Starts the thread of a loop, and waits until it has made the loop.
fn spawn(runtime: &Runtime, thread: &Arc<LoopThread>) {
    let (made, is_made) = mpsc::channel();
    let own = Arc::clone(thread);
    let name = format!("py-{}", thread.name());
    let run = move || {
        Python::attach(|py| {
            let prepared = own.prepare(py);
            // Who waits for it may have been cut short.
            let _nobody = made.send(());
            if prepared {
                own.run(py);
            }
            drop(own);
        });
    };
    match spawn::spawn(&name, STACK, run) {
        // An error: the thread has ended, and has logged why.
        Ok(_) => drop(is_made.recv()),
        Err(error) => {
            let text = format!(
                "the thread of python_event_loop \"{}\" cannot be started: {error}; its applications answer 500 \
                 (is there a limit of processes or threads?)",
                thread.name()
            );
            runtime.worker.events.log(LogLine::new(Code::LoopNotStarted, About::Worker, &text));
            thread.refuse_all();
        }
    }
}
